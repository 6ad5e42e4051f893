//! Which attempts may not trust what they know, because objects went with a Namespace, or drifted, while they ran.
//!
//! Start at [`Lost`]. That objects are lost is first noted here, then recorded, then folded. An attempt that begins in
//! between reads a state that is too old, so the note counts for it as well.

use std::collections::{HashMap, HashSet};

use lifeline_projections::fact::ObjectKey;
use lifeline_projections::fold::LifecycleIndex;
use lifeline_projections::lifecycle::{Applied, Lifecycle};
use parking_lot::Mutex;

/// Lifecycles that lost objects since their attempt began.
#[derive(Debug, Default)]
pub struct Lost(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Records of losses that are on their way, by lifecycle.
    pending: HashMap<LifecycleIndex, Pending>,
    /// Lifecycles whose attempt, if one runs, may be wrong, with the objects that drifted.
    hit: HashMap<LifecycleIndex, HashSet<ObjectKey>>,
}

#[derive(Debug, Default)]
struct Pending {
    /// How many there are; never 0.
    count: usize,
    drifted: HashSet<ObjectKey>,
}

impl Lost {
    /// An attempt begins. It has to read the state of its lifecycle after this.
    pub fn begin(&self, index: LifecycleIndex) {
        let state = &mut *self.0.lock();
        match state.pending.get(&index) {
            Some(pending) => _ = state.hit.insert(index, pending.drifted.clone()),
            None => _ = state.hit.remove(&index),
        }
    }

    /// A record that these lifecycles lost objects with a Namespace will be written.
    pub fn note(&self, whose: &[LifecycleIndex]) {
        whose.iter().for_each(|index| self.note_drift(*index, &[]));
    }

    /// A record that these objects of a lifecycle drifted will be written.
    pub fn note_drift(&self, index: LifecycleIndex, objects: &[ObjectKey]) {
        let state = &mut *self.0.lock();
        let pending = state.pending.entry(index).or_default();
        pending.count += 1;
        pending.drifted.extend(objects.iter().cloned());
        state.hit.entry(index).or_default().extend(objects.iter().cloned());
    }

    /// That record is folded.
    pub fn folded(&self, whose: &[LifecycleIndex]) {
        let state = &mut *self.0.lock();
        for index in whose {
            let Some(pending) = state.pending.get_mut(index) else { continue };
            pending.count -= 1;
            if pending.count == 0 {
                state.pending.remove(index);
            }
        }
    }

    /// Whether the attempt that ends may be wrong about what is there, and the objects that drifted; says so once.
    pub fn take(&self, index: LifecycleIndex) -> Option<HashSet<ObjectKey>> {
        self.0.lock().hit.remove(&index)
    }
}

/// Whether it has to be recorded that these objects of a lifecycle went with their Namespace. A lifecycle that will apply them
/// anyway needs no record, nor does one that wants none.
pub fn needs_record(lifecycle: &Lifecycle, objects: &[ObjectKey], is_running: bool) -> bool {
    let applied = |object| lifecycle.holding(object).and_then(|holding| holding.applied.as_ref());
    let applies_anyway =
        lifecycle.needs_work() && !is_running && !objects.iter().filter_map(applied).any(Applied::is_known);
    lifecycle.desired.is_present() && !applies_anyway
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::stories::Then::{self, Applied, Create, Delete, Intends};
    use crate::reconcile::stories::{folded, key, object};

    #[test]
    fn a_loss_is_recorded_for_a_lifecycle_that_would_not_apply_the_objects_again() {
        let check = |story: &[Then], is_running: bool, expected: bool| {
            let story: Vec<(&str, Then)> = story.iter().map(|then| ("zoe", *then)).collect();
            let projection = folded(&story);
            let (_, lifecycle) = projection.lifecycle(projection.lifecycle_index(&key("zoe")).expect("it was decided"));
            let found = needs_record(&lifecycle, &[object("n/a")], is_running);
            assert_eq!(found, expected, "{story:?}, {is_running}");
        };
        let (intends, applied) = (Intends("n/a"), |decided| Applied("n/a", decided, "live"));
        // It is done, and would not look.
        check(&[Create, intends, applied(0)], false, true);
        // It has work to do: with a checksum it would keep the object, without one it applies it again.
        check(&[Create, intends, applied(0), Create], false, true);
        check(&[Create, intends, applied(0), Create, intends], false, false);
        check(&[Create, intends], false, false);
        // An attempt that runs may have applied it already.
        check(&[Create, intends], true, true);
        // It wants none.
        check(&[Create, intends, applied(0), Delete], false, false);
        check(&[Create, intends, applied(0), Delete], true, false);
    }

    #[test]
    fn an_attempt_is_hit_by_what_is_noted_while_it_runs_and_by_what_is_not_folded_when_it_begins() {
        let [one, other] = [0, 1].map(|slot| LifecycleIndex { resource: 7, slot });
        let lost = Lost::default();
        lost.begin(one);
        assert!(lost.take(one).is_none(), "nothing was lost");

        lost.begin(one);
        lost.note(&[one, other]);
        lost.folded(&[one, other]);
        assert!(lost.take(one).is_some(), "noted and folded while it ran");

        lost.note(&[one]);
        lost.note(&[one]);
        lost.begin(one);
        assert!(lost.take(one).is_some(), "noted before it began, and not folded");
        lost.begin(one);
        lost.folded(&[one]);
        assert!(lost.take(one).is_some(), "folded after it read the state");
        lost.begin(one);
        assert!(lost.take(one).is_some(), "the second record is not folded yet");
        lost.folded(&[one]);
        lost.begin(one);
        assert!(lost.take(one).is_none(), "all was folded before it began");

        lost.begin(other);
        assert!(lost.take(other).is_none(), "an older note says nothing about a new attempt");
    }

    #[test]
    fn an_attempt_is_told_which_objects_drifted() {
        let one = LifecycleIndex { resource: 7, slot: 0 };
        let drifted = HashSet::from([object("n/a")]);
        let lost = Lost::default();
        lost.begin(one);
        lost.note_drift(one, &[object("n/a")]);
        assert_eq!(lost.take(one).as_ref(), Some(&drifted));
        lost.begin(one);
        assert_eq!(lost.take(one).as_ref(), Some(&drifted), "it is not folded yet");
        lost.folded(&[one]);
        lost.begin(one);
        assert_eq!(lost.take(one), None);
    }
}
