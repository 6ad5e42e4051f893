//! A temporary folder for one test, removed with it.

use std::path::{Path, PathBuf};

/// Removed when dropped, unless the test failed: then it is worth a look.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder for the test of that name.
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lifeline-store-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
