//! What the process says of itself: log lines on stderr, spans by OTLP.
//!
//! Start at [`Telemetry::start`]. Lines go to stderr at the level of `LIFELINE_LOG` (default `info`), as text, or as JSON
//! with `LIFELINE_LOG_FORMAT=json`. Spans go to `OTEL_EXPORTER_OTLP_ENDPOINT` when that
//! is set, in the standard variables' terms; nothing is sent anywhere otherwise. A collector that is not there costs spans
//! and nothing else: no wait at the start, none at work, and [`STOP_PATIENCE`] at the end.

mod export;

use std::io::IsTerminal;
use std::time::Duration;

use lifeline_engine::trace::TARGET;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

use self::export::Telling;

/// Names the level and targets of log lines, as `info,lifeline_engine=debug`.
const LEVEL: &str = "LIFELINE_LOG";

/// The client libraries' lines for a request or a connection that failed do not name the server; ours do.
const DEFAULT_LEVEL: &str = "info,async_nats=warn,async_nats::connector=off,kube=warn,kube_client::client=off";

/// Asks for JSON lines.
const FORMAT: &str = "LIFELINE_LOG_FORMAT";

/// Where spans are exported to (OpenTelemetry, "OTLP Exporter Configuration").
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Time for the last spans to be sent. A collector that is there takes milliseconds.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Keeps exporting until it is dropped; then what waits is sent.
#[derive(Debug, Default)]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up this process. Has to be called inside a tokio runtime, which carries the exporter.
    ///
    /// A value of an environment variable that cannot be used is said on stderr and ignored: telemetry never keeps an
    /// engine from starting.
    #[must_use]
    pub fn start() -> Telemetry {
        let spans = exporter();
        subscriber(spans.as_ref()).init();
        Telemetry { spans }
    }
}

/// Layers with one filter each, none of them nested or optional: only then does the registry know that nobody wants a span,
/// and makes none.
fn subscriber(spans: Option<&SdkTracerProvider>) -> impl tracing::Subscriber + Send + Sync + use<> {
    // Span fields do not belong on log lines: the lines name what they speak of themselves.
    let events = FilterFn::new(|metadata| !metadata.is_span());
    let mut layers = vec![lines().with_filter(level().and(events)).boxed()];
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

fn level() -> EnvFilter {
    let wanted = std::env::var(LEVEL).unwrap_or_default();
    let wanted = if wanted.trim().is_empty() { DEFAULT_LEVEL.to_owned() } else { wanted };
    EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
        eprintln!(
            "warning: {LEVEL} is `{wanted}`: {error}\n  hint: write it like `info` or `info,lifeline_engine=debug`"
        );
        EnvFilter::new("info")
    })
}

fn lines() -> Box<dyn Layer<Registry> + Send + Sync> {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // What cannot be written to standard error cannot be complained about there either: the complaint would panic.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let lines = lines.with_target(false).with_ansi(colour);
    match std::env::var(FORMAT).as_deref() {
        Ok("json") => lines.json().with_target(true).boxed(),
        _ => lines.boxed(),
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
        with_default(subscriber(spans), || !tracing::info_span!(target: TARGET, "record").is_disabled())
    }

    #[test]
    fn spans_are_made_only_where_they_are_exported() {
        assert!(!is_made(None));
        assert!(is_made(Some(&SdkTracerProvider::builder().build())));
    }
}
