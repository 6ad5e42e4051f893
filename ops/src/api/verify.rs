//! Verifying a running engine, as it is asked and answered over HTTP.

use axum::Json;
use axum::extract::State;
use lifeline_engine::queries;
use lifeline_projections::fact::ResourceKey;
use lifeline_store::Disk;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::one::One;
use super::parameters::{Asked, Nothing};
use super::problem::Problem;
use super::refusals::{Refused, RefusedPast};

/// What came of a verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Whether the state in memory is what the log gives.
    pub sound: bool,
    /// Checksum of the state that the log gives: the same as `lifeline verify --data` shows for this log at this offset.
    pub digest: String,
    /// How many resources the log gives.
    pub resources: u64,
    /// How many are in memory.
    pub resources_in_memory: u64,
    /// How many changed while they were verified: their earlier state is computed from their records.
    pub changed_meanwhile: u64,
    /// What differs of the state beside its resources, such as `streams` or `rules`.
    pub differing_parts: Vec<String>,
    /// The resources that differ, sorted by source and subject, the first 20 of them.
    pub differing: Vec<Differing>,
    /// How many differ.
    pub differing_count: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A resource whose state in memory is not what the log gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Differing {
    /// CloudEvent source.
    pub source: String,
    /// CloudEvent subject.
    pub subject: String,
    /// In what way.
    pub how: How,
}

/// In what way a resource differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Its state in memory differs from the log.
    Changed,
    /// The log gives it, memory does not have it.
    Missing,
    /// Memory has it, the log does not give it.
    Surplus,
}

/// Whether the state in memory is what the log gives. One is done at a time.
///
/// It takes as long as rebuilding the state, and until it is done as much memory as the state; the engine goes on meanwhile.
/// The answer is about the state at `offset`. A log that no longer holds its first record
/// cannot be folded again: then it is refused with `forgotten`.
#[utoipa::path(
    get,
    path = "/v1/verify",
    tag = "engine",
    responses(
        (status = 200, description = "The result; `sound` is true when they are the same.", body = One<Verified>),
        Refused,
        RefusedPast,
    ),
)]
pub(super) async fn verify<D: Disk>(
    State(shared): State<Shared<D>>,
    _: Asked<Nothing>,
) -> Result<Json<One<Verified>>, Problem> {
    Ok(Json(One::of(shared.queries.verify().await?, Verified::from)))
}

impl From<queries::Verified> for Verified {
    fn from(verified: queries::Verified) -> Verified {
        let differing = verified.differing.into_iter().map(|(ResourceKey { source, subject }, how)| {
            let how = match how {
                queries::How::Changed => How::Changed,
                queries::How::Missing => How::Missing,
                queries::How::Surplus => How::Surplus,
            };
            Differing { source: source.to_string(), subject: subject.to_string(), how }
        });
        Verified {
            sound: verified.sound,
            digest: format!("{:016x}", verified.digest),
            resources: verified.resources as u64,
            resources_in_memory: verified.resources_in_memory as u64,
            changed_meanwhile: verified.changed_meanwhile,
            differing_parts: verified.differing_parts.into_iter().map(str::to_owned).collect(),
            differing: differing.collect(),
            differing_count: verified.differing_count,
            seconds: verified.took.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests;
