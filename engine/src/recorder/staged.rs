//! A group on its way into the log: appended, not yet synced, and what it adds on top of the projection meanwhile.
//!
//! Start at [`Staged::received`]. Recorded once is decided by [`Position`].

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use lifeline_projections::fact::{Delivery, EventReceived, EventRejected, Fact, Reconciled};
use lifeline_projections::fold::Projection;
use lifeline_store::{Disk, Log, Offset, Reader};
use parking_lot::RwLockReadGuard;
use tracing::{Span, warn};

use super::group::Parsed;
use super::{Error, Outcome, late};
use crate::intake::Message;
use crate::rules::{EventView, RuleSet};
use crate::trace::Traces;
use crate::view::View;

/// Records that were appended and are not synced yet, with what decides about the next one.
pub(super) struct Staged<'g, 'l, D: Disk> {
    log: &'l mut Log<D>,
    now: u64,
    pub(super) before: RwLockReadGuard<'g, Projection>,
    traces: &'g Traces,
    /// Offset of the first fact.
    first: Offset,
    facts: Vec<Fact<'g>>,
    /// Latest staged record by resource: source and subject.
    latest: HashMap<(&'g str, &'g str), Offset>,
    positions: BTreeMap<(&'g str, &'g str), Position>,
    /// Open until the group is durable and folded.
    spans: Vec<Span>,
}

/// How far a stream is recorded or staged; epoch 0 for one never met.
#[derive(Clone, Copy)]
pub(super) struct Position {
    epoch: u32,
    next_sequence: u64,
}

impl Position {
    /// Whether an epoch is not in the log yet. It may be, like everything of a group that is written again after a sync
    /// that failed and yet reached the disk.
    pub(super) fn take_epoch(&mut self, epoch: u32, start_sequence: u64) -> bool {
        let is_new = epoch > self.epoch;
        if is_new {
            *self = Position { epoch, next_sequence: start_sequence };
        }
        is_new
    }

    /// Whether an epoch is the current one.
    pub(super) fn is_in(&self, epoch: u32) -> bool {
        epoch == self.epoch
    }

    /// Whether a gap up to `to_sequence` is not in the log yet.
    pub(super) fn take_gap(&mut self, epoch: u32, to_sequence: u64) -> bool {
        if epoch != self.epoch || to_sequence <= self.next_sequence {
            return false;
        }
        self.next_sequence = to_sequence;
        true
    }

    /// Whether a message is not in the log yet. What is new is taken as recorded from here on.
    pub(super) fn take_message(&mut self, epoch: u32, sequence: u64) -> bool {
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
    pub(super) fn new(view: &'g View<D>, log: &'l mut Log<D>, now: u64, facts_max: usize) -> Staged<'g, 'l, D> {
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
    pub(super) fn finish(self) -> (Offset, Vec<Fact<'g>>, Vec<Span>) {
        (self.first, self.facts, self.spans)
    }

    pub(super) fn append(&mut self, fact: Fact<'g>) -> Result<(), Error> {
        // Room was asked for before messages were let in; outcomes and rules may use what is kept for them.
        self.log.append_encoded(self.now, |buffer| fact.encode(buffer))?;
        self.facts.push(fact);
        Ok(())
    }

    /// Those of the messages that came late that are in the log or staged.
    pub(super) fn recorded_among(
        &self,
        log: &Reader<D>,
        stream: (&str, &str),
        messages: &[Message],
    ) -> Result<HashSet<late::Identity>, Error> {
        let mut recorded = late::recorded(log, stream, messages)?;
        let staged = self.facts.iter().filter_map(|fact| late::Identity::of_fact(fact, stream));
        recorded.extend(staged);
        Ok(recorded)
    }

    pub(super) fn position(&mut self, cluster: &'g str, stream: &'g str) -> &mut Position {
        self.positions.entry((cluster, stream)).or_insert_with(|| {
            let known = self.before.ground().streams.get(&(cluster.to_owned(), stream.to_owned()));
            let (epoch, next_sequence) = known.map_or((0, 0), |known| (known.epoch, known.next_sequence));
            Position { epoch, next_sequence }
        })
    }

    /// Notes that the next record is about this resource, and gives the latest staged one that was.
    fn link(&mut self, source: &'g str, subject: &'g str) -> Option<Offset> {
        self.latest.insert((source, subject), self.log.end())
    }

    /// Stages what a message says happened. `last_record` is the latest folded record about its resource.
    pub(super) fn received(
        &mut self,
        delivery: Delivery<'g>,
        message: &'g Message,
        event: &'g Parsed<'g>,
        last_record: Option<Offset>,
        rules: Option<&'g RuleSet>,
    ) -> Result<(), Error> {
        let headers = message.headers();
        let payload: &[u8] = &message.payload;
        let fact = match event {
            Ok(event) => {
                let (source, subject) = (&*event.source, &*event.subject);
                let previous = self.link(source, subject).or(last_record);
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
                Fact::Event(EventReceived {
                    delivery,
                    source,
                    subject,
                    kind: &event.kind,
                    id: &event.id,
                    previous,
                    decisions,
                    headers,
                    payload,
                })
            }
            Err(reason) => {
                warn!(
                    stream = delivery.stream,
                    sequence = delivery.sequence,
                    "no CloudEvent, recorded as rejected: {reason}"
                );
                Fact::Rejected(EventRejected { delivery, reason, headers, payload })
            }
        };
        self.append(fact)
    }

    /// Stages an outcome, linked to what was staged before it.
    pub(super) fn outcome(&mut self, outcome: &'g Outcome) -> Result<(), Error> {
        let resource = &outcome.fact.key.resource;
        let (source, subject) = (&*resource.source, &*resource.subject);
        let previous = self.link(source, subject).or_else(|| self.before.last_record(source, subject));
        self.append(Fact::Reconciled(Reconciled { previous, ..outcome.fact.clone() }))
    }
}
