//! The bytes of a fact. It is the only file that knows them.
//!
//! A payload is one byte [`VERSION`], then the kind of the fact and its fields in bincode's standard configuration
//! (little-endian, variable-length integers; `bincode` 2 `docs/spec.md`). Kinds are numbered in the order in which they
//! came up, and keep their numbers. Decoding borrows from the payload, and names that are short need no allocation:
//! facts are read by the million.

use bincode::config;
use bincode::error::{DecodeError, EncodeError};
use serde::{Deserialize, Serialize};

use super::{
    AppliedObject, EventReceived, Fact, FailedAttempt, Reconciled, RecordLost, StreamChange, StreamChanged,
    TriggerReplayed, What,
};

/// The version byte that opens every payload. A golden file pins it; a change of layout takes the next number.
pub const VERSION: u8 = 1;

/// The longest collection that decoding will believe, in bytes: damaged lengths must not ask for the machine's memory.
const DECODED_BYTES_MAX: usize = 64 << 20;

/// The kinds of version 1.
mod kind {
    pub(super) const EVENT_RECEIVED: u32 = 0;
    pub(super) const EVENT_REJECTED: u32 = 1;
    pub(super) const STREAM_OPENED: u32 = 2;
    pub(super) const GAP_FOUND: u32 = 3;
    pub(super) const RULE_CHANGED: u32 = 4;
    pub(super) const TRIGGER_REPLAYED: u32 = 5;
    pub(super) const APPLY_INTENDED: u32 = 6;
    pub(super) const APPLIED: u32 = 7;
    pub(super) const APPLY_FAILED: u32 = 8;
    pub(super) const DELETED: u32 = 9;
    pub(super) const RECORD_LOST: u32 = 10;
    pub(super) const RELEASED: u32 = 11;
    pub(super) const EVENT_REDRIVEN: u32 = 12;
    pub(super) const RECREATED: u32 = 17;
    pub(super) const DRIFTED: u32 = 15;
    /// [`APPLIED`] or [`APPLY_FAILED`] of which checksums of fields are known.
    pub(super) const APPLIED_FIELDS: u32 = 16;
    /// [`TRIGGER_REPLAYED`] that says what may be withdrawn.
    pub(super) const WITHDRAWAL_ALLOWED: u32 = 24;
    /// An event whose place among those of its resource is said.
    pub(super) const EVENT_ORDERED: u32 = 13;
    /// The same, of a message that was taken up again.
    pub(super) const EVENT_REDRIVEN_ORDERED: u32 = 14;
    pub(super) const MARKER_FOUND: u32 = 18;
    pub(super) const ALTERED: u32 = 21;
    pub(super) const GATHERED: u32 = 22;
    pub(super) const HOLES_FOUND: u32 = 25;
}

/// A payload that cannot be read as a fact.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Written by a release with another layout.
    #[error(
        "record has version `{found}`, this release reads version `{VERSION}`\nhint: open the log with the release that wrote it"
    )]
    Version {
        /// The version byte.
        found: u8,
    },
    /// Written by a release that knows more kinds of facts.
    #[error(
        "record is a fact of kind `{found}`, which this release does not know\nhint: it was written by a newer release; open \
         the log with that one"
    )]
    Kind {
        /// The number of the kind.
        found: u32,
    },
    /// Its checksum was right, so it was written like this.
    #[error("record does not decode as a fact")]
    Malformed(#[source] DecodeError),
    /// More bytes than the fact takes: bincode alone would accept them in silence.
    #[error("record has `{count}` bytes after its fact")]
    Trailing {
        /// How many.
        count: usize,
    },
}

impl<'a> Fact<'a> {
    /// Appends the fact's bytes to `out`.
    ///
    /// # Panics
    /// When memory runs out; every fact can be encoded.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        match self {
            Fact::Event(event) => match (&event.redriven, &event.order) {
                (None, None) => put(out, (kind::EVENT_RECEIVED, event)),
                (Some(redriven), None) => put(out, (kind::EVENT_REDRIVEN, redriven, event)),
                (None, Some(order)) => put(out, (kind::EVENT_ORDERED, order, event)),
                (Some(redriven), Some(order)) => put(out, (kind::EVENT_REDRIVEN_ORDERED, order, redriven, event)),
            },
            Fact::Rejected(rejected) => put(out, (kind::EVENT_REJECTED, rejected)),
            Fact::Marker(marker) => put(out, (kind::MARKER_FOUND, marker)),
            Fact::Stream(StreamChanged { cluster, stream, epoch, change }) => match change {
                StreamChange::Opened { created_unix_nanos, start_sequence, reason } => {
                    put(out, (kind::STREAM_OPENED, cluster, stream, epoch, created_unix_nanos, start_sequence, reason));
                }
                StreamChange::Gap { from_sequence, to_sequence } => {
                    put(out, (kind::GAP_FOUND, cluster, stream, epoch, from_sequence, to_sequence));
                }
                StreamChange::Holes { from_sequence, to_sequence, up_to } => {
                    put(out, (kind::HOLES_FOUND, cluster, stream, epoch, from_sequence, to_sequence, up_to));
                }
            },
            Fact::Rule(rule) => put(out, (kind::RULE_CHANGED, rule)),
            Fact::Replay(replay) => match replay.allowance {
                None => put(out, (kind::TRIGGER_REPLAYED, replay)),
                Some(allowance) => put(out, (kind::WITHDRAWAL_ALLOWED, allowance, replay)),
            },
            Fact::Reconciled(Reconciled { key, acted_for, previous, what }) => {
                let whose = (key, acted_for, previous);
                match what {
                    What::Intended(objects) => put(out, (kind::APPLY_INTENDED, whose, objects)),
                    What::Applied(objects) if has_fields(objects) => {
                        let failed: Option<(&str, u32, bool)> = None;
                        put(out, (kind::APPLIED_FIELDS, whose, objects, fields(objects), failed));
                    }
                    What::Failed(FailedAttempt { objects, error, attempt, transient }) if has_fields(objects) => {
                        let failed = Some((error, attempt, transient));
                        put(out, (kind::APPLIED_FIELDS, whose, objects, fields(objects), failed));
                    }
                    What::Drifted(objects) => put(out, (kind::DRIFTED, whose, objects)),
                    What::Altered(altered) => put(out, (kind::ALTERED, whose, altered)),
                    What::Applied(objects) => put(out, (kind::APPLIED, whose, objects)),
                    What::Failed(FailedAttempt { objects, error, attempt, transient }) => {
                        put(out, (kind::APPLY_FAILED, whose, objects, error, attempt, transient));
                    }
                    What::Deleted(objects) => put(out, (kind::DELETED, whose, objects)),
                    What::Released(objects) => put(out, (kind::RELEASED, whose, objects)),
                    What::Recreated(recreated) => put(out, (kind::RECREATED, whose, recreated)),
                }
            }
            Fact::Gathered(gathered) => put(out, (kind::GATHERED, gathered)),
            Fact::Lost(RecordLost { reason }) => put(out, (kind::RECORD_LOST, reason)),
        }
    }

    /// Reads a fact, borrowing from `payload`.
    ///
    /// # Errors
    /// When the payload is of another version or of an unknown kind, malformed, or longer than its fact.
    pub fn decode(payload: &'a [u8]) -> Result<Fact<'a>, Error> {
        let mut fields = match payload.split_first() {
            Some((&VERSION, fields)) => Fields(fields),
            Some((&found, _)) => return Err(Error::Version { found }),
            None => return Err(Error::Malformed(DecodeError::UnexpectedEnd { additional: 1 })),
        };
        let fact = match fields.take()? {
            kind::EVENT_RECEIVED => Fact::Event(fields.take()?),
            kind::EVENT_REDRIVEN => {
                let redriven = Some(fields.take()?);
                Fact::Event(EventReceived { redriven, ..fields.take()? })
            }
            kind::EVENT_ORDERED => {
                let order = Some(fields.take()?);
                Fact::Event(EventReceived { order, ..fields.take()? })
            }
            kind::EVENT_REDRIVEN_ORDERED => {
                let (order, redriven) = (Some(fields.take()?), Some(fields.take()?));
                Fact::Event(EventReceived { order, redriven, ..fields.take()? })
            }
            kind::EVENT_REJECTED => Fact::Rejected(fields.take()?),
            kind::MARKER_FOUND => Fact::Marker(fields.take()?),
            kind::STREAM_OPENED => {
                let (cluster, stream, epoch, created_unix_nanos, start_sequence, reason) = fields.take()?;
                let change = StreamChange::Opened { created_unix_nanos, start_sequence, reason };
                Fact::Stream(StreamChanged { cluster, stream, epoch, change })
            }
            kind::GAP_FOUND => {
                let (cluster, stream, epoch, from_sequence, to_sequence) = fields.take()?;
                let change = StreamChange::Gap { from_sequence, to_sequence };
                Fact::Stream(StreamChanged { cluster, stream, epoch, change })
            }
            kind::HOLES_FOUND => {
                let (cluster, stream, epoch, from_sequence, to_sequence, up_to) = fields.take()?;
                let change = StreamChange::Holes { from_sequence, to_sequence, up_to };
                Fact::Stream(StreamChanged { cluster, stream, epoch, change })
            }
            kind::RULE_CHANGED => Fact::Rule(fields.take()?),
            kind::TRIGGER_REPLAYED => Fact::Replay(fields.take()?),
            kind::WITHDRAWAL_ALLOWED => {
                let allowance = Some(fields.take()?);
                Fact::Replay(TriggerReplayed { allowance, ..fields.take()? })
            }
            kind::GATHERED => Fact::Gathered(fields.take()?),
            kind::RECORD_LOST => Fact::Lost(RecordLost { reason: fields.take()? }),
            found => {
                let what: fn(&mut Fields<'a>) -> Result<What, Error> = match found {
                    kind::APPLY_INTENDED => |fields| Ok(What::Intended(fields.take()?)),
                    kind::APPLIED => |fields| Ok(What::Applied(fields.take()?)),
                    kind::APPLY_FAILED => |fields| {
                        let (objects, error, attempt, transient) = fields.take()?;
                        Ok(What::Failed(FailedAttempt { objects, error, attempt, transient }))
                    },
                    kind::DELETED => |fields| Ok(What::Deleted(fields.take()?)),
                    kind::RELEASED => |fields| Ok(What::Released(fields.take()?)),
                    kind::RECREATED => |fields| Ok(What::Recreated(fields.take()?)),
                    kind::DRIFTED => |fields| Ok(What::Drifted(fields.take()?)),
                    kind::ALTERED => |fields| Ok(What::Altered(fields.take()?)),
                    kind::APPLIED_FIELDS => Fields::applied,
                    found => return Err(Error::Kind { found }),
                };
                let (key, acted_for, previous) = fields.take()?;
                Fact::Reconciled(Reconciled { key, acted_for, previous, what: what(&mut fields)? })
            }
        };
        match fields.0 {
            [] => Ok(fact),
            rest => Err(Error::Trailing { count: rest.len() }),
        }
    }
}

fn has_fields(objects: &[AppliedObject]) -> bool {
    objects.iter().any(|object| object.fields != 0)
}

/// The checksums of fields, in the order of their objects.
fn fields(objects: &[AppliedObject]) -> Vec<u64> {
    objects.iter().map(|object| object.fields).collect()
}

fn put(out: &mut Vec<u8>, fields: impl Serialize) {
    bincode::serde::encode_into_writer(fields, Appender(out), config::standard())
        .expect("a fact holds only what bincode can write, and a Vec takes all of it");
}

/// The fields that are not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// What [`kind::APPLIED_FIELDS`] says.
    fn applied(&mut self) -> Result<What, Error> {
        type Failed = Option<(String, u32, bool)>;
        let (mut objects, fields, failed): (Vec<AppliedObject>, Vec<u64>, Failed) = self.take()?;
        // One without a partner would be lost in silence.
        if objects.len() != fields.len() {
            return Err(Error::Malformed(DecodeError::Other("as many checksums as objects")));
        }
        objects.iter_mut().zip(fields).for_each(|(object, fields)| object.fields = fields);
        Ok(match failed {
            None => What::Applied(objects),
            Some((error, attempt, transient)) => What::Failed(FailedAttempt { objects, error, attempt, transient }),
        })
    }

    fn take<T: Deserialize<'a>>(&mut self) -> Result<T, Error> {
        let config = config::standard().with_limit::<DECODED_BYTES_MAX>();
        let (value, read) = bincode::serde::borrow_decode_from_slice(self.0, config).map_err(Error::Malformed)?;
        self.0 = &self.0[read..];
        Ok(value)
    }
}

/// Writes to the end of a Vec. bincode's own way there leads through `std::io::Write`, which every field then pays for.
struct Appender<'v>(&'v mut Vec<u8>);

impl bincode::enc::write::Writer for Appender<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
