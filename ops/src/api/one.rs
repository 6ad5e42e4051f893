//! An answer about one thing, as it is sent and read.

use lifeline_engine::queries::At;
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::fold::Resource;
use lifeline_projections::reads::{LifecycleRow, ResourceRow, lifecycle_row, resource_row};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One resource, with its lifecycles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResourceDetail {
    /// Its row in the list of resources.
    #[serde(flatten)]
    pub row: ResourceRow,
    /// Its lifecycles, sorted by trigger and cluster.
    pub lifecycles_detail: Vec<LifecycleRow>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct One<T> {
    /// The answer reflects every record below this offset.
    pub offset: u64,
    /// What was asked for.
    pub item: T,
}

impl<T> One<T> {
    /// An answer with its item made into what is sent.
    pub(super) fn of<A>(At { offset, item }: At<A>, send: impl FnOnce(A) -> T) -> One<T> {
        One { offset: offset.get(), item: send(item) }
    }
}

impl ResourceDetail {
    /// A resource by its key and state.
    pub(super) fn of(key: &ResourceKey, resource: &Resource) -> ResourceDetail {
        let lifecycles = resource.lifecycles.iter().map(|lifecycle| lifecycle_row(key, resource, lifecycle));
        ResourceDetail { row: resource_row(key, resource), lifecycles_detail: lifecycles.collect() }
    }
}
