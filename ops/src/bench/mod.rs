//! `lifeline bench NAME`: what the machine at hand can do, as ratios within one run.
//!
//! Start at [`bench`]. Each benchmark says at its top which question it answers, on which workload. Progress and tables go
//! to standard error, the figures as one line of JSON to standard output, last.

mod history;
mod intake;
mod log;
mod plan;
mod pull;
mod queries;
mod reconcile;
mod replay;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::terminal::fail;

/// What `lifeline bench` was given.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to measure
    pub name: BenchName,
    /// Events of a round, or records for `log`, which needs 160000 of them [default: the benchmark's own]
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// Rounds, of which the median is taken [default: the benchmark's own]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// `log` only: measure opening on a log of 10 GB instead of 1 GB
    #[arg(long)]
    pub full: bool,
    /// `queries` only: every Nth resource has a lifecycle with an applied object; 0 for none [default: 0]
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub held: u64,
    /// `log`, `plan`, `queries`, `replay`: a folder on the disk to measure [default: the current one for `log`, the system's
    /// temporary one for the others]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// The benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchName {
    /// Durable events a second, against the raw rate of the client library on the same stream.
    Intake,
    /// The log's appends, scans and opens, against plain writes, reads and syncs on the same disk.
    Log,
    /// Rebuilding, starting and answering with a long history, while events come in; needs 6 GB of disk.
    Queries,
    /// Making objects, against a bare kube-rs program, on the cluster of `KUBECONFIG`; it makes a namespace and deletes it.
    Reconcile,
    /// What rules would change among 100,000 resources.
    Plan,
    /// Recording while the history is decided again under a changed rule; needs 2 GB of disk.
    Replay,
}

/// Runs a benchmark and prints its figures.
#[must_use]
pub fn bench(args: BenchArgs) -> ExitCode {
    let figures = match args.name {
        BenchName::Intake => intake::run(&args),
        BenchName::Log => log::run(&args),
        BenchName::Queries => queries::run(&args),
        BenchName::Reconcile => reconcile::run(&args),
        BenchName::Plan => plan::run(&args),
        BenchName::Replay => replay::run(&args),
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
