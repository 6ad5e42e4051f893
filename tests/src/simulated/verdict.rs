//! What must hold when a story is over, whatever happened in it.
//!
//! Start at [`violations`]. It looks at the log, at what was published, and at the cluster; of the engine it takes nothing
//! but the codec of facts and the fold.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lifeline_engine::cluster::ObjectKey;
use lifeline_projections::fact::{Fact, Outcome, Redesired};
use lifeline_projections::fold::Projection;
use lifeline_store::Record;

use super::cluster::FaultyCluster;
use super::process::payload;
use super::rules::{Event, Version};
use super::server::{Fate, Published};

/// The end of a story.
pub struct Finished<'a> {
    /// The log.
    pub records: &'a [Record],
    /// Every message, in order.
    pub published: Vec<Published>,
    /// The events in them.
    pub events: &'a [(Bytes, Option<Event>)],
    /// The rules in force.
    pub version: Version,
    /// The cluster.
    pub cluster: &'a FaultyCluster,
    /// Digest of the projection as it was while the engine ran.
    pub digest: u64,
}

/// Everything that should not be so; empty when all is well.
#[must_use]
pub fn violations(finished: &Finished<'_>) -> Vec<String> {
    let facts: Result<Vec<Fact<'_>>, _> = finished.records.iter().map(|record| Fact::decode(&record.payload)).collect();
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => return vec![format!("a record is no fact: {error}")],
    };
    let mut violations = Vec::new();
    violations.extend(recorded_once_and_in_order(finished));
    violations.extend(nothing_is_missing_in_silence(finished, &facts));
    violations.extend(the_cluster_is_as_decided(finished));
    violations.extend(nothing_lived_twice_in_one_life(finished, &facts));
    violations.extend(the_fold_is_a_function_of_the_log(finished, &facts));
    violations
}

fn recorded_once_and_in_order(finished: &Finished<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    let places: BTreeMap<&[u8], usize> =
        finished.published.iter().zip(0..).map(|(published, place)| (&*published.payload, place)).collect();
    let mut seen = BTreeSet::new();
    let mut furthest = None;
    for recorded in finished.records.iter().filter_map(payload) {
        let text = String::from_utf8_lossy(recorded);
        let Some(place) = places.get(recorded).copied() else {
            violations.push(format!("recorded, but never published: {text}"));
            continue;
        };
        if !seen.insert(place) {
            violations.push(format!("recorded twice: {text}"));
        } else if furthest.is_some_and(|furthest| place < furthest) {
            violations.push(format!("recorded out of order: {text}"));
        }
        furthest = furthest.max(Some(place));
    }
    for (published, place) in finished.published.iter().zip(0..) {
        let must_be_recorded = match published.fate {
            Fate::Held | Fate::Acknowledged => true,
            Fate::Removed | Fate::Lost => false,
        };
        if must_be_recorded && !seen.contains(&place) {
            violations.push(format!("never recorded: {}", String::from_utf8_lossy(&published.payload)));
        }
    }
    violations
}

/// What the stream let go of before it could be recorded is covered by a gap, unless it was there before the engine came:
/// the holes of a stream's past are nobody's loss. A whole stream that was deleted shows as an epoch.
fn nothing_is_missing_in_silence(finished: &Finished<'_>, facts: &[Fact<'_>]) -> Vec<String> {
    let mut opened_unix_nanos = 0;
    let mut gaps = Vec::new();
    for (record, fact) in finished.records.iter().zip(facts) {
        match fact {
            Fact::StreamOpened { .. } => {
                opened_unix_nanos = record.time_unix_nanos;
                gaps.clear();
            }
            Fact::GapFound { from_sequence, to_sequence, .. } => gaps.push(*from_sequence..*to_sequence),
            _ => {}
        }
    }
    let recorded: BTreeSet<&[u8]> = finished.records.iter().filter_map(payload).collect();
    let last_created = finished.published.last().map(|published| published.created_unix_nanos);
    // What a server purges of the messages whose sequences it had given to others before is nowhere to be seen.
    let mut given: BTreeMap<(u64, u64), u32> = BTreeMap::new();
    for published in &finished.published {
        *given.entry((published.created_unix_nanos, published.sequence)).or_default() += 1;
    }
    let silent = finished.published.iter().filter(|published| {
        published.fate == Fate::Removed
            && given[&(published.created_unix_nanos, published.sequence)] == 1
            && Some(published.created_unix_nanos) == last_created
            && published.published_unix_nanos > opened_unix_nanos
            && !recorded.contains(&*published.payload)
            && !gaps.iter().any(|gap| gap.contains(&published.sequence))
    });
    silent.map(|published| format!("lost in silence: {}", String::from_utf8_lossy(&published.payload))).collect()
}

fn the_cluster_is_as_decided(finished: &Finished<'_>) -> Vec<String> {
    let by_payload: BTreeMap<&[u8], &Event> =
        finished.events.iter().filter_map(|(payload, event)| Some((&**payload, event.as_ref()?))).collect();
    let recorded = finished.records.iter().filter_map(payload);
    let wanted = finished.version.wanted(recorded.filter_map(|payload| by_payload.get(payload).copied()));
    let held: BTreeMap<String, String> = finished
        .cluster
        .list()
        .into_iter()
        .map(|(object, live)| (object.short(), live.manifest["data"]["login"].to_string()))
        .collect();
    let mut violations = Vec::new();
    for (object, values) in &wanted {
        match held.get(object) {
            None => violations.push(format!("missing in the cluster: {object}, {values:?}")),
            Some(value) if !values.contains(value) => {
                violations.push(format!("in the cluster, but wrong: {object}: {value}, wanted {values:?}"));
            }
            Some(_) => {}
        }
    }
    let extra = held.keys().filter(|object| !wanted.contains_key(*object));
    violations.extend(extra.map(|object| format!("in the cluster, though nothing asks for it: {object}")));
    violations
}

/// An object is made at most once for each time that something began to ask for it.
fn nothing_lived_twice_in_one_life(finished: &Finished<'_>, facts: &[Fact<'_>]) -> Vec<String> {
    type Key<'a> = (&'a str, &'a str, &'a str);
    let mut present: BTreeSet<Key<'_>> = BTreeSet::new();
    let mut lives: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    let mut claims: BTreeMap<&ObjectKey, BTreeSet<Key<'_>>> = BTreeMap::new();
    let mut decide = |key, shall_be: bool| {
        if !shall_be {
            present.remove(&key);
        } else if present.insert(key) {
            *lives.entry(key).or_default() += 1;
        }
    };
    for fact in facts {
        match fact {
            Fact::EventReceived { source, subject, decisions, .. } => {
                for decision in decisions {
                    match decision.outcome {
                        Outcome::Create => decide((decision.trigger, *source, *subject), true),
                        Outcome::Delete => decide((decision.trigger, *source, *subject), false),
                        Outcome::NoAction(_) | Outcome::Failed(_) => {}
                    }
                }
            }
            Fact::TriggerReplayed { trigger, redecisions, .. } => {
                for redecision in redecisions {
                    let resource = &redecision.resource;
                    let shall_be = matches!(redecision.desired, Redesired::Present { .. });
                    decide((&**trigger, &*resource.source, &*resource.subject), shall_be);
                }
            }
            Fact::ApplyIntended { key, objects, .. } => {
                for object in objects {
                    let resource = &key.resource;
                    claims.entry(object).or_default().insert((&*key.trigger, &*resource.source, &*resource.subject));
                }
            }
            _ => {}
        }
    }
    let mut violations = Vec::new();
    for (object, births) in finished.cluster.births() {
        let claimed = claims.get(&object).into_iter().flatten();
        let lives: usize = claimed.filter_map(|key| lives.get(key)).sum();
        if births > lives {
            violations.push(format!("{object} was made {births} times in {lives} lives"));
        }
    }
    violations
}

fn the_fold_is_a_function_of_the_log(finished: &Finished<'_>, facts: &[Fact<'_>]) -> Option<String> {
    let mut projection = Projection::default();
    let mut work = Vec::new();
    for (record, fact) in finished.records.iter().zip(facts) {
        projection.fold(record.offset, record.time_unix_nanos, fact, &mut work);
    }
    let (live, again) = (finished.digest, projection.digest());
    (live != again).then(|| format!("folded again, the log gives {again:016x}; the engine had {live:016x}"))
}
