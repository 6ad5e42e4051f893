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

/// The commands in a text of Markdown: lines of blocks of a shell, and spans of code.
fn commands_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut shell = None;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            shell = shell.is_none().then(|| ["sh", "console"].contains(&language));
            continue;
        }
        match shell {
            Some(true) => {
                found.extend(line.split(['#', '|']).map(|part| part.trim_start_matches("$ ").trim().to_owned()))
            }
            Some(false) => {}
            None => found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned)),
        }
    }
    found.retain(|text| text.starts_with("lifeline ") && !text.contains("...") && !text.contains("$("));
    found
}

/// What a command is refused for that no value, and nothing left out, could mend.
fn refused(command: &str) -> Option<String> {
    use clap::Parser;
    use clap::error::ErrorKind::{InvalidSubcommand, UnknownArgument};
    let error = Cli::try_parse_from(command.split_whitespace()).err()?;
    matches!(error.kind(), InvalidSubcommand | UnknownArgument).then(|| format!("`{command}`: {error}"))
}

#[test]
fn every_command_in_the_documents_is_one_that_the_program_takes() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut folders, mut files) =
        (vec![root.join("docs"), root.join("examples")], vec![root.join("ops/chart/README.md")]);
    files.extend(["README.md", "SECURITY.md", "SVELTOS.md", "ARCHITECTURE.md"].map(|name| root.join(name)));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let mut count = 0;
    let mut wrong = String::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
        for command in commands_in(&std::fs::read_to_string(file).unwrap()) {
            count += 1;
            if let Some(refused) = refused(&command) {
                let _ = writeln!(wrong, "{}: {refused}", file.display());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 120, "{count} commands");
}

#[test]
fn a_command_that_is_none_is_noticed() {
    assert!(refused("lifeline gett lifecycles").is_some());
    assert!(refused("lifeline status --servr x").is_some());
    assert!(refused("lifeline why event OFFSET").is_none());
    assert_eq!(
        commands_in("`lifeline a`\n```sh\nlifeline b # c\n```\n```text\nlifeline d\n```\n"),
        ["lifeline a", "lifeline b"]
    );
}
