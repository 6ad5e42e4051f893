//! What is recorded of an event's place among the events of its resource: [`Order`].

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// What says which of two events is the later one. See [`crate::order`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderBy {
    /// The time at which the server stored it; within one stream its sequence.
    #[default]
    Stream,
    /// The CloudEvent's own `time`.
    Time,
    /// Its extension `sequence`.
    Sequence,
}

impl OrderBy {
    /// The word that rules and answers have for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            OrderBy::Stream => "stream",
            OrderBy::Time => "time",
            OrderBy::Sequence => "sequence",
        }
    }
}

/// An event's place among those of its resource, where it has to be said: it is not simply the latest one.
///
/// It is in a part of its own on disk, so that the bytes of all other events stay the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order<'a> {
    /// The time that counts, in nanoseconds since 1970: that of its message, or another one where the server's clock went back or
    /// is far ahead.
    pub counted_unix_nanos: u64,
    /// Whether an event that was recorded before it is later in the order of streams. Invariant: where it is false, every event
    /// about the resource that was recorded before is earlier in the order of streams.
    pub is_late: bool,
    /// What is to be said of decisions, by trigger name.
    #[serde(borrow)]
    pub places: Vec<Place<'a>>,
}

impl Order<'_> {
    /// Whether a later event overtook one of its decisions.
    #[must_use]
    pub const fn is_overtaken(&self) -> bool {
        let mut at = 0;
        while at < self.places.len() {
            if self.places.as_slice()[at].overtaken_by.is_some() {
                return true;
            }
            at += 1;
        }
        false
    }
}

/// The place of a decision among those of its lifecycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place<'a> {
    /// EventTrigger.
    pub trigger: &'a str,
    /// What its order is by.
    pub by: OrderBy,
    /// Whether the event lacks what that is, so that the order of streams was asked instead.
    pub falls_back: bool,
    /// The later event that decided already, so that this decision changes nothing; `None` where it counts.
    pub overtaken_by: Option<Later>,
}

/// The later event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    /// Its record.
    pub offset: Offset,
    /// When the server stored it, in nanoseconds since 1970.
    pub published_unix_nanos: u64,
    /// Its stream.
    pub stream: SmolStr,
}
