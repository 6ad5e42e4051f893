//! `lifeline bench NAME`: what the machine at hand can do, as ratios within one run.
//!
//! Start at [`bench`]. Each benchmark says at its top which question it answers, on which workload. Progress and tables go
//! to standard error, the figures as one line of JSON to standard output, last.

mod intake;
mod log;
mod queries;

use std::process::ExitCode;

use crate::cli::{BenchArgs, BenchName, fail};

/// Runs a benchmark and prints its figures.
#[must_use]
pub fn bench(args: BenchArgs) -> ExitCode {
    let figures = match args.name {
        BenchName::Intake => intake::run(&args),
        BenchName::Log => log::run(&args),
        BenchName::Queries => queries::run(&args),
    };
    match figures {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&*error),
    }
}

/// The middle one, for figures that a busy machine scatters.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
