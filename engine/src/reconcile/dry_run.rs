//! Dry runs: what a lifecycle whose trigger has `syncMode: DryRun` would do, asked of the cluster and not done.
//!
//! Start at `rehearse`. What would be done about an object is decided as for any other, in [`super::step`]; which fields
//! would change, by the cluster, which applies it without keeping it (`dryRun=All`).

use lifeline_projections::fact::ObjectKey;
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::reads::{object_row, time};
use lifeline_store::Disk;

use crate::cluster::{Error, LiveObject};
use crate::dry_runs::{Action, DryRunRow};
use crate::error_text::chain;
use crate::fields::{FieldChange, differing};
use crate::reconcile::conflict::{Conflicts, conflicts};
use crate::reconcile::failure::Failure;
use crate::reconcile::plan::{Wanted, plan};
use crate::reconcile::step::{Known, Made, Step, wanted};
use crate::reconcile::task::Task;
use crate::reconcile::work::Reconciler;

impl<D: Disk> Reconciler<D> {
    /// Finds out what a lifecycle would do, and notes it.
    pub(super) async fn rehearse(&self, task: &Task, wants: &[Wanted]) {
        let mut rows = Vec::new();
        let conflicts = Conflicts::of(&conflicts(&self.view.projection(), task, wants));
        for want in wants {
            if let Some(conflict) = conflicts.holding_up(&want.object) {
                let because = conflict.failure.message.clone();
                rows.push(self.row(task, &want.object, Action::Refuse, Vec::new(), Some(because)));
                continue;
            }
            match self.rehearse_one(task, want).await {
                Ok(None) => {}
                Ok(Some((action, fields, because))) => rows.push(self.row(task, &want.object, action, fields, because)),
                Err(error) => {
                    rows.push(self.row(task, &want.object, Action::Refuse, Vec::new(), Some(chain(&error))));
                }
            }
        }
        // What another lifecycle claims would change hands, not go.
        let goes = |object: &ObjectKey| {
            let projection = self.view.projection();
            !task.is_not_first(&projection, object) && !task.has_next_claimant(&projection, object)
        };
        for holding in plan(&task.lifecycle, wants, false).remove.into_iter().filter(|held| goes(&held.object)) {
            rows.push(self.row(task, &holding.object, Action::Delete, Vec::new(), None));
        }
        self.view.dry_runs().set(task.index, rows);
    }

    /// Queues the lifecycles of dry runs when rules change: their triggers may not be dry runs any more, and a replay that
    /// decides what was decided before queues nothing. As long as it is polled.
    pub(super) async fn follow_modes(&self) {
        let mut rules = self.rules.clone();
        while rules.changed().await.is_ok() {
            let ours = |index: &LifecycleIndex| self.view.projection().cluster_of(*index) == &**self.site.name();
            let waiting: Vec<_> = self.view.dry_runs().lifecycles().into_iter().filter(ours).collect();
            self.site.queue.push(waiting);
        }
        // The engine is stopping.
        std::future::pending().await
    }

    async fn rehearse_one(
        &self,
        task: &Task,
        want: &Wanted,
    ) -> Result<Option<(Action, Vec<FieldChange>, Option<String>)>, Error> {
        let (cluster, object) = (self.site.cluster_as(task.account()), &want.object);
        self.site.afford_last().await;
        let live = cluster.get(object).await?;
        let hides_values = want.handling.hides_values;
        let known = Known::Found(live.clone());
        let circumstances =
            task.circumstances((&self.view.projection(), &|name| self.site.is_instance(name)), object, false, &known);
        if let Step::End(made) = wanted(want, task.recorded_uid(object), &known, &task.key, circumstances) {
            let (fields, because) = self.in_the_way(task, want, &made, live).await;
            return Ok(Some((Action::Refuse, fields, Some(because))));
        }
        self.site.afford_last().await;
        let would = match cluster.dry_run(object, &want.manifest, None).await {
            Err(Error::NamespaceMissing { namespace }) => {
                let because = format!("Namespace `{namespace}` is missing, and would be made before");
                return Ok(Some((Action::Create, Vec::new(), Some(because))));
            }
            would => would.map_err(|error| want.worded(error))?,
        };
        let Some(live) = live else { return Ok(Some((Action::Create, Vec::new(), None))) };
        // A cluster that cannot say.
        let Some(would) = would else { return Ok(None) };
        let fields = differing(&live.manifest, &would.manifest, hides_values);
        Ok((!fields.is_empty()).then_some((Action::Change, fields, None)))
    }

    /// Notes an object of another owner that is in the way of a wanted one, for those who ask.
    pub(super) async fn note_foreign(&self, task: &Task, want: &Wanted, made: &Made) {
        self.site.afford().await;
        let Ok(live) = self.site.cluster_as(task.account()).get(&want.object).await else { return };
        let (fields, because) = self.in_the_way(task, want, made, live).await;
        self.view.foreign().add(task.index, self.row(task, &want.object, Action::Refuse, fields, Some(because)));
    }

    /// Why an object is not applied, and which fields of the one that is there an apply would change.
    async fn in_the_way(
        &self,
        task: &Task,
        want: &Wanted,
        made: &Made,
        live: Option<LiveObject>,
    ) -> (Vec<FieldChange>, String) {
        let object = &want.object;
        let failure = match made {
            Made::Foreign(owner) => Failure::of_foreign_object(object, owner),
            Made::Terminating(held_by) => Failure::of_terminating_object(object, held_by.as_deref()),
            Made::Applied(_)
            | Made::HeldUp
            | Made::NeverChanges(_)
            | Made::Recreates(_)
            | Made::Differs
            | Made::Homeless
            | Made::Unwanted => Failure::of_unwanted_objects(),
        };
        let manager = live.as_ref().and_then(|live| live.managed.last_other.clone());
        let by = manager.map(|manager| format!(" (last changed by `{manager}`)")).unwrap_or_default();
        let because = match failure.message.split_once('\n') {
            Some((message, hint)) => format!("{message}{by}\n{hint}"),
            None => format!("{}{by}", failure.message),
        };
        let would = match (made, &live) {
            (Made::Foreign(_), Some(_)) => {
                self.site.afford().await;
                self.site.cluster_as(task.account()).dry_run(object, &want.manifest, None).await.ok().flatten()
            }
            _ => None,
        };
        let fields = live.zip(would);
        let hides_values = want.handling.hides_values;
        let fields = fields.map(|(live, would)| differing(&live.manifest, &would.manifest, hides_values));
        (fields.unwrap_or_default(), because)
    }

    fn row(
        &self,
        task: &Task,
        object: &ObjectKey,
        action: Action,
        fields: Vec<FieldChange>,
        because: Option<String>,
    ) -> DryRunRow {
        DryRunRow {
            object: object_row(object, task.recorded_uid(object).map(str::to_owned)),
            cluster: self.site.name().to_string(),
            trigger: task.key.trigger.to_string(),
            source: task.key.resource.source.to_string(),
            subject: task.key.resource.subject.to_string(),
            action,
            fields,
            because,
            time: time(self.view.projection().ground().folded_unix_nanos),
        }
    }
}
