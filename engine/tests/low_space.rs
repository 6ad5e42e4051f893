//! A disk that is nearly full stops intake and nothing else, and lets it go on by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use lifeline_engine::clock::SimulatedClock;
use lifeline_engine::intake::{self, Acknowledge, Intake, Message, Received};
use lifeline_engine::recorder::{OutcomeSender, Recorder};
use lifeline_engine::rules::{Current, RuleSet};
use lifeline_engine::site::Sites;
use lifeline_engine::view::View;
use lifeline_projections::fact::{EventReceived, Fact, FailedAttempt, LifecycleKey, Reconciled, ResourceKey, What};
use lifeline_projections::fold::Projection;
use lifeline_store::{Log, Options, SimulatedDisk};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

/// What is kept for outcomes; below it messages wait.
const LOW_SPACE_BYTES: u64 = 256 << 10;

fn options() -> Options {
    Options {
        segment_bytes_max: 64 << 10,
        payload_bytes_max: 16 << 10,
        low_space_bytes: LOW_SPACE_BYTES,
        ..Options::default()
    }
}

/// Tells which batch was acknowledged.
struct Told(mpsc::UnboundedSender<u64>, u64);

impl Acknowledge for Told {
    fn send(&self) -> BoxFuture<'_, Result<(), intake::Error>> {
        let _ = self.0.send(self.1);
        async { Ok(()) }.boxed()
    }
}

fn event(sequence: u64, acknowledged: &mpsc::UnboundedSender<u64>) -> Intake {
    let payload = format!(
        r#"{{"specversion":"1.0","type":"login","source":"auth","id":"{sequence}","subject":"zoe","data":"{:x<900}"}}"#,
        ""
    );
    let message = Message {
        sequence,
        published_unix_nanos: START_UNIX_NANOS,
        subject: "users".into(),
        headers: Vec::new(),
        payload: Bytes::from(payload),
    };
    let acknowledge = Some(Box::new(Told(acknowledged.clone(), sequence)) as Box<dyn Acknowledge>);
    let received = Received::Messages { messages: vec![message], acknowledge };
    Intake { site: "mgmt/mgmt".into(), stream: "USERS".to_owned(), epoch: 1, received }
}

async fn outcome(recording: &OutcomeSender, attempt: u32) {
    let resource = ResourceKey { source: "auth".into(), subject: "zoe".into() };
    let key = LifecycleKey { trigger: "manage".into(), cluster: "mgmt/mgmt".into(), resource };
    let fact = Reconciled {
        key,
        acted_for: 0.into(),
        previous: None,
        what: What::Failed(FailedAttempt {
            objects: Vec::new(),
            error: "refused".to_owned(),
            attempt,
            transient: true,
        }),
    };
    timeout(Duration::from_secs(5), recording.record(fact)).await.expect("outcomes do not wait").expect("it runs");
}

#[tokio::test(start_paused = true)]
async fn intake_waits_for_room_while_outcomes_go_on() {
    let disk = SimulatedDisk::new(7);
    let opened = disk.clone();
    let open_log = move || Log::open(opened.clone(), options());
    let (log, _) = open_log().expect("an empty disk");
    let view = View::new(Projection::default(), log.reader());
    let clock = Arc::new(SimulatedClock::starting_at(START_UNIX_NANOS));
    let (intake, received) = mpsc::channel(4);
    let (recorder, recording) =
        Recorder::new(Box::new(open_log), log, view.clone(), Arc::new(Sites::new(Vec::new())), clock, received);
    let rules = Current { rules: Some(Arc::new(RuleSet::empty())), troubles: Vec::new() };
    let (_rules, rules) = watch::channel(rules);
    let (stop, stopping) = watch::channel(false);
    let (acknowledge, mut acknowledged) = mpsc::unbounded_channel();

    let story = async {
        // Nothing comes, and something else fills the disk: it is told all the same, and when there is room again.
        sleep(Duration::from_secs(10)).await;
        assert_eq!(view.stalled(), None);
        disk.set_capacity_bytes(LOW_SPACE_BYTES / 2);
        sleep(Duration::from_secs(10)).await;
        assert!(view.stalled().is_some_and(|why| why.contains("below the watermark")), "{:?}", view.stalled());
        disk.set_capacity_bytes(64 << 20);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(view.stalled(), None);

        // Two segments' worth above the mark: full after some forty events.
        disk.set_capacity_bytes(LOW_SPACE_BYTES + (160 << 10));
        let mut sent = 0;
        while view.stalled().is_none() {
            sent += 1;
            assert!(sent < 1_000, "the disk never got full");
            intake.send(event(sent, &acknowledge)).await.expect("it runs");
            sleep(Duration::from_millis(10)).await;
        }
        let reason = view.stalled().expect("it stalls");
        assert!(reason.contains("below the watermark"), "{reason}");
        assert!(sent > 20, "only {sent} events fit");

        // The one that found no room waits, and those behind it, unacknowledged.
        intake.send(event(sent + 1, &acknowledge)).await.expect("it runs");
        let held_from = view.read(Projection::watermark);
        for attempt in 1..=50 {
            outcome(&recording, attempt).await;
            assert!(view.stalled().is_some(), "an outcome that is recorded ends nothing");
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!(view.read(Projection::watermark).get(), held_from.get() + 50, "outcomes and nothing else");
        let mut known = Vec::new();
        while let Ok(sequence) = acknowledged.try_recv() {
            known.push(sequence);
        }
        assert_eq!(known, (1..sent).collect::<Vec<_>>(), "what waits is not acknowledged");

        disk.set_capacity_bytes(64 << 20);
        for expected in [sent, sent + 1] {
            let told = timeout(Duration::from_secs(5), acknowledged.recv()).await;
            assert_eq!(told.expect("it goes on by itself"), Some(expected));
        }
        assert_eq!(view.stalled(), None);

        // Nothing twice, nothing missing, in order.
        let log = view.log();
        let mut scan = log.scan(log.start());
        let mut sequences = Vec::new();
        while let Some(record) = scan.next().expect("a sound log") {
            if let Fact::Event(EventReceived { delivery, .. }) = Fact::decode(record.payload).expect("a fact") {
                sequences.push(delivery.sequence);
            }
        }
        assert_eq!(sequences, (1..=sent + 1).collect::<Vec<_>>());
        stop.send_replace(true);
    };
    let (ended, ()) = tokio::join!(recorder.run(rules, stopping), story);
    ended.expect("it stops in good order");
}
