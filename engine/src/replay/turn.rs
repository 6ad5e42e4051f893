//! The two turns of a replay: in the first, what would be withdrawn is counted, and the rest recorded; in the second,
//! everything is recorded. Between them the [`brake`](super::brake) decides.

use lifeline_projections::fact::{ObjectKey, Redecision, ResourceKey};
use lifeline_projections::fold::Resource;
use lifeline_projections::lifecycle::Lifecycle;
use serde_json::json;

use super::brake::Withdrawal;
use crate::digest::digest;

/// Which turn of a replay is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What would be withdrawn is counted, beside all live objects; the rest is recorded.
    Counting(Count),
    /// It is counted. Whether it is held is decided once it is counted for all triggers.
    Counted(Count),
    /// It waits until somebody confirms it, or until nobody else may want it.
    Held,
    /// What may go is recorded: all of it where somebody confirmed it, else what nobody else may want.
    Recording(Consent),
}

/// Why a withdrawal may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consent {
    /// It is little.
    Little,
    /// Somebody confirmed it.
    Confirmed,
}

/// What a replay counts in its first turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// What it would withdraw now, of the objects of its trigger.
    pub(super) withdrawal: Withdrawal,
    /// Objects beside them that would go, and that another lifecycle may want.
    pub(super) waiting: u64,
    /// A checksum of the names of both, in any order.
    pub(super) names: u64,
    /// The live objects of all triggers.
    pub(super) live: u64,
}

/// Objects that would go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Going {
    pub(crate) objects: u64,
    /// A checksum of their names, in any order.
    pub(crate) names: u64,
}

impl Going {
    /// Those objects of a cluster.
    pub(crate) fn of<'o>(cluster: &str, objects: impl Iterator<Item = &'o ObjectKey>) -> Going {
        objects.fold(Going::default(), |going, object| {
            going.and(Going { objects: 1, names: digest(&json!([cluster, object])) })
        })
    }

    /// A key of a list, which counts as so many objects.
    pub(crate) fn of_key(cluster: &str, ResourceKey { source, subject }: &ResourceKey, objects: u64) -> Going {
        let names = if objects == 0 { 0 } else { digest(&json!([cluster, source, subject])) };
        Going { objects, names }
    }

    /// Both.
    #[must_use]
    pub(crate) fn and(self, other: Going) -> Going {
        Going { objects: self.objects + other.objects, names: self.names.wrapping_add(other.names) }
    }
}

/// A lifecycle that stays present counts as so many steps more, for its texts are rendered.
const RENDER_STEPS: usize = 16;

impl Turn {
    /// How many steps more the redecisions of a resource cost.
    pub(super) fn steps_of(&self, redecisions: &[Redecision]) -> usize {
        match self {
            Turn::Counting(_) | Turn::Recording(Consent::Little) => RENDER_STEPS * redecisions.len(),
            Turn::Counted(_) | Turn::Held | Turn::Recording(Consent::Confirmed) => 0,
        }
    }

    /// Goes on behind a resource. Gives what of its redecisions is recorded in this turn: in the first one, what takes no object
    /// away; in the second one, all but what takes away an object that another lifecycle may want. How many objects there are is
    /// what `holds` says of a lifecycle, what would go what `goes` says of one that is decided so; one that another lifecycle
    /// wants, and goes on wanting, changes hands and does not count. Why another one may want it is what `waits` says of a
    /// cluster; the first reason goes to `waits_for`.
    pub(super) fn pass(
        &mut self,
        holds: &impl Fn(&Lifecycle) -> u64,
        goes: &impl Fn(&Lifecycle, &Redecision) -> Going,
        waits: &impl Fn(&str) -> Option<String>,
        (trigger, resource): (&str, &Resource),
        mut redecisions: Vec<Redecision>,
        waits_for: &mut Option<String>,
    ) -> Vec<Redecision> {
        let count = match self {
            Turn::Counting(count) => Some(count),
            Turn::Recording(Consent::Little) => None,
            Turn::Counted(_) | Turn::Held | Turn::Recording(Consent::Confirmed) => return redecisions,
        };
        let (is_counting, mut none) = (count.is_some(), Count::default());
        let count = count.unwrap_or(&mut none);
        for lifecycle in resource.lifecycles.iter().filter(|lifecycle| lifecycle.desired.is_present()) {
            let objects = holds(lifecycle);
            count.live += objects;
            if *lifecycle.trigger != *trigger {
                continue;
            }
            count.withdrawal.of += objects;
            // A key of a list has no object that others could want.
            let waits = || if lifecycle.inventory.is_empty() { None } else { waits(&lifecycle.cluster) };
            redecisions.retain(|redecision| {
                if redecision.cluster != *lifecycle.cluster {
                    return true;
                }
                let reason = if is_counting { None } else { waits() };
                if !is_counting && reason.is_none() {
                    return true;
                }
                let Going { objects, names } = goes(lifecycle, redecision);
                if objects == 0 {
                    return true;
                }
                count.names = count.names.wrapping_add(names);
                match reason.or_else(waits) {
                    Some(reason) => {
                        count.waiting += objects;
                        waits_for.get_or_insert(reason);
                    }
                    None => count.withdrawal.objects += objects,
                }
                false
            });
        }
        redecisions
    }
}
