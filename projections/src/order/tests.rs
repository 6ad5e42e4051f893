//! Which of two events is the later one, as tables.

use super::*;
use crate::fact::{Delivery, Order};

/// A message: stream, epoch, sequence, when it was published, and the payload.
type Made = (&'static str, u32, u64, u64, &'static str);

/// 2026-11-22T12:00:00Z in nanoseconds since 1970.
const NOON: u64 = 1_795_348_800_000_000_000;

const PLAIN: &str = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;

fn event((stream, epoch, sequence, published_unix_nanos, payload): Made) -> EventReceived<'static> {
    let cluster = "mgmt/mgmt";
    let delivery = Delivery { cluster, stream, epoch, sequence, published_unix_nanos, subject: "ev" };
    EventReceived {
        delivery,
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
    }
}

/// The second is the later one, whichever is asked about.
#[track_caller]
fn check(by: OrderBy, earlier: Made, later: Made) {
    let of = |made: Made| Precedence::of(by, &event(made), made.3);
    assert!(of(later).is_later_than(&of(earlier)), "{later:?} is later than {earlier:?}");
    assert!(!of(earlier).is_later_than(&of(later)), "{earlier:?} is not later than {later:?}");
    assert!(!of(later).is_later_than(&of(later)), "nothing is later than itself");
}

#[test]
fn the_order_of_streams_is_by_time_then_by_name_then_by_sequence() {
    let check = |earlier: (&'static str, u32, u64, u64), later: (&'static str, u32, u64, u64)| {
        check(
            OrderBy::Stream,
            (earlier.0, earlier.1, earlier.2, earlier.3, PLAIN),
            (later.0, later.1, later.2, later.3, PLAIN),
        );
    };
    // One stream: its sequence. Its times never go back, for what counts does not: see below.
    check(("A", 1, 1, 10), ("A", 1, 2, 20));
    check(("A", 1, 1, 10), ("A", 1, 2, 10));
    // Two streams: the time, whatever the sequences are.
    check(("A", 1, 900, 10), ("B", 1, 1, 11));
    check(("B", 1, 900, 10), ("A", 1, 1, 11));
    // Equal times: the name of the stream, whatever the sequences are.
    check(("A", 1, 900, 10), ("B", 1, 1, 10));
    // A stream that was made again: by time as well; with equal times the later epoch.
    check(("A", 1, 900, 10), ("A", 2, 1, 11));
    check(("A", 1, 900, 10), ("A", 2, 1, 10));
    // A restored stream: its messages keep their time, so they are as old as they were.
    check(("A", 2, 1, 10), ("A", 1, 900, 11));
    // Without a stream: the time of arrival.
    check(("$NATS.ev", 1, 5, 10), ("A", 1, 1, 11));
    check(("A", 1, 1, 10), ("$NATS.ev", 1, 5, 11));
}

#[test]
fn the_time_that_counts_never_goes_back_and_is_never_far_ahead() {
    let check = |published, recorded, until, expected| {
        assert_eq!(counted(published, recorded, until), expected, "{published} {recorded} {until}");
    };
    let year = 31_536_000_000_000_000_u64;
    check(10, 20, 0, 10);
    check(10, 20, 10, 10);
    // The clock of the server went back.
    check(10, 20, 15, 15);
    // It is a little ahead of ours, or years.
    check(20 + AHEAD_MAX_NANOS, 20, 0, 20 + AHEAD_MAX_NANOS);
    check(40 * year, 20, 0, 20 + AHEAD_MAX_NANOS);
    check(u64::MAX, u64::MAX, 0, u64::MAX);
    check(0, 0, 0, 0);
}

#[test]
fn what_was_recorded_as_the_time_that_counts_is_what_counts() {
    let mut back = event(("A", 1, 2, 5, PLAIN));
    let before = Rank::of(&event(("A", 1, 1, 10, PLAIN)), 1_000);
    assert!(Rank::of(&back, 1_000) < before, "by its own time");
    back.order = Some(Order { counted_unix_nanos: 10, is_late: false, places: Vec::new() });
    assert!(Rank::of(&back, 1_000) > before, "by the one that counts");
}

#[test]
fn a_trigger_may_order_by_what_the_events_say() {
    let text = |more: &str| -> &'static str {
        format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t"{more}}}"#).leak()
    };
    let at = |time: &str| text(&format!(r#","time":"{time}""#));
    let numbered = |sequence: &str| text(&format!(r#","sequence":{sequence}"#));
    let both = |by, earlier, later| {
        check(by, ("A", 1, 1, NOON + 10, earlier), ("A", 1, 2, NOON + 20, later));
        check(by, ("A", 1, 2, NOON + 20, earlier), ("A", 1, 1, NOON + 10, later));
        check(by, ("B", 1, 2, NOON + 20, earlier), ("A", 1, 1, NOON + 10, later));
    };
    both(OrderBy::Time, at("2026-11-22T12:00:00Z"), at("2026-11-22T12:00:10Z"));
    both(OrderBy::Time, at("2026-11-22T13:00:00+01:00"), at("2026-11-22T12:00:00.000000001Z"));
    // An event without a time is as old as its message.
    both(OrderBy::Time, PLAIN, at("2026-11-22T12:00:10Z"));
    // One that is far ahead of its message overtakes what comes within a minute, not what comes in years.
    let second = 1_000_000_000;
    let message = |sequence, seconds: u64, payload| ("A", 1, sequence, seconds * second, payload);
    let ahead = message(1, 0, at("2099-01-01T00:00:00Z"));
    let of = |made: Made| Precedence::of(OrderBy::Time, &event(made), made.3);
    assert!(of(ahead).is_later_than(&of(message(2, 59, PLAIN))));
    assert!(of(message(2, 61, PLAIN)).is_later_than(&of(ahead)));
    assert!(of(message(2, 61, at("1970-01-01T00:01:01Z"))).is_later_than(&of(ahead)));
    // One that cannot be read is none.
    check(OrderBy::Time, ("A", 1, 1, 10, PLAIN), ("B", 1, 1, 11, text(r#","time":7"#)));

    both(OrderBy::Sequence, numbered("\"9\""), numbered("\"10\""));
    both(OrderBy::Sequence, numbered("9"), numbered("\"10\""));
    both(OrderBy::Sequence, numbered("\"0009\""), numbered("\"0010\""));
    both(OrderBy::Sequence, numbered("\"018f\""), numbered("\"0190\""));
    both(OrderBy::Sequence, numbered("\"0\""), numbered("\"1\""));
    both(OrderBy::Sequence, numbered("-5"), numbered("3"));
    both(OrderBy::Sequence, numbered("\"-1\""), numbered("\"0\""));
    both(OrderBy::Sequence, numbered("\"-10\""), numbered("\"-9\""));
    both(OrderBy::Sequence, numbered("\"+6\""), numbered("\"7\""));
    both(OrderBy::Sequence, numbered("\"9\""), numbered("\"+10\""));
    both(OrderBy::Sequence, numbered("\"01ARZ3NDEKTSV4RRFFQ69G5FAV\""), numbered("\"01BX5ZZKBKACTAV9WEVGEMMVRZ\""));
    // Where one has none, and where they are equal, the order of streams decides.
    for (one, other) in [(PLAIN, numbered("1")), (numbered("1"), PLAIN), (numbered("1"), numbered("1")), (PLAIN, PLAIN)]
    {
        check(OrderBy::Sequence, ("B", 1, 9, 10, one), ("A", 1, 1, 11, other));
    }
    check(OrderBy::Sequence, ("A", 1, 1, 10, numbered("\"\"")), ("A", 1, 2, 10, numbered("1")));
}

#[test]
fn an_event_falls_back_where_it_lacks_what_is_asked_for() {
    let check = |by, payload, expected| {
        assert_eq!(Precedence::of(by, &event(("A", 1, 1, 10, payload)), 1_000).falls_back(), expected, "{payload}");
    };
    let whole =
        r#"{"specversion":"1.0","id":"1","source":"s","type":"t","time":"2026-11-22T12:00:00Z","sequence":"4"}"#;
    check(OrderBy::Stream, PLAIN, false);
    check(OrderBy::Time, PLAIN, true);
    check(OrderBy::Sequence, PLAIN, true);
    check(OrderBy::Time, whole, false);
    check(OrderBy::Sequence, whole, false);
}

#[test]
fn three_streams_have_one_order_whoever_is_asked_first() {
    let made: Vec<Made> = ["A", "B", "C"]
        .into_iter()
        .flat_map(|stream| {
            (1..4).flat_map(move |epoch| {
                [(stream, epoch, 1, 10 * u64::from(epoch), PLAIN), (stream, epoch, 2, 15, PLAIN)]
            })
        })
        .collect();
    let ranks: Vec<Rank> = made.iter().map(|made| Rank::of(&event(*made), 1_000)).collect();
    for one in &ranks {
        for other in &ranks {
            assert_eq!(one.cmp(other), other.cmp(one).reverse());
            for third in &ranks {
                assert!(!(one < other && other < third) || one < third, "{one:?} {other:?} {third:?}");
            }
        }
    }
}
