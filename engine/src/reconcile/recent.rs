//! The latest renderings of lifecycles whose attempts may be made again.
//!
//! Start at [`Recent`]. Another attempt mostly concerns the same event and rules, which give the same manifests. While the
//! cluster is away, attempts would otherwise render them again and again; with many more failing lifecycles than are
//! remembered they still do. Never here: rendering.

use std::collections::HashMap;

use lifeline_projections::fold::LifecycleIndex;
use lifeline_store::Offset;
use parking_lot::Mutex;

use crate::reconcile::render::MarkedManifest;

/// Lifecycles that are remembered at most: the manifests of one may take megabytes.
const LIFECYCLES_MAX: usize = 64;

/// The latest renderings of lifecycles that are not done.
#[derive(Debug, Default)]
pub struct Recent(Mutex<HashMap<LifecycleIndex, (Source, Vec<MarkedManifest>)>>);

/// What the manifests of a lifecycle depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// The event.
    pub event: Offset,
    /// Checksum of the trigger and all it refers to.
    pub trigger: u64,
}

impl Recent {
    /// The manifests of a lifecycle, if they were rendered from the same source before.
    pub(super) fn get(&self, lifecycle: LifecycleIndex, source: Source) -> Option<Vec<MarkedManifest>> {
        let recent = self.0.lock();
        let (known, rendered) = recent.get(&lifecycle)?;
        (*known == source).then(|| rendered.clone())
    }

    /// Remembers the manifests of a lifecycle. All others are forgotten when there are too many.
    pub(super) fn put(&self, lifecycle: LifecycleIndex, source: Source, rendered: &[MarkedManifest]) {
        let mut recent = self.0.lock();
        if recent.len() >= LIFECYCLES_MAX {
            recent.clear();
        }
        recent.insert(lifecycle, (source, rendered.to_vec()));
    }

    /// Forgets a lifecycle of which no attempt follows.
    pub(super) fn forget(&self, lifecycle: LifecycleIndex) {
        self.0.lock().remove(&lifecycle);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::rules::Handling;

    fn index(resource: u32) -> LifecycleIndex {
        LifecycleIndex { resource, slot: 0 }
    }

    #[test]
    fn manifests_are_found_by_lifecycle_event_and_rules_until_it_is_done() {
        let manifest = Arc::new(json!({"kind": "Namespace"}));
        let (plain, origin) = (Vec::new(), String::new());
        let rendered = MarkedManifest { manifest, plain, digest: 7, origin, handling: Handling::default() };
        let (recent, one) = (Recent::default(), index(1));
        let source = Source { event: Offset::from(5), trigger: 9 };
        recent.put(one, source, std::slice::from_ref(&rendered));
        assert_eq!(recent.get(one, source), Some(vec![rendered.clone()]));
        assert_eq!(recent.get(index(2), source), None);
        assert_eq!(recent.get(one, Source { event: Offset::from(6), ..source }), None);
        assert_eq!(recent.get(one, Source { trigger: 8, ..source }), None);
        for other in 2..1_000 {
            recent.put(index(other), source, std::slice::from_ref(&rendered));
            assert!(recent.0.lock().len() <= LIFECYCLES_MAX);
        }
        recent.put(one, source, &[rendered]);
        recent.forget(one);
        assert_eq!(recent.get(one, source), None);
    }
}
