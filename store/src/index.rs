//! [`Index`]: where some of the records are; those between are found by reading forward.
//!
//! Sparse in bytes, so that a lookup reads a bounded amount. Times never decrease along the log, so the same entries
//! answer "the first record at or after a time". A sealed segment carries its index as its last frames; everything in it
//! can be had again by reading the segment, and is when it is damaged. The index of the segment being written grows
//! while readers use it, without a lock.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cursor::{Cursor, Step};
use crate::disk::File;
use crate::frame::{self, ALIGNMENT, FRAME_BYTES, Header, Kind};
use crate::segment::HEADER_BYTES;
use crate::{Offset, checksum};

/// Size of an entry on disk.
const ENTRY_BYTES: usize = 24;

/// One record and where its frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: Offset,
    pub(crate) time_unix_nanos: u64,
    pub(crate) position: u64,
}

/// The sparse index of one segment.
#[derive(Debug)]
pub(crate) struct Index {
    // Invariant: the first `count` slots are set and ascend in offset, time and position.
    slots: Box<[OnceLock<Entry>]>,
    count: AtomicUsize,
    every_bytes: u64,
}

impl Index {
    /// An empty index for a segment of at most `segment_bytes_max`, with an entry about every `every_bytes`.
    pub(crate) fn new(segment_bytes_max: u64, every_bytes: u64) -> Index {
        // Entries are at least `every_bytes` apart, and the first is at the segment's beginning.
        let slots = segment_bytes_max / every_bytes + 1;
        Index { slots: (0..slots).map(|_| OnceLock::new()).collect(), count: AtomicUsize::new(0), every_bytes }
    }

    fn from_entries(entries: Vec<Entry>) -> Index {
        let count = AtomicUsize::new(entries.len());
        Index { slots: entries.into_iter().map(OnceLock::from).collect(), count, every_bytes: u64::MAX }
    }

    /// Takes note of a record's frame; keeps it when the last entry is far enough away. Only the writer calls this.
    pub(crate) fn note(&self, entry: Entry) {
        let count = self.count.load(Ordering::Relaxed);
        let due = match count.checked_sub(1).and_then(|last| self.slots[last].get()) {
            None => true,
            Some(last) => entry.position - last.position >= self.every_bytes,
        };
        // A full index only makes lookups longer; it cannot make them wrong.
        if due && count < self.slots.len() && self.slots[count].set(entry).is_ok() {
            self.count.store(count + 1, Ordering::Release);
        }
    }

    /// Forgets records from `end` on: recovery reads more than it keeps.
    pub(crate) fn truncate(&mut self, end: Offset) {
        for slot in &mut self.slots {
            if slot.get().is_some_and(|entry| entry.offset >= end) {
                slot.take();
            }
        }
        *self.count.get_mut() = self.slots.iter().take_while(|slot| slot.get().is_some()).count();
    }

    /// The last entry at or before an offset.
    pub(crate) fn at_or_before(&self, offset: Offset) -> Option<Entry> {
        self.last_where(|entry| entry.offset <= offset)
    }

    /// A position shortly before the record at an offset, as far as records are of even size: `None` for a record before all
    /// entries. It need not be where a frame begins.
    pub(crate) fn guess(&self, offset: Offset) -> Option<u64> {
        let set = &self.slots[..self.count.load(Ordering::Acquire)];
        let after = set.partition_point(|slot| slot.get().is_some_and(|entry| entry.offset <= offset));
        let before = set[after.checked_sub(1)?].get()?;
        let Some(next) = set.get(after).and_then(OnceLock::get) else { return Some(before.position) };
        // Checked, for an index that was read from a disk may not even ascend.
        let records = |to: Offset| to.get().checked_sub(before.offset.get());
        let bytes = next.position.checked_sub(before.position)?;
        let share = bytes.checked_mul(records(offset)?)?.checked_div(records(next.offset)?)?;
        // A little earlier, for the search from there only goes forward.
        let position = before.position + share.saturating_sub(bytes / 16);
        Some(position - position % ALIGNMENT as u64)
    }

    /// The last entry before a time, among records below `end`.
    pub(crate) fn before_time(&self, time_unix_nanos: u64, end: Offset) -> Option<Entry> {
        self.last_where(|entry| entry.time_unix_nanos < time_unix_nanos && entry.offset < end)
    }

    fn last_where(&self, holds: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let set = &self.slots[..self.count.load(Ordering::Acquire)];
        let after = set.partition_point(|slot| slot.get().is_some_and(&holds));
        after.checked_sub(1).and_then(|last| set[last].get().copied())
    }

    /// The frames that close a segment: the index and the seal. `last_commit` is the trailer of the last group.
    pub(crate) fn seal(&self, last_commit: &Header, seed: u32) -> Vec<u8> {
        let count = self.count.load(Ordering::Acquire);
        let mut payload = Vec::with_capacity(count * ENTRY_BYTES);
        for entry in self.slots[..count].iter().filter_map(OnceLock::get) {
            payload.extend_from_slice(&entry.offset.get().to_le_bytes());
            payload.extend_from_slice(&entry.time_unix_nanos.to_le_bytes());
            payload.extend_from_slice(&entry.position.to_le_bytes());
        }
        let index = Header {
            kind: Kind::Index,
            payload_bytes: payload.len() as u32,
            checksum: checksum::extend(last_commit.previous, &payload),
            group_distance: 0,
            ..*last_commit
        };
        let mut bytes = Vec::with_capacity(payload.len() + 2 * FRAME_BYTES);
        frame::push(&mut bytes, &index, &payload, seed);
        // The seal goes back to the running checksum: what it closes is the run of records.
        let seal = Header {
            kind: Kind::Seal,
            payload_bytes: 0,
            checksum: last_commit.previous,
            group_distance: bytes.len() as u32,
            ..*last_commit
        };
        frame::push(&mut bytes, &seal, &[], seed);
        bytes
    }

    /// The index of a sealed segment that ends before `end`: from its closing frames, else from its records.
    pub(crate) fn load<F: File>(file: &F, seed: u32, end: Offset) -> io::Result<Index> {
        let bytes = file.len()?;
        match Index::closing(file, seed, bytes, end)? {
            Some(index) => Ok(index),
            None => Index::rebuilt(file, seed, bytes, end),
        }
    }

    fn closing<F: File>(file: &F, seed: u32, bytes: u64, end: Offset) -> io::Result<Option<Index>> {
        let Some(seal_position) = bytes.checked_sub(FRAME_BYTES as u64) else {
            return Ok(None);
        };
        let mut cursor = Cursor::new(seal_position);
        let Step::Frame(seal, _) = cursor.step(file, seed, bytes)? else {
            return Ok(None);
        };
        if seal.kind != Kind::Seal || seal.offset != end {
            return Ok(None);
        }
        let Some(position) = seal_position.checked_sub(u64::from(seal.group_distance)) else {
            return Ok(None);
        };
        cursor.restart(position);
        let Step::Frame(header, payload) = cursor.step(file, seed, bytes)? else {
            return Ok(None);
        };
        if header.kind != Kind::Index {
            return Ok(None);
        }
        let entries = cursor.payload(payload).chunks_exact(ENTRY_BYTES).map(|entry| Entry {
            offset: Offset::new(frame::u64_at(entry, 0)),
            time_unix_nanos: frame::u64_at(entry, 8),
            position: frame::u64_at(entry, 16),
        });
        Ok(Some(Index::from_entries(entries.collect())))
    }

    fn rebuilt<F: File>(file: &F, seed: u32, bytes: u64, end: Offset) -> io::Result<Index> {
        let index = Index::new(bytes, 32 << 10);
        let mut cursor = Cursor::new(HEADER_BYTES);
        while let Some((header, _)) = cursor.next_intact(file, seed, bytes)? {
            if header.kind.takes_offset() {
                if header.offset >= end {
                    break;
                }
                let position = cursor.position() - header.frame_bytes();
                index.note(Entry { offset: header.offset, time_unix_nanos: header.time_unix_nanos, position });
            }
        }
        Ok(index)
    }
}
