//! What one reconciliation works on: a lifecycle as it was when the work began, and what the projection says since.
//!
//! Start at [`Task`]. Never here: the cluster, or what is done about any of it.

use std::sync::OnceLock;

use lifeline_projections::fact::{LifecycleKey, ObjectKey};
use lifeline_projections::fold::{LifecycleIndex, Projection};
use lifeline_projections::lifecycle::{Desired, Lifecycle};

use crate::cluster::Account;
use crate::reconcile::marks::{self, Owner};
use crate::reconcile::step::{Circumstances, Known};
use crate::rules::{RuleSet, Standing, Trigger};

/// The snapshot that one reconciliation acts on.
pub struct Task {
    /// The lifecycle.
    pub index: LifecycleIndex,
    /// The same, as facts name it.
    pub key: LifecycleKey,
    /// Its state when the work began.
    pub lifecycle: Lifecycle,
    /// Checksum of the trigger that the decision counts under; `None` while a replay has not come to it, or once the trigger was
    /// removed.
    pub decided_by: Option<u64>,
    /// In whose name its objects are touched: that of the rules that it is rendered by, whatever they become meanwhile.
    account: OnceLock<Option<Account>>,
}

impl Task {
    /// The task of a lifecycle; `None` where nothing is to be done.
    pub fn of(projection: &Projection, index: LifecycleIndex) -> Option<Task> {
        let (resource, lifecycle) = projection.lifecycle(index);
        lifecycle.needs_work().then(|| Task {
            index,
            key: lifecycle.key(resource),
            decided_by: projection.ground().decided_by(&lifecycle.trigger, lifecycle.decided),
            lifecycle,
            account: OnceLock::new(),
        })
    }

    /// Says in whose name its objects are touched.
    pub fn act_as(&self, account: Option<Account>) {
        self.account.set(account).expect("an attempt has one identity");
    }

    /// In whose name its objects are touched; `None` for the engine's own.
    ///
    /// # Panics
    /// Before [`Task::act_as`]: nothing is touched before it is known in whose name.
    pub fn account(&self) -> Option<&Account> {
        self.account.get().expect("an attempt says as whom it acts before it acts").as_ref()
    }

    /// The trigger, if it is in force and has decided this lifecycle. It may never do so: the process may die, or the rules may
    /// be taken back. When its replay comes to the lifecycle, that is decided again and queued.
    pub fn trigger<'r>(&self, rules: &'r RuleSet) -> Option<&'r Trigger> {
        rules.trigger(&self.key.trigger).filter(|trigger| self.decided_by == Some(trigger.digest()))
    }

    /// Whether what the lifecycle no longer wants may be deleted. Rules that are in force and not replayed yet may want it: an
    /// earlier engine may have ended in the middle of replaying others. While a trigger is broken nothing is replayed for it,
    /// and what its last replay decided counts.
    pub fn may_delete(&self, rules: &RuleSet) -> bool {
        match rules.standing(&self.key.trigger) {
            Standing::InForce(trigger) => self.decided_by == Some(trigger.digest()),
            Standing::OutOfForce => self.decided_by.is_some(),
            Standing::Absent => true,
        }
    }

    /// The uid that an object was last applied under.
    pub fn recorded_uid(&self, object: &ObjectKey) -> Option<&str> {
        let applied = self.lifecycle.holding(object)?.applied.as_ref()?;
        Some(&applied.uid)
    }

    /// What shall hold by now, where the lifecycle was decided again since the task began.
    pub fn overtaken_by(&self, projection: &Projection) -> Option<Desired> {
        let now = projection.head(self.index);
        (now.decided != self.lifecycle.decided).then_some(now.desired)
    }

    /// Whether the first claim on the object is not this lifecycle's: it is another one's, or there is none.
    pub fn is_not_first(&self, projection: &Projection, object: &ObjectKey) -> bool {
        let claims = projection.claims(&self.key.cluster, object);
        claims.first().is_none_or(|claim| claim.lifecycle != self.index)
    }

    /// Whether another lifecycle that is to be present claims the object.
    pub fn has_next_claimant(&self, projection: &Projection, object: &ObjectKey) -> bool {
        let is_present = |index| projection.head(index).desired.is_present();
        let claims = projection.claims(&self.key.cluster, object);
        claims.iter().any(|claim| claim.lifecycle != self.index && is_present(claim.lifecycle))
    }

    /// What the next decision about an object has to know of all this. `is_instance` says which
    /// instances are this one.
    pub fn circumstances(
        &self,
        (projection, is_instance): (&Projection, &dyn Fn(&str) -> bool),
        object: &ObjectKey,
        is_held_up: bool,
        known: &Known,
    ) -> Circumstances {
        let outranks_marks = match known {
            Known::Found(Some(live)) => match marks::owner(live, &self.key) {
                Owner::Other { key } => outranks(projection, object, &key),
                Owner::Us | Owner::Elsewhere { .. } | Owner::Stranger => false,
            },
            Known::Recorded
            | Known::Lost
            | Known::Found(None)
            | Known::Applied(_)
            | Known::Deleted(_)
            | Known::Refused(_)
            | Known::Homeless
            | Known::Housed => false,
        };
        let (has_next_claimant, overtaken_by) =
            (self.has_next_claimant(projection, object), self.overtaken_by(projection));
        let has_namespace_claimant = *known == Known::Homeless && {
            let namespace = object.namespace.as_deref().map(ObjectKey::of_namespace);
            namespace.is_some_and(|namespace| !projection.claims(&self.key.cluster, &namespace).is_empty())
        };
        let is_unchanged = false;
        let is_elsewhere = match known {
            Known::Found(Some(live)) => marks::is_elsewhere(live, is_instance),
            _ => false,
        };
        Circumstances {
            is_held_up,
            has_next_claimant,
            outranks_marks,
            is_elsewhere,
            has_namespace_claimant,
            is_unchanged,
            overtaken_by,
        }
    }
}

/// Whether the first claim on an object takes precedence over the marks of another lifecycle: that one claims the object
/// later, or has let go of it. While a trigger is removed, what it left keeps its marks and is not taken over.
pub(crate) fn outranks(projection: &Projection, object: &ObjectKey, marked: &LifecycleKey) -> bool {
    let Some(index) = projection.lifecycle_index(marked) else { return false };
    let claims = projection.claims(&marked.cluster, object);
    claims.iter().any(|claim| claim.lifecycle == index) || projection.head(index).desired != Desired::Left
}

#[cfg(test)]
mod tests {
    use lifeline_store::Offset;
    use serde_json::json;

    use super::*;
    use crate::cluster::{LiveObject, Managed};
    use crate::reconcile::marks::Marks;
    use crate::reconcile::stories::Then::{Applied, Create, Delete, Intends, Left};
    use crate::reconcile::stories::{Then, folded, key, object, task};
    use crate::rules::{Clusters, Manifests};

    #[test]
    fn a_task_acts_by_a_trigger_that_has_decided_it_and_deletes_though_the_trigger_is_broken_or_gone() {
        const RULES: &str = include_str!("../../tests/seed/1-user-login.yaml");
        let rules = |text: &str| RuleSet::new(Manifests::read("rules.yaml", text), Clusters::default());
        let broken = RULES.replace("cloudEventAction: Create", "cloudEventAction: '{{'");
        let [in_force, out_of_force, absent] = [rules(RULES), rules(&broken), rules("")];
        let digest = in_force.trigger("create-namespace").expect("it is in force").digest();
        let mut task = task(&folded(&[("zoe", Create)]), "zoe");
        task.key.trigger = "create-namespace".into();
        let mut check = |decided_by: Option<u64>, rules: &RuleSet, may_make: bool, may_delete: bool| {
            task.decided_by = decided_by;
            let found = (task.trigger(rules).is_some(), task.may_delete(rules));
            assert_eq!(found, (may_make, may_delete), "{decided_by:?}, {:?}", rules.standing("create-namespace"));
        };
        check(Some(digest), &in_force, true, true);
        check(Some(digest + 1), &in_force, false, false);
        check(None, &in_force, false, false);
        check(Some(digest), &out_of_force, false, true);
        check(None, &out_of_force, false, false);
        check(Some(digest), &absent, false, true);
        check(None, &absent, false, true);
    }

    #[test]
    fn claims_are_in_the_order_of_the_log() {
        let check = |story: &[(&str, Then)], whose: &str, is_not_first: bool, has_next_claimant: bool| {
            let projection = folded(story);
            let (task, object) = (task(&projection, whose), object("n"));
            let found = (task.is_not_first(&projection, &object), task.has_next_claimant(&projection, &object));
            assert_eq!(found, (is_not_first, has_next_claimant), "{story:?}, {whose}");
        };
        let both = [("zoe", Create), ("ann", Create), ("zoe", Intends("n")), ("ann", Intends("n"))];
        check(&both[..2], "zoe", true, false);
        check(&both[..3], "zoe", false, false);
        check(&both[..3], "ann", true, true);
        check(&both, "zoe", false, true);
        check(&both, "ann", true, true);
        // One that is to be absent takes nothing over.
        check(&[&both[..], &[("ann", Delete)]].concat(), "zoe", false, false);
        check(&[&both[..], &[("zoe", Delete)]].concat(), "zoe", false, true);
    }

    #[test]
    fn the_first_claim_outranks_the_marks_of_a_lifecycle_that_comes_later_or_let_go() {
        let check = |story: &[(&str, Then)], marked: &str, expected: bool| {
            let mut manifest = json!({"metadata": {"name": "n"}});
            Marks { key: &key(marked), instance: "lifeline", event: Offset::ZERO }.mark(&mut manifest);
            let found = Known::Found(Some(LiveObject {
                uid: "live".into(),
                deleting: false,
                manifest,
                managed: Managed::default(),
            }));
            let projection = folded(story);
            let circumstances =
                task(&projection, "zoe").circumstances((&projection, &|_| true), &object("n"), false, &found);
            assert_eq!(circumstances.outranks_marks, expected, "{story:?}, {marked}");
        };
        let zoe = [("zoe", Create), ("zoe", Intends("n"))];
        check(&zoe, "zoe", false);
        check(&zoe, "nobody", false);
        check(&[&zoe[..], &[("ann", Create)]].concat(), "ann", true);
        check(&[&zoe[..], &[("ann", Create), ("ann", Intends("n"))]].concat(), "ann", true);
        check(&[&zoe[..], &[("ann", Create), ("ann", Left)]].concat(), "ann", false);
    }

    #[test]
    fn a_task_is_overtaken_by_another_decision_not_by_an_outcome() {
        let check = |later: &[(&str, Then)], expected: Option<Desired>| {
            let before = [("zoe", Create), ("zoe", Intends("n"))];
            let now = folded(&[&before[..], later].concat());
            assert_eq!(task(&folded(&before), "zoe").overtaken_by(&now), expected, "{later:?}");
        };
        let at = Offset::from(2);
        check(&[], None);
        check(&[("zoe", Applied("n", 0, "live"))], None);
        check(&[("ann", Delete)], None);
        check(&[("zoe", Create)], Some(Desired::Present { event: at }));
        check(&[("zoe", Delete)], Some(Desired::Absent { event: Some(at) }));
        check(&[("zoe", Left)], Some(Desired::Left));
    }
}
