//! What differs between two moments.

use std::ops::Bound;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use lifeline_projections::as_of::{self, Moment};
use lifeline_projections::difference::{self, Difference};
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::reads::{Filter, Page};
use lifeline_store::Disk;
use serde::Deserialize;

use super::lists::checked_limit;
use super::problem::Problem;
use super::{Shared, blocking};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DifferenceQuery {
    /// The earlier moment, an offset or a time.
    from: String,
    /// The later one; now when missing.
    to: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    trigger: Option<String>,
    cluster: Option<String>,
    phase: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

pub(super) async fn difference<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<DifferenceQuery>, QueryRejection>,
) -> Result<Json<Difference>, Problem> {
    let DifferenceQuery { from, to, source, subject, trigger, cluster, phase, limit, after } = query?.0;
    let from = moment("from", &from)?;
    let to = to.map(|to| moment("to", &to)).transpose()?;
    let filter = Filter { source, subject, trigger, cluster, phase, ..Filter::default() };
    let page = Page { limit: checked_limit(limit)?, after, looks: None };
    blocking(move || {
        let (log, view) = (shared.view.log(), &shared.view);
        // What is folded is what every other answer reflects; the log may be a little ahead of it.
        let now = view.projection().watermark();
        let to = to.map_or(Ok(now), |to| to.end(&log))?;
        let moments = (from.end(&log)?, to);
        let state_at = |key: &ResourceKey, moment| {
            let (trail, landmarks) = {
                let projection = view.projection();
                (projection.trail(&key.source, &key.subject, moment), projection.landmarks().clone())
            };
            trail.map_or(Ok(None), |trail| as_of::resource(&log, &landmarks, &trail, moment))
        };
        let spoken_of = |from, start: Bound<&ResourceKey>, wanted: &dyn Fn(&ResourceKey) -> bool| {
            difference::spoken_of(&view.projection(), from, start, wanted)
        };
        Ok(Json(difference::difference(&log, moments, &filter, &page, spoken_of, state_at)?))
    })
    .await
}

fn moment(parameter: &str, text: &str) -> Result<Moment, Problem> {
    text.parse().map_err(|error: as_of::Error| Problem::bad_parameter(&format!("{parameter}: {error}")))
}

#[cfg(test)]
mod tests;
