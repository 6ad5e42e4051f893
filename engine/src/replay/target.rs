//! [`Target`]: a trigger whose history is decided again, and how far that is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lifeline_projections::fact::{Allowance, Redecision, Redesired, ResourceKey, TriggerReplayed};
use lifeline_projections::fold::{Projection, Resource};
use lifeline_projections::lifecycle::{Desired, Lifecycle};
use lifeline_store::Offset;

use super::brake::{Withdrawal, confirmation_id};
use super::cursor::Cursor;
use super::found::Found;
use super::turn::{Consent, Count, Turn};
use crate::size::Size;
use crate::status::HeldWithdrawal;

/// What is held of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) withdrawal: Withdrawal,
    /// The same of the keys of its list.
    pub(super) keys: Withdrawal,
    /// A checksum of the names of both.
    pub(super) names: u64,
    /// Why another trigger may want some of them.
    pub(super) waits_for: Option<String>,
    /// How often it was counted.
    pub(super) counts: u8,
    /// Whether it is said: it is known that another trigger does not take the objects over.
    pub(super) is_said: bool,
}

/// After so many counts a hold is said, though it becomes less with each.
const COUNTS_UNSAID_MAX: u8 = 3;

impl Held {
    /// What would go.
    pub(super) fn goes(&self) -> Size {
        Size { objects: self.withdrawal.goes, keys: self.keys.goes }
    }

    /// The same, counted once more than `before`. A trigger that is renamed looks like one that goes and another that comes:
    /// where `may_be_taken_over`, a hold is said once a second count finds as much.
    pub(super) fn after(self, before: Option<&Held>, may_be_taken_over: bool) -> Held {
        let counts = before.map_or(1, |before| before.counts.saturating_add(1));
        let is_less = before.is_none_or(|before| self.goes().sum() < before.goes().sum());
        let was_said = before.is_some_and(|before| before.is_said);
        let is_said = was_said || !may_be_taken_over || !is_less || counts > COUNTS_UNSAID_MAX;
        Held { counts, is_said, ..self }
    }

    /// Whether the same was said before.
    pub(super) fn is_news(&self, before: Option<&Held>) -> bool {
        let is_same = |before: &Held| {
            let of = |held: &Held| (held.withdrawal, held.keys, held.names);
            (of(before), &before.waits_for) == (of(self), &self.waits_for)
        };
        self.is_said && !before.is_some_and(|before| before.is_said && is_same(before))
    }
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
    /// Whether other triggers came or changed at the same time, and may take over what it lets go.
    pub(super) may_be_taken_over: bool,
    /// Whether it has come to the end and cannot be completed, because resources are left as they are.
    pub(super) is_stuck: bool,
    /// Only resources that an event from here on spoke of are decided again; `None` for all.
    pub(super) from: Option<Offset>,
    pub(super) decided: Decided,
    /// Keys of its list that are not to be in it any more and stay for now, as
    /// [`key_digest`](super::texts::key_digest) names them.
    pub(super) leaving: Arc<BTreeSet<u64>>,
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
            may_be_taken_over: false,
            is_stuck: false,
            from: None,
            decided: Decided::default(),
            leaving: Arc::default(),
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
        self.leaving = Arc::default();
    }

    /// Begins to count again.
    pub(super) fn begin_counting(&mut self) {
        (self.turn, self.cursor) = (Turn::Counting(Count::default()), Cursor::default());
        self.leaving = Arc::default();
    }

    /// What is held, where `lately` more was withdrawn in small steps before.
    pub(super) fn held_withdrawal(&self, lately: u64) -> Option<HeldWithdrawal> {
        let Held { withdrawal, keys, names, waits_for, .. } = self.held.clone()?;
        let id = confirmation_id(&self.trigger, self.digest, names);
        let (Withdrawal { goes: objects, of }, Withdrawal { goes: keys, of: keys_of }) = (withdrawal, keys);
        Some(HeldWithdrawal { id, objects, of, keys, keys_of, lately, waits_for })
    }

    /// Whether what is held is said.
    pub(super) fn says_held(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_said)
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

    /// The fact that says what may be withdrawn: objects, and keys of lists, in one sum.
    pub(super) fn allow(&self, goes: Size, is_confirmed: bool) -> TriggerReplayed {
        let objects = goes.sum();
        TriggerReplayed { allowance: Some(Allowance { objects, is_confirmed }), ..self.record(Vec::new(), false) }
    }

    /// Whether a resource is left out, for no event spoke of it since the one from which on history is decided again.
    pub(super) fn is_left_out(&self, resource: &Resource) -> bool {
        self.from.is_some_and(|from| resource.last_event < from)
    }

    /// Whether the records of a resource have to be read.
    pub(super) fn has_to_walk(&self, projection: &Projection, key: &ResourceKey, resource: &Resource) -> bool {
        self.digest.is_some() && !self.is_left_out(resource) && !key.is_list() && !self.is_decided(projection, resource)
    }

    /// Whether it is the list that this trigger makes of its keys, so that it comes after them.
    pub(super) fn makes_last(&self, key: &ResourceKey) -> bool {
        self.digest.is_some() && key.is_list() && *key.subject == *self.trigger
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_said_once_it_is_known_that_nobody_takes_the_objects_over() {
        // What each count finds, and whether it is said from then on.
        let check = |may_be_taken_over: bool, counts: &[(u64, bool)]| {
            let mut before: Option<Held> = None;
            for (number, (objects, is_said)) in counts.iter().enumerate() {
                let withdrawal = Withdrawal { goes: *objects, of: 20 };
                let keys = Withdrawal::default();
                let counted = Held { withdrawal, keys, names: *objects, waits_for: None, counts: 0, is_said: false };
                let held = counted.after(before.as_ref(), may_be_taken_over);
                assert_eq!(held.is_said, *is_said, "count {number} of {counts:?}");
                let is_first = before.as_ref().is_none_or(|before| !before.is_said || before.names != held.names);
                assert_eq!(held.is_news(before.as_ref()), *is_said && is_first, "count {number} of {counts:?}");
                before = Some(held);
            }
        };
        check(false, &[(20, true), (20, true), (19, true)]);
        // Renamed: the new one takes them over between two counts, so there is no third.
        check(true, &[(20, false), (3, false)]);
        check(true, &[(20, false), (20, true), (19, true)]);
        check(true, &[(20, false), (21, true)]);
        // Logouts make it less each time; it is said all the same.
        check(true, &[(20, false), (19, false), (18, false), (17, true)]);
    }
}
