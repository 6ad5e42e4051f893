//! [`Error`]: everything that can go wrong with a log, one variant per thing a caller could do differently.

use std::io;
use std::ops::Range;

use crate::{Offset, records};

/// What went wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused. On an open log this poisons it, see [`Error::Poisoned`].
    #[error("cannot {doing} `{file}`\nhint: check that it is there and may be written, and that its disk is not full")]
    Io {
        /// What was being done, a verb phrase.
        doing: &'static str,
        /// The file or folder.
        file: String,
        /// What the disk said.
        source: io::Error,
    },

    /// An earlier write or sync failed: what the disk holds is unknown until the log is opened again.
    #[error(
        "log is stopped since `{cause}`, nothing more is written to it\nhint: free space or replace the disk, then start again; what was acknowledged is safe"
    )]
    Poisoned {
        /// The failure that stopped it.
        cause: String,
    },

    /// Another process has the folder open.
    #[error(
        "log folder `{folder}` is in use by another process\nhint: stop the engine that runs on it, or ask that engine instead"
    )]
    Locked {
        /// The folder.
        folder: String,
    },

    /// The disk was opened for inspection only.
    #[error("log folder `{folder}` is open for reading only")]
    ReadOnly {
        /// The folder.
        folder: String,
    },

    /// Free space is below the watermark; intake waits, what is recorded is safe.
    #[error(
        "free space of `{free_bytes}` bytes is below the watermark of `{low_space_bytes}`\nhint: free space or enlarge the volume; intake resumes by itself"
    )]
    LowSpace {
        /// Bytes that are free.
        free_bytes: u64,
        /// The watermark, [`crate::Options::low_space_bytes`].
        low_space_bytes: u64,
    },

    /// A payload is larger than the log accepts.
    #[error("payload of `{payload_bytes}` bytes is larger than the `{payload_bytes_max}` a record may have")]
    TooLarge {
        /// Its size in bytes.
        payload_bytes: usize,
        /// The limit, [`crate::Options::payload_bytes_max`].
        payload_bytes_max: u32,
    },

    /// A file was written by a release that knows another format.
    #[error(
        "`{file}` has format version `{found}`, expected `{expected}`\nhint: run the release that wrote it, or a newer one"
    )]
    Version {
        /// The file.
        file: String,
        /// The version it names.
        found: u32,
        /// The version this release reads and writes.
        expected: u32,
    },

    /// Records that were acknowledged cannot be read any more.
    #[error(
        "`{file}` is damaged at {} ({why})\nhint: `lifeline log repair --from-stream` refetches what the stream still holds",
        records(offsets)
    )]
    Damaged {
        /// Which records: from the first lost one to the first good one after it.
        offsets: Range<Offset>,
        /// Which bytes of the file.
        bytes: Range<u64>,
        /// The segment file.
        file: String,
        /// Why it counts as damaged.
        why: &'static str,
    },

    /// An option has a value that cannot work.
    #[error("option `{option}` is `{value}`, expected {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// The value given.
        value: u64,
        /// What would do.
        expected: String,
    },
}

impl Error {
    /// Wraps a disk's refusal with what was being done to which file.
    pub(crate) fn io(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> Error {
        // The name is copied only when there is an error: this is used in the innermost loops.
        move |source| Error::Io { doing, file: file.to_owned(), source }
    }
}
