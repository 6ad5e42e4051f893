//! The live keys of each trigger: what one list is made of, for a trigger that makes one.
//!
//! Start at [`Projection::keys_of`]. They are counted along, for it is asked after every group of records; which they are is
//! looked for only when a list is made.

use std::ops::Range;
use std::sync::Arc;

use lifeline_store::Offset;

use super::{Projection, ResourceIndex};
use crate::fact::ResourceKey;
use crate::lifecycle::Desired;
use crate::storage::KeyChange;

/// The resources of a trigger on a cluster, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keys {
    /// How many are live: the latest decision about them is Create.
    pub live: u64,
    /// How many were left, with what was made of them.
    pub left: u64,
    /// The latest record that decided about one of them.
    pub until: Offset,
}

impl Keys {
    /// Takes in what became of one of them.
    pub(super) fn take(&mut self, change: &KeyChange) {
        let KeyChange { before, after, decided, .. } = change;
        if before.is_some_and(Desired::is_present) {
            self.live -= 1;
        }
        if *before == Some(Desired::Left) {
            self.left -= 1;
        }
        self.live += u64::from(after.is_present());
        self.left += u64::from(*after == Desired::Left);
        self.until = self.until.max(*decided);
    }
}

impl Projection {
    /// The resources of a trigger, counted, on each cluster where it has decided.
    pub fn keys_of(&self, trigger: &str) -> impl Iterator<Item = (&Arc<str>, Keys)> {
        let keys = |pair: u32| self.keys.get(pair as usize).copied().unwrap_or_default();
        self.resources.pairs_of(trigger).map(move |(pair, cluster)| (cluster, keys(pair)))
    }

    /// The live ones among the resources with these numbers, each with its Create event, in the order of their numbers. With
    /// many resources it takes long: ask for some of them at a time.
    #[must_use]
    pub fn live_keys(&self, trigger: &str, cluster: &str, numbers: Range<ResourceIndex>) -> Vec<(ResourceKey, Offset)> {
        let pair = self.resources.pairs_of(trigger).find(|(_, on)| ***on == *cluster).map(|(pair, _)| pair);
        let Some(pair) = pair else { return Vec::new() };
        let all = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let live = (numbers.start..numbers.end.min(all)).filter_map(|number| {
            let stored = self.resources.get(number);
            match stored.desired(pair)? {
                Desired::Present { event } if !stored.source().is_empty() => Some((stored.key(), event)),
                Desired::Present { .. } | Desired::Absent { .. } | Desired::Left => None,
            }
        });
        live.collect()
    }
}
