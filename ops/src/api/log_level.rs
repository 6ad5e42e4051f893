//! The level of log lines, changed while the engine runs.
//!
//! Start at [`with_log_level`]. Who may ask is decided before, by [`super::access`]; what an order has to be like, by
//! [`super::order`].

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use tracing::warn;
use utoipa::ToSchema;

use super::access::Asker;
use super::order;
use super::problem::Problem;
use super::refusals::{Refused, RefusedOrder};
use crate::telemetry::Level;

/// Which lines are wanted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelOrder {
    /// As the setting `log`: `debug`, or by target as `info,lifeline_engine=debug`.
    pub level: String,
}

/// What is in force now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LevelSet {
    /// Who asked: the name that was authenticated, or `anybody`.
    pub by: String,
    /// The level from now on.
    pub level: String,
    /// The level before.
    pub before: String,
}

/// The paths of `router`, and the one for the level.
pub fn with_log_level(router: Router, level: Level) -> Router {
    let levels = Router::new()
        .route("/v1/log-level", post(set))
        .method_not_allowed_fallback(async || Problem::post_only())
        .with_state(level);
    router.merge(levels)
}

/// Changes the level of log lines, until the engine ends.
///
/// The next start has the level of the setting `log` again. Requests with an `Origin` are refused: no web page may ask.
#[utoipa::path(
    post,
    path = "/v1/log-level",
    tag = "engine",
    request_body = LevelOrder,
    responses((status = 200, description = "The level is in force.", body = LevelSet), Refused, RefusedOrder),
)]
pub(super) async fn set(
    State(state): State<Level>,
    asker: Option<Extension<Asker>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<LevelSet>, Problem> {
    let LevelOrder { level } = order::parse(&headers, &body)?;
    let by = asker.map_or_else(Asker::anybody, |Extension(asker)| asker).0;
    let before = state.set(&level).map_err(|why| Problem::bad_parameter(&why))?;
    let level = state.get();
    // A warning, so that it is seen at either level.
    warn!(by, before, level, "the level of log lines is changed");
    Ok(Json(LevelSet { by, level, before }))
}
