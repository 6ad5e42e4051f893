//! The times that records are given, and the time up to which no record can come any more.
//!
//! A record is stamped before it is on the disk, so "everything written up to this time" is not settled as soon as that
//! time has passed: what was stamped before may still be on its way. [`Stamps`] knows what is, and a question about a time
//! waits until [`Stamps::seal`] says that nothing up to it can come.
//!
//! Invariant: stamps never grow smaller, and behind a sealed time there is none; the clock may do as it likes. How far
//! they may run ahead of it is bounded by [`crate::clock::Believed`], which does not follow a jump at once. The seal is
//! kept in memory: across a restart it is the clock that must not step back.

/// What a stamp may be ahead of the clock before that is told.
const AHEAD_TOLD_NANOS: u64 = 60_000_000_000;

/// Gives records their times, which never fall.
#[derive(Debug)]
pub(crate) struct Stamps {
    /// No stamp is below it.
    floor: u64,
    /// The smallest stamp of what may be on its way to the disk and into the projection.
    in_flight: Option<u64>,
}

impl Stamps {
    /// Those that follow the last record, which was stamped with `last_unix_nanos`; 0 when there is none.
    pub(crate) fn after(last_unix_nanos: u64) -> Stamps {
        Stamps { floor: last_unix_nanos, in_flight: None }
    }

    /// A stamp for what is recorded next. It is in flight until [`Stamps::settled`], also over a failure: what a failed sync
    /// was asked to write may be found on the disk all the same.
    pub(crate) fn stamp(&mut self, now_unix_nanos: u64) -> u64 {
        self.floor = self.floor.max(now_unix_nanos);
        self.in_flight.get_or_insert(self.floor);
        self.floor
    }

    /// How far the next stamp is ahead of the clock, where that cannot be the rounding of a question: then the log has times that
    /// are to come, and all that follow get the last of them.
    pub(crate) fn ahead(&self, now_unix_nanos: u64) -> Option<u64> {
        Some(self.floor).filter(|floor| floor.saturating_sub(now_unix_nanos) > AHEAD_TOLD_NANOS)
    }

    /// Everything that was stamped is durable and folded, or known not to be on the disk.
    pub(crate) fn settled(&mut self) {
        self.in_flight = None;
    }

    /// Whether no record with this stamp or an earlier one can still come. Once it says so, none does.
    pub(crate) fn seal(&mut self, unix_nanos: u64) -> bool {
        if self.in_flight.is_some_and(|first| first <= unix_nanos) {
            return false;
        }
        self.floor = self.floor.max(unix_nanos.saturating_add(1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_follow_the_clock_and_never_go_back() {
        let mut stamps = Stamps::after(100);
        let mut check = |now: u64, stamp: u64| assert_eq!(stamps.stamp(now), stamp, "at {now}");
        check(90, 100);
        check(100, 100);
        check(150, 150);
        check(149, 150);
    }

    #[test]
    fn stamps_that_are_to_come_are_told() {
        let stamps = Stamps::after(200_000_000_000);
        assert_eq!(stamps.ahead(100_000_000_000), Some(200_000_000_000));
        assert_eq!(stamps.ahead(140_000_000_000), None);
        assert_eq!(stamps.ahead(300_000_000_000), None);
    }

    #[test]
    fn a_time_is_sealed_when_nothing_up_to_it_is_on_its_way() {
        let mut stamps = Stamps::after(0);
        assert!(stamps.seal(10), "nothing is recorded");
        assert_eq!(stamps.stamp(5), 11, "behind what is sealed, whatever the clock says");
        assert!(stamps.seal(10), "what is on its way comes behind it");
        assert!(!stamps.seal(11));
        assert!(!stamps.seal(12));
        stamps.settled();
        assert!(stamps.seal(12));
        assert_eq!(stamps.stamp(12), 13);
    }

    #[test]
    fn a_group_that_is_tried_again_is_in_flight_since_its_first_stamp() {
        let mut stamps = Stamps::after(0);
        assert_eq!((stamps.stamp(20), stamps.stamp(30)), (20, 30));
        assert!(stamps.seal(19));
        assert!(!stamps.seal(20), "the first try may have reached the disk");
        stamps.settled();
        assert!(stamps.seal(20) && stamps.seal(30));
    }
}
