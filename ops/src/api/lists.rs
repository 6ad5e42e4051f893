//! The lists that are read from the projection, now or as of an earlier moment.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use lifeline_engine::clock::{Clock, SystemClock};
use lifeline_engine::view::View;
use lifeline_projections::as_of::Moment;
use lifeline_projections::fold::Projection;
use lifeline_projections::reads::{self, Filter, List, Page};
use lifeline_store::{Disk, Offset};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::{Shared, blocking};

/// Rows in one page, at most.
pub(super) const LIMIT_MAX: usize = 10_000;

/// Candidates looked at in one turn: a few milliseconds of them.
const LOOKS_MAX: usize = 10_000;

/// How long an answer waits for the offset it was asked to reflect.
const PATIENCE: Duration = Duration::from_secs(3);

/// Names when the last record that an answer reflects was written, RFC 3339.
pub(crate) static TIME_HEADER: HeaderName = HeaderName::from_static("lifeline-time");

/// The parameters of a filtered list.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Filtered {
    source: Option<String>,
    subject: Option<String>,
    trigger: Option<String>,
    cluster: Option<String>,
    phase: Option<String>,
    age_min: Option<u64>,
    age_max: Option<u64>,
    limit: Option<usize>,
    after: Option<String>,
    at_least: Option<u64>,
    as_of: Option<String>,
}

/// The parameters of a list without filters.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Paged {
    pub limit: Option<usize>,
    pub after: Option<String>,
    pub at_least: Option<u64>,
    pub as_of: Option<String>,
}

/// Which state is asked, and which part of the list.
pub(super) struct When {
    page: Page,
    at_least: Option<Offset>,
    as_of: Option<Moment>,
}

pub(super) async fn resources<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<Filtered>, QueryRejection>,
) -> Result<Response, Problem> {
    filtered(shared, query?.0, reads::resources).await
}

pub(super) async fn lifecycles<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<Filtered>, QueryRejection>,
) -> Result<Response, Problem> {
    filtered(shared, query?.0, reads::lifecycles).await
}

pub(super) async fn objects<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<Filtered>, QueryRejection>,
) -> Result<Response, Problem> {
    filtered(shared, query?.0, reads::objects).await
}

pub(super) async fn conflicts<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<Paged>, QueryRejection>,
) -> Result<Response, Problem> {
    answer(shared, query?.0.when()?, reads::conflicts).await
}

pub(super) async fn rules<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<Paged>, QueryRejection>,
) -> Result<Response, Problem> {
    answer(shared, query?.0.when()?, reads::rules).await
}

async fn filtered<D: Disk, T: Serialize + Send + 'static>(
    shared: Shared<D>,
    query: Filtered,
    read: fn(&Projection, &Filter, &Page) -> Result<List<T>, reads::Error>,
) -> Result<Response, Problem> {
    let Filtered { source, subject, trigger, cluster, phase, age_min, age_max, limit, after, at_least, as_of } = query;
    let now_unix_nanos = now_of(as_of.is_some());
    let filter = Filter { source, subject, trigger, cluster, phase, age_min, age_max, now_unix_nanos };
    let when = Paged { limit, after, at_least, as_of }.when()?;
    answer(shared, when, move |projection, page| read(projection, &filter, page)).await
}

/// To when ages are counted: to now, or in an earlier state to its own time, which it knows itself.
pub(super) fn now_of(is_past: bool) -> Option<u64> {
    (!is_past).then(|| SystemClock.now_unix_nanos())
}

pub(super) async fn answer<D: Disk, T: Serialize + Send + 'static>(
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
