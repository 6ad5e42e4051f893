//! [`Target`]: a trigger whose history is decided again, and how far that is.

use std::collections::BTreeMap;

use lifeline_projections::fact::{Allowance, Redecision, Redesired, ResourceKey, TriggerReplayed};
use lifeline_projections::fold::{Projection, Resource};
use lifeline_projections::lifecycle::{Desired, Lifecycle};
use lifeline_store::Offset;

use super::brake::{Withdrawal, confirmation_id};
use super::cursor::Cursor;
use super::found::Found;
use super::turn::{Consent, Count, Turn};
use crate::status::HeldWithdrawal;

/// What is held of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) withdrawal: Withdrawal,
    /// A checksum of the names of the objects.
    pub(super) names: u64,
    /// Why another trigger may want some of them.
    pub(super) waits_for: Option<String>,
}

/// A trigger whose history is decided again.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) trigger: Box<str>,
    /// Checksum of the trigger; `None` where it is gone.
    pub(super) digest: Option<u64>,
    pub(super) leaves: bool,
    /// Whether it was a dry run when it went, or may have been: then what was logged out meanwhile stays too.
    pub(super) was_dry_run: bool,
    /// The clusters whose events it listens to.
    pub(super) clusters: Vec<Box<str>>,
    /// Whether the log says already that its replay began.
    pub(super) is_open: bool,
    pub(super) cursor: Cursor,
    pub(super) turn: Turn,
    /// What is held, or was when it was last counted.
    pub(super) held: Option<Held>,
    /// Whether it has come to the end and cannot be completed, because resources are left as they are.
    pub(super) is_stuck: bool,
    /// Only resources that an event from here on spoke of are decided again; `None` for all.
    pub(super) from: Option<Offset>,
    pub(super) decided: Decided,
}

/// How many lifecycles were decided again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) again: u64,
    /// Of these, those that came to be present or absent, or present for another event.
    pub(super) otherwise: u64,
}

impl Target {
    /// One of which nothing is decided yet.
    pub(super) fn new(trigger: &str, digest: Option<u64>, leaves: bool, clusters: Vec<Box<str>>) -> Target {
        Target {
            trigger: trigger.into(),
            digest,
            leaves,
            was_dry_run: false,
            clusters,
            is_open: false,
            cursor: Cursor::default(),
            turn: Turn::Counting(Count::default()),
            held: None,
            is_stuck: false,
            from: None,
            decided: Decided::default(),
        }
    }

    /// Counts what is recorded of it; `projection` does not reflect that yet.
    pub(super) fn count(&self, projection: &Projection, redecisions: &[Redecision]) -> Decided {
        let mut decided = self.decided;
        for Redecision { cluster, resource, desired, .. } in redecisions {
            let known = projection.decision(&resource.source, &resource.subject, &self.trigger, cluster);
            let then = Desired::from(*desired);
            decided.again += 1;
            decided.otherwise += u64::from(known.is_none_or(|(known, _)| known != then));
        }
        decided
    }

    /// Whether there is a piece to be done.
    pub(super) fn goes_on(&self) -> bool {
        !self.is_stuck && matches!(self.turn, Turn::Counting(_) | Turn::Recording(_))
    }

    /// Begins the turn that records what may go.
    pub(super) fn begin_recording(&mut self, consent: Consent) {
        (self.turn, self.held, self.cursor) = (Turn::Recording(consent), None, Cursor::default());
    }

    /// Begins to count again.
    pub(super) fn begin_counting(&mut self) {
        (self.turn, self.cursor) = (Turn::Counting(Count::default()), Cursor::default());
    }

    /// What is held, where `lately` more was withdrawn in small steps before.
    pub(super) fn held_withdrawal(&self, lately: u64) -> Option<HeldWithdrawal> {
        let Held { withdrawal: Withdrawal { objects, of }, names, waits_for } = self.held.clone()?;
        let id = confirmation_id(&self.trigger, self.digest, names);
        Some(HeldWithdrawal { id, objects, of, lately, waits_for })
    }

    /// Whether the event that decides was found for every cluster.
    pub(super) fn has_all(&self, found: &BTreeMap<Box<str>, Found>) -> bool {
        self.clusters.iter().all(|cluster| found.get(cluster).is_some_and(Found::is_over))
    }

    /// The fact that opens the replay, goes on with it, or completes it.
    pub(super) fn record(&self, redecisions: Vec<Redecision>, complete: bool) -> TriggerReplayed {
        TriggerReplayed {
            trigger: (*self.trigger).into(),
            digest: self.digest,
            leaves: self.leaves,
            complete,
            redecisions,
            allowance: None,
        }
    }

    /// The fact that says what may be withdrawn.
    pub(super) fn allow(&self, objects: u64, is_confirmed: bool) -> TriggerReplayed {
        TriggerReplayed { allowance: Some(Allowance { objects, is_confirmed }), ..self.record(Vec::new(), false) }
    }

    /// Whether these rules decided whatever they can decide about a resource.
    pub(super) fn is_decided(&self, projection: &Projection, resource: &Resource) -> bool {
        let mut lifecycles = resource.lifecycles.iter().filter(|one| *one.trigger == *self.trigger);
        let is_known = |cluster: &str| lifecycles.clone().any(|one| *one.cluster == *cluster);
        self.clusters.iter().all(|cluster| is_known(cluster))
            && lifecycles.all(|lifecycle| self.has_decided(projection, lifecycle))
    }

    /// Whether a lifecycle was decided by these rules. Before the replay is open, none was.
    pub(super) fn has_decided(&self, projection: &Projection, lifecycle: &Lifecycle) -> bool {
        let decided_by = projection.ground().decided_by(&self.trigger, lifecycle.decided);
        self.is_open && decided_by.is_some() && decided_by == self.digest
    }

    /// What a trigger that is gone takes with it, or leaves.
    pub(super) fn withdrawals(&self, key: &ResourceKey, resource: &Resource) -> Vec<Redecision> {
        let desired = if self.leaves { Redesired::Left } else { Redesired::Absent { event: None } };
        let present = resource
            .lifecycles
            .iter()
            .filter(|lifecycle| *lifecycle.trigger == *self.trigger)
            .filter(|lifecycle| lifecycle.desired.is_present() || (self.was_dry_run && lifecycle.needs_work()));
        let withdrawn = |lifecycle: &Lifecycle| {
            let (cluster, resource) = ((*lifecycle.cluster).into(), key.clone());
            Redecision { cluster, resource, desired, previous: None }
        };
        present.map(withdrawn).collect()
    }
}
