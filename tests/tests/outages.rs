//! What breaks around the engine, and what it makes of it: nothing is lost, and it goes on by itself.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use async_nats::datetime::{add_std_duration, now};
use async_nats::jetstream::stream;
use bytes::Bytes;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{
    Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, Write, eventually, run, story, visits,
};
use serde_json::json;

#[path = "outages/owners.rs"]
mod owners;
#[path = "outages/slow_link.rs"]
mod slow_link;

const EVENTS: u64 = 10_000;
const USERS: u64 = 100;

const SOON: Duration = Duration::from_secs(30);

/// A Namespace per user, whose label tells which event it was made for.
static RULES: LazyLock<String> = LazyLock::new(|| {
    visits(
        r#"apiVersion: v1
kind: Namespace
metadata:
  name: {{ .CloudEvent.subject }}
  labels:
    visit: "{{ .CloudEvent.id }}""#,
    )
});

fn main() -> ExitCode {
    run(vec![
        story("a_backlog_of_10000_events_about_100_users_costs_100_writes", &[Nats, ControlPlane], backlog),
        story("a_killed_nats_server_is_read_on_when_it_is_back", &[Nats, ControlPlane], killed_nats),
        story("a_killed_api_server_gets_what_it_missed_when_it_is_back", &[Nats, ControlPlane], killed_api_server),
        story("an_engine_that_starts_without_nats_waits_for_it", &[Nats, ControlPlane], nats_away),
        story("messages_that_no_client_reads_stop_neither_intake_nor_answers", &[Nats], strange_messages),
        story("a_stream_that_is_made_after_the_engine_started_is_read", &[Nats, ControlPlane], stream_to_come),
        story("a_stream_that_is_gone_is_left_to_its_owner", &[Nats], left_to_owner),
        story("a_paused_consumer_is_named_and_left_paused", &[Nats], paused_consumer),
        story("of_two_engines_with_one_consumer_one_reads_and_the_other_says_whose_it_is", &[Nats], two_engines),
        story("a_slow_link_is_used_as_far_as_it_goes", &[Nats], slow_link::backlog),
        story("a_large_message_on_a_slow_link_is_no_silence", &[Nats], slow_link::large_message),
        story("an_engine_that_stops_leaves_its_consumer_to_the_next_at_once", &[Nats], owners::released),
        story("an_idle_engine_is_ready_and_says_nothing", &[Nats], idle),
        story("a_subject_delete_marker_is_known", &[Nats], marker),
        story("a_lost_volume_changes_no_living_object", &[Nats, ControlPlane], lost_volume),
        story(
            "a_login_that_waits_in_the_stream_keeps_what_an_open_logout_would_delete",
            &[Nats, ControlPlane],
            open_logout,
        ),
    ])
}

async fn backlog(scene: &Scene) -> Outcome {
    let control_plane = scene.control_plane();
    let nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(control_plane).await?;
    let producer = Producer::connect(&nats, "visits").await?;
    let mut stream = producer.make_stream("VISITS").await?;
    // Everybody comes and goes all the time; at last all are there.
    let name = |user: u64| format!("backlog-{user:02}");
    let events = (0..EVENTS).map(|event| {
        let round = event / USERS;
        let kind = if round % 3 == 1 { "logout" } else { "login" };
        Event::user(kind, &name(event % USERS)).with("id", &round.to_string())
    });
    producer.publish_all(events).await?;
    assert_eq!(stream.info().await?.state.messages, EVENTS);

    let started = Instant::now();
    let mut lifeline = scene.engine("engine", control_plane, &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    lifeline.has_recorded(EVENTS).await?;
    let recorded = started.elapsed();
    lifeline.has_settled().await?;
    let settled = started.elapsed();

    let last = (EVENTS / USERS - 1).to_string();
    for user in 0..USERS {
        let namespace = kubernetes.namespace(&name(user)).await?;
        let namespace = namespace.ok_or_else(|| format!("`{}` is missing", name(user)))?;
        assert_eq!(namespace.metadata.labels.unwrap_or_default()["visit"], last, "{}", name(user));
    }
    let mut writes = BTreeMap::<String, u64>::new();
    for write in control_plane.writes()? {
        // Not what the controllers of the control plane do to a namespace.
        if write.user == "admin" && write.name.starts_with("backlog-") {
            *writes.entry(format!("{} {}", write.verb, write.resource)).or_default() += 1;
        }
    }
    let total: u64 = writes.values().sum();
    let status = lifeline.status()?;
    println!(
        "backlog: {EVENTS} events about {USERS} users: all recorded {:.1} s after the start, settled after {:.1} s; {total} API writes {writes:?}, {} reconciliations",
        recorded.as_secs_f64(),
        settled.as_secs_f64(),
        status["reconciliations"],
    );
    assert!((USERS..=2 * USERS).contains(&total), "{writes:?}");
    let reconciliations = status["reconciliations"].as_u64().unwrap_or_default();
    assert!((USERS..=2 * USERS).contains(&reconciliations), "{reconciliations} reconciliations");
    assert_eq!(status["failures"], 0);
    Ok(())
}

async fn killed_nats(scene: &Scene) -> Outcome {
    let control_plane = scene.control_plane();
    let mut nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(control_plane).await?;
    let mut lifeline = scene.engine("engine", control_plane, &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, "visits").await?;
    let before = kubernetes_after(&kubernetes, &producer, "killed-nats-before").await?;

    for outage in 0..3 {
        nats.kill();
        eventually("the engine to say that it is not ready", SOON, async || match lifeline.get("/readyz") {
            Ok(_) => Err("it says that it is".to_owned()),
            Err(failure) if failure.to_string().contains("NATS") => Ok(()),
            Err(failure) => Err(failure.to_string()),
        })
        .await?;
        nats.restart()?;
        kubernetes_after(&kubernetes, &producer, &format!("killed-nats-{outage}")).await?;
        lifeline.wait_until_ready()?;
    }
    lifeline.has_recorded(4).await?;
    let after = kubernetes.has_namespace("killed-nats-before").await?;
    assert_eq!(after.metadata.uid, Some(before));
    let status = lifeline.status()?;
    assert_eq!((&status["streams"][0]["epoch"], &status["streams"][0]["missing"]), (&json!(1), &json!(0)), "{status}");
    Ok(())
}

/// Publishes a login and waits for its Namespace; the uid.
async fn kubernetes_after(
    kubernetes: &Kubernetes,
    producer: &Producer,
    name: &str,
) -> Result<String, lifeline_tests::harness::Failure> {
    producer.publish(Event::user("login", name)).await?;
    Ok(kubernetes.has_namespace(name).await?.metadata.uid.unwrap_or_default())
}

async fn killed_api_server(scene: &Scene) -> Outcome {
    let mut control_plane = scene.fresh_control_plane()?;
    let nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(&control_plane).await?;
    let mut lifeline = scene.engine("engine", &control_plane, &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, "visits").await?;
    let uid = kubernetes_after(&kubernetes, &producer, "kept").await?;
    kubernetes_after(&kubernetes, &producer, "leaving").await?;

    control_plane.kill_api_server();
    producer.publish(Event::user("login", "arriving")).await?;
    producer.publish(Event::user("logout", "leaving")).await?;
    producer.publish(Event::user("login", "kept")).await?;
    // Recording does not wait for anybody.
    lifeline.has_recorded(5).await?;
    eventually("the failure to be told", SOON, async || {
        let rows = lifeline.ask(&["get", "lifecycles", "--phase", "failing"]).map_err(|failure| failure.to_string())?;
        let told = rows["items"].as_array().is_some_and(|rows| rows.iter().any(|row| row["subject"] == "arriving"));
        if told { Ok(()) } else { Err(rows.to_string()) }
    })
    .await?;
    control_plane.restart_api_server()?;
    let restarted = Instant::now();
    kubernetes.has_namespace("arriving").await?;
    println!("outages: caught up {:.1} s after the API server was back", restarted.elapsed().as_secs_f64());
    kubernetes.lost_namespace("leaving").await?;
    assert_eq!(kubernetes.has_namespace("kept").await?.metadata.uid, Some(uid));
    lifeline.has_settled().await
}

async fn nats_away(scene: &Scene) -> Outcome {
    let control_plane = scene.control_plane();
    let mut nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(control_plane).await?;
    nats.kill();
    let mut lifeline = scene.engine("engine", control_plane, &nats, "visits", &RULES)?;
    let address = nats.address();
    let said = lifeline.has_said(&format!("waiting for NATS at nats://{address}")).await?;
    assert!(said.contains("hint: check that the server runs"), "no remedy in:\n{said}");
    eventually("the engine to say whom it waits for", SOON, async || match lifeline.get("/readyz") {
        Err(failure) if failure.to_string().contains(&address) => Ok(()),
        Err(failure) => Err(failure.to_string()),
        Ok(_) => Err("it says that it is ready".to_owned()),
    })
    .await?;
    nats.restart()?;
    lifeline.wait_until_ready()?;
    let producer = Producer::connect(&nats, "visits").await?;
    kubernetes_after(&kubernetes, &producer, "nats-away").await?;
    Ok(())
}

async fn stream_to_come(scene: &Scene) -> Outcome {
    let control_plane = scene.control_plane();
    let nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(control_plane).await?;
    // The form of the connection settings that names streams and says nothing of how to make them.
    let connection = json!({"jetstream": {"configuration": {"url": nats.url(), "streams": [{"name": "VISITS"}]}}});
    let connection = scene.write("connection.json", &connection.to_string())?;
    let rules = scene.write("rules/rules.yaml", &RULES)?;
    let kubeconfig = control_plane.kubeconfig(lifeline_tests::harness::User::Admin);
    let [connection, rules, kubeconfig] = [&connection, &rules, &kubeconfig].map(|path| path.to_string_lossy());
    let arguments = ["--cluster", "kube", "--kubeconfig", &kubeconfig, "--nats", &connection, "--rules", &rules];
    let mut lifeline = scene.lifeline("engine", &arguments)?;
    eventually("the engine to say which stream it waits for", SOON, async || match lifeline.status() {
        Ok(status) if status.to_string().contains("`VISITS` does not exist") => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(failure) => Err(failure.to_string()),
    })
    .await?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.make_stream("VISITS").await?;
    kubernetes_after(&kubernetes, &producer, "stream-to-come").await?;
    lifeline.wait_until_ready()
}

/// Headers that end the connection of the client library, and some at which it panics.
const STRANGE: [&str; 4] = [
    "NATS/1.0\r\nX-Name: a\rb\r\n\r\n",
    "NATS/1.0\r\nno colon\r\n\r\n",
    "NATS/2.0\r\nX-Name: a\r\n\r\n",
    "NATS/1.0 503 No Responders\r\n\r\n",
];

async fn strange_messages(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let mut lifeline = scene.local_engine("engine", &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    let client = async_nats::connect(nats.url()).await?;
    let producer = Producer::on(client.clone(), "visits");
    let address = nats.url().trim_start_matches("nats://").to_owned();
    let mut raw = std::net::TcpStream::connect(address)?;
    raw.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n")?;
    let login = |name: &str| Bytes::from(Event::user("login", name));
    for (number, headers) in STRANGE.into_iter().enumerate() {
        // An event with strange headers beside it, something that is no event, a question, and a good event.
        for (subject, payload) in [
            ("visits", login(&format!("strange-{number}"))),
            ("visits", Bytes::from_static(b"none")),
            ("lifeline.v1.status", Bytes::new()),
        ] {
            let (head, total) = (headers.len(), headers.len() + payload.len());
            raw.write_all(format!("HPUB {subject} {head} {total}\r\n{headers}").as_bytes())?;
            raw.write_all(&[&payload[..], b"\r\n"].concat())?;
        }
        producer.publish(Event::user("login", &format!("good-{number}"))).await?;
    }
    let count = STRANGE.len();
    eventually("all objects", SOON, async || {
        let objects = lifeline.ask(&["get", "objects"]).map_err(|failure| failure.to_string())?;
        let found = objects["items"].as_array().map_or(0, Vec::len);
        if found == 2 * count { Ok(()) } else { Err(format!("{found} objects")) }
    })
    .await?;
    let status = lifeline.status()?;
    let stream = &status["streams"][0];
    assert_eq!((&stream["received"], &stream["rejected"]), (&json!(2 * count), &json!(count)), "{status}");
    eventually("an answer of the NATS service", SOON, async || {
        let answer = client.request("lifeline.v1.status", Bytes::new());
        match tokio::time::timeout(Duration::from_secs(2), answer).await {
            Ok(Ok(answer)) if answer.payload.starts_with(b"{") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    lifeline.wait_until_ready()
}

/// Everybody logged out and in again. History is read from the beginning, and each logout comes long before the login.
async fn lost_volume(scene: &Scene) -> Outcome {
    const PEOPLE: u64 = 40;
    const OTHERS: u64 = 30_000;
    let control_plane = scene.control_plane();
    let nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(control_plane).await?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.make_stream("VISITS").await?;
    let name = |user: u64| format!("lost-volume-{user:02}");
    let all = |kind: &'static str| (0..PEOPLE).map(move |user| Event::user(kind, &name(user)));
    producer.publish_all(all("login")).await?;
    producer.publish_all(all("logout")).await?;
    producer.publish_all((0..OTHERS).map(|event| Event::user("logout", &format!("other-{event}")))).await?;
    producer.publish_all(all("login")).await?;
    let events = 3 * PEOPLE + OTHERS;
    let mut lifeline = scene.engine("engine", control_plane, &nats, "visits", &RULES)?;
    let settled = async |lifeline: &mut Lifeline| {
        lifeline.wait_until_ready()?;
        lifeline.has_recorded(events).await?;
        lifeline.has_settled().await?;
        let mut uids = Vec::new();
        for user in 0..PEOPLE {
            uids.push(kubernetes.has_namespace(&name(user)).await?.metadata.uid);
        }
        Ok::<_, Failure>(uids)
    };
    let before = settled(&mut lifeline).await?;
    lifeline.kill();
    std::fs::remove_dir_all(lifeline.data())?;
    lifeline.restart()?;
    // To others it is another engine; the one that is gone keeps the consumer for a moment.
    lifeline.has_said("it did not renew its note for 30 s").await?;
    assert_eq!(settled(&mut lifeline).await?, before);
    let is_deletion = |write: &&Write| write.verb == "delete" && write.name.starts_with("lost-volume-");
    let deletions: Vec<_> = control_plane.writes()?.into_iter().filter(|write| is_deletion(&write)).collect();
    assert_eq!(deletions.len(), 0, "{deletions:?}");
    Ok(())
}

/// The engine dies between a logout that it recorded and the deletion, and a login follows while it is away.
async fn open_logout(scene: &Scene) -> Outcome {
    let mut control_plane = scene.fresh_control_plane()?;
    let nats = scene.nats("nats")?;
    let kubernetes = Kubernetes::of(&control_plane).await?;
    let producer = Producer::connect(&nats, "visits").await?;
    let mut lifeline = scene.engine("engine", &control_plane, &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    let before = kubernetes_after(&kubernetes, &producer, "open-logout").await?;
    control_plane.kill_api_server();
    producer.publish(Event::user("logout", "open-logout")).await?;
    lifeline.has_recorded(2).await?;
    lifeline.kill();
    producer.publish(Event::user("login", "open-logout")).await?;
    control_plane.restart_api_server()?;
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    lifeline.has_recorded(3).await?;
    lifeline.has_settled().await?;
    let after = kubernetes.has_namespace("open-logout").await?;
    assert_eq!(after.metadata.uid, Some(before));
    Ok(())
}

/// Whatever the engine reads, its owner can delete it and make it again, however long that takes.
async fn left_to_owner(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.make_stream("OWNED").await?;
    let mut lifeline = scene.local_engine("engine", &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    producer.publish(Event::user("login", "left-before")).await?;
    lifeline.has_recorded(1).await?;

    producer.jetstream().delete_stream("OWNED").await?;
    eventually("the engine to say what it waits for", SOON, async || match lifeline.get("/readyz") {
        Err(failure) if failure.to_string().contains("stream `OWNED`, which had `visits`, is gone") => Ok(()),
        Err(failure) => Err(failure.to_string()),
        Ok(_) => Err("it says that it is ready".to_owned()),
    })
    .await?;
    // Longer than streams are looked for.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(producer.jetstream().get_stream("LIFELINE").await.is_err(), "it took the subjects");
    producer.make_stream("OWNED").await?;
    producer.publish(Event::user("login", "left-after")).await?;
    lifeline.has_recorded(2).await?;
    lifeline.wait_until_ready()?;

    // Another stream takes its place for good.
    producer.jetstream().delete_stream("OWNED").await?;
    producer.make_stream("HEIR").await?;
    producer.publish(Event::user("login", "left-to-heir")).await?;
    lifeline.has_recorded(3).await?;
    eventually("the engine to be ready", SOON, async || {
        lifeline.get("/readyz").map(drop).map_err(|error| error.to_string())
    })
    .await
}

/// Two minutes; ten or more where `LIFELINE_IDLE_SECONDS` asks for it.
async fn idle(scene: &Scene) -> Outcome {
    let seconds = std::env::var("LIFELINE_IDLE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.make_stream("VISITS").await?;
    let mut lifeline = scene.local_engine("engine", &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    producer.publish(Event::user("login", "idle")).await?;
    lifeline.has_recorded(1).await?;
    lifeline.has_settled().await?;
    // It said what there is to be said about a new stream and its first event.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = std::fs::read_to_string(lifeline.log())?.lines().count();
    let warnings = lifeline.status()?["warnings"].clone();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(500)).await;
        lifeline.get("/readyz")?;
        assert_eq!(lifeline.status()?["warnings"], warnings);
    }
    let said = std::fs::read_to_string(lifeline.log())?;
    let said: Vec<&str> = said.lines().skip(before).collect();
    assert!(said.is_empty(), "an idle engine said: {said:#?}");
    Ok(())
}

/// The server says that a subject holds nothing any more. That is no event, and nobody's mistake.
async fn marker(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, "visits").await?;
    let config = stream::Config {
        name: "VISITS".to_owned(),
        subjects: vec!["visits".to_owned()],
        max_age: Duration::from_secs(2),
        allow_message_ttl: true,
        subject_delete_marker_ttl: Some(Duration::from_secs(60)),
        ..stream::Config::default()
    };
    producer.jetstream().create_stream(config).await?;
    let mut lifeline = scene.local_engine("engine", &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    producer.publish(Event::user("login", "marker")).await?;
    eventually("the marker to be recorded", SOON, async || {
        let status = lifeline.status().map_err(|error| error.to_string())?;
        let counts = ["received", "markers", "rejected"].map(|name| status["streams"][0][name].clone());
        if counts == [json!(1), json!(1), json!(0)] { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await?;
    let said = std::fs::read_to_string(lifeline.log())?;
    assert!(!said.contains("no CloudEvent"), "{said}");
    let records = lifeline.ask(&["get", "events"])?.to_string();
    assert!(records.contains("what subject visits held is gone: it was too old (MaxAge)"), "{records}");
    // A start reads it back, and goes on behind it.
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    producer.publish(Event::user("logout", "marker")).await?;
    lifeline.has_recorded(2).await
}

/// Two engines with folders of their own share a NATS and a consumer, as by mistake.
async fn two_engines(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, "visits").await?;
    producer.make_stream("VISITS").await?;
    let mut events = 0;
    let mut publish = async |count: u64| {
        let users = (events..events + count).map(|user| Event::user("login", &format!("two-engines-{user}")));
        events += count;
        producer.publish_all(users).await
    };
    let instance = |engine: &Lifeline| std::fs::read_to_string(engine.data().join("instance"));
    let unready = async |engine: &Lifeline, owner: &str| {
        eventually("an engine to say whose the consumer is", SOON, async || match engine.get("/readyz") {
            Err(failure) if failure.to_string().contains(&format!("belongs to another engine: instance `{owner}`")) => {
                Ok(())
            }
            Err(failure) => Err(failure.to_string()),
            Ok(_) => Err("it says that it is ready".to_owned()),
        })
        .await
    };
    let received = |engine: &Lifeline| Ok::<_, Failure>(engine.status()?["streams"][0]["received"].clone());

    let mut first = scene.local_engine("first", &nats, "visits", &RULES)?;
    first.wait_until_ready()?;
    publish(8).await?;
    first.has_recorded(8).await?;
    let owner = instance(&first)?.trim().to_owned();
    let mut second = scene.local_engine("second", &nats, "visits", &RULES)?;
    unready(&second, &owner).await?;
    publish(8).await?;
    first.has_recorded(16).await?;
    assert_eq!(received(&second)?, json!(null), "it read");

    // The first one is started again, with its folder: it has not to wait.
    first.kill();
    first.restart()?;
    let started = Instant::now();
    first.wait_until_ready()?;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    publish(8).await?;
    first.has_recorded(24).await?;
    assert_eq!(received(&second)?, json!(null), "it read");

    // The first one is gone; the second one takes over, and reads all that is there.
    first.kill();
    second.has_recorded(24).await?;
    second.wait_until_ready()?;
    publish(8).await?;
    second.has_recorded(32).await?;
    let owner = instance(&second)?.trim().to_owned();
    first.restart()?;
    unready(&first, &owner).await?;
    assert_eq!(received(&first)?, json!(24), "it read");

    // Somebody gives the consumer back to the first one, which reads what the second one acknowledged.
    first.kill();
    let rules = scene.folder().join("first/rules");
    let (url, rules) = (nats.url(), rules.to_string_lossy().into_owned());
    let arguments = ["--nats", &url, "--subjects", "visits", "--rules", &rules, "--take-over"];
    let mut first = scene.lifeline("first", &arguments)?;
    first.wait_until_ready()?;
    first.has_recorded(32).await?;
    let owner = instance(&first)?.trim().to_owned();
    unready(&second, &owner).await?;
    publish(8).await?;
    first.has_recorded(40).await?;
    assert_eq!(received(&second)?, json!(32), "both read");
    for engine in [&first, &second] {
        assert_eq!(engine.status()?["streams"][0]["missing"], 0);
    }
    Ok(())
}

/// Somebody who pauses the consumer means it. Nothing is read, and the engine says why.
async fn paused_consumer(scene: &Scene) -> Outcome {
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, "visits").await?;
    let stream = producer.make_stream("VISITS").await?;
    let mut lifeline = scene.local_engine("engine", &nats, "visits", &RULES)?;
    lifeline.wait_until_ready()?;
    producer.publish(Event::user("login", "paused-before")).await?;
    lifeline.has_recorded(1).await?;

    let until = add_std_duration(now(), Duration::from_secs(3_600)).map_err(|error| error.to_string())?;
    stream.pause_consumer("lifeline", until).await?;
    producer.publish_all((0..300).map(|user| Event::user("login", &format!("paused-{user}")))).await?;
    eventually("the engine to name the pause", SOON, async || match lifeline.get("/readyz") {
        Err(failure) if failure.to_string().contains("consumer `lifeline` of stream `VISITS` is paused") => Ok(()),
        Err(failure) => Err(failure.to_string()),
        Ok(_) => Err("it says that it is ready".to_owned()),
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = lifeline.status()?;
    assert_eq!(status["streams"][0]["received"], 1, "read all the same: {status}");
    stream.resume_consumer("lifeline").await?;
    lifeline.has_recorded(301).await?;
    lifeline.wait_until_ready()
}
