//! The seed's NATS, which has no JetStream: the seed's connection settings mean plain subscriptions there. The story is the same,
//! everybody is told what is not promised, and a stream takes over as soon as there is JetStream.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use async_nats::ConnectOptions;
use bytes::Bytes;
use lifeline_ops::servers::{NatsAccess, NatsServer};
use lifeline_tests::harness::Need::{ControlPlane as ApiServer, Nats};
use lifeline_tests::harness::{Event, Failure, Kubernetes, Lifeline, Outcome, Scene, User, eventually, run, story};
use serde_json::{Value, json};

const RULES: &str = include_str!("../../engine/tests/seed/3-end-to-end.yaml");
const SUBJECT: &str = "user-operation";
const SOON: Duration = Duration::from_secs(30);

/// What everybody is told of a subject without a stream.
const NOT_DURABLE: &str = "not durable before the log: events published while Lifeline is away are lost";

/// Replaces the harness' own block.
const WITHOUT_JETSTREAM: &str = "jetstream: disabled";

fn main() -> ExitCode {
    run(vec![
        story("the_seeds_story_is_the_same_on_a_server_without_jetstream", &[Nats, ApiServer], seeds_story),
        story("a_stream_takes_over_when_jetstream_is_switched_on", &[Nats], switched_on),
        story("a_server_without_jetstream_is_waited_for_where_that_is_asked_for", &[Nats], waited_for),
        story("a_log_of_plain_messages_is_verified_and_says_how_they_came", &[Nats], verified),
    ])
}

/// A server as the seed has it, an engine with the seed's settings, and somebody who publishes as `nats pub` does.
struct Stage {
    lifeline: Lifeline,
    producer: async_nats::Client,
    nats: NatsServer,
}

impl Stage {
    async fn set(scene: &Scene, cluster: &[&str]) -> Result<Stage, Failure> {
        let (user, password) = ("admin".to_owned(), "my-password".to_owned());
        let access = NatsAccess::User { user: user.clone(), password: password.clone() };
        let nats = scene.nats_with("nats", access, WITHOUT_JETSTREAM)?;
        let settings = scene.write("nats-configuration", &connection(&nats.url()).to_string())?;
        let rules = scene.write("rules/rules.yaml", RULES)?;
        let (settings, rules) = (settings.to_string_lossy(), rules.to_string_lossy());
        let arguments = [cluster, &["--nats", &settings, "--rules", &rules]].concat();
        let mut lifeline = scene.lifeline("engine", &arguments)?;
        lifeline.wait_until_ready()?;
        let producer = ConnectOptions::with_user_and_password(user, password).connect(nats.url()).await?;
        Ok(Stage { lifeline, producer, nats })
    }

    async fn publish(&self, kind: &str, user: &str) -> Outcome {
        self.producer.publish(SUBJECT, Bytes::from(Event::user(kind, user))).await?;
        Ok(self.producer.flush().await?)
    }

    /// The rows of the streams in the status, by name.
    fn stream(&self, name: &str) -> Result<Value, Failure> {
        let status = self.lifeline.status()?;
        let streams = status["streams"].as_array().cloned().unwrap_or_default();
        Ok(streams.into_iter().find(|stream| stream["stream"] == name).unwrap_or_default())
    }

    async fn has_namespace(&self, name: &str, is_there: bool) -> Outcome {
        eventually(&format!("Namespace/{name}: {is_there}"), SOON, async || {
            let objects =
                self.lifeline.ask(&["get", "objects", "--subject", name]).map_err(|failure| failure.to_string())?;
            if objects["items"][0]["uid"].is_string() == is_there { Ok(()) } else { Err(objects.to_string()) }
        })
        .await
    }
}

/// The seed's settings.
fn connection(url: &str) -> Value {
    json!({"nats": {"configuration": {
        "url": url,
        "subjects": [SUBJECT],
        "authorization": {"user": {"user": "admin", "password": "my-password"}},
    }}})
}

async fn seeds_story(scene: &Scene) -> Outcome {
    let kubeconfig = scene.control_plane().kubeconfig(User::Admin);
    let stage = Stage::set(scene, &["--cluster", "kube", "--kubeconfig", &kubeconfig.to_string_lossy()]).await?;
    let kubernetes = Kubernetes::of(scene.control_plane()).await?;
    stage.publish("login", "plain-mgianluc").await?;
    kubernetes.has_namespace("plain-mgianluc").await?;
    stage.publish("logout", "plain-mgianluc").await?;
    kubernetes.lost_namespace("plain-mgianluc").await?;
    stage.lifeline.has_recorded(2).await
}

async fn switched_on(scene: &Scene) -> Outcome {
    let mut stage = Stage::set(scene, &["--cluster", "local"]).await?;
    stage.publish("login", "mgianluc").await?;
    stage.has_namespace("mgianluc", true).await?;

    // Everybody is told: who asks, who scrapes, who reads the log.
    let read = stage.stream("$NATS.user-operation")?;
    assert_eq!((&read["plain"]["subject"], &read["received"]), (&json!(SUBJECT), &json!(1)), "{read}");
    let status = Lifeline::command(&["status", "--server", &stage.lifeline.url()])?;
    let metrics = stage.lifeline.get("/metrics")?;
    let log = fs::read_to_string(stage.lifeline.log())?;
    for (place, text) in [("status", &status), ("log", &log)] {
        assert!(text.contains(NOT_DURABLE), "{place}:\n{text}");
    }
    assert_eq!(log.matches(NOT_DURABLE).count(), 1, "once:\n{log}");
    assert!(metrics.contains("lifeline_stream_durable{cluster=\"mgmt/mgmt\",stream=\"$NATS.user-operation\"} 0\n"));

    // What is published while the engine is away is lost, as it says; what comes then is not.
    stage.lifeline.kill();
    stage.publish("login", "lost").await?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.publish("login", "kept").await?;
    stage.has_namespace("kept", true).await?;
    stage.lifeline.has_recorded(2).await?;

    stage.nats.stop();
    let configuration = scene.folder().join("nats/nats-server.conf");
    let text = fs::read_to_string(&configuration)?.replace(WITHOUT_JETSTREAM, "");
    fs::write(&configuration, text)?;
    stage.nats.restart()?;
    eventually("the stream", SOON, async || {
        let read = stage.stream("LIFELINE").map_err(|failure| failure.to_string())?;
        let gone = stage.stream("$NATS.user-operation").map_err(|failure| failure.to_string())?;
        if read["epoch"] == 1 && gone["plain"].is_null() { Ok(()) } else { Err(format!("{read} {gone}")) }
    })
    .await?;
    let status = stage.lifeline.status()?;
    assert!(!status["warnings"].to_string().contains(NOT_DURABLE), "{status}");
    stage.publish("logout", "mgianluc").await?;
    stage.has_namespace("mgianluc", false).await?;

    // From here on nothing is lost.
    stage.lifeline.kill();
    stage.publish("logout", "kept").await?;
    stage.lifeline.restart()?;
    stage.has_namespace("kept", false).await?;
    stage.lifeline.has_recorded(4).await
}

async fn waited_for(scene: &Scene) -> Outcome {
    let nats = scene.nats_with("nats", NatsAccess::Anybody, WITHOUT_JETSTREAM)?;
    let url = nats.url();
    let lifeline = scene.lifeline("engine", &["--nats", &url, "--subjects", SUBJECT, "--jetstream", "always"])?;
    eventually("the reason", SOON, async || {
        let status = lifeline.status().map_err(|failure| failure.to_string())?;
        let intake = status["intake"].as_str().unwrap_or_default();
        let expected = format!("JetStream is not enabled at {url}, and `jetstream` is `always`");
        if intake.contains(&expected) { Ok(()) } else { Err(status.to_string()) }
    })
    .await
}

async fn verified(scene: &Scene) -> Outcome {
    let mut stage = Stage::set(scene, &["--cluster", "local"]).await?;
    for kind in ["login", "logout", "login"] {
        stage.publish(kind, "mgianluc").await?;
    }
    stage.lifeline.has_recorded(3).await?;
    stage.lifeline.has_settled().await?;
    let history = stage.lifeline.ask(&["history", "auth.example.com", "mgianluc"])?;
    let came = history["items"].as_array().cloned().unwrap_or_default();
    let came: Vec<_> = came.iter().filter(|entry| entry["event"].is_object()).map(|entry| &entry["event"]).collect();
    let mut sequences: Vec<_> = came.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 3], "{history:#}");
    assert!(came.iter().all(|event| event["stream"] == "$NATS.user-operation"), "{history:#}");
    assert_eq!(stage.lifeline.stop(), Some(0));
    let data = stage.lifeline.data();
    Lifeline::command(&["verify", "--data", &data.to_string_lossy()])?;
    Ok(())
}
