//! What changes of rules were allowed to withdraw: the memory of the brake.
//!
//! Start at [`Withdrawals::take`]. Small steps that follow each other count together, and what was allowed stays allowed until
//! its replay is complete: both hold over a restart, because they follow from the log. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fact::{Allowance, TriggerReplayed};

/// How long a withdrawal counts that nobody confirmed: an hour.
const COUNTS_FOR_NANOS: u64 = 3_600 * 1_000_000_000;

/// How long a confirmed one counts at most, where other replays stay open: a day.
const CONFIRMED_COUNTS_FOR_NANOS: u64 = 24 * COUNTS_FOR_NANOS;

/// What changes of rules were allowed to withdraw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawals {
    /// The latest last.
    passed: Vec<Passed>,
    /// Of the replays that are not complete, by trigger: the checksum of the trigger, and what they may withdraw.
    allowed: BTreeMap<Box<str>, (Option<u64>, Allowance)>,
}

/// One that was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Passed {
    unix_nanos: u64,
    trigger: Box<str>,
    allowance: Allowance,
}

impl Passed {
    fn counts(&self, now_unix_nanos: u64) -> bool {
        let counts_for = if self.allowance.is_confirmed { CONFIRMED_COUNTS_FOR_NANOS } else { COUNTS_FOR_NANOS };
        now_unix_nanos < self.unix_nanos.saturating_add(counts_for)
    }
}

impl Withdrawals {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.passed.is_empty() && self.allowed.is_empty()
    }

    /// Objects whose withdrawal passed within the last hour without a confirmation, by trigger.
    #[must_use]
    pub fn lately(&self, now_unix_nanos: u64) -> BTreeMap<Box<str>, u64> {
        let mut counts = BTreeMap::new();
        let passed = self.passed.iter().filter(|passed| !passed.allowance.is_confirmed);
        for passed in passed.filter(|passed| passed.counts(now_unix_nanos)) {
            *counts.entry(passed.trigger.clone()).or_default() += passed.allowance.objects;
        }
        counts
    }

    /// Objects whose withdrawal was confirmed since no replay was open.
    #[must_use]
    pub fn confirmed(&self, now_unix_nanos: u64) -> u64 {
        let confirmed = self.passed.iter().filter(|passed| passed.allowance.is_confirmed);
        confirmed.filter(|passed| passed.counts(now_unix_nanos)).map(|passed| passed.allowance.objects).sum()
    }

    /// What the replay of a trigger with this checksum may withdraw, where it began to and is not complete.
    #[must_use]
    pub fn allowed(&self, trigger: &str, digest: Option<u64>) -> Option<Allowance> {
        self.allowed.get(trigger).filter(|(of, _)| *of == digest).map(|(_, allowance)| *allowance)
    }

    /// Takes in a record of a replay, written at a moment.
    pub(super) fn take(&mut self, unix_nanos: u64, replay: &TriggerReplayed) {
        let TriggerReplayed { trigger, digest, leaves: _, complete, redecisions, allowance } = replay;
        let Some(allowance) = *allowance else {
            let opens = redecisions.is_empty() && digest.is_some();
            if *complete || opens || self.allowed(trigger, *digest).is_none() {
                self.allowed.remove(trigger.as_str());
            }
            return;
        };
        self.allowed.insert(trigger.as_str().into(), (*digest, allowance));
        self.passed.retain(|passed| passed.counts(unix_nanos));
        self.passed.push(Passed { unix_nanos, trigger: trigger.as_str().into(), allowance });
    }

    /// Notes that no replay is open: what was confirmed does not count any more.
    pub(super) fn rest(&mut self) {
        self.passed.retain(|passed| !passed.allowance.is_confirmed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60 * 1_000_000_000;

    fn record(trigger: &str, digest: Option<u64>, complete: bool, allowance: Option<(u64, bool)>) -> TriggerReplayed {
        let allowance = allowance.map(|(objects, is_confirmed)| Allowance { objects, is_confirmed });
        TriggerReplayed { trigger: trigger.into(), digest, leaves: false, complete, redecisions: Vec::new(), allowance }
    }

    #[test]
    fn a_withdrawal_counts_for_an_hour() {
        let mut withdrawals = Withdrawals::default();
        let nine = |trigger: &str| record(trigger, None, false, Some((9, false)));
        withdrawals.take(0, &nine("a"));
        withdrawals.take(30 * MINUTE, &nine("a"));
        withdrawals.take(30 * MINUTE, &nine("b"));
        withdrawals.take(30 * MINUTE, &record("c", None, false, Some((90, true))));
        assert_eq!(withdrawals.lately(59 * MINUTE), BTreeMap::from([("a".into(), 18), ("b".into(), 9)]));
        assert_eq!(withdrawals.lately(60 * MINUTE), BTreeMap::from([("a".into(), 9), ("b".into(), 9)]));
        assert_eq!(withdrawals.lately(90 * MINUTE), BTreeMap::new());
        assert_eq!(withdrawals.confirmed(90 * MINUTE), 90);
        withdrawals.rest();
        assert_eq!((withdrawals.confirmed(0), withdrawals.lately(59 * MINUTE).len()), (0, 2));
    }

    #[test]
    fn what_is_allowed_stays_allowed_until_the_replay_is_complete_or_another_one_opens() {
        let (one, other, gone) = (Some(1), Some(2), None);
        let check = |digest: Option<u64>, then: TriggerReplayed, stays: bool| {
            let mut withdrawals = Withdrawals::default();
            withdrawals.take(0, &record("a", digest, false, None));
            withdrawals.take(0, &record("a", digest, false, Some((12, true))));
            assert!(withdrawals.allowed("a", digest).is_some() && withdrawals.allowed("a", Some(7)).is_none());
            withdrawals.take(0, &then);
            assert_eq!(withdrawals.allowed("a", digest).is_some(), stays, "{digest:?} {then:?}");
        };
        check(one, record("a", one, true, None), false);
        check(one, record("a", one, false, None), false);
        check(one, record("a", other, false, None), false);
        check(one, record("a", gone, false, None), false);
        check(one, record("b", one, true, None), true);
        // A trigger that is gone is told so at each start.
        check(gone, record("a", gone, false, None), true);
        check(gone, record("a", gone, true, None), false);
        check(gone, record("a", one, false, None), false);
    }
}
