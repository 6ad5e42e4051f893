//! One resource, with all there is to say of its state.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fact::ResourceKey;
use crate::fold::Resource;
use crate::reads::{LifecycleRow, ResourceRow, lifecycle_row, resource_row};

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

impl ResourceDetail {
    /// A resource by its key and state.
    #[must_use]
    pub fn of(key: &ResourceKey, resource: &Resource) -> ResourceDetail {
        let lifecycles = resource.lifecycles.iter().map(|lifecycle| lifecycle_row(key, resource, lifecycle));
        ResourceDetail { row: resource_row(key, resource), lifecycles_detail: lifecycles.collect() }
    }
}
