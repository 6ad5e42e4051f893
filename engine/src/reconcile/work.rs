//! The worker: one lifecycle at a time from what is desired to what is recorded as done.
//!
//! Start at [`Reconciler::run`]; `present` and `absent` are the two jobs there are. All effects of reconciliation are in
//! this file: the cluster is called and outcomes are recorded here, decided in `plan`, `apply_set` and `failure`.
//!
//! Invariant: of the lifecycles that claim an object only the first one applies or deletes it, and it stays the first until
//! it has recorded that it let go. So no lifecycle deletes what another has just taken over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lifeline_projections::fact::{AppliedObject, Fact, LifecycleKey, ObjectKey};
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::{DIGEST_UNKNOWN, Desired, Holding, Lifecycle};
use lifeline_store::{Disk, Offset};
use tokio::sync::watch;
use tracing::{Instrument, debug, info, warn};

use crate::cluster::{self, Cluster, Deletion, LiveObject};
use crate::reconcile::apply_set::{self, Owner};
use crate::reconcile::failure::{Failure, Retry};
use crate::reconcile::plan::{Claims, Removal, Wanted, plan, removal};
use crate::reconcile::queue::{Queue, Verdict};
use crate::reconcile::recent::{self, Recent};
use crate::reconcile::render::{self, Rendered};
use crate::recorder::{Recording, Stopped};
use crate::rules::spec::SyncMode;
use crate::rules::{Current, RuleSet, Trigger};
use crate::trace;
use crate::view::View;

/// Lifecycles reconciled at once.
const CONCURRENCY: usize = 64;

/// The pause between looks at an object that is on its way out.
const PAUSE_TERMINATING: Duration = Duration::from_millis(250);

/// The pause while the replay of a changed trigger is not recorded, or while a trigger is broken.
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
    view: Arc<View<D>>,
    queue: Arc<Queue>,
    rules: watch::Receiver<Current>,
    cluster: Arc<dyn Cluster>,
    recording: Recording,
    counters: Arc<Counters>,
    /// Makes the look at other claims and the record of `Released` one step.
    handing_over: tokio::sync::Mutex<()>,
    /// What attempts rendered that may be made again.
    recent: Recent,
}

/// The snapshot that one reconciliation acts on.
struct Task {
    index: LifecycleIndex,
    key: LifecycleKey,
    lifecycle: Lifecycle,
    /// Checksum of the trigger at its last recorded replay; `None` before the first, or once the trigger was removed.
    decided_by: Option<u64>,
}

/// What became of an object that is no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removed {
    /// It is no more.
    Gone,
    /// It is on its way out, or may be wanted again: look again.
    Terminating,
    /// It belongs to another owner: the claim ends, the object stays.
    Released,
    /// Another lifecycle claims it and takes it over: the claim ends, the object stays.
    HandedOver,
}

/// What a removal left to be done.
#[derive(Default)]
struct Unfinished {
    /// Something has to be looked at again.
    waits: bool,
    failures: Vec<Failure>,
}

/// What came of an attempt to apply an object.
enum Attempt {
    /// It is as wanted.
    Applied(AppliedObject),
    /// It exists and belongs to another owner.
    NotOurs(Failure),
}

/// A wanted object that another lifecycle claimed first.
struct Conflict {
    object: ObjectKey,
    /// The other lifecycle no longer wants the object, or did not a moment ago.
    is_going: bool,
    /// The other lifecycle has applied the object.
    exists: bool,
    failure: Failure,
}

impl<D: Disk> Reconciler<D> {
    /// A reconciler of the lifecycles of a view: takes keys from the queue, acts on a cluster by the rules in force, and
    /// records outcomes.
    pub fn new(
        view: Arc<View<D>>,
        queue: Arc<Queue>,
        rules: watch::Receiver<Current>,
        cluster: Arc<dyn Cluster>,
        recording: Recording,
        counters: Arc<Counters>,
    ) -> Reconciler<D> {
        let (handing_over, recent) = (tokio::sync::Mutex::default(), Recent::default());
        Reconciler { view, queue, rules, cluster, recording, counters, handing_over, recent }
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
        let task = {
            let projection = self.view.projection();
            let (resource, lifecycle) = projection.lifecycle(index);
            let replayed = projection.ground().replayed.get(&*lifecycle.trigger);
            lifecycle.needs_work().then(|| Task {
                index,
                decided_by: replayed.map(|mark| mark.digest),
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
            self.queue.finish(index, Verdict::Done);
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
        let verdict = async {
            let verdict = match task.lifecycle.desired {
                Desired::Present { event } => self.present(&task, event).await,
                Desired::Absent { .. } => self.absent(&task).await,
                Desired::Left => Ok(Verdict::Done),
            };
            // The recorder is gone: the process is stopping, and the next one takes up where the log ends.
            verdict.unwrap_or(Verdict::Park)
        };
        let verdict = verdict.instrument(span).await;
        {
            // A decision that came meanwhile asked for no work when there was nothing to undo yet. There may be now.
            let projection = self.view.projection();
            let (_, lifecycle) = projection.lifecycle(index);
            if lifecycle.decided != task.lifecycle.decided && lifecycle.needs_work() {
                self.queue.push([index]);
            }
        }
        if !matches!(verdict, Verdict::RetryAfter(_)) {
            self.recent.forget(index);
        }
        self.queue.finish(index, verdict);
    }

    /// Makes the objects exist as the event says, and those it no longer asks for go.
    async fn present(&self, task: &Task, event: Offset) -> Result<Verdict, Stopped> {
        let rules = self.rules.borrow().rules.clone();
        let Some(rules) = rules else { return Ok(Verdict::RetryAfter(Duration::from_millis(100))) };
        let trigger = rules.trigger(&task.key.trigger);
        if trigger.map(Trigger::digest) != task.decided_by {
            // The rules in force are newer than the last recorded replay. That replay may never be recorded: the process may
            // die, or the rules may be taken back. When it is recorded, it decides again and queues this lifecycle.
            return Ok(Verdict::RetryAfter(PAUSE_REPLAY));
        }
        let rendered = match self.render(task, &rules, event) {
            Ok(Some(rendered)) => rendered,
            Ok(None) => return Ok(Verdict::RetryAfter(PAUSE_REPLAY)),
            Err(failure) => return self.failed(task, Vec::new(), failure).await,
        };
        if trigger.is_some_and(|trigger| trigger.sync_mode() == SyncMode::DryRun) {
            info!(objects = rendered.len(), "dry run of {}: nothing is applied", task.key.trigger);
            return Ok(Verdict::Park);
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
            self.recording.record(Fact::ApplyIntended { key, acted_for, previous: None, objects }).await?;
            // Decided again meanwhile: nothing is made any more.
            if !matches!(self.view.projection().lifecycle(task.index).1.desired, Desired::Present { .. }) {
                return Ok(Verdict::Done);
            }
        }
        // Only now, for two lifecycles may have claimed one object at the same moment: the log says who was first.
        let conflicts = self.conflicts(task, &wanted);
        let (mut failures, mut held_by_others) = (Vec::new(), Vec::new());
        let (mut applied, mut keep) = (Vec::new(), plan.keep.clone());
        // Namespaces come first, so what one of them took with it joins the end while the list is gone through.
        let mut apply: VecDeque<&Wanted> = plan.apply.iter().copied().collect();
        while let Some(want) = apply.pop_front() {
            // An object in a namespace that may be deleted soon would be deleted with it.
            let is_held_up = |conflict: &Conflict| {
                conflict.object == want.object || (conflict.is_going && want.object.is_in(&conflict.object))
            };
            if conflicts.iter().any(is_held_up) {
                continue;
            }
            let uid = task.lifecycle.holding(&want.object).and_then(|held| held.applied.as_ref()).map(|held| &held.uid);
            match self.apply(task, want, uid.map(String::as_str)).await {
                Ok(Attempt::Applied(object)) => {
                    if uid != Some(&object.uid) {
                        let lost = keep.extract_if(.., |kept| kept.object.is_in(&object.object));
                        let lost: Vec<ObjectKey> = lost.map(|kept| kept.object).collect();
                        apply.extend(wanted.iter().filter(|want| lost.contains(&want.object)));
                    }
                    applied.push(object);
                }
                Ok(Attempt::NotOurs(failure)) => held_by_others.push(failure),
                Err(failure) => failures.push(failure),
            }
        }
        applied.append(&mut keep);
        // What is no longer wanted goes only once all that is wanted exists, whoever made it.
        let is_ready = failures.is_empty() && conflicts.iter().all(|conflict| conflict.exists);
        let unfinished = match is_ready {
            true => self.remove(task, &plan.remove).await?,
            false => Unfinished::default(),
        };
        failures.extend(unfinished.failures);
        let conflicts = conflicts.into_iter().map(|conflict| conflict.failure);
        if let Some(failure) = Failure::join(conflicts.chain(held_by_others).chain(failures).collect()) {
            return self.failed(task, applied, failure).await;
        }
        if unfinished.waits {
            return Ok(Verdict::RetryAfter(PAUSE_TERMINATING));
        }
        let (key, acted_for) = (task.key.clone(), task.lifecycle.decided);
        info!(objects = %names(applied.iter().map(|applied| &applied.object)), "applied");
        self.recording.record(Fact::Applied { key, acted_for, previous: None, objects: applied }).await?;
        Ok(Verdict::Done)
    }

    /// The manifests of an event, rendered once for all attempts that follow soon.
    fn render(&self, task: &Task, rules: &RuleSet, event: Offset) -> Result<Option<Vec<Rendered>>, Failure> {
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

    /// Makes everything in the inventory go.
    async fn absent(&self, task: &Task) -> Result<Verdict, Stopped> {
        let plan = plan(&task.lifecycle, &[], false);
        let Unfinished { waits, failures } = self.remove(task, &plan.remove).await?;
        match Failure::join(failures) {
            Some(failure) => self.failed(task, Vec::new(), failure).await,
            None if waits => Ok(Verdict::RetryAfter(PAUSE_TERMINATING)),
            None => Ok(Verdict::Done),
        }
    }

    /// Names the objects of the rendered manifests.
    async fn resolve(&self, rendered: Vec<Rendered>, adopts: bool) -> Result<Vec<Wanted>, Failure> {
        let mut wanted: Vec<Wanted> = Vec::with_capacity(rendered.len());
        for Rendered { manifest, digest, origin, force } in rendered {
            let object = self.cluster.resolve(&manifest).await.map_err(|error| Failure::of_cluster(&origin, &error))?;
            if let Some(twin) = wanted.iter().find(|other| other.object == object) {
                let message = format!("{origin}: gives {object}, which {} gives already", twin.origin);
                return Err(Failure { message, retry: Retry::Never });
            }
            wanted.push(Wanted { object, manifest, digest, origin, adopts: adopts || force });
        }
        Ok(wanted)
    }

    /// Wanted objects that another lifecycle claimed first.
    fn conflicts(&self, task: &Task, wanted: &[Wanted]) -> Vec<Conflict> {
        let projection = self.view.projection();
        let conflict = |want: &Wanted| {
            let owner = projection.claims(&task.key.cluster, &want.object).first()?.lifecycle;
            if owner == task.index {
                return None;
            }
            let (resource, lifecycle) = projection.lifecycle(owner);
            let message = format!(
                "{} is held by trigger `{}` for source `{}`, subject `{}`\nhint: give the object a name of its own; it \
                 is taken over when that lifecycle lets it go",
                want.object, lifecycle.trigger, resource.source, resource.subject
            );
            // One that was to go and is wanted again may still go: the deletion may be on its way.
            let held = lifecycle.holding(&want.object).and_then(|holding| holding.applied.as_ref());
            let is_going = !matches!(lifecycle.desired, Desired::Present { .. })
                || held.is_some_and(|held| held.digest == DIGEST_UNKNOWN);
            let exists = !is_going && held.is_some();
            let failure = Failure { message, retry: Retry::Slowly };
            Some(Conflict { object: want.object.clone(), is_going, exists, failure })
        };
        wanted.iter().filter_map(conflict).collect()
    }

    /// Applies one object, once it is certain that it is ours to change.
    async fn apply(&self, task: &Task, want: &Wanted, known_uid: Option<&str>) -> Result<Attempt, Failure> {
        let of_cluster = |error: cluster::Error| Failure::of_cluster(&want.object.to_string(), &error);
        let applied = match known_uid {
            Some(uid) => {
                match self.write(want, Some(uid)).await {
                    // Somebody deleted it or put another in its place: look again, as if it were new.
                    Err(cluster::Error::Gone | cluster::Error::Replaced { .. }) => None,
                    other => Some(other.map_err(of_cluster)?),
                }
            }
            None => None,
        };
        let live = match applied {
            Some(live) => live,
            None => {
                let found = self.cluster.get(&want.object).await.map_err(of_cluster)?;
                let uid = match &found {
                    None => None,
                    Some(live) if live.deleting => return Err(being_deleted(&want.object)),
                    Some(live) => match apply_set::owner(live, &task.key) {
                        Owner::Us => Some(live.uid.as_str()),
                        Owner::Other { .. } | Owner::Stranger if want.adopts => Some(live.uid.as_str()),
                        Owner::Other { key } if self.outranks(&want.object, &key) => Some(live.uid.as_str()),
                        owner => return Ok(Attempt::NotOurs(not_ours(&want.object, &owner))),
                    },
                };
                self.write(want, uid).await.map_err(of_cluster)?
            }
        };
        if live.deleting {
            return Err(being_deleted(&want.object));
        }
        debug!(object = %want.object, uid = live.uid, "object applied");
        Ok(Attempt::Applied(AppliedObject { object: want.object.clone(), uid: live.uid, digest: want.digest }))
    }

    /// Whether the first claim on an object takes precedence over the marks of another lifecycle: that one claims the object
    /// later, or has let go of it. While a trigger is removed, what it left keeps its marks and is not taken over.
    fn outranks(&self, object: &ObjectKey, marked: &LifecycleKey) -> bool {
        let projection = self.view.projection();
        let Some(index) = projection.lifecycle_index(marked) else { return false };
        let claims = projection.claims(&marked.cluster, object);
        claims.iter().any(|claim| claim.lifecycle == index) || projection.lifecycle(index).1.desired != Desired::Left
    }

    fn is_first_claimant(&self, task: &Task, object: &ObjectKey) -> bool {
        let projection = self.view.projection();
        let claims = projection.claims(&task.key.cluster, object);
        claims.first().is_some_and(|claim| claim.lifecycle == task.index)
    }

    /// What [`removal`] has to know of other claims on an object. The claim of the task is the first.
    fn claims(&self, task: &Task, object: &ObjectKey, live: Option<&LiveObject>) -> Claims {
        let outranks_marks = live.is_some_and(|live| match apply_set::owner(live, &task.key) {
            Owner::Other { key } => self.outranks(object, &key),
            Owner::Us | Owner::Stranger => false,
        });
        let projection = self.view.projection();
        let claims = projection.claims(&task.key.cluster, object);
        let is_wanted = |index| matches!(projection.lifecycle(index).1.desired, Desired::Present { .. });
        let replayed = projection.ground().replayed.get(&*task.lifecycle.trigger).map(|mark| mark.digest);
        Claims {
            has_heir: claims.iter().any(|claim| claim.lifecycle != task.index && is_wanted(claim.lifecycle)),
            outranks_marks,
            is_overtaken: is_wanted(task.index)
                && (!matches!(task.lifecycle.desired, Desired::Present { .. }) || replayed != task.decided_by),
        }
    }

    /// The one call that applies.
    async fn write(&self, want: &Wanted, uid: Option<&str>) -> Result<LiveObject, cluster::Error> {
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        let call = self.cluster.apply(&want.object, &want.manifest, uid);
        trace::write("apply", &want.object, call, |live| if live.deleting { "terminating" } else { "applied" }).await
    }

    /// Removes holdings, and records those that are gone and those that are let go.
    async fn remove(&self, task: &Task, holdings: &[&Holding]) -> Result<Unfinished, Stopped> {
        let (mut gone, mut released, mut handed_over) = (Vec::new(), Vec::new(), Vec::new());
        let mut unfinished = Unfinished::default();
        let acted_for = task.lifecycle.decided;
        for holding in holdings {
            match self.delete(task, holding).await {
                Ok(Removed::Gone) => gone.push(holding.object.clone()),
                Ok(Removed::Released) => released.push(holding.object.clone()),
                Ok(Removed::HandedOver) => handed_over.push(holding.object.clone()),
                Ok(Removed::Terminating) => unfinished.waits = true,
                Err(error) => unfinished.failures.push(Failure::of_cluster(&holding.object.to_string(), &error)),
            }
        }
        if !gone.is_empty() {
            info!(objects = %names(&gone), "gone");
            let (key, objects) = (task.key.clone(), gone.clone());
            self.recording.record(Fact::Deleted { key, acted_for, previous: None, objects }).await?;
            self.wake_next_claimants(task, &gone);
        }
        // Two lifecycles that leave an object to each other at once would leave it to nobody, so the look at the other claims and
        // the record are one step. This is rare: one lock is enough for all.
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
            self.recording.record(Fact::Released { key, acted_for, previous: None, objects }).await?;
            self.wake_next_claimants(task, &released);
        }
        drop(handing_over);
        Ok(unfinished)
    }

    /// An object that its owner let go belongs to whoever claimed it next.
    fn wake_next_claimants(&self, task: &Task, gone: &[ObjectKey]) {
        let projection = self.view.projection();
        let next = gone.iter().filter_map(|object| projection.claims(&task.key.cluster, object).first().copied());
        let next: Vec<LifecycleIndex> = next.map(|claim| claim.lifecycle).collect();
        drop(projection);
        self.queue.push(next);
    }

    async fn delete(&self, task: &Task, holding: &Holding) -> Result<Removed, cluster::Error> {
        if !self.is_first_claimant(task, &holding.object) {
            return Ok(Removed::HandedOver);
        }
        let live = self.cluster.get(&holding.object).await?;
        let claims = self.claims(task, &holding.object, live.as_ref());
        let uid = match removal(holding, live.as_ref(), &task.key, claims) {
            Removal::Gone => return Ok(Removed::Gone),
            Removal::Release => return Ok(Removed::Released),
            Removal::HandOver => return Ok(Removed::HandedOver),
            Removal::Wait => return Ok(Removed::Terminating),
            Removal::Delete { uid } => uid,
        };
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        let call = self.cluster.delete(&holding.object, uid);
        let outcome = |deletion: &Deletion| match deletion {
            Deletion::Gone => "gone",
            Deletion::Terminating => "terminating",
        };
        Ok(match trace::write("delete", &holding.object, call, outcome).await? {
            Deletion::Gone => Removed::Gone,
            Deletion::Terminating => Removed::Terminating,
        })
    }

    /// Records a failure and says when to try again. A failure like the one before is recorded at the attempts 1, 2, 4,
    /// 8 and so on: a long outage must not fill the log.
    async fn failed(&self, task: &Task, applied: Vec<AppliedObject>, failure: Failure) -> Result<Verdict, Stopped> {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let before = task.lifecycle.failure.as_ref();
        let recorded = before.map_or(0, |before| before.attempt);
        let attempt = self.queue.count_attempt(task.index, task.lifecycle.decided, recorded);
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
            let fact = Fact::ApplyFailed {
                key: task.key.clone(),
                acted_for: task.lifecycle.decided,
                previous: None,
                objects: applied,
                error: failure.message.clone(),
                attempt,
                transient: failure.transient(),
            };
            self.recording.record(fact).await?;
        }
        Ok(failure.verdict(attempt))
    }
}

fn being_deleted(object: &ObjectKey) -> Failure {
    let message = format!("{object} is being deleted; waiting until it is gone");
    Failure { message, retry: Retry::WhenGone }
}

fn not_ours(object: &ObjectKey, owner: &Owner) -> Failure {
    let whose = match owner {
        Owner::Us | Owner::Stranger => "was not made by Lifeline".to_owned(),
        Owner::Other { key } => {
            let LifecycleKey { trigger, resource, .. } = &**key;
            format!(
                "carries the marks of trigger `{trigger}` for source `{}`, subject `{}`",
                resource.source, resource.subject
            )
        }
    };
    let message = format!(
        "{object} exists and {whose}\nhint: remove it, give the object another name, or let the trigger adopt it with the \
         annotation `lifeline.dev/adopt: \"true\"`"
    );
    Failure { message, retry: Retry::Slowly }
}

fn names<'a>(objects: impl IntoIterator<Item = &'a ObjectKey>) -> String {
    objects.into_iter().map(ObjectKey::short).collect::<Vec<_>>().join(", ")
}
