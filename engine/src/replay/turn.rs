//! The two turns of a replay: in the first, what would be withdrawn is counted, and the rest recorded; in the second,
//! everything is recorded. Between them the [`brake`](super::brake) decides.

use lifeline_projections::fact::{ObjectKey, Redecision, ResourceKey};
use lifeline_projections::fold::Resource;
use lifeline_projections::lifecycle::Lifecycle;
use serde_json::json;

use super::brake::Withdrawal;
use super::texts::key_digest;
use crate::digest::digest;
use crate::size::Size;

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
    /// The same of the keys of its list.
    pub(super) keys: Withdrawal,
    /// What would go beside them, and what another lifecycle may want.
    pub(super) waiting: Size,
    /// A checksum of the names of all of these, in any order.
    pub(super) names: u64,
    /// What is live of all triggers.
    pub(super) live: Size,
}

impl Count {
    /// What it would withdraw now.
    pub(super) fn goes(&self) -> Size {
        Size { objects: self.withdrawal.goes, keys: self.keys.goes }
    }
}

/// What would go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Going {
    pub(crate) size: Size,
    /// A checksum of the names, in any order.
    pub(crate) names: u64,
}

impl Going {
    /// Those objects of a cluster.
    pub(crate) fn of<'o>(cluster: &str, objects: impl Iterator<Item = &'o ObjectKey>) -> Going {
        objects.fold(Going::default(), |going, object| {
            going.and(Going { size: Size { objects: 1, keys: 0 }, names: digest(&json!([cluster, object])) })
        })
    }

    /// A key of a list.
    pub(crate) fn of_key(cluster: &str, key: &ResourceKey) -> Going {
        Going { size: Size { objects: 0, keys: 1 }, names: key_digest(cluster, key) }
    }

    /// Both.
    #[must_use]
    pub(crate) fn and(self, other: Going) -> Going {
        Going { size: self.size + other.size, names: self.names.wrapping_add(other.names) }
    }
}

/// What the lifecycles of a resource are measured by.
pub(super) trait Measures {
    /// How much a lifecycle has.
    fn size(&self, lifecycle: &Lifecycle) -> Size;

    /// What of it would go, where it is decided like this. An object that another lifecycle wants, and goes on wanting, changes
    /// hands and does not count.
    fn goes(&self, lifecycle: &Lifecycle, redecision: &Redecision) -> Going;

    /// Why another lifecycle may want it, on a cluster.
    fn waits(&self, cluster: &str) -> Option<String>;
}

impl Turn {
    /// Goes on behind a resource. Gives what of its redecisions is recorded in this turn: in the first one, what takes no object
    /// away, and no key of a list; in the second one, all but what takes away an object that another lifecycle may want. Why
    /// another one may is said by the first reason, in `waits_for`.
    pub(super) fn pass(
        &mut self,
        measures: &impl Measures,
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
            let size = measures.size(lifecycle);
            count.live += size;
            if *lifecycle.trigger != *trigger {
                continue;
            }
            count.withdrawal.of += size.objects;
            count.keys.of += size.keys;
            // A key of a list has no object that others could want.
            let waits = || if lifecycle.inventory.is_empty() { None } else { measures.waits(&lifecycle.cluster) };
            redecisions.retain(|redecision| {
                if redecision.cluster != *lifecycle.cluster {
                    return true;
                }
                let reason = if is_counting { None } else { waits() };
                if !is_counting && reason.is_none() {
                    return true;
                }
                let Going { size, names } = measures.goes(lifecycle, redecision);
                if size.is_none() {
                    return true;
                }
                count.names = count.names.wrapping_add(names);
                match reason.or_else(waits) {
                    Some(reason) => {
                        count.waiting += size;
                        waits_for.get_or_insert(reason);
                    }
                    None => {
                        count.withdrawal.goes += size.objects;
                        count.keys.goes += size.keys;
                    }
                }
                false
            });
        }
        redecisions
    }
}
