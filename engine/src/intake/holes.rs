//! What is missing among the sequences of a stream, and whether more should come. Pure; for [`super::reader`].

use super::jetstream::{Backlog, Message, StreamState};

/// The first sequences that a batch jumps over: from the first to, not including, the last.
pub(super) fn first_jump(messages: &[Message], next_sequence: u64) -> Option<(u64, u64)> {
    let mut expected = next_sequence;
    messages.iter().find_map(|message| {
        let jump = (message.sequence > expected).then_some((expected, message.sequence));
        expected = expected.max(message.sequence + 1);
        jump
    })
}

/// Whether a batch goes on exactly where the last one ended: rising, and without a hole where holes are losses.
pub(super) fn is_plain(messages: &[Message], next_sequence: u64, whole: bool) -> bool {
    let mut expected = next_sequence;
    messages.iter().all(|message| {
        let fits = if whole { message.sequence == expected } else { message.sequence >= expected };
        expected = message.sequence + 1;
        fits
    })
}

/// Whether sequences between the first and the last message are gone.
pub(super) fn has_holes(state: &StreamState) -> bool {
    state.messages < (state.last_sequence + 1).saturating_sub(state.first_sequence.max(1))
}

/// Whether the server should be delivering: messages wait, and it is not the recorder who is behind.
pub(super) fn should_deliver(backlog: &Backlog) -> bool {
    backlog.pending > 0 && backlog.unacknowledged < backlog.unacknowledged_max
}
