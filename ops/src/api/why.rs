//! Why: an object, and an event.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use lifeline_engine::rules::{Clusters, EventView, recorded, unmatched};
use lifeline_projections::fact::Fact;
use lifeline_projections::why::event::{self, Unmatched, Verdict, WhyEvent};
use lifeline_projections::why::object::{Question, Search, WhyObject};
use lifeline_store::{Disk, Offset};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::{Shared, blocking};

/// Resources looked at in one turn: a few milliseconds of them, for the recorder waits meanwhile.
const LOOKS_MAX: usize = 10_000;

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct One<T> {
    /// It reflects every record below this offset.
    pub offset: u64,
    /// The answer.
    pub item: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectQuery {
    kind: String,
    name: String,
    namespace: Option<String>,
    group: Option<String>,
    cluster: Option<String>,
}

pub(super) async fn object<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<ObjectQuery>, QueryRejection>,
) -> Result<Json<One<WhyObject>>, Problem> {
    let ObjectQuery { kind, name, namespace, group, cluster } = query?.0;
    blocking(move || {
        let mut search = Search::new(Question { kind, name, namespace, group, cluster });
        let offset = shared.view.projection().watermark().get();
        while search.look(&shared.view.projection(), LOOKS_MAX) {}
        let rules = shared.view.projection().ground().rules.clone();
        Ok(Json(One { offset, item: search.answer(&shared.view.log(), &rules) }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    offset: u64,
}

pub(super) async fn event<D: Disk>(
    State(shared): State<Shared<D>>,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Result<Json<One<WhyEvent>>, Problem> {
    let at = Offset::from(query?.0.offset);
    blocking(move || {
        let offset = shared.view.projection().watermark().get();
        let mut item =
            event::event(&shared.view.log(), at, |key| shared.view.projection().resource(&key.source, &key.subject))?;
        if item.verdict == Verdict::Nothing && item.triggers.is_empty() {
            item.unmatched = reason(&shared, at);
            if let Some(unmatched) = &item.unmatched {
                item.summary = format!("Nothing happened: {}.", unmatched.reason);
            }
        }
        Ok(Json(One { offset, item }))
    })
    .await
}

/// Why no trigger spoke of the event, by the rules that the log holds.
fn reason<D: Disk>(shared: &Shared<D>, at: Offset) -> Option<Unmatched> {
    let log = shared.view.log();
    let record = log.read(at).ok()??;
    let Ok(Fact::EventReceived { delivery, source, subject, kind, headers, payload, .. }) =
        Fact::decode(&record.payload)
    else {
        return None;
    };
    let marks = shared.view.projection().ground().rules.clone();
    let rules = recorded(&log, &marks, Clusters::default());
    let event = EventView { nats_subject: delivery.subject, source, kind, subject, headers: &headers, payload };
    Some(unmatched(&rules, &event, delivery.cluster, at, |rule| marks.get(rule).map(|mark| mark.record)))
}

#[cfg(test)]
mod tests;
