//! `lifeline run`: what may be typed for it.
//!
//! Every field is optional: a flag wins over its environment variable, which wins over the configuration file, which
//! wins over the default that the help names.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::settings::in_force::{InForce, Typed, load};
use crate::settings::{Config, Error, Settings};
use crate::terminal::fail;

/// What `lifeline run` was given.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Where each comes from. First of all: what is parsed is taken out of what was typed.
    #[command(flatten)]
    pub typed: Typed,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
    /// A TOML file with any of these settings, each under the name of its flag; `lifeline config example` prints one
    #[arg(long, value_name = "FILE", env = "LIFELINE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Take the consumers at once from the engine that reads with them, which then stops reading. Without it that
    /// engine has to be gone for 30 s
    #[arg(long)]
    pub take_over: bool,
}

impl RunArgs {
    /// What they mean, and where each comes from.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(self) -> Result<(Config, Vec<InForce>), Error> {
        load(self.settings, &self.typed, self.config.as_deref())
    }

    /// Runs an engine. Settings that cannot be meant are wrong usage.
    pub fn run(self) -> ExitCode {
        let take_over = self.take_over;
        match self.load() {
            Ok((config, _)) => match crate::run::run(config, take_over) {
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
