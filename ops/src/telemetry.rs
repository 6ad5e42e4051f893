//! What the process says of itself: log lines on stderr, spans by OTLP.
//!
//! Start at [`Telemetry::start`]. Lines go to stderr at the level of the setting `log`, which [`Level`] changes at run time, as
//! text or as JSON (`log_format`). A JSON line that is written within a span says so: `trace_id`, `span_id`. Spans go to
//! `OTEL_EXPORTER_OTLP_ENDPOINT` when that is set, in the standard variables' terms; nothing is sent anywhere otherwise. A
//! collector that is not there costs spans and nothing else: no wait at the start, none at work, and [`STOP_PATIENCE`] at the
//! end.

mod export;
mod indented;
mod traced;

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use lifeline_engine::trace::TARGET;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use self::export::Telling;
use self::indented::Indenting;
use self::traced::Traced;

/// What `info` means: the client libraries' lines for a request or a connection that failed do not name the server; ours do. Nor
/// does a line for each kind that may not be watched say more than ours.
const INFO: &str =
    "info,async_nats=warn,async_nats::connector=off,kube=warn,kube_client::client=off,kube_runtime::watcher=off";

/// The levels there are.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Where spans are exported to (OpenTelemetry, "OTLP Exporter Configuration").
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Time for the last spans to be sent. A collector that is there takes milliseconds.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Keeps exporting until it is dropped; then what waits is sent.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
    level: Level,
}

/// The level of log lines, which may be changed while the process runs. Clones change the same.
#[derive(Clone)]
pub struct Level {
    now: Arc<Mutex<String>>,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl fmt::Debug for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Level({})", self.get())
    }
}

impl Level {
    /// The level as it was set.
    #[must_use]
    pub fn get(&self) -> String {
        self.now.lock().clone()
    }

    /// Sets another one, which holds from now on until the process ends; the one before.
    ///
    /// # Errors
    /// What is wrong with it. Then the level stays.
    pub fn set(&self, level: &str) -> Result<String, String> {
        let filter = filter(level)?;
        let mut now = self.now.lock();
        self.filter.reload(filter).map_err(|error| error.to_string())?;
        Ok(std::mem::replace(&mut *now, level.trim().to_owned()))
    }
}

impl Telemetry {
    /// Sets up this process. Has to be called inside a tokio runtime, which carries the exporter. `level` is one that [`filter`]
    /// takes; `as_json` asks for JSON lines.
    ///
    /// A value of a standard variable that cannot be used is said on stderr and ignored: exporting never keeps an engine from
    /// starting.
    #[must_use]
    pub fn start(level: &str, as_json: bool) -> Telemetry {
        let spans = exporter();
        let (level, filter) = reloadable(level);
        subscriber(filter, as_json, std::io::stderr, spans.as_ref()).init();
        Telemetry { spans, level }
    }

    /// The level of its lines.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level.clone()
    }
}

type Filter = reload::Layer<EnvFilter, Registry>;

fn reloadable(level: &str) -> (Level, Filter) {
    let (layer, handle) = reload::Layer::new(filter(level).unwrap_or_else(|_| EnvFilter::new(INFO)));
    (Level { now: Arc::new(Mutex::new(level.to_owned())), filter: handle }, layer)
}

/// Layers with one filter each, none of them nested or optional: only then does the registry know that nobody wants a span,
/// and makes none.
fn subscriber<W>(
    level: Filter,
    as_json: bool,
    writer: W,
    spans: Option<&SdkTracerProvider>,
) -> impl tracing::Subscriber + Send + Sync + use<W>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    // Span fields do not belong on log lines: the lines name what they speak of themselves.
    let events = FilterFn::new(|metadata| !metadata.is_span());
    let mut layers = vec![lines(as_json, writer).with_filter(level.and(events)).boxed()];
    if let Some(provider) = spans {
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("lifeline"));
        layers.push(layer.with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO)).boxed());
    }
    tracing_subscriber::registry().with(layers)
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(spans) = self.spans.take()
            && let Err(error) = spans.shutdown_with_timeout(STOP_PATIENCE)
        {
            eprintln!("warning: the last spans were not exported: {error}");
        }
    }
}

/// The filter of a level: `debug`, or levels by target as `info,lifeline_engine=debug`.
///
/// # Errors
/// What is wrong with it.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    let level = level.trim();
    for part in level.split(',').map(str::trim) {
        // A lone word would be taken for a target, and silence everything else.
        if !part.contains(['=', '[', ':', '_']) && !LEVELS.contains(&part.to_lowercase().as_str()) {
            return Err(format!("`{part}` is no level, expected one of {}", LEVELS.join(", ")));
        }
    }
    EnvFilter::try_new(if level.eq_ignore_ascii_case("info") { INFO } else { level }).map_err(|error| error.to_string())
}

fn lines<W>(as_json: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // What cannot be written to standard error cannot be complained about there either: the complaint would panic.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines = lines.with_target(false).with_ansi(colour && !as_json);
    match as_json {
        true => lines.json().with_target(true).map_event_format(Traced).boxed(),
        false => lines.map_writer(Indenting).boxed(),
    }
}

fn exporter() -> Option<SdkTracerProvider> {
    let wanted = ENDPOINTS.iter().any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty()));
    if !wanted {
        return None;
    }
    match SpanExporter::builder().with_tonic().build() {
        Ok(exporter) => {
            let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "lifeline".to_owned());
            let resource = Resource::builder().with_service_name(name).build();
            let exporter = Telling::new(exporter);
            Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
        }
        Err(error) => {
            eprintln!("warning: spans are not exported: {error}\n  hint: check OTEL_EXPORTER_OTLP_ENDPOINT");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;

    use super::*;

    fn is_made(spans: Option<&SdkTracerProvider>) -> bool {
        let (_level, filter) = reloadable("info");
        let subscriber = subscriber(filter, false, std::io::stderr, spans);
        with_default(subscriber, || !tracing::info_span!(target: TARGET, "record").is_disabled())
    }

    #[test]
    fn spans_are_made_only_where_they_are_exported() {
        assert!(!is_made(None));
        assert!(is_made(Some(&SdkTracerProvider::builder().build())));
    }

    /// What is written, line by line.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn lines(&self) -> Vec<serde_json::Value> {
            let text = String::from_utf8(self.0.lock().clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
        }
    }

    #[test]
    fn json_lines_name_the_trace_that_they_are_written_in() {
        let written = Written::default();
        let writer = written.clone();
        let provider = SdkTracerProvider::builder().build();
        let (_level, filter) = reloadable("info");
        with_default(subscriber(filter, true, move || writer.clone(), Some(&provider)), || {
            tracing::info!("outside");
            tracing::info_span!(target: TARGET, "apply").in_scope(|| tracing::info!(object = "a", "inside"));
        });
        let [outside, inside] = written.lines().try_into().expect("two lines");
        assert!(outside.get("trace_id").is_none(), "{outside}");
        assert_eq!(inside["trace_id"].as_str().map(str::len), Some(32), "{inside}");
        assert_eq!(inside["span_id"].as_str().map(str::len), Some(16), "{inside}");
        assert_eq!(inside["fields"]["message"], "inside");
    }

    #[test]
    fn the_level_changes_at_run_time() {
        let written = Written::default();
        let writer = written.clone();
        let (level, filter) = reloadable("info");
        with_default(subscriber(filter, true, move || writer.clone(), None), || {
            tracing::debug!("one");
            assert_eq!(level.set("debug"), Ok("info".to_owned()));
            tracing::debug!("two");
            assert!(level.set("loud").is_err_and(|error| error.contains("`loud`")));
            tracing::debug!("three");
            assert_eq!(level.set("warn"), Ok("debug".to_owned()));
            tracing::info!("four");
        });
        let said: Vec<_> = written.lines().iter().map(|line| line["fields"]["message"].clone()).collect();
        assert_eq!(said, ["two", "three"]);
        assert_eq!(level.get(), "warn");
    }

    #[test]
    fn levels_are_told_from_words() {
        let check = |level: &str, fine: bool| assert_eq!(filter(level).is_ok(), fine, "{level}");
        check("info", true);
        check("WARN", true);
        check("info,lifeline_engine=debug", true);
        check("lifeline_engine::reconcile", true);
        check("inof", false);
        check("info,lifeline=loud", false);
        check("", false);
    }
}
