//! [`Options`]: what may be chosen when a log is opened. Every option has a default, a unit and a reason.

use crate::Error;
use crate::frame::{self, FRAME_BYTES};
use crate::segment::HEADER_BYTES;

/// What may be chosen when a log is opened; an existing log may be reopened with other options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Largest size of a segment in bytes, its closing index not counted. Larger segments mean fewer files and a
    /// longer open, since the last one is read through. Default 64 MiB.
    pub segment_bytes_max: u64,
    /// Largest payload of a record in bytes; a segment must have room for one. Default 16 MiB.
    pub payload_bytes_max: u32,
    /// Largest amount of staged bytes held in memory; beyond it they are handed to the disk before the sync. Default
    /// 4 MiB.
    pub staged_bytes_max: usize,
    /// Free space in bytes below which [`crate::Log::append`] refuses, so that there is room left for the outcomes of
    /// what was already taken in. Zero means never. Default 256 MiB.
    pub low_space_bytes: u64,
    /// Size in bytes of a block, the unit in which scans verify and the sparse index points: smaller makes random reads
    /// cheaper and the index larger. Default 32 KiB, which fits the processor's nearest cache.
    pub block_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes_max: 64 << 20,
            payload_bytes_max: 16 << 20,
            staged_bytes_max: 4 << 20,
            low_space_bytes: 256 << 20,
            block_bytes: 32 << 10,
        }
    }
}

impl Options {
    /// Checks that the options can work together.
    pub(crate) fn check(&self) -> Result<(), Error> {
        // The header, one record, and the two trailers that may follow it: the least a segment must hold.
        let least = HEADER_BYTES + frame::bytes(self.payload_bytes_max) + 2 * FRAME_BYTES as u64;
        if self.segment_bytes_max < least || self.segment_bytes_max > u64::from(u32::MAX) {
            return Err(Error::Option {
                option: "segment_bytes_max",
                value: self.segment_bytes_max,
                expected: format!("at least `{least}`, room for one largest payload, and below 4 GiB"),
            });
        }
        if self.block_bytes == 0 {
            return Err(Error::Option { option: "block_bytes", value: 0, expected: "at least `1`".to_owned() });
        }
        Ok(())
    }
}
