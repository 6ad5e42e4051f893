//! Deciding the history of a trigger again.
//!
//! Start at [`with_replay`]. Who may ask is decided before, by [`super::access`]; what an order has to be like, by
//! [`super::order`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Extension, Json, Router};
use lifeline_engine::preview::{Planner, Preview};
use lifeline_engine::recorder::{Begun, OutcomeSender};
use lifeline_engine::view::View;
use lifeline_projections::as_of::Moment;
use lifeline_store::{Disk, Offset, Reader};
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use super::access::Asker;
use super::order;
use super::plan::{changes_by_default, looks_by_default};
use super::problem::Problem;
use super::refusals::{Refused, RefusedReplay};

/// How long the recorder may take: it waits for rules, and for a disk that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which history is to be decided again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayOrder {
    /// The EventTrigger.
    pub trigger: String,
    /// Only of resources that an event from this offset or RFC 3339 time on spoke of; absent for all.
    #[serde(default)]
    pub from: Option<String>,
    /// Looks at each object as well, and puts back what others changed or deleted. Of triggers with `syncMode: OneTime` or
    /// `DryRun` nothing is.
    #[serde(default)]
    pub put_back: bool,
    /// Only plans it; nothing is recorded.
    #[serde(default)]
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Replaying {
    /// Who asked: the name that was authenticated, or `anybody`.
    pub by: String,
    /// The trigger.
    pub trigger: String,
    /// Whether it began; false where one was under way, or with `dry_run`.
    pub begun: bool,
    /// How many replays of this engine had come to their end by then: a later number in the status is of this one.
    pub over: u64,
    /// With `dry_run`: what it would do.
    pub plan: Option<Preview>,
}

/// What is asked.
pub(super) struct Asking<D: Disk> {
    view: Arc<View<D>>,
    recording: OutcomeSender,
    planner: Arc<Planner<D>>,
}

/// The paths of `router`, and the one for replays.
pub fn with_replay<D: Disk>(
    router: Router,
    view: Arc<View<D>>,
    recording: OutcomeSender,
    planner: Arc<Planner<D>>,
) -> Router {
    let replays = Router::new()
        .route("/v1/replay", post(replay::<D>))
        .method_not_allowed_fallback(async || Problem::post_only())
        .with_state(Arc::new(Asking { view, recording, planner }));
    router.merge(replays)
}

/// Decides the history of a trigger again under the rules in force, as if they had just come.
///
/// It goes on while the engine does its work, and after a restart; the status says how far it is. Each lifecycle is
/// decided and rendered again, and compared with what was applied, not with the cluster; what is as it was is not
/// applied again, but for `put_back`: then the status of the site says how many objects are left to look at
/// (`drift.asked`), and a restart forgets them. What it would withdraw may be held, as for changed rules. Where one is
/// under way, none begins. Requests with an `Origin` are refused: no web page may ask.
#[utoipa::path(
    post,
    path = "/v1/replay",
    tag = "engine",
    request_body = ReplayOrder,
    responses((status = 200, description = "It began, or is under way.", body = Replaying), Refused, RefusedReplay),
)]
pub(super) async fn replay<D: Disk>(
    State(asking): State<Arc<Asking<D>>>,
    asker: Option<Extension<Asker>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Replaying>, Problem> {
    let ReplayOrder { trigger, from, put_back, dry_run } = order::parse(&headers, &body)?;
    let by = asker.map_or_else(Asker::anybody, |Extension(asker)| asker).0;
    let from = from.map(|from| offset(&asking.view.log(), &from)).transpose()?;
    let over = asking.view.replays_over();
    if dry_run {
        let plan = asking.planner.again(&trigger, from, (changes_by_default(), looks_by_default())).await?;
        let plan = plan.ok_or_else(|| Problem::no_such_trigger(&trigger, false))?;
        return Ok(Json(Replaying { by, trigger, begun: false, over, plan: Some(plan) }));
    }
    let late = || {
        Problem::not_recorded(
            "it is not recorded yet, and may be later\nhint: `lifeline status` says what is waited for",
        )
    };
    let begun =
        tokio::time::timeout(PATIENCE, asking.recording.replay(&trigger, from, put_back)).await.map_err(|_| late())?;
    let begun = match begun.map_err(|_| Problem::stopping())? {
        Begun::Begun => true,
        Begun::UnderWay => false,
        Begun::OutOfForce => return Err(Problem::no_such_trigger(&trigger, true)),
        Begun::Absent => return Err(Problem::no_such_trigger(&trigger, false)),
    };
    info!(by, trigger, from = from.map(Offset::get), put_back, begun, "history is to be decided again");
    Ok(Json(Replaying { by, trigger, begun, over, plan: None }))
}

/// The first record at or after a moment.
fn offset<D: Disk>(log: &Reader<D>, text: &str) -> Result<Offset, Problem> {
    let wrong = |expected: &str| Problem::bad_parameter(&format!("from: `{text}` is not {expected}"));
    let moment = text.parse::<Moment>().map_err(|_| wrong("an offset or an RFC 3339 time"))?;
    match moment {
        Moment::Offset(offset) if offset > log.end() => Err(wrong("recorded yet")),
        Moment::Offset(offset) => Ok(offset),
        Moment::Time(unix_nanos) => log.offset_at(unix_nanos).map_err(|error| Problem::log(&error)),
    }
}
