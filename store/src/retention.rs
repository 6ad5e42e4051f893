//! Sealed segments: what there is to archive, and what may be dropped.
//!
//! A sealed segment never changes, so it can be copied at leisure. What to drop is a pure decision ([`Policy::keep_from`]);
//! [`Log::drop_before`] carries it out, oldest first, so that a crash in between leaves a shorter log and never one with
//! a gap.

use crate::disk::{Disk, File};
use crate::log::Log;
use crate::reader::Reader;
use crate::{Error, Offset};

/// A segment that is complete and will not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Offset of its first record.
    pub start: Offset,
    /// The first offset after it.
    pub end: Offset,
    /// Its file name; the same name in an empty folder restores it.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What must be kept. Whatever all three let go may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Records from here on are still needed by a reader, for instance to rebuild a projection.
    pub needed_from: Offset,
    /// Records below this are safe elsewhere; [`Offset::ZERO`] when nothing is archived.
    pub archived_below: Offset,
    /// Sealed bytes to keep although they may go: the newest.
    pub sealed_bytes_kept: u64,
}

impl Policy {
    /// The first offset to keep, given the sealed segments in ascending order.
    pub fn keep_from(&self, sealed: &[SealedSegment]) -> Offset {
        let may_go_below = self.needed_from.min(self.archived_below);
        let mut bytes: u64 = sealed.iter().map(|segment| segment.bytes).sum();
        let mut keep_from = sealed.first().map_or(Offset::ZERO, |segment| segment.start);
        for segment in sealed {
            if segment.end > may_go_below || bytes.saturating_sub(segment.bytes) < self.sealed_bytes_kept {
                break;
            }
            bytes -= segment.bytes;
            keep_from = segment.end;
        }
        keep_from
    }
}

impl<D: Disk> Reader<D> {
    /// The sealed segments, in ascending order.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses.
    pub fn sealed(&self) -> Result<Vec<SealedSegment>, Error> {
        let table = self.shared.table();
        let pairs = table.iter().zip(table.iter().skip(1));
        pairs
            .map(|(segment, next)| {
                let file = segment.file(&self.shared.disk)?;
                let bytes = file.len().map_err(Error::io("read length of", &segment.name))?;
                Ok(SealedSegment { start: segment.base, end: next.base, file: segment.name.clone(), bytes })
            })
            .collect()
    }

    /// Reads raw bytes of a sealed segment's file, to archive it; returns how many, zero at its end.
    ///
    /// # Errors
    /// [`Error::Io`] with `NotFound` when there is no sealed segment that starts there, or when the disk refuses.
    pub fn read_sealed(&self, start: Offset, buffer: &mut [u8], position: u64) -> Result<usize, Error> {
        let table = self.shared.table();
        let sealed = &table[..table.len().saturating_sub(1)];
        let Ok(at) = sealed.binary_search_by_key(&start, |segment| segment.base) else {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::io("find sealed segment", &crate::segment::name(start))(missing));
        };
        let file = sealed[at].file(&self.shared.disk)?;
        file.read_at(buffer, position).map_err(Error::io("read", &sealed[at].name))
    }
}

impl<D: Disk> Log<D> {
    /// Drops the sealed segments that end at or before an offset; returns the first offset still held. The segment being
    /// written stays, whatever the offset.
    ///
    /// # Errors
    /// [`Error::Poisoned`], or [`Error::Io`], which poisons the log.
    pub fn drop_before(&mut self, offset: Offset) -> Result<Offset, Error> {
        self.check_usable()?;
        loop {
            let table = self.shared.table();
            let [first, next, ..] = table.as_slice() else {
                break;
            };
            if next.base > offset {
                break;
            }
            let dropped = self.drop_first(&first.name);
            self.guarded(dropped)?;
        }
        Ok(self.start())
    }

    fn drop_first(&mut self, name: &str) -> Result<(), Error> {
        let disk = &self.shared.disk;
        // Readers find nothing there any more before the file goes; those in the middle of it hold it open.
        self.shared.change_table(|table| _ = table.remove(0));
        disk.remove(name).map_err(Error::io("remove", name))?;
        // One by one: a power cut may undo removals that were not synced, in any order.
        disk.sync_folder().map_err(Error::io("sync folder of", name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: u64, end: u64, bytes: u64) -> SealedSegment {
        SealedSegment { start: start.into(), end: end.into(), file: crate::segment::name(start.into()), bytes }
    }

    #[test]
    fn only_what_is_archived_and_unneeded_and_beyond_the_kept_size_goes() {
        let sealed = [segment(10, 20, 100), segment(20, 30, 100), segment(30, 40, 100)];
        let check = |needed_from: u64, archived_below: u64, sealed_bytes_kept: u64, expected: u64| {
            let policy =
                Policy { needed_from: needed_from.into(), archived_below: archived_below.into(), sealed_bytes_kept };
            assert_eq!(policy.keep_from(&sealed).get(), expected, "{policy:?}");
        };
        check(100, 100, 0, 40);
        check(25, 100, 0, 20);
        check(100, 30, 0, 30);
        check(100, 0, 0, 10);
        check(100, 100, 100, 30);
        check(100, 100, 101, 20);
        check(100, 100, 1000, 10);
        assert_eq!(
            Policy { needed_from: 9.into(), archived_below: 9.into(), sealed_bytes_kept: 0 }.keep_from(&[]),
            Offset::ZERO
        );
    }
}
