//! The history of one resource: every record that speaks of it, oldest first, each said in one line.
//!
//! Start at [`history`]. It follows the chain of `previous` offsets from the latest record backwards, so it costs one
//! read for each entry given and needs no index. [`about`] says what one record says.

use lifeline_store::{Disk, Offset, Reader};
use serde::{Deserialize, Serialize};

use crate::fact::{self, Fact, LifecycleKey, Outcome, Redesired, ResourceKey};
use crate::reads::time;

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The record.
    pub offset: u64,
    /// When it was recorded, RFC 3339.
    pub time: String,
    /// What kind of fact it is, such as `EventReceived`.
    pub fact: String,
    /// The trigger it concerns; absent for an event, whose decisions name theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The sentence.
    pub summary: String,
    /// The event, when the record is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventEntry>,
    /// The decision that an outcome acted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acted_for: Option<u64>,
    /// Objects it names, as `Kind/name` or `Kind/namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// The failure, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An event in a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionEntry {
    /// EventTrigger.
    pub trigger: String,
    /// EventSource.
    pub event_source: String,
    /// Criterion, counted from 1.
    pub criterion: u16,
    /// `Create`, `Delete`, or why it is neither.
    pub action: String,
}

/// A history that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log refused a record.
    #[error("record at offset `{offset}` cannot be read")]
    Log {
        /// The record.
        offset: u64,
        /// Why.
        #[source]
        source: lifeline_store::Error,
    },
    /// A record does not decode.
    #[error("record at offset `{offset}` cannot be understood")]
    Fact {
        /// The record.
        offset: u64,
        /// Why.
        #[source]
        source: fact::Error,
    },
}

/// The latest `limit` entries of a resource's history, oldest first, and the offset at which an earlier page ends.
///
/// `from` is the resource's latest record, or the `next` of the page before. A record that retention has removed ends
/// the history without an error: what was before it is no longer held.
///
/// # Errors
/// When a record that the log still holds cannot be read.
pub fn history<D: Disk>(
    log: &Reader<D>,
    key: &ResourceKey,
    from: Offset,
    limit: usize,
) -> Result<(Vec<Entry>, Option<Offset>), Error> {
    let mut entries = Vec::new();
    let mut at = Some(from);
    while let Some(offset) = at.filter(|offset| *offset >= log.start() && entries.len() < limit) {
        let record = log.read(offset).map_err(|source| Error::Log { offset: offset.get(), source })?;
        let Some(record) = record else { return Ok((reversed(entries), None)) };
        let fact = Fact::decode(&record.payload).map_err(|source| Error::Fact { offset: offset.get(), source })?;
        let (entry, previous) = about(&fact, key, offset, record.time_unix_nanos);
        entries.push(entry);
        at = previous;
    }
    Ok((reversed(entries), at.filter(|offset| *offset >= log.start())))
}

fn reversed(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.reverse();
    entries
}

/// What a record says of a resource, and the record before it that speaks of the same one.
#[must_use]
pub fn about(fact: &Fact<'_>, key: &ResourceKey, offset: Offset, unix_nanos: u64) -> (Entry, Option<Offset>) {
    let mut entry = Entry {
        offset: offset.get(),
        time: time(unix_nanos),
        fact: String::new(),
        trigger: None,
        summary: String::new(),
        event: None,
        acted_for: None,
        objects: Vec::new(),
        error: None,
    };
    let outcome = |entry: &mut Entry, name: &str, key: &LifecycleKey, acted_for: &Offset, objects: Vec<String>| {
        entry.fact = name.to_owned();
        entry.trigger = Some(key.trigger.to_string());
        entry.acted_for = Some(acted_for.get());
        entry.objects = objects;
    };
    let previous = match fact {
        Fact::EventReceived { delivery, kind, id, previous, decisions, .. } => {
            let decisions: Vec<DecisionEntry> = decisions
                .iter()
                .map(|decision| DecisionEntry {
                    trigger: decision.trigger.to_owned(),
                    event_source: decision.event_source.to_owned(),
                    criterion: decision.criterion.saturating_add(1),
                    action: match &decision.outcome {
                        Outcome::Create => "Create".to_owned(),
                        Outcome::Delete => "Delete".to_owned(),
                        Outcome::NoAction(text) => format!("no action: cloudEventAction gave `{text}`"),
                        Outcome::Failed(reason) => format!("no action: {reason}"),
                    },
                })
                .collect();
            entry.fact = "EventReceived".to_owned();
            entry.summary = match decisions.as_slice() {
                [] => format!("{kind}: no trigger speaks of it"),
                some => {
                    let each = some.iter().map(|decision| format!("{} decided {}", decision.trigger, decision.action));
                    format!("{kind}: {}", each.collect::<Vec<_>>().join("; "))
                }
            };
            entry.event = Some(EventEntry {
                id: (*id).to_owned(),
                kind: (*kind).to_owned(),
                nats_subject: delivery.subject.to_owned(),
                stream: delivery.stream.to_owned(),
                epoch: delivery.epoch,
                sequence: delivery.sequence,
                published: time(delivery.published_unix_nanos),
                decisions,
            });
            *previous
        }
        Fact::TriggerReplayed { trigger, redecisions, .. } => {
            let redecision = redecisions.iter().find(|redecision| redecision.resource == *key);
            entry.fact = "TriggerReplayed".to_owned();
            entry.trigger = Some(trigger.to_string());
            entry.summary = match redecision.map(|redecision| redecision.desired) {
                Some(Redesired::Present { event, .. }) => format!("rules changed: present, by the event at {event}"),
                Some(Redesired::Absent { event: Some(event) }) => {
                    format!("rules changed: absent, by the event at {event}")
                }
                Some(Redesired::Absent { event: None }) => "rules changed: withdrawn".to_owned(),
                Some(Redesired::Left) => "trigger removed: its objects are left".to_owned(),
                None => "rules changed: no difference".to_owned(),
            };
            redecision.and_then(|redecision| redecision.previous)
        }
        Fact::ApplyIntended { key, acted_for, previous, objects } => {
            let objects: Vec<String> = objects.iter().map(crate::fact::ObjectKey::short).collect();
            entry.summary = format!("about to apply {}", objects.join(", "));
            outcome(&mut entry, "ApplyIntended", key, acted_for, objects);
            *previous
        }
        Fact::Applied { key, acted_for, previous, objects } => {
            let objects: Vec<String> = objects.iter().map(|applied| applied.object.short()).collect();
            entry.summary = match objects.as_slice() {
                [] => "applied: the templates gave no object".to_owned(),
                some => format!("applied {}", some.join(", ")),
            };
            outcome(&mut entry, "Applied", key, acted_for, objects);
            *previous
        }
        Fact::ApplyFailed { key, acted_for, previous, objects, error, attempt, .. } => {
            let reason = error.lines().next().unwrap_or_default();
            entry.summary = format!("attempt {attempt} failed: {reason}");
            entry.error = Some(error.clone());
            let objects = objects.iter().map(|applied| applied.object.short()).collect();
            outcome(&mut entry, "ApplyFailed", key, acted_for, objects);
            *previous
        }
        Fact::Deleted { key, acted_for, previous, objects } => {
            let objects: Vec<String> = objects.iter().map(crate::fact::ObjectKey::short).collect();
            entry.summary = format!("deleted {}", objects.join(", "));
            outcome(&mut entry, "Deleted", key, acted_for, objects);
            *previous
        }
        Fact::EventRejected { reason, .. } => {
            entry.fact = "EventRejected".to_owned();
            entry.summary = (*reason).to_owned();
            None
        }
        Fact::StreamOpened { stream, epoch, .. } => {
            entry.fact = "StreamOpened".to_owned();
            entry.summary = format!("stream {stream}, epoch {epoch}");
            None
        }
        Fact::GapFound { stream, from_sequence, to_sequence, .. } => {
            entry.fact = "GapFound".to_owned();
            entry.summary = format!("stream {stream} no longer holds {from_sequence} to {}", to_sequence - 1);
            None
        }
        Fact::RuleChanged { rule, digest, .. } => {
            entry.fact = "RuleChanged".to_owned();
            entry.summary = format!("{rule} {}", if digest.is_some() { "changed" } else { "removed" });
            None
        }
    };
    (entry, previous)
}
