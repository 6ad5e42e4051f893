//! All questions, answered twice: by an engine, and by a model of it in Python that is written from the documents
//! (`tests/model/`). The histories are random: several streams and triggers, odd characters, events that are overtaken,
//! duplicates, rejected messages that are taken up again, gaps, rules that change, replays, restarts.
//!
//! The seeds are printed. `LIFELINE_DIFFERENTIALS=N` plays so many, `LIFELINE_DIFFERENTIAL_SEED=N` that one alone.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures::stream::{StreamExt, iter};
use lifeline_ops::data;
use lifeline_ops::servers::NatsServer;
use lifeline_projections::fact::{Delivery, EventRejected, Fact, StreamChange, StreamChanged};
use lifeline_store::{Log, OsDisk, Random};
use lifeline_tests::harness::Need::{Nats, Python};
use lifeline_tests::harness::{Failure, Lifeline, Outcome, Scene, eventually, run, story};
use serde_json::{Value, json};

/// Histories of a test run.
const HISTORIES: u64 = 20;

/// Histories at once. Most of the time of one is waiting.
const AT_ONCE: usize = 4;

/// No other history is begun after this long.
const BEGUN_WITHIN: Duration = Duration::from_secs(70);

/// What happens in a history: so many things, and up to as many more.
const ACTIONS: u64 = 12;

const SOON: Duration = Duration::from_secs(60);

/// Sources and subjects of resources. An empty subject is a missing one.
const RESOURCES: [(&str, &str); 8] = [
    ("auth.example.com", "ann"),
    ("auth.example.com", "bob"),
    ("auth.example.com", ""),
    ("auth.example.com/a b?c=d&e=%2F", "Ünïcødé ☃"),
    ("auth.example.com/a", "bob"),
    ("/", "a\"quoted\\ \u{1f600}\ttab"),
    ("urn:uuid:1", "{{ .CloudEvent.id }}"),
    ("auth.example.comx", "ann"),
];

/// Each trigger makes something else of an event: its name, its annotation, its EventSource, its action, its texts.
const TRIGGERS: [(&str, &str, &str); 4] = [
    ("plain", "all", "plain"),
    ("shared-1", "all", "shared"),
    ("shared-2", "logs", "shared"),
    ("list", "logs", "list"),
];

/// What cannot be created, so that its lifecycle fails for good.
const REFUSED: &str = "No_Name";

fn main() -> ExitCode {
    run(vec![story("an_engine_answers_as_a_model_in_another_language_does", &[Nats, Python], histories)])
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

async fn histories(scene: &Scene) -> Outcome {
    let seeds = match number("LIFELINE_DIFFERENTIAL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("LIFELINE_DIFFERENTIALS").unwrap_or(HISTORIES),
    };
    let nats = scene.nats("nats")?;
    let all_began = Instant::now();
    let played = iter(seeds).map(async |seed| {
        if all_began.elapsed() > BEGUN_WITHIN {
            println!("differential: seed {seed} is left out, for this machine is busy");
            return Ok(());
        }
        let began = Instant::now();
        let mut history = History::begin(scene, &nats, seed).await?;
        let outcome = history.play().await;
        let told = history.told.join(", ");
        match outcome {
            Ok(summary) => {
                println!("differential: seed {seed}, {:?}: {}", began.elapsed(), summary.trim());
                Ok(())
            }
            Err(failure) => {
                let again = format!("LIFELINE_DIFFERENTIAL_SEED={seed}");
                Err(Failure::from(format!("{again} plays it again: {told}\n{failure}")))
            }
        }
    });
    let played: Vec<Outcome> = played.buffer_unordered(AT_ONCE).collect().await;
    let failures: Vec<String> = played.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n").into()) }
}

/// The rules at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Rules {
    /// A bit for each trigger that is not there.
    without: u64,
    /// What the texts have beside what the event says.
    revision: u64,
    /// What a `visit` is: 0 for Create, 1 for Delete, 2 for nothing.
    visit: u64,
    /// Whether `plain` orders by the `time` of events.
    by_time: bool,
    /// Whether objects stay when a trigger goes.
    leaves: bool,
}

impl Rules {
    fn text(self) -> String {
        let mut text = String::from(SOURCES);
        for (bit, (name, source, texts)) in TRIGGERS.iter().enumerate() {
            if self.without & (1 << bit) == 0 {
                let by_time = if self.by_time && *name == "plain" { "lifeline.dev/order: time" } else { "" };
                let stops = if self.leaves { "LeavePolicies" } else { "WithdrawPolicies" };
                let trigger = TRIGGER
                    .replace("NAME", name)
                    .replace("SOURCE", source)
                    .replace("TEXTS", texts)
                    .replace("ANNOTATIONS", by_time)
                    .replace("STOPS", stops)
                    .replace("ONE", if *name == "list" { "false" } else { "true" })
                    .replace("VISIT", ["Create", "Delete", "Look"][self.visit as usize]);
                text.push_str(&trigger);
            }
        }
        text + &TEXTS.replace("REVISION", &self.revision.to_string())
    }
}

const SOURCES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: all}
spec: {messagingMatchCriteria: [{subject: "\\.(one|two)$"}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: logs}
spec: {messagingMatchCriteria: [{cloudEventType: "nothing"}, {cloudEventType: "log(in|out)$"}]}
"#;

const TRIGGER: &str = r#"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: NAME, annotations: {ANNOTATIONS}}
spec:
  eventSourceName: SOURCE
  oneForEvent: ONE
  stopMatchingBehavior: STOPS
  cloudEventAction: '{{if eq .CloudEvent.type "logout"}}Delete{{else if eq .CloudEvent.type "visit"}}VISIT{{else}}Create{{end}}'
  policyRefs: [{kind: ConfigMap, namespace: default, name: TEXTS}]
"#;

const TEXTS: &str = r#"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: plain, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  map.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "plain-{{ .CloudEvent.data.name }}", namespace: default}
    data: {revision: "REVISION", turn: "{{ .CloudEvent.data.turn }}"}
  namespace.yaml: |
    apiVersion: v1
    kind: Namespace
    metadata: {name: "space-{{ .CloudEvent.data.name }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: shared, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  map.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "shared-{{ .CloudEvent.data.name }}", namespace: default}
    data: {turn: "{{ .CloudEvent.data.turn }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: list, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  map.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "list", namespace: default}
    data: {names: "REVISION{{ range .CloudEvents }} {{ .data.name }}{{ end }}"}
"#;

struct History {
    seed: u64,
    random: Random,
    lifeline: Lifeline,
    jetstream: jetstream::Context,
    rules: Rules,
    turn: u64,
    told: Vec<String>,
}

impl History {
    /// Two streams, some messages of which a log already says that they are no events though they are, and an engine.
    async fn begin(scene: &Scene, nats: &NatsServer, seed: u64) -> Result<Self, Failure> {
        let jetstream = jetstream::new(async_nats::connect(nats.url()).await?);
        let name = format!("engine-{seed}");
        let rules = Rules { by_time: seed.is_multiple_of(2), ..Rules::default() };
        let folder = scene.write(&format!("{name}/rules/rules.yaml"), &rules.text())?;
        let folder = folder.parent().unwrap_or(&folder).to_string_lossy();
        let (url, subjects, consumer) = (nats.url(), format!("d{seed}.>"), format!("differential-{seed}"));
        let arguments = ["--nats", &url, "--subjects", &subjects, "--rules", &folder, "--consumer", &consumer];
        let arguments = [&arguments[..], &["--service", "false", "--scrub-rate", "0"]].concat();
        for number in ["ONE", "TWO"] {
            make_stream(&jetstream, seed, number).await?;
        }
        let mut random = Random::new(seed);
        let rejected = older_release(&jetstream, &scene.folder().join(&name).join("data"), seed, &mut random).await?;
        let mut lifeline = scene.lifeline(&name, &arguments)?;
        lifeline.wait_until_ready()?;
        let told = vec![format!("{rejected} rejected by an older release")];
        Ok(Self { seed, random, lifeline, jetstream, rules, turn: 0, told })
    }

    async fn play(&mut self) -> Result<String, Failure> {
        for _ in 0..ACTIONS + self.random.below(ACTIONS) {
            self.happens().await?;
        }
        self.settles().await?;
        let running = self.compare(&["--server", &self.lifeline.url()])?;
        self.lifeline.stop();
        let stopped = self.compare(&["--stopped"])?;
        Ok(format!("{running}; {stopped}"))
    }

    /// Lets the model ask and compare.
    fn compare(&self, arguments: &[&str]) -> Result<String, Failure> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("model");
        let mut python = Command::new("python3");
        python.arg("-B").arg(model).arg("--data").arg(self.lifeline.data()).arg("--program").arg(Lifeline::program()?);
        let output = python.args(["--seed", &self.seed.to_string()]).args(arguments).output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        Err(format!("{stdout}\n{}", String::from_utf8_lossy(&output.stderr)).into())
    }

    async fn happens(&mut self) -> Outcome {
        match self.random.below(24) {
            0..=10 => self.publish().await,
            11 => self.publish_nothing_good().await,
            12..=14 => self.away().await,
            15 => {
                self.told.push("SIGKILL".to_owned());
                tokio::time::sleep(Duration::from_millis(self.random.below(40))).await;
                self.restart()
            }
            16..=18 => self.change_rules(),
            19 => self.replay().await,
            20 | 21 => self.redrive(),
            22 => self.made_again().await,
            _ => {
                tokio::time::sleep(Duration::from_millis(self.random.below(300))).await;
                Ok(())
            }
        }
    }

    fn restart(&mut self) -> Outcome {
        self.lifeline.restart()?;
        self.lifeline.wait_until_ready()
    }

    /// A burst of events about one resource, in one stream or in both.
    async fn publish(&mut self) -> Outcome {
        let mut burst = String::from("events:");
        for _ in 0..=self.random.below(3) {
            self.turn += 1;
            let (event, headers) = event(&mut self.random, self.seed, self.turn);
            let number = ["one", "two"][self.random.below(2) as usize];
            write!(burst, " {}@{number}", event["type"].as_str().unwrap_or("?"))?;
            let again = self.random.below(8) == 0;
            for _ in 0..=u8::from(again) {
                // One in binary mode has its data as its payload.
                let (payload, headers) = match &headers {
                    Some(headers) => (event["data"].to_string(), headers.clone()),
                    None => (event.to_string(), HeaderMap::new()),
                };
                store(&self.jetstream, &format!("d{}.{number}", self.seed), headers, payload.into()).await?;
            }
        }
        self.told.push(burst);
        Ok(())
    }

    async fn publish_nothing_good(&mut self) -> Outcome {
        let payload = match self.random.below(4) {
            0 => Bytes::from_static(b"{\"hello\": \"world\"}"),
            1 => Bytes::from_static(b"\xff\xfe no text"),
            2 => Bytes::new(),
            _ => json!({"specversion": "1.0", "type": "login", "source": "x", "id": ""}).to_string().into(),
        };
        self.told.push("no event".to_owned());
        store(&self.jetstream, &format!("d{}.one", self.seed), HeaderMap::new(), payload).await?;
        Ok(())
    }

    /// The engine is not there while messages come, some of which go again.
    async fn away(&mut self) -> Outcome {
        if self.random.below(2) == 0 {
            self.lifeline.kill();
        } else {
            self.lifeline.stop();
        }
        self.told.push("away".to_owned());
        // Both streams are read at once afterwards, so that some of these are overtaken.
        for _ in 0..2 + self.random.below(4) {
            self.publish().await?;
        }
        let number = ["ONE", "TWO"][self.random.below(2) as usize];
        let mut stream = self.jetstream.get_stream(stream_name(self.seed, number)).await?;
        match self.random.below(3) {
            0 => {
                self.told.push(format!("{number} is purged"));
                stream.purge().await?;
            }
            1 => {
                let last = stream.info().await?.state.last_sequence;
                let gone = last.saturating_sub(self.random.below(3)).max(1);
                self.told.push(format!("message {gone} of {number} is deleted"));
                // It may be gone already.
                stream.delete_message(gone).await.ok();
            }
            _ => {}
        }
        if self.random.below(2) == 0 {
            self.publish().await?;
        }
        self.restart()
    }

    /// A stream is deleted and made again: its sequences begin again.
    async fn made_again(&mut self) -> Outcome {
        self.told.push("TWO is made again".to_owned());
        self.jetstream.delete_stream(stream_name(self.seed, "TWO")).await?;
        make_stream(&self.jetstream, self.seed, "TWO").await?;
        self.publish().await
    }

    fn change_rules(&mut self) -> Outcome {
        match self.random.below(6) {
            0 | 1 => self.rules.without ^= 1 << self.random.below(TRIGGERS.len() as u64),
            2 => self.rules.revision += 1,
            3 => self.rules.visit = self.random.below(3),
            4 => self.rules.by_time = !self.rules.by_time,
            _ => self.rules.leaves = !self.rules.leaves,
        }
        self.told.push(format!("{:?}", self.rules));
        let data = self.lifeline.data();
        let folder = data.parent().ok_or("the data folder has no parent")?.join("rules");
        fs::write(folder.join("next"), self.rules.text())?;
        fs::rename(folder.join("next"), folder.join("rules.yaml"))?;
        Ok(())
    }

    async fn replay(&mut self) -> Outcome {
        let trigger = TRIGGERS[self.random.below(TRIGGERS.len() as u64) as usize].0;
        self.told.push(format!("replay of {trigger}"));
        let url = self.lifeline.url();
        // It may not be in force.
        tokio::task::spawn_blocking(move || {
            Lifeline::exit_of(&["replay", "--trigger", trigger, "--server", &url]).map_err(|error| error.to_string())
        })
        .await??;
        Ok(())
    }

    fn redrive(&mut self) -> Outcome {
        let rejected = self.lifeline.ask(&["get", "events", "--rejected", "--limit", "100"])?;
        let rejected = rejected["items"].as_array().cloned().unwrap_or_default();
        if rejected.is_empty() {
            return Ok(());
        }
        // The first ones are those of the older release.
        let first = rejected.len().min(4) as u64;
        let offset = rejected[self.random.below(first) as usize]["offset"].to_string();
        self.told.push(format!("redrive of {offset}"));
        // It may be no event still, or may have been taken up already.
        let url = self.lifeline.url();
        Lifeline::exit_of(&["redrive", &offset, "--reason", "why \"not\" ☃", "--server", &url])?;
        Ok(())
    }

    /// Each stream is read to its end, rules have decided, and what can be done is done.
    async fn settles(&mut self) -> Outcome {
        self.lifeline.wait_until_ready()?;
        let mut ends = Vec::new();
        for number in ["ONE", "TWO"] {
            self.turn += 1;
            let (event, _) = event(&mut self.random, self.seed, self.turn);
            let subject = format!("d{}.{}", self.seed, number.to_lowercase());
            let sequence = store(&self.jetstream, &subject, HeaderMap::new(), event.to_string().into()).await?;
            ends.push((stream_name(self.seed, number), sequence));
        }
        let mut last = Value::Null;
        eventually("everything to be recorded and done", SOON, async || {
            let status = self.lifeline.status().map_err(|failure| failure.to_string())?;
            let streams = status["streams"].as_array().cloned().unwrap_or_default();
            let is_read = ends.iter().all(|(name, end)| {
                let row = streams.iter().find(|row| row["stream"] == name.as_str());
                row.is_some_and(|row| row["next_sequence"] == end + 1)
            });
            let phases = status["phases"].as_array().cloned().unwrap_or_default();
            let failing =
                phases.iter().find(|phase| phase[0] == "Failing").map_or(0, |row| row[1].as_u64().unwrap_or(0));
            let is_done = status["replays"] == json!([]) && status["open"] == failing;
            let is_still = status["recorded"] == last;
            last = status["recorded"].clone();
            if is_read && is_done && is_still {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            Err(format!("ends {ends:?}, {status}"))
        })
        .await
    }
}

fn stream_name(seed: u64, number: &str) -> String {
    format!("D{seed}-{number}")
}

async fn make_stream(jetstream: &jetstream::Context, seed: u64, number: &str) -> Outcome {
    let subjects = vec![format!("d{seed}.{}", number.to_lowercase())];
    // Deduplication is not asked for, so that a message may come twice.
    let config = stream::Config { name: stream_name(seed, number), subjects, ..Default::default() };
    jetstream.create_stream(config).await?;
    Ok(())
}

/// Publishes, and waits until it is stored; its sequence.
async fn store(
    jetstream: &jetstream::Context,
    subject: &str,
    headers: HeaderMap,
    payload: Bytes,
) -> Result<u64, Failure> {
    Ok(jetstream.publish_with_headers(subject.to_owned(), headers, payload).await?.await?.sequence)
}

/// A random event, and its headers where it is published in binary mode.
fn event(random: &mut Random, seed: u64, turn: u64) -> (Value, Option<HeaderMap>) {
    // A history is about some of them, so that much happens to each.
    let which = (seed + random.below(4)) as usize % RESOURCES.len();
    let (source, subject) = RESOURCES[which];
    let kind = ["login", "login", "logout", "visit"][random.below(4) as usize];
    let name = if random.below(12) == 0 { REFUSED.to_owned() } else { format!("r{}", which % 6) };
    let data = json!({"name": name, "turn": turn.to_string(), "text": "ä ☃ \" \\"});
    // Few times, so that some are equal and some are older than what decided.
    let time = format!("2026-01-01T00:00:{:02}Z", random.below(20));
    let has_time = random.below(3) > 0;
    let id = format!("id {}", random.below(5));
    if random.below(5) == 0 && subject.is_ascii() && !subject.contains(['"', '\t']) {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("content-type", "application/json");
        for (name, value) in [("ce-type", kind), ("ce-source", source), ("ce-subject", subject), ("ce-id", &id)] {
            if !value.is_empty() {
                headers.insert(name, value);
            }
        }
        if has_time {
            headers.insert("ce-time", time.as_str());
        }
        headers.insert("x-other", "a, b");
        return (json!({"type": kind, "data": data}), Some(headers));
    }
    let mut event = json!({"specversion": "1.0", "type": kind, "source": source, "id": id, "data": data});
    if !subject.is_empty() {
        event["subject"] = json!(subject);
    }
    if has_time {
        event["time"] = json!(time);
    }
    (event, None)
}

/// Writes a log as an older release would have that rejected what is read as an event today; how many it rejected.
async fn older_release(
    jetstream: &jetstream::Context,
    data: &Path,
    seed: u64,
    random: &mut Random,
) -> Result<u64, Failure> {
    let (name, subject) = (stream_name(seed, "ONE"), format!("d{seed}.one"));
    let mut messages = Vec::new();
    for turn in 0..1 + random.below(3) {
        let (event, _) = event(random, seed, turn);
        let sequence = store(jetstream, &subject, HeaderMap::new(), event.to_string().into()).await?;
        messages.push((sequence, event));
    }
    fs::create_dir_all(data)?;
    let stream = jetstream.get_stream(&name).await?;
    let (mut log, _) = Log::open(OsDisk::open(&data::log(data))?, data::log_options())?;
    let created = u64::try_from(stream.cached_info().created.unix_timestamp_nanos())?;
    let change = StreamChange::Opened { created_unix_nanos: created, start_sequence: 1, reason: "" };
    let opened = Fact::Stream(StreamChanged { cluster: "mgmt/mgmt", stream: &name, epoch: 1, change });
    log.append_encoded(created, |buffer| opened.encode(buffer))?;
    for (sequence, event) in &messages {
        let message = stream.get_raw_message(*sequence).await?;
        let published_unix_nanos = u64::try_from(message.time.unix_timestamp_nanos())?;
        let delivery = Delivery {
            cluster: "mgmt/mgmt",
            stream: &name,
            epoch: 1,
            sequence: *sequence,
            published_unix_nanos,
            subject: &subject,
        };
        let payload = event.to_string();
        let reason = "attribute `time` has no zone";
        let rejected = EventRejected { delivery, reason, headers: vec![], payload: payload.as_bytes() };
        log.append_encoded(published_unix_nanos, |buffer| Fact::Rejected(rejected).encode(buffer))?;
    }
    log.sync()?;
    Ok(messages.len() as u64)
}
