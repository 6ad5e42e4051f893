//! Where reading of a stream goes on, settled with the stream before each session.
//!
//! Start at [`Reader::agree`]. The decision is [`epoch::judge`]; what it has to know is asked for here, and what it decides is
//! told to the recorder.

use lifeline_projections::{count, span};

use super::{Reader, warn_missing};
use crate::intake::epoch::{self, Held, Judgement, Known, Start};
use crate::intake::holes::has_holes;
use crate::intake::jetstream::{EVERY_SUBJECT, Stored, StreamState};
use crate::intake::passed::Passed;
use crate::intake::search::first_after;
use crate::intake::{Error, Received};

impl Reader {
    /// Settles with the stream where reading goes on; `None` when the recorder takes no more.
    pub(super) async fn agree(&mut self, state: &StreamState) -> Result<Option<Known>, Error> {
        let stream = self.reading.stream.clone();
        let held = self.held(self.known, state).await?;
        let open = |epoch, next_sequence| Known {
            epoch,
            created_unix_nanos: state.created_unix_nanos,
            next_sequence,
            last: None,
            recorded_until_unix_nanos: self.known.map_or(0, |known| known.recorded_until_unix_nanos),
            looked_until: 0,
        };
        let (known, received) = match epoch::judge(self.known.as_ref(), state, &held) {
            Judgement::Continue { from } => {
                let known = self.known.map_or_else(|| open(1, from), |known| Known { next_sequence: from, ..known });
                self.known = Some(known);
                return Ok(Some(known));
            }
            Judgement::First { from } => (open(1, from), opened(&open(1, from), String::new())),
            Judgement::NewEpoch { epoch, reason, start } => {
                let from = self.resolve(state, start).await?;
                self.taken_for_copies = self.known.and_then(|known| taken_for_copies(&known, state, from));
                if let Some(taken) = &self.taken_for_copies {
                    tracing::warn!("{taken}");
                }
                tracing::warn!(stream, epoch, from, reason, "the stream began again");
                (open(epoch, from), opened(&open(epoch, from), reason))
            }
            // What is gone is looked at with the rest, and recorded before any message that comes now.
            Judgement::Gap { from, to } if !self.reading.filters.is_empty() => {
                self.passed.over(from.max(self.gaps_from), to);
                let known = self.known.map_or_else(|| open(1, to), |known| Known { next_sequence: to, ..known });
                self.known = Some(known);
                return Ok(Some(known));
            }
            Judgement::Gap { from, to } => {
                let known = self.known.map_or_else(|| open(1, to), |known| Known { next_sequence: to, ..known });
                warn_missing(&stream, from, to);
                (known, Received::Gap { from_sequence: from, to_sequence: to })
            }
        };
        let discontinuity = self.known.is_some();
        if !matches!(received, Received::Gap { .. }) {
            // They are sequences of the epoch before.
            if let (Some(known), Some(rest)) = (self.known, self.passed.rest(&stream))
                && self.send(known.epoch, rest).await.is_err()
            {
                return Ok(None);
            }
            // With holes already there, new ones among them cannot be distinguished from them.
            self.passed = Passed::default();
            self.gaps_from = if has_holes(state) { state.last_sequence + 1 } else { 0 };
        }
        if self.send(known.epoch, received).await.is_err() {
            return Ok(None);
        }
        self.known = Some(known);
        self.status.send_modify(|status| status.discontinuities += u64::from(discontinuity));
        Ok(Some(known))
    }

    /// What is the matter with the stream.
    pub(super) fn warnings(&self, state: &StreamState) -> Vec<String> {
        state.warnings().into_iter().chain(self.taken_for_copies.clone()).collect()
    }

    /// Whether the stream is the one that was opened. What it let go of since then is found missing when it is read: a stream
    /// at its limit drops messages all the time.
    pub(super) async fn is_same(&self, opened: &StreamState, now: &StreamState, known: Known) -> Result<bool, Error> {
        if now.created_unix_nanos != opened.created_unix_nanos {
            return Ok(false);
        }
        let held = self.held(Some(known), now).await?;
        Ok(match epoch::judge(Some(&known), now, &held) {
            Judgement::Continue { .. } | Judgement::Gap { .. } => true,
            Judgement::First { .. } | Judgement::NewEpoch { .. } => false,
        })
    }

    /// What [`epoch::judge`] has to know of the messages that the stream holds.
    async fn held(&self, known: Option<Known>, state: &StreamState) -> Result<Held, Error> {
        let Some(known) = known else { return Ok(Held::default()) };
        let at_tail = match known.last {
            Some(last) if last.sequence <= state.last_sequence => {
                let stored = self.jetstream.stored_from(&self.reading.stream, EVERY_SUBJECT, last.sequence).await?;
                stored.filter(|stored| stored.sequence == last.sequence)
            }
            _ => None,
        };
        // When the last recorded message is the last one below `next_sequence`, no other can be there: one request answers
        // both.
        let is_tail = |last: Stored| last.sequence + 1 == known.next_sequence && at_tail == Some(last);
        let unread = if known.last.is_some_and(is_tail) {
            None
        } else {
            first_after(&*self.jetstream, state, known.next_sequence, known.recorded_until_unix_nanos).await?
        };
        Ok(Held { at_tail, unread })
    }

    /// The first sequence of a new epoch.
    async fn resolve(&self, state: &StreamState, start: Start) -> Result<u64, Error> {
        let Start::After { unix_nanos } = start else { return Ok(state.first_sequence.max(1)) };
        let end = state.last_sequence + 1;
        let first = first_after(&*self.jetstream, state, end, unix_nanos).await?;
        Ok(first.map_or(end, |first| first.sequence))
    }
}

/// What is said of messages that are not read, because a stream of another creation is as old as what is recorded: a mirror that
/// was promoted has copies of it, a stream of another server or account has not.
fn taken_for_copies(known: &Known, state: &StreamState, from: u64) -> Option<String> {
    let (name, first) = (&state.name, state.first_sequence.max(1));
    if state.created_unix_nanos == known.created_unix_nanos || from <= first {
        return None;
    }
    let (messages, sequences) = (count(from - first, "message"), span("sequence", first, from));
    Some(format!(
        "stream `{name}` is not the one that was read before, and not newer than what is recorded: {messages}, {sequences}, count as \
         copies of recorded ones, and are not read\nhint: where they are none, as after a move to another server or account, \
         publish them again"
    ))
}

fn opened(known: &Known, reason: String) -> Received {
    Received::Opened { created_unix_nanos: known.created_unix_nanos, start_sequence: known.next_sequence, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::jetstream::Retention;

    #[test]
    fn what_is_taken_for_a_copy_is_said_where_it_may_be_none() {
        let known = |created_unix_nanos| Known { created_unix_nanos, ..Known::default() };
        let state = StreamState {
            name: "S".to_owned(),
            created_unix_nanos: 5,
            first_sequence: 1,
            last_sequence: 9,
            messages: 9,
            replicas: 3,
            retention: Retention::Limits,
            subjects: vec!["s".to_owned()],
            on_disk: true,
            erasable: false,
            consumers_kept: None,
            copied: Default::default(),
        };
        assert_eq!(taken_for_copies(&known(5), &state, 4), None, "the stream that was read came back");
        assert_eq!(taken_for_copies(&known(7), &state, 1), None, "all of it is read");
        let said = taken_for_copies(&known(7), &state, 4).expect("another stream");
        assert!(said.contains("3 messages, sequences 1 to 3, count as copies"), "{said}");
    }
}
