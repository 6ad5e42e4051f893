//! Why: an object, and an event.

use axum::Json;
use axum::extract::State;
use lifeline_engine::rules::{Clusters, EventView, named_objects, recorded};
use lifeline_projections::fact::{EventReceived, Fact, ResourceKey};
use lifeline_projections::one::One;
use lifeline_projections::why::event::{self, Unmatched, Verdict, WhyEvent};
use lifeline_projections::why::object::{Question, Search, WhyObject};
use lifeline_store::{Disk, Offset};
use serde::Deserialize;
use utoipa::IntoParams;

use super::document::{Refused, RefusedPast};
use super::parameters::Asked;
use super::problem::Problem;
use super::{Shared, blocking};

/// Resources looked at in one turn: a few milliseconds of them, for the recorder waits meanwhile.
const LOOKS_MAX: usize = 10_000;

/// The parameters of a question about an object.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ObjectQuery {
    /// Its kind, in upper or lower case.
    #[param(min_length = 1)]
    kind: String,
    /// The name of the object, in full.
    #[param(min_length = 1)]
    name: String,
    /// Its namespace; when missing, an object without one is meant, and where there is none one in any namespace.
    #[param(nullable = false)]
    namespace: Option<String>,
    /// Its API group, empty for the core group; any when missing.
    #[param(nullable = false)]
    group: Option<String>,
    /// The cluster it is on, as `namespace/name`; any when missing.
    #[param(nullable = false)]
    cluster: Option<String>,
}

/// Why an object is as it is: the lifecycle that holds it, the event, the rule, and what was applied; or why it is gone.
#[utoipa::path(
    get,
    path = "/v1/why/object",
    tag = "state",
    params(ObjectQuery),
    responses((status = 200, description = "The answer; its `verdict` says whether the object is known.", body = One<WhyObject>), Refused),
)]
pub(super) async fn object<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<ObjectQuery>,
) -> Result<Json<One<WhyObject>>, Problem> {
    let ObjectQuery { kind, name, namespace, group, cluster } = query;
    for (parameter, value) in [("kind", &kind), ("name", &name)] {
        if value.is_empty() {
            return Err(Problem::bad_parameter(&format!("{parameter}: it is empty, and every object has one")));
        }
    }
    blocking(move || {
        let mut search = Search::new(Question { kind, name, namespace, group, cluster });
        let offset = shared.view.projection().watermark().get();
        while search.look(&shared.view.projection(), LOOKS_MAX) {}
        let rules = shared.view.projection().ground().rules.clone();
        let current = |key: &ResourceKey| shared.view.projection().resource(&key.source, &key.subject);
        Ok(Json(One { offset, item: search.answer(&shared.view.log(), &rules, current, named_objects) }))
    })
    .await
}

/// The parameters of a question about an event.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Its record in the log.
    #[param(format = "uint64")]
    offset: u64,
}

/// What came of an event: the decisions, what they caused, and why nothing where nothing happened.
#[utoipa::path(
    get,
    path = "/v1/why/event",
    tag = "records",
    params(EventQuery),
    responses(
        (status = 200, description = "The answer; a record that is no event is shown as what it is.", body = One<WhyEvent>),
        Refused,
        RefusedPast,
    ),
)]
pub(super) async fn event<D: Disk>(
    State(shared): State<Shared<D>>,
    Asked(query): Asked<EventQuery>,
) -> Result<Json<One<WhyEvent>>, Problem> {
    let at = Offset::from(query.offset);
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
    let Ok(Fact::Event(EventReceived { delivery, source, subject, kind, headers, payload, .. })) =
        Fact::decode(&record.payload)
    else {
        return None;
    };
    let marks = shared.view.projection().ground().rules.clone();
    let rules = recorded(&log, &marks, Clusters::default());
    let event = EventView { nats_subject: delivery.subject, source, kind, subject, headers: &headers, payload };
    Some(rules.unmatched(&event, delivery.cluster, at, |rule| marks.get(rule).map(|mark| mark.record)))
}

#[cfg(test)]
mod tests;
