//! The command line: what may be typed, and who does it.
//!
//! Start at [`Cli`]; each family of commands has a file. Here is what was typed, as it was typed: what a setting means
//! after environment, configuration file and defaults is decided elsewhere.
//!
//! Data goes to standard output and everything else to standard error; the exit code is 0 for yes, 1 for no or failed,
//! 2 for wrong usage.

mod addons;
mod ask;
mod config;
mod confirm;
mod difference;
mod doctor;
mod event;
mod events;
mod given;
mod lint;
mod log;
mod man;
mod moment;
mod output;
mod plan;
mod printer;
mod redrive;
mod render;
mod replay;
mod rows;
mod run;
mod show;
mod verify;
mod watch;
mod why;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::client;
use crate::demo::DemoArgs;
use crate::terminal::style::Color;
use crate::terminal::{fail, fail_typing, for_readers_of};

pub use ask::{AskArgs, Get, HistoryArgs};
pub use config::ConfigCommand;
pub use confirm::ConfirmArgs;
pub use difference::DiffArgs;
pub use doctor::DoctorArgs;
pub use lint::LintArgs;
pub use log::LogCommand;
pub use man::ManArgs;
pub use plan::PlanArgs;
pub use redrive::RedriveArgs;
pub use render::RenderArgs;
pub use replay::ReplayArgs;
pub use run::RunArgs;
pub use show::Show;
pub use verify::VerifyArgs;
pub use why::Why;

/// Kubernetes resources that live exactly as long as your events say.
///
/// Lifeline records CloudEvents from NATS in a log, folds the log into the lifecycle of every resource they speak
/// of, and keeps the objects in a cluster as the lifecycles say.
#[derive(Debug, Parser)]
#[command(name = "lifeline", version = version(), after_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// When to use colour: auto (on a terminal), always or never.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub color: Color,
}

const EXAMPLES: &str = "\
Examples:
  lifeline demo                                a story in a temporary folder
  lifeline run --nats nats://127.0.0.1 --subjects orders --rules rules/
  lifeline get lifecycles --phase failing      what needs a look
  lifeline history auth.example.com mgianluc   all that happened to it
  lifeline why object Namespace mgianluc       the event and rule behind it
  lifeline get objects --as-of 2h              what there was two hours ago
  lifeline diff 10m                            what ten minutes changed
  lifeline lint rules/                         every mistake in the rules
  lifeline render -f rules/ --event e.json     what they would make of it
  lifeline plan -f rules/                      and what they would change
  lifeline status --data lifeline-data         ask a stopped engine's folder";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the engine: record events, and keep the cluster as they say.
    Run(Box<RunArgs>),
    /// Play a story that shows what Lifeline does, with servers of its own.
    Demo(DemoArgs),
    /// List resources, lifecycles, objects, events or rules.
    #[command(subcommand)]
    Get(Get),
    /// Show the history of one resource, oldest first.
    History(HistoryArgs),
    /// Show what is deployed, in conflict, stuck, changed by others, or claimed by nothing.
    #[command(subcommand)]
    Show(Show),
    /// Explain why an object exists, or what an event caused.
    #[command(subcommand)]
    Why(Why),
    /// Show what changed between two moments.
    Diff(Box<DiffArgs>),
    /// Show the status of the engine; exits with 1 when it is not ready.
    Status(AskArgs),
    /// Check that the state of a running or a stopped engine is what its log says; exits with 1 when it is not.
    Verify(VerifyArgs),
    /// Take rejected messages up again, once what they were rejected for is mended.
    Redrive(RedriveArgs),

    /// Let changed rules withdraw what is held because it is much, or delete orphans; `lifeline status` gives the id
    Confirm(ConfirmArgs),
    /// Check rules before an engine reads them: every mistake, with the place it is at.
    Lint(LintArgs),
    /// Show what rules would make of an event, or a template of values; nothing is applied.
    Render(Box<RenderArgs>),
    /// Show what rules would do to what is there, in place of those in force; exits with 2 where that is something.
    Plan(Box<PlanArgs>),
    /// Decide the recorded events again for a trigger, under the rules in force.
    Replay(ReplayArgs),
    /// Inspect or repair the log of a stopped engine, or change what a running one logs.
    #[command(subcommand)]
    Log(LogCommand),
    /// Check what an engine with these settings would find; changes nothing, exits with 1 when a check failed.
    Doctor(Box<DoctorArgs>),
    /// Check a settings file, show the settings in force, or print an example.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the Kubernetes definitions of EventSource and EventTrigger, for `kubectl apply -f -`.
    Crds,
    /// Run a benchmark, and print the figures as one line of JSON.
    Bench(BenchArgs),
    /// Print the completion script of a shell.
    ///
    /// bash: lifeline completions bash > ~/.local/share/bash-completion/completions/lifeline;
    /// zsh: lifeline completions zsh > a file `_lifeline` in a folder of $fpath;
    /// fish: lifeline completions fish > ~/.config/fish/completions/lifeline.fish
    #[command(verbatim_doc_comment)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Man(ManArgs),
}

pub(crate) const CRDS: [&str; 2] =
    [include_str!("../../crds/eventsources.yaml"), include_str!("../../crds/eventtriggers.yaml")];

/// The version, and the commit where the build knows one: `0.1.0 (1a2b3c4d5e6f)`. It comes from a variable and not from a
/// build script: the same sources then give the same program, in a clone or out of one.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        match option_env!("LIFELINE_COMMIT").filter(|commit| !commit.is_empty()) {
            Some(commit) => format!("{version} ({commit})"),
            None => version.to_owned(),
        }
    });
    &VERSION
}

/// Parses what was typed and does it.
pub fn main_from(typed: impl IntoIterator<Item = OsString>) -> ExitCode {
    let typed = meant(typed.into_iter().collect());
    // Before anything is parsed: help and mistakes have colours as well.
    Color::typed(&typed).choose();
    for_readers_of(&typed);
    match Cli::try_parse_from(typed) {
        Ok(cli) => run(cli),
        Err(error) => {
            // Help and version are answers, on standard output; the rest are mistakes, on standard error.
            if error.use_stderr() {
                fail_typing(&error);
                return ExitCode::from(2);
            }
            let printed = error.print();
            output::taken(printed.and_then(|()| std::io::stdout().flush()))
                .map_or_else(|error| fail(&error), |_| ExitCode::SUCCESS)
        }
    }
}

/// `lifeline help get` and `lifeline version`, as many programs have them, in the words of this one.
fn meant(mut typed: Vec<OsString>) -> Vec<OsString> {
    let flag = match typed.get(1).and_then(|word| word.to_str()) {
        Some("help") => "--help",
        Some("version") => "--version",
        _ => return typed,
    };
    typed.remove(1);
    typed.push(flag.into());
    typed
}

/// Does what was typed.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        // These do work of their own, which is not the command line's.
        Command::Run(args) => return args.run(),
        Command::Demo(args) => return crate::demo::demo(args),
        Command::Bench(args) => return crate::bench::bench(args),
        Command::Man(args) => return man::man(&args),
        Command::Verify(args) => return verify::verify(&args),
        Command::Log(command) => return log::log(command),
        Command::Doctor(args) => doctor::doctor(*args),
        Command::Config(command) => config::config(command),
        Command::Get(get) => ask::get(get),
        Command::History(args) => ask::history(args),
        Command::Show(show) => show::show(show),
        Command::Why(args) => why::why(args),
        Command::Diff(args) => difference::diff(&args),
        Command::Status(args) => ask::status(args),
        Command::Confirm(args) => confirm::confirm(&args),
        Command::Redrive(args) => redrive::redrive(&args),
        Command::Lint(args) => lint::lint(&args),
        Command::Render(args) => render::render(&args),
        Command::Plan(args) => return plan::plan(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Crds => output::data(&crds()).map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => output::data(&completions(shell)).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| match (fail(&error), error) {
        (_, client::Error::Usage(_)) => ExitCode::from(2),
        (code, _) => code,
    })
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lifeline", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn crds() -> String {
    let documents = CRDS.map(|document| document.trim().trim_start_matches("---").trim_start().to_owned() + "\n");
    documents.join("---\n")
}

#[cfg(test)]
mod tests;
