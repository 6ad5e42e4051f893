//! The fold: facts in, state out.
//!
//! Start at [`Projection::fold_all`]. The state is a pure function of the records below its watermark: folded at once, one
//! by one, or resumed from any checkpoint, the same records give the same state. [`Projection::digest`] shows whether
//! two are the same.
//!
//! What a record does to a resource is said in [`crate::resource`]; how a million of them are kept is known to
//! [`crate::storage`]. Here is what is counted over all of them. What is not about resources is in `ground`, reading in
//! `read`.
//!
//! Never here: files (see [`crate::table`]), rules, or anything that could fail. What was recorded has happened.

mod digest;
mod ground;
mod holes;
mod lists;
mod read;
mod withdrawals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lifeline_store::Offset;

pub(crate) use self::ground::change_rule;
pub use self::ground::{Ground, OpenReplay, ReplayMark, RuleMark, StreamPosition, Tail};
pub use self::holes::Holes;
pub use self::lists::Keys;
pub use self::read::{Candidate, Sieve, Trail};
pub use self::withdrawals::Withdrawals;
use crate::claims::Claimants;
use crate::fact::{Fact, ObjectKey};
use crate::landmarks::{self, Landmarks};
use crate::lifecycle::Phase;
pub use crate::resource::{Latest, LifecycleIndex, Newest, Resource, ResourceIndex};
use crate::storage::{Changed, LOOKED_UP_MAX, Storage};

/// A claim on an object: the lifecycle that intends or holds it, since which record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The record that first claimed it.
    pub since: Offset,
    /// Who.
    pub lifecycle: LifecycleIndex,
}

/// The state folded from the log.
#[derive(Debug, Default)]
pub struct Projection {
    pub(crate) ground: Ground,
    resources: Storage,
    claimants: Claimants,
    /// Objects that more than one lifecycle claims.
    contested: BTreeSet<(Box<str>, ObjectKey)>,
    /// Resources with a lifecycle that needs work.
    open: BTreeSet<ResourceIndex>,
    phases: Phases,
    /// The resources of each trigger and cluster, by the number of both.
    keys: Vec<Keys>,
    /// The last record of resources that the checkpoint held newer than its watermark: records up to there are in the
    /// state already.
    ahead: BTreeMap<ResourceIndex, Offset>,
    landmarks: Arc<Landmarks>,
    /// Records about one resource from one landmark to the next, where others than [`landmarks::RECORDS_APART`].
    landmarks_apart: Option<u32>,
}

/// How many lifecycles are in each phase, in the order of [`Phase::ALL`]. Counted along, for it is asked every few
/// seconds and there may be millions.
#[derive(Debug, Default)]
struct Phases([u64; Phase::ALL.len()]);

impl Phases {
    fn moved(&mut self, from: Option<Phase>, to: Phase) {
        if let Some(from) = from {
            self.0[from as usize] -= 1;
        }
        self.0[to as usize] += 1;
    }
}

impl Projection {
    /// An empty one that leaves a landmark of a resource at every so many of its records, instead of
    /// [`landmarks::RECORDS_APART`].
    #[must_use]
    pub fn with_landmarks_every(records: u32) -> Projection {
        Projection { landmarks_apart: Some(records), ..Projection::default() }
    }

    /// First offset not folded.
    #[must_use]
    pub fn watermark(&self) -> Offset {
        self.ground.watermark
    }

    /// What is known beside the resources.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// How many lifecycles are in each phase, in order of urgency; phases without any are left out.
    pub fn phases(&self) -> impl Iterator<Item = (Phase, u64)> {
        Phase::ALL.into_iter().zip(self.phases.0).filter(|(_, count)| *count > 0)
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there is no resource.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What resources were, every so many records.
    #[must_use]
    pub fn landmarks(&self) -> &Arc<Landmarks> {
        &self.landmarks
    }

    /// Takes in the record at `offset`. Appends to `work` the lifecycles that it decides, where they need work, or needed it
    /// before this record: a queue that holds such a lifecycle has to learn that nothing is left to do.
    ///
    /// A record that is in the state already (after a restart from a checkpoint that was written in pieces) changes
    /// nothing: see [`crate::table`].
    pub fn fold(&mut self, offset: Offset, unix_nanos: u64, fact: &Fact<'_>, work: &mut Vec<LifecycleIndex>) {
        self.fold_found(None, offset, unix_nanos, fact, work);
    }

    /// Takes in many records, each with its offset and time, as [`Projection::fold`] does one by one, but faster: it waits
    /// once for the memory of a few dozen resources.
    pub fn fold_all<'f>(
        &mut self,
        records: impl IntoIterator<Item = (Offset, u64, &'f Fact<'f>)>,
        work: &mut Vec<LifecycleIndex>,
    ) {
        let mut records = records.into_iter();
        loop {
            let piece: Vec<_> = records.by_ref().take(LOOKED_UP_MAX).collect();
            if piece.is_empty() {
                return;
            }
            let found = self.resources.find_all(piece.iter().map(|(_, _, fact)| fact.resource()));
            for ((offset, unix_nanos, fact), found) in piece.into_iter().zip(found) {
                self.fold_found(found, offset, unix_nanos, fact, work);
            }
        }
    }

    /// As [`Projection::fold`]; `found` is the number of the one resource that the fact is about, if it is known.
    fn fold_found(
        &mut self,
        found: Option<ResourceIndex>,
        offset: Offset,
        unix_nanos: u64,
        fact: &Fact<'_>,
        work: &mut Vec<LifecycleIndex>,
    ) {
        if offset < self.ground.watermark {
            return;
        }
        self.ground.watermark = offset.next();
        self.ground.folded_unix_nanos = unix_nanos;
        self.ground.take(offset, fact);
        for link in fact.links() {
            let resource = found.unwrap_or_else(|| self.resources.find_or_put(link.source, link.subject));
            if self.ahead.get(&resource).is_some_and(|held| offset <= *held) {
                continue;
            }
            self.resources.count(resource, offset, unix_nanos, &link);
            for change in link.happened() {
                let changed = self.resources.evolve(resource, offset, unix_nanos, &change);
                self.follow(resource, change.cluster, &changed);
                let needed_work = changed.before.is_some_and(Phase::needs_work);
                // After an outcome, the one who recorded it knows what is left to do.
                if (changed.needs_work || needed_work) && change.happened.is_decision() {
                    work.push(LifecycleIndex { resource, slot: changed.slot });
                }
            }
            // A replay may name a resource more than once: then the last one replaces those before it.
            self.leave_landmark(resource, offset);
        }
    }

    /// Keeps what is counted and claimed in step with a lifecycle.
    fn follow(&mut self, resource: ResourceIndex, cluster: &str, changed: &Changed) {
        self.phases.moved(changed.before, changed.after);
        // A list is no key of itself.
        if !self.resources.get(resource).source().is_empty() {
            let pair = changed.key.pair as usize;
            if self.keys.len() <= pair {
                self.keys.resize(pair + 1, Keys::default());
            }
            self.keys[pair].take(&changed.key);
        }
        for object in &changed.released {
            self.claimants.remove(cluster, object, resource);
            self.note_contested(cluster, object);
        }
        for object in &changed.claimed {
            self.claimants.add(cluster, object, resource);
            self.note_contested(cluster, object);
        }
        if changed.needs_work {
            self.open.insert(resource);
        } else if self.resources.get(resource).needing_work().next().is_none() {
            self.open.remove(&resource);
        }
    }

    /// Notes whether an object is claimed more than once.
    fn note_contested(&mut self, cluster: &str, object: &ObjectKey) {
        let is_contested = self.claimants.count(cluster, object) > 1 && self.claims(cluster, object).len() > 1;
        if is_contested {
            self.contested.insert((cluster.into(), object.clone()));
        } else if !self.contested.is_empty() {
            self.contested.remove(&(cluster.into(), object.clone()));
        }
    }

    fn leave_landmark(&mut self, resource: ResourceIndex, offset: Offset) {
        let stored = self.resources.get(resource);
        if stored.records().is_multiple_of(self.landmarks_apart.unwrap_or(landmarks::RECORDS_APART)) {
            self.landmarks.add((resource, offset), stored.encode());
        }
    }

    /// An empty projection with what is known beside resources, to be filled by [`Projection::restore_bucket`].
    pub(crate) fn with_ground(ground: Ground) -> Projection {
        Projection { ground, ..Projection::default() }
    }

    /// Takes in the next bucket of resources of a checkpoint; `None` where it is not that.
    pub(crate) fn restore_bucket(&mut self, bucket: usize, bytes: &[u8]) -> Option<()> {
        for number in self.resources.restore_bucket(bucket, bytes)? {
            let stored = self.resources.get(number);
            if stored.last_record() >= self.ground.watermark {
                self.ahead.insert(number, stored.last_record());
            }
            let changes: Vec<_> = stored.changes().collect();
            changes.iter().for_each(|(cluster, changed)| self.follow(number, cluster, changed));
        }
        Some(())
    }

    /// The resources, for a checkpoint to be written.
    pub(crate) fn storage(&self) -> &Storage {
        &self.resources
    }

    /// The resources, for a checkpoint to begin or to be given up.
    pub(crate) fn storage_mut(&mut self) -> &mut Storage {
        &mut self.resources
    }
}
