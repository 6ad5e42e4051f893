//! The metrics: their names and what they mean, all in [`METRICS`] and, with fractions, in `by_trigger`, as Prometheus text
//! (exposition format 0.0.4), or as OpenMetrics 1.0 for those who ask for it: that has exemplars, which lead from a histogram to
//! a trace.
//!
//! Counters named `since start` begin at zero with the process; the others are folded from the log and never go back.

mod by_trigger;

use std::fmt::Write;

use lifeline_engine::status::{
    HeldBackStatus, HeldWithdrawal, PlainStatus, ReplayStatus, ScrubStatus, SiteStatus, Status, StreamStatus,
    WaitingStatus,
};
use lifeline_projections::fact::Drift;
use lifeline_projections::lifecycle::Phase;

/// The media type of [`exposition`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, exposition format 0.0.4.
    Text,
    /// OpenMetrics 1.0: families of counters without `_total`, exemplars, and a last line.
    OpenMetrics,
}

impl Format {
    /// The one that a client takes, by its header `Accept`. Prometheus names OpenMetrics first.
    #[must_use]
    pub fn wanted(accept: Option<&str>) -> Format {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Format::OpenMetrics,
            _ => Format::Text,
        }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The bound of a bucket, as the format wants it.
    fn bound(self, seconds: f64) -> String {
        match self {
            Format::Text => seconds.to_string(),
            Format::OpenMetrics => format!("{seconds:?}"),
        }
    }
}

/// One metric.
struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&Status) -> Vec<Sample<'_>>,
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// One value, with its labels.
struct Sample<'a> {
    labels: Vec<(&'static str, &'a str)>,
    value: u64,
}

/// Every metric there is.
const METRICS: &[Metric] = &[
    gauge("lifeline_build_info", "Always 1; the label tells the release.", |_| {
        vec![Sample { labels: vec![("version", env!("CARGO_PKG_VERSION"))], value: 1 }]
    }),
    gauge("lifeline_ready", "1 when /readyz says so, else 0.", |status| one(status.not_ready().is_empty().into())),
    gauge(
        "lifeline_recorded_offset",
        "First offset that is not recorded: how many records the log ever took.",
        |status| one(status.recorded),
    ),
    gauge("lifeline_folded_offset", "First offset that is not folded into the state.", |status| one(status.folded)),
    gauge("lifeline_reconciled_offset", "First offset whose consequences are not all carried out.", |status| {
        one(status.reconciled)
    }),
    gauge(
        "lifeline_saved_offset",
        "First offset that the last checkpoint of the state does not reflect; missing before the first.",
        |status| status.saved.into_iter().flat_map(one).collect(),
    ),
    gauge("lifeline_fold_lag_records", "Records that are recorded and not folded.", |status| {
        one(status.recorded.saturating_sub(status.folded))
    }),
    gauge(
        "lifeline_reconcile_lag_records",
        "Records that are folded and whose consequences are not all carried out.",
        |status| one(status.folded.saturating_sub(status.reconciled)),
    ),
    gauge("lifeline_recording_stalled", "1 while recording stands still, as for a full disk.", |status| {
        one(status.stalled.is_some().into())
    }),
    gauge("lifeline_intake_connected", "1 while NATS is being read.", |status| one(status.intake.is_none().into())),
    gauge(
        "lifeline_stream_pending_messages",
        "Messages that are not recorded yet; missing while not known.",
        |status| {
            let known = status.streams.iter().filter_map(|stream| Some((stream, stream.pending?)));
            known.map(|(stream, value)| Sample { labels: stream_labels(stream), value }).collect()
        },
    ),
    gauge("lifeline_stream_next_sequence", "First sequence of the stream that is not recorded.", |status| {
        by_stream(status, |stream| stream.next_sequence)
    }),
    gauge("lifeline_stream_epoch", "How often the stream began again, from 1.", |status| {
        by_stream(status, |stream| stream.epoch.into())
    }),
    counter("lifeline_events_received_total", "CloudEvents recorded, ever.", |status| {
        by_stream(status, |stream| stream.received)
    }),
    counter("lifeline_messages_rejected_total", "Messages recorded as no CloudEvent, ever.", |status| {
        by_stream(status, |stream| stream.rejected)
    }),
    counter("lifeline_markers_total", "Subject delete markers of NATS recorded, ever.", |status| {
        by_stream(status, |stream| stream.markers)
    }),
    counter("lifeline_messages_missing_total", "Messages that were gone before they were read, ever.", |status| {
        by_stream(status, |stream| stream.missing)
    }),
    counter(
        "lifeline_messages_missing_up_to_total",
        "Messages of any subject that were gone before they were read, ever, of streams of which only some subjects are read: at most so many are missing beside lifeline_messages_missing_total.",
        |status| by_stream(status, |stream| stream.missing_up_to),
    ),
    counter(
        "lifeline_messages_redelivered_total",
        "Messages delivered again and recorded once, since start.",
        |status| by_stream(status, |stream| stream.redelivered),
    ),
    gauge(
        "lifeline_stream_durable",
        "0 for a subject that is read without a stream, so that what is published while Lifeline is away is lost; missing for streams.",
        |status| by_plain(status, |_| 0),
    ),
    counter(
        "lifeline_plain_dropped_messages_total",
        "Messages of a subject without a stream that were lost for want of room, since start.",
        |status| by_plain(status, |plain| plain.dropped),
    ),
    counter(
        "lifeline_plain_interruptions_total",
        "Times that a subject without a stream was not subscribed to for a moment, since start: what was published then is lost.",
        |status| by_plain(status, |plain| plain.interruptions),
    ),
    gauge("lifeline_triggers", "EventTriggers in force.", |status| one(status.triggers as u64)),
    gauge("lifeline_rule_problems", "Defects of rules.", |status| one(status.problems.len() as u64)),
    gauge("lifeline_warnings", "Things that should be looked at.", |status| one(status.warnings.len() as u64)),
    gauge(
        "lifeline_replay_done_resources",
        "Resources whose events are decided again under changed rules, by trigger; missing when all are.",
        |status| by_replay(status, |replay| replay.resources),
    ),
    gauge(
        "lifeline_replay_end_resources",
        "Resources there are for a replay under changed rules, by trigger; missing when all are decided.",
        |status| by_replay(status, |replay| replay.of),
    ),
    gauge(
        "lifeline_replay_held_objects",
        "Objects that changed rules would withdraw and that wait for a confirmation, by trigger; missing when nothing waits.",
        |status| by_held(status, |held| held.objects),
    ),
    gauge(
        "lifeline_replay_held_keys",
        "Keys that changed rules would take out of the list of a trigger, and that wait for a confirmation, by trigger; missing when nothing waits.",
        |status| by_held(status, |held| held.keys),
    ),
    gauge("lifeline_resources", "Resources known: pairs of CloudEvent source and subject.", |status| {
        one(status.resources as u64)
    }),
    gauge("lifeline_lifecycles", "Lifecycles by phase.", |status| {
        let count = |phase: Phase| status.phases.iter().find(|(name, _)| name == phase.as_str());
        let sample = |phase: Phase| Sample {
            labels: vec![("phase", phase.as_str())],
            value: count(phase).map_or(0, |(_, count)| *count),
        };
        Phase::ALL.into_iter().map(sample).collect()
    }),
    gauge(
        "lifeline_lifecycles_open",
        "Lifecycles that are not done: they wait, run, pause after a failure, or failed permanently; those that wait by intent do not count.",
        |status| one(status.open as u64),
    ),
    gauge(
        "lifeline_lifecycles_waiting",
        "Lifecycles that are not done by intent: of dry runs, or held until somebody confirms it; by trigger, missing when there are none.",
        |status| status.waiting.iter().map(waiting).collect(),
    ),
    counter("lifeline_reconciliations_total", "Reconciliations begun, since start.", |status| {
        one(status.reconciliations)
    }),
    counter("lifeline_reconciliation_failures_total", "Reconciliations that failed, since start.", |status| {
        one(status.failures)
    }),
    counter("lifeline_cluster_writes_total", "Calls that may have changed a cluster, since start.", |status| {
        one(status.cluster_writes)
    }),
    gauge("lifeline_site_lifecycles_open", "Lifecycles of a cluster that are not done.", |status| {
        by_site(status, |site| site.open as u64)
    }),
    counter(
        "lifeline_site_reconciliation_failures_total",
        "Reconciliations that failed, by cluster, since start.",
        |status| by_site(status, |site| site.failures),
    ),
    counter(
        "lifeline_site_writes_total",
        "Calls that may have changed a cluster, by cluster, since start.",
        |status| by_site(status, |site| site.writes),
    ),
    gauge("lifeline_site_unavailable", "1 while work is held back because the cluster is not available.", |status| {
        by_site(status, |site| site.unavailable.is_some().into())
    }),
    gauge(
        "lifeline_site_held_back_lifecycles",
        "Lifecycles that wait because the cluster does not answer calls about a kind; missing while none is held back.",
        held_back,
    ),
    gauge(
        "lifeline_site_requests_waiting",
        "Requests about objects that wait for the request budget, by cluster.",
        |status| by_site(status, |site| site.budget.waiting as u64),
    ),
    counter(
        "lifeline_site_requests_refused_total",
        "Requests that the API server refused because it had too many (429), by cluster, since start.",
        |status| by_site(status, |site| site.budget.refused),
    ),
    counter(
        "lifeline_drifts_total",
        "Objects that others deleted or changed and that are put back, by cluster and what was done, since start.",
        drifts,
    ),
    gauge(
        "lifeline_fights",
        "Objects that others change or delete each time they are put back, by cluster.",
        |status| by_site(status, |site| site.drift.fought as u64),
    ),
    gauge(
        "lifeline_orphans",
        "Objects with the marks of Lifeline that nothing in the log claims, by cluster.",
        |status| by_site(status, |site| site.orphans.objects),
    ),
    gauge(
        "lifeline_unwatched_kinds",
        "Kinds of objects whose changes by others are not seen, because they cannot be watched, by cluster.",
        |status| by_site(status, |site| site.drift.unwatched.len() as u64),
    ),
    counter(
        "lifeline_scrub_passes_total",
        "Times the whole log was read again to find damage, since start.",
        |status| scrub(status, |scrub| scrub.passes),
    ),
    counter("lifeline_scrub_bytes_total", "Bytes of the log read again to find damage, since start.", |status| {
        scrub(status, |scrub| scrub.bytes)
    }),
    gauge("lifeline_scrub_position_offset", "Next offset of the pass under way, or of the last one.", |status| {
        scrub(status, |scrub| scrub.position)
    }),
    gauge("lifeline_scrub_end_offset", "Offset at which that pass ends.", |status| scrub(status, |scrub| scrub.end)),
    gauge(
        "lifeline_scrub_damaged_records",
        "Records of the log found damaged; anything but 0 needs a person.",
        |status| scrub(status, |scrub| scrub.damaged_records),
    ),
    gauge(
        "lifeline_scrub_damaged_places",
        "Places of the log found damaged, those without a record included.",
        |status| scrub(status, |scrub| scrub.damage.len() as u64),
    ),
    gauge("lifeline_scrub_failing", "1 while the last pass could not read the log to its end.", |status| {
        scrub(status, |scrub| scrub.trouble.is_some().into())
    }),
    gauge("lifeline_scrub_completed_seconds", "When the last pass came to its end, in seconds since 1970.", |status| {
        let completed = status.scrub.as_ref().and_then(|scrub| scrub.completed_unix_nanos);
        completed.map_or_else(Vec::new, |nanos| one(nanos / 1_000_000_000))
    }),
];

const fn gauge(name: &'static str, help: &'static str, read: fn(&Status) -> Vec<Sample<'_>>) -> Metric {
    Metric { name, kind: Kind::Gauge, help, read }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Status) -> Vec<Sample<'_>>) -> Metric {
    Metric { name, kind: Kind::Counter, help, read }
}

fn one(value: u64) -> Vec<Sample<'static>> {
    vec![Sample { labels: Vec::new(), value }]
}

/// Nothing at all while the scrub is off.
fn scrub(status: &Status, value: fn(&ScrubStatus) -> u64) -> Vec<Sample<'_>> {
    status.scrub.as_ref().map_or_else(Vec::new, |scrub| one(value(scrub)))
}

fn by_replay(status: &Status, value: fn(&ReplayStatus) -> usize) -> Vec<Sample<'_>> {
    let samples = status
        .replays
        .iter()
        .map(|replay| Sample { labels: vec![("trigger", replay.trigger.as_str())], value: value(replay) as u64 });
    samples.collect()
}

fn by_held(status: &Status, value: fn(&HeldWithdrawal) -> u64) -> Vec<Sample<'_>> {
    let held = status.replays.iter().filter_map(|replay| Some((replay, replay.held.as_ref()?)));
    held.map(|(replay, held)| Sample { labels: vec![("trigger", replay.trigger.as_str())], value: value(held) })
        .collect()
}

fn by_site(status: &Status, value: fn(&SiteStatus) -> u64) -> Vec<Sample<'_>> {
    let samples =
        status.sites.iter().map(|site| Sample { labels: vec![("cluster", site.cluster.as_str())], value: value(site) });
    samples.collect()
}

fn drifts(status: &Status) -> Vec<Sample<'_>> {
    let each = |site: &SiteStatus| [(Drift::Deleted, site.drift.deleted), (Drift::Changed, site.drift.changed)];
    let samples = status.sites.iter().flat_map(|site| each(site).map(|(drift, value)| (site, drift, value)));
    let samples = samples.map(|(site, drift, value)| Sample {
        labels: vec![("cluster", site.cluster.as_str()), ("drift", drift.as_str())],
        value,
    });
    samples.collect()
}

fn held_back(status: &Status) -> Vec<Sample<'_>> {
    let each = status.sites.iter().flat_map(|site| site.held_back.iter().map(move |held| (site, held)));
    let samples = each.map(|(site, HeldBackStatus { kind, verb, waiting, .. })| Sample {
        labels: vec![("cluster", site.cluster.as_str()), ("kind", kind), ("verb", verb)],
        value: *waiting as u64,
    });
    samples.collect()
}

fn waiting(waiting: &WaitingStatus) -> Sample<'_> {
    let labels = vec![("trigger", waiting.trigger.as_str()), ("why", waiting.why.as_str())];
    Sample { labels, value: waiting.lifecycles }
}

fn by_stream(status: &Status, value: fn(&StreamStatus) -> u64) -> Vec<Sample<'_>> {
    let sample = |stream| Sample { labels: stream_labels(stream), value: value(stream) };
    status.streams.iter().map(sample).collect()
}

/// Nothing for streams.
fn by_plain(status: &Status, value: fn(&PlainStatus) -> u64) -> Vec<Sample<'_>> {
    let plain = status.streams.iter().filter_map(|stream| Some((stream, stream.plain.as_ref()?)));
    plain.map(|(stream, plain)| Sample { labels: stream_labels(stream), value: value(plain) }).collect()
}

fn stream_labels(stream: &StreamStatus) -> Vec<(&'static str, &str)> {
    vec![("cluster", &stream.cluster), ("stream", &stream.stream)]
}

/// The metrics of an engine that is being opened: how far it has come, and that it is not ready.
const OPENING: &[(&str, &str)] = &[
    ("lifeline_ready", "1 when /readyz says so, else 0."),
    ("lifeline_opening_offset", "Records read while opening; missing once the engine is open."),
    (
        "lifeline_opening_end_offset",
        "Records to be read while opening, 0 until that is known; missing once the engine is open.",
    ),
];

/// All metrics there are while the engine is being opened, as text.
#[must_use]
pub fn opening(at: u64, of: u64) -> String {
    let mut out = String::new();
    for ((name, help), value) in OPENING.iter().zip([0, at, of]) {
        // A String takes everything that is written to it.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    out
}

/// All metrics of an open engine as Prometheus text.
#[must_use]
pub fn exposition(status: &Status) -> String {
    written(status, Format::Text)
}

/// All metrics of an open engine in a format.
#[must_use]
pub fn written(status: &Status, format: Format) -> String {
    let mut out = String::new();
    for Metric { name, kind, help, read } in METRICS {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        head(&mut out, format, name, kind, help);
        for Sample { labels, value } in read(status) {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    }
    by_trigger::write(status, format, &mut out);
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn head(out: &mut String, format: Format, name: &str, kind: &str, help: &str) {
    let family = match format {
        Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        Format::Text => name,
    };
    // A String takes everything that is written to it.
    let _ = writeln!(out, "# HELP {family} {}", help.replace('\\', "\\\\").replace('\n', "\\n"));
    let _ = writeln!(out, "# TYPE {family} {kind}");
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use lifeline_engine::status::DriftStatus;

    use super::*;

    #[test]
    fn every_metric_is_named_by_convention_and_told_once() {
        for (at, metric) in METRICS.iter().enumerate() {
            let counter = matches!(metric.kind, Kind::Counter);
            assert_eq!(metric.name.ends_with("_total"), counter, "{}", metric.name);
            assert!(metric.name.starts_with("lifeline_") && metric.help.ends_with('.'), "{}", metric.name);
            assert!(METRICS[..at].iter().all(|other| other.name != metric.name), "{} twice", metric.name);
        }
    }

    #[test]
    fn who_asks_for_open_metrics_gets_families_told_once_and_an_end() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain;version=0.0.4"), Format::Text),
            (Some(prometheus), Format::OpenMetrics),
        ] {
            assert_eq!(Format::wanted(accept), expected, "{accept:?}");
        }
        let text = written(&Status::default(), Format::OpenMetrics);
        assert!(text.ends_with("\n# EOF\n"), "{text}");
        let mut families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let told = families.len();
        assert!(told > 50 && families.iter().all(|family| !family.contains("_total ")), "{families:?}");
        families.iter_mut().for_each(|family| *family = family.split(' ').next().unwrap_or_default());
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), told);
    }

    #[test]
    fn label_values_are_escaped() {
        let stream =
            StreamStatus { cluster: "a\"b\\c\nd".into(), stream: "S".into(), received: 7, ..Default::default() };
        let text = exposition(&Status { streams: vec![stream], ..Default::default() });
        let expected = r#"lifeline_events_received_total{cluster="a\"b\\c\nd",stream="S"} 7"#;
        assert!(text.lines().any(|line| line == expected), "{text}");
        assert!(!text.contains("lifeline_stream_pending_messages{"), "unknown is missing, not zero");
    }

    #[test]
    fn what_is_held_back_is_told_by_cluster_kind_and_verb() {
        let held = HeldBackStatus { kind: "Secret".into(), verb: "apply".into(), waiting: 7, ..Default::default() };
        let site = SiteStatus { cluster: "a/b".into(), held_back: vec![held], ..Default::default() };
        let text = exposition(&Status { sites: vec![site], ..Default::default() });
        let expected = r#"lifeline_site_held_back_lifecycles{cluster="a/b",kind="Secret",verb="apply"} 7"#;
        assert!(text.lines().any(|line| line == expected), "{text}");
    }

    #[test]
    fn drifts_are_counted_by_cluster_and_what_was_done() {
        let drift = DriftStatus { deleted: 2, changed: 3, fought: 1, ..Default::default() };
        let site = SiteStatus { cluster: "a/b".into(), drift, ..Default::default() };
        let text = exposition(&Status { sites: vec![site], ..Default::default() });
        for expected in [
            r#"lifeline_drifts_total{cluster="a/b",drift="deleted"} 2"#,
            r#"lifeline_drifts_total{cluster="a/b",drift="changed"} 3"#,
            r#"lifeline_fights{cluster="a/b"} 1"#,
        ] {
            assert!(text.lines().any(|line| line == expected), "{text}");
        }
    }

    #[test]
    fn phases_without_lifecycles_are_told_as_zero() {
        let text = exposition(&Status { phases: vec![("Ready".into(), 3)], ..Default::default() });
        assert!(text.contains("lifeline_lifecycles{phase=\"Ready\"} 3\n"));
        assert!(text.contains("lifeline_lifecycles{phase=\"Failing\"} 0\n"));
    }
}
