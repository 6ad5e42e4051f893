//! The commands about logs: `log info`, `log repair` and `verify` of a stopped engine's folder; `log level` of a running
//! engine's lines.
//!
//! Arguments come first, then how findings are printed. The work is done in [`crate::care`].

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueHint};
use jiff::Timestamp;

use super::RunArgs;
use super::ask::EngineArgs;
use super::output::{self, Format};
use crate::api::log_level::{LevelOrder, LevelSet};
use crate::care::info::{Info, info};
use crate::care::repair::{self, Outcome, repair};
use crate::care::verify::{self, State};
use crate::care::{self, DamagedPlace};
use crate::client;
use crate::data;
use crate::settings;
use crate::terminal::style::Tone;
use crate::terminal::table::{Cell, Column, Table};
use crate::terminal::{count, fail};

/// The folder, and how to print what was found there.
#[derive(Debug, Clone, Args)]
pub struct FolderArgs {
    /// The data folder of a stopped engine
    #[arg(long, value_name = "DIR", env = "LIFELINE_DATA", default_value = data::DEFAULT, value_hint = ValueHint::DirPath)]
    pub data: PathBuf,
    /// How to print: table (what the terminal has room for), wide (all of it), json or yaml
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub output: Format,
}

/// `lifeline log`.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Show the parts of the log: segments, offsets, times, bytes.
    Info(FolderArgs),
    /// Restore damaged records from JetStream, as far as it still holds them.
    Repair(Box<RepairArgs>),
    /// Change which lines a running engine logs, until it ends.
    Level(LevelArgs),
}

/// What `lifeline log repair` was given.
#[derive(Debug, Clone, Args)]
pub struct RepairArgs {
    /// Fetch by stream sequence what the streams still hold; what they do not is recorded as lost
    #[arg(long, required = true)]
    pub from_stream: bool,
    /// Go on although a stream that the log was recorded from exists nowhere any more
    #[arg(long)]
    pub accept_loss: bool,
    /// How to print: table (what the terminal has room for), wide (all of it), json or yaml
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub output: Format,
    /// The flags of `lifeline run`: the folder, the servers that the log was recorded from, the labels of the own cluster.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What `lifeline log level` was given.
#[derive(Debug, Clone, Args)]
pub struct LevelArgs {
    /// error, warn, info, debug or trace, also by target, as `info,lifeline_engine=debug`
    #[arg(value_name = "LEVEL")]
    pub level: String,
    /// Whom to ask.
    #[command(flatten)]
    pub engine: EngineArgs,
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected `KEY=VALUE`".to_owned())
}

/// Why findings could not be printed, or there are none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Care(#[from] care::Error),
    #[error(transparent)]
    Output(#[from] client::Error),
    #[error(transparent)]
    Settings(#[from] settings::Error),
}

/// Verifies a folder, and prints what was found; whether it is sound.
pub(super) fn verify_folder(data: &Path, output: Format) -> Result<bool, Error> {
    let report = verify::verify(data, &mut output::remark)?;
    if !output::structured(&report, output)? {
        if !report.damage.is_empty() {
            output::table(&places(&report.damage), output)?;
        }
        output::data(&verdict(&report))?;
    }
    Ok(report.sound)
}

/// Does what was typed behind `log`.
#[must_use]
pub fn log(command: LogCommand) -> ExitCode {
    ended(match command {
        LogCommand::Info(args) => show_info(&args),
        LogCommand::Repair(args) => show_repair(*args),
        LogCommand::Level(args) => set_level(args),
    })
}

/// The exit code of a look or a repair, which says why where there is none.
pub(super) fn ended(said: Result<bool, Error>) -> ExitCode {
    match said {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error @ Error::Settings(_)) => {
            fail(&error);
            ExitCode::from(2)
        }
        Err(error) => fail(&error),
    }
}

fn set_level(args: LevelArgs) -> Result<bool, Error> {
    let done: LevelSet = args.engine.client()?.post("/v1/log-level", &LevelOrder { level: args.level })?;
    if !output::structured(&done, args.engine.output)? {
        let LevelSet { level, before, .. } = done;
        output::remark(&format!("the engine logs at `{level}` now, until it ends; before at `{before}`"));
    }
    Ok(true)
}

fn show_info(args: &FolderArgs) -> Result<bool, Error> {
    let info = info(&args.data)?;
    if !output::structured(&info, args.output)? {
        output::table(&segments(&info), args.output)?;
        output::remark(&summary(&info));
    }
    Ok(info.damage.is_empty())
}

fn show_repair(args: RepairArgs) -> Result<bool, Error> {
    let RepairArgs { accept_loss, output, run, .. } = args;
    let (config, _) = run.load()?;
    let report = repair(&config, accept_loss, &mut output::remark)?;
    if !output::structured(&report, output)? {
        if !report.records.is_empty() {
            output::table(&repaired(&report), output)?;
        }
        output::data(&closing(&report))?;
    }
    Ok(report.complete)
}

fn places(damage: &[DamagedPlace]) -> Table {
    let mut table = Table::new(&[
        Column::word("RECORDS"),
        Column::name("FILE").rank(1),
        Column::word("BYTES").rank(2),
        Column::sentence("WHY"),
    ]);
    for place in damage {
        let bytes = format!("{} to {}", place.from_byte, place.to_byte);
        table.push(vec![place.records().into(), place.file.as_str().into(), bytes.into(), place.why.as_str().into()]);
    }
    table
}

/// What a verification comes to, and what to do about it.
fn verdict(report: &verify::Report) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    // Records of a file that is missing count too.
    let held_from = report.damage.iter().map(|place| place.first).fold(report.start, u64::min);
    let records = report.end - held_from;
    if report.damage.is_empty() {
        let records = count(records, "record");
        line(format!("log     sound: {records}, from offset {} on, below {}", report.start, report.end));
    } else {
        let lost: u64 = report.damage.iter().map(|place| place.end - place.first).sum();
        line(match (lost, report.damage.len()) {
            (0, 1) => "log     damaged in 1 place beside the records; all records read back".to_owned(),
            (0, places) => format!("log     damaged in {places} places beside the records; all records read back"),
            (lost, _) => format!("log     damaged: {lost} of {} unreadable", count(records, "record")),
        });
    }
    if report.torn_bytes > 0 {
        line(format!(
            "        {} bytes of an unfinished group at its end were never acknowledged: no damage, the next start cuts them off",
            report.torn_bytes
        ));
    }
    if !report.lost.is_empty() {
        let (lost, first) = (count(report.lost.len() as u64, "record"), report.lost[0]);
        line(format!("        {lost} lost before an earlier repair, the first at offset {first}"));
    }
    match &report.state {
        State::Same { checkpoint, digest } => {
            line(format!("state   sound: the checkpoint at {checkpoint} and the whole log give the same, {digest}"));
        }
        State::NoCheckpoint { digest } => line(format!("state   no checkpoint yet; the log gives {digest}")),
        State::Unusable { reason } => {
            line(format!("state   the checkpoint cannot be used ({reason}); the next start rebuilds it from the log"));
        }
        State::NotFolded { checkpoint, reason } => {
            let held =
                checkpoint.map_or("there is no checkpoint".to_owned(), |at| format!("the checkpoint is at {at}"));
            line(format!("state   not compared: {reason}; {held}"));
        }
        State::Differs { checkpoint, checkpoint_digest, digest } => {
            line(format!(
                "state   differs: the checkpoint at {checkpoint} leads to {checkpoint_digest}, the whole log to {digest}"
            ));
            if report.sound {
                line("        as it must: it still knows what the lost records said; keep it".to_owned());
            } else {
                line("  hint: move the folder `projection` aside; the next start rebuilds it from the log".to_owned());
            }
        }
    }
    let checkpoint = match &report.state {
        State::Same { checkpoint, .. } | State::Differs { checkpoint, .. } => Some(*checkpoint),
        State::NotFolded { checkpoint, .. } => *checkpoint,
        State::NoCheckpoint { .. } | State::Unusable { .. } => None,
    };
    let lost = report.damage.iter().filter(|place| place.end > place.first);
    let lost_below = lost.map(|place| place.end).max();
    match (&report.refuses, &report.unread, lost_below) {
        (Some(reason), ..) => line(format!("start   refused: {}", reason.lines().next().unwrap_or_default())),
        (None, Some(reason), _) => line(format!("start   possible, but {reason}")),
        (None, None, None) if report.damage.is_empty() => {}
        (None, None, None) => line("start   possible: all records read back".to_owned()),
        (None, None, Some(below)) if checkpoint >= Some(below) => {
            line("start   possible: the checkpoint holds what the damaged records said".to_owned());
        }
        (None, None, Some(_)) => {
            line("start   possible, but without what the damaged records said: no checkpoint holds it".to_owned());
        }
    }
    if !report.damage.is_empty() {
        line(
            "  hint: `lifeline log repair --from-stream --data DIR --nats ...` brings back what the stream still holds"
                .to_owned(),
        );
    }
    out
}

fn segments(info: &Info) -> Table {
    let mut table = Table::new(&[
        Column::name("FILE"),
        Column::number("FIRST"),
        Column::number("LAST").rank(3),
        Column::number("RECORDS").rank(2),
        Column::number("BYTES").rank(1),
        Column::word("FROM").rank(4),
        Column::word("TO").rank(5),
        Column::word("STATE"),
    ]);
    for segment in &info.segments {
        let time = |nanos: Option<u64>| nanos.map_or("-".to_owned(), time);
        let last = if segment.end > segment.start { (segment.end - 1).to_string() } else { "-".to_owned() };
        let damaged = info.damage.iter().any(|place| place.file == segment.file);
        let state = match (damaged, segment.sealed) {
            (true, _) => Cell::toned("damaged", Tone::Bad),
            (false, true) => "sealed".into(),
            (false, false) => "written to".into(),
        };
        table.push(vec![
            segment.file.as_str().into(),
            segment.start.into(),
            last.into(),
            (segment.end - segment.start).into(),
            segment.bytes.into(),
            time(segment.first_unix_nanos).into(),
            time(segment.last_unix_nanos).into(),
            state,
        ]);
    }
    table
}

fn summary(info: &Info) -> String {
    let stopped = match (info.clean_stop, info.damage.is_empty()) {
        (true, _) => "stopped in good order",
        (false, true) => "was killed",
        // Where the log is damaged, how it ended is not always to be read.
        (false, false) => "did not stop in good order",
    };
    let torn = match info.torn_bytes {
        0 => String::new(),
        bytes => format!("; {bytes} bytes of an unfinished group at its end, which the next start cuts off"),
    };
    let damaged = match info.damage.len() {
        0 => String::new(),
        _ => "; damaged, see `lifeline verify`".to_owned(),
    };
    format!(
        "offsets from {} on, below {}; {} bytes; the engine {stopped}{torn}{damaged}",
        info.start, info.end, info.bytes
    )
}

fn time(nanos: u64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

fn repaired(report: &repair::Report) -> Table {
    let mut table =
        Table::new(&[Column::number("OFFSET"), Column::word("OUTCOME"), Column::sentence("WHAT STANDS THERE NOW")]);
    for record in &report.records {
        let outcome = match record.outcome {
            Outcome::Proven => "proven",
            Outcome::Replaced => "replaced",
            Outcome::Gap => "gap",
            Outcome::Lost => "lost",
        };
        table.push(vec![record.offset.into(), outcome.into(), record.what.as_str().into()]);
    }
    table
}

fn closing(report: &repair::Report) -> String {
    if report.damage.is_empty() {
        return "nothing to repair: every record reads back\n".to_owned();
    }
    let count = |outcome: Outcome| report.records.iter().filter(|record| record.outcome == outcome).count();
    let mut out = format!(
        "{} damaged records: {} proven, {} replaced, {} gaps, {} lost for good\n",
        report.records.len(),
        count(Outcome::Proven),
        count(Outcome::Replaced),
        count(Outcome::Gap),
        count(Outcome::Lost)
    );
    for remark in &report.remarks {
        out.push_str(&format!("note: {remark}\n"));
    }
    for file in &report.kept_files {
        out.push_str(&format!("kept: {file}\n"));
    }
    for place in &report.remaining {
        out.push_str(&format!("still damaged: records {} in {} ({})\n", place.records(), place.file, place.why));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_said_to_be_possible_as_far_as_it_is() {
        let lost = |first, end| {
            let (file, why) = ("0.segment".to_owned(), "segment ends too early".to_owned());
            DamagedPlace { file, first, end, from_byte: 0, to_byte: 9, why }
        };
        let check = |damage: Vec<DamagedPlace>, checkpoint: Option<u64>, unread: Option<&str>, expected: &str| {
            let report = verify::Report {
                sound: false,
                start: 4,
                end: 9,
                clean_stop: true,
                torn_bytes: 0,
                damage,
                lost: vec![],
                state: State::NotFolded { checkpoint, reason: "r".to_owned() },
                refuses: None,
                unread: unread.map(str::to_owned),
            };
            let verdict = verdict(&report);
            let start: Vec<&str> = verdict.lines().filter(|line| line.starts_with("start")).collect();
            assert_eq!(start.join("\n"), expected, "{verdict}");
            verdict
        };
        check(vec![], Some(9), None, "");
        check(vec![lost(5, 5)], None, None, "start   possible: all records read back");
        let held = "start   possible: the checkpoint holds what the damaged records said";
        check(vec![lost(5, 7)], Some(7), None, held);
        let lacks = "start   possible, but without what the damaged records said: no checkpoint holds it";
        check(vec![lost(5, 7)], Some(6), None, lacks);
        let verdict = check(vec![lost(0, 4)], None, None, lacks);
        assert!(verdict.starts_with("log     damaged: 4 of 9 records unreadable"), "{verdict}");
        let not_read = "stream `S` is not read: records `5` to `8` are damaged";
        check(vec![lost(5, 9)], Some(9), Some(not_read), &format!("start   possible, but {not_read}"));
    }
}
