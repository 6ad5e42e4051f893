//! The worker: one lifecycle at a time from what is desired to what is recorded as done.
//!
//! Start at [`Reconciler::run`]; `present` and `absent` are the two jobs there are. With [`super::apply`] and
//! [`super::remove`] it holds all effects of reconciliation; they are decided in `plan`, `marks` and `failure`.
//!
//! Invariant: of the lifecycles that claim an object only the first one applies or deletes it, and it stays the first until
//! it has recorded that it let go. So no lifecycle deletes what another has just taken over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lifeline_projections::fact::{AppliedObject, FailedAttempt, LifecycleKey, ObjectKey, Reconciled, What};
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::{Desired, Holding, Lifecycle};
use lifeline_store::{Disk, Offset};
use tokio::sync::watch;
use tracing::{Instrument, debug, info, warn};

use crate::cluster::Cluster;
use crate::queue::{Next, Queue};
use crate::reconcile::apply::{Applied, going};
use crate::reconcile::failure::Failure;
use crate::reconcile::lost::Lost;
use crate::reconcile::plan::plan;
use crate::reconcile::recent::{self, Recent};
use crate::reconcile::remove::{Removing, Unfinished};
use crate::reconcile::render::{self, MarkedManifest};
use crate::recorder::{OutcomeSender, Stopped};
use crate::rules::spec::SyncMode;
use crate::rules::{Current, RuleSet, Standing, Trigger};
use crate::trace;
use crate::view::View;

/// Lifecycles reconciled at once.
const CONCURRENCY: usize = 64;

/// The pause between looks at an object that is on its way out.
const PAUSE_DELETING: Duration = Duration::from_millis(250);

/// The pause while the rules are not read yet.
const PAUSE_RULES: Duration = Duration::from_millis(100);

/// The pause while the replay of a changed trigger has not come to a lifecycle, or while a trigger is broken.
const PAUSE_REPLAY: Duration = Duration::from_secs(1);

/// What reconciliation did so far, for metrics and tests.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lifecycles taken from the queue that needed work.
    pub reconciliations: AtomicU64,
    /// Calls that may have changed the cluster: applies and deletes.
    pub writes: AtomicU64,
    /// Attempts that failed.
    pub failures: AtomicU64,
}

/// Carries out what the lifecycles of one view desire.
pub struct Reconciler<D: Disk> {
    pub(super) view: Arc<View<D>>,
    pub(super) queue: Arc<Queue>,
    pub(super) rules: watch::Receiver<Current>,
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) recording: OutcomeSender,
    pub(super) counters: Arc<Counters>,
    /// Held from the check of the other claims until `Released` is recorded.
    pub(super) handing_over: tokio::sync::Mutex<()>,
    /// What attempts rendered that may be made again.
    pub(super) recent: Recent,
    /// Lifecycles that lost objects with a Namespace since their attempts began.
    pub(super) lost: Lost,
}

/// The snapshot that one reconciliation acts on.
pub(super) struct Task {
    pub(super) index: LifecycleIndex,
    pub(super) key: LifecycleKey,
    pub(super) lifecycle: Lifecycle,
    /// Checksum of the trigger that the decision counts under; `None` while a replay has not come to it, or once the trigger was
    /// removed.
    pub(super) decided_by: Option<u64>,
}

impl<D: Disk> Reconciler<D> {
    /// A reconciler of the lifecycles of a view: takes keys from the queue, acts on a cluster by the rules in force, and
    /// records outcomes.
    pub fn new(
        view: Arc<View<D>>,
        queue: Arc<Queue>,
        rules: watch::Receiver<Current>,
        cluster: Arc<dyn Cluster>,
        recording: OutcomeSender,
        counters: Arc<Counters>,
    ) -> Reconciler<D> {
        let (handing_over, recent, lost) = (tokio::sync::Mutex::default(), Recent::default(), Lost::default());
        Reconciler { view, queue, rules, cluster, recording, counters, handing_over, recent, lost }
    }

    /// Takes keys from the queue until `stop` says true; what runs then is dropped, which is as good as a crash, and a
    /// crash is harmless.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                Some(()) = running.next(), if !running.is_empty() => {}
                key = self.queue.next(), if running.len() < CONCURRENCY => running.push(self.reconcile(key)),
            }
        }
    }

    async fn reconcile(&self, index: LifecycleIndex) {
        self.lost.begin(index);
        let task = {
            let projection = self.view.projection();
            let (resource, lifecycle) = projection.lifecycle(index);
            lifecycle.needs_work().then(|| Task {
                index,
                decided_by: projection.ground().decided_by(&lifecycle.trigger, lifecycle.decided),
                key: LifecycleKey {
                    trigger: (*lifecycle.trigger).into(),
                    cluster: (*lifecycle.cluster).into(),
                    resource,
                },
                lifecycle,
            })
        };
        let Some(task) = task else {
            self.recent.forget(index);
            self.queue.finish(index, Next::Done);
            return;
        };
        self.counters.reconciliations.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!(
            target: trace::TARGET,
            "reconcile",
            lifeline.trigger = &*task.key.trigger,
            lifeline.source = &*task.key.resource.source,
            lifeline.subject = &*task.key.resource.subject,
            lifeline.decided = task.lifecycle.decided.get(),
        );
        self.view.traces().continue_from(&span, task.lifecycle.decided);
        let attempt = async {
            let next = match task.lifecycle.desired {
                Desired::Present { event } => self.make_present(&task, event).await,
                Desired::Absent { .. } => self.make_absent(&task).await,
                Desired::Left => Ok(Next::Done),
            };
            // The recorder is gone: the process is stopping, and the next one takes up where the log ends.
            next.unwrap_or(Next::Park)
        };
        let next = attempt.instrument(span).await;
        {
            // A Delete that came while nothing was claimed yet was not queued. This attempt may have made something since.
            let projection = self.view.projection();
            let (_, lifecycle) = projection.lifecycle(index);
            if lifecycle.decided != task.lifecycle.decided && lifecycle.needs_work() {
                self.queue.push([index]);
            }
        }
        if !matches!(next, Next::RetryAfter(_)) {
            self.recent.forget(index);
        }
        self.queue.finish(index, next);
    }

    /// Applies the objects that the event asks for, and removes those it no longer asks for.
    async fn make_present(&self, task: &Task, event: Offset) -> Result<Next, Stopped> {
        let rules = self.rules.borrow().rules.clone();
        let Some(rules) = rules else { return Ok(Next::RetryAfter(PAUSE_RULES)) };
        let trigger = rules.trigger(&task.key.trigger);
        if trigger.map(Trigger::digest) != task.decided_by {
            // The rules in force have not decided this lifecycle yet. They may never do: the process may die, or the rules may
            // be taken back. When their replay comes to it, it decides again and queues this lifecycle.
            return Ok(Next::RetryAfter(PAUSE_REPLAY));
        }
        let rendered = match self.render(task, &rules, event) {
            Ok(Some(rendered)) => rendered,
            Ok(None) => return Ok(Next::RetryAfter(PAUSE_REPLAY)),
            Err(failure) => return self.failed(task, Vec::new(), failure).await,
        };
        if trigger.is_some_and(|trigger| trigger.sync_mode() == SyncMode::DryRun) {
            info!(objects = rendered.len(), "dry run of {}: nothing is applied", task.key.trigger);
            return Ok(Next::Park);
        }
        let adopts = trigger.is_some_and(Trigger::adopts);
        let once = trigger.is_some_and(|trigger| trigger.sync_mode() == SyncMode::OneTime);
        let wanted = match self.resolve(rendered, adopts).await {
            Ok(wanted) => wanted,
            Err(failure) => return self.failed(task, Vec::new(), failure).await,
        };
        let plan = plan(&task.lifecycle, &wanted, once);
        if !plan.intend.is_empty() {
            let (key, acted_for) = (task.key.clone(), task.lifecycle.decided);
            let objects = plan.intend.clone();
            self.recording.record(Reconciled::new(key, acted_for, What::Intended(objects))).await?;
        }
        // Naming the objects and recording took time. Nothing is made for a decision that was replaced meanwhile. A replay of
        // the rules decides again, except for what a degraded trigger keeps as it is. What was claimed needs no record
        // again, so this ends, however fast decisions come.
        if let Some(desired) = self.overtaken(task) {
            let again = if desired.is_present() { Next::RetryAfter(Duration::ZERO) } else { Next::Done };
            return Ok(again);
        }
        // Only now, for two lifecycles may have claimed one object at the same moment: the log says who was first.
        let conflicts = self.conflicts(task, &wanted);
        let Applied { objects: mut applied, made, gone, not_ours, mut failures } =
            self.apply_all(task, &plan, &wanted, &conflicts).await;
        // Namespaces that were made are empty. What the task itself had in them was just applied again.
        self.record_lost_in_namespaces(task, &made, Some(task.index)).await?;
        self.record_gone(task, gone, Some(task.index)).await?;
        // Objects that are no longer wanted are deleted only when all wanted objects exist, even if others made them. Handing
        // one over takes nothing away, so it does not wait: two lifecycles may each hold what the other one wants.
        let is_ready = failures.is_empty() && conflicts.iter().all(|conflict| conflict.exists);
        let unfinished = match is_ready {
            true => self.remove(task, &plan.remove, Removing::DeletesToo).await?,
            false => {
                let has_heir = |holding: &&Holding| self.has_heir(task, &holding.object);
                let removable: Vec<&Holding> = plan.remove.iter().copied().filter(has_heir).collect();
                self.remove(task, &removable, Removing::HandsOver).await?
            }
        };
        failures.extend(unfinished.failures);
        if self.lost.take(task.index) {
            // What was found out about objects in Namespaces may be about deleted ones, so it is dropped. What was found out
            // about Namespaces is kept: without the uid, the next attempt would report the Namespace as made again, and two
            // lifecycles could restart each other for ever.
            applied.retain(|applied| applied.object.namespace.is_none());
            failures.push(Failure::of_lost_objects());
        }
        let conflicts = conflicts.into_iter().map(|conflict| conflict.failure);
        if let Some(failure) = Failure::join(conflicts.chain(not_ours).chain(failures).collect()) {
            let next = self.failed(task, applied, failure).await?;
            // It is recorded which Namespaces are there, though others failed.
            self.wake_in_namespaces(task, &made);
            return Ok(next);
        }
        if unfinished.waits {
            return Ok(Next::RetryAfter(PAUSE_DELETING));
        }
        info!(objects = %names(applied.iter().map(|applied| &applied.object)), "applied");
        self.record_outcome(task, What::Applied(applied)).await?;
        self.wake_in_namespaces(task, &made);
        Ok(Next::Done)
    }

    /// Records how an attempt ended, and queues the lifecycles that waited until that was known for a Namespace.
    async fn record_outcome(&self, task: &Task, what: What) -> Result<(), Stopped> {
        let going_now = || -> Vec<ObjectKey> {
            let (_, lifecycle) = self.view.projection().lifecycle(task.index);
            going(&lifecycle).cloned().collect()
        };
        let mut awaited = going_now();
        self.recording.record(Reconciled::new(task.key.clone(), task.lifecycle.decided, what)).await?;
        let still = going_now();
        awaited.retain(|namespace| !still.contains(namespace));
        self.wake_in_namespaces(task, &awaited);
        Ok(())
    }

    /// What shall hold by now, where the lifecycle was decided again since the task began.
    pub(super) fn overtaken(&self, task: &Task) -> Option<Desired> {
        let projection = self.view.projection();
        let (_, now) = projection.lifecycle(task.index);
        (now.decided != task.lifecycle.decided).then_some(now.desired)
    }

    /// The manifests of an event, rendered once for all attempts that follow soon.
    fn render(&self, task: &Task, rules: &RuleSet, event: Offset) -> Result<Option<Vec<MarkedManifest>>, Failure> {
        let Some(trigger) = task.decided_by else { return Ok(None) };
        let source = recent::Source { event, trigger };
        if let Some(rendered) = self.recent.get(task.index, source) {
            return Ok(Some(rendered));
        }
        let rendered = render::render(&self.view.log(), rules, &task.key, event)?;
        if let Some(rendered) = &rendered {
            self.recent.put(task.index, source, rendered);
        }
        Ok(rendered)
    }

    /// Removes everything in the inventory.
    async fn make_absent(&self, task: &Task) -> Result<Next, Stopped> {
        let rules = self.rules.borrow().rules.clone();
        let Some(rules) = rules else { return Ok(Next::RetryAfter(PAUSE_RULES)) };
        if !may_delete(task.decided_by, rules.standing(&task.key.trigger)) {
            return Ok(Next::RetryAfter(PAUSE_REPLAY));
        }
        let plan = plan(&task.lifecycle, &[], false);
        let Unfinished { waits, failures } = self.remove(task, &plan.remove, Removing::DeletesToo).await?;
        match Failure::join(failures) {
            Some(failure) => self.failed(task, Vec::new(), failure).await,
            None if waits => Ok(Next::RetryAfter(PAUSE_DELETING)),
            None => Ok(Next::Done),
        }
    }

    /// Records a failure and says when to try again. A failure like the one before is recorded at the attempts 1, 2, 4,
    /// 8 and so on: a long outage must not fill the log.
    async fn failed(&self, task: &Task, applied: Vec<AppliedObject>, failure: Failure) -> Result<Next, Stopped> {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let before = task.lifecycle.failure.as_ref();
        let recorded = before.map_or(0, |before| before.attempt);
        let attempts = self.queue.count_attempt(task.index, task.lifecycle.decided, recorded);
        let attempt = attempts.of_decision;
        let news = before.is_none_or(|before| before.error != failure.message);
        if news {
            warn!(attempt, "{}", failure.message);
        } else {
            debug!(attempt, "{}", failure.message);
        }
        let object_news = applied.iter().any(|object| {
            let held = task.lifecycle.holding(&object.object).and_then(|held| held.applied.as_ref());
            held.is_none_or(|held| held.uid != object.uid || held.digest != object.digest)
        });
        if news || object_news || attempt.is_power_of_two() {
            let (error, transient) = (failure.message.clone(), failure.transient());
            let failed = FailedAttempt { objects: applied, error, attempt, transient };
            self.record_outcome(task, What::Failed(failed)).await?;
        }
        Ok(failure.next(attempts.since_push))
    }
}

/// Whether what a lifecycle no longer wants may be deleted. Rules that are in force and not replayed yet may want it: an earlier
/// engine may have ended in the middle of replaying others. While a trigger is broken nothing is replayed for it, and what its
/// last replay decided counts.
fn may_delete(decided_by: Option<u64>, standing: Standing<'_>) -> bool {
    match standing {
        Standing::InForce(trigger) => decided_by == Some(trigger.digest()),
        Standing::OutOfForce => decided_by.is_some(),
        Standing::Absent => true,
    }
}

pub(super) fn names<'a>(objects: impl IntoIterator<Item = &'a ObjectKey>) -> String {
    objects.into_iter().map(ObjectKey::short).collect::<Vec<_>>().join(", ")
}
