//! Applying: the wanted objects, one after the other.
//!
//! Start at `apply_all`. What is done about each is decided in [`super::step`], what follows from it in [`super::attempt`].
//! Never here: what is removed; that is in [`super::remove`].

use lifeline_store::Disk;
use tracing::debug;

use crate::reconcile::attempt::Attempt;
use crate::reconcile::drift::{Detection, of_fight};
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::plan::Wanted;
use crate::reconcile::render::MarkedManifest;
use crate::reconcile::step::{Made, wanted};
use crate::reconcile::task::Task;
use crate::reconcile::work::Reconciler;
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
        for MarkedManifest { manifest, digest, origin } in manifests {
            let sort = Sort::discovery(&manifest);
            let resolved = self.site.call(&sort, task.index, self.site.cluster().resolve(&manifest)).await;
            let resolved = resolved.map_err(|pause| Failure::of_held_back(&origin, &sort, pause))?;
            let object = resolved.map_err(|error| Failure::of_cluster(&origin, &error))?;
            if let Some(twin) = wanted.iter().find(|other| other.object == object) {
                let message = format!("{origin}: gives {object}, which {} gives already", twin.origin);
                return Err(Failure { message, retry: Retry::Never });
            }
            wanted.push(Wanted { object, manifest, digest, origin, adopts });
        }
        Ok(wanted)
    }

    /// Applies what an attempt has to apply, but for what others hold.
    pub(super) async fn apply_all(&self, task: &Task, detection: Option<Detection<'_>>, attempt: &mut Attempt<'_>) {
        while let Some(want) = attempt.next_to_apply() {
            let object = &want.object;
            if let Some(fought) = self.site.drifts.fight_over(object) {
                attempt.failures.push(of_fight(&fought));
                continue;
            }
            let (recorded, is_held_up) = (task.recorded_uid(object), attempt.is_held_up(object));
            let made = self.perform(task, object, |known| {
                let circumstances = task.circumstances(&self.view.projection(), object, is_held_up, known);
                let step = wanted(want, recorded, known, &task.key, circumstances);
                match detection {
                    Some(detection) => detection.adapt(want, recorded, known, step),
                    None => step,
                }
            });
            let made = made.await;
            if let Ok(Made::Applied(applied)) = &made {
                debug!(object = %applied.object, uid = applied.uid, "object applied");
            }
            attempt.note(want, recorded, made);
        }
    }
}
