//! What the engine says of itself to machines: spans to a collector, probes and metrics.

use std::process::{Command, ExitCode};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use lifeline_ops::servers::{NatsServer, Process, free_port};
use lifeline_tests::harness::Need::{Nats, Promtool};
use lifeline_tests::harness::exposition::{self, Series};
use lifeline_tests::harness::{
    Collector, Event, Failure, Lifeline, Outcome, Producer, Scene, Traced, eventually, run, story, visits,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(30);

/// What a collector that is not there may cost: the second that the engine grants it at its end, and a busy machine.
const DELAY_MAX: Duration = Duration::from_secs(3);

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How long the exporter collects before it sends: the standard says 5 s, a test does not want to wait.
const SEND_AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

/// Metrics that are missing while nothing is held back, after the start, and before the first checkpoint.
const SELDOM: [&str; 3] = ["lifeline_site_held_back", "lifeline_opening", "lifeline_saved_offset"];

static RULES: LazyLock<String> = LazyLock::new(|| {
    visits(
        r#"apiVersion: v1
kind: Namespace
metadata:
  name: {{ .CloudEvent.subject }}"#,
    )
});

fn main() -> ExitCode {
    run(vec![
        story("an_event_is_traced_from_its_producer_to_the_cluster", &[Nats], traced),
        story("a_collector_that_is_not_there_delays_nothing", &[Nats], collector_away),
        story("a_collector_that_comes_late_is_sent_what_happens_then", &[Nats], late_collector),
        story("readyz_says_why_not_while_livez_and_metrics_answer", &[Nats], probes),
        story("the_watermarks_of_the_metrics_move_with_an_event", &[Nats], watermarks),
        story("a_prometheus_finds_the_trace_behind_a_histogram", &[Nats, Promtool], exemplars),
    ])
}

async fn traced(scene: &Scene) -> Outcome {
    let collector = Collector::start().await?;
    let nats = scene.nats("nats")?;
    let lifeline = engine(scene, "engine", &nats, &[(ENDPOINT, &collector.url()), SEND_AT_ONCE])?;
    let producer = Producer::connect(&nats, "visits").await?;

    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let login = Event::user("login", "traced").with("traceparent", &format!("00-{trace}-{parent}-01"));
    producer.publish(login).await?;
    continues(&collector, trace, parent, "apply", "made").await?;
    lifeline.has_settled().await?;

    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-type", "auth.example.com.logout"),
        ("ce-source", "auth.example.com"),
        ("ce-subject", "traced"),
        ("ce-id", "10002"),
        ("ce-traceparent", &format!("00-{trace}-{parent}-01")),
    ] {
        headers.insert(name, value);
    }
    producer.jetstream().publish_with_headers("visits", headers, "".into()).await?.await?;
    continues(&collector, trace, parent, "delete", "").await?;
    lifeline.has_settled().await?;

    // An event without a `traceparent`, or with one that cannot be read, begins a trace.
    for (name, event) in [
        ("alone", Event::user("login", "alone")),
        ("garbled", Event::user("login", "garbled").with("traceparent", "00-garbled")),
    ] {
        producer.publish(event).await?;
        let record = span(&collector, |span| is_of(span, name)).await?;
        assert_eq!(record.parent, "");
        continues(&collector, &record.trace, "", "apply", "made").await?;
    }
    // A producer that decided not to sample is followed in that too.
    let unsampled = "4bf92f3577b34da6a3ce929d0e0e4737";
    let event = Event::user("login", "unsampled").with("traceparent", &format!("00-{unsampled}-{parent}-00"));
    producer.publish(event).await?;
    lifeline.has_settled().await?;
    let stopped = stop(lifeline)?;
    assert!(stopped < DELAY_MAX, "stopped after {stopped:?}");
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace != unsampled && span.service == "lifeline"), "{spans:#?}");
    Ok(())
}

/// Whether a trace goes on below the producer's span: recorded, reconciled, done in the cluster, each below the last.
async fn continues(collector: &Collector, trace: &str, parent: &str, verb: &str, outcome: &str) -> Outcome {
    let below = async |parent: &str, name: &str| {
        span(collector, |span| span.trace == trace && span.parent == parent && span.name == name).await
    };
    let record = below(parent, "record").await?;
    let reconcile = below(&record.id, "reconcile").await?;
    let call = below(&reconcile.id, verb).await?;
    assert_eq!(call.attribute("lifeline.verb"), verb, "{call:#?}");
    let subject = reconcile.attribute("lifeline.subject");
    assert_eq!(record.attribute("cloudevents.event_subject"), subject, "{record:#?}");
    assert_eq!(record.attribute("lifeline.offset"), reconcile.attribute("lifeline.decided"));
    assert!(call.attribute("lifeline.object").contains(subject), "{call:#?}");
    let expected = if verb == "delete" { ["gone", "terminating"].as_slice() } else { &[outcome] };
    assert!(expected.contains(&call.attribute("lifeline.outcome")), "{call:#?}");
    assert!([&record, &reconcile, &call].iter().all(|span| !span.failed));
    Ok(())
}

fn is_of(span: &Traced, subject: &str) -> bool {
    span.name == "record" && span.attribute("cloudevents.event_subject") == subject
}

async fn span(collector: &Collector, wanted: impl Fn(&Traced) -> bool) -> Result<Traced, Failure> {
    eventually("a span", SOON, async || {
        let spans = collector.spans();
        spans.iter().find(|span| wanted(span)).cloned().ok_or_else(|| format!("{spans:#?}"))
    })
    .await
}

async fn collector_away(scene: &Scene) -> Outcome {
    // Connections are taken and never answered, as behind a broken proxy.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let cases = [
        ("not-asked-for", String::new()),
        ("refused", format!("http://127.0.0.1:{}", free_port()?)),
        ("silent", format!("http://{}", silent.local_addr()?)),
        ("unknown", "http://collector.invalid:4317".to_owned()),
    ];
    let mut usual = None;
    for (name, endpoint) in cases {
        let nats = scene.nats(&format!("nats-{name}"))?;
        let producer = Producer::connect(&nats, "visits").await?;
        let environment = [(ENDPOINT, endpoint.as_str()), SEND_AT_ONCE];
        let environment = if endpoint.is_empty() { &[] } else { environment.as_slice() };
        let at = Instant::now();
        let lifeline = engine(scene, name, &nats, environment)?;
        let started = at.elapsed();
        let at = Instant::now();
        // More than the exporter's queue holds: what finds no room in it is dropped, not waited for.
        producer.publish_all((0..3_000).map(|user| Event::user("login", &format!("user-{}", user % 10)))).await?;
        lifeline.has_recorded(3_000).await?;
        lifeline.has_settled().await?;
        let worked = at.elapsed();
        // An export is under way when it stops, and more waits.
        producer.publish(Event::user("logout", "user-1")).await?;
        lifeline.has_recorded(3_001).await?;
        lifeline.has_settled().await?;
        let log = lifeline.log();
        let stopped = stop(lifeline)?;
        println!("telemetry: collector {name}: started in {started:?}, worked {worked:?}, stopped in {stopped:?}");
        let usual = *usual.get_or_insert([started, worked, stopped]);
        for (took, usual) in [started, worked, stopped].into_iter().zip(usual) {
            assert!(took < usual + DELAY_MAX, "collector {name}: {took:?}, without {usual:?}");
        }
        let said = std::fs::read_to_string(log)?;
        println!("telemetry: collector {name}: {:#?}", lines(&said, "spans"));
        // Said, once: not with every batch.
        assert!(lines(&said, "spans are lost").len() <= 1, "{said}");
        assert_eq!(lines(&said, "spans").is_empty(), endpoint.is_empty(), "{said}");
    }
    Ok(())
}

fn lines<'a>(text: &'a str, with: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(with)).collect()
}

async fn late_collector(scene: &Scene) -> Outcome {
    let port = free_port()?;
    let nats = scene.nats("nats")?;
    let endpoint = format!("http://127.0.0.1:{port}");
    let lifeline = engine(scene, "engine", &nats, &[(ENDPOINT, &endpoint), SEND_AT_ONCE])?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.publish(Event::user("login", "early")).await?;
    let said = lifeline.has_said("spans are lost").await?;
    assert!(said.contains("refused") && said.contains(ENDPOINT), "neither reason nor remedy in:\n{said}");

    let collector = Collector::start_on(port).await?;
    eventually("a span", SOON, async || {
        producer.publish(Event::user("login", "late")).await.map_err(|failure| failure.to_string())?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        collector.spans().iter().any(|span| is_of(span, "late")).then_some(()).ok_or("none".to_owned())
    })
    .await?;
    let said = lifeline.has_said("takes spans again").await?;
    assert_eq!(lines(&said, "spans are lost").len(), 1, "{said}");
    Ok(())
}

async fn probes(scene: &Scene) -> Outcome {
    let mut nats = scene.nats("nats")?;
    let url = nats.url();
    nats.kill();
    let mut lifeline = scene.local_engine("engine", &nats, "visits", &RULES)?;
    for reason in ["refused", "cannot be reached"] {
        not_ready(&lifeline, &["NATS is not read", &url, reason]).await?;
        assert_eq!(metrics(&lifeline)?["lifeline_ready"], 0.0);
        assert_eq!(metrics(&lifeline)?["lifeline_intake_connected"], 0.0);
        nats.restart()?;
        lifeline.wait_until_ready()?;
        assert_eq!(lifeline.get("/livez")?, "ok\n");
        assert_eq!(metrics(&lifeline)?["lifeline_ready"], 1.0);
        nats.kill();
    }
    Ok(())
}

/// Waits until `/readyz` says no, in these words; `/livez` says yes all the while.
async fn not_ready(lifeline: &Lifeline, words: &[&str]) -> Outcome {
    eventually(&format!("/readyz to say {words:?}"), SOON, async || {
        let said = match lifeline.get("/readyz") {
            Ok(said) => format!("ready: {said}"),
            Err(failure) => failure.to_string(),
        };
        // Before it listens there is nobody to ask.
        if said.contains("gave 503") {
            lifeline.get("/livez").map_err(|failure| failure.to_string())?;
            if words.iter().all(|word| said.contains(word)) {
                println!("telemetry: {}", said.trim_end());
                return Ok(());
            }
        }
        Err(said)
    })
    .await
}

async fn watermarks(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let lifeline = engine(scene, "engine", &nats, &[])?;
    let producer = Producer::connect(&nats, "visits").await?;
    // With the first event come the records of the rules and of the stream.
    producer.publish(Event::user("login", "first")).await?;
    lifeline.has_recorded(1).await?;
    lifeline.has_settled().await?;
    let read = || -> Result<[f64; 3], Failure> {
        let series = metrics(&lifeline)?;
        Ok(["recorded", "folded", "reconciled"].map(|name| series[&format!("lifeline_{name}_offset")]))
    };
    let before = read()?;
    assert!(before.iter().all(|offset| *offset == before[0]), "{before:?}");
    producer.publish(Event::user("login", "moved")).await?;
    let after = eventually("the watermarks to move", SOON, async || {
        let after = read().map_err(|failure| failure.to_string())?;
        let [recorded, folded, reconciled] = after;
        assert!(reconciled <= folded && folded <= recorded, "{after:?}");
        // The event, what was intended, what was applied.
        if after == [before[0] + 3.0; 3] { Ok(after) } else { Err(format!("{before:?}, then {after:?}")) }
    })
    .await?;
    let series = metrics(&lifeline)?;
    println!("telemetry: {before:?}, then {after:?}; {} series", series.len());
    assert_eq!(series[r#"lifeline_lifecycles{phase="Ready"}"#], 2.0, "{series:#?}");
    assert_eq!(series["lifeline_cluster_writes_total"], 2.0);
    assert_eq!(series[r#"lifeline_trigger_events_matched_total{trigger="visits"}"#], 2.0);
    assert_eq!(series[r#"lifeline_trigger_decisions_total{trigger="visits",decision="create"}"#], 2.0);
    assert!(series[r#"lifeline_trigger_reconcile_duration_seconds_count{trigger="visits"}"#] >= 2.0);
    assert!(series[r#"lifeline_trigger_success_timestamp_seconds{trigger="visits"}"#] > 1.7e9);
    assert_eq!((series["lifeline_fold_lag_seconds"], series["lifeline_reconcile_lag_seconds"]), (0.0, 0.0));
    // Which lines are logged changes while it runs.
    let set = lifeline.ask(&["log", "level", "debug"])?;
    assert_eq!((&set["before"], &set["level"]), (&"info".into(), &"debug".into()));
    producer.publish(Event::user("login", "debugged")).await?;
    lifeline.has_said("DEBUG").await?;
    let refused = lifeline.ask(&["log", "level", "loud"]).expect_err("no level").to_string();
    assert!(refused.contains("`loud` is no level"), "{refused}");
    Ok(())
}

/// A real Prometheus, which keeps exemplars, is led from the histogram to the trace that the producer began.
async fn exemplars(scene: &Scene) -> Outcome {
    let (collector, nats) = (Collector::start().await?, scene.nats("nats")?);
    let lifeline = engine(scene, "engine", &nats, &[(ENDPOINT, &collector.url()), SEND_AT_ONCE])?;
    let (target, address) = (lifeline.url().replace("http://", ""), format!("127.0.0.1:{}", free_port()?));
    let targets = format!("[{{targets: ['{target}'], labels: {{namespace: n}}}}]");
    let scrape = format!("[{{job_name: lifeline, static_configs: {targets}}}]");
    let config =
        scene.write("prometheus.yaml", &format!("global: {{scrape_interval: 1s}}\nscrape_configs: {scrape}\n"))?;
    let mut prometheus = Command::new("prometheus");
    prometheus.arg("--config.file").arg(config).arg("--storage.tsdb.path").arg(scene.folder().join("prometheus"));
    prometheus.args(["--enable-feature=exemplar-storage", "--web.listen-address", &address]);
    let _prometheus = Process::start("prometheus", prometheus, &scene.folder().join("prometheus.log"))?;

    let trace = "0af7651916cd43dd8448eb211c80319c";
    let producer = Producer::connect(&nats, "visits").await?;
    let login = Event::user("login", "traced").with("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    producer.publish(login).await?;
    lifeline.has_settled().await?;
    let ask = async |path: &str| -> Result<String, Failure> {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(&address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let query = "lifeline_trigger_reconcile_duration_seconds_bucket";
    eventually("the trace as an exemplar", SOON, async || {
        let path = format!("/api/v1/query_exemplars?query={query}&start=1700000000&end=4000000000");
        let said = ask(&path).await.map_err(|failure| failure.to_string())?;
        if said.contains(&format!(r#""trace_id":"{trace}""#)) { Ok(()) } else { Err(said) }
    })
    .await?;
    // Every panel of the dashboard shows something, but for what there is only at a start or in trouble.
    let dashboard: Value = serde_json::from_str(include_str!("../../ops/chart/files/dashboard.json"))?;
    let targets = dashboard["panels"].as_array().into_iter().flatten().flat_map(|panel| panel["targets"].as_array());
    let expressions: Vec<&str> = targets.flatten().filter_map(|target| target["expr"].as_str()).collect();
    assert!(expressions.len() > 20, "{expressions:?}");
    for expression in expressions.into_iter().filter(|text| SELDOM.iter().all(|name| !text.contains(name))) {
        let plain = expression.replace("$__rate_interval", "1m").replace("$namespace", "n");
        let query: String = plain.bytes().map(|byte| format!("%{byte:02X}")).collect();
        eventually(&format!("data for `{plain}`"), SOON, async || {
            let said = ask(&format!("/api/v1/query?query={query}")).await.map_err(|failure| failure.to_string())?;
            if said.contains(r#""value":["#) { Ok(()) } else { Err(said) }
        })
        .await?;
    }
    Ok(())
}

fn metrics(lifeline: &Lifeline) -> Result<Series, Failure> {
    exposition::read(&lifeline.get("/metrics")?)
}

/// An engine on the local cluster that is ready.
fn engine(scene: &Scene, name: &str, nats: &NatsServer, environment: &[(&str, &str)]) -> Result<Lifeline, Failure> {
    let rules = scene.write(&format!("{name}/rules/rules.yaml"), &RULES)?;
    let rules = rules.to_string_lossy();
    let url = nats.url();
    let arguments = ["--cluster", "local", "--nats", &url, "--subjects", "visits", "--rules", &rules];
    let mut lifeline = Lifeline::run_in(&scene.folder().join(name), &arguments, environment)?;
    lifeline.wait_until_ready()?;
    Ok(lifeline)
}

/// Lets an engine end in good order; how long it took.
fn stop(mut lifeline: Lifeline) -> Result<Duration, Failure> {
    let at = Instant::now();
    match lifeline.stop() {
        Some(0) => Ok(at.elapsed()),
        other => Err(format!("it ended with {other:?}").into()),
    }
}
