//! What a history says of one record: the entry, and what it names.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// The record.
    pub offset: u64,
    /// When it was recorded, RFC 3339; `null` for a record that cannot be read.
    pub time: Option<String>,
    /// What kind of fact it is, such as `EventReceived`; `Unreadable` for a record that cannot be read.
    pub fact: String,
    /// CloudEvent source it speaks of; absent when it speaks of none, or of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// CloudEvent subject it speaks of; absent like `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The cluster it concerns; absent when it speaks of none, or of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The trigger it concerns; absent for an event, whose decisions name theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The incarnation of the lifecycle it belongs to, from 1; absent where it is not known, and for an event, whose
    /// decisions name theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u32>,
    /// The sentence.
    pub summary: String,
    /// The event, when the record is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventEntry>,
    /// How a rejected message was taken up again; absent where the event was read as it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redriven: Option<RedrivenEntry>,
    /// The decision that an outcome acted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acted_for: Option<u64>,
    /// Objects it names, as `Kind/name` or `Kind/namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// What others did to objects, when it says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifts: Vec<DriftEntry>,
    /// The failure, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What others did to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftEntry {
    /// The object, as `Kind/name` or `Kind/namespace/name`.
    pub object: String,
    /// `deleted` or `changed`; `altered` where the cluster itself changed what was applied, as it took it.
    pub drift: String,
    /// The field manager that changed it last; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// The fields that the cluster itself changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// A drift in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftRow {
    /// The record.
    pub offset: u64,
    /// When it was seen, RFC 3339.
    pub time: String,
    /// The cluster.
    pub cluster: String,
    /// What happened.
    #[serde(flatten)]
    pub what: DriftEntry,
    /// The EventTrigger whose object it is.
    pub trigger: String,
    /// CloudEvent source.
    pub source: String,
    /// CloudEvent subject.
    pub subject: String,
}

impl DriftRow {
    /// The drifts that a record says, one row an object.
    pub fn of(entry: &Entry) -> impl Iterator<Item = DriftRow> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        entry.drifts.iter().map(move |what| DriftRow {
            offset: entry.offset,
            time: text(&entry.time),
            cluster: text(&entry.cluster),
            what: what.clone(),
            trigger: text(&entry.trigger),
            source: text(&entry.source),
            subject: text(&entry.subject),
        })
    }
}

/// How a rejected message was taken up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RedrivenEntry {
    /// Offset of the record by which it was rejected.
    pub of: u64,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// An event in a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventEntry {
    /// CloudEvent `id`.
    pub id: String,
    /// CloudEvent `type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// NATS subject.
    pub nats_subject: String,
    /// JetStream stream.
    pub stream: String,
    /// The stream's epoch.
    pub epoch: u32,
    /// Stream sequence.
    pub sequence: u64,
    /// When the server stored it, RFC 3339.
    pub published: String,
    /// What each trigger made of it.
    pub decisions: Vec<DecisionEntry>,
}

/// A decision in a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecisionEntry {
    /// EventTrigger.
    pub trigger: String,
    /// EventSource.
    pub event_source: String,
    /// Criterion, counted from 1.
    pub criterion: u16,
    /// `Create`, `Delete`, or why it is neither; and what is to be said of its place among the events of the resource.
    pub action: String,
    /// Offset of the later event that overtook it; absent where the decision counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtaken_by: Option<u64>,
    /// The incarnation of the lifecycle that it made or ended, from 1; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u32>,
}
