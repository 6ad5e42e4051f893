//! The lifecycles that wait, the most urgent first.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use lifeline_projections::stuck;
use lifeline_store::Disk;
use serde::Deserialize;

use super::Shared;
use super::lists::{Paged, answer, now_of};
use super::problem::Problem;

/// How long a decision may wait before anyone is told, in seconds.
const PATIENCE_SECONDS: u64 = 30;

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StuckQuery {
    /// How long a decision waits at least to be told of, in seconds. What fails is told of at once.
    longer_than: Option<u64>,
    limit: Option<usize>,
    after: Option<String>,
    at_least: Option<u64>,
    as_of: Option<String>,
}

pub(super) async fn stuck<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<StuckQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let StuckQuery { longer_than, limit, after, at_least, as_of } = query?.0;
    let longer_than = Duration::from_secs(longer_than.unwrap_or(PATIENCE_SECONDS));
    let now_unix_nanos = now_of(as_of.is_some());
    let when = Paged { limit, after, at_least, as_of }.when()?;
    answer(shared, when, move |projection, page| stuck::stuck(projection, now_unix_nanos, longer_than, page)).await
}
