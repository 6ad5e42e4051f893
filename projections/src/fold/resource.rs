//! One resource, whole, and the fold of one: what a record makes of it, for telling an earlier state.
//!
//! Start at [`Resource::fold`]. It ends in the same state as [`super::Projection::fold`], which keeps resources smaller: a
//! property test compares them.

use lifeline_store::Offset;
use serde::{Deserialize, Serialize};

use crate::fact::{Fact, Link, ResourceKey};
use crate::happened::Change;
use crate::lifecycle::Lifecycle;

/// Everything known of one (source, subject).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// How many events spoke of it.
    pub events: u64,
    /// The first of them.
    pub first_event: Offset,
    /// The latest of them.
    pub last_event: Offset,
    /// When the latest was recorded, in nanoseconds since 1970.
    pub last_event_unix_nanos: u64,
    /// CloudEvent `type` of the latest.
    pub last_event_kind: String,
    /// The latest record of any kind that spoke of it: where its history begins, read backwards.
    pub last_record: Offset,
    /// How many records of any kind spoke of it.
    pub records: u32,
    /// One for each trigger and cluster that ever decided about it, sorted by both.
    pub lifecycles: Vec<Lifecycle>,
}

impl Resource {
    /// Takes in a record about this resource, and maybe about others: what [`super::Projection::fold`] does to one, for an
    /// earlier state.
    pub fn fold(&mut self, key: &ResourceKey, offset: Offset, unix_nanos: u64, fact: &Fact<'_>) {
        if self.records == 0 || self.last_record != offset {
            self.records = self.records.saturating_add(1);
            self.last_record = offset;
        }
        if let Fact::Event(event) = fact {
            if self.events == 0 {
                self.first_event = offset;
            }
            self.events += 1;
            self.last_event = offset;
            self.last_event_unix_nanos = unix_nanos;
            event.kind.clone_into(&mut self.last_event_kind);
        }
        for Change { trigger, cluster, happened } in
            fact.links().filter(|link| link.is_of(key)).flat_map(Link::happened)
        {
            self.lifecycle(trigger, cluster).evolve(offset, unix_nanos, happened);
        }
    }

    fn lifecycle(&mut self, trigger: &str, cluster: &str) -> &mut Lifecycle {
        let found =
            self.lifecycles.binary_search_by(|known| (&*known.trigger, &*known.cluster).cmp(&(trigger, cluster)));
        let at = found.unwrap_or_else(|at| {
            self.lifecycles.insert(at, Lifecycle::new(trigger, cluster));
            at
        });
        &mut self.lifecycles[at]
    }
}
