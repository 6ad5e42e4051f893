//! Objects that the log does not know, because its volume was lost or is an older copy, on a real API server: what an event
//! wants gone is removed by its marks, what nobody claims is shown and stays until somebody confirms it, and what is not
//! ours is not touched.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::Need::{ControlPlane, Nats};
use lifeline_tests::harness::{Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, eventually, run, story};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// The subject and the names of a story are its own: all of them are on one cluster.
const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: NAME}
spec: {messagingMatchCriteria: [{subject: NAME}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: NAME}
spec:
  eventSourceName: NAME
  oneForEvent: true
  cloudEventAction: '{{ if eq .CloudEvent.type "auth.example.com.logout" }}Delete{{ else }}Create{{ end }}'
  policyRefs: [{kind: ConfigMap, namespace: default, name: NAME}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  content.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "{{ .CloudEvent.subject }}", namespace: default}
    data: {ours: "1"}
"#;

fn main() -> ExitCode {
    run(vec![
        story("a_logout_whose_login_the_stream_no_longer_holds_removes_what_has_its_marks", &[Nats, ControlPlane], t17),
        story("an_older_copy_of_the_volume_removes_what_was_made_after_it", &[Nats, ControlPlane], t28),
        story(
            "what_nobody_claims_is_shown_and_stays_until_somebody_confirms_it_and_copies_stay_for_ever",
            &[Nats, ControlPlane],
            orphans,
        ),
    ])
}

struct Stage {
    name: &'static str,
    lifeline: Lifeline,
    producer: Producer,
    maps: Api<ConfigMap>,
    _nats: NatsServer,
}

async fn stage(scene: &Scene, name: &'static str) -> Result<Stage, Failure> {
    let nats = scene.nats("nats")?;
    let producer = Producer::connect(&nats, name).await?;
    producer.make_stream("USERS").await?;
    let mut lifeline = scene.engine("engine", scene.control_plane(), &nats, name, &RULES.replace("NAME", name))?;
    lifeline.wait_until_ready()?;
    let maps = Api::namespaced(Kubernetes::of(scene.control_plane()).await?.client(), "default");
    Ok(Stage { name, lifeline, producer, maps, _nats: nats })
}

impl Stage {
    async fn happens(&self, kind: &str, subject: &str) -> Outcome {
        self.producer.publish(Event::user(kind, subject)).await?;
        Ok(())
    }

    async fn made(&self, name: &str) -> Result<ConfigMap, Failure> {
        eventually(name, SOON, async || self.maps.get(name).await).await
    }

    async fn gone(&self, name: &str) -> Outcome {
        eventually(&format!("the end of {name}"), SOON, async || match self.maps.get_opt(name).await {
            Ok(None) => Ok(()),
            found => Err(format!("{found:?}")),
        })
        .await
    }

    /// The engine is without its volume, and the stream without its messages.
    async fn loses_volume_and_messages(&mut self) -> Outcome {
        self.lifeline.kill();
        std::fs::remove_dir_all(self.lifeline.data())?;
        self.producer.jetstream().get_stream("USERS").await?.purge().await?;
        self.lifeline.restart()?;
        self.lifeline.wait_until_ready()
    }

    /// Waits until so many orphans are shown.
    async fn shows(&self, count: usize) -> Result<Vec<Value>, Failure> {
        eventually(&format!("{count} orphans"), SOON, async || {
            let list = self.lifeline.ask(&["show", "orphans"]).map_err(|failure| failure.to_string())?;
            // Other stories have objects on this cluster too.
            let rows: Vec<Value> = list["items"].as_array().cloned().unwrap_or_default();
            let ours: Vec<Value> = rows.into_iter().filter(|row| row["trigger"] == self.name).collect();
            if ours.len() == count { Ok(ours) } else { Err(list.to_string()) }
        })
        .await
    }
}

/// T17: the volume is lost, and the stream let go of the login. The logout comes before the engine is back for one, and
/// after that for the other.
async fn t17(scene: &Scene) -> Outcome {
    let mut stage = stage(scene, "lost-login").await?;
    for subject in ["lost-login-a", "lost-login-b"] {
        stage.happens("login", subject).await?;
        stage.made(subject).await?;
    }
    stage.lifeline.has_settled().await?;
    // The API server says to the second when an object was applied.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.lifeline.kill();
    std::fs::remove_dir_all(stage.lifeline.data())?;
    stage.producer.jetstream().get_stream("USERS").await?.purge().await?;
    stage.happens("logout", "lost-login-a").await?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.gone("lost-login-a").await?;
    stage.lifeline.has_said("was acknowledged up to 2, and this log is new").await?;
    let shown = stage.shows(1).await?;
    assert_eq!(shown[0]["name"], "lost-login-b", "{shown:?}");
    stage.happens("logout", "lost-login-b").await?;
    stage.gone("lost-login-b").await?;
    stage.shows(0).await?;
    stage.lifeline.has_settled().await?;
    let lifecycles = stage.lifeline.ask(&["get", "lifecycles", "--phase", "gone"])?;
    assert_eq!(lifecycles["items"].as_array().map(Vec::len), Some(2), "{lifecycles}");
    Ok(())
}

/// T28: an older copy of the volume comes back; an object was made since, and its logout comes meanwhile.
async fn t28(scene: &Scene) -> Outcome {
    let mut stage = stage(scene, "older-copy").await?;
    stage.happens("login", "older-copy-a").await?;
    let before = stage.made("older-copy-a").await?;
    stage.lifeline.has_settled().await?;
    stage.lifeline.stop();
    let copy = scene.folder().join("copy");
    copied(&stage.lifeline.data(), &copy)?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.happens("login", "older-copy-b").await?;
    stage.made("older-copy-b").await?;
    stage.lifeline.has_settled().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.lifeline.kill();
    std::fs::remove_dir_all(stage.lifeline.data())?;
    copied(&copy, &stage.lifeline.data())?;
    stage.happens("logout", "older-copy-b").await?;
    stage.lifeline.restart()?;
    stage.lifeline.wait_until_ready()?;
    stage.gone("older-copy-b").await?;
    stage.lifeline.has_said("was acknowledged up to 2, and this log ends at 1").await?;
    stage.lifeline.has_settled().await?;
    assert_eq!(stage.maps.get("older-copy-a").await?.metadata.uid, before.metadata.uid);
    stage.shows(0).await?;
    Ok(())
}

async fn orphans(scene: &Scene) -> Outcome {
    let mut stage = stage(scene, "orphaned").await?;
    for subject in ["orphaned-a", "orphaned-b", "orphaned-c", "orphaned-relabelled"] {
        stage.happens("login", subject).await?;
        stage.made(subject).await?;
    }
    stage.lifeline.has_settled().await?;
    let ours = stage.made("orphaned-a").await?;
    assert_eq!(ours.annotations()["lifeline.dev/instance"], "lifeline");
    // Somebody copies one with all its annotations and labels; somebody takes a label of another one.
    let mut copy = ours.clone();
    copy.metadata = ObjectMeta {
        name: Some("orphaned-copy".to_owned()),
        annotations: ours.metadata.annotations.clone(),
        labels: ours.metadata.labels.clone(),
        ..ObjectMeta::default()
    };
    stage.maps.create(&PostParams::default(), &copy).await?;
    let label = serde_json::json!({"metadata": {"labels": {"lifeline.dev/lifecycle": "mine"}}});
    stage.maps.patch("orphaned-relabelled", &PatchParams::default(), &Patch::Merge(label)).await?;
    stage.loses_volume_and_messages().await?;
    let shown = stage.shows(3).await?;
    assert!(shown.iter().all(|row| row["because"] == "no event about it is recorded"), "{shown:?}");
    let told = stage.lifeline.has_said("3 objects have the marks of `orphaned`").await?;
    assert_eq!(told.matches("3 objects have the marks of `orphaned`").count(), 1, "{told}");
    let status = stage.lifeline.status()?;
    assert!(status["sites"][0]["orphans"]["objects"].as_u64() >= Some(3), "{status}");
    // One of them is wanted again, and keeps its uid. With another set of objects there is another id.
    let first = shown[0]["confirm"].as_str().ok_or("no id")?.to_owned();
    stage.happens("login", "orphaned-a").await?;
    let shown = stage.shows(2).await?;
    let second = shown[0]["confirm"].as_str().ok_or("no id")?.to_owned();
    assert!(stage.lifeline.ask(&["confirm", &first]).is_err(), "what was shown is not what is there");
    assert_eq!(stage.maps.get("orphaned-a").await?.metadata.uid, ours.metadata.uid);
    let confirmed = stage.lifeline.ask(&["confirm", &second])?;
    assert_eq!((&confirmed["objects"], &confirmed["orphans"]), (&2.into(), &true.into()), "{confirmed}");
    stage.gone("orphaned-b").await?;
    stage.gone("orphaned-c").await?;
    stage.shows(0).await?;
    for name in ["orphaned-a", "orphaned-copy", "orphaned-relabelled"] {
        stage.maps.get(name).await?;
    }
    Ok(())
}

/// Copies a folder.
fn copied(from: &Path, to: &Path) -> Outcome {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copied(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
