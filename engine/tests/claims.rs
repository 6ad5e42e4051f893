//! Whose an object is: what a lifecycle never owned it lets go of, what one left goes to the first who claims it, and who
//! waits for a Namespace of another goes on as soon as it may.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::cluster::local::LocalCluster;
use lifeline_engine::cluster::{Cluster, Deletion, Error, LiveObject, ObjectKey};
use lifeline_engine::intake::{Intake, Message};
use lifeline_engine::queue::Queue;
use lifeline_engine::reconcile::Reconciler;
use lifeline_engine::recorder::{self, Recorder};
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_engine::view::View;
use lifeline_projections::fact::{Fact, Reconciled, Redecision, Redesired, ResourceKey, TriggerReplayed, What};
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Phase;
use lifeline_store::{Log, Options, Recovery, SimulatedDisk};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

const SOURCE: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users}]}
"#;

/// `BEHAVIOUR` is replaced by what becomes of objects when the trigger goes. Names of subjects that differ in case alone
/// meet.
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

fn with_trigger(behaviour: &str) -> Current {
    rules(&format!("{SOURCE}{}", TRIGGER.replace("BEHAVIOUR", behaviour)))
}

/// A cluster that takes a moment for each apply, as real ones do.
struct Slow(Arc<LocalCluster>);

impl Cluster for Slow {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn resolve<'a>(&'a self, manifest: &'a Value) -> BoxFuture<'a, Result<ObjectKey, Error>> {
        self.0.resolve(manifest)
    }

    fn get<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<LiveObject>, Error>> {
        self.0.get(key)
    }

    fn apply<'a>(
        &'a self,
        key: &'a ObjectKey,
        manifest: &'a Value,
        uid: Option<&'a str>,
    ) -> BoxFuture<'a, Result<LiveObject, Error>> {
        async move {
            sleep(Duration::from_millis(50)).await;
            self.0.apply(key, manifest, uid).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey, uid: &'a str) -> BoxFuture<'a, Result<Deletion, Error>> {
        self.0.delete(key, uid)
    }
}

/// An engine in memory.
struct World {
    view: Arc<View<SimulatedDisk>>,
    cluster: Arc<LocalCluster>,
    intake: mpsc::Sender<Intake>,
    rules: watch::Sender<Current>,
}

impl World {
    /// Takes in an event, and waits until whatever it causes has happened.
    async fn happens(&self, sequence: u64, kind: &str, subject: &str) {
        self.begins(sequence, kind, subject).await;
        self.settles().await;
    }

    /// Takes in an event.
    async fn begins(&self, sequence: u64, kind: &str, subject: &str) {
        self.intake.send(event(sequence, kind, subject)).await.expect("it runs");
    }

    async fn settles(&self) {
        sleep(Duration::from_secs(60)).await;
    }

    fn phases(&self) -> Vec<(Phase, u64)> {
        self.view.projection().phases().collect()
    }
}

fn open(disk: &SimulatedDisk) -> Result<(Log<SimulatedDisk>, Recovery), lifeline_store::Error> {
    Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() })
}

/// Runs an engine for as long as a story takes.
async fn play(rules: Current, story: impl AsyncFnOnce(&World)) {
    let cluster = Arc::new(LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH)));
    play_on(&SimulatedDisk::new(7), cluster, rules, story).await;
}

/// The same, with what an earlier engine left on its disk and its cluster.
async fn play_on(disk: &SimulatedDisk, cluster: Arc<LocalCluster>, rules: Current, story: impl AsyncFnOnce(&World)) {
    let disk = disk.clone();
    let open_log = move || open(&disk);
    let log = open_log().expect("a sound disk").0;
    let mut projection = Projection::default();
    recorder::catch_up(&mut projection, &log.reader(), |_, _| {}, |_| {}).expect("a sound log");
    let queue = Arc::new(Queue::default());
    queue.push(projection.unsettled().collect::<Vec<_>>());
    let view = View::new(projection, log.reader());
    let clock = Arc::new(SimulatedClock::starting_at(START_UNIX_NANOS));
    let (intake, received) = mpsc::channel(4);
    let (recorder, recording) =
        Recorder::new(Box::new(open_log), log, None, view.clone(), queue.clone(), clock, received);
    let (rules, watched) = watch::channel(rules);
    let (stop, stopping) = watch::channel(false);
    let reconciler = Reconciler::new(
        view.clone(),
        queue,
        watched.clone(),
        Arc::new(Slow(cluster.clone())),
        recording,
        Arc::default(),
    );
    let world = World { view, cluster, intake, rules };
    let told = async {
        story(&world).await;
        stop.send_replace(true);
    };
    let (ended, (), ()) = tokio::join!(recorder.run(watched, stopping.clone()), reconciler.run(stopping), told);
    ended.expect("it stops in good order");
}

#[tokio::test(start_paused = true)]
async fn what_a_lifecycle_never_owned_is_let_go_not_deleted() {
    play(with_trigger("WithdrawPolicies"), async |world| {
        let theirs = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}});
        let theirs_key = world.cluster.resolve(&theirs).await.expect("a Namespace");
        let theirs_uid = world.cluster.apply(&theirs_key, &theirs, None).await.expect("room").uid;
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
            world.happens(sequence, kind, subject).await;
        }
        let log = world.view.log();
        let mut scan = log.scan(log.start());
        let mut told = Vec::new();
        while let Some(record) = scan.next().expect("a sound log") {
            match Fact::decode(record.payload).expect("a fact") {
                Fact::Reconciled(Reconciled { key, what: What::Deleted(objects), .. }) => {
                    told.push(("deleted", key.resource.subject, objects[0].short()))
                }
                Fact::Reconciled(Reconciled { key, what: What::Released(objects), .. }) => {
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
        let found = world.cluster.get(&theirs_key).await.expect("a cluster").expect("it was left alone");
        assert_eq!(found.uid, theirs_uid);
        assert_eq!(world.phases(), [(Phase::Gone, 3)], "each settles, and no claim is left");
        assert_eq!(world.view.projection().objects().count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_left_goes_to_the_first_who_claims_it_and_then_to_the_next() {
    play(with_trigger("LeavePolicies"), async |world| {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}});
        let object = world.cluster.resolve(&manifest).await.expect("a Namespace");
        let marked = async || {
            let live = world.cluster.get(&object).await.expect("a cluster")?;
            Some(live.manifest["metadata"]["annotations"]["lifeline.dev/subject"].as_str()?.to_owned())
        };
        // Known first, so that it claims first when both want the object.
        world.happens(1, "logout", "ZOE").await;
        world.happens(2, "login", "zoe").await;
        assert_eq!(marked().await.as_deref(), Some("zoe"));
        world.rules.send_replace(rules(SOURCE));
        world.happens(3, "login", "ZOE").await;
        assert_eq!(marked().await.as_deref(), Some("zoe"), "it is left");
        world.rules.send_replace(with_trigger("WithdrawPolicies"));
        world.settles().await;
        assert_eq!(marked().await.as_deref(), Some("ZOE"));
        assert_eq!(world.phases(), [(Phase::Failing, 1), (Phase::Ready, 1)]);
        world.happens(4, "logout", "ZOE").await;
        assert_eq!(marked().await.as_deref(), Some("zoe"), "the next one's turn");
        world.happens(5, "logout", "zoe").await;
        assert_eq!(marked().await, None);
        assert_eq!(world.phases(), [(Phase::Gone, 2)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_another_lifecycle_wants_changes_hands_in_place() {
    play(with_trigger("WithdrawPolicies"), async |world| {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}});
        let object = world.cluster.resolve(&manifest).await.expect("a Namespace");
        let live = async || world.cluster.get(&object).await.expect("a cluster");
        world.happens(1, "login", "zoe").await;
        world.happens(2, "login", "ZOE").await;
        let uid = live().await.expect("the first one made it").uid;
        world.happens(3, "logout", "zoe").await;
        let handed_over = live().await.expect("the other one wants it");
        assert_eq!(handed_over.uid, uid, "it was not made again");
        assert_eq!(handed_over.manifest["metadata"]["annotations"]["lifeline.dev/subject"], "ZOE");
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
        world.happens(4, "login", "zoe").await;
        world.happens(5, "logout", "zoe").await;
        assert_eq!(live().await.expect("who waited for it lets go of it").uid, uid);
        world.happens(6, "logout", "ZOE").await;
        assert_eq!(live().await, None);
        assert_eq!(world.phases(), [(Phase::Gone, 2)]);
    })
    .await;
}

/// A note beside the Namespace, which each subject has for itself.
const NOTE: &str = r#"
  note.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: "note-{{ len .CloudEvent.subject }}-{{ .CloudEvent.id }}", namespace: default}
"#;

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_goes_though_another_object_belongs_to_others() {
    let with_note = || {
        let text = format!("{SOURCE}{}", TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies"));
        rules(&(text.trim_end().to_owned() + NOTE))
    };
    play(with_note(), async |world| {
        let foreign = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}});
        let key = world.cluster.resolve(&foreign).await.expect("a Namespace");
        world.cluster.apply(&key, &foreign, None).await.expect("room");
        // The second one waits for the first one's Namespace, the third one's exists and is nobody's.
        world.happens(1, "login", "zoe").await;
        world.happens(2, "login", "ZOE").await;
        world.happens(3, "login", "theirs").await;
        let notes = || world.cluster.list().iter().filter(|(object, _)| object.kind == "ConfigMap").count();
        assert_eq!(notes(), 3);
        world.rules.send_replace(with_trigger("WithdrawPolicies"));
        world.settles().await;
        assert_eq!(notes(), 0, "no rule gives a note any more");
        assert_eq!(world.phases(), [(Phase::Failing, 2), (Phase::Ready, 1)]);
    })
    .await;
}

/// A second trigger, for visits, that puts an object into the Namespace.
const GUEST: &str = r#"
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: guest}
spec:
  eventSourceName: users
  oneForEvent: true
  cloudEventAction: '{{if eq .CloudEvent.type "visit"}}Create{{else}}Nothing{{end}}'
  policyRefs: [{name: guest, namespace: default, kind: ConfigMap}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: guest, namespace: default, annotations: {projectsveltos.io/instantiate: ok}}
data:
  guest.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: guest, namespace: "{{ .CloudEvent.subject | lower }}"}
"#;

/// The rules of owners and guests: who logs in owns the Namespace, who visits puts an object into it.
fn with_guests() -> Current {
    let trigger = TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies");
    let trigger = trigger.replace("{{else}}Delete{{end}}", r#"{{else if eq .CloudEvent.type "logout"}}Delete{{end}}"#);
    rules(&format!("{SOURCE}{trigger}{GUEST}"))
}

impl World {
    /// The decision for which the guest's object was applied last; `None` while there is no such object.
    fn guest(&self) -> Option<String> {
        let objects = self.cluster.list();
        let (_, live) = objects.iter().find(|(object, _)| object.name == "guest")?;
        Some(live.manifest["metadata"]["annotations"]["lifeline.dev/offset"].as_str()?.to_owned())
    }

    /// Makes an object as a stranger does.
    async fn make(&self, manifest: &Value) -> (ObjectKey, LiveObject) {
        let key = self.cluster.resolve(manifest).await.expect("a kind that it knows");
        let live = self.cluster.apply(&key, manifest, None).await.expect("nothing is in the way");
        (key, live)
    }
}

#[tokio::test(start_paused = true)]
async fn guests_go_on_as_soon_as_the_outcome_for_their_namespace_is_known() {
    play(with_guests(), async |world| {
        world.happens(1, "login", "zoe").await;
        world.happens(2, "visit", "zoe").await;
        let before = world.guest().expect("it visits");
        world.begins(3, "login", "zoe").await;
        sleep(Duration::from_millis(10)).await;
        world.begins(4, "visit", "zoe").await;
        sleep(Duration::from_secs(1)).await;
        assert_ne!(world.guest().expect("it visits again"), before);
        assert_eq!(world.phases(), [(Phase::Ready, 2)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn guests_move_into_the_namespace_that_a_stranger_made_in_the_place_of_ours() {
    play(with_guests(), async |world| {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}});
        world.happens(1, "login", "zoe").await;
        world.happens(2, "visit", "zoe").await;
        let namespace = world.cluster.resolve(&manifest).await.expect("a Namespace");
        let ours = world.cluster.get(&namespace).await.expect("a cluster").expect("it was made");
        world.cluster.delete(&namespace, &ours.uid).await.expect("it may go");
        let (_, theirs) = world.make(&manifest).await;
        assert_eq!(world.guest(), None, "it went with the Namespace");
        // The owner notices; nobody says that the guest is there while it is not.
        world.happens(3, "login", "zoe").await;
        let moved = world.guest().expect("it moved in");
        assert_eq!(world.phases(), [(Phase::Failing, 1), (Phase::Ready, 1)]);
        world.happens(4, "login", "zoe").await;
        world.begins(5, "visit", "zoe").await;
        sleep(Duration::from_secs(1)).await;
        assert_ne!(world.guest().expect("it visits again"), moved);
        world.happens(6, "logout", "zoe").await;
        let found = world.cluster.get(&namespace).await.expect("a cluster").expect("it is the stranger's");
        assert_eq!(found.uid, theirs.uid);
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn guests_that_waited_long_go_on_as_soon_as_the_namespace_is_gone() {
    play(with_guests(), async |world| {
        world.happens(1, "login", "zoe").await;
        world.happens(2, "visit", "zoe").await;
        let mut holder = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "holder", "namespace": "zoe", "finalizers": ["example.com/hold"]},
        });
        world.make(&holder).await;
        world.happens(3, "logout", "zoe").await;
        world.happens(4, "visit", "zoe").await;
        world.settles().await;
        assert_eq!(world.guest(), None, "the Namespace is on its way out");
        holder["metadata"]["finalizers"] = json!([]);
        world.make(&holder).await;
        world.make(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zoe"}})).await;
        sleep(Duration::from_secs(2)).await;
        assert_ne!(world.guest(), None);
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_went_with_a_namespace_are_made_again_with_it() {
    play(with_guests(), async |world| {
        let guests = || world.cluster.list().iter().filter(|(object, _)| object.kind == "ConfigMap").count();
        world.happens(1, "login", "zoe").await;
        world.happens(2, "visit", "zoe").await;
        assert_eq!((guests(), world.phases()), (1, vec![(Phase::Ready, 2)]));
        world.happens(3, "logout", "zoe").await;
        assert_eq!((guests(), world.phases()), (0, vec![(Phase::Failing, 1), (Phase::Gone, 1)]), "nobody says Ready");
        world.happens(4, "login", "zoe").await;
        assert_eq!((guests(), world.phases()), (1, vec![(Phase::Ready, 2)]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_went_with_a_namespace_are_not_ready() {
    let with = |namespace: &str| {
        let text = format!("{SOURCE}{}", TRIGGER.replace("BEHAVIOUR", "WithdrawPolicies"));
        let (rest, namespace_text) = text.split_once("  namespace.yaml: |").expect("it gives a Namespace");
        let inside = NOTE.replace("namespace: default", r#"namespace: "{{ .CloudEvent.subject }}""#);
        let namespace =
            if namespace.is_empty() { String::new() } else { format!("  namespace.yaml: |{namespace_text}") };
        rules(&format!("{rest}{namespace}{}", inside.trim_start_matches('\n')))
    };
    play(with("Namespace"), async |world| {
        world.happens(1, "login", "zoe").await;
        assert_eq!((world.cluster.list().len(), world.phases()), (2, vec![(Phase::Ready, 1)]));
        world.rules.send_replace(with(""));
        world.settles().await;
        assert_eq!((world.cluster.list().len(), world.phases()), (0, vec![(Phase::Failing, 1)]));
        world.rules.send_replace(with("Namespace"));
        world.settles().await;
        assert_eq!((world.cluster.list().len(), world.phases()), (2, vec![(Phase::Ready, 1)]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn half_a_replay_of_rules_that_were_taken_back_deletes_nothing() {
    let disk = SimulatedDisk::new(7);
    let cluster = Arc::new(LocalCluster::in_memory(7, Arc::new(|| jiff::Timestamp::UNIX_EPOCH)));
    play_on(&disk, cluster.clone(), with_trigger("WithdrawPolicies"), async |world| {
        world.happens(1, "login", "zoe").await;
        world.happens(2, "login", "ann").await;
        world.happens(3, "logout", "ann").await;
    })
    .await;
    let made = cluster.list();
    assert_eq!(made.len(), 1);
    // Under other rules nobody is wanted. The engine ended between two records of their replay.
    let redecision = Redecision {
        cluster: "mgmt/mgmt".into(),
        resource: ResourceKey { source: "auth".into(), subject: "zoe".into() },
        desired: Redesired::Absent { event: None },
        previous: None,
    };
    let redecisions = vec![redecision];
    let half =
        TriggerReplayed { trigger: "manage".into(), digest: Some(7), leaves: false, complete: false, redecisions };
    let (mut log, _) = open(&disk).expect("a sound disk");
    let mut record = Vec::new();
    Fact::Replay(half).encode(&mut record);
    log.append(START_UNIX_NANOS, &record).expect("room");
    log.sync().expect("a disk that is well");
    drop(log);
    play_on(&disk, cluster.clone(), Current::default(), async |world| {
        world.settles().await;
        assert_eq!(world.phases(), [(Phase::Deleting, 1), (Phase::Gone, 1)]);
        assert_eq!(cluster.list(), made, "no rules are read yet");
        world.rules.send_replace(with_trigger("WithdrawPolicies"));
        world.settles().await;
        assert_eq!(world.phases(), [(Phase::Ready, 1), (Phase::Gone, 1)]);
    })
    .await;
    let uids =
        |objects: &[(ObjectKey, LiveObject)]| objects.iter().map(|(_, live)| live.uid.clone()).collect::<Vec<_>>();
    assert_eq!(uids(&cluster.list()), uids(&made), "nothing was made again");
}
