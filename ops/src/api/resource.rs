//! One resource by its key.

use axum::extract::State;
use axum::response::Response;
use lifeline_engine::queries::Dated;
use lifeline_projections::fact::ResourceKey;
use lifeline_store::Disk;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::lists::{respond, when};
use super::one::{One, ResourceDetail};
use super::parameters::Asked;
use super::problem::Problem;
use super::refusals::{Refused, RefusedAhead, RefusedPast, RefusedUnknown};

/// The parameters of one resource.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ResourceQuery {
    /// The CloudEvent source, in full.
    source: String,
    /// The CloudEvent subject, in full; a missing one is the empty one, as in an event.
    #[serde(default)]
    #[param(default = "")]
    subject: String,
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

/// One resource, with its lifecycles.
#[utoipa::path(
    get,
    path = "/v1/resource",
    tag = "state",
    params(ResourceQuery),
    responses(
        (
            status = 200,
            description = "The resource.",
            body = One<ResourceDetail>,
            headers(("lifeline-time" = Option<String>, description = "When the last record that the answer reflects was written, RFC 3339.")),
        ),
        Refused,
        RefusedUnknown,
        RefusedAhead,
        RefusedPast,
    ),
)]
pub(super) async fn resource<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<ResourceQuery>,
) -> Result<Response, Problem> {
    let ResourceQuery { source, subject, at_least, as_of } = query;
    let key = ResourceKey { source: source.into(), subject: subject.into() };
    let Dated { answer, unix_nanos } = shared.queries.resource(key.clone(), when(at_least, as_of)?).await?;
    let answer = One::of(answer, |resource| ResourceDetail::of(&key, &resource));
    Ok(respond(Dated { answer, unix_nanos }))
}
