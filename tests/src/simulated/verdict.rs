//! What must hold when a story is over, whatever happened in it.
//!
//! Start at [`violations`]. It looks at the log, at what was published, and at the cluster. Of the engine it uses the codec
//! of facts, the fold, the checksums of triggers, and how marks are read.

use std::collections::{BTreeMap, BTreeSet};

use lifeline_engine::redrive::Outcome;
use lifeline_projections::fact::{
    Decision, EventReceived, Fact, Gathered, Reconciled, Redriven, StreamChange, StreamChanged, TriggerReplayed, What,
};
use lifeline_projections::fold::Projection;
use lifeline_store::{Offset, Record};

use super::altered;
use super::applies;
use super::cluster::FaultyCluster;
use super::hazard::{Counter, Hazard};
use super::inventory;
use super::leaving;
use super::objects::Objects;
use super::refold;
use super::rules::{Event, Version};
use super::script::{Message, foreign};
use super::server::{Fate, Published};
use super::story::Violation;

/// The end of a story.
pub struct Finished<'a> {
    /// The log.
    pub records: &'a [Record],
    /// What was answered about rejected messages that were to be taken up again, by the record that rejected them.
    pub redriven: &'a [(Offset, Outcome)],
    /// Every message, in order.
    pub published: Vec<Published>,
    /// The same messages with the events in them.
    pub messages: &'a [Message],
    /// The rules in force.
    pub version: Version,
    /// Whether objects that the rules give were there already, made by another owner.
    pub has_foreign: bool,
    /// Whether a stream was not read whole: what is missing there is recorded as holes, and no gap.
    pub reads_by_filter: bool,
    /// The cluster.
    pub cluster: &'a FaultyCluster,
    /// Digest of the projection as it was while the engine ran.
    pub digest: u64,
    /// Counts what the engine recorded of the hazards.
    pub counter: &'a Counter,
}

/// Everything that should not be so; empty when all is well.
#[must_use]
pub fn violations(finished: &Finished<'_>) -> Vec<Violation> {
    let facts: Result<Vec<Fact<'_>>, _> = finished.records.iter().map(|record| Fact::decode(&record.payload)).collect();
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => return vec![Violation::new("a record is no fact", error.to_string())],
    };
    facts.iter().filter_map(consequence).for_each(|hazard| finished.counter.count(hazard));
    let recorded: Vec<&[u8]> = facts.iter().filter_map(Fact::message).map(|(_, payload)| payload).collect();
    let mut violations = Vec::new();
    violations.extend(recorded_once_and_in_order(finished, &recorded));
    if !finished.reads_by_filter {
        violations.extend(nothing_is_missing_in_silence(finished, &facts, &recorded));
    }
    violations.extend(holes_are_counted_once(&facts));
    violations.extend(taken_up_once_and_as_it_was(finished, &facts));
    // What was published later counts, whenever it was read: the times of this server are never the same twice.
    let mut events: Vec<(u64, &[u8])> = facts.iter().filter_map(event).collect();
    events.sort_by_key(|(published_unix_nanos, _)| *published_unix_nanos);
    let events: Vec<&[u8]> = events.into_iter().map(|(_, payload)| payload).collect();
    violations.extend(the_cluster_is_as_decided(finished, &events));
    let foreign = foreign().into_iter().filter(|_| finished.has_foreign);
    let foreign =
        foreign.map(|manifest| Objects::resolve(&manifest).expect("a name that the cluster accepts")).collect();
    let (applies, taken) = (finished.cluster.applies(), finished.cluster.taken());
    violations.extend(applies::violations(finished.records, &facts, &applies, &taken, &foreign));
    violations.extend(leaving::violations(finished.records, &facts, &finished.cluster.hung_deletions()));
    let projection = folded(finished, &facts);
    violations.extend(the_fold_is_a_function_of_the_log(finished, &projection));
    violations.extend(refold::violations(finished.records, &facts, &projection));
    violations.extend(altered::violations(&projection, &facts, finished.cluster));
    violations.extend(inventory::violations(&projection, &finished.cluster.list(), &foreign));
    violations
}

/// When an event was published, and its payload.
fn event<'a>(fact: &Fact<'a>) -> Option<(u64, &'a [u8])> {
    match fact {
        Fact::Event(event) => Some((event.delivery.published_unix_nanos, event.payload)),
        _ => None,
    }
}

/// What may be missing is counted once: the holes of an epoch follow each other, and none has more messages than sequences.
fn holes_are_counted_once(facts: &[Fact<'_>]) -> Vec<Violation> {
    let (mut until, mut violations) = (BTreeMap::<_, u64>::new(), Vec::new());
    for fact in facts {
        let Fact::Stream(StreamChanged { stream, epoch, change, .. }) = fact else { continue };
        let StreamChange::Holes { from_sequence, to_sequence, up_to } = *change else { continue };
        let until = until.entry((*stream, *epoch)).or_default();
        if from_sequence < *until || up_to == 0 || from_sequence.saturating_add(up_to) > to_sequence {
            violations.push(Violation::new("holes counted twice", format!("{stream}: {change:?}")));
        }
        *until = to_sequence;
    }
    violations
}

/// A rejected message is taken up once at most, as it was; and what was answered is so.
fn taken_up_once_and_as_it_was(finished: &Finished<'_>, facts: &[Fact<'_>]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut taken_up: BTreeMap<Offset, Offset> = BTreeMap::new();
    let places = || finished.records.iter().map(|record| record.offset).zip(facts);
    let rejected: BTreeMap<Offset, _> = places()
        .filter_map(|(offset, fact)| match fact {
            Fact::Rejected(rejected) => Some((offset, rejected)),
            _ => None,
        })
        .collect();
    for (offset, fact) in places() {
        let Fact::Event(EventReceived { redriven: Some(Redriven { of, .. }), delivery, headers, payload, .. }) = fact
        else {
            continue;
        };
        let whom = format!("offset {offset} of offset {of}");
        let is_it = rejected.get(of).is_some_and(|rejected| {
            *of < offset && (rejected.delivery, &rejected.headers, rejected.payload) == (*delivery, headers, *payload)
        });
        if !is_it {
            violations.push(Violation::new("taken up, but not as it was rejected", &whom));
        }
        if taken_up.insert(*of, offset).is_some() {
            violations.push(Violation::new("taken up twice", whom));
        }
    }
    for (of, outcome) in finished.redriven {
        let is_so = match outcome {
            Outcome::Event(at) => at.is_some() && taken_up.get(of) == at.as_ref(),
            Outcome::Done(at) => taken_up.get(of) == Some(at),
            Outcome::Rejected(_) | Outcome::NoRoom(_) => true,
            Outcome::NotRejected | Outcome::Forgotten | Outcome::Ahead | Outcome::Unreadable(_) => false,
        };
        if !is_so {
            violations.push(Violation::new("answered, but not so in the log", format!("offset {of}: {outcome:?}")));
        }
    }
    violations
}

fn consequence_of_order(event: &EventReceived<'_>) -> Option<Hazard> {
    let decides = |decision: &Decision<'_>| decision.ruling.decides() && event.counts(decision.trigger);
    match &event.order {
        Some(order) if order.is_overtaken() => Some(Hazard::Overtaken),
        Some(order) if order.is_late && event.decisions.iter().any(decides) => Some(Hazard::LateAndDecides),
        Some(_) | None => None,
    }
}

/// What was recorded of a hazard.
fn consequence(fact: &Fact<'_>) -> Option<Hazard> {
    match fact {
        Fact::Stream(StreamChanged { epoch, change: StreamChange::Opened { .. }, .. }) => {
            (*epoch > 1).then_some(Hazard::NewEpoch)
        }
        Fact::Stream(StreamChanged { change: StreamChange::Gap { .. }, .. }) => Some(Hazard::Gap),
        Fact::Replay(TriggerReplayed { complete: false, redecisions, .. }) if !redecisions.is_empty() => {
            Some(Hazard::ReplayPiece)
        }
        Fact::Event(EventReceived { redriven: Some(_), .. }) => Some(Hazard::TakenUp),
        Fact::Event(event) => consequence_of_order(event),
        Fact::Reconciled(Reconciled { what: What::Failed(_), .. }) => Some(Hazard::FailedAttempt),
        Fact::Reconciled(Reconciled { what: What::Released(_), .. }) => Some(Hazard::Release),
        Fact::Reconciled(Reconciled { what: What::Recreated(_), .. }) => Some(Hazard::Recreation),
        Fact::Reconciled(Reconciled { what: What::Drifted(_), .. }) => Some(Hazard::Drift),
        Fact::Reconciled(Reconciled { what: What::Altered(_), .. }) => Some(Hazard::Altered),
        Fact::Gathered(Gathered { keys: 0, .. }) => Some(Hazard::EmptiedList),
        Fact::Gathered(Gathered { keys, .. }) => (*keys > 1).then_some(Hazard::Gathered),
        _ => None,
    }
}

fn recorded_once_and_in_order(finished: &Finished<'_>, recorded: &[&[u8]]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let places: BTreeMap<&[u8], usize> =
        finished.published.iter().zip(0..).map(|(published, place)| (&*published.payload, place)).collect();
    let mut seen = BTreeSet::new();
    let mut furthest: BTreeMap<&str, usize> = BTreeMap::new();
    for payload in recorded {
        let text = || String::from_utf8_lossy(payload);
        let Some(place) = places.get(payload).copied() else {
            violations.push(Violation::new("recorded, but never published", text()));
            continue;
        };
        if !seen.insert(place) {
            violations.push(Violation::new("recorded twice", text()));
            continue;
        }
        let furthest = furthest.entry(&finished.published[place].stream).or_default();
        if place < *furthest {
            violations.push(Violation::new("recorded out of order", text()));
        }
        *furthest = place.max(*furthest);
    }
    for (published, place) in finished.published.iter().zip(0..) {
        let must_be_recorded = match published.fate {
            Fate::Held | Fate::Acknowledged => true,
            Fate::Removed | Fate::Lost => false,
        };
        if must_be_recorded && !seen.contains(&place) {
            violations.push(Violation::new("never recorded", String::from_utf8_lossy(&published.payload)));
        }
    }
    violations
}

/// What the stream let go of before it could be recorded is covered by a gap, unless it was there before the engine: what the
/// stream had dropped by then is not a loss. A whole stream that was deleted shows as an epoch.
fn nothing_is_missing_in_silence(finished: &Finished<'_>, facts: &[Fact<'_>], recorded: &[&[u8]]) -> Vec<Violation> {
    let streams: BTreeSet<&str> = finished.published.iter().map(|published| &*published.stream).collect();
    streams.into_iter().flat_map(|stream| nothing_of_a_stream_is_missing(finished, facts, recorded, stream)).collect()
}

fn nothing_of_a_stream_is_missing(
    finished: &Finished<'_>,
    facts: &[Fact<'_>],
    recorded: &[&[u8]],
    of: &str,
) -> Vec<Violation> {
    let (mut opened_unix_nanos, mut opened_at, mut opened) = (0, 0, 0);
    let mut gaps = Vec::new();
    for (record, fact) in finished.records.iter().zip(facts) {
        let Fact::Stream(StreamChanged { change, stream, .. }) = fact else { continue };
        if *stream != of {
            continue;
        }
        match *change {
            StreamChange::Opened { start_sequence, created_unix_nanos, .. } => {
                (opened_unix_nanos, opened_at, opened) = (record.time_unix_nanos, start_sequence, created_unix_nanos);
                gaps.clear();
            }
            StreamChange::Gap { from_sequence, to_sequence } => gaps.push(from_sequence..to_sequence),
            // Only stories that read their streams whole are judged here.
            StreamChange::Holes { .. } => {}
        }
    }
    let recorded: BTreeSet<&[u8]> = recorded.iter().copied().collect();
    let published = || finished.published.iter().filter(|published| published.stream == of);
    let last_created = published().last().map(|published| published.created_unix_nanos);
    // Where a sequence was given twice, the purge of one of its messages cannot be seen.
    let mut given: BTreeMap<(u64, u64), u32> = BTreeMap::new();
    for published in published() {
        *given.entry((published.created_unix_nanos, published.sequence)).or_default() += 1;
    }
    let silent = published().filter(|published| {
        published.fate == Fate::Removed
            && given[&(published.created_unix_nanos, published.sequence)] == 1
            && Some(published.created_unix_nanos) == last_created
            // One that was gone before it was met is not known.
            && published.created_unix_nanos == opened
            // Both, for a stream may drop messages in the very moment in which it is opened.
            && published.published_unix_nanos > opened_unix_nanos
            && published.sequence >= opened_at
            && !recorded.contains(&*published.payload)
            && !gaps.iter().any(|gap| gap.contains(&published.sequence))
    });
    silent.map(|published| Violation::new("lost in silence", String::from_utf8_lossy(&published.payload))).collect()
}

fn the_cluster_is_as_decided(finished: &Finished<'_>, events: &[&[u8]]) -> Vec<Violation> {
    let by_payload: BTreeMap<&[u8], &Event> =
        finished.messages.iter().filter_map(|message| Some((&*message.payload, message.event.as_ref()?))).collect();
    let events = events.iter().filter_map(|payload| by_payload.get(payload).copied());
    let foreign_namespaces: &[&str] = if finished.has_foreign { &["bob"] } else { &[] };
    let mut wanted = finished.version.wanted(events, foreign_namespaces);
    let mut held: BTreeMap<String, String> = finished
        .cluster
        .list()
        .into_iter()
        .map(|(object, live)| (object.short(), live.manifest["data"]["login"].to_string()))
        .collect();
    let mut violations = Vec::new();
    for manifest in foreign().iter().filter(|_| finished.has_foreign) {
        let object = Objects::resolve(manifest).expect("a name that the cluster accepts").short();
        wanted.remove(&object);
        if held.remove(&object) != Some(manifest["data"]["login"].to_string()) {
            violations.push(Violation::new("an object that Lifeline did not make was changed or deleted", object));
        }
    }
    for (object, values) in &wanted {
        match held.get(object) {
            None => violations.push(Violation::new("missing in the cluster", format!("{object}, {values:?}"))),
            Some(value) if !values.contains(value) => {
                let whom = format!("{object} is {value}, wanted {values:?}");
                violations.push(Violation::new("in the cluster, but wrong", whom));
            }
            Some(_) => {}
        }
    }
    let extra = held.keys().filter(|object| !wanted.contains_key(*object));
    violations.extend(extra.map(|object| Violation::new("in the cluster, though nothing asks for it", object)));
    violations
}

fn folded(finished: &Finished<'_>, facts: &[Fact<'_>]) -> Projection {
    let mut projection = Projection::default();
    let mut work = Vec::new();
    for (record, fact) in finished.records.iter().zip(facts) {
        projection.fold(record.offset, record.time_unix_nanos, fact, &mut work);
    }
    projection
}

fn the_fold_is_a_function_of_the_log(finished: &Finished<'_>, projection: &Projection) -> Option<Violation> {
    let (live, again) = (finished.digest, projection.digest());
    let whom = || format!("the log gives {again:016x}, the engine had {live:016x}");
    (live != again).then(|| Violation::new("folded again, the log gives another state", whom()))
}
