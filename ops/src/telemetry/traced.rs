//! JSON lines that name the trace they belong to.
//!
//! Start at [`Traced`]. The formatter of the library knows spans and nothing of OpenTelemetry's ids.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A formatter of JSON objects, each in a line, with `trace_id` and `span_id` where the line is written within a span that is
/// exported.
#[derive(Debug)]
pub struct Traced<F>(pub F);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let trace = Context::map_current(|context| context.span().span_context().clone());
        if !trace.is_valid() {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.trim_end().strip_suffix('}') {
            Some(object) => {
                writeln!(writer, "{object},\"trace_id\":\"{}\",\"span_id\":\"{}\"}}", trace.trace_id(), trace.span_id())
            }
            None => writer.write_str(&line),
        }
    }
}
