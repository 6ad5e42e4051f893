//! What does an event wait for while history is decided again under a changed rule, and how long does that take?
//!
//! Workload: a log of 2,000,000 CloudEvents over 200,000 resources, each with a lifecycle of one applied object: 4,200,000
//! records. On it an engine in this process, with a nats-server of the benchmark's own and a cluster in memory, while 1,000
//! events a second are published one by one:
//!
//! - calm: from publishing an event to its record being durable and folded, for five seconds;
//! - edit: the same from the moment in which the trigger is edited until all of history is decided again, and all objects are
//!   applied again.
//!
//! The same with a tenth of the history over as many resources, for the time alone. The ratios are edit over calm, at the 99th
//! percentile, and the time of the long history over that of the short one.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::engine::{Engine, Ports, SavedIn};
use lifeline_engine::intake::Connection;
use lifeline_engine::intake::nats::Nats;
use lifeline_engine::intake::streams::{Order, Reach};
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_engine::site::Site;
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Phase;
use lifeline_store::{Log, OsDisk};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::BenchArgs;
use super::history::{SUBJECT, subject, write_log};
use super::intake::event_about;
use super::pull::publish_events;
use crate::data;
use crate::servers::{Cache, NatsAccess, NatsOptions, NatsProgram, NatsServer, Progress};

const EVENTS: u64 = 2_000_000;
const RESOURCES: u64 = 200_000;

/// How much shorter the short history is.
const SHORTER: u64 = 10;

const STREAM: &str = "BENCH";

/// How long events are watched before the rule is edited.
const CALM: Duration = Duration::from_secs(5);

/// How long the edit may take before the benchmark gives up.
const EDIT_WITHIN: Duration = Duration::from_secs(600);

/// Decides as the history was decided; `EDIT` makes it another trigger.
const RULES: &str = r#"apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: bench}
spec:
  messagingMatchCriteria: [{subject: bench.events}]
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: bench
  cloudEventAction: '{{ if true }}Create{{ else }}EDIT{{ end }}'
  oneForEvent: true
  policyRefs: [{kind: ConfigMap, name: bench, namespace: default}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: bench, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  namespace.yaml: |
    apiVersion: v1
    kind: Namespace
    metadata: {name: "{{ .CloudEvent.subject }}"}
"#;

/// Runs the benchmark; its figures as JSON.
pub(super) fn run(args: &BenchArgs) -> Result<Value, Box<dyn Error>> {
    let events = args.events.unwrap_or(EVENTS);
    let resources = RESOURCES.min(events / SHORTER).max(1);
    let folder = match &args.data {
        Some(data) => TempDir::with_prefix_in("lifeline-bench-", data)?,
        None => TempDir::with_prefix("lifeline-bench-")?,
    };
    let program = NatsProgram::obtain(&Cache::from_environment()?, Progress::on_stderr())?;
    let measure = |name: &str, events: u64| -> Result<Measured, Box<dyn Error>> {
        let folder = folder.path().join(name);
        eprintln!("writing {events} events about {resources} resources ...");
        let records = write_log(&folder.join("data"), events, resources, 1)?;
        let options =
            NatsOptions { folder: folder.join("nats"), access: NatsAccess::Anybody, configuration: String::new() };
        let server = NatsServer::start(&program, &options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let measured = runtime.block_on(edit(&folder.join("data"), &server, events, resources))?;
        eprintln!("{records} records: {measured:?}");
        Ok(Measured { records, ..measured })
    };
    let short = measure("short", events / SHORTER)?;
    let long = measure("long", events)?;
    let times_calm = milliseconds(long.edit_p99) / milliseconds(long.calm_p99).max(0.001);
    Ok(json!({
        "bench": "replay",
        "ratio": thousandths(times_calm),
        "history_ratio": thousandths(long.replay.as_secs_f64() / short.replay.as_secs_f64().max(0.001)),
        "calm_p99_ms": milliseconds(long.calm_p99),
        "edit_p99_ms": milliseconds(long.edit_p99),
        "edit_longest_ms": milliseconds(long.edit_longest),
        "replay_seconds": thousandths(long.replay.as_secs_f64()),
        "replay_of_short_history_seconds": thousandths(short.replay.as_secs_f64()),
        "applied_seconds": thousandths(long.applied.as_secs_f64()),
        "records": long.records,
        "records_of_short_history": short.records,
        "resources": resources,
    }))
}

/// What an edited rule does to an engine.
#[derive(Debug, Default)]
struct Measured {
    records: u64,
    calm_p99: Duration,
    edit_p99: Duration,
    edit_longest: Duration,
    /// Until all of history was decided again.
    replay: Duration,
    /// Until all objects were applied again.
    applied: Duration,
}

async fn edit(data: &Path, server: &NatsServer, events: u64, resources: u64) -> Result<Measured, Box<dyn Error>> {
    let connection = Connection::from_url(&server.url(), "the benchmark", &[SUBJECT.to_owned()])?;
    let reader = &connection.servers[0];
    let (client, link) = reader.connect().await?;
    let config = async_nats::jetstream::stream::Config {
        name: STREAM.into(),
        subjects: vec![SUBJECT.into()],
        ..Default::default()
    };
    async_nats::jetstream::new(client.clone()).create_stream(config).await?;

    let folder = data::log(data);
    let (rules, watched) = watch::channel(rules("Nothing"));
    let now = || jiff::Timestamp::from_nanosecond(i128::from(SystemClock.now_unix_nanos())).unwrap_or_default();
    let site = Arc::new(Site::own(BTreeMap::new(), Arc::new(LocalCluster::in_memory(1, Arc::new(now)))));
    let ports = Ports {
        open_log: Box::new(move || Log::open(OsDisk::open(&folder)?, data::log_options())),
        table: Some(SavedIn::Folder(data.join("projection"))),
        sites: vec![site.clone()],
        clock: Arc::new(SystemClock),
        rules: watched,
    };
    let (engine, parts) = Engine::open(ports, &mut |_, _| {})?;
    let engine = Arc::new(engine);
    let end = engine.start(parts);
    let nats = Arc::new(Nats::new(client.clone(), server.url(), link, None));
    let wanted = reader.wanted.clone();
    let reading = {
        let engine = engine.clone();
        tokio::spawn(async move {
            engine
                .read(&site, "bench", Reach::streams_only(nats), Order::new(wanted, "bench", "UNUSED"))
                .await
                .map_err(|e| e.to_string())
        })
    };
    // The history was decided by rules that nobody recorded, so it is decided again at the start as well.
    let replayed = |projection: &Projection| projection.ground().replayed.values().next().copied();
    let mark = || engine.view().read(replayed).and_then(|mark| mark.digest());
    let is_applied = || engine.view().read(|projection| projection.phases().all(|(phase, _)| phase == Phase::Ready));
    let written = mark();
    wait_until(|| mark() != written && mark().is_some() && is_applied()).await?;

    let waits = Arc::new(Waits::default());
    let publishing = tokio::spawn(publish(client, events, resources, waits.clone()));
    let watching = {
        let (engine, waits) = (engine.clone(), waits.clone());
        tokio::spawn(async move {
            let mut folded = engine.view().subscribe();
            while folded.changed().await.is_ok() {
                let next_sequence = engine.view().read(|projection| {
                    let position = projection.ground().streams.iter().find(|((_, stream), _)| stream == STREAM);
                    position.map_or(0, |(_, position)| position.next_sequence)
                });
                waits.recorded_below(next_sequence);
            }
        })
    };
    tokio::time::sleep(CALM).await;
    let (calm_p99, _) = waits.take();
    let before = mark();
    let began = Instant::now();
    rules.send_replace(self::rules("Anything"));
    wait_until(|| mark() != before && mark().is_some()).await?;
    let replay = began.elapsed();
    wait_until(is_applied).await?;
    let applied = began.elapsed();
    let (edit_p99, edit_longest) = waits.take();
    publishing.abort();
    watching.abort();
    engine.stop();
    end.await??;
    reading.await??;
    Ok(Measured { records: 0, calm_p99, edit_p99, edit_longest, replay, applied })
}

fn rules(edit: &str) -> Current {
    let rules = RuleSet::new(Manifests::read("bench", &RULES.replace("EDIT", edit)), Clusters::default());
    Current { rules: Some(Arc::new(rules)), troubles: Vec::new() }
}

async fn wait_until(mut is_so: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > EDIT_WITHIN {
            return Err(format!("it is not done after {} s", EDIT_WITHIN.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// How long events wait from being published to being recorded.
#[derive(Default)]
struct Waits(Mutex<(Vec<Instant>, usize, Vec<Duration>)>);

impl Waits {
    fn published(&self) {
        self.0.lock().0.push(Instant::now());
    }

    /// Every message below this sequence of the stream is recorded.
    fn recorded_below(&self, next_sequence: u64) {
        let (published, recorded, waits) = &mut *self.0.lock();
        let end = usize::try_from(next_sequence.saturating_sub(1)).unwrap_or(usize::MAX).min(published.len());
        waits.extend(published[*recorded..end.max(*recorded)].iter().map(Instant::elapsed));
        *recorded = end.max(*recorded);
    }

    /// The 99th percentile and the longest since the last call.
    fn take(&self) -> (Duration, Duration) {
        let mut waits = std::mem::take(&mut self.0.lock().2);
        waits.sort_unstable();
        let p99 = waits.get(waits.len() * 99 / 100).copied().unwrap_or_default();
        (p99, waits.last().copied().unwrap_or_default())
    }
}

/// Publishes an event a millisecond until it is dropped.
async fn publish(client: async_nats::Client, first: u64, resources: u64, waits: Arc<Waits>) {
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    for number in first.. {
        pace.tick().await;
        waits.published();
        if let Err(error) =
            publish_events(&client, SUBJECT, std::iter::once(event_about(number, &subject(number % resources)))).await
        {
            eprintln!("publishing ended: {error}");
            return;
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    thousandths(duration.as_secs_f64() * 1e3)
}

fn thousandths(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
