//! Where a replay is: how many resources are done, and how far the records of one are read.

use std::collections::{BTreeMap, VecDeque};

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
    /// Resources that are read and not done, in order: their texts are not known yet.
    pub(super) read: VecDeque<Read>,
    /// The resource whose records are being read, behind these.
    pub(super) walk: Option<Walk>,
    /// Whether the list of the trigger is done, which comes after its keys.
    pub(super) is_list_done: bool,
    /// Why a resource is left as it is, of the first one: damage hides its records, or the action fails. The replay
    /// cannot be completed then.
    pub(super) left_because: Option<String>,
    /// Why others may want what would be withdrawn of a resource, of the first one.
    pub(super) waits_for: Option<String>,
}

/// A resource that is read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) key: ResourceKey,
    /// What its records say; `None` where none had to be read.
    pub(super) walk: Option<Walk>,
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
    /// The last resource that was looked at.
    pub(super) fn last_read(&self) -> Option<&ResourceKey> {
        let walk = self.walk.as_ref().map(|walk| &walk.key);
        walk.or(self.read.back().map(|read| &read.key)).or(self.done.as_ref())
    }

    /// Goes on behind a resource that is done.
    pub(super) fn pass(&mut self, key: ResourceKey) {
        self.resources += 1;
        self.done = Some(key);
    }
}
