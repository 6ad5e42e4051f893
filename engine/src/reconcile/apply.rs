//! Applying: the wanted objects, one after the other.
//!
//! Start at `apply_all`. What is done about each is decided in [`super::step`], what follows from it in [`super::attempt`].
//! Never here: what is removed; that is in [`super::remove`].

use lifeline_projections::fact::{ObjectKey, Recreated, What};
use lifeline_store::Disk;
use tracing::{debug, info};

use crate::cluster::Error;
use crate::reconcile::attempt::Attempt;
use crate::reconcile::drift::{Detection, of_fight};
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::kinds::{defined, defined_beside};
use crate::reconcile::plan::Wanted;
use crate::reconcile::recreate::may_recreate;
use crate::reconcile::render::MarkedManifest;
use crate::reconcile::step::{Made, Refusal, wanted};
use crate::reconcile::task::Task;
use crate::reconcile::work::Reconciler;
use crate::recorder::Stopped;
use crate::rules::Handling;
use crate::site::Sort;

impl<D: Disk> Reconciler<D> {
    /// Names the objects of the manifests.
    pub(super) async fn resolve(
        &self,
        task: &Task,
        manifests: Vec<MarkedManifest>,
        adopts: bool,
    ) -> Result<Vec<Wanted>, Failure> {
        let mut wanted: Vec<Wanted> = Vec::with_capacity(manifests.len());
        let beside = manifests.clone();
        for MarkedManifest { manifest, digest, origin, handling } in manifests {
            let sort = Sort::discovery(&manifest);
            let resolved = self.site.call(&sort, task.index, self.site.cluster().resolve(&manifest)).await;
            let resolved = resolved.map_err(|pause| Failure::of_held_back(&origin, &sort, pause))?;
            let others = beside.iter().map(|other| &*other.manifest);
            let (object, is_defined_beside) = match resolved {
                Ok(object) => {
                    self.wake_for_kind(task, &object.group, &object.kind);
                    (object, false)
                }
                Err(error @ Error::UnknownKind { .. }) => match defined_beside(&manifest, others) {
                    Some(object) => (object, true),
                    None => {
                        self.kinds.wait(&manifest, task.index);
                        return Err(Failure::of_cluster(&origin, &error));
                    }
                },
                Err(error) => return Err(Failure::of_cluster(&origin, &error)),
            };
            if let Some(twin) = wanted.iter().find(|other| other.object == object) {
                let message = format!("{origin}: gives {object}, which {} gives already", twin.origin);
                return Err(Failure { message, retry: Retry::Never });
            }
            let recreates = may_recreate(&object, &manifest, handling.recreates);
            let handling = Handling { recreates, ..handling };
            wanted.push(Wanted { object, manifest, digest, origin, adopts, handling, is_defined_beside });
        }
        Ok(wanted)
    }

    /// Applies what an attempt has to apply, but for what others hold.
    pub(super) async fn apply_all(
        &self,
        task: &Task,
        detection: Option<Detection<'_>>,
        attempt: &mut Attempt<'_>,
    ) -> Result<(), Stopped> {
        while let Some(want) = attempt.next_to_apply() {
            let object = &want.object;
            if let Some(fought) = self.site.drifts.fight_over(object) {
                attempt.failures.push(of_fight(&fought));
                continue;
            }
            let (recorded, is_held_up) = (task.recorded_uid(object), attempt.is_held_up(object));
            let recorded = recorded.filter(|_| !attempt.has_recreated(object));
            let made = self.perform(task, object, |known| {
                let circumstances = task.circumstances(&self.view.projection(), object, is_held_up, known);
                let step = wanted(want, recorded, known, &task.key, circumstances);
                match detection {
                    Some(detection) => detection.adapt(want, recorded, known, step),
                    None => step,
                }
            });
            let mut made = made.await;
            match &mut made {
                Ok(Made::Applied(applied)) => {
                    debug!(object = %applied.object, uid = applied.uid, "object applied");
                    if let Some((group, kind)) = defined(&want.manifest) {
                        self.wake_for_kind(task, group, kind);
                    }
                }
                Ok(Made::Recreates(refusal)) => match self.clear(task, object, refusal).await? {
                    Ok(()) => attempt.make_again(want),
                    Err(failure) => made = Err(failure),
                },
                // Its definition was just applied. A cluster takes a moment until it knows the kind.
                Err(failure) if want.is_defined_beside && failure.retry == Retry::WhenKnown => {
                    failure.retry = Retry::Soon(None);
                }
                Ok(foreign @ Made::Foreign(_)) => self.note_foreign(task, want, foreign).await,
                Ok(_) | Err(_) => {}
            }
            attempt.note(want, recorded, made);
        }
        Ok(())
    }

    /// Deletes an object that is to be made again. It is recorded before, so that no object ever gets another uid in silence; a
    /// deletion that fails and is tried again is recorded once.
    async fn clear(&self, task: &Task, object: &ObjectKey, refusal: &Refusal) -> Result<Result<(), Failure>, Stopped> {
        let uid = refusal.uid.clone().unwrap_or_default();
        if self.recreating.note(task.index, &uid) {
            info!(%object, uid, fields = refusal.fields, "deleted in order to be made again");
            let recreated = Recreated { object: object.clone(), uid: uid.clone(), reason: refusal.message.clone() };
            self.record(task, What::Recreated(recreated)).await?;
        }
        Ok(self.delete(task, object, &uid).await.map(drop))
    }

    /// Queues the lifecycles that wait until a kind is known.
    fn wake_for_kind(&self, task: &Task, group: &str, kind: &str) {
        let waiting = self.kinds.known(group, kind).into_iter().filter(|index| *index != task.index);
        let waiting: Vec<_> = waiting.collect();
        if !waiting.is_empty() {
            self.site.queue.push(waiting);
        }
    }
}
