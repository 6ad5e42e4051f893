//! One resource, whole, and what a record does to it.
//!
//! Start at [`Resource::fold`]. What a record counts is said in [`Resource::count`], what it says of lifecycles in
//! [`Link::happened`], and what that does to one in [`Lifecycle::evolve`]. An earlier state is folded with
//! [`Resource::fold`]; the present one by [`crate::fold`], of the same three.

use std::sync::Arc;

use lifeline_store::Offset;
use serde::Serialize;

use crate::fact::{Fact, Link, News, ResourceKey};
use crate::happened::Change;
use crate::lifecycle::Lifecycle;
use crate::order;

/// A resource's number: resources are counted as they come up in the log, so the same log numbers them alike everywhere.
pub type ResourceIndex = u32;

/// A lifecycle's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LifecycleIndex {
    /// The resource.
    pub resource: ResourceIndex,
    /// The lifecycle's number within it, in the order in which they came up.
    pub slot: u32,
}

/// Everything known of one (source, subject). `L` is the form in which its lifecycles are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resource<L = Lifecycle> {
    /// How many events spoke of it.
    pub events: u64,
    /// The first of them.
    pub first_event: Offset,
    /// The latest of them.
    pub last_event: Offset,
    /// The latest of them by the order of streams: see [`crate::order`].
    pub newest_event: Offset,
    /// The time that counts of that one, in nanoseconds since 1970.
    pub newest_unix_nanos: u64,
    /// When the latest was recorded, in nanoseconds since 1970.
    pub last_event_unix_nanos: u64,
    /// CloudEvent `type` of the latest.
    pub last_event_kind: Arc<str>,
    /// The latest record of any kind that spoke of it: where its history begins, read backwards.
    pub last_record: Offset,
    /// How many records of any kind spoke of it.
    pub records: u32,
    /// One for each trigger and cluster that ever decided about it: sorted by both, in the storage as they came up.
    pub lifecycles: Vec<L>,
}

/// What the next record about a resource is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latest {
    /// The latest record that spoke of it.
    pub record: Offset,
    /// The event that is the latest one by the order of streams; `None` where no event spoke of it.
    pub newest: Option<Newest>,
}

/// The event that is the latest one by the order of streams: see [`crate::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its record.
    pub event: Offset,
    /// The time that counts of it, in nanoseconds since 1970.
    pub unix_nanos: u64,
}

impl<L> Default for Resource<L> {
    fn default() -> Resource<L> {
        Resource {
            events: 0,
            first_event: Offset::ZERO,
            last_event: Offset::ZERO,
            newest_event: Offset::ZERO,
            newest_unix_nanos: 0,
            last_event_unix_nanos: 0,
            last_event_kind: Arc::default(),
            last_record: Offset::ZERO,
            records: 0,
            lifecycles: Vec::new(),
        }
    }
}

impl<L> Resource<L> {
    /// Counts the record at `offset`, and its event if it is one. `name` gives what is kept of the event's type.
    pub(crate) fn count(
        &mut self,
        offset: Offset,
        unix_nanos: u64,
        link: &Link<'_>,
        name: impl FnOnce(&str) -> Arc<str>,
    ) {
        // One record may speak of a resource more than once: a replay, about several clusters.
        if self.records == 0 || self.last_record != offset {
            self.records = self.records.saturating_add(1);
            self.last_record = offset;
        }
        let News::Event(event) = link.news else { return };
        if self.events == 0 {
            self.first_event = offset;
        }
        self.events += 1;
        if !event.is_late() {
            (self.newest_event, self.newest_unix_nanos) = (offset, order::counted_of(event, unix_nanos));
        }
        self.last_event = offset;
        self.last_event_unix_nanos = unix_nanos;
        if *self.last_event_kind != *event.kind {
            self.last_event_kind = name(event.kind);
        }
    }
}

impl Resource {
    /// Takes in a record about this resource, and maybe about others.
    pub fn fold(&mut self, key: &ResourceKey, offset: Offset, unix_nanos: u64, fact: &Fact<'_>) {
        for link in fact.links().filter(|link| link.is_of(key)) {
            self.count(offset, unix_nanos, &link, |kind| kind.into());
            for Change { trigger, cluster, happened } in link.happened() {
                self.lifecycle(trigger, cluster).evolve(offset, unix_nanos, happened);
            }
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
