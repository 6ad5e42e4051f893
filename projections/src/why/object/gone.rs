//! How an object went that no lifecycle holds: the record that let it go, and what decided that.
//!
//! Start at [`gone`]. The resources called like the object are asked first, then the latest records.

use lifeline_store::{Disk, Offset, Reader};

use super::{Question, Verdict, WhyObject, decision};
use crate::chain::Chain;
use crate::fact::{
    EventReceived, Fact, LifecycleKey, ObjectKey, Reconciled, Redesired, ResourceKey, Ruling, TriggerReplayed, What,
};
use crate::fold::Resource;
use crate::history::{self, Entry};
use crate::lifecycle::Desired;
use crate::reads::{lifecycle_row, object_row};
use crate::why::RECORDS_MAX;

/// Records looked through for an object that no resource of its name had, at most: half a second of reading.
const RECORDS_BACK_MAX: u64 = 2_000_000;

/// How many of them at a time, the latest first.
const RECORDS_BACK: u64 = 1 << 16;

/// No lifecycle holds it: asks the resources called like it whether one let it go, and then the latest records.
pub(super) fn gone<D: Disk>(
    log: &Reader<D>,
    question: &Question,
    namesakes: &[(ResourceKey, Offset)],
    current: impl FnOnce(&ResourceKey) -> Option<Resource>,
) -> WhyObject {
    let departures = namesakes.iter().filter_map(|(key, latest)| departure(log, question, key, *latest));
    let mut last = departures.max_by_key(|departure| departure.entry.offset);
    let mut notes = Vec::new();
    if last.is_none() {
        last = look_back(log, question, &mut notes);
    }
    let Some(Departure { entry, object, key, acted_for, is_deleted }) = last else {
        let summary = format!("no lifecycle holds {}", question.short());
        return WhyObject { notes, ..WhyObject::new(summary, Verdict::Unknown) };
    };
    let LifecycleKey { trigger, cluster, resource: key } = key;
    let (desired, decided) = decided_by(log, &key, &trigger, &cluster, acted_for);
    let decision = decision(log, &key, &trigger, &cluster, desired, decided, &mut notes);
    let short = object.short();
    let of = decision.event.as_ref().map(|event| format!(" of the event at offset {}", event.offset));
    let of = of.unwrap_or_else(|| format!(" at offset {}", decision.offset));
    let summary = if is_deleted {
        format!("{short} is gone from {cluster} because {trigger} decided {}{of}", decision.action)
    } else {
        format!("no lifecycle holds {short} on {cluster}: {trigger} released it")
    };
    let lifecycle = current(&key).and_then(|resource| {
        let mut lifecycles = resource.lifecycles.iter();
        let known = lifecycles.find(|known| *known.trigger == *trigger && *known.cluster == *cluster)?;
        Some(lifecycle_row(&key, &resource, known))
    });
    WhyObject {
        object: Some(object_row(&object, None)),
        cluster: Some(cluster.to_string()),
        lifecycle,
        decision: Some(decision),
        gone: Some(entry),
        notes,
        ..WhyObject::new(summary, Verdict::Gone)
    }
}

/// How an object went.
struct Departure {
    entry: Entry,
    object: ObjectKey,
    key: LifecycleKey,
    acted_for: Offset,
    is_deleted: bool,
}

impl Departure {
    /// When a record lets such an object go.
    fn of(question: &Question, offset: Offset, unix_nanos: u64, payload: &[u8]) -> Option<Departure> {
        let fact = Fact::decode(payload).ok()?;
        let Fact::Reconciled(Reconciled { key, acted_for, what, .. }) = &fact else { return None };
        let (What::Deleted(objects) | What::Released(objects)) = what else { return None };
        let object = objects.iter().find(|object| question.means(&key.cluster, object))?;
        Some(Departure {
            entry: history::about(&fact, Some(&key.resource), offset, unix_nanos).0,
            object: object.clone(),
            key: key.clone(),
            acted_for: *acted_for,
            is_deleted: matches!(what, What::Deleted(_)),
        })
    }
}

/// The last record by which a resource let such an object go.
fn departure<D: Disk>(log: &Reader<D>, question: &Question, key: &ResourceKey, latest: Offset) -> Option<Departure> {
    let records = Chain::from(log, key, latest).take(RECORDS_MAX).map_while(Result::ok);
    let mut departures =
        records.map(|record| Departure::of(question, record.offset, record.time_unix_nanos, &record.payload));
    departures.find_map(|departure| departure)
}

/// The last record by which any resource let such an object go, if it is not too far back.
fn look_back<D: Disk>(log: &Reader<D>, question: &Question, notes: &mut Vec<String>) -> Option<Departure> {
    let (start, end) = (log.start().get(), log.end().get());
    let floor = start.max(end.saturating_sub(RECORDS_BACK_MAX));
    let mut until = end;
    while until > floor {
        let from = floor.max(until.saturating_sub(RECORDS_BACK));
        let mut scan = log.scan(Offset::from(from));
        let mut last = None;
        loop {
            match scan.next() {
                Ok(Some(record)) if record.offset.get() < until => {
                    let found = Departure::of(question, record.offset, record.time_unix_nanos, record.payload);
                    last = found.or(last);
                }
                Ok(_) => break,
                Err(error) => {
                    notes.push(format!("the records from offset {from} on cannot all be read: {error}"));
                    break;
                }
            }
        }
        if last.is_some() {
            return last;
        }
        until = from;
    }
    notes.push(match floor {
        _ if floor == start => "no record that the log holds says that a lifecycle deleted or released it".to_owned(),
        floor => format!(
            "no record from offset {floor} on says that a lifecycle deleted or released it; `lifeline history SOURCE \
             SUBJECT` shows what a resource had before"
        ),
    });
    None
}

/// What a record decided about a lifecycle.
fn decided_by<D: Disk>(
    log: &Reader<D>,
    key: &ResourceKey,
    trigger: &str,
    cluster: &str,
    decided: Offset,
) -> (Desired, Offset) {
    let unknown = (Desired::Absent { event: None }, decided);
    let Ok(Some(record)) = log.read(decided) else { return unknown };
    match Fact::decode(&record.payload) {
        Ok(Fact::Event(EventReceived { decisions, .. })) => {
            let creates = decisions.iter().any(|known| known.trigger == trigger && known.ruling == Ruling::Create);
            let event = decided;
            let desired = if creates { Desired::Present { event } } else { Desired::Absent { event: Some(event) } };
            (desired, decided)
        }
        Ok(Fact::Gathered(gathered)) => match gathered.keys {
            0 => (Desired::Absent { event: Some(decided) }, decided),
            _ => (Desired::Present { event: decided }, decided),
        },
        Ok(Fact::Replay(TriggerReplayed { redecisions, .. })) => {
            let about = redecisions.iter().find(|known| known.resource == *key && *known.cluster == *cluster);
            match about.map(|known| known.desired) {
                Some(Redesired::Present { event, .. }) => (Desired::Present { event }, decided),
                Some(Redesired::Absent { event }) => (Desired::Absent { event }, decided),
                Some(Redesired::Left) => (Desired::Left, decided),
                None => unknown,
            }
        }
        _ => unknown,
    }
}
