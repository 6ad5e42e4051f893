//! Why: an object, and an event; and an event in full.

use axum::Json;
use axum::extract::State;
use lifeline_projections::detail::EventDetail;
use lifeline_projections::why::event::WhyEvent;
use lifeline_projections::why::object::{Question, WhyObject};
use lifeline_store::{Disk, Offset};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::one::One;
use super::parameters::Asked;
use super::problem::Problem;
use super::refusals::{Refused, RefusedPast};

/// The parameters of a question about an object.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ObjectQuery {
    /// Its kind, in upper or lower case, or a plural or short name of `kubectl`.
    #[param(min_length = 1)]
    kind: String,
    /// The name of the object, in full.
    #[param(min_length = 1)]
    name: String,
    /// Its namespace; when missing, an object without one is meant, and where there is none one in any namespace.
    #[param(nullable = false)]
    namespace: Option<String>,
    /// Its API group, empty for the core group; any when missing.
    #[param(nullable = false)]
    group: Option<String>,
    /// The cluster it is on, as `namespace/name`; any when missing.
    #[param(nullable = false)]
    cluster: Option<String>,
}

/// Why an object is as it is: the lifecycle that holds it, the event, the rule, and what was applied; or why it is gone.
#[utoipa::path(
    get,
    path = "/v1/why/object",
    tag = "state",
    params(ObjectQuery),
    responses((status = 200, description = "The answer; its `verdict` says whether the object is known.", body = One<WhyObject>), Refused),
)]
pub(super) async fn object<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<ObjectQuery>,
) -> Result<Json<One<WhyObject>>, Problem> {
    let ObjectQuery { kind, name, namespace, group, cluster } = query;
    for (parameter, value) in [("kind", &kind), ("name", &name)] {
        if value.is_empty() {
            return Err(Problem::bad_parameter(&format!("{parameter}: it is empty, and every object has one")));
        }
    }
    let why = shared.queries.why_object(Question { kind, name, namespace, group, cluster }).await?;
    Ok(Json(One::of(why, |why| why)))
}

/// The parameters of a question about an event.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Its record in the log.
    #[param(format = "uint64")]
    offset: u64,
}

/// What came of an event: the decisions, what they caused, and why nothing where nothing happened.
#[utoipa::path(
    get,
    path = "/v1/why/event",
    tag = "records",
    params(EventQuery),
    responses(
        (status = 200, description = "The answer; a record that is no event is shown as what it is.", body = One<WhyEvent>),
        Refused,
        RefusedPast,
    ),
)]
pub(super) async fn event<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<EventQuery>,
) -> Result<Json<One<WhyEvent>>, Problem> {
    Ok(Json(One::of(shared.queries.why_event(Offset::from(query.offset)).await?, |why| why)))
}

/// One record in full: the message with its attributes, data and headers, or the bytes of a rejected one; and what came of it.
#[utoipa::path(
    get,
    path = "/v1/event",
    tag = "records",
    params(EventQuery),
    responses(
        (status = 200, description = "The record; one that holds no message is shown as what it is.", body = One<EventDetail>),
        Refused,
        RefusedPast,
    ),
)]
pub(super) async fn detail<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<EventQuery>,
) -> Result<Json<One<EventDetail>>, Problem> {
    Ok(Json(One::of(shared.queries.event(Offset::from(query.offset)).await?, |detail| detail)))
}

#[cfg(test)]
mod tests;
