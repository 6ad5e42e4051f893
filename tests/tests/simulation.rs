//! The whole engine in simulated time: many short stories full of faults, each from one seed.
//!
//! `LIFELINE_SIMULATION_SEEDS=10000` plays more of them; `LIFELINE_SIMULATION_SEED=17` plays one and tells what happened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lifeline_engine::recorder::chain;
use lifeline_projections::fact::Fact;
use lifeline_projections::fold::Projection;
use lifeline_projections::table::Table;
use lifeline_store::Record;
use lifeline_tests::simulated::process::describe;
use lifeline_tests::simulated::{Told, play};

/// Stories played where nobody asks for more.
const SEEDS: u64 = 200;

#[test]
fn the_same_seed_gives_the_same_log() {
    let mut logs = Vec::new();
    for seed in 0..10 {
        let (one, other) = (play(seed), play(seed));
        for (one, other) in one.records.iter().zip(&other.records) {
            assert_eq!(one, other, "seed {seed} gave two different records");
        }
        assert_eq!(one, other, "seed {seed} gave two different stories");
        assert!(!logs.contains(&one.records), "seed {seed} gave the log of another");
        logs.push(one.records);
    }
}

#[test]
fn a_crash_anywhere_loses_nothing_and_doubles_nothing() {
    if let Some(seed) = number("LIFELINE_SIMULATION_SEED") {
        let told = play(seed);
        let mut lines = told.happened.clone();
        lines.extend(told.records.iter().map(describe));
        // One time line: what happened, and what was recorded of it.
        lines.sort_by(|one, other| one[..8].cmp(&other[..8]));
        println!("{}", lines.join("\n"));
        assert_eq!(told.violations, Vec::<String>::new());
        return;
    }
    let seeds = number("LIFELINE_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let (next, records, failures) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    // Each story has one thread; stories have nothing in common.
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match check(seed) {
                        Ok(told) => {
                            records.fetch_add(told.records.len() as u64, Ordering::Relaxed);
                        }
                        Err(failure) => failures.lock().expect("nobody panics in here").push((seed, failure)),
                    }
                }
            });
        }
    });
    println!("seeds 0 to {}: {} records", seeds.saturating_sub(1), records.into_inner());
    let mut failures = failures.into_inner().expect("nobody panics in here");
    failures.sort();
    let told: Vec<String> = failures.iter().map(|(seed, failure)| format!("{failure}\n  {}", again(*seed))).collect();
    assert!(told.is_empty(), "{} of {seeds} stories went wrong\n{}", told.len(), told.join("\n"));
}

/// Seeds that found something once, and what. They find it only for as long as stories are told the same way; what they
/// found has tests of its own where a smaller one could be had.
#[test]
fn what_was_found_once_is_not_found_again() {
    let found = [
        (61, "a group written again after a failed sync opened its stream again, and all of it was recorded twice"),
        (163, "a Delete that came before its Create was carried out asked for no work, and the objects stayed"),
    ];
    for (seed, what) in found {
        if let Err(failure) = check(seed) {
            panic!("{what}: {failure}\n  {}", again(seed));
        }
    }
}

#[test]
fn a_projection_taken_up_from_any_checkpoint_is_the_same() {
    for seed in 0..3 {
        let records = play(seed).records;
        let mut whole = Projection::default();
        fold(&mut whole, &records);
        for part in 1..4 {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("projection");
            let (table, mut projection) = Table::open(&path).expect("a table");
            fold(&mut projection, &records[..records.len() * part / 4]);
            table.checkpoint(&projection).expect("a checkpoint");
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

fn check(seed: u64) -> Result<Told, String> {
    let told = catch_unwind(AssertUnwindSafe(|| play(seed))).map_err(|_| format!("seed {seed}: panicked"))?;
    if told.violations.is_empty() { Ok(told) } else { Err(format!("seed {seed}: {}", told.violations.join("\n  "))) }
}

fn again(seed: u64) -> String {
    format!(
        "again: LIFELINE_SIMULATION_SEED={seed} cargo test -p lifeline-tests --test simulation a_crash -- --nocapture"
    )
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, expected a number")))
}
