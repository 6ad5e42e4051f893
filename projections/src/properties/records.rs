//! Records that a question chooses: the same as a look at every fact finds, whichever way and in whatever pages.

use lifeline_store::{Log, Offset, Options, OsDisk, Reader};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{fold, linked, note, time_of};
use crate::arbitrary::facts;
use crate::fact::{Fact, ResourceKey};
use crate::fold::Projection;
use crate::history::{self, Entry};
use crate::records::{self, Budget, Choice, Found, SOURCES_MAX};

fn choice() -> impl Strategy<Value = Choice> {
    let source = option::of(select(&["", "a", "a/", "https://", "other"][..]));
    let subject = option::of(select(&["", "a", "a/b", "other"][..]));
    let kind = option::weighted(0.2, select(&["login", "a", "other"][..]));
    (source, subject, kind, option::weighted(0.3, any::<bool>())).prop_map(|(source, subject, kind, rejected)| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Choice { source: text(source), subject: text(subject), kind: text(kind), rejected, drifted: false }
    })
}

fn keys(fact: &Fact<'_>) -> Vec<ResourceKey> {
    match fact {
        Fact::Event(event) => vec![ResourceKey { source: event.source.into(), subject: event.subject.into() }],
        Fact::Reconciled(outcome) => vec![outcome.key.resource.clone()],
        Fact::Replay(replay) => replay.redecisions.iter().map(|some| some.resource.clone()).collect(),
        Fact::Gathered(gathered) => vec![ResourceKey::of_list(&gathered.trigger)],
        Fact::Rejected(_) | Fact::Marker(_) | Fact::Stream(_) | Fact::Rule(_) | Fact::Lost(_) => vec![],
    }
}

/// What is said of a fact, as the choice is described.
fn expected(choice: &Choice, fact: &Fact<'_>, offset: u64) -> Option<Entry> {
    let Choice { source, subject, kind, rejected, drifted: _ } = choice;
    if rejected.is_some_and(|wanted| wanted != (fact.name() == "EventRejected")) {
        return None;
    }
    if let Some(kind) = kind {
        match fact {
            Fact::Event(event) if event.kind == kind => {}
            _ => return None,
        }
    }
    let mut key = None;
    if source.is_some() || subject.is_some() {
        let mut keys = keys(fact);
        keys.retain(|key| source.as_ref().is_none_or(|source| key.source.starts_with(&**source)));
        keys.retain(|key| subject.as_ref().is_none_or(|subject| *key.subject == **subject));
        keys.sort_unstable();
        keys.dedup();
        match keys.len() {
            0 => return None,
            1 => key = keys.pop(),
            _ => {}
        }
    }
    Some(history::about(fact, key.as_ref(), Offset::from(offset), time_of(offset)).0)
}

/// All pages after each other; `turn` gives one from where the one before it ended.
fn pages(mut position: Offset, last: Offset, goes_on: bool, mut turn: impl FnMut(Offset) -> Found) -> Vec<Entry> {
    let mut all = Vec::new();
    while position != last {
        let found = turn(position);
        let is_further = if goes_on { found.position > position } else { found.position < position };
        assert!(is_further, "a page that looks at nothing would be asked for again and again: {position}");
        position = found.position;
        if goes_on {
            all.extend(found.entries);
        } else {
            all.splice(0..0, found.entries);
        }
    }
    all
}

/// A log of these records, of which some are no facts.
fn log_of(folder: &std::path::Path, facts: &[Fact<'_>], garbage: &[bool]) -> Reader {
    let options = Options { low_space_bytes: 0, ..Options::default() };
    let (mut log, _) = Log::open(OsDisk::open(folder).expect("a folder"), options).expect("a log");
    for ((fact, offset), is_garbage) in facts.iter().zip(0..).zip(garbage) {
        let mut bytes = b"garbage".to_vec();
        if !is_garbage {
            bytes.clear();
            fact.encode(&mut bytes);
        }
        log.append(time_of(offset), &bytes).expect("room");
    }
    log.sync().expect("a disk");
    log.reader()
}

proptest! {
    // Each of these writes to a disk.
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_chosen_is_found_both_ways_in_pages_of_any_size(
        facts in facts(60),
        choice in choice(),
        limit in 1..6_usize,
        looks in 1..20_u64,
        ends in (0..70_u64, 0..70_u64),
        garbage in vec(prop::bool::weighted(0.05), 60),
    ) {
        let facts = linked(&facts);
        let folder = tempfile::tempdir().expect("a folder");
        let log = log_of(folder.path(), &facts, &garbage);
        let mut projection = Projection::with_landmarks_every(4);
        fold(&mut projection, &facts);
        let end = log.end().get();
        let (floor, before) = (ends.0.min(ends.1).min(end), ends.0.max(ends.1).min(end));
        let wanted = |(fact, offset): (&Fact<'_>, u64), garbage: bool| match garbage {
            true => Some((offset, None)),
            false => Some((offset, Some(expected(&choice, fact, offset)?))),
        };
        let said = facts.iter().zip(0..).zip(&garbage).filter_map(|(record, garbage)| wanted(record, *garbage));
        let said: Vec<(u64, Option<Entry>)> = said.filter(|(offset, _)| (floor..before).contains(offset)).collect();
        let check = |found: Vec<Entry>| {
            let found = found.into_iter();
            let found = found.map(|entry| (entry.offset, Some(entry).filter(|entry| entry.fact != "Unreadable")));
            prop_assert_eq!(found.collect::<Vec<_>>(), said.clone());
            Ok(())
        };
        let (floor, before) = (Offset::from(floor), Offset::from(before));
        let budget = Budget { records: looks, reads: looks, bytes: u64::MAX };
        check(pages(floor, before, true, |from| {
            records::forwards(&log, (from, before), &choice, limit, budget).expect("a disk")
        }))?;
        check(pages(before, floor, false, |before| {
            records::backwards(&log, (floor, before), &choice, limit, budget).expect("a disk")
        }))?;
        let (Some(source), Some(subject)) = (&choice.source, &choice.subject) else { return Ok(()) };
        let trails = projection.trails_called(source, subject, SOURCES_MAX).expect("there are few sources");
        let mut followed = 0;
        let found = pages(before, floor, false, |before| {
            let links = (&trails[..], &**projection.landmarks());
            let found = records::along(&log, links, (floor, before), &choice, limit, budget).expect("a disk");
            followed += u32::from(found.is_some());
            // As an engine goes on where the links do not.
            found.unwrap_or_else(|| records::backwards(&log, (floor, before), &choice, limit, budget).expect("a disk"))
        });
        // Links pass by what cannot be read where it was about something else.
        let read = |(offset, entry): (u64, Option<Entry>)| entry.map(|entry| (offset, entry));
        let found = found.into_iter().filter(|entry| entry.fact != "Unreadable").map(|entry| (entry.offset, entry));
        prop_assert_eq!(found.collect::<Vec<_>>(), said.clone().into_iter().filter_map(read).collect::<Vec<_>>());
        if garbage.iter().all(|garbage| !garbage) && before > floor {
            prop_assert!(followed > 0, "the links were not followed");
        }
    }
}

#[test]
fn links_lead_to_the_few_records_of_a_resource_past_all_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let facts: Vec<Fact<'static>> =
        (0..20_000).map(|number| note(if number % 5_000 == 7 { "cold" } else { "hot" })).collect();
    let facts = linked(&facts);
    let log = super::log_of(folder.path(), &facts);
    let mut projection = Projection::default();
    fold(&mut projection, &facts);
    let choice = |source: &str| Choice { source: Some(source.into()), subject: Some("x".into()), ..Choice::default() };
    let check = |source: &str, before: u64, limit: usize, expected: &[u64], position: u64| {
        let trails = projection.trails_called(source, "x", SOURCES_MAX).expect("there are two sources");
        let span = (Offset::ZERO, Offset::from(before));
        let links = (&trails[..], &**projection.landmarks());
        // Enough for the records themselves and for nothing between them.
        let budget = Budget { records: 10, reads: 10, bytes: u64::MAX };
        let found = records::along(&log, links, span, &choice(source), limit, budget).expect("a disk");
        let found = found.expect("nothing is lost");
        let offsets: Vec<u64> = found.entries.iter().map(|entry| entry.offset).collect();
        assert_eq!((offsets.as_slice(), found.position.get()), (expected, position), "{source} before {before}");
    };
    check("cold", 20_000, 9, &[7, 5_007, 10_007, 15_007], 0);
    check("cold", 15_007, 2, &[5_007, 10_007], 5_007);
    check("cold", 5_007, 2, &[7], 0);
    // However much followed, a landmark is near.
    check("hot", 101, 3, &[98, 99, 100], 98);
    // Both, merged.
    check("", 10_009, 3, &[10_006, 10_007, 10_008], 10_006);
    check("other", 20_000, 3, &[], 0);
}

#[test]
fn more_sources_than_are_followed_at_once_are_not() {
    let mut projection = Projection::default();
    let names: Vec<&'static str> = (0..=SOURCES_MAX).map(|number| &*format!("s{number}").leak()).collect();
    fold(&mut projection, &names.iter().map(|name| note(name)).collect::<Vec<_>>());
    let check = |source: &str, subject: &str, expected: Option<usize>| {
        let trails = projection.trails_called(source, subject, SOURCES_MAX);
        assert_eq!(trails.map(|trails| trails.len()), expected, "{source} {subject}");
    };
    check("s", "x", None);
    check("s1", "x", Some(11));
    check("s64", "x", Some(1));
    check("s64", "y", Some(0));
    check("z", "x", Some(0));
}

#[test]
fn a_time_is_that_of_a_record_as_it_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { low_space_bytes: 0, ..Options::default() };
    let (mut log, _) = Log::open(OsDisk::open(folder.path()).expect("a folder"), options).expect("a log");
    // Shown in milliseconds as 1, 2, 2 and 3.
    for nanos in [1_000_000, 1_000_001, 2_000_000, 2_500_000] {
        log.append(nanos, b"any").expect("room");
    }
    log.sync().expect("a disk");
    let check = |nanos: u64, expected: u64| {
        assert_eq!(records::first_shown_at(&log.reader(), nanos).expect("a disk").get(), expected, "{nanos}");
    };
    check(0, 0);
    check(1_000_000, 0);
    check(1_000_001, 1);
    check(2_000_000, 1);
    check(2_000_001, 3);
    check(3_000_000, 3);
    check(3_000_001, 4);
    check(u64::MAX, 4);
}

#[test]
fn damage_on_the_disk_is_told_both_ways_and_hides_nothing_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let options =
        Options { low_space_bytes: 0, segment_bytes_max: 16 << 10, payload_bytes_max: 2 << 10, ..Options::default() };
    let (mut log, _) = Log::open(OsDisk::open(folder.path()).expect("a folder"), options).expect("a log");
    let marker = |offset: u64| format!("record number {offset}.");
    for offset in 0..400 {
        let Fact::Event(event) = note("s") else { unreachable!("a note is an event") };
        let payload = marker(offset);
        let mut bytes = Vec::new();
        Fact::Event(crate::fact::EventReceived { payload: payload.as_bytes(), ..event }).encode(&mut bytes);
        log.append(time_of(offset), &bytes).expect("room");
    }
    log.sync().expect("a disk");
    // One alone, and a run that a piece may end in.
    let lost = [30, 100, 101, 102, 103, 104, 105];
    for path in std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let mut bytes = std::fs::read(&path).expect("a file");
        for marker in lost.map(marker) {
            let found = bytes.windows(marker.len()).position(|window| window == marker.as_bytes());
            if let Some(at) = found {
                bytes[at] ^= 1;
            }
        }
        std::fs::write(&path, bytes).expect("a file");
    }
    let log = log.reader();
    let (start, end) = (Offset::ZERO, Offset::from(400));
    for (choice, is_wanted) in
        [(Choice::default(), true), (Choice { kind: Some("other".into()), ..Choice::default() }, false)]
    {
        for limit in [1, 3, 1_000] {
            let budget = Budget { records: 7, ..Budget::default() };
            let on = pages(start, end, true, |from| {
                records::forwards(&log, (from, end), &choice, limit, budget).expect("a disk")
            });
            let back = pages(end, start, false, |before| {
                records::backwards(&log, (start, before), &choice, limit, budget).expect("a disk")
            });
            for found in [on, back] {
                let read = found.iter().filter(|entry| entry.fact == "EventReceived").map(|entry| entry.offset);
                let sound = (0..400).filter(|offset| is_wanted && !lost.contains(offset));
                assert_eq!(read.collect::<Vec<_>>(), sound.collect::<Vec<_>>(), "limit {limit}");
                let unread: Vec<u64> =
                    found.iter().filter(|entry| entry.fact == "Unreadable").map(|entry| entry.offset).collect();
                assert!(unread.contains(&30) && unread.iter().all(|offset| lost.contains(offset)), "{unread:?}");
                assert!(unread.iter().any(|offset| *offset >= 100), "{unread:?}");
                assert!(found.is_sorted_by(|one, next| one.offset < next.offset), "each once, in order");
            }
        }
    }
}
