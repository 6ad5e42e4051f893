//! The history of one resource: every record that speaks of it, oldest first, each said in one line.
//!
//! Start at [`history`]. It follows the chain of `previous` offsets from the latest record backwards, so it costs one
//! read for each entry given and needs no index. [`about`] says what one record says.

use lifeline_store::{Disk, Offset, Reader};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fact::{Fact, LifecycleKey, ObjectKey, Outcome, Redecision, Redesired, ResourceKey};
use crate::reads::time;

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
    /// `Create`, `Delete`, or why it is neither.
    pub action: String,
}

/// The latest `limit` entries of a resource's history below `before`, oldest first, and the `before` of the page that
/// came earlier, when there is one.
///
/// `latest` is the resource's latest record. A record that retention has removed ends the history: what was before it is
/// no longer held. One that cannot be read ends it too, as an entry that says so.
pub fn history<D: Disk>(
    log: &Reader<D>,
    key: &ResourceKey,
    latest: Offset,
    before: Option<Offset>,
    limit: usize,
) -> (Vec<Entry>, Option<Offset>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut at = match before.filter(|before| *before <= latest) {
        Some(before) => link_below(log, key, latest, before),
        None => Some(latest),
    };
    let held = |offset: &Offset| *offset >= log.start();
    while let Some(offset) = at.filter(held).filter(|_| entries.len() < limit) {
        let (entry, previous) = tell(log, key, offset);
        entries.extend(entry);
        at = previous;
    }
    let more = at.filter(held).and_then(|_| entries.last().map(|entry| Offset::from(entry.offset)));
    entries.reverse();
    (entries, more)
}

/// The latest record below `before` that speaks of the resource: one step when `before` is itself in the chain, as it is
/// when it came with a page, else a walk from the latest.
fn link_below<D: Disk>(log: &Reader<D>, key: &ResourceKey, latest: Offset, before: Offset) -> Option<Offset> {
    if let Ok(Some(record)) = log.read(before)
        && let Ok(fact) = Fact::decode(&record.payload)
        && speaks_of(&fact, key)
    {
        return tell(log, key, before).1;
    }
    let mut at = Some(latest);
    while let Some(offset) = at.filter(|offset| *offset >= before) {
        at = tell(log, key, offset).1;
    }
    at
}

/// What one record says of a resource. A chain only ever leads back; one that does not is not followed.
fn tell<D: Disk>(log: &Reader<D>, key: &ResourceKey, offset: Offset) -> (Option<Entry>, Option<Offset>) {
    let (entry, previous) = match log.read(offset) {
        Ok(Some(record)) => said(&record.payload, Some(key), offset, record.time_unix_nanos),
        Ok(None) => (None, None),
        Err(error) => (Some(unreadable(offset, None, &error)), None),
    };
    (entry, previous.filter(|previous| *previous < offset))
}

fn speaks_of(fact: &Fact<'_>, key: &ResourceKey) -> bool {
    match fact {
        Fact::EventReceived { source, subject, .. } => *key.source == **source && *key.subject == **subject,
        Fact::TriggerReplayed { redecisions, .. } => redecisions.iter().any(|redecision| redecision.resource == *key),
        Fact::ApplyIntended { key: of, .. }
        | Fact::Applied { key: of, .. }
        | Fact::ApplyFailed { key: of, .. }
        | Fact::Deleted { key: of, .. } => of.resource == *key,
        Fact::EventRejected { .. }
        | Fact::StreamOpened { .. }
        | Fact::GapFound { .. }
        | Fact::RuleChanged { .. }
        | Fact::RecordLost { .. } => false,
    }
}

/// The records from `from` on, each as one entry, at most `limit`; and the offset to go on from.
///
/// A record that cannot be read is an entry that says so; where several in a row are lost, it stands for all of them.
///
/// # Errors
/// When the disk refuses.
pub fn records<D: Disk>(
    log: &Reader<D>,
    from: Offset,
    limit: usize,
) -> Result<(Vec<Entry>, Offset), lifeline_store::Error> {
    let mut entries = Vec::new();
    let mut scan = log.scan(from);
    while entries.len() < limit {
        let lost = match scan.next() {
            Ok(None) => break,
            Ok(Some(record)) => {
                entries.extend(said(record.payload, None, record.offset, record.time_unix_nanos).0);
                continue;
            }
            Err(error @ lifeline_store::Error::Damaged { .. }) => error,
            Err(error) => return Err(error),
        };
        let lifeline_store::Error::Damaged { offsets, .. } = &lost else { unreachable!("the other errors returned") };
        entries.push(unreadable(offsets.start, None, &lost));
        scan.seek(offsets.end.max(offsets.start.next()));
    }
    Ok((entries, scan.position()))
}

fn said(payload: &[u8], key: Option<&ResourceKey>, offset: Offset, unix_nanos: u64) -> (Option<Entry>, Option<Offset>) {
    match Fact::decode(payload) {
        Ok(fact) => {
            let (entry, previous) = about(&fact, key, offset, unix_nanos);
            (Some(entry), previous)
        }
        Err(error) => (Some(unreadable(offset, Some(unix_nanos), &error)), None),
    }
}

fn unreadable(offset: Offset, unix_nanos: Option<u64>, error: &dyn std::error::Error) -> Entry {
    let mut reason = error.to_string();
    if let Some(cause) = error.source() {
        reason = format!("{reason}: {cause}");
    }
    let (summary, _) = reason.split_once('\n').unwrap_or((&reason, ""));
    let summary = format!("cannot be read: {summary}");
    Entry { time: unix_nanos.map(time), summary, error: Some(reason), ..Entry::empty(offset, "Unreadable") }
}

/// The record before this one about the same resource; `None` when this one does not speak of it at all.
pub(crate) fn previous(fact: &Fact<'_>, key: &ResourceKey) -> Option<Option<Offset>> {
    if !speaks_of(fact, key) {
        return None;
    }
    Some(match fact {
        Fact::TriggerReplayed { redecisions, .. } => {
            redecisions.iter().find(|redecision| redecision.resource == *key).and_then(|found| found.previous)
        }
        Fact::EventReceived { previous, .. }
        | Fact::ApplyIntended { previous, .. }
        | Fact::Applied { previous, .. }
        | Fact::ApplyFailed { previous, .. }
        | Fact::Deleted { previous, .. } => *previous,
        Fact::EventRejected { .. }
        | Fact::StreamOpened { .. }
        | Fact::GapFound { .. }
        | Fact::RuleChanged { .. }
        | Fact::RecordLost { .. } => None,
    })
}

/// What a record says, of one resource where `key` names it, and the record before it that speaks of the same one.
#[must_use]
pub fn about(fact: &Fact<'_>, key: Option<&ResourceKey>, offset: Offset, unix_nanos: u64) -> (Entry, Option<Offset>) {
    let entry = |name: &str| Entry { time: Some(time(unix_nanos)), ..Entry::empty(offset, name) };
    let outcome = |name: &str, key: &LifecycleKey, acted_for: Offset, objects: Vec<String>| Entry {
        source: Some(key.resource.source.to_string()),
        subject: Some(key.resource.subject.to_string()),
        trigger: Some(key.trigger.to_string()),
        acted_for: Some(acted_for.get()),
        objects,
        ..entry(name)
    };
    match fact {
        Fact::EventReceived { delivery, source, subject, kind, id, previous, decisions, .. } => {
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
            let summary = match decisions.as_slice() {
                [] => format!("{kind}: no trigger speaks of it"),
                some => {
                    let each = some.iter().map(|decision| format!("{} decided {}", decision.trigger, decision.action));
                    format!("{kind}: {}", each.collect::<Vec<_>>().join("; "))
                }
            };
            let event = EventEntry {
                id: (*id).to_owned(),
                kind: (*kind).to_owned(),
                nats_subject: delivery.subject.to_owned(),
                stream: delivery.stream.to_owned(),
                epoch: delivery.epoch,
                sequence: delivery.sequence,
                published: time(delivery.published_unix_nanos),
                decisions,
            };
            let (source, subject) = (Some((*source).to_owned()), Some((*subject).to_owned()));
            (Entry { source, subject, summary, event: Some(event), ..entry("EventReceived") }, *previous)
        }
        Fact::TriggerReplayed { trigger, redecisions, .. } => {
            let told = |redecision: &&Redecision| key.is_none_or(|key| redecision.resource == *key);
            let told: Vec<&Redecision> = redecisions.iter().filter(told).collect();
            let summary = match (key, told.as_slice()) {
                (_, []) => "rules changed: no difference".to_owned(),
                (None, some) => format!("rules changed: {} decided anew", count(some.len(), "lifecycle")),
                (Some(_), some) => some.iter().map(|some| redecided(some)).collect::<Vec<_>>().join("; "),
            };
            let key = key.or(match told.as_slice() {
                [one] => Some(&one.resource),
                _ => None,
            });
            let entry = Entry {
                source: key.map(|key| key.source.to_string()),
                subject: key.map(|key| key.subject.to_string()),
                trigger: Some(trigger.to_string()),
                summary,
                ..entry("TriggerReplayed")
            };
            (entry, told.first().and_then(|redecision| redecision.previous))
        }
        Fact::ApplyIntended { key, acted_for, previous, objects } => {
            let objects: Vec<String> = objects.iter().map(ObjectKey::short).collect();
            let summary = format!("about to apply {}", objects.join(", "));
            (Entry { summary, ..outcome("ApplyIntended", key, *acted_for, objects) }, *previous)
        }
        Fact::Applied { key, acted_for, previous, objects } => {
            let objects: Vec<String> = objects.iter().map(|applied| applied.object.short()).collect();
            let summary = match objects.as_slice() {
                [] => "applied: the templates gave no object".to_owned(),
                some => format!("applied {}", some.join(", ")),
            };
            (Entry { summary, ..outcome("Applied", key, *acted_for, objects) }, *previous)
        }
        Fact::ApplyFailed { key, acted_for, previous, objects, error, attempt, .. } => {
            let reason = error.lines().next().unwrap_or_default();
            let summary = format!("attempt {attempt} failed: {reason}");
            let objects = objects.iter().map(|applied| applied.object.short()).collect();
            let entry = outcome("ApplyFailed", key, *acted_for, objects);
            (Entry { summary, error: Some(error.clone()), ..entry }, *previous)
        }
        Fact::Deleted { key, acted_for, previous, objects } => {
            let objects: Vec<String> = objects.iter().map(ObjectKey::short).collect();
            let summary = format!("deleted {}", objects.join(", "));
            (Entry { summary, ..outcome("Deleted", key, *acted_for, objects) }, *previous)
        }
        Fact::EventRejected { delivery, reason, .. } => {
            let (stream, sequence) = (delivery.stream, delivery.sequence);
            let summary = format!("message {sequence} of stream {stream} is no CloudEvent: {reason}");
            (Entry { summary, error: Some((*reason).to_owned()), ..entry("EventRejected") }, None)
        }
        Fact::StreamOpened { stream, epoch, start_sequence, reason, .. } => {
            let summary = match *reason {
                "" => format!("reading stream {stream} from sequence {start_sequence}"),
                reason => format!("stream {stream} began anew, epoch {epoch}: {reason}"),
            };
            (Entry { summary, ..entry("StreamOpened") }, None)
        }
        Fact::GapFound { stream, from_sequence, to_sequence, .. } => {
            let last = to_sequence.saturating_sub(1);
            let summary = format!("stream {stream} no longer holds its messages {from_sequence} to {last}");
            (Entry { summary, ..entry("GapFound") }, None)
        }
        Fact::RuleChanged { rule, digest, .. } => {
            let summary = format!("{rule} {}", if digest.is_some() { "changed" } else { "removed" });
            (Entry { summary, ..entry("RuleChanged") }, None)
        }
        Fact::RecordLost { reason } => {
            let summary = format!("a damaged record is lost for good: {reason}");
            (Entry { summary, error: Some((*reason).to_owned()), ..entry("RecordLost") }, None)
        }
    }
}

fn redecided(redecision: &Redecision) -> String {
    let cluster = &redecision.cluster;
    match redecision.desired {
        Redesired::Present { event, .. } => format!("rules changed: present on {cluster}, by the event at {event}"),
        Redesired::Absent { event: Some(event) } => {
            format!("rules changed: absent on {cluster}, by the event at {event}")
        }
        Redesired::Absent { event: None } => format!("rules changed: withdrawn from {cluster}"),
        Redesired::Left => format!("trigger removed: its objects on {cluster} are left"),
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

impl Entry {
    fn empty(offset: Offset, fact: &str) -> Entry {
        Entry {
            offset: offset.get(),
            time: None,
            fact: fact.to_owned(),
            source: None,
            subject: None,
            trigger: None,
            summary: String::new(),
            event: None,
            acted_for: None,
            objects: Vec::new(),
            error: None,
        }
    }
}
