//! The order of events: across streams the later one counts, however they are read, and everybody is told what was overtaken.

use std::process::ExitCode;
use std::time::Duration;

use lifeline_ops::servers::NatsServer;
use lifeline_tests::harness::Need::{ControlPlane as ApiServer, Nats};
use lifeline_tests::harness::{Event, Failure, Kubernetes, Lifeline, Outcome, Producer, Scene, User, run, story};
use serde_json::{Value, json};

const INS: &str = "ins";
const OUTS: &str = "outs";

/// Both subjects, and one Namespace for each user. `ANNOTATIONS` is replaced.
const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata:
  name: users
spec:
  messagingMatchCriteria:
  - cloudEventType: "log(in|out)$"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata:
  name: manage
  annotations: ANNOTATIONS
spec:
  eventSourceName: users
  oneForEvent: true
  cloudEventAction: '{{if eq .CloudEvent.type "auth.example.com.logout"}}Delete{{else}}Create{{end}}'
  policyRefs:
  - name: users
    namespace: default
    kind: ConfigMap
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: users
  namespace: default
  annotations:
    projectsveltos.io/instantiate: ok
data:
  namespace.yaml: |
    kind: Namespace
    apiVersion: v1
    metadata:
      name: {{ .CloudEvent.subject }}
"#;

fn main() -> ExitCode {
    run(vec![
        story("a_logout_counts_though_the_login_before_it_is_read_later", &[Nats, ApiServer], backlog_of_two_streams),
        story("an_overtaken_event_says_so_and_a_change_of_rules_leaves_it_so", &[Nats], told),
        story("a_trigger_may_order_by_the_time_of_the_event", &[Nats], by_time),
    ])
}

/// Two streams and who publishes to them.
struct Stage {
    nats: NatsServer,
    ins: Producer,
    outs: Producer,
}

impl Stage {
    async fn set(scene: &Scene) -> Result<Stage, Failure> {
        let nats = scene.nats("nats")?;
        let (ins, outs) = (Producer::connect(&nats, INS).await?, Producer::connect(&nats, OUTS).await?);
        ins.make_stream("INS").await?;
        outs.make_stream("OUTS").await?;
        Ok(Stage { nats, ins, outs })
    }

    /// An engine that reads these subjects, by rules with these annotations on the trigger.
    async fn engine(
        &self,
        scene: &Scene,
        cluster: &[&str],
        subjects: &str,
        annotations: &str,
    ) -> Result<Lifeline, Failure> {
        let rules = scene.write("rules/rules.yaml", &RULES.replace("ANNOTATIONS", annotations))?;
        let rules = rules.to_string_lossy().into_owned();
        let url = self.nats.url();
        let arguments = [cluster, &["--nats", &url, "--subjects", subjects, "--rules", &rules]].concat();
        let mut lifeline = scene.lifeline("engine", &arguments)?;
        lifeline.wait_until_ready()?;
        Ok(lifeline)
    }
}

async fn backlog_of_two_streams(scene: &Scene) -> Outcome {
    const PAIRS: usize = 10;
    let stage = Stage::set(scene).await?;
    let kubernetes = Kubernetes::of(scene.control_plane()).await?;
    let kubeconfig = scene.control_plane().kubeconfig(User::Admin);
    let kubeconfig = kubeconfig.to_string_lossy();
    let cluster = ["--cluster", "kube", "--kubeconfig", &kubeconfig];
    let both = format!("{INS},{OUTS}");
    let mut lifeline = stage.engine(scene, &cluster, &both, "{}").await?;
    lifeline.kill();

    let name = |what: &str, number: usize| format!("order-{what}-{number}");
    let others = |count| (0..count).map(|number| Event::user("visit", &name("other", number)));
    stage.ins.publish_all(others(300)).await?;
    for number in 0..PAIRS {
        stage.ins.publish(Event::user("login", &name("gone", number))).await?;
        stage.outs.publish(Event::user("logout", &name("back", number))).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 0..PAIRS {
        stage.outs.publish(Event::user("logout", &name("gone", number))).await?;
        stage.ins.publish(Event::user("login", &name("back", number))).await?;
    }
    lifeline.restart()?;
    lifeline.wait_until_ready()?;
    lifeline.has_recorded(300 + 4 * PAIRS as u64).await?;
    lifeline.has_settled().await?;
    for number in 0..PAIRS {
        kubernetes.has_namespace(&name("back", number)).await?;
        kubernetes.lost_namespace(&name("gone", number)).await?;
    }
    Ok(())
}

/// What a history says of a resource: the events alone.
fn events(lifeline: &Lifeline, subject: &str) -> Result<Vec<Value>, Failure> {
    let history = lifeline.ask(&["history", "auth.example.com", subject])?;
    let entries = history["items"].as_array().cloned().unwrap_or_default();
    Ok(entries.into_iter().filter(|entry| entry["event"].is_object()).collect())
}

fn desired(lifeline: &Lifeline, subject: &str) -> Result<Value, Failure> {
    let lifecycles = lifeline.ask(&["get", "lifecycles", "--subject", subject])?;
    Ok(lifecycles["items"][0]["desired"].clone())
}

async fn told(scene: &Scene) -> Outcome {
    let stage = Stage::set(scene).await?;
    let local = ["--cluster", "local"];
    // The stream of logins is read later, so its event comes behind one that is later.
    let mut lifeline = stage.engine(scene, &local, OUTS, "{}").await?;
    stage.ins.publish(Event::user("login", "ann")).await?;
    stage.outs.publish(Event::user("logout", "ann")).await?;
    stage.outs.publish(Event::user("login", "bob")).await?;
    lifeline.has_recorded(2).await?;
    assert_eq!(lifeline.stop(), Some(0));
    drop(lifeline);
    let both = format!("{INS},{OUTS}");
    let mut lifeline = stage.engine(scene, &local, &both, "{}").await?;
    lifeline.has_recorded(3).await?;
    lifeline.has_settled().await?;

    let told = events(&lifeline, "ann")?;
    let [logout, login] = told.as_slice() else { return Err(format!("two events: {told:?}").into()) };
    assert_eq!((&login["fact"], &logout["fact"]), (&json!("EventOvertaken"), &json!("EventReceived")), "{told:#?}");
    let sentence = format!(
        "overtaken: a later event at offset {}, published at {} in stream OUTS, decided already",
        logout["offset"],
        logout["event"]["published"].as_str().unwrap_or_default()
    );
    let decision = &login["event"]["decisions"][0];
    assert_eq!(decision["action"], format!("Create, {sentence}"));
    assert_eq!(decision["overtaken_by"], logout["offset"]);
    let offset = login["offset"].to_string();
    for command in [["why", "event", &offset], ["get", "event", &offset], ["history", "auth.example.com", "ann"]] {
        let server = lifeline.url();
        let text = Lifeline::command(&[&command[..], &["--server", &server]].concat())?;
        assert!(text.replace('\n', " ").contains(&sentence), "{command:?}:\n{text}");
    }
    let why = lifeline.ask(&["why", "event", &offset])?;
    assert_eq!(
        (&why["item"]["verdict"], &why["item"]["triggers"][0]["effect"]),
        (&json!("nothing"), &json!("overtaken")),
        "{why:#}"
    );
    assert_eq!(desired(&lifeline, "ann")?, "absent");

    // A replay chooses by the same order: a change of rules brings nothing back.
    assert_eq!(lifeline.stop(), Some(0));
    drop(lifeline);
    let changed = "{lifeline.dev/adopt: \"true\"}";
    let mut lifeline = stage.engine(scene, &local, &both, changed).await?;
    stage.outs.publish(Event::user("login", "cid")).await?;
    lifeline.has_recorded(4).await?;
    lifeline.has_settled().await?;
    assert_eq!((desired(&lifeline, "ann")?, desired(&lifeline, "bob")?), (json!("absent"), json!("present")));
    assert_eq!(lifeline.stop(), Some(0));
    Lifeline::command(&["verify", "--data", &lifeline.data().to_string_lossy()])?;
    Ok(())
}

async fn by_time(scene: &Scene) -> Outcome {
    let stage = Stage::set(scene).await?;
    let lifeline = stage.engine(scene, &["--cluster", "local"], INS, "{lifeline.dev/order: time}").await?;
    let at = |kind: &str, time: &str| Event::user(kind, "ann").with("time", time);
    stage.ins.publish(at("logout", "2026-11-22T12:00:10Z")).await?;
    stage.ins.publish(at("login", "2026-11-22T12:00:00Z")).await?;
    lifeline.has_recorded(2).await?;
    assert_eq!(desired(&lifeline, "ann")?, "absent");
    let told = events(&lifeline, "ann")?;
    let action = told[1]["event"]["decisions"][0]["action"].as_str().unwrap_or_default();
    let why = "Create, overtaken by `time` (its own is `2026-11-22T12:00:00Z`): the event at offset ";
    assert!(action.starts_with(why), "{told:#?}");

    // Without a time it is as old as its message, and says so.
    stage.ins.publish(Event::user("login", "ann")).await?;
    lifeline.has_recorded(3).await?;
    assert_eq!(desired(&lifeline, "ann")?, "present");
    let told = events(&lifeline, "ann")?;
    assert_eq!(
        told[2]["event"]["decisions"][0]["action"],
        "Create (it has no `time`: the time counts at which its message was stored)"
    );
    Ok(())
}
