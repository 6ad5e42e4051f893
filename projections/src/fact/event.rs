//! Facts about messages: [`EventReceived`], [`EventRejected`] and [`MarkerFound`].

use std::borrow::Cow;

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use super::order::{Order, Place};

/// Where a message was in JetStream. Cluster, stream, epoch and sequence together name one message for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery<'a> {
    /// The cluster whose NATS it came from, `mgmt/mgmt` for the own one.
    pub cluster: &'a str,
    /// JetStream stream. `$NATS.` and the subject for a message that came by a plain subscription: its sequence is counted by the
    /// log, and its time is that of its arrival.
    pub stream: &'a str,
    /// How often a stream of this name began, from 1. It begins again when it is recreated, restored, or loses its end.
    pub epoch: u32,
    /// Stream sequence.
    pub sequence: u64,
    /// When the server stored it, in nanoseconds since 1970.
    pub published_unix_nanos: u64,
    /// NATS subject it was published on.
    pub subject: &'a str,
}

/// What the names begin with that records have for subjects without a stream. A stream's name has no dot.
pub const PLAIN_PREFIX: &str = "$NATS.";

/// The subject of such a name; `None` for the name of a stream.
#[must_use]
pub fn plain_subject(stream: &str) -> Option<&str> {
    stream.strip_prefix(PLAIN_PREFIX)
}

/// What a trigger made of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision<'a> {
    /// EventTrigger.
    pub trigger: &'a str,
    /// EventSource whose criterion matched.
    pub event_source: &'a str,
    /// Index of that criterion in `messagingMatchCriteria`, from 0.
    pub criterion: u16,
    /// Create, Delete, or nothing with the reason.
    pub ruling: Ruling<'a>,
}

/// What a trigger can make of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ruling<'a> {
    /// The resource's objects shall exist.
    Create,
    /// They shall not.
    Delete,
    /// `cloudEventAction` gave another text, which is kept.
    NoAction(#[serde(borrow)] Cow<'a, str>),
    /// `cloudEventAction` could not be rendered; the error is kept.
    Failed(#[serde(borrow)] Cow<'a, str>),
}

impl Ruling<'_> {
    /// Whether it says what shall hold: Create or Delete.
    #[must_use]
    pub const fn decides(&self) -> bool {
        matches!(self, Ruling::Create | Ruling::Delete)
    }
}

/// A message arrived and is a CloudEvent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReceived<'a> {
    /// Where it came from.
    #[serde(borrow)]
    pub delivery: Delivery<'a>,
    /// CloudEvent `source`.
    pub source: &'a str,
    /// CloudEvent `subject`.
    pub subject: &'a str,
    /// CloudEvent `type`.
    pub kind: &'a str,
    /// CloudEvent `id`.
    pub id: &'a str,
    /// The record before this one about the same resource.
    pub previous: Option<Offset>,
    /// What the rules in force made of it, by trigger name.
    pub decisions: Vec<Decision<'a>>,
    /// All headers of the message, sorted by name.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The payload, byte for byte.
    #[serde(with = "raw")]
    pub payload: &'a [u8],
    /// The rejection after which the message was taken up again; `None` for a message as it arrived. It is in a part of its own
    /// on disk, so that the bytes of all other events stay the same.
    #[serde(skip)]
    pub redriven: Option<Redriven<'a>>,
    /// Its place among the events of its resource; `None` where it is later than all that were recorded before it, and in the
    /// records of releases that knew no order. It is in a part of its own on disk too.
    #[serde(skip)]
    pub order: Option<Order<'a>>,
}

impl EventReceived<'_> {
    /// The place of a trigger's decision, where there is something to be said of it.
    #[must_use]
    pub fn place(&self, trigger: &str) -> Option<&Place<'_>> {
        self.order.iter().flat_map(|order| &order.places).find(|place| place.trigger == trigger)
    }

    /// Whether a trigger's decision counts, if it decides. One that does not changes nothing.
    #[must_use]
    pub fn counts(&self, trigger: &str) -> bool {
        self.place(trigger).is_none_or(|place| place.overtaken_by.is_none())
    }

    /// Whether an event that was recorded before it is later in the order of streams.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.is_late)
    }
}

/// That a rejected message was taken up again, because it is read as an event by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven<'a> {
    /// The record by which it was rejected. Each is taken up again once at most.
    pub of: Offset,
    /// Who asked for it: the name that was authenticated, or `anybody`.
    pub by: &'a str,
    /// Why, in the words of who asked.
    pub reason: &'a str,
}

/// A message arrived and is no CloudEvent. It is kept whole, so that nothing is lost by a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRejected<'a> {
    /// Where it came from.
    #[serde(borrow)]
    pub delivery: Delivery<'a>,
    /// Why.
    pub reason: &'a str,
    /// All its headers.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The payload, byte for byte.
    #[serde(with = "raw")]
    pub payload: &'a [u8],
}

/// A message arrived that the server wrote itself: it says that what a subject held is gone (ADR-43, nats-server 2.11
/// and later). It is no event, and nobody's mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkerFound<'a> {
    /// Where it came from.
    #[serde(borrow)]
    pub delivery: Delivery<'a>,
    /// Why it is gone, in the server's word: `MaxAge`, `Purge` or `Remove`.
    pub reason: &'a str,
    /// All its headers.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The payload, byte for byte; as a rule there is none.
    #[serde(with = "raw")]
    pub payload: &'a [u8],
}

/// Bytes as bytes: serde alone would write them as a sequence of numbers, one by one.
mod raw {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &&[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_bytes(bytes)
    }

    pub fn deserialize<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<&'a [u8], D::Error> {
        <&'a [u8]>::deserialize(from)
    }
}
