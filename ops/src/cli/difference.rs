//! `diff`: what became different between two moments, one line for each lifecycle.
//!
//! Start at [`diff`]. [`told`] says a difference in words, [`sign`] in a sign.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use lifeline_projections::as_of::Moment;
use lifeline_projections::difference::{Change, Difference, DifferenceRow};
use lifeline_projections::reads::LifecycleRow;

use super::ask::{AskArgs, FilterArgs};
use super::output;
use super::{moment, rows};
use crate::client::{Client, Error, PAGE_ROWS_ASKED, Query};
use crate::terminal::style::{Paint, Tone};
use crate::terminal::table::{cut_middle, printable, wrap};

/// Lines that one lifecycle takes on a terminal, at most.
const LINES_MAX: usize = 12;

/// How much of a name is shown on a terminal.
const NAME_MAX: usize = 60;

/// `lifeline diff`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// The earlier moment: an offset, a time, or how long ago, such as 10m.
    #[arg(value_name = "FROM", value_parser = moment::parse)]
    pub from: String,
    /// The later moment [default: now].
    #[arg(value_name = "TO", value_parser = moment::parse)]
    pub to: Option<String>,
    /// Lifecycles at most [default: all].
    #[arg(long, value_name = "N", value_parser = super::ask::rows_at_most, help_heading = "Asking")]
    pub limit: Option<usize>,
    /// Which lifecycles.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

const EXAMPLES: &str = "\
Examples:
  lifeline diff 10m                    what the last ten minutes changed
  lifeline diff 2h 1h --phase failing
  lifeline diff 41 57 -o json";

/// The sign of a change, and its tone.
fn sign(change: Change) -> (&'static str, Tone) {
    match change {
        Change::Created => ("+", Tone::Good),
        Change::Deleted => ("-", Tone::Bad),
        Change::Recreated | Change::Changed => ("~", Tone::Waiting),
    }
}

/// Asks for the difference and prints it.
pub fn diff(args: &DiffArgs) -> Result<ExitCode, Error> {
    let (from, to) = (args.from.parse(), args.to.as_deref().map(str::parse));
    let is_turned = match (from, to) {
        (Ok(Moment::Time(from)), Some(Ok(Moment::Time(to)))) => from > to,
        (Ok(Moment::Offset(from)), Some(Ok(Moment::Offset(to)))) => from > to,
        _ => false,
    };
    if is_turned {
        let why = format!("FROM, {}, is later than TO, {}", args.from, args.to.as_deref().unwrap_or_default());
        return Err(Error::Usage(format!(
            "{why}\nhint: type the earlier moment first, such as `lifeline diff 10m 5m`"
        )));
    }
    let client = args.ask.client()?;
    let mut query = Query::default();
    query.add("from", &args.from);
    query.maybe("to", args.to.as_ref());
    args.filter.add_to(&mut query);
    let difference = all(&client, &query, args.limit)?;
    if !output::structured(&difference, args.ask.engine.output)? {
        let width = output::width(args.ask.engine.output);
        output::data(&told(&difference, width, Paint::stdout()))?;
        output::remark(&format!("from offset {} to offset {}", difference.from, difference.offset));
    }
    Ok(ExitCode::SUCCESS)
}

/// All pages, or as many as hold `limit` rows. The cursor holds both moments, so they agree.
fn all(client: &Client, query: &Query, limit: Option<usize>) -> Result<Difference, Error> {
    let mut all: Option<Difference> = None;
    loop {
        let rows = all.as_ref().map_or(0, |all| all.items.len());
        let mut query = query.clone();
        query.add("limit", limit.map_or(PAGE_ROWS_ASKED, |limit| limit.saturating_sub(rows).min(PAGE_ROWS_ASKED)));
        query.maybe("after", all.as_ref().and_then(|all| all.next.as_ref()));
        let page: Difference = client.get("/v1/difference", &query)?;
        let all = match &mut all {
            Some(all) => {
                all.items.extend(page.items);
                all.next = page.next;
                all
            }
            None => all.insert(page),
        };
        if all.next.is_none() || limit.is_some_and(|limit| all.items.len() >= limit) {
            break;
        }
    }
    Ok(all.expect("the loop asks at least once"))
}

/// The differences as people read them, and their total.
fn told(difference: &Difference, width: Option<usize>, paint: Paint) -> String {
    if difference.items.is_empty() {
        return "No difference.\n".to_owned();
    }
    let mut out = String::new();
    for row in &difference.items {
        line(&mut out, row, width, paint);
    }
    let count = |change: Change| difference.items.iter().filter(|row| row.change == change).count();
    let total = [
        (count(Change::Created), "created"),
        (count(Change::Changed), "changed"),
        (count(Change::Recreated), "made again"),
        (count(Change::Deleted), "deleted"),
    ];
    let total: Vec<String> = total.iter().map(|(count, what)| format!("{count} {what}")).collect();
    let more = if difference.next.is_some() { " There are more: raise --limit." } else { "" };
    let _ = writeln!(out, "Difference: {}.{more}", total.join(", "));
    out
}

fn line(out: &mut String, row: &DifferenceRow, width: Option<usize>, paint: Paint) {
    // On a terminal a name that is very long is cut; elsewhere nothing is.
    let name = |name: &str| match width {
        Some(_) => cut_middle(&printable(name), NAME_MAX),
        None => name.to_owned(),
    };
    let (source, subject) = (name(&row.source), name(rows::subject_words(&row.subject)));
    // A lifecycle without a source is the list of its trigger.
    let who = match row.source.is_empty() {
        true => format!("{}  {} on {}", rows::LIST, row.trigger, row.cluster),
        false => format!("{source} {subject}  {} on {}", row.trigger, row.cluster),
    };
    let mut what: Vec<String> = changes(row.before.as_ref(), row.after.as_ref());
    if row.change == Change::Recreated {
        what.insert(0, "made again".to_owned());
    }
    if what.is_empty() {
        what.push("recorded again, all fields as before".to_owned());
    }
    let text = printable(&format!("{who}  {}", what.join(", ")));
    let lines = match width {
        Some(width) => wrap(&text, width.saturating_sub(6).max(20), LINES_MAX),
        None => vec![text],
    };
    let (mark, tone) = sign(row.change);
    for (number, text) in lines.iter().enumerate() {
        match number {
            0 => {
                let _ = writeln!(out, "{} {text}", paint.tone(tone, mark));
            }
            _ => {
                let _ = writeln!(out, "      {text}");
            }
        }
    }
}

/// The fields that differ, each as `field: before -> after`.
fn changes(before: Option<&LifecycleRow>, after: Option<&LifecycleRow>) -> Vec<String> {
    let mut out = Vec::new();
    let mut field = |name: &str, of: &dyn Fn(&LifecycleRow) -> String| {
        let (before, after) = (before.map(of), after.map(of));
        if before == after {
            return;
        }
        let (before, after) = (before.filter(|text| !text.is_empty()), after.filter(|text| !text.is_empty()));
        let none = || "(none)".to_owned();
        match (before, after) {
            (None, None) => {}
            (None, Some(after)) => out.push(format!("{name}: {after}")),
            (before, after) => {
                out.push(format!("{name}: {} -> {}", before.unwrap_or_else(none), after.unwrap_or_else(none)));
            }
        }
    };
    field("desired", &|row| row.desired.clone());
    field("phase", &|row| row.phase.clone());
    field("incarnation", &|row| row.incarnation.to_string());
    field("error", &|row| row.error.as_deref().and_then(|error| error.lines().next()).unwrap_or_default().to_owned());
    field("attempt", &|row| row.attempt.map(|attempt| attempt.to_string()).unwrap_or_default());
    field("latest event", &|row| row.last_event_offset.to_string());
    let uids = |row: Option<&LifecycleRow>| -> BTreeMap<String, Option<String>> {
        let objects = row.into_iter().flat_map(|row| &row.objects);
        objects.map(|object| (rows::object(object), object.uid.clone())).collect()
    };
    let (before, after) = (uids(before), uids(after));
    out.extend(after.keys().filter(|object| !before.contains_key(*object)).map(|object| format!("+ {object}")));
    out.extend(before.keys().filter(|object| !after.contains_key(*object)).map(|object| format!("- {object}")));
    for (object, after) in &after {
        let word = |uid: &Option<String>| uid.clone().unwrap_or_else(|| "(none)".to_owned());
        if let Some(before) = before.get(object).filter(|before| *before != after) {
            out.push(format!("uid of {object}: {} -> {}", word(before), word(after)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeline_projections::reads::ObjectRow;

    fn row(phase: &str, objects: &[&str], error: Option<&str>) -> LifecycleRow {
        let object = |name: &&str| ObjectRow {
            group: String::new(),
            version: "v1".into(),
            kind: "Namespace".into(),
            namespace: None,
            name: (*name).into(),
            uid: None,
        };
        LifecycleRow {
            source: "s".into(),
            subject: "zoe".into(),
            trigger: "manage-namespace".into(),
            cluster: "mgmt/mgmt".into(),
            desired: if phase == "Gone" { "absent".into() } else { "present".into() },
            phase: phase.into(),
            incarnation: 1,
            objects: objects.iter().map(object).collect(),
            error: error.map(str::to_owned),
            attempt: None,
            last_event: "login".into(),
            last_event_offset: 4,
            offset: 4,
            time: "2026-11-22T14:00:04.000Z".into(),
        }
    }

    fn difference(change: Change, before: Option<LifecycleRow>, after: Option<LifecycleRow>) -> DifferenceRow {
        let text = |text: &str| text.to_owned();
        DifferenceRow {
            source: text("auth.example.com"),
            subject: text("zoe"),
            trigger: text("manage-namespace"),
            cluster: text("mgmt/mgmt"),
            change,
            before,
            after,
        }
    }

    #[test]
    fn a_difference_is_told_like_a_plan() {
        let ready = || row("Ready", &["zoe"], None);
        let again = LifecycleRow { incarnation: 2, ..ready() };
        let failing = row("Failing", &[], Some("terminating\nhint: wait"));
        let tried = |attempt| LifecycleRow { attempt: Some(attempt), ..row("Failing", &[], Some("no")) };
        let of_uid = |uid: &str| {
            let mut row = ready();
            row.objects[0].uid = Some(uid.to_owned());
            row
        };
        let items = vec![
            difference(Change::Created, None, Some(ready())),
            difference(Change::Changed, Some(tried(1)), Some(tried(4))),
            difference(Change::Changed, Some(of_uid("a")), Some(of_uid("b"))),
            difference(Change::Changed, Some(row("Pending", &[], None)), Some(failing)),
            difference(Change::Changed, Some(row("Ready", &["zoe", "old"], None)), Some(ready())),
            difference(Change::Deleted, Some(ready()), Some(row("Gone", &[], None))),
            difference(Change::Recreated, Some(ready()), Some(again)),
        ];
        let mut whole = Difference { offset: 57, from: 41, items, next: None };
        let expected = "\
+ auth.example.com zoe  manage-namespace on mgmt/mgmt  desired: present, phase: Ready, incarnation: 1, latest event: 4, + Namespace/zoe
~ auth.example.com zoe  manage-namespace on mgmt/mgmt  attempt: 1 -> 4
~ auth.example.com zoe  manage-namespace on mgmt/mgmt  uid of Namespace/zoe: a -> b
~ auth.example.com zoe  manage-namespace on mgmt/mgmt  phase: Pending -> Failing, error: terminating
~ auth.example.com zoe  manage-namespace on mgmt/mgmt  - Namespace/old
- auth.example.com zoe  manage-namespace on mgmt/mgmt  desired: present -> absent, phase: Ready -> Gone, - Namespace/zoe
~ auth.example.com zoe  manage-namespace on mgmt/mgmt  made again, incarnation: 1 -> 2
Difference: 1 created, 4 changed, 1 made again, 1 deleted.
";
        assert_eq!(told(&whole, None, Paint::Off), expected);
        whole.next = Some("cursor".to_owned());
        let narrow = told(&whole, Some(60), Paint::On);
        let first = "\u{1b}[32m+\u{1b}[0m auth.example.com zoe  manage-namespace on mgmt/mgmt\n      desired:";
        assert!(narrow.starts_with(first), "{narrow}");
        assert!(narrow.ends_with("deleted. There are more: raise --limit.\n"), "{narrow}");
        whole.items.clear();
        assert_eq!(told(&whole, None, Paint::Off), "No difference.\n");
    }
}
