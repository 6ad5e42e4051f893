//! The history of one resource: every record that speaks of it, oldest first, each said in one line.
//!
//! Start at [`history`]. It follows the chain of `previous` offsets from the latest record backwards, so it costs one
//! read for each entry given, however many records the resource has, and needs no index. [`about`] says what one record
//! says.

mod entry;

use lifeline_store::{Disk, Offset, Reader, Record};

use crate::count::{count, span};
use crate::event::CloudEvent;
use crate::fact::{
    Altered, Decision, Drift, DriftedObject, EventReceived, EventRejected, Fact, FailedAttempt, Gathered, Later,
    MarkerFound, ObjectKey, OrderBy, Place, Reconciled, RecordLost, Recreated, Redecision, Redesired, Redriven,
    ResourceKey, RuleChanged, Ruling, StreamChange, StreamChanged, TriggerReplayed, What, plain_subject,
};
use crate::fold::Resource;
use crate::incarnation::Incarnations;
use crate::reads::{self, time};

pub use self::entry::{DecisionEntry, DriftEntry, DriftRow, Entry, EventEntry, RedrivenEntry};

/// The latest `limit` entries of a resource's history below `before`, oldest first, and the `before` of the page that
/// came earlier, when there is one.
///
/// `latest` is the resource's latest record; `state` is what the resource was behind the newest entry of the page (without
/// `before`: what it is), from which incarnations are counted, and may be missing. Where retention has removed what came
/// before, the history begins with an entry that says so; a record that cannot be read ends it too, as such an entry.
///
/// # Errors
/// [`reads::Error::Expired`] when the log no longer holds the record that `before` names.
pub fn history<D: Disk>(
    log: &Reader<D>,
    key: &ResourceKey,
    latest: Offset,
    before: Option<Offset>,
    limit: usize,
    state: Option<&Resource>,
) -> Result<(Vec<Entry>, Option<Offset>), reads::Error> {
    let start = log.start();
    if let Some(before) = before.filter(|before| *before < start) {
        return Err(reads::Error::Expired { cursor: before.get(), start: start.get() });
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut incarnations = Incarnations::of(state);
    let mut at = match before.filter(|before| *before <= latest) {
        Some(before) => link_below(log, key, latest, before),
        None => Some(latest),
    };
    while let Some(offset) = at.filter(|_| entries.len() < limit) {
        if offset < start {
            entries.push(forgotten(offset, start));
            at = None;
            break;
        }
        let step = step(log, key, offset);
        entries.extend(step.entry);
        if let Some(record) = &step.record
            && let Ok(fact) = Fact::decode(&record.payload)
        {
            incarnations.pass(key, offset, &fact, &mut entries);
        }
        at = step.previous;
    }
    let more = at.and_then(|_| entries.last().map(|entry| Offset::from(entry.offset)));
    entries.reverse();
    Ok((entries, more))
}

/// The latest record below `before` that speaks of the resource: one step when `before` is itself in the chain, as it is
/// when it came with a page, else a walk from the latest, or from `before` on where that is longer.
fn link_below<D: Disk>(log: &Reader<D>, key: &ResourceKey, latest: Offset, before: Offset) -> Option<Offset> {
    if let Ok(Some(record)) = log.read(before)
        && let Ok(fact) = Fact::decode(&record.payload)
        && let Some(previous) = fact.previous(key)
    {
        return previous.filter(|previous| *previous < before);
    }
    let mut at = Some(latest);
    for _ in 0..STEPS_MAX {
        match at.filter(|offset| *offset >= before) {
            Some(offset) => at = step(log, key, offset).previous,
            None => return at,
        }
    }
    // It was spoken of so often since that the next record about it is not far ahead of `before`; its link leads below.
    let mut scan = log.scan(before);
    while let Ok(Some(record)) = scan.next() {
        let previous = Fact::decode(record.payload).ok().and_then(|fact| fact.previous(key));
        if let Some(previous) = previous {
            return previous.filter(|previous| *previous < before);
        }
    }
    None
}

/// Records that are followed back to find where a page begins that no page before it led to.
const STEPS_MAX: usize = 1_000;

/// One record of a chain.
struct Step {
    entry: Option<Entry>,
    record: Option<Record>,
    previous: Option<Offset>,
}

/// What one record says of a resource. A chain only ever leads back; one that does not is not followed.
fn step<D: Disk>(log: &Reader<D>, key: &ResourceKey, offset: Offset) -> Step {
    match log.read(offset) {
        Ok(Some(record)) => {
            let (entry, previous) = said(&record.payload, Some(key), offset, record.time_unix_nanos);
            let previous = previous.filter(|previous| *previous < offset);
            Step { entry: Some(entry), record: Some(record), previous }
        }
        Ok(None) => Step { entry: None, record: None, previous: None },
        Err(error) => Step { entry: Some(unreadable(offset, None, &error)), record: None, previous: None },
    }
}

/// What retention has removed.
fn forgotten(offset: Offset, start: Offset) -> Entry {
    let summary = format!("what came before is no longer held: the log begins at offset {start}");
    Entry { summary, ..Entry::empty(offset, "Forgotten") }
}

pub(crate) fn said(
    payload: &[u8],
    key: Option<&ResourceKey>,
    offset: Offset,
    unix_nanos: u64,
) -> (Entry, Option<Offset>) {
    match Fact::decode(payload) {
        Ok(fact) => about(&fact, key, offset, unix_nanos),
        Err(error) => (unreadable(offset, Some(unix_nanos), &error), None),
    }
}

pub(crate) fn unreadable(offset: Offset, unix_nanos: Option<u64>, error: &dyn std::error::Error) -> Entry {
    let mut reason = error.to_string();
    if let Some(cause) = error.source() {
        reason = format!("{reason}: {cause}");
    }
    let (summary, _) = reason.split_once('\n').unwrap_or((&reason, ""));
    let summary = format!("cannot be read: {summary}");
    Entry { time: unix_nanos.map(time), summary, error: Some(reason), ..Entry::empty(offset, "Unreadable") }
}

/// What the word of a server means.
fn marker_words(reason: &str) -> &str {
    match reason {
        "MaxAge" => "it was too old (MaxAge)",
        "Purge" => "it was purged (Purge)",
        "Remove" => "it was removed (Remove)",
        other => other,
    }
}

/// What a record says, of one resource where `key` names it, and the record before it that speaks of the same one.
#[must_use]
pub fn about(fact: &Fact<'_>, key: Option<&ResourceKey>, offset: Offset, unix_nanos: u64) -> (Entry, Option<Offset>) {
    let entry = Entry { time: Some(time(unix_nanos)), ..Entry::empty(offset, fact.name()) };
    let previous = match key {
        Some(key) => fact.previous(key).flatten(),
        None => fact.links().next().and_then(|link| link.previous),
    };
    let entry = match fact {
        Fact::Event(event) => of_event(entry, event),
        Fact::Replay(replay) => of_replay(entry, replay, key),
        Fact::Reconciled(reconciled) => of_reconciled(entry, reconciled),
        Fact::Gathered(gathered) => of_gathered(entry, gathered),
        Fact::Rejected(EventRejected { delivery, reason, .. }) => {
            let (stream, sequence) = (delivery.stream, delivery.sequence);
            let summary = format!("message {sequence} of stream {stream} is no CloudEvent: {reason}");
            let cluster = Some(delivery.cluster.to_owned());
            Entry { cluster, summary, error: Some((*reason).to_owned()), ..entry }
        }
        Fact::Marker(MarkerFound { delivery, reason, .. }) => {
            let (subject, why) = (delivery.subject, marker_words(reason));
            let summary = format!("the NATS server says that what subject {subject} held is gone: {why}");
            Entry { cluster: Some(delivery.cluster.to_owned()), summary, ..entry }
        }
        Fact::Stream(StreamChanged { cluster, stream, epoch, change }) => {
            let summary = match (*change, plain_subject(stream)) {
                (StreamChange::Opened { .. }, Some(subject)) => format!("reading subject {subject} without a stream"),
                (change @ StreamChange::Holes { .. }, Some(subject)) => of_stream(subject, *epoch, change),
                (StreamChange::Gap { from_sequence, to_sequence }, Some(subject)) => {
                    let lost = count(to_sequence.saturating_sub(from_sequence), "message");
                    format!("{lost} on {subject} lost: no stream held what came, and there was no room for it")
                }
                (change, None) => of_stream(stream, *epoch, change),
            };
            Entry { cluster: Some((*cluster).to_owned()), summary, ..entry }
        }
        Fact::Rule(RuleChanged { rule, digest, .. }) => {
            let summary = format!("{rule} {}", if digest.is_some() { "changed" } else { "removed" });
            Entry { summary, ..entry }
        }
        Fact::Lost(RecordLost { reason }) => {
            let summary = format!("a damaged record is lost for good: {reason}");
            Entry { summary, error: Some((*reason).to_owned()), ..entry }
        }
    };
    (entry, previous)
}

fn of_stream(stream: &str, epoch: u32, change: StreamChange<'_>) -> String {
    match change {
        StreamChange::Opened { start_sequence, reason: "", .. } => {
            format!("reading stream {stream} from sequence {start_sequence}")
        }
        StreamChange::Opened { reason, .. } => format!("stream {stream} began again, epoch {epoch}: {reason}"),
        StreamChange::Gap { from_sequence, to_sequence } => {
            format!("stream {stream} no longer holds its {}", span("message", from_sequence, to_sequence))
        }
        StreamChange::Holes { from_sequence, to_sequence, up_to } => {
            let last = to_sequence.saturating_sub(1);
            format!(
                "stream {stream} no longer holds up to {} of {from_sequence} to {last}, those of other subjects included",
                count(up_to, "message")
            )
        }
    }
}

/// What a trigger made of an event, and what is to be said of the event's place.
pub(crate) fn action_of(event: &EventReceived<'_>, decision: &Decision<'_>) -> String {
    let action = action(&decision.ruling);
    let Some(Place { by, falls_back, overtaken_by, .. }) = event.place(decision.trigger) else { return action };
    let lacks = match (falls_back, by) {
        (false, _) => "",
        (true, OrderBy::Time) => " (it has no `time`: the time counts at which its message was stored)",
        (true, OrderBy::Stream | OrderBy::Sequence) => " (it has no `sequence`: the order of streams counts)",
    };
    match overtaken_by {
        None => format!("{action}{lacks}"),
        Some(Later { offset, published_unix_nanos, stream }) => {
            let published = time(*published_unix_nanos);
            match own_order(event, *by, *falls_back) {
                None => format!(
                    "{action}, overtaken: a later event at offset {offset}, published at {published} in stream {stream}, decided \
                     already{lacks}"
                ),
                Some(own) => format!(
                    "{action}, overtaken by {own}: the event at offset {offset} in stream {stream} is later, and decided already"
                ),
            }
        }
    }
}

/// What decides about an event's place where that is its own, such as "`time` (its own is `2026-11-22T12:00:00Z`)".
fn own_order(event: &EventReceived<'_>, by: OrderBy, falls_back: bool) -> Option<String> {
    if by == OrderBy::Stream || falls_back {
        return None;
    }
    let attributes = CloudEvent::to_map(&event.headers, event.payload).unwrap_or_default();
    let value =
        attributes.get(by.as_str()).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    Some(format!("`{}` (its own is `{}`)", by.as_str(), value.unwrap_or_default()))
}

/// The later event that overtook a decision.
pub(crate) fn overtaken_by<'e>(event: &'e EventReceived<'_>, decision: &Decision<'_>) -> Option<&'e Later> {
    event.place(decision.trigger)?.overtaken_by.as_ref()
}

fn of_event(entry: Entry, event: &EventReceived<'_>) -> Entry {
    let EventReceived { delivery, source, subject, kind, id, decisions, redriven, .. } = event;
    let decisions: Vec<DecisionEntry> = decisions
        .iter()
        .map(|decision| DecisionEntry {
            trigger: decision.trigger.to_owned(),
            event_source: decision.event_source.to_owned(),
            criterion: decision.criterion.saturating_add(1),
            action: action_of(event, decision),
            overtaken_by: overtaken_by(event, decision).map(|later| later.offset.get()),
            incarnation: None,
        })
        .collect();
    let summary = match decisions.as_slice() {
        [] => format!("{kind}: no trigger speaks of it"),
        some => {
            let each = some.iter().map(|decision| format!("{} decided {}", decision.trigger, decision.action));
            format!("{kind}: {}", each.collect::<Vec<_>>().join("; "))
        }
    };
    let redriven = redriven.map(|Redriven { of, by, reason }| RedrivenEntry {
        of: of.get(),
        by: by.to_owned(),
        reason: reason.to_owned(),
    });
    let summary = match &redriven {
        Some(RedrivenEntry { of, by, reason }) => {
            format!("{summary} (rejected at offset {of}, taken up again by {by}: {reason})")
        }
        None => summary,
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
    Entry {
        source,
        subject,
        cluster: Some(delivery.cluster.to_owned()),
        summary,
        event: Some(event),
        redriven,
        ..entry
    }
}

fn of_replay(entry: Entry, replay: &TriggerReplayed, key: Option<&ResourceKey>) -> Entry {
    let is_about = |redecision: &&Redecision| key.is_none_or(|key| redecision.resource == *key);
    let about: Vec<&Redecision> = replay.redecisions.iter().filter(is_about).collect();
    let summary = match (key, about.as_slice()) {
        (_, []) if replay.complete => "rules changed: all of history is decided again".to_owned(),
        (_, []) => "rules changed: they decide from here on".to_owned(),
        (None, some) => format!("rules changed: {} decided again", count(some.len() as u64, "lifecycle")),
        (Some(_), some) => some.iter().map(|some| redecided(some)).collect::<Vec<_>>().join("; "),
    };
    let only = match about.as_slice() {
        [one] => Some(*one),
        _ => None,
    };
    let key = key.or(only.map(|only| &only.resource));
    Entry {
        cluster: only.map(|only| only.cluster.to_string()),
        source: key.map(|key| key.source.to_string()),
        subject: key.map(|key| key.subject.to_string()),
        trigger: Some(replay.trigger.to_string()),
        summary,
        ..entry
    }
}

fn of_gathered(entry: Entry, gathered: &Gathered) -> Entry {
    let Gathered { trigger, cluster, keys, until, .. } = gathered;
    let summary = match keys {
        0 => format!("the list of {trigger} is to go: no key is live since offset {until}"),
        keys => {
            format!("the list of {trigger} is to hold {}, as decided up to offset {until}", count(*keys, "live key"))
        }
    };
    let ResourceKey { source, subject } = ResourceKey::of_list(trigger);
    Entry {
        source: Some(source.to_string()),
        subject: Some(subject.to_string()),
        cluster: Some(cluster.to_string()),
        trigger: Some(trigger.to_string()),
        summary,
        ..entry
    }
}

fn of_reconciled(entry: Entry, reconciled: &Reconciled) -> Entry {
    let Reconciled { key, acted_for, what, .. } = reconciled;
    let objects: Vec<String> = reconciled.objects().map(ObjectKey::short).collect();
    let names = objects.join(", ");
    let (summary, error) = match what {
        What::Intended(_) => (format!("about to change {names}"), None),
        What::Applied(_) if objects.is_empty() => ("applied: the templates gave no object".to_owned(), None),
        What::Applied(_) => (format!("applied {names}"), None),
        What::Failed(FailedAttempt { error, attempt, .. }) => {
            let reason = error.lines().next().unwrap_or_default();
            (format!("attempt {attempt} failed: {reason}"), Some(error.clone()))
        }
        What::Deleted(_) => (format!("deleted {names}"), None),
        What::Released(_) => (format!("released {names}, which another owner has"), None),
        What::Recreated(Recreated { uid, reason, .. }) => (
            format!("about to delete {names} (uid {uid}) and make it again: a field can never change"),
            Some(reason.clone()),
        ),
        What::Drifted(objects) => (drifted(objects), None),
        What::Altered(altered) => (altered.summary(), None),
    };
    let drifts = match what {
        What::Drifted(objects) => objects.iter().map(drift_entry).collect(),
        What::Altered(Altered { object, fields }) => {
            let (object, fields) = (object.short(), fields.clone());
            vec![DriftEntry { object, drift: "altered".to_owned(), manager: None, fields }]
        }
        _ => Vec::new(),
    };
    Entry {
        source: Some(key.resource.source.to_string()),
        subject: Some(key.resource.subject.to_string()),
        cluster: Some(key.cluster.to_string()),
        trigger: Some(key.trigger.to_string()),
        acted_for: Some(acted_for.get()),
        objects,
        drifts,
        summary,
        error,
        ..entry
    }
}

fn drift_entry(drifted: &DriftedObject) -> DriftEntry {
    let DriftedObject { object, drift, manager, .. } = drifted;
    DriftEntry { object: object.short(), drift: drift.as_str().to_owned(), manager: manager.clone(), fields: vec![] }
}

/// What others did to objects, in words.
pub(crate) fn drifted(objects: &[DriftedObject]) -> String {
    let each = objects.iter().map(|DriftedObject { object, drift, manager, .. }| match (drift, manager) {
        (Drift::Deleted, _) => format!("{} was deleted by somebody else", object.short()),
        (Drift::Changed, Some(manager)) => format!("{} was changed by `{manager}`", object.short()),
        (Drift::Changed, None) => format!("{} was changed by somebody else", object.short()),
    });
    each.collect::<Vec<_>>().join("; ")
}

/// What a trigger made of an event, in words.
pub(crate) fn action(ruling: &Ruling<'_>) -> String {
    match ruling {
        Ruling::Create => "Create".to_owned(),
        Ruling::Delete => "Delete".to_owned(),
        Ruling::NoAction(text) => format!("no action: cloudEventAction gave `{text}`"),
        Ruling::Failed(reason) => format!("no action: {reason}"),
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
        Redesired::Left => format!("rules changed: its objects on {cluster} are left"),
    }
}

impl Entry {
    fn empty(offset: Offset, fact: &str) -> Entry {
        Entry {
            offset: offset.get(),
            time: None,
            fact: fact.to_owned(),
            source: None,
            subject: None,
            cluster: None,
            trigger: None,
            incarnation: None,
            summary: String::new(),
            event: None,
            redriven: None,
            acted_for: None,
            objects: Vec::new(),
            drifts: Vec::new(),
            error: None,
        }
    }
}
