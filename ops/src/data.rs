//! What lies where in a data folder.
//!
//! One folder is one engine: its log, and the projection that can be made from it again.

use std::path::{Path, PathBuf};

use lifeline_store::Options;

/// The largest record: the largest payload that NATS can be configured for, and its envelope.
const RECORD_BYTES_MAX: u32 = 65 << 20;

/// Size of a segment of the log: room for the largest record, small enough to be read through quickly.
const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// The data folder when nobody names one, relative to where the engine is started.
pub const DEFAULT: &str = "lifeline-data";

/// The folder of the log.
#[must_use]
pub fn log(data: &Path) -> PathBuf {
    data.join("log")
}

/// How the log is opened, by every command.
#[must_use]
pub fn log_options() -> Options {
    Options { segment_bytes_max: SEGMENT_BYTES_MAX, payload_bytes_max: RECORD_BYTES_MAX, ..Options::default() }
}

/// The folder of the projection. It may be deleted whenever the engine is stopped.
#[must_use]
pub fn projection(data: &Path) -> PathBuf {
    data.join("projection")
}

/// The folder of the local cluster. It is the cluster: deleting it deletes its objects.
#[must_use]
pub fn cluster(data: &Path) -> PathBuf {
    data.join("cluster")
}
