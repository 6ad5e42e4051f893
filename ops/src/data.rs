//! What lies where in a data folder.
//!
//! One folder is one engine: its log, and the projection that can be made from it again.

use std::path::{Path, PathBuf};

/// The data folder when nobody names one, relative to where the engine is started.
pub const DEFAULT: &str = "lifeline-data";

/// The folder of the log.
#[must_use]
pub fn log(data: &Path) -> PathBuf {
    data.join("log")
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
