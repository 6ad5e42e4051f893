//! Objects with the marks of Lifeline that nothing claims.

use axum::Json;
use axum::extract::State;
use lifeline_engine::orphans::OrphanRow;
use lifeline_projections::reads::List;
use lifeline_store::Disk;

use super::Shared;
use super::parameters::{Asked, Nothing};
use super::refusals::Refused;

/// Objects in the clusters that have the marks of Lifeline and that nothing in the log claims: all of them, by cluster and
/// object.
///
/// They are looked for at the start of the engine, once the history that waits in NATS is read. They stay until somebody
/// confirms their deletion by `/v1/confirm`.
#[utoipa::path(
    get,
    path = "/v1/orphans",
    tag = "state",
    responses((status = 200, description = "The list; `next` is always null.", body = List<OrphanRow>), Refused),
)]
pub(super) async fn orphans<D: Disk>(State(shared): State<Shared<D>>, _: Asked<Nothing>) -> Json<List<OrphanRow>> {
    Json(shared.queries.orphans())
}
