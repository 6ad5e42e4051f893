//! Whose turn it is among lifecycles that are ready: by urgency, and fair among triggers.
//!
//! Start at [`Lanes::take`]. What should be gone comes first, then what an event just asked for, then what rules that changed
//! or a start ask for. Of one urgency each trigger has its turn, so one with ten thousand resources does not keep another
//! waiting. Every eighth turn begins at the other end: nothing waits for ever.

use std::collections::{BTreeMap, VecDeque};

use lifeline_projections::fold::LifecycleIndex;

/// How soon a lifecycle is to be reconciled. The first is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Urgency {
    /// Its objects should be gone.
    Removal,
    /// An event asks for its objects, or something happened to them.
    #[default]
    Fresh,
    /// It was decided again by rules that changed, or was left by the process before.
    Replayed,
}

/// Where a lifecycle waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Lane {
    /// How soon it is to be reconciled.
    pub urgency: Urgency,
    /// Its trigger, by any number that is its own.
    pub trigger: u32,
}

/// So many turns are one from the other end.
const TURNS: u32 = 8;

/// The lifecycles that wait, by lane. One that has moved to another lane may still be named in the first.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_urgency: [Triggers; 3],
    turns: u32,
}

/// Invariant: `order` names each trigger of `waiting` once, and `waiting` has no empty queue.
#[derive(Debug, Default)]
struct Triggers {
    order: VecDeque<u32>,
    waiting: BTreeMap<u32, VecDeque<LifecycleIndex>>,
}

impl Lanes {
    /// Adds a lifecycle after those of its lane.
    pub(super) fn add(&mut self, lane: Lane, lifecycle: LifecycleIndex) {
        let triggers = &mut self.by_urgency[lane.urgency as usize];
        let waiting = triggers.waiting.entry(lane.trigger).or_default();
        if waiting.is_empty() {
            triggers.order.push_back(lane.trigger);
        }
        waiting.push_back(lifecycle);
    }

    /// The lifecycle whose turn it is, of those that wait where they are named.
    pub(super) fn take(&mut self, waits: impl Fn(Lane, LifecycleIndex) -> bool) -> Option<LifecycleIndex> {
        self.turns = self.turns.wrapping_add(1);
        let order = if self.turns.is_multiple_of(TURNS) { [2, 1, 0] } else { [0, 1, 2] };
        let urgency = [Urgency::Removal, Urgency::Fresh, Urgency::Replayed];
        order.into_iter().find_map(|at| {
            let found = |trigger, lifecycle| waits(Lane { urgency: urgency[at], trigger }, lifecycle);
            self.by_urgency[at].take(found)
        })
    }
}

impl Triggers {
    fn take(&mut self, waits: impl Fn(u32, LifecycleIndex) -> bool) -> Option<LifecycleIndex> {
        while let Some(trigger) = self.order.pop_front() {
            let waiting = self.waiting.get_mut(&trigger).expect("a trigger that has a turn has something that waits");
            let taken = std::iter::from_fn(|| waiting.pop_front()).find(|lifecycle| waits(trigger, *lifecycle));
            if waiting.is_empty() {
                self.waiting.remove(&trigger);
            } else {
                self.order.push_back(trigger);
            }
            if taken.is_some() {
                return taken;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(resource: u32) -> LifecycleIndex {
        LifecycleIndex { resource, slot: 0 }
    }

    fn lane(urgency: Urgency, trigger: u32) -> Lane {
        Lane { urgency, trigger }
    }

    #[test]
    fn a_trigger_with_ten_thousand_resources_does_not_keep_another_waiting() {
        let mut lanes = Lanes::default();
        (0..10_000).for_each(|resource| lanes.add(lane(Urgency::Fresh, 1), index(resource)));
        lanes.add(lane(Urgency::Fresh, 2), index(10_000));
        (10_001..10_005).for_each(|resource| lanes.add(lane(Urgency::Fresh, 3), index(resource)));
        let taken: Vec<u32> = (0..7).map(|_| lanes.take(|_, _| true).expect("there are more").resource).collect();
        assert_eq!(taken, [0, 10_000, 10_001, 1, 10_002, 2, 10_003]);
    }

    #[test]
    fn what_should_be_gone_comes_first_and_nothing_waits_for_ever() {
        let mut lanes = Lanes::default();
        (0..20).for_each(|resource| lanes.add(lane(Urgency::Replayed, 1), index(resource)));
        (20..40).for_each(|resource| lanes.add(lane(Urgency::Fresh, 1), index(resource)));
        (40..44).for_each(|resource| lanes.add(lane(Urgency::Removal, 1), index(resource)));
        let taken: Vec<u32> = (0..10).map(|_| lanes.take(|_, _| true).expect("there are more").resource).collect();
        assert_eq!(taken, [40, 41, 42, 43, 20, 21, 22, 0, 23, 24]);
    }

    #[test]
    fn what_has_moved_is_passed_over() {
        let mut lanes = Lanes::default();
        for urgency in [Urgency::Replayed, Urgency::Removal] {
            lanes.add(lane(urgency, 1), index(1));
        }
        lanes.add(lane(Urgency::Fresh, 1), index(2));
        let is_there = |lane: Lane, index: LifecycleIndex| (lane.urgency, index.resource) != (Urgency::Replayed, 1);
        let taken: Vec<_> = std::iter::from_fn(|| lanes.take(is_there)).map(|index| index.resource).collect();
        assert_eq!(taken, [1, 2]);
        assert!(lanes.by_urgency.iter().all(|triggers| triggers.waiting.is_empty() && triggers.order.is_empty()));
    }
}
