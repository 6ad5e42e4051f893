//! A second, much simpler fold: what each record should say, and what each lifecycle should be at the end.
//!
//! Start at [`violations`]. It knows the rules as [`Version::decides`] does and keeps the whole history; of the engine it takes
//! the codec of facts, and the projection that it compares.
//!
//! What was published later is later: the times of the simulated server are never the same twice.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_projections::fact::{
    EventReceived, Fact, Gathered, Reconciled, Redesired, RuleChanged, Ruling, TriggerReplayed,
};
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Desired;
use lifeline_store::{Offset, Record};

use super::rules::{MANAGE, Version};
use super::story::Violation;

/// The triggers of all rules.
const TRIGGERS: [&str; 6] = ["audit", "base", "guest", "lead", "manage", "roster"];

/// A resource: source and subject.
type Resource<'a> = (&'a str, &'a str);

/// A lifecycle in the making.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    is_present: bool,
    /// Times it became present.
    incarnation: u32,
}

impl Life {
    fn decide(&mut self, is_present: bool) {
        self.incarnation += u32::from(is_present && !self.is_present);
        self.is_present = is_present;
    }
}

#[derive(Default)]
struct Refold<'a> {
    /// The rules by which each trigger decides.
    versions: BTreeMap<&'a str, Version>,
    /// The trigger `manage` has a mistake: it decides nothing.
    is_broken: bool,
    /// Every event: when it was published, its record, its resource, and its type.
    events: BTreeMap<u64, (Offset, Resource<'a>, &'a str)>,
    lives: BTreeMap<(&'a str, Resource<'a>), Life>,
    /// The latest record that gathered the keys of a trigger, and whether there were some.
    gathered: BTreeMap<&'a str, (Offset, bool)>,
    /// The latest record about each resource.
    latest: BTreeMap<Resource<'a>, Offset>,
    violations: Vec<Violation>,
}

/// What the log says and should not, and where the projection differs from it.
#[must_use]
pub fn violations<'a>(records: &'a [Record], facts: &'a [Fact<'a>], projection: &Projection) -> Vec<Violation> {
    let mut refold = Refold::default();
    for (record, fact) in records.iter().zip(facts) {
        refold.take(record.offset, fact);
    }
    refold.compare(projection);
    refold.violations
}

impl<'a> Refold<'a> {
    fn take(&mut self, offset: Offset, fact: &'a Fact<'a>) {
        match fact {
            Fact::Event(event @ EventReceived { source, subject, kind, previous, decisions, delivery, .. }) => {
                let resource = (*source, *subject);
                self.link(offset, resource, *previous);
                let published = delivery.published_unix_nanos;
                let mut later = self.events.range(published..).filter(|(_, (_, of, _))| *of == resource);
                let is_late = later.next().is_some();
                if event.is_late() != is_late {
                    let whom = format!("offset {offset}: {}, expected {is_late}", event.is_late());
                    self.violations.push(Violation::new("late, and not said so, or the other way round", whom));
                }
                for trigger in TRIGGERS {
                    let version = self.versions.get(trigger).filter(|_| !(self.is_broken && trigger == "manage"));
                    let expected = version.and_then(|version| version.decides(trigger, kind));
                    let decision = decisions.iter().find(|decision| decision.trigger == trigger);
                    let decided = match decision.map(|decision| &decision.ruling) {
                        Some(Ruling::Create) => Some(true),
                        Some(Ruling::Delete) => Some(false),
                        Some(Ruling::NoAction(_) | Ruling::Failed(_)) | None => None,
                    };
                    if decided != expected {
                        let whom = format!("{trigger} at offset {offset}: {decided:?}, expected {expected:?}");
                        self.violations.push(Violation::new("decided wrongly", whom));
                    }
                    let Some(is_present) = expected else { continue };
                    let by = self.overtaken_by(trigger, version.copied(), resource, published);
                    let place = event.place(trigger);
                    let told = place.and_then(|place| Some(place.overtaken_by.as_ref()?.offset));
                    if told != by {
                        let whom = format!("{trigger} at offset {offset}: {told:?}, expected {by:?}");
                        self.violations
                            .push(Violation::new("overtaken, and not said so, or the other way round", whom));
                    }
                    if by.is_none() {
                        self.lives.entry((trigger, resource)).or_default().decide(is_present);
                    }
                }
                self.events.insert(published, (offset, resource, kind));
            }
            Fact::Replay(replay) => self.replay(offset, replay),
            Fact::Reconciled(Reconciled { key, previous, .. }) => {
                self.link(offset, (&*key.resource.source, &*key.resource.subject), *previous);
            }
            Fact::Gathered(gathered) => self.gathered(offset, gathered),
            Fact::Rule(RuleChanged { rule: MANAGE, digest, .. }) => {
                self.is_broken = digest.is_some_and(Version::is_broken);
            }
            Fact::Stream(_) | Fact::Rejected(_) | Fact::Marker(_) | Fact::Rule(_) | Fact::Lost(_) => {}
        }
    }

    /// The list of a trigger is made of all that is present by it.
    fn gathered(&mut self, offset: Offset, gathered: &'a Gathered) {
        let trigger = &*gathered.trigger;
        let list = ("", trigger);
        self.link(offset, list, gathered.previous);
        let is_live = |((of, resource), life): &(&(&str, Resource<'_>), &Life)| {
            *of == trigger && !resource.0.is_empty() && life.is_present
        };
        let live = self.lives.iter().filter(is_live).count() as u64;
        if gathered.keys != live {
            let whom = format!("{trigger} at offset {offset}: {} keys, expected {live}", gathered.keys);
            self.violations.push(Violation::new("a list is not of the live keys", whom));
        }
        self.gathered.insert(trigger, (offset, live > 0));
        self.lives.entry((trigger, list)).or_default().decide(live > 0);
    }

    /// The event that decided already when one came that was published at this time, and is later.
    fn overtaken_by(
        &self,
        trigger: &str,
        version: Option<Version>,
        resource: Resource<'_>,
        published: u64,
    ) -> Option<Offset> {
        let mut later = self.events.range(published..).rev().filter(|(_, (_, of, _))| *of == resource);
        later.find_map(|(_, (offset, _, kind))| version?.decides(trigger, kind).map(|_| *offset))
    }

    /// Each record about a resource names the one before it.
    fn link(&mut self, offset: Offset, resource: Resource<'a>, previous: Option<Offset>) {
        let latest = self.latest.insert(resource, offset);
        if latest != previous {
            let whom = format!("offset {offset} names {previous:?}, before it is {latest:?}");
            self.violations.push(Violation::new("a record does not name the one before it", whom));
        }
    }

    /// A record of a replay. From the first one on, the version of its rules decides; each redecision is what all of history
    /// comes to under it; and once the replay is complete, nothing is left that is not.
    fn replay(&mut self, offset: Offset, replay: &'a TriggerReplayed) {
        let TriggerReplayed { trigger, digest, complete, redecisions, .. } = replay;
        let trigger = trigger.as_str();
        let version = digest.and_then(|digest| Version::of_trigger(trigger, digest));
        match version {
            Some(version) => _ = self.versions.insert(trigger, version),
            None => _ = self.versions.remove(trigger),
        }
        for redecision in redecisions {
            let resource = (&*redecision.resource.source, &*redecision.resource.subject);
            self.link(offset, resource, redecision.previous);
            let event = match resource {
                ("", _) if version.is_some() => self.gathered.get(trigger).copied(),
                ("", _) => None,
                resource => self.decided(trigger, version, resource),
            };
            let (is_right, is_present) = match redecision.desired {
                Redesired::Present { event: of, .. } => (event == Some((of, true)), true),
                Redesired::Absent { event: of } => (event == of.map(|of| (of, false)), false),
                Redesired::Left => (version.is_none(), false),
            };
            if !is_right {
                let whom = format!("{trigger} at offset {offset}: {redecision:?}, the events say {event:?}");
                self.violations.push(Violation::new("decided again wrongly", whom));
            }
            self.lives.entry((trigger, resource)).or_default().decide(is_present);
        }
        if !*complete {
            return;
        }
        let resources: BTreeSet<Resource<'a>> = self.events.values().map(|(_, resource, _)| *resource).collect();
        for resource in resources {
            let expected = self.decided(trigger, version, resource).is_some_and(|(_, is_present)| is_present);
            let is_present = self.lives.get(&(trigger, resource)).is_some_and(|life| life.is_present);
            if is_present != expected {
                let whom = format!("{trigger} for {resource:?} at offset {offset}: {is_present}, expected {expected}");
                self.violations.push(Violation::new("a replay is complete and left something out", whom));
            }
        }
    }

    /// The latest event that decides about a resource, and whether it makes it present.
    fn decided(&self, trigger: &str, version: Option<Version>, resource: Resource<'_>) -> Option<(Offset, bool)> {
        let version = version?;
        let mut events = self.events.values().rev().filter(|(_, of, _)| *of == resource);
        events.find_map(|(offset, _, kind)| Some((*offset, version.decides(trigger, kind)?)))
    }

    fn compare(&mut self, projection: &Projection) {
        for (key, found) in projection.resources() {
            for lifecycle in &found.lifecycles {
                let is_it = |(trigger, (source, subject)): &(&str, Resource<'_>)| {
                    **trigger == *lifecycle.trigger && **source == *key.source && **subject == *key.subject
                };
                let expected =
                    self.lives.iter().find(|(life, _)| is_it(life)).map(|(life, expected)| (*life, *expected));
                if let Some((life, _)) = expected {
                    self.lives.remove(&life);
                }
                let expected = expected.map(|(_, expected)| expected).unwrap_or_default();
                let is_present = matches!(lifecycle.desired, Desired::Present { .. });
                let has_incarnation = !is_present || lifecycle.incarnation == expected.incarnation;
                if is_present != expected.is_present || !has_incarnation {
                    let whom = format!(
                        "{} for {}/{}: {:?} {}, expected {expected:?}",
                        lifecycle.trigger, key.source, key.subject, lifecycle.desired, lifecycle.incarnation
                    );
                    self.violations.push(Violation::new("a lifecycle is not as decided", whom));
                }
            }
        }
        for ((trigger, resource), life) in std::mem::take(&mut self.lives) {
            if life.is_present {
                let whom = format!("{trigger} for {resource:?}");
                self.violations.push(Violation::new("a lifecycle is missing", whom));
            }
        }
    }
}
