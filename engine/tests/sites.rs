//! Several sites: a cluster that hangs takes nothing from another one, and is found to answer again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::cluster::{Cluster, Deletion, Error, LiveObject, ObjectKey};
use lifeline_engine::engine::{Engine, Parts, Ports};
use lifeline_engine::intake::jetstream::{Acknowledge, Backlog, Batch, Batches, Consume, JetStream};
use lifeline_engine::intake::jetstream::{Retention, Stored, StreamState};
use lifeline_engine::intake::subjects::Wanted;
use lifeline_engine::intake::{self, Message};
use lifeline_engine::rules::{self, ClusterKind, Clusters, Current, Manifests, RuleSet};
use lifeline_engine::site::Site;
use lifeline_engine::status::{SiteStatus, Status};
use lifeline_store::{Log, Options, SimulatedDisk};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

/// Namespaces that each site is to hold: more than it has workers.
const NAMESPACES: usize = 200;

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

/// A cluster that answers in 10 ms, or, while it hangs, that it did not answer, after 20 s.
struct Hanging {
    inner: LocalCluster,
    hangs: AtomicBool,
    /// Calls about objects while it hung.
    unanswered: AtomicUsize,
}

impl Hanging {
    async fn answer<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if self.hangs.load(Ordering::Relaxed) {
            sleep(Duration::from_secs(20)).await;
            return Err(Error::Unavailable { message: "no answer for 20 s".into(), retry_after: None, source: None });
        }
        sleep(Duration::from_millis(10)).await;
        call.await
    }

    async fn about_object<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.unanswered.fetch_add(self.hangs.load(Ordering::Relaxed).into(), Ordering::Relaxed);
        self.answer(call).await
    }
}

impl Cluster for Hanging {
    fn name(&self) -> &str {
        "hanging cluster"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.answer(self.inner.check()).boxed()
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        self.inner.resolve(manifest)
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        self.about_object(self.inner.get(key)).boxed()
    }

    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>> {
        self.about_object(self.inner.apply(key, manifest, uid)).boxed()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        self.about_object(self.inner.delete(key, uid)).boxed()
    }
}

/// A JetStream with one stream, `USERS`, that holds one event for each Namespace and delivers them once.
struct Users;

impl Users {
    fn state() -> StreamState {
        StreamState {
            name: "USERS".to_owned(),
            subjects: vec!["users".to_owned()],
            created_unix_nanos: 1,
            first_sequence: 1,
            last_sequence: NAMESPACES as u64,
            messages: NAMESPACES as u64,
            retention: Retention::Limits,
            replicas: 3,
            on_disk: true,
            erasable: false,
            consumers_kept: None,
        }
    }

    fn message(sequence: u64) -> Message {
        let payload = format!(
            r#"{{"specversion":"1.0","type":"login","source":"auth","id":"{sequence}","subject":"user-{sequence}"}}"#
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
        async { Ok(vec![Users::state()]) }.boxed()
    }

    fn ensure_stream<'a>(&'a self, _: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<StreamState, intake::Error>> {
        async { Ok(Users::state()) }.boxed()
    }

    fn state<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<StreamState>, intake::Error>> {
        async { Ok(Some(Users::state())) }.boxed()
    }

    fn stored_from<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: u64,
    ) -> BoxFuture<'a, Result<Option<Stored>, intake::Error>> {
        async { Ok(None) }.boxed()
    }

    fn consume(&self, _: Consume) -> BoxFuture<'_, Result<Box<dyn Batches>, intake::Error>> {
        async { Ok(Box::new(Once(Some(Users))) as Box<dyn Batches>) }.boxed()
    }
}

/// All messages in one batch, then nothing.
struct Once(Option<Users>);

impl Batches for Once {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, intake::Error>> {
        async {
            if self.0.take().is_none() {
                std::future::pending::<()>().await;
            }
            let messages = (1..=NAMESPACES as u64).map(Users::message).collect();
            Ok(Batch { messages, pending: 0, acknowledge: Box::new(Nobody) })
        }
        .boxed()
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Option<Backlog>, intake::Error>> {
        let delivered_sequence = NAMESPACES as u64;
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

fn site(name: &str, hangs: bool) -> (Arc<Site>, Arc<Hanging>) {
    let inner = LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH));
    let cluster = Hanging { inner, hangs: AtomicBool::new(hangs), unanswered: AtomicUsize::new(0) };
    let cluster = Arc::new(cluster);
    let labels = Some(BTreeMap::new());
    let (namespace, kind) = ("fleet".to_owned(), ClusterKind::Sveltos);
    let described = rules::Cluster { namespace, name: name.to_owned(), kind, labels };
    (Arc::new(Site::new(described, cluster.clone())), cluster)
}

/// What the status says of the two sites, in the order of their names.
fn both(status: &Status) -> [&SiteStatus; 2] {
    status.sites.iter().collect::<Vec<_>>().try_into().expect("two sites")
}

#[tokio::test(start_paused = true)]
async fn a_site_that_hangs_takes_no_worker_from_another() {
    let ((east, lively), (west, hanging)) = (site("east", false), site("west", true));
    let clusters = Clusters::new(vec![east.described().clone(), west.described().clone()]);
    let rules = RuleSet::new(Manifests::read("rules.yaml", RULES), clusters);
    assert!(rules.problems().is_empty(), "{:?}", rules.problems());
    let (_rules, rules) = watch::channel(Current { rules: Some(Arc::new(rules)), troubles: Vec::new() });
    let disk = SimulatedDisk::new(7);
    let ports = Ports {
        open_log: Box::new(move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() })),
        table: None,
        sites: vec![east.clone(), west.clone()],
        clock: Arc::new(SimulatedClock::starting_at(1_780_000_000_000_000_000)),
        rules: rules.clone(),
    };
    let (engine, Parts { recorder, reconcilers, .. }) = Engine::open(ports, &mut |_, _| {}).expect("an empty disk");
    let engine = Arc::new(engine);
    let tasks = LocalSet::new();
    tasks.spawn_local(recorder.run(rules, engine.stopping()));
    for reconciler in reconcilers {
        tasks.spawn_local(reconciler.run(engine.stopping()));
    }
    for site in [&east, &west] {
        let (engine, site) = (engine.clone(), site.clone());
        let wanted = Wanted { subjects: vec!["users".to_owned()], streams: Vec::new() };
        tasks.spawn_local(async move {
            engine.read(&site, "nats", Arc::new(Users), wanted, "lifeline".to_owned(), "UNUSED".to_owned()).await
        });
    }
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
        hanging.hangs.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(32)).await;
        let status = engine.status();
        let [_, west] = both(&status);
        assert_eq!((west.unavailable.as_deref(), west.open), (None, 0), "{status:?}");
        let namespaces = |cluster: &Hanging| cluster.inner.list().len();
        assert_eq!((namespaces(&lively), namespaces(&hanging)), (NAMESPACES, NAMESPACES));
        engine.stop();
    };
    tasks.run_until(story).await;
}
