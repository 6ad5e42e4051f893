//! The recorder: the one writer. Everything that happens enters the log here, in groups, one fsync a group.
//!
//! Start at [`Recorder::run`]. A group is what was waiting when the one before was done: messages from JetStream, outcomes
//! from reconciliation. It is turned into facts, appended, synced, folded; only then are messages acknowledged and
//! outcomes answered. This is the place of four promises: durable, then acknowledged; recorded once; in order; one fold.
//!
//! The recorder blocks on its disk and on nothing else, so an engine runs it on a thread of its own; a simulation runs
//! it beside everything else in one thread. Checkpoints are not its work: see [`crate::saver`].
//!
//! A disk that fails stops recording, not the engine: the group is kept, nothing of it is acknowledged, the log is opened
//! again and its end read back, and the group is written when the disk takes it. A disk that is nearly full stops intake
//! only: messages wait, in order and unacknowledged, while outcomes and rules use the room that is kept for them.
//!
//! `gather` records lists whose keys changed, `group` is what was waiting together, `late` what of it came late, `order` the
//! place of an event among others, `staged` what it becomes on its way into the log, `fold_tail` the fold at a start,
//! `redriver` who asks for rejected messages to be taken up again, `again` who asks for history to be decided again,
//! `replaying` rules that change, `aside` texts that are rendered meanwhile, `braked` what a change of rules may withdraw,
//! `confirming` withdrawals that somebody confirms.

mod again;
mod aside;
mod braked;
mod confirming;
mod fold_tail;
mod gather;
mod group;
mod late;
mod order;
pub mod redriver;
mod replaying;
mod room;
mod staged;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{Fact, Reconciled};
use lifeline_projections::table;
use lifeline_store::{Disk, Log, Offset, Record, Recovery};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, error, info};

use self::again::Again;
pub use self::again::Begun;
use self::aside::Aside;
pub use self::aside::Rendering;
use self::braked::{Braked, COUNT_AGAIN_PAUSE_MAX, COUNT_AGAIN_PAUSE_MIN};
pub use self::confirming::confirm;
pub use self::fold_tail::fold_tail;
use self::group::{Group, Parsed, Redrive};
pub use self::redriver::Redriver;
use self::staged::Staged;
use crate::clock::Clock;
use crate::confirmations::Confirmation;
use crate::damage;
use crate::error_text::chain;
use crate::intake::Intake;
use crate::queue::Urgency;
use crate::redrive::{self, Because, Receive};
use crate::replay::brake::Brake;
use crate::replay::{self, Replay};
use crate::rules::{Current, RuleSet};
use crate::site::Sites;
use crate::view::View;

/// Messages in one group at most. The sync costs the same for one and for thousands; memory does not.
const GROUP_MESSAGES_MAX: usize = 10_000;

/// Payload bytes in one group at most, give or take the last batch: it bounds the memory of a group of large events.
const GROUP_BYTES_MAX: usize = 64 << 20;

/// Rejected messages in one group that are taken up again, at most.
const REDRIVES_MAX: usize = 64;

/// Records folded in one piece: readers of the projection wait for no more than these, about 100 us.
const FOLD_RECORDS_MAX: usize = 256;

/// The pause between two pieces of a replay: about as long as a piece takes, so that half of the time is left for the rest.
const REPLAY_PAUSE: Duration = Duration::from_millis(1);

/// The pause before a failed group is tried again, and before the disk is asked again whether there is room.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The engine is stopping: nothing is recorded any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine is stopping")]
pub struct Stopped;

/// Why recording could not begin or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Records that the state does not hold yet were acknowledged once, and do not read back.
    #[error(
        "`{file}` is damaged at {}, bytes `{}` to `{}` ({why}); the state reaches offset `{folded}` and cannot go on without that\nhint: \
         `lifeline verify --data DIR` lists all damage and what it means; `lifeline log repair --from-stream --data DIR` brings back what \
         the stream still holds",
        lifeline_store::records(offsets), bytes.start, bytes.end
    )]
    Damaged {
        /// Which records: from the first lost one to the first good one after it.
        offsets: Range<Offset>,
        /// Which bytes of the file.
        bytes: Range<u64>,
        /// The segment file.
        file: String,
        /// Why it counts as damaged.
        why: &'static str,
        /// First offset that is not folded.
        folded: Offset,
    },
    /// The log was opened again, and is not the one that was recorded to.
    #[error(
        "the log is another one than before: it ends at offset `{end}`, and the state reaches offset `{folded}` of the one that was there\nhint: \
         stop what changes the folder, put the former log back, and start Lifeline again; started with the log that is there now, it goes on at \
         the end of that log"
    )]
    OtherLog {
        /// First offset that is not folded.
        folded: Offset,
        /// Where the log that is there ends.
        end: Offset,
    },
    /// The log cannot be opened, read or written.
    #[error("the log cannot be used")]
    Log(#[from] lifeline_store::Error),
    /// A record does not decode.
    #[error("record at offset `{offset}` cannot be understood")]
    Fact {
        /// The record.
        offset: Offset,
        /// Why.
        #[source]
        source: lifeline_projections::fact::Error,
    },
    /// The projection cannot be opened or written.
    #[error("the projection cannot be used")]
    Table(#[from] table::Error),
}

/// An outcome on its way into the log.
struct Outcome {
    fact: Reconciled,
    done: oneshot::Sender<Offset>,
}

/// Sends outcomes to the recorder. Clones may be kept anywhere.
#[derive(Clone)]
pub struct OutcomeSender {
    outcomes: mpsc::Sender<Outcome>,
    redrives: mpsc::Sender<Redrive>,
    again: mpsc::Sender<Again>,
    braked: Arc<Braked>,
}

impl OutcomeSender {
    /// Records an outcome. Returns once it is durable and folded; `previous` is filled in on the way.
    ///
    /// # Errors
    /// When the engine is stopping.
    pub async fn record(&self, fact: Reconciled) -> Result<Offset, Stopped> {
        let (done, recorded) = oneshot::channel();
        self.outcomes.send(Outcome { fact, done }).await.map_err(|_| Stopped)?;
        recorded.await.map_err(|_| Stopped)
    }

    /// Takes a rejected message up again, once. `record` is the one that rejected it, and below `looked_to` none takes it up.
    /// Returns once what came of it is durable and folded; waits for the first rules.
    ///
    /// # Errors
    /// When the engine is stopping.
    pub async fn redrive(
        &self,
        record: Record,
        looked_to: Offset,
        because: Because,
    ) -> Result<redrive::Outcome, Stopped> {
        let (done, recorded) = oneshot::channel();
        let redrive = Redrive { record, because, looked_to, outcome: Mutex::new(None), done };
        self.redrives.send(redrive).await.map_err(|_| Stopped)?;
        recorded.await.map_err(|_| Stopped)
    }
}

/// Opens the log, again after each failure.
pub type OpenLog<D> = Box<dyn FnMut() -> Result<(Log<D>, Recovery), lifeline_store::Error> + Send>;

/// The one writer: records events, rules and outcomes, and folds them.
pub struct Recorder<D: Disk> {
    open_log: OpenLog<D>,
    log: Option<Log<D>>,
    view: Arc<View<D>>,
    sites: Arc<Sites>,
    clock: Arc<dyn Clock>,
    rules: Option<Arc<RuleSet>>,
    /// What is still to be decided again under these rules.
    replay: Option<Replay>,
    replay_due: Instant,
    /// The texts that it has to know before it goes on.
    aside: Aside,
    braked: Arc<Braked>,
    /// What is to be confirmed.
    confirmations: Vec<Confirmation>,
    /// When what the brake holds is counted again, and the pause before it.
    count_again: (Instant, Duration),
    /// Resources and records that a replay looks at in one piece.
    replay_steps: usize,
    /// When lists may be recorded again.
    gather_after: Instant,
    outcomes: mpsc::Receiver<Outcome>,
    redrives: mpsc::Receiver<Redrive>,
    /// Triggers whose history somebody wants to be decided again.
    again: mpsc::Receiver<Again>,
    /// How messages are read.
    receive: Receive,
    intake: mpsc::Receiver<Intake>,
    /// Messages that wait for room on the disk; no others are received meanwhile.
    held: Group,
    /// Why they wait, or would.
    held_because: Option<String>,
    /// When the disk is looked at again.
    look_again: Instant,
}

impl<D: Disk> Recorder<D> {
    /// A recorder at the end of an opened log, with everything below folded into `view`.
    pub fn new(
        open_log: OpenLog<D>,
        log: Log<D>,
        view: Arc<View<D>>,
        sites: Arc<Sites>,
        clock: Arc<dyn Clock>,
        intake: mpsc::Receiver<Intake>,
    ) -> (Recorder<D>, OutcomeSender) {
        let (sender, outcomes) = mpsc::channel(1_024);
        let (redriver, redrives) = mpsc::channel(REDRIVES_MAX);
        let (asker, again) = mpsc::channel(REDRIVES_MAX);
        let braked = Arc::new(Braked::by(clock.clone()));
        let recorder = Recorder {
            open_log,
            log: Some(log),
            view,
            sites,
            clock,
            rules: None,
            replay: None,
            replay_due: Instant::now(),
            aside: Aside::default(),
            braked: braked.clone(),
            confirmations: Vec::new(),
            count_again: (Instant::now(), COUNT_AGAIN_PAUSE_MIN),
            replay_steps: replay::STEPS_AT_ONCE,
            gather_after: Instant::now(),
            outcomes,
            redrives,
            again,
            receive: |headers, payload| CloudEvent::receive(headers, payload),
            intake,
            held: Group::default(),
            held_because: None,
            look_again: Instant::now(),
        };
        (recorder, OutcomeSender { outcomes: sender, redrives: redriver, again: asker, braked })
    }

    /// The same, with other steps in one piece of a replay than [`replay::STEPS_AT_ONCE`].
    #[must_use]
    pub fn with_replay_steps(self, replay_steps: usize) -> Recorder<D> {
        Recorder { replay_steps, ..self }
    }

    /// The same, rendering what a replay has to know in another way than [`Rendering::OnThread`].
    #[must_use]
    pub fn with_rendering(self, rendering: Rendering) -> Recorder<D> {
        Recorder { aside: Aside::by(rendering), ..self }
    }

    /// The same, with another brake.
    #[must_use]
    pub fn with_brake(self, brake: Brake) -> Recorder<D> {
        self.braked.set_brake(brake);
        self
    }

    /// The same, reading messages in another way: as another release would.
    #[must_use]
    pub fn with_receive(self, receive: Receive) -> Recorder<D> {
        Recorder { receive, ..self }
    }

    /// Records what comes until `stop` says true, then closes the log.
    ///
    /// No message is taken in before the first rules are known: decided without rules it would be forgotten.
    ///
    /// # Errors
    /// When a record cannot be understood, or at the end the log cannot be written. Until then it waits for a disk that fails.
    pub async fn run(
        mut self,
        mut rules: watch::Receiver<Current>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        // What is in force already counts as a change.
        rules.mark_changed();
        let mut stopping = stop.clone();
        let view = self.view.clone();
        loop {
            let mut group = Group::default();
            let replay_due = self.replay_due();
            let gather_due = self.gather_due();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Ok(()) = rules.changed() => {
                    let current = rules.borrow_and_update().rules.clone();
                    if let Some(current) = current {
                        self.with_log(&mut stopping, |recorder| recorder.take_rules(&current)).await?;
                    }
                    continue;
                }
                () = view.confirmations().asked() => {
                    self.with_log(&mut stopping, Recorder::confirm).await?;
                    continue;
                }
                () = until(replay_due) => {
                    self.replay_due = Instant::now() + REPLAY_PAUSE;
                    self.with_log(&mut stopping, Recorder::replay_piece).await?;
                    continue;
                }
                answers = self.aside.answers() => {
                    self.take_answers(answers);
                    continue;
                }
                Some(again) = self.again.recv(), if self.rules.is_some() => {
                    let mut begun = None;
                    self.with_log(&mut stopping, |recorder| {
                        begun = Some(recorder.replay_again(&again)?);
                        Ok(())
                    })
                    .await?;
                    again.answer(begun);
                    continue;
                }
                () = until(gather_due) => {
                    self.with_log(&mut stopping, Recorder::gather).await?;
                    continue;
                }
                Some(outcome) = self.outcomes.recv() => group.outcomes.push(outcome),
                Some(redrive) = self.redrives.recv(), if self.rules.is_some() => group.redrives.push(redrive),
                Some(intake) = self.intake.recv(), if self.rules.is_some() && self.held.is_empty() => group.push(intake),
                () = tokio::time::sleep_until(self.look_again) => {}
            }
            while let Ok(outcome) = self.outcomes.try_recv() {
                group.outcomes.push(outcome);
            }
            while self.rules.is_some() && group.redrives.len() < REDRIVES_MAX {
                let Ok(redrive) = self.redrives.try_recv() else { break };
                group.redrives.push(redrive);
            }
            if self.held.is_empty() {
                while self.rules.is_some() && group.messages < GROUP_MESSAGES_MAX && group.bytes < GROUP_BYTES_MAX {
                    let Ok(intake) = self.intake.try_recv() else { break };
                    group.push(intake);
                }
            } else {
                let Group { outcomes, redrives, .. } = group;
                group = Group { outcomes, redrives, ..std::mem::take(&mut self.held) };
            }
            let group = self.hold_back(group);
            if group.is_empty() {
                continue;
            }
            if !self.with_log(&mut stopping, |recorder| recorder.record_group(&group)).await? {
                break;
            }
            let end = self.view.projection().watermark();
            group.answer(end).await;
        }
        // Who waits for a confirmation learns that nothing more is recorded.
        drop(self.view.confirmations().take());
        if let Some(log) = self.log.take() {
            log.close()?;
        }
        Ok(())
    }

    /// Does one piece of writing, again and again while the disk refuses it. False when the engine stops meanwhile.
    async fn with_log(
        &mut self,
        stop: &mut watch::Receiver<bool>,
        mut work: impl FnMut(&mut Recorder<D>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        loop {
            let done = match self.reopen() {
                Ok(()) => work(self),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {
                    // Messages may wait for room while outcomes are recorded.
                    if self.held_because.is_none() && self.view.stalled().is_some() {
                        info!("recording goes on");
                    }
                    self.view.set_stalled(self.held_because.clone());
                    return Ok(true);
                }
                Err(cause @ (Error::Log(_) | Error::Damaged { .. })) => {
                    // Whatever was staged is on no disk for certain: only a log that is opened again shows what is.
                    self.log = None;
                    let message = chain(&cause);
                    if self.view.stalled().as_ref() != Some(&message) {
                        error!("recording stands still, nothing is acknowledged meanwhile: {message}");
                    }
                    self.view.set_stalled(Some(message));
                    tokio::select! {
                        biased;
                        _ = stop.wait_for(|stop| *stop) => return Ok(false),
                        () = tokio::time::sleep(RETRY_PAUSE) => {}
                    }
                }
                Err(fatal) => return Err(fatal),
            }
        }
    }

    /// Opens a log that failed, and folds what did reach the disk before it did.
    fn reopen(&mut self) -> Result<(), Error> {
        if self.log.is_some() {
            return Ok(());
        }
        let (log, recovery) = (self.open_log)()?;
        self.is_ours(&log.reader())?;
        damage::report(&recovery);
        let reader = log.reader();
        self.view.reopened(reader.clone());
        let mut work = BTreeSet::new();
        self.view.change(|projection| fold_tail(projection, &reader, |_, _| {}, |index| _ = work.insert(index)))?;
        self.sites.push(&self.view.projection(), work, Urgency::Replayed);
        // What the disk did not keep comes with a stamp of its own, if it comes.
        self.view.settled();
        // Only now: with records that are not folded, the next group would be given offsets that are taken.
        self.log = Some(log);
        Ok(())
    }

    /// Refuses a log that is not the one whose records are folded: another folder may be at its place, or an older copy.
    fn is_ours(&self, log: &lifeline_store::Reader<D>) -> Result<(), Error> {
        let (folded, folded_unix_nanos) =
            self.view.read(|projection| (projection.watermark(), projection.ground().folded_unix_nanos));
        let end = log.end();
        let last = folded.get().checked_sub(1).filter(|_| folded <= end).map(Offset::from);
        // Whether what is damaged can be done without is decided elsewhere.
        let last = last.and_then(|last| log.read(last).ok().flatten());
        let is_other = last.is_some_and(|last| last.time_unix_nanos != folded_unix_nanos);
        if end < folded || is_other { Err(Error::OtherLog { folded, end }) } else { Ok(()) }
    }

    /// Appends a group, syncs once, folds it.
    fn record_group(&mut self, group: &Group) -> Result<(), Error> {
        let now = self.view.stamp(self.clock.now_unix_nanos());
        // Without a trigger no rule is asked: a million events may come before the first one.
        let rules = self.rules.clone().filter(|rules| rules.triggers().next().is_some());
        // What is parsed lives here while facts borrow from it.
        let received: Vec<OnceCell<Parsed<'_>>> = vec![OnceCell::new(); group.messages + group.redrives.len()];
        let mut received = received.as_slice();
        let view = self.view.clone();
        let log = self.log.as_mut().expect("`with_log` opens the log before it calls");
        let facts_max = received.len() + group.intakes.len() + group.outcomes.len();
        let mut staged = Staged::new(&view, log, (rules.as_deref(), self.receive), now, facts_max);
        for intake in &group.intakes {
            let cells;
            (cells, received) = received.split_at(intake.messages().len());
            staged.intake(intake, cells)?;
        }
        for outcome in &group.outcomes {
            staged.outcome(outcome)?;
        }
        for (redrive, cell) in group.redrives.iter().zip(received) {
            *redrive.outcome.lock() = Some(staged.redrive(redrive, cell)?);
        }
        let (first, facts, spans) = staged.finish();
        let committed = self.commit(now, first, &facts);
        drop(spans);
        committed
    }

    /// Appends facts and commits them.
    fn record_facts(&mut self, facts: &[Fact<'_>]) -> Result<(), Error> {
        let now = self.view.stamp(self.clock.now_unix_nanos());
        let log = self.log.as_mut().expect("`with_log` opens the log before it calls");
        let first = log.end();
        for fact in facts {
            log.append_encoded(now, |buffer| fact.encode(buffer))?;
        }
        self.commit(now, first, facts)
    }

    /// Syncs facts that were appended from offset `first` on, folds them, and hands the keys that need work to the queue.
    fn commit(&mut self, now: u64, first: Offset, facts: &[Fact<'_>]) -> Result<(), Error> {
        self.log.as_mut().expect("what was appended to is open").sync()?;
        let mut work = Vec::new();
        for (facts, first) in facts.chunks(FOLD_RECORDS_MAX).zip((first.get()..).step_by(FOLD_RECORDS_MAX)) {
            let records = (first..).zip(facts).map(|(offset, fact)| (Offset::from(offset), now, fact));
            self.view.step(|projection| projection.fold_all(records, &mut work));
        }
        work.sort_unstable();
        work.dedup();
        self.view.by_trigger().recorded(facts, now);
        debug!(records = facts.len(), changed = work.len(), first = first.get(), "recorded");
        // Once a group, so that what its events want together is done once; and before the watermark is announced, so that
        // nobody takes for settled what has only been folded.
        let is_replay = facts.iter().any(|fact| matches!(fact, Fact::Replay(_)));
        let urgency = if is_replay { Urgency::Replayed } else { Urgency::Fresh };
        self.sites.push(&self.view.projection(), work, urgency);
        self.view.announce();
        self.view.settled();
        Ok(())
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
