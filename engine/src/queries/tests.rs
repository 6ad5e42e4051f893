//! Waiting for a state, in simulated time; and an engine for the tests of other questions.

use std::sync::Arc;
use std::time::Duration;

use lifeline_projections::as_of::Moment;
use lifeline_projections::fact::{Fact, FailedAttempt, LifecycleKey, Reconciled, ResourceKey, What as Outcome};
use lifeline_projections::fold::Projection;
use lifeline_projections::reads::{Filter, Page};
use lifeline_projections::why::object::Question;
use lifeline_store::{Log, Offset, Options, SimulatedDisk};
use tokio::time::{Instant, sleep};

use super::*;
use crate::clock::SimulatedClock;

pub(super) const START_UNIX_NANOS: u64 = 1_795_356_000_000_000_000;

const MILLISECOND: u64 = 1_000_000;

/// An engine that folds what is recorded at once.
pub(super) struct Engine {
    disk: SimulatedDisk,
    log: Log<SimulatedDisk>,
    pub(super) view: Arc<View<SimulatedDisk>>,
}

impl Engine {
    pub(super) fn start() -> Engine {
        let disk = SimulatedDisk::new(7);
        let log = open(&disk);
        let view = View::new(Projection::default(), log.reader());
        Engine { disk, log, view }
    }

    /// Opens the log again, as the recorder does when its disk failed.
    fn reopen(&mut self) {
        self.log = open(&self.disk);
        self.view.reopened(self.log.reader());
    }

    /// Records that something about this subject failed.
    pub(super) fn record(&mut self, subject: &str) {
        let resource = ResourceKey { source: "auth".into(), subject: subject.into() };
        let previous = self.view.read(|projection| projection.last_record("auth", subject));
        let failed = FailedAttempt { objects: vec![], error: "refused".to_owned(), attempt: 1, transient: true };
        let fact = Fact::Reconciled(Reconciled {
            key: LifecycleKey { trigger: "manage".into(), cluster: "mgmt/mgmt".into(), resource },
            acted_for: Offset::ZERO,
            previous,
            what: Outcome::Failed(failed),
        });
        let (now, offset) = (self.view.stamp(START_UNIX_NANOS), self.log.end());
        self.log.append_encoded(now, |buffer| fact.encode(buffer)).expect("room");
        self.log.sync().expect("a disk");
        self.view.change(|projection| projection.fold(offset, now, &fact, &mut Vec::new()));
        self.view.settled();
    }

    fn queries(&self) -> Queries<SimulatedDisk> {
        Queries::new(self.view.clone(), Arc::new(SimulatedClock::starting_at(START_UNIX_NANOS)))
    }
}

fn open(disk: &SimulatedDisk) -> Log<SimulatedDisk> {
    Log::open(disk.clone(), Options { low_space_bytes: 0, ..Options::default() }).expect("a sound disk").0
}

fn as_of(unix_nanos: u64) -> When {
    When { as_of: Some(Moment::Time(unix_nanos)), at_least: None }
}

/// How many resources there are in a state, and how long the answer took.
async fn count(queries: &Queries<SimulatedDisk>, when: When) -> (Result<u64, Error>, Duration) {
    let began = Instant::now();
    let answer = queries.lifecycles(Filter::default(), Page::default(), when).await;
    (answer.map(|list| list.answer.items.len() as u64), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_time_is_answered_as_soon_as_it_is_settled_and_refused_when_that_takes_too_long() {
    let mut engine = Engine::start();
    engine.record("ann");
    let queries = engine.queries();
    let asked = engine.view.stamp(START_UNIX_NANOS + MILLISECOND);
    sleep(Duration::from_millis(5)).await;
    assert_eq!(count(&queries, as_of(asked - 1)).await.0.expect("an answer"), 1, "that time is settled");

    let (refused, waited) = count(&queries, as_of(asked)).await;
    assert!(matches!(refused, Err(Error::NotSettled { unix_nanos }) if unix_nanos == asked), "{refused:?}");
    assert_eq!(waited.as_millis(), 3_000);

    let settling = async {
        sleep(Duration::from_millis(700)).await;
        engine.view.settled();
    };
    let ((answered, waited), ()) = tokio::join!(count(&queries, as_of(asked)), settling);
    assert_eq!((answered.expect("an answer"), waited.as_millis()), (1, 700));
}

#[tokio::test(start_paused = true)]
async fn an_offset_is_answered_as_soon_as_it_is_folded_and_refused_when_that_takes_too_long() {
    let mut engine = Engine::start();
    engine.record("ann");
    let queries = engine.queries();
    let at_least = |offset: u64| When { at_least: Some(Offset::from(offset)), as_of: None };
    assert_eq!(count(&queries, at_least(1)).await.0.expect("an answer"), 1);
    let (refused, waited) = count(&queries, at_least(2)).await;
    let is_refused =
        matches!(&refused, Err(Error::NotReached { offset, folded }) if (offset.get(), folded.get()) == (2, 1));
    assert!(is_refused, "{refused:?}");
    assert_eq!(waited.as_millis(), 3_000);
    let recording = async {
        sleep(Duration::from_millis(700)).await;
        engine.record("bob");
    };
    let ((answered, waited), ()) = tokio::join!(count(&queries, at_least(2)), recording);
    assert_eq!((answered.expect("an answer"), waited.as_millis()), (2, 700));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_opened_again_meanwhile_is_asked_as_it_is_then() {
    let mut engine = Engine::start();
    engine.record("ann");
    let queries = engine.queries();
    let asked = engine.view.stamp(START_UNIX_NANOS);
    let recording = async {
        sleep(Duration::from_millis(700)).await;
        engine.reopen();
        engine.record("bob");
    };
    let ((answered, waited), ()) = tokio::join!(count(&queries, as_of(asked)), recording);
    assert_eq!((answered.expect("an answer"), waited.as_millis()), (2, 700));
}

#[tokio::test(start_paused = true)]
async fn a_time_to_come_is_refused_and_one_that_was_rounded_up_is_waited_for() {
    let mut engine = Engine::start();
    engine.record("ann");
    let queries = engine.queries();
    let (refused, waited) = count(&queries, as_of(START_UNIX_NANOS + 2 * MILLISECOND)).await;
    assert!(matches!(refused, Err(Error::Future { .. })), "{refused:?}");
    assert_eq!(waited, Duration::ZERO);
    let (answered, waited) = count(&queries, as_of(START_UNIX_NANOS + MILLISECOND)).await;
    assert_eq!((answered.expect("an answer"), waited.as_millis()), (1, 1));
}

#[test]
fn questions_that_wait_hold_no_thread() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let mut engine = Engine::start();
        engine.record("ann");
        let queries = Arc::new(engine.queries());
        let asked = engine.view.stamp(START_UNIX_NANOS);
        let questions = (0..600).map(|number| {
            let when = if number % 2 == 0 { as_of(asked) } else { When { at_least: Some(2.into()), as_of: None } };
            let queries = queries.clone();
            tokio::spawn(async move { count(&queries, when).await.0 })
        });
        let questions: Vec<_> = questions.collect();
        tokio::task::yield_now().await;
        let other = queries.why_object(Question { kind: "Pod".into(), name: "ann".into(), ..Question::default() });
        let other = tokio::time::timeout(Duration::from_secs(1), other).await.expect("nobody is in its way");
        assert_eq!(other.expect("an answer").offset.get(), 1);
        assert!(questions.iter().all(|question| !question.is_finished()), "they wait");
        engine.record("bob");
        for question in questions {
            assert_eq!(question.await.expect("no panic").expect("an answer"), 2);
        }
    });
}
