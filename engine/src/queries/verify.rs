//! Verifying a running engine: the state in memory against the log, folded again.
//!
//! Start at [`Queries::verify`]. The engine goes on meanwhile. What is about the whole state is noted at one offset, under the
//! lock; the log is folded up to there beside it; then resources are compared a piece at a time. A resource that did not
//! change since is compared as it is in memory; one that did is computed from its own records, as for a question about
//! the past; of what memory holds of it, only the offset of its latest record is checked.
//!
//! Every record that is folded is read with its checksum. Damage outside of records is found by the scrub.

use std::ops::Bound;
use std::time::Duration;

use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::fact::{LifecycleKey, ObjectKey, ResourceKey};
use lifeline_projections::fold::{Ground, Projection, Resource, Sieve};
use lifeline_projections::lifecycle::Phase;
use lifeline_store::{Disk, Offset, Reader};
use tokio::time::Instant;

use super::{At, Error, Queries, blocking};
use crate::view::View;

/// Resources compared in one turn, while the recorder waits: about a millisecond.
const PIECE_RESOURCES: usize = 1_000;

/// Resources that are named; the others are counted.
const NAMED_MAX: usize = 20;

/// What came of a verification.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Whether the state in memory is what the log gives.
    pub sound: bool,
    /// Checksum of the state that the log gives.
    pub digest: u64,
    /// How many resources the log gives.
    pub resources: usize,
    /// How many are in memory.
    pub resources_in_memory: usize,
    /// How many changed while they were verified: their earlier state is computed from their records.
    pub changed_meanwhile: u64,
    /// What differs of the state beside its resources, such as `streams` or `rules`.
    pub differing_parts: Vec<&'static str>,
    /// The resources that differ, sorted by source and subject, the first 20 of them.
    pub differing: Vec<(ResourceKey, How)>,
    /// How many differ.
    pub differing_count: u64,
    /// How long it took.
    pub took: Duration,
}

/// In what way a resource in memory differs from what the log gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its state in memory differs from the log.
    Changed,
    /// The log gives it, memory does not have it.
    Missing,
    /// Memory has it, the log does not give it.
    Surplus,
}

impl<D: Disk> Queries<D> {
    /// Whether the state in memory is what the log gives. One is done at a time; it takes as long as rebuilding the state, and
    /// until it is done as much memory as the state.
    ///
    /// # Errors
    /// When the log no longer holds its first record, or cannot be read.
    pub async fn verify(&self) -> Result<At<Verified>, Error> {
        // Refused before anybody waits for it.
        foldable(&self.view.log())?;
        let (view, mut turn) = (self.view.clone(), self.past.turn().await);
        blocking(move || {
            turn.forget();
            verified(&view)
        })
        .await
    }
}

/// Verifies. Blocks, for as long as it takes to fold the log.
fn verified<D: Disk>(view: &View<D>) -> Result<At<Verified>, Error> {
    let began = Instant::now();
    let memory = view.read(Whole::of);
    // Opened after the state was read: all that is folded is in it.
    let log = view.log();
    let offset = memory.ground.watermark;
    let from_log = as_of::projection(&log, Moment::Offset(offset))?;
    // What was let go of meanwhile is missing from it.
    foldable(&log)?;
    let verified = compare(view, &log, &memory, &from_log)?;
    Ok(At { offset, item: Verified { took: began.elapsed(), ..verified } })
}

/// Refuses a log that cannot be folded from its beginning.
fn foldable<D: Disk>(log: &Reader<D>) -> Result<(), Error> {
    match log.start() {
        Offset::ZERO => Ok(()),
        start => Err(as_of::Error::Forgotten { start }.into()),
    }
}

/// What a state is beside its resources.
#[derive(PartialEq)]
struct Whole {
    ground: Ground,
    resources: usize,
    phases: Vec<(Phase, u64)>,
    contested: Vec<Contested>,
}

/// An object that more than one lifecycle claims, each since a record, the earliest first.
#[derive(PartialEq)]
struct Contested {
    cluster: String,
    object: ObjectKey,
    claims: Vec<(Offset, LifecycleKey)>,
}

impl Whole {
    /// That of a state. Takes long only where very many objects are contested.
    fn of(projection: &Projection) -> Whole {
        let contested = projection.contested_from(Bound::Unbounded).map(|(cluster, object, claims)| {
            let claims = claims.into_iter().map(|claim| (claim.since, projection.lifecycle_key(claim.lifecycle)));
            Contested { cluster: cluster.to_owned(), object, claims: claims.collect() }
        });
        Whole {
            contested: contested.collect(),
            ground: projection.ground().clone(),
            resources: projection.len(),
            phases: projection.phases().collect(),
        }
    }

    /// What differs, by name.
    fn differing(&self, other: &Whole) -> Vec<&'static str> {
        let Whole { ground, resources: _, phases, contested } = self;
        let Ground { watermark, folded_unix_nanos, streams, rules, replayed, rule_records, .. } = ground;
        let Ground { open_replays, withdrawals, holes, .. } = ground;
        let differs = [
            ("offset", *watermark != other.ground.watermark),
            ("time", *folded_unix_nanos != other.ground.folded_unix_nanos),
            ("streams", *streams != other.ground.streams || *holes != other.ground.holes),
            ("rules", *rules != other.ground.rules || *rule_records != other.ground.rule_records),
            ("replays", *replayed != other.ground.replayed || *open_replays != other.ground.open_replays),
            ("withdrawals", *withdrawals != other.ground.withdrawals),
            ("phases", *phases != other.phases),
            ("conflicts", *contested != other.contested),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// Compares what was noted of the memory, and its resources, with the state that the log gives for the same offset.
fn compare<D: Disk>(view: &View<D>, log: &Reader<D>, memory: &Whole, from_log: &Projection) -> Result<Verified, Error> {
    let offset = from_log.watermark();
    let (mut found, mut changed_meanwhile) = (Found::default(), 0);
    let mut expected = from_log.resources().peekable();
    let mut last: Option<ResourceKey> = None;
    loop {
        let start = last.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded((&*key.source, &*key.subject)));
        let (trails, landmarks) = view.read(|projection| {
            let trails = projection.trails_from(start, Sieve::default(), offset).take(PIECE_RESOURCES);
            (trails.collect::<Vec<_>>(), projection.landmarks().clone())
        });
        for trail in &trails {
            while let Some((key, _)) = expected.next_if(|(key, _)| *key < trail.key) {
                found.note(&key, How::Missing);
            }
            let expected = expected.next_if(|(key, _)| *key == trail.key).map(|(_, resource)| resource);
            changed_meanwhile += u64::from(trail.unchanged.is_none() && expected.is_some());
            let how = match as_of::resource(log, &landmarks, trail, offset) {
                Ok(remembered) => how(remembered.as_ref(), expected.as_ref()),
                // Memory leads to a record that speaks of something else, or that there is not: the log itself is whole.
                Err(as_of::Error::NotAboutResource { .. } | as_of::Error::Forgotten { .. })
                    if log.start() == Offset::ZERO =>
                {
                    Some(How::Changed)
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(how) = how {
                found.note(&trail.key, how);
            }
        }
        if trails.len() < PIECE_RESOURCES {
            break;
        }
        last = trails.into_iter().next_back().map(|trail| trail.key);
    }
    for (key, _) in expected {
        found.note(&key, How::Missing);
    }
    let differing_parts = memory.differing(&Whole::of(from_log));
    let same_count = memory.resources == from_log.len();
    Ok(Verified {
        sound: found.count == 0 && differing_parts.is_empty() && same_count,
        digest: from_log.digest(),
        resources: from_log.len(),
        resources_in_memory: memory.resources,
        changed_meanwhile,
        differing_parts,
        differing: found.named,
        differing_count: found.count,
        took: Duration::ZERO,
    })
}

/// In what way a resource as it is remembered differs from what the log gives, if it does.
fn how(remembered: Option<&Resource>, expected: Option<&Resource>) -> Option<How> {
    match (remembered, expected) {
        // It came up later.
        (None, None) => None,
        (None, Some(_)) => Some(How::Missing),
        (Some(_), None) => Some(How::Surplus),
        (Some(remembered), Some(expected)) => (remembered != expected).then_some(How::Changed),
    }
}

/// What differs.
#[derive(Default)]
struct Found {
    named: Vec<(ResourceKey, How)>,
    count: u64,
}

impl Found {
    fn note(&mut self, key: &ResourceKey, how: How) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push((key.clone(), how));
        }
    }
}

#[cfg(test)]
mod tests;
