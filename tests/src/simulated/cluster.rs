//! The local cluster in memory behind a network that fails: requests that are refused, slow, or done with the answer lost.
//!
//! Start at [`FaultyCluster`]. Deletions may take a while, as namespaces do. It remembers under which uids each object ever
//! lived.
//!
//! Never here: rules of Kubernetes; those are the local cluster's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use lifeline_engine::clock::{Clock, SimulatedClock};
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::cluster::{Cluster, Deletion, Error, LiveObject, ObjectKey};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::chance::Chance;

/// See the module.
pub struct FaultyCluster {
    inner: LocalCluster,
    chance: Chance,
    is_calm: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    away_until: Option<Instant>,
    /// Objects whose deletion was accepted: the uid, and when they are gone.
    going: BTreeMap<ObjectKey, (String, Instant)>,
    /// Every uid an object was seen under, in order.
    births: BTreeMap<ObjectKey, Vec<String>>,
}

impl FaultyCluster {
    /// An empty cluster; its uids follow from `seed`.
    #[must_use]
    pub fn new(seed: u64, chance: Chance, clock: SimulatedClock) -> FaultyCluster {
        let now = move || {
            let nanos = i128::from(clock.now_unix_nanos());
            Timestamp::from_nanosecond(nanos).expect("simulated time is within the calendar")
        };
        let inner = LocalCluster::in_memory(seed, Arc::new(now));
        FaultyCluster { inner, chance, is_calm: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Answers nobody for a while.
    pub fn go_away(&self, pause: Duration) {
        self.state.lock().away_until = Some(Instant::now() + pause);
    }

    /// No more trouble from here on.
    pub fn calm_down(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
        self.state.lock().away_until = None;
    }

    /// What it holds: every object with its uid and manifest.
    #[must_use]
    pub fn list(&self) -> Vec<(ObjectKey, LiveObject)> {
        self.inner.list()
    }

    /// Under how many uids each object ever lived.
    #[must_use]
    pub fn births(&self) -> BTreeMap<ObjectKey, usize> {
        self.state.lock().births.iter().map(|(object, uids)| (object.clone(), uids.len())).collect()
    }

    fn is_unkind(&self, one_in: u64) -> bool {
        !self.is_calm.load(Ordering::Relaxed) && self.chance.one_in(one_in)
    }

    /// The way of a request to the cluster.
    async fn request(&self) -> Result<(), Error> {
        sleep(self.chance.millis_below(40)).await;
        if self.state.lock().away_until.is_some_and(|until| Instant::now() < until) {
            return Err(unavailable("connection refused"));
        }
        if self.is_unkind(15) {
            return Err(unavailable("the request was lost"));
        }
        self.finish_deletions().await
    }

    /// The way of an answer back. What was asked for has been done by now, whoever hears of it.
    async fn answer<T>(&self, answer: T) -> Result<T, Error> {
        let limit = if self.is_unkind(15) { 3_000 } else { 40 };
        sleep(self.chance.millis_below(limit)).await;
        if self.is_unkind(15) { Err(unavailable("the answer was lost")) } else { Ok(answer) }
    }

    async fn finish_deletions(&self) -> Result<(), Error> {
        let now = Instant::now();
        let due: Vec<(ObjectKey, String)> = {
            let state = self.state.lock();
            let due = state.going.iter().filter(|(_, (_, moment))| *moment <= now);
            due.map(|(object, (uid, _))| (object.clone(), uid.clone())).collect()
        };
        for (object, uid) in due {
            self.state.lock().going.remove(&object);
            self.inner.delete(&object, &uid).await?;
        }
        Ok(())
    }

    fn is_going(&self, object: &ObjectKey) -> bool {
        self.state.lock().going.contains_key(object)
    }

    /// The live object, marked when it is on its way out.
    async fn live(&self, object: &ObjectKey) -> Result<Option<LiveObject>, Error> {
        let live = self.inner.get(object).await?;
        Ok(live.map(|live| LiveObject { deleting: live.deleting || self.is_going(object), ..live }))
    }

    async fn apply_now(&self, object: &ObjectKey, manifest: &Value, uid: Option<&str>) -> Result<LiveObject, Error> {
        if let Some(live) = self.live(object).await?.filter(|live| live.deleting) {
            return match uid {
                Some(uid) if live.uid != uid => Err(Error::Replaced { uid: live.uid }),
                Some(_) | None => Ok(live),
            };
        }
        if let Some(namespace) = &object.namespace
            && self.is_going(&namespace_key(namespace))
        {
            return Err(Error::NamespaceTerminating { namespace: namespace.to_string() });
        }
        let live = self.inner.apply(object, manifest, uid).await?;
        let mut state = self.state.lock();
        let uids = state.births.entry(object.clone()).or_default();
        if !uids.contains(&live.uid) {
            uids.push(live.uid.clone());
        }
        Ok(live)
    }

    async fn delete_now(&self, object: &ObjectKey, uid: &str) -> Result<Deletion, Error> {
        match self.live(object).await? {
            Some(live) if live.uid == uid && live.deleting => Ok(Deletion::Terminating),
            Some(live) if live.uid == uid && self.is_unkind(2) => {
                let gone_at = Instant::now() + self.chance.millis_below(4_000);
                self.state.lock().going.insert(object.clone(), (live.uid, gone_at));
                Ok(Deletion::Terminating)
            }
            Some(_) | None => self.inner.delete(object, uid).await,
        }
    }
}

impl Cluster for FaultyCluster {
    fn name(&self) -> &str {
        "simulated cluster"
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        async move {
            if self.is_unkind(40) {
                return Err(unavailable("discovery failed"));
            }
            self.inner.resolve(manifest).await
        }
        .boxed()
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        async move {
            self.request().await?;
            let live = self.live(key).await?;
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
            self.request().await?;
            let applied = self.apply_now(key, manifest, uid).await?;
            self.answer(applied).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        async move {
            self.request().await?;
            let deleted = self.delete_now(key, uid).await?;
            self.answer(deleted).await
        }
        .boxed()
    }
}

fn namespace_key(name: &str) -> ObjectKey {
    ObjectKey { group: "".into(), version: "v1".into(), kind: "Namespace".into(), namespace: None, name: name.into() }
}

fn unavailable(message: &str) -> Error {
    Error::Unavailable { message: message.to_owned(), retry_after: None, source: None }
}
