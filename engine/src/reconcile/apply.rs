//! Applying: the wanted objects, one after the other.
//!
//! Start at `apply_all`. What is done about each is decided in [`super::step`], what follows from it in [`super::attempt`].
//! Never here: what is removed; that is in [`super::remove`].

use std::sync::Arc;

use lifeline_projections::fact::{Altered, ObjectKey, Recreated, What};
use lifeline_store::Disk;
use parking_lot::Mutex;
use serde_json::Value;
use tracing::{debug, info, warn};

use crate::cluster::Error;
use crate::queue::Urgency;
use crate::reconcile::altered::altered;
use crate::reconcile::attempt::Attempt;
use crate::reconcile::drift::{Detection, keeping, of_fight};
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::kinds::{defined, defined_beside};
use crate::reconcile::plan::{Naming, Wanted};
use crate::reconcile::render::MarkedManifest;
use crate::reconcile::step::{Known, Made, Refusal, wanted};
use crate::reconcile::task::Task;
use crate::reconcile::turns::let_others_go_on;
use crate::reconcile::work::Reconciler;
use crate::recorder::Stopped;
use crate::schema::Schema;
use crate::site::Sort;

impl<D: Disk> Reconciler<D> {
    /// Names the objects of the manifests.
    pub(super) async fn resolve(
        &self,
        task: &Task,
        manifests: Vec<MarkedManifest>,
        adopts: bool,
    ) -> Result<Vec<Wanted>, Failure> {
        let mut naming = Naming::default();
        let definitions: Vec<Arc<Value>> =
            manifests.iter().map(|one| &one.manifest).filter(|manifest| defined(manifest).is_some()).cloned().collect();
        for (done, marked) in manifests.into_iter().enumerate() {
            let_others_go_on(done).await;
            let MarkedManifest { manifest, origin, .. } = &marked;
            let sort = Sort::discovery(manifest);
            let resolved = self.site.call(&sort, task.index, self.site.cluster().resolve(manifest)).await;
            let resolved = resolved.map_err(|pause| Failure::of_held_back(origin, &sort, pause))?;
            let definitions = definitions.iter().map(|definition| &**definition);
            let (object, is_defined_beside) = match resolved {
                Ok(object) => {
                    self.wake_for_kind(task, &object.group, &object.kind);
                    (object, false)
                }
                Err(error @ Error::UnknownKind { .. }) => match defined_beside(manifest, definitions) {
                    Some(object) => (object, true),
                    None => {
                        self.kinds.wait(manifest, task.index);
                        return Err(Failure::of_cluster(origin, &error));
                    }
                },
                Err(error) => return Err(Failure::of_cluster(origin, &error)),
            };
            let schema = if marked.plain.is_empty() { None } else { self.schema(task, &object).await };
            naming.add(marked, schema.as_deref(), object, is_defined_beside, adopts)?;
        }
        Ok(naming.wanted())
    }

    /// The types of a kind, where the cluster says them in time.
    async fn schema(&self, task: &Task, object: &ObjectKey) -> Option<Arc<Schema>> {
        let asked = async { Ok::<_, Error>(self.site.cluster().schema(object).await) };
        self.site.call(&Sort::of("schema", object), task.index, asked).await.ok()?.ok()?
    }

    /// Applies what an attempt has to apply, but for what others hold.
    pub(super) async fn apply_all(
        &self,
        task: &Task,
        detection: Option<Detection<'_>>,
        attempt: &mut Attempt<'_>,
    ) -> Result<(), Stopped> {
        let mut done = 0;
        while let Some(want) = attempt.next_to_apply() {
            let_others_go_on(done).await;
            done += 1;
            let object = &want.object;
            if let Some(fought) = self.site.drifts.fight_over(object) {
                attempt.failures.push(of_fight(&fought));
                continue;
            }
            let (recorded, is_held_up) = (task.recorded_uid(object), attempt.is_held_up(object));
            let recorded = recorded.filter(|_| !attempt.has_recreated(object));
            let is_unchanged = attempt.is_unchanged(object);
            let changed = Mutex::new(Vec::new());
            let made = self.perform(task, object, want.hides_answers(), |known| {
                if let Known::Applied(live) = known {
                    let others = detection.map(|detection| detection.excluded(object)).unwrap_or_default();
                    *changed.lock() = altered(&keeping(&want.manifest, live, &others), &live.manifest);
                }
                let mut circumstances = task.circumstances(
                    (&self.view.projection(), &|name| self.site.is_instance(name)),
                    object,
                    is_held_up,
                    known,
                );
                circumstances.is_unchanged = is_unchanged;
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
                    let fields = changed.into_inner();
                    if !fields.is_empty() && self.noted.note(task.index, &format!("{} {fields:?}", applied.uid)) {
                        warn!(%object, fields = fields.join(", "), "the cluster changed what was applied, as it took it");
                        self.record(task, What::Altered(Altered { object: object.clone(), fields })).await?;
                    }
                    if let Some((group, kind)) = defined(&want.manifest) {
                        self.wake_for_kind(task, group, kind);
                    }
                }
                Ok(Made::Recreates(refusal)) => match self.clear(task, object, refusal).await? {
                    Ok(()) => attempt.make_again(want),
                    Err(failure) => made = Err(failure),
                },
                Ok(Made::Differs) => {
                    // What was applied before is not known any more from here on.
                    self.record(task, What::Intended(vec![object.clone()])).await?;
                    attempt.apply_after_all(want);
                }
                // Its definition was just applied. A cluster takes a moment until it knows the kind.
                Err(failure) if want.is_defined_beside && failure.retry == Retry::WhenKnown => {
                    failure.retry = Retry::Soon(None);
                }
                // The definition may change, or be published only now.
                Err(failure) if want.has_open_types && failure.retry == Retry::Never => failure.retry = Retry::Slowly,
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
        if self.noted.note(task.index, &uid) {
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
            self.site.push(&self.view.projection(), waiting, Urgency::Fresh);
        }
    }
}
