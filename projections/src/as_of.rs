//! The state as it was: a fresh projection, folded up to a moment.
//!
//! Start at [`projection`]. Nothing is kept for it and nothing is guessed: it reads the log from its first record, so it
//! is as exact as the present state and costs time in proportion to the log. It refuses where the first records are no
//! longer held, since a state folded from the middle would be another one.

use lifeline_store::{Disk, Offset, Reader};

use crate::fact::{self, Fact};
use crate::fold::Projection;

/// A point in the log that a question can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Every record below this offset: the `offset` of an earlier answer.
    Offset(Offset),
    /// Every record written up to this time, in nanoseconds since 1970.
    Time(u64),
}

/// Why a state cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an offset and not a time.
    #[error("`{text}` is neither an offset nor an RFC 3339 time such as `2026-11-22T14:12:03Z`")]
    Moment {
        /// What was given.
        text: String,
    },
    /// The log does not reach that far yet.
    #[error("offset `{offset}` is not reached yet, the log ends at `{end}`")]
    Ahead {
        /// The offset asked for.
        offset: Offset,
        /// The first offset that is not recorded.
        end: Offset,
    },
    /// Retention has removed the beginning of the log.
    #[error("the log no longer holds the records below `{start}`, without which an earlier state cannot be told")]
    Forgotten {
        /// The first offset still held.
        start: Offset,
    },
    /// The log refused.
    #[error("the log cannot be read")]
    Log(#[from] lifeline_store::Error),
    /// A record does not decode.
    #[error("record at offset `{offset}` cannot be understood")]
    Fact {
        /// The record.
        offset: Offset,
        /// Why.
        #[source]
        source: fact::Error,
    },
}

impl std::str::FromStr for Moment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Moment, Error> {
        if let Ok(offset) = text.parse::<u64>() {
            return Ok(Moment::Offset(Offset::from(offset)));
        }
        let time: Option<jiff::Timestamp> = text.parse().ok();
        let nanos = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
        nanos.map(Moment::Time).ok_or_else(|| Error::Moment { text: text.to_owned() })
    }
}

impl Moment {
    /// The first offset that the state at this moment does not hold.
    ///
    /// # Errors
    /// When the log does not reach that far, or cannot be read.
    pub fn end<D: Disk>(self, log: &Reader<D>) -> Result<Offset, Error> {
        let end = log.end();
        match self {
            Moment::Offset(offset) if offset > end => Err(Error::Ahead { offset, end }),
            Moment::Offset(offset) => Ok(offset),
            Moment::Time(unix_nanos) => Ok(log.offset_at(unix_nanos.saturating_add(1))?.min(end)),
        }
    }
}

/// The state at a moment.
///
/// # Errors
/// When the log does not reach that far, no longer begins at its beginning, or cannot be read or understood.
pub fn projection<D: Disk>(log: &Reader<D>, moment: Moment) -> Result<Projection, Error> {
    let end = moment.end(log)?;
    let start = log.start();
    if start > Offset::ZERO {
        return Err(Error::Forgotten { start });
    }
    let mut projection = Projection::default();
    let mut work = Vec::new();
    let mut scan = log.scan(start);
    while scan.position() < end
        && let Some(record) = scan.next()?
    {
        let offset = record.offset;
        let fact = Fact::decode(record.payload).map_err(|source| Error::Fact { offset, source })?;
        projection.fold(offset, record.time_unix_nanos, &fact, &mut work);
        work.clear();
    }
    Ok(projection)
}
