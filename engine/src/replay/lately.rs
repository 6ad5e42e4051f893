//! What changes of rules withdrew lately: small steps that follow each other count together.
//!
//! Nine objects are few, and nine more a minute later are few again. Without a memory a rule that is wrong in ten small
//! steps would take everything past the [`brake`](super::brake).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long a withdrawal counts.
const COUNTS_FOR: Duration = Duration::from_secs(60 * 60);

/// Objects withdrawn without a confirmation, by trigger.
pub type Counts = BTreeMap<Box<str>, u64>;

/// The withdrawals that passed without a confirmation. It is kept in memory: a restart forgets them.
#[derive(Debug, Default)]
pub struct Lately {
    passed: Vec<(Instant, Counts)>,
}

impl Lately {
    /// Notes what passed at a moment. Moments come in their order.
    pub fn note(&mut self, now: Instant, passed: Counts) {
        if !passed.is_empty() {
            self.passed.push((now, passed));
        }
    }

    /// What counts at a moment.
    pub fn counts(&mut self, now: Instant) -> Counts {
        self.passed.retain(|(at, _)| now.duration_since(*at) < COUNTS_FOR);
        let mut counts = Counts::new();
        for (trigger, objects) in self.passed.iter().flat_map(|(_, passed)| passed) {
            *counts.entry(trigger.clone()).or_default() += objects;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_counts_for_an_hour() {
        let start = Instant::now();
        let after = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let nine = |trigger: &str| Counts::from([(trigger.into(), 9)]);
        let mut lately = Lately::default();
        lately.note(start, nine("a"));
        lately.note(after(1), Counts::new());
        lately.note(after(30), nine("a"));
        lately.note(after(30), nine("b"));
        assert_eq!(lately.counts(after(59)), Counts::from([("a".into(), 18), ("b".into(), 9)]));
        assert_eq!(lately.counts(after(60)), Counts::from([("a".into(), 9), ("b".into(), 9)]));
        assert_eq!(lately.counts(after(90)), Counts::new());
    }
}
