//! Landmarks: what a resource was at every so many records about it, so that an earlier state is never far from one.
//!
//! An earlier state is found by following a resource's records backwards. Without landmarks that would take a million reads
//! for a resource with a million events; with them it takes at most twice [`RECORDS_APART`], however old the state is.
//! Start at [`Landmarks::first_from`] and [`Landmarks::last_below`]. They are made by the fold, like everything else that can
//! be made again from the log; a missing one costs time, never an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};

use lifeline_store::Offset;
use parking_lot::RwLock;

use crate::resource::{Resource, ResourceIndex};
use crate::storage;

/// Records about one resource from one landmark to the next, where nothing else was chosen.
pub const RECORDS_APART: u32 = 64;

/// What a resource was, and by which record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landmark {
    /// The last record that it reflects; it speaks of the resource.
    pub offset: Offset,
    /// The resource, as of that record.
    pub resource: Resource,
}

/// The key of a landmark: whose, and the record it reflects.
pub(crate) type LandmarkKey = (ResourceIndex, Offset);

/// Where landmarks lie once they are saved.
pub(crate) trait Saved: Send + Sync {
    /// The first one of `resource` at `from` or later.
    fn first_from(&self, resource: ResourceIndex, from: Offset) -> Option<(Offset, Vec<u8>)>;
    /// The last one of `resource` before `end`.
    fn last_below(&self, resource: ResourceIndex, end: Offset) -> Option<(Offset, Vec<u8>)>;
}

/// Saved earlier states of resources. Shared by the one who folds and those who read.
#[derive(Default)]
pub struct Landmarks {
    /// Not saved yet.
    recent: RwLock<BTreeMap<LandmarkKey, Box<[u8]>>>,
    saved: RwLock<Option<Box<dyn Saved>>>,
}

impl Landmarks {
    /// The first landmark of a resource at `from` or later.
    #[must_use]
    pub fn first_from(&self, resource: ResourceIndex, from: Offset) -> Option<Landmark> {
        let saved = self.saved.read().as_ref().and_then(|saved| saved.first_from(resource, from));
        let earlier = saved.and_then(|(offset, bytes)| parse(offset, &bytes));
        earlier.or_else(|| {
            let recent = self.recent.read();
            let end = (resource, Offset::from(u64::MAX));
            let ((_, offset), bytes) = recent.range((resource, from)..=end).next()?;
            parse(*offset, bytes)
        })
    }

    /// The last landmark of a resource before `end`.
    #[must_use]
    pub fn last_below(&self, resource: ResourceIndex, end: Offset) -> Option<Landmark> {
        let recent = self.recent.read();
        let range = (Bound::Included((resource, Offset::ZERO)), Bound::Excluded((resource, end)));
        let found = recent.range(range).next_back().and_then(|((_, offset), bytes)| parse(*offset, bytes));
        drop(recent);
        found.or_else(|| {
            let (offset, bytes) = self.saved.read().as_ref()?.last_below(resource, end)?;
            parse(offset, &bytes)
        })
    }

    pub(crate) fn add(&self, key: LandmarkKey, bytes: Vec<u8>) {
        self.recent.write().insert(key, bytes.into());
    }

    /// Gives those of some resources that are not saved, in order.
    pub(crate) fn each_recent(&self, of: Range<ResourceIndex>, mut give: impl FnMut(LandmarkKey, &[u8])) {
        let recent = self.recent.read();
        let keys = (of.start, Offset::ZERO)..(of.end, Offset::ZERO);
        recent.range(keys).for_each(|(key, bytes)| give(*key, bytes));
    }

    /// Notes that some are saved.
    pub(crate) fn saved(&self, keys: &[LandmarkKey]) {
        let mut recent = self.recent.write();
        for key in keys {
            recent.remove(key);
        }
    }

    pub(crate) fn save_to(&self, saved: Box<dyn Saved>) {
        *self.saved.write() = Some(saved);
    }
}

impl fmt::Debug for Landmarks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Landmarks").field("recent", &self.recent.read().len()).finish_non_exhaustive()
    }
}

/// One that does not read is as good as none.
fn parse(offset: Offset, bytes: &[u8]) -> Option<Landmark> {
    let resource = storage::decode(bytes)?;
    (resource.last_record == offset).then_some(Landmark { offset, resource })
}
