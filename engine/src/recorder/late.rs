//! Messages that came late: below sequences that were recorded. Most of them are in the log, but not all.
//!
//! Start at [`recorded`]. A consumer that is made again with more subjects is given messages that nobody asked for before; one
//! that is shared is given what another reader let go of. Acknowledged without being recorded they would be lost.

use hashbrown::HashSet;
use lifeline_projections::fact::{Delivery, Fact};
use lifeline_projections::fold::Tail;
use lifeline_store::{Disk, Reader};
use tracing::warn;

use crate::error_text::chain;
use crate::intake::Message;

/// How much earlier than its message a record may seem to be written, beyond what the last recorded message shows of the two
/// clocks.
const CLOCK_SKEW_NANOS: u64 = 600_000_000_000;

/// What identifies a message of a stream, even if the server used its sequence twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    sequence: u64,
    published_unix_nanos: u64,
}

impl Identity {
    pub(super) fn of(message: &Message) -> Identity {
        let Message { sequence, published_unix_nanos, .. } = *message;
        Identity { sequence, published_unix_nanos }
    }

    /// That of the message in a fact, where it is one of this stream, given by cluster and name.
    pub(super) fn of_fact(fact: &Fact<'_>, (of, named): (&str, &str)) -> Option<Identity> {
        let (Delivery { cluster, stream, sequence, published_unix_nanos, .. }, _) = fact.message()?;
        let (sequence, published_unix_nanos) = (*sequence, *published_unix_nanos);
        (*cluster == of && *stream == named).then_some(Identity { sequence, published_unix_nanos })
    }
}

/// Those of the messages that are in the log. Reads it from when the oldest of them was published: a record is not older than
/// its message. What cannot be read is not known, so it is recorded again rather than lost.
///
/// On the thread of the recorder it takes up to a second for 10,000,000 records, which is rare: a deep backlog of a subject
/// that was not wanted before.
pub(super) fn recorded<D: Disk>(
    log: &Reader<D>,
    stream: (&str, &str),
    tail: Option<Tail>,
    messages: &[&Message],
) -> HashSet<Identity> {
    let wanted: HashSet<Identity> = messages.iter().copied().map(Identity::of).collect();
    let mut found = HashSet::new();
    let oldest = messages.iter().map(|message| message.published_unix_nanos).min().unwrap_or_default();
    let from = oldest.saturating_sub(CLOCK_SKEW_NANOS).saturating_sub(tail.map_or(0, |tail| ahead_nanos(log, tail)));
    let from = log.offset_at(from).unwrap_or_else(|_| log.start());
    let mut scan = log.scan(from);
    while found.len() < wanted.len() {
        match scan.next() {
            Ok(Some(record)) => {
                let fact = Fact::decode(record.payload).ok();
                let identity = fact.and_then(|fact| Identity::of_fact(&fact, stream));
                found.extend(identity.filter(|identity| wanted.contains(identity)));
            }
            Ok(None) => break,
            Err(lifeline_store::Error::Damaged { offsets, .. }) => scan.seek(offsets.end),
            Err(error) => {
                warn!("messages that came late may be recorded twice, the log cannot be read: {}", chain(&error));
                break;
            }
        }
    }
    found
}

/// How far the clock of the server was ahead of ours at the last recorded message.
fn ahead_nanos<D: Disk>(log: &Reader<D>, tail: Tail) -> u64 {
    let recorded_at = log.read(tail.record).ok().flatten().map_or(0, |record| record.time_unix_nanos);
    tail.published_unix_nanos.saturating_sub(recorded_at)
}
