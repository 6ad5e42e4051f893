//! The tiers at which lifecycles want objects that several of them claim.
//!
//! Start at [`Tiers`]. The owner of an object is the first claim in the log, so a lower tier does not take it: it asks the
//! owner, which compares the tiers and lets go. Both note here at which tier they want the object, for only rendering
//! tells. Nothing here outlives the process: who waits attempts again after a start, and notes it again.

use std::collections::HashMap;

use lifeline_projections::fact::ObjectKey;
use lifeline_projections::fold::LifecycleIndex;
use parking_lot::Mutex;

/// Notes that are kept at most. All are forgotten then; a lifecycle that waits notes its own again.
const NOTES_MAX: usize = 100_000;

/// At which tier lifecycles want contested objects.
#[derive(Debug, Default)]
pub struct Tiers(Mutex<HashMap<ObjectKey, Vec<(LifecycleIndex, i32)>>>);

impl Tiers {
    /// A lifecycle wants an object that others claim too.
    pub fn note(&self, object: &ObjectKey, index: LifecycleIndex, tier: i32) {
        let mut tiers = self.0.lock();
        if tiers.len() >= NOTES_MAX {
            tiers.clear();
        }
        let noted = tiers.entry(object.clone()).or_default();
        noted.retain(|(known, _)| *known != index);
        noted.push((index, tier));
    }

    /// Nobody else claims an object any more.
    pub fn forget(&self, object: &ObjectKey) {
        self.0.lock().remove(object);
    }

    /// At which tier a lifecycle wants an object, if it has noted that.
    pub fn of(&self, object: &ObjectKey, index: LifecycleIndex) -> Option<i32> {
        let tiers = self.0.lock();
        let noted = tiers.get(object)?.iter().find(|(known, _)| *known == index);
        noted.map(|(_, tier)| *tier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_tier_of_each_lifecycle_counts() {
        let [one, other] = [0, 1].map(|slot| LifecycleIndex { resource: 7, slot });
        let (tiers, object) = (Tiers::default(), ObjectKey::of_namespace("a"));
        assert_eq!(tiers.of(&object, one), None);
        tiers.note(&object, one, 100);
        tiers.note(&object, other, 50);
        tiers.note(&object, one, 10);
        assert_eq!((tiers.of(&object, one), tiers.of(&object, other)), (Some(10), Some(50)));
        assert_eq!(tiers.of(&ObjectKey::of_namespace("b"), one), None);
        tiers.forget(&object);
        assert_eq!(tiers.of(&object, one), None);
    }
}
