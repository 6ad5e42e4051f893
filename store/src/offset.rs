//! [`Offset`]: the place of a record in the log.
//!
//! Offsets are dense: the first record is 0 and each next one is one more. A count and a size are different things and
//! have different types; nothing here knows about bytes or files.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The dense position of a record in the log; the first record ever appended is `Offset(0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(u64);

impl Offset {
    /// The position of the first record ever appended.
    pub const ZERO: Offset = Offset(0);

    /// An offset from its number.
    pub const fn new(number: u64) -> Offset {
        Offset(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset after this one.
    ///
    /// # Panics
    /// At `u64::MAX`, which a log that grows by a million records a second reaches after 584,000 years.
    pub const fn next(self) -> Offset {
        Offset(self.0.checked_add(1).expect("an offset stays below `u64::MAX`"))
    }
}

/// Records that follow each other, as people read it: `record 5`, `records 5 to 7`. They end before the second offset; there has
/// to be one at least.
#[must_use]
pub fn records(offsets: &Range<Offset>) -> String {
    match (offsets.start.get(), offsets.end.get().saturating_sub(1)) {
        (first, last) if last <= first => format!("record `{first}`"),
        (first, last) => format!("records `{first}` to `{last}`"),
    }
}

impl From<u64> for Offset {
    fn from(number: u64) -> Offset {
        Offset(number)
    }
}

impl From<Offset> for u64 {
    fn from(offset: Offset) -> u64 {
        offset.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
