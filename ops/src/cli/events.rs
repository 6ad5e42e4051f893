//! `get events`: the records of the log, the latest ones or those after a place, and those to come.
//!
//! Start at [`events`]. The engine looks at a part of its log for each page, so a choice that leaves little takes many of them.

use std::process::ExitCode;

use clap::Args;
use lifeline_projections::history::Entry;
use lifeline_projections::reads::List;

use super::ask::{AskArgs, rows_at_most};
use super::output::{self, Format};
use super::{moment, rows, watch};
use crate::client::{Client, Error, PAGE_ROWS_ASKED, Query};

pub const EXAMPLES: &str = "\
Examples:
  lifeline get events --watch --limit 10        the latest ten, and what comes
  lifeline get events --after 41 -o wide        what followed the record at 41
  lifeline get events --rejected --since 1h     what was no CloudEvent
  lifeline get events --subject mgianluc --type auth.example.com.login";

/// `lifeline get events`.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Keep running: print each record as it is written, until Ctrl-C.
    #[arg(long, short, conflicts_with_all = ["data", "before"])]
    pub watch: bool,
    /// Begin after this offset [default: show the latest].
    #[arg(long, value_name = "OFFSET", value_parser = moment::offset)]
    pub after: Option<u64>,
    /// The latest before this offset.
    #[arg(long, value_name = "OFFSET", value_parser = moment::offset, conflicts_with = "after")]
    pub before: Option<u64>,
    /// Records at most; with --watch: to begin with.
    #[arg(long, value_name = "N", value_parser = rows_at_most, default_value = "50")]
    pub limit: usize,
    /// Which records.
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Which records are wanted.
#[derive(Debug, Clone, Args)]
pub struct ChoiceArgs {
    /// Only records about a CloudEvent source that begins with this.
    #[arg(long)]
    pub source: Option<String>,
    /// Only records about this CloudEvent subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Only events of this CloudEvent type.
    #[arg(long)]
    pub r#type: Option<String>,
    /// Only messages that were rejected; `--rejected=false` leaves them out.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub rejected: Option<bool>,
    /// Only records from this offset or time on, or of the last while, such as 10m.
    #[arg(long, value_name = "OFFSET|TIME", value_parser = moment::parse)]
    pub since: Option<String>,
}

impl ChoiceArgs {
    /// What a watch is asked for too: what comes is later than any beginning.
    fn lasting(&self) -> Query {
        let mut query = Query::default();
        query.maybe("source", self.source.as_ref());
        query.maybe("subject", self.subject.as_ref());
        query.maybe("type", self.r#type.as_ref());
        query.maybe("rejected", self.rejected.as_ref());
        query
    }

    fn query(&self) -> Query {
        let mut query = self.lasting();
        query.maybe("since", self.since.as_ref());
        query
    }

    /// What was asked for, in words that follow `records`; nothing where all are.
    fn words(&self) -> String {
        let ChoiceArgs { source, subject, r#type, rejected, since } = self;
        let source = source.as_ref().map(|source| format!("a source that begins with `{source}`"));
        let subject = subject.as_ref().map(|subject| format!("subject `{subject}`"));
        let kind = r#type.as_ref().map(|kind| format!("type `{kind}`"));
        let rejected = rejected.map(|rejected| if rejected { "rejected" } else { "not rejected" }.to_owned());
        let since = since.as_ref().map(|since| format!("since `{since}`"));
        let words: Vec<String> = [source, subject, kind, rejected, since].into_iter().flatten().collect();
        if words.is_empty() { String::new() } else { format!(" match {}", words.join(", ")) }
    }
}

/// Asks for records and prints them.
pub fn events(args: &EventsArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let list = pages(&client, args)?;
    let place = match (args.after, args.before) {
        (Some(after), _) => format!(" after offset {after}"),
        (None, Some(before)) => format!(" before offset {before}"),
        (None, None) => String::new(),
    };
    let none = format!("no records{place}{}: the log ends at {}", args.choice.words(), list.offset);
    if args.watch {
        let next = match &list.next {
            Some(after) if args.after.is_some() => after.parse().map_or(list.offset, |after: u64| after + 1),
            _ => list.items.last().map_or(0, |entry| entry.offset + 1).max(list.offset),
        };
        let query = args.choice.lasting();
        return watch::records(&client, query, list.items, next, &none, args.ask.engine.output, rows::records);
    }
    if !output::structured(&list, args.ask.engine.output)? {
        if list.items.is_empty() {
            output::remark(&none);
        } else {
            output::table(&rows::records(&list.items, args.ask.engine.output == Format::Wide), args.ask.engine.output)?;
        }
        match &list.next {
            Some(next) if args.after.is_some() => {
                output::remark(&format!("the log goes on to offset {}: --after {next}", list.offset));
            }
            Some(before) => output::remark(&format!("more came before: --before {before}")),
            None => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The first records after a place, or the last before one.
fn pages(client: &Client, args: &EventsArgs) -> Result<List<Entry>, Error> {
    let goes_on = args.after.is_some();
    let mut cursor = args.after.or(args.before);
    let mut list: Option<List<Entry>> = None;
    loop {
        let rows = list.as_ref().map_or(0, |list| list.items.len());
        let mut query = args.choice.query();
        match cursor {
            Some(cursor) => query.add(if goes_on { "after" } else { "before" }, cursor),
            None => query.add("latest", true),
        }
        query.add("limit", (args.limit - rows).min(PAGE_ROWS_ASKED));
        let mut page: List<Entry> = client.get("/v1/events", &query)?;
        list = Some(match list {
            None => page,
            Some(mut list) if goes_on => {
                list.items.append(&mut page.items);
                List { items: list.items, ..page }
            }
            // A watch goes on from the end that the first page was about.
            Some(mut list) => {
                page.items.append(&mut list.items);
                List { offset: list.offset, ..page }
            }
        });
        let found = list.as_ref().expect("a page was just put in");
        cursor = found.next.as_deref().and_then(|next| next.parse().ok());
        if cursor.is_none() || found.items.len() >= args.limit {
            return Ok(list.expect("a page was just put in"));
        }
    }
}
