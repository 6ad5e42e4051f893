//! Where the local cluster keeps its records: a folder, or memory for simulations.
//!
//! A record is a path and its bytes; a write is there whole or not at all, also after a power cut. Start at [`Disk`]. It
//! knows nothing about objects.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Records by path. A path is relative, its parts are separated by `/` and safe in any file system.
pub(super) trait Disk: Send {
    /// All records, sorted by path.
    fn load(&mut self) -> io::Result<Vec<(String, Vec<u8>)>>;
    /// Writes a record, durably and atomically: after any crash it holds the old bytes or the new.
    fn put(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes a record durably. A missing one is fine: it was removed before a crash.
    fn remove(&mut self, path: &str) -> io::Result<()>;
}

/// Records that end with the process.
#[derive(Default)]
pub(super) struct Memory {
    records: BTreeMap<String, Vec<u8>>,
}

impl Disk for Memory {
    fn load(&mut self) -> io::Result<Vec<(String, Vec<u8>)>> {
        Ok(self.records.iter().map(|(path, bytes)| (path.clone(), bytes.clone())).collect())
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.records.insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.records.remove(path);
        Ok(())
    }
}

/// One file per record under a folder.
pub(super) struct Folder {
    root: PathBuf,
}

/// What a file is called until it is complete. No record's path ends so.
const PARTIAL: &str = ".partial";

impl Folder {
    /// Opens the folder, making it where it is missing.
    pub(super) fn open(root: &Path) -> io::Result<Folder> {
        make_durable_folder(root)?;
        Ok(Folder { root: root.to_owned() })
    }

    fn collect(&self, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.collect(&path, found)?;
                continue;
            }
            let relative = path.strip_prefix(&self.root).map_err(io::Error::other)?;
            // A file no record can be named like is somebody else's, or an unfinished write: neither is ours to read.
            match relative.to_str() {
                Some(relative) if !relative.ends_with(PARTIAL) => {
                    found.push((relative.replace('\\', "/"), fs::read(&path)?))
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Disk for Folder {
    fn load(&mut self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        self.collect(&self.root, &mut found)?;
        found.sort();
        Ok(found)
    }

    fn put(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let target = self.root.join(path);
        let folder = target.parent().unwrap_or(&self.root);
        make_durable_folder(folder)?;
        let partial = self.root.join(format!("{path}{PARTIAL}"));
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, &target)?;
        // The rename itself is durable only when the folder is.
        sync_folder(folder)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let target = self.root.join(path);
        match fs::remove_file(&target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        sync_folder(target.parent().unwrap_or(&self.root))
    }
}

/// Makes a folder and those above it, each entry durable in the one that holds it.
fn make_durable_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    make_durable_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(if above.as_os_str().is_empty() { Path::new(".") } else { above })
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
