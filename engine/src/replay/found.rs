//! The event that decides, found while the records of a resource are read from the latest one back.
//!
//! Start at [`Found::pass`], which is given each event that decides, or fails to; [`Found::desired`] is the result. It is the
//! one that the recorder would have come to, had these rules been in force all the time. The recorder asks it too, of an event
//! that came late. Pure.

use lifeline_projections::fact::OrderBy;
use lifeline_projections::lifecycle::Desired;
use lifeline_projections::order::Precedence;

/// What was found of one lifecycle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Events of which one decides, the latest record first. There is more than one only where not all of them can be compared.
    deciding: Vec<Deciding>,
    /// Why the action fails of an event that decided when it came, for the latest such one: what it decides now is not known.
    failed: Option<(Precedence, String)>,
    /// Whether no earlier record can change it.
    is_over: bool,
}

#[derive(Debug, Clone)]
struct Deciding {
    precedence: Precedence,
    is_late: bool,
    desired: Desired,
}

impl Found {
    /// Takes in an event that decides; `is_late` says that one recorded before it is later by the order of streams.
    pub(crate) fn pass(&mut self, by: OrderBy, precedence: Precedence, is_late: bool, desired: Desired) {
        let lacks_own = by == OrderBy::Stream || precedence.falls_back();
        // All that were recorded before it are earlier by the order of streams. By `time` one of them may be later.
        self.is_over |= !is_late && lacks_own && by != OrderBy::Time;
        let event = Deciding { precedence, is_late, desired };
        let is_like = |last: &Deciding| {
            by != OrderBy::Sequence || [last, &event].iter().all(|one| !one.is_late && !one.precedence.falls_back())
        };
        match self.deciding.last_mut().filter(|last| is_like(last)) {
            Some(last) if event.precedence.is_later_than(&last.precedence) => *last = event,
            Some(_) => {}
            None => self.deciding.push(event),
        }
    }

    /// Takes in an event that decided when it came, and of which the action fails now.
    pub(crate) fn fail(&mut self, precedence: Precedence, reason: String) {
        if self.failed.as_ref().is_none_or(|(known, _)| precedence.is_later_than(known)) {
            self.failed = Some((precedence, reason));
        }
    }

    /// Whether no earlier record can change it.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What shall hold; `None` where no event decides.
    pub(crate) fn desired(&self) -> Option<Desired> {
        self.decides().map(|event| event.desired)
    }

    /// Why that is not known: an event that would be later than the one that decides.
    pub(crate) fn failed(&self) -> Option<&str> {
        let (failed, reason) = self.failed.as_ref()?;
        let is_later = self.decides().is_none_or(|event| failed.is_later_than(&event.precedence));
        is_later.then_some(reason)
    }

    /// The one that decides, as they were recorded one after the other.
    fn decides(&self) -> Option<&Deciding> {
        let in_order = self.deciding.iter().rev();
        in_order.reduce(|leads, next| if next.precedence.is_later_than(&leads.precedence) { next } else { leads })
    }
}

#[cfg(test)]
mod tests {
    use lifeline_projections::fact::{Delivery, EventReceived};
    use lifeline_store::Offset;

    use super::*;

    /// An event: when it was published, whether it is late, and its `sequence`; 0 for none.
    type Made = (u64, bool, u64);

    /// These are the events of a resource as they were recorded; which of them decides, and how many are read for that.
    #[track_caller]
    fn check(by: OrderBy, recorded: &[Made], expected: Option<usize>, read: usize) {
        let (mut found, mut count) = (Found::default(), 0);
        for (place, (published_unix_nanos, is_late, sequence)) in recorded.iter().enumerate().rev() {
            if found.is_over() {
                break;
            }
            count += 1;
            let sequence = if *sequence == 0 { String::new() } else { format!(r#","sequence":"{sequence}""#) };
            let payload = format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t"{sequence}}}"#);
            let event = EventReceived {
                delivery: Delivery {
                    cluster: "mgmt/mgmt",
                    stream: "S",
                    epoch: 1,
                    sequence: *published_unix_nanos,
                    published_unix_nanos: *published_unix_nanos,
                    subject: "ev",
                },
                source: "s",
                subject: "",
                kind: "t",
                id: "1",
                previous: None,
                decisions: Vec::new(),
                headers: Vec::new(),
                payload: payload.as_bytes(),
                redriven: None,
                order: None,
            };
            let precedence = Precedence::of(by, &event, 1_000);
            found.pass(by, precedence, *is_late, Desired::Present { event: Offset::new(place as u64) });
        }
        let expected = expected.map(|place| Desired::Present { event: Offset::new(place as u64) });
        assert_eq!((found.desired(), count), (expected, read), "{by:?} {recorded:?}");
    }

    #[test]
    fn the_latest_event_is_found_behind_those_that_came_late() {
        let streams = |recorded: &[Made], expected, read| check(OrderBy::Stream, recorded, expected, read);
        streams(&[], None, 0);
        streams(&[(1, false, 0), (2, false, 0)], Some(1), 1);
        streams(&[(1, false, 0), (5, false, 0), (3, true, 0), (4, true, 0)], Some(1), 3);
        // The later one did not decide: of what did, the late one is the later.
        streams(&[(1, false, 0), (3, true, 0), (2, true, 0)], Some(1), 3);
        streams(&[(3, true, 0), (2, true, 0)], Some(0), 2);
    }

    #[test]
    fn by_what_the_events_say_all_of_them_are_looked_at_up_to_one_that_says_nothing() {
        let sequence = |recorded: &[Made], expected, read| check(OrderBy::Sequence, recorded, expected, read);
        sequence(&[(1, false, 9), (2, false, 7), (3, false, 8)], Some(0), 3);
        sequence(&[(1, false, 9), (2, false, 0), (3, false, 7)], Some(2), 2);
        sequence(&[(1, false, 9), (2, false, 0)], Some(1), 1);
        // As they were recorded one after the other: the one without a number is compared by its stream.
        sequence(&[(5, false, 9), (3, true, 0), (4, true, 7)], Some(0), 3);
        check(OrderBy::Time, &[(5, false, 0), (3, true, 0), (4, true, 0)], Some(0), 3);
    }
}
