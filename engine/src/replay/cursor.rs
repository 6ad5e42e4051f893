//! Where a replay is: how many resources are done, and how far the records of one are read.

use std::collections::BTreeMap;

use lifeline_projections::fact::ResourceKey;
use lifeline_store::Offset;

use super::found::Found;

/// How far a replay has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    /// Every resource up to this key is done.
    pub(super) done: Option<ResourceKey>,
    /// How many those are.
    pub(super) resources: usize,
    /// The resource whose records are being read.
    pub(super) walk: Option<Walk>,
    /// Why a resource is left as it is, of the first one: damage hides its records, or the action fails. The replay
    /// cannot be completed then.
    pub(super) left_because: Option<String>,
    /// Why others may want what would be withdrawn of a resource, of the first one.
    pub(super) waits_for: Option<String>,
}

/// The records of one resource, read from the latest back to the events that decide.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    pub(super) key: ResourceKey,
    pub(super) next: Option<Offset>,
    /// Where the records have to lead.
    pub(super) first_event: Offset,
    /// What was found, by cluster.
    pub(super) found: BTreeMap<Box<str>, Found>,
    /// Whether earlier records are missing, so that not finding an event says nothing.
    pub(super) is_cut: bool,
}

impl Cursor {
    /// Goes on behind a resource that is done.
    pub(super) fn pass(&mut self, key: ResourceKey) {
        self.resources += 1;
        self.done = Some(key);
    }
}
