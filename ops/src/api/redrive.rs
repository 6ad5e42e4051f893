//! Taking rejected messages up again.
//!
//! Start at [`with_redrive`]. Who may ask is decided before, by [`super::access`], which says who it is; what an order has to
//! be like, by [`super::order`].

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Extension, Json, Router};
use lifeline_engine::recorder::{Redriver, redriver};
use lifeline_engine::redrive::{Because, Outcome};
use lifeline_store::{Disk, Offset};
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use super::access::Asker;
use super::order;
use super::problem::Problem;
use super::refusals::{Refused, RefusedRedrive, RefusedUnreadable};

/// Messages in one request, at most: all of them are in memory at once.
pub(crate) const OFFSETS_MAX: usize = 64;

/// Characters in a reason, at most: it is repeated in each record.
const REASON_CHARS_MAX: usize = 500;

/// Which rejected messages are to be taken up again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedriveOrder {
    /// The records by which they were rejected.
    #[schema(min_items = 1, max_items = 64)]
    pub offsets: Vec<u64>,
    /// Why, in words. They are recorded with each event.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: String,
    /// Only says what would come of it; nothing is recorded.
    #[serde(default)]
    pub dry_run: bool,
}

/// What came of a redrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Redriven {
    /// Who asked: the name that was authenticated, or `anybody`.
    pub by: String,
    /// One row for each record, by offset.
    pub items: Vec<RedriveRow>,
}

/// What came of one rejected message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RedriveRow {
    /// The record by which it was rejected.
    pub offset: u64,
    /// What came of it.
    pub outcome: RedriveOutcome,
    /// The record that is the event, by this redrive or by an earlier one; or the one that does not read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The outcome in a sentence.
    pub summary: String,
}

/// What can come of a rejected message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RedriveOutcome {
    /// It is an event, and recorded as one; with `dry_run` it would be.
    Event,
    /// It was taken up before.
    Done,
    /// It still is no event.
    Rejected,
    /// The disk has no room for it.
    NoRoom,
    /// The record is no rejected message.
    NotRejected,
    /// The log no longer holds the record.
    Forgotten,
    /// The record is not there yet.
    Ahead,
    /// The record, or one after it that may say that it was taken up, does not read back.
    Unreadable,
}

/// The paths of `router`, and the one for redrives.
pub fn with_redrive<D: Disk>(router: Router, redriver: Redriver<D>) -> Router {
    let redrives = Router::new()
        .route("/v1/redrive", post(redrive::<D>))
        .method_not_allowed_fallback(async || Problem::post_only())
        .with_state(Arc::new(redriver));
    router.merge(redrives)
}

/// Takes rejected messages up again: each that is read as an event by now is recorded as one at a new offset, and decided by the
/// rules in force. Its place among other events is that of its message, so a later event overtakes it.
///
/// Each is taken up once at most; asking again says that it was. The event says which record it was rejected by, who asked, and
/// why. Events that came meanwhile about the same resource are older by then: where order matters, look at its history first.
/// Requests with an `Origin` are refused: no web page may ask.
#[utoipa::path(
    post,
    path = "/v1/redrive",
    tag = "records",
    request_body = RedriveOrder,
    responses(
        (status = 200, description = "What came of each.", body = Redriven),
        Refused,
        RefusedRedrive,
        RefusedUnreadable,
    ),
)]
pub(super) async fn redrive<D: Disk>(
    State(redriver): State<Arc<Redriver<D>>>,
    asker: Option<Extension<Asker>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Redriven>, Problem> {
    let order: RedriveOrder = order::parse(&headers, &body)?;
    let RedriveOrder { offsets, reason, dry_run } = order;
    if !(1..=OFFSETS_MAX).contains(&offsets.len()) {
        let count = offsets.len();
        return Err(Problem::bad_parameter(&format!("offsets: `{count}` are not from `1` to `{OFFSETS_MAX}`")));
    }
    if let Some(offset) = offsets.iter().find(|offset| i64::try_from(**offset).is_err()) {
        return Err(Problem::bad_parameter(&format!("offsets: `{offset}` is more than `{}`", i64::MAX)));
    }
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX || reason.contains(char::is_control) {
        let why = format!("reason: expected `1` to `{REASON_CHARS_MAX}` characters in one line");
        return Err(Problem::bad_parameter(&why));
    }
    let by = asker.map_or_else(Asker::anybody, |Extension(asker)| asker).0;
    let offsets: BTreeSet<Offset> = offsets.into_iter().map(Offset::from).collect();
    let because = Because { by: by.clone(), reason };
    let outcomes = redriver.redrive(offsets, because.clone(), dry_run).await?;
    let items: Vec<RedriveRow> =
        outcomes.into_iter().map(|(offset, outcome)| RedriveRow::of(offset, outcome, dry_run)).collect();
    let events = items.iter().filter(|row| row.outcome == RedriveOutcome::Event).count();
    if !dry_run && events > 0 {
        info!(events, by, reason = because.reason, "rejected messages were taken up again");
    }
    Ok(Json(Redriven { by, items }))
}

impl RedriveRow {
    fn of(offset: Offset, outcome: Outcome, dry_run: bool) -> RedriveRow {
        let (outcome, at, summary) = match outcome {
            Outcome::Event(None) if dry_run => {
                (RedriveOutcome::Event, None, "it would be recorded as an event".to_owned())
            }
            Outcome::Event(at) => (RedriveOutcome::Event, at, "recorded as an event".to_owned()),
            Outcome::Done(at) => (RedriveOutcome::Done, Some(at), "it was taken up before".to_owned()),
            Outcome::Rejected(reason) => (RedriveOutcome::Rejected, None, format!("still no CloudEvent: {reason}")),
            Outcome::NoRoom(reason) => (RedriveOutcome::NoRoom, None, reason),
            Outcome::NotRejected => (RedriveOutcome::NotRejected, None, "it is no rejected message".to_owned()),
            Outcome::Forgotten => (RedriveOutcome::Forgotten, None, "the log no longer holds it".to_owned()),
            Outcome::Ahead => (RedriveOutcome::Ahead, None, "it is not recorded yet".to_owned()),
            Outcome::Unreadable(at) => {
                let summary = format!("record `{at}` does not read back, so whether it was taken up is not known");
                (RedriveOutcome::Unreadable, Some(at), summary)
            }
        };
        RedriveRow { offset: offset.get(), outcome, at: at.map(Offset::get), summary }
    }
}

impl From<redriver::Error> for Problem {
    fn from(error: redriver::Error) -> Problem {
        match error {
            redriver::Error::Log(_) => Problem::log(&error),
            redriver::Error::Late => Problem::not_recorded(&error.to_string()),
            redriver::Error::Stopped(_) => Problem::stopping(),
        }
    }
}

#[cfg(test)]
mod tests;
