//! The fold: facts in, state out.
//!
//! Start at [`Projection::fold`]. The state is a pure function of the records below its watermark: folded at once, one
//! by one, or resumed from any checkpoint, the same records give the same state. [`Projection::digest`] shows whether
//! two are the same.
//!
//! A resource is kept small (see [`crate::compact`]) and handed out whole, as a [`Resource`]. What is not about resources
//! lies in `ground`, looking resources up in `place`, reading in `read`, and what a checkpoint takes and gives in
//! `checkpoint`.
//!
//! Never here: files (see [`crate::table`]), rules, or anything that could fail. What was recorded has happened.

mod checkpoint;
mod digest;
mod ground;
mod place;
mod read;
mod resource;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use lifeline_store::Offset;
use parking_lot::Mutex;

pub(crate) use self::checkpoint::BUCKET_RESOURCES;
pub(crate) use self::ground::change_rule;
pub use self::ground::{Ground, OpenReplay, ReplayMark, RuleMark, StreamPosition, Tail};
pub use self::place::{LOCATED_MAX, Place};
pub use self::read::{Candidate, Sieve, Trail};
pub use self::resource::Resource;
use crate::claims::Claimants;
use crate::compact::{Entry, Shared};
use crate::fact::{Fact, ObjectKey};
use crate::happened::{Change, Happened};
use crate::index::Index;
use crate::landmarks::{self, Landmarks};
use crate::lifecycle::{Lifecycle, Phase};
use crate::order::{Keys, Order};

/// A resource's number: resources are counted as they come up in the log, so the same log numbers them alike everywhere.
pub type ResourceIndex = u32;

/// A lifecycle's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LifecycleIndex {
    /// The resource.
    pub resource: ResourceIndex,
    /// The lifecycle's number within it, in the order in which they came up.
    pub slot: u32,
}

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
    entries: Entries,
    shared: Shared,
    /// Number by checksum of the key.
    index: Index,
    hasher: DefaultHashBuilder,
    /// Numbers by key. Readers put in order what waits, which is why it has a lock of its own.
    order: Mutex<Order>,
    claimants: Claimants,
    /// Objects that more than one lifecycle claims.
    contested: BTreeSet<(Box<str>, ObjectKey)>,
    /// Resources with a lifecycle that needs work.
    open: BTreeSet<ResourceIndex>,
    phases: Phases,
    /// The last record of resources that the checkpoint held newer than its watermark: records up to there are in the
    /// state already.
    ahead: BTreeMap<ResourceIndex, Offset>,
    /// Which buckets changed since the last checkpoint.
    changed: Vec<bool>,
    landmarks: Arc<Landmarks>,
    landmarks_apart: Apart,
}

/// Records about one resource from one landmark to the next.
#[derive(Debug)]
struct Apart(u32);

impl Default for Apart {
    fn default() -> Apart {
        Apart(landmarks::RECORDS_APART)
    }
}

#[derive(Debug, Default)]
struct Entries(Vec<Entry>);

impl Keys for Entries {
    fn key(&self, number: u32) -> (&str, &str) {
        let entry = &self.0[number as usize];
        (&entry.source, &entry.subject)
    }
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
        Projection { landmarks_apart: Apart(records), ..Projection::default() }
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
        self.entries.0.len()
    }

    /// Whether no event was ever folded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.0.is_empty()
    }

    /// What resources were, every so many records.
    #[must_use]
    pub fn landmarks(&self) -> &Arc<Landmarks> {
        &self.landmarks
    }

    /// Takes in the record at `offset`. Lifecycles that it decides and that now need work are appended to `work`.
    ///
    /// A record that is in the state already (after a restart from a checkpoint that was written in pieces) changes
    /// nothing: see [`crate::table`].
    pub fn fold(&mut self, offset: Offset, unix_nanos: u64, fact: &Fact<'_>, work: &mut Vec<LifecycleIndex>) {
        self.fold_at(None, offset, unix_nanos, fact, work);
    }

    /// As [`Projection::fold`], of a fact about one resource that [`Projection::locate`] was asked for.
    pub fn fold_at(
        &mut self,
        place: Place,
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
            let index = self.at_or_insert(place, link.source, link.subject);
            if !self.note_record(index, offset) {
                continue;
            }
            if let Fact::Event(event) = fact {
                self.count_event(index, offset, unix_nanos, event.kind);
            }
            for change in link.happened() {
                self.evolve(index, offset, unix_nanos, &change, work);
            }
        }
        // Once all is in: a replay may name a resource more than once.
        for link in fact.links() {
            let index = self.at_or_insert(place, link.source, link.subject);
            if self.entry(index).last_record == offset {
                self.set_landmark(index, offset);
            }
        }
    }

    fn count_event(&mut self, index: ResourceIndex, offset: Offset, unix_nanos: u64, kind: &str) {
        let entry = &mut self.entries.0[index as usize];
        if entry.events == 0 {
            entry.first_event = offset;
        }
        entry.events += 1;
        entry.last_event = offset;
        entry.last_event_unix_nanos = unix_nanos;
        if *entry.kind != *kind {
            entry.kind = self.shared.name(kind);
        }
    }

    /// Evolves one lifecycle and keeps what is counted and claimed in step with it.
    fn evolve(
        &mut self,
        index: ResourceIndex,
        offset: Offset,
        unix_nanos: u64,
        change: &Change<'_>,
        work: &mut Vec<LifecycleIndex>,
    ) {
        let Change { trigger, cluster, happened } = *change;
        let entry = &mut self.entries.0[index as usize];
        let (slot, was_known) = entry.slot_or_new(&mut self.shared, trigger, cluster);
        let whom = LifecycleIndex { resource: index, slot };
        // A decision changes no inventory, and most outcomes find theirs as it is: often it need not be unpacked.
        let standing = match happened {
            Happened::DecidedCreate | Happened::DecidedDelete => {
                Some((happened, matches!(happened, Happened::DecidedCreate)))
            }
            Happened::Applied { acted_for, objects } if entry.is_confirmed(slot, acted_for, objects) => {
                Some((Happened::Applied { acted_for, objects: &[] }, true))
            }
            Happened::Redecided(_)
            | Happened::ApplyIntended(_)
            | Happened::Applied { .. }
            | Happened::ApplyFailed { .. }
            | Happened::Removed { .. } => None,
        };
        let standing = standing.and_then(|(happened, allows_holdings)| {
            let change = |lifecycle: &mut Lifecycle| lifecycle.evolve(offset, unix_nanos, happened);
            entry.change_standing(&self.shared, slot, allows_holdings, change)
        });
        let (before, after) = match standing {
            Some(moved) => moved,
            None => {
                let mut lifecycle = entry.lifecycle(&self.shared, slot);
                let before = lifecycle.phase();
                // Most outcomes are about objects that are held already.
                let held_before = lifecycle.may_change_claims(&happened).then(|| held(&lifecycle));
                lifecycle.evolve(offset, unix_nanos, happened);
                let after = lifecycle.phase();
                let held_after = held_before.as_ref().map(|_| held(&lifecycle));
                entry.put(slot, &lifecycle);
                if let (Some(before), Some(after)) = (held_before, held_after) {
                    for object in before.difference(&after) {
                        self.claimants.remove(cluster, object, index);
                        self.note_contested(cluster, object);
                    }
                    for object in after.difference(&before) {
                        self.claimants.add(cluster, object, index);
                        self.note_contested(cluster, object);
                    }
                }
                (before, after)
            }
        };
        self.phases.moved(was_known.then_some(before), after);
        let entry = &self.entries.0[index as usize];
        if entry.needing_work().any(|open| open == slot) {
            // After an outcome, the one who recorded it knows what is left to do.
            if happened.is_decision() {
                work.push(whom);
            }
            self.open.insert(index);
        } else if entry.needing_work().next().is_none() {
            self.open.remove(&index);
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

    fn set_landmark(&mut self, index: ResourceIndex, offset: Offset) {
        let entry = &self.entries.0[index as usize];
        if entry.records.is_multiple_of(self.landmarks_apart.0) {
            let mut bytes = Vec::new();
            entry.encode(&self.shared, None, &mut bytes);
            self.landmarks.add((index, offset), bytes);
        }
    }

    fn entry(&self, index: ResourceIndex) -> &Entry {
        &self.entries.0[index as usize]
    }

    /// Notes that a record speaks of the resource. False when the resource's state holds that record already.
    fn note_record(&mut self, index: ResourceIndex, offset: Offset) -> bool {
        if self.ahead.get(&index).is_some_and(|held| offset <= *held) {
            return false;
        }
        let entry = &mut self.entries.0[index as usize];
        // One record may speak of a resource more than once: a replay, about several clusters.
        if entry.records == 0 || entry.last_record != offset {
            entry.records = entry.records.saturating_add(1);
            entry.last_record = offset;
        }
        let bucket = index as usize / BUCKET_RESOURCES;
        if self.changed.len() <= bucket {
            self.changed.resize(bucket + 1, false);
        }
        self.changed[bucket] = true;
        true
    }
}

/// What a lifecycle claims.
fn held(lifecycle: &Lifecycle) -> BTreeSet<ObjectKey> {
    lifecycle.inventory.iter().map(|holding| holding.object.clone()).collect()
}
