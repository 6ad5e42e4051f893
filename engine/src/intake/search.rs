//! Questions about the messages of a stream that take several requests. For [`super::reader`].

use super::Error;
use super::jetstream::{EVERY_SUBJECT, JetStream, Stored, StreamState, subjects_or_all};
use super::subjects::Reading;

/// The first message held below `end` that was stored later than `unix_nanos`. Times of a stream rise with its sequences, so
/// halving finds it. The last message below `end` is asked for first: mostly it is old enough.
pub(super) async fn first_after(
    jetstream: &dyn JetStream,
    state: &StreamState,
    end: u64,
    unix_nanos: u64,
) -> Result<Option<Stored>, Error> {
    let (mut low, mut high) = (state.first_sequence.max(1), end);
    let (mut middle, mut first) = (end.saturating_sub(1), None);
    while low < high {
        let stored = jetstream.stored_from(&state.name, EVERY_SUBJECT, middle).await?;
        match stored.filter(|stored| stored.sequence < high) {
            Some(stored) if stored.published_unix_nanos <= unix_nanos => low = stored.sequence + 1,
            stored => {
                first = stored.or(first);
                high = middle;
            }
        }
        middle = low + high.saturating_sub(low) / 2;
    }
    Ok(first)
}

/// Whether a stream holds a message that is to be read from sequence `from` up to, not including, `to`.
pub(super) async fn holds_between(
    jetstream: &dyn JetStream,
    reading: &Reading,
    from: u64,
    to: u64,
) -> Result<bool, Error> {
    for subject in subjects_or_all(&reading.filters) {
        let stored = jetstream.stored_from(&reading.stream, subject, from).await?;
        if stored.is_some_and(|stored| stored.sequence < to) {
            return Ok(true);
        }
    }
    Ok(false)
}
