//! Lifecycles that are not done by intent: their trigger is a dry run, or what its changed rules ask for is held until somebody
//! confirms it. They are no lag and not stuck, and nobody needs to be alerted.
//!
//! Start at [`ByIntent::why`]. It is pure; a lifecycle that fails never waits by intent.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_projections::fold::{Ground, Projection};
use lifeline_projections::lifecycle::{Lifecycle, Phase};
use lifeline_store::{Disk, Offset, Reader};

use crate::rules::spec::SyncMode;
use crate::rules::{RuleSet, Trigger, recorded_left};
use crate::status::{ReplayStatus, WaitingStatus};

/// Why a lifecycle waits by intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// `syncMode: DryRun`.
    DryRun,
    /// The brake holds what changed rules would withdraw.
    Held,
}

impl Why {
    /// The word that users see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::DryRun => "DryRun",
            Why::Held => "Held",
        }
    }
}

/// The triggers whose lifecycles wait by intent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ByIntent {
    dry_runs: BTreeSet<Box<str>>,
    /// With the record from which on decisions are those of the changed rules; none where the trigger is gone.
    held: BTreeMap<Box<str>, Option<Offset>>,
}

impl ByIntent {
    /// By the rules in force.
    #[must_use]
    pub fn new(rules: Option<&RuleSet>, ground: &Ground, replays: &[ReplayStatus]) -> ByIntent {
        let is_dry_run = |trigger: &&Trigger| trigger.sync_mode() == SyncMode::DryRun;
        let triggers = rules.into_iter().flat_map(RuleSet::triggers);
        let dry_runs = triggers.filter(is_dry_run).map(|trigger| trigger.name().into()).collect();
        ByIntent { dry_runs, held: held(ground, replays) }
    }

    /// By what the log says that these triggers were last: of an engine that is stopped, or in an earlier state. A trigger
    /// whose record cannot be read is no dry run.
    #[must_use]
    pub fn recorded<D: Disk>(
        log: &Reader<D>,
        ground: &Ground,
        triggers: &BTreeSet<String>,
        replays: &[ReplayStatus],
    ) -> ByIntent {
        let is_dry_run =
            |trigger: &&String| recorded_left(log, &ground.rule_records, trigger).is_ok_and(|left| left.is_dry_run);
        let dry_runs = triggers.iter().filter(is_dry_run).map(|trigger| trigger.as_str().into()).collect();
        ByIntent { dry_runs, held: held(ground, replays) }
    }

    /// Why a lifecycle waits; `None` where it does not, or not by intent.
    #[must_use]
    pub fn why(&self, lifecycle: &Lifecycle) -> Option<Why> {
        if !lifecycle.needs_work() || lifecycle.phase() == Phase::Failing {
            return None;
        }
        let is_before = |since: &Option<Offset>| since.is_none_or(|since| lifecycle.decided < since);
        if self.held.get(&*lifecycle.trigger).is_some_and(is_before) {
            return Some(Why::Held);
        }
        self.dry_runs.contains(&*lifecycle.trigger).then_some(Why::DryRun)
    }

    /// Whether the replay of a trigger is held.
    pub(crate) fn holds(&self, trigger: &str) -> bool {
        self.held.contains_key(trigger)
    }
}

/// The triggers of lifecycles that need work.
#[must_use]
pub fn triggers_with_work(projection: &Projection) -> BTreeSet<String> {
    projection.needing_work().map(|index| projection.head(index).trigger.to_string()).collect()
}

/// How many lifecycles wait, by trigger.
#[must_use]
pub fn count(waiting: impl IntoIterator<Item = (String, Why)>) -> Vec<WaitingStatus> {
    let mut counts = BTreeMap::<(String, Why), u64>::new();
    for one in waiting {
        *counts.entry(one).or_default() += 1;
    }
    let status = |((trigger, why), lifecycles): ((String, Why), u64)| WaitingStatus {
        trigger,
        why: why.as_str().to_owned(),
        lifecycles,
    };
    counts.into_iter().map(status).collect()
}

fn held(ground: &Ground, replays: &[ReplayStatus]) -> BTreeMap<Box<str>, Option<Offset>> {
    let is_held = |replay: &&ReplayStatus| replay.held.is_some();
    let since = |trigger: &str| ground.open_replays.get(trigger).map(|open| open.since);
    replays.iter().filter(is_held).map(|replay| (replay.trigger.as_str().into(), since(&replay.trigger))).collect()
}

#[cfg(test)]
mod tests {
    use lifeline_projections::lifecycle::{Desired, Failure};

    use super::*;

    #[test]
    fn a_lifecycle_waits_by_intent_for_a_dry_run_or_a_hold_and_never_where_it_fails_or_is_done() {
        let intent = ByIntent {
            dry_runs: [Box::from("dry"), Box::from("held-dry")].into(),
            held: [("held".into(), Some(Offset::new(5))), ("gone".into(), None), ("held-dry".into(), None)].into(),
        };
        let pending = |trigger: &str, decided: u64| Lifecycle {
            desired: Desired::Present { event: Offset::new(decided) },
            decided: Offset::new(decided),
            ..Lifecycle::new(trigger, "mgmt/mgmt")
        };
        let check = |lifecycle: Lifecycle, expected: Option<Why>| {
            assert_eq!(intent.why(&lifecycle), expected, "{lifecycle:?}");
        };
        check(pending("dry", 9), Some(Why::DryRun));
        check(pending("other", 9), None);
        // What an event decides under the changed rules is carried out.
        check(pending("held", 4), Some(Why::Held));
        check(pending("held", 5), None);
        check(pending("gone", 9), Some(Why::Held));
        check(pending("held-dry", 9), Some(Why::Held));
        check(Lifecycle { settled: Some(Offset::new(9)), ..pending("dry", 9) }, None);
        check(Lifecycle { desired: Desired::Absent { event: None }, ..pending("dry", 9) }, None);
        let failure =
            Failure { offset: Offset::new(10), unix_nanos: 1, error: "no".into(), attempt: 1, transient: true };
        check(Lifecycle { failure: Some(failure), ..pending("dry", 9) }, None);
    }

    #[test]
    fn those_that_wait_are_counted_by_trigger() {
        let waiting = [("b", Why::Held), ("a", Why::DryRun), ("b", Why::Held)];
        let counted = count(waiting.map(|(trigger, why)| (trigger.to_owned(), why)));
        let counted: Vec<_> = counted.iter().map(|one| (&*one.trigger, &*one.why, one.lifecycles)).collect();
        assert_eq!(counted, [("a", "DryRun", 1), ("b", "Held", 2)]);
    }
}
