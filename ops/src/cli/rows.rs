//! How rows look: pure functions from what was answered to tables and lines.
//!
//! The time is handed in, for ages; nothing is asked here.

use std::collections::BTreeSet;
use std::fmt::Write;

use jiff::Timestamp;
use lifeline_engine::dry_runs::DryRunRow;
use lifeline_engine::orphans::OrphanRow;
use lifeline_engine::replay::brake;
use lifeline_engine::status::{HeldWithdrawal, ReplayStatus, Status, WaitingStatus};
use lifeline_engine::waits::Why;
use lifeline_projections::history::{DriftRow, Entry, EventEntry};
use lifeline_projections::lifecycle::Phase;
use lifeline_projections::reads::{ConflictRow, LifecycleRow, ObjectRow, OwnedObjectRow, ResourceRow, RuleRow};

use crate::terminal::count;
use crate::terminal::style::{Paint, Tone};
use crate::terminal::table::{Cell, Column, Table, cut_middle, printable};

/// In place of a source: the lifecycle of all live keys of a trigger.
const LIST: &str = "(list)";

/// What is shown for an empty subject.
const NONE: &str = "(none)";

/// How much of a subject a remark repeats: it is in the row above.
const SUBJECT_MAX: usize = 40;

pub fn resources(rows: &[ResourceRow], now: Timestamp, wide: bool) -> Table {
    let mut table = Table::new(&[
        Column::name("SOURCE").rank(2),
        Column::name("SUBJECT"),
        Column::number("EVENTS").rank(4),
        Column::number("LIFECYCLES").rank(5),
        Column::number("OBJECTS").rank(3),
        Column::text("LAST EVENT").rank(1),
        Column::word("AGE"),
    ]);
    for row in rows {
        table.push(vec![
            source(&row.source),
            subject(&row.subject),
            row.events.into(),
            row.lifecycles.into(),
            row.objects.into(),
            event(&row.last_event, row.offset, wide).into(),
            age(&row.time, now).into(),
        ]);
    }
    table
}

/// Says of lifecycles that wait by intent why they do, in place of their phase.
pub fn by_intent(rows: &mut [LifecycleRow], waiting: &[WaitingStatus]) {
    for row in rows.iter_mut().filter(|row| is_waiting(row)) {
        if let Some(known) = waiting.iter().find(|known| known.trigger == row.trigger) {
            row.phase.clone_from(&known.why);
        }
    }
}

/// Whether a lifecycle waits, by intent or not.
pub fn is_waiting(row: &LifecycleRow) -> bool {
    [Phase::Pending, Phase::Deleting].iter().any(|phase| row.phase == phase.as_str())
}

/// Lifecycles, failing ones first with their reason below, the others as they came.
pub fn lifecycles(rows: &[LifecycleRow], now: Timestamp, wide: bool) -> Table {
    let mut columns = vec![
        Column::name("SOURCE").rank(2),
        Column::name("SUBJECT"),
        Column::name("TRIGGER").rank(3),
        Column::word("CLUSTER").rank(6).likely(9),
        Column::word("DESIRED").rank(5),
        Column::word("PHASE").likely(8),
        Column::number("OBJECTS").rank(4),
        Column::number("INC").rank(7),
        Column::text("LAST EVENT").rank(1),
        Column::word("AGE"),
    ];
    columns.extend(wide.then_some(Column::text("NAMES")));
    let mut table = Table::new(&columns);
    let mut rows: Vec<&LifecycleRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.phase != Phase::Failing.as_str());
    for row in rows {
        let mut cells = vec![
            source(&row.source),
            subject(&row.subject),
            row.trigger.as_str().into(),
            row.cluster.as_str().into(),
            row.desired.as_str().into(),
            Cell::toned(&row.phase, Tone::of_phase(&row.phase)),
            row.objects.len().into(),
            u64::from(row.incarnation).into(),
            event(&row.last_event, row.last_event_offset, wide).into(),
            age(&row.time, now).into(),
        ];
        cells.extend(wide.then(|| row.objects.iter().map(object).collect::<Vec<_>>().join(", ").into()));
        let reason = row.error.as_ref().map(|error| {
            let attempt = row.attempt.map(|attempt| format!(" (attempt {attempt})")).unwrap_or_default();
            let (reason, hint) = error.split_once('\n').unwrap_or((error, ""));
            let subject = subject_words(&row.subject);
            let subject = if wide { subject.to_owned() } else { cut_middle(&printable(subject), SUBJECT_MAX) };
            format!("{subject}: {reason}{attempt}\n{hint}").trim_end().to_owned()
        });
        table.push(cells).remark = reason;
    }
    table
}

pub fn objects(rows: &[OwnedObjectRow], now: Timestamp, wide: bool) -> Table {
    let mut columns = vec![
        Column::word("CLUSTER").rank(4),
        Column::name("OBJECT").comfort(24),
        Column::name("TRIGGER").rank(2),
        Column::name("SOURCE").rank(3),
        Column::name("SUBJECT").rank(1),
        Column::number("OFFSET").rank(5),
        Column::word("AGE"),
    ];
    columns.extend(wide.then_some(Column::word("UID")));
    let mut table = Table::new(&columns);
    for row in rows {
        let (age, tone) = match row.time.as_deref() {
            Some(time) => (age(time, now), Tone::Plain),
            None => ("intended".to_owned(), Tone::Waiting),
        };
        let mut cells = vec![
            row.cluster.as_str().into(),
            object(&row.object).into(),
            row.trigger.as_str().into(),
            source(&row.source),
            subject(&row.subject),
            row.offset.into(),
            Cell::toned(&age, tone),
        ];
        cells.extend(wide.then(|| row.object.uid.as_deref().unwrap_or("-").into()));
        table.push(cells);
    }
    table
}

pub fn rules(rows: &[RuleRow]) -> Table {
    let mut table =
        Table::new(&[Column::name("RULE"), Column::number("SINCE OFFSET").rank(1), Column::word("DIGEST").rank(2)]);
    for row in rows {
        table.push(vec![row.rule.as_str().into(), row.offset.into(), row.digest.as_str().into()]);
    }
    table
}

/// Contested objects; the claims that wait come below the one that owns.
pub fn conflicts(rows: &[ConflictRow]) -> Table {
    let mut table = Table::new(&[
        Column::word("CLUSTER").rank(2),
        Column::name("OBJECT").comfort(24),
        Column::name("OWNER"),
        Column::number("SINCE OFFSET").rank(1),
    ]);
    for row in rows {
        let name =
            |claim: &lifeline_projections::reads::ClaimRow| claimant(&claim.trigger, &claim.source, &claim.subject);
        let Some((owner, others)) = row.claims.split_first() else { continue };
        let cells =
            vec![row.cluster.as_str().into(), object(&row.object).into(), name(owner).into(), owner.offset.into()];
        let waiting = others.iter().map(|claim| format!("waits: {}, since offset {}", name(claim), claim.offset));
        let remedy =
            "hint: give it another name in one of the triggers; it changes hands when its owner lets go".to_owned();
        table.push(cells).remark = Some(waiting.chain([remedy]).collect::<Vec<_>>().join("\n"));
    }
    table
}

/// Objects that nothing claims.
pub fn orphans(rows: &[OrphanRow], wide: bool) -> Table {
    let mut columns = vec![
        Column::word("CLUSTER").rank(4),
        Column::name("OBJECT").comfort(24),
        Column::name("TRIGGER").rank(2),
        Column::name("SOURCE").rank(3),
        Column::name("SUBJECT").rank(1),
        Column::text("BECAUSE").comfort(30),
        Column::word("CONFIRM"),
    ];
    columns.extend(wide.then_some(Column::word("UID")));
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![
            row.cluster.as_str().into(),
            object(&row.object).into(),
            row.trigger.as_str().into(),
            row.source.as_str().into(),
            subject(&row.subject),
            row.because.as_str().into(),
            row.confirm.as_deref().unwrap_or("-").into(),
        ];
        cells.extend(wide.then(|| row.object.uid.as_deref().unwrap_or("-").into()));
        table.push(cells);
    }
    table
}

/// What dry runs would do; below each object its fields, and what is in the way.
pub fn dry_runs(rows: &[DryRunRow]) -> Table {
    let mut table = Table::new(&[
        Column::word("CLUSTER").rank(4),
        Column::word("ACTION"),
        Column::name("OBJECT").comfort(24),
        Column::name("TRIGGER").rank(2),
        Column::name("SOURCE").rank(3),
        Column::name("SUBJECT").rank(1),
    ]);
    for row in rows {
        let cells = vec![
            row.cluster.as_str().into(),
            row.action.as_str().into(),
            object(&row.object).into(),
            row.trigger.as_str().into(),
            row.source.as_str().into(),
            subject(&row.subject),
        ];
        let value = |value: &Option<serde_json::Value>| value.as_ref().map_or("(none)".to_owned(), ToString::to_string);
        let fields = row
            .fields
            .iter()
            .map(|change| format!("{}: {} -> {}", change.path, value(&change.before), value(&change.after)));
        let remarks: Vec<String> = row.because.clone().into_iter().chain(fields).collect();
        table.push(cells).remark = (!remarks.is_empty()).then(|| remarks.join("\n"));
    }
    table
}

/// What others did to objects.
pub fn drifts(rows: &[DriftRow]) -> Table {
    let mut table = Table::new(&[
        Column::number("OFFSET").rank(3),
        Column::word("TIME").rank(1),
        Column::word("CLUSTER").rank(5),
        Column::name("OBJECT").comfort(24),
        Column::word("DRIFT"),
        Column::name("BY"),
        Column::name("TRIGGER").rank(4),
        Column::name("SUBJECT").rank(2),
    ]);
    for row in rows {
        let cells = vec![
            row.offset.into(),
            spaced(&row.time).into(),
            row.cluster.as_str().into(),
            row.what.object.as_str().into(),
            row.what.drift.as_str().into(),
            row.what.manager.as_deref().unwrap_or("-").into(),
            row.trigger.as_str().into(),
            subject(&row.subject),
        ];
        let fields = row.what.fields.join(", ");
        let remark = || format!("the cluster itself changed {fields}: an admission policy or a webhook");
        table.push(cells).remark = (!fields.is_empty()).then(remark);
    }
    table
}

/// Records of any kind, of any resource.
pub fn records(entries: &[Entry], wide: bool) -> Table {
    let mut columns = vec![
        Column::number("OFFSET"),
        Column::word("TIME").rank(2),
        Column::name("SOURCE").rank(3),
        Column::name("SUBJECT").rank(1),
        Column::name("TRIGGER").rank(4),
        Column::text("WHAT HAPPENED").comfort(30),
    ];
    columns.extend(wide.then_some(Column::text("FROM")));
    let mut table = Table::new(&columns);
    for entry in entries {
        let mut cells = vec![
            entry.offset.into(),
            moment(entry).into(),
            entry.source.as_deref().unwrap_or("-").into(),
            entry.subject.as_deref().map_or_else(|| "-".into(), subject),
            entry.trigger.as_deref().unwrap_or("-").into(),
            happened(entry, entry.summary.as_str()),
        ];
        cells.extend(wide.then(|| from(entry).into()));
        table.push(cells);
    }
    table
}

/// The story of one resource.
pub fn history(entries: &[Entry], wide: bool) -> Table {
    let mut columns = vec![
        Column::number("OFFSET"),
        Column::word("TIME").rank(1),
        Column::number("INC").rank(2),
        Column::sentence("WHAT HAPPENED"),
    ];
    columns.extend(wide.then_some(Column::text("FROM")));
    let mut table = Table::new(&columns);
    for entry in entries {
        let (incarnation, words) = (incarnation(entry), sentence(entry));
        let mut cells = vec![entry.offset.into(), moment(entry).into(), incarnation.into(), happened(entry, &words)];
        cells.extend(wide.then(|| from(entry).into()));
        let hint = entry.error.as_deref().and_then(|error| error.split_once('\n')).map(|(_, hint)| hint.to_owned());
        table.push(cells).remark = hint;
    }
    table
}

/// The incarnation that a record belongs to; those that the triggers made of an event, each once; nothing where it is
/// not known.
fn incarnation(entry: &Entry) -> String {
    let decisions = entry.event.iter().flat_map(|event| &event.decisions);
    let known: BTreeSet<u32> = entry.incarnation.into_iter().chain(decisions.filter_map(|of| of.incarnation)).collect();
    known.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// What a record says; what went wrong is marked.
fn happened(entry: &Entry, words: &str) -> Cell {
    Cell::toned(words, if entry.error.is_some() { Tone::Bad } else { Tone::Plain })
}

/// What a record says, with the trigger it is about where the sentence does not name it.
fn sentence(entry: &Entry) -> String {
    match &entry.trigger {
        Some(trigger) => format!("{trigger}: {}", entry.summary),
        None => entry.summary.clone(),
    }
}

/// Where an event came from, and its id; for an outcome, what it acted for.
fn from(entry: &Entry) -> String {
    let place = entry.event.as_ref().map(|event| format!("{}, id {}", place(event), event.id));
    let acted_for = entry.acted_for.map(|offset| format!("for the decision at {offset}"));
    place.or(acted_for).unwrap_or_default()
}

/// Where an event came from.
pub fn place(event: &EventEntry) -> String {
    let epoch = if event.epoch > 1 { format!(" epoch {}", event.epoch) } else { String::new() };
    format!("{}, stream {}{epoch} sequence {}", event.nats_subject, event.stream, event.sequence)
}

/// When a record was written.
pub fn moment(entry: &Entry) -> String {
    entry.time.as_deref().map_or_else(|| "?".to_owned(), spaced)
}

/// `2026-11-22 14:12:03.123Z`: a time as people read it.
pub fn spaced(time: &str) -> String {
    time.replacen('T', " ", 1)
}

/// The line below a table: which state it shows, and how far that is behind.
pub fn closing(offset: u64, time: Option<&str>, status: Option<&Status>, running: bool, more: bool) -> String {
    let mut line = format!("as of offset {offset}");
    if let Some(time) = time {
        // To the second: the offset is what is exact.
        let second = time.split_once('.').map_or_else(|| time.to_owned(), |(second, _)| format!("{second}Z"));
        let _ = write!(line, " ({})", spaced(&second));
    }
    if let Some(status) = status {
        let unread: Option<u64> = status.streams.iter().map(|stream| stream.pending).sum();
        let unfolded = status.recorded.saturating_sub(offset);
        match unread {
            _ if !running => line.push_str(", the engine is stopped"),
            // What was last heard of a stream that is not read says nothing about now.
            _ if status.intake.is_some() => {
                let _ = write!(line, ", {unfolded} behind the log; NATS is not read: see `lifeline status`");
            }
            Some(unread) => {
                let _ = write!(line, ", {} behind the stream", unread + unfolded);
            }
            None => {
                let _ = write!(line, ", {unfolded} behind the log");
            }
        }
    }
    if more {
        line.push_str("; there are more rows: raise --limit");
    }
    line
}

/// The status, for people: the verdict and its reasons, then how far each part has come, then what should be looked at.
pub fn status(status: &Status, width: Option<usize>, paint: Paint) -> String {
    let mut out = String::new();
    let reasons = status.not_ready();
    let (verdict, tone) = if reasons.is_empty() { ("ready", Tone::Good) } else { ("not ready", Tone::Bad) };
    let _ = writeln!(out, "{}", paint.tone(tone, verdict));
    for reason in &reasons {
        indented(&mut out, "  ", reason);
    }
    let Status { recorded, folded, reconciled, .. } = status;
    let behind = |ahead: u64, behind: u64| match ahead.saturating_sub(behind) {
        0 => String::new(),
        lag => format!(" ({lag} behind)"),
    };
    let mut line = |label: &str, text: String| {
        let _ = writeln!(out, "{} {text}", paint.tone(Tone::Head, &format!("{label:<11}")));
    };
    line("recorded", format!("{recorded}"));
    line("folded", format!("{folded}{}", behind(*recorded, *folded)));
    // One lifecycle that waits holds this back, even when all others are done.
    let held_back = match folded.saturating_sub(*reconciled) {
        0 => String::new(),
        lag if status.open == 0 => format!(" ({lag} behind)"),
        lag => format!(" ({lag} behind: {} since then)", count(status.open as u64, "open lifecycle")),
    };
    line("reconciled", format!("{reconciled}{held_back}"));
    line("resources", format!("{}, under {}", status.resources, count(status.triggers as u64, "trigger")));
    let phases =
        status.phases.iter().map(|(phase, count)| paint.tone(Tone::of_phase(phase), &format!("{count} {phase}")));
    let phases = phases.collect::<Vec<_>>().join(", ");
    let phases = if phases.is_empty() { "none".to_owned() } else { phases };
    line("lifecycles", format!("{phases}; {} open", status.open));
    for WaitingStatus { trigger, why, lifecycles } in &status.waiting {
        let because = match why == Why::DryRun.as_str() {
            true => "by its `syncMode: DryRun`, see `lifeline show dryrun`",
            false => "for the confirmation of its changed rules",
        };
        line("waiting", format!("{} of `{trigger}` {because}", count(*lifecycles, "lifecycle")));
    }
    let work = [
        count(status.reconciliations, "reconciliation"),
        format!("{} failed", status.failures),
        count(status.cluster_writes, "cluster write"),
    ];
    line("since start", work.join(", "));
    for ReplayStatus { trigger, resources, of, held, .. } in &status.replays {
        if let Some(held) = held {
            let HeldWithdrawal { id, lately, waits_for, .. } = held;
            let what = brake::what(held);
            let lately = if *lately == 0 { String::new() } else { format!(" after {lately} within an hour") };
            let waits = waits_for.as_ref().map(|reason| format!(", but others may want them ({reason})"));
            let waits = waits.unwrap_or_default();
            let held = format!("`{trigger}` would withdraw {what}{lately}{waits}: `lifeline confirm {id}`");
            line("held", paint.tone(Tone::Bad, &held));
            continue;
        }
        line("replaying", format!("`{trigger}` under changed rules, {resources} of {}", count(*of as u64, "resource")));
    }
    for group in status.sites.iter().flat_map(|site| &site.orphans.groups) {
        let remedy = match &group.confirm {
            Some(id) => format!("`lifeline show orphans`, `lifeline confirm {id}`"),
            None => "`lifeline show orphans`".to_owned(),
        };
        let objects = count(group.objects, "object");
        line(
            "orphans",
            paint.tone(Tone::Waiting, &format!("{objects} of `{}` that nothing claims: {remedy}", group.trigger)),
        );
    }
    if let Some(scrub) = &status.scrub {
        let damaged = match scrub.damaged_records {
            // Before the first pass nothing is known; what the start found is among the warnings.
            0 if scrub.passes == 0 => String::new(),
            0 => ", no damage".to_owned(),
            damaged => format!(", {}", paint.tone(Tone::Bad, &count(damaged, "damaged record"))),
        };
        let pass = match (scrub.running, scrub.passes) {
            (true, _) => format!("reading offset {} of {}", scrub.position, scrub.end),
            (false, 0) => "not begun".to_owned(),
            (false, 1) => "1 pass".to_owned(),
            (false, passes) => format!("{passes} passes"),
        };
        line("log scrub", format!("{pass}{damaged}"));
        if let Some(trouble) = &scrub.trouble {
            indented(&mut out, "  ", trouble);
        }
    }
    if !status.streams.is_empty() {
        let table = streams(status);
        let _ = write!(out, "\n{}", table.draw(&table.fit(width), paint));
    }
    let defects = status.problems.iter().map(|line| ("problem", line));
    let looks = status.warnings.iter().map(|line| ("warning", line));
    for (place, (what, text)) in defects.chain(looks).enumerate() {
        if place == 0 {
            out.push('\n');
        }
        // The defects of rules say themselves how bad they are.
        let (what, text) = ["error", "warning"]
            .into_iter()
            .find_map(|own| Some((own, text.strip_prefix(own)?.strip_prefix(": ")?)))
            .unwrap_or((what, text));
        let tone = if what == "warning" { Tone::Waiting } else { Tone::Bad };
        indented(&mut out, &format!("{}: ", paint.tone(tone, what)), text);
    }
    out
}

fn streams(status: &Status) -> Table {
    let mut table = Table::new(&[
        Column::name("STREAM"),
        Column::word("CLUSTER").rank(2),
        Column::number("EPOCH").rank(3),
        Column::number("NEXT").rank(1),
        Column::number("PENDING"),
        Column::number("RECEIVED").rank(1),
        Column::number("REJECTED"),
        Column::number("MISSING"),
    ]);
    for stream in &status.streams {
        let look = |count: u64| Cell::toned(&count.to_string(), if count > 0 { Tone::Waiting } else { Tone::Plain });
        table.push(vec![
            stream.stream.as_str().into(),
            stream.cluster.as_str().into(),
            u64::from(stream.epoch).into(),
            stream.next_sequence.into(),
            stream.pending.map_or_else(|| "?".into(), Cell::from),
            stream.received.into(),
            look(stream.rejected),
            match stream.missing_up_to {
                0 => look(stream.missing),
                more => Cell::toned(&format!("{} to {}", stream.missing, stream.missing + more), Tone::Waiting),
            },
        ]);
    }
    table
}

/// `first` and the first line of `text`; its other lines below, two cells in.
fn indented(out: &mut String, first: &str, text: &str) {
    let mut lines = text.lines();
    let _ = writeln!(out, "{first}{}", printable(lines.next().unwrap_or_default()));
    for line in lines {
        let _ = writeln!(out, "  {}", printable(line.trim_start()));
    }
}

/// `group Kind/namespace/name`, as far as there is one.
pub fn object(row: &ObjectRow) -> String {
    let group = if row.group.is_empty() { String::new() } else { format!("{} ", row.group) };
    match &row.namespace {
        Some(namespace) => format!("{group}{}/{namespace}/{}", row.kind, row.name),
        None => format!("{group}{}/{}", row.kind, row.name),
    }
}

/// Who claims an object: a trigger for a resource, or its list.
pub fn claimant(trigger: &str, source: &str, subject: &str) -> String {
    match source.is_empty() {
        true => format!("the list of {trigger}"),
        false => format!("{trigger} for {source} {}", subject_words(subject)),
    }
}

/// A subject as people read it.
pub fn subject_words(subject: &str) -> &str {
    if subject.is_empty() { NONE } else { subject }
}

/// A source; a lifecycle without one is the list of its trigger.
fn source(source: &str) -> Cell {
    if source.is_empty() { Cell::toned(LIST, Tone::Faint) } else { source.into() }
}

fn subject(subject: &str) -> Cell {
    let tone = if subject.is_empty() { Tone::Faint } else { Tone::Plain };
    Cell::toned(subject_words(subject), tone)
}

/// `login @ offset 41`: the last word of a type says enough where space is dear.
fn event(kind: &str, offset: u64, wide: bool) -> String {
    if kind.is_empty() {
        return "-".to_owned();
    }
    let short = if wide { kind } else { kind.rsplit('.').next().unwrap_or(kind) };
    format!("{short} @ offset {offset}")
}

/// How many seconds ago something was; never less than none.
fn seconds_since(time: &str, now: Timestamp) -> i64 {
    time.parse::<Timestamp>().map_or(0, |time| now.as_second().saturating_sub(time.as_second()).max(0))
}

/// An age in its largest unit: `3s`, `12m`, `5h`, `40d`.
fn age(time: &str, now: Timestamp) -> String {
    match seconds_since(time, now) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeline_engine::status::StreamStatus;
    use unicode_width::UnicodeWidthStr;

    fn now() -> Timestamp {
        "2026-11-22T14:24:03Z".parse().unwrap()
    }

    #[test]
    fn a_history_tells_the_incarnations_that_a_record_belongs_to() {
        let check = |entry: serde_json::Value, expected: &str| {
            let of = |fields: &serde_json::Value| {
                let mut whole = serde_json::json!({"offset": 1, "time": null, "fact": "f", "summary": "s"});
                whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
                serde_json::from_value::<Entry>(whole).unwrap()
            };
            assert_eq!(incarnation(&of(&entry)), expected, "{entry}");
        };
        let event = |decided: &[Option<u32>]| {
            let decision = |incarnation: &Option<u32>| {
                let mut decision =
                    serde_json::json!({"trigger": "t", "event_source": "e", "criterion": 1, "action": "Create"});
                if let Some(incarnation) = incarnation {
                    decision["incarnation"] = (*incarnation).into();
                }
                decision
            };
            let decisions: Vec<_> = decided.iter().map(decision).collect();
            serde_json::json!({"event": {
                "id": "1", "type": "t", "nats_subject": "n", "stream": "S", "epoch": 1, "sequence": 1, "published": "",
                "decisions": decisions,
            }})
        };
        check(serde_json::json!({}), "");
        check(serde_json::json!({"incarnation": 3}), "3");
        check(event(&[]), "");
        check(event(&[Some(2), None, Some(2)]), "2");
        check(event(&[Some(10), Some(2)]), "2,10");
    }

    fn row(subject: &str, phase: &str, objects: usize, error: Option<&str>) -> LifecycleRow {
        let object = ObjectRow {
            group: String::new(),
            version: "v1".into(),
            kind: "Namespace".into(),
            namespace: None,
            name: subject.into(),
            uid: None,
        };
        LifecycleRow {
            source: "auth.example.com".into(),
            subject: subject.into(),
            trigger: "manage-namespace".into(),
            cluster: "mgmt/mgmt".into(),
            desired: "present".into(),
            phase: phase.into(),
            incarnation: 2,
            objects: vec![object; objects],
            error: error.map(str::to_owned),
            attempt: error.map(|_| 3),
            last_event: "auth.example.com.login".into(),
            last_event_offset: 41,
            offset: 41,
            time: "2026-11-22T14:12:03.500Z".into(),
        }
    }

    #[test]
    fn failing_lifecycles_come_first_with_their_reason() {
        let rows = [
            row("mgianluc", "Ready", 1, None),
            row("noah", "Pending", 0, None),
            row("zoe", "Failing", 0, Some("namespace is terminating\nhint: wait")),
        ];
        let expected = "\
SOURCE            SUBJECT   TRIGGER           CLUSTER    DESIRED  PHASE    OBJECTS  INC  LAST EVENT         AGE
auth.example.com  zoe       manage-namespace  mgmt/mgmt  present  Failing        0    2  login @ offset 41  12m
  zoe: namespace is terminating (attempt 3)
  hint: wait
auth.example.com  mgianluc  manage-namespace  mgmt/mgmt  present  Ready          1    2  login @ offset 41  12m
auth.example.com  noah      manage-namespace  mgmt/mgmt  present  Pending        0    2  login @ offset 41  12m
";
        assert_eq!(lifecycles(&rows, now(), false).render(None), expected);
        let wide = lifecycles(&rows[..1], now(), true).render(None);
        assert!(wide.contains("auth.example.com.login @ offset 41  12m  Namespace/mgianluc\n"), "{wide}");
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let check = |time: &str, expected: &str| assert_eq!(age(time, now()), expected, "{time}");
        check("2026-11-22T14:24:03Z", "0s");
        check("2026-11-22T14:24:09Z", "0s");
        check("2026-11-22T14:22:04Z", "119s");
        check("2026-11-22T14:12:03.9Z", "12m");
        check("2026-11-22T04:24:03Z", "10h");
        check("2026-10-13T14:24:03Z", "40d");
    }

    #[test]
    fn the_closing_line_says_which_state_was_shown() {
        let stream = |pending| StreamStatus { pending, ..Default::default() };
        let status = |pending| Status { recorded: 60, streams: vec![stream(pending)], ..Default::default() };
        let time = Some("2026-11-22T14:12:03.123Z");
        let check = |status: Option<Status>, running, more, expected: &str| {
            assert_eq!(closing(57, time, status.as_ref(), running, more), expected);
        };
        check(Some(status(Some(4))), true, false, "as of offset 57 (2026-11-22 14:12:03Z), 7 behind the stream");
        check(Some(status(None)), true, false, "as of offset 57 (2026-11-22 14:12:03Z), 3 behind the log");
        check(Some(status(None)), false, false, "as of offset 57 (2026-11-22 14:12:03Z), the engine is stopped");
        let away = Status { intake: Some("connection refused".into()), ..status(Some(0)) };
        let expected =
            "as of offset 57 (2026-11-22 14:12:03Z), 3 behind the log; NATS is not read: see `lifeline status`";
        check(Some(away), true, false, expected);
        check(None, true, true, "as of offset 57 (2026-11-22 14:12:03Z); there are more rows: raise --limit");
    }

    #[test]
    fn a_status_begins_with_its_verdict() {
        let running = Status {
            recorded: 57,
            folded: 57,
            reconciled: 41,
            intake: Some("connection refused\nhint: start nats-server".into()),
            phases: vec![("Failing".into(), 1), ("Ready".into(), 9)],
            resources: 10,
            triggers: 1,
            open: 1,
            reconciliations: 1,
            streams: vec![StreamStatus {
                cluster: "mgmt/mgmt".into(),
                stream: "USERS".into(),
                epoch: 1,
                next_sequence: 58,
                received: 57,
                rejected: 2,
                ..Default::default()
            }],
            problems: vec!["warning: rules.yaml: `binaryData` has no effect".into(), "no EventSource `x`".into()],
            warnings: vec!["disk is nearly full\nhint: free space".into()],
            ..Default::default()
        };
        let expected = "\
not ready
  NATS is not read: connection refused
  hint: start nats-server
recorded    57
folded      57
reconciled  41 (16 behind: 1 open lifecycle since then)
resources   10, under 1 trigger
lifecycles  1 Failing, 9 Ready; 1 open
since start 1 reconciliation, 0 failed, 0 cluster writes

STREAM  CLUSTER    EPOCH  NEXT  PENDING  RECEIVED  REJECTED  MISSING
USERS   mgmt/mgmt      1    58        ?        57         2        0

warning: rules.yaml: `binaryData` has no effect
problem: no EventSource `x`
warning: disk is nearly full
  hint: free space
";
        assert_eq!(status(&running, None, Paint::Off), expected);
        let colourful = status(&running, None, Paint::On);
        assert!(colourful.starts_with("\u{1b}[31mnot ready\u{1b}[0m\n"), "{colourful}");
    }

    /// The widths of the terminals that people have.
    #[test]
    fn tables_fit_whatever_events_say() {
        let long = "x".repeat(500);
        let nasty = [
            "mgianluc",
            "",
            "two\nlines\tand a tab",
            "👩🏽‍🚀🇮🇹 rocket",
            "שלום עולם",
            &long,
            "\u{202e}gnp.exe",
            "\u{1b}[2J",
        ];
        let error =
            "admission webhook `policy.example.com` denied the request: the namespace needs a label\nhint: label it";
        let rows: Vec<LifecycleRow> = nasty.iter().map(|subject| row(subject, "Failing", 1, Some(error))).collect();
        for width in [60, 80, 120, 200] {
            let drawn = lifecycles(&rows, now(), false).render(Some(width));
            for line in drawn.lines() {
                assert!(line.width() <= width, "{width}: {line}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
            assert_eq!(drawn.matches("Failing").count(), nasty.len(), "{width}:\n{drawn}");
        }
        let whole = lifecycles(&rows, now(), true).render(None);
        assert!(whole.contains(&long), "wide is never cut");
        assert!(!whole.contains('…'));
    }
}
