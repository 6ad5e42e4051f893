//! The lists that are read from the log: a resource's history, and the records one after the other.

use axum::Json;
use axum::extract::State;
use lifeline_engine::queries::Entries;
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::history::Entry;
use lifeline_projections::reads::{List, PAGE_ROWS};
use lifeline_store::{Disk, Offset};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::lists::checked_limit;
use super::parameters::Asked;
use super::problem::Problem;
use super::refusals::{Refused, RefusedExpired, RefusedUnknown, RefusedUnreadable};

/// The parameters of a history.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// The CloudEvent source, in full.
    source: String,
    /// The CloudEvent subject, in full; a missing one is the empty one, as in an event.
    #[serde(default)]
    #[param(default = "")]
    subject: String,
    /// Records in the answer, at most.
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// Records below this offset, such as the `next` of the page before; the latest when missing.
    #[param(nullable = false, format = "uint64")]
    before: Option<u64>,
}

/// The history of one resource: every record that speaks of it, oldest first. The first page is the latest part.
#[utoipa::path(
    get,
    path = "/v1/history",
    tag = "records",
    params(HistoryQuery),
    responses(
        (status = 200, description = "A page of the history; `next` is the `before` of the page that came earlier.", body = List<Entry>),
        Refused,
        RefusedUnknown,
        RefusedExpired,
    ),
)]
pub(super) async fn history<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<HistoryQuery>,
) -> Result<Json<List<Entry>>, Problem> {
    let HistoryQuery { source, subject, limit, before } = query;
    let limit = checked_limit(limit)?.unwrap_or(PAGE_ROWS);
    let key = ResourceKey { source: source.into(), subject: subject.into() };
    let entries = shared.queries.history(key, before.map(Offset::from), limit).await?;
    Ok(Json(list(entries)))
}

/// The parameters of the records.
#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Records in the answer, at most.
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// Records after this offset, such as the `next` of the page before; all that are held when missing.
    #[param(nullable = false, format = "uint64")]
    after: Option<u64>,
}

/// The records of the log, of every kind, one after the other.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "records",
    params(EventsQuery),
    responses(
        (status = 200, description = "A page of records; `next` is the `after` of the page that follows.", body = List<Entry>),
        Refused,
        RefusedExpired,
        RefusedUnreadable,
    ),
)]
pub(super) async fn events<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<EventsQuery>,
) -> Result<Json<List<Entry>>, Problem> {
    let EventsQuery { limit, after } = query;
    let limit = checked_limit(limit)?.unwrap_or(PAGE_ROWS);
    let entries = shared.queries.events(after.map(Offset::from), limit).await?;
    Ok(Json(list(entries)))
}

fn list(Entries { offset, items, next }: Entries) -> List<Entry> {
    List { offset: offset.get(), items, next: next.map(|next| next.to_string()) }
}
