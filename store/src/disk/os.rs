//! The real disk: a folder of the operating system, locked while it is open.
//!
//! The lock is `flock` on the file `LOCK`, and on the folder itself, so that it holds where somebody deletes the file: exclusive
//! for the one who appends, shared for those who inspect a stopped engine's folder. The kernel releases it when the process
//! ends, however it ends. Nothing here retries.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock, statvfs};

use super::{Disk, File};
use crate::Error;

const LOCK: &str = "LOCK";

/// A folder of the operating system, locked until it and all its clones are dropped. A log that failed is opened again on a
/// clone: readers of the failed one still hold the lock, which the system would not give to the same process twice.
#[derive(Clone, Debug)]
pub struct OsDisk {
    folder: PathBuf,
    // Open for as long as the disk is: a folder is synced through a handle on it.
    handle: Arc<fs::File>,
    read_only: bool,
    _lock: Option<Arc<fs::File>>,
}

impl OsDisk {
    /// Opens a folder to append to, creating it when missing, and takes its exclusive lock.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open; [`Error::Io`] when it cannot be created, read or locked.
    pub fn open(folder: &Path) -> Result<OsDisk, Error> {
        let failed = |doing, source| Error::Io { doing, file: folder.display().to_string(), source };
        let is_new = !folder.is_dir();
        fs::create_dir_all(folder).map_err(|source| failed("create folder", source))?;
        if let Some(parent) = folder.parent().filter(|parent| is_new && !parent.as_os_str().is_empty()) {
            // A new folder's own name must survive a power cut as well.
            fs::File::open(parent)
                .and_then(|handle| handle.sync_all())
                .map_err(|source| failed("sync parent of folder", source))?;
        }
        let lock = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(|source| failed("create lock file in", source))?;
        OsDisk::locked(folder, Some(lock), FlockOperation::NonBlockingLockExclusive, false)
    }

    /// Opens an existing folder to inspect it, sharing its lock with other inspectors; writes nothing, not even a lock
    /// file, so that it works on a read-only mount.
    ///
    /// # Errors
    /// [`Error::Locked`] when an engine has it open; [`Error::Io`] when there is no such folder or it cannot be read.
    pub fn open_read_only(folder: &Path) -> Result<OsDisk, Error> {
        let lock = match fs::File::open(folder.join(LOCK)) {
            Ok(lock) => Some(lock),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(source) => {
                return Err(Error::Io { doing: "open lock file in", file: folder.display().to_string(), source });
            }
        };
        OsDisk::locked(folder, lock, FlockOperation::NonBlockingLockShared, true)
    }

    fn locked(folder: &Path, lock: Option<fs::File>, how: FlockOperation, read_only: bool) -> Result<OsDisk, Error> {
        let failed = |doing, source| Error::Io { doing, file: folder.display().to_string(), source };
        let handle = fs::File::open(folder).map_err(|source| failed("open folder", source))?;
        let is_held = || Error::Locked { folder: folder.display().to_string() };
        // A file system of a network may not lock folders.
        if flock(&handle, how) == Err(rustix::io::Errno::WOULDBLOCK) {
            return Err(is_held());
        }
        if let Some(lock) = &lock {
            match flock(lock, how) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(is_held()),
                Err(source) => return Err(failed("lock folder", source.into())),
            }
        }
        Ok(OsDisk { folder: folder.to_owned(), handle: Arc::new(handle), read_only, _lock: lock.map(Arc::new) })
    }
}

impl Disk for OsDisk {
    type File = fs::File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<fs::File> {
        fs::File::options().read(true).write(!self.read_only).open(self.folder.join(name))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<fs::File> {
        let file =
            fs::File::options().read(true).write(true).create(true).truncate(true).open(self.folder.join(name))?;
        reserve(&file, bytes)?;
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = statvfs(&self.folder)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn random(&self) -> u64 {
        // The standard library seeds each of these from the operating system.
        RandomState::new().build_hasher().finish()
    }

    fn describe(&self) -> String {
        self.folder.display().to_string()
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }
}

/// Reserves space, so that a full disk shows when a segment is begun and not in the middle of it.
fn reserve(file: &fs::File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Some file systems (NFS, older overlay ones) cannot reserve; a sparse file of that length serves as well.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes),
        Err(cause) => Err(cause.into()),
    }
}

impl File for fs::File {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()?;
        // What somebody deleted is still written, and gone once it is closed.
        match self.metadata()?.nlink() {
            0 => Err(io::Error::new(io::ErrorKind::NotFound, "the file was deleted")),
            _ => Ok(()),
        }
    }

    fn forget_cached(&self) -> io::Result<()> {
        rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed).map_err(io::Error::from)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        if bytes > File::len(self)? { reserve(self, bytes) } else { fs::File::set_len(self, bytes) }
    }
}
