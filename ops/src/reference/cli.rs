//! The page of the command line: what `--help` says, of each command.

use std::fmt::Write;

use clap::{Command, CommandFactory};

use crate::cli::Cli;
use crate::settings::example::keys;

/// The columns of a page.
const COLUMNS: usize = 100;

pub(super) fn page() -> String {
    let mut out = "\
# Command line

Generated from the definition of the program; a test keeps it so. Data goes to standard output, everything else to standard error. The
exit code is 0 for yes, 1 for no or failed, 2 for wrong usage. Commands that take the [settings](SETTINGS.md) say so and do not repeat
them. Every command has `--color WHEN`: auto, always or never.
"
    .to_owned();
    let mut program = hide_values(Cli::command()).term_width(COLUMNS);
    program.build();
    commands(&program, "lifeline", &mut out);
    out
}

/// The definition without what variables are set to here, of all commands.
fn hide_values(command: Command) -> Command {
    command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(hide_values)
}

fn commands(command: &Command, name: &str, out: &mut String) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("{name} {}", command.get_name());
        if command.has_subcommands() {
            commands(command, &name, out);
            continue;
        }
        let settings = keys();
        let is_setting = |id: &str| settings.iter().any(|key| key == id);
        let has_settings =
            command.get_arguments().filter(|argument| is_setting(argument.get_id().as_str())).count() > 20;
        let hide = |argument: clap::Arg| {
            let is_hidden = argument.get_id() == "color" || (has_settings && is_setting(argument.get_id().as_str()));
            argument.hide(is_hidden)
        };
        let help = command.clone().term_width(COLUMNS).mut_args(hide).render_help().to_string();
        let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        let remark = if has_settings { "Takes the [settings](SETTINGS.md) too.\n\n" } else { "" };
        // A String takes everything that is written to it.
        let _ = write!(out, "\n## {name}\n\n{remark}```text\n{}\n```\n", help.trim());
    }
}
