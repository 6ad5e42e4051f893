//! Exporting as an operator wants to hear of it: once when it begins to fail, and once when it goes on.
//!
//! Start at [`Telling`]. It sends nothing itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::{info, warn};

/// An exporter that reports its failures. The library would say so with every batch, for as long as a collector is away.
#[derive(Debug)]
pub struct Telling<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E> Telling<E> {
    /// Wraps an exporter that is thought to work.
    pub fn new(exporter: E) -> Telling<E> {
        Telling { exporter, failing: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let failed_before = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !failed_before => warn!(
                "spans are lost, the collector does not take them: {error}\nhint: check that a collector listens for \
                 OTLP by gRPC where OTEL_EXPORTER_OTLP_ENDPOINT says"
            ),
            Ok(()) if failed_before => info!("the collector takes spans again"),
            _ => {}
        }
        // The library would only report an error again.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
