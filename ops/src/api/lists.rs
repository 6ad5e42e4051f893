//! The lists that are read from the projection, now or as of an earlier moment.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use lifeline_engine::kinds;
use lifeline_engine::queries::{Dated, When};
use lifeline_projections::as_of::Moment;
use lifeline_projections::reads::{self, Filter, List, Page};
use lifeline_store::{Disk, Offset};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::Shared;
use super::parameters::Asked;
use super::problem::Problem;
use super::refusals::{Refused, RefusedAhead, RefusedPast};

/// Rows in one page, at most.
pub(super) const LIMIT_MAX: usize = 10_000;

/// Names when the last record that an answer reflects was written, RFC 3339.
pub(crate) static TIME_HEADER: HeaderName = HeaderName::from_static("lifeline-time");

/// The parameters of a filtered list.
#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filtered {
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
    /// The phase is this, in upper or lower case.
    #[param(nullable = false, schema_with = super::refusals::phases)]
    phase: Option<String>,
    /// `true`: only what is gone. `false`: all but that. A resource without lifecycles is not gone, and no object in a list is.
    #[param(nullable = false)]
    gone: Option<bool>,
    /// It holds an object of this kind, or is one: a kind in upper or lower case, or a plural or short name of `kubectl`.
    #[param(nullable = false, example = "ns")]
    kind: Option<String>,
    /// It is at least this many seconds old: a resource by its latest event, a lifecycle by its decision, an object by its
    /// latest apply.
    #[param(nullable = false, format = "uint64")]
    age_min: Option<u64>,
    /// It is at most this many seconds old.
    #[param(nullable = false, format = "uint64")]
    age_max: Option<u64>,
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

/// The parameters of a list without filters.
#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paged {
    /// Rows in the answer, at most.
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 100)]
    pub limit: Option<usize>,
    /// The `next` of the page before, which is opaque; the first page when missing.
    #[param(nullable = false)]
    pub after: Option<String>,
    /// The answer shall reflect every record below this offset: the engine waits for it up to 3 seconds, then refuses with
    /// `not-reached`.
    #[param(nullable = false, format = "uint64")]
    pub at_least: Option<u64>,
    /// The state as it was: below this offset, or at this RFC 3339 time; the present state when missing.
    #[param(
        nullable = false,
        pattern = r"^([0-9]{1,19}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$",
        example = "2026-11-22T14:12:03Z"
    )]
    pub as_of: Option<String>,
}

/// Resources, sorted by source and subject. A filter by trigger, cluster, phase, `gone` or kind wants those with such a
/// lifecycle.
#[utoipa::path(
    get,
    path = "/v1/resources",
    tag = "state",
    params(Filtered),
    responses(
        (
            status = 200,
            description = "A page of the list.",
            body = List<reads::ResourceRow>,
            headers(("lifeline-time" = Option<String>, description = "When the last record that the answer reflects was written, RFC 3339; missing before the first.")),
        ),
        Refused,
        RefusedAhead,
        RefusedPast,
    ),
)]
pub(super) async fn resources<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<Filtered>,
) -> Result<Response, Problem> {
    let (filter, page, when) = query.parts()?;
    Ok(respond(shared.queries.resources(filter, page, when).await?))
}

/// Lifecycles, sorted by source, subject, trigger and cluster.
#[utoipa::path(
    get,
    path = "/v1/lifecycles",
    tag = "state",
    params(Filtered),
    responses(
        (
            status = 200,
            description = "A page of the list.",
            body = List<reads::LifecycleRow>,
            headers(("lifeline-time" = Option<String>, description = "When the last record that the answer reflects was written, RFC 3339; missing before the first.")),
        ),
        Refused,
        RefusedAhead,
        RefusedPast,
    ),
)]
pub(super) async fn lifecycles<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<Filtered>,
) -> Result<Response, Problem> {
    let (filter, page, when) = query.parts()?;
    Ok(respond(shared.queries.lifecycles(filter, page, when).await?))
}

/// Objects held in clusters, each with the lifecycle that owns it, sorted by source, subject, trigger, cluster and object.
#[utoipa::path(
    get,
    path = "/v1/objects",
    tag = "state",
    params(Filtered),
    responses(
        (
            status = 200,
            description = "A page of the list.",
            body = List<reads::OwnedObjectRow>,
            headers(("lifeline-time" = Option<String>, description = "When the last record that the answer reflects was written, RFC 3339; missing before the first.")),
        ),
        Refused,
        RefusedAhead,
        RefusedPast,
    ),
)]
pub(super) async fn objects<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<Filtered>,
) -> Result<Response, Problem> {
    let (filter, page, when) = query.parts()?;
    Ok(respond(shared.queries.objects(filter, page, when).await?))
}

/// Objects that more than one lifecycle claims, sorted by cluster and object.
#[utoipa::path(
    get,
    path = "/v1/conflicts",
    tag = "state",
    params(Paged),
    responses(
        (
            status = 200,
            description = "A page of the list.",
            body = List<reads::ConflictRow>,
            headers(("lifeline-time" = Option<String>, description = "When the last record that the answer reflects was written, RFC 3339; missing before the first.")),
        ),
        Refused,
        RefusedAhead,
        RefusedPast,
    ),
)]
pub(super) async fn conflicts<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<Paged>,
) -> Result<Response, Problem> {
    let (page, when) = query.parts()?;
    Ok(respond(shared.queries.conflicts(page, when).await?))
}

/// The rules in force, sorted by name.
#[utoipa::path(
    get,
    path = "/v1/rules",
    tag = "state",
    params(Paged),
    responses(
        (
            status = 200,
            description = "A page of the list.",
            body = List<reads::RuleRow>,
            headers(("lifeline-time" = Option<String>, description = "When the last record that the answer reflects was written, RFC 3339; missing before the first.")),
        ),
        Refused,
        RefusedAhead,
        RefusedPast,
    ),
)]
pub(super) async fn rules<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<Paged>,
) -> Result<Response, Problem> {
    let (page, when) = query.parts()?;
    Ok(respond(shared.queries.rules(page, when).await?))
}

/// An answer as JSON; a header says what time it reflects.
pub(super) fn respond<T: Serialize>(dated: Dated<T>) -> Response {
    let Dated { answer, unix_nanos } = dated;
    let mut response = Json(answer).into_response();
    // Before the first record there is no time.
    if unix_nanos > 0
        && let Ok(time) = HeaderValue::try_from(reads::time(unix_nanos))
    {
        response.headers_mut().insert(TIME_HEADER.clone(), time);
    }
    response
}

impl Filtered {
    /// Which rows, which part of them, and of which state.
    fn parts(self) -> Result<(Filter, Page, When), Problem> {
        let Filtered { source, subject, trigger, cluster, phase, gone, kind, age_min, age_max, .. } = self;
        let Filtered { limit, after, at_least, as_of, .. } = self;
        let (page, when) = Paged { limit, after, at_least, as_of }.parts()?;
        let kind = kind.map(|kind| kinds::meant(&kind).to_owned());
        let now_unix_nanos = None;
        let filter = Filter { source, subject, trigger, cluster, phase, gone, kind, age_min, age_max, now_unix_nanos };
        Ok((filter, page, when))
    }
}

impl Paged {
    /// Which part of the rows, and of which state.
    pub(super) fn parts(self) -> Result<(Page, When), Problem> {
        let Paged { limit, after, at_least, as_of } = self;
        let when = when(at_least, as_of)?;
        Ok((Page { limit: checked_limit(limit)?, after, looks: None }, when))
    }
}

/// Which state is asked for.
pub(super) fn when(at_least: Option<u64>, as_of: Option<String>) -> Result<When, Problem> {
    let as_of = as_of.map(|text| moment("as_of", &text)).transpose()?;
    Ok(When { at_least: at_least.map(Offset::from), as_of })
}

/// The moment that a parameter names.
pub(super) fn moment(parameter: &str, text: &str) -> Result<Moment, Problem> {
    text.parse().map_err(|error| Problem::bad_parameter(&format!("parameter `{parameter}`: {error}")))
}

/// A limit that a page may have.
pub(super) fn checked_limit(limit: Option<usize>) -> Result<Option<usize>, Problem> {
    match limit {
        Some(limit) if !(1..=LIMIT_MAX).contains(&limit) => {
            Err(Problem::bad_parameter(&format!("parameter `limit` is `{limit}`, expected `1` to `{LIMIT_MAX}`")))
        }
        limit => Ok(limit),
    }
}
