//! Which of two events about one resource is the later one.
//!
//! Start at [`Precedence::is_later_than`]. Pure and total; the recorder, a replay and the simulation ask the same functions.
//!
//! Within one stream the sequence says it. Across streams the time says it at which the server stored the message; where
//! two are equal, the name of the stream. So that this is one order without circles, the time that counts never goes back
//! within an epoch of a stream: see [`counted`]. A stream that was made again, or restored, is told apart by its epoch
//! alone, so a restored message, which keeps its time, is as old as it ever was.
//!
//! A trigger may ask for the CloudEvent's own `time`, or its extension `sequence`, instead. A `time` far ahead of the time
//! that counts is cut ([`AHEAD_MAX_NANOS`]); an event without one is ordered by the time that counts. Two events of which
//! one has no `sequence` are ordered by their streams; then more than two events may have no common order, and the order
//! in which they were recorded decides too.
//!
//! The order of streams is a total order. It decides what is recorded, not how records are folded: an event that a release before
//! this one recorded counts as later than all that were recorded before it, as it did then.
//!
//! Never here: rules, or a clock.

use std::cmp::Ordering;

use smol_str::SmolStr;

use crate::event::{CloudEvent, timestamp};
use crate::fact::{EventReceived, OrderBy};

/// How much later than its record a message may count, and the `time` of an event later than its message, in nanoseconds: a
/// clock that ran years ahead for a moment must not overtake the events of years.
pub const AHEAD_MAX_NANOS: u64 = 60_000_000_000;

/// The time that counts of a message, in nanoseconds since 1970: the one at which the server stored it, but not far ahead of
/// the record, and never before `until_unix_nanos`, that of the messages before it in its stream (0 where there are none).
#[must_use]
pub fn counted(published_unix_nanos: u64, recorded_unix_nanos: u64, until_unix_nanos: u64) -> u64 {
    published_unix_nanos.min(recorded_unix_nanos.saturating_add(AHEAD_MAX_NANOS)).max(until_unix_nanos)
}

/// The time that counts of an event whose record has, or will have, this time.
#[must_use]
pub fn counted_of(event: &EventReceived<'_>, recorded_unix_nanos: u64) -> u64 {
    match &event.order {
        Some(order) => order.counted_unix_nanos,
        None => counted(event.delivery.published_unix_nanos, recorded_unix_nanos, 0),
    }
}

/// The place of an event in the order of streams: the later one is the greater one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    // The order of the fields is the order of what decides.
    counted_unix_nanos: u64,
    stream: SmolStr,
    cluster: SmolStr,
    epoch: u32,
    sequence: u64,
}

impl Rank {
    /// That of an event whose record has, or will have, this time.
    #[must_use]
    pub fn of(event: &EventReceived<'_>, recorded_unix_nanos: u64) -> Rank {
        let delivery = &event.delivery;
        Rank {
            counted_unix_nanos: counted_of(event, recorded_unix_nanos),
            stream: delivery.stream.into(),
            cluster: delivery.cluster.into(),
            epoch: delivery.epoch,
            sequence: delivery.sequence,
        }
    }
}

/// What an event has of its own to be ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Own {
    /// `time`, in nanoseconds since 1970.
    Time(i128),
    /// `sequence`, without sign and leading zeros.
    Sequence {
        /// Whether it is a number below zero.
        is_negative: bool,
        digits: SmolStr,
    },
}

/// All that the order of an event is by, for one trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precedence {
    rank: Rank,
    own: Option<Own>,
    by: OrderBy,
}

impl Precedence {
    /// That of an event whose record has, or will have, this time, as a trigger orders it.
    #[must_use]
    pub fn of(by: OrderBy, event: &EventReceived<'_>, recorded_unix_nanos: u64) -> Precedence {
        Precedence { rank: Rank::of(event, recorded_unix_nanos), own: own(by, event), by }
    }

    /// Whether the event lacks what the trigger asks for.
    #[must_use]
    pub fn falls_back(&self) -> bool {
        self.by != OrderBy::Stream && self.own.is_none()
    }

    /// What the trigger asks for.
    #[must_use]
    pub fn by(&self) -> OrderBy {
        self.by
    }

    /// Whether it is later than another, which is of the same trigger. Of two equal ones neither is.
    #[must_use]
    pub fn is_later_than(&self, other: &Precedence) -> bool {
        self.compare(other).then_with(|| self.rank.cmp(&other.rank)) == Ordering::Greater
    }

    fn compare(&self, other: &Precedence) -> Ordering {
        match (self.by, &self.own, &other.own) {
            (OrderBy::Time, _, _) => self.time().cmp(&other.time()),
            (
                OrderBy::Sequence,
                Some(Own::Sequence { is_negative, digits: one }),
                Some(Own::Sequence { is_negative: other_is_negative, digits: other }),
            ) => {
                let distance = (one.len(), one).cmp(&(other.len(), other));
                let distance = if *is_negative { distance.reverse() } else { distance };
                other_is_negative.cmp(is_negative).then(distance)
            }
            _ => Ordering::Equal,
        }
    }

    /// The event's own time, but not far ahead of the one that counts: one event of a clock that ran ahead by years must not
    /// overtake the events of years.
    fn time(&self) -> i128 {
        let counted = i128::from(self.rank.counted_unix_nanos);
        match self.own {
            Some(Own::Time(nanos)) => nanos.min(counted + i128::from(AHEAD_MAX_NANOS)),
            Some(Own::Sequence { .. }) | None => counted,
        }
    }
}

fn own(by: OrderBy, event: &EventReceived<'_>) -> Option<Own> {
    if by == OrderBy::Stream {
        return None;
    }
    let attributes = CloudEvent::to_map(&event.headers, event.payload).ok()?;
    let text = |name: &str| match attributes.get(name)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match by {
        OrderBy::Stream => None,
        OrderBy::Time => Some(Own::Time(timestamp(&text("time")?)?.as_nanosecond())),
        // Numbers as they are written, and texts of one width, as the extension asks for: sign and leading zeros aside the
        // shorter one is the smaller one, and of two of one length the one whose bytes are.
        OrderBy::Sequence => {
            let text = text("sequence").filter(|text| !text.is_empty())?;
            let is_number = |rest: &&str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
            let below = text.strip_prefix('-').filter(is_number);
            let number = below.or_else(|| text.strip_prefix('+').filter(is_number)).unwrap_or(&text);
            let digits = SmolStr::from(number.trim_start_matches('0'));
            Some(Own::Sequence { is_negative: below.is_some() && !digits.is_empty(), digits })
        }
    }
}

#[cfg(test)]
mod tests;
