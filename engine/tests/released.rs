//! A lifecycle that never owned an object lets go of it, and the log says so: nothing was deleted.

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
use lifeline_projections::fact::Fact;
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Phase;
use lifeline_store::{Log, Options, SimulatedDisk};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec:
  eventSourceName: users
  oneForEvent: true
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

#[tokio::test(start_paused = true)]
async fn what_a_lifecycle_never_owned_is_let_go_not_deleted() {
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
    let rules = RuleSet::new(Manifests::read("rules.yaml", RULES), Clusters::default());
    assert!(rules.problems().is_empty(), "{:?}", rules.problems());
    let (_rules, rules) = watch::channel(Current { rules: Some(Arc::new(rules)), troubles: Vec::new() });
    let (stop, stopping) = watch::channel(false);
    let reconciler = Reconciler {
        view: view.clone(),
        queue,
        rules: rules.clone(),
        cluster: cluster.clone(),
        recording,
        counters: Arc::default(),
        concurrency: 4,
    };

    let story = async {
        let theirs = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}});
        let theirs_key = cluster.resolve(&theirs).await.expect("a Namespace");
        let theirs_uid = cluster.apply(&theirs_key, &theirs, None).await.expect("room").uid;
        // `theirs` is a stranger's; `zoe` is made for the first and wanted by the second, whose name differs in case.
        let happens = [
            ("login", "theirs"),
            ("login", "zoe"),
            ("login", "ZOE"),
            ("logout", "ZOE"),
            ("logout", "theirs"),
            ("logout", "zoe"),
        ];
        for ((kind, subject), sequence) in happens.into_iter().zip(1..) {
            intake.send(event(sequence, kind, subject)).await.expect("it runs");
            sleep(Duration::from_secs(30)).await;
        }
        let log = view.log();
        let mut scan = log.scan(log.start());
        let mut told = Vec::new();
        while let Some(record) = scan.next().expect("a sound log") {
            match Fact::decode(record.payload).expect("a fact") {
                Fact::Deleted { key, objects, .. } => told.push(("deleted", key.resource.subject, objects[0].short())),
                Fact::Released { key, objects, .. } => {
                    told.push(("released", key.resource.subject, objects[0].short()))
                }
                _ => {}
            }
        }
        let expected = [
            ("released", "ZOE".into(), "Namespace/zoe".to_owned()),
            ("released", "theirs".into(), "Namespace/theirs".to_owned()),
            ("deleted", "zoe".into(), "Namespace/zoe".to_owned()),
        ];
        assert_eq!(told, expected);
        let found = cluster.get(&theirs_key).await.expect("a cluster").expect("it was left alone");
        assert_eq!(found.uid, theirs_uid);
        let projection = view.projection();
        assert_eq!(projection.phases().collect::<Vec<_>>(), [(Phase::Gone, 3)], "each settles, and no claim is left");
        assert_eq!(projection.objects().count(), 0);
        drop(projection);
        stop.send_replace(true);
    };
    let reconciling = reconciler.run(stopping.clone());
    let (ended, (), ()) = tokio::join!(recorder.run(rules, stopping), reconciling, story);
    ended.expect("it stops in good order");
}
