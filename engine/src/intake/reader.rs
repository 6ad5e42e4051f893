//! One stream, read in order for as long as the engine runs.
//!
//! Each session looks at the stream, settles with it where reading goes on ([`place`]), consumes, and hands over; anything
//! doubtful ends the session, and the next one looks again. Start at [`Reader::run`].
//!
//! Invariant: what is handed over goes through one channel in order, what was delivered late before the acknowledgement that
//! covers it; so an acknowledgement that is sent after everything before it is durable never covers an unrecorded message.
//!
//! Never here: acknowledging, and reading the log. What the log knows is given once, as [`Known`].

mod backlog;
mod ends;
mod left_out;
mod place;
mod status;
mod waits;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use lifeline_projections::{count, span};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::backlog::Asked;
use self::ends::{Ended, Stop};
use self::left_out::LeftOut;
pub use self::status::{Phase, Status};
use super::counted::Counted;
use super::epoch::{self, Known};
use super::gate::Gate;
use super::history::{Following, History};
use super::holes::{first_jump, has_holes, is_plain, should_deliver};
use super::jetstream::{Acknowledge, Batch, Batches, Consume, JetStream, Message, Retention, Stored, StreamState};
use super::owner::{self, Claim, Claimant};
use super::passed::Passed;
use super::plain::Already;
use super::reserved::is_reserved;
use super::search::holds_between;
use super::subjects::Reading;
use super::{Error, Intake, Received, pace};
use crate::error_text::{one_line, with_remedy};

/// How often the stream's state is looked at, to distinguish idle from stalled.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks without progress, with messages waiting or gone elsewhere, after which the consumer is opened again.
const STALLED_LOOKS: u32 = 2;

/// Messages that a session reads alone at most: so many, up to twice as many after each session that delivered nothing.
const ALONE: RangeInclusive<u32> = 64..=256;

/// How long a new session waits until what was handed over is acknowledged, where that is not needed.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);

/// Why a session ends where it is not decided yet which messages of a stream are copies.
const COPIES_OTHERS: &str = "the stream copies other streams than before";

/// Longest pause between sessions that fail. Short: while the connection is down, a session costs nothing.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Reads one stream.
pub struct Reader {
    site: Arc<str>,
    jetstream: Arc<dyn JetStream>,
    /// What is read, and what the gate said last: the same, but where a work queue holds what others published.
    reading: Reading,
    told: Reading,
    /// Whether messages wait that are not wanted, where an acknowledgement deletes: a filter leaves them to others.
    holds_others: bool,
    durable: String,
    gate: Arc<Gate>,
    /// What the stream holds that is recorded, since the gate was opened.
    already: Already,
    known: Option<Known>,
    /// Holes below this sequence may be the stream's history before we came; above it they are our loss.
    gaps_from: u64,
    /// Whether all of the stream is read now, and was not before.
    is_widened: bool,
    /// What it passed over, where it does not read all of the stream.
    passed: Passed,
    /// What is said of messages that count as copies of recorded ones.
    taken_for_copies: Option<String>,
    /// How far it read what the consumer left out, of subjects that are named now.
    left_out: LeftOut,
    /// What it does to own the consumer; `None` where there is no other engine.
    claim: Option<Claim>,
    sink: mpsc::Sender<Intake>,
    status: watch::Sender<Status>,
    /// Batches handed over, and how many of them the recorder has acknowledged.
    batches: u64,
    acknowledged: Arc<watch::Sender<u64>>,
    /// When it last asked how many messages wait while it reads none.
    backlog: Asked,
}

impl Reader {
    /// `known` is what the log says of this stream, `durable` the name of the consumer, `gate` says when to read, and what.
    #[must_use]
    pub(super) fn new(
        site: Arc<str>,
        jetstream: Arc<dyn JetStream>,
        durable: String,
        known: Option<Known>,
        gate: Arc<Gate>,
        sink: mpsc::Sender<Intake>,
    ) -> (Reader, watch::Receiver<Status>) {
        let reading = gate.reading();
        let (status, watched) = watch::channel(Status { stream: reading.stream.clone(), ..Status::default() });
        let reader = Reader {
            site,
            jetstream,
            told: reading.clone(),
            reading,
            holds_others: false,
            durable,
            gate,
            already: Already::default(),
            known,
            gaps_from: 0,
            is_widened: false,
            passed: Passed::from(known.map_or(0, |known| known.looked_until)),
            taken_for_copies: None,
            left_out: LeftOut::default(),
            claim: None,
            sink,
            status,
            batches: 0,
            acknowledged: Arc::default(),
            backlog: Asked::default(),
        };
        (reader, watched)
    }

    /// The same, reading only while this one owns the consumer.
    pub(super) fn owned_by(mut self, claimant: Option<Claimant>) -> Reader {
        self.claim = claimant.map(|claimant| Claim::new(claimant, &self.reading.stream, &self.durable));
        self
    }

    /// Reads until the receiver of `sink` is dropped, and lets go of the consumer then: all that was recorded is acknowledged.
    /// Dropping this future stops it at any point: what was not handed over is delivered again.
    pub async fn run(mut self) {
        self.read_on().await;
        let Reader { claim: Some(claim), jetstream, reading, .. } = self else { return };
        if let Err(error) = claim.release(&*jetstream).await {
            let (stream, reason) = (reading.stream, one_line(&error));
            tracing::warn!(stream, reason, "the consumer is not released: another engine waits for it for 30 s");
        }
    }

    async fn read_on(&mut self) {
        // Whatever ended the last session, or the client before this one, may be a message. So each session after a
        // failed one reads the first messages alone.
        let (mut failures, mut alone, mut suspects) = (0_u32, *ALONE.start(), *ALONE.start());
        loop {
            if self.wait_at_gate().await {
                return;
            }
            let before = self.status.borrow().messages;
            let session = self.session(std::mem::take(&mut alone)).await;
            let is_interrupted = matches!(session, Err(Error::Interrupted));
            let reason = match session {
                Ok(Ended::Closed) => return,
                Ok(Ended::ReadAlone | Ended::ReadsOtherwise) => {
                    failures = 0;
                    continue;
                }
                Ok(Ended::LookAgain(reason)) => reason,
                Ok(Ended::Missing) => {
                    self.status.send_modify(|status| status.history = History::Recorded);
                    format!("stream `{}` does not exist", self.reading.stream)
                }
                Err(error @ Error::Owned { .. }) => {
                    if self.wait_for_owner(&error).await {
                        return;
                    }
                    alone = suspects;
                    continue;
                }
                Err(error) => with_remedy(&error),
            };
            let has_delivered = self.status.borrow().messages > before;
            // The connection may break at the messages of another stream, again and again.
            failures = if has_delivered || is_interrupted { 1 } else { failures + 1 };
            suspects = if has_delivered { *ALONE.start() } else { (suspects * 2).min(*ALONE.end()) };
            alone = suspects;
            // Each state once, and the longer it lasts the less often.
            if failures.is_power_of_two() {
                tracing::warn!(stream = self.reading.stream, reason, failures, "looking at the stream again");
            }
            self.status.send_modify(|status| status.phase = Phase::Waiting { reason });
            let waits = async {
                self.backlog.look(&*self.jetstream, (&self.reading.stream, &self.durable), &self.status).await;
                tokio::time::sleep(pause(failures)).await;
            };
            tokio::select! {
                biased;
                () = self.sink.closed() => return,
                () = waits => {}
            }
        }
    }

    /// Reads until something is doubtful. With `alone` above 0 it reads so many first messages alone, and ends.
    async fn session(&mut self, alone: u32) -> Result<Ended, Error> {
        let jetstream = Arc::clone(&self.jetstream);
        let Some(state) = jetstream.state(&self.reading.stream).await? else { return Ok(Ended::Missing) };
        if !self.reading.skipped.fits(&state) {
            return Ok(Ended::LookAgain(COPIES_OTHERS.to_owned()));
        }
        let known_below = self.known.map_or(1, |known| known.next_sequence);
        let owner = match &mut self.claim {
            Some(claim) => Some(claim.take(&jetstream, state.retention).await?),
            None => None,
        };
        let mut lost = self.claim.as_ref().map(Claim::lost);
        let Some(known) = self.agree(&state).await? else { return Ok(Ended::Closed) };
        if std::mem::take(&mut self.is_widened) && has_holes(&state) {
            self.gaps_from = self.gaps_from.max(state.last_sequence + 1);
        }
        self.status.send_modify(|status| {
            status.epoch = known.epoch;
            status.delivered_sequence = known.next_sequence - 1;
        });
        let has_left_out = match self.read_left_out(&state, known, alone).await {
            Ok(has_left_out) => has_left_out,
            Err(stop) => return stop.into(),
        };
        // What was handed over has to be durable first: the consumer of a limits stream counts what is below its start as
        // acknowledged, and what it left out is known by its filters alone. Any other delivers it again, so there it is waited
        // for a moment only.
        let has_to_be_durable = has_left_out || state.retention == Retention::Limits;
        let mut acknowledged = self.acknowledged.subscribe();
        tokio::select! {
            biased;
            () = self.sink.closed() => return Ok(Ended::Closed),
            Some(error) = owner::taken(self.claim.as_ref(), &mut lost) => return Err(error),
            _ = acknowledged.wait_for(|count| *count >= self.batches) => {}
            () = tokio::time::sleep(ACKNOWLEDGED_WITHIN), if !has_to_be_durable => {}
            never = self.backlog.follow(&*jetstream, (&self.reading.stream, &self.durable), &self.status) => match never {},
        }
        let mut following = Following::of(&state);
        following.handed_over(known.next_sequence, self.batches);
        self.follow(&following);
        let consume = Consume {
            stream: self.reading.stream.clone(),
            durable: self.durable.clone(),
            filters: self.reading.filters.clone(),
            from_sequence: known.next_sequence,
            retention: state.retention,
            owner,
            known_below,
        };
        if alone > 0 {
            match jetstream.first_alone(&consume, alone).await {
                Ok(Some(batch)) => return self.take_alone(batch, &state, known).await,
                Ok(None) => {}
                Err(error @ Error::Paused { .. }) => return Err(error),
                // To consume may work all the same, and this question may never be answered.
                Err(error) => {
                    let (stream, reason) = (&self.reading.stream, one_line(&error));
                    tracing::warn!(
                        stream,
                        reason,
                        "the first messages cannot be fetched one by one: they are read as all others"
                    );
                }
            }
        }
        let mut batches = jetstream.consume(consume).await?;
        // A stream that changed between the look and the consumer would be read from the wrong place and pass for the old
        // one. From here on a restart of the server ends the session: the connection breaks, or, if another server of the
        // cluster has the stream, that one forgets our pulls and sends no more heartbeats.
        let Some(now) = jetstream.state(&self.reading.stream).await? else { return Ok(Ended::Missing) };
        if !self.is_same(&state, &now, known).await? {
            return Ok(Ended::LookAgain("the stream changed while it was opened".to_owned()));
        }
        let warnings = self.warnings(&state);
        self.status.send_modify(|status| {
            status.phase = Phase::Reading;
            status.sessions += 1;
            status.stream_last_sequence = state.last_sequence;
            status.warnings = warnings;
        });
        self.read(batches.as_mut(), &state, known, following).await
    }

    async fn read(
        &mut self,
        batches: &mut dyn Batches,
        opened: &StreamState,
        mut known: Known,
        mut following: Following,
    ) -> Result<Ended, Error> {
        if let (History::Unread { .. }, Some(backlog)) = (self.follow(&following), batches.backlog().await?) {
            following.looked(&backlog, known.next_sequence, self.batches);
        }
        let mut recorded = self.acknowledged.subscribe();
        let mut lost = self.claim.as_ref().map(Claim::lost);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        look.tick().await;
        let (mut stalled, mut is_first) = (0_u32, true);
        let (gate, reading) = (Arc::clone(&self.gate), self.told.clone());
        loop {
            let history = self.follow(&following);
            tokio::select! {
                biased;
                () = self.sink.closed() => return Ok(Ended::Closed),
                // The sender is ours.
                Ok(()) = recorded.changed(), if history != History::Recorded => {}
                () = gate.shut_down() => {
                    return Ok(Ended::LookAgain("plain subscriptions take its place".to_owned()));
                }
                () = gate.differs_from(&reading) => return Ok(Ended::ReadsOtherwise),
                Some(error) = owner::taken(self.claim.as_ref(), &mut lost) => return Err(error),
                _ = look.tick() => {
                    let looked = Instant::now();
                    let Some(state) = self.jetstream.state(&self.reading.stream).await? else {
                        return Ok(Ended::Missing);
                    };
                    if state.created_unix_nanos != opened.created_unix_nanos
                        || state.last_sequence + 1 < known.next_sequence
                    {
                        return Ok(Ended::LookAgain("the stream is not the one that was opened".to_owned()));
                    }
                    let Some(backlog) = batches.backlog().await? else {
                        return Ok(Ended::LookAgain(format!("consumer `{}` is gone", self.durable)));
                    };
                    following.looked(&backlog, known.next_sequence, self.batches);
                    if !self.reading.filters.is_empty() {
                        self.passed.over_the_rest((&state, &backlog), known.next_sequence.max(self.gaps_from));
                        match self.say_what_is_gone(&state, known.epoch).await {
                            Ok(()) => {}
                            Err(stop) => return stop.into(),
                        }
                    }
                    let went_elsewhere = backlog.delivered_sequence >= known.next_sequence;
                    stalled = if went_elsewhere || should_deliver(&backlog) { stalled + 1 } else { 0 };
                    let warnings = self.warnings(&state);
                    self.status.send_modify(|status| {
                        status.stream_last_sequence = state.last_sequence;
                        status.pending = Some(backlog.pending);
                        status.unacknowledged = backlog.unacknowledged;
                        status.warnings = warnings;
                    });
                    look.reset_after(pace::pause_after(looked.elapsed(), LOOK_EVERY));
                    if stalled >= STALLED_LOOKS && went_elsewhere {
                        let next = known.next_sequence;
                        return Ok(Ended::LookAgain(format!("messages from sequence {next} on were delivered elsewhere")));
                    }
                    if stalled >= STALLED_LOOKS {
                        let waiting = count(backlog.pending, "message");
                        return Ok(Ended::LookAgain(format!("none came, though {waiting} should have")));
                    }
                }
                batch = batches.next() => {
                    stalled = 0;
                    let batch = batch?;
                    let pending = batch.pending;
                    let is_first = std::mem::take(&mut is_first);
                    let status = self.status.clone();
                    let handed_over = tokio::select! {
                        biased;
                        handed_over = self.hand_over(batch, is_first, opened.retention, &mut known) => handed_over,
                        // The recorder may have no room for a long time, and messages pile up.
                        never = backlog::follow(batches, &status) => match never {},
                    };
                    match handed_over {
                        Ok(()) => {}
                        Err(stop) => return stop.into(),
                    }
                    following.handed_over(known.next_sequence, self.batches);
                    following.left(pending, self.batches);
                }
            }
        }
    }

    /// Hands over what was passed over and is gone, where some is.
    async fn say_what_is_gone(&mut self, state: &StreamState, epoch: u32) -> Result<(), Stop> {
        let gone = self.passed.look_back(&*self.jetstream, state, &self.status).await.map_err(Stop::Failed)?;
        match gone {
            Some(gone) => self.send(epoch, gone).await,
            None => Ok(()),
        }
    }

    /// Says how far the history is.
    fn follow(&self, following: &Following) -> History {
        let history = following.history(*self.acknowledged.borrow());
        self.status.send_if_modified(|status| std::mem::replace(&mut status.history, history) != history);
        history
    }

    /// Hands over what was read alone, if the stream is still the one that was looked at.
    async fn take_alone(&mut self, batch: Batch, opened: &StreamState, mut known: Known) -> Result<Ended, Error> {
        let Some(now) = self.jetstream.state(&self.reading.stream).await? else { return Ok(Ended::Missing) };
        if !self.is_same(opened, &now, known).await? {
            return Ok(Ended::LookAgain("the stream changed while it was opened".to_owned()));
        }
        match self.hand_over(batch, true, opened.retention, &mut known).await {
            Ok(()) => Ok(Ended::ReadAlone),
            Err(stop) => stop.into(),
        }
    }

    async fn hand_over(
        &mut self,
        batch: Batch,
        is_first: bool,
        retention: Retention,
        known: &mut Known,
    ) -> Result<(), Stop> {
        let Batch { messages, pending, acknowledge } = batch;
        // Said at once: the recorder may have no room for them.
        let last_sequence = messages.last().map_or(0, |last| last.sequence);
        self.status.send_modify(|status| {
            status.pending = Some(pending);
            status.delivered_sequence = status.delivered_sequence.max(last_sequence);
        });
        // A copy of what is read counts once. The next look at the streams says what is one.
        if self.reading.skipped.has_other_copies(&messages) {
            let state = self.jetstream.state(&self.reading.stream).await.map_err(Stop::Failed)?;
            if state.is_none_or(|state| !self.reading.skipped.fits(&state)) {
                return Err(Stop::LookAgain(COPIES_OTHERS.to_owned()));
            }
        }
        // To skip a message is to acknowledge it, and to acknowledge deletes it there. So it is left to others by a filter, also
        // where the stream has lost its subject again.
        if retention != Retention::Limits && self.reading.skipped.has_unwanted(&messages) {
            self.holds_others = true;
            return Err(Stop::LookAgain("a subject that is not wanted was added to the stream".to_owned()));
        }
        let whole = self.reading.filters.is_empty();
        // What a filter leaves out looks like a jump, so there only the first message of a session is looked at.
        let may_be_elsewhere = |from: u64| whole || (is_first && from == known.next_sequence);
        let jump = first_jump(&messages, known.next_sequence).filter(|(from, _)| may_be_elsewhere(*from));
        if let Some((from, to)) = jump
            && holds_between(&*self.jetstream, &self.reading, from, to).await.map_err(Stop::Failed)?
        {
            return Err(Stop::LookAgain(format!(
                "messages from sequence {from} on were delivered elsewhere: only one engine may read with consumer `{}`",
                self.durable
            )));
        }
        if !whole {
            self.passed.over_all_but(&messages, known.next_sequence.max(self.gaps_from));
            // Before these messages: once they are recorded, a start does not look below them any more.
            if is_first && self.passed.is_unsettled() {
                let state = self.jetstream.state(&self.reading.stream).await.map_err(Stop::Failed)?;
                let Some(state) = state else { return Err(Stop::LookAgain("the stream is gone".to_owned())) };
                self.say_what_is_gone(&state, known.epoch).await?;
            }
        }
        let (mut redelivered, mut count) = (0, 0);
        let (mut fresh, mut late) = (Vec::<Message>::new(), Vec::new());
        // Nearly always nothing came again and nothing is missing: then the batch goes on as it is.
        let (plain, messages) = if is_plain(&messages, known.next_sequence, whole) {
            (messages, Vec::new())
        } else {
            (Vec::new(), messages)
        };
        if let Some(last) = plain.last() {
            known.next_sequence = last.sequence + 1;
            fresh = plain;
        }
        for message in messages {
            if message.sequence < known.next_sequence {
                // What was handed over before was stored no later than this. A younger message has a sequence that was
                // given a second time.
                let newest = fresh.last().map_or(0, |last| last.published_unix_nanos);
                if message.published_unix_nanos > known.recorded_until_unix_nanos.max(newest) {
                    return Err(Stop::LookAgain(format!("sequence {} came again, younger", message.sequence)));
                }
                redelivered += 1;
                // Mostly it is recorded. Where the consumer did not ask for it before, or another reader had got it, it has to be
                // recorded before it is acknowledged, for that deletes it. A limits stream keeps it, and its consumer is moved
                // to where the log ends.
                if retention != Retention::Limits && !is_reserved(&message.subject) {
                    late.push(message);
                }
                continue;
            }
            if whole && message.sequence > known.next_sequence.max(self.gaps_from) {
                let from_sequence = known.next_sequence.max(self.gaps_from);
                self.messages(known, std::mem::take(&mut fresh), None, &mut count).await?;
                warn_missing(&self.reading.stream, from_sequence, message.sequence);
                let gap = Received::Gap { from_sequence, to_sequence: message.sequence };
                self.send(known.epoch, gap).await?;
                self.status.send_modify(|status| status.discontinuities += 1);
            }
            known.next_sequence = message.sequence + 1;
            fresh.push(message);
        }
        if !late.is_empty() {
            self.send(known.epoch, Received::Messages { messages: late, acknowledge: None }).await?;
        }
        self.messages(known, fresh, Some(acknowledge), &mut count).await?;
        self.known = Some(*known);
        self.status.send_modify(|status| {
            status.stream_last_sequence = status.stream_last_sequence.max(known.next_sequence - 1);
            status.redelivered += redelivered;
            status.messages += count;
        });
        Ok(())
    }

    async fn messages(
        &mut self,
        known: &mut Known,
        messages: Vec<Message>,
        acknowledge: Option<Box<dyn Acknowledge>>,
        count: &mut u64,
    ) -> Result<(), Stop> {
        if messages.is_empty() && acknowledge.is_none() {
            return Ok(());
        }
        if let Some(last) = messages.last() {
            let times = messages.iter().map(|message| message.published_unix_nanos);
            known.recorded_until_unix_nanos = times.fold(known.recorded_until_unix_nanos, u64::max);
            known.last = Some(Stored {
                sequence: last.sequence,
                published_unix_nanos: last.published_unix_nanos,
                content_hash: epoch::content_hash(&last.payload),
            });
        }
        let mut messages = messages;
        if !self.already.is_empty() {
            let (stream, recorded) = (&self.reading.stream, self.already.take_from(&mut messages));
            tracing::info!(
                stream,
                recorded,
                of = recorded + messages.len(),
                "the stream holds what came before it was read"
            );
        }
        self.reading.skipped.out_of(&mut messages);
        messages.retain(|message| !is_reserved(&message.subject));
        *count += messages.len() as u64;
        self.known = Some(*known);
        self.batches += u64::from(acknowledge.is_some());
        let acknowledge = acknowledge
            .map(|inner| Box::new(Counted { inner, acknowledged: self.acknowledged.clone() }) as Box<dyn Acknowledge>);
        self.send(known.epoch, Received::Messages { messages, acknowledge }).await
    }

    /// Hands over to the recorder.
    async fn send(&self, epoch: u32, received: Received) -> Result<(), Stop> {
        let (site, stream) = (self.site.clone(), self.reading.stream.clone());
        self.sink.send(Intake { site, stream, epoch, received }).await.map_err(|_| Stop::Closed)
    }
}

/// Pause before the next session: short after a session that delivered, doubled after each one that did not.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(25 << failures.min(8)).min(PAUSE_MAX)
}

/// Says that messages are gone, from the first one up to the first that is there.
fn warn_missing(stream: &str, first: u64, end: u64) {
    let (missing, sequences) = (count(end.saturating_sub(first), "message"), span("sequence", first, end));
    tracing::warn!(stream, "{missing} missing, {sequences}: gone from the stream before they were read");
}
