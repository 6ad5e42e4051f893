//! A group on its way into the log: appended, not yet synced, and what it adds on top of the projection meanwhile.
//!
//! Start at [`Staged::intake`]. Recorded once is decided by [`Position`], and by [`late`] below it.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use lifeline_projections::event::{CloudEvent, marker_reason};
use lifeline_projections::fact::{
    Delivery, EventReceived, EventRejected, Fact, MarkerFound, Reconciled, Redriven, StreamChange, StreamChanged,
};
use lifeline_projections::fold::{Holes, Latest, Newest, Projection};
use lifeline_projections::order::{counted, counted_of};
use lifeline_store::{Disk, Log, Offset};
use parking_lot::RwLockReadGuard;
use tracing::{Span, warn};

use super::group::{Parsed, Redrive, parse};
use super::order::{Decider, Key};
use super::{Error, Outcome, late};
use crate::intake::{Intake, Message, Received};
use crate::redrive::{self, Receive};
use crate::rules::{EventView, RuleSet};
use crate::view::View;

/// Messages that are parsed, looked up and appended together: few enough to be in the processor's cache from one to the next.
const PIECE_MESSAGES: usize = 32;

/// Records that were appended and are not synced yet, with what decides about the next one.
pub(super) struct Staged<'g, 'l, D: Disk> {
    log: &'l mut Log<D>,
    pub(super) rules: Option<&'g RuleSet>,
    receive: Receive,
    pub(super) now: u64,
    pub(super) view: &'g View<D>,
    pub(super) before: RwLockReadGuard<'g, Projection>,
    /// Offset of the first fact.
    pub(super) first: Offset,
    pub(super) facts: Vec<Fact<'g>>,
    /// What the next record is compared with, of the resources that staged records are about: source and subject.
    latest: HashMap<(&'g str, &'g str), Latest>,
    /// What is known to have decided, by source, subject, trigger and cluster; of few lifecycles, most of the time of none.
    pub(super) deciders: HashMap<Key<'g>, Decider>,
    positions: BTreeMap<(&'g str, &'g str), Position>,
    /// Open until the group is durable and folded.
    spans: Vec<Span>,
}

/// How far a stream is recorded or staged; epoch 0 for one never met.
#[derive(Clone, Copy, Default)]
struct Position {
    epoch: u32,
    next_sequence: u64,
    /// The time that counts of its messages goes up to here: see [`lifeline_projections::order`].
    counted_until: u64,
    holes: Holes,
}

impl Position {
    /// Whether an epoch is not in the log yet. It may be, like everything of a group that is written again after a sync
    /// that failed and yet reached the disk.
    fn take_epoch(&mut self, epoch: u32, start_sequence: u64) -> bool {
        let is_new = epoch > self.epoch;
        if is_new {
            *self = Position { epoch, next_sequence: start_sequence, counted_until: 0, holes: self.holes };
        }
        is_new
    }

    /// Whether an epoch is the current one.
    fn is_in(&self, epoch: u32) -> bool {
        epoch == self.epoch
    }

    /// Whether a gap up to `to_sequence` is not in the log yet.
    fn take_gap(&mut self, epoch: u32, to_sequence: u64) -> bool {
        if epoch != self.epoch || to_sequence <= self.next_sequence {
            return false;
        }
        self.next_sequence = to_sequence;
        true
    }

    /// Whether holes that were found up to `to_sequence` are not in the log yet.
    fn take_holes(&mut self, epoch: u32, to_sequence: u64, up_to: u64) -> bool {
        let is_new = epoch == self.epoch && self.holes.is_new(epoch, to_sequence);
        if is_new {
            self.holes.take(epoch, to_sequence, up_to);
        }
        is_new
    }

    /// Whether a message is not in the log yet. What is new is taken as recorded from here on.
    fn take_message(&mut self, epoch: u32, sequence: u64) -> bool {
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
    pub(super) fn new(
        view: &'g View<D>,
        log: &'l mut Log<D>,
        (rules, receive): (Option<&'g RuleSet>, Receive),
        now: u64,
        facts_max: usize,
    ) -> Staged<'g, 'l, D> {
        let (before, first) = (view.projection(), log.end());
        assert_eq!(before.watermark(), first, "everything in the log is folded before the next group");
        Staged {
            log,
            rules,
            receive,
            now,
            view,
            before,
            first,
            facts: Vec::with_capacity(facts_max),
            latest: HashMap::with_capacity(facts_max),
            deciders: HashMap::new(),
            positions: BTreeMap::new(),
            spans: Vec::new(),
        }
    }

    /// The offset of the first fact, the facts, and their spans. The projection is let go of: folding takes its write lock.
    pub(super) fn finish(self) -> (Offset, Vec<Fact<'g>>, Vec<Span>) {
        (self.first, self.facts, self.spans)
    }

    /// Stages what intake handed over; `cells` take what its messages are, one each.
    pub(super) fn intake(&mut self, intake: &'g Intake, cells: &'g [OnceCell<Parsed<'g>>]) -> Result<(), Error> {
        let Intake { site, stream, epoch, received } = intake;
        let (cluster, stream, epoch) = (&**site, stream.as_str(), *epoch);
        let position = self.position(cluster, stream);
        let (is_new, change) = match received {
            Received::Messages { messages, .. } => return self.messages((cluster, stream, epoch), messages, cells),
            Received::Opened { created_unix_nanos, start_sequence, reason } => {
                let (created_unix_nanos, start_sequence) = (*created_unix_nanos, *start_sequence);
                let opened = StreamChange::Opened { created_unix_nanos, start_sequence, reason };
                (position.take_epoch(epoch, start_sequence), opened)
            }
            Received::Gap { from_sequence, to_sequence } => {
                let (from_sequence, to_sequence) = (*from_sequence, *to_sequence);
                (position.take_gap(epoch, to_sequence), StreamChange::Gap { from_sequence, to_sequence })
            }
            Received::Holes { from_sequence, to_sequence, up_to } => {
                let (from_sequence, to_sequence, up_to) = (*from_sequence, *to_sequence, *up_to);
                let holes = StreamChange::Holes { from_sequence, to_sequence, up_to };
                (position.take_holes(epoch, to_sequence, up_to), holes)
            }
        };
        match is_new {
            true => self.append(Fact::Stream(StreamChanged { cluster, stream, epoch, change })),
            false => Ok(()),
        }
    }

    /// Stages those messages of a stream that are not recorded.
    fn messages(
        &mut self,
        (cluster, stream, epoch): (&'g str, &'g str, u32),
        messages: &'g [Message],
        cells: &'g [OnceCell<Parsed<'g>>],
    ) -> Result<(), Error> {
        let receive = self.receive;
        let mut position = *self.position(cluster, stream);
        let mut recorded = self.recorded_late((cluster, stream, position), messages);
        for (messages, cells) in messages.chunks(PIECE_MESSAGES).zip(cells.chunks(PIECE_MESSAGES)) {
            let piece = messages
                .iter()
                .zip(cells)
                .map(|(message, cell)| (message, cell.get_or_init(|| parse(message, receive))));
            let keys = piece.clone().map(|(_, parsed)| parsed.as_ref().ok());
            let keys = keys.map(|event| event.map(|event| (&*event.source, &*event.subject)));
            let latest = self.before.latest_of_all(keys);
            for ((message, event), latest) in piece.zip(latest) {
                let is_next = position.take_message(epoch, message.sequence);
                let is_new = is_next || (position.is_in(epoch) && recorded.insert(late::Identity::of(message)));
                if !is_new {
                    continue;
                }
                // A message that came late does not follow those that were recorded before it.
                let until = if is_next { position.counted_until } else { 0 };
                let Message { sequence, published_unix_nanos, subject, .. } = message;
                let (sequence, published_unix_nanos) = (*sequence, *published_unix_nanos);
                let delivery = Delivery { cluster, stream, epoch, sequence, published_unix_nanos, subject };
                if is_next {
                    position.counted_until = counted(published_unix_nanos, self.now, until);
                }
                self.message(delivery, message, event, (latest, until))?;
            }
        }
        *self.position(cluster, stream) = position;
        Ok(())
    }

    fn append(&mut self, fact: Fact<'g>) -> Result<(), Error> {
        // Room was asked for before messages were let in; outcomes and rules may use what is kept for them.
        self.log.append_encoded(self.now, |buffer| fact.encode(buffer))?;
        self.facts.push(fact);
        Ok(())
    }

    /// Those of the messages below the position of their stream that are in the log or staged.
    fn recorded_late(
        &self,
        (cluster, stream, position): (&str, &str, Position),
        messages: &[Message],
    ) -> HashSet<late::Identity> {
        let late: Vec<&Message> = messages.iter().filter(|message| message.sequence < position.next_sequence).collect();
        if late.is_empty() {
            return HashSet::new();
        }
        let known = self.before.ground().streams.get(&(cluster.to_owned(), stream.to_owned()));
        let mut recorded =
            late::recorded(&self.view.log(), (cluster, stream), known.and_then(|known| known.tail), &late);
        recorded.extend(self.facts.iter().filter_map(|fact| late::Identity::of_fact(fact, (cluster, stream))));
        recorded
    }

    fn position(&mut self, cluster: &'g str, stream: &'g str) -> &mut Position {
        self.positions.entry((cluster, stream)).or_insert_with(|| {
            let ground = self.before.ground();
            let known = ground.streams.get(&(cluster.to_owned(), stream.to_owned()));
            known.map_or_else(Position::default, |known| Position {
                epoch: known.epoch,
                next_sequence: known.next_sequence,
                counted_until: known.counted_until_unix_nanos,
                holes: ground.holes_of(cluster, stream),
            })
        })
    }

    /// Notes that the next record is about this resource, and which event is the latest one then.
    fn link(&mut self, source: &'g str, subject: &'g str, newest: Option<Newest>) {
        let latest = Latest { record: self.end(), newest };
        self.latest.insert((source, subject), latest);
    }

    /// First offset that is not staged.
    pub(super) fn end(&self) -> Offset {
        self.log.end()
    }

    /// Stages what a message says happened. `latest` is what the projection has of its resource, and the time that counts of the
    /// messages before it goes up to `until`.
    fn message(
        &mut self,
        delivery: Delivery<'g>,
        message: &'g Message,
        event: &'g Parsed<'g>,
        (latest, until): (Option<Latest>, u64),
    ) -> Result<(), Error> {
        let headers = message.headers();
        let payload: &[u8] = &message.payload;
        match event {
            Ok(event) => self.event(delivery, event, (headers, payload), (latest, until), None),
            Err(reason) => {
                if let Some(reason) = marker_reason(&headers, payload) {
                    return self.append(Fact::Marker(MarkerFound { delivery, reason, headers, payload }));
                }
                warn!(
                    stream = delivery.stream,
                    sequence = delivery.sequence,
                    "no CloudEvent, recorded as rejected: {reason}"
                );
                self.append(Fact::Rejected(EventRejected { delivery, reason, headers, payload }))
            }
        }
    }

    /// Stages an event, as the rules decide it now.
    fn event(
        &mut self,
        delivery: Delivery<'g>,
        event: &'g CloudEvent<'g>,
        (headers, payload): (Vec<(&'g str, &'g str)>, &'g [u8]),
        (latest, until): (Option<Latest>, u64),
        redriven: Option<Redriven<'g>>,
    ) -> Result<(), Error> {
        let (source, subject) = (&*event.source, &*event.subject);
        let known = self.latest.get(&(source, subject)).copied().or(latest);
        let previous = known.map(|known| known.record);
        let view = EventView {
            nats_subject: delivery.subject,
            source,
            kind: &event.kind,
            subject,
            headers: &headers,
            payload,
        };
        let decide = |rules: &'g RuleSet| rules.decide(&view, delivery.cluster, self.now);
        let decisions = self.rules.map(decide).unwrap_or_default();
        let span = self.view.traces().event(event, &delivery, self.log.end());
        if !span.is_disabled() {
            self.spans.push(span);
        }
        let (kind, id) = (&*event.kind, &*event.id);
        let order = None;
        let mut event = EventReceived {
            delivery,
            source,
            subject,
            kind,
            id,
            previous,
            decisions,
            headers,
            payload,
            redriven,
            order,
        };
        self.order(&mut event, until, known);
        let newest = match (event.is_late(), known.and_then(|known| known.newest)) {
            (true, newest @ Some(_)) => newest,
            _ => Some(Newest { event: self.end(), unix_nanos: counted_of(&event, self.now) }),
        };
        self.link(source, subject, newest);
        self.append(Fact::Event(event))
    }

    /// Stages the event of a rejected message, if it is one by now and was not taken up yet; what came of it.
    pub(super) fn redrive(
        &mut self,
        redrive: &'g Redrive,
        cell: &'g OnceCell<Parsed<'g>>,
    ) -> Result<redrive::Outcome, Error> {
        let of = redrive.record.offset;
        if let Some(done) = self.taken_up(of, redrive.looked_to)? {
            return Ok(redrive::Outcome::Done(done));
        }
        let rejected = redrive::message(&redrive.record).expect("only rejected messages are asked for");
        let EventRejected { delivery, headers, payload, .. } = rejected;
        let receive = self.receive;
        let parsed = cell.get_or_init(|| receive(&headers, payload).map_err(|error| error.to_string()));
        match parsed {
            Ok(event) => {
                let offset = self.log.end();
                let latest = self.before.latest(&event.source, &event.subject);
                let redriven = Redriven { of, by: &redrive.because.by, reason: &redrive.because.reason };
                self.event(delivery, event, (headers, payload), (latest, 0), Some(redriven))?;
                Ok(redrive::Outcome::Event(Some(offset)))
            }
            Err(reason) => Ok(redrive::Outcome::Rejected(reason.clone())),
        }
    }

    /// The record that takes up a rejected message, recorded from an offset on or staged.
    fn taken_up(&self, of: Offset, from: Offset) -> Result<Option<Offset>, Error> {
        let staged = (self.first.get()..).zip(&self.facts);
        let mut staged = staged.filter(|(_, fact)| redrive::taken_up(fact) == Some(of));
        if let Some((offset, _)) = staged.next() {
            return Ok(Some(Offset::from(offset)));
        }
        let reader = self.view.log();
        let mut scan = reader.scan(from);
        while scan.position() < self.first {
            match scan.next() {
                Ok(Some(record)) => {
                    if Fact::decode(record.payload).is_ok_and(|fact| redrive::taken_up(&fact) == Some(of)) {
                        return Ok(Some(record.offset));
                    }
                }
                Ok(None) => break,
                Err(lifeline_store::Error::Damaged { offsets, .. }) => scan.seek(offsets.end),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Stages an outcome, linked to what was staged before it.
    pub(super) fn outcome(&mut self, outcome: &'g Outcome) -> Result<(), Error> {
        let resource = &outcome.fact.key.resource;
        let (source, subject) = (&*resource.source, &*resource.subject);
        let known = self.latest.get(&(source, subject)).copied().or_else(|| self.before.latest(source, subject));
        let (previous, newest) = (known.map(|known| known.record), known.and_then(|known| known.newest));
        self.link(source, subject, newest);
        self.append(Fact::Reconciled(Reconciled { previous, ..outcome.fact.clone() }))
    }
}
