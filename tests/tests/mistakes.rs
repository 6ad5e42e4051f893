//! What people and producers get wrong, and what a machine runs out of: each is told by name with what to do about it,
//! nothing else stops for it, and nothing is lost.

#[path = "mistakes/asked.rs"]
mod asked;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use lifeline_ops::servers::{NatsAccess, NatsServer};
use lifeline_tests::harness::Need::{Mounts, Nats};
use lifeline_tests::harness::{Event, Failure, Lifeline, Mount, Outcome, Producer, Scene, eventually, run, story};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(90);
const RULES: &str = include_str!("../../engine/tests/seed/3-end-to-end.yaml");
const SUBJECT: &str = "user-operation";

/// A volume for a data folder: room for the first segment of the log above the low-space watermark.
const VOLUME: &str = "size=480m";
/// What takes a volume below the watermark.
const BALLAST_MIB: usize = 160;

fn main() -> ExitCode {
    run(vec![
        story("a_message_that_is_no_cloudevent_is_recorded_with_the_reason_and_stops_nothing", &[Nats], no_cloud_event),
        story("an_event_of_1_mib_is_an_event_like_any_other", &[Nats], large_event),
        story("a_rule_that_is_wrong_is_named_with_its_place_and_stops_no_other", &[Nats], wrong_rules),
        story("a_template_that_fails_is_told_by_its_lifecycle_and_stops_no_other", &[Nats], failing_template),
        story("lint_and_render_say_beforehand_what_an_engine_does", &[Nats], beforehand),
        story("a_wrong_password_is_told_with_the_setting_to_look_at", &[Nats], wrong_password),
        story("connection_settings_that_cannot_be_meant_end_the_start", &[Nats], wrong_connection),
        story("a_server_that_is_not_there_is_named", &[Nats], no_server),
        story("a_data_folder_that_is_a_file_is_named", &[Nats], file_for_folder),
        story("a_data_folder_that_takes_no_writes_is_named", &[Nats, Mounts], read_only),
        story("a_full_data_folder_stops_recording_until_there_is_room", &[Nats, Mounts], full),
        story("a_checkpoint_that_finds_no_room_is_written_once_there_is_some", &[Nats, Mounts], full_for_a_checkpoint),
        story("two_engines_do_not_share_a_data_folder", &[Nats], two_engines),
        story("a_port_in_use_is_named", &[Nats], port_in_use),
        story("what_is_asked_wrongly_is_told_with_the_remedy_to_people_and_programs", &[Nats], asked::wrongly),
    ])
}

/// Asserts that a text holds all words that matter.
fn tells(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
}

/// A good event still becomes its object.
async fn still_works(lifeline: &Lifeline, producer: &Producer, subject: &str) -> Outcome {
    producer.publish(Event::user("login", subject)).await?;
    has_namespace(lifeline, subject).await
}

/// Waits for a Namespace in the local cluster, as Lifeline tells it.
async fn has_namespace(lifeline: &Lifeline, name: &str) -> Outcome {
    eventually(&format!("Namespace/{name}"), SOON, async || {
        let objects = lifeline.ask(&["get", "objects", "--subject", name]).map_err(|failure| failure.to_string())?;
        if objects["items"][0]["uid"].is_string() { Ok(()) } else { Err(objects.to_string()) }
    })
    .await
}

async fn stage(scene: &Scene, rules: &str) -> Result<(Lifeline, Producer, NatsServer), Failure> {
    let nats = scene.nats_with("nats", NatsAccess::Anybody, "max_payload: 2MB")?;
    let mut lifeline = scene.local_engine("engine", &nats, SUBJECT, rules)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, SUBJECT).await?;
    Ok((lifeline, producer, nats))
}

async fn no_cloud_event(scene: &Scene) -> Outcome {
    let (mut lifeline, producer, _nats) = stage(scene, RULES).await?;
    let good = Bytes::from(Event::user("login", "mgianluc"));
    let without = |attribute: &str| {
        let mut event: Value = serde_json::from_slice(&good).expect("an event is JSON");
        event.as_object_mut().expect("an event is an object").remove(attribute);
        Bytes::from(event.to_string())
    };
    let mut cut = good.to_vec();
    cut.truncate(good.len() / 2);
    let mut not_utf8 = good.to_vec();
    let at = good.windows(8).position(|window| window == b"mgianluc").ok_or("no subject in the event")?;
    not_utf8[at] = 0xff;
    let cases: [(&str, Bytes, &str); 8] = [
        ("no JSON", "hello".into(), "JSON"),
        ("nothing", Bytes::new(), ""),
        ("another JSON", "[1, 2]".into(), "object"),
        ("half an event", cut.into(), "JSON"),
        ("invalid UTF-8", not_utf8.into(), "UTF-8"),
        ("no source", without("source"), "source"),
        ("no type", without("type"), "type"),
        ("no version", without("specversion"), "specversion"),
    ];
    for (_, payload, _) in &cases {
        producer.publish(payload.clone()).await?;
    }
    still_works(&lifeline, &producer, "after").await?;

    let rejected = || -> Result<Vec<Value>, Failure> {
        let events = lifeline.ask(&["get", "events"])?;
        let items = events["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().filter(|entry| entry["fact"] == "EventRejected").collect())
    };
    let entries = rejected()?;
    assert_eq!(entries.len(), cases.len(), "{entries:#?}");
    for ((what, _, reason), entry) in cases.iter().zip(&entries) {
        println!("mistakes: {what}: {}", entry["summary"].as_str().unwrap_or_default());
        tells(&entry.to_string(), &[reason]);
    }
    let status = lifeline.status()?;
    assert_eq!(status["streams"][0]["rejected"], cases.len());
    // Acknowledged: they never come again.
    let mut consumer: async_nats::jetstream::consumer::PullConsumer =
        producer.jetstream().get_consumer_from_stream("lifeline", "LIFELINE").await?;
    eventually("everything to be acknowledged", SOON, async || match consumer.info().await {
        Ok(info) if info.ack_floor.stream_sequence == cases.len() as u64 + 1 => Ok(()),
        Ok(info) => Err(format!("{:?}", info.ack_floor)),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    lifeline.kill();
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    assert_eq!(lifeline.status()?["streams"][0]["rejected"], cases.len());
    Ok(())
}

async fn large_event(scene: &Scene) -> Outcome {
    let (mut lifeline, producer, _nats) = stage(scene, RULES).await?;
    let event = Event::user("login", "large").data(json!({"message": "x".repeat(1 << 20)}));
    let bytes = Bytes::from(event.clone()).len();
    assert!(bytes > 1 << 20);
    producer.publish(event).await?;
    has_namespace(&lifeline, "large").await?;
    lifeline.kill();
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    has_namespace(&lifeline, "large").await?;
    still_works(&lifeline, &producer, "small").await
}

/// A generator and a patch beside the rules of the story.
const NEIGHBOURS: &str = r#"---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: neighbours}
spec:
  eventSourceName: user-operation
  oneForEvent: true
  policyRefs: [{kind: ConfigMap, namespace: default, name: own-namespace}]
  configMapGenerator: [{namespace: default, name: texts, nameFormat: "texts-{{ .CloudEvent.subject }}"}]
  patches:
  - target: {kind: ^ConfigMap$, name: texts}
    patch: "- {op: add, path: /data/patched, value: 'yes'}"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: own-namespace, namespace: default}
data: {namespace.yaml: "{kind: Namespace, apiVersion: v1, metadata: {name: projectsveltos}}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: texts, namespace: default}
data: {user: "{{ .CloudEvent.subject }}"}
"#;

async fn beforehand(scene: &Scene) -> Outcome {
    let (mut lifeline, producer, _nats) = stage(scene, &format!("{RULES}{NEIGHBOURS}")).await?;
    let rules = scene.folder().join("engine/rules");
    let rules = rules.to_string_lossy().into_owned();
    tells(&Lifeline::command(&["lint", &rules])?, &["1 file, "]);
    let event = scene.write("login.json", &String::from_utf8_lossy(&Bytes::from(Event::user("login", "zoe"))))?;
    let event = event.to_string_lossy().into_owned();
    let from_file = Lifeline::command(&["render", "-f", &rules, "--event", &event, "--trigger", "neighbours"])?;
    tells(
        &from_file,
        &["decided   Create", "name: texts-zoe", "patched: \"yes\"", "ConfigMap default/texts, key `data`"],
    );

    producer.publish(Event::user("login", "zoe")).await?;
    eventually("the ConfigMap of the generator", SOON, async || {
        let objects = lifeline.ask(&["get", "objects"]).map_err(|failure| failure.to_string())?;
        let is_there = objects.to_string().contains("texts-zoe");
        if is_there { Ok(()) } else { Err(objects.to_string()) }
    })
    .await?;
    lifeline.has_settled().await?;
    let events = lifeline.ask(&["get", "events"])?;
    let items = events["items"].as_array().ok_or("no records")?;
    let received = items.iter().find(|entry| entry["fact"] == "EventReceived").ok_or("no event")?;
    let offset = received["offset"].to_string();
    let rendered = lifeline.ask(&["render", "-f", &rules, "--event", &offset])?;
    let manifests = rendered["triggers"].as_array().into_iter().flatten().flat_map(|one| one["manifests"].as_array());
    let names: Vec<_> = manifests.flatten().map(|one| one["manifest"]["metadata"]["name"].clone()).collect();
    for name in ["zoe", "projectsveltos", "texts-zoe"] {
        assert!(names.contains(&json!(name)), "`{name}` is missing in {rendered}");
    }
    lifeline.stop();
    let data = lifeline.data().to_string_lossy().into_owned();
    let stopped = ["render", "-f", &rules, "--event", &offset, "--data", &data, "--trigger", "neighbours"];
    let (_, without_first_line) = from_file.split_once('\n').ok_or("it says one line")?;
    assert_eq!(Lifeline::command(&stopped)?, without_first_line);
    Ok(())
}

async fn wrong_rules(scene: &Scene) -> Outcome {
    let (lifeline, producer, _nats) = stage(scene, RULES).await?;
    let folder = scene.folder().join("engine/rules");
    let trigger = |name: &str, rest: &str| {
        format!(
            "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventTrigger\nmetadata: {{name: {name}}}\nspec:\n  eventSourceName: user-operation\n  oneForEvent: true\n{rest}"
        )
    };
    let source = |name: &str, criterion: &str| {
        format!(
            "apiVersion: lib.projectsveltos.io/v1beta1\nkind: EventSource\nmetadata: {{name: {name}}}\nspec:\n  messagingMatchCriteria:\n  - {criterion}\n"
        )
    };
    // File, text, and the words that its problem must hold.
    let cases: [(&str, String, &[&str]); 8] = [
        (
            "field.yaml",
            trigger("field", "  policyRef:\n  - {kind: ConfigMap, namespace: default, name: namespace}\n"),
            &["policyRef", "EventTrigger/field", "field.yaml:", "policyRefs"],
        ),
        (
            "kind.yaml",
            trigger("kind", "  policyRefs:\n  - {kind: Configmap, namespace: default, name: namespace}\n"),
            &["`Configmap`", "EventTrigger/kind", "kind.yaml:", "ConfigMap"],
        ),
        (
            "action.yaml",
            trigger("action", "  cloudEventAction: '{{ if eq .CloudEvent.type }'\n"),
            &["spec.cloudEventAction", "EventTrigger/action", "action.yaml:"],
        ),
        (
            "text.yaml",
            trigger("text", "  cloudEventAction: Remove\n"),
            &["`Remove`", "`Create`", "`Delete`", "EventTrigger/text", "text.yaml:"],
        ),
        (
            "missing.yaml",
            trigger("missing", "  policyRefs:\n  - {kind: ConfigMap, namespace: default, name: nowhere}\n"),
            &["nowhere", "EventTrigger/missing", "missing.yaml:"],
        ),
        (
            "regex.yaml",
            source("regex", "cloudEventSource: 'auth('"),
            &["auth(", "EventSource/regex", "regex.yaml:", "cloudEventSource"],
        ),
        (
            "source.yaml",
            source("source", "cloudeventsource: auth"),
            &["cloudeventsource", "cloudEventSource", "source.yaml:"],
        ),
        ("broken.yaml", "kind: [EventTrigger".to_owned(), &["broken.yaml"]),
    ];
    for (file, text, _) in &cases {
        fs::write(folder.join(file), text)?;
    }
    for (file, _, words) in &cases {
        let problem = eventually(file, SOON, async || {
            let status = lifeline.status().map_err(|failure| failure.to_string())?;
            let all = ["problems", "warnings"].map(|list| status[list].as_array().cloned().unwrap_or_default());
            let mut all = all.iter().flatten().filter_map(Value::as_str);
            all.find(|problem| problem.contains(file)).map(str::to_owned).ok_or_else(|| status.to_string())
        })
        .await?;
        println!("mistakes: {problem}");
        tells(&problem, words);
        // The log tells it as well.
        let line = problem.lines().next().unwrap_or_default();
        lifeline.has_said(line.trim_start_matches("error: ").trim_start_matches("warning: ")).await?;
    }
    still_works(&lifeline, &producer, "after").await
}

async fn failing_template(scene: &Scene) -> Outcome {
    let rules = RULES.replace(
        "      name: {{ .CloudEvent.subject }}",
        "      name: {{ .CloudEvent.subject }}\n      labels:\n        team: {{ .CloudEvent.data.team }}",
    );
    assert_ne!(rules, RULES);
    let (lifeline, producer, _nats) = stage(scene, &rules).await?;
    producer.publish(Event::user("login", "without")).await?;
    producer.publish(Event::user("login", "with").data(json!({"team": "core"}))).await?;
    has_namespace(&lifeline, "with").await?;
    let error = eventually("the failure", SOON, async || {
        let rows = lifeline.ask(&["get", "lifecycles", "--subject", "without"]);
        let row = rows.map_err(|failure| failure.to_string())?["items"][0].clone();
        match row["error"].as_str() {
            Some(error) if row["phase"] == "Failing" => Ok(error.to_owned()),
            _ => Err(row.to_string()),
        }
    })
    .await?;
    println!("mistakes: {error}");
    tells(&error, &["ConfigMap", "default/namespace", "namespace.yaml", "team"]);
    tells(&lifeline.ask(&["history", "auth.example.com", "without"])?.to_string(), &["ApplyFailed", "team"]);
    // The next event of the same resource mends it.
    producer.publish(Event::user("login", "without").data(json!({"team": "core"}))).await?;
    has_namespace(&lifeline, "without").await
}

async fn wrong_password(scene: &Scene) -> Outcome {
    let access = NatsAccess::User { user: "admin".to_owned(), password: "my-password".to_owned() };
    let nats = scene.nats_with("nats", access, "")?;
    let settings = |password: &str| {
        let authorization = json!({"user": {"user": "admin", "password": password}});
        let configuration = json!({"url": nats.url(), "subjects": [SUBJECT], "authorization": authorization});
        scene.write("connection.json", &json!({"nats": {"configuration": configuration}}).to_string())
    };
    let connection = settings("guessed-wrong")?;
    let rules = scene.write("rules/rules.yaml", RULES)?;
    let arguments = ["--nats", &connection.to_string_lossy(), "--rules", &rules.to_string_lossy()];
    let mut lifeline = scene.lifeline("engine", &arguments)?;
    let said = lifeline.has_said("authorization violation").await?;
    tells(&said, &[&nats.url(), "`admin`", "hint:", "nats.configuration.authorization", "connection.json"]);
    assert!(!said.contains("guessed-wrong"), "a password is never printed");
    let ready = lifeline.get("/readyz").map_err(|failure| failure.to_string());
    tells(&ready.expect_err("it is not ready"), &["authorization violation", "`admin`"]);
    // Mended while it runs, it is taken up.
    settings("my-password")?;
    lifeline.wait_until_ready()?;
    let options = async_nats::ConnectOptions::with_user_and_password("admin".to_owned(), "my-password".to_owned());
    let producer = Producer::on(options.connect(nats.url()).await?, SUBJECT);
    still_works(&lifeline, &producer, "mended").await
}

async fn wrong_connection(scene: &Scene) -> Outcome {
    let cases: [(&str, &str, &[&str]); 5] = [
        ("no-json", "{\"nats\": ", &["no-json.json", "JSON"]),
        (
            "no-url",
            "{\"nats\": {\"configuration\": {\"subjects\": [\"a\"]}}}",
            &["no-url.json", "`nats.configuration.url`"],
        ),
        ("nothing", "{}", &["nothing.json", "nats"]),
        (
            "wrong-type",
            "{\"nats\": {\"configuration\": {\"url\": 4222, \"subjects\": \"a\"}}}",
            &["wrong-type.json", "nats.configuration.url", "nats.configuration.subjects"],
        ),
        (
            "wrong-subject",
            "{\"nats\": {\"configuration\": {\"url\": \"nats://127.0.0.1:4222\", \"subjects\": [\"a..b\"]}}}",
            &["wrong-subject.json", "`a..b`"],
        ),
    ];
    for (name, text, words) in cases {
        let connection = scene.write(&format!("{name}.json"), text)?;
        let mut lifeline = scene.lifeline(name, &["--nats", &connection.to_string_lossy()])?;
        let (code, said) = lifeline.wait_until_ended(SOON)?;
        println!("mistakes: {name}: {}", last_words(&said));
        assert_eq!(code, Some(1), "{said}");
        tells(last_words(&said), words);
    }
    let missing = scene.folder().join("missing.json");
    let mut lifeline = scene.lifeline("missing", &["--nats", &missing.to_string_lossy()])?;
    let (code, said) = lifeline.wait_until_ended(SOON)?;
    assert_eq!(code, Some(1), "{said}");
    tells(&said, &["error: ", "missing.json", "No such file"]);
    Ok(())
}

async fn no_server(scene: &Scene) -> Outcome {
    let rules = scene.write("rules/rules.yaml", RULES)?;
    let rules = rules.to_string_lossy();
    // A port that nobody listens on, for it is ours and we do not.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    drop(taken);
    let cases: [(&str, String, &[&str]); 2] = [
        ("refused", format!("nats://{address}"), &["refused", "check that the server runs"]),
        ("unknown", "nats://nats.nowhere.invalid:4222".to_owned(), &["nats.nowhere.invalid", "DNS"]),
    ];
    for (name, url, words) in cases {
        let lifeline = scene.lifeline(name, &["--nats", &url, "--subjects", SUBJECT, "--rules", &rules])?;
        let said = lifeline.has_said(&format!("waiting for NATS at {url}")).await?;
        tells(&said, words);
        let ready = lifeline.get("/readyz").map_err(|failure| failure.to_string());
        tells(&ready.expect_err("it is not ready"), &["NATS is not read", &url]);
        // It answers what it knows all the same.
        assert_eq!(lifeline.ask(&["get", "lifecycles"])?["items"], json!([]));
    }
    Ok(())
}

/// Starts an engine that must refuse its data folder, and gives what it said.
fn refused(scene: &Scene, nats: &NatsServer, name: &str) -> Result<String, Failure> {
    let mut lifeline = scene.local_engine(name, nats, SUBJECT, RULES)?;
    let (code, said) = lifeline.wait_until_ended(SOON)?;
    println!("mistakes: {name}: {}", last_words(&said));
    assert_eq!(code, Some(1), "{said}");
    // It may have run before: what counts is what it ended with.
    let said = last_words(&said).to_owned();
    tells(&said, &["hint: ", &lifeline.data().to_string_lossy()]);
    Ok(said)
}

/// The message a start ended with.
fn last_words(said: &str) -> &str {
    said.rfind("error: ").map_or(said, |at| said[at..].trim_end())
}

async fn file_for_folder(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    scene.write("engine/data", "not a folder")?;
    refused(scene, &nats, "engine").map(drop)
}

async fn read_only(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let fresh = Mount::new(&scene.folder().join("fresh/data"), "ro")?;
    tells(&refused(scene, &nats, "fresh")?, &["Read-only file system"]);
    drop(fresh);

    // A folder that has been written before, and whose disk has become read-only since.
    let used = Mount::new(&scene.folder().join("used/data"), VOLUME)?;
    let mut lifeline = scene.local_engine("used", &nats, SUBJECT, RULES)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, SUBJECT).await?;
    still_works(&lifeline, &producer, "before").await?;
    assert_eq!(lifeline.stop(), Some(0));
    used.remount("ro")?;
    producer.publish(Event::user("login", "meanwhile")).await?;
    tells(&refused(scene, &nats, "used")?, &["Read-only file system"]);
    // Asked as it lies there, it still answers.
    let data = lifeline.data();
    let told = Lifeline::command(&["get", "objects", "--data", &data.to_string_lossy()])?;
    tells(&told, &["before"]);
    used.remount("rw")?;
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    has_namespace(&lifeline, "meanwhile").await?;
    lifeline.has_recorded(2).await?;
    drop(lifeline);
    Ok(())
}

async fn full(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let folder = scene.folder().join("engine/data");
    let volume = Mount::new(&folder, VOLUME)?;
    let mut lifeline = scene.local_engine("engine", &nats, SUBJECT, RULES)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, SUBJECT).await?;
    still_works(&lifeline, &producer, "before").await?;

    let ballast = folder.join("ballast");
    fill(&ballast, BALLAST_MIB)?;
    // Space is looked at with every group: one may still pass that began before.
    let mut published = 1;
    eventually("recording to stand still", SOON, async || {
        if lifeline.get("/readyz").is_err() {
            return Ok(());
        }
        producer.publish(Event::user("login", "while-full")).await.map_err(|failure| failure.to_string())?;
        published += 1;
        Err("it is ready".to_owned())
    })
    .await?;
    let ready = lifeline.get("/readyz").map_err(|failure| failure.to_string()).expect_err("it is not ready");
    println!("mistakes: full: {}", ready.trim_end());
    tells(&ready, &["recording stands still", "free space", "hint:"]);
    tells(&lifeline.has_said("messages wait unacknowledged").await?, &["hint: free space"]);
    producer.publish(Event::user("logout", "before")).await?;
    published += 1;

    // To the last byte: it does not fall over either, and not when it starts again like this.
    let brim = folder.join("brim");
    let _ = fill(&brim, usize::MAX);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(lifeline.get("/livez").is_ok());
    lifeline.kill();
    lifeline.restart()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    if let Ok((code, said)) = lifeline.wait_until_ended(Duration::from_millis(1)) {
        return Err(format!("it ended with {code:?}: {}", last_words(&said)).into());
    }

    fs::remove_file(brim)?;
    fs::remove_file(ballast)?;
    lifeline.wait_until_ready()?;
    lifeline.has_recorded(published).await?;
    lifeline.has_settled().await?;
    has_namespace(&lifeline, "while-full").await?;
    let gone = lifeline.ask(&["get", "lifecycles", "--subject", "before"])?;
    assert_eq!(gone["items"][0]["phase"], "Gone", "{gone}");
    still_works(&lifeline, &producer, "after").await?;
    drop(lifeline);
    drop(volume);
    Ok(())
}

async fn full_for_a_checkpoint(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let folder = scene.folder().join("engine/data");
    let volume = Mount::new(&folder, VOLUME)?;
    let mut lifeline = scene.local_engine("engine", &nats, SUBJECT, RULES)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, SUBJECT).await?;
    let brim = folder.join("brim");
    let warned = |status: &Value| status["warnings"].to_string().contains("the state is not saved");
    let says_so = async |lifeline: &Lifeline, what: &str, patience: Duration| {
        eventually(what, patience, async || {
            let status = lifeline.status().map_err(|failure| failure.to_string())?;
            if warned(&status) { Ok(()) } else { Err(format!("{status}")) }
        })
        .await
    };
    // A checkpoint follows some seconds after records. Should it come before the disk is full, the next round has another.
    let mut published = 0;
    loop {
        for user in published..published + 100 {
            producer.publish(Event::user("login", &format!("user-{user}"))).await?;
        }
        published += 100;
        lifeline.has_recorded(published).await?;
        let _ = fill(&brim, usize::MAX);
        match says_so(&lifeline, "a word that nothing is saved", Duration::from_secs(15)).await {
            Ok(()) => break,
            Err(failure) if published == 500 => return Err(failure),
            Err(_) => fs::remove_file(&brim)?,
        }
        lifeline.wait_until_ready()?;
    }
    println!("mistakes: full for a checkpoint: {}", lifeline.ask(&["status"])?["warnings"]);

    // It starts like this too: what the log had reserved may make room, or it says again that nothing is saved.
    lifeline.kill();
    lifeline.restart()?;
    eventually("an engine that saves or says that it cannot", LATER, async || {
        let status = lifeline.status().map_err(|failure| failure.to_string())?;
        let is_saved = status["saved"].as_u64() >= Some(published);
        if is_saved || warned(&status) { Ok(()) } else { Err(format!("{status}")) }
    })
    .await?;

    fs::remove_file(brim)?;
    eventually("the state to be saved again", LATER, async || {
        let status = lifeline.status().map_err(|failure| failure.to_string())?;
        let is_saved = status["saved"].as_u64() >= Some(published);
        if is_saved && !warned(&status) { Ok(()) } else { Err(format!("{status}")) }
    })
    .await?;
    still_works(&lifeline, &producer, "after").await?;
    lifeline.kill();
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    lifeline.has_settled().await?;
    drop(lifeline);
    drop(volume);
    Ok(())
}

/// Writes a file of so many MiB, or as much of it as there is room for.
fn fill(path: &Path, mebibytes: usize) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(path)?;
    let block = vec![1; 1 << 20];
    for _ in 0..mebibytes {
        file.write_all(&block)?;
    }
    Ok(())
}

async fn two_engines(scene: &Scene) -> Outcome {
    let (lifeline, producer, nats) = stage(scene, RULES).await?;
    let said = refused(scene, &nats, "engine")?;
    tells(&said, &["in use by another process"]);
    still_works(&lifeline, &producer, "undisturbed").await
}

async fn port_in_use(scene: &Scene) -> Outcome {
    let (mut lifeline, producer, _nats) = stage(scene, RULES).await?;
    let address = lifeline.url().replace("http://", "");
    assert_eq!(lifeline.stop(), Some(0));
    let taken = TcpListener::bind(&address)?;
    lifeline.restart()?;
    let (code, said) = lifeline.wait_until_ended(SOON)?;
    println!("mistakes: port in use: {}", last_words(&said));
    assert_eq!(code, Some(1), "{said}");
    tells(&said, &["error: ", &address, "in use", "hint: ", "--listen"]);
    drop(taken);
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    still_works(&lifeline, &producer, "after").await
}
