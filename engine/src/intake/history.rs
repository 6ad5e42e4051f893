//! The history of a stream: what it held when it was connected to, and whether that is recorded.
//!
//! A later event may undo what an earlier one asks for. So nothing is done in a cluster while events that waited there at the
//! connection are unread; [`crate::site`] waits for it.

use super::jetstream::{Backlog, Retention, StreamState};

/// How far the history of a stream is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum History {
    /// The stream was not looked at yet.
    #[default]
    Unknown,
    /// It is being read.
    Unread {
        /// Its last sequence.
        until: u64,
    },
    /// All of it is recorded.
    Recorded,
    /// Another engine reads it.
    Elsewhere,
}

/// Follows the history of one session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Following {
    until: u64,
    retention: Retention,
    /// All of it is handed over once so many batches are recorded.
    batches: Option<u64>,
}

impl Following {
    /// The history of a stream as it is now.
    pub(super) fn of(state: &StreamState) -> Following {
        Following { until: state.last_sequence, retention: state.retention, batches: None }
    }

    /// Notes that everything below a sequence was handed over, in so many batches.
    pub(super) fn handed_over(&mut self, next_sequence: u64, batches: u64) {
        if next_sequence > self.until {
            self.batches.get_or_insert(batches);
        }
    }

    /// Notes that the consumer has so many messages left behind what was handed over. A filter may leave out the last
    /// sequences, or they were deleted.
    pub(super) fn left(&mut self, pending: u64, batches: u64) {
        // Another stream may still hold what was delivered before and not acknowledged.
        if pending == 0 && self.retention == Retention::Limits {
            self.batches.get_or_insert(batches);
        }
    }

    /// Notes what the consumer says of itself.
    pub(super) fn looked(&mut self, backlog: &Backlog, next_sequence: u64, batches: u64) {
        let is_settled = self.retention == Retention::Limits || backlog.unacknowledged == 0;
        if backlog.pending == 0 && backlog.delivered_sequence < next_sequence && is_settled {
            self.batches.get_or_insert(batches);
        }
    }

    /// How far it is, where so many batches are recorded.
    pub(super) fn history(&self, recorded: u64) -> History {
        match self.batches {
            Some(batches) if recorded >= batches => History::Recorded,
            _ => History::Unread { until: self.until },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn following(retention: Retention) -> Following {
        Following { until: 9, retention, batches: None }
    }

    fn backlog(pending: u64, unacknowledged: u64, delivered_sequence: u64) -> Backlog {
        Backlog { pending, unacknowledged, unacknowledged_max: 1_000, delivered_sequence }
    }

    #[test]
    fn history_is_recorded_once_its_last_batch_is() {
        let mut it = following(Retention::Limits);
        it.handed_over(9, 1);
        assert_eq!(it.history(1), History::Unread { until: 9 }, "sequence 9 was not handed over");
        it.handed_over(12, 2);
        assert_eq!(it.history(1), History::Unread { until: 9 }, "it is not recorded");
        it.handed_over(20, 3);
        assert_eq!(it.history(2), History::Recorded, "what came later is no part of it");
    }

    #[test]
    fn what_a_filter_leaves_out_is_not_waited_for() {
        let mut it = following(Retention::Limits);
        it.left(1, 1);
        it.looked(&backlog(1, 0, 3), 4, 1);
        it.looked(&backlog(0, 0, 7), 4, 1);
        assert_eq!(it.history(1), History::Unread { until: 9 }, "delivered, and not to us yet");
        it.looked(&backlog(0, 5, 3), 4, 1);
        assert_eq!(it.history(1), History::Recorded);
        let mut it = following(Retention::Limits);
        it.left(0, 2);
        assert_eq!([it.history(1), it.history(2)], [History::Unread { until: 9 }, History::Recorded]);
    }

    #[test]
    fn what_a_work_queue_delivers_again_is_waited_for() {
        let mut it = following(Retention::WorkQueue);
        it.left(0, 0);
        it.looked(&backlog(0, 2, 3), 4, 0);
        assert_eq!(it.history(5), History::Unread { until: 9 });
        it.looked(&backlog(0, 0, 3), 4, 0);
        assert_eq!(it.history(5), History::Recorded);
    }
}
