//! One resource, with all there is to say of its present state.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fact::ResourceKey;
use crate::fold::Projection;
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

/// One resource; none when nothing is recorded about it.
#[must_use]
pub fn resource(projection: &Projection, source: &str, subject: &str) -> Option<One<ResourceDetail>> {
    let resource = projection.resource(source, subject)?;
    let key = ResourceKey { source: source.into(), subject: subject.into() };
    let lifecycles = resource.lifecycles.iter().map(|lifecycle| lifecycle_row(&key, resource, lifecycle));
    let item = ResourceDetail { row: resource_row(&key, resource), lifecycles_detail: lifecycles.collect() };
    Some(One { offset: projection.watermark().get(), item })
}
