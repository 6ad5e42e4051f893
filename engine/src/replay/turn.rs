//! The two turns of a replay: in the first, what would be withdrawn is counted, and the rest recorded; in the second,
//! everything is recorded. Between them the [`brake`](super::brake) decides.

use lifeline_projections::fact::{ObjectKey, Redecision, Redesired};
use lifeline_projections::fold::Resource;
use lifeline_projections::lifecycle::Holding;

use super::brake::Withdrawal;

/// Which turn of a replay is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What would be withdrawn is counted, beside all live objects; the rest is recorded.
    Counting(Count),
    /// It is counted. Whether it is held is decided once it is counted for all triggers.
    Counted(Count),
    /// It waits until somebody confirms it.
    Held(Withdrawal),
    /// Everything is recorded.
    Recording,
}

/// What a replay counts in its first turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// What it would withdraw, of the objects of its trigger.
    pub(super) withdrawal: Withdrawal,
    /// The live objects of all triggers.
    pub(super) live: u64,
}

impl Turn {
    /// Goes on behind a resource. Gives what of its redecisions is recorded in this turn: what takes no object away. One that
    /// another lifecycle wants, and goes on wanting, changes hands: it `stays`.
    pub(super) fn pass(
        &mut self,
        stays: &impl Fn(&str, &ObjectKey) -> bool,
        trigger: &str,
        resource: &Resource,
        mut redecisions: Vec<Redecision>,
    ) -> Vec<Redecision> {
        let Turn::Counting(count) = self else { return redecisions };
        let live = resource.lifecycles.iter().filter(|lifecycle| lifecycle.desired.is_present());
        for lifecycle in live {
            let objects = lifecycle.inventory.len() as u64;
            count.live += objects;
            if *lifecycle.trigger != *trigger {
                continue;
            }
            count.withdrawal.of += objects;
            let withdraws = |redecision: &Redecision| {
                redecision.cluster == *lifecycle.cluster && matches!(redecision.desired, Redesired::Absent { .. })
            };
            if !redecisions.iter().any(withdraws) {
                continue;
            }
            let goes = |holding: &&Holding| !stays(&lifecycle.cluster, &holding.object);
            let goes = lifecycle.inventory.iter().filter(goes).count() as u64;
            if goes > 0 {
                count.withdrawal.objects += goes;
                redecisions.retain(|redecision| !withdraws(redecision));
            }
        }
        redecisions
    }
}
