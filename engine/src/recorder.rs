//! The recorder: the one writer. Everything that happens enters the log here, in groups, one fsync a group.
//!
//! Start at [`Recorder::run`]. A group is what was waiting when the one before was done: messages from JetStream, outcomes
//! from reconciliation. It is turned into facts, appended, synced, folded; only then are messages acknowledged and
//! outcomes answered. This is the place of four promises: durable, then acknowledged; recorded once; in order; one fold.
//!
//! The recorder blocks on its disk and on nothing else, so in earnest it runs on a thread of its own; a simulation runs
//! it beside everything else in one thread.
//!
//! A disk that fails stops recording, not the engine: the group is kept, nothing of it is acknowledged, the log is opened
//! again and its end read back, and the group is written when the disk takes it. A disk that is nearly full stops intake
//! only: messages wait, in order and unacknowledged, while outcomes and rules use the room that is kept for them.

use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{Delivery, Fact};
use lifeline_projections::fold::{LOCATED_MAX, LifecycleIndex, Place, Projection, ResourceIndex};
use lifeline_projections::table::{self, Table};
use lifeline_store::{Disk, Log, Offset, Recovery, Scan};
use parking_lot::RwLockReadGuard;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{Span, debug, error, info, warn};

use crate::clock::Clock;
use crate::intake::{Intake, Message};
use crate::reconcile::queue::Queue;
use crate::replay;
use crate::rules::{Current, EventView, OWN, RuleSet};
use crate::trace::Traces;
use crate::view::View;

/// Messages in one group at most. The sync costs the same for one and for thousands; memory does not.
const GROUP_MESSAGES_MAX: usize = 10_000;

/// Payload bytes in one group at most, give or take the last batch: it bounds the memory of a group of large events.
const GROUP_BYTES_MAX: usize = 64 << 20;

/// Records folded in one piece: readers of the projection wait for no more than these, about 100 us.
const FOLD_RECORDS_MAX: usize = 256;

/// Changed records between two checkpoints of the projection, at most.
const CHECKPOINT_RECORDS: u64 = 1_000_000;

/// Time between two checkpoints of the projection, at most, while records come.
const CHECKPOINT_PERIOD: Duration = Duration::from_secs(5);

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
        "records `{}` to `{}` are damaged in `{file}`, bytes `{}` to `{}` ({why}); the state reaches offset `{folded}` and cannot go on without them\nhint: `lifeline verify --data DIR` lists all damage and what it means; `lifeline log repair --from-stream --data DIR` brings back what the stream still holds",
        offsets.start, offsets.end.get().saturating_sub(1), bytes.start, bytes.end
    )]
    Damaged {
        /// Which records: from the first lost one to the first good one after it.
        offsets: Range<Offset>,
        /// Which bytes of the file.
        bytes: Range<u64>,
        /// The segment file.
        file: String,
        /// What gave it away.
        why: &'static str,
        /// First offset that is not folded.
        folded: Offset,
    },
    /// The log.
    #[error("the log cannot be used")]
    Log(#[from] lifeline_store::Error),
    /// A record of the log.
    #[error("record at offset `{offset}` cannot be understood")]
    Fact {
        /// The record.
        offset: Offset,
        /// Why.
        #[source]
        source: lifeline_projections::fact::Error,
    },
    /// The projection.
    #[error("the projection cannot be used")]
    Table(#[from] table::Error),
}

/// An outcome on its way into the log.
struct Outcome {
    fact: Fact<'static>,
    done: oneshot::Sender<Offset>,
}

/// The door for outcomes: clones may be kept anywhere.
#[derive(Clone)]
pub struct Recording {
    outcomes: mpsc::Sender<Outcome>,
}

impl Recording {
    /// Records an outcome. Returns once it is durable and folded; `previous` is filled in on the way.
    ///
    /// # Errors
    /// When the engine is stopping.
    pub async fn record(&self, fact: Fact<'static>) -> Result<Offset, Stopped> {
        let (done, recorded) = oneshot::channel();
        self.outcomes.send(Outcome { fact, done }).await.map_err(|_| Stopped)?;
        recorded.await.map_err(|_| Stopped)
    }
}

/// Opens the log, anew after each failure.
pub type OpenLog<D> = Box<dyn FnMut() -> Result<(Log<D>, Recovery), lifeline_store::Error> + Send>;

/// See the module.
pub struct Recorder<D: Disk> {
    open_log: OpenLog<D>,
    log: Option<Log<D>>,
    table: Option<Table>,
    view: Arc<View<D>>,
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    rules: Option<Arc<RuleSet>>,
    outcomes: mpsc::Receiver<Outcome>,
    intake: mpsc::Receiver<Intake>,
    checkpointed: Offset,
    checkpoint_due: Option<Instant>,
    /// Messages that wait for room on the disk; no others are received meanwhile.
    held: Group,
    /// Why they wait.
    held_because: Option<String>,
}

/// What was waiting together.
#[derive(Default)]
struct Group {
    intakes: Vec<Intake>,
    outcomes: Vec<Outcome>,
    messages: usize,
    bytes: usize,
}

impl<D: Disk> Recorder<D> {
    /// A recorder at the end of an opened log, with everything below folded into `view`.
    ///
    /// Without a `table` the projection is rebuilt at every start, as in a simulation.
    pub fn new(
        open_log: OpenLog<D>,
        log: Log<D>,
        table: Option<Table>,
        view: Arc<View<D>>,
        queue: Arc<Queue>,
        clock: Arc<dyn Clock>,
        intake: mpsc::Receiver<Intake>,
    ) -> (Recorder<D>, Recording) {
        let (sender, outcomes) = mpsc::channel(1_024);
        let checkpointed = view.projection().watermark();
        let recorder = Recorder {
            open_log,
            log: Some(log),
            table,
            view,
            queue,
            clock,
            rules: None,
            outcomes,
            intake,
            checkpointed,
            checkpoint_due: None,
            held: Group::default(),
            held_because: None,
        };
        (recorder, Recording { outcomes: sender })
    }

    /// Records what comes until `stop` says true, then writes a checkpoint and closes the log.
    ///
    /// No message is taken in before the first rules are known: decided without rules it would be forgotten.
    ///
    /// # Errors
    /// When a record cannot be understood; a disk that fails is waited for.
    pub async fn run(
        mut self,
        mut rules: watch::Receiver<Current>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        // What is in force already counts as a change.
        rules.mark_changed();
        let mut stopping = stop.clone();
        if self.table.is_some() {
            // What was folded at the start is saved soon, and not only once something comes.
            self.checkpoint_due = Some(Instant::now() + CHECKPOINT_PERIOD);
        }
        loop {
            let mut group = Group::default();
            let checkpoint_due = self.checkpoint_due;
            let look_again = self.held_because.is_some().then(|| Instant::now() + RETRY_PAUSE);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Ok(()) = rules.changed() => {
                    let current = rules.borrow_and_update().rules.clone();
                    if let Some(current) = current {
                        self.retry(&mut stopping, |recorder| recorder.take_rules(&current)).await?;
                    }
                    continue;
                }
                Some(outcome) = self.outcomes.recv() => group.outcomes.push(outcome),
                Some(intake) = self.intake.recv(), if self.rules.is_some() && self.held.is_empty() => group.push(intake),
                () = until(look_again) => {}
                () = until(checkpoint_due) => {
                    self.checkpoint()?;
                    continue;
                }
            }
            while let Ok(outcome) = self.outcomes.try_recv() {
                group.outcomes.push(outcome);
            }
            if self.held.is_empty() {
                while self.rules.is_some() && group.messages < GROUP_MESSAGES_MAX && group.bytes < GROUP_BYTES_MAX {
                    let Ok(intake) = self.intake.try_recv() else { break };
                    group.push(intake);
                }
            } else {
                let outcomes = std::mem::take(&mut group.outcomes);
                group = Group { outcomes, ..std::mem::take(&mut self.held) };
            }
            let group = self.hold_back(group);
            if group.is_empty() {
                continue;
            }
            if !self.retry(&mut stopping, |recorder| recorder.write(&group)).await? {
                break;
            }
            let end = self.view.projection().watermark();
            group.answer(end).await;
        }
        self.checkpoint()?;
        if let Some(table) = &self.table {
            table.flush()?;
        }
        if let Some(log) = self.log.take() {
            log.close()?;
        }
        Ok(())
    }

    /// Does one piece of writing, again and again while the disk refuses it. False when the engine stops meanwhile.
    async fn retry(
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
                    // Whatever was staged is on no disk for certain: only an opened log tells what is.
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

    /// Keeps a group's messages back while the disk is nearly full, and gives what may be recorded all the same.
    ///
    /// The room is asked for before anything is appended: a group is recorded as a whole or not at all.
    fn hold_back(&mut self, mut group: Group) -> Group {
        let lacking = if group.intakes.is_empty() { None } else { self.lacking_room() };
        match &lacking {
            Some(reason) => {
                if self.held_because.is_none() {
                    warn!("messages wait unacknowledged, outcomes are still recorded: {reason}");
                }
                self.view.set_stalled(lacking.clone());
                let outcomes = std::mem::take(&mut group.outcomes);
                self.held = group;
                group = Group { outcomes, ..Group::default() };
            }
            None if self.held_because.is_some() => info!("there is room again, messages are recorded"),
            None => {}
        }
        self.held_because = lacking;
        group
    }

    /// Why the disk has no room for messages; a disk that fails shows when it is written to.
    fn lacking_room(&mut self) -> Option<String> {
        let log = self.log.as_mut()?;
        let space = log.space().ok()?;
        let low_space_bytes = log.options().low_space_bytes;
        let lacking = lifeline_store::Error::LowSpace { free_bytes: space.free_bytes, low_space_bytes };
        space.is_low.then(|| lacking.to_string())
    }

    /// Opens a log that failed, and folds what did reach the disk before it did.
    fn reopen(&mut self) -> Result<(), Error> {
        if self.log.is_some() {
            return Ok(());
        }
        let (log, recovery) = (self.open_log)()?;
        report(&recovery);
        let reader = log.reader();
        self.view.reopened(reader.clone());
        let mut work = BTreeSet::new();
        self.view.change(|projection| catch_up(projection, &reader, |_, _| {}, |index| _ = work.insert(index)))?;
        self.queue.push(work);
        // What the disk did not keep comes with a stamp of its own, if it comes.
        self.view.settled();
        // Only now: with records that are not folded, the next group would be given offsets that are taken.
        self.log = Some(log);
        Ok(())
    }

    /// Appends a group, syncs once, folds it.
    fn write(&mut self, group: &Group) -> Result<(), Error> {
        let now = self.view.stamp(self.clock.now_unix_nanos());
        // Without a trigger nothing is decided, and a million events may come before there is one.
        let rules = self.rules.clone().filter(|rules| rules.triggers().next().is_some());
        // What is parsed lives here while facts borrow from it.
        let parsed: Vec<OnceCell<Parsed<'_>>> = vec![OnceCell::new(); group.messages];
        let mut parsed = parsed.as_slice();
        let view = self.view.clone();
        let log = self.log.as_mut().expect("`retry` opens the log before it calls");
        let mut staged = Staged::new(&view, log, now, group.messages + group.intakes.len() + group.outcomes.len());
        // Managed clusters have NATS servers of their own one day; the own one is the only one read so far.
        let cluster = OWN;
        for intake in &group.intakes {
            match intake {
                Intake::Opened { stream, epoch, created_unix_nanos, start_sequence, reason } => {
                    if !staged.position(cluster, stream).open(*epoch, *start_sequence) {
                        continue;
                    }
                    let opened = Fact::StreamOpened {
                        cluster,
                        stream,
                        epoch: *epoch,
                        created_unix_nanos: *created_unix_nanos,
                        start_sequence: *start_sequence,
                        reason,
                    };
                    staged.append(opened, None)?;
                }
                Intake::Gap { stream, epoch, from_sequence, to_sequence } => {
                    let (from_sequence, to_sequence, epoch) = (*from_sequence, *to_sequence, *epoch);
                    if !staged.position(cluster, stream).skip(epoch, to_sequence) {
                        continue;
                    }
                    staged.append(Fact::GapFound { cluster, stream, epoch, from_sequence, to_sequence }, None)?;
                }
                Intake::Messages { stream, epoch, messages, .. } => {
                    let mut position = *staged.position(cluster, stream);
                    // A piece at a time: it is still close when it is copied into the log, and its resources are looked
                    // up together.
                    for messages in messages.chunks(LOCATED_MAX) {
                        let cells;
                        (cells, parsed) = parsed.split_at(messages.len());
                        let piece = messages
                            .iter()
                            .zip(cells)
                            .map(|(message, cell)| (message, cell.get_or_init(|| parse(message))));
                        let keys = piece.clone().map(|(_, parsed)| parsed.as_ref().ok());
                        let keys = keys.map(|event| event.map(|event| (&*event.source, &*event.subject)));
                        let places = staged.before.locate(keys);
                        for ((message, event), place) in piece.zip(places) {
                            if !position.is_new(*epoch, message.sequence) {
                                continue;
                            }
                            let delivery = Delivery {
                                cluster,
                                stream,
                                epoch: *epoch,
                                sequence: message.sequence,
                                published_unix_nanos: message.published_unix_nanos,
                                subject: &message.subject,
                            };
                            staged.received(delivery, message, event, place, rules.as_deref())?;
                        }
                    }
                    *staged.position(cluster, stream) = position;
                }
            }
        }
        for outcome in &group.outcomes {
            staged.outcome(outcome)?;
        }
        let (first, facts, spans) = staged.finish();
        let committed = self.commit(now, first, &facts);
        drop(spans);
        committed
    }

    /// Appends facts and commits them.
    fn record(&mut self, facts: &[Fact<'_>]) -> Result<(), Error> {
        let now = self.view.stamp(self.clock.now_unix_nanos());
        let log = self.log.as_mut().expect("`retry` opens the log before it calls");
        let first = log.end();
        for fact in facts {
            log.append_encoded(now, |buffer| fact.encode(buffer))?;
        }
        let facts: Vec<_> = facts.iter().map(|fact| (fact, None)).collect();
        self.commit(now, first, &facts)
    }

    /// Syncs facts that were appended from offset `first` on, folds them, and hands the keys that need work to the queue.
    fn commit<'f>(&mut self, now: u64, first: Offset, facts: &[(impl Borrow<Fact<'f>>, Place)]) -> Result<(), Error> {
        self.log.as_mut().expect("what was appended to is open").sync()?;
        let (mut work, mut offset) = (Vec::new(), first);
        for facts in facts.chunks(FOLD_RECORDS_MAX) {
            self.view.step(|projection| {
                for facts in facts.chunks(LOCATED_MAX) {
                    projection.bring_close(facts.iter().map(|(fact, place)| (*place, fact.borrow())));
                    for (fact, place) in facts {
                        projection.fold_at(*place, offset, now, fact.borrow(), &mut work);
                        offset = offset.next();
                    }
                }
            });
        }
        work.sort_unstable();
        work.dedup();
        debug!(records = facts.len(), changed = work.len(), first = first.get(), "recorded");
        // Once a group, so that what its events want together is done once; and before the watermark is told, so that
        // nobody takes for settled what has only been folded.
        self.queue.push(work);
        self.view.tell();
        self.view.settled();
        if self.checkpoint_due.is_none() {
            self.checkpoint_due = Some(Instant::now() + CHECKPOINT_PERIOD);
        }
        if offset.get().saturating_sub(self.checkpointed.get()) >= CHECKPOINT_RECORDS {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Records what is new about the rules, and what the events held mean under them.
    fn take_rules(&mut self, rules: &Arc<RuleSet>) -> Result<(), Error> {
        let changes = {
            let projection = self.view.projection();
            replay::rule_changes(rules, projection.ground())
        };
        if !changes.is_empty() {
            let facts: Vec<Fact<'_>> = changes.iter().map(replay::RuleChange::fact).collect();
            self.record(&facts)?;
        }
        let reader = self.view.log();
        let replayed = {
            let projection = self.view.projection();
            replay::replay(rules, &projection, &reader)
        };
        for mut fact in replayed.map_err(|error| match error {
            replay::Error::Log(source) => Error::Log(source),
            replay::Error::Fact { offset, source } => Error::Fact { offset, source },
        })? {
            // One at a time: each may be large, and links to what the one before it has just recorded.
            fact.link(|resource| self.view.projection().last_record(&resource.source, &resource.subject));
            self.record(&[fact])?;
        }
        self.rules = Some(rules.clone());
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Error> {
        self.checkpoint_due = None;
        if let Some(table) = &self.table {
            // Read-locked only: nobody else writes, and whoever asks need not wait for a disk.
            let written = table.checkpoint(&self.view.projection());
            match written {
                Ok(()) => self.view.change(Projection::saved),
                // The projection can be made again from the log: losing a checkpoint costs time at the next start, no more.
                Err(error) => {
                    warn!("the projection was not saved, the next start folds more of the log: {}", chain(&error));
                }
            }
        }
        self.checkpointed = self.view.projection().watermark();
        Ok(())
    }
}

/// A group on its way into the log: appended, not yet synced, and what it adds on top of the projection meanwhile.
struct Staged<'g, 'l, D: Disk> {
    log: &'l mut Log<D>,
    now: u64,
    before: RwLockReadGuard<'g, Projection>,
    traces: &'g Traces,
    /// Offset of the first fact.
    first: Offset,
    /// Each with the place of the resource it speaks of.
    facts: Vec<(Fact<'g>, Place)>,
    /// Latest staged record by resource.
    latest: HashMap<Whose<'g>, Offset>,
    positions: BTreeMap<(&'g str, &'g str), Position>,
    /// Open until the group is durable and folded.
    spans: Vec<Span>,
}

/// A resource that a staged record speaks of: by its place, or by its key where the projection does not know it yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Whose<'g> {
    Known(ResourceIndex),
    New(&'g str, &'g str),
}

/// How far a stream is recorded or staged; epoch 0 for one never met.
#[derive(Clone, Copy)]
struct Position {
    epoch: u32,
    next_sequence: u64,
}

impl Position {
    /// Whether an epoch is not in the log yet. It may be, like everything of a group that is written again after a sync
    /// that failed and yet reached the disk.
    fn open(&mut self, epoch: u32, start_sequence: u64) -> bool {
        let is_new = epoch > self.epoch;
        if is_new {
            *self = Position { epoch, next_sequence: start_sequence };
        }
        is_new
    }

    /// Whether a gap up to `to_sequence` is not in the log yet.
    fn skip(&mut self, epoch: u32, to_sequence: u64) -> bool {
        if epoch != self.epoch || to_sequence <= self.next_sequence {
            return false;
        }
        self.next_sequence = to_sequence;
        true
    }

    /// Whether a message is not in the log yet. What is new is taken as recorded from here on.
    fn is_new(&mut self, epoch: u32, sequence: u64) -> bool {
        if self.epoch == 0 {
            self.epoch = epoch;
        }
        // A message of an epoch that has ended: its sequence says nothing in the new one. The reader that sent it is
        // gone or about to be.
        if epoch != self.epoch || sequence < self.next_sequence {
            return false;
        }
        self.next_sequence = sequence + 1;
        true
    }
}

impl<'g, 'l, D: Disk> Staged<'g, 'l, D> {
    fn new(view: &'g View<D>, log: &'l mut Log<D>, now: u64, facts_max: usize) -> Staged<'g, 'l, D> {
        let (before, first) = (view.projection(), log.end());
        assert_eq!(before.watermark(), first, "everything in the log is folded before the next group");
        Staged {
            log,
            now,
            before,
            traces: view.traces(),
            first,
            facts: Vec::with_capacity(facts_max),
            latest: HashMap::with_capacity(facts_max),
            positions: BTreeMap::new(),
            spans: Vec::new(),
        }
    }

    /// The offset of the first fact, the facts, and their spans. The projection is let go of: folding takes its write lock.
    fn finish(self) -> (Offset, Vec<(Fact<'g>, Place)>, Vec<Span>) {
        (self.first, self.facts, self.spans)
    }

    fn append(&mut self, fact: Fact<'g>, place: Place) -> Result<(), Error> {
        // Room was asked for before messages were let in; outcomes and rules may use what is kept for them.
        self.log.append_encoded(self.now, |buffer| fact.encode(buffer))?;
        self.facts.push((fact, place));
        Ok(())
    }

    fn position(&mut self, cluster: &'g str, stream: &'g str) -> &mut Position {
        self.positions.entry((cluster, stream)).or_insert_with(|| {
            let known = self.before.ground().streams.get(&(cluster.to_owned(), stream.to_owned()));
            let (epoch, next_sequence) = known.map_or((0, 0), |known| (known.epoch, known.next_sequence));
            Position { epoch, next_sequence }
        })
    }

    /// The latest record about a resource, staged or folded.
    fn last_record(&self, whose: Whose<'_>) -> Option<Offset> {
        let staged = self.latest.get(&whose).copied();
        staged.or_else(|| match whose {
            Whose::Known(index) => Some(self.before.last_record_at(index)),
            Whose::New(..) => None,
        })
    }

    /// Stages what a message says happened.
    fn received(
        &mut self,
        delivery: Delivery<'g>,
        message: &'g Message,
        event: &'g Parsed<'g>,
        place: Place,
        rules: Option<&'g RuleSet>,
    ) -> Result<(), Error> {
        let headers = message.headers();
        let payload: &[u8] = &message.payload;
        let fact = match event {
            Ok(event) => {
                let (source, subject) = (&*event.source, &*event.subject);
                let whose = place.map_or(Whose::New(source, subject), Whose::Known);
                let previous = self.last_record(whose);
                self.latest.insert(whose, self.log.end());
                let view = EventView {
                    nats_subject: delivery.subject,
                    source,
                    kind: &event.kind,
                    subject,
                    headers: &headers,
                    payload,
                };
                let decisions = rules.map(|rules| rules.decide(&view, delivery.cluster, self.now)).unwrap_or_default();
                let span = self.traces.event(event, &delivery, self.log.end());
                if !span.is_disabled() {
                    self.spans.push(span);
                }
                Fact::EventReceived {
                    delivery,
                    source,
                    subject,
                    kind: &event.kind,
                    id: &event.id,
                    previous,
                    decisions,
                    headers,
                    payload,
                }
            }
            Err(reason) => {
                warn!(
                    stream = delivery.stream,
                    sequence = delivery.sequence,
                    "no CloudEvent, recorded as rejected: {reason}"
                );
                Fact::EventRejected { delivery, reason, headers, payload }
            }
        };
        self.append(fact, place)
    }

    /// Stages an outcome, linked to what was staged before it.
    fn outcome(&mut self, outcome: &'g Outcome) -> Result<(), Error> {
        let mut fact = outcome.fact.clone();
        fact.link(|resource| self.last_record(self.whose(&resource.source, &resource.subject)));
        let key = outcome.fact.lifecycle_key();
        let whose = key.map(|key| self.whose(&key.resource.source, &key.resource.subject));
        if let Some(whose) = whose {
            self.latest.insert(whose, self.log.end());
        }
        self.append(fact, None)
    }

    fn whose<'k>(&self, source: &'k str, subject: &'k str) -> Whose<'k> {
        self.before.place(source, subject).map_or(Whose::New(source, subject), Whose::Known)
    }
}

/// The CloudEvent of a message, or why it is none.
type Parsed<'m> = Result<CloudEvent<'m>, String>;

fn parse(message: &Message) -> Parsed<'_> {
    CloudEvent::parse(&message.headers(), &message.payload).map_err(|error| error.to_string())
}

impl Group {
    fn is_empty(&self) -> bool {
        self.intakes.is_empty() && self.outcomes.is_empty()
    }

    fn push(&mut self, intake: Intake) {
        if let Intake::Messages { messages, .. } = &intake {
            self.messages += messages.len();
            self.bytes += messages.iter().map(|message| message.payload.len()).sum::<usize>();
        }
        self.intakes.push(intake);
    }

    /// Acknowledges messages and answers outcomes. Everything in the group is durable.
    async fn answer(self, end: Offset) {
        for outcome in self.outcomes {
            // Whoever asked may have gone; what was recorded stays.
            let _ = outcome.done.send(end);
        }
        for intake in self.intakes {
            if let Intake::Messages { acknowledge: Some(acknowledge), .. } = intake {
                // A lost acknowledgement costs a redelivery, which is recorded once.
                if let Err(error) = acknowledge.send().await {
                    debug!("acknowledgement not sent: {}", chain(&error));
                }
            }
        }
    }
}

/// Progress is told this often: some hundred times a second, which costs nothing and makes a bar move evenly.
const PROGRESS_RECORDS: u64 = 1 << 14;

/// Folds the part of the log that the projection does not hold yet. `progress` is told where it begins, then every
/// 16384 records; `needs_work` is told each lifecycle that comes to need work, as often as it does.
///
/// # Errors
/// When a record cannot be read or understood.
pub fn catch_up<D: Disk>(
    projection: &mut Projection,
    log: &lifeline_store::Reader<D>,
    mut progress: impl FnMut(Offset, Offset),
    mut needs_work: impl FnMut(LifecycleIndex),
) -> Result<(), Error> {
    let mut changed = Vec::new();
    let end = log.end();
    let mut scan = log.scan(projection.watermark());
    progress(projection.watermark(), end);
    let mut piece = Piece::default();
    loop {
        // A piece at a time, so that the memory of its resources is waited for once and not record by record.
        let stopped = piece.fill(&mut scan);
        let facts = piece.facts()?;
        let keys = facts.iter().map(|fact| match fact {
            Fact::EventReceived { source, subject, .. } => Some((*source, *subject)),
            outcome => outcome.lifecycle_key().map(|key| (&*key.resource.source, &*key.resource.subject)),
        });
        let places = projection.locate(keys);
        for ((fact, place), (offset, unix_nanos, _)) in facts.iter().zip(places).zip(&piece.records) {
            projection.fold_at(place, *offset, *unix_nanos, fact, &mut changed);
            if offset.get().is_multiple_of(PROGRESS_RECORDS) {
                progress(*offset, end);
            }
        }
        changed.drain(..).for_each(&mut needs_work);
        match stopped {
            Err(lifeline_store::Error::Damaged { offsets, bytes, file, why }) => {
                let folded = projection.watermark();
                return Err(Error::Damaged { offsets, bytes, file, why, folded });
            }
            Err(error) => return Err(error.into()),
            Ok(()) if piece.records.is_empty() => return Ok(()),
            Ok(()) => {}
        }
    }
}

/// Some records on their way from the log into the projection.
#[derive(Default)]
struct Piece {
    payloads: Vec<u8>,
    /// Offset, time, and where the payload ends.
    records: Vec<(Offset, u64, usize)>,
}

impl Piece {
    /// Takes in the next records, none at the end of the log. After an error it holds those before it.
    fn fill<D: Disk>(&mut self, scan: &mut Scan<D>) -> Result<(), lifeline_store::Error> {
        self.payloads.clear();
        self.records.clear();
        while self.records.len() < LOCATED_MAX
            && let Some(record) = scan.next()?
        {
            self.payloads.extend_from_slice(record.payload);
            self.records.push((record.offset, record.time_unix_nanos, self.payloads.len()));
        }
        Ok(())
    }

    fn facts(&self) -> Result<Vec<Fact<'_>>, Error> {
        let mut start = 0;
        let decode = |(offset, _, end): &(Offset, u64, usize)| {
            let payload = &self.payloads[std::mem::replace(&mut start, *end)..*end];
            Fact::decode(payload).map_err(|source| Error::Fact { offset: *offset, source })
        };
        self.records.iter().map(decode).collect()
    }
}

/// The damage that was found when a log was opened, one sentence each.
#[must_use]
pub fn damage(recovery: &Recovery) -> Vec<String> {
    let say = |damage: &lifeline_store::Damage| {
        let (from, to, file) = (damage.offsets.start, damage.offsets.end, &damage.file);
        format!("records `{from}` up to, not including, `{to}` in `{file}` cannot be read ({})", damage.why)
    };
    recovery.damage.iter().map(say).collect()
}

/// Says what was found when a log was opened, where it is not simply in order.
pub fn report(recovery: &Recovery) {
    for damage in damage(recovery) {
        error!("the log is damaged: {damage}\nhint: `lifeline verify` tells what is lost");
    }
    debug!("log opened: {recovery:?}");
}

/// An error with its causes, as one sentence; a hint keeps its line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let end = text.find("\nhint:").unwrap_or(text.len());
        text.insert_str(end, &format!(": {inner}"));
        cause = inner.source();
    }
    text
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
