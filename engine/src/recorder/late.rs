//! Messages that came late: below sequences that were recorded. Most of them are in the log, but not all.
//!
//! Start at [`recorded`]. A consumer that is made again with more subjects is given messages that nobody asked for before, and
//! one that is shared is given what another reader let go of. Acknowledged without being recorded they would be lost.

use hashbrown::HashSet;
use lifeline_projections::fact::{Delivery, Fact};
use lifeline_store::{Disk, Reader};

use super::Error;
use crate::intake::Message;

/// How much earlier than its message a record may seem to be written: the clocks of two machines.
const CLOCK_SKEW_NANOS: u64 = 600_000_000_000;

/// What identifies a message of a stream, also where its sequence was given twice.
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
/// its message. What is damaged is not known, so it is recorded again rather than lost.
pub(super) fn recorded<D: Disk>(
    log: &Reader<D>,
    stream: (&str, &str),
    messages: &[Message],
) -> Result<HashSet<Identity>, Error> {
    let wanted: HashSet<Identity> = messages.iter().map(Identity::of).collect();
    let mut found = HashSet::new();
    let Some(oldest) = messages.iter().map(|message| message.published_unix_nanos).min() else { return Ok(found) };
    let mut scan = log.scan(log.offset_at(oldest.saturating_sub(CLOCK_SKEW_NANOS))?);
    while found.len() < wanted.len() {
        let record = match scan.next() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(lifeline_store::Error::Damaged { offsets, .. }) => {
                scan.seek(offsets.end);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let offset = record.offset;
        let fact = Fact::decode(record.payload).map_err(|source| Error::Fact { offset, source })?;
        found.extend(Identity::of_fact(&fact, stream).filter(|identity| wanted.contains(identity)));
    }
    Ok(found)
}
