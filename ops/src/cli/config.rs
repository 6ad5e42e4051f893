//! `lifeline config`: a settings file checked, what is in force, and a file to begin with.
//!
//! What settings there are and what they mean is decided in [`crate::settings`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::{RunArgs, output};
use crate::client;
use crate::settings::file::File;
use crate::settings::in_force::{InForce, Typed, load};
use crate::settings::{Error, Settings, example};
use crate::terminal::style::{Paint, Tone};
use crate::terminal::table::{Cell, Column, Table};
use crate::terminal::{count, fail};

/// `lifeline config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a settings file, and print every mistake with its line; exits with 1 when there is one.
    Check(CheckArgs),
    /// Show the settings that `lifeline run` would have, and where each comes from.
    Show(Box<ShowArgs>),
    /// Print a settings file with every setting, commented.
    Example,
}

/// What `lifeline config check` was given.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The TOML file
    #[arg(value_name = "FILE", env = "LIFELINE_CONFIG")]
    pub file: PathBuf,
}

/// What `lifeline config show` was given.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The flags of `lifeline run`.
    #[command(flatten)]
    pub run: RunArgs,
    /// How to print: table, json or toml
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub output: Shape,
}

/// The formats of `config show`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Columns.
    #[default]
    Table,
    /// A JSON list of key, value, from.
    Json,
    /// A settings file that says the same.
    Toml,
}

/// Does what was typed behind `config`.
pub fn config(command: ConfigCommand) -> Result<ExitCode, client::Error> {
    match command {
        ConfigCommand::Check(args) => check(&args.file),
        ConfigCommand::Show(args) => match args.run.load() {
            Ok((_, rows)) => show(&rows, args.output).map(|()| ExitCode::SUCCESS),
            Err(error) => Ok(fail(&error)),
        },
        ConfigCommand::Example => output::data(&example::example()).map(|()| ExitCode::SUCCESS),
    }
}

/// The mistakes go to standard output: they are the answer.
fn check(path: &std::path::Path) -> Result<ExitCode, client::Error> {
    match load(Settings::default(), &Typed::default(), Some(path)) {
        Ok(_) => {
            let said = File::read(path).map(|file| file.lines.len()).unwrap_or_default();
            output::data(&format!("{}: fine, {}\n", path.display(), count(said as u64, "setting")))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(Error::Values(mistakes)) => {
            let paint = Paint::stdout();
            for mistake in &mistakes {
                let place = mistake.place.clone().unwrap_or_else(|| path.display().to_string());
                output::data(&format!("{}: {}\n", paint.tone(Tone::Bad, &place), mistake.complaint))?;
                if let Some(hint) = &mistake.hint {
                    output::data(&format!("  {} {hint}\n", paint.tone(Tone::Head, "hint:")))?;
                }
            }
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Ok(fail(&error)),
    }
}

fn show(rows: &[InForce], shape: Shape) -> Result<(), client::Error> {
    match shape {
        Shape::Json => {
            output::structured(&rows, output::Format::Json)?;
            Ok(())
        }
        Shape::Toml => {
            let lines = rows.iter().map(|row| match &row.value {
                Some(value) => format!("{} = {value} # {}\n", row.key, row.from),
                None => format!("# {} is not set\n", row.key),
            });
            output::data(&lines.collect::<String>())
        }
        Shape::Table => {
            let mut table = Table::new(&[Column::word("KEY"), Column::name("VALUE"), Column::sentence("FROM")]);
            for InForce { key, value, from } in rows {
                let value = match value {
                    Some(toml::Value::String(text)) => text.as_str().into(),
                    Some(other) => other.to_string().into(),
                    None => Cell::toned("-", Tone::Faint),
                };
                let from = if from == "default" { Cell::toned(from, Tone::Faint) } else { from.as_str().into() };
                table.push(vec![key.as_str().into(), value, from]);
            }
            output::table(&table, output::Format::Table)
        }
    }
}
