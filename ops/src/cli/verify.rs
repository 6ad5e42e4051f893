//! `verify`: whether the state is what the log says, of a running engine or in the folder of a stopped one.
//!
//! Start at [`verify`]. [`whom`] decides which of the two is meant; the folder is looked at in [`super::log`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::ask::AskArgs;
use super::log::{Error, ended, verify_folder};
use super::output;
use crate::api::one::One;
use crate::api::verify::{Differing, How, Verified};
use crate::care;
use crate::client::Query;
use crate::terminal::count;
use crate::terminal::style::Tone;
use crate::terminal::table::{Cell, Column, Table};

/// Names the folder when `--data` is missing, as it did before an engine could be asked.
const DATA_VARIABLE: &str = "LIFELINE_DATA";

const EXAMPLES: &str = "\
Examples:
  lifeline verify                         the running engine: memory against log
  lifeline verify --data lifeline-data    a stopped one: every byte on its disk

Without --data, LIFELINE_DATA names the folder; if an engine is using it, the
engine at --server is asked.";

/// What `lifeline verify` was given.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What is verified.
#[derive(Debug, PartialEq)]
enum Whom {
    /// The folder that was typed.
    Folder(PathBuf),
    /// The folder that the environment names, or the engine that has it.
    FolderOrEngine(PathBuf),
    /// A running engine.
    Engine,
}

fn whom(typed: Option<&Path>, variable: Option<OsString>) -> Whom {
    match (typed, variable.filter(|value| !value.is_empty())) {
        (Some(data), _) => Whom::Folder(data.to_owned()),
        (None, Some(data)) => Whom::FolderOrEngine(data.into()),
        (None, None) => Whom::Engine,
    }
}

/// Verifies, and prints what was found.
#[must_use]
pub fn verify(args: &VerifyArgs) -> ExitCode {
    let ask = &args.ask;
    ended(match whom(ask.data.as_deref(), std::env::var_os(DATA_VARIABLE)) {
        Whom::Folder(data) => verify_folder(&data, ask.engine.output),
        Whom::FolderOrEngine(data) => match verify_folder(&data, ask.engine.output) {
            Err(Error::Care(care::Error::InUse { data })) => {
                let (data, server) = (data.display(), &ask.engine.server);
                output::remark(&format!(
                    "data folder `{data}` ({DATA_VARIABLE}) is in use: asking the engine at {server}"
                ));
                verify_engine(ask)
            }
            said => said,
        },
        Whom::Engine => verify_engine(ask),
    })
}

fn verify_engine(ask: &AskArgs) -> Result<bool, Error> {
    let client = ask.client()?;
    output::remark(
        "verifying: the engine folds its log again and goes on meanwhile; this takes as long as a start without state",
    );
    let answer: One<Verified> = client.get("/v1/verify", &Query::default())?;
    if !output::structured(&answer, ask.engine.output)? {
        if !answer.item.differing.is_empty() {
            output::table(&differing(&answer.item.differing), ask.engine.output)?;
        }
        output::data(&verdict(&answer))?;
    }
    Ok(answer.item.sound)
}

fn differing(rows: &[Differing]) -> Table {
    let mut table = Table::new(&[Column::name("SOURCE"), Column::name("SUBJECT"), Column::sentence("IN MEMORY")]);
    for row in rows {
        let how = match row.how {
            How::Changed => "not as the log says",
            How::Missing => "missing",
            How::Surplus => "not in the log",
        };
        table.push(vec![row.source.as_str().into(), row.subject.as_str().into(), Cell::toned(how, Tone::Bad)]);
    }
    table
}

/// What a verification comes to, and what to do about it.
fn verdict(answer: &One<Verified>) -> String {
    let One { offset, item } = answer;
    let mut lines = vec![format!("log     sound: folded again, below offset {offset}, in {:.1} s", item.seconds)];
    if item.sound {
        let (resources, digest) = (count(item.resources, "resource"), &item.digest);
        lines.push(format!("state   sound: memory and log give the same, {digest}, {resources}"));
        if item.changed_meanwhile > 0 {
            let changed = item.changed_meanwhile;
            lines.push(format!(
                "        {changed} changed meanwhile: their earlier state was computed from their records"
            ));
        }
    } else {
        let Verified { differing_count, resources, resources_in_memory, digest, .. } = item;
        let differ = count(*differing_count, "resource");
        lines.push(format!(
            "state   differs: {differ}; the log gives {resources} ({digest}), memory holds {resources_in_memory}"
        ));
        let unnamed = differing_count.saturating_sub(item.differing.len() as u64);
        if unnamed > 0 {
            lines.push(format!("        {unnamed} of those that differ are not named"));
        }
        if !item.differing_parts.is_empty() {
            lines.push(format!("        beside resources: {}", item.differing_parts.join(", ")));
        }
        lines.push(
            "  hint: stop the engine and move the folder `projection` aside; the next start rebuilds it".to_owned(),
        );
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_verified_where_one_is_named_and_else_an_engine_is_asked() {
        let check = |typed: Option<&str>, variable: Option<&str>, expected: Whom| {
            assert_eq!(whom(typed.map(Path::new), variable.map(OsString::from)), expected, "{typed:?} {variable:?}");
        };
        check(None, None, Whom::Engine);
        check(None, Some(""), Whom::Engine);
        check(Some("a"), None, Whom::Folder("a".into()));
        check(Some("a"), Some("b"), Whom::Folder("a".into()));
        check(None, Some("b"), Whom::FolderOrEngine("b".into()));
    }

    fn sound() -> One<Verified> {
        let item = Verified {
            sound: true,
            digest: "00ff".to_owned(),
            resources: 7,
            resources_in_memory: 7,
            changed_meanwhile: 0,
            differing_parts: vec![],
            differing: vec![],
            differing_count: 0,
            seconds: 1.25,
        };
        One { offset: 41, item }
    }

    #[test]
    fn a_sound_engine_is_said_to_be_in_two_lines() {
        let mut answer = sound();
        let expected = "\
log     sound: folded again, below offset 41, in 1.2 s
state   sound: memory and log give the same, 00ff, 7 resources
";
        assert_eq!(verdict(&answer), expected);
        answer.item.changed_meanwhile = 2;
        let more = "        2 changed meanwhile: their earlier state was computed from their records\n";
        assert_eq!(verdict(&answer), format!("{expected}{more}"));
    }

    #[test]
    fn what_differs_is_counted_named_and_remedied() {
        let mut answer = sound();
        let row = |subject: &str, how| Differing { source: "auth".to_owned(), subject: subject.to_owned(), how };
        answer.item = Verified {
            sound: false,
            resources_in_memory: 6,
            differing: vec![row("ann", How::Changed), row("zoe", How::Missing)],
            differing_count: 5,
            differing_parts: vec!["streams".to_owned(), "phases".to_owned()],
            ..answer.item
        };
        let expected = "\
log     sound: folded again, below offset 41, in 1.2 s
state   differs: 5 resources; the log gives 7 (00ff), memory holds 6
        3 of those that differ are not named
        beside resources: streams, phases
  hint: stop the engine and move the folder `projection` aside; the next start rebuilds it
";
        assert_eq!(verdict(&answer), expected);
        let expected = "\
SOURCE  SUBJECT  IN MEMORY
auth    ann      not as the log says
auth    zoe      missing
";
        assert_eq!(differing(&answer.item.differing).render(None), expected);
    }
}
