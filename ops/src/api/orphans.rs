//! Objects with the marks of Lifeline that nothing claims, and what dry runs would do.

use axum::Json;
use axum::extract::State;
use lifeline_engine::dry_runs::DryRunRow;
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

/// What triggers with `syncMode: DryRun` would do: objects to create, to change, with the fields as an apply by dry run gives
/// them, and to delete, and what is in the way. Nothing of it is done. Objects that would stay as they are are not listed.
///
/// It is found out after each event and each change of rules, and every ten minutes.
#[utoipa::path(
    get,
    path = "/v1/dry-run",
    tag = "state",
    responses((status = 200, description = "The list; `next` is always null.", body = List<DryRunRow>), Refused),
)]
pub(super) async fn dry_runs<D: Disk>(State(shared): State<Shared<D>>, _: Asked<Nothing>) -> Json<List<DryRunRow>> {
    Json(shared.queries.dry_runs())
}

/// Objects of others that are in the way of wanted ones: who changed them last, which fields an apply would change, and the
/// remedies. Objects that several lifecycles claim are in `/v1/conflicts`.
#[utoipa::path(
    get,
    path = "/v1/conflicts/foreign",
    tag = "state",
    responses((status = 200, description = "The list; `next` is always null.", body = List<DryRunRow>), Refused),
)]
pub(super) async fn foreign<D: Disk>(State(shared): State<Shared<D>>, _: Asked<Nothing>) -> Json<List<DryRunRow>> {
    Json(shared.queries.foreign())
}
