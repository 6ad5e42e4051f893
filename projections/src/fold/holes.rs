//! What may be missing of a stream of which a part is read. Pure.
//!
//! A server does not say which subjects the messages had that it no longer holds. So they are counted together with those of
//! other subjects, and shown as "up to so many".

use serde::{Deserialize, Serialize};

/// What may be missing of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holes {
    /// Messages that were gone before they were read, of any subject, over all epochs.
    pub up_to: u64,
    /// The epoch that was looked at last.
    epoch: u32,
    /// Below this sequence of that epoch, what is gone is counted.
    until_sequence: u64,
}

impl Holes {
    /// First sequence of an epoch that is not looked at for holes; 0 where none of it was.
    #[must_use]
    pub const fn until(&self, epoch: u32) -> u64 {
        if epoch == self.epoch { self.until_sequence } else { 0 }
    }

    /// Whether what was found up to a sequence of an epoch is not counted yet.
    #[must_use]
    pub const fn is_new(&self, epoch: u32, to_sequence: u64) -> bool {
        epoch > self.epoch || (epoch == self.epoch && to_sequence > self.until_sequence)
    }

    /// Counts what was found.
    pub fn take(&mut self, epoch: u32, to_sequence: u64, up_to: u64) {
        self.up_to = self.up_to.saturating_add(up_to);
        self.until_sequence = self.until(epoch).max(to_sequence);
        self.epoch = epoch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_counts_once_and_over_all_epochs() {
        let mut holes = Holes::default();
        assert!(holes.is_new(1, 12));
        holes.take(1, 12, 9);
        assert_eq!((holes.up_to, holes.until(1), holes.until(2)), (9, 12, 0));
        assert!(!holes.is_new(1, 12) && holes.is_new(1, 13) && holes.is_new(2, 3));
        holes.take(2, 3, 2);
        assert_eq!((holes.up_to, holes.until(1), holes.until(2)), (11, 0, 3));
        assert!(!holes.is_new(1, 20), "that epoch is over");
    }
}
