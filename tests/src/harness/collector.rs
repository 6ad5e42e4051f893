//! An OpenTelemetry collector: the OTLP/gRPC service itself, which keeps every span it is sent.
//!
//! Start at [`Collector::start`]. The service is the one generated from the protocol's own definition; it is served by
//! hyper, for tonic's own server would have features compiled in that the product does not have.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::codegen::Service;

use super::Failure;

/// A span as a test looks at it: ids in hexadecimal, no parent as the empty string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// `service.name` of who sent it.
    pub service: String,
    /// The span's name.
    pub name: String,
    /// The trace it belongs to.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of its parent.
    pub parent: String,
    /// Whether it says that it failed.
    pub failed: bool,
    /// Its attributes, in the order in which they came.
    pub attributes: Vec<(String, String)>,
}

impl Traced {
    /// The value of an attribute, or the empty string.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// A collector on a port of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Kept,
    serving: JoinHandle<()>,
}

impl Collector {
    /// Starts one in the runtime of the caller.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> Result<Self, Failure> {
        Self::start_on(0).await
    }

    /// The same on a port that is known before.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start_on(port: u16) -> Result<Self, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let (address, spans) = (listener.local_addr()?, Kept::default());
        let service = TraceServiceServer::new(spans.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let answer = service_fn(move |request: hyper::Request<Incoming>| {
                    let mut service = service.clone();
                    async move { Ok::<_, Infallible>(service.call(request).await.unwrap_or_else(|never| match never {})) }
                });
                let connection =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(connection);
            }
        });
        Ok(Self { address, spans, serving })
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` has to be.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span sent so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Traced> {
        self.spans.0.lock().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Traced>>>);

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let mut kept = self.0.lock();
        for resource in request.into_inner().resource_spans {
            let attributes = read(resource.resource.unwrap_or_default().attributes);
            let service = attributes.into_iter().find(|(key, _)| key == "service.name").unwrap_or_default().1;
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| traced(&service, span)));
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

fn traced(service: &str, span: Span) -> Traced {
    Traced {
        service: service.to_owned(),
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        failed: span.status.is_some_and(|status: Status| status.code() == StatusCode::Error),
        attributes: read(span.attributes),
    }
}

fn read(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
