//! What is recorded up to a time that was asked about once never changes, whatever clock and disk do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lifeline_engine::clock::Clock;
use lifeline_engine::recorder::{OutcomeSender, Recorder};
use lifeline_engine::rules::Current;
use lifeline_engine::site::Sites;
use lifeline_engine::view::View;
use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::fact::{FailedAttempt, LifecycleKey, Reconciled, ResourceKey, What};
use lifeline_projections::fold::Projection;
use lifeline_store::{Disk, Fault, Log, Offset, Options, Random, SimulatedDisk};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

const START_UNIX_NANOS: u64 = 1_780_000_000_000_000_000;

/// A clock that is set by hand, backwards too.
struct Set(AtomicU64);

impl Clock for Set {
    fn now_unix_nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn outcome(of: u64) -> Reconciled {
    let resource = ResourceKey { source: "auth".into(), subject: of.to_string().into() };
    Reconciled {
        key: LifecycleKey { trigger: "manage".into(), cluster: "mgmt/mgmt".into(), resource },
        acted_for: Offset::ZERO,
        previous: None,
        what: What::Failed(FailedAttempt {
            objects: Vec::new(),
            error: "refused".to_owned(),
            attempt: 1,
            transient: true,
        }),
    }
}

/// Runs a story beside a recorder on that disk and clock.
async fn beside<T>(
    disk: &SimulatedDisk,
    clock: Arc<Set>,
    story: impl AsyncFnOnce(OutcomeSender, Arc<View<SimulatedDisk>>) -> T,
) -> T {
    let opened = disk.clone();
    let small = Options { segment_bytes_max: 64 << 10, payload_bytes_max: 16 << 10, ..Options::default() };
    let options = Options { low_space_bytes: 0, ..small };
    let open_log = move || Log::open(opened.clone(), options.clone());
    let (log, _) = open_log().expect("an empty disk");
    let view = View::new(Projection::default(), log.reader());
    let (_intake, received) = mpsc::channel(1);
    let (recorder, recording) =
        Recorder::new(Box::new(open_log), log, view.clone(), Arc::new(Sites::new(Vec::new())), clock, received);
    let (_rules, rules) = watch::channel(Current::default());
    let (stop, stopping) = watch::channel(false);
    let told = async {
        let told = story(recording, view).await;
        stop.send_replace(true);
        told
    };
    let (ended, told) = tokio::join!(recorder.run(rules, stopping), told);
    ended.expect("it stops in good order");
    told
}

fn end_of<D: Disk>(view: &View<D>, unix_nanos: u64) -> Offset {
    Moment::Time(unix_nanos).end(&view.log()).expect("a sound log")
}

/// The log folded again gives what the recorder folded as it went.
fn is_what_the_log_says<D: Disk>(view: &View<D>) -> bool {
    let log = view.log();
    let again = as_of::projection(&log, Moment::Offset(log.end())).expect("a sound log");
    again.digest() == view.read(Projection::digest)
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_disk_holds_up_is_waited_for() {
    let (disk, clock) = (SimulatedDisk::new(7), Arc::new(Set(AtomicU64::new(START_UNIX_NANOS))));
    let now = |nanos: u64| clock.0.store(START_UNIX_NANOS + nanos, Ordering::Relaxed);
    beside(&disk, clock.clone(), async |recording: OutcomeSender, view: Arc<View<SimulatedDisk>>| {
        recording.record(outcome(1)).await.expect("it runs");
        now(1_000);
        // The write or the sync of the next group, the log opened again after it: nothing gets on for seconds.
        for operation in 1..=4 {
            disk.fail_at(disk.operations() + operation, Fault::Failure);
        }
        let held_up = tokio::spawn(async move { recording.record(outcome(2)).await });
        sleep(Duration::from_millis(10)).await;
        assert!(view.stalled().is_some(), "the disk refuses");
        now(2_000);
        assert!(view.seal(START_UNIX_NANOS + 999), "it comes behind that");
        assert!(!view.seal(START_UNIX_NANOS + 1_000) && !view.seal(START_UNIX_NANOS + 2_000));
        held_up.await.expect("no panic").expect("it goes on by itself");
        assert!(view.seal(START_UNIX_NANOS + 2_000));
        assert_eq!(end_of(&view, START_UNIX_NANOS + 999).get(), 1);
        assert_eq!(end_of(&view, START_UNIX_NANOS + 2_000).get(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_back_changes_no_answer_and_no_state() {
    let (disk, clock) = (SimulatedDisk::new(7), Arc::new(Set(AtomicU64::new(START_UNIX_NANOS))));
    beside(&disk, clock.clone(), async |recording: OutcomeSender, view: Arc<View<SimulatedDisk>>| {
        recording.record(outcome(1)).await.expect("it runs");
        assert!(view.seal(START_UNIX_NANOS + 5));
        assert_eq!(end_of(&view, START_UNIX_NANOS + 5).get(), 1);
        clock.0.store(START_UNIX_NANOS - 1_000, Ordering::Relaxed);
        recording.record(outcome(2)).await.expect("it runs");
        assert_eq!(end_of(&view, START_UNIX_NANOS + 5).get(), 1, "what comes after an answer is behind it");
        assert!(is_what_the_log_says(&view));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_by_time_never_changes() {
    let (mut answers_given, mut waits) = (0, 0);
    for seed in 1..=60 {
        let mut chance = Random::new(seed);
        let (disk, clock) = (SimulatedDisk::new(seed), Arc::new(Set(AtomicU64::new(START_UNIX_NANOS))));
        beside(&disk, clock.clone(), async |recording: OutcomeSender, view: Arc<View<SimulatedDisk>>| {
            let (mut recorded, mut answers) = (JoinSet::new(), BTreeSet::new());
            for step in 0..60 {
                match chance.below(10) {
                    0..4 => {
                        let (recording, of) = (recording.clone(), chance.below(5));
                        recorded.spawn(async move { recording.record(outcome(of)).await.expect("it runs") });
                    }
                    4 => disk.fail_at(disk.operations() + 1 + chance.below(6), Fault::Failure),
                    5 => drop(clock.0.fetch_sub(chance.below(3_000), Ordering::Relaxed)),
                    _ => drop(clock.0.fetch_add(chance.below(1_000), Ordering::Relaxed)),
                }
                sleep(Duration::from_millis(chance.below(700))).await;
                let asked = clock.now_unix_nanos() - chance.below(1_500);
                if view.seal(asked) {
                    let end = end_of(&view, asked);
                    assert!(
                        end <= view.read(Projection::watermark),
                        "seed {seed} step {step}: told before it is folded"
                    );
                    answers.insert((asked, end));
                } else {
                    waits += 1;
                }
            }
            disk.plan_no_faults();
            while recorded.join_next().await.is_some() {}
            for (asked, end) in &answers {
                assert_eq!(end_of(&view, *asked), *end, "seed {seed}: another answer about {asked}");
            }
            assert!(is_what_the_log_says(&view), "seed {seed}");
            answers_given += answers.len();
        })
        .await;
    }
    assert!(answers_given > 1_000 && waits > 50, "{answers_given} answers, {waits} waits: nothing was tried");
}
