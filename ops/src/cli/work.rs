//! What may be typed for the commands that do the work: `run`, `demo` and `bench`.
//!
//! Every field is optional: a flag wins over its environment variable, which wins over the configuration file, which
//! wins over the default that the help names.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::fail;
use crate::settings::{Config, Settings};

/// What `lifeline run` was given.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
    /// A TOML file with any of these settings, each under the name of its flag
    #[arg(long, value_name = "FILE", env = "LIFELINE_CONFIG")]
    pub config: Option<PathBuf>,
}

impl RunArgs {
    /// Runs an engine. Settings that cannot be meant are wrong usage.
    pub fn run(self) -> ExitCode {
        let file = self.config.as_deref().map(Settings::from_file).transpose();
        let config = file.and_then(|file| Config::from_settings(self.settings.or(file.unwrap_or_default())));
        match config {
            Ok(config) => match crate::run::run(config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            },
            Err(error) => {
                fail(&error);
                ExitCode::from(2)
            }
        }
    }
}

/// What `lifeline demo` was given.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Use the cluster of the current kubeconfig instead of a local one.
    #[arg(long)]
    pub kube: bool,
    /// Do not pause between the acts.
    #[arg(long)]
    pub fast: bool,
}

/// What `lifeline bench` was given.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to measure
    pub name: BenchName,
    /// Events of a round, or records for `log`, which needs 160000 of them [default: the benchmark's own]
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// Rounds, of which the median is taken [default: 5]
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// `log` only: measure opening on a log of 10 GB instead of 1 GB
    #[arg(long)]
    pub full: bool,
    /// `queries` only: every Nth resource has a lifecycle with an applied object; 0 for none [default: 0]
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub held: u64,
    /// `log` and `queries`: a folder on the disk to measure [default: the current one; for `queries` the system's temporary one]
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
}
