//! What reading passed over: messages that a filter leaves out, or that were deleted or purged before they were read. A server
//! does not tell the two apart, so they are counted together, and shown as "up to so many".
//!
//! Where a stream is read whole, what is missing is known exactly, and recorded as a gap. Here it is recorded as `HolesFound`:
//! before the first messages of a session, so that a crash does not forget what was lost while the engine was away; and as it
//! is found while the stream is read, once a minute at most. Start at [`Passed::over`]. Pure, but for [`Passed::settle`], which
//! asks.
//!
//! The limit: in a work queue, and in a stream with interest retention, what other consumers acknowledged is gone too, and
//! counts. What is found between two records of a minute is forgotten if the engine ends in that minute, however it ends.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use lifeline_projections::{count, span};
use tokio::sync::watch;
use tokio::time::Instant;

use super::jetstream::{Backlog, JetStream, Message, StreamState};
use super::reader::Status;
use super::{Error, Received};

/// Ranges that are kept apart until they are looked at. More are joined: then the messages between them count as well.
const RANGES_MAX: usize = 10_000;

/// The shortest time between two records of what was found. Where other consumers of a work queue acknowledge their messages,
/// some are found at each look.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// Ranges of sequences that were passed over.
#[derive(Debug, Default)]
pub(super) struct Passed {
    ranges: Vec<Range<u64>>,
    /// First sequence that was not looked at.
    next: u64,
    /// How many messages were gone from the stream when it was last looked at, and its first sequence; where all of it was read.
    seen: Option<(u64, u64)>,
    /// What was found and is not handed over yet: the first sequence, and how many messages are gone.
    found: Option<(u64, u64)>,
    /// When it may be handed over; `None` for at once.
    due: Option<Instant>,
}

impl Passed {
    /// What was passed over from a sequence on; below it, all that is gone is recorded.
    pub(super) fn from(next: u64) -> Passed {
        Passed { next, ..Passed::default() }
    }

    /// Whether there is something to look at.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Notes that what follows the sequences from the first on, up to and not including the last, was read, and these were not.
    pub(super) fn over(&mut self, from: u64, to: u64) {
        let from = from.max(self.next);
        self.next = self.next.max(to);
        if from >= to {
            return;
        }
        let is_full = self.ranges.len() >= RANGES_MAX;
        match self.ranges.last_mut() {
            Some(last) if is_full || last.end == from => last.end = to,
            Some(_) | None => self.ranges.push(from..to),
        }
    }

    /// Notes all sequences from one on that these messages jump over.
    pub(super) fn over_all_but(&mut self, messages: &[Message], mut from: u64) {
        for message in messages {
            if message.sequence > from {
                self.over(from, message.sequence);
            }
            from = from.max(message.sequence + 1);
        }
    }

    /// Notes that the consumer has nothing left up to the end that the stream had before it was asked, so that nothing of it
    /// comes any more; `from` is the first sequence that was not read.
    pub(super) fn over_the_rest(&mut self, (state, backlog): (&StreamState, &Backlog), from: u64) {
        if backlog.pending == 0 && backlog.unacknowledged == 0 {
            self.over(from, state.last_sequence + 1);
        }
    }

    /// Counts what is gone among what was passed over, and gives what is to be recorded of it now.
    pub(super) async fn look_back(
        &mut self,
        jetstream: &dyn JetStream,
        state: &StreamState,
        status: &watch::Sender<Status>,
    ) -> Result<Option<Received>, Error> {
        let from = self.ranges.first().map_or(self.next, |first| first.start);
        let gone = self.settle(jetstream, state).await?;
        if gone > 0 {
            let (from, before) = self.found.unwrap_or((from, 0));
            self.found = Some((from, before + gone));
            status.send_modify(|status| status.passed_over += gone);
        }
        if self.due.is_some_and(|due| Instant::now() < due) {
            return Ok(None);
        }
        let rest = self.rest(&state.name);
        if rest.is_some() {
            self.due = Some(Instant::now() + RECORD_EVERY);
        }
        Ok(rest)
    }

    /// What was found and is not handed over yet.
    pub(super) fn rest(&mut self, stream: &str) -> Option<Received> {
        let (from_sequence, up_to) = self.found.take()?;
        let to_sequence = self.next;
        let (messages, sequences) = (count(up_to, "message"), span("sequence", from_sequence, to_sequence));
        tracing::warn!(
            stream,
            "up to {messages} missing, {sequences}: gone before they were read, those of other subjects included"
        );
        Some(Received::Holes { from_sequence, to_sequence, up_to })
    }

    /// How many of those that were passed over since the last look the stream does not hold.
    async fn settle(&mut self, jetstream: &dyn JetStream, state: &StreamState) -> Result<u64, Error> {
        let first = state.first_sequence.max(1);
        let gone = (first - 1) + (state.last_sequence + 1).saturating_sub(first).saturating_sub(state.messages);
        // Only what was read up to its end can be known by that not to lack what comes.
        let seen = Some((gone, first)).filter(|_| self.next > state.last_sequence);
        // Nothing was deleted since then, so nothing of what came since.
        if self.ranges.is_empty() || self.seen == Some((gone, first)) {
            (self.seen, self.ranges) = (seen, Vec::new());
            return Ok(0);
        }
        let deleted = match gone - (first - 1) {
            0 => Some(BTreeSet::new()),
            _ => jetstream.deleted(&state.name).await?,
        };
        let count = count_gone(&self.ranges, first, deleted.as_ref());
        (self.seen, self.ranges) = (seen, Vec::new());
        Ok(count)
    }
}

/// How many sequences of these ranges are not held by a stream that begins at `first`, and from there on lacks those that are
/// deleted; `None` where nobody knows which.
fn count_gone(ranges: &[Range<u64>], first: u64, deleted: Option<&BTreeSet<u64>>) -> u64 {
    let count = |range: &Range<u64>| {
        let below = range.end.min(first).saturating_sub(range.start);
        let held_from = range.start.max(first).min(range.end);
        let within = match deleted {
            Some(deleted) => deleted.range(held_from..range.end).count() as u64,
            None => range.end - held_from,
        };
        below + within
    };
    ranges.iter().map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_over_and_is_gone_is_counted() {
        #[track_caller]
        fn check(passed: &[(u64, u64)], first: u64, deleted: Option<&[u64]>, expected: u64) {
            let mut it = Passed::default();
            passed.iter().for_each(|(from, to)| it.over(*from, *to));
            let deleted = deleted.map(|deleted| deleted.iter().copied().collect());
            assert_eq!(count_gone(&it.ranges, first, deleted.as_ref()), expected, "{passed:?}");
        }
        check(&[], 5, Some(&[]), 0);
        check(&[(3, 6)], 1, Some(&[]), 0);
        check(&[(3, 6)], 1, Some(&[2, 3, 5, 6]), 2);
        check(&[(3, 6)], 5, Some(&[5]), 3);
        check(&[(3, 6)], 9, Some(&[]), 3);
        check(&[(3, 6), (8, 10)], 1, None, 5);
        // The end was looked at before a message came.
        check(&[(3, 6), (3, 9)], 1, None, 6);
        check(&[(3, 6), (4, 5)], 1, None, 3);
    }

    #[test]
    fn what_was_found_is_handed_over_once() {
        let mut it = Passed { found: Some((3, 2)), next: 9, ..Passed::default() };
        let rest = it.rest("S");
        assert!(matches!(rest, Some(Received::Holes { from_sequence: 3, to_sequence: 9, up_to: 2 })));
        assert!(it.rest("S").is_none());
    }

    #[test]
    fn many_ranges_are_joined() {
        let mut it = Passed::default();
        let ranges = 2 * RANGES_MAX as u64;
        (0..ranges).for_each(|at| it.over(10 * at, 10 * at + 1));
        assert_eq!(it.ranges.len(), RANGES_MAX);
        assert_eq!(it.ranges.last().map(|last| last.end), Some(10 * ranges - 9));
    }
}
