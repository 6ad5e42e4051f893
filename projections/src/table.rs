//! The projection on disk.
//!
//! What is written here can be made again. The folder can be deleted at any moment; the log gives it back.
//!
//! One table, three kinds of rows:
//!
//! ```text
//! key                                          value
//! g                                            how many resources there are, the Ground, with the watermark, and the replays
//!                                              that are not complete, if there are any
//! r, number of the bucket (u32)                the resources of one bucket, one after the other, by number; names that the
//!                                              one before has too are left out
//! l, number of the resource (u32), offset (u64)  what the resource was by that record: a landmark
//! ```
//!
//! Numbers are big-endian. A value is a version byte, the CRC-32C of what follows (little-endian), and bincode, with what is
//! packed of a lifecycle as it is in memory (see [`crate::storage`]).
//!
//! A row holds many resources: at 20 microseconds a row, few large ones are what sled takes well.
//!
//! A checkpoint is written in pieces, because sled's memory grows without bound with larger batches, and while records are
//! folded, because nothing that is recorded waits for this disk: changed buckets in order, the ground last, as it was when the
//! checkpoint began. After a crash, in the middle or not, some resources are therefore ahead of the watermark. Invariant:
//! folding a record twice into a resource changes nothing (`Projection::fold` compares it with the resource's last record), so
//! that reading on from the watermark ends in the same state all the same.
//!
//! Start at [`Table::open`] and [`Table::write`]. `checkpoint` says what is written and in which order, `layout` how it is laid
//! out, `rows` what it is written to, `on_sled` what that is in the program.

mod checkpoint;
mod layout;
mod on_sled;
mod rows;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use lifeline_store::Offset;

pub use self::checkpoint::{Checkpoint, PIECE_BYTES, Piece};
use self::layout::{GROUND, body, bucket_row, decode_ground, landmark_offset, landmark_row};
use self::on_sled::OnSled;
pub use self::rows::{InMemory, Row, Rows};
use crate::fold::Projection;
use crate::landmarks::{Landmarks, Saved};
use crate::resource::ResourceIndex;

/// Why a projection could not be opened or written. Opening again after [`Table::set_aside`] succeeds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// sled refused; the message is its own.
    #[error("projection in `{path}` cannot be used: {reason}")]
    Sled {
        /// The folder.
        path: PathBuf,
        /// What sled said.
        reason: String,
    },
    /// Another process has it open.
    #[error("projection in `{path}` is in use\nhint: stop the other engine on this folder")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// sled has not opened it in time. Nothing is known to be wrong with it.
    #[error("projection in `{path}` was not opened within {} s", .patience.as_secs())]
    Slow {
        /// The folder.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// A value of another layout, or damaged.
    #[error("projection in `{path}` does not decode at key `{key}`")]
    Malformed {
        /// The folder.
        path: PathBuf,
        /// The key, escaped.
        key: String,
    },
    /// The folder could not be moved out of the way.
    #[error("cannot set the projection in `{path}` aside")]
    SetAside {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether there is no room on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Error::Sled { reason, .. } => OnSled::is_full(reason),
            Error::SetAside { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            Error::InUse { .. } | Error::Slow { .. } | Error::Malformed { .. } => false,
        }
    }
}

/// The table of one engine.
#[derive(Debug)]
pub struct Table {
    rows: Arc<dyn Rows>,
    path: PathBuf,
}

impl Table {
    /// Opens or creates the table and reads the projection it holds, as of its last checkpoint.
    ///
    /// # Errors
    /// [`Error::InUse`]; else when sled refuses the folder, panics over it (as it does over damage), or it holds what
    /// cannot be read.
    pub fn open(path: &Path) -> Result<(Table, Projection), Error> {
        let open = || {
            let rows = OnSled::open(path).map_err(|reason| {
                let path = path.to_owned();
                if OnSled::is_in_use(&reason) { Error::InUse { path } } else { Error::Sled { path, reason } }
            })?;
            Self::load_from(Arc::new(rows), path)
        };
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
            Err(Error::Sled { path: path.to_owned(), reason: "reading the folder panicked".into() })
        })
    }

    /// A table on other rows than those of a folder, and the projection that they hold.
    ///
    /// # Errors
    /// When they refuse, or hold what cannot be read.
    pub fn on(rows: Arc<dyn Rows>) -> Result<(Table, Projection), Error> {
        Self::load_from(rows, Path::new("rows"))
    }

    fn load_from(rows: Arc<dyn Rows>, path: &Path) -> Result<(Table, Projection), Error> {
        let table = Table { rows, path: path.to_owned() };
        let projection = table.load()?;
        projection.landmarks().save_to(Box::new(InTable(Arc::downgrade(&table.rows))));
        Ok((table, projection))
    }

    /// Opens the table; where it cannot be used within `patience`, sets it aside and begins an empty one, which the log
    /// fills again. Where there is no room for that either, the table is not open: see [`Table::reopen`]. Returns the reason with
    /// it, to be reported.
    ///
    /// For the holder of the log: its lock says that no other engine is on this data, so that a table in use is a leftover.
    ///
    /// # Panics
    /// When the system gives no thread.
    pub fn open_or_rebuild(path: &Path, patience: Duration) -> (Table, Projection, Option<Error>) {
        let (opened, opening) = mpsc::channel();
        let folder = path.to_owned();
        // On a thread of its own, which can be left behind: sled cannot be asked to stop.
        std::thread::Builder::new()
            .name("projection".into())
            .spawn(move || {
                // When nobody waits any more the table is closed again, in the folder that was set aside.
                let _ = opened.send(Table::open(&folder));
            })
            .expect("the system has room for one more thread");
        let slow = || Error::Slow { path: path.to_owned(), patience };
        match opening.recv_timeout(patience).unwrap_or_else(|_| Err(slow())) {
            Ok((table, projection)) => (table, projection, None),
            Err(full) if full.is_full() => Self::closed(path, full),
            Err(damage) => match Self::begin_again(path) {
                Ok((table, projection)) => (table, projection, Some(damage)),
                Err(error) => Self::closed(path, error),
            },
        }
    }

    /// Sets a table that cannot be used aside, and begins an empty one.
    ///
    /// # Errors
    /// When the folder cannot be set aside, or the new one cannot be used either.
    pub fn begin_again(path: &Path) -> Result<(Table, Projection), Error> {
        Table::set_aside(path)?;
        Table::open(path)
    }

    /// A table that is not open, and the empty projection beside it.
    fn closed(path: &Path, error: Error) -> (Table, Projection, Option<Error>) {
        let rows: Arc<dyn Rows> = Arc::new(OnSled::closed(path, error.to_string()));
        let (table, projection) = (Table { rows, path: path.to_owned() }, Projection::default());
        projection.landmarks().save_to(Box::new(InTable(Arc::downgrade(&table.rows))));
        (table, projection, Some(error))
    }

    /// Whether rows can be written to it, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.rows.get(GROUND).is_ok()
    }

    /// Opens the table again after it refused. It may have lost what was written last, so the next checkpoint has to be a
    /// [whole](Checkpoint::begin_whole) one. May wait for the disk.
    ///
    /// # Errors
    /// When it cannot be opened. It can be tried again.
    pub fn reopen(&self) -> Result<(), Error> {
        self.rows.reopen().map_err(|reason| self.refused(reason))
    }

    /// Moves a folder that cannot be used out of the way, to `<folder>.damaged`, keeping it for a look in place of the
    /// one before. The next open starts empty.
    ///
    /// # Errors
    /// When the folder cannot be renamed.
    pub fn set_aside(path: &Path) -> Result<PathBuf, Error> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".damaged");
        let aside = PathBuf::from(aside);
        let remove = |path: &Path| if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        let moved = if aside.exists() { remove(&aside) } else { Ok(()) }.and_then(|()| fs::rename(path, &aside));
        moved.map_err(|source| Error::SetAside { path: path.to_owned(), source })?;
        Ok(aside)
    }

    /// Writes a piece of a checkpoint, and notes the landmarks that are saved with it. May wait for the disk.
    ///
    /// # Errors
    /// When sled refuses. The checkpoint is to be given up then. Nothing is lost: the log has it all, and the next checkpoint
    /// writes what this one did not.
    pub fn write(&self, piece: Piece, landmarks: &Landmarks) -> Result<(), Error> {
        let Piece { rows, landmarks: keys, .. } = piece;
        self.rows.write(rows).map_err(|reason| self.refused(reason))?;
        landmarks.saved(&keys);
        Ok(())
    }

    /// Writes a whole checkpoint, while nothing is folded.
    ///
    /// # Errors
    /// As [`Table::write`].
    pub fn checkpoint(&self, projection: &mut Projection) -> Result<(), Error> {
        let mut checkpoint = Checkpoint::begin(projection);
        while let Some(piece) = checkpoint.next_piece(|| &*projection) {
            if let Err(error) = self.write(piece, projection.landmarks()) {
                checkpoint.give_up(projection);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Hands everything to the operating system, for a clean stop.
    ///
    /// # Errors
    /// When sled refuses.
    pub fn flush(&self) -> Result<(), Error> {
        self.rows.flush().map_err(|reason| self.refused(reason))
    }

    fn load(&self) -> Result<Projection, Error> {
        let get = |key: &[u8]| self.rows.get(key).map_err(|reason| self.refused(reason));
        let Some(value) = get(GROUND)? else {
            // No ground means no finished checkpoint: rows that may lie here are ahead of every watermark.
            self.rows.clear().map_err(|reason| self.refused(reason))?;
            return Ok(Projection::default());
        };
        let (resources, ground) = body(&value).and_then(decode_ground).ok_or_else(|| self.malformed(GROUND))?;
        let mut projection = Projection::with_ground(ground);
        // One by one rather than by a scan, which would leave all of them in sled's memory.
        for bucket in 0.. {
            let key = bucket_row(bucket);
            let Some(value) = get(&key)? else { break };
            let restored = body(&value).and_then(|body| projection.restore_bucket(bucket, body));
            restored.ok_or_else(|| self.malformed(&key))?;
        }
        if (projection.len() as u64) < resources {
            return Err(self.malformed(GROUND));
        }
        Ok(projection)
    }

    fn malformed(&self, key: &[u8]) -> Error {
        Error::Malformed { path: self.path.clone(), key: key.escape_ascii().to_string() }
    }

    fn refused(&self, reason: String) -> Error {
        Error::Sled { path: self.path.clone(), reason }
    }
}

/// The landmarks in the table, for as long as it is open: dropping the [`Table`] closes it, even while others read.
struct InTable(Weak<dyn Rows>);

impl Saved for InTable {
    fn first_from(&self, resource: ResourceIndex, from: Offset) -> Option<(Offset, Vec<u8>)> {
        let last = landmark_row(resource, Offset::from(u64::MAX));
        landmark(self.0.upgrade()?.first(&landmark_row(resource, from), &last))
    }

    fn last_below(&self, resource: ResourceIndex, end: Offset) -> Option<(Offset, Vec<u8>)> {
        let first = landmark_row(resource, Offset::ZERO);
        landmark(self.0.upgrade()?.last(&first, &landmark_row(resource, end)))
    }
}

/// A landmark that sled refuses, or that is damaged, is as good as none.
fn landmark(row: Result<Option<Row>, String>) -> Option<(Offset, Vec<u8>)> {
    let (key, value) = row.ok()??;
    Some((landmark_offset(&key)?, body(&value)?.to_vec()))
}

#[cfg(test)]
mod tests;
