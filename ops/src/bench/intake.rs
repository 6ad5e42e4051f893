//! How many events a second become durable facts, compared with how fast the client library can pull them at all?
//!
//! Workload: a stream of 314-byte CloudEvents in structured mode over 100,000 resources, file storage, on a nats-server of
//! this benchmark's own. Nine rounds; in each, one after the other on the same stream, every other time the other way round,
//! so that a machine that grows slower or faster favours neither:
//!
//! - raw: async-nats' `stream()`, batches of 10,000, `ack_policy: all` acknowledged once a batch, payloads unread;
//! - durable: an engine on an empty folder, without rules: pulled, parsed, recorded, fsynced, folded. The time ends when the
//!   durable consumer is at the last message. A million waiting messages are a backlog, so they come through a consumer
//!   without acknowledgements, and the durable one is moved up behind them.
//!   The time of the stop is counted as well: it writes the checkpoint to sled that an engine writes each million records.
//!
//! The ratio of a round is durable over raw; medians are printed.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::engine::{Engine, Ports, SavedIn};
use lifeline_engine::intake::Connection;
use lifeline_engine::intake::nats::Nats;
use lifeline_engine::intake::streams::{Order, Reach};
use lifeline_engine::rules::{Current, RuleSet};
use lifeline_engine::site::Site;
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Options, OsDisk};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

use super::pull::{publish_events, raw_pull};
use super::{BenchArgs, median};
use crate::servers::{Cache, NatsAccess, NatsOptions, NatsProgram, NatsServer, Progress};

const EVENTS: u64 = 1_000_000;
const RESOURCES: u64 = 100_000;
const EVENT_BYTES: usize = 314;
const ROUNDS: usize = 9;
const BATCH: usize = 10_000;

const STREAM: &str = "BENCH";
const SUBJECT: &str = "bench.events";

/// How long a round may take before it counts as failed.
const ROUND_WITHIN: Duration = Duration::from_secs(120);

/// Runs the benchmark; its figures as JSON.
pub(super) fn run(args: &BenchArgs) -> Result<serde_json::Value, Box<dyn Error>> {
    let events = args.events.unwrap_or(EVENTS);
    let rounds = args.rounds.unwrap_or(ROUNDS);
    let program = NatsProgram::obtain(&Cache::from_environment()?, Progress::on_stderr())?;
    let folder = TempDir::with_prefix("lifeline-bench-")?;
    let options =
        NatsOptions { folder: folder.path().join("nats"), access: NatsAccess::Anybody, configuration: String::new() };
    let server = NatsServer::start(&program, &options)?;
    // One thread for the client, as it is fastest; the engine's recorder has its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connection = Connection::from_url(&server.url(), "the benchmark", &[SUBJECT.to_owned()])?;
        let reader = &connection.servers[0];
        let (client, link) = reader.connect().await?;
        let context = async_nats::jetstream::new(client.clone());
        let config = async_nats::jetstream::stream::Config {
            name: STREAM.into(),
            subjects: vec![SUBJECT.into()],
            ..Default::default()
        };
        let mut stream = context.create_stream(config).await?;
        eprintln!("publishing {events} events of {EVENT_BYTES} bytes over {RESOURCES} resources ...");
        publish_events(&client, SUBJECT, (0..events).map(event)).await?;
        let published = stream.info().await?.state.messages;
        if published != events {
            return Err(format!("the stream holds `{published}` messages, expected `{events}`").into());
        }

        eprintln!("round   raw msg/s   durable events/s   ratio");
        let (mut raw_rates, mut durable_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=rounds {
            let pull = || async { Ok::<_, Box<dyn Error>>(raw_pull(&client, STREAM, "raw", BATCH, events).await?) };
            let raw_first = if round % 2 == 1 { Some(pull().await?) } else { None };
            let nats = Arc::new(Nats::new(client.clone(), server.url(), link.clone(), None));
            let durable = format!("durable-{round}");
            let data = folder.path().join(&durable);
            let took = durable_intake(&data, nats, reader.wanted.clone(), &durable, events, &stream).await?;
            std::fs::remove_dir_all(&data)?;
            let raw = match raw_first {
                Some(raw) => raw,
                None => pull().await?,
            };
            let (raw, durable) = (rate(events, raw), rate(events, took));
            eprintln!("{round:>5}   {raw:>9.0}   {durable:>16.0}   {:>5.2}", durable / raw);
            raw_rates.push(raw);
            durable_rates.push(durable);
            ratios.push(durable / raw);
        }
        let thousandths = |ratio: f64| (ratio * 1_000.0).round() / 1_000.0;
        let round_to = |figure: f64, unit: f64| (figure / unit).round() * unit;
        Ok(json!({
            "bench": "intake",
            "ratio": thousandths(median(ratios)),
            "durable_events_per_second": round_to(median(durable_rates), 100.0),
            "raw_messages_per_second": round_to(median(raw_rates), 100.0),
            "events": events,
            "event_bytes": EVENT_BYTES,
            "resources": RESOURCES.min(events),
            "rounds": rounds,
        }))
    })
}

/// One round of the engine: the time from nothing to everything acknowledged and saved.
async fn durable_intake(
    data: &Path,
    nats: Arc<Nats>,
    wanted: lifeline_engine::intake::subjects::Wanted,
    durable: &str,
    events: u64,
    stream: &async_nats::jetstream::stream::Stream,
) -> Result<Duration, Box<dyn Error>> {
    std::fs::create_dir_all(data)?;
    let log = data.join("log");
    let rules = Current { rules: Some(Arc::new(RuleSet::empty())), troubles: Vec::new() };
    let (_rules, rules) = watch::channel(rules);
    let now = || jiff::Timestamp::from_nanosecond(i128::from(SystemClock.now_unix_nanos())).unwrap_or_default();
    let site = Arc::new(Site::own(BTreeMap::new(), Arc::new(LocalCluster::in_memory(1, Arc::new(now)))));
    let ports = Ports {
        open_log: Box::new(move || Log::open(OsDisk::open(&log)?, Options::default())),
        table: Some(SavedIn::Folder(data.join("projection"))),
        sites: vec![site.clone()],
        clock: Arc::new(SystemClock),
        rules,
    };
    let (engine, parts) = Engine::open(ports, &mut |_, _| {})?;
    let end = engine.start(parts);

    let started = Instant::now();
    let order = Order::new(wanted, durable, "UNUSED");
    let reading = engine.read(&site, "bench", Reach::streams_only(nats), order);
    let finished = async {
        let received = |projection: &Projection| {
            projection.ground().streams.values().map(|position| position.received).sum::<u64>()
        };
        let mut folded = engine.view().subscribe();
        while engine.view().read(received) < events {
            folded.changed().await?;
        }
        // Folded is not yet acknowledged: the server has the last word.
        loop {
            let consumer: async_nats::jetstream::consumer::PullConsumer =
                stream.get_consumer(durable).await.map_err(|error| error.to_string())?;
            if consumer.cached_info().ack_floor.stream_sequence >= events {
                return Ok::<Duration, Box<dyn Error>>(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let took = tokio::select! {
        read = reading => return Err(read.err().map_or_else(|| "reading ended early".into(), Into::into)),
        took = tokio::time::timeout(ROUND_WITHIN, finished) => took??,
    };
    let stopping = Instant::now();
    engine.stop();
    end.await??;
    let stopped = stopping.elapsed();
    stream.delete_consumer(durable).await?;
    Ok(took + stopped)
}

fn rate(events: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
    let events = events as f64;
    events / took.as_secs_f64()
}

/// An event of exactly [`EVENT_BYTES`] bytes, about one of [`RESOURCES`].
pub(super) fn event(number: u64) -> Bytes {
    event_about(number, &format!("user-{:06}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % RESOURCES))
}

/// An event of exactly [`EVENT_BYTES`] bytes, about a subject.
pub(super) fn event_about(number: u64, subject: &str) -> Bytes {
    let head = format!(
        r#"{{"specversion":"1.0","type":"auth.example.com.login","source":"auth.example.com","id":"{number:012}","subject":"{subject}","time":"2026-11-22T14:12:03.123456Z","datacontenttype":"application/json","data":{{"message":"User login","padding":""#
    );
    let tail = r#""}}"#;
    let padding = EVENT_BYTES.saturating_sub(head.len() + tail.len());
    Bytes::from(format!("{head}{:x<padding$}{tail}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_the_size_that_is_printed() {
        for number in [0, 1, 499_999, 10_000_000] {
            assert_eq!(event(number).len(), EVENT_BYTES);
            lifeline_projections::event::CloudEvent::parse(&[], &event(number)).unwrap();
        }
    }
}
