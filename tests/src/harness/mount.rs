//! A small file system of a test's own: what a full disk is, or one that takes no writes.
//!
//! It lies in the folder of the test. A test program that is itself killed leaves it mounted there, in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Failure;

/// A file system in memory, mounted on a folder. Dropping it unmounts it.
#[derive(Debug)]
pub struct Mount {
    folder: PathBuf,
}

impl Mount {
    /// Mounts one, with the options of tmpfs: `size=100m`, `ro`.
    ///
    /// # Errors
    /// When that is not allowed here; see [`super::Need::Mounts`].
    pub fn new(folder: &Path, options: &str) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Changes its options: `ro`, `size=200m`.
    ///
    /// # Errors
    /// When the kernel refuses, as it does where a file is open for writing and `ro` is asked for.
    pub fn remount(&self, options: &str) -> Result<(), Failure> {
        mount(&["-o", &format!("remount,{options}")], &self.folder)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have a file open there.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).stderr(Stdio::null()).status();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> Result<(), Failure> {
    let output = Command::new("mount").args(arguments).arg(folder).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into())
}
