//! What is known beside the resources: how far each stream is recorded, the rules last recorded, what was replayed.
//!
//! Start at [`Ground`]. It is small, and written whole.

use std::collections::BTreeMap;

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use super::Projection;
use crate::fact::Delivery;

/// How far one stream has been recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// The current epoch, from 1.
    pub epoch: u32,
    /// When the server says that the stream was created, in nanoseconds since 1970.
    pub created_unix_nanos: u64,
    /// Every message below this sequence is recorded, or recorded as missing.
    pub next_sequence: u64,
    /// The record of the last message, with the time the server stored it; `None` before the first of the epoch.
    pub tail: Option<Tail>,
    /// When the server stored the newest message recorded, over all epochs, in nanoseconds since 1970; 0 before the first.
    pub recorded_until_unix_nanos: u64,
    /// Events recorded, over all epochs.
    pub received: u64,
    /// Messages recorded as rejected, over all epochs.
    pub rejected: u64,
    /// Messages recorded as missing, over all epochs.
    pub missing: u64,
}

/// The last message recorded from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Its record.
    pub record: Offset,
    /// Its stream sequence.
    pub sequence: u64,
    /// When the server stored it, in nanoseconds since 1970.
    pub published_unix_nanos: u64,
}

/// A rule as last recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMark {
    /// Checksum of its content.
    pub digest: u64,
    /// The record that says so.
    pub record: Offset,
}

/// A trigger whose history is decided under its current rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayMark {
    /// Checksum of everything the trigger is made of.
    pub digest: u64,
    /// Whether it leaves its objects when it goes.
    pub leaves: bool,
}

/// The part of the state that is not about single resources. Small, written whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// First offset not folded.
    pub watermark: Offset,
    /// When the last folded record was written, in nanoseconds since 1970.
    pub folded_unix_nanos: u64,
    /// Position by (cluster, stream).
    pub streams: BTreeMap<(String, String), StreamPosition>,
    /// The rules last recorded, by name such as `EventTrigger/manage-namespace`.
    pub rules: BTreeMap<String, RuleMark>,
    /// The triggers whose history was last replayed with these rules.
    pub replayed: BTreeMap<Box<str>, ReplayMark>,
    /// Every record that ever said what a rule is: with them an earlier rule is told without a search.
    pub rule_records: Vec<Offset>,
}

impl Projection {
    pub(super) fn position(&mut self, cluster: &str, stream: &str) -> &mut StreamPosition {
        // One or two streams at most: a look-up that allocates only for a new one, and compares names once.
        let streams = &mut self.ground.streams;
        let known = streams.keys().position(|(of, known)| of == cluster && known == stream);
        match known {
            Some(known) => streams.values_mut().nth(known).expect("it was just found"),
            None => streams.entry((cluster.to_owned(), stream.to_owned())).or_default(),
        }
    }

    pub(super) fn advance(&mut self, offset: Offset, delivery: &Delivery<'_>) -> &mut StreamPosition {
        let position = self.position(delivery.cluster, delivery.stream);
        position.epoch = delivery.epoch;
        position.next_sequence = delivery.sequence.saturating_add(1);
        let (sequence, published_unix_nanos) = (delivery.sequence, delivery.published_unix_nanos);
        position.tail = Some(Tail { record: offset, sequence, published_unix_nanos });
        position.recorded_until_unix_nanos = position.recorded_until_unix_nanos.max(published_unix_nanos);
        position
    }
}

/// What a record says about a rule.
pub(crate) fn change_rule(rules: &mut BTreeMap<String, RuleMark>, rule: &str, digest: Option<u64>, record: Offset) {
    match digest {
        Some(digest) => {
            rules.insert(rule.to_owned(), RuleMark { digest, record });
        }
        None => {
            rules.remove(rule);
        }
    }
}
