//! The durable mark: how far the log was known to be synced, kept beside the segments in the file `MARK`.
//!
//! It distinguishes a torn tail from damage: what does not read back above the mark was never acknowledged, below it it was.
//! It is written after each sync and made durable itself only at an open, at a stop and at each new segment, so it may
//! lag behind after a power cut (every group also proves the one before it), but never runs ahead. After a killed process it is
//! exact, since the kernel still holds it.

use std::io;

use crate::disk::{Disk, File, read_salvaging};
use crate::{Error, Offset, checksum, frame};

const NAME: &str = "MARK";
const MAGIC: [u8; 8] = *b"LIFEMARK";
const SLOT_BYTES: usize = 72;
/// Slots are a page apart, so that a torn write of one cannot reach the other.
const SLOT_DISTANCE: u64 = 4096;

/// How far the log was synced, and what to go on with there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Counts the marks written; the slot with the higher number holds.
    pub(crate) sequence: u64,
    /// Whether the log was stopped in good order after this mark.
    pub(crate) clean: bool,
    /// First offset that was not synced.
    pub(crate) end: Offset,
    /// The segment that was being written.
    pub(crate) segment: Offset,
    /// Where its synced bytes end.
    pub(crate) position: u64,
    /// Time of the last synced record.
    pub(crate) time_unix_nanos: u64,
    /// The running checksum up to `end`.
    pub(crate) checksum: u32,
    /// The random number of this log.
    pub(crate) salt: u64,
}

impl Mark {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&crate::VERSION.to_le_bytes());
        bytes[12] = u8::from(self.clean);
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.end.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.segment.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.position.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.time_unix_nanos.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.salt.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.checksum.to_le_bytes());
        let check = checksum::extend(0, &bytes[..SLOT_BYTES - 4]);
        bytes[SLOT_BYTES - 4..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; SLOT_BYTES]) -> Result<Option<Mark>, u32> {
        if bytes[..8] != MAGIC || checksum::extend(0, &bytes[..SLOT_BYTES - 4]) != frame::u32_at(bytes, SLOT_BYTES - 4)
        {
            return Ok(None);
        }
        match frame::u32_at(bytes, 8) {
            crate::VERSION => Ok(Some(Mark {
                clean: bytes[12] == 1,
                sequence: frame::u64_at(bytes, 16),
                end: Offset::new(frame::u64_at(bytes, 24)),
                segment: Offset::new(frame::u64_at(bytes, 32)),
                position: frame::u64_at(bytes, 40),
                time_unix_nanos: frame::u64_at(bytes, 48),
                salt: frame::u64_at(bytes, 56),
                checksum: frame::u32_at(bytes, 64),
            })),
            version => Err(version),
        }
    }

    /// Where the synced bytes of a segment end, for all this mark knows.
    pub(crate) fn position_in(&self, segment: Offset) -> u64 {
        if self.segment == segment { self.position } else { 0 }
    }

    /// The mark a folder holds; `None` when it holds no intact one.
    pub(crate) fn load<D: Disk>(disk: &D) -> Result<Option<Mark>, Error> {
        let file = match disk.open(NAME) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("open", NAME)(source)),
        };
        let mut found: Option<Mark> = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            let (read, _) = read_salvaging(&file, &mut bytes, slot * SLOT_DISTANCE).map_err(Error::io("read", NAME))?;
            if read < SLOT_BYTES {
                continue;
            }
            let mark = Mark::parse(&bytes).map_err(|found| Error::Version {
                file: NAME.to_owned(),
                found,
                expected: crate::VERSION,
            })?;
            if let Some(mark) = mark
                && found.is_none_or(|other| mark.sequence > other.sequence)
            {
                found = Some(mark);
            }
        }
        Ok(found)
    }
}

/// The open file `MARK`.
#[derive(Debug)]
pub(crate) struct MarkFile<F> {
    file: F,
    last: Mark,
}

impl<F: File> MarkFile<F> {
    /// Opens the file, or creates it; the next mark follows `last`.
    pub(crate) fn open<D: Disk<File = F>>(disk: &D, last: Mark) -> Result<MarkFile<F>, Error> {
        let file = match disk.open(NAME) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(NAME, 2 * SLOT_DISTANCE).map_err(Error::io("create", NAME))?;
                disk.sync_folder().map_err(Error::io("sync folder of", NAME))?;
                file
            }
            Err(source) => return Err(Error::io("open", NAME)(source)),
        };
        Ok(MarkFile { file, last })
    }

    /// Writes the next mark over the older of the two slots; not durable by itself.
    pub(crate) fn write(&mut self, mark: Mark) -> Result<(), Error> {
        let mark = Mark { sequence: self.last.sequence + 1, ..mark };
        self.file.write_at(&mark.encode(), (mark.sequence % 2) * SLOT_DISTANCE).map_err(Error::io("write", NAME))?;
        self.last = mark;
        Ok(())
    }

    /// Makes the marks written so far durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", NAME))
    }

    /// The mark written last.
    pub(crate) fn last(&self) -> Mark {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_reads_back_and_damage_is_noticed() {
        let mark = Mark {
            sequence: 3,
            clean: true,
            end: Offset::new(9),
            segment: Offset::new(4),
            position: 4096,
            time_unix_nanos: 8,
            checksum: 5,
            salt: 6,
        };
        let mut bytes = mark.encode();
        assert_eq!(Mark::parse(&bytes), Ok(Some(mark)));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(Mark::parse(&bytes), Ok(None), "byte {at}");
            bytes[at] ^= 1;
        }
    }
}
