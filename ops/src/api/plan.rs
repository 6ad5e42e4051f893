//! What other rules would do.
//!
//! Start at [`with_plan`]. Who may ask is decided before, by [`super::access`]. A plan changes nothing; it is an order
//! because it
//! brings the rules, and what an order has to be like is said in [`super::order`].

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use lifeline_engine::preview::{self, Asked as AskedPlan, Planner, Preview};
use lifeline_engine::rules::Source;
use lifeline_store::Disk;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::order;
use super::parameters::{Asked, Nothing};
use super::problem::Problem;
use super::refusals::{Refused, RefusedOrder, RefusedUnreadable};

/// Where it is asked for.
pub(crate) const PATH: &str = "/v1/plan";

/// Changes in an answer, at most.
pub(crate) const CHANGES_MAX: usize = 100_000;

/// Objects that the cluster is asked about for one plan, at most.
pub(crate) const LOOKS_MAX: usize = 10_000;

/// The rules in question, and how closely they are looked at.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanOrder {
    /// The texts of the rules.
    pub rules: Vec<RuleText>,
    /// The rules in force that these do not name stay; without it they are gone.
    #[serde(default)]
    pub merge: bool,
    /// Labels of the own cluster, for a stopped engine. One that runs knows them.
    #[serde(default)]
    pub cluster_labels: BTreeMap<String, String>,
    /// Changes that are listed, at most.
    #[serde(default = "changes_by_default")]
    #[schema(maximum = 100_000)]
    pub changes: usize,
    /// Changes that are compared with the objects in the cluster, at most.
    #[serde(default = "looks_by_default")]
    #[schema(maximum = 10_000)]
    pub looks: usize,
}

/// A text of manifests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleText {
    /// What it is called in problems: the path of its file.
    pub name: String,
    /// The manifests.
    pub text: String,
}

/// How far the plan is that is being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanProgress {
    /// What is done now: `deciding`, `rendering`, `comparing` or `looking`; absent while no plan is made.
    pub step: Option<String>,
    /// How much of it.
    pub done: u64,
    /// Of how much.
    pub of: u64,
}

pub(super) fn changes_by_default() -> usize {
    1_000
}

pub(crate) fn looks_by_default() -> usize {
    500
}

/// The paths of `router`, and the one for plans.
pub fn with_plan<D: Disk>(router: Router, planner: Arc<Planner<D>>) -> Router {
    let plans = Router::new()
        .route(PATH, post(plan::<D>).get(progress::<D>))
        // How large a body may be is said before, for every order.
        .layer(DefaultBodyLimit::disable())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(planner);
    router.merge(plans)
}

/// What these rules in place of those in force would do to what is there. Nothing is recorded or changed.
///
/// The cluster is read, and asked what an apply would make (`dryRun=All`). What the rules name and do not bring is
/// taken from those
/// in force, or from the cluster that the rules of the engine come from. Where the rules have an error, only `problems`
/// come back.
/// One plan is made at a time. Requests with an `Origin` are refused: no web page may ask.
#[utoipa::path(
    post,
    path = "/v1/plan",
    tag = "engine",
    request_body = PlanOrder,
    responses(
        (status = 200, description = "The plan.", body = Preview),
        Refused,
        RefusedOrder,
        RefusedUnreadable,
    ),
)]
pub(super) async fn plan<D: Disk>(
    State(planner): State<Arc<Planner<D>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Preview>, Problem> {
    let PlanOrder { rules, merge, cluster_labels, changes, looks } = order::parse(&headers, &body)?;
    for (name, value, max) in [("changes", changes, CHANGES_MAX), ("looks", looks, LOOKS_MAX)] {
        if value > max {
            return Err(Problem::bad_parameter(&format!("{name}: `{value}` is more than `{max}`")));
        }
    }
    let sources = rules.into_iter().map(|RuleText { name, text }| Source { name, text }).collect();
    let asked = AskedPlan { sources, merges: merge, cluster_labels, changes_max: changes, looks_max: looks };
    Ok(Json(planner.plan(asked).await?))
}

/// How far the plan is that is being made.
#[utoipa::path(
    get,
    path = "/v1/plan",
    tag = "engine",
    responses((status = 200, description = "Its progress.", body = PlanProgress), Refused),
)]
pub(super) async fn progress<D: Disk>(State(planner): State<Arc<Planner<D>>>, _: Asked<Nothing>) -> Json<PlanProgress> {
    let now = planner.progress().now();
    let (done, of) = now.map_or((0, 0), |(_, done, of)| (done, of));
    Json(PlanProgress { step: now.map(|(step, ..)| step.to_owned()), done, of })
}

impl From<preview::Error> for Problem {
    fn from(error: preview::Error) -> Problem {
        match error {
            preview::Error::Log(_) => Problem::log(&error),
            preview::Error::Stopped => Problem::stopping(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use lifeline_engine::view::View;
    use lifeline_projections::fold::Projection;
    use lifeline_store::{Log, Options, SimulatedDisk};
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    const RULES: &str = include_str!("../../../engine/tests/seed/1-user-login.yaml");

    #[tokio::test]
    async fn a_plan_comes_back_or_what_is_wrong_with_the_rules_and_no_page_may_ask() {
        let (log, _) =
            Log::open(SimulatedDisk::new(1), Options { low_space_bytes: 0, ..Options::default() }).expect("a disk");
        let planner = Arc::new(Planner::of_stopped(View::new(Projection::default(), log.reader())));
        let router = with_plan(Router::new(), planner);
        let ask = async |header: (&str, &str), order: Value| {
            let request = Request::post(PATH).header(header.0, header.1).body(Body::from(order.to_string()));
            let Ok(response) = router.clone().oneshot(request.expect("a request")).await;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await.expect("a body").to_bytes();
            (status, serde_json::from_slice::<Value>(&bytes).expect("JSON"))
        };
        let json_type = ("content-type", "application/json");
        let order = |text: &str| json!({"rules": [{"name": "r.yaml", "text": text}]});
        let (status, plan) = ask(json_type, order(RULES)).await;
        assert_eq!((status, &plan["counts"]["create"]), (200, &json!(0)), "{plan}");
        assert_eq!(plan["triggers"][0]["why"], "new", "{plan}");
        let (status, plan) =
            ask(json_type, order(&RULES.replace("cloudEventAction: Create", "cloudEventAction: No"))).await;
        assert_eq!((status, &plan["problems"][0]["is_error"]), (200, &json!(true)), "{plan}");
        assert!(plan["triggers"].as_array().is_some_and(Vec::is_empty), "{plan}");
        for (header, order, status, code) in [
            (json_type, json!({"rules": [], "changes": 100_001}), 400, "bad-parameter"),
            (json_type, json!({"rule": []}), 400, "bad-parameter"),
            (("content-type", "text/plain"), order(RULES), 415, "not-json"),
            (("origin", "http://localhost"), order(RULES), 403, "forbidden"),
        ] {
            let (answered, problem) = ask(header, order).await;
            assert_eq!(answered, status, "{problem}");
            assert!(problem["type"].to_string().contains(code), "{problem}");
        }
        let request = Request::get(PATH).body(Body::empty()).expect("a request");
        let Ok(response) = router.clone().oneshot(request).await;
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), json!({"step": null, "done": 0, "of": 0}));
    }
}
