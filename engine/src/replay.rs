//! History under changed rules: the events already held are decided again.
//!
//! Start at [`replay`]. What the resources should be depends on the events and the current rules, not on which came first;
//! so a trigger that appears or changes sees all events the log holds, and one that goes withdraws what it made. Only
//! differences are recorded, and of those only what differs in the cluster is applied.
//!
//! Reads the log, writes nothing; the recorder records what comes out.

use std::collections::BTreeMap;
use std::ops::Bound;

use lifeline_projections::fact::{
    EventReceived, Fact, Outcome, Redecision, Redesired, ResourceKey, RuleChanged, TriggerReplayed,
};
use lifeline_projections::fold::{Candidate, Ground, Projection, Sieve};
use lifeline_projections::lifecycle::{Desired, Lifecycle};
use lifeline_store::{Disk, Offset, Reader};

use crate::rules::{EventView, RuleSet, Standing, Trigger};

/// Redecisions in one record at most, so that no record outgrows what the log accepts.
const REDECISIONS_MAX: usize = 10_000;

/// How often, in records read, it is asked whether to stop.
const STOP_ASKED_RECORDS: u64 = 1 << 10;

/// Why history could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log refused a record.
    #[error("the log cannot be read")]
    Log(#[from] lifeline_store::Error),
    /// A record does not decode.
    #[error("record at offset `{offset}` cannot be understood")]
    Fact {
        /// The record.
        offset: Offset,
        /// Why.
        #[source]
        source: lifeline_projections::fact::Error,
    },
}

/// A rule that differs from what was last recorded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleChange {
    rule: String,
    digest: Option<u64>,
    manifest: String,
}

impl RuleChange {
    /// The fact that records it.
    #[must_use]
    pub fn fact(&self) -> Fact<'_> {
        Fact::Rule(RuleChanged { rule: &self.rule, digest: self.digest, manifest: &self.manifest })
    }
}

/// The rules that appeared, changed or went since they were last recorded, by name.
#[must_use]
pub fn rule_changes(rules: &RuleSet, ground: &Ground) -> Vec<RuleChange> {
    let current = rules.digests();
    let gone = ground.rules.keys().filter(|rule| !current.contains_key(*rule));
    let mut changes: Vec<RuleChange> =
        gone.map(|rule| RuleChange { rule: rule.clone(), digest: None, manifest: String::new() }).collect();
    for (rule, document) in current {
        if ground.rules.get(rule).is_none_or(|known| known.digest != document.digest) {
            let (rule, manifest) = (rule.clone(), document.manifest.clone());
            changes.push(RuleChange { rule, digest: Some(document.digest), manifest });
        }
    }
    changes
}

/// What the events say about one resource under one trigger.
#[derive(Debug, Clone, Copy, Default)]
struct Verdict {
    desired: Option<Desired>,
    incarnation: u32,
}

/// The facts that bring every lifecycle in line with `rules`. Empty when nothing about a trigger has changed; `None` when
/// `is_stopping` said so meanwhile: a long history takes its time, and is replayed at the next start.
///
/// # Errors
/// When the log cannot be read.
pub fn replay<D: Disk>(
    rules: &RuleSet,
    projection: &Projection,
    log: &Reader<D>,
    is_stopping: impl Fn() -> bool,
) -> Result<Option<Vec<Fact<'static>>>, Error> {
    let known = &projection.ground().replayed;
    let mut facts = Vec::new();
    for (trigger, mark) in known {
        // A trigger that is only broken, or hidden by what cannot be read, keeps what it made.
        if matches!(rules.standing(trigger), Standing::Absent) {
            let withdrawn = if mark.leaves { Redesired::Left } else { Redesired::Absent { event: None } };
            let redecisions = lifecycles_of(projection, trigger)
                .filter(|(_, lifecycle)| is_held(lifecycle))
                .map(|(resource, lifecycle)| redecision(&resource, &lifecycle.cluster, withdrawn));
            push_facts(&mut facts, trigger, None, mark.leaves, redecisions.collect());
        }
    }
    let changed: BTreeMap<&str, BTreeMap<(Box<str>, ResourceKey), Verdict>> = rules
        .triggers()
        .filter(|trigger| known.get(trigger.name()).is_none_or(|mark| mark.digest() != Some(trigger.digest())))
        .map(|trigger| (trigger.name(), BTreeMap::new()))
        .collect();
    if changed.is_empty() {
        return Ok(Some(facts));
    }
    let mut changed = changed;
    if !decide_again(rules, log, &mut changed, is_stopping)? {
        return Ok(None);
    }
    for (name, verdicts) in changed {
        let trigger = rules.trigger(name).expect("the name was taken from the rules");
        let redecisions = differences(projection, trigger, verdicts);
        push_facts(&mut facts, name, Some(trigger.digest()), trigger.leaves_policies(), redecisions);
    }
    Ok(Some(facts))
}

/// Decides all events of the log again; false when asked to stop on the way.
fn decide_again<D: Disk>(
    rules: &RuleSet,
    log: &Reader<D>,
    changed: &mut BTreeMap<&str, BTreeMap<(Box<str>, ResourceKey), Verdict>>,
    is_stopping: impl Fn() -> bool,
) -> Result<bool, Error> {
    let mut scan = log.scan(log.start());
    while let Some(record) = scan.next()? {
        let offset = record.offset;
        if offset.get().is_multiple_of(STOP_ASKED_RECORDS) && is_stopping() {
            return Ok(false);
        }
        let fact = Fact::decode(record.payload).map_err(|source| Error::Fact { offset, source })?;
        let Fact::Event(EventReceived { delivery, source, subject, kind, headers, payload, .. }) = fact else {
            continue;
        };
        let nats_subject = delivery.subject;
        let event = EventView { nats_subject, source, kind, subject, headers: &headers, payload };
        for decision in rules.decide(&event, delivery.cluster, record.time_unix_nanos) {
            let Some(verdicts) = changed.get_mut(decision.trigger) else { continue };
            let desired = match decision.outcome {
                Outcome::Create => Desired::Present { event: offset },
                Outcome::Delete => Desired::Absent { event: Some(offset) },
                Outcome::NoAction(_) | Outcome::Failed(_) => continue,
            };
            let resource = ResourceKey { source: source.into(), subject: subject.into() };
            let verdict = verdicts.entry((delivery.cluster.into(), resource)).or_default();
            let begins = !matches!(verdict.desired, Some(Desired::Present { .. }));
            if matches!(desired, Desired::Present { .. }) && begins {
                verdict.incarnation += 1;
            }
            verdict.desired = Some(desired);
        }
    }
    Ok(true)
}

/// Where the verdicts differ from the lifecycles as they are. A lifecycle that stays present is decided again as well:
/// its templates may give something else now. A trigger of which a part is broken withdraws nothing: what no longer
/// matches may match again once it is mended.
fn differences(
    projection: &Projection,
    trigger: &Trigger,
    verdicts: BTreeMap<(Box<str>, ResourceKey), Verdict>,
) -> Vec<Redecision> {
    let (is_degraded, trigger) = (trigger.is_degraded(), trigger.name());
    let mut redecisions = Vec::new();
    for (resource, lifecycle) in lifecycles_of(projection, trigger) {
        let spoken_of = verdicts.contains_key(&((*lifecycle.cluster).into(), resource.clone()));
        if !spoken_of && !is_degraded && is_held(&lifecycle) {
            redecisions.push(redecision(&resource, &lifecycle.cluster, Redesired::Absent { event: None }));
        }
    }
    for ((cluster, resource), verdict) in verdicts {
        let known = projection.resource(&resource.source, &resource.subject);
        let known = known.and_then(|known| {
            known.lifecycles.into_iter().find(|one| *one.trigger == *trigger && *one.cluster == *cluster)
        });
        let desired = match verdict.desired {
            Some(Desired::Present { event }) => Some(Redesired::Present { event, incarnation: verdict.incarnation }),
            Some(Desired::Absent { event }) => {
                known.as_ref().is_some_and(is_held).then_some(Redesired::Absent { event })
            }
            Some(Desired::Left) | None => None,
        };
        if let Some(desired) = desired {
            redecisions.push(redecision(&resource, &cluster, desired));
        }
    }
    redecisions
}

fn is_held(lifecycle: &Lifecycle) -> bool {
    match lifecycle.desired {
        Desired::Present { .. } => true,
        // Already on its way out, by its own decision.
        Desired::Absent { .. } | Desired::Left => false,
    }
}

fn lifecycles_of<'a>(projection: &'a Projection, trigger: &'a str) -> impl Iterator<Item = (ResourceKey, Lifecycle)> {
    let sieve = Sieve { trigger: Some(trigger), ..Sieve::default() };
    let found = projection.candidates_from(Bound::Unbounded, sieve);
    found.flat_map(move |Candidate { source, subject, resource }| {
        let lifecycles = resource.unwrap_or_default().lifecycles.into_iter();
        let of_trigger = lifecycles.filter(move |lifecycle| *lifecycle.trigger == *trigger);
        of_trigger.map(move |lifecycle| (ResourceKey { source: source.into(), subject: subject.into() }, lifecycle))
    })
}

fn redecision(resource: &ResourceKey, cluster: &str, desired: Redesired) -> Redecision {
    Redecision { cluster: cluster.into(), resource: resource.clone(), desired, previous: None }
}

fn push_facts(
    facts: &mut Vec<Fact<'static>>,
    trigger: &str,
    digest: Option<u64>,
    leaves: bool,
    redecisions: Vec<Redecision>,
) {
    let mut rest = redecisions.into_iter().peekable();
    loop {
        let redecisions: Vec<Redecision> = rest.by_ref().take(REDECISIONS_MAX).collect();
        let complete = rest.peek().is_none();
        facts.push(Fact::Replay(TriggerReplayed { trigger: trigger.into(), digest, leaves, complete, redecisions }));
        if complete {
            return;
        }
    }
}
