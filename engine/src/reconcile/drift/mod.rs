//! Drift: what others do to objects of triggers with `syncMode: ContinuousWithDriftDetection`, seen and put back.
//!
//! Start at [`Reconciler::follow_drift`]. Each kind of object in use has a watch over those with our label. What it says is
//! a suspicion ([`judge::suspicion`]); the object is looked at ([`judge::verdict`]), and what is drift is recorded
//! (`Drifted`). From then on the lifecycle has work to do like after any event, and a worker puts the object back.
//!
//! Kept in memory is what waits for something: objects that were seen while their apply was not recorded yet, objects to
//! look at, and the names in a list while it is read. Nothing is kept of an object that is as it was applied.
//!
//! Only the first claim on an object counts, and only objects of which it is known what the cluster holds: a change of our
//! own makes that unknown, in the log, before it is made. So our own writes and their echo are never taken for drift.
//!
//! Invariant: a look compares what is recorded before and after. In between our own apply may have made it another object.

mod applying;
mod fields;
mod judge;
mod scan;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamFuture};
use futures::{FutureExt, StreamExt};
use lifeline_projections::fact::{DriftedObject, ObjectKey, Reconciled, What};
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::{Applied, Desired};
use lifeline_store::{Disk, Offset};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

pub(super) use self::applying::{Detection, of_fight};
pub(super) use self::fields::keeping;
use self::judge::{Sight, Suspicion, Verdict, suspicion, verdict};
use crate::cluster::{Account, Error, Kind, Seen};
use crate::digest::digest;
use crate::error_text::chain;
use crate::queue::Urgency;
use crate::reconcile::marks;
use crate::reconcile::work::Reconciler;
use crate::recorder::Stopped;

/// Every kind is listed again so often, whatever its watch said: what a watch missed is found then. Ten thousand objects of
/// one kind are twenty requests.
const RESYNC: Duration = Duration::from_secs(600);

/// The pause after an error of a watch, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Objects of a site that are looked at at once, and of these objects of one kind: a kind that hangs leaves room to others.
const LOOKS_MAX: usize = 16;
const LOOKS_OF_KIND_MAX: usize = 8;

/// How often an object is looked at that somebody asked for, and that cannot be looked at: about a minute in all.
const ASKED_TRIES_MAX: u32 = 7;

/// Objects that wait for the outcome of an apply at most. Beyond, everything is listed again instead.
const WAITING_MAX: usize = 50_000;

/// A watch over one kind, and what it said.
type Watch<'r> = BoxStream<'r, (Kind, Said)>;

/// What a watch said.
enum Said {
    Seen(Seen),
    /// It did not work. It goes on after a pause.
    Failed(Error),
}

/// What is recorded of an object that is to be as it was applied.
#[derive(Debug, Clone, PartialEq)]
struct Claimed {
    lifecycle: LifecycleIndex,
    decided: Offset,
    /// `None` where it is not known what the cluster holds, and where the object is to be deleted: it may be wanted again
    /// before that is done, and is then as it was.
    applied: Option<Applied>,
    excluded: Vec<Vec<String>>,
    account: Option<Account>,
}

/// An object to look at.
struct Suspect {
    sight: Sight,
    due: Instant,
    tries: u32,
}

/// A look: at what, after what sight, after how many others, and how it ended.
type Look = (ObjectKey, Sight, u32, Result<Looked, Stopped>);

/// How a look ended.
enum Looked {
    Done,
    /// It was no use: again after a pause.
    Again,
    /// An apply is under way.
    Later,
}

/// The watches of one site, and what waits.
struct Following<'r, D: Disk> {
    reconciler: &'r Reconciler<D>,
    watches: FuturesUnordered<StreamFuture<Watch<'r>>>,
    /// The names in the lists that are being read.
    listing: HashMap<Kind, HashSet<u64>>,
    /// What was seen of objects while an apply of them was not recorded, by the lifecycle.
    waiting: BTreeMap<LifecycleIndex, BTreeMap<ObjectKey, Sight>>,
    waiting_count: usize,
    suspects: BTreeMap<ObjectKey, Suspect>,
    looks: FuturesUnordered<BoxFuture<'r, Look>>,
    looking: BTreeMap<Kind, usize>,
    /// Objects to look at because somebody asked, for which there was no room yet.
    asked: VecDeque<ObjectKey>,
    /// Looks at such objects that are under way.
    looking_for_asked: usize,
    /// Triggers that detect drift, as far as it is known which kinds they have.
    known: BTreeSet<String>,
}

impl<D: Disk> Reconciler<D> {
    /// Watches what others do to the objects of this site, as long as it is polled.
    pub(super) async fn follow_drift(&self) {
        let mut rules = self.rules.clone();
        let mut following = Following {
            reconciler: self,
            watches: FuturesUnordered::new(),
            listing: HashMap::new(),
            waiting: BTreeMap::new(),
            waiting_count: 0,
            suspects: BTreeMap::new(),
            looks: FuturesUnordered::new(),
            looking: BTreeMap::new(),
            asked: VecDeque::new(),
            looking_for_asked: 0,
            known: BTreeSet::new(),
        };
        following.learn_kinds().await;
        loop {
            following.look();
            let due = following.due();
            tokio::select! {
                biased;
                Some((object, sight, tries, looked)) = following.looks.next(), if !following.looks.is_empty() => {
                    let Ok(looked) = looked else { return std::future::pending().await };
                    following.looked(object, sight, tries, looked);
                }
                () = self.site.drifts.changed() => {
                    following.take_asked().await;
                    following.take_news();
                    self.end_fights();
                }
                changed = rules.changed() => match changed {
                    Ok(()) => {
                        following.learn_kinds().await;
                        self.end_fights();
                    }
                    // The engine is stopping.
                    Err(_) => return std::future::pending().await,
                },
                Some((said, watch)) = following.watches.next(), if !following.watches.is_empty() => {
                    if let Some((kind, said)) = said
                        && following.take(&kind, said).await
                    {
                        following.watches.push(watch.into_future());
                    }
                }
                () = wait_until(due) => {}
            }
        }
    }

    /// What is recorded of an object, where drift of it counts, or somebody asked for it; by the lifecycle that claims it first.
    fn claimed(&self, object: &ObjectKey, is_asked: bool) -> Option<Claimed> {
        let rules = self.rules.borrow().rules.clone()?;
        let projection = self.view.projection();
        let lifecycle = projection.claims(self.site.name(), object).first()?.lifecycle;
        let state = projection.head(lifecycle);
        let trigger = rules.trigger(state.trigger)?;
        let detection = Detection::of(trigger);
        if detection.is_none() && !(is_asked && trigger.is_kept_as_wanted()) {
            return None;
        }
        let holding = projection.holding(lifecycle, object)?;
        let applied = match state.desired {
            Desired::Present { .. } => holding.applied,
            Desired::Absent { .. } => None,
            Desired::Left => return None,
        };
        let excluded = detection.map(|detection| detection.excluded(object)).unwrap_or_default();
        let account = trigger.account().cloned();
        Some(Claimed { lifecycle, decided: state.decided, applied, excluded, account })
    }

    /// Ends the fights over objects that are gone, were let go, or whose trigger no longer detects drift.
    fn end_fights(&self) {
        self.site.drifts.end_fights(|object| self.claimed(object, false).is_some());
    }

    /// Looks at an object, and records what others did to it.
    async fn look_at(&self, object: &ObjectKey, sight: &Sight) -> Result<Looked, Stopped> {
        let is_asked = *sight == Sight::Asked;
        let Some(before) = self.claimed(object, is_asked) else { return Ok(Looked::Done) };
        let Some(applied) = before.applied.as_ref().filter(|applied| applied.is_known()) else {
            return Ok(Looked::Later);
        };
        self.site.afford().await;
        let cluster = self.site.cluster_as(before.account.as_ref());
        let live = match cluster.get(object).await {
            Ok(live) => live,
            Err(error) => {
                debug!(%object, "cannot be looked at for drift: {}", chain(&error));
                return Ok(Looked::Again);
            }
        };
        // What was applied meanwhile was seen by the look, or not.
        if self.claimed(object, is_asked).as_ref() != Some(&before) {
            return Ok(Looked::Again);
        }
        let what = match verdict(sight, &Kind::of(object), applied, live.as_ref(), &before.excluded) {
            Verdict::AsApplied => return Ok(Looked::Done),
            Verdict::Unmeasured => What::Intended(vec![object.clone()]),
            Verdict::Drifted(drift, manager) => {
                let uid = applied.uid.clone();
                info!(%object, drift = drift.as_str(), manager, "drifted; it is put back");
                self.site.drifts.note(object, drift, manager.as_deref());
                What::Drifted(vec![DriftedObject { object: object.clone(), uid, drift, manager }])
            }
        };
        self.apply_again(&before, object, what).await?;
        Ok(Looked::Done)
    }

    /// Records why an object is to be applied again, and queues its lifecycle.
    async fn apply_again(&self, claimed: &Claimed, object: &ObjectKey, what: What) -> Result<(), Stopped> {
        let key = self.view.projection().lifecycle_key(claimed.lifecycle);
        // An attempt that runs may know the object as it was applied before.
        self.lost.note_drift(claimed.lifecycle, std::slice::from_ref(object));
        self.recording.record(Reconciled::new(key, claimed.decided, what)).await?;
        self.lost.folded(&[claimed.lifecycle]);
        self.site.push(&self.view.projection(), [claimed.lifecycle], Urgency::Fresh);
        Ok(())
    }
}

impl<'r, D: Disk> Following<'r, D> {
    /// Learns which kinds triggers have that detect drift and did not before.
    async fn learn_kinds(&mut self) {
        let rules = self.reconciler.rules.borrow().rules.clone();
        let Some(rules) = rules else { return };
        let detecting: BTreeSet<String> = rules
            .triggers()
            .filter(|trigger| Detection::of(trigger).is_some())
            .map(|trigger| trigger.name().to_owned())
            .collect();
        let new: BTreeSet<String> = detecting.difference(&self.known).cloned().collect();
        self.known = detecting;
        if new.is_empty() {
            return;
        }
        let mut kinds = BTreeSet::new();
        let cluster = self.reconciler.site.name();
        scan::each_holding(&self.reconciler.view, cluster, |lifecycle, holding| {
            if new.contains(&*lifecycle.trigger) {
                kinds.insert(Kind::of(&holding.object));
            }
        })
        .await;
        self.reconciler.site.drifts.use_kinds(kinds.into_iter());
        // What was seen while a trigger was out of force was not judged.
        self.begin_again();
        self.take_news();
    }

    /// Lists all kinds again.
    fn begin_again(&mut self) {
        self.watches.clear();
        self.listing.clear();
        self.reconciler.site.drifts.forget_news();
        for kind in self.reconciler.site.drifts.kinds() {
            self.watches.push(watch(self.reconciler, kind).into_future());
        }
    }

    /// Begins to watch kinds that are new, and judges what waited for outcomes that were recorded.
    fn take_news(&mut self) {
        let (kinds, settled) = self.reconciler.site.drifts.take();
        for kind in kinds {
            self.watches.push(watch(self.reconciler, kind).into_future());
        }
        for lifecycle in settled {
            let waiting = self.waiting.remove(&lifecycle).unwrap_or_default();
            self.waiting_count -= waiting.len();
            for (object, sight) in waiting {
                self.judge(object, sight);
            }
        }
    }

    /// Takes what a watch said; false where the kind is not to be watched any more.
    async fn take(&mut self, kind: &Kind, said: Said) -> bool {
        let drifts = &self.reconciler.site.drifts;
        let is_list_only = matches!(said, Said::Seen(Seen::Listing));
        match said {
            Said::Failed(error) => {
                self.listing.remove(kind);
                let is_unknown = matches!(error, Error::UnknownKind { .. });
                if is_unknown && !is_held(self.reconciler, kind).await {
                    drifts.forget_kind(kind);
                    return false;
                }
                let message = chain(&error);
                if self.reconciler.site.drifts.note_watch(kind, Some(message.clone())) {
                    warn!(kind = kind.short(), "changes by others are not seen: {message}");
                }
            }
            Said::Seen(seen) => {
                // That a list will be tried says nothing yet.
                if !is_list_only && drifts.note_watch(kind, None) {
                    info!(kind = kind.short(), "changes by others are seen again");
                }
                match seen {
                    Seen::Listing => _ = self.listing.insert(kind.clone(), HashSet::new()),
                    Seen::Is(object, live) => {
                        let mut listing = self.listing.get_mut(kind);
                        if let Some(names) = &mut listing {
                            names.insert(name_sum(&object));
                        }
                        let is_listed = listing.is_some();
                        if let Some(claimed) = self.reconciler.claimed(&object, false) {
                            self.judge(object, Sight::of(&live, &claimed.excluded, is_listed));
                        }
                    }
                    Seen::Gone(object, live) => self.judge(object, Sight::gone(&live)),
                    Seen::Listed => return self.compare(kind).await,
                }
            }
        }
        true
    }

    /// Looks for objects that are recorded and were not in the list; false where none of the kind is held.
    async fn compare(&mut self, kind: &Kind) -> bool {
        let Some(names) = self.listing.remove(kind) else { return true };
        let (mut missing, mut is_held) = (Vec::new(), false);
        let reconciler = self.reconciler;
        scan::each_holding(&reconciler.view, reconciler.site.name(), |lifecycle, holding| {
            if Kind::of(&holding.object) != *kind {
                return;
            }
            is_held = true;
            if !names.contains(&name_sum(&holding.object)) {
                let is_recorded = holding.applied.is_some() && lifecycle.desired.is_present();
                missing.push((holding.object.clone(), is_recorded));
            }
        })
        .await;
        for (object, is_recorded) in missing {
            // One whose apply is not recorded yet may have been made and deleted since; one that is to be deleted may be wanted
            // again. Those that fail stay so for long, so they get a part of the room only.
            if is_recorded || self.waiting_count < WAITING_MAX / 2 {
                self.judge(object, Sight::Missing);
            }
        }
        // A lifecycle that begins to use the kind again says so.
        if !is_held && names.is_empty() && reconciler.site.queue.is_empty() {
            reconciler.site.drifts.forget_kind(kind);
            return false;
        }
        true
    }

    fn judge(&mut self, object: ObjectKey, sight: Sight) {
        let is_asked = sight == Sight::Asked;
        let Some(claimed) = self.reconciler.claimed(&object, is_asked) else { return };
        match suspicion(&sight, &Kind::of(&object), claimed.applied.as_ref()) {
            Suspicion::None => {}
            // It is just being applied.
            Suspicion::Later if is_asked => {}
            Suspicion::Later => {
                // An attempt may pause until it is gone.
                if matches!(sight, Sight::Gone { .. }) {
                    self.reconciler.site.queue.wake([claimed.lifecycle]);
                }
                self.wait(claimed.lifecycle, object, sight);
            }
            Suspicion::Look | Suspicion::Unmeasured => {
                self.suspects.insert(object, Suspect { sight, due: Instant::now(), tries: 0 });
            }
        }
    }

    fn wait(&mut self, lifecycle: LifecycleIndex, object: ObjectKey, sight: Sight) {
        if self.waiting_count >= WAITING_MAX {
            warn!("too many objects wait for the outcome of their apply: everything is listed again");
            self.waiting.clear();
            self.waiting_count = 0;
            self.begin_again();
            return;
        }
        // The latest sight counts.
        let is_new = self.waiting.entry(lifecycle).or_default().insert(object, sight).is_none();
        self.waiting_count += usize::from(is_new);
    }

    /// Takes what somebody asked to put back.
    async fn take_asked(&mut self) {
        let asked = self.reconciler.site.drifts.take_asked();
        if asked.is_empty() {
            return;
        }
        let (cluster, queue) = (self.reconciler.site.name(), &mut self.asked);
        scan::each_holding(&self.reconciler.view, cluster, |lifecycle, holding| {
            if asked.iter().any(|asked| asked.is_about(lifecycle)) {
                queue.push_back(holding.object.clone());
            }
        })
        .await;
    }

    /// Begins to look at what is due, as far as there is room.
    fn look(&mut self) {
        while self.suspects.len() < LOOKS_MAX
            && let Some(object) = self.asked.pop_front()
        {
            self.judge(object, Sight::Asked);
        }
        let now = Instant::now();
        let mut ready = Vec::new();
        for (object, suspect) in &self.suspects {
            if self.looks.len() + ready.len() >= LOOKS_MAX {
                break;
            }
            let kind = Kind::of(object);
            let of_kind = self.looking.entry(kind).or_default();
            if suspect.due <= now && *of_kind < LOOKS_OF_KIND_MAX {
                *of_kind += 1;
                ready.push(object.clone());
            }
        }
        for object in ready {
            let Some(Suspect { sight, tries, .. }) = self.suspects.remove(&object) else { continue };
            self.looking_for_asked += usize::from(sight == Sight::Asked);
            let reconciler = self.reconciler;
            let look = async move {
                let looked = reconciler.look_at(&object, &sight).await;
                (object, sight, tries, looked)
            };
            self.looks.push(look.boxed());
        }
        if self.reconciler.site.drifts.has_asked() {
            let waiting = self.suspects.values().filter(|suspect| suspect.sight == Sight::Asked).count();
            self.reconciler.site.drifts.note_asked(self.asked.len() + waiting + self.looking_for_asked);
        }
    }

    fn looked(&mut self, object: ObjectKey, sight: Sight, tries: u32, looked: Looked) {
        if let Some(of_kind) = self.looking.get_mut(&Kind::of(&object)) {
            *of_kind -= 1;
        }
        self.looking_for_asked -= usize::from(sight == Sight::Asked);
        match looked {
            Looked::Done => {}
            Looked::Again if sight == Sight::Asked && tries >= ASKED_TRIES_MAX => {
                warn!(%object, "an object cannot be looked at, so it is not put back: ask again once the cluster answers");
            }
            Looked::Again => {
                let pause = (PAUSE.0 * 2_u32.saturating_pow(tries.min(16))).min(PAUSE.1);
                // What was seen since counts more.
                let again = Suspect { sight, due: Instant::now() + pause, tries: tries + 1 };
                self.suspects.entry(object).or_insert(again);
            }
            // The outcome may be recorded by now.
            Looked::Later => self.judge(object, sight),
        }
    }

    /// When something is to be looked at next for which there is room.
    fn due(&self) -> Option<Instant> {
        if self.looks.len() >= LOOKS_MAX {
            return None;
        }
        let has_room =
            |object: &ObjectKey| self.looking.get(&Kind::of(object)).is_none_or(|of_kind| *of_kind < LOOKS_OF_KIND_MAX);
        self.suspects.iter().filter(|(object, _)| has_room(object)).map(|(_, suspect)| suspect.due).min()
    }
}

async fn is_held<D: Disk>(reconciler: &Reconciler<D>, kind: &Kind) -> bool {
    let mut is_held = false;
    scan::each_holding(&reconciler.view, reconciler.site.name(), |_, holding| {
        is_held |= Kind::of(&holding.object) == *kind;
    })
    .await;
    is_held
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A name in few bytes.
fn name_sum(object: &ObjectKey) -> u64 {
    digest(&serde_json::json!([object.namespace, object.name]))
}

/// Watches a kind for ever: with pauses after errors, and from the beginning now and then.
fn watch<D: Disk>(reconciler: &Reconciler<D>, kind: Kind) -> Watch<'_> {
    let begin = (None::<(BoxStream<'_, _>, Instant)>, None::<Duration>);
    let cluster = reconciler.site.cluster();
    let said = futures::stream::unfold((kind, begin), move |(kind, (mut running, mut pause))| async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        loop {
            let (events, until) =
                running.get_or_insert_with(|| (cluster.watch(kind.clone(), marks::OURS), Instant::now() + RESYNC));
            let next = tokio::time::timeout_at(*until, events.next()).await;
            let said = match next {
                Ok(Some(Ok(seen))) => {
                    if !matches!(seen, Seen::Listing) {
                        pause = None;
                    }
                    Said::Seen(seen)
                }
                Ok(Some(Err(error))) => {
                    pause = Some(pause.map_or(PAUSE.0, |pause| (pause * 2).min(PAUSE.1)));
                    Said::Failed(error)
                }
                Ok(None) | Err(_) => {
                    running = None;
                    continue;
                }
            };
            return Some(((kind.clone(), said), (kind, (running, pause))));
        }
    });
    said.boxed()
}
