//! A stop does not wait for a long history to be replayed, and the next start goes on where it was left.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::intake::{Intake, Message, Received};
use lifeline_engine::recorder::{Recorder, fold_tail};
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_engine::site::Sites;
use lifeline_engine::view::View;
use lifeline_projections::fact::{Fact, Redesired, TriggerReplayed};
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Options, SimulatedDisk};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const RESOURCES: usize = 40;

const RULES: &str = r#"
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
spec: {eventSourceName: users, oneForEvent: true, cloudEventAction: 'ACTION'}
"#;

/// The one trigger with this action; none without.
fn rules(action: &str) -> Current {
    let trigger = if action.is_empty() { String::new() } else { TRIGGER.replace("ACTION", action) };
    let rules = RuleSet::new(Manifests::read("rules.yaml", &format!("{RULES}{trigger}")), Clusters::default());
    Current { rules: Some(Arc::new(rules)), troubles: Vec::new() }
}

fn login(sequence: u64, subject: &str) -> Intake {
    let payload =
        format!(r#"{{"specversion":"1.0","type":"login","source":"auth","id":"{sequence}","subject":"{subject}"}}"#);
    let message = Message {
        sequence,
        published_unix_nanos: 1,
        subject: "users".into(),
        headers: Vec::new(),
        payload: Bytes::from(payload),
    };
    let received = Received::Messages { messages: vec![message], acknowledge: None };
    Intake { site: "mgmt/mgmt".into(), stream: "USERS".to_owned(), epoch: 1, received }
}

/// What happens while a recorder runs.
struct Running {
    view: Arc<View<SimulatedDisk>>,
    intake: mpsc::Sender<Intake>,
    rules: watch::Sender<Current>,
}

/// Runs a recorder on a disk, which looks at one resource or record in one piece of a replay, until `story` is over.
async fn run(disk: &SimulatedDisk, current: Current, story: impl AsyncFnOnce(&Running)) {
    let disk = disk.clone();
    let open_log = move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() });
    let (log, _) = open_log().expect("a sound disk");
    let mut projection = Projection::default();
    fold_tail(&mut projection, &log.reader(), |_, _| {}, |_| {}).expect("a sound log");
    let view = View::new(projection, log.reader());
    let (stop, stopping) = watch::channel(false);
    let clock = Arc::new(SimulatedClock::starting_at(1_780_000_000_000_000_000));
    let (intake, received) = mpsc::channel(4);
    let (recorder, _recording) =
        Recorder::new(Box::new(open_log), log, view.clone(), Arc::new(Sites::new(Vec::new())), clock, received);
    let (rules, watched) = watch::channel(current);
    let running = Running { view, intake, rules };
    let played = async {
        story(&running).await;
        stop.send_replace(true);
    };
    let (ended, ()) = tokio::join!(recorder.with_replay_steps(1).run(watched, stopping), played);
    ended.expect("it stops in good order");
}

/// The replays of a log: the record, and whether and how many it decides again.
fn replays(running: &Running) -> Vec<(u64, bool, Vec<Redesired>)> {
    let log = running.view.log();
    let (mut scan, mut replays) = (log.scan(log.start()), Vec::new());
    while let Some(record) = scan.next().expect("a sound log") {
        if let Fact::Replay(TriggerReplayed { complete, redecisions, .. }) =
            Fact::decode(record.payload).expect("a fact")
        {
            let desired = redecisions.iter().map(|redecision| redecision.desired).collect();
            replays.push((record.offset.get(), complete, desired));
        }
    }
    replays
}

fn redecided(replays: &[(u64, bool, Vec<Redesired>)]) -> usize {
    replays.iter().map(|(_, _, desired)| desired.len()).sum()
}

async fn history(running: &Running) {
    for number in 0..RESOURCES {
        running.intake.send(login(1 + number as u64, &format!("user-{number:02}"))).await.expect("it runs");
    }
    sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_on_where_a_stop_left_it() {
    let disk = SimulatedDisk::new(11);
    run(&disk, rules(""), history).await;
    let half = async |running: &Running| {
        sleep(Duration::from_millis(40)).await;
        let replays = replays(running);
        assert!(replays.iter().all(|(_, complete, _)| !complete), "{replays:?}");
        assert!((5..RESOURCES - 5).contains(&redecided(&replays)), "{replays:?}");
        let status = running.view.replays();
        assert_eq!((status.len(), &*status[0].trigger, status[0].of), (1, "manage", RESOURCES));
        assert!((5..RESOURCES - 5).contains(&status[0].resources), "{status:?}");
    };
    run(&disk, rules("Create"), half).await;
    let rest = async |running: &Running| {
        sleep(Duration::from_secs(1)).await;
        let replays = replays(running);
        assert_eq!(redecided(&replays), RESOURCES, "each is decided once: {replays:?}");
        assert_eq!(replays.iter().filter(|(_, complete, _)| *complete).count(), 1, "{replays:?}");
        let openings = replays.iter().filter(|(_, complete, desired)| !complete && desired.is_empty());
        assert_eq!(openings.count(), 1, "{replays:?}");
        assert_eq!(running.view.replays(), []);
    };
    run(&disk, rules("Create"), rest).await;
}

#[tokio::test(start_paused = true)]
async fn events_are_recorded_and_decided_while_history_is_replayed() {
    let disk = SimulatedDisk::new(12);
    run(&disk, rules(""), async |running| {
        history(running).await;
        running.rules.send_replace(rules("Create"));
        sleep(Duration::from_millis(10)).await;
        // The last of all keys, which the replay has not come to.
        running.intake.send(login(100, &format!("user-{:02}", RESOURCES - 1))).await.expect("it runs");
        sleep(Duration::from_millis(10)).await;
        let position =
            running.view.read(|projection| projection.ground().streams.values().next().cloned()).expect("the stream");
        assert_eq!(position.next_sequence, 101, "it is recorded");
        let replay = running.view.replays();
        assert!(replay[0].resources < RESOURCES - 1, "{replay:?}");
        sleep(Duration::from_secs(1)).await;
        let replays = replays(running);
        assert_eq!(redecided(&replays), RESOURCES - 1, "the event decided the last one: {replays:?}");
    })
    .await;
}

fn lifecycles(view: &View<SimulatedDisk>) -> u64 {
    view.read(|projection| projection.phases().map(|(_, count)| count).sum())
}

#[tokio::test(start_paused = true)]
async fn events_that_came_while_a_trigger_was_broken_are_decided_when_it_is_mended() {
    let disk = SimulatedDisk::new(13);
    let in_time = async |running: &Running| {
        history(running).await;
        running.rules.send_replace(rules("{{"));
        sleep(Duration::from_millis(100)).await;
        running.intake.send(login(100, "late")).await.expect("it runs");
        sleep(Duration::from_millis(100)).await;
        assert_eq!(lifecycles(&running.view), RESOURCES as u64);
    };
    let decided = async |running: &Running| {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(lifecycles(&running.view), RESOURCES as u64 + 1);
    };
    run(&disk, rules("Create"), async |running| {
        in_time(running).await;
        running.rules.send_replace(rules("Create"));
        decided(running).await;
    })
    .await;
    // The same, with a restart while the trigger was broken, and mended meanwhile.
    let disk = SimulatedDisk::new(14);
    run(&disk, rules("Create"), in_time).await;
    run(&disk, rules("Create"), decided).await;
}
