//! Confirming a withdrawal that the brake holds, or that orphans are deleted.
//!
//! Start at [`with_confirm`]. Who may ask is decided before, by [`super::access`]; what an order has to be like, by
//! [`super::order`].

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Extension, Json, Router};
use lifeline_engine::recorder;
use lifeline_engine::view::{self, View};
use lifeline_store::Disk;
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use super::access::Asker;
use super::order;
use super::problem::Problem;
use super::refusals::{Refused, RefusedConfirmation};

/// Which objects may go.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmationOrder {
    /// The id that the status gives it, in `replays[].held` or `sites[].orphans.groups[]`.
    pub id: String,
}

/// What was confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Confirmed {
    /// Who asked: the name that was authenticated, or `anybody`.
    pub by: String,
    /// The trigger.
    pub trigger: String,
    /// Objects that go next, if they are still as they were shown.
    pub objects: u64,
    /// Keys that leave the list that the trigger makes of all live keys.
    #[serde(default)]
    pub keys: u64,
    /// Whether these are objects that nothing claimed; otherwise changed rules withdraw them.
    pub orphans: bool,
}

/// The paths of `router`, and the one for confirmations.
pub fn with_confirm<D: Disk>(router: Router, view: Arc<View<D>>) -> Router {
    let confirmations = Router::new()
        .route("/v1/confirm", post(confirm::<D>))
        .method_not_allowed_fallback(async || Problem::post_only())
        .with_state(view);
    router.merge(confirmations)
}

/// Lets changed rules withdraw what the brake holds, or objects be deleted that nothing claims.
///
/// A confirmation is for one trigger, one version of it and these objects. It is recorded before this is answered, so it holds
/// though the engine ends before they are gone; one of what nothing claims holds while the engine runs. Requests with an `Origin`
/// are refused: no web page may ask.
#[utoipa::path(
    post,
    path = "/v1/confirm",
    tag = "engine",
    request_body = ConfirmationOrder,
    responses((status = 200, description = "It goes on.", body = Confirmed), Refused, RefusedConfirmation),
)]
pub(super) async fn confirm<D: Disk>(
    State(view): State<Arc<View<D>>>,
    asker: Option<Extension<Asker>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Confirmed>, Problem> {
    let ConfirmationOrder { id } = order::parse(&headers, &body)?;
    let by = asker.map_or_else(Asker::anybody, |Extension(asker)| asker).0;
    let Some(confirmed) = recorder::confirm(&view, &id).await? else { return Err(Problem::nothing_held(&id)) };
    let view::Confirmed { orphans, trigger, objects, keys } = confirmed;
    info!(
        by,
        trigger,
        objects,
        keys,
        "{} is confirmed",
        if orphans { "a deletion of orphans" } else { "a withdrawal" }
    );
    Ok(Json(Confirmed { by, trigger, objects, keys, orphans }))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use lifeline_projections::fold::Projection;
    use lifeline_store::{Log, Options, SimulatedDisk};
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn what_is_not_held_cannot_be_confirmed_and_no_page_may_ask() {
        let (log, _) = Log::open(SimulatedDisk::new(1), Options { low_space_bytes: 0, ..Options::default() }).unwrap();
        let router = with_confirm(Router::new(), View::new(Projection::default(), log.reader()));
        let check = async |header: (&str, &str), body: Value, status: u16, code: &str| {
            let request = Request::post("/v1/confirm").header(header.0, header.1).body(Body::from(body.to_string()));
            let Ok(response) = router.clone().oneshot(request.unwrap()).await;
            let answered = response.status().as_u16();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let problem: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(answered, status, "{problem}");
            assert!(problem["type"].to_string().contains(code), "{problem}");
        };
        let json_type = ("content-type", "application/json");
        check(json_type, json!({"id": "0badf00d"}), 404, "nothing-held").await;
        check(json_type, json!({"name": "x"}), 400, "bad-parameter").await;
        check(("content-type", "text/plain"), json!({"id": "0badf00d"}), 415, "not-json").await;
        check(("origin", "http://localhost"), json!({"id": "0badf00d"}), 403, "forbidden").await;
    }
}
