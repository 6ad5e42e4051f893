//! An engine in memory, on a cluster in memory: what the tests of reconciliation have in common.
//!
//! Start at [`play`].

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::cluster::{Cluster, Deletion, Error, Kind, Label, LiveObject, ObjectKey, Seen};
use lifeline_engine::intake::{Intake, Message, Received};
use lifeline_engine::queue::Urgency;
use lifeline_engine::reconcile::Reconciler;
use lifeline_engine::recorder::{self, Recorder, Rendering};
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet, Severity};
use lifeline_engine::schema::Schema;
use lifeline_engine::site::{Site, Sites};
use lifeline_engine::view::View;
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Phase;
use lifeline_store::{Log, Options, Recovery, SimulatedDisk};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// When the first event is published: a moment in 2026.
pub const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

pub const SOURCE: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users}]}
"#;

/// `BEHAVIOUR` is replaced by what becomes of objects when the trigger goes. Names of subjects that differ in case alone
/// meet.
pub const TRIGGER: &str = r#"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: users
  oneForEvent: true
  stopMatchingBehavior: BEHAVIOUR
  cloudEventAction: '{{if eq .CloudEvent.type "login"}}Create{{else}}Delete{{end}}'
  continueOnConflict: true
  policyRefs: [{name: namespace, namespace: default, kind: ConfigMap, skipNamespaceCreation: true}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: namespace, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  namespace.yaml: |
    apiVersion: v1
    kind: Namespace
    metadata: {name: "{{ .CloudEvent.subject | lower }}"}
"#;

fn message(sequence: u64, kind: &str, subject: &str) -> Message {
    let payload =
        format!(r#"{{"specversion":"1.0","type":"{kind}","source":"auth","id":"{sequence}","subject":"{subject}"}}"#);
    Message {
        sequence,
        published_unix_nanos: START_UNIX_NANOS,
        subject: "users".into(),
        headers: Vec::new(),
        payload: Bytes::from(payload),
    }
}

fn batch(messages: Vec<Message>) -> Intake {
    let received = Received::Messages { messages, acknowledge: None };
    Intake { site: "mgmt/mgmt".into(), stream: "USERS".to_owned(), epoch: 1, received }
}

pub fn rules(text: &str) -> Current {
    let rules = RuleSet::new(Manifests::read("rules.yaml", text), Clusters::default());
    // What Sveltos does otherwise is a warning, and no mistake.
    let mut problems = rules.problems().iter();
    assert!(problems.all(|problem| problem.severity == Severity::Warning), "{:?}", rules.problems());
    Current { rules: Some(Arc::new(rules)), troubles: Vec::new() }
}

pub fn with_trigger(behaviour: &str) -> Current {
    rules(&format!("{SOURCE}{}", TRIGGER.replace("BEHAVIOUR", behaviour)))
}

/// How often a cluster was asked, by verb.
pub type Calls = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// How many applies are under way, and how many were at most.
#[derive(Default)]
pub struct UnderWay {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl UnderWay {
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// How long the cluster takes for an apply.
pub const APPLY: Duration = Duration::from_millis(50);

/// A cluster that takes a moment for each apply, as real ones do, and counts.
struct Slow(Arc<LocalCluster>, Calls, Arc<UnderWay>);

impl Slow {
    fn count(&self, verb: &'static str) {
        *self.1.lock().entry(verb).or_default() += 1;
    }

    async fn take(&self) {
        let now = self.2.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.2.peak.fetch_max(now, Ordering::Relaxed);
        sleep(APPLY).await;
        self.2.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cluster for Slow {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.0.check()
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        self.0.resolve(manifest)
    }

    fn schema<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Option<Arc<Schema>>> {
        self.0.schema(key)
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        self.count("get");
        self.0.get(key)
    }

    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>> {
        self.count("apply");
        async move {
            self.take().await;
            self.0.apply(key, manifest, uid).await
        }
        .boxed()
    }

    fn dry_run<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        self.0.dry_run(key, manifest, uid)
    }

    fn make<'a>(&'a self, key: &'a ObjectKey, manifest: &'a Value) -> BoxFuture<'a, Result<LiveObject, Error>> {
        self.count("apply");
        async move {
            self.take().await;
            self.0.make(key, manifest).await
        }
        .boxed()
    }

    fn create_namespace<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<(), Error>> {
        self.0.create_namespace(manifest)
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        self.count("delete");
        self.0.delete(key, uid)
    }

    fn kinds(&self) -> BoxFuture<'_, Result<Vec<Kind>, Error>> {
        self.0.kinds()
    }

    fn watch(&self, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>> {
        self.0.watch(kind, label)
    }
}

/// An engine in memory.
pub struct World {
    pub view: Arc<View<SimulatedDisk>>,
    pub cluster: Arc<LocalCluster>,
    /// What the engine asked of it.
    pub calls: Calls,
    pub under_way: Arc<UnderWay>,
    pub sites: Arc<Sites>,
    intake: mpsc::Sender<Intake>,
    pub rules: watch::Sender<Current>,
}

impl World {
    /// Takes in an event, and waits until whatever it causes has happened.
    pub async fn happens(&self, sequence: u64, kind: &str, subject: &str) {
        self.begins(sequence, kind, subject).await;
        self.settles().await;
    }

    /// Takes in an event.
    pub async fn begins(&self, sequence: u64, kind: &str, subject: &str) {
        self.intake.send(batch(vec![message(sequence, kind, subject)])).await.expect("it runs");
    }

    /// Takes in a login of each of so many users, all at once.
    pub async fn all_log_in(&self, users: u64) {
        let logins = (1..=users).map(|user| message(user, "login", &format!("user-{user}")));
        self.intake.send(batch(logins.collect())).await.expect("it runs");
    }

    /// Waits until whatever was caused has happened.
    pub async fn settles(&self) {
        sleep(Duration::from_secs(60)).await;
    }

    /// Makes an object as a stranger does.
    pub async fn make(&self, manifest: &Value) -> (ObjectKey, LiveObject) {
        let key = self.cluster.resolve(manifest).await.expect("a kind that it knows");
        let live = self.cluster.apply(&key, manifest, None).await.expect("nothing is in the way");
        (key, live)
    }

    /// Keeps a Namespace from going, or lets it go: with an object in it whose deletion somebody has to allow.
    pub async fn hold(&self, namespace: &str, holds: bool) {
        let finalizers = if holds { json!(["example.com/hold"]) } else { json!([]) };
        let metadata = json!({"name": "holder", "namespace": namespace, "finalizers": finalizers});
        self.make(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
    }

    /// How many lifecycles are in each phase.
    pub fn phases(&self) -> Vec<(Phase, u64)> {
        self.view.read(|projection| projection.phases().collect())
    }
}

/// The log on a disk, as every engine here opens it.
pub fn open(disk: &SimulatedDisk) -> Result<(Log<SimulatedDisk>, Recovery), lifeline_store::Error> {
    Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() })
}

/// Runs an engine for as long as a story takes.
pub async fn play(rules: Current, story: impl AsyncFnOnce(&World)) {
    let cluster = Arc::new(LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH)));
    play_on(&SimulatedDisk::new(7), cluster, rules, story).await;
}

/// The same, with what an earlier engine left on its disk and its cluster.
pub async fn play_on(
    disk: &SimulatedDisk,
    cluster: Arc<LocalCluster>,
    rules: Current,
    story: impl AsyncFnOnce(&World),
) {
    play_slowly(disk, cluster, rules, Duration::ZERO, story).await;
}

/// The same, where the log takes so long to write what waits.
pub async fn play_slowly(
    disk: &SimulatedDisk,
    cluster: Arc<LocalCluster>,
    rules: Current,
    sync: Duration,
    story: impl AsyncFnOnce(&World),
) {
    let disk = disk.clone();
    let open_log = move || open(&disk);
    let log = open_log().expect("a sound disk").0;
    let mut projection = Projection::default();
    recorder::fold_tail(&mut projection, &log.reader(), |_, _| {}, |_| {}).expect("a sound log");
    let (calls, under_way) = (Calls::default(), Arc::<UnderWay>::default());
    let slow = Slow(cluster.clone(), calls.clone(), under_way.clone());
    let site = Arc::new(Site::own(BTreeMap::new(), Arc::new(slow)));
    let sites = Arc::new(Sites::new(vec![site.clone()]));
    sites.push(&projection, projection.needing_work().collect::<Vec<_>>(), Urgency::Replayed);
    let view = View::new(projection, log.reader());
    let clock = Arc::new(SimulatedClock::starting_at(START_UNIX_NANOS));
    let (intake, received) = mpsc::channel(4);
    let (recorder, recording) = Recorder::new(Box::new(open_log), log, view.clone(), sites.clone(), clock, received);
    // The clock of these tests does not wait for a thread.
    let recorder = recorder.with_rendering(Rendering::AtOnce(Duration::ZERO));
    let (rules, watched) = watch::channel(rules);
    let (stop, stopping) = watch::channel(false);
    let reconciler = Reconciler::new(view.clone(), site, watched.clone(), recording);
    let world = World { view, cluster, calls, under_way, sites, intake, rules };
    let told = async {
        story(&world).await;
        stop.send_replace(true);
    };
    let recording = every(sync, recorder.run(watched, stopping.clone()));
    let (ended, (), ()) = tokio::join!(recording, reconciler.run(stopping), told);
    ended.expect("it stops in good order");
}

/// Goes on with some work only so often: what comes meanwhile waits.
async fn every<T>(pause: Duration, work: impl Future<Output = T>) -> T {
    if pause.is_zero() {
        return work.await;
    }
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(ended) = futures::poll!(work.as_mut()) {
            return ended;
        }
        sleep(pause).await;
    }
}

/// A note beside the Namespace, which each subject has for itself.
pub const NOTE: &str = r#"
  note.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "note-{{ len .CloudEvent.subject }}-{{ .CloudEvent.id }}", namespace: default}
"#;
