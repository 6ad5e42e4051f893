//! The lifecycle of one resource under one trigger: a state machine over what has happened.
//!
//! ```text
//!                Create                    Applied
//!   (unknown) ----------> present/Pending ---------> present/Ready
//!       |                     ^   |  ^ \                 |
//!       | Delete       Create |   |  |  `-> Failing      | Create: Pending again, same incarnation
//!       v                     |   |  `------'  (retried) |
//!   absent/Gone <--- absent/Deleting <-------------------'  Delete
//!               Deleted
//! ```
//!
//! Start at [`Lifecycle::evolve`]: what was recorded has happened, so evolving is total and cannot fail. Nothing here
//! asks for the time or touches a cluster.
//!
//! Invariant: the inventory holds every object that may exist in the cluster because of this lifecycle. It grows before
//! Kubernetes is touched (`ApplyIntended`) and shrinks only when an object is known to be gone (`Deleted`), belongs to
//! another owner or lifecycle (`Released`), or is left as its trigger says (`Redesired::Left`).

use std::collections::BTreeSet;
use std::sync::Arc;

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use crate::fact::{AppliedObject, DriftedObject, LifecycleKey, ObjectKey, Redesired, ResourceKey};
use crate::happened::Happened;

/// A lifecycle: what one trigger makes of one resource on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// The EventTrigger.
    pub trigger: Arc<str>,
    /// The cluster the objects are on.
    pub cluster: Arc<str>,
    /// What shall hold.
    pub desired: Desired,
    /// The record that made it so. Outcomes name the decision they acted for by this offset.
    pub decided: Offset,
    /// When that was recorded, in nanoseconds since 1970.
    pub decided_unix_nanos: u64,
    /// How often it has become present, from 1; 0 while nothing was ever to be created.
    pub incarnation: u32,
    /// The decision that was last carried out in full.
    pub settled: Option<Offset>,
    /// When it was, in nanoseconds since 1970; 0 for never.
    pub settled_unix_nanos: u64,
    /// What may exist in the cluster because of this lifecycle, sorted by object.
    pub inventory: Vec<Holding>,
    /// The last attempt's failure, when the decision is not carried out because of it.
    pub failure: Option<Failure>,
}

/// What is known of a lifecycle without its inventory and its failure: it costs the same however many objects it holds.
#[derive(Debug, Clone, Copy)]
pub struct Head<'p> {
    /// The EventTrigger.
    pub trigger: &'p Arc<str>,
    /// The cluster the objects are on.
    pub cluster: &'p Arc<str>,
    /// What shall hold.
    pub desired: Desired,
    /// The record that made it so.
    pub decided: Offset,
    /// Its state, in one word.
    pub phase: Phase,
    /// Whether the cluster may differ from what is desired.
    pub needs_work: bool,
    /// Whether its last attempt failed, as [`Lifecycle::failure`] says.
    pub is_failing: bool,
}

/// What shall hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Desired {
    /// The objects shall exist, rendered from this event.
    Present {
        /// The latest Create event.
        event: Offset,
    },
    /// They shall not.
    Absent {
        /// The Delete event; `None` when the trigger is gone.
        event: Option<Offset>,
    },
    /// The trigger is gone and leaves what it made.
    Left,
}

impl From<Redesired> for Desired {
    fn from(redesired: Redesired) -> Desired {
        match redesired {
            Redesired::Present { event, .. } => Desired::Present { event },
            Redesired::Absent { event } => Desired::Absent { event },
            Redesired::Left => Desired::Left,
        }
    }
}

impl Desired {
    /// Whether the objects shall exist.
    #[must_use]
    pub const fn is_present(self) -> bool {
        matches!(self, Desired::Present { .. })
    }
}

/// An object in the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The object.
    pub object: ObjectKey,
    /// The record that first claimed it: the earlier claim owns the object.
    pub since: Offset,
    /// What the cluster is known to hold; `None` while an apply was intended and its result is not known.
    pub applied: Option<Applied>,
}

/// The checksum of no manifest: what is held like this is applied again, never kept.
pub const DIGEST_UNKNOWN: u64 = 0;

/// The result of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// `metadata.uid`.
    pub uid: String,
    /// Checksum of the manifest as sent; [`DIGEST_UNKNOWN`] from the record of an intended change until its outcome.
    pub digest: u64,
    /// The decision it was applied for.
    pub acted_for: Offset,
    /// When, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// Checksum of the fields that belong to Lifeline since then; 0 where it is not known.
    pub fields: u64,
}

impl Applied {
    /// Whether it is known what the cluster holds. It is not while a change is under way.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.digest != DIGEST_UNKNOWN
    }
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The record of it.
    pub offset: Offset,
    /// When, in nanoseconds since 1970.
    pub unix_nanos: u64,
    /// The reason, and after a newline a hint where there is one.
    pub error: String,
    /// Attempts since the decision, from 1.
    pub attempt: u32,
    /// Whether time alone may heal it.
    pub transient: bool,
}

/// The state of a lifecycle, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// The last attempt failed. First in order: it is what an operator looks for.
    Failing,
    /// Decided to be present, not applied yet.
    Pending,
    /// Decided to be absent, objects are still there.
    Deleting,
    /// Present and applied.
    Ready,
    /// The trigger is gone, its objects stay.
    Left,
    /// Absent, nothing is left.
    Gone,
}

impl Desired {
    /// Whether the cluster may differ from this: `settled` says whether it was carried out, `holds` whether there may be
    /// objects.
    pub(crate) fn needs_work(self, settled: bool, holds: bool) -> bool {
        match self {
            Desired::Present { .. } => !settled,
            Desired::Absent { .. } => holds,
            Desired::Left => false,
        }
    }
}

impl Phase {
    /// The phase of a lifecycle by what matters for it.
    pub(crate) fn of(desired: Desired, settled: bool, holds: bool, failing: bool) -> Phase {
        match desired {
            Desired::Left => Phase::Left,
            Desired::Absent { .. } if !holds => Phase::Gone,
            Desired::Absent { .. } | Desired::Present { .. } if failing => Phase::Failing,
            Desired::Absent { .. } => Phase::Deleting,
            Desired::Present { .. } if settled => Phase::Ready,
            Desired::Present { .. } => Phase::Pending,
        }
    }

    /// Whether the cluster may differ from what is desired.
    pub(crate) fn needs_work(self) -> bool {
        match self {
            Phase::Failing | Phase::Pending | Phase::Deleting => true,
            Phase::Ready | Phase::Gone | Phase::Left => false,
        }
    }

    /// All phases, in order of urgency.
    pub const ALL: [Phase; 6] =
        [Phase::Failing, Phase::Pending, Phase::Deleting, Phase::Ready, Phase::Left, Phase::Gone];

    /// The word that users and scripts see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Failing => "Failing",
            Phase::Pending => "Pending",
            Phase::Deleting => "Deleting",
            Phase::Ready => "Ready",
            Phase::Left => "Left",
            Phase::Gone => "Gone",
        }
    }
}

impl Lifecycle {
    /// Its key, as the lifecycle of this resource.
    #[must_use]
    pub fn key(&self, resource: ResourceKey) -> LifecycleKey {
        LifecycleKey { trigger: (*self.trigger).into(), cluster: (*self.cluster).into(), resource }
    }

    /// A lifecycle of which nothing is known yet.
    #[must_use]
    pub fn new(trigger: &str, cluster: &str) -> Lifecycle {
        Lifecycle {
            trigger: trigger.into(),
            cluster: cluster.into(),
            desired: Desired::Absent { event: None },
            decided: Offset::default(),
            decided_unix_nanos: 0,
            incarnation: 0,
            settled: None,
            settled_unix_nanos: 0,
            inventory: Vec::new(),
            failure: None,
        }
    }

    /// Its state, in one word.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::of(self.desired, self.is_settled(), !self.inventory.is_empty(), self.failure.is_some())
    }

    /// Whether the cluster may differ from what is desired.
    #[must_use]
    pub fn needs_work(&self) -> bool {
        self.desired.needs_work(self.is_settled(), !self.inventory.is_empty())
    }

    /// The decision that was last carried out in full, and when.
    pub(crate) fn settled_at(&self) -> Option<(Offset, u64)> {
        Some((self.settled?, self.settled_unix_nanos))
    }

    fn is_settled(&self) -> bool {
        self.settled == Some(self.decided)
    }

    /// The holding of an object, if it is in the inventory.
    #[must_use]
    pub fn holding(&self, object: &ObjectKey) -> Option<&Holding> {
        let at = self.inventory.binary_search_by(|holding| holding.object.cmp(object)).ok()?;
        Some(&self.inventory[at])
    }

    /// Takes in what happened at `offset`, recorded at `unix_nanos`.
    ///
    /// An outcome is always true of the inventory, for it is about the cluster; but one that acted for an older
    /// decision neither settles the lifecycle nor clears its failure.
    pub fn evolve(&mut self, offset: Offset, unix_nanos: u64, happened: Happened<'_>) {
        match happened {
            Happened::DecidedCreate => {
                let present = matches!(self.desired, Desired::Present { .. });
                self.decide(offset, unix_nanos, Desired::Present { event: offset });
                self.incarnation = self.incarnation.saturating_add(u32::from(!present));
            }
            Happened::DecidedDelete => self.decide(offset, unix_nanos, Desired::Absent { event: Some(offset) }),
            Happened::Redecided(Redesired::Present { event, incarnation }) => {
                self.decide(offset, unix_nanos, Desired::Present { event });
                self.incarnation = incarnation;
            }
            Happened::Redecided(Redesired::Absent { event }) => {
                self.decide(offset, unix_nanos, Desired::Absent { event });
            }
            Happened::Redecided(Redesired::Left) => {
                self.decide(offset, unix_nanos, Desired::Left);
                self.inventory.clear();
            }
            // An attempt that began before the trigger was removed does not claim the objects again.
            Happened::ApplyIntended(_) if self.desired == Desired::Left => {}
            Happened::ApplyIntended(objects) => {
                self.claim(objects, offset);
                for object in objects {
                    // The change may happen or not: until its outcome is recorded, the state in the cluster is unknown.
                    if let Some(applied) = self.held(object).and_then(|held| held.applied.as_mut()) {
                        applied.digest = DIGEST_UNKNOWN;
                    }
                }
                // What was carried out has to be done again: objects went with their namespace.
                if self.desired.is_present() && self.is_settled() {
                    (self.settled, self.settled_unix_nanos) = (None, 0);
                }
            }
            // Where a change is under way, or another object was applied meanwhile, its outcome says more.
            Happened::Drifted(objects) => self.note_drifted(objects),
            Happened::Applied { acted_for, objects } => {
                self.note_applied(offset, unix_nanos, acted_for, objects);
                if acted_for == self.decided {
                    self.failure = None;
                    self.settle(unix_nanos);
                }
            }
            Happened::ApplyFailed { acted_for, objects, error, attempt, transient } => {
                self.note_applied(offset, unix_nanos, acted_for, objects);
                if acted_for == self.decided {
                    let error = error.to_owned();
                    self.failure = Some(Failure { offset, unix_nanos, error, attempt, transient });
                }
            }
            Happened::Recreated(object) => {
                // It is still claimed, and what was applied may be no more. So may be what was in it.
                let lost = self.inventory.iter_mut().filter(|held| held.object == *object || held.object.is_in(object));
                lost.for_each(|held| held.applied = None);
            }
            Happened::Removed { acted_for, objects } => {
                let objects: BTreeSet<&ObjectKey> = objects.iter().collect();
                self.inventory.retain(|holding| !objects.contains(&holding.object));
                if acted_for == self.decided
                    && matches!(self.desired, Desired::Absent { .. })
                    && self.inventory.is_empty()
                {
                    self.failure = None;
                    self.settle(unix_nanos);
                }
            }
        }
    }

    fn decide(&mut self, offset: Offset, unix_nanos: u64, desired: Desired) {
        self.desired = desired;
        self.decided = offset;
        self.decided_unix_nanos = unix_nanos;
        self.failure = None;
        if !matches!(desired, Desired::Absent { .. }) {
            return;
        }
        if self.inventory.is_empty() {
            self.settle(unix_nanos);
        }
        // From here on it may be deleted at any moment, long before that is recorded.
        for applied in self.inventory.iter_mut().filter_map(|holding| holding.applied.as_mut()) {
            applied.digest = DIGEST_UNKNOWN;
        }
    }

    fn settle(&mut self, unix_nanos: u64) {
        self.settled = Some(self.decided);
        self.settled_unix_nanos = unix_nanos;
    }

    /// What has drifted has to be applied again. Nothing is claimed: what is not held is not the lifecycle's to put back.
    fn note_drifted(&mut self, objects: &[DriftedObject]) {
        if !self.desired.is_present() {
            return;
        }
        for DriftedObject { object, uid, .. } in objects {
            let Some(applied) = self.held(object).and_then(|held| held.applied.as_mut()) else { continue };
            if applied.is_known() && applied.uid == *uid {
                applied.digest = DIGEST_UNKNOWN;
                (self.settled, self.settled_unix_nanos) = (None, 0);
            }
        }
    }

    fn note_applied(&mut self, offset: Offset, unix_nanos: u64, acted_for: Offset, objects: &[AppliedObject]) {
        // A lifecycle that let go of its objects does not take them back because a late outcome names them.
        if self.desired == Desired::Left {
            return;
        }
        // A namespace that was made again is empty: what is known of the objects that were in the old one is no longer so.
        let is_another = |renewed: &&AppliedObject| {
            let known = self.holding(&renewed.object).and_then(|held| held.applied.as_ref());
            renewed.object.is_namespace() && known.is_none_or(|known| known.uid != renewed.uid)
        };
        let renewed: BTreeSet<&str> = objects.iter().filter(is_another).map(|one| one.object.name.as_str()).collect();
        let is_lost = |held: &Holding| held.object.namespace.as_deref().is_some_and(|name| renewed.contains(name));
        self.inventory.iter_mut().filter(|held| is_lost(held)).for_each(|held| held.applied = None);
        self.claim(objects.iter().map(|applied| &applied.object), offset);
        let is_to_go = matches!(self.desired, Desired::Absent { .. });
        for AppliedObject { object, uid, digest, fields } in objects {
            let digest = if is_to_go { DIGEST_UNKNOWN } else { *digest };
            let Some(held) = self.held(object) else { continue };
            // It may be another version of its kind than before.
            held.object.version = object.version.clone();
            held.applied = Some(Applied { uid: uid.clone(), digest, acted_for, unix_nanos, fields: *fields });
        }
    }

    /// Claims those of the objects that are not held yet. All at once, for there may be ten thousand.
    fn claim<'o>(&mut self, objects: impl IntoIterator<Item = &'o ObjectKey>, since: Offset) {
        let is_new = |object: &&ObjectKey| self.holding(object).is_none();
        let new: BTreeSet<&ObjectKey> = objects.into_iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        let new = new.into_iter().map(|object| Holding { object: object.clone(), since, applied: None });
        self.inventory.extend(new);
        // Two sorted runs, which this sort merges in one go.
        self.inventory.sort_by(|one, other| one.object.cmp(&other.object));
    }

    fn held(&mut self, object: &ObjectKey) -> Option<&mut Holding> {
        let at = self.inventory.binary_search_by(|holding| holding.object.cmp(object)).ok()?;
        Some(&mut self.inventory[at])
    }
}

#[cfg(test)]
mod tests;
