//! The whole engine in simulated time: many short stories full of faults, each from one seed.
//!
//! `LIFELINE_SIMULATION_SEEDS=10000` plays more of them, `LIFELINE_SIMULATION_FIRST=N` begins at another seed, and
//! `LIFELINE_SIMULATION_SEED=17` plays one and prints what happened. A story that breaks a promise is made short and printed.

use std::time::Duration;

use lifeline_engine::error_text::chain;
use lifeline_engine::intake::jetstream::Retention;
use lifeline_projections::fact::Fact;
use lifeline_projections::fold::Projection;
use lifeline_projections::table::Table;
use lifeline_store::Record;
use lifeline_tests::simulated::campaign::{Campaign, shrunk};
use lifeline_tests::simulated::found::FOUND;
use lifeline_tests::simulated::hazard::Hazard;
use lifeline_tests::simulated::idle::idle;
use lifeline_tests::simulated::lost_volume::{self, Ends};
use lifeline_tests::simulated::planned;
use lifeline_tests::simulated::shrink::play_safely;
use lifeline_tests::simulated::{Script, play};

/// A story is a hundred thousand small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stories played where nobody asks for more.
const SEEDS: u64 = 200;

/// With this many stories each hazard must have happened: fewer may miss a rare one.
const SEEDS_WITH_ALL_HAZARDS: u64 = 200;

#[test]
fn the_same_seed_gives_the_same_story_whatever_was_played_before() {
    let mut logs = Vec::new();
    let earlier: Vec<_> = (0..10).map(|seed| play(&Script::of(seed))).collect();
    for (seed, one) in (0_u64..).zip(earlier).collect::<Vec<_>>().into_iter().rev() {
        let other = play(&Script::of(seed));
        for (one, other) in one.records.iter().zip(&other.records) {
            assert_eq!(one, other, "seed {seed} gave two different records");
        }
        assert_eq!(one, other, "seed {seed} gave two different stories");
        assert!(!logs.contains(&one.records), "seed {seed} gave the log of another");
        logs.push(one.records);
    }
}

#[test]
fn a_day_without_events_is_quiet() {
    for retention in [Retention::Limits, Retention::WorkQueue] {
        let (complaints, written) = idle(retention, Duration::from_secs(24 * 3_600));
        assert!(complaints.is_empty(), "{retention:?}: {complaints:#?}");
        assert_eq!(written, 0, "{retention:?}: it recorded something");
    }
}

#[test]
fn a_crash_anywhere_loses_nothing_and_doubles_nothing() {
    if let Some(seed) = number("LIFELINE_SIMULATION_SEED") {
        let story = play(&Script::of(seed));
        println!("{}", story.timeline());
        let Some(violation) = story.violations.first() else { return };
        let told: Vec<String> = story.violations.iter().map(ToString::to_string).collect();
        panic!("seed {seed}: {}\n{}", told.join("\n  "), shrunk(&Script::of(seed), violation.what));
    }
    let first = number("LIFELINE_SIMULATION_FIRST").unwrap_or(0);
    let seeds = number("LIFELINE_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let stops_early = number("LIFELINE_SIMULATION_STOPS_EARLY").is_some();
    let played = Campaign { first, seeds, stops_early }.run();
    println!("played from seed {first} on:\n{played}");
    assert!(played.broken.is_empty(), "{}", played.failures(!stops_early));
    let missing: Vec<&str> =
        Hazard::ALL.iter().filter(|one| played.hazards.of(**one) == 0).map(|one| one.label()).collect();
    assert!(seeds < SEEDS_WITH_ALL_HAZARDS || missing.is_empty(), "never happened: {}", missing.join(", "));
}

#[test]
fn a_plan_says_what_the_engine_then_does() {
    let first = number("LIFELINE_SIMULATION_FIRST").unwrap_or(0);
    let seeds = number("LIFELINE_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let mut met = planned::Met::default();
    let mut broken = String::new();
    for seed in number("LIFELINE_SIMULATION_SEED").map_or(first..first + seeds, |seed| seed..seed + 1) {
        let (violations, more) = planned::play(seed);
        met += more;
        violations.iter().for_each(|violation| broken += &format!("seed {seed}: {violation}\n"));
    }
    println!("{met:?}");
    assert!(broken.is_empty(), "{met:?}\n{broken}");
    assert!(seeds < SEEDS_WITH_ALL_HAZARDS || met.has_all(), "something was never planned: {met:?}");
}

#[test]
fn what_broke_a_promise_once_does_not_again() {
    let mut broken = Vec::new();
    for found in FOUND {
        let stories = (0..found.seeds).map(|seed| (seed, play_safely(&found.script(seed))));
        if let Some((seed, story)) = { stories }.find(|(_, story)| !story.violations.is_empty()) {
            let told: Vec<String> = story.violations.iter().map(ToString::to_string).collect();
            broken.push(format!("BROKEN: {}\nseed {seed}: {}\n{}", found.name, told.join("\n  "), story.timeline()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_lost_volume_keeps_what_is_wanted_removes_what_was_logged_out_and_shows_the_rest() {
    let mut all = Ends::default();
    for seed in 0..60 {
        let (violations, Ends { kept, removed, orphans }) = lost_volume::play(seed);
        let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(violations.is_empty(), "seed {seed}: {}", told.join("\n  "));
        all = Ends { kept: all.kept + kept, removed: all.removed + removed, orphans: all.orphans + orphans };
    }
    println!("{all:?}");
    assert!(all.kept > 0 && all.removed > 0 && all.orphans > 0, "{all:?}");
}

#[test]
fn a_projection_taken_up_from_any_checkpoint_is_the_same() {
    for seed in 0..3 {
        let records = play(&Script::of(seed)).records;
        let mut whole = Projection::default();
        fold(&mut whole, &records);
        for part in 1..4 {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("projection");
            let (table, mut projection) = Table::open(&path).expect("a table");
            fold(&mut projection, &records[..records.len() * part / 4]);
            table.checkpoint(&mut projection).expect("a checkpoint");
            drop((table, projection));
            let (_table, mut taken_up) = Table::open(&path).expect("the same table");
            fold(&mut taken_up, &records);
            assert_eq!(taken_up.digest(), whole.digest(), "seed {seed}, taken up after {part} quarters");
        }
    }
}

fn fold(projection: &mut Projection, records: &[Record]) {
    let mut work = Vec::new();
    for record in records {
        let fact = Fact::decode(&record.payload).unwrap_or_else(|error| panic!("{}", chain(&error)));
        projection.fold(record.offset, record.time_unix_nanos, &fact, &mut work);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, expected a number")))
}
