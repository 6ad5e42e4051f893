//! `lifeline doctor`: what is checked is in [`crate::doctor`]; here it is printed.

use std::process::ExitCode;

use clap::Args;

use super::output::{self, Format};
use super::{RunArgs, client};
use crate::doctor::{Finding, Verdict, examine, summary};
use crate::terminal::fail;
use crate::terminal::style::Tone;
use crate::terminal::table::{Cell, Column, Table};

/// What `lifeline doctor` was given.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// How to print: table (what the terminal has room for), wide (all of it), json or yaml
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub output: Format,
    /// The flags of `lifeline run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Looks, and prints what was found; 1 when a check failed.
pub fn doctor(args: DoctorArgs) -> Result<ExitCode, client::Error> {
    let format = args.output;
    let config = match args.run.load() {
        Ok((config, _)) => config,
        Err(error) => {
            fail(&error);
            return Ok(ExitCode::from(2));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system has room for a few threads");
    let found = runtime.block_on(examine(&config));
    runtime.shutdown_background();
    if !output::structured(&found, format)? {
        output::table(&table(&found), format)?;
        output::remark(&summary(&found));
    }
    let failed = found.iter().any(|finding| finding.verdict == Verdict::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(found: &[Finding]) -> Table {
    let mut table = Table::new(&[Column::word("VERDICT"), Column::word("CHECK"), Column::sentence("FOUND")]);
    for Finding { check, verdict, found, remedy } in found {
        let tone = match verdict {
            Verdict::Ok => Tone::Good,
            Verdict::Warning => Tone::Waiting,
            Verdict::Failed => Tone::Bad,
            Verdict::Skipped => Tone::Faint,
        };
        let row = vec![Cell::toned(verdict.as_str(), tone), check.as_str().into(), found.as_str().into()];
        table.push(row);
        table.remark(remedy.clone().filter(|_| *verdict != Verdict::Skipped).map(|remedy| format!("hint: {remedy}")));
    }
    table
}
