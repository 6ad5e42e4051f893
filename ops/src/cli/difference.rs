//! `diff`: what became different between two moments, one line for each lifecycle.
//!
//! Start at [`diff`]. [`told`] says a difference in words; what the signs mean is said in [`Sign`].

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use lifeline_projections::lifecycle::Phase;
use lifeline_projections::reads::LifecycleRow;
use serde::{Deserialize, Serialize};

use super::ask::{AskArgs, FilterArgs};
use super::client::{Error, Listed, Query};
use super::output;
use super::style::{Paint, Tone};
use super::table::{printable, wrap};
use super::{moment, rows};

/// Lines that one lifecycle takes on a terminal, at most.
const LINES_MAX: usize = 12;

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
    /// Whom.
    #[command(flatten)]
    pub ask: AskArgs,
}

const EXAMPLES: &str = "\
Examples:
  lifeline diff 10m                    what the last ten minutes changed
  lifeline diff 2h 1h --phase failing
  lifeline diff 41 57 -o json";

/// A lifecycle that differs. A lifecycle that is not known at a moment is `null` there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DifferenceRow {
    /// CloudEvent `source`.
    pub source: String,
    /// CloudEvent `subject`.
    pub subject: String,
    /// EventTrigger.
    pub trigger: String,
    /// Cluster, `namespace/name`.
    pub cluster: String,
    /// As it was at the earlier moment.
    pub before: Option<LifecycleRow>,
    /// As it was at the later moment.
    pub after: Option<LifecycleRow>,
}

/// What a difference comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// It was not there, and is.
    Added,
    /// It was there, and is not.
    Removed,
    /// It is another.
    Changed,
}

impl Sign {
    fn of(row: &DifferenceRow) -> Sign {
        let there = |row: &Option<LifecycleRow>| row.as_ref().is_some_and(|row| row.phase != Phase::Gone.as_str());
        match (there(&row.before), there(&row.after)) {
            (false, true) => Sign::Added,
            (true, false) => Sign::Removed,
            (true, true) | (false, false) => Sign::Changed,
        }
    }

    fn shown(self) -> (&'static str, Tone) {
        match self {
            Sign::Added => ("+", Tone::Good),
            Sign::Removed => ("-", Tone::Bad),
            Sign::Changed => ("~", Tone::Waiting),
        }
    }
}

/// Asks for the difference and prints it.
pub fn diff(args: &DiffArgs) -> Result<ExitCode, Error> {
    let client = args.ask.client()?;
    let mut query = Query::default();
    query.add("from", &args.from);
    query.maybe("to", args.to.as_ref());
    args.filter.add_to(&mut query);
    let listed: Listed<DifferenceRow> = client.list("/v1/difference", &query, args.limit)?;
    if !output::structured(&listed.list, args.ask.output)? {
        let width = output::width(args.ask.output);
        output::data(&told(&listed.list.items, listed.list.next.is_some(), width, Paint::stdout()))?;
        let to = args.to.clone().unwrap_or_else(|| format!("now, offset {}", listed.list.offset));
        output::remark(&format!("from {} to {to}", args.from));
    }
    Ok(ExitCode::SUCCESS)
}

/// The differences as people read them, and their total.
fn told(rows: &[DifferenceRow], more: bool, width: Option<usize>, paint: Paint) -> String {
    let mut out = String::new();
    let (mut added, mut changed, mut removed) = (0u64, 0u64, 0u64);
    for row in rows {
        let sign = Sign::of(row);
        match sign {
            Sign::Added => added += 1,
            Sign::Changed => changed += 1,
            Sign::Removed => removed += 1,
        }
        line(&mut out, row, sign, width, paint);
    }
    if rows.is_empty() {
        out.push_str("No difference.\n");
        return out;
    }
    let _ = write!(out, "Difference: {added} appeared, {changed} changed, {removed} gone.");
    out.push_str(if more { " There are more: raise --limit.\n" } else { "\n" });
    out
}

fn line(out: &mut String, row: &DifferenceRow, sign: Sign, width: Option<usize>, paint: Paint) {
    let who = format!("{} {}  {} on {}", row.source, rows::subject_words(&row.subject), row.trigger, row.cluster);
    let what = changes(row.before.as_ref(), row.after.as_ref()).join(", ");
    let text = printable(&format!("{who}  {what}"));
    let lines = match width {
        Some(width) => wrap(&text, width.saturating_sub(6).max(20), LINES_MAX),
        None => vec![text],
    };
    let (mark, tone) = sign.shown();
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
    field("by the event at", &|row| row.last_event_offset.to_string());
    let names = |row: Option<&LifecycleRow>| -> BTreeSet<String> {
        row.map(|row| row.objects.iter().map(rows::object).collect()).unwrap_or_default()
    };
    let (before, after) = (names(before), names(after));
    out.extend(after.difference(&before).map(|object| format!("+ {object}")));
    out.extend(before.difference(&after).map(|object| format!("- {object}")));
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

    fn difference(before: Option<LifecycleRow>, after: Option<LifecycleRow>) -> DifferenceRow {
        let text = |text: &str| text.to_owned();
        DifferenceRow {
            source: text("auth.example.com"),
            subject: text("zoe"),
            trigger: text("manage-namespace"),
            cluster: text("mgmt/mgmt"),
            before,
            after,
        }
    }

    #[test]
    fn a_difference_is_told_like_a_plan() {
        let rows = [
            difference(None, Some(row("Ready", &["zoe"], None))),
            difference(Some(row("Pending", &[], None)), Some(row("Failing", &[], Some("terminating\nhint: wait")))),
            difference(Some(row("Ready", &["zoe", "old"], None)), Some(row("Ready", &["zoe"], None))),
            difference(Some(row("Ready", &["zoe"], None)), Some(row("Gone", &[], None))),
            difference(None, Some(row("Gone", &[], None))),
        ];
        let expected = "\
+ auth.example.com zoe  manage-namespace on mgmt/mgmt  desired: present, phase: Ready, incarnation: 1, by the event at: 4, + Namespace/zoe
~ auth.example.com zoe  manage-namespace on mgmt/mgmt  phase: Pending -> Failing, error: terminating
~ auth.example.com zoe  manage-namespace on mgmt/mgmt  - Namespace/old
- auth.example.com zoe  manage-namespace on mgmt/mgmt  desired: present -> absent, phase: Ready -> Gone, - Namespace/zoe
~ auth.example.com zoe  manage-namespace on mgmt/mgmt  desired: absent, phase: Gone, incarnation: 1, by the event at: 4
Difference: 1 appeared, 3 changed, 1 gone.
";
        assert_eq!(told(&rows, false, None, Paint::Off), expected);
        let narrow = told(&rows, true, Some(60), Paint::On);
        assert!(
            narrow.starts_with(
                "\u{1b}[32m+\u{1b}[0m auth.example.com zoe  manage-namespace on mgmt/mgmt\n      desired:"
            ),
            "{narrow}"
        );
        assert!(narrow.ends_with("gone. There are more: raise --limit.\n"), "{narrow}");
        assert_eq!(told(&[], false, None, Paint::Off), "No difference.\n");
    }
}
