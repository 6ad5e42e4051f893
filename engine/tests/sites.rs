//! What hangs takes nothing from the rest, and is found to answer again: a site from other sites, a kind of object
//! from other kinds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::cluster::{Cluster, Deletion, Error, Kind, Label, LiveObject, ObjectKey, Seen};
use lifeline_engine::engine::{Engine, Parts, Ports};
use lifeline_engine::intake::jetstream::{Acknowledge, Backlog, Batch, Batches, Consume, Copied, JetStream};
use lifeline_engine::intake::jetstream::{Retention, Stored, StreamState};
use lifeline_engine::intake::owner::Owner;
use lifeline_engine::intake::streams::{Order, Reach};
use lifeline_engine::intake::subjects::Wanted;
use lifeline_engine::intake::{self, Message};
use lifeline_engine::rules::{self, ClusterKind, Clusters, Current, Manifests, RuleSet};
use lifeline_engine::schema::Schema;
use lifeline_engine::site::Site;
use lifeline_engine::status::{HeldBackStatus, SiteStatus, Status};
use lifeline_store::{Log, Options, SimulatedDisk};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

/// Namespaces that each site is to hold: more than it has workers.
const NAMESPACES: usize = 200;

/// Secrets whose kind hangs: many more than a site has workers.
const SECRETS: usize = 400;

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: users
  oneForEvent: true
  cloudEventAction: Create
  policyRefs: [{name: namespace, namespace: default, kind: ConfigMap}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: namespace, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  namespace.yaml: |
    apiVersion: v1
    kind: Namespace
    metadata: {name: "{{ .CloudEvent.subject }}"}
"#;

/// Two triggers: a login makes a Secret, a visit makes a ConfigMap.
const RULES_OF_TWO_KINDS: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: logins}
spec: {messagingMatchCriteria: [{subject: users, cloudEventType: login}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: visits}
spec: {messagingMatchCriteria: [{subject: users, cloudEventType: visit}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: login}
spec:
  eventSourceName: logins
  oneForEvent: true
  cloudEventAction: Create
  policyRefs: [{name: secret, namespace: default, kind: ConfigMap}]
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: visit}
spec:
  eventSourceName: visits
  oneForEvent: true
  cloudEventAction: Create
  policyRefs: [{name: map, namespace: default, kind: ConfigMap}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: secret, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  secret.yaml: |
    apiVersion: v1
    kind: Secret
    metadata: {name: "{{ .CloudEvent.subject }}", namespace: default}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: map, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  map.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "{{ .CloudEvent.subject }}", namespace: default}
"#;

/// What a cluster does not answer: it says so after 20 s of a read, and after 35 s of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hangs {
    Nothing,
    All,
    /// Applies of Secrets, as where a webhook hangs.
    Secrets,
}

/// A cluster that answers in 10 ms what does not hang.
struct Hanging {
    inner: LocalCluster,
    hangs: Mutex<Hangs>,
    /// Calls about objects that hung.
    unanswered: AtomicUsize,
}

impl Hanging {
    async fn answer<T>(
        &self,
        hangs: bool,
        seconds: u64,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if hangs {
            sleep(Duration::from_secs(seconds)).await;
            let message = format!("no answer for {seconds} s");
            return Err(Error::Unavailable { message, retry_after: None, source: None });
        }
        sleep(Duration::from_millis(10)).await;
        call.await
    }

    async fn about_object<T>(
        &self,
        hangs: bool,
        seconds: u64,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.unanswered.fetch_add(hangs.into(), Ordering::Relaxed);
        self.answer(hangs, seconds, call).await
    }

    fn hangs(&self) -> Hangs {
        *self.hangs.lock()
    }

    /// How many objects of a kind it holds.
    fn count(&self, kind: &str) -> usize {
        self.inner.list().iter().filter(|(key, _)| key.kind == kind).count()
    }
}

impl Cluster for Hanging {
    fn name(&self) -> &str {
        "hanging cluster"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.answer(self.hangs() == Hangs::All, 20, self.inner.check()).boxed()
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        self.inner.resolve(manifest)
    }

    fn schema<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Option<Arc<Schema>>> {
        self.inner.schema(key)
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        self.about_object(self.hangs() == Hangs::All, 20, self.inner.get(key)).boxed()
    }

    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>> {
        let hangs = match self.hangs() {
            Hangs::Nothing => false,
            Hangs::All => true,
            Hangs::Secrets => key.kind == "Secret",
        };
        self.about_object(hangs, 35, self.inner.apply(key, manifest, uid)).boxed()
    }

    fn make<'a>(&'a self, key: &'a ObjectKey, manifest: &'a Value) -> BoxFuture<'a, Result<LiveObject, Error>> {
        let hangs = match self.hangs() {
            Hangs::Nothing => false,
            Hangs::All => true,
            Hangs::Secrets => key.kind == "Secret",
        };
        self.about_object(hangs, 35, self.inner.make(key, manifest)).boxed()
    }

    fn create_namespace<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<(), Error>> {
        self.about_object(self.hangs() == Hangs::All, 35, self.inner.create_namespace(manifest)).boxed()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        self.about_object(self.hangs() == Hangs::All, 35, self.inner.delete(key, uid)).boxed()
    }

    fn kinds(&self) -> BoxFuture<'_, Result<Vec<Kind>, Error>> {
        self.inner.kinds()
    }

    fn watch(&self, kind: Kind, label: Label) -> BoxStream<'_, Result<Seen, Error>> {
        self.inner.watch(kind, label)
    }
}

/// A JetStream with one stream, `USERS`, that holds so many logins and then visits, each of another user, and delivers
/// them once.
#[derive(Clone, Copy)]
struct Users {
    logins: u64,
    visits: u64,
}

impl Users {
    fn last(self) -> u64 {
        self.logins + self.visits
    }

    fn state(self) -> StreamState {
        StreamState {
            name: "USERS".to_owned(),
            subjects: vec!["users".to_owned()],
            created_unix_nanos: 1,
            first_sequence: 1,
            last_sequence: self.last(),
            messages: self.last(),
            retention: Retention::Limits,
            replicas: 3,
            on_disk: true,
            erasable: false,
            consumers_kept: None,
            copied: Copied::default(),
        }
    }

    fn message(self, sequence: u64) -> Message {
        let kind = if sequence <= self.logins { "login" } else { "visit" };
        let payload = format!(
            r#"{{"specversion":"1.0","type":"{kind}","source":"auth","id":"{sequence}","subject":"user-{sequence}"}}"#
        );
        Message {
            sequence,
            published_unix_nanos: sequence,
            subject: "users".into(),
            headers: Vec::new(),
            payload: Bytes::from(payload),
        }
    }
}

impl JetStream for Users {
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamState>, intake::Error>> {
        async { Ok(vec![Users::state(*self)]) }.boxed()
    }

    fn ensure_stream<'a>(&'a self, _: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<StreamState, intake::Error>> {
        async { Ok(Users::state(*self)) }.boxed()
    }

    fn state<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<StreamState>, intake::Error>> {
        async { Ok(Some(Users::state(*self))) }.boxed()
    }

    fn stored_from<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: u64,
    ) -> BoxFuture<'a, Result<Option<Stored>, intake::Error>> {
        async { Ok(None) }.boxed()
    }

    fn owner<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Owner>, intake::Error>> {
        async { Ok(None) }.boxed()
    }

    fn note_owner<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a Owner,
    ) -> BoxFuture<'a, Result<Option<Owner>, intake::Error>> {
        async { Ok(None) }.boxed()
    }

    fn first_alone<'a>(&'a self, _: &'a Consume, _: u32) -> BoxFuture<'a, Result<Option<Batch>, intake::Error>> {
        async { Ok(None) }.boxed()
    }

    fn consume(&self, _: Consume) -> BoxFuture<'_, Result<Box<dyn Batches>, intake::Error>> {
        async { Ok(Box::new(Once { users: *self, is_delivered: false }) as Box<dyn Batches>) }.boxed()
    }
}

/// All messages in one batch, then nothing.
struct Once {
    users: Users,
    is_delivered: bool,
}

impl Batches for Once {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, intake::Error>> {
        async {
            if std::mem::replace(&mut self.is_delivered, true) {
                std::future::pending::<()>().await;
            }
            let messages = (1..=self.users.last()).map(|sequence| self.users.message(sequence)).collect();
            Ok(Batch { messages, pending: 0, acknowledge: Box::new(Nobody) })
        }
        .boxed()
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Option<Backlog>, intake::Error>> {
        let delivered_sequence = self.users.last();
        let backlog = Backlog { pending: 0, unacknowledged: 0, unacknowledged_max: 1_000, delivered_sequence };
        async move { Ok(Some(backlog)) }.boxed()
    }
}

struct Nobody;

impl Acknowledge for Nobody {
    fn send(&self) -> BoxFuture<'_, Result<(), intake::Error>> {
        async { Ok(()) }.boxed()
    }
}

fn site(name: &str, hangs: Hangs) -> (Arc<Site>, Arc<Hanging>) {
    let inner = LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH));
    let cluster = Hanging { inner, hangs: Mutex::new(hangs), unanswered: AtomicUsize::new(0) };
    let cluster = Arc::new(cluster);
    let labels = Some(BTreeMap::new());
    let (namespace, kind) = ("fleet".to_owned(), ClusterKind::Sveltos);
    let described = rules::Cluster { namespace, name: name.to_owned(), kind, labels, object: None };
    (Arc::new(Site::new(described, cluster.clone())), cluster)
}

/// What the status says of the two sites, in the order of their names.
fn both(status: &Status) -> [&SiteStatus; 2] {
    status.sites.iter().collect::<Vec<_>>().try_into().expect("two sites")
}

/// An engine that reads these users from each site, as tasks of a set.
fn engine(sites: &[&Arc<Site>], rules: &str, users: Users, tasks: &LocalSet) -> Arc<Engine<SimulatedDisk>> {
    let clusters = Clusters::new(sites.iter().map(|site| site.described().clone()).collect());
    let rules = RuleSet::new(Manifests::read("rules.yaml", rules), clusters);
    assert!(rules.problems().is_empty(), "{:?}", rules.problems());
    let (sender, rules) = watch::channel(Current { rules: Some(Arc::new(rules)), troubles: Vec::new() });
    let disk = SimulatedDisk::new(7);
    let ports = Ports {
        open_log: Box::new(move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() })),
        table: None,
        sites: sites.iter().copied().cloned().collect(),
        clock: Arc::new(SimulatedClock::starting_at(1_780_000_000_000_000_000)),
        rules: rules.clone(),
    };
    let (engine, Parts { recorder, reconcilers, .. }) = Engine::open(ports, &mut |_, _| {}).expect("an empty disk");
    let engine = Arc::new(engine);
    let stopping = engine.stopping();
    tasks.spawn_local(async move {
        let recorded = recorder.run(rules, stopping).await;
        drop(sender);
        recorded
    });
    for reconciler in reconcilers {
        tasks.spawn_local(reconciler.run(engine.stopping()));
    }
    for site in sites {
        let (engine, site) = (engine.clone(), Arc::clone(site));
        let wanted = Wanted { subjects: vec!["users".to_owned()], streams: Vec::new() };
        tasks.spawn_local(async move {
            let order = Order::new(wanted, "lifeline", "UNUSED");
            engine.read(&site, "nats", Reach::streams_only(Arc::new(users)), order).await
        });
    }
    engine
}

#[tokio::test(start_paused = true)]
async fn a_site_that_hangs_takes_no_worker_from_another() {
    let ((east, lively), (west, hanging)) = (site("east", Hangs::Nothing), site("west", Hangs::All));
    let tasks = LocalSet::new();
    let engine = engine(&[&east, &west], RULES, Users { logins: NAMESPACES as u64, visits: 0 }, &tasks);
    let story = async {
        let began = Instant::now();
        while both(&engine.status())[0].writes < NAMESPACES as u64 || both(&engine.status())[0].open > 0 {
            sleep(Duration::from_millis(10)).await;
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", engine.status());
        }
        // Streams of one name on two clusters are two streams.
        let received: Vec<_> = engine.status().streams.iter().map(|s| (s.cluster.clone(), s.received)).collect();
        let each = NAMESPACES as u64;
        assert_eq!(received, [("fleet/east".to_owned(), each), ("fleet/west".to_owned(), each)]);

        // Once its workers have waited in vain, no others follow them, and the status says so.
        sleep(Duration::from_secs(60)).await;
        let status = engine.status();
        let [east, west] = both(&status);
        assert_eq!((east.unavailable.as_deref(), east.failures), (None, 0));
        assert_eq!((west.unavailable.as_deref(), west.open), (Some("no answer for 20 s"), NAMESPACES));
        assert!(status.warnings.iter().any(|warning| warning.contains("`fleet/west`")), "{:?}", status.warnings);
        let unanswered = hanging.unanswered.load(Ordering::Relaxed);
        assert!(unanswered < NAMESPACES, "{unanswered} calls");
        sleep(Duration::from_secs(600)).await;
        assert_eq!(hanging.unanswered.load(Ordering::Relaxed), unanswered, "no work is begun");

        // It answers again: that is found out within the longest pause and one call.
        *hanging.hangs.lock() = Hangs::Nothing;
        sleep(Duration::from_secs(32)).await;
        let status = engine.status();
        let [_, west] = both(&status);
        assert_eq!((west.unavailable.as_deref(), west.open), (None, 0), "{status:?}");
        assert_eq!((lively.count("Namespace"), hanging.count("Namespace")), (NAMESPACES, NAMESPACES));
        engine.stop();
    };
    tasks.run_until(story).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_answers_no_more_while_there_is_nothing_to_do_is_told() {
    let (site, cluster) = site("east", Hangs::Nothing);
    let tasks = LocalSet::new();
    let engine = engine(&[&site], RULES, Users { logins: 1, visits: 0 }, &tasks);
    let unavailable = || engine.status().sites.remove(0).unavailable;
    let story = async {
        sleep(Duration::from_secs(600)).await;
        assert_eq!((unavailable(), cluster.count("Namespace")), (None, 1));
        *cluster.hangs.lock() = Hangs::All;
        sleep(Duration::from_secs(51)).await;
        assert_eq!(unavailable().as_deref(), Some("no answer for 20 s"));
        assert!(!engine.status().warnings.is_empty());
        *cluster.hangs.lock() = Hangs::Nothing;
        sleep(Duration::from_secs(32)).await;
        assert_eq!(unavailable(), None);
        engine.stop();
    };
    tasks.run_until(story).await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_hangs_takes_no_worker_from_the_other_kinds() {
    const MAPS: usize = 100;
    let (site, cluster) = site("east", Hangs::Secrets);
    let tasks = LocalSet::new();
    let users = Users { logins: SECRETS as u64, visits: MAPS as u64 };
    let engine = engine(&[&site], RULES_OF_TWO_KINDS, users, &tasks);
    let site_status = || engine.status().sites.remove(0);
    let story = async {
        let began = Instant::now();
        while cluster.count("ConfigMap") < MAPS {
            sleep(Duration::from_millis(10)).await;
            let took = began.elapsed();
            assert!(
                took < Duration::from_secs(3),
                "{} after {took:?}: {:?}",
                cluster.count("ConfigMap"),
                engine.status()
            );
        }
        println!("{MAPS} ConfigMaps after {:?}", began.elapsed());
        // Each place but those of the first calls is used by turns, and what waits does not fill the log.
        sleep(Duration::from_secs(60)).await;
        let (recorded, unanswered) = (engine.status().recorded, cluster.unanswered.load(Ordering::Relaxed));
        let status = site_status();
        let [HeldBackStatus { kind, verb, seconds, waiting, because }] = status.held_back.as_slice() else {
            panic!("{status:?}")
        };
        assert_eq!((kind.as_str(), verb.as_str(), because.as_str()), ("Secret", "apply", "no answer for 35 s"));
        assert!((20..=30).contains(seconds) && *waiting > SECRETS / 2, "{status:?}");
        assert_eq!((status.unavailable.as_deref(), status.open), (None, SECRETS));
        let warnings = engine.status().warnings;
        assert!(warnings.iter().any(|warning| warning.contains("`apply` of Secret")), "{warnings:?}");
        sleep(Duration::from_secs(350)).await;
        let calls = cluster.unanswered.load(Ordering::Relaxed) - unanswered;
        assert!((70..=90).contains(&calls), "{calls} calls");
        let records = engine.status().recorded - recorded;
        assert!(records <= calls as u64, "{records} records about {calls} calls");

        // They are answered again: all goes on once the calls that hang have ended.
        *cluster.hangs.lock() = Hangs::Nothing;
        sleep(Duration::from_secs(37)).await;
        let status = site_status();
        assert_eq!((status.held_back.as_slice(), status.open), ([].as_slice(), 0), "{status:?}");
        assert_eq!((cluster.count("Secret"), cluster.count("ConfigMap")), (SECRETS, MAPS));
        engine.stop();
    };
    tasks.run_until(story).await;
}
