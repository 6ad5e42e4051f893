//! `lifeline run`: what may be typed for it.
//!
//! Every field is optional: a flag wins over its environment variable, which wins over the configuration file, which
//! wins over the default that the help names.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::settings::{Config, Settings};
use crate::terminal::fail;

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
