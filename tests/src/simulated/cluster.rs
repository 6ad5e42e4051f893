//! A cluster behind a network that fails: requests that are refused, slow, or done with the answer lost.
//!
//! Start at [`FaultyCluster`]. Deletions may take a while, as namespaces do, or hang: see [`super::leaving`]. It remembers every
//! apply that it carried out.
//!
//! Never here: rules of Kubernetes; those are in [`super::objects`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use lifeline_engine::clock::{Clock, SimulatedClock};
use lifeline_engine::cluster::{Cluster, Deletion, Error, Kind, Label, LiveObject, ObjectKey, Seen};
use lifeline_engine::schema::Schema;
use lifeline_store::Offset;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::chance::Chance;
use super::hazard::{Counter, Hazard};
use super::leaving::{Hung, Leaving};
use super::objects::Objects;
use super::story::Violation;

/// How long the engine waits for a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(35);

/// A cluster that fails as real ones do.
pub struct FaultyCluster {
    chance: Chance,
    clock: SimulatedClock,
    counter: Counter,
    /// Whether requests and answers are lost or late.
    is_unkind: bool,
    is_calm: AtomicBool,
    state: Mutex<State>,
    /// Sent whenever an object may have changed.
    changed: Changes,
}

#[derive(Default)]
struct State {
    objects: Objects,
    away_until: Option<Instant>,
    /// A kind whose writes hang, and until when.
    hanging: Option<(&'static str, Instant)>,
    /// Objects on their way out.
    leaving: Leaving,
    /// A policy changes what is applied.
    alters: bool,
    /// Objects that somebody changed.
    edited: BTreeSet<ObjectKey>,
    applies: Vec<Apply>,
    /// How often somebody else deleted each object.
    taken: BTreeMap<ObjectKey, usize>,
    /// What the engine has folded.
    folded: Option<watch::Receiver<Offset>>,
    /// What is wrong with a write at this moment.
    overseer: Option<Overseer>,
    violations: Vec<Violation>,
}

/// Says what is wrong with a write at the moment in which it is asked for; `None` where nothing is.
pub type Overseer = Box<dyn Fn() -> Option<Violation> + Send>;

/// An apply that was carried out.
#[derive(Debug, Clone)]
pub struct Apply {
    /// When it was sent.
    pub sent: Moment,
    /// What it made or changed.
    pub object: ObjectKey,
    /// Whether it made the object.
    pub is_birth: bool,
    /// `data.login` of its manifest; null where it has none.
    pub login: Value,
}

/// A moment in the life of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Its time.
    pub unix_nanos: u64,
    /// The engine had folded all records below.
    pub folded: Offset,
}

impl FaultyCluster {
    /// An empty cluster.
    #[must_use]
    pub fn new(chance: Chance, clock: SimulatedClock, is_unkind: bool, counter: Counter) -> FaultyCluster {
        let (is_calm, state) = (AtomicBool::new(false), Mutex::default());
        FaultyCluster { chance, clock, counter, is_unkind, is_calm, state, changed: Changes::default() }
    }

    /// Answers nobody for a while.
    pub fn go_away(&self, pause: Duration) {
        self.counter.count(Hazard::ClusterAway);
        self.state.lock().away_until = Some(Instant::now() + pause);
    }

    /// Answers no write about objects of a kind for a while, as where a webhook hangs.
    pub fn hang(&self, kind: &'static str, pause: Duration) {
        self.state.lock().hanging = Some((kind, Instant::now() + pause));
    }

    /// No more trouble from here on.
    pub fn calm_down(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
        let state = &mut *self.state.lock();
        (state.away_until, state.hanging) = (None, None);
        state.leaving.calm_down(Instant::now());
    }

    /// A policy changes what is applied from here on, or goes.
    pub fn alter(&self, alters: bool) {
        self.state.lock().alters = alters;
    }

    /// Somebody puts a finalizer on one of the objects of Lifeline for a while; says on which, if there is one.
    pub fn hold(&self, which: u64, pause: Duration) -> Option<String> {
        let state = &mut *self.state.lock();
        let ours = state.ours();
        let (key, _) = ours.get((which % ours.len().max(1) as u64) as usize)?;
        // An API server takes no new finalizer on what is being deleted.
        if state.is_going(key) {
            return None;
        }
        state.leaving.hold(key.clone(), Instant::now() + pause);
        Some(format!("somebody holds {key} for {pause:?}"))
    }

    /// The deletions that hung.
    #[must_use]
    pub fn hung_deletions(&self) -> Vec<Hung> {
        self.state.lock().leaving.hung()
    }

    /// Objects that somebody else changed.
    #[must_use]
    pub fn edited(&self) -> BTreeSet<ObjectKey> {
        self.state.lock().edited.clone()
    }

    /// Notes from here on what an engine has folded when it asks for something.
    pub fn follow(&self, folded: watch::Receiver<Offset>) {
        self.state.lock().folded = Some(folded);
    }

    /// Asks this from here on of each write.
    pub fn oversee(&self, overseer: Overseer) {
        self.state.lock().overseer = Some(overseer);
    }

    /// What was wrong with writes.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.state.lock().violations.clone()
    }

    fn look_at_write(&self) {
        let state = &mut *self.state.lock();
        state.violations.extend(state.overseer.as_ref().and_then(|overseer| overseer()));
    }

    /// Makes an object as another owner does. It is not among [`FaultyCluster::applies`].
    pub fn make_foreign(&self, manifest: &Value) {
        let key = Objects::resolve(manifest).expect("a name that the cluster accepts");
        self.state.lock().objects.make_foreign(&key, manifest);
    }

    /// Changes or deletes one of the objects of Lifeline as somebody else does; says which, if there is one.
    pub fn meddle(&self, which: u64, deletes: bool) -> Option<String> {
        let state = &mut *self.state.lock();
        let there = state.ours();
        let (key, live) = &there.get((which % there.len().max(1) as u64) as usize)?;
        if state.is_going(key) {
            return None;
        }
        if deletes {
            let taken = there.iter().map(|(other, _)| other).filter(|other| *other == key || other.is_in(key));
            taken.for_each(|taken| *state.taken.entry(taken.clone()).or_default() += 1);
            let now = Instant::now();
            match state.leaving.held_until(key, now) {
                Some(until) => state.leaving.hang(key, live, (now, until)),
                None => _ = state.objects.delete(key, &live.uid),
            }
        } else {
            state.objects.edit(key);
            state.edited.insert(key.clone());
        }
        self.changed.tell();
        self.counter.count(Hazard::Meddling);
        Some(format!("somebody {} {key}", if deletes { "deletes" } else { "edits" }))
    }

    /// What it holds: every object with its uid and manifest.
    #[must_use]
    pub fn list(&self) -> Vec<(ObjectKey, LiveObject)> {
        self.state.lock().objects.list()
    }

    /// Every apply that was carried out, in the order in which they were.
    #[must_use]
    pub fn applies(&self) -> Vec<Apply> {
        self.state.lock().applies.clone()
    }

    /// How often somebody else deleted each object of Lifeline: so often more it may be made.
    #[must_use]
    pub fn taken(&self) -> BTreeMap<ObjectKey, usize> {
        self.state.lock().taken.clone()
    }

    fn now(&self) -> Moment {
        let folded = self.state.lock().folded.as_ref().map_or(Offset::ZERO, |folded| *folded.borrow());
        Moment { unix_nanos: self.clock.now_unix_nanos(), folded }
    }

    /// Whether a hazard happens now, which it does once in so many times.
    fn meets(&self, hazard: Hazard, one_in: u64) -> bool {
        let meets = self.is_unkind && !self.is_calm.load(Ordering::Relaxed) && self.chance.one_in(one_in);
        if meets {
            self.counter.count(hazard);
        }
        meets
    }

    /// The way of a request to the cluster.
    async fn request(&self) -> Result<(), Error> {
        let limit = if self.meets(Hazard::SlowRequest, 15) { 3_000 } else { 40 };
        sleep(self.chance.millis_below(limit)).await;
        if self.state.lock().away_until.is_some_and(|until| Instant::now() < until) {
            return Err(unavailable("connection refused"));
        }
        if self.meets(Hazard::LostRequest, 15) {
            return Err(unavailable("the request was lost"));
        }
        self.finish_deletions();
        Ok(())
    }

    /// A write that hangs: `None` where it does not. Half of them are carried out, at some moment before the engine
    /// gives up.
    async fn hung<T>(&self, key: &ObjectKey, carry_out: impl FnOnce() -> T) -> Option<Error> {
        let hanging = self.state.lock().hanging;
        hanging.filter(|(kind, until)| key.kind == *kind && Instant::now() < *until)?;
        self.counter.count(Hazard::HungCall);
        let given_up_at = Instant::now() + WRITE_TIMEOUT;
        sleep(self.chance.millis_below(30_000)).await;
        if self.chance.one_in(2) {
            self.finish_deletions();
            carry_out();
        }
        sleep_until(given_up_at).await;
        Some(unavailable("no answer in time"))
    }

    /// The way of an answer back. What was asked for is done, whether or not the answer arrives.
    async fn answer<T>(&self, answer: T) -> Result<T, Error> {
        let limit = if self.meets(Hazard::SlowAnswer, 15) { 3_000 } else { 40 };
        sleep(self.chance.millis_below(limit)).await;
        if self.meets(Hazard::LostAnswer, 15) { Err(unavailable("the answer was lost")) } else { Ok(answer) }
    }

    /// The objects that a watch shows.
    fn seen_now(&self, kind: &Kind, label: Label) -> BTreeMap<ObjectKey, LiveObject> {
        let state = self.state.lock();
        let has_label = |live: &LiveObject| !live.manifest["metadata"]["labels"][label.0].is_null();
        let all = state.objects.list().into_iter().filter(|(key, live)| Kind::of(key) == *kind && has_label(live));
        all.map(|(key, live)| {
            let shown = state.leaving.shown(&key, live);
            (key, shown)
        })
        .collect()
    }

    /// The objects that a watch has to say are gone after it has seen these and so many had gone; and how many have now.
    fn gone_since(
        &self,
        (kind, label): (&Kind, Label),
        known: &BTreeMap<ObjectKey, LiveObject>,
        gone: usize,
    ) -> (Vec<Seen>, usize) {
        let state = self.state.lock();
        let is_told = |(key, live): &&(ObjectKey, LiveObject)| {
            let has_label = !live.manifest["metadata"]["labels"][label.0].is_null();
            // What it has seen is compared with what is there.
            Kind::of(key) == *kind && has_label && known.get(key).is_none_or(|known| known.uid != live.uid)
        };
        let all = state.objects.gone();
        let told = all[gone..].iter().filter(is_told).map(|(key, live)| Seen::Gone(key.clone(), live.clone()));
        (told.collect(), all.len())
    }

    fn finish_deletions(&self) {
        let folded = self.now().folded;
        let state = &mut *self.state.lock();
        let State { leaving, objects, .. } = state;
        let is_there = |object: &ObjectKey, uid: &str| objects.get(object).is_some_and(|live| live.uid == uid);
        for (object, uid) in leaving.finish(Instant::now(), folded, is_there) {
            state.objects.delete(&object, &uid);
            self.changed.tell();
        }
    }

    fn apply_now(
        &self,
        sent: Moment,
        object: &ObjectKey,
        manifest: &Value,
        uid: Option<&str>,
    ) -> Result<LiveObject, Error> {
        let state = &mut *self.state.lock();
        if state.is_going(object)
            && let Some(live) = state.live(object)
        {
            return match uid {
                Some(uid) if live.uid != uid => Err(Error::Replaced { uid: live.uid }),
                Some(_) | None => Ok(live),
            };
        }
        let is_birth = state.objects.get(object).is_none();
        // Objects that are there may still be changed: the conformance suite shows it on real API servers.
        if is_birth
            && let Some(namespace) = &object.namespace
            && state.is_going(&ObjectKey::of_namespace(namespace))
        {
            return Err(Error::NamespaceTerminating { namespace: namespace.to_string() });
        }
        let mut live = state.objects.apply(object, manifest, uid)?;
        if state.alters {
            live = state.objects.alter(object).unwrap_or(live);
            self.counter.count(Hazard::AlteredApply);
        }
        self.changed.tell();
        let login = manifest["data"]["login"].clone();
        state.applies.push(Apply { sent, object: object.clone(), is_birth, login });
        Ok(live)
    }

    fn delete_now(&self, object: &ObjectKey, uid: &str) -> Deletion {
        let (now, state) = (Instant::now(), &mut *self.state.lock());
        let Some(live) = state.objects.get(object).filter(|live| live.uid == uid) else { return Deletion::Gone };
        if state.is_going(object) {
            return Deletion::Terminating;
        }
        self.changed.tell();
        if let Some(until) = state.leaving.held_until(object, now) {
            self.counter.count(Hazard::HungDeletion);
            state.leaving.hang(object, live, (now, until));
            Deletion::Terminating
        } else if self.meets(Hazard::SlowDeletion, 2) {
            state.leaving.begin(object, live, now + self.chance.millis_below(4_000));
            Deletion::Terminating
        } else {
            state.objects.delete(object, uid)
        }
    }
}

impl State {
    /// The live object, marked when it is on its way out.
    fn live(&self, object: &ObjectKey) -> Option<LiveObject> {
        Some(self.leaving.shown(object, self.objects.get(object)?.clone()))
    }

    /// Whether it is on its way out.
    fn is_going(&self, object: &ObjectKey) -> bool {
        self.objects.get(object).is_some_and(|live| self.leaving.is_going(object, &live.uid))
    }

    /// The objects of Lifeline.
    fn ours(&self) -> Vec<(ObjectKey, LiveObject)> {
        let is_ours =
            |live: &LiveObject| live.manifest.pointer("/metadata/labels/app.kubernetes.io~1managed-by").is_some();
        self.objects.list().into_iter().filter(|(_, live)| is_ours(live)).collect()
    }
}

impl Cluster for FaultyCluster {
    fn name(&self) -> &str {
        "simulated cluster"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            self.counter.count(Hazard::HeldBack);
            self.request().await?;
            self.answer(()).await
        }
        .boxed()
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        async move {
            if self.meets(Hazard::FailedDiscovery, 40) {
                return Err(unavailable("discovery failed"));
            }
            Objects::resolve(manifest)
        }
        .boxed()
    }

    fn schema<'a>(&'a self, _: &'a ObjectKey) -> BoxFuture<'a, Option<Arc<Schema>>> {
        async { None }.boxed()
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        async move {
            self.request().await?;
            let live = self.state.lock().live(key);
            self.answer(live).await
        }
        .boxed()
    }

    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>> {
        async move {
            let sent = self.now();
            self.look_at_write();
            if let Some(error) = self.hung(key, || self.apply_now(sent, key, manifest, uid)).await {
                return Err(error);
            }
            self.request().await?;
            let applied = self.apply_now(sent, key, manifest, uid)?;
            self.answer(applied).await
        }
        .boxed()
    }

    fn make<'a>(&'a self, key: &'a ObjectKey, manifest: &'a Value) -> BoxFuture<'a, Result<LiveObject, Error>> {
        async move {
            let sent = self.now();
            self.look_at_write();
            let make = || match self.state.lock().live(key) {
                Some(_) => Err(Error::Taken),
                None => Ok(()),
            };
            let made = || make().and_then(|()| self.apply_now(sent, key, manifest, None));
            if let Some(error) = self.hung(key, &made).await {
                return Err(error);
            }
            self.request().await?;
            let made = made()?;
            self.answer(made).await
        }
        .boxed()
    }

    fn dry_run<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        async move {
            self.request().await?;
            let outcome = {
                let state = self.state.lock();
                let mut objects = state.objects.clone();
                let applied = objects.apply(key, manifest, uid);
                if state.alters { applied.map(|live| objects.alter(key).unwrap_or(live)) } else { applied }
            };
            self.answer(outcome).await?.map(Some)
        }
        .boxed()
    }

    fn create_namespace<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let (sent, key) = (self.now(), Objects::resolve(manifest)?);
            self.request().await?;
            if self.state.lock().objects.get(&key).is_none() {
                self.apply_now(sent, &key, manifest, None)?;
            }
            self.answer(()).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        async move {
            self.look_at_write();
            if let Some(error) = self.hung(key, || self.delete_now(key, uid)).await {
                return Err(error);
            }
            self.request().await?;
            let deleted = self.delete_now(key, uid);
            self.answer(deleted).await
        }
        .boxed()
    }

    fn kinds(&self) -> BoxFuture<'_, Result<Vec<Kind>, Error>> {
        async move {
            self.request().await?;
            if self.meets(Hazard::FailedDiscovery, 10) {
                return Err(unavailable("discovery failed"));
            }
            let core = |kind: &str| Kind { group: String::new(), version: "v1".to_owned(), kind: kind.to_owned() };
            self.answer(["Namespace", "ConfigMap"].map(core).to_vec()).await
        }
        .boxed()
    }

    fn watch(&self, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>> {
        let begin = (kind, VecDeque::new(), None::<Watched>);
        let said = stream::unfold(begin, move |(kind, mut waiting, mut watched)| async move {
            loop {
                if let Some(seen) = waiting.pop_front() {
                    return Some((Ok(seen), (kind, waiting, watched)));
                }
                let now = || self.seen_now(&kind, label);
                let Some(Watched { seen, known, gone }) = &mut watched else {
                    if let Err(error) = self.request().await {
                        return Some((Err(error), (kind, waiting, watched)));
                    }
                    let gone = self.state.lock().objects.gone().len();
                    let (seen, known) = (self.changed.count(), now());
                    waiting.push_back(Seen::Listing);
                    waiting.extend(known.clone().into_iter().map(|(key, live)| Seen::Is(key, live)));
                    waiting.push_back(Seen::Listed);
                    watched = Some(Watched { seen, known, gone });
                    continue;
                };
                *seen = self.changed.after(*seen).await;
                if self.meets(Hazard::CutWatch, 20) {
                    return Some((Err(unavailable("the watch was cut")), (kind, waiting, None)));
                }
                sleep(self.chance.millis_below(40)).await;
                let now = now();
                // One that came and went in between was never there to be compared.
                let (unseen, all) = self.gone_since((&kind, label), known, *gone);
                waiting.extend(unseen);
                *gone = all;
                let gone = known.iter().filter(|(key, before)| now.get(*key).is_none_or(|live| live.uid != before.uid));
                waiting.extend(gone.map(|(key, live)| Seen::Gone(key.clone(), live.clone())));
                let is = now.iter().filter(|(key, live)| known.get(*key) != Some(live));
                waiting.extend(is.map(|(key, live)| Seen::Is(key.clone(), live.clone())));
                *known = now;
            }
        });
        said.boxed()
    }
}

/// What a watch knows.
struct Watched {
    /// Changes it has seen.
    seen: u64,
    /// Objects of the cluster that had gone by then.
    gone: usize,
    known: BTreeMap<ObjectKey, LiveObject>,
}

/// Changes of the cluster, told to all watches in the order in which they wait. A `tokio::sync::watch` wakes its receivers in an
/// order of chance, so a seed would not give one story.
#[derive(Debug, Default)]
struct Changes {
    count: AtomicU64,
    told: Notify,
}

impl Changes {
    fn tell(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.told.notify_waiters();
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until there are more than these, and says how many.
    async fn after(&self, seen: u64) -> u64 {
        loop {
            let told = self.told.notified();
            if self.count() > seen {
                return self.count();
            }
            told.await;
        }
    }
}

fn unavailable(message: &str) -> Error {
    Error::Unavailable { message: message.to_owned(), retry_after: None, source: None }
}
