//! `redrive`: rejected messages are taken up again, once what they were rejected for is mended.
//!
//! Start at [`redrive`]. It finds the records where they are not named, and asks the engine for some at a time.

use std::process::ExitCode;

use clap::Args;
use lifeline_projections::history::Entry;
use lifeline_projections::reads::List;

use super::ask::EngineArgs;
use super::{moment, output};
use crate::api::redrive::{OFFSETS_MAX, RedriveOrder, RedriveOutcome, RedriveRow, Redriven};
use crate::client::{Client, Error, PAGE_ROWS_ASKED, Query};
use crate::terminal::count;
use crate::terminal::style::Tone;
use crate::terminal::table::{Cell, Column, Table};

const EXAMPLES: &str = "\
Examples:
  lifeline redrive --rejected --dry-run         what would come of all of them
  lifeline redrive --rejected --from 2h --reason 'the producer is mended'
  lifeline redrive 41 57 --reason 'the trigger expects these'";

/// `lifeline redrive`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RedriveArgs {
    /// The offsets of rejected messages, as `lifeline get events --rejected` shows them.
    #[arg(value_name = "OFFSET", value_parser = moment::offset, required_unless_present = "rejected", conflicts_with = "rejected")]
    pub offsets: Vec<u64>,
    /// All rejected messages.
    #[arg(long)]
    pub rejected: bool,
    /// With --rejected: only from this offset or time on, or of the last while, such as 2h.
    #[arg(long, value_name = "OFFSET|TIME", value_parser = moment::parse, requires = "rejected", conflicts_with = "offsets")]
    pub from: Option<String>,
    /// Why; it is recorded with each event.
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// Only say what would come of it.
    #[arg(long)]
    pub dry_run: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Asks for it, and prints what came of it.
pub fn redrive(args: &RedriveArgs) -> Result<ExitCode, Error> {
    let client = args.engine.client()?;
    let offsets = if args.rejected { rejected(&client, args.from.as_ref())? } else { args.offsets.clone() };
    let reason = args.reason.clone().unwrap_or_else(|| "dry run".to_owned());
    let mut all: Option<Redriven> = None;
    for offsets in offsets.chunks(OFFSETS_MAX) {
        let order = RedriveOrder { offsets: offsets.to_vec(), reason: reason.clone(), dry_run: args.dry_run };
        let done: Redriven = client.post("/v1/redrive", &order)?;
        match &mut all {
            Some(all) => all.items.extend(done.items),
            None => all = Some(done),
        }
    }
    let Some(all) = all else {
        output::remark("no message was rejected");
        return Ok(ExitCode::SUCCESS);
    };
    let is_fine = |row: &RedriveRow| match row.outcome {
        RedriveOutcome::Event | RedriveOutcome::Done => true,
        // Of all of them some may well be no events.
        RedriveOutcome::Rejected => args.rejected,
        _ => false,
    };
    let code = if all.items.iter().all(is_fine) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if !output::structured(&all, args.engine.output)? {
        output::table(&table(&all.items), args.engine.output)?;
        let events = all.items.iter().filter(|row| row.outcome == RedriveOutcome::Event).count();
        let (all_recorded, events) = (events, count(events as u64, "event"));
        output::remark(&match args.dry_run {
            true => format!("{events} would be recorded; nothing was, because of --dry-run"),
            false if all_recorded == 0 => "no event was recorded".to_owned(),
            false => format!("{events} recorded for `{}`: `lifeline get event OFFSET` shows what came of one", all.by),
        });
    }
    Ok(code)
}

/// The records of all rejected messages, from a place on.
fn rejected(client: &Client, from: Option<&String>) -> Result<Vec<u64>, Error> {
    let mut offsets = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = Query::default();
        query.add("rejected", true);
        query.add("limit", PAGE_ROWS_ASKED);
        query.maybe("since", from);
        query.maybe("after", after.as_ref());
        let page: List<Entry> = client.get("/v1/events", &query)?;
        // What cannot be read is listed too, for it may be one.
        let known = page.items.iter().filter(|entry| entry.fact == "EventRejected");
        offsets.extend(known.map(|entry| entry.offset));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(offsets),
        }
    }
}

fn table(items: &[RedriveRow]) -> Table {
    let mut table =
        Table::new(&[Column::number("OFFSET"), Column::number("EVENT").rank(1), Column::sentence("WHAT CAME OF IT")]);
    for RedriveRow { offset, outcome, at, summary } in items {
        let tone = match outcome {
            RedriveOutcome::Event => Tone::Good,
            RedriveOutcome::Done => Tone::Plain,
            _ => Tone::Bad,
        };
        let event = at.filter(|_| matches!(outcome, RedriveOutcome::Event | RedriveOutcome::Done));
        let event = event.map_or_else(|| "-".to_owned(), |at| at.to_string());
        table.push(vec![(*offset).into(), event.into(), Cell::toned(summary, tone)]);
    }
    table
}
