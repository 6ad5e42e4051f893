//! The lifecycles that wait, the most urgent first.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use lifeline_projections::reads::{LifecycleRow, List};
use lifeline_store::Disk;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::lists::{Paged, respond};
use super::parameters::Asked;
use super::problem::Problem;
use super::refusals::{Refused, RefusedAhead, RefusedPast};

/// How long a decision may wait before it is reported, in seconds.
const PATIENCE_SECONDS: u64 = 30;

/// The parameters of the list of what is stuck.
#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StuckQuery {
    /// How long a decision must have waited to be listed, in seconds. Failures are listed at once.
    #[param(nullable = false, format = "uint64", default = 30)]
    longer_than: Option<u64>,
    /// Rows in the answer, at most.
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before, which is opaque; the first page when missing.
    #[param(nullable = false)]
    after: Option<String>,
    /// The answer shall reflect every record below this offset: the engine waits for it up to 3 seconds, then refuses with
    /// `not-reached`.
    #[param(nullable = false, format = "uint64")]
    at_least: Option<u64>,
    /// The state as it was: below this offset, or at this RFC 3339 time; the present state when missing.
    #[param(
        nullable = false,
        pattern = r"^([0-9]{1,19}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$",
        example = "2026-11-22T14:12:03Z"
    )]
    as_of: Option<String>,
}

/// Lifecycles that fail or wait, the most urgent first: those that fail, then those that wait longest.
#[utoipa::path(
    get,
    path = "/v1/stuck",
    tag = "state",
    params(StuckQuery),
    responses(
        (
            status = 200,
            description = "A page of the list.",
            body = List<LifecycleRow>,
            headers(("lifeline-time" = Option<String>, description = "When the last record that the answer reflects was written, RFC 3339; missing before the first.")),
        ),
        Refused,
        RefusedAhead,
        RefusedPast,
    ),
)]
pub(super) async fn stuck<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<StuckQuery>,
) -> Result<Response, Problem> {
    let StuckQuery { longer_than, limit, after, at_least, as_of } = query;
    let longer_than = Duration::from_secs(longer_than.unwrap_or(PATIENCE_SECONDS));
    let (page, when) = Paged { limit, after, at_least, as_of }.parts()?;
    Ok(respond(shared.queries.stuck(longer_than, page, when).await?))
}
