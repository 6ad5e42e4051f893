//! How rows look: pure functions from what was answered to tables and lines.
//!
//! The time is handed in, for ages; nothing is asked here.

use std::fmt::Write;

use jiff::Timestamp;
use lifeline_engine::status::Status;
use lifeline_projections::history::Entry;
use lifeline_projections::lifecycle::Phase;
use lifeline_projections::reads::{ConflictRow, LifecycleRow, ObjectRow, OwnedObjectRow, ResourceRow, RuleRow};

use super::table::Table;

/// What stands for a subject that is empty.
const NONE: &str = "(none)";

pub fn resources(rows: &[ResourceRow], now: Timestamp, wide: bool) -> Table {
    let mut table = Table::new(&["SOURCE", "SUBJECT", "EVENTS", "LIFECYCLES", "OBJECTS", "LAST EVENT", "AGE"]);
    for row in rows {
        table.push(vec![
            row.source.clone(),
            subject(&row.subject),
            row.events.to_string(),
            row.lifecycles.to_string(),
            row.objects.to_string(),
            event(&row.last_event, row.offset, wide),
            age(&row.time, now),
        ]);
    }
    table
}

/// Lifecycles, the most urgent phase first, each failing one with its reason below.
pub fn lifecycles(rows: &[LifecycleRow], now: Timestamp, wide: bool) -> Table {
    let mut heads =
        vec!["SOURCE", "SUBJECT", "TRIGGER", "CLUSTER", "DESIRED", "PHASE", "OBJECTS", "INC", "LAST EVENT", "AGE"];
    heads.extend(wide.then_some("NAMES"));
    let mut table = Table::new(&heads);
    let urgency = |row: &&LifecycleRow| Phase::ALL.iter().position(|phase| phase.as_str() == row.phase);
    let mut rows: Vec<&LifecycleRow> = rows.iter().collect();
    rows.sort_by_key(urgency);
    for row in rows {
        let mut cells = vec![
            row.source.clone(),
            subject(&row.subject),
            row.trigger.clone(),
            row.cluster.clone(),
            row.desired.clone(),
            row.phase.clone(),
            row.objects.len().to_string(),
            row.incarnation.to_string(),
            event(&row.last_event, row.last_event_offset, wide),
            age(&row.time, now),
        ];
        cells.extend(wide.then(|| row.objects.iter().map(object).collect::<Vec<_>>().join(", ")));
        let reason = row.error.as_ref().map(|error| {
            let attempt = row.attempt.map(|attempt| format!(" (attempt {attempt})")).unwrap_or_default();
            let (reason, hint) = error.split_once('\n').unwrap_or((error, ""));
            format!("{}: {reason}{attempt}\n{hint}", subject(&row.subject)).trim_end().to_owned()
        });
        table.push(cells).remark = reason;
    }
    table
}

pub fn objects(rows: &[OwnedObjectRow], now: Timestamp, wide: bool) -> Table {
    let mut heads = vec!["CLUSTER", "OBJECT", "TRIGGER", "SOURCE", "SUBJECT", "OFFSET", "AGE"];
    heads.extend(wide.then_some("UID"));
    let mut table = Table::new(&heads);
    for row in rows {
        let mut cells = vec![
            row.cluster.clone(),
            object(&row.object),
            row.trigger.clone(),
            row.source.clone(),
            subject(&row.subject),
            row.offset.to_string(),
            row.time.as_deref().map_or_else(|| "intended".to_owned(), |time| age(time, now)),
        ];
        cells.extend(wide.then(|| row.object.uid.clone().unwrap_or_default()));
        table.push(cells);
    }
    table
}

pub fn rules(rows: &[RuleRow]) -> Table {
    let mut table = Table::new(&["RULE", "SINCE OFFSET", "DIGEST"]);
    for row in rows {
        table.push(vec![row.rule.clone(), row.offset.to_string(), row.digest.clone()]);
    }
    table
}

/// Contested objects; the claims that lose stand below the one that owns.
pub fn conflicts(rows: &[ConflictRow]) -> Table {
    let mut table = Table::new(&["CLUSTER", "OBJECT", "OWNER", "SINCE OFFSET"]);
    for row in rows {
        let name = |claim: &lifeline_projections::reads::ClaimRow| {
            format!("{} for {} {}", claim.trigger, claim.source, subject(&claim.subject))
        };
        let Some((owner, others)) = row.claims.split_first() else { continue };
        let cells = vec![row.cluster.clone(), object(&row.object), name(owner), owner.offset.to_string()];
        let waiting = others.iter().map(|claim| format!("waits: {}, since offset {}", name(claim), claim.offset));
        table.push(cells).remark = Some(waiting.collect::<Vec<_>>().join("\n"));
    }
    table
}

/// Records of any kind, of any resource.
pub fn records(entries: &[Entry], wide: bool) -> Table {
    let mut heads = vec!["OFFSET", "TIME", "SOURCE", "SUBJECT", "WHAT HAPPENED"];
    heads.extend(wide.then_some("FROM"));
    let mut table = Table::new(&heads);
    for entry in entries {
        let mut cells = vec![
            entry.offset.to_string(),
            moment(entry),
            entry.source.clone().unwrap_or_else(|| "-".to_owned()),
            entry.subject.as_deref().map_or_else(|| "-".to_owned(), subject),
            sentence(entry),
        ];
        cells.extend(wide.then(|| from(entry)));
        table.push(cells);
    }
    table
}

/// The story of one resource.
pub fn history(entries: &[Entry], wide: bool) -> Table {
    let mut heads = vec!["OFFSET", "TIME", "WHAT HAPPENED"];
    heads.extend(wide.then_some("FROM"));
    let mut table = Table::new(&heads);
    for entry in entries {
        let mut cells = vec![entry.offset.to_string(), moment(entry), sentence(entry)];
        cells.extend(wide.then(|| from(entry)));
        let hint = entry.error.as_deref().and_then(|error| error.split_once('\n')).map(|(_, hint)| hint.to_owned());
        table.push(cells).remark = hint;
    }
    table
}

/// What a record says, with the trigger it is about where the sentence does not name it.
fn sentence(entry: &Entry) -> String {
    match &entry.trigger {
        Some(trigger) => format!("{trigger}: {}", entry.summary),
        None => entry.summary.clone(),
    }
}

/// Where an event came from.
fn from(entry: &Entry) -> String {
    let place = entry.event.as_ref().map(|event| {
        let epoch = if event.epoch > 1 { format!(" epoch {}", event.epoch) } else { String::new() };
        format!("{}, stream {}{epoch} sequence {}, id {}", event.nats_subject, event.stream, event.sequence, event.id)
    });
    let acted_for = entry.acted_for.map(|offset| format!("for the decision at {offset}"));
    place.or(acted_for).unwrap_or_default()
}

fn moment(entry: &Entry) -> String {
    entry.time.as_deref().map_or_else(|| "?".to_owned(), spaced)
}

/// `2026-11-22 14:12:03.123Z`: a time as people read it.
fn spaced(time: &str) -> String {
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

/// The status, for people.
pub fn status(status: &Status) -> String {
    let mut out = String::new();
    let reasons = status.not_ready();
    let _ = writeln!(out, "{}", if reasons.is_empty() { "ready" } else { "not ready" });
    for reason in &reasons {
        let _ = writeln!(out, "  {}", reason.replace('\n', "\n  "));
    }
    let Status { recorded, folded, reconciled, .. } = status;
    let lag = |ahead: u64, behind: u64| match ahead.saturating_sub(behind) {
        0 => String::new(),
        lag => format!("   {lag} behind"),
    };
    let _ = writeln!(out, "recorded    {recorded}");
    let _ = writeln!(out, "folded      {folded}{}", lag(*recorded, *folded));
    let _ = writeln!(out, "reconciled  {reconciled}{}", lag(*folded, *reconciled));
    let phases: Vec<String> = status.phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let phases = if phases.is_empty() { "none".to_owned() } else { phases.join(", ") };
    let triggers = if status.triggers == 1 { "trigger" } else { "triggers" };
    let _ = writeln!(out, "resources   {}, under {} {triggers}", status.resources, status.triggers);
    let _ = writeln!(out, "lifecycles  {phases}; {} open", status.open);
    let _ = writeln!(
        out,
        "since start {} reconciliations, {} failed, {} cluster writes",
        status.reconciliations, status.failures, status.cluster_writes
    );
    if let Some(scrub) = &status.scrub {
        let damaged = match scrub.damaged_records {
            0 => "no damage".to_owned(),
            damaged => format!("{damaged} damaged records"),
        };
        let pass = match (scrub.running, scrub.passes) {
            (true, _) => format!("reading offset {} of {}", scrub.position, scrub.end),
            (false, 0) => "not begun".to_owned(),
            (false, passes) => format!("{passes} passes"),
        };
        let _ = writeln!(out, "log scrub   {pass}, {damaged}");
        if let Some(trouble) = &scrub.trouble {
            let _ = writeln!(out, "  {}", trouble.replace('\n', "\n  "));
        }
    }
    if !status.streams.is_empty() {
        let mut table =
            Table::new(&["STREAM", "CLUSTER", "EPOCH", "NEXT", "PENDING", "RECEIVED", "REJECTED", "MISSING"]);
        for stream in &status.streams {
            table.push(vec![
                stream.stream.clone(),
                stream.cluster.clone(),
                stream.epoch.to_string(),
                stream.next_sequence.to_string(),
                stream.pending.map_or_else(|| "?".to_owned(), |pending| pending.to_string()),
                stream.received.to_string(),
                stream.rejected.to_string(),
                stream.missing.to_string(),
            ]);
        }
        let _ = write!(out, "\n{}", table.render(None));
    }
    for (what, lines) in [("problem", &status.problems), ("warning", &status.warnings)] {
        for line in lines {
            let _ = writeln!(out, "{what}: {}", line.replace('\n', "\n  "));
        }
    }
    out
}

/// `group Kind/namespace/name`, as far as there is one.
fn object(row: &ObjectRow) -> String {
    let group = if row.group.is_empty() { String::new() } else { format!("{} ", row.group) };
    match &row.namespace {
        Some(namespace) => format!("{group}{}/{namespace}/{}", row.kind, row.name),
        None => format!("{group}{}/{}", row.kind, row.name),
    }
}

fn subject(subject: &str) -> String {
    if subject.is_empty() { NONE.to_owned() } else { subject.to_owned() }
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
pub fn seconds_since(time: &str, now: Timestamp) -> i64 {
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

    fn now() -> Timestamp {
        "2026-11-22T14:24:03Z".parse().unwrap()
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
        let rows =
            [row("mgianluc", "Ready", 1, None), row("zoe", "Failing", 0, Some("namespace is terminating\nhint: wait"))];
        let expected = "\
SOURCE            SUBJECT   TRIGGER           CLUSTER    DESIRED  PHASE    OBJECTS  INC  LAST EVENT         AGE
auth.example.com  zoe       manage-namespace  mgmt/mgmt  present  Failing  0        2    login @ offset 41  12m
  zoe: namespace is terminating (attempt 3)
  hint: wait
auth.example.com  mgianluc  manage-namespace  mgmt/mgmt  present  Ready    1        2    login @ offset 41  12m
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
        check(None, true, true, "as of offset 57 (2026-11-22 14:12:03Z); there are more rows: raise --limit");
    }

    #[test]
    fn a_status_begins_with_its_verdict() {
        let text = status(&Status {
            recorded: 57,
            folded: 57,
            reconciled: 41,
            intake: Some("connection refused\nhint: start nats-server".into()),
            phases: vec![("Failing".into(), 1), ("Ready".into(), 9)],
            resources: 10,
            triggers: 1,
            open: 1,
            ..Default::default()
        });
        let expected = "\
not ready
  NATS is not read: connection refused
  hint: start nats-server
recorded    57
folded      57
reconciled  41   16 behind
resources   10, under 1 trigger
lifecycles  1 Failing, 9 Ready; 1 open
since start 0 reconciliations, 0 failed, 0 cluster writes
";
        assert_eq!(text, expected);
    }
}
