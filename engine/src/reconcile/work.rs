//! The worker: one lifecycle at a time from what is desired to what is recorded as done.
//!
//! Start at [`Reconciler::run`]; `make_present` and `make_absent` are the two jobs there are. With [`super::apply`],
//! [`super::remove`] and [`super::perform`] it holds all effects of reconciliation; what they do is decided elsewhere.
//!
//! Invariant: of the lifecycles that claim an object only the first one applies or deletes it, and it stays the first until
//! it has recorded that it let go. So no lifecycle deletes what another has just taken over.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lifeline_projections::fact::{AppliedObject, FailedAttempt, ObjectKey, Reconciled, What};
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::Desired;
use lifeline_store::{Disk, Offset};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{Instrument, debug, info, warn};

use crate::cluster::Kind;
use crate::queue::{Next, Urgency};
use crate::reconcile::attempt::{Attempt, Ending, has_object_news, is_news, is_recorded};
use crate::reconcile::conflict::{Conflict, Conflicts, conflicts, going_namespaces};
use crate::reconcile::drift::Detection;
use crate::reconcile::failure::{Failure, names};
use crate::reconcile::gone::Gone;
use crate::reconcile::kinds::Kinds;
use crate::reconcile::leaving::Leaving;
use crate::reconcile::lost::Lost;
use crate::reconcile::plan::{Wanted, plan};
use crate::reconcile::recent::{self, Recent};
use crate::reconcile::recreate::Noted;
use crate::reconcile::render::{MarkedManifest, render};
use crate::reconcile::step::Removing;
use crate::reconcile::task::Task;
use crate::reconcile::tiers::Tiers;
use crate::reconcile::turns::aside;
use crate::recorder::{OutcomeSender, Stopped};
use crate::rules::spec::SyncMode;
use crate::rules::{Current, RuleSet, Standing, Trigger};
use crate::site::Site;
use crate::trace;
use crate::view::View;

/// The pause between looks at an object that is on its way out.
const PAUSE_DELETING: Duration = Duration::from_millis(250);

/// The pause between looks whether a trigger that is gone has let go of an object.
const PAUSE_HAND_OVER: Duration = Duration::from_millis(500);

/// The pause between two dry runs of a lifecycle: others may change what it would find.
const PAUSE_DRY_RUN: Duration = Duration::from_secs(600);

/// The pause while the rules are not read yet.
const PAUSE_RULES: Duration = Duration::from_millis(100);

/// The pause while the replay of a changed trigger has not come to a lifecycle, or while a trigger is broken.
const PAUSE_REPLAY: Duration = Duration::from_secs(1);

/// Carries out what the lifecycles of one site desire.
pub struct Reconciler<D: Disk> {
    pub(super) view: Arc<View<D>>,
    pub(super) site: Arc<Site>,
    pub(super) rules: watch::Receiver<Current>,
    pub(super) recording: OutcomeSender,
    /// Held from the check of the other claims until `Released` is recorded.
    pub(super) handing_over: tokio::sync::Mutex<()>,
    /// What attempts rendered that may be made again.
    pub(super) recent: Recent,
    /// Lifecycles that lost objects with a Namespace since their attempts began.
    pub(super) lost: Lost,
    /// Who waits for a kind of object to be known.
    pub(super) kinds: Kinds,
    /// Which objects it is recorded of that they are deleted to be made again.
    pub(super) noted: Noted,
    /// In whose name what triggers left is deleted.
    gone: Gone,
    /// How long what is being deleted is waited for.
    leaving: Leaving,
    /// How long what a trigger that is gone has to let go of is waited for.
    taking_over: Leaving,
    /// At which tier lifecycles want what several of them claim.
    tiers: Tiers,
}

impl<D: Disk> Reconciler<D> {
    /// A reconciler of the lifecycles of a site: takes keys from its queue, acts on its cluster by the rules in force, and
    /// records outcomes.
    pub fn new(
        view: Arc<View<D>>,
        site: Arc<Site>,
        rules: watch::Receiver<Current>,
        recording: OutcomeSender,
    ) -> Reconciler<D> {
        let (handing_over, recent, lost) = (tokio::sync::Mutex::default(), Recent::default(), Lost::default());
        let (kinds, noted) = (Kinds::default(), Noted::default());
        let (gone, leaving, taking_over, tiers) =
            (Gone::default(), Leaving::default(), Leaving::default(), Tiers::default());
        Reconciler {
            view,
            site,
            rules,
            recording,
            handing_over,
            recent,
            lost,
            kinds,
            noted,
            gone,
            leaving,
            taking_over,
            tiers,
        }
    }

    /// Takes keys from the queue until `stop` says true; what runs then is dropped, which is as good as a crash, and a
    /// crash is harmless.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            () = self.work(&mut stop) => {}
            () = self.follow_drift() => {}
            () = self.follow_orphans() => {}
            () = self.follow_modes() => {}
        }
    }

    async fn work(&self, stop: &mut watch::Receiver<bool>) {
        let mut running = FuturesUnordered::new();
        // Kept while attempts end: a question whether the cluster is available is not to be dropped on its way.
        let mut next = Box::pin(self.site.next());
        loop {
            self.site.let_on(running.len());
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                Some(()) = running.next(), if !running.is_empty() => {}
                () = self.site.worker_freed() => {}
                index = &mut next, if self.site.has_worker(running.len()) => {
                    running.push(self.reconcile(index));
                    next.set(self.site.next());
                }
            }
        }
    }

    async fn reconcile(&self, index: LifecycleIndex) {
        self.lost.begin(index);
        self.view.dry_runs().forget(index);
        self.view.foreign().forget(index);
        let task = Task::of(&self.view.projection(), index);
        let Some(task) = task else {
            self.recent.forget(index);
            self.site.queue.finish(index, Next::Done);
            return;
        };
        self.site.counters.reconciliations.fetch_add(1, Ordering::Relaxed);
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
        let (trigger, began) = (&*task.key.trigger, Instant::now());
        let next = attempt.instrument(span.clone()).await;
        let (took, ended) = (began.elapsed(), self.view.projection().ground().folded_unix_nanos);
        self.view.by_trigger().reconciled(trigger, took, ended, next == Next::Done, trace::exported(&span));
        drop(span);
        {
            // A Delete that came while nothing was claimed yet left nothing to do. This attempt may have made something since.
            let projection = self.view.projection();
            let head = projection.head(index);
            if head.decided != task.lifecycle.decided && head.needs_work {
                self.site.push(&projection, [index], Urgency::Fresh);
            }
        }
        if !matches!(next, Next::RetryAfter(_)) {
            self.leaving.forget(index);
            self.taking_over.forget(index);
            self.recent.forget(index);
        }
        self.site.queue.finish(index, next);
    }

    /// Applies the objects that the event asks for, and removes those it no longer asks for.
    async fn make_present(&self, task: &Task, event: Offset) -> Result<Next, Stopped> {
        let rules = self.rules.borrow().rules.clone();
        let Some(rules) = rules else { return Ok(Next::RetryAfter(PAUSE_RULES)) };
        let Some(trigger) = task.trigger(&rules) else { return Ok(Next::RetryAfter(PAUSE_REPLAY)) };
        task.act_as(trigger.account().cloned());
        let wanted = match self.wanted(task, &rules, trigger, event).await {
            Ok(wanted) => wanted,
            Err(failure) => return self.failed(task, Vec::new(), failure).await,
        };
        if trigger.sync_mode() == SyncMode::DryRun {
            if self.view.dry_runs().is_news(task.index, task.lifecycle.decided) {
                let objects = names(wanted.iter().map(|want| &want.object));
                info!(%objects, "dry run of {}: nothing is applied", task.key.trigger);
            }
            self.rehearse(task, &wanted).await;
            return Ok(self.after_dry_run(&rules));
        }
        let mut plan = plan(&task.lifecycle, &wanted, trigger.sync_mode() == SyncMode::OneTime);
        // Where drift is detected, a watch says what others do. Nobody does elsewhere, so a new event is the time to look.
        let unchanged = match trigger.sync_mode() {
            SyncMode::OneTime | SyncMode::ContinuousWithDriftDetection => HashSet::new(),
            SyncMode::Continuous | SyncMode::DryRun => plan.look_again(&task.lifecycle, &wanted, event),
        };
        if !plan.intend.is_empty() {
            let waits = self.site.wait_for_log();
            self.record(task, What::Intended(plan.intend.clone())).await?;
            waits.go_on().await;
        }
        if Detection::of(trigger).is_some() {
            self.site.drifts.use_kinds(wanted.iter().map(|want| Kind::of(&want.object)));
        }
        // Naming the objects and recording took time. Nothing is made for a decision that was replaced meanwhile. A replay of
        // the rules decides again, except for what a degraded trigger keeps as it is. What was claimed needs no record
        // again, so this ends, however fast decisions come.
        if let Some(desired) = task.overtaken_by(&self.view.projection()) {
            return Ok(if desired.is_present() { Next::RetryAfter(Duration::ZERO) } else { Next::Done });
        }
        // Only now, for two lifecycles may have claimed one object at the same moment: the log says who was first.
        let yielded = self.yielded(task, &wanted);
        if !yielded.is_empty() {
            self.let_go(task, Vec::new(), yielded).await?;
            return Ok(Next::RetryAfter(Duration::ZERO));
        }
        let conflicts = conflicts(&self.view.projection(), task, &wanted);
        // A trigger that is renamed: what it made changes hands in a moment, so nothing is wrong yet.
        let is_of_gone = |owner: LifecycleIndex| {
            let projection = self.view.projection();
            matches!(rules.standing(projection.head(owner).trigger), Standing::Absent)
        };
        let is_hand_over = !conflicts.is_empty() && conflicts.iter().all(|conflict| is_of_gone(conflict.owner));
        self.ask_for(task, &rules, &wanted, &conflicts).await?;
        let mut attempt = Attempt::new(&plan, &wanted, conflicts).looking_at(unchanged);
        attempt.stops_at_conflict = !trigger.continues_on_conflict();
        self.apply_all(task, Detection::of(trigger), &mut attempt).await?;
        // Namespaces that were made are empty. What the task itself had in them was just applied again.
        self.record_lost_in_namespaces(task, &attempt.made, Some(task.index)).await?;
        self.record_gone(task, &attempt.gone, Some(task.index)).await?;
        self.remove_unwanted(task, &plan.remove, &mut attempt).await?;
        let refused = self.refused_in_vain(task, &attempt.refused);
        if !refused.is_empty() {
            self.let_go(task, Vec::new(), refused).await?;
        }
        self.report_leaving(task, &mut attempt);
        // Invariant: nothing is awaited from here until the outcome is sent to the recorder. A loss that another attempt records
        // is then either seen here, or in the log after this outcome.
        let (made, lost) = (attempt.made.clone(), self.lost.take(task.index));
        let is_hand_over = is_hand_over && attempt.is_only_held_up();
        let next = match attempt.end(lost) {
            Ending::Waits => return Ok(Next::RetryAfter(PAUSE_DELETING)),
            // It is woken when its turn comes. That it waits is no failure, and no record, until it lasts long.
            Ending::Failed(_, applied)
                if is_hand_over
                    && !has_object_news(&task.lifecycle, &applied)
                    && !self.taking_over.is_long(task.index) =>
            {
                return Ok(Next::RetryAfter(PAUSE_HAND_OVER));
            }
            Ending::Failed(failure, applied) => self.failed_saying(task, applied, failure, !is_hand_over).await?,
            Ending::Done(applied) => {
                let objects = names(applied.iter().map(|applied| &applied.object));
                if objects.is_empty() {
                    debug!("nothing is applied: the rules give no object for this event");
                } else {
                    info!(%objects, "applied");
                }
                self.record_outcome(task, What::Applied(applied)).await?;
                Next::Done
            }
        };
        // It is recorded which Namespaces are there, even if others failed.
        self.wake_in_namespaces(task, &made);
        Ok(next)
    }

    /// The objects that the event asks for.
    async fn wanted(
        &self,
        task: &Task,
        rules: &Arc<RuleSet>,
        trigger: &Trigger,
        event: Offset,
    ) -> Result<Vec<Wanted>, Failure> {
        let manifests = self.render(task, rules, trigger, event).await?;
        self.resolve(task, manifests, trigger.adopts()).await
    }

    /// The manifests of an event, rendered once for all attempts that follow soon.
    async fn render(
        &self,
        task: &Task,
        rules: &Arc<RuleSet>,
        trigger: &Trigger,
        event: Offset,
    ) -> Result<Vec<MarkedManifest>, Failure> {
        let source = recent::Source { event, trigger: trigger.digest() };
        if let Some(manifests) = self.recent.get(task.index, source) {
            return Ok(manifests);
        }
        let (view, site, rules, key) = (self.view.clone(), self.site.clone(), rules.clone(), task.key.clone());
        let rendered = aside(move || {
            let trigger = rules.trigger(&key.trigger).expect("these rules have it");
            render(&view, trigger, &key, site.instance(), event)
        });
        let manifests = rendered.await?;
        self.recent.put(task.index, source, &manifests);
        Ok(manifests)
    }

    /// When a dry run is done again: soon where the rules changed meanwhile, for they may have ended it.
    fn after_dry_run(&self, rules: &Arc<RuleSet>) -> Next {
        let is_same = self.rules.borrow().rules.as_ref().is_some_and(|now| Arc::ptr_eq(now, rules));
        Next::RetryAfter(if is_same { PAUSE_DRY_RUN } else { PAUSE_REPLAY })
    }

    /// Removes everything in the inventory.
    async fn make_absent(&self, task: &Task) -> Result<Next, Stopped> {
        let rules = self.rules.borrow().rules.clone();
        let Some(rules) = rules else { return Ok(Next::RetryAfter(PAUSE_RULES)) };
        if !task.may_delete(&rules) {
            return Ok(Next::RetryAfter(PAUSE_REPLAY));
        }
        let plan = plan(&task.lifecycle, &[], false);
        let left = match self.gone.left(&self.view, &rules, &task.key.trigger) {
            Ok(left) => left,
            Err(failure) => return self.failed(task, Vec::new(), failure).await,
        };
        task.act_as(left.account);
        if left.is_dry_run && rules.trigger(&task.key.trigger).is_none() {
            // Broken, or gone: then a replay leaves what there is.
            return Ok(Next::RetryAfter(PAUSE_REPLAY));
        }
        if left.is_dry_run {
            if self.view.dry_runs().is_news(task.index, task.lifecycle.decided) {
                let objects = plan.remove.iter().map(|holding| &holding.object);
                info!(objects = %names(objects), "dry run of {}: nothing is deleted", task.key.trigger);
            }
            self.rehearse(task, &[]).await;
            return Ok(self.after_dry_run(&rules));
        }
        let mut attempt = Attempt::default();
        self.remove(task, &plan.remove, Removing::DeletesToo, &mut attempt).await?;
        self.report_leaving(task, &mut attempt);
        match attempt.end(None) {
            Ending::Waits => Ok(Next::RetryAfter(PAUSE_DELETING)),
            Ending::Failed(failure, applied) => self.failed(task, applied, failure).await,
            // What is gone is recorded by now.
            Ending::Done(_) => {
                self.site.drifts.settled(task.index);
                Ok(Next::Done)
            }
        }
    }

    /// Notes the tiers at which the task wants what others claim too. Returns what it owns and another one wants at a
    /// strictly lower tier: that is handed over, and wanted again behind the other claim.
    fn yielded(&self, task: &Task, wanted: &[Wanted]) -> Vec<ObjectKey> {
        let projection = self.view.projection();
        let yielded = wanted.iter().filter(|Wanted { object, handling, .. }| {
            let claims = projection.claims(&task.key.cluster, object);
            if claims.len() < 2 {
                self.tiers.forget(object);
                return false;
            }
            self.tiers.note(object, task.index, handling.tier);
            let is_lower = |other: LifecycleIndex| {
                projection.head(other).desired.is_present()
                    && self.tiers.of(object, other).is_some_and(|tier| tier < handling.tier)
            };
            claims[0].lifecycle == task.index && claims[1..].iter().any(|claim| is_lower(claim.lifecycle))
        });
        yielded.map(|want| want.object.clone()).collect()
    }

    /// Asks the owners of wanted objects to let go of them, where they may have a higher tier: it is recorded that they have
    /// to look at the object again, and then they compare. One whose tier is known, and is no higher, is not asked; but one that
    /// failed for good and never made the object tries again: see [`Reconciler::refused_in_vain`].
    async fn ask_for(
        &self,
        task: &Task,
        rules: &RuleSet,
        wanted: &[Wanted],
        conflicts: &[Conflict],
    ) -> Result<(), Stopped> {
        if conflicts.is_empty() {
            return Ok(());
        }
        let (conflicts, mut blocked_by) = (Conflicts::of(conflicts), BTreeSet::new());
        for Wanted { object, handling, .. } in wanted {
            let Some(conflict) = conflicts.lasting(object) else { continue };
            let (trigger, desired, decided, needs_work, is_failing) = {
                let projection = self.view.projection();
                let owner = projection.head(conflict.owner);
                (owner.trigger.clone(), owner.desired, owner.decided, owner.needs_work, owner.is_failing)
            };
            let of_trigger = || rules.trigger(&trigger).map(Trigger::tier_max);
            let tier = self.tiers.of(object, conflict.owner).or_else(of_trigger);
            if !desired.is_present() {
                continue;
            }
            if tier.is_none_or(|tier| tier <= handling.tier) {
                blocked_by.extend((!conflict.exists && is_failing).then_some(conflict.owner));
                continue;
            }
            if !needs_work {
                let key = self.view.projection().lifecycle_key(conflict.owner);
                let again = What::Intended(vec![object.clone()]);
                self.recording.record(Reconciled::new(key, decided, again)).await?;
            }
            self.site.push(&self.view.projection(), [conflict.owner], Urgency::Fresh);
        }
        let projection = self.view.projection();
        let has_given_up =
            |owner: &LifecycleIndex| projection.lifecycle(*owner).1.failure.is_some_and(|failure| !failure.transient);
        // Once for each decision of both: two that wait for each other would wake each other for ever.
        let is_first_time = |owner: &LifecycleIndex| {
            let (ours, theirs) = (task.lifecycle.decided, projection.head(*owner).decided);
            self.noted.note(task.index, &format!("{owner:?} {theirs} {ours}"))
        };
        blocked_by.retain(|owner| has_given_up(owner) && is_first_time(owner));
        self.site.push(&projection, blocked_by, Urgency::Fresh);
        Ok(())
    }

    /// What the cluster refused for good, was never made, and another lifecycle wants. The claim on it ends, or it would keep
    /// that one from an object that this one never makes. Should an answer have been lost, and with it that the object was made,
    /// the other one takes it over by its marks, as any object that is handed over.
    fn refused_in_vain(&self, task: &Task, refused: &[ObjectKey]) -> Vec<ObjectKey> {
        let projection = self.view.projection();
        let is_in_vain =
            |object: &&ObjectKey| task.recorded_uid(object).is_none() && task.has_next_claimant(&projection, object);
        refused.iter().filter(is_in_vain).cloned().collect()
    }

    /// Reports what is being deleted and does not go, once that has lasted long.
    fn report_leaving(&self, task: &Task, attempt: &mut Attempt<'_>) {
        if attempt.leaving.is_empty() {
            self.leaving.forget(task.index);
        } else if self.leaving.is_long(task.index) {
            attempt.failures.push(Failure::of_leaving_objects(&attempt.leaving));
        }
    }

    /// Records a failure where it is worth a record, and says when to try again.
    async fn failed(&self, task: &Task, applied: Vec<AppliedObject>, failure: Failure) -> Result<Next, Stopped> {
        self.failed_saying(task, applied, failure, true).await
    }

    /// The same; with `is_said` false no line of the log warns of it.
    async fn failed_saying(
        &self,
        task: &Task,
        applied: Vec<AppliedObject>,
        failure: Failure,
        is_said: bool,
    ) -> Result<Next, Stopped> {
        let recorded = task.lifecycle.failure.as_ref().map_or(0, |before| before.attempt);
        if failure.is_held_back() {
            debug!("{}", failure.message);
            // Not an attempt: what waits may wait for hours, and must not fill the log. But what was done beside it is
            // recorded, or the next attempt would do it again.
            if has_object_news(&task.lifecycle, &applied) {
                let (error, attempt) = (failure.message.clone(), recorded.max(1));
                let failed = FailedAttempt { objects: applied, error, attempt, transient: true };
                self.record_outcome(task, What::Failed(failed)).await?;
            }
            return Ok(failure.next(1));
        }
        self.site.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.view.by_trigger().failed(&task.key.trigger);
        let attempts = self.site.queue.count_attempt(task.index, task.lifecycle.decided, recorded);
        let attempt = attempts.of_decision;
        if is_said && is_news(&task.lifecycle, &failure) {
            warn!(attempt, "{}", failure.message);
        } else {
            debug!(attempt, "{}", failure.message);
        }
        if is_recorded(&task.lifecycle, &failure, attempt, &applied) {
            let (error, transient) = (failure.message.clone(), failure.transient());
            let failed = FailedAttempt { objects: applied, error, attempt, transient };
            self.record_outcome(task, What::Failed(failed)).await?;
        }
        Ok(failure.next(attempts.since_push))
    }

    /// Records how an attempt ended, and queues the lifecycles that waited until that was known for a Namespace.
    async fn record_outcome(&self, task: &Task, what: What) -> Result<(), Stopped> {
        let going = || going_namespaces(&self.view.projection().lifecycle(task.index).1);
        let mut awaited = going();
        // The attempt calls nothing any more.
        let waits = self.site.wait_for_log();
        self.record(task, what).await?;
        drop(waits);
        self.site.drifts.settled(task.index);
        let still: BTreeSet<ObjectKey> = going().into_iter().collect();
        awaited.retain(|namespace| !still.contains(namespace));
        self.wake_in_namespaces(task, &awaited);
        Ok(())
    }

    /// Records what was done for the decision that the task acts for.
    pub(super) async fn record(&self, task: &Task, what: What) -> Result<(), Stopped> {
        self.recording.record(Reconciled::new(task.key.clone(), task.lifecycle.decided, what)).await?;
        Ok(())
    }
}
