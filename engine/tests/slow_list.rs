//! A list of many keys takes seconds to render. What is recorded meanwhile waits for none of that, and no question does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lifeline_engine::clock::SystemClock;
use lifeline_engine::intake::{Intake, Message, Received};
use lifeline_engine::recorder::{OutcomeSender, Recorder};
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_engine::site::Sites;
use lifeline_engine::view::View;
use lifeline_projections::fact::{LifecycleKey, ObjectKey, Reconciled, ResourceKey, What};
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Options, SimulatedDisk};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const KEYS: u64 = 20_000;
const CLUSTER: &str = "mgmt/mgmt";

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: roster}
spec:
  eventSourceName: users
  oneForEvent: false
  cloudEventAction: Create
  policyRefs: [{kind: ConfigMap, namespace: default, name: texts}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: texts, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  roster: |
    {apiVersion: v1, kind: ConfigMap, metadata: {name: "roster-{{ len .CloudEvents }}"}, data: {users: "TEXT"}}
"#;

/// About a million steps.
const SLOW: &str =
    r#"{{ range .CloudEvents }}{{ .subject | sha256sum | sha256sum | sha256sum | sha256sum | trunc 4 }}{{ end }}"#;

fn rules(text: &str) -> Current {
    let rules = RuleSet::new(Manifests::read("rules.yaml", &RULES.replace("TEXT", text)), Clusters::default());
    assert_eq!(rules.problems().len(), 0, "{:?}", rules.problems());
    Current { rules: Some(Arc::new(rules)), troubles: Vec::new() }
}

fn logins(first: u64, count: u64) -> Intake {
    let message = |sequence: u64| Message {
        sequence,
        published_unix_nanos: 1,
        subject: "users".into(),
        headers: Vec::new(),
        payload: Bytes::from(format!(
            r#"{{"specversion":"1.0","type":"login","source":"auth","id":"{sequence}","subject":"user-{sequence:06}"}}"#
        )),
    };
    let received = Received::Messages { messages: (first..first + count).map(message).collect(), acknowledge: None };
    Intake { site: CLUSTER.into(), stream: "USERS".to_owned(), epoch: 1, received }
}

/// An engine's recorder, on a thread of its own.
struct Running {
    view: Arc<View<SimulatedDisk>>,
    intake: mpsc::Sender<Intake>,
    rules: watch::Sender<Current>,
    outcomes: OutcomeSender,
    next: u64,
}

impl Running {
    /// Records so many logins; how long that took.
    async fn login(&mut self, count: u64) -> Duration {
        let begun = Instant::now();
        self.intake.send(logins(self.next, count)).await.expect("it runs");
        self.next += count;
        let is_recorded = |projection: &Projection| {
            projection.ground().streams.values().next().is_some_and(|one| one.next_sequence == self.next)
        };
        while !self.view.read(is_recorded) {
            sleep(Duration::from_micros(200)).await;
        }
        begun.elapsed()
    }

    async fn until(&self, what: &str, holds: impl Fn(&View<SimulatedDisk>) -> bool) {
        let begun = Instant::now();
        while !holds(&self.view) {
            assert!(begun.elapsed() < Duration::from_secs(600), "{what}: {:?}", self.view.replays());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_recorded_while_a_list_of_many_keys_is_rendered() {
    let disk = SimulatedDisk::new(21);
    let open_log = move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() });
    let (log, _) = open_log().expect("a sound disk");
    let view = View::new(Projection::default(), log.reader());
    let (stop, stopping) = watch::channel(false);
    let (intake, received) = mpsc::channel(4);
    let sites = Arc::new(Sites::new(Vec::new()));
    let (recorder, outcomes) =
        Recorder::new(Box::new(open_log), log, view.clone(), sites, Arc::new(SystemClock), received);
    let (rules_sender, watched) = watch::channel(rules("all"));
    let recording = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(recorder.run(watched, stopping)).expect("it stops in good order");
    });
    let mut running = Running { view, intake, rules: rules_sender, outcomes, next: 1 };
    running.login(KEYS).await;
    // The list is made of them, and holds an object.
    let key =
        LifecycleKey { trigger: "roster".into(), cluster: CLUSTER.into(), resource: ResourceKey::of_list("roster") };
    let has_list = |view: &View<SimulatedDisk>| view.read(|projection| projection.lifecycle_index(&key).is_some());
    running.until("a list", has_list).await;
    let object = ObjectKey { kind: "ConfigMap".into(), namespace: None, ..ObjectKey::of_namespace("roster") };
    let at = running.view.read(|projection| {
        projection.lifecycle(projection.lifecycle_index(&key).expect("it was just there")).1.decided
    });
    let intended = Reconciled::new(key.clone(), at, What::Intended(vec![object]));
    running.outcomes.record(intended).await.expect("it runs");

    let begun = Instant::now();
    running.rules.send_replace(rules(SLOW));
    let (mut waits, mut looks) = (Vec::new(), Vec::new());
    let is_counted = |view: &View<SimulatedDisk>| view.read(|projection| projection.ground().open_replays.is_empty());
    sleep(Duration::from_millis(20)).await;
    while !is_counted(&running.view) || waits.len() < 20 {
        waits.push(running.login(1).await);
        let asked = Instant::now();
        running.view.read(|projection| projection.len());
        looks.push(asked.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(600), "{:?}", running.view.replays());
        sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    waits.sort_unstable();
    looks.sort_unstable();
    let p99 = |of: &[Duration]| of[of.len() * 99 / 100];
    println!(
        "a replay of {took:?}; {} events recorded meanwhile, p99 {:?}, at most {:?}; a question at most {:?}",
        waits.len(),
        p99(&waits),
        waits.last().expect("some"),
        looks.last().expect("some")
    );
    stop.send_replace(true);
    recording.join().expect("it ended");
    // The list is rendered three times at most. Were it rendered by the recorder, something would wait for a third of this.
    let wait_max = took / 6;
    assert!(took > Duration::from_secs(2), "the list is too quick to show anything: {took:?}");
    assert!(*waits.last().expect("some") < wait_max, "an event waited {:?} of {took:?}", waits.last());
    assert!(*looks.last().expect("some") < wait_max, "a question waited {:?} of {took:?}", looks.last());
}
