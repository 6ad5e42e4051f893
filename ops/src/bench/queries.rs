//! How fast is an engine with a long history: to rebuild, to start, to answer, and how much memory does it take?
//!
//! Workload: a log of 10,000,000 CloudEvents of 314 bytes over 1,000,000 resources in random order, of which every
//! `--held`th has a lifecycle with one applied object (none by default). On it, in this order:
//!
//! - scan: the log read in one thread, checksums included, nothing decoded; median of three;
//! - decode: the same, with each record decoded; median of three;
//! - rebuild: the same, folded into an empty projection; median of three. The ratios are rebuild over scan and over decode;
//! - start: `lifeline run` on the folder, killed never, stopped cleanly, started again: from its start to ready;
//! - answers: one after the other over one HTTP connection on loopback, while 10,000 events a second are published to the
//!   engine's nats-server and recorded: a resource as it is, the first page of a history, the first page of a list, and
//!   a resource and a list as of a random offset. Each question takes turns with `/livez` on the same connection; the
//!   ratios are the question over `/livez`, at the same percentile;
//! - memory: what the engine has resident at the end (`VmRSS`, and without the pages of files it maps: `RssAnon`).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use lifeline_projections::fact::Fact;
use lifeline_projections::fold::Projection;
use lifeline_store::{OsDisk, Random, Reader};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::history::{SOURCE, SUBJECT, subject, write_log};
use super::intake::event;
use super::pull::publish_events;
use super::{BenchArgs, median};
use crate::data;
use crate::servers::{Cache, NatsAccess, NatsOptions, NatsProgram, NatsServer, Process, Progress, free_port};

const EVENTS: u64 = 10_000_000;
const EVENTS_PER_RESOURCE: u64 = 10;
const ROUNDS: usize = 3;

const STREAM: &str = "BENCH";

/// Questions of each kind.
const QUESTIONS: usize = 2_000;

/// Events published a second while questions are asked.
const PUBLISHED_PER_SECOND: u64 = 10_000;

/// How long an engine may take to be ready before the benchmark gives up.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// Runs the benchmark; its figures as JSON.
pub(super) fn run(args: &BenchArgs) -> Result<Value, Box<dyn Error>> {
    let events = args.events.unwrap_or(EVENTS);
    let resources = (events / EVENTS_PER_RESOURCE).max(1);
    let program = NatsProgram::obtain(&Cache::from_environment()?, Progress::on_stderr())?;
    let folder = match &args.data {
        Some(data) => TempDir::with_prefix_in("lifeline-bench-", data)?,
        None => TempDir::with_prefix("lifeline-bench-")?,
    };
    let folder = folder.path();
    eprintln!("writing {events} events about {resources} resources ...");
    let written = write_log(&folder.join("data"), events, resources, args.held)?;

    let Rates { scan, decode, rebuild } = rates(&folder.join("data"), args.rounds.unwrap_or(ROUNDS))?;
    eprintln!("scan {scan:.0} records/s, decode {decode:.0} records/s, rebuild {rebuild:.0} records/s");

    let options =
        NatsOptions { folder: folder.join("nats"), access: NatsAccess::Anybody, configuration: String::new() };
    let server = NatsServer::start(&program, &options)?;
    std::fs::create_dir_all(folder.join("rules"))?;
    std::fs::write(folder.join("rules/rules.yaml"), RULES)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (first, _) = runtime.block_on(async {
        prepare(&server).await?;
        let mut engine = Engine::start(folder, &server).await?;
        let ready = engine.ready_after;
        Ok::<_, Box<dyn Error>>((ready, engine.process.stop(Duration::from_secs(60))))
    })?;
    eprintln!("ready after {:.2} s on a folder without a projection", first.as_secs_f64());
    runtime.block_on(async {
        let mut engine = Engine::start(folder, &server).await?;
        let ready = engine.ready_after;
        eprintln!("ready after {:.2} s on one that was stopped cleanly", ready.as_secs_f64());
        let (client, _) = server_client(&server).await?;
        let publishing = tokio::spawn(publish(client, events));
        let mut answers = Vec::new();
        let mut asked = Asked::connect(&engine.address).await?;
        let mut random = Random::new(7);
        // Each of them takes three records at most until it is applied.
        let begun = (3 * resources).min(written - 1);
        for (name, of) in QUESTION_KINDS {
            let (mut took, mut alive) = (Vec::with_capacity(QUESTIONS), Vec::with_capacity(QUESTIONS));
            for _ in 0..QUESTIONS {
                alive.push(asked.ask("/livez").await?);
                // Behind the first event of each resource, so that there is something to show.
                let path = of(random.below(resources), begun + random.below(written - begun));
                took.push(asked.ask(&path).await?);
            }
            for (percentile, share) in [("p50", 500), ("p99", 990)] {
                let (millis, of_livez) = (percentile_ms(&mut took, share), percentile_ms(&mut alive, share));
                let ratio = millis / of_livez;
                eprintln!("{name:<12} {percentile} {millis:>7.3} ms, {ratio:>5.1} times that of /livez");
                answers.push((format!("{name}_{percentile}"), millis, ratio));
            }
        }
        publishing.abort();
        let (resident, anonymous) = resident_mib(engine.process.id())?;
        eprintln!("resident {resident} MiB, of which {anonymous} MiB is its own");
        engine.process.stop(Duration::from_secs(60));
        let mut figures = json!({
            "bench": "queries",
            "ratio": (rebuild / scan * 1_000.0).round() / 1_000.0,
            "rebuild_events_per_second": rebuild.round(),
            "scan_records_per_second": scan.round(),
            "decode_records_per_second": decode.round(),
            "rebuild_over_decode": (rebuild / decode * 1_000.0).round() / 1_000.0,
            "ready_seconds": ready.as_secs_f64(),
            "ready_after_rebuild_seconds": first.as_secs_f64(),
            "resident_mib": resident,
            "resident_anonymous_mib": anonymous,
            "events": events,
            "resources": resources,
            "held_every": args.held,
        });
        for (name, millis, ratio) in answers {
            figures[format!("{name}_ms")] = json!((millis * 1e3).round() / 1e3);
            figures[format!("{name}_over_livez")] = json!((ratio * 1e2).round() / 1e2);
        }
        Ok(figures)
    })
}

/// A question about the resource with a number, as of an offset where it is about the past.
type Question = fn(u64, u64) -> String;

const QUESTION_KINDS: [(&str, Question); 5] = [
    ("current", |resource, _| format!("/v1/resource?source={SOURCE}&subject={}", subject(resource))),
    ("history", |resource, _| format!("/v1/history?source={SOURCE}&subject={}", subject(resource))),
    ("list", |resource, _| format!("/v1/resources?source={SOURCE}&subject={}", subject(resource))),
    ("as_of", |resource, offset| format!("/v1/resource?source={SOURCE}&subject={}&as_of={offset}", subject(resource))),
    ("as_of_list", |_, offset| format!("/v1/resources?limit=50&as_of={offset}")),
];

const RULES: &str = r#"apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: bench}
spec:
  messagingMatchCriteria:
  - {subject: bench.events, cloudEventSource: nobody.example.com}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: bench}
spec:
  eventSourceName: bench
  cloudEventAction: Create
  oneForEvent: true
  policyRefs: []
"#;

/// What a number of thousandths of the answers took at most, in milliseconds.
fn percentile_ms(took: &mut [Duration], share: usize) -> f64 {
    took.sort_unstable();
    took[(took.len() * share / 1_000).min(took.len() - 1)].as_secs_f64() * 1e3
}

/// Records a second.
struct Rates {
    /// Read.
    scan: f64,
    /// Read and decoded.
    decode: f64,
    /// Read, decoded and folded.
    rebuild: f64,
}

fn rates(data: &Path, rounds: usize) -> Result<Rates, Box<dyn Error>> {
    let (mut scans, mut decodes, mut rebuilds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        let (log, _) = Reader::open(OsDisk::open_read_only(&data::log(data))?, &data::log_options())?;
        let records = log.end().get() - log.start().get();
        #[expect(clippy::cast_precision_loss, reason = "a count of records is far below 2^52")]
        let rate = |took: Duration| records as f64 / took.as_secs_f64();
        let began = Instant::now();
        let mut scan = log.scan(log.start());
        let mut bytes = 0;
        while let Some(record) = scan.next()? {
            bytes += record.payload.len();
        }
        scans.push(rate(began.elapsed()));
        assert!(bytes > 0, "the records have payloads");

        let began = Instant::now();
        let mut scan = log.scan(log.start());
        while let Some(record) = scan.next()? {
            std::hint::black_box(Fact::decode(record.payload)?);
        }
        decodes.push(rate(began.elapsed()));

        let began = Instant::now();
        let mut projection = Projection::default();
        lifeline_engine::recorder::fold_tail(&mut projection, &log, |_, _| {}, |_| {})?;
        rebuilds.push(rate(began.elapsed()));
        assert_eq!(projection.watermark(), log.end());
    }
    Ok(Rates { scan: median(scans), decode: median(decodes), rebuild: median(rebuilds) })
}

/// A running engine.
struct Engine {
    process: Process,
    address: String,
    ready_after: Duration,
}

impl Engine {
    async fn start(folder: &Path, server: &NatsServer) -> Result<Engine, Box<dyn Error>> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("--data").arg(folder.join("data")).arg("--rules").arg(folder.join("rules"));
        command.args(["--nats", &server.url(), "--subjects", SUBJECT, "--listen", &address]);
        let log: PathBuf = folder.join("engine.log");
        let began = Instant::now();
        let mut process = Process::start("lifeline", command, &log)?;
        loop {
            if let Some(status) = process.ended() {
                return Err(format!("the engine ended: {status}\n{}", std::fs::read_to_string(log)?).into());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(format!("the engine is not ready after {} s", READY_WITHIN.as_secs()).into());
            }
            if let Ok(mut asked) = Asked::connect(&address).await
                && asked.ask("/readyz").await.is_ok()
            {
                return Ok(Engine { process, address, ready_after: began.elapsed() });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// One connection, kept.
struct Asked {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Asked {
    async fn connect(address: &str) -> Result<Asked, Box<dyn Error>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Asked { sender, host: address.to_owned() })
    }

    /// Asks, reads the answer, and says how long that took. Anything but an answer is an error.
    async fn ask(&mut self, path: &str) -> Result<Duration, Box<dyn Error>> {
        let request = Request::get(path).header(hyper::header::HOST, &self.host).body(Empty::new())?;
        let began = Instant::now();
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let took = began.elapsed();
        if status != StatusCode::OK {
            return Err(format!("`{path}` is answered {status}: {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(took)
    }
}

async fn server_client(server: &NatsServer) -> Result<(async_nats::Client, String), Box<dyn Error>> {
    Ok((async_nats::connect(server.url()).await?, server.url()))
}

async fn prepare(server: &NatsServer) -> Result<(), Box<dyn Error>> {
    let (client, _) = server_client(server).await?;
    let config = async_nats::jetstream::stream::Config {
        name: STREAM.into(),
        subjects: vec![SUBJECT.into()],
        ..Default::default()
    };
    async_nats::jetstream::new(client).create_stream(config).await?;
    Ok(())
}

/// Publishes at an even pace until it is dropped.
async fn publish(client: async_nats::Client, first: u64) {
    const PIECE: u64 = PUBLISHED_PER_SECOND / 100;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for piece in 0.. {
        pace.tick().await;
        let from = first + piece * PIECE;
        if let Err(error) = publish_events(&client, SUBJECT, (from..from + PIECE).map(event)).await {
            eprintln!("publishing ended: {error}");
            return;
        }
    }
}

/// What a process has resident: all of it, and what is not backed by a file.
fn resident_mib(process: u32) -> Result<(u64, u64), Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let mib = |name: &str| -> Result<u64, Box<dyn Error>> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("a process has a size")?;
        Ok(kib.parse::<u64>()? / 1_024)
    };
    Ok((mib("VmRSS:")?, mib("RssAnon:")?))
}
