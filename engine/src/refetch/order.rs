//! The place of a fetched event among those of its resource, as the recorder found it: see [`crate::recorder`].
//!
//! Start at [`place`]. The event that decides is that of the lifecycle: where the recorder had to look for it under changed
//! rules, the record that is put back may say less than the lost one.

use lifeline_projections::fact::{EventReceived, Later, Order, OrderBy, Place};
use lifeline_projections::fold::Projection;
use lifeline_projections::lifecycle::Desired;
use lifeline_projections::order::{Precedence, Rank, counted};
use lifeline_store::Offset;

use crate::rules::RuleSet;

/// Calls with the event at an offset, and the time of its record, where there is one.
pub(super) trait Events {
    /// What the call gives; `None` where there is no event that reads back.
    fn with<T>(&self, offset: Offset, call: impl FnOnce(&EventReceived<'_>, u64) -> T) -> Option<T>;
}

/// Fills in the place of an event whose record has this time.
pub(super) fn place(
    event: &mut EventReceived<'_>,
    time_unix_nanos: u64,
    projection: &Projection,
    rules: &RuleSet,
    events: &impl Events,
) {
    let delivery = event.delivery;
    let position = projection.ground().streams.get(&(delivery.cluster.to_owned(), delivery.stream.to_owned()));
    let follows = position.filter(|known| known.epoch == delivery.epoch && delivery.sequence >= known.next_sequence);
    let until = follows.map_or(0, |known| known.counted_until_unix_nanos);
    let counted_unix_nanos = counted(delivery.published_unix_nanos, time_unix_nanos, until);
    let is_plain = counted_unix_nanos == counted(delivery.published_unix_nanos, time_unix_nanos, 0);
    event.order = Some(Order { counted_unix_nanos, is_late: false, places: Vec::new() });
    let rank = Rank::of(event, time_unix_nanos);
    let newest = projection.latest(event.source, event.subject).and_then(|latest| latest.newest);
    let is_late = newest.is_some_and(|newest| {
        let is_later = events.with(newest.event, |newest, recorded| Rank::of(newest, recorded) >= rank);
        is_later.unwrap_or(newest.unix_nanos > counted_unix_nanos)
    });
    let mut places = Vec::new();
    for decision in event.decisions.iter().filter(|decision| decision.ruling.decides()) {
        let trigger = decision.trigger;
        let by = rules.trigger(trigger).map(crate::rules::Trigger::order_by).unwrap_or_default();
        if by == OrderBy::Stream && !is_late {
            continue;
        }
        let precedence = Precedence::of(by, event, time_unix_nanos);
        let decided = projection.decision(event.source, event.subject, trigger, delivery.cluster);
        let decider = match decided {
            Some((Desired::Present { event } | Desired::Absent { event: Some(event) }, _)) => Some(event),
            Some((Desired::Absent { event: None } | Desired::Left, _)) | None => None,
        };
        let overtaken_by = decider.and_then(|offset| {
            let later = events.with(offset, |before, recorded| {
                let is_later = precedence.is_later_than(&Precedence::of(by, before, recorded));
                let (published_unix_nanos, stream) = (before.delivery.published_unix_nanos, before.delivery.stream);
                (!is_later).then(|| Later { offset, published_unix_nanos, stream: stream.into() })
            });
            later.flatten()
        });
        let falls_back = precedence.falls_back();
        if overtaken_by.is_some() || falls_back {
            places.push(Place { trigger, by, falls_back, overtaken_by });
        }
    }
    let has_to_be_said = is_late || !is_plain || !places.is_empty();
    event.order = has_to_be_said.then_some(Order { counted_unix_nanos, is_late, places });
}
