//! One resource by its key.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use lifeline_projections::as_of::Moment;
use lifeline_projections::fold::Projection;
use lifeline_projections::one::{self, One, ResourceDetail};
use lifeline_projections::reads;
use lifeline_store::{Disk, Offset};
use serde::Deserialize;
use utoipa::IntoParams;

use super::document::{Refused, RefusedAhead, RefusedPast, RefusedUnknown};
use super::lists::{PATIENCE, TIME_HEADER};
use super::parameters::Asked;
use super::problem::Problem;
use super::{Shared, blocking};

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
    let as_of = as_of.map(|text| text.parse::<Moment>()).transpose();
    let as_of = as_of.map_err(|error| Problem::bad_parameter(&format!("as_of: {error}")))?;
    if let Some(offset) = at_least.map(Offset::from)
        && !shared.view.reach(offset, PATIENCE).await
    {
        return Err(Problem::not_reached(offset, shared.view.projection().watermark()));
    }
    let unknown = Problem::unknown_resource(&source, &subject);
    let read = move |projection: &Projection| {
        (one::resource(projection, &source, &subject), projection.ground().folded_unix_nanos)
    };
    let (one, unix_nanos) = match as_of {
        None => read(&shared.view.projection()),
        Some(moment) => {
            let turn = shared.past.turn().await;
            blocking(move || Ok(read(&*turn.at(&shared.view.log(), moment)?))).await?
        }
    };
    let mut response = Json(one.ok_or(unknown)?).into_response();
    if let Ok(time) = HeaderValue::try_from(reads::time(unix_nanos)) {
        response.headers_mut().insert(TIME_HEADER.clone(), time);
    }
    Ok(response)
}
