//! Objects with our marks that the log does not know: after a lost volume, or one that is older than the cluster.
//!
//! Start at [`Reconciler::follow_orphans`]. At the start, once history is read, every kind is listed by our label. What no
//! lifecycle claims is judged ([`judge::verdict`]), again after each record: what an event wants gone is claimed by its
//! lifecycle (`ApplyIntended`), which then removes it as it removes any object; the rest is shown, and deleted when somebody
//! confirms it.
//!
//! An object counts only where the cluster says that all of its marks are ours ([`marks::genuine`]): copies are not.

mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use lifeline_projections::fact::{Fact, ObjectKey, Reconciled, What};
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Desired;
use lifeline_projections::reads::object_row;
use lifeline_store::{Disk, Offset};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use self::judge::{Found, Standing, Verdict, verdict};
use crate::cluster::{Deletion, Error, Kind, LiveObject, Seen};
use crate::error_text::chain;
use crate::orphans::{OrphanRow, confirmation_id, sentence};
use crate::reconcile::failure::names;
use crate::reconcile::marks::{self, Marked};
use crate::reconcile::plan::rank;
use crate::reconcile::work::Reconciler;
use crate::recorder::Stopped;
use crate::rules;
use crate::trace;

/// While something is left to be shown or to be decided, everything is listed again so often.
const RESYNC: Duration = Duration::from_secs(600);

/// The pause after a list that failed for a reason that may pass.
const PAUSE: Duration = Duration::from_secs(30);

/// How long the work that waits at the start is given to claim what it wants: less has to be kept in mind then.
const SETTLE: Duration = Duration::from_secs(10);

/// The pause after a record, for more may follow.
const BURST: Duration = Duration::from_millis(200);

/// Judging takes this part of the time at most, however many objects there are: the workers wait meanwhile.
const SHARE: u32 = 20;

/// So many are judged without letting the workers go on.
const JUDGED_AT_ONCE: usize = 256;

/// The longest pause between two judgements.
const JUDGE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long the list of a kind may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// An object with our marks that was claimed by nobody when it was listed.
#[derive(Debug, Clone)]
struct Candidate {
    object: ObjectKey,
    uid: String,
    is_going: bool,
    marked: Marked,
    /// When it was last applied, in seconds since 1970; 0 where the cluster does not say.
    applied_unix_seconds: u64,
}

/// What a look at the whole cluster found.
#[derive(Debug, Default)]
struct Listed {
    candidates: Vec<Candidate>,
    /// Kinds that may not be listed.
    unlisted: Vec<String>,
    /// Whether a list failed for a reason that may pass.
    is_incomplete: bool,
}

impl<D: Disk> Reconciler<D> {
    /// Looks for objects with our marks that nothing claims, as long as it is polled.
    pub(super) async fn follow_orphans(&self) {
        self.site.history_read().await;
        let settled = async {
            while !self.site.queue.is_empty() || self.rules.borrow().rules.is_none() {
                sleep(BURST).await;
            }
        };
        let _ = timeout(SETTLE, settled).await;
        let mut told = BTreeSet::new();
        loop {
            let listed = self.list_marked().await;
            let again = Instant::now() + if listed.is_incomplete { PAUSE } else { RESYNC };
            if self.follow_listed(listed, again, &mut told).await.is_err() {
                // The engine is stopping.
                return std::future::pending().await;
            }
        }
    }

    /// Lists every kind by our label.
    async fn list_marked(&self) -> Listed {
        let mut listed = Listed::default();
        let kinds = match self.site.cluster().kinds().await {
            Ok(kinds) => kinds,
            Err(error) => {
                warn!("objects without a lifecycle are not looked for yet: {}", chain(&error));
                return Listed { is_incomplete: true, ..listed };
            }
        };
        // Each once, in the version that the server prefers, which comes first.
        let mut once = BTreeSet::new();
        kinds.into_iter().for_each(|kind| _ = once.insert(kind));
        for kind in &once {
            match self.list_kind(kind).await {
                Ok(candidates) => listed.candidates.extend(candidates),
                Err(Error::Forbidden { .. }) => listed.unlisted.push(kind.short()),
                Err(Error::UnknownKind { .. }) => {}
                Err(error) => {
                    info!(kind = kind.short(), "cannot be listed now: {}", chain(&error));
                    listed.is_incomplete = true;
                }
            }
        }
        listed
    }

    async fn list_kind(&self, kind: &Kind) -> Result<Vec<Candidate>, Error> {
        self.site.afford_last().await;
        let mut seen = self.site.cluster().watch(kind.clone(), marks::OURS);
        let mut candidates = BTreeMap::new();
        let list = async {
            loop {
                match seen.next().await {
                    Some(Ok(Seen::Listing)) => candidates.clear(),
                    Some(Ok(Seen::Is(object, live))) => {
                        if let Some(candidate) = self.candidate(&object, &live) {
                            candidates.insert(object, candidate);
                        }
                    }
                    Some(Ok(Seen::Gone(object, _))) => _ = candidates.remove(&object),
                    Some(Ok(Seen::Listed)) | None => return Ok(()),
                    Some(Err(error)) => return Err(error),
                }
            }
        };
        match timeout(LIST_TIMEOUT, list).await {
            Ok(ended) => ended?,
            Err(_) => {
                let message = format!("no whole list within {} s", LIST_TIMEOUT.as_secs());
                return Err(Error::Unavailable { message, retry_after: None, source: None });
            }
        }
        Ok(candidates.into_values().collect())
    }

    /// An object of the list, where it has our marks and nobody claims it.
    fn candidate(&self, object: &ObjectKey, live: &LiveObject) -> Option<Candidate> {
        let marked = marks::genuine(live, self.site.name())?;
        let candidate = Candidate {
            object: object.clone(),
            uid: live.uid.clone(),
            is_going: live.deleting,
            marked,
            applied_unix_seconds: live.managed.applied_unix_seconds,
        };
        (!candidate.is_claimed(&self.view.projection())).then_some(candidate)
    }

    /// Judges what was listed, after each record, until everything is to be listed again.
    async fn follow_listed(&self, listed: Listed, again: Instant, told: &mut BTreeSet<String>) -> Result<(), Stopped> {
        let Listed { mut candidates, unlisted, is_incomplete } = listed;
        let (mut folded, mut confirmed) = (self.view.subscribe(), self.view.orphans().confirmed());
        loop {
            folded.mark_unchanged();
            let began = Instant::now();
            let (rows, are_all_decided) = self.judge_all(&mut candidates).await?;
            self.view.orphans().set(self.site.name(), rows.clone(), unlisted.clone());
            if are_all_decided {
                self.tell(told);
            }
            let pause = (began.elapsed() * SHARE).clamp(BURST, JUDGE_PAUSE_MAX);
            let ids = confirmed.borrow_and_update().clone();
            let known: BTreeSet<String> =
                self.view.orphans().rows().into_iter().filter_map(|row| row.confirm).collect();
            for id in ids.iter().filter(|id| !known.contains(*id)) {
                // Nothing is deleted later that was not shown under this id.
                tracing::warn!(id, "what was confirmed is not as it was shown any more: nothing is deleted for it");
                self.view.orphans().forget_confirmed(id);
            }
            let shown: BTreeSet<&String> = rows.iter().filter_map(|row| row.confirm.as_ref()).collect();
            let asked: Vec<&String> = shown.into_iter().filter(|id| ids.contains(*id)).collect();
            for id in &asked {
                let meant = rows.iter().filter(|row| row.confirm.as_ref() == Some(*id));
                let uids: BTreeSet<&str> = meant.filter_map(|row| row.object.uid.as_deref()).collect();
                self.delete_confirmed(&mut candidates, &uids).await;
                self.view.orphans().forget_confirmed(id);
            }
            if !asked.is_empty() {
                continue;
            }
            if candidates.is_empty() && !is_incomplete {
                return std::future::pending().await;
            }
            let recorded = async {
                let changed = folded.changed().await;
                sleep(pause).await;
                changed
            };
            tokio::select! {
                biased;
                () = sleep_until(again) => return Ok(()),
                Ok(()) = confirmed.changed() => {}
                changed = recorded => if changed.is_err() {
                    return std::future::pending().await;
                },
            }
        }
    }

    /// Says once what nobody claims.
    fn tell(&self, told: &mut BTreeSet<String>) {
        let cluster = self.site.name();
        for group in self.view.orphans().status(cluster).groups {
            let sentence = sentence(cluster, &group);
            if told.insert(sentence.clone()) {
                warn!("{sentence}");
            }
        }
    }

    /// Lets lifecycles claim what events want gone, and forgets what is not to be shown. Gives the orphans, and whether
    /// nothing is left that is decided later.
    async fn judge_all(&self, candidates: &mut Vec<Candidate>) -> Result<(Vec<OrphanRow>, bool), Stopped> {
        let (mut orphans, mut kept, mut are_all_decided) = (Vec::new(), Vec::new(), true);
        for (candidate, place) in std::mem::take(candidates).into_iter().zip(1..) {
            if place % JUDGED_AT_ONCE == 0 {
                yield_now().await;
            }
            match self.judge(&candidate) {
                Verdict::Stays => continue,
                Verdict::Goes => {
                    self.claim(&candidate).await?;
                    continue;
                }
                Verdict::Later => are_all_decided = false,
                Verdict::Orphan(because) => orphans.push((candidate.clone(), because)),
            }
            kept.push(candidate);
        }
        *candidates = kept;
        Ok((self.rows(&orphans), are_all_decided))
    }

    fn judge(&self, candidate: &Candidate) -> Verdict {
        let key = &candidate.marked.key;
        let (is_claimed, lifecycle) = {
            let projection = self.view.projection();
            let head = projection.lifecycle_index(key).map(|index| projection.head(index));
            (candidate.is_claimed(&projection), head.map(|head| (head.desired, head.needs_work)))
        };
        let standing = match self.rules.borrow().rules.as_ref().map(|rules| rules.standing(&key.trigger)) {
            None => Standing::Replays,
            Some(rules::Standing::Absent) => Standing::Absent,
            Some(rules::Standing::OutOfForce) => Standing::OutOfForce,
            Some(rules::Standing::InForce(trigger)) => {
                let mark = self.view.read(|projection| projection.ground().replayed.get(trigger.name()).cloned());
                match mark.is_some_and(|mark| mark.digest() == Some(trigger.digest())) {
                    true => Standing::InForce,
                    false => Standing::Replays,
                }
            }
        };
        verdict(Found {
            is_of_another_instance: candidate.marked.instance.as_ref().is_some_and(|one| !self.site.is_instance(one)),
            is_going: candidate.is_going,
            is_claimed,
            is_newer: lifecycle.is_some_and(|(desired, _)| self.is_newer(candidate, desired)),
            lifecycle: lifecycle.map(|(desired, needs_work)| (desired, !needs_work)),
            trigger: standing,
        })
    }

    /// Whether an object was applied after the event was published that wants it gone.
    fn is_newer(&self, candidate: &Candidate, desired: Desired) -> bool {
        let Desired::Absent { event: Some(event) } = desired else { return false };
        let published = published_unix_nanos(self, event);
        let applied = Duration::from_secs(candidate.applied_unix_seconds);
        published.is_some_and(|published| applied > Duration::from_nanos(published))
    }

    /// Lets the lifecycle that an object is marked as claim it. It is to be absent, so a worker removes the object next.
    async fn claim(&self, candidate: &Candidate) -> Result<(), Stopped> {
        let key = &candidate.marked.key;
        let known = {
            let projection = self.view.projection();
            projection.lifecycle_index(key).map(|index| (index, projection.head(index).decided))
        };
        let Some((index, decided)) = known else { return Ok(()) };
        let (object, uid) = (&candidate.object, &candidate.uid);
        info!(%object, uid, trigger = &*key.trigger, "found by its marks, and no longer wanted: it is removed");
        let claimed = What::Intended(vec![object.clone()]);
        self.recording.record(Reconciled::new(key.clone(), decided, claimed)).await?;
        self.site.queue.push([index]);
        Ok(())
    }

    /// The rows of orphans. Those of one trigger are confirmed together.
    fn rows(&self, orphans: &[(Candidate, &'static str)]) -> Vec<OrphanRow> {
        let projection = self.view.projection();
        let cluster = self.site.name();
        let in_use = |candidate: &Candidate| candidate.is_in_use(cluster, &projection);
        let mut uids = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (candidate, _) in orphans.iter().filter(|(candidate, _)| !in_use(candidate)) {
            uids.entry(&candidate.marked.key.trigger).or_default().insert(&candidate.uid);
        }
        // Once a trigger, not once a row: there may be many thousands, and the projection is locked meanwhile.
        let id = |(trigger, uids): (&&str, &BTreeSet<&str>)| {
            ((*trigger).to_owned(), confirmation_id(cluster, trigger, uids.iter().copied()))
        };
        let ids: BTreeMap<String, String> = uids.iter().map(id).collect();
        let row = |(candidate, because): &(Candidate, &'static str)| {
            let Candidate { object, uid, marked, .. } = candidate;
            let trigger = &*marked.key.trigger;
            let is_in_use = in_use(candidate);
            let of_trigger = ids.get(trigger).filter(|_| !is_in_use);
            OrphanRow {
                object: object_row(object, Some(uid.clone())),
                cluster: cluster.to_string(),
                trigger: trigger.to_owned(),
                source: marked.key.resource.source.to_string(),
                subject: marked.key.resource.subject.to_string(),
                because: if is_in_use {
                    format!("{because}; objects in it are claimed")
                } else {
                    (*because).to_owned()
                },
                confirm: of_trigger.cloned(),
            }
        };
        orphans.iter().map(row).collect()
    }

    /// Deletes what was confirmed, what others need last. What is not as it was shown stays, and so does what fails.
    async fn delete_confirmed(&self, candidates: &mut Vec<Candidate>, uids: &BTreeSet<&str>) {
        let (mut meant, rest): (Vec<_>, Vec<_>) =
            std::mem::take(candidates).into_iter().partition(|candidate| uids.contains(&*candidate.uid));
        *candidates = rest;
        meant.sort_by_key(|candidate| std::cmp::Reverse(rank(&candidate.object)));
        for candidate in meant {
            match self.delete_orphan(&candidate).await {
                Ok(true) => {
                    info!(uid = candidate.uid, "deleted, as was confirmed: {}", names([&candidate.object]));
                }
                Ok(false) => info!("is not as it was shown, and stays: {}", names([&candidate.object])),
                Err(error) => {
                    warn!("{} cannot be deleted: {}", candidate.object, chain(&error));
                    candidates.push(candidate);
                }
            }
        }
    }

    async fn delete_orphan(&self, candidate: &Candidate) -> Result<bool, Error> {
        let Candidate { object, uid, marked, .. } = candidate;
        let (cluster, site) = (self.site.cluster(), self.site.name());
        // For both requests: nothing is waited for between the look and what follows from it.
        self.site.afford_last().await;
        self.site.afford_last().await;
        let live = cluster.get(object).await?;
        let is_it = live.is_some_and(|live| live.uid == *uid && marks::genuine(&live, site).as_ref() == Some(marked));
        let is_orphan = matches!(self.judge(candidate), Verdict::Orphan(_));
        if !is_it || !is_orphan || candidate.is_in_use(site, &self.view.projection()) {
            return Ok(false);
        }
        self.site.counters.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let outcome = |deletion: &Deletion| match deletion {
            Deletion::Gone => "gone",
            Deletion::Terminating => "terminating",
        };
        trace::write("delete", object, cluster.delete(object, uid), outcome).await.map(|_| true)
    }
}

impl Candidate {
    /// Whether a lifecycle claims it.
    fn is_claimed(&self, projection: &Projection) -> bool {
        !projection.claims(&self.marked.key.cluster, &self.object).is_empty()
    }

    /// Whether it is a Namespace in which lifecycles claim objects.
    fn is_in_use(&self, cluster: &str, projection: &Projection) -> bool {
        self.object.is_namespace() && !projection.claims_inside(cluster, &[&*self.object.name].into()).is_empty()
    }
}

/// When the message of an event was published; `None` where its record does not read back.
fn published_unix_nanos<D: Disk>(reconciler: &Reconciler<D>, event: Offset) -> Option<u64> {
    let record = reconciler.view.log().read(event).ok()??;
    match Fact::decode(&record.payload).ok()? {
        Fact::Event(event) => Some(event.delivery.published_unix_nanos),
        _ => Some(record.time_unix_nanos),
    }
}
