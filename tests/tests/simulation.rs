//! The whole engine in simulated time: many short stories full of faults, each from one seed.
//!
//! `LIFELINE_SIMULATION_SEEDS=10000` plays more of them; `LIFELINE_SIMULATION_SEED=17` plays one and tells what happened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;

use lifeline_tests::simulated::process::describe;
use lifeline_tests::simulated::{Told, play};

/// Stories played where nobody asks for more.
const SEEDS: u64 = 200;

#[test]
fn the_same_seed_gives_the_same_log() {
    let mut logs = Vec::new();
    for seed in 0..5 {
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
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let records = AtomicU64::new(0);
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
    println!("seeds 0 to {}: {} records", seeds - 1, records.into_inner());
    let mut failures = failures.into_inner().expect("nobody panics in here");
    failures.sort();
    let told: Vec<String> = failures
        .iter()
        .map(|(seed, failure)| {
            format!(
                "seed {seed}: {failure}\n  again: LIFELINE_SIMULATION_SEED={seed} cargo test -p lifeline-tests --test \
                 simulation a_crash_anywhere -- --nocapture"
            )
        })
        .collect();
    assert!(told.is_empty(), "{} of {seeds} stories went wrong\n{}", told.len(), told.join("\n"));
}

fn check(seed: u64) -> Result<Told, String> {
    let told = catch_unwind(AssertUnwindSafe(|| play(seed))).map_err(|_| "panicked".to_owned())?;
    if told.violations.is_empty() { Ok(told) } else { Err(told.violations.join("\n  ")) }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, expected a number")))
}
