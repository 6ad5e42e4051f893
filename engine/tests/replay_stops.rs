//! A stop does not wait for a long history to be replayed: what is not replayed yet is replayed at the next start.

use std::sync::Arc;

use lifeline_engine::clock::Clock;
use lifeline_engine::queue::Queue;
use lifeline_engine::recorder::Recorder;
use lifeline_engine::rules::{Clusters, Current, Manifests, RuleSet};
use lifeline_engine::view::View;
use lifeline_projections::fact::Fact;
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Options, SimulatedDisk};
use tokio::sync::{mpsc, watch};

const RULES: &str = r#"
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventSource
metadata: {name: users}
spec: {messagingMatchCriteria: [{subject: users}]}
---
apiVersion: lib.projectsveltos.io/v1beta1
kind: EventTrigger
metadata: {name: manage}
spec: {eventSourceName: users, oneForEvent: true, cloudEventAction: Create}
"#;

/// Tells the engine to stop as soon as it is asked for the time, which is before history is replayed.
struct StoppingClock {
    stop: Option<watch::Sender<bool>>,
}

impl Clock for StoppingClock {
    fn now_unix_nanos(&self) -> u64 {
        if let Some(stop) = &self.stop {
            stop.send_replace(true);
        }
        1_780_000_000_000_000_000
    }
}

/// Runs a recorder on a disk until it is told to stop: while it takes the rules, or when it has taken them. Gives how
/// many changes of rules and how many replays the log tells of afterwards.
async fn run(disk: &SimulatedDisk, stops_early: bool) -> (usize, usize) {
    let disk = disk.clone();
    let open_log = move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() });
    let (log, _) = open_log().expect("a sound disk");
    let mut projection = Projection::default();
    lifeline_engine::recorder::catch_up(&mut projection, &log.reader(), |_, _| {}, |_| {}).expect("a sound log");
    let view = View::new(projection, log.reader());
    let (stop, stopping) = watch::channel(false);
    let clock = Arc::new(StoppingClock { stop: stops_early.then(|| stop.clone()) });
    let (_intake, received) = mpsc::channel(4);
    let (recorder, _recording) =
        Recorder::new(Box::new(open_log), log, None, view.clone(), Arc::new(Queue::default()), clock, received);
    let rules = RuleSet::new(Manifests::read("rules.yaml", RULES), Clusters::default());
    let (_rules, rules) = watch::channel(Current { rules: Some(Arc::new(rules)), troubles: Vec::new() });
    let stopped = async {
        if !stops_early {
            // Paused time moves on only once the recorder has nothing left to do.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            stop.send_replace(true);
        }
    };
    let (ended, ()) = tokio::join!(recorder.run(rules, stopping), stopped);
    ended.expect("it stops in good order");

    let log = view.log();
    let (mut scan, mut changes, mut replays) = (log.scan(log.start()), 0, 0);
    while let Some(record) = scan.next().expect("a sound log") {
        match Fact::decode(record.payload).expect("a fact") {
            Fact::Rule(_) => changes += 1,
            Fact::Replay(_) => replays += 1,
            other => panic!("nothing else happened: {other:?}"),
        }
    }
    (changes, replays)
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_the_replay_to_the_next_start() {
    let disk = SimulatedDisk::new(11);
    assert_eq!(run(&disk, true).await, (2, 0), "the rules are recorded, history is not replayed");
    assert_eq!(run(&disk, false).await, (2, 1), "now it is");
}
