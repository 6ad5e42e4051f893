//! A cluster without Kubernetes: objects in a folder, or in memory, under the rules of an API server.
//!
//! Start at [`LocalCluster`]. It has no controllers: a Deployment makes no pods, a Service gets no address. What it takes,
//! a real API server takes; what that refuses, it refuses: the suite in `conformance` runs against both. It never fetches the
//! time, never draws a random number, and keeps no order but that of names.

mod check;
#[cfg(test)]
mod crash;
mod disk;
mod field;
mod immutable;
mod kind;
mod merge;
mod name;
mod pod;
mod rule;
mod schema;
mod state;
mod watching;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use self::disk::{Disk, Folder, Memory};
use self::state::{Change, Manager, Record, Slot, State};
use self::watching::News;
use super::{Cluster, Deletion, Error, Kind, Label, LiveObject, ObjectKey, Seen};
use crate::schema::Schema;

/// Gives the time; handed in, so that a simulation decides what it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The record that holds the highest revision that may have been given out.
const REVISION: &str = "revision.json";

/// Revisions reserved at once, so that most writes need no second one.
const REVISIONS_RESERVED: u64 = 1_000;

/// Objects kept in a folder or in memory.
pub struct LocalCluster {
    name: String,
    /// Writes wait for a disk, so they must not run on a thread that drives other tasks.
    on_disk: bool,
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    writes: AtomicU64,
    kept: Mutex<Kept>,
}

/// Why what a disk holds is no cluster.
#[derive(Debug)]
enum Unopened {
    Disk(io::Error),
    /// A record does not parse.
    Damaged {
        path: String,
        source: serde_json::Error,
    },
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Unopened {
        Unopened::Disk(error)
    }
}

/// What to do about a damaged file.
fn damaged(file: &Path, is_revision: bool) -> String {
    let remedy = match is_revision {
        true => "restore it from a copy; without one, delete the folder of the local cluster, and its objects are lost",
        false => {
            "restore it from a copy, or delete it: then its object is missing, until the next event about it, or with drift \
             detection until the start"
        }
    };
    format!("the file `{}` of the local cluster is damaged\nhint: {remedy}", file.display())
}

struct Kept {
    state: State,
    disk: Box<dyn Disk>,
    /// The revision up to which the disk knows that uids may be in use.
    reserved: u64,
    /// What changed, for those who watch.
    news: News,
}

impl LocalCluster {
    /// A cluster that ends with the process. Its uids follow from `seed` and the order of requests alone.
    pub fn in_memory(seed: u64, clock: Clock) -> LocalCluster {
        let opened =
            LocalCluster::with("local cluster in memory".to_owned(), Box::new(Memory::default()), false, seed, clock);
        opened.expect("memory never fails")
    }

    /// The cluster kept in `folder`, made where there is none. One process at a time may write to it; the caller holds the
    /// lock.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the folder cannot be read or written, or holds a record that does not parse.
    pub fn open(folder: &Path, seed: u64, clock: Clock) -> Result<LocalCluster, Error> {
        let failed = |source| {
            let message = format!(
                "cannot open the local cluster in `{}`\nhint: check that the folder is writable and its disk not full",
                folder.display()
            );
            Error::Unavailable { message, retry_after: None, source: Some(Box::new(source)) }
        };
        let disk = Folder::open(folder).map_err(failed)?;
        let name = format!("local cluster in {}", folder.display());
        LocalCluster::with(name, Box::new(disk), true, seed, clock).map_err(|error| match error {
            Unopened::Disk(source) => failed(source),
            Unopened::Damaged { path, source } => Error::Unavailable {
                message: damaged(&folder.join(&path), path == REVISION),
                retry_after: None,
                source: Some(Box::new(source)),
            },
        })
    }

    fn with(
        name: String,
        mut disk: Box<dyn Disk>,
        on_disk: bool,
        seed: u64,
        clock: Clock,
    ) -> Result<LocalCluster, Unopened> {
        let mut records = Vec::new();
        let mut reserved = 0;
        for (path, bytes) in disk.load()? {
            let damaged = |source| Unopened::Damaged { path: path.clone(), source };
            if path == REVISION {
                reserved = serde_json::from_slice(&bytes).map_err(damaged)?;
            } else if path.starts_with("objects/") && path.ends_with(".json") {
                records.push(serde_json::from_slice::<Record>(&bytes).map_err(damaged)?);
            }
        }
        let mut kept = Kept { state: State::new(seed, reserved, records), disk, reserved, news: News::default() };
        let changes = kept.state.settle(clock());
        kept.perform(changes)?;
        let inner = Inner { clock, writes: AtomicU64::new(0), kept: Mutex::new(kept) };
        Ok(LocalCluster { name, on_disk, inner: Arc::new(inner) })
    }

    /// All objects but the namespaces every cluster begins with, sorted by group, kind, namespace and name.
    pub fn list(&self) -> Vec<(ObjectKey, LiveObject)> {
        let kept = self.inner.kept.lock();
        let shown = kept.state.records().filter(|record| {
            record.applied.is_some()
                || record.key.kind != "Namespace"
                || !state::FIRST_NAMESPACES.contains(&record.key.name.as_str())
        });
        shown.map(|record| (record.key.clone(), record.live())).collect()
    }

    /// Requests so far that changed something: applies that were no-ops and deletions of what was gone do not count.
    pub fn writes(&self) -> u64 {
        self.inner.writes.load(Ordering::Relaxed)
    }

    /// Writes an object as somebody other than Lifeline would (`kubectl edit`): for drift and conflicts in tests and demos.
    ///
    /// # Errors
    /// As for [`Cluster::apply`].
    pub fn apply_as_other(&self, manifest: &Value) -> Result<LiveObject, Error> {
        let key = self.inner.kept.lock().state.resolve(manifest)?;
        self.inner.apply(&key, manifest, None, Manager::Other)
    }

    /// Runs a request where it may wait for the disk.
    fn run<'a, T: Send + 'static>(
        &self,
        request: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, Error>> {
        let inner = Arc::clone(&self.inner);
        if !self.on_disk {
            return Box::pin(async move { request(&inner) });
        }
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || request(&inner)).await {
                Ok(outcome) => outcome,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => Err(Error::Unavailable {
                    message: "the process is shutting down".to_owned(),
                    retry_after: None,
                    source: Some(Box::new(error)),
                }),
            }
        })
    }
}

impl Inner {
    fn apply(
        &self,
        key: &ObjectKey,
        manifest: &Value,
        uid: Option<&str>,
        manager: Manager,
    ) -> Result<LiveObject, Error> {
        let mut kept = self.kept.lock();
        let (changes, live) = kept.state.apply(key, manifest, uid, manager, (self.clock)())?;
        self.perform(&mut kept, changes)?;
        Ok(live)
    }

    fn delete(&self, key: &ObjectKey, uid: &str) -> Result<Deletion, Error> {
        let mut kept = self.kept.lock();
        let (changes, deletion) = kept.state.delete(key, uid, (self.clock)())?;
        self.perform(&mut kept, changes)?;
        Ok(deletion)
    }

    fn perform(&self, kept: &mut Kept, changes: Vec<Change>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        kept.perform(changes).map_err(|source| Error::Unavailable {
            message:
                "cannot write to the folder of the local cluster\nhint: check its permissions and the space on its disk"
                    .to_owned(),
            retry_after: None,
            source: Some(Box::new(source)),
        })
    }
}

impl Kept {
    /// Makes changes durable and then true, one by one: what the disk refused has not happened.
    fn perform(&mut self, changes: Vec<Change>) -> io::Result<()> {
        let revision = self.state.revision();
        if revision > self.reserved {
            let reserved = revision + REVISIONS_RESERVED;
            self.disk.put(REVISION, reserved.to_string().as_bytes())?;
            self.reserved = reserved;
        }
        for change in changes {
            match &change {
                Change::Put(record) => {
                    self.disk.put(&Slot::of(&record.key).path(), &serde_json::to_vec_pretty(record)?)?
                }
                Change::Remove(key) => self.disk.remove(&Slot::of(key).path())?,
            }
            self.news.note(&self.state, &change);
            self.state.commit(change);
        }
        Ok(())
    }
}

impl Cluster for LocalCluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        Box::pin(async move { self.inner.kept.lock().state.resolve(manifest) })
    }

    fn schema<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Option<Arc<Schema>>> {
        Box::pin(async move { self.inner.kept.lock().state.schema(key).map(Arc::new) })
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        Box::pin(async move { Ok(self.inner.kept.lock().state.get(key).map(Record::live)) })
    }

    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>> {
        let (key, manifest, uid) = (key.clone(), manifest.clone(), uid.map(str::to_owned));
        self.run(move |inner| inner.apply(&key, &manifest, uid.as_deref(), Manager::Lifeline))
    }

    fn make<'a>(&'a self, key: &'a ObjectKey, manifest: &'a Value) -> BoxFuture<'a, Result<LiveObject, Error>> {
        let (key, manifest) = (key.clone(), manifest.clone());
        self.run(move |inner| {
            let is_there = inner.kept.lock().state.get(&key).is_some();
            if is_there { Err(Error::Taken) } else { inner.apply(&key, &manifest, None, Manager::Lifeline) }
        })
    }

    fn dry_run<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        Box::pin(async move {
            // What comes of an apply is worked out first, and made true by the disk.
            let mut kept = self.inner.kept.lock();
            let (_, live) = kept.state.apply(key, manifest, uid, Manager::Lifeline, (self.inner.clock)())?;
            Ok(Some(live))
        })
    }

    fn create_namespace<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<(), Error>> {
        let manifest = manifest.clone();
        self.run(move |inner| {
            let key = super::object_key(&manifest)?;
            let is_there = inner.kept.lock().state.get(&key).is_some();
            if is_there { Ok(()) } else { inner.apply(&key, &manifest, None, Manager::Other).map(drop) }
        })
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        let (key, uid) = (key.clone(), uid.to_owned());
        self.run(move |inner| inner.delete(&key, &uid))
    }

    fn kinds(&self) -> BoxFuture<'_, Result<Vec<Kind>, Error>> {
        Box::pin(async move {
            let kinds: BTreeSet<Kind> =
                self.inner.kept.lock().state.records().map(|record| Kind::of(&record.key)).collect();
            Ok(kinds.into_iter().collect())
        })
    }

    fn watch(&self, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>> {
        watching::watch(&self.inner.kept, kind, label)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::cluster::conformance;

    fn clock() -> Clock {
        Arc::new(|| Timestamp::from_second(1_800_000_000).unwrap())
    }

    fn at_once(_: std::time::Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    #[test]
    fn a_refusal_leaves_it_to_the_caller_to_name_the_object() {
        let cluster = LocalCluster::in_memory(1, clock());
        let manifest = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "Bad Name!"}});
        let key = cluster.resolve(&manifest).now_or_never().expect("at once").expect("a name that a path can hold");
        let refused = cluster.apply(&key, &manifest, None).now_or_never().expect("at once").unwrap_err();
        let told = refused.to_string();
        assert!(told.starts_with("the cluster refuses the object: `metadata.name`"), "{told}");
        assert!(!told.contains("Namespace/Bad Name!"), "{told}");
    }

    #[test]
    fn the_cluster_in_memory_conforms() {
        let cluster = LocalCluster::in_memory(1, clock());
        // Without a runtime, and without ever waiting: that is how the simulator uses it.
        let told = conformance::run(&cluster, "memory", at_once, |name| println!("{name}")).now_or_never();
        assert_eq!(told, Some(()));
        assert_eq!(cluster.list(), []);
    }

    #[tokio::test]
    async fn the_cluster_in_a_folder_conforms() {
        let folder = Scratch::new("conforms");
        let cluster = LocalCluster::open(&folder.path, 1, clock()).unwrap();
        conformance::run(&cluster, "folder", at_once, |name| println!("{name}")).await;
        assert_eq!(cluster.list(), []);
    }

    #[test]
    fn the_local_cluster_takes_the_definitions_and_the_rules_of_the_seed() {
        let cluster = LocalCluster::in_memory(1, clock());
        assert_eq!(crate::cluster::shipped::check(&cluster, at_once).now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn a_folder_opened_again_holds_what_was_applied() {
        let folder = Scratch::new("again");
        let long = "a".repeat(253);
        let names = ["system:node:x", "Upper Case", ".hidden", &long];
        let role = |name: &str| {
            let metadata = serde_json::json!({"name": name});
            serde_json::json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata})
        };
        let before = {
            let cluster = LocalCluster::open(&folder.path, 1, clock()).unwrap();
            for name in names {
                let key = cluster.resolve(&role(name)).await.unwrap();
                cluster.apply(&key, &role(name), None).await.unwrap();
            }
            assert_eq!(cluster.writes(), 4);
            cluster.list()
        };
        // What a crash may leave behind: a write that was never completed.
        std::fs::write(folder.path.join("objects/core.json.partial"), b"{").unwrap();
        let cluster = LocalCluster::open(&folder.path, 1, clock()).unwrap();
        assert_eq!(cluster.list(), before);
        for (key, live) in before {
            assert_eq!(cluster.delete(&key, &live.uid).await.unwrap(), Deletion::Gone);
        }
        assert_eq!(LocalCluster::open(&folder.path, 1, clock()).unwrap().list(), []);
    }

    #[test]
    fn a_damaged_or_unwritable_folder_is_named() {
        let folder = Scratch::new("damaged");
        LocalCluster::open(&folder.path, 1, clock()).unwrap();
        let record = folder.path.join("objects/core/Namespace/_cluster/default.json");
        std::fs::write(&record, b"{").unwrap();
        let error = LocalCluster::open(&folder.path, 1, clock()).map(drop).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("objects/core/Namespace/_cluster/default.json"), "{source}");
        let error = LocalCluster::open(&record, 1, clock()).map(drop).unwrap_err();
        assert!(error.to_string().contains("hint:") && error.is_transient(), "{error}");
    }

    #[tokio::test]
    async fn a_damaged_file_is_named_with_what_to_do() {
        let folder = Scratch::new("damaged");
        let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        let cluster = LocalCluster::open(&folder.path, 1, clock()).unwrap();
        let key = cluster.resolve(&namespace).await.unwrap();
        cluster.apply(&key, &namespace, None).await.unwrap();
        drop(cluster);
        let object = Slot::of(&key).path();
        for (file, remedy) in [(object.as_str(), "or delete it"), (REVISION, "from a copy")] {
            let path = folder.path.join(file);
            let sound = std::fs::read(&path).unwrap();
            std::fs::write(&path, b"{").unwrap();
            let error = LocalCluster::open(&folder.path, 1, clock()).err().expect("it is damaged").to_string();
            std::fs::write(&path, sound).unwrap();
            let named = format!("the file `{}` of the local cluster is damaged", path.display());
            assert!(error.contains(&named) && error.contains(remedy) && !error.contains("writable"), "{error}");
        }
        // A file that was deleted is an object that is missing.
        std::fs::remove_file(folder.path.join(&object)).unwrap();
        assert_eq!(LocalCluster::open(&folder.path, 1, clock()).unwrap().list(), []);
    }

    #[test]
    fn what_others_write_stays_until_lifeline_says_otherwise() {
        let cluster = LocalCluster::in_memory(1, clock());
        let config = |data: Value| {
            let metadata = serde_json::json!({"name": "a"});
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        };
        let apply = |data: Value| {
            let key = cluster.resolve(&config(data.clone())).now_or_never().unwrap().unwrap();
            cluster.apply(&key, &config(data), None).now_or_never().unwrap().unwrap().manifest["data"].clone()
        };
        apply(serde_json::json!({"ours": "1"}));
        cluster.apply_as_other(&config(serde_json::json!({"ours": "drifted", "theirs": "2"}))).unwrap();
        assert_eq!(apply(serde_json::json!({"ours": "1"})), serde_json::json!({"ours": "1", "theirs": "2"}));
        assert_eq!(apply(serde_json::json!({})), serde_json::json!({"theirs": "2"}));
    }

    struct Scratch {
        path: std::path::PathBuf,
    }

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("lifeline-local-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Scratch { path }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
