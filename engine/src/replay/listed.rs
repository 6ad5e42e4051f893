//! Lists of all live keys, where the trigger that makes them is decided again.
//!
//! Start at [`Replay::list_differences`]. How lists come to be at all is said in [`crate::lists`].

use lifeline_projections::fact::{Redecision, ResourceKey};
use lifeline_projections::fold::{Projection, Resource};

use super::Replay;
use super::desired::{Unmatched, redesired};
use super::target::Target;
use crate::rules::Trigger;

impl Replay {
    /// What becomes of a list. It stays as its keys made it, and is made again by the texts as they are now, unless the trigger
    /// makes no list any more.
    pub(super) fn list_differences(
        &self,
        projection: &Projection,
        target: &Target,
        key: &ResourceKey,
        resource: &Resource,
    ) -> Vec<Redecision> {
        let trigger = self.rules.trigger(&target.trigger);
        let makes_lists = trigger.is_some_and(Trigger::may_gather);
        let unmatched = match target.leaves {
            _ if trigger.is_none_or(Trigger::is_degraded) => Unmatched::Keeps,
            true => Unmatched::Leaves,
            false => Unmatched::Withdraws,
        };
        let of_trigger = resource.lifecycles.iter().filter(|lifecycle| *lifecycle.trigger == *target.trigger);
        let undecided = of_trigger.filter(|lifecycle| !target.has_decided(projection, lifecycle));
        let redecided = undecided.filter_map(|lifecycle| {
            let is_heard = target.clusters.iter().any(|cluster| **cluster == *lifecycle.cluster);
            let is_made = makes_lists && is_heard;
            // One that was to go is asked for again once its keys are decided: see [`crate::lists`].
            if is_made && !lifecycle.desired.is_present() {
                return None;
            }
            let found = Some(lifecycle.desired).filter(|_| is_made);
            let desired = redesired(Some(lifecycle), found, unmatched)?;
            Some(Redecision { cluster: (*lifecycle.cluster).into(), resource: key.clone(), desired, previous: None })
        });
        redecided.collect()
    }

    /// Whether a list has to wait: its keys are being decided again, or what the list would lose is held.
    #[must_use]
    pub fn holds_list(&self, projection: &Projection, trigger: &str, cluster: &str) -> bool {
        self.targets.iter().filter(|target| *target.trigger == *trigger).any(|target| {
            let list = projection.decision("", trigger, trigger, cluster);
            let is_undecided = list.is_some_and(|(desired, decided)| {
                desired.is_present() && projection.ground().decided_by(trigger, decided) != target.digest
            });
            target.goes_on() || is_undecided
        })
    }
}
