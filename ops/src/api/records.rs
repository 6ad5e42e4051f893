//! The lists that are read from the log: a resource's history, and the records one after the other.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::history::{self, Entry};
use lifeline_projections::reads::{self, List, PAGE_ROWS};
use lifeline_store::{Disk, Offset};
use serde::Deserialize;

use super::lists::checked_limit;
use super::problem::Problem;
use super::{Shared, blocking};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    source: String,
    /// A missing subject is the empty one, as in an event.
    #[serde(default)]
    subject: String,
    limit: Option<usize>,
    before: Option<u64>,
}

pub(super) async fn history<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<List<Entry>>, Problem> {
    let HistoryQuery { source, subject, limit, before } = query?.0;
    let limit = checked_limit(limit)?.unwrap_or(PAGE_ROWS);
    let (offset, resource) = {
        let projection = shared.view.projection();
        (projection.watermark().get(), projection.resource(&source, &subject).cloned())
    };
    let resource = resource.ok_or_else(|| Problem::unknown_resource(&source, &subject))?;
    blocking(move || {
        let key = ResourceKey { source: source.into(), subject: subject.into() };
        let before = before.map(Offset::from);
        // An earlier page would have to be told what the resource was then.
        let state = before.is_none().then_some(&resource);
        let log = shared.view.log();
        let (items, next) = history::history(&log, &key, resource.last_record, before, limit, state)?;
        Ok(Json(List { offset, items, next: next.map(|next| next.to_string()) }))
    })
    .await
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventsQuery {
    limit: Option<usize>,
    /// Records behind this offset; all that are held when missing.
    after: Option<u64>,
}

pub(super) async fn events<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<List<Entry>>, Problem> {
    let EventsQuery { limit, after } = query?.0;
    let limit = checked_limit(limit)?.unwrap_or(PAGE_ROWS);
    blocking(move || {
        let log = shared.view.log();
        let end = log.end();
        let from = after.map_or(Offset::ZERO, |after| Offset::from(after.saturating_add(1)).min(end));
        let start = log.start();
        if let Some(cursor) = after.filter(|_| from < start) {
            return Err(reads::Error::Expired { cursor, start: start.get() }.into());
        }
        let (items, position) = history::records(&log, from, limit).map_err(|error| Problem::log(&error))?;
        let next = (position < end).then(|| position.get().saturating_sub(1).to_string());
        Ok(Json(List { offset: end.get(), items, next }))
    })
    .await
}
