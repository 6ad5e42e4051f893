//! How much slower are objects made by an engine than by a program that does nothing but make them?
//!
//! Workload: 1,000 ConfigMaps in a namespace of the benchmark's own, on the cluster of `KUBECONFIG`:
//!
//! - bare: a kube-rs program applies them, 64 at once, as an engine does;
//! - engine: an engine in this process without a request budget, with a nats-server of the benchmark's own, from publishing
//!   the first of as many events until all lifecycles are ready.
//!
//! Rounds change places. The ratio is the time of the engine over the time of the bare program, as medians. Each half of a
//! round finds the namespace empty, and the engine has looked at the cluster as it does at each start. The namespace is
//! deleted afterwards.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use lifeline_engine::clock::SystemClock;
use lifeline_engine::cluster::kube::KubeCluster;
use lifeline_engine::engine::{Engine, Ports};
use lifeline_engine::intake::Connection;
use lifeline_engine::intake::nats::Nats;
use lifeline_engine::intake::streams::{Order, Reach};
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_engine::site::Site;
use lifeline_projections::lifecycle::Phase;
use lifeline_store::{Log, OsDisk};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::history::{SUBJECT, subject};
use super::intake::event_about;
use super::pull::publish_events;
use super::{BenchArgs, median};
use crate::data;
use crate::servers::{Cache, NatsAccess, NatsOptions, NatsProgram, NatsServer, Progress};

const OBJECTS: u64 = 1_000;
const ROUNDS: usize = 5;

/// As many as a site has workers.
const AT_ONCE: usize = 64;

const NAMESPACE: &str = "lifeline-bench";
const STREAM: &str = "BENCH";

/// How long a round may take.
const WITHIN: Duration = Duration::from_secs(300);

/// `ROUND` is replaced.
const RULES: &str = r#"apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: bench}
spec:
  messagingMatchCriteria: [{subject: bench.events}]
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: bench}
spec:
  eventSourceName: bench
  cloudEventAction: Create
  oneForEvent: true
  policyRefs: [{kind: ConfigMap, name: bench, namespace: default}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: bench, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  map.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "engine-ROUND-{{ .CloudEvent.subject }}", namespace: lifeline-bench}
    data: {subject: "{{ .CloudEvent.subject }}"}
"#;

/// Runs the benchmark; its figures as JSON.
pub(super) fn run(args: &BenchArgs) -> Result<Value, Box<dyn Error>> {
    let (objects, rounds) = (args.events.unwrap_or(OBJECTS), args.rounds.unwrap_or(ROUNDS));
    let folder = TempDir::with_prefix("lifeline-bench-")?;
    let program = NatsProgram::obtain(&Cache::from_environment()?, Progress::on_stderr())?;
    let options =
        NatsOptions { folder: folder.path().join("nats"), access: NatsAccess::Anybody, configuration: String::new() };
    let server = NatsServer::start(&program, &options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let client = KubeCluster::connect(None, None).await?.client().clone();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        namespaces.patch(NAMESPACE, &PatchParams::apply("lifeline-bench"), &Patch::Apply(&namespace)).await?;
        let (mut bare, mut engine) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            for half in [round % 2, (round + 1) % 2] {
                if half == 0 {
                    bare.push(apply_all(&client, round, objects).await?.as_secs_f64());
                } else {
                    let data = folder.path().join(format!("data-{round}"));
                    engine.push(follow_all(&data, &server, round, objects).await?.as_secs_f64());
                }
                // An engine lists what has its marks, and would find what the one before it made.
                let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
                maps.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
            }
            let seconds = |figures: &[f64]| figures.last().copied().unwrap_or_default();
            eprintln!("round {round}: bare {:.3} s, engine {:.3} s", seconds(&bare), seconds(&engine));
        }
        namespaces.delete(NAMESPACE, &DeleteParams::background()).await?;
        let (bare, engine) = (median(bare), median(engine));
        let thousandths = |figure: f64| (figure * 1e3).round() / 1e3;
        Ok(json!({
            "bench": "reconcile",
            "ratio": thousandths(engine / bare.max(0.001)),
            "bare_seconds": thousandths(bare),
            "engine_seconds": thousandths(engine),
            "objects": objects,
            "rounds": rounds,
        }))
    })
}

/// The bare program; how long it takes.
async fn apply_all(client: &Client, round: usize, objects: u64) -> Result<Duration, kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let began = Instant::now();
    let applies = (0..objects).map(|number| {
        let (maps, name) = (maps.clone(), format!("bare-{round}-{}", subject(number)));
        let metadata = json!({
            "name": name,
            "namespace": NAMESPACE,
            // As many as an engine gives an object.
            "labels": {"app.kubernetes.io/managed-by": "lifeline-bench", "lifeline.dev/trigger": "bench", "bench/a": "0123456789abcdef"},
            "annotations": {"bench/trigger": "bench", "bench/source": "bench", "bench/subject": name, "bench/offset": "1"},
        });
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"subject": name}});
        async move { maps.patch(&name, &PatchParams::apply("lifeline-bench").force(), &Patch::Apply(&map)).await.map(drop) }
    });
    futures::stream::iter(applies).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(began.elapsed())
}

/// An engine; how long it takes until all lifecycles are ready.
async fn follow_all(data: &Path, server: &NatsServer, round: usize, objects: u64) -> Result<Duration, Box<dyn Error>> {
    let connection = Connection::from_url(&server.url(), "the benchmark", &[SUBJECT.to_owned()])?;
    let reader = &connection.servers[0];
    let (client, link) = reader.connect().await?;
    let jetstream = async_nats::jetstream::new(client.clone());
    // One that is not there is none to delete.
    let _ = jetstream.delete_stream(STREAM).await;
    let config = async_nats::jetstream::stream::Config {
        name: STREAM.into(),
        subjects: vec![SUBJECT.into()],
        ..Default::default()
    };
    jetstream.create_stream(config).await?;
    let rules =
        RuleSet::new(Manifests::read("bench", &RULES.replace("ROUND", &round.to_string())), Clusters::default());
    let (_rules, watched) = watch::channel(Current { rules: Some(Arc::new(rules)), troubles: Vec::new() });
    let site = Arc::new(Site::own(BTreeMap::new(), Arc::new(KubeCluster::connect(None, None).await?)));
    let folder = data::log(data);
    let ports = Ports {
        open_log: Box::new(move || Log::open(OsDisk::open(&folder)?, data::log_options())),
        table: None,
        sites: vec![site.clone()],
        clock: Arc::new(SystemClock),
        rules: watched,
    };
    let (engine, parts) = Engine::open(ports, &mut |_, _| {})?;
    let engine = Arc::new(engine);
    let end = engine.start(parts);
    let nats = Arc::new(Nats::new(client.clone(), server.url(), link, None));
    let (reading, wanted) = (engine.clone(), reader.wanted.clone());
    let reading = tokio::spawn(async move {
        let order = Order::new(wanted, "bench", "UNUSED");
        reading.read(&site, "bench", Reach::streams_only(nats), order).await.map_err(|error| error.to_string())
    });
    // When the first event is ready it has connected and found its rules; then it looks for objects that nothing claims.
    let ready = |count: u64| {
        engine
            .view()
            .read(|projection| projection.phases().any(|(phase, found)| phase == Phase::Ready && found >= count))
    };
    publish_events(&client, SUBJECT, std::iter::once(event_about(0, "first"))).await?;
    wait_until(|| ready(1)).await?;
    wait_until(|| engine.status().sites.iter().all(|site| site.orphans.looked_for)).await?;
    let began = Instant::now();
    publish_events(&client, SUBJECT, (0..objects).map(|number| event_about(number, &subject(number)))).await?;
    wait_until(|| ready(objects + 1)).await?;
    let took = began.elapsed();
    engine.stop();
    end.await??;
    reading.await??;
    Ok(took)
}

async fn wait_until(mut is_so: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > WITHIN {
            return Err(format!("it is not done after {} s", WITHIN.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
