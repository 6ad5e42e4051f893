//! Tests that a local cluster survives a crash at every write: what was answered holds, what was not is whole or absent.
//!
//! Start at [`the_cluster_survives_a_crash_at_every_write`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::disk::Disk;
use super::{Clock, LocalCluster, Unopened};
use crate::cluster::{Cluster, Deletion, Error, LiveObject, ObjectKey};

type Records = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A disk that stops working after some writes; the last one is done or not done, but the answer is an error either way.
struct Mortal {
    records: Records,
    writes_left: usize,
    last_is_done: bool,
}

impl Mortal {
    fn write(&mut self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> io::Result<()> {
        if self.writes_left > 0 {
            self.writes_left -= 1;
            change(&mut self.records.lock());
            return Ok(());
        }
        if self.last_is_done {
            self.last_is_done = false;
            change(&mut self.records.lock());
        }
        Err(io::Error::other("the machine is off"))
    }
}

impl Disk for Mortal {
    fn load(&mut self) -> io::Result<Vec<(String, Vec<u8>)>> {
        Ok(self.records.lock().iter().map(|(path, bytes)| (path.clone(), bytes.clone())).collect())
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(|records| drop(records.insert(path.to_owned(), bytes.to_vec())))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.write(|records| drop(records.remove(path)))
    }
}

fn opened(records: &Records, writes_left: usize, last_is_done: bool) -> Result<LocalCluster, Unopened> {
    let disk = Mortal { records: Arc::clone(records), writes_left, last_is_done };
    let clock: Clock = Arc::new(|| Timestamp::from_second(1_800_000_000).unwrap());
    LocalCluster::with("mortal".to_owned(), Box::new(disk), false, 7, clock)
}

fn now<T>(outcome: impl Future<Output = T>) -> T {
    outcome.now_or_never().expect("a cluster in memory never waits")
}

fn object(kind: &str, namespace: Option<&str>, name: &str, finalizers: Value) -> Value {
    let metadata = json!({"name": name, "namespace": namespace, "finalizers": finalizers});
    json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})
}

fn apply(cluster: &LocalCluster, manifest: &Value) -> Result<(ObjectKey, LiveObject), Error> {
    let key = now(cluster.resolve(manifest))?;
    let live = now(cluster.apply(&key, manifest, None))?;
    Ok((key, live))
}

/// What the cluster answered before it died.
#[derive(Default)]
struct Answered {
    uids: BTreeSet<String>,
    present: BTreeMap<ObjectKey, String>,
    absent: BTreeSet<ObjectKey>,
}

/// A story with every kind of change, until the first error.
fn play(cluster: &LocalCluster, answered: &mut Answered) -> Result<(), Error> {
    let none = json!([]);
    let mut made = Vec::new();
    let story = [
        object("Namespace", None, "a", none.clone()),
        object("ConfigMap", Some("a"), "plain", none.clone()),
        object("ConfigMap", Some("a"), "held", json!(["example.com/guard"])),
        object("Secret", Some("a"), "s", none.clone()),
        object("Namespace", None, "b", none.clone()),
    ];
    for manifest in &story {
        let (key, live) = apply(cluster, manifest)?;
        answered.uids.insert(live.uid.clone());
        answered.present.insert(key.clone(), live.uid.clone());
        made.push((key, live.uid));
    }
    // From here on an object of the namespace may or may not be there, until the namespace is said to be gone.
    for (key, _) in &made[..4] {
        answered.present.remove(key);
    }
    let deletion = now(cluster.delete(&made[0].0, &made[0].1))?;
    assert_eq!(deletion, Deletion::Terminating, "an object in it is held");
    apply(cluster, &object("ConfigMap", Some("a"), "held", none))?;
    if now(cluster.delete(&made[0].0, &made[0].1))? == Deletion::Gone {
        answered.absent.extend(made[..4].iter().map(|(key, _)| key.clone()));
    }
    Ok(())
}

#[test]
fn the_cluster_survives_a_crash_at_every_write() {
    let mut crashes = 0;
    for last_is_done in [false, true] {
        for writes in 0.. {
            let records = Records::default();
            let mut answered = Answered::default();
            let died = match opened(&records, writes, last_is_done) {
                Ok(cluster) => play(&cluster, &mut answered).is_err(),
                Err(_) => true,
            };
            let cluster = opened(&records, usize::MAX, false).unwrap();
            let live: BTreeMap<ObjectKey, LiveObject> = cluster.list().into_iter().collect();
            let crash = format!("after {writes} writes, the last done: {last_is_done}");
            for (key, uid) in &answered.present {
                assert_eq!(live.get(key).map(|live| &live.uid), Some(uid), "{key} {crash}");
            }
            for key in &answered.absent {
                assert!(!live.contains_key(key), "{key} {crash}");
            }
            for (key, object) in &live {
                let namespace = key.namespace.as_ref().map(|name| object_key("Namespace", name));
                assert!(
                    namespace.is_none_or(|namespace| live.contains_key(&namespace)),
                    "{key} without its namespace {crash}"
                );
                let held = object.manifest["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty());
                let holds = live.keys().any(|inner| inner.namespace.as_ref() == Some(&key.name));
                assert!(!object.deleting || held || holds, "{key} was left half deleted {crash}");
            }
            let (_, new) = apply(&cluster, &object("Namespace", None, "new", json!([]))).unwrap();
            assert!(!answered.uids.contains(&new.uid), "a uid was given twice {crash}");
            if !died {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 20, "only {crashes} crashes: the story is too short");
}

fn object_key(kind: &str, name: &str) -> ObjectKey {
    crate::cluster::object_key(&object(kind, None, name, json!([]))).unwrap()
}

#[test]
fn the_same_seed_and_requests_give_the_same_bytes() {
    let written = || {
        let records = Records::default();
        play(&opened(&records, usize::MAX, false).unwrap(), &mut Answered::default()).unwrap();
        records.lock().clone()
    };
    assert_eq!(written(), written());
}
