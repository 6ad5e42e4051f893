//! Removing: what becomes of objects that are no longer wanted.
//!
//! Start at `remove`. What is done about one object is decided in [`super::step`].

use std::collections::BTreeSet;

use futures::future::try_join_all;
use lifeline_projections::fact::{ObjectKey, Reconciled, What};
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::Holding;
use lifeline_store::Disk;
use tracing::info;

use crate::queue::Urgency;
use crate::reconcile::attempt::Attempt;
use crate::reconcile::failure::names;
use crate::reconcile::lost::needs_record;
use crate::reconcile::plan::rank;
use crate::reconcile::step::{Removed, Removing, unwanted};
use crate::reconcile::task::Task;
use crate::reconcile::turns::let_others_go_on;
use crate::reconcile::work::Reconciler;
use crate::recorder::Stopped;

impl<D: Disk> Reconciler<D> {
    /// Removes holdings that are no longer wanted while others are. They are deleted only when all wanted objects exist, even
    /// if others made them. Handing one over takes nothing away, so it does not wait: two lifecycles may each hold what the
    /// other one wants.
    pub(super) async fn remove_unwanted(
        &self,
        task: &Task,
        holdings: &[&Holding],
        attempt: &mut Attempt<'_>,
    ) -> Result<(), Stopped> {
        if attempt.is_ready() {
            return self.remove(task, holdings, Removing::DeletesToo, attempt).await;
        }
        let has_next_claimant = |holding: &&Holding| task.has_next_claimant(&self.view.projection(), &holding.object);
        let claimed_next: Vec<&Holding> = holdings.iter().copied().filter(has_next_claimant).collect();
        self.remove(task, &claimed_next, Removing::HandsOver, attempt).await
    }

    /// Removes holdings, and records those that are gone and those that are let go.
    pub(super) async fn remove(
        &self,
        task: &Task,
        holdings: &[&Holding],
        removing: Removing,
        attempt: &mut Attempt<'_>,
    ) -> Result<(), Stopped> {
        let (mut gone, mut released, mut handed_over) = (Vec::new(), Vec::new(), Vec::new());
        let (mut removing, mut rank_before) = (removing, None);
        for (done, holding) in holdings.iter().enumerate() {
            let_others_go_on(done).await;
            let object = &holding.object;
            // What others need goes last, and only once all that needs it is gone.
            if rank_before.replace(rank(object)).is_some_and(|before| before != rank(object))
                && (attempt.waits || !attempt.failures.is_empty())
            {
                removing = Removing::HandsOver;
            }
            let is_not_first = task.is_not_first(&self.view.projection(), object);
            let removed = self.perform(task, object, false, |known| {
                let circumstances = task.circumstances(
                    (&self.view.projection(), &|name| self.site.is_instance(name)),
                    object,
                    is_not_first,
                    known,
                );
                unwanted(holding, known, &task.key, circumstances, removing)
            });
            match removed.await {
                Ok(Removed::Gone) => gone.push(object.clone()),
                Ok(Removed::Released) => released.push(object.clone()),
                Ok(Removed::HandedOver) => handed_over.push(object.clone()),
                Ok(Removed::Waits) => attempt.waits = true,
                Ok(Removed::Leaving(held_by)) => {
                    attempt.waits = true;
                    let leaving = held_by.map(|held_by| format!("{object} is being deleted: {held_by}"));
                    attempt.leaving.extend(leaving);
                }
                Err(failure) => attempt.failures.push(failure),
            }
        }
        // The attempt calls nothing any more.
        let _waits = self.site.wait_for_log();
        self.record_gone(task, &gone, None).await?;
        // A Namespace that somebody else made in the place of ours is empty too.
        self.record_lost_in_namespaces(task, &released, None).await?;
        attempt.waits |= self.let_go(task, released, handed_over).await?;
        Ok(())
    }

    /// Records that objects are let go: those that belong to others, and those that are handed over to other lifecycles, if
    /// these still claim them. Whether an object is kept for that reason.
    pub(super) async fn let_go(
        &self,
        task: &Task,
        mut released: Vec<ObjectKey>,
        handed_over: Vec<ObjectKey>,
    ) -> Result<bool, Stopped> {
        // If two lifecycles released an object to each other at once, nobody would own it. So checking the other claims and
        // recording are one step. This is rare; one lock serves all objects.
        let handing_over = if handed_over.is_empty() { None } else { Some(self.handing_over.lock().await) };
        let has_other_claims = |object: &ObjectKey| {
            let projection = self.view.projection();
            projection.claims(&task.key.cluster, object).len() > 1
        };
        let (given, kept): (Vec<_>, Vec<_>) = handed_over.into_iter().partition(has_other_claims);
        released.extend(given);
        if !released.is_empty() {
            info!(objects = %names(&released), "let go: they belong to others");
            self.record(task, What::Released(released.clone())).await?;
            self.wake_next_claimants(task, &released);
            self.wake_in_namespaces(task, &released);
        }
        drop(handing_over);
        Ok(!kept.is_empty())
    }

    /// Records that objects are no more, and what went with those of them that are Namespaces; queues the lifecycles that
    /// waited for that.
    pub(super) async fn record_gone(
        &self,
        task: &Task,
        gone: &[ObjectKey],
        except: Option<LifecycleIndex>,
    ) -> Result<(), Stopped> {
        if gone.is_empty() {
            return Ok(());
        }
        self.record_lost_in_namespaces(task, gone, except).await?;
        info!(objects = %names(gone), "gone");
        self.record(task, What::Deleted(gone.to_vec())).await?;
        self.wake_next_claimants(task, gone);
        self.wake_in_namespaces(task, gone);
        Ok(())
    }

    /// Records, for every lifecycle but `except` that wants objects in these Namespaces, that they have to be applied again,
    /// and queues those lifecycles. It is recorded before the end of the Namespaces, so a crash in between repeats it. Claims
    /// stay, because an attempt that runs may make the objects. What such an attempt finds out is not believed in any case,
    /// because the lifecycle may want the objects again before the attempt ends.
    pub(super) async fn record_lost_in_namespaces(
        &self,
        task: &Task,
        gone: &[ObjectKey],
        except: Option<LifecycleIndex>,
    ) -> Result<(), Stopped> {
        let mut hit = Vec::new();
        let lost: Vec<(LifecycleIndex, Reconciled)> = {
            let projection = self.view.projection();
            let inside = projection.claims_inside(&task.key.cluster, &namespaces(gone)).into_iter();
            let others = inside.filter(|(index, _)| except != Some(*index));
            let lost = others.filter_map(|(index, objects)| {
                let (resource, lifecycle) = projection.lifecycle(index);
                let key = lifecycle.key(resource);
                let is_running = self.site.queue.is_running(index);
                let has_lost = needs_record(&lifecycle, &objects, is_running);
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
        self.site.push(&self.view.projection(), whose, Urgency::Fresh);
        Ok(())
    }

    /// Queues the other lifecycles that claim objects in these Namespaces, for something became different there.
    pub(super) fn wake_in_namespaces(&self, task: &Task, changed: &[ObjectKey]) {
        let projection = self.view.projection();
        let inside = projection.claims_inside(&task.key.cluster, &namespaces(changed));
        let waiting: Vec<LifecycleIndex> =
            inside.into_iter().map(|(index, _)| index).filter(|index| *index != task.index).collect();
        self.site.push(&projection, waiting, Urgency::Fresh);
    }

    /// Queues the lifecycles that own these objects now: those whose claims came next.
    fn wake_next_claimants(&self, task: &Task, gone: &[ObjectKey]) {
        let projection = self.view.projection();
        let next = gone.iter().filter_map(|object| projection.claims(&task.key.cluster, object).first().copied());
        let next: Vec<LifecycleIndex> = next.map(|claim| claim.lifecycle).collect();
        self.site.push(&projection, next, Urgency::Fresh);
    }
}

/// The names of those objects that are namespaces.
fn namespaces(objects: &[ObjectKey]) -> BTreeSet<&str> {
    objects.iter().filter(|object| object.is_namespace()).map(|object| object.name.as_str()).collect()
}
