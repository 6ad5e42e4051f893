//! What each trigger did since the start, for metrics: events, decisions, how long reconciliation takes, and when it last worked.
//!
//! Start at [`ByTrigger`]. Counted beside the work and never read by a decision. The number of triggers that are told apart is
//! bounded: a name that comes later counts under [`OTHER`], so that nobody can fill a time series database by naming triggers.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeline_projections::fact::{Decision, Fact, Ruling};
use parking_lot::Mutex;

use crate::status::{Exemplar, TriggerStatus};

/// Triggers that are told apart.
pub const TRIGGERS_MAX: usize = 100;

/// The name of all the others.
pub const OTHER: &str = "other";

/// Upper bounds of the durations that are told apart, in seconds; one more bucket takes what is longer.
pub const BUCKETS_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// The counts of all triggers.
#[derive(Debug, Default)]
pub struct ByTrigger {
    counts: Mutex<BTreeMap<String, TriggerStatus>>,
    /// What EventSources and EventTriggers matched, by name. There are as many as rules were.
    matched: Mutex<Matches>,
}

#[derive(Debug, Default)]
struct Matches {
    sources: BTreeMap<String, Matched>,
    triggers: BTreeMap<String, Matched>,
}

/// The events that a rule matched since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Matched {
    /// How many.
    pub events: u64,
    /// When the last one was recorded, in nanoseconds since 1970.
    pub last_unix_nanos: u64,
}

impl ByTrigger {
    /// Counts what was decided for the events among facts that were recorded at a time.
    pub(crate) fn recorded(&self, facts: &[Fact<'_>], at_unix_nanos: u64) {
        let decisions = facts.iter().flat_map(|fact| match fact {
            Fact::Event(event) => event.decisions.as_slice(),
            _ => &[],
        });
        let mut decisions = decisions.peekable();
        if decisions.peek().is_none() {
            return;
        }
        let mut counts = self.counts.lock();
        for Decision { trigger, ruling, .. } in decisions {
            let count = entry(&mut counts, trigger);
            count.matched += 1;
            match ruling {
                Ruling::Create => count.creates += 1,
                Ruling::Delete => count.deletes += 1,
                Ruling::NoAction(_) => {}
                Ruling::Failed(_) => count.undecided += 1,
            }
        }
        drop(counts);
        let mut matched = self.matched.lock();
        for fact in facts {
            let Fact::Event(event) = fact else { continue };
            for (index, Decision { trigger, event_source, .. }) in event.decisions.iter().enumerate() {
                note(&mut matched.triggers, trigger, at_unix_nanos);
                // Several triggers may listen to one source.
                if event.decisions[..index].iter().all(|before| before.event_source != *event_source) {
                    note(&mut matched.sources, event_source, at_unix_nanos);
                }
            }
        }
    }

    /// What an EventSource matched.
    #[must_use]
    pub fn matched_by_source(&self, name: &str) -> Matched {
        self.matched.lock().sources.get(name).copied().unwrap_or_default()
    }

    /// What an EventTrigger matched.
    #[must_use]
    pub fn matched_by_trigger(&self, name: &str) -> Matched {
        self.matched.lock().triggers.get(name).copied().unwrap_or_default()
    }

    /// Counts an attempt that came to an end at a time: whether it brought the cluster to what is wanted, and its trace
    /// where that is exported.
    pub(crate) fn reconciled(
        &self,
        trigger: &str,
        took: Duration,
        at_unix_nanos: u64,
        succeeded: bool,
        trace_id: Option<String>,
    ) {
        let mut counts = self.counts.lock();
        let count = entry(&mut counts, trigger);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS_SECONDS.partition_point(|bound| *bound < seconds);
        count.durations.resize(BUCKETS_SECONDS.len() + 1, 0);
        count.durations[bucket] += 1;
        count.seconds += seconds;
        if succeeded {
            count.succeeded_unix_nanos = Some(at_unix_nanos);
        }
        if let Some(trace_id) = trace_id {
            count.exemplars.resize(count.durations.len(), None);
            count.exemplars[bucket] = Some(Exemplar { trace_id, seconds, at_unix_nanos });
        }
    }

    /// Counts an attempt that failed.
    pub(crate) fn failed(&self, trigger: &str) {
        entry(&mut self.counts.lock(), trigger).failures += 1;
    }

    /// All counts, by name.
    #[must_use]
    pub fn status(&self) -> Vec<TriggerStatus> {
        self.counts.lock().values().cloned().collect()
    }
}

fn note(matched: &mut BTreeMap<String, Matched>, name: &str, at_unix_nanos: u64) {
    let matched = match matched.get_mut(name) {
        Some(matched) => matched,
        None => matched.entry(name.to_owned()).or_default(),
    };
    *matched = Matched { events: matched.events + 1, last_unix_nanos: at_unix_nanos };
}

fn entry<'c>(counts: &'c mut BTreeMap<String, TriggerStatus>, trigger: &str) -> &'c mut TriggerStatus {
    let has_room = counts.len() < TRIGGERS_MAX || counts.contains_key(trigger);
    let name = if has_room { trigger } else { OTHER };
    counts
        .entry(name.to_owned())
        .or_insert_with(|| TriggerStatus { trigger: name.to_owned(), ..TriggerStatus::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_holds_them() {
        let check = |millis: u64, bucket: usize| {
            let counts = ByTrigger::default();
            counts.reconciled("t", Duration::from_millis(millis), 7, true, Some(format!("of {millis}")));
            counts.reconciled("t", Duration::from_millis(millis), 8, false, None);
            let [status] = counts.status().try_into().expect("one trigger");
            let found = status.durations.iter().position(|count| *count == 2);
            assert_eq!((found, status.durations.len()), (Some(bucket), BUCKETS_SECONDS.len() + 1), "{millis} ms");
            assert_eq!(status.succeeded_unix_nanos, Some(7));
            let exemplars: Vec<_> = status.exemplars.iter().flatten().collect();
            assert_eq!(exemplars.len(), 1, "{exemplars:?}");
            assert_eq!(status.exemplars[bucket].as_ref().map(|one| one.at_unix_nanos), Some(7));
        };
        check(0, 0);
        check(5, 0);
        check(6, 1);
        check(30_000, 10);
        check(30_001, 11);
    }

    #[test]
    fn too_many_triggers_count_as_one() {
        let counts = ByTrigger::default();
        for number in 0..TRIGGERS_MAX + 5 {
            counts.failed(&format!("trigger-{number:03}"));
        }
        counts.failed("trigger-000");
        let status = counts.status();
        assert_eq!(status.len(), TRIGGERS_MAX + 1);
        let failures = |name: &str| status.iter().find(|one| one.trigger == name).map(|one| one.failures);
        assert_eq!((failures(OTHER), failures("trigger-000"), failures("trigger-102")), (Some(5), Some(2), None));
    }
}
