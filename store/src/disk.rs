//! The disk as the log sees it: one flat folder of files, and nothing else.
//!
//! [`Disk`] is small and synchronous on purpose, so that a simulated disk can crash at each of its calls. What is
//! promised is what POSIX and a decent drive promise, no more: a write is durable after [`File::sync`] returned, a
//! create, rename or remove after [`Disk::sync_folder`] returned; before that any part of it, in any order, may or may
//! not survive. A failed sync promises nothing about anything written since the last one that succeeded.
//!
//! Start at [`OsDisk`] for the real one and at [`SimulatedDisk`] for the one that fails on purpose.

mod os;
mod simulated;

pub use os::OsDisk;
pub use simulated::{Fault, SimulatedDisk, SimulatedFile};

use std::io;

/// A flat folder of files.
pub trait Disk: std::fmt::Debug + Send + Sync + 'static {
    /// An open file of this disk.
    type File: File;

    /// The names of the files in the folder, in no order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Creates a file (an existing one is emptied) of `bytes` zero bytes, with its space reserved where the disk can.
    ///
    /// # Errors
    /// `StorageFull` when there is no room.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Self::File>;

    /// Renames a file, replacing the one that had the new name.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every create, rename and remove so far durable.
    ///
    /// # Errors
    /// When the disk cannot promise it.
    fn sync_folder(&self) -> io::Result<()>;

    /// How many bytes may still be written.
    ///
    /// # Errors
    /// When the disk does not answer.
    fn free_bytes(&self) -> io::Result<u64>;

    /// A random number: the operating system's, or one from a simulation's seed.
    fn random(&self) -> u64;

    /// What to call the folder in a message.
    fn describe(&self) -> String;

    /// Whether writing is refused; such a disk can be inspected, not appended to.
    fn is_read_only(&self) -> bool;
}

/// An open file; its reads and writes name their position and may come from several threads.
#[expect(clippy::len_without_is_empty, reason = "a length in bytes that may fail is not a collection's length")]
pub trait File: std::fmt::Debug + Send + Sync + 'static {
    /// Reads at `position` until the buffer is full or the file ends; returns how many bytes it read.
    ///
    /// # Errors
    /// When the disk cannot read.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`; not durable before [`File::sync`].
    ///
    /// # Errors
    /// `StorageFull` when there is no room; part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Makes every write and length so far durable.
    ///
    /// # Errors
    /// When the disk cannot promise it. A later success says nothing about what this call was asked to make durable.
    fn sync(&self) -> io::Result<()>;

    /// Drops cached pages where the system allows it, so that the next reads come from the drive and can find damage.
    ///
    /// # Errors
    /// When the disk refuses.
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// When the disk does not answer.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file, or extends it with zeros (their space reserved where the disk can), to exactly `bytes`; not
    /// durable before [`File::sync`].
    ///
    /// # Errors
    /// `StorageFull` when there is no room.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}

/// The smallest unit, in bytes, that a drive refuses to read after a medium error.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Linux' EIO, for which the standard library has no kind.
const INPUT_OUTPUT_ERROR: i32 = 5;

/// Reads like [`File::read_at`], with zeros where the medium cannot be read: no checksum holds over those, so what they held
/// is found to be damaged by its exact offsets, and what surrounds them is still served. Returns how many bytes were read,
/// and whether all of them were readable.
pub(crate) fn read_salvaging<F: File>(file: &F, buffer: &mut [u8], position: u64) -> io::Result<(usize, bool)> {
    let unreadable = |cause: &io::Error| cause.raw_os_error() == Some(INPUT_OUTPUT_ERROR);
    match file.read_at(buffer, position) {
        Ok(read) => return Ok((read, true)),
        Err(cause) if unreadable(&cause) => {}
        Err(cause) => return Err(cause),
    }
    let end = file.len()?.min(position + buffer.len() as u64);
    let mut at = position;
    while at < end {
        let page_end = end.min((at / PAGE_BYTES + 1) * PAGE_BYTES);
        let page = &mut buffer[(at - position) as usize..(page_end - position) as usize];
        match file.read_at(page, at) {
            Ok(_) => {}
            Err(cause) if unreadable(&cause) => page.fill(0),
            Err(cause) => return Err(cause),
        }
        at = page_end;
    }
    Ok((end.saturating_sub(position) as usize, false))
}
