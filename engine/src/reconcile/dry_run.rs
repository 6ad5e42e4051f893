//! Dry runs: what a lifecycle whose trigger has `syncMode: DryRun` would do, asked of the cluster and not done.
//!
//! Start at `rehearse`. What would be done about an object is decided as for any other, in [`super::step`]; which fields
//! would change, by the cluster, which applies it without keeping it (`dryRun=All`).

use lifeline_projections::fact::ObjectKey;
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::reads::{object_row, time};
use lifeline_store::Disk;
use serde_json::Value;

use crate::cluster::{Error, LiveObject, SERVER_METADATA};
use crate::dry_runs::{Action, DryRunRow, FieldChange};
use crate::error_text::chain;
use crate::reconcile::conflict::conflicts;
use crate::reconcile::failure::Failure;
use crate::reconcile::plan::{Wanted, plan};
use crate::reconcile::step::{Known, Made, Step, wanted};
use crate::reconcile::task::Task;
use crate::reconcile::work::Reconciler;

/// Fields of one object that are shown at most.
const FIELDS_MAX: usize = 20;

impl<D: Disk> Reconciler<D> {
    /// Finds out what a lifecycle would do, and notes it.
    pub(super) async fn rehearse(&self, task: &Task, wants: &[Wanted]) {
        let mut rows = Vec::new();
        let conflicts = conflicts(&self.view.projection(), task, wants);
        for want in wants {
            if let Some(conflict) = conflicts.iter().find(|conflict| conflict.holds_up(&want.object)) {
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
        for holding in plan(&task.lifecycle, wants, false).remove {
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
        let live = cluster.get(object).await?;
        let known = Known::Found(live.clone());
        let circumstances = task.circumstances(&self.view.projection(), object, false, &known);
        if let Step::End(made) = wanted(want, task.recorded_uid(object), &known, &task.key, circumstances) {
            let (fields, because) = self.in_the_way(task, want, &made, live).await;
            return Ok(Some((Action::Refuse, fields, Some(because))));
        }
        let would = match cluster.dry_run(object, &want.manifest, None).await {
            Err(Error::NamespaceMissing { namespace }) => {
                let because = format!("Namespace `{namespace}` is missing, and would be made before");
                return Ok(Some((Action::Create, Vec::new(), Some(because))));
            }
            would => would?,
        };
        let Some(live) = live else { return Ok(Some((Action::Create, Vec::new(), None))) };
        // A cluster that cannot say.
        let Some(would) = would else { return Ok(None) };
        let fields = changes(&live.manifest, &would.manifest, is_secret(object));
        Ok((!fields.is_empty()).then_some((Action::Change, fields, None)))
    }

    /// Notes an object of another owner that is in the way of a wanted one, for those who ask.
    pub(super) async fn note_foreign(&self, task: &Task, want: &Wanted, made: &Made) {
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
                self.site.cluster_as(task.account()).dry_run(object, &want.manifest, None).await.ok().flatten()
            }
            _ => None,
        };
        let fields = live.zip(would).map(|(live, would)| changes(&live.manifest, &would.manifest, is_secret(object)));
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

fn is_secret(object: &ObjectKey) -> bool {
    object.group.is_empty() && object.kind == "Secret"
}

/// The fields that differ, but for those of the server and of the marks. Of a Secret the values are not shown.
fn changes(live: &Value, would: &Value, is_secret: bool) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(&mut found, String::new(), Some(live), Some(would));
    let is_shown = |field: &str| {
        let of_server = SERVER_METADATA.iter().any(|name| field == format!("/metadata/{name}"));
        !of_server && !field.contains("/lifeline.dev~1")
    };
    found.retain(|change| is_shown(&change.field));
    found.truncate(FIELDS_MAX);
    if is_secret {
        let holds_values = |field: &str| {
            let is_in =
                |part: &&str| field.strip_prefix(*part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            // An annotation of `kubectl apply` holds the whole manifest.
            ["/data", "/stringData", "/metadata/annotations"].iter().any(is_in)
        };
        let hidden = found.iter_mut().filter(|change| holds_values(&change.field));
        hidden
            .flat_map(|change| [&mut change.from, &mut change.to])
            .flatten()
            .for_each(|value| *value = "(hidden)".into());
    }
    found
}

fn compare(found: &mut Vec<FieldChange>, at: String, from: Option<&Value>, to: Option<&Value>) {
    match (from, to) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            for name in names {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                compare(found, at, before.get(name), after.get(name));
            }
        }
        (from, to) if from != to => found.push(FieldChange { field: at, from: from.cloned(), to: to.cloned() }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reconcile::marks;

    #[test]
    fn fields_are_compared_but_for_those_of_the_server_and_the_marks_and_secrets_stay_secret() {
        let live = json!({"metadata": {"name": "a", "resourceVersion": "1", "annotations": {marks::OFFSET: "1"}},
                          "data": {"a": "1", "b": "2"}});
        let would = json!({"metadata": {"name": "a", "resourceVersion": "2", "annotations": {marks::OFFSET: "9"}},
                           "data": {"a": "1", "b": "3", "c": "4"}});
        let shown = |is_secret: bool| {
            let change = |change: FieldChange| format!("{} {:?} {:?}", change.field, change.from, change.to);
            changes(&live, &would, is_secret).into_iter().map(change).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(false),
            [r#"/data/b Some(String("2")) Some(String("3"))"#, r#"/data/c None Some(String("4"))"#,]
        );
        assert_eq!(
            shown(true),
            [
                r#"/data/b Some(String("(hidden)")) Some(String("(hidden)"))"#,
                r#"/data/c None Some(String("(hidden)"))"#,
            ]
        );
        assert_eq!(changes(&live, &live, false), []);
    }
}
