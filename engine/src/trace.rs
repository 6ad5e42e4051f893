//! Spans along the path of an event: recorded, reconciled, applied or deleted, in the trace that its producer began.
//!
//! The parent of an event's span is its `traceparent` (CloudEvents distributed tracing extension, W3C Trace Context). The
//! spans that follow from the event find their parent by its offset in [`Traces`], which keeps the newest 10,000:
//! a reconciliation that happens after a restart begins a trace of its own.
//!
//! The spans have the target [`TARGET`], which nothing but an exporter asks for, so that recording a million events
//! without one costs a comparison each.

use std::collections::BTreeMap;

use lifeline_projections::event::CloudEvent;
use lifeline_projections::fact::{Delivery, ObjectKey};
use lifeline_store::Offset;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use parking_lot::Mutex;
use tracing::field::Empty;
use tracing::{Instrument, Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::cluster;

/// The target of all spans that are exported.
pub const TARGET: &str = "lifeline::trace";

/// Events whose spans can still be continued.
const REMEMBERED_MAX: usize = 10_000;

/// The traces of the newest events, by offset.
#[derive(Debug, Default)]
pub struct Traces {
    contexts: Mutex<BTreeMap<Offset, SpanContext>>,
}

impl Traces {
    /// The span of an event that is being recorded; disabled, and nothing remembered, where nobody exports spans.
    pub fn event(&self, event: &CloudEvent<'_>, delivery: &Delivery<'_>, offset: Offset) -> Span {
        // Asked first: where no subscriber is set at all, a span would still gather its fields for the `log` crate.
        if !tracing::span_enabled!(target: TARGET, Level::INFO) {
            return Span::none();
        }
        let span = tracing::info_span!(
            target: TARGET,
            "record",
            cloudevents.event_id = &*event.id,
            cloudevents.event_source = &*event.source,
            cloudevents.event_subject = &*event.subject,
            cloudevents.event_type = &*event.kind,
            messaging.destination.name = delivery.subject,
            lifeline.stream = delivery.stream,
            lifeline.sequence = delivery.sequence,
            lifeline.offset = offset.get(),
        );
        if let Some(parent) = event.traceparent.as_deref().and_then(parse_traceparent) {
            // Refused only for a span that has begun its life in the exporter already, which this one has not.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
        let context = span.context().span().span_context().clone();
        if context.is_valid() {
            let mut contexts = self.contexts.lock();
            contexts.insert(offset, context);
            while contexts.len() > REMEMBERED_MAX {
                contexts.pop_first();
            }
        }
        span
    }

    /// Makes `span` a child of the span of the event at `offset`, where that is remembered.
    pub fn continue_from(&self, span: &Span, offset: Offset) {
        if let Some(parent) = self.contexts.lock().get(&offset) {
            let _ = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
        }
    }
}

/// The trace that a span belongs to, where it is exported.
#[must_use]
pub fn exported(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context().span().span_context().clone();
    context.is_sampled().then(|| context.trace_id().to_string())
}

/// Makes one call that changes a cluster in a span of its own, which `verb` names and which records how it ended: in the
/// words of `outcome`, or `failed` and why.
pub async fn write<T>(
    verb: &'static str,
    object: &ObjectKey,
    call: impl Future<Output = Result<T, cluster::Error>>,
    outcome: impl FnOnce(&T) -> &'static str,
) -> Result<T, cluster::Error> {
    let span = tracing::info_span!(
        target: TARGET,
        "write",
        otel.name = verb,
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        lifeline.verb = verb,
        lifeline.object = %object,
        lifeline.outcome = Empty,
    );
    let result = call.instrument(span.clone()).await;
    match &result {
        Ok(done) => {
            span.record("lifeline.outcome", outcome(done));
        }
        Err(error) => {
            span.record("lifeline.outcome", "failed");
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", tracing::field::display(error));
        }
    }
    result
}

/// Reads a `traceparent` of version 00 (W3C Trace Context 3.2); what does not parse is no parent.
fn parse_traceparent(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    if !hex(version, 2) || version == "ff" || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, bool)>) {
        let got = parse_traceparent(text).map(|context| (context.trace_id().to_string(), context.is_sampled()));
        assert_eq!(got, expected.map(|(trace, sampled)| (trace.to_owned(), sampled)), "{text}");
    }

    #[test]
    fn a_traceparent_is_read_or_ignored() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        check(&format!("00-{trace}-b7ad6b7169203331-01"), Some((trace, true)));
        check(&format!("00-{trace}-b7ad6b7169203331-00"), Some((trace, false)));
        check(&format!("cc-{trace}-b7ad6b7169203331-01-what-comes"), Some((trace, true)));
        check(&format!("00-{trace}-b7ad6b7169203331-01-x"), None);
        check(&format!("ff-{trace}-b7ad6b7169203331-01"), None);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01", None);
        check("é0-00000000000000000000000000000000-b7ad6b7169203331-01", None);
        check("", None);
    }
}
