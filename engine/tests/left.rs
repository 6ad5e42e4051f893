//! An object that a lifecycle left, and that it and another one want again: the first to claim it takes it over, and nobody
//! waits for ever.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::cluster::Cluster;
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::intake::{Intake, Message};
use lifeline_engine::reconcile::Reconciler;
use lifeline_engine::reconcile::queue::Queue;
use lifeline_engine::recorder::Recorder;
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_engine::view::View;
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Phase;
use lifeline_store::{Log, Options, SimulatedDisk};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

const SOURCE: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users}]}
"#;

const TRIGGER: &str = r#"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: users
  oneForEvent: true
  stopMatchingBehavior: BEHAVIOUR
  cloudEventAction: '{{if eq .CloudEvent.type "login"}}Create{{else}}Delete{{end}}'
  policyRefs: [{name: namespace, namespace: default, kind: ConfigMap}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: namespace, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  namespace.yaml: |
    apiVersion: v1
    kind: Namespace
    metadata: {name: "{{ .CloudEvent.subject | lower }}"}
"#;

fn event(sequence: u64, kind: &str, subject: &str) -> Intake {
    let payload =
        format!(r#"{{"specversion":"1.0","type":"{kind}","source":"auth","id":"{sequence}","subject":"{subject}"}}"#);
    let message = Message {
        sequence,
        published_unix_nanos: START_UNIX_NANOS,
        subject: "users".into(),
        headers: Vec::new(),
        payload: Bytes::from(payload),
    };
    Intake::Messages { stream: "USERS".to_owned(), epoch: 1, messages: vec![message], acknowledge: None }
}

fn rules(text: &str) -> Current {
    let rules = RuleSet::new(Manifests::read("rules.yaml", text), Clusters::default());
    assert!(rules.problems().is_empty(), "{:?}", rules.problems());
    Current { rules: Some(Arc::new(rules)), troubles: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn what_was_left_goes_to_the_first_who_claims_it_and_then_to_the_next() {
    let with_trigger = |behaviour: &str| rules(&format!("{SOURCE}{}", TRIGGER.replace("BEHAVIOUR", behaviour)));
    let disk = SimulatedDisk::new(7);
    let open_log = move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() });
    let (log, _) = open_log().expect("an empty disk");
    let view = View::new(Projection::default(), log.reader());
    let queue = Arc::new(Queue::default());
    let cluster = Arc::new(LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH)));
    let clock = Arc::new(SimulatedClock::starting_at(START_UNIX_NANOS));
    let (intake, received) = mpsc::channel(4);
    let (recorder, recording) =
        Recorder::new(Box::new(open_log), log, None, view.clone(), queue.clone(), clock, received);
    let (in_force, watched) = watch::channel(with_trigger("LeavePolicies"));
    let (stop, stopping) = watch::channel(false);
    let reconciler = Reconciler {
        view: view.clone(),
        queue,
        rules: watched.clone(),
        cluster: cluster.clone(),
        recording,
        counters: Arc::default(),
        concurrency: 4,
    };

    let story = async {
        let pause = || sleep(Duration::from_secs(60));
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}});
        let object = cluster.resolve(&manifest).await.expect("a Namespace");
        let marked = async || {
            let live = cluster.get(&object).await.expect("a cluster")?;
            Some(live.manifest["metadata"]["annotations"]["lifeline.dev/subject"].as_str()?.to_owned())
        };
        let phases = || view.projection().phases().collect::<Vec<_>>();
        // Known first, so that it claims first when both want the object.
        intake.send(event(1, "logout", "ZOE")).await.expect("it runs");
        intake.send(event(2, "login", "zoe")).await.expect("it runs");
        pause().await;
        assert_eq!(marked().await.as_deref(), Some("zoe"));
        in_force.send_replace(rules(SOURCE));
        intake.send(event(3, "login", "ZOE")).await.expect("it runs");
        pause().await;
        assert_eq!(marked().await.as_deref(), Some("zoe"), "it is left");
        in_force.send_replace(with_trigger("WithdrawPolicies"));
        pause().await;
        assert_eq!(marked().await.as_deref(), Some("ZOE"));
        assert_eq!(phases(), [(Phase::Failing, 1), (Phase::Ready, 1)]);
        intake.send(event(4, "logout", "ZOE")).await.expect("it runs");
        pause().await;
        assert_eq!(marked().await.as_deref(), Some("zoe"), "the next one's turn");
        intake.send(event(5, "logout", "zoe")).await.expect("it runs");
        pause().await;
        assert_eq!(marked().await, None);
        assert_eq!(phases(), [(Phase::Gone, 2)]);
        stop.send_replace(true);
    };
    let reconciling = reconciler.run(stopping.clone());
    let (ended, (), ()) = tokio::join!(recorder.run(watched, stopping), reconciling, story);
    ended.expect("it stops in good order");
}
