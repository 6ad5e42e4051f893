//! Every apply, compared with what the log said at that time.
//!
//! Start at [`violations`]. Four rules: an object is made only once for each time it begins to be wanted; an object is
//! applied only by rules that are recorded to decide; no object is applied that no present lifecycle claims; and changed
//! rules take nothing that a lifecycle of the same resource may want, whose trigger is broken, unless somebody confirmed it. An
//! object is wanted while a lifecycle that claims it is present and the rules give the object. If lifecycles claim its
//! namespace, one of them must be present too.
//!
//! Each apply is judged by when it was sent, for nobody can call back what is on its way; and an engine acts by what it has
//! folded, which is later than what it recorded where a disk is slow to sync.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_engine::cluster::ObjectKey;
use lifeline_projections::fact::{
    Allowance, EventReceived, Fact, Gathered, LifecycleKey, Reconciled, Recreated, Redesired, RuleChanged, Ruling,
    TriggerReplayed, What,
};
use lifeline_store::{Offset, Record};

use super::cluster::Apply;
use super::rules::{MANAGE, Version};
use super::story::Violation;

/// A lifecycle: trigger, source and subject.
type Lifecycle<'f> = (&'f str, &'f str, &'f str);

#[derive(Default)]
struct Wants<'f> {
    /// Lifecycles that are present, each with the type of its event and the rules that decided so.
    present: BTreeMap<Lifecycle<'f>, (&'f str, Option<Version>)>,
    /// The type of each event.
    kinds: BTreeMap<Offset, &'f str>,
    claims: BTreeMap<&'f ObjectKey, BTreeSet<Lifecycle<'f>>>,
    /// Objects that Lifeline did not make.
    foreign: BTreeSet<ObjectKey>,
    /// The rules by which each trigger decides.
    versions: BTreeMap<&'f str, Version>,
    /// All rules by which triggers ever decided.
    replayed: Vec<(&'f str, Version)>,
    /// Objects that are wanted.
    wanted: BTreeSet<&'f ObjectKey>,
    /// How often each began to be wanted.
    begins: BTreeMap<&'f ObjectKey, usize>,
    /// How often each was made.
    births: BTreeMap<&'f ObjectKey, usize>,
    /// Whether [`MANAGE`] is out of force.
    is_broken: bool,
    /// Triggers of which somebody confirmed what changed rules withdraw.
    confirmed: BTreeSet<&'f str>,
    /// What changed rules took that others may want.
    taken: Vec<Violation>,
    /// The record since which no lifecycle that claims the object is present.
    unclaimed_since: BTreeMap<&'f ObjectKey, Offset>,
}

/// Applies that nothing in the log asked for at that time.
#[must_use]
pub fn violations<'f>(
    records: &[Record],
    facts: &'f [Fact<'f>],
    applies: &'f [Apply],
    taken: &'f BTreeMap<ObjectKey, usize>,
    foreign: &BTreeSet<ObjectKey>,
) -> Vec<Violation> {
    // What somebody else deletes is made once more, as if it began to be wanted again.
    let begins = taken.iter().map(|(object, times)| (object, *times)).collect();
    let (mut wants, mut violations) = (Wants { foreign: foreign.clone(), begins, ..Wants::default() }, Vec::new());
    let mut applies: Vec<&Apply> = applies.iter().collect();
    applies.sort_by_key(|apply| apply.sent.unix_nanos);
    let mut applies = applies.into_iter().peekable();
    for (record, fact) in records.iter().zip(facts) {
        while let Some(apply) = applies.next_if(|apply| apply.sent.unix_nanos < record.time_unix_nanos) {
            violations.extend(wants.judge(apply));
        }
        wants.take(record, fact);
    }
    violations.extend(applies.filter_map(|apply| wants.judge(apply)));
    violations.extend(wants.taken);
    violations
}

impl<'f> Wants<'f> {
    fn judge(&mut self, apply: &'f Apply) -> Option<Violation> {
        let object = &apply.object;
        if !self.replayed.iter().any(|(trigger, version)| version.may_give(trigger, object, &apply.login)) {
            let whom = format!("{object} with {} after {:?}", apply.login, self.replayed);
            return Some(Violation::new("applied by rules that did not decide yet", whom));
        }
        if self.unclaimed_since.get(object).is_some_and(|since| *since < apply.sent.folded) {
            let whom = format!("{object} with {}", apply.login);
            return Some(Violation::new("applied while no lifecycle wanted it", whom));
        }
        if !apply.is_birth {
            return None;
        }
        let births = self.births.entry(object).or_default();
        *births += 1;
        let begins = self.begins.get(object).copied().unwrap_or(0);
        let whom = format!("{object} was made {births} times, wanted {begins} times");
        (*births > begins).then(|| Violation::new("made more often than asked for", whom))
    }

    fn take(&mut self, record: &Record, fact: &'f Fact<'f>) {
        let mut has_changed = false;
        match fact {
            Fact::Event(event @ EventReceived { source, subject, kind, decisions, .. }) => {
                self.kinds.insert(record.offset, kind);
                for decision in decisions.iter().filter(|decision| event.counts(decision.trigger)) {
                    let lifecycle = (decision.trigger, *source, *subject);
                    match decision.ruling {
                        Ruling::Create => {
                            let now = (*kind, self.versions.get(decision.trigger).copied());
                            has_changed |= self.present.insert(lifecycle, now) != Some(now);
                        }
                        Ruling::Delete => has_changed |= self.present.remove(&lifecycle).is_some(),
                        Ruling::NoAction(_) | Ruling::Failed(_) => {}
                    }
                }
            }
            Fact::Rule(RuleChanged { rule: MANAGE, digest, .. }) => {
                self.is_broken = digest.is_some_and(Version::is_broken);
            }
            Fact::Gathered(Gathered { trigger, keys, .. }) => {
                self.kinds.insert(record.offset, "list");
                let (lifecycle, now) = ((&**trigger, "", &**trigger), ("list", self.versions.get(&**trigger).copied()));
                has_changed |= match keys {
                    0 => self.present.remove(&lifecycle).is_some(),
                    _ => self.present.insert(lifecycle, now) != Some(now),
                };
            }
            Fact::Replay(TriggerReplayed { trigger, digest, redecisions, allowance, complete, .. }) => {
                has_changed = true;
                match allowance {
                    Some(Allowance { is_confirmed: true, .. }) => _ = self.confirmed.insert(trigger),
                    Some(Allowance { is_confirmed: false, .. }) => _ = self.confirmed.remove(&**trigger),
                    None => {}
                }
                let version = digest.and_then(|digest| Version::of_trigger(trigger, digest));
                match version {
                    Some(version) => {
                        self.versions.insert(trigger, version);
                        self.replayed.push((trigger, version));
                    }
                    None => _ = self.versions.remove(&**trigger),
                }
                for redecision in redecisions {
                    let resource = &redecision.resource;
                    let lifecycle = (&**trigger, &*resource.source, &*resource.subject);
                    match redecision.desired {
                        Redesired::Present { event, .. } => {
                            self.present.insert(lifecycle, (self.kinds[&event], version));
                        }
                        Redesired::Absent { event: None } => {
                            self.withdraw(record.offset, lifecycle);
                            self.present.remove(&lifecycle);
                        }
                        Redesired::Absent { event: Some(_) } | Redesired::Left => _ = self.present.remove(&lifecycle),
                    }
                }
                if *complete {
                    self.confirmed.remove(&**trigger);
                }
            }
            Fact::Reconciled(Reconciled { key, what: What::Intended(objects), .. }) => {
                for object in objects {
                    has_changed |= self.claims.entry(object).or_default().insert(lifecycle(key));
                }
            }
            Fact::Reconciled(Reconciled { key, what: What::Deleted(objects) | What::Released(objects), .. }) => {
                for object in objects {
                    has_changed |= self.claims.entry(object).or_default().remove(&lifecycle(key));
                }
            }
            // It is made once more, and so is what is in it; nothing is where a namespace is made again.
            Fact::Reconciled(Reconciled { what: What::Recreated(Recreated { object, .. }), .. }) => {
                *self.begins.entry(object).or_default() += 1;
            }
            _ => {}
        }
        if has_changed {
            self.compare(record.offset);
        }
    }

    /// Changed rules withdraw a lifecycle.
    fn withdraw(&mut self, offset: Offset, (trigger, source, subject): Lifecycle<'f>) {
        let is_manage = trigger == "manage";
        let may_be_wanted = self.is_broken && self.present.contains_key(&("manage", source, subject));
        if is_manage || !may_be_wanted || self.confirmed.contains(trigger) {
            return;
        }
        let is_alone = |claims: &BTreeSet<Lifecycle<'_>>| claims.iter().eq([&(trigger, source, subject)]);
        let held = self.claims.iter().filter(|(_, claims)| is_alone(claims));
        self.taken.extend(held.map(|(object, _)| {
            let whom = format!("{object} of {trigger} at offset {offset}");
            Violation::new("withdrawn though another trigger may want it", whom)
        }));
    }

    fn compare(&mut self, offset: Offset) {
        for (object, claims) in &self.claims {
            if claims.iter().any(|claim| self.present.contains_key(claim)) {
                self.unclaimed_since.remove(object);
            } else {
                self.unclaimed_since.entry(object).or_insert(offset);
            }
            let is_given = |(kind, version): &(&str, Option<Version>)| {
                object.name != "profile" || version.is_none_or(|version| version.gives_profile(kind))
            };
            let has_namespace = object.namespace.as_ref().is_none_or(|name| {
                let namespace = ObjectKey::of_namespace(name);
                let is_foreign = self.foreign.contains(&namespace);
                let claims = self.claims.get(&namespace).filter(|_| !is_foreign);
                claims.is_none_or(|claims| {
                    claims.is_empty() || claims.iter().any(|claim| self.present.contains_key(claim))
                })
            });
            let mut present = claims.iter().filter_map(|claim| self.present.get(claim));
            if !has_namespace || !present.any(is_given) {
                self.wanted.remove(object);
            } else if self.wanted.insert(object) {
                *self.begins.entry(object).or_default() += 1;
            }
        }
    }
}

fn lifecycle(key: &LifecycleKey) -> Lifecycle<'_> {
    (&key.trigger, &key.resource.source, &key.resource.subject)
}
