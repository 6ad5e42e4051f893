//! A segment: one file with a run of frames, named by the offset of its first record.
//!
//! Only the last segment is ever written to; those before it are sealed and never change again, unless a repair
//! replaces the whole file. This module knows names, the segment header and the table of segments that readers and the
//! writer share. It decides nothing about recovery; that is `recovery`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::disk::{Disk, File};
use crate::index::Index;
use crate::{Error, Offset, checksum, frame};

/// Frames begin here; the header has a page to itself, so that no later write touches it.
pub(crate) const HEADER_BYTES: u64 = 4096;

/// The version of the format this release reads and writes.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"LIFELOG\n";
const USED_BYTES: usize = 64;
const SUFFIX: &str = ".segment";

/// The name of the segment that begins at `base`.
pub(crate) fn name(base: Offset) -> String {
    format!("{:020}{SUFFIX}", base.get())
}

/// The base offset of a segment of that name; `None` for any other file.
pub(crate) fn base_of(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset::new)
}

/// What a segment says about itself in its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Offset of its first record.
    pub(crate) base: Offset,
    /// The running checksum of everything before it.
    pub(crate) previous: u32,
    /// Time of the last record before it.
    pub(crate) time_unix_nanos: u64,
    /// The random number of this log, the same in each of its segments; see [`frame::seed`].
    pub(crate) salt: u64,
}

/// What the first bytes of a segment turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParsedHeader {
    /// A header of this format.
    Known(SegmentHeader),
    /// An intact header of a format this release does not know.
    UnknownVersion(u32),
    /// No header: never written, or damaged.
    Invalid,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time_unix_nanos.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.previous.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.salt.to_le_bytes());
        let check = checksum::extend(0, &bytes[..USED_BYTES - 4]);
        bytes[USED_BYTES - 4..USED_BYTES].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Magic, version and checksum are at the same place in every version, so that an unknown version is distinguished from
    /// a damaged header.
    pub(crate) fn parse(bytes: &[u8]) -> ParsedHeader {
        let Some(bytes) = bytes.get(..USED_BYTES) else {
            return ParsedHeader::Invalid;
        };
        if bytes[..8] != MAGIC || checksum::extend(0, &bytes[..USED_BYTES - 4]) != frame::u32_at(bytes, USED_BYTES - 4)
        {
            return ParsedHeader::Invalid;
        }
        match frame::u32_at(bytes, 8) {
            VERSION => ParsedHeader::Known(SegmentHeader {
                base: Offset::new(frame::u64_at(bytes, 16)),
                time_unix_nanos: frame::u64_at(bytes, 24),
                previous: frame::u32_at(bytes, 32),
                salt: frame::u64_at(bytes, 40),
            }),
            version => ParsedHeader::UnknownVersion(version),
        }
    }
}

/// One segment of an open log, shared by the writer and the readers.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) base: Offset,
    pub(crate) seed: u32,
    pub(crate) name: String,
    // Opened at first use: opening a log must not touch each of its files.
    file: OnceLock<Arc<F>>,
    // Complete for a sealed segment (loaded at first use), growing for the last one.
    index: OnceLock<Index>,
    /// Where the frames that readers may look at end. Invariant: bytes below it are synced and never change.
    readable: AtomicU64,
}

/// `readable` of a sealed segment before anyone looked: the whole file.
const WHOLE: u64 = u64::MAX;

impl<F: File> Segment<F> {
    /// A segment before the last one; nothing is opened or read yet.
    pub(crate) fn sealed(base: Offset, salt: u64) -> Segment<F> {
        Segment {
            base,
            seed: frame::seed(salt, base),
            name: name(base),
            file: OnceLock::new(),
            index: OnceLock::new(),
            readable: AtomicU64::new(WHOLE),
        }
    }

    /// The segment being written, readable up to `position`.
    pub(crate) fn open(base: Offset, salt: u64, file: F, index: Index, position: u64) -> Segment<F> {
        Segment {
            base,
            seed: frame::seed(salt, base),
            name: name(base),
            file: OnceLock::from(Arc::new(file)),
            index: OnceLock::from(index),
            readable: AtomicU64::new(position),
        }
    }

    /// The open file.
    pub(crate) fn file<D: Disk<File = F>>(&self, disk: &D) -> Result<&Arc<F>, Error> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = disk.open(&self.name).map_err(Error::io("open", &self.name))?;
        // Two readers may both have opened it; either handle will do.
        Ok(self.file.get_or_init(|| Arc::new(file)))
    }

    /// The sparse index, loaded when this is the first use.
    pub(crate) fn index<D: Disk<File = F>>(&self, disk: &D, end: Offset) -> Result<&Index, Error> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let file = self.file(disk)?;
        let index = Index::load(file.as_ref(), self.seed, end).map_err(Error::io("read index of", &self.name))?;
        Ok(self.index.get_or_init(|| index))
    }

    /// The index if it is in memory already.
    pub(crate) fn index_in_memory(&self) -> Option<&Index> {
        self.index.get()
    }

    /// Where readable frames end.
    pub(crate) fn readable_bytes<D: Disk<File = F>>(&self, disk: &D) -> Result<u64, Error> {
        match self.readable.load(Ordering::Acquire) {
            WHOLE => {
                let bytes = self.file(disk)?.len().map_err(Error::io("read length of", &self.name))?;
                self.readable.store(bytes, Ordering::Release);
                Ok(bytes)
            }
            bytes => Ok(bytes),
        }
    }

    /// Lets readers see frames up to `position`.
    pub(crate) fn publish(&self, position: u64) {
        self.readable.store(position, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_tells_the_base_offset_and_nothing_else_is_a_segment() {
        for base in [0, 1, 123_456, u64::MAX] {
            assert_eq!(base_of(&name(Offset::new(base))), Some(Offset::new(base)));
        }
        for other in [
            "LOCK",
            "1.segment",
            "0000000000000000000x.segment",
            "00000000000000000000.segment.damaged",
            "99999999999999999999.segment",
            "+0000000000000000001.segment",
        ] {
            assert_eq!(base_of(other), None, "{other}");
        }
    }

    #[test]
    fn header_reads_back_and_an_unknown_version_is_told_from_damage() {
        let header = SegmentHeader { base: Offset::new(9), previous: 5, time_unix_nanos: 77, salt: 3 };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::parse(&bytes), ParsedHeader::Known(header));
        bytes[8] = 2;
        assert_eq!(SegmentHeader::parse(&bytes), ParsedHeader::Invalid, "a flipped version is damage");
        let check = checksum::extend(0, &bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&check);
        assert_eq!(SegmentHeader::parse(&bytes), ParsedHeader::UnknownVersion(2));
    }
}
