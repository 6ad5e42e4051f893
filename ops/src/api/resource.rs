//! One resource by its key.

use axum::extract::State;
use axum::response::Response;
use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::one::{One, ResourceDetail};
use lifeline_store::{Disk, Offset};
use serde::Deserialize;
use utoipa::IntoParams;

use super::document::{Refused, RefusedAhead, RefusedPast, RefusedUnknown};
use super::lists::{reach, respond};
use super::moments::recorded_end;
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
    reach(&shared, at_least.map(Offset::from)).await?;
    let unknown = Problem::unknown_resource(&source, &subject);
    let key = ResourceKey { source: source.into(), subject: subject.into() };
    let Some(moment) = as_of else {
        let (offset, resource, unix_nanos) = {
            let projection = shared.view.projection();
            let resource = projection.resource(&key.source, &key.subject);
            (projection.watermark(), resource, projection.ground().folded_unix_nanos)
        };
        let item = ResourceDetail::of(&key, &resource.ok_or(unknown)?);
        return Ok(respond(One { offset: offset.get(), item }, unix_nanos));
    };
    blocking(move || {
        let log = shared.view.log();
        let moment = recorded_end(&shared, moment)?;
        let (trail, landmarks) = {
            let projection = shared.view.projection();
            (projection.trail(&key.source, &key.subject, moment), projection.landmarks().clone())
        };
        // The log is read without the lock: the recorder does not wait for it.
        let resource = match trail {
            Some(trail) => as_of::resource(&log, &landmarks, &trail, moment)?,
            None => None,
        };
        let item = ResourceDetail::of(&key, &resource.ok_or(unknown)?);
        Ok(respond(One { offset: moment.get(), item }, as_of::time(&log, moment)?))
    })
    .await
}
