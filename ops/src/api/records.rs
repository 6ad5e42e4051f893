//! The lists that are read from the log: a resource's history, and the records one after the other.

use axum::Json;
use axum::extract::State;
use lifeline_engine::queries::{Entries, Place};
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::history::{DriftRow, Entry};
use lifeline_projections::reads::{List, PAGE_ROWS};
use lifeline_projections::records::Choice;
use lifeline_store::{Disk, Offset};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::lists::{checked_limit, moment};
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
    /// The record speaks of a CloudEvent source that begins with this.
    #[param(nullable = false)]
    source: Option<String>,
    /// The record speaks of this CloudEvent subject; the empty one is that of events without a subject.
    #[param(nullable = false)]
    subject: Option<String>,
    /// The record is an event of this CloudEvent type.
    #[param(nullable = false)]
    r#type: Option<String>,
    /// `true`: the record is a message that was rejected because it is no CloudEvent. `false`: it is any other record.
    #[param(nullable = false)]
    rejected: Option<bool>,
    /// The record is at this offset or later, or was written at this RFC 3339 time or later.
    #[param(
        nullable = false,
        pattern = r"^([0-9]{1,19}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$",
        example = "2026-11-22T14:12:03Z"
    )]
    since: Option<String>,
    /// Records in the answer, at most.
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// Records after this offset, such as the `next` of the page before; all that are held when missing.
    #[param(nullable = false, format = "uint64")]
    after: Option<u64>,
    /// The latest records before this offset, such as the `next` of a page that was asked for with `before` or `latest`.
    #[param(nullable = false, format = "uint64")]
    before: Option<u64>,
    /// `true`: the latest records, instead of those that come first.
    #[param(nullable = false, default = false)]
    latest: Option<bool>,
}

/// The records of the log, of every kind, one after the other, oldest first.
///
/// Pages follow each other from the first record on; with `latest` or `before` they go back from the latest one. A page has
/// looked at a bounded part of the log, so it may hold fewer records than `limit`, even none, and still have a `next`. A record
/// that cannot be read may be one that is asked for, and is given as `Unreadable`; one that is no event passes `source` and
/// `subject` where it speaks of such a resource. Where it speaks of several and one of them is asked for, it is given as it
/// speaks of that one.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "records",
    params(EventsQuery),
    responses(
        (
            status = 200,
            description = "A page of records; `next` is the `after` of the page that follows, or with `latest` or `before` the `before` of the page that came earlier.",
            body = List<Entry>,
        ),
        Refused,
        RefusedExpired,
        RefusedUnreadable,
    ),
)]
pub(super) async fn events<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<EventsQuery>,
) -> Result<Json<List<Entry>>, Problem> {
    let EventsQuery { source, subject, r#type: kind, rejected, since, limit, after, before, latest } = query;
    let limit = checked_limit(limit)?.unwrap_or(PAGE_ROWS);
    let place = match (after, before, latest.unwrap_or_default()) {
        (Some(_), Some(_), _) | (Some(_), _, true) => {
            let why =
                "`after` goes on, `before` and `latest` go back\nhint: give one of them; `since` says how far back";
            return Err(Problem::bad_parameter(why));
        }
        (after, None, false) => Place::After(after.map(Offset::from)),
        (None, before, _) => Place::Before(before.map(Offset::from)),
    };
    let since = since.map(|text| moment("since", &text)).transpose()?;
    let choice = Choice { source, subject, kind, rejected, ..Choice::default() };
    Ok(Json(list(shared.queries.events(choice, place, since, limit).await?)))
}

/// The parameters of the list of drifts.
#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DriftQuery {
    /// The object is that of a resource whose CloudEvent source begins with this.
    #[param(nullable = false)]
    source: Option<String>,
    /// The object is that of a resource of this CloudEvent subject.
    #[param(nullable = false)]
    subject: Option<String>,
    /// It was recorded at this offset or later, or at this RFC 3339 time or later.
    #[param(
        nullable = false,
        pattern = r"^([0-9]{1,19}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$",
        example = "2026-11-22T14:12:03Z"
    )]
    since: Option<String>,
    /// Records in the answer, at most. One may be about several objects.
    #[param(nullable = false, minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// Records before this offset, such as the `next` of the page before; the latest when missing.
    #[param(nullable = false, format = "uint64")]
    before: Option<u64>,
}

/// What others did to objects of triggers that detect drift, the latest first.
///
/// A page has looked at a bounded part of the log, so it may be short, even empty, and still have a `next`.
#[utoipa::path(
    get,
    path = "/v1/drift",
    tag = "records",
    params(DriftQuery),
    responses(
        (status = 200, description = "A page of drifts; `next` is the `before` of the page that came earlier.", body = List<DriftRow>),
        Refused,
        RefusedExpired,
        RefusedUnreadable,
    ),
)]
pub(super) async fn drift<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<DriftQuery>,
) -> Result<Json<List<DriftRow>>, Problem> {
    let DriftQuery { source, subject, since, limit, before } = query;
    let limit = checked_limit(limit)?.unwrap_or(PAGE_ROWS);
    let since = since.map(|text| moment("since", &text)).transpose()?;
    let choice = Choice { source, subject, drifted: true, ..Choice::default() };
    let place = Place::Before(before.map(Offset::from));
    let Entries { offset, items, next } = shared.queries.events(choice, place, since, limit).await?;
    let items = items.iter().rev().flat_map(DriftRow::of).collect();
    Ok(Json(List { offset: offset.get(), items, next: next.map(|next| next.to_string()) }))
}

fn list(Entries { offset, items, next }: Entries) -> List<Entry> {
    List { offset: offset.get(), items, next: next.map(|next| next.to_string()) }
}

#[cfg(test)]
mod tests;
