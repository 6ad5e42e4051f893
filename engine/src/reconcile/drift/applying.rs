//! What drift detection asks of an apply: which fields are left to others, and which are ours afterwards.
//!
//! Start at [`Detection`]. Pure.

use std::sync::Arc;

use lifeline_projections::fact::ObjectKey;

use super::fields::{as_altered, checksum, keeping};
use crate::reconcile::altered::altered;
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::plan::Wanted;
use crate::reconcile::step::{Known, Made, Step};
use crate::rules::Trigger;
use crate::site::Fought;

/// How a trigger detects drift.
#[derive(Debug, Clone, Copy)]
pub struct Detection<'t>(&'t Trigger);

impl<'t> Detection<'t> {
    /// That of a trigger; `None` where it does not.
    #[must_use]
    pub fn of(trigger: &'t Trigger) -> Option<Detection<'t>> {
        trigger.detects_drift().then_some(Detection(trigger))
    }

    /// The paths in an object that others may change.
    #[must_use]
    pub fn excluded(self, object: &ObjectKey) -> Vec<Vec<String>> {
        self.0
            .drift_exclusions()
            .iter()
            .filter(|some| some.is_about(object))
            .flat_map(|some| some.paths())
            .cloned()
            .collect()
    }

    /// A step about a wanted object, last applied under the `recorded` uid, with what this asks of it: an object of which
    /// something is left to others is looked at before it is applied, and what is ours after an apply is noted.
    #[must_use]
    pub fn adapt(self, want: &Wanted, recorded: Option<&str>, known: &Known, step: Step<Made>) -> Step<Made> {
        let excluded = self.excluded(&want.object);
        match (step, known) {
            (Step::Apply { uid: Some(_), .. }, Known::Recorded) if !excluded.is_empty() => Step::Look,
            (Step::Apply { manifest, uid }, Known::Found(Some(live))) if !excluded.is_empty() => {
                Step::Apply { manifest: Arc::new(keeping(&manifest, live, &excluded)), uid }
            }
            // It was looked at for that alone. Without a look the recorded uid says whose it is, whatever became of its
            // marks.
            (Step::End(Made::Foreign(_)), Known::Found(Some(live)))
                if !excluded.is_empty() && recorded == Some(&live.uid) =>
            {
                let uid = Some(live.uid.clone());
                Step::Apply { manifest: Arc::new(keeping(&want.manifest, live, &excluded)), uid }
            }
            (Step::End(Made::Applied(mut applied)), Known::Applied(live)) => {
                let fields = checksum(&live.managed, &excluded);
                let is_altered = !altered(&keeping(&want.manifest, live, &excluded), &live.manifest).is_empty();
                applied.fields = if is_altered { as_altered(fields) } else { fields };
                Step::End(Made::Applied(applied))
            }
            (step, _) => step,
        }
    }
}

/// An object is not put back, because others change it each time.
#[must_use]
pub fn of_fight(fought: &Fought) -> Failure {
    let Fought { object, manager, pause } = fought;
    let who = manager.as_ref().map_or("somebody".to_owned(), |manager| format!("`{manager}`"));
    let message = format!(
        "{object} is fought over: {who} changes or deletes it each time it is put back\nhint: let only one of both manage \
         it, or name the fields in `spec.driftExclusions`"
    );
    Failure { message, retry: Retry::Soon(Some(*pause)) }
}
