//! The three doors to the same answers, from outside: HTTP against its own document, a watch that misses nothing, who is let
//! in, and the NATS service.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::sync::LazyLock;
use std::time::Duration;

use async_nats::Client;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::PostParams;
use lifeline_ops::data;
use lifeline_ops::servers::{NatsAccess, NatsServer};
use lifeline_projections::fact::{Delivery, EventReceived, Fact};
use lifeline_store::{Log, Offset, OsDisk, Random};
use lifeline_tests::harness::Need::{ControlPlane, Fuzzer, Nats};
use lifeline_tests::harness::{
    Event, Failure, Lifeline, Outcome, Producer, Scene, User, eventually, run, story, visits,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(30);

/// How long the fuzzer may ask, in seconds.
const FUZZING_SECONDS: &str = "45";

static RULES: LazyLock<String> = LazyLock::new(|| {
    visits(
        r#"apiVersion: v1
kind: Namespace
metadata:
  name: {{ .CloudEvent.subject | sha256sum | trunc 20 }}"#,
    )
});

fn main() -> ExitCode {
    run(vec![
        story("the_document_is_valid_and_holds_what_it_promises", &[Nats, Fuzzer], document),
        story("a_watch_that_is_cut_off_again_and_again_misses_nothing", &[Nats], watched),
        story("a_watch_ends_when_the_engine_stops", &[Nats], stopped),
        story("from_the_first_moment_there_is_an_answer", &[Nats], opening),
        story("an_engine_without_its_projection_tells_how_far_it_is", &[Nats], rebuilding),
        story("a_running_engine_is_verified_as_its_folder_is", &[Nats], verified),
        story("an_address_for_others_needs_a_word_on_who_may_ask", &[Nats], outside),
        story("kubernetes_says_who_may_ask", &[Nats, ControlPlane], reviewed),
        story("the_nats_service_answers_as_http_does", &[Nats], service),
        story("a_server_that_permits_no_service_is_read_all_the_same", &[Nats], no_service),
    ])
}

/// Subjects that a careless program stumbles over.
const SUBJECTS: [&str; 14] = [
    "",
    "plain",
    "two words",
    "ünïcödé 語",
    "a/b/../c",
    "%00%ff",
    "{\"a\":1}",
    "'; drop table",
    "<b>&amp;",
    "\u{0}nul",
    "a\nb\tc",
    "🦀",
    "-",
    "UPPER.case_and-more",
];

async fn document(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    // Some of the names are none that Kubernetes takes: those lifecycles fail.
    let rules = RULES.replace(" | sha256sum | trunc 20", "");
    let mut lifeline = scene.local_engine("engine", &nats, "visits", &rules)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, "visits").await?;
    let mut published = 0;
    for kind in ["login", "logout", "login"] {
        for subject in SUBJECTS {
            producer.publish(Event::user(kind, subject)).await?;
            producer.publish(Event::of("https://example.com/a?b=c&d#e", subject, "other")).await?;
            published += 2;
        }
    }
    // A subject that may not be empty is rejected where it is, and that is recorded too.
    eventually("all to be recorded", SOON, async || {
        let status = lifeline.status().map_err(|failure| failure.to_string())?;
        let [received, rejected] = ["received", "rejected"].map(|field| status["streams"][0][field].as_u64());
        match (received, rejected) {
            (Some(received), Some(rejected)) if rejected > 0 && received + rejected == published => Ok(()),
            _ => Err(status["streams"].to_string()),
        }
    })
    .await?;

    let path = scene.write("openapi.json", &lifeline.get("/openapi.json")?)?;
    let fuzzer = scene.fuzzer()?;
    succeeds(fuzzer.validator().arg(&path))?;

    let mut schemathesis = fuzzer.schemathesis();
    schemathesis.current_dir(scene.folder()).env("HOME", scene.folder());
    // One worker: with more, Python's parser fails now and then ("AST constructor recursion depth mismatch").
    schemathesis.args(["run", &format!("{}/openapi.json", lifeline.url()), "--no-color", "--workers", "1"]);
    schemathesis.args(["--max-time", FUZZING_SECONDS, "--generation-database", "none"]);
    // A stream has no end; `watched` reads it. What a cursor is cannot be said by a schema, so not every text the schema
    // takes is one, and an offset may lie ahead of the log.
    schemathesis.args(["--exclude-path", "/v1/watch", "--exclude-checks", "positive_data_acceptance"]);
    let said = succeeds(&mut schemathesis)?;
    for word in ["Fuzzing", "Coverage"] {
        assert!(said.contains(word), "it did not do all it should:\n{said}");
    }
    // Whatever was asked, the engine is well.
    assert_eq!(lifeline.get("/readyz")?, "ready\n");
    Ok(())
}

/// What tells a row from the others of its list.
fn key_of(row: &Value) -> String {
    let record = row.get("fact").map(|_| &row["offset"]);
    let owner = [&row["source"], &row["subject"], &row["trigger"], &row["cluster"]];
    let object = [&row["group"], &row["version"], &row["kind"], &row["namespace"], &row["name"]];
    json!([record, owner, object, row["rule"]]).to_string()
}

/// A copy of a list, kept by a watch.
#[derive(Default)]
struct Copy {
    rows: BTreeMap<String, Value>,
    id: String,
    events: usize,
}

impl Copy {
    fn take(&mut self, event: &str, id: Option<&str>, data: &str) -> Result<(), Failure> {
        let data: Value = serde_json::from_str(data)?;
        let row = &data["item"];
        let key = key_of(row);
        match event {
            "item" => drop(self.rows.insert(key, row.clone())),
            "removed" => drop(self.rows.remove(&key)),
            "bookmark" => {}
            other => return Err(format!("a watch that reads at once got `{other}`: {data}").into()),
        }
        if let Some(id) = id {
            id.clone_into(&mut self.id);
        }
        self.events += 1;
        Ok(())
    }

    /// Connects and takes up to so many events, until it reflects an offset; an engine that is away is no failure.
    async fn read(&mut self, lifeline: &Lifeline, query: &str, events_max: usize, offset: u64) -> Outcome {
        if self.id.is_empty() {
            // A list that was cut off begins again.
            self.rows.clear();
        }
        let resume = if self.id.is_empty() { String::new() } else { format!("Last-Event-ID: {}\r\n", self.id) };
        let Ok((status, mut lines)) = open(lifeline, &format!("/v1/watch?{query}"), &resume).await else {
            return Ok(());
        };
        match status {
            200 => {}
            503 => return Ok(()),
            other => return Err(format!("the watch was answered with {other}").into()),
        }
        let (mut event, mut id, mut data) = (String::new(), None, String::new());
        let mut left = events_max;
        let mut line = String::new();
        while left > 0 && !self.reflects(offset) {
            line.clear();
            // A connection that breaks in the middle of an event: the event never happened.
            if !matches!(lines.read_line(&mut line).await, Ok(length) if length > 0) {
                return Ok(());
            }
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut event),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => value.clone_into(&mut data),
                Some(_) => return Err(format!("`{line}` is no line of an event").into()),
                None => {
                    self.take(&event, id.as_deref(), &data)?;
                    id = None;
                    left -= 1;
                }
            }
        }
        Ok(())
    }

    fn reflects(&self, offset: u64) -> bool {
        self.id.parse::<u64>().is_ok_and(|id| id >= offset)
    }

    /// Reads on until it reflects an offset.
    async fn reach(&mut self, lifeline: &Lifeline, query: &str, offset: u64) -> Outcome {
        let reached = async {
            while !self.reflects(offset) {
                // One at a time would never get on: only the last event of several moves the place to resume from.
                self.read(lifeline, query, 1_000, offset).await?;
            }
            Ok(())
        };
        tokio::time::timeout(SOON, reached).await.map_err(|_| format!("`{query}` did not reach {offset}"))?
    }
}

async fn watched(scene: &Scene) -> Outcome {
    let (nats, mut lifeline) = engine(scene).await?;
    let producer = Producer::connect(&nats, "visits").await?;
    let queries = [
        "",
        "noun=resources",
        "phase=ready",
        "noun=resources&phase=gone",
        "subject=user-3",
        "trigger=none",
        "noun=objects",
        "noun=objects&phase=ready",
        "noun=events",
        "noun=rules",
    ];
    let mut copies: Vec<Copy> = queries.iter().map(|_| Copy::default()).collect();
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as u64;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut chance = move |of: u64| random.below(of);
    let mut published = 0;
    for round in 0..40 {
        for _ in 0..chance(8) {
            let kind = if chance(3) == 0 { "logout" } else { "login" };
            producer.publish(Event::user(kind, &format!("user-{}", chance(12)))).await?;
            published += 1;
        }
        if round == 20 {
            // Tokens outlive the process.
            lifeline.restart()?;
        }
        for (copy, query) in copies.iter_mut().zip(queries) {
            let events_max = 1 + chance(12) as usize;
            // Cut off wherever it is.
            let cut = Duration::from_millis(chance(120));
            if let Ok(read) = tokio::time::timeout(cut, copy.read(&lifeline, query, events_max, u64::MAX)).await {
                read?;
            }
        }
    }
    lifeline.wait_until_ready()?;
    lifeline.has_recorded(published).await?;
    lifeline.has_settled().await?;
    for (copy, query) in copies.iter_mut().zip(queries) {
        let (noun, filter) = match query.strip_prefix("noun=") {
            Some(rest) => rest.split_once('&').unwrap_or((rest, "")),
            None => ("lifecycles", query),
        };
        let list: Value = serde_json::from_str(&lifeline.get(&format!("/v1/{noun}?limit=10000&{filter}"))?)?;
        let offset = list["offset"].as_u64().ok_or("a list has an offset")?;
        copy.reach(&lifeline, query, offset).await?;
        let copied: Vec<&Value> = copy.rows.values().collect();
        let mut listed: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
        listed.sort_by_key(|row| key_of(row));
        assert_eq!(copied, listed, "`{query}` after {} events, seed {seed}", copy.events);
    }
    assert!(!copies[0].rows.is_empty());
    // What lies beyond the log is not resumed from, and what is no offset is not taken for one.
    for (resume, status) in [("999999999", 410), ("yesterday", 400)] {
        let (got, mut lines) = open(&lifeline, "/v1/watch", &format!("Last-Event-ID: {resume}\r\n")).await?;
        let mut body = String::new();
        lines.read_to_string(&mut body).await?;
        assert_eq!(got, status, "{body}");
    }
    Ok(())
}

async fn stopped(scene: &Scene) -> Outcome {
    let (_nats, mut lifeline) = engine(scene).await?;
    let (_, mut lines) = open(&lifeline, "/v1/watch", "").await?;
    let mut line = String::new();
    lines.read_line(&mut line).await?;
    assert_eq!(line, "event: bookmark\n", "an empty list is a bookmark");
    let began = std::time::Instant::now();
    assert_eq!(lifeline.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "it waited for its watch: {:?}", began.elapsed());
    let mut rest = String::new();
    // The connection may be reset rather than closed: the process is gone.
    let _ = lines.read_to_string(&mut rest).await;
    Ok(())
}

async fn opening(scene: &Scene) -> Outcome {
    let (_nats, mut lifeline) = engine(scene).await?;
    lifeline.restart()?;
    let mut answers = Vec::new();
    eventually("the engine to be open", SOON, async || {
        let (status, mut lines) = open(&lifeline, "/v1/status", "").await.map_err(|failure| failure.to_string())?;
        let mut body = String::new();
        lines.read_to_string(&mut body).await.map_err(|error| error.to_string())?;
        answers.push((status, body));
        if status == 200 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await?;
    for (status, body) in answers {
        let body: Value = serde_json::from_str(&body)?;
        assert!(status == 200 || (status == 503 && body["code"] == "rebuilding"), "{status} {body}");
    }
    Ok(())
}

/// Records in the log that is folded again: some hundred milliseconds' worth.
const REBUILT_RECORDS: u64 = 400_000;

async fn rebuilding(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let data = scene.folder().join("engine/data");
    write_log(&data)?;
    let mut lifeline = scene.local_engine("engine", &nats, "visits", &RULES)?;
    // A client that asks without a pause sees it, unless the machine looks away for as long as it lasts: then once more.
    for round in 1.. {
        let told = told_until_open(&lifeline).await?;
        for pair in told.windows(2) {
            assert!(pair[0] <= pair[1], "it goes forward: {told:?}");
        }
        let list: Value = serde_json::from_str(&lifeline.get("/v1/resources?limit=1")?)?;
        assert!(list["offset"].as_u64() >= Some(REBUILT_RECORDS), "{list}");
        println!("round {round}: told {} times", told.len());
        if told.iter().any(|at| *at > 0) {
            break;
        }
        assert!(round < 5, "nobody was told how far it is: {told:?}");
        lifeline.kill();
        std::fs::remove_dir_all(data.join("projection"))?;
        lifeline.restart()?;
    }
    Ok(())
}

/// The offsets at which an engine that opens says it is, until it is open.
async fn told_until_open(lifeline: &Lifeline) -> Result<Vec<u64>, Failure> {
    let mut told = Vec::new();
    let opened = async {
        loop {
            let Ok((status, mut lines)) = open(lifeline, "/v1/resources?limit=1", "").await else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            if status == 200 {
                return Ok::<_, Failure>(());
            }
            let mut body = String::new();
            lines.read_to_string(&mut body).await?;
            let problem: Value = serde_json::from_str(&body)?;
            assert_eq!((status, &problem["code"]), (503, &json!("rebuilding")), "{body}");
            let detail = problem["detail"].as_str().ok_or("a problem has a detail")?;
            let of = format!(" of {REBUILT_RECORDS}");
            match detail
                .strip_prefix("the engine is starting: rebuilding, at offset ")
                .and_then(|rest| rest.strip_suffix(&of))
            {
                Some(at) => told.push(at.parse()?),
                None => assert_eq!(detail, "the engine is starting: opening the log"),
            }
        }
    };
    tokio::time::timeout(SOON, opened).await.map_err(|_| "it did not open")??;
    Ok(told)
}

/// Writes a log of events that no rule speaks of, as an engine would have that was killed.
fn write_log(data: &Path) -> Outcome {
    std::fs::create_dir_all(data)?;
    let (mut log, _) = Log::open(OsDisk::open(&data::log(data))?, data::log_options())?;
    for sequence in 1..=REBUILT_RECORDS {
        let subject = format!("user-{}", sequence % 50_000);
        let fact = Fact::Event(EventReceived {
            delivery: Delivery {
                cluster: "mgmt/mgmt",
                stream: "ARCHIVE",
                epoch: 1,
                sequence,
                published_unix_nanos: 1,
                subject: "archive",
            },
            source: "auth.example.com",
            subject: &subject,
            kind: "auth.example.com.login",
            id: "1",
            previous: sequence.checked_sub(50_001).map(Offset::from),
            decisions: vec![],
            headers: vec![],
            payload: b"{}",
            redriven: None,
            order: None,
        });
        log.append_encoded(sequence, |buffer| fact.encode(buffer))?;
    }
    log.sync()?;
    Ok(())
}

async fn verified(scene: &Scene) -> Outcome {
    let (nats, mut lifeline) = engine(scene).await?;
    let producer = Producer::connect(&nats, "visits").await?;
    let url = lifeline.url();
    let verify = async |arguments: &[&str], variable: Option<&Path>| -> Result<Output, Failure> {
        let mut command = Command::new(Lifeline::program()?);
        command.arg("verify").args(arguments).env_remove("LIFELINE_SERVER").env_remove("LIFELINE_DATA");
        command.envs(variable.map(|data| ("LIFELINE_DATA", data)));
        Ok(tokio::task::spawn_blocking(move || command.output()).await??)
    };
    let answer = async |arguments: &[&str]| {
        let output = verify(arguments, None).await?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        assert_eq!((output.status.code(), &answer["item"]["sound"]), (Some(0), &json!(true)), "{answer}");
        Ok::<_, Failure>(answer)
    };
    let live = ["--server", &url, "-o", "json"];
    let publishing = async {
        for number in 0..600 {
            let kind = if number % 3 == 0 { "logout" } else { "login" };
            producer.publish(Event::user(kind, &format!("user-{}", number % 40))).await?;
        }
        Ok::<_, Failure>(())
    };
    // While events come in, and what they want is done.
    let asking = async {
        let mut offsets = Vec::new();
        for _ in 0..8 {
            offsets.push(answer(&live).await?["offset"].as_u64().ok_or("an answer has an offset")?);
        }
        Ok::<_, Failure>(offsets)
    };
    let ((), offsets) = tokio::try_join!(publishing, asking)?;
    assert!(offsets.is_sorted(), "{offsets:?}");
    lifeline.has_recorded(600).await?;
    lifeline.has_settled().await?;

    let last = answer(&live).await?;
    let (offset, digest) = (&last["offset"], &last["item"]["digest"]);
    let said = |output: &Output| String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    let table = verify(&["--server", &url], None).await?;
    let expected = format!("state   sound: memory and log give the same, {}", digest.as_str().unwrap_or_default());
    assert!(table.status.success() && said(&table).contains(&expected), "{}", said(&table));
    // A folder that only the environment names leads to the engine that has it; one that is typed does not.
    let data = lifeline.data();
    let in_use = verify(&live, Some(&data)).await?;
    assert!(in_use.status.success() && said(&in_use).contains("is in use: asking"), "{}", said(&in_use));
    let typed = data.to_string_lossy().into_owned();
    let refused = verify(&["--data", &typed], None).await?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("is in use by a running engine"), "{}", said(&refused));
    let client = async_nats::connect(nats.url()).await?;
    let over_nats: Value = serde_json::from_slice(&client.request("lifeline.v1.verify", "".into()).await?.payload)?;
    assert_eq!((&over_nats["offset"], &over_nats["item"]["digest"]), (offset, digest));

    assert_eq!(lifeline.stop(), Some(0));
    let gone = verify(&["--server", &url], None).await?;
    assert_eq!(gone.status.code(), Some(1));
    assert!(said(&gone).contains("no engine answers"), "{}", said(&gone));
    for (arguments, variable) in [(&["--data", &typed, "-o", "json"][..], None), (&["-o", "json"][..], Some(&*data))] {
        let folder = verify(arguments, variable).await?;
        let report: Value = serde_json::from_slice(&folder.stdout)?;
        assert_eq!(
            (folder.status.code(), &report["sound"], &report["end"]),
            (Some(0), &json!(true), offset),
            "{report}"
        );
        assert_eq!((&report["state"]["verdict"], &report["state"]["digest"]), (&json!("same"), digest), "{report}");
    }
    Ok(())
}

async fn outside(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let url = nats.url();
    let rules = scene.write("rules/rules.yaml", &RULES)?;
    let rules = rules.to_string_lossy();
    let token = scene.write("token", "s3cret\n")?;
    let token = token.to_string_lossy();
    let data = scene.folder().join("refused");
    let refused = Command::new(Lifeline::program()?)
        .args(["run", "--listen", "0.0.0.0:0", "--nats", &url, "--rules", &rules, "--data"])
        .arg(&data)
        .output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("--auth none"), "{said}");
    assert!(!data.exists(), "nothing began");

    let arguments = ["--nats", &url, "--subjects", "visits", "--rules", &rules, "--auth-token-file", &token];
    let mut lifeline = scene.lifeline("guarded", &arguments)?;
    lifeline.wait_until_ready()?;
    let check = async |path: &str, headers: &str, status: u16| {
        assert_eq!(open(&lifeline, path, headers).await?.0, status, "{path} {headers}");
        Ok::<_, Failure>(())
    };
    check("/v1/lifecycles", "", 401).await?;
    check("/v1/watch", "", 401).await?;
    check("/openapi.json", "Authorization: Bearer wrong\r\n", 401).await?;
    check("/v1/lifecycles", "Authorization: Bearer s3cret\r\n", 200).await?;
    check("/metrics", "", 200).await?;
    let server = lifeline.url();
    let ask = |token: Option<&str>| {
        let mut command = Command::new(Lifeline::program()?);
        command.args(["get", "rules", "--server", &server]);
        command.envs(token.map(|token| ("LIFELINE_TOKEN", token)));
        Ok::<_, Failure>(command.output()?.status.code())
    };
    assert_eq!((ask(None)?, ask(Some("s3cret"))?), (Some(1), Some(0)));
    Ok(())
}

async fn reviewed(scene: &Scene) -> Outcome {
    let mut control_plane = scene.fresh_control_plane()?;
    let client = control_plane.client(User::Admin).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let token = async |name: &str| {
        let account = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        accounts.create(&PostParams::default(), &account).await?;
        let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}}))?;
        let granted = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        Ok::<_, Failure>(granted.status.ok_or("a token request has a status")?.token)
    };
    let (reader, stranger, late) = (token("reader").await?, token("stranger").await?, token("late").await?);
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": {"name": "lifeline-reader"},
        "rules": [{"nonResourceURLs": ["/v1/*"], "verbs": ["get"]}],
    }))?;
    Api::all(client.clone()).create(&PostParams::default(), &role).await?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "lifeline-reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "lifeline-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}],
    }))?;
    Api::all(client).create(&PostParams::default(), &binding).await?;

    let nats = scene.nats("nats")?;
    let rules = scene.write("rules/rules.yaml", &RULES)?;
    let (url, rules) = (nats.url(), rules.to_string_lossy().into_owned());
    let kubeconfig = control_plane.kubeconfig(User::Admin);
    let kubeconfig = kubeconfig.to_string_lossy();
    let arguments = [
        "--nats",
        &url,
        "--subjects",
        "visits",
        "--rules",
        &rules,
        "--cluster",
        "kube",
        "--kubeconfig",
        &kubeconfig,
        "--auth",
        "kubernetes",
    ];
    let mut lifeline = scene.lifeline("engine", &arguments)?;
    lifeline.wait_until_ready()?;
    let check = async |path: &str, token: &str, status: u16, code: &str| {
        let header = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let (got, mut lines) = open(&lifeline, path, &header).await?;
        let mut body = String::new();
        lines.read_to_string(&mut body).await?;
        assert_eq!(got, status, "{path}: {body}");
        if status >= 400 {
            assert_eq!(serde_json::from_str::<Value>(&body)?["code"], code, "{path}: {body}");
        }
        Ok::<_, Failure>(())
    };
    // Granted by the authorizer's own cache, which may lag behind a binding.
    eventually("the reader to be let in", SOON, async || {
        let header = format!("Authorization: Bearer {reader}\r\n");
        match open(&lifeline, &format!("/v1/lifecycles?limit={}", 1), &header).await {
            Ok((200, _)) => Ok(()),
            Ok((status, _)) => Err(status.to_string()),
            Err(failure) => Err(failure.to_string()),
        }
    })
    .await?;
    check("/v1/lifecycles", &reader, 200, "").await?;
    check("/v1/lifecycles", &stranger, 403, "forbidden").await?;
    check("/openapi.json", &reader, 403, "forbidden").await?;
    check("/v1/lifecycles", "", 401, "unauthenticated").await?;
    check("/v1/lifecycles", "made-up", 401, "unauthenticated").await?;
    check("/v1/lifecycles", &format!("{reader}x"), 401, "unauthenticated").await?;
    assert_eq!(open(&lifeline, "/livez", "").await?.0, 200);

    control_plane.kill_api_server();
    check("/v1/lifecycles", &late, 503, "access-unknown").await?;
    check("/v1/lifecycles", &reader, 200, "").await?;
    Ok(())
}

async fn service(scene: &Scene) -> Outcome {
    let nats = scene.nats_with("nats", NatsAccess::Anybody, "max_payload: 16KB")?;
    let lifeline = ready_engine(scene, &nats)?;
    let producer = Producer::connect(&nats, "visits").await?;
    for number in 0..60 {
        producer.publish(Event::user("login", &format!("user-{number}"))).await?;
    }
    producer.publish(Event::user("login", "ünïcödé 語&=%")).await?;
    lifeline.has_recorded(61).await?;
    lifeline.has_settled().await?;

    let first = async_nats::connect(nats.url()).await?;
    let second = async_nats::connect(nats.url()).await?;
    eventually("the service to answer", SOON, async || discover(&first, "PING.lifeline").await).await?;
    // A problem has others.
    let names = |answer: &async_nats::Message| -> Vec<String> {
        answer.headers.iter().flat_map(|headers| headers.iter()).map(|(name, _)| name.to_string()).collect()
    };
    let same = async |client: &Client, noun: &str, parameters: Value, query: &str| {
        let answer = client.request(format!("lifeline.v1.{noun}"), parameters.to_string().into()).await?;
        assert_eq!(names(&answer), ["Lifeline-Instance"], "{noun}");
        assert_eq!(String::from_utf8_lossy(&answer.payload), lifeline.get(&format!("/v1/{noun}{query}"))?, "{noun}");
        Ok::<_, Failure>(())
    };
    let odd = "?source=auth.example.com&subject=%C3%BCn%C3%AFc%C3%B6d%C3%A9%20%E8%AA%9E%26%3D%25";
    let odd_key = json!({"source": "auth.example.com", "subject": "ünïcödé 語&=%"});
    tokio::try_join!(
        same(&first, "lifecycles", json!({"limit": 3}), "?limit=3"),
        same(&second, "resources", json!({"limit": "5", "after": null}), "?limit=5"),
        same(&first, "resource", odd_key.clone(), odd),
        same(&second, "history", odd_key, odd),
        same(&second, "rules", json!({}), ""),
    )?;
    let all = first.request("lifeline.v1.rules", "".into()).await?;
    assert_eq!(names(&all), ["Lifeline-Instance"], "nothing asks for everything");

    let refused = async |noun: &str, request: &str, status: &str, code: &str| {
        let answer = second.request(format!("lifeline.v1.{noun}"), request.to_owned().into()).await?;
        let problem: Value = serde_json::from_slice(&answer.payload)?;
        assert_eq!(problem["code"], code, "{noun} {request}: {problem}");
        let headers = answer.headers.ok_or("a refusal has headers")?;
        let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(header("Nats-Service-Error-Code").as_deref(), Some(status));
        assert_eq!(header("Nats-Service-Error").as_deref(), problem["detail"].as_str());
        Ok::<_, Failure>(())
    };
    refused("lifecycles", r#"{"phase":"sleepy"}"#, "400", "bad-parameter").await?;
    refused("lifecycles", r#"{"phse":"ready"}"#, "400", "bad-parameter").await?;
    refused("lifecycles", "ready", "400", "bad-parameter").await?;
    refused("lifecycles", "{}", "413", "too-large").await?;
    refused("resource", r#"{"source":"nobody"}"#, "404", "unknown-resource").await?;
    refused("nonsense", "", "404", "no-such-path").await?;

    let info = discover(&first, "INFO").await?;
    let subjects: Vec<&str> = info["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|endpoint| endpoint["subject"].as_str())
        .collect();
    assert!(subjects.contains(&"lifeline.v1.lifecycles") && subjects.contains(&"lifeline.v1.status"), "{info}");
    let id = info["id"].as_str().ok_or("a service has an id")?;
    let stats = discover(&second, &format!("STATS.lifeline.{id}")).await?;
    let lifecycles = stats["endpoints"].as_array().into_iter().flatten().find(|of| of["name"] == "lifecycles");
    let lifecycles = lifecycles.ok_or_else(|| format!("{stats}"))?;
    assert_eq!((&lifecycles["num_requests"], &lifecycles["num_errors"]), (&json!(5), &json!(4)), "{stats}");
    Ok(())
}

async fn no_service(scene: &Scene) -> Outcome {
    let users = r#"authorization { users: [
        {user: all, password: all}
        {user: engine, password: engine, permissions: {subscribe: {deny: ["$SRV.>", "lifeline.v1.>"]}}}
    ] }"#;
    let nats = scene.nats_with("nats", NatsAccess::Anybody, users)?;
    let rules = scene.write("engine/rules/rules.yaml", &RULES)?;
    let (url, rules) = (format!("nats://engine:engine@{}", nats.address()), rules.to_string_lossy().into_owned());
    let mut lifeline = scene.lifeline("engine", &["--nats", &url, "--subjects", "visits", "--rules", &rules])?;
    lifeline.wait_until_ready()?;
    let client = async_nats::ConnectOptions::with_user_and_password("all".into(), "all".into());
    let producer = Producer::on(client.connect(nats.url()).await?, "visits");
    producer.publish(Event::user("login", "someone")).await?;
    lifeline.has_recorded(1).await?;
    lifeline.has_said("the NATS service gets no requests").await?;
    let status = lifeline.status()?;
    assert!(status["warnings"].to_string().contains("the NATS service gets no requests"), "{status}");
    producer.publish(Event::user("logout", "someone")).await?;
    lifeline.has_recorded(2).await?;
    Ok(())
}

/// What a service says of itself.
async fn discover(client: &Client, what: &str) -> Result<Value, Failure> {
    let answer = client.request(format!("$SRV.{what}"), "".into()).await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    if answer["name"] == "lifeline" { Ok(answer) } else { Err(format!("{answer}").into()) }
}

async fn engine(scene: &Scene) -> Result<(NatsServer, Lifeline), Failure> {
    let nats = scene.nats("nats")?;
    let lifeline = ready_engine(scene, &nats)?;
    Ok((nats, lifeline))
}

fn ready_engine(scene: &Scene, nats: &NatsServer) -> Result<Lifeline, Failure> {
    let mut lifeline = scene.local_engine("engine", nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    Ok(lifeline)
}

/// The status of a GET, and what follows its headers. HTTP/1.0: the body comes as it is and ends with the connection.
async fn open(lifeline: &Lifeline, path: &str, headers: &str) -> Result<(u16, BufReader<TcpStream>), Failure> {
    let url = lifeline.url();
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n").as_bytes()).await?;
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no HTTP answer: `{line}`"))?;
    while !line.trim_end().is_empty() {
        line.clear();
        lines.read_line(&mut line).await?;
    }
    Ok((status, lines))
}

/// Runs a program to its end; everything it printed. It fails with that when the program does.
fn succeeds(command: &mut Command) -> Result<String, Failure> {
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{command:?} ({}):\n{said}", output.status).into()) }
}
