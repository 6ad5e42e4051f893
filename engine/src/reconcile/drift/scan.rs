//! Looking at everything that a site holds, in short turns, so that nobody waits for it.

use std::ops::Bound;

use lifeline_projections::fact::ResourceKey;
use lifeline_projections::lifecycle::{Desired, Holding, Lifecycle};
use lifeline_store::Disk;

use crate::view::View;

/// Resources that are looked at while the projection is held.
const RESOURCES_EACH: usize = 500;

/// Gives each object that lifecycles of a cluster hold, but those that were left. What is to be deleted is one of them: it may be
/// wanted again before that is done. What changes meanwhile may be given as it was or as it is.
pub(super) async fn each_holding<D: Disk>(view: &View<D>, cluster: &str, mut look: impl FnMut(&Lifecycle, &Holding)) {
    let mut position: Option<ResourceKey> = None;
    loop {
        let mut count = 0;
        {
            let projection = view.projection();
            let start = position.clone();
            let start = start.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            for (key, resource) in projection.resources_from(start).take(RESOURCES_EACH) {
                count += 1;
                let is_here =
                    |lifecycle: &&Lifecycle| *lifecycle.cluster == *cluster && lifecycle.desired != Desired::Left;
                for lifecycle in resource.lifecycles.iter().filter(is_here) {
                    lifecycle.inventory.iter().for_each(|holding| look(lifecycle, holding));
                }
                position = Some(key);
            }
        }
        if count < RESOURCES_EACH {
            return;
        }
        tokio::task::yield_now().await;
    }
}
