//! The metrics of each trigger, and the lags in seconds: those with fractions and with buckets.
//!
//! Start at [`write`]. The number of triggers is bounded where they are counted, in `lifeline_engine::by_trigger`.

use std::fmt::Write;

use lifeline_engine::by_trigger::BUCKETS_SECONDS;
use lifeline_engine::status::{Exemplar, Status, TriggerStatus};

use super::{Format, escape, head};

/// Writes them after the others.
pub(super) fn write(status: &Status, format: Format, out: &mut String) {
    lags(status, format, out);
    counts(status, format, out);
    durations(status, format, out);
    let succeeded = |one: &TriggerStatus| Some(one.succeeded_unix_nanos? as f64 / 1e9);
    head(
        out,
        format,
        "lifeline_trigger_success_timestamp_seconds",
        "gauge",
        "When a reconciliation of the trigger last came to its end, in seconds since 1970; missing before the first did.",
    );
    for (one, at) in status.by_trigger.iter().filter_map(|one| Some((one, succeeded(one)?))) {
        line(out, "lifeline_trigger_success_timestamp_seconds", &[("trigger", &one.trigger)], at);
    }
}

fn lags(status: &Status, format: Format, out: &mut String) {
    let each = [
        (
            "lifeline_fold_lag_seconds",
            "Age of the oldest record that is not folded; 0 where all are.",
            status.fold_lag_seconds,
        ),
        (
            "lifeline_reconcile_lag_seconds",
            "Age of the oldest record whose consequences are not all carried out; 0 where all are.",
            status.reconcile_lag_seconds,
        ),
    ];
    for (name, help, value) in each {
        head(out, format, name, "gauge", help);
        line(out, name, &[], value);
    }
}

fn counts(status: &Status, format: Format, out: &mut String) {
    let name = "lifeline_trigger_events_matched_total";
    head(out, format, name, "counter", "Events that the trigger matched, since start.");
    for one in &status.by_trigger {
        line(out, name, &[("trigger", &one.trigger)], one.matched as f64);
    }
    let name = "lifeline_trigger_decisions_total";
    head(
        out,
        format,
        name,
        "counter",
        "Decisions of the trigger, since start: create, delete, or undecided where its action fails.",
    );
    for one in &status.by_trigger {
        for (decision, count) in [("create", one.creates), ("delete", one.deletes), ("undecided", one.undecided)] {
            line(out, name, &[("trigger", &one.trigger), ("decision", decision)], count as f64);
        }
    }
    let name = "lifeline_trigger_reconciliation_failures_total";
    head(out, format, name, "counter", "Reconciliations of the trigger that failed, since start.");
    for one in &status.by_trigger {
        line(out, name, &[("trigger", &one.trigger)], one.failures as f64);
    }
}

fn durations(status: &Status, format: Format, out: &mut String) {
    let name = "lifeline_trigger_reconcile_duration_seconds";
    head(out, format, name, "histogram", "How long a reconciliation of the trigger takes, whether it works or fails.");
    for one in status.by_trigger.iter().filter(|one| !one.durations.is_empty()) {
        let mut below = 0;
        let bounds = BUCKETS_SECONDS.iter().map(|bound| format.bound(*bound)).chain(["+Inf".to_owned()]);
        for (at, (bound, count)) in bounds.zip(&one.durations).enumerate() {
            below += count;
            line(out, &format!("{name}_bucket"), &[("trigger", &one.trigger), ("le", &bound)], below as f64);
            if let (Format::OpenMetrics, Some(Some(exemplar))) = (format, one.exemplars.get(at)) {
                let Exemplar { trace_id, seconds, at_unix_nanos } = exemplar;
                let _ = out.pop();
                let _ = writeln!(out, " # {{trace_id=\"{trace_id}\"}} {seconds} {:.3}", *at_unix_nanos as f64 / 1e9);
            }
        }
        line(out, &format!("{name}_sum"), &[("trigger", &one.trigger)], one.seconds);
        line(out, &format!("{name}_count"), &[("trigger", &one.trigger)], below as f64);
    }
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    // A String takes everything that is written to it.
    let _ = writeln!(out, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_below_each_bound() {
        let mut durations = vec![0; BUCKETS_SECONDS.len() + 1];
        (durations[0], durations[1], durations[BUCKETS_SECONDS.len()]) = (3, 2, 1);
        let one = TriggerStatus {
            trigger: "a\"b".into(),
            matched: 9,
            creates: 4,
            durations,
            seconds: 40.5,
            ..Default::default()
        };
        let mut text = String::new();
        let status = Status { by_trigger: vec![one], reconcile_lag_seconds: 1.5, ..Default::default() };
        write(&status, Format::Text, &mut text);
        for expected in [
            r#"lifeline_trigger_reconcile_duration_seconds_bucket{trigger="a\"b",le="0.005"} 3"#,
            r#"lifeline_trigger_reconcile_duration_seconds_bucket{trigger="a\"b",le="0.01"} 5"#,
            r#"lifeline_trigger_reconcile_duration_seconds_bucket{trigger="a\"b",le="30"} 5"#,
            r#"lifeline_trigger_reconcile_duration_seconds_bucket{trigger="a\"b",le="+Inf"} 6"#,
            r#"lifeline_trigger_reconcile_duration_seconds_sum{trigger="a\"b"} 40.5"#,
            r#"lifeline_trigger_reconcile_duration_seconds_count{trigger="a\"b"} 6"#,
            r#"lifeline_trigger_decisions_total{trigger="a\"b",decision="create"} 4"#,
            "lifeline_reconcile_lag_seconds 1.5",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
        assert!(!text.contains("lifeline_trigger_success_timestamp_seconds{"), "{text}");
    }

    #[test]
    fn an_exemplar_follows_its_bucket_where_the_format_has_them() {
        let exemplar = Exemplar { trace_id: "0af7".into(), seconds: 0.75, at_unix_nanos: 1_500_000_000 };
        let mut one = TriggerStatus { trigger: "t".into(), durations: vec![0; 12], ..Default::default() };
        one.durations[7] = 2;
        one.exemplars = vec![None; 12];
        one.exemplars[7] = Some(exemplar);
        let status = Status { by_trigger: vec![one], ..Default::default() };
        let bucket = "lifeline_trigger_reconcile_duration_seconds_bucket";
        let check = |format: Format, expected: &str| {
            let mut text = String::new();
            write(&status, format, &mut text);
            let found: Vec<&str> = text.lines().filter(|line| line.contains("le=\"1")).collect();
            assert_eq!(found[0], format!("{bucket}{expected}"), "{text}");
            assert_eq!(text.contains("trace_id"), format == Format::OpenMetrics, "{text}");
        };
        check(Format::Text, r#"{trigger="t",le="1"} 2"#);
        check(Format::OpenMetrics, r#"{trigger="t",le="1.0"} 2 # {trace_id="0af7"} 0.75 1.500"#);
    }

    /// The tool of Prometheus judges names, types, units and help, where it is installed.
    #[test]
    fn promtool_finds_nothing_to_complain_about() {
        use std::process::{Command, Stdio};
        let durations = vec![1; BUCKETS_SECONDS.len() + 1];
        let one = TriggerStatus { trigger: "t".into(), durations, succeeded_unix_nanos: Some(1), ..Default::default() };
        let status = Status { by_trigger: vec![one], ..Default::default() };
        let text = crate::api::metrics::exposition(&status);
        let started = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = started else {
            eprintln!("skipped: there is no promtool (Debian: apt install prometheus)");
            return;
        };
        std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let said = promtool.wait_with_output().unwrap();
        let said_text = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "{said_text}");
    }
}
