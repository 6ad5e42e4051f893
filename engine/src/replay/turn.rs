//! The two turns of a replay: in the first, what would be withdrawn is counted, and the rest recorded; in the second,
//! everything is recorded. Between them the [`brake`](super::brake) decides.

use lifeline_projections::fact::{Redecision, Redesired};
use lifeline_projections::fold::Resource;
use lifeline_projections::lifecycle::Lifecycle;

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

/// A lifecycle that stays present counts as so many steps more, for its texts are rendered.
const RENDER_STEPS: usize = 16;

impl Turn {
    /// How many steps more the redecisions of a resource cost.
    pub(super) fn steps_of(&self, redecisions: &[Redecision]) -> usize {
        match self {
            Turn::Counting(_) => RENDER_STEPS * redecisions.len(),
            Turn::Counted(_) | Turn::Held(_) | Turn::Recording => 0,
        }
    }

    /// Goes on behind a resource. Gives what of its redecisions is recorded in this turn: what takes no object away. How many
    /// there are is what `holds` says of a lifecycle, how many would go what `goes` says of one that is decided so. One that
    /// another lifecycle wants, and goes on wanting, changes hands and does not count.
    pub(super) fn pass(
        &mut self,
        holds: &impl Fn(&Lifecycle) -> u64,
        goes: &impl Fn(&Lifecycle, &Redesired) -> u64,
        trigger: &str,
        resource: &Resource,
        mut redecisions: Vec<Redecision>,
    ) -> Vec<Redecision> {
        let Turn::Counting(count) = self else { return redecisions };
        let live = resource.lifecycles.iter().filter(|lifecycle| lifecycle.desired.is_present());
        for lifecycle in live {
            let objects = holds(lifecycle);
            count.live += objects;
            if *lifecycle.trigger != *trigger {
                continue;
            }
            count.withdrawal.of += objects;
            redecisions.retain(|redecision| {
                let is_its = redecision.cluster == *lifecycle.cluster;
                let goes = if is_its { goes(lifecycle, &redecision.desired) } else { 0 };
                count.withdrawal.objects += goes;
                goes == 0
            });
        }
        redecisions
    }
}
