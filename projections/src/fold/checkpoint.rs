//! What a checkpoint writes of the state, and how the state is made of one again.
//!
//! Start at [`Projection::changed`] for the one, at [`Projection::restore`] for the other. Files are the business of
//! [`crate::table`].

use super::{Ground, Projection};
use crate::compact::Entry;
use crate::fact::ObjectKey;

/// Resources that are written down together, by number: few, fatter rows are what sled takes well.
pub(crate) const BUCKET_RESOURCES: usize = 32;

impl Projection {
    /// An empty projection with what is known beside resources, to be filled by [`Projection::restore`].
    pub(crate) fn with_ground(ground: Ground) -> Projection {
        Projection { ground, ..Projection::default() }
    }

    /// Takes in the next resource of a checkpoint, as it was written down, and returns how many bytes that took.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_first = self.len().is_multiple_of(BUCKET_RESOURCES);
        let before = self.entries.0.last().filter(|_| !is_first);
        let (entry, read) = Entry::decode(&mut self.shared, before, bytes)?;
        let sum = self.checksum(&entry.source, &entry.subject);
        if self.find_with(sum, &entry.source, &entry.subject).is_some() {
            return None;
        }
        let last_record = entry.last_record;
        let index = self.insert(sum, entry);
        if last_record >= self.ground.watermark {
            self.ahead.insert(index, last_record);
        }
        for phase in self.entries.0[index as usize].phases() {
            self.phases.moved(None, phase);
        }
        if self.entry(index).needing_work().next().is_some() {
            self.open.insert(index);
        }
        for slot in (0..).take(self.entry(index).len()) {
            let cluster = self.entry(index).cluster(&self.shared, slot);
            let objects: Vec<ObjectKey> = self.entry(index).objects(slot).collect();
            for object in objects {
                self.claimants.add(&cluster, &object, index);
                self.note_contested(&cluster, &object);
            }
        }
        Some(read)
    }

    /// The buckets that changed since the last checkpoint, in order.
    pub(crate) fn changed(&self) -> impl Iterator<Item = usize> {
        self.changed.iter().enumerate().filter(|(_, changed)| **changed).map(|(bucket, _)| bucket)
    }

    /// Appends what is written down of a bucket's resources.
    pub(crate) fn encode_bucket(&self, bucket: usize, out: &mut Vec<u8>) {
        let first = bucket * BUCKET_RESOURCES;
        let mut before = None;
        for entry in &self.entries.0[first..(first + BUCKET_RESOURCES).min(self.len())] {
            entry.encode(&self.shared, before, out);
            before = Some(entry);
        }
    }

    /// Notes that a checkpoint holds everything.
    pub fn saved(&mut self) {
        self.changed.fill(false);
        self.landmarks.saved();
    }
}
