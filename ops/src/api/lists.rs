//! The lists that are read from the projection, now or as of an earlier moment.

use std::ops::Bound;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_projections::as_of::{self, Moment, Piece};
use lifeline_projections::fold::Projection;
use lifeline_projections::reads::{self, Filter, LifecycleRow, List, Noun, OwnedObjectRow, Page, ResourceRow};
use lifeline_store::{Disk, Offset};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::document::{Refused, RefusedAhead, RefusedPast};
use super::moments::recorded_end;
use super::parameters::Asked;
use super::problem::Problem;
use super::{Shared, blocking};

/// Rows in one page, at most.
pub(super) const LIMIT_MAX: usize = 10_000;

/// Candidates looked at in one turn: a few milliseconds of them.
const LOOKS_MAX: usize = 1_000;

/// How long an answer waits for the offset it was asked to reflect.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Names when the last record that an answer reflects was written, RFC 3339.
pub(crate) static TIME_HEADER: HeaderName = HeaderName::from_static("lifeline-time");

/// Resources of an earlier state given in one turn: each takes some reading.
const TRAILS_MAX: usize = 64;

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

/// Which state is asked, and which part of the list.
pub(super) struct When {
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
    filtered(shared, query, Reading::RESOURCES).await
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
    filtered(shared, query, Reading::LIFECYCLES).await
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
    filtered(shared, query, Reading::OBJECTS).await
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

/// An answer from the whole of a state.
pub(super) async fn answer<D: Disk, T: Serialize + Send + 'static>(
    shared: Shared<D>,
    when: When,
    read: impl Fn(&Projection, &Page) -> Result<List<T>, reads::Error> + Send + 'static,
) -> Result<Response, Problem> {
    let When { page, at_least, as_of } = when;
    reach(&shared, at_least).await?;
    let Some(moment) = as_of else { return present(shared, page, read).await };
    // Who claimed what, and what waited, is spread over all resources: such an earlier state is found as a whole.
    let asked = shared.clone();
    let end = blocking(move || recorded_end(&asked, moment)).await?;
    let turn = shared.past.turn().await;
    let (list, unix_nanos) = blocking(move || {
        let past = turn.at(&shared.view.log(), end)?;
        Ok((read(&past, &page)?, past.ground().folded_unix_nanos))
    })
    .await?;
    Ok(respond(list, unix_nanos))
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
    let When { page, at_least, as_of } = query.when()?;
    reach(&shared, at_least).await?;
    let Some(moment) = as_of else {
        let read = |projection: &Projection, page: &Page| {
            reads::rules(projection.watermark(), &projection.ground().rules, page)
        };
        return present(shared, page, read).await;
    };
    let (list, unix_nanos) = blocking(move || {
        let log = shared.view.log();
        let moment = recorded_end(&shared, moment)?;
        let records = shared.view.projection().ground().rule_records.clone();
        let rules = as_of::rules(&log, &records, moment)?;
        Ok((reads::rules(moment, &rules, &page)?, as_of::time(&log, moment)?))
    })
    .await?;
    Ok(respond(list, unix_nanos))
}

/// A list over resources, read from the present state or from a piece of an earlier one.
#[derive(Clone, Copy)]
pub(super) struct Reading<T> {
    noun: Noun,
    now: fn(&Projection, &Filter, &Page) -> Result<List<T>, reads::Error>,
    then: fn(&Piece, &Filter, &Page) -> Result<List<T>, reads::Error>,
}

impl Reading<ResourceRow> {
    pub(super) const RESOURCES: Self = Reading { noun: Noun::Resources, now: reads::resources, then: reads::resources };
}

impl Reading<LifecycleRow> {
    pub(super) const LIFECYCLES: Self =
        Reading { noun: Noun::Lifecycles, now: reads::lifecycles, then: reads::lifecycles };
}

impl Reading<OwnedObjectRow> {
    pub(super) const OBJECTS: Self = Reading { noun: Noun::Objects, now: reads::objects, then: reads::objects };
}

async fn filtered<D: Disk, T: Serialize + Send + 'static>(
    shared: Shared<D>,
    query: Filtered,
    reading: Reading<T>,
) -> Result<Response, Problem> {
    let Filtered { source, subject, trigger, cluster, phase, age_min, age_max, limit, after, at_least, as_of } = query;
    let now_unix_nanos = now_of(as_of.is_some());
    let filter = Filter { source, subject, trigger, cluster, phase, age_min, age_max, now_unix_nanos };
    let When { page, at_least, as_of } = Paged { limit, after, at_least, as_of }.when()?;
    reach(&shared, at_least).await?;
    let Some(moment) = as_of else {
        return present(shared, page, move |projection, page| (reading.now)(projection, &filter, page)).await;
    };
    let (list, unix_nanos) = blocking(move || {
        let log = shared.view.log();
        let moment = recorded_end(&shared, moment)?;
        let list = in_turns(page, TRAILS_MAX, |page| {
            let (trails, landmarks) = {
                let projection = shared.view.projection();
                let start = reading.noun.start(page)?;
                let start = start
                    .as_ref()
                    .map_or(Bound::Unbounded, |start| start.as_ref().map(|key| (&*key.source, &*key.subject)));
                // One more than is looked at: it shows that the list goes on.
                let trails = projection.trails_from(start, filter.sieve()?, moment).take(TRAILS_MAX + 1);
                (trails.collect::<Vec<_>>(), projection.landmarks().clone())
            };
            // The log is read without the lock: the recorder does not wait for it.
            let piece = Piece::read(&log, &landmarks, &trails, TRAILS_MAX, moment)?;
            Ok((reading.then)(&piece, &filter, page)?)
        })?;
        Ok((list, as_of::time(&log, moment)?))
    })
    .await?;
    Ok(respond(list, unix_nanos))
}

/// To when ages are counted: to now, or in an earlier state to its own time, which it knows itself.
pub(super) fn now_of(is_past: bool) -> Option<u64> {
    (!is_past).then(|| SystemClock.now_unix_nanos())
}

/// Waits for the state to reach an offset, a while.
pub(super) async fn reach<D: Disk>(shared: &Shared<D>, at_least: Option<Offset>) -> Result<(), Problem> {
    match at_least {
        Some(offset) if !shared.view.wait_until_folded(offset, PATIENCE).await => {
            Err(Problem::not_reached(offset, shared.view.projection().watermark()))
        }
        Some(_) | None => Ok(()),
    }
}

/// A page of the present state.
async fn present<D: Disk, T: Serialize + Send + 'static>(
    shared: Shared<D>,
    page: Page,
    read: impl Fn(&Projection, &Page) -> Result<List<T>, reads::Error> + Send + 'static,
) -> Result<Response, Problem> {
    let turn = move |page: &Page| {
        let projection = shared.view.projection();
        Ok::<_, Problem>((read(&projection, page)?, projection.ground().folded_unix_nanos))
    };
    // The first turn is short and nearly always the last one: handing it to another thread would take longer.
    let limit = page.limit.unwrap_or(reads::PAGE_ROWS);
    let (mut list, unix_nanos) = turn(&Page { looks: Some(LOOKS_MAX), ..page.clone() })?;
    if list.next.is_some() && list.items.len() < limit {
        // What the first turn saw is what every row reflects at least.
        let rest = Page { limit: Some(limit - list.items.len()), after: list.next.take(), ..page };
        let more = blocking(move || in_turns(rest, LOOKS_MAX, |page| Ok(turn(page)?.0))).await?;
        list.items.extend(more.items);
        list.next = more.next;
    }
    Ok(respond(list, unix_nanos))
}

pub(super) fn respond<T: Serialize>(list: T, unix_nanos: u64) -> Response {
    let mut response = Json(list).into_response();
    // Before the first record there is no time.
    if unix_nanos > 0
        && let Ok(time) = HeaderValue::try_from(reads::time(unix_nanos))
    {
        response.headers_mut().insert(TIME_HEADER.clone(), time);
    }
    response
}

/// Reads a page a turn at a time, so that nobody holds the state for long: the recorder waits while it is held.
fn in_turns<T>(
    mut page: Page,
    looks: usize,
    mut turn: impl FnMut(&Page) -> Result<List<T>, Problem>,
) -> Result<List<T>, Problem> {
    page.looks = Some(looks);
    let limit = page.limit.unwrap_or(reads::PAGE_ROWS);
    let mut list = turn(&page)?;
    while list.next.is_some() && list.items.len() < limit {
        page.limit = Some(limit - list.items.len());
        page.after = list.next.take();
        let more = turn(&page)?;
        list.items.extend(more.items);
        list.next = more.next;
    }
    Ok(list)
}

impl Paged {
    pub(super) fn when(self) -> Result<When, Problem> {
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
