//! The place of an event among those of its resource, found while it is staged: is it the latest one, and if not, which of its
//! decisions count all the same.
//!
//! Start at [`Staged::order`]. What is later than what is said in [`lifeline_projections::order`]; here is only what there is to
//! compare with: records that are staged, the projection, and the log. An event that is simply the latest one, as nearly
//! all are, costs one comparison. One that is late costs a read or two; where rules changed since its lifecycle was last
//! decided, the records of its resource are read back to the event that decides under them, as a replay does.

use lifeline_projections::fact::{EventReceived, Fact, Later, Order, OrderBy, Place, Reconciled, Ruling};
use lifeline_projections::fold::{Latest, Newest};
use lifeline_projections::lifecycle::Desired;
use lifeline_projections::order::{Precedence, Rank, counted};
use lifeline_store::{Disk, Offset};

use super::staged::Staged;
use crate::replay::found::Found;
use crate::rules::{EventView, RuleSet};

/// A lifecycle: source, subject, trigger and cluster.
pub(super) type Key<'g> = (&'g str, &'g str, &'g str, &'g str);

/// The event that decided about a lifecycle, by what is staged below an offset; `None` where none did.
pub(super) type Decider = (Offset, Option<Offset>);

impl<'g, D: Disk> Staged<'g, '_, D> {
    /// Fills in the place of an event. The messages before it in its stream count up to `until_unix_nanos`; `known` is what
    /// there was of its resource. Nothing is filled in where it is simply the latest one.
    pub(super) fn order(&mut self, event: &mut EventReceived<'g>, until_unix_nanos: u64, known: Option<Latest>) {
        let published = event.delivery.published_unix_nanos;
        let counted_unix_nanos = counted(published, self.now, until_unix_nanos);
        let is_plain = counted_unix_nanos == counted(published, self.now, 0);
        let newest = known.and_then(|known| known.newest);
        let is_latest = newest.is_none_or(|newest| counted_unix_nanos > newest.unix_nanos);
        let rules = self.rules;
        if is_latest && is_plain && !rules.is_some_and(|rules| rules.orders_by_events()) {
            return;
        }
        event.order = Some(Order { counted_unix_nanos, is_late: false, places: Vec::new() });
        let is_late = newest.filter(|_| !is_latest).is_some_and(|newest| self.is_late(event, newest));
        let mut places = Vec::new();
        for decision in event.decisions.iter().filter(|decision| decision.ruling.decides()) {
            let trigger = decision.trigger;
            let by = rules.and_then(|rules| rules.trigger(trigger)).map(|trigger| trigger.order_by());
            let by = by.unwrap_or_default();
            if by == OrderBy::Stream && !is_late {
                continue;
            }
            let precedence = Precedence::of(by, event, self.now);
            let decider = self.decider((event.source, event.subject, trigger, event.delivery.cluster), by, known);
            let overtaken_by = decider.and_then(|decider| self.overtaken_by(&precedence, by, decider));
            let falls_back = precedence.falls_back();
            if overtaken_by.is_some() || falls_back {
                places.push(Place { trigger, by, falls_back, overtaken_by });
            }
        }
        let has_to_be_said = is_late || !is_plain || !places.is_empty();
        event.order = has_to_be_said.then_some(Order { counted_unix_nanos, is_late, places });
    }

    /// Whether the latest event by the order of streams is later than this one.
    fn is_late(&self, event: &EventReceived<'_>, newest: Newest) -> bool {
        let rank = Rank::of(event, self.now);
        let is_later = self.with_event(newest.event, |newest, recorded| Rank::of(newest, recorded) >= rank);
        // One that does not read back is known by its time alone.
        is_later.unwrap_or_else(|| newest.unix_nanos > event.order.as_ref().map_or(0, |order| order.counted_unix_nanos))
    }

    /// The event before it, where that is later. One that does not read back overtakes nothing.
    fn overtaken_by(&self, precedence: &Precedence, by: OrderBy, before: Offset) -> Option<Later> {
        let later = self.with_event(before, |event, recorded| {
            let is_later = precedence.is_later_than(&Precedence::of(by, event, recorded));
            (!is_later).then(|| Later {
                offset: before,
                published_unix_nanos: event.delivery.published_unix_nanos,
                stream: event.delivery.stream.into(),
            })
        });
        later.flatten()
    }

    /// The event that decided about a lifecycle: the latest staged one that did, else the one that the projection has, where the
    /// rules in force decided it, else the one that decides under them. `known` is what there was of the resource.
    fn decider(&mut self, key: Key<'g>, by: OrderBy, known: Option<Latest>) -> Option<Offset> {
        let (source, subject, trigger, cluster) = key;
        let remembered = self.deciders.get(&key).copied();
        let from = remembered.map_or(self.first, |(end, _)| end);
        let record = known.map(|known| known.record);
        let mut at = record;
        let mut found = None;
        while let Some((offset, fact)) = at.filter(|at| *at >= from).and_then(|at| Some((at, self.staged(at)?))) {
            if decides(fact, trigger, cluster) {
                found = Some(offset);
                break;
            }
            at = previous(fact, source, subject);
        }
        let decider = match (found, remembered) {
            (Some(found), _) => Some(found),
            (None, Some((_, remembered))) => remembered,
            (None, None) => {
                let decision = self.before.decision(source, subject, trigger, cluster);
                let since = self.before.ground().decided_since(trigger);
                match decision.filter(|(_, decided)| since.is_some_and(|since| *decided >= since)) {
                    Some((Desired::Present { event } | Desired::Absent { event: Some(event) }, _)) => Some(event),
                    // Where nothing had to be done, no record says which event decides.
                    Some((Desired::Absent { event: None } | Desired::Left, _)) | None => self.seek(key, by, record),
                }
            }
        };
        self.deciders.insert(key, (self.end(), decider));
        decider
    }

    /// The event that decides about a lifecycle under the rules in force, by the records of its resource.
    fn seek(&self, key: Key<'_>, by: OrderBy, latest: Option<Offset>) -> Option<Offset> {
        let (source, subject, trigger, _) = key;
        let rules = self.rules.filter(|rules| rules.may_decide(trigger, source, subject))?;
        let log = self.view.log();
        let (mut found, mut at) = (Found::default(), latest);
        while let Some(offset) = at.filter(|_| !found.is_over()) {
            let before = match self.staged(offset) {
                Some(fact) => {
                    pass(&mut found, rules, key, by, (offset, self.now), fact);
                    previous(fact, source, subject)
                }
                None => {
                    // What does not read back hides what came before it.
                    let Ok(Some(record)) = log.read(offset) else { break };
                    let Ok(fact) = Fact::decode(&record.payload) else { break };
                    pass(&mut found, rules, key, by, (offset, record.time_unix_nanos), &fact);
                    previous(&fact, source, subject)
                }
            };
            at = before.filter(|before| *before < offset);
        }
        match found.desired()? {
            Desired::Present { event } => Some(event),
            Desired::Absent { event } => event,
            Desired::Left => None,
        }
    }

    /// Calls with the event at an offset and the time of its record; `None` where there is none that reads back.
    fn with_event<T>(&self, offset: Offset, call: impl FnOnce(&EventReceived<'_>, u64) -> T) -> Option<T> {
        if let Some(fact) = self.staged(offset) {
            return match fact {
                Fact::Event(event) => Some(call(event, self.now)),
                _ => None,
            };
        }
        let record = self.view.log().read(offset).ok()??;
        match Fact::decode(&record.payload) {
            Ok(Fact::Event(event)) => Some(call(&event, record.time_unix_nanos)),
            _ => None,
        }
    }

    /// A staged fact.
    fn staged(&self, offset: Offset) -> Option<&Fact<'g>> {
        let place = offset.get().checked_sub(self.first.get())?;
        self.facts.get(usize::try_from(place).ok()?)
    }
}

/// Shows a record to what looks for the event that decides.
fn pass(
    found: &mut Found,
    rules: &RuleSet,
    (.., trigger, cluster): Key<'_>,
    by: OrderBy,
    (offset, recorded_unix_nanos): (Offset, u64),
    fact: &Fact<'_>,
) {
    let Fact::Event(event) = fact else { return };
    let EventReceived { delivery, source, subject, kind, headers, payload, .. } = event;
    if delivery.cluster != cluster {
        return;
    }
    let view = EventView { nats_subject: delivery.subject, source, kind, subject, headers, payload };
    let desired = match rules.decide_one(trigger, &view, cluster, recorded_unix_nanos) {
        Some(Ruling::Create) => Desired::Present { event: offset },
        Some(Ruling::Delete) => Desired::Absent { event: Some(offset) },
        Some(Ruling::NoAction(_) | Ruling::Failed(_)) | None => return,
    };
    found.pass(by, Precedence::of(by, event, recorded_unix_nanos), event.is_late(), desired);
}

/// Whether a staged fact decides about a lifecycle of its resource.
fn decides(fact: &Fact<'_>, trigger: &str, cluster: &str) -> bool {
    let Fact::Event(event) = fact else { return false };
    let mut decisions = event.decisions.iter();
    event.delivery.cluster == cluster
        && decisions.any(|known| known.trigger == trigger && known.ruling.decides())
        && event.counts(trigger)
}

/// The record before one that is about this resource.
fn previous(fact: &Fact<'_>, source: &str, subject: &str) -> Option<Offset> {
    match fact {
        Fact::Event(event) => event.previous,
        Fact::Reconciled(Reconciled { previous, .. }) => *previous,
        Fact::Replay(replay) => {
            let mut links = replay.redecisions.iter();
            links.find(|link| *link.resource.source == *source && *link.resource.subject == *subject)?.previous
        }
        Fact::Rejected(_) | Fact::Marker(_) | Fact::Stream(_) | Fact::Rule(_) => None,
        Fact::Gathered(_) | Fact::Lost(_) => None,
    }
}
