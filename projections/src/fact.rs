//! What a log record says, in the past tense, and the one codec that turns it into bytes and back.
//!
//! Layout of a record's payload: one byte [`VERSION`], then the [`Fact`] in bincode's standard configuration
//! (little-endian, variable-length integers; `bincode` 2 `docs/spec.md`). The time and the offset of a record belong to
//! the log and are not repeated here. Decoding borrows from the payload, and names that are short need no allocation: facts
//! are read by the million.
//!
//! Every fact that speaks of resources carries `previous`: the offset of the record before it that spoke of the same
//! resource. History is read by following that chain, so no index entry per event is needed.

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// The version byte that opens every payload. A golden file pins it; a change of layout takes the next number.
pub const VERSION: u8 = 1;

/// The longest collection that decoding will believe, in bytes: damaged lengths must not ask for the machine's memory.
const DECODED_BYTES_MAX: usize = 64 << 20;

/// Who an event speaks of: the exact bytes of its CloudEvent source and subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// CloudEvent `source`.
    pub source: SmolStr,
    /// CloudEvent `subject`; a missing one is the empty string.
    pub subject: SmolStr,
}

/// One trigger's view of one resource on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LifecycleKey {
    /// Name of the EventTrigger.
    pub trigger: SmolStr,
    /// `namespace/name` of the cluster; the own one is `mgmt/mgmt`.
    pub cluster: SmolStr,
    /// The resource.
    pub resource: ResourceKey,
}

/// An object of Kubernetes by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// API group; empty for the core group.
    pub group: SmolStr,
    /// API version within the group, such as `v1`.
    pub version: SmolStr,
    /// Kind, such as `Namespace`.
    pub kind: SmolStr,
    /// Namespace; `None` for a cluster-scoped object.
    pub namespace: Option<SmolStr>,
    /// Name.
    pub name: SmolStr,
}

impl ObjectKey {
    /// `apiVersion` as a manifest writes it.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether `other` is the namespace it stands in: it goes when that goes.
    #[must_use]
    pub fn is_in(&self, other: &ObjectKey) -> bool {
        other.group.is_empty() && other.kind == "Namespace" && self.namespace.as_ref() == Some(&other.name)
    }

    /// `Kind/name`, or `Kind/namespace/name`: what a person calls it.
    #[must_use]
    pub fn short(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}/{namespace}/{}", self.kind, self.name),
            None => format!("{}/{}", self.kind, self.name),
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.group.is_empty() {
            write!(out, "{} ", self.group)?;
        }
        out.write_str(&self.short())
    }
}

/// Where a message stood in JetStream. Cluster, stream, epoch and sequence together name one message for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery<'a> {
    /// The cluster whose NATS it came from, `mgmt/mgmt` for the own one.
    pub cluster: &'a str,
    /// JetStream stream.
    pub stream: &'a str,
    /// Counts the times this stream's name began anew (recreated, restored); the first is 1.
    pub epoch: u32,
    /// Stream sequence.
    pub sequence: u64,
    /// When the server stored it, in nanoseconds since 1970.
    pub published_unix_nanos: u64,
    /// NATS subject it was published on.
    pub subject: &'a str,
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
    pub outcome: Outcome<'a>,
}

/// The three things a trigger can make of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<'a> {
    /// The resource's objects shall exist.
    Create,
    /// They shall not.
    Delete,
    /// `cloudEventAction` gave another text, which is kept.
    NoAction(#[serde(borrow)] std::borrow::Cow<'a, str>),
    /// `cloudEventAction` could not be rendered; the message is kept.
    Failed(#[serde(borrow)] std::borrow::Cow<'a, str>),
}

/// An object that an apply left in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedObject {
    /// The object.
    pub object: ObjectKey,
    /// `metadata.uid` the cluster gave it.
    pub uid: String,
    /// Checksum of the manifest as it was sent; the same one need not be sent again.
    pub digest: u64,
}

/// A change of desired state that came from rules rather than from a new event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redecision {
    /// The lifecycle's cluster.
    pub cluster: SmolStr,
    /// The lifecycle's resource.
    pub resource: ResourceKey,
    /// What shall hold from now on.
    pub desired: Redesired,
    /// The record before this one that spoke of the same resource.
    pub previous: Option<Offset>,
}

/// What a replay found that should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Redesired {
    /// Present, as this event says; `incarnation` as the events count it.
    Present {
        /// The latest Create event.
        event: Offset,
        /// Creates after Deletes, from 1.
        incarnation: u32,
    },
    /// Absent, as this event says, or because the trigger is gone (`None`).
    Absent {
        /// The Delete event.
        event: Option<Offset>,
    },
    /// The trigger is gone and its `stopMatchingBehavior` is `LeavePolicies`: objects stay, unowned.
    Left,
}

/// What one record says happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact<'a> {
    /// A message arrived and is a CloudEvent.
    EventReceived {
        /// Where it came from.
        #[serde(borrow)]
        delivery: Delivery<'a>,
        /// CloudEvent `source`.
        source: &'a str,
        /// CloudEvent `subject`.
        subject: &'a str,
        /// CloudEvent `type`.
        kind: &'a str,
        /// CloudEvent `id`.
        id: &'a str,
        /// The record before this one about the same resource.
        previous: Option<Offset>,
        /// What the rules in force made of it, by trigger name.
        decisions: Vec<Decision<'a>>,
        /// The headers a CloudEvent can lie in (`ce-*`, `Content-Type`); none for most structured events.
        headers: Vec<(&'a str, &'a str)>,
        /// The payload, byte for byte.
        #[serde(with = "raw")]
        payload: &'a [u8],
    },
    /// A message arrived and is no CloudEvent. It is kept whole, so that nothing is lost by a refusal.
    EventRejected {
        /// Where it came from.
        #[serde(borrow)]
        delivery: Delivery<'a>,
        /// Why.
        reason: &'a str,
        /// All its headers.
        headers: Vec<(&'a str, &'a str)>,
        /// The payload, byte for byte.
        #[serde(with = "raw")]
        payload: &'a [u8],
    },
    /// A stream was met for the first time, or began anew under its old name.
    StreamOpened {
        /// The cluster.
        cluster: &'a str,
        /// The stream.
        stream: &'a str,
        /// Its epoch from here on.
        epoch: u32,
        /// When the server says it was created, in nanoseconds since 1970.
        created_unix_nanos: u64,
        /// First sequence that will be asked for.
        start_sequence: u64,
        /// Why a new epoch began; empty for the first.
        reason: &'a str,
    },
    /// Messages that the stream no longer holds were never recorded.
    GapFound {
        /// The cluster.
        cluster: &'a str,
        /// The stream.
        stream: &'a str,
        /// Its epoch.
        epoch: u32,
        /// First sequence missing.
        from_sequence: u64,
        /// First sequence after the gap.
        to_sequence: u64,
    },
    /// A rule appeared, changed, or went.
    RuleChanged {
        /// `EventSource/name`, `EventTrigger/name`, `ConfigMap/namespace/name` or `Secret/namespace/name`.
        rule: &'a str,
        /// Checksum of its content; `None` when it went.
        digest: Option<u64>,
        /// The manifest as JSON; empty when it went, and for a Secret, whose content has no place in a log.
        manifest: &'a str,
    },
    /// A trigger's rules changed and the events already held were decided again. Only differences are listed.
    TriggerReplayed {
        /// The trigger.
        trigger: SmolStr,
        /// Checksum of everything it is made of; `None` when it went.
        digest: Option<u64>,
        /// Whether it leaves its objects when it goes (`stopMatchingBehavior: LeavePolicies`).
        leaves: bool,
        /// False while further records about the same replay follow: a crash between them means that it starts over.
        complete: bool,
        /// The differences, by resource.
        redecisions: Vec<Redecision>,
    },
    /// These objects are about to be applied, or removed while others stay. From here on the lifecycle claims them, and their
    /// checksums are unknown until an outcome is recorded.
    ApplyIntended {
        /// The lifecycle.
        key: LifecycleKey,
        /// The decision acted for.
        acted_for: Offset,
        /// The record before this one about the same resource.
        previous: Option<Offset>,
        /// What the inventory grows by, or is about to lose.
        objects: Vec<ObjectKey>,
    },
    /// The lifecycle's objects are in the cluster as its decision asks.
    Applied {
        /// The lifecycle.
        key: LifecycleKey,
        /// The decision acted for.
        acted_for: Offset,
        /// The record before this one about the same resource.
        previous: Option<Offset>,
        /// All of them.
        objects: Vec<AppliedObject>,
    },
    /// An attempt to apply or delete did not succeed.
    ApplyFailed {
        /// The lifecycle.
        key: LifecycleKey,
        /// The decision acted for.
        acted_for: Offset,
        /// The record before this one about the same resource.
        previous: Option<Offset>,
        /// What did get applied before the failure.
        objects: Vec<AppliedObject>,
        /// The reason, and after a newline a hint where there is one.
        error: String,
        /// Attempts since the decision, from 1.
        attempt: u32,
        /// Whether time alone may heal it.
        transient: bool,
    },
    /// Objects of the lifecycle are gone from the cluster.
    Deleted {
        /// The lifecycle.
        key: LifecycleKey,
        /// The decision acted for.
        acted_for: Offset,
        /// The record before this one about the same resource.
        previous: Option<Offset>,
        /// Which.
        objects: Vec<ObjectKey>,
    },
    /// What stood at this offset was damaged on disk, and a repair found it nowhere else.
    RecordLost {
        /// What is known of it, in a sentence.
        reason: &'a str,
    },
    /// The lifecycle lets go of objects that belong to somebody else, or to the lifecycle that wants them next: they stay as
    /// they are.
    Released {
        /// The lifecycle.
        key: LifecycleKey,
        /// The decision acted for.
        acted_for: Offset,
        /// The record before this one about the same resource.
        previous: Option<Offset>,
        /// Which.
        objects: Vec<ObjectKey>,
    },
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
    /// Its checksum was right, so it was written like this.
    #[error("record does not decode as a fact")]
    Malformed(#[source] bincode::error::DecodeError),
    /// More bytes than the fact takes: bincode alone would accept them in silence.
    #[error("record has `{count}` bytes behind its fact")]
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
        bincode::serde::encode_into_writer(self, Appender(out), bincode::config::standard())
            .expect("a fact holds only what bincode can write, and a Vec takes all of it");
    }

    /// The lifecycle that an outcome speaks of; `None` for facts of other kinds.
    #[must_use]
    pub fn lifecycle_key(&self) -> Option<&LifecycleKey> {
        match self {
            Fact::ApplyIntended { key, .. }
            | Fact::Applied { key, .. }
            | Fact::ApplyFailed { key, .. }
            | Fact::Deleted { key, .. }
            | Fact::Released { key, .. } => Some(key),
            Fact::EventReceived { .. }
            | Fact::EventRejected { .. }
            | Fact::StreamOpened { .. }
            | Fact::GapFound { .. }
            | Fact::RuleChanged { .. }
            | Fact::TriggerReplayed { .. }
            | Fact::RecordLost { .. } => None,
        }
    }

    /// Fills in where the history of each resource it speaks of stood before: the writer of the log knows, whoever made
    /// the fact does not.
    pub fn link(&mut self, mut last_record: impl FnMut(&ResourceKey) -> Option<Offset>) {
        match self {
            Fact::ApplyIntended { key, previous, .. }
            | Fact::Applied { key, previous, .. }
            | Fact::ApplyFailed { key, previous, .. }
            | Fact::Deleted { key, previous, .. }
            | Fact::Released { key, previous, .. } => *previous = last_record(&key.resource),
            Fact::TriggerReplayed { redecisions, .. } => {
                for redecision in redecisions {
                    redecision.previous = last_record(&redecision.resource);
                }
            }
            // An event's attributes are borrowed; whoever makes that fact looks its resource up already.
            Fact::EventReceived { .. }
            | Fact::EventRejected { .. }
            | Fact::StreamOpened { .. }
            | Fact::GapFound { .. }
            | Fact::RuleChanged { .. }
            | Fact::RecordLost { .. } => {}
        }
    }

    /// Reads a fact, borrowing from `payload`.
    ///
    /// # Errors
    /// When the payload is of another version, malformed, or longer than its fact.
    pub fn decode(payload: &'a [u8]) -> Result<Fact<'a>, Error> {
        match payload.split_first() {
            Some((&VERSION, body)) => {
                let config = bincode::config::standard().with_limit::<DECODED_BYTES_MAX>();
                let (fact, read) = bincode::serde::borrow_decode_from_slice(body, config).map_err(Error::Malformed)?;
                if read == body.len() { Ok(fact) } else { Err(Error::Trailing { count: body.len() - read }) }
            }
            Some((&found, _)) => Err(Error::Version { found }),
            None => Err(Error::Malformed(bincode::error::DecodeError::UnexpectedEnd { additional: 1 })),
        }
    }
}

/// Writes to the end of a Vec. bincode's own way there leads through `std::io::Write`, which every field then pays for.
struct Appender<'v>(&'v mut Vec<u8>);

impl bincode::enc::write::Writer for Appender<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
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
