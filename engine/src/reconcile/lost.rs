//! Which attempts may not trust what they know, because objects went with a Namespace while they ran.
//!
//! Start at [`Lost`]. That objects are lost is first noted here, then recorded, then folded. An attempt that begins in
//! between reads a state that is too old, so the note counts for it as well.

use std::collections::{HashMap, HashSet};

use lifeline_projections::fold::LifecycleIndex;
use parking_lot::Mutex;

/// Lifecycles that lost objects with a Namespace since their attempt began.
#[derive(Debug, Default)]
pub struct Lost(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many records of losses are on their way, by lifecycle; none that is 0.
    pending: HashMap<LifecycleIndex, usize>,
    /// Lifecycles whose attempt, if one runs, may be wrong.
    hit: HashSet<LifecycleIndex>,
}

impl Lost {
    /// An attempt begins. It has to read the state of its lifecycle after this.
    pub fn begin(&self, index: LifecycleIndex) {
        let state = &mut *self.0.lock();
        if state.pending.contains_key(&index) {
            state.hit.insert(index);
        } else {
            state.hit.remove(&index);
        }
    }

    /// A record that these lifecycles lost objects will be written.
    pub fn note(&self, whose: &[LifecycleIndex]) {
        let state = &mut *self.0.lock();
        for index in whose {
            *state.pending.entry(*index).or_default() += 1;
            state.hit.insert(*index);
        }
    }

    /// That record is folded.
    pub fn folded(&self, whose: &[LifecycleIndex]) {
        let state = &mut *self.0.lock();
        for index in whose {
            let Some(pending) = state.pending.get_mut(index) else { continue };
            *pending -= 1;
            if *pending == 0 {
                state.pending.remove(index);
            }
        }
    }

    /// Whether the attempt that ends may be wrong about what is there; says so once.
    pub fn take(&self, index: LifecycleIndex) -> bool {
        self.0.lock().hit.remove(&index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_hit_by_what_is_noted_while_it_runs_and_by_what_is_not_folded_when_it_begins() {
        let [one, other] = [0, 1].map(|slot| LifecycleIndex { resource: 7, slot });
        let lost = Lost::default();
        lost.begin(one);
        assert!(!lost.take(one), "nothing was lost");

        lost.begin(one);
        lost.note(&[one, other]);
        lost.folded(&[one, other]);
        assert!(lost.take(one), "noted and folded while it ran");

        lost.note(&[one]);
        lost.note(&[one]);
        lost.begin(one);
        assert!(lost.take(one), "noted before it began, and not folded");
        lost.begin(one);
        lost.folded(&[one]);
        assert!(lost.take(one), "folded after it read the state");
        lost.begin(one);
        assert!(lost.take(one), "the second record is not folded yet");
        lost.folded(&[one]);
        lost.begin(one);
        assert!(!lost.take(one), "all was folded before it began");

        lost.begin(other);
        assert!(!lost.take(other), "an older note says nothing about a new attempt");
    }
}
