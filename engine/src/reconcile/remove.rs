//! Removing: what becomes of objects that are no longer wanted.
//!
//! Start at `remove`. What is to be done about one object is decided in [`super::plan`].

use std::sync::atomic::Ordering;

use futures::future::try_join_all;
use lifeline_projections::fact::{LifecycleKey, ObjectKey, Reconciled, What};
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::{Applied, Desired, Holding};
use lifeline_store::Disk;
use tracing::info;

use crate::cluster::{self, Deletion, LiveObject};
use crate::reconcile::failure::Failure;
use crate::reconcile::marks::{self, Owner};
use crate::reconcile::plan::{Claims, Removal, removal};
use crate::reconcile::work::{Reconciler, Task, names};
use crate::recorder::Stopped;
use crate::trace;

/// What became of an object that is no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removed {
    /// It is no more.
    Gone,
    /// It is being deleted, or may be wanted again: look again.
    Waits,
    /// It belongs to another owner: the claim ends, the object stays.
    Released,
    /// Another lifecycle claims it and takes it over: the claim ends, the object stays.
    HandedOver,
}

/// How far a removal may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removing {
    /// What no other lifecycle claims is deleted.
    DeletesToo,
    /// Nothing is deleted.
    HandsOver,
}

/// What a removal left to be done.
#[derive(Default)]
pub(super) struct Unfinished {
    /// Something has to be looked at again.
    pub waits: bool,
    pub failures: Vec<Failure>,
}

impl<D: Disk> Reconciler<D> {
    /// Removes holdings, and records those that are gone and those that are let go.
    pub(super) async fn remove(
        &self,
        task: &Task,
        holdings: &[&Holding],
        removing: Removing,
    ) -> Result<Unfinished, Stopped> {
        let (mut gone, mut released, mut handed_over) = (Vec::new(), Vec::new(), Vec::new());
        let mut unfinished = Unfinished::default();
        let acted_for = task.lifecycle.decided;
        for holding in holdings {
            match self.remove_one(task, holding, removing).await {
                Ok(Removed::Gone) => gone.push(holding.object.clone()),
                Ok(Removed::Released) => released.push(holding.object.clone()),
                Ok(Removed::HandedOver) => handed_over.push(holding.object.clone()),
                Ok(Removed::Waits) => unfinished.waits = true,
                Err(error) => unfinished.failures.push(Failure::of_cluster(&holding.object.to_string(), &error)),
            }
        }
        self.record_gone(task, gone, None).await?;
        // A Namespace that somebody else made in the place of ours is empty too.
        self.record_lost_in_namespaces(task, &released, None).await?;
        // If two lifecycles released an object to each other at once, nobody would own it. So checking the other claims and
        // recording are one step. This is rare; one lock serves all objects.
        let handing_over = if handed_over.is_empty() { None } else { Some(self.handing_over.lock().await) };
        let has_other_claims = |object: &ObjectKey| {
            let projection = self.view.projection();
            projection.claims(&task.key.cluster, object).len() > 1
        };
        let (given, kept): (Vec<_>, Vec<_>) = handed_over.into_iter().partition(has_other_claims);
        unfinished.waits |= !kept.is_empty();
        released.extend(given);
        if !released.is_empty() {
            info!(objects = %names(&released), "let go: they belong to others");
            let (key, objects) = (task.key.clone(), released.clone());
            self.recording.record(Reconciled::new(key, acted_for, What::Released(objects))).await?;
            self.wake_next_claimants(task, &released);
            self.wake_in_namespaces(task, &released);
        }
        drop(handing_over);
        Ok(unfinished)
    }

    /// Records that objects are no more, and what went with those of them that are Namespaces; queues the lifecycles that
    /// waited for that.
    pub(super) async fn record_gone(
        &self,
        task: &Task,
        gone: Vec<ObjectKey>,
        except: Option<LifecycleIndex>,
    ) -> Result<(), Stopped> {
        if gone.is_empty() {
            return Ok(());
        }
        self.record_lost_in_namespaces(task, &gone, except).await?;
        info!(objects = %names(&gone), "gone");
        let (key, acted_for) = (task.key.clone(), task.lifecycle.decided);
        self.recording.record(Reconciled::new(key, acted_for, What::Deleted(gone.clone()))).await?;
        self.wake_next_claimants(task, &gone);
        self.wake_in_namespaces(task, &gone);
        Ok(())
    }

    /// Records, for every lifecycle but `except` that wants objects in these Namespaces, that they have to be applied again,
    /// and queues those lifecycles. It is recorded before the end of the Namespaces, so a crash in between repeats it. Claims
    /// stay, because an attempt that runs may make the objects. A lifecycle that will apply them anyway gets no record, nor does
    /// one that wants none. What an attempt that runs meanwhile finds out is not believed in any case, because the lifecycle may
    /// want the objects again before the attempt ends.
    pub(super) async fn record_lost_in_namespaces(
        &self,
        task: &Task,
        gone: &[ObjectKey],
        except: Option<LifecycleIndex>,
    ) -> Result<(), Stopped> {
        let mut hit = Vec::new();
        let lost: Vec<(LifecycleIndex, Reconciled)> = {
            let projection = self.view.projection();
            let inside = namespaces(gone).flat_map(|name| projection.claims_inside(&task.key.cluster, name));
            let others = inside.filter(|(index, _)| except != Some(*index));
            let lost = others.filter_map(|(index, objects)| {
                let (resource, lifecycle) = projection.lifecycle(index);
                let (trigger, cluster) = ((*lifecycle.trigger).into(), (*lifecycle.cluster).into());
                let key = LifecycleKey { trigger, cluster, resource };
                let applied = |object| lifecycle.holding(object).and_then(|holding| holding.applied.as_ref());
                let is_running = self.site.queue.is_running(index);
                let applies_anyway =
                    lifecycle.needs_work() && !is_running && !objects.iter().filter_map(applied).any(Applied::is_known);
                let has_lost = lifecycle.desired.is_present() && !applies_anyway;
                if is_running || has_lost {
                    hit.push(index);
                }
                has_lost.then(|| (index, Reconciled::new(key, lifecycle.decided, What::Intended(objects))))
            });
            lost.collect()
        };
        let (whose, lost): (Vec<LifecycleIndex>, Vec<Reconciled>) = lost.into_iter().unzip();
        self.lost.note(&hit);
        for lost in &lost {
            info!(objects = %names(lost.objects()), trigger = &*lost.key.trigger, "gone with their namespace");
        }
        try_join_all(lost.into_iter().map(|lost| self.recording.record(lost))).await?;
        self.lost.folded(&hit);
        self.site.queue.push(whose);
        Ok(())
    }

    /// Queues the other lifecycles that claim objects in these Namespaces, for something became different there.
    pub(super) fn wake_in_namespaces(&self, task: &Task, changed: &[ObjectKey]) {
        let projection = self.view.projection();
        let inside = namespaces(changed).flat_map(|name| projection.claims_inside(&task.key.cluster, name));
        let waiting: Vec<LifecycleIndex> =
            inside.map(|(index, _)| index).filter(|index| *index != task.index).collect();
        drop(projection);
        self.site.queue.push(waiting);
    }

    /// Looks at one object, and deletes it where [`removal`] says so and it may.
    async fn remove_one(&self, task: &Task, holding: &Holding, removing: Removing) -> Result<Removed, cluster::Error> {
        if !self.is_first_claimant(task, &holding.object) {
            return Ok(Removed::HandedOver);
        }
        let live = self.site.cluster().get(&holding.object).await?;
        let claims = self.claims(task, &holding.object, live.as_ref());
        let uid = match removal(holding, live.as_ref(), &task.key, claims) {
            Removal::Gone => return Ok(Removed::Gone),
            Removal::Release => return Ok(Removed::Released),
            Removal::HandOver => return Ok(Removed::HandedOver),
            Removal::Wait => return Ok(Removed::Waits),
            Removal::Delete { .. } if removing == Removing::HandsOver => return Ok(Removed::Waits),
            Removal::Delete { uid } => uid,
        };
        self.site.counters.writes.fetch_add(1, Ordering::Relaxed);
        let call = self.site.cluster().delete(&holding.object, uid);
        let outcome = |deletion: &Deletion| match deletion {
            Deletion::Gone => "gone",
            Deletion::Terminating => "terminating",
        };
        Ok(match trace::write("delete", &holding.object, call, outcome).await? {
            Deletion::Gone => Removed::Gone,
            Deletion::Terminating => Removed::Waits,
        })
    }

    fn is_first_claimant(&self, task: &Task, object: &ObjectKey) -> bool {
        let projection = self.view.projection();
        let claims = projection.claims(&task.key.cluster, object);
        claims.first().is_some_and(|claim| claim.lifecycle == task.index)
    }

    /// What [`removal`] has to know of other claims on an object. The claim of the task is the first.
    fn claims(&self, task: &Task, object: &ObjectKey, live: Option<&LiveObject>) -> Claims {
        let outranks_marks = live.is_some_and(|live| match marks::owner(live, &task.key) {
            Owner::Other { key } => self.outranks(object, &key),
            Owner::Us | Owner::Stranger => false,
        });
        // Decided again as present, it may want the object.
        let is_overtaken = self.overtaken(task).is_some_and(Desired::is_present);
        Claims { has_heir: self.has_heir(task, object), outranks_marks, is_overtaken }
    }

    /// Whether another lifecycle that is to be present claims the object.
    pub(super) fn has_heir(&self, task: &Task, object: &ObjectKey) -> bool {
        let projection = self.view.projection();
        let is_present = |index| projection.lifecycle(index).1.desired.is_present();
        let claims = projection.claims(&task.key.cluster, object);
        claims.iter().any(|claim| claim.lifecycle != task.index && is_present(claim.lifecycle))
    }

    /// Queues the lifecycles that own these objects now: those whose claims came next.
    fn wake_next_claimants(&self, task: &Task, gone: &[ObjectKey]) {
        let projection = self.view.projection();
        let next = gone.iter().filter_map(|object| projection.claims(&task.key.cluster, object).first().copied());
        let next: Vec<LifecycleIndex> = next.map(|claim| claim.lifecycle).collect();
        drop(projection);
        self.site.queue.push(next);
    }
}

/// The names of those objects that are namespaces.
fn namespaces(objects: &[ObjectKey]) -> impl Iterator<Item = &str> {
    objects.iter().filter(|object| object.is_namespace()).map(|object| object.name.as_str())
}
