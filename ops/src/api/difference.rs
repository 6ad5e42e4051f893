//! What differs between two moments.

use axum::Json;
use axum::extract::State;
use lifeline_projections::difference::Difference;
use lifeline_projections::reads::{Filter, Page};
use lifeline_store::Disk;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::lists::{checked_limit, moment};
use super::parameters::Asked;
use super::problem::Problem;
use super::refusals::{Refused, RefusedAhead, RefusedExpired, RefusedPast};

/// The parameters of a difference.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DifferenceQuery {
    /// The earlier moment: below this offset, or at this RFC 3339 time.
    #[param(pattern = r"^([0-9]{1,19}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$", example = "2026-11-22T14:12:03Z")]
    from: String,
    /// The later one, in the same forms; now when missing.
    #[param(
        nullable = false,
        pattern = r"^([0-9]{1,19}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$",
        example = "2026-11-22T15:00:00Z"
    )]
    to: Option<String>,
    /// The CloudEvent source begins with this.
    #[param(nullable = false)]
    source: Option<String>,
    /// The CloudEvent subject is this; the empty one is that of events without a subject.
    #[param(nullable = false)]
    subject: Option<String>,
    /// The name of the EventTrigger is this.
    #[param(nullable = false)]
    trigger: Option<String>,
    /// The cluster is this, as `namespace/name`; the own one is `mgmt/mgmt`.
    #[param(nullable = false)]
    cluster: Option<String>,
    /// The phase is this, at either moment, in upper or lower case.
    #[param(nullable = false, schema_with = super::refusals::phases)]
    phase: Option<String>,
    /// Rows in the answer, at most.
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before, which is opaque; the first page when missing.
    #[param(nullable = false)]
    after: Option<String>,
}

/// The lifecycles that differ between two moments, sorted by source, subject, trigger and cluster.
#[utoipa::path(
    get,
    path = "/v1/difference",
    tag = "state",
    params(DifferenceQuery),
    responses((status = 200, description = "A page of the list.", body = Difference), Refused, RefusedAhead, RefusedPast, RefusedExpired),
)]
pub(super) async fn difference<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<DifferenceQuery>,
) -> Result<Json<Difference>, Problem> {
    let DifferenceQuery { from, to, source, subject, trigger, cluster, phase, limit, after } = query;
    let from = moment("from", &from)?;
    let to = to.map(|to| moment("to", &to)).transpose()?;
    let filter = Filter { source, subject, trigger, cluster, phase, ..Filter::default() };
    let page = Page { limit: checked_limit(limit)?, after, looks: None };
    Ok(Json(shared.queries.difference(from, to, filter, page).await?))
}

#[cfg(test)]
mod tests;
