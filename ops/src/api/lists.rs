//! The lists that are read from the projection, now or as of an earlier moment.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use lifeline_engine::view::View;
use lifeline_projections::as_of::Moment;
use lifeline_projections::fold::Projection;
use lifeline_projections::reads::{self, Filter, List, Page};
use lifeline_store::{Disk, Offset};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::document::{Refused, RefusedAhead, RefusedPast};
use super::parameters::Asked;
use super::problem::Problem;
use super::{Shared, blocking};

/// Rows in one page, at most.
pub(super) const LIMIT_MAX: usize = 10_000;

/// Candidates looked at in one turn: a few milliseconds of them.
const LOOKS_MAX: usize = 10_000;

/// How long an answer waits for the offset it was asked to reflect.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

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
    #[param(nullable = false, schema_with = super::document::phases)]
    phase: Option<String>,
    /// Rows in the answer, at most.
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 500)]
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
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 500)]
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

/// Which state is asked, and which part of the list.
struct When {
    page: Page,
    at_least: Option<Offset>,
    as_of: Option<Moment>,
}

/// Resources, sorted by source and subject. A filter by trigger, cluster or phase wants those with such a lifecycle.
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
    filtered(shared, query, reads::resources).await
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
    filtered(shared, query, reads::lifecycles).await
}

/// Objects held in clusters, sorted by cluster and object, each with the lifecycle that owns it.
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
    filtered(shared, query, reads::objects).await
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
    answer(shared, query.when()?, reads::conflicts).await
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
    answer(shared, query.when()?, reads::rules).await
}

async fn filtered<D: Disk, T: Serialize + Send + 'static>(
    shared: Shared<D>,
    query: Filtered,
    read: fn(&Projection, &Filter, &Page) -> Result<List<T>, reads::Error>,
) -> Result<Response, Problem> {
    let Filtered { source, subject, trigger, cluster, phase, limit, after, at_least, as_of } = query;
    let filter = Filter { source, subject, trigger, cluster, phase };
    let when = Paged { limit, after, at_least, as_of }.when()?;
    answer(shared, when, move |projection, page| read(projection, &filter, page)).await
}

async fn answer<D: Disk, T: Serialize + Send + 'static>(
    shared: Shared<D>,
    when: When,
    read: impl Fn(&Projection, &Page) -> Result<List<T>, reads::Error> + Send + 'static,
) -> Result<Response, Problem> {
    let When { page, at_least, as_of } = when;
    if let Some(offset) = at_least
        && !shared.view.reach(offset, PATIENCE).await
    {
        return Err(Problem::not_reached(offset, shared.view.projection().watermark()));
    }
    let past = match as_of {
        Some(moment) => Some((moment, shared.past.turn().await)),
        None => None,
    };
    let (list, unix_nanos) = blocking(move || match past {
        Some((moment, turn)) => {
            let past = turn.at(&shared.view.log(), moment)?;
            Ok((read(&past, &page)?, past.ground().folded_unix_nanos))
        }
        None => read_in_turns(&shared.view, page, read),
    })
    .await?;
    let mut response = Json(list).into_response();
    // Before the first record there is no time to tell.
    if unix_nanos > 0
        && let Ok(time) = HeaderValue::try_from(reads::time(unix_nanos))
    {
        response.headers_mut().insert(TIME_HEADER.clone(), time);
    }
    Ok(response)
}

/// Reads a page of the present state, letting go of it in between: the recorder waits while it is held.
fn read_in_turns<D: Disk, T>(
    view: &View<D>,
    mut page: Page,
    read: impl Fn(&Projection, &Page) -> Result<List<T>, reads::Error>,
) -> Result<(List<T>, u64), Problem> {
    page.looks = Some(LOOKS_MAX);
    let limit = page.limit.unwrap_or(reads::PAGE_ROWS);
    let turn = |page: &Page| {
        let projection = view.projection();
        Ok::<_, Problem>((read(&projection, page)?, projection.ground().folded_unix_nanos))
    };
    // What the first turn saw is what every row reflects at least.
    let (mut list, unix_nanos) = turn(&page)?;
    while list.next.is_some() && list.items.len() < limit {
        page.limit = Some(limit - list.items.len());
        page.after = list.next.take();
        let (more, _) = turn(&page)?;
        list.items.extend(more.items);
        list.next = more.next;
    }
    Ok((list, unix_nanos))
}

impl Paged {
    fn when(self) -> Result<When, Problem> {
        let Paged { limit, after, at_least, as_of } = self;
        let as_of = as_of.map(|text| text.parse::<Moment>()).transpose();
        let as_of = as_of.map_err(|error| Problem::bad_parameter(&format!("as_of: {error}")))?;
        Ok(When {
            page: Page { limit: checked_limit(limit)?, after, looks: None },
            at_least: at_least.map(Offset::from),
            as_of,
        })
    }
}

/// A limit that a page may have.
pub(super) fn checked_limit(limit: Option<usize>) -> Result<Option<usize>, Problem> {
    match limit {
        Some(limit) if !(1..=LIMIT_MAX).contains(&limit) => {
            Err(Problem::bad_parameter(&format!("limit: `{limit}` is not from `1` to `{LIMIT_MAX}`")))
        }
        limit => Ok(limit),
    }
}
