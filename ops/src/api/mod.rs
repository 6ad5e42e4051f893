//! The HTTP API: what may be asked of an engine, and what an operator's tools scrape.
//!
//! Start at [`router`]. Every list is `{"offset": N, "items": [...], "next": "cursor"}`; every error is a problem document
//! (see [`problem`]); a parameter that is not known is refused rather than ignored. All of them read; the paths that change
//! something are added by [`redrive`], [`confirm`], [`replay`] and [`log_level`], those about other rules by [`plan`].

pub mod access;
pub mod confirm;
pub mod document;
pub mod doorway;
pub mod metrics;
pub mod problem;

mod difference;
mod lists;
pub mod log_level;
pub(crate) mod one;
mod order;
mod orphans;
pub(crate) mod parameters;
pub mod plan;
mod records;
pub mod redrive;
mod refusals;
pub mod replay;
mod resource;
mod stuck;
pub(crate) mod verify;
mod watch;
mod why;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lifeline_engine::queries::Queries;
use lifeline_engine::status::Status;
use lifeline_store::Disk;
use tokio::sync::Semaphore;

pub(crate) use lists::TIME_HEADER;

use crate::api::parameters::{Asked, Nothing};
use crate::api::problem::Problem;
use crate::api::refusals::{Refused, RefusedAtTheDoor};

/// What the API reads from.
pub struct ApiState<D: Disk> {
    /// The questions about the engine.
    pub queries: Queries<D>,
    /// The status of the engine, now.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    /// Becomes true, or loses its sender, when the engine stops: then streams end.
    pub stop: tokio::sync::watch::Receiver<bool>,
}

/// What handlers share.
struct Served<D: Disk> {
    queries: Queries<D>,
    status: Arc<dyn Fn() -> Status + Send + Sync>,
    stop: tokio::sync::watch::Receiver<bool>,
    watches: Arc<Semaphore>,
}

/// The shared part, cheap to clone.
type Shared<D> = Arc<Served<D>>;

/// All paths.
pub fn router<D: Disk>(state: ApiState<D>) -> Router {
    let shared = Arc::new(Served {
        queries: state.queries,
        status: state.status,
        stop: state.stop,
        watches: Arc::new(Semaphore::new(watch::WATCHES_MAX)),
    });
    Router::new()
        .route("/v1/resources", get(lists::resources::<D>))
        .route("/v1/resource", get(resource::resource::<D>))
        .route("/v1/watch", get(watch::watch::<D>))
        .route("/v1/lifecycles", get(lists::lifecycles::<D>))
        .route("/v1/objects", get(lists::objects::<D>))
        .route("/v1/conflicts", get(lists::conflicts::<D>))
        .route("/v1/rules", get(lists::rules::<D>))
        .route("/v1/orphans", get(orphans::orphans::<D>))
        .route("/v1/dry-run", get(orphans::dry_runs::<D>))
        .route("/v1/conflicts/foreign", get(orphans::foreign::<D>))
        .route("/v1/stuck", get(stuck::stuck::<D>))
        .route("/v1/difference", get(difference::difference::<D>))
        .route("/v1/why/object", get(why::object::<D>))
        .route("/v1/why/event", get(why::event::<D>))
        .route("/v1/history", get(records::history::<D>))
        .route("/v1/events", get(records::events::<D>))
        .route("/v1/drift", get(records::drift::<D>))
        .route("/v1/event", get(why::detail::<D>))
        .route("/v1/status", get(status::<D>))
        .route("/v1/verify", get(verify::verify::<D>))
        .route("/openapi.json", get(document::tell))
        .route("/livez", get(alive))
        .route("/readyz", get(ready::<D>))
        .route("/metrics", get(scrape::<D>))
        .fallback(async || Problem::no_such_path())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(shared)
}

/// The status of the engine.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "engine",
    responses((status = 200, description = "Everything that an operator watches.", body = Status), Refused),
)]
async fn status<D: Disk>(State(shared): State<Shared<D>>, _: Asked<Nothing>) -> Json<Status> {
    Json((shared.status)())
}

/// Whether the process is alive. It is, also while it waits for something.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "engine",
    security(()),
    responses(
        (status = 200, description = "The process is alive.", body = String, content_type = "text/plain"),
        RefusedAtTheDoor,
    ),
)]
async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the engine does all of its work: the log is open, rules are there, NATS is read.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "engine",
    security(()),
    responses(
        (status = 200, description = "The engine is ready.", body = String, content_type = "text/plain"),
        (status = 503, description = "The engine is not ready: one reason on each line.", body = String, content_type = "text/plain"),
        RefusedAtTheDoor,
    ),
)]
async fn ready<D: Disk>(State(shared): State<Shared<D>>) -> Response {
    let reasons = (shared.status)().not_ready();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    // A reason may carry its hint on a second line; here a line is a reason.
    let lines: String = reasons.iter().map(|reason| reason.replace('\n', " ") + "\n").collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

/// The metrics, as Prometheus reads them: exposition format 0.0.4, or OpenMetrics 1.0 where `Accept` asks for it.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "engine",
    security(()),
    responses(
        (status = 200, description = "All metrics.", body = String, content_type = "text/plain"),
        RefusedAtTheDoor,
    ),
)]
async fn scrape<D: Disk>(State(shared): State<Shared<D>>, headers: HeaderMap) -> Response {
    let format = metrics::Format::wanted(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(header::CONTENT_TYPE, format.content_type())], metrics::written(&(shared.status)(), format)).into_response()
}

#[cfg(test)]
pub(crate) mod tests;
