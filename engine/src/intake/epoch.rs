//! Which stream is this, and where does reading go on? A pure decision over what the log's tail and the server say.
//!
//! A stream's name and a sequence do not identify a message: streams are deleted and made again, restored from backups,
//! and lose their end in a power cut. Name, epoch and sequence do. Start at [`judge`].
//!
//! Two things show whether the stream is the one that was read: the content of the last recorded message, and the
//! server's clock. No recorded message was stored later than [`Known::recorded_until_unix_nanos`]. So a message that
//! was stored later and has a sequence below [`Known::next_sequence`] was never recorded: the server gave the sequence
//! twice.
//!
//! Assumption: the times of a stream rise with its sequences. If a server loses the end of a stream and its clock is
//! set back, new messages may look older than recorded ones; below [`Known::next_sequence`] they are then not read. If
//! one of them is at the sequence of the last recorded message, a new epoch is recorded.
//!
//! Never here: asking the server. The facts are handed in.

use super::jetstream::{Stored, StreamState};

/// What the log knows of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Its current epoch, from 1.
    pub epoch: u32,
    /// When the server said it was created as this epoch was opened, in nanoseconds since 1970.
    pub created_unix_nanos: u64,
    /// Where reading goes on: the first sequence after all that is recorded or known to be missing.
    pub next_sequence: u64,
    /// The recorded message of this epoch with the highest sequence.
    pub last: Option<Stored>,
    /// When the newest message recorded in any epoch was stored, in nanoseconds since 1970; 0 before the first.
    pub recorded_until_unix_nanos: u64,
    /// Below this sequence, what reading passed over and is gone is recorded; 0 where nothing is. Only where a part is read.
    pub looked_until: u64,
}

/// What the stream holds below [`Known::next_sequence`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// The message at the sequence of [`Known::last`], if there is one.
    pub at_tail: Option<Stored>,
    /// The first message there that was stored after everything that was recorded.
    pub unread: Option<Stored>,
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Never met before: epoch 1.
    First {
        /// First sequence to ask for.
        from: u64,
    },
    /// The same stream, nothing missing.
    Continue {
        /// First sequence to ask for.
        from: u64,
    },
    /// The same stream, but it let go of messages that were not read.
    Gap {
        /// First sequence missing.
        from: u64,
        /// First sequence still held, and the first to ask for.
        to: u64,
    },
    /// Another stream under the same name.
    NewEpoch {
        /// Its epoch.
        epoch: u32,
        /// Why, for people.
        reason: String,
        /// Where to begin.
        start: Start,
    },
}

/// Where a new epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first message held.
    First,
    /// At the first message stored later than this: what is older was recorded in the former epoch.
    After {
        /// When the last recorded message was stored, in nanoseconds since 1970.
        unix_nanos: u64,
    },
}

/// Compares the log's tail with the stream as it is now.
///
/// The content of the last recorded message comes first, because `created` may change when an older server restarts and
/// stays the same when a backup is restored. An unchanged message proves nothing about the sequences after it: a gap
/// recorded there may hold other messages now. A stream that is older than what was recorded still begins with recorded
/// messages; the times of its messages show where they end.
#[must_use]
pub fn judge(known: Option<&Known>, state: &StreamState, held: &Held) -> Judgement {
    let first_held = state.first_sequence.max(1);
    let Some(known) = known else { return Judgement::First { from: first_held } };
    let new_epoch = |reason: String| Judgement::NewEpoch {
        epoch: known.epoch + 1,
        reason,
        // Not from `last`: an epoch that ended before it had a message must not make us forget the one before.
        start: if state.created_unix_nanos <= known.recorded_until_unix_nanos {
            Start::After { unix_nanos: known.recorded_until_unix_nanos }
        } else {
            Start::First
        },
    };
    let tail = known.last.zip(held.at_tail);
    if let Some((last, at_tail)) = tail
        && last != at_tail
    {
        return new_epoch(format!("sequence {} now carries another message than the recorded one", last.sequence));
    }
    if state.last_sequence + 1 < known.next_sequence {
        return new_epoch(format!(
            "the stream ends at sequence {}, before the recorded {}",
            state.last_sequence,
            known.next_sequence - 1
        ));
    }
    if tail.is_none() && known.created_unix_nanos != state.created_unix_nanos {
        return new_epoch("the stream was created again".to_owned());
    }
    if let Some(unread) = held.unread {
        return new_epoch(format!(
            "sequence {} holds a message that was stored after everything recorded",
            unread.sequence
        ));
    }
    if first_held > known.next_sequence {
        return Judgement::Gap { from: known.next_sequence, to: first_held };
    }
    Judgement::Continue { from: known.next_sequence }
}

/// 64-bit FNV-1a of a payload: stable across releases, so that a log can be compared with a stream years later.
///
/// It only has to distinguish a restored or recreated stream's message from the recorded one; nobody attacks it.
#[must_use]
pub fn content_hash(payload: &[u8]) -> u64 {
    payload.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::jetstream::{Copied, Retention};

    const CREATED: u64 = 1_000;

    fn stream(created: u64, first: u64, last: u64) -> StreamState {
        StreamState {
            name: "S".to_owned(),
            created_unix_nanos: created,
            first_sequence: first,
            last_sequence: last,
            messages: (last + 1).saturating_sub(first),
            replicas: 1,
            retention: Retention::Limits,
            subjects: vec!["s".to_owned()],
            on_disk: true,
            erasable: true,
            consumers_kept: None,
            copied: Copied::default(),
        }
    }

    /// Sequence `n` is stored at time `10_000 + n` unless a case says otherwise.
    fn message(sequence: u64) -> Stored {
        Stored { sequence, published_unix_nanos: 10_000 + sequence, content_hash: sequence * 7 }
    }

    fn known(next: u64, last: Option<Stored>) -> Option<Known> {
        let recorded_until_unix_nanos = last.map_or(0, |last| last.published_unix_nanos);
        let (epoch, created_unix_nanos) = (3, CREATED);
        Some(Known { epoch, created_unix_nanos, next_sequence: next, last, recorded_until_unix_nanos, looked_until: 0 })
    }

    #[test]
    fn an_epoch_that_ended_before_its_first_message_does_not_hide_what_was_recorded_before() {
        let restored = known(8, None).map(|known| Known { recorded_until_unix_nanos: 10_009, ..known });
        let expected = Start::After { unix_nanos: 10_009 };
        check_new("restored twice, nothing read in between", restored, stream(CREATED, 1, 5), None, expected);
        check_new("then made again", restored, stream(10_010, 1, 5), None, Start::First);
    }

    #[track_caller]
    fn check(hazard: &str, known: Option<Known>, state: StreamState, at_tail: Option<Stored>, expected: Judgement) {
        let held = Held { at_tail, unread: None };
        assert_eq!(judge(known.as_ref(), &state, &held), expected, "{hazard}");
    }

    #[track_caller]
    fn check_new(hazard: &str, known: Option<Known>, state: StreamState, at_tail: Option<Stored>, expected: Start) {
        check_unread(hazard, known, state, Held { at_tail, unread: None }, expected);
    }

    #[track_caller]
    fn check_unread(hazard: &str, known: Option<Known>, state: StreamState, held: Held, expected: Start) {
        match judge(known.as_ref(), &state, &held) {
            Judgement::NewEpoch { epoch: 4, reason, start } => {
                assert!(!reason.is_empty(), "{hazard}");
                assert_eq!(start, expected, "{hazard}");
            }
            other => panic!("{hazard}: expected a new epoch, got {other:?}"),
        }
    }

    #[test]
    fn the_same_stream_goes_on() {
        check("never met, empty", None, stream(CREATED, 0, 0), None, Judgement::First { from: 1 });
        check("never met, old messages gone", None, stream(CREATED, 500, 900), None, Judgement::First { from: 500 });
        check(
            "idle",
            known(11, Some(message(10))),
            stream(CREATED, 1, 10),
            Some(message(10)),
            Judgement::Continue { from: 11 },
        );
        check(
            "published while away",
            known(11, Some(message(10))),
            stream(CREATED, 1, 99),
            Some(message(10)),
            Judgement::Continue { from: 11 },
        );
        check(
            "created changed by an older server",
            known(11, Some(message(10))),
            stream(7_777, 1, 12),
            Some(message(10)),
            Judgement::Continue { from: 11 },
        );
        check(
            "opened, nothing recorded yet",
            known(1, None),
            stream(CREATED, 1, 5),
            None,
            Judgement::Continue { from: 1 },
        );
        check(
            "a work queue let go of what we acknowledged",
            known(11, Some(message(10))),
            stream(CREATED, 11, 10),
            None,
            Judgement::Continue { from: 11 },
        );
        check(
            "purged after all was read: sequences go on",
            known(11, Some(message(10))),
            stream(CREATED, 11, 10),
            None,
            Judgement::Continue { from: 11 },
        );
        check(
            "the recorded tail message was deleted alone",
            known(11, Some(message(10))),
            stream(CREATED, 1, 15),
            None,
            Judgement::Continue { from: 11 },
        );
        check(
            "beyond a recorded gap",
            known(50, Some(message(10))),
            stream(CREATED, 50, 60),
            None,
            Judgement::Continue { from: 50 },
        );
    }

    #[test]
    fn messages_that_were_removed_unread_are_a_gap() {
        check(
            "max age removed what was not read",
            known(11, Some(message(10))),
            stream(CREATED, 41, 60),
            None,
            Judgement::Gap { from: 11, to: 41 },
        );
        check(
            "purged with messages unread",
            known(11, Some(message(10))),
            stream(CREATED, 21, 20),
            None,
            Judgement::Gap { from: 11, to: 21 },
        );
        check(
            "opened, then purged before the first record",
            known(1, None),
            stream(CREATED, 21, 20),
            None,
            Judgement::Gap { from: 1, to: 21 },
        );
    }

    #[test]
    fn another_stream_under_the_same_name_is_a_new_epoch() {
        check_new(
            "recreated, shorter than our tail: a start past the end would be accepted in silence",
            known(11, Some(message(10))),
            stream(20_000, 1, 4),
            None,
            Start::First,
        );
        check_new("recreated and empty", known(11, Some(message(10))), stream(20_000, 0, 0), None, Start::First);
        check_new(
            "recreated, longer than our tail",
            known(11, Some(message(10))),
            stream(20_000, 1, 40),
            Some(Stored { published_unix_nanos: 20_010, ..message(10) }),
            Start::First,
        );
        check_new(
            "recreated, and its message at our tail is gone already",
            known(11, Some(message(10))),
            stream(20_000, 30, 40),
            None,
            Start::First,
        );
        check_new("recreated before anything was recorded", known(1, None), stream(20_000, 1, 40), None, Start::First);
        check_new(
            "the same payload at the same sequence, but stored at another time",
            known(11, Some(message(10))),
            stream(CREATED, 1, 40),
            Some(Stored { published_unix_nanos: 30_000, ..message(10) }),
            Start::After { unix_nanos: 10_010 },
        );
        check_new(
            "restored from an older backup: sequences used before carry other messages",
            known(11, Some(message(10))),
            stream(CREATED, 1, 12),
            Some(Stored { published_unix_nanos: 30_000, content_hash: 1, sequence: 10 }),
            Start::After { unix_nanos: 10_010 },
        );
        check_new(
            "power loss took the tail",
            known(11, Some(message(10))),
            stream(CREATED, 1, 8),
            None,
            Start::After { unix_nanos: 10_010 },
        );
        check_new(
            "a mirror with its own creation time was promoted, behind us",
            known(11, Some(message(10))),
            stream(9_000, 1, 8),
            None,
            Start::After { unix_nanos: 10_010 },
        );
    }

    #[test]
    fn a_sequence_that_was_given_a_second_time_is_a_new_epoch() {
        let after = |unix_nanos| Start::After { unix_nanos };
        let unread = |sequence| Some(Stored { published_unix_nanos: 30_000 + sequence, ..message(sequence) });
        let restored = known(11, None).map(|known| Known { recorded_until_unix_nanos: 10_015, ..known });
        check_unread(
            "the tail was lost twice, and between the losses nothing was read",
            restored,
            stream(CREATED, 1, 14),
            Held { at_tail: None, unread: unread(8) },
            after(10_015),
        );
        check_unread(
            "a work queue let go of our tail, lost its end, and gave our sequences to others",
            known(11, Some(message(10))),
            stream(CREATED, 9, 14),
            Held { at_tail: None, unread: unread(9) },
            after(10_010),
        );
        check_unread(
            "a recorded gap after our tail is filled with other messages",
            known(16, Some(message(10))),
            stream(CREATED, 1, 19),
            Held { at_tail: Some(message(10)), unread: unread(14) },
            after(10_010),
        );
        check_unread(
            "a gap before the first message, filled later",
            known(6, None),
            stream(CREATED, 4, 9),
            Held { at_tail: None, unread: unread(4) },
            Start::First,
        );
    }

    #[test]
    fn a_stream_that_ends_within_a_recorded_gap_is_a_new_epoch() {
        check_new(
            "our tail is there, what was missing after it is not even counted any more",
            known(16, Some(message(10))),
            stream(CREATED, 1, 12),
            Some(message(10)),
            Start::After { unix_nanos: 10_010 },
        );
    }

    #[test]
    fn content_hash_is_stable() {
        assert_eq!(content_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(content_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
