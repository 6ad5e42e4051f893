//! Messages that come late, below sequences that were recorded: each is recorded once, whether or not it was before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::intake::{Intake, Message, Received};
use lifeline_engine::recorder::Recorder;
use lifeline_engine::rules::{Current, RuleSet};
use lifeline_engine::site::Sites;
use lifeline_engine::view::View;
use lifeline_projections::fact::Fact;
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Options, SimulatedDisk};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

/// A message; every third one is no CloudEvent.
fn message(sequence: u64) -> Message {
    let payload = match sequence % 3 {
        0 => "no event".to_owned(),
        _ => format!(r#"{{"specversion":"1.0","type":"login","source":"auth","id":"{sequence}","subject":"zoe"}}"#),
    };
    Message {
        sequence,
        published_unix_nanos: START_UNIX_NANOS + sequence,
        subject: "users".into(),
        headers: Vec::new(),
        payload: Bytes::from(payload),
    }
}

fn intake(received: Received) -> Intake {
    Intake { site: "mgmt/mgmt".into(), stream: "USERS".to_owned(), epoch: 1, received }
}

fn delivered(sequences: &[u64]) -> Intake {
    let messages = sequences.iter().copied().map(message).collect();
    intake(Received::Messages { messages, acknowledge: None })
}

#[tokio::test(start_paused = true)]
async fn what_comes_late_is_recorded_once() {
    let disk = SimulatedDisk::new(7);
    let open_log = move || Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() });
    let (log, _) = open_log().expect("an empty disk");
    let view = View::new(Projection::default(), log.reader());
    let clock = Arc::new(SimulatedClock::starting_at(START_UNIX_NANOS));
    let (sender, received) = mpsc::channel(8);
    let sites = Arc::new(Sites::new(Vec::new()));
    let (recorder, _recording) = Recorder::new(Box::new(open_log), log, view.clone(), sites, clock, received);
    let (_rules, rules) = watch::channel(Current { rules: Some(Arc::new(RuleSet::empty())), troubles: Vec::new() });
    let (stop, stopping) = watch::channel(false);
    let story = async {
        for (intake, expected) in [
            (delivered(&[1, 2, 3, 7, 9]), &[1, 2, 3, 7, 9][..]),
            (delivered(&[2, 3]), &[]),
            (delivered(&[4, 2, 6]), &[4, 6]),
            (delivered(&[4, 5, 5, 6]), &[5]),
            // Among messages of a subject that is newly wanted are some that were on their way before.
            (delivered(&[7, 8, 9, 10]), &[8, 10]),
            (delivered(&[8, 10]), &[]),
        ] {
            let before = view.log().end();
            sender.send(intake).await.expect("it runs");
            sleep(Duration::from_millis(10)).await;
            let log = view.log();
            let mut scan = log.scan(before);
            let mut recorded = Vec::new();
            while let Some(record) = scan.next().expect("a sound log") {
                let fact = Fact::decode(record.payload).expect("a fact");
                recorded.extend(fact.message().map(|(delivery, _)| delivery.sequence));
            }
            assert_eq!(recorded, expected);
        }
        // In one group, where nothing of it is durable yet.
        let before = view.log().end();
        for intake in [delivered(&[12]), delivered(&[11, 12]), delivered(&[11])] {
            sender.send(intake).await.expect("it runs");
        }
        sleep(Duration::from_millis(10)).await;
        assert_eq!(view.log().end().get() - before.get(), 2);
        let next =
            |projection: &Projection| projection.ground().streams.values().map(|position| position.next_sequence).max();
        assert_eq!(view.read(next), Some(13));
        stop.send_replace(true);
    };
    let (ended, ()) = tokio::join!(recorder.run(rules, stopping), story);
    ended.expect("it stops in good order");
}
