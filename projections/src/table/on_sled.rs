//! Rows in sled: the one file that names it.
//!
//! sled is trusted with what can be made again. It may panic over what it finds; that is an error like any other here. After
//! one write that failed it refuses all others until it is opened again: see [`Rows::reopen`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::rows::{Row, Rows};

/// What sled may keep in memory. The state is in memory already; nobody reads it here but at the start.
const CACHE_BYTES: u64 = 32 << 20;

/// How often, and with which pause, a folder in use is tried again: sled lets go of its lock a little after it was closed.
const OPEN_ATTEMPTS: usize = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(10);

/// Rows in a folder of sled.
#[derive(Debug)]
pub(super) struct OnSled {
    path: PathBuf,
    /// The open folder, or why it is not open.
    db: RwLock<Result<sled::Db, String>>,
    /// What the folder holds was never read, and is no part of this state.
    is_strange: AtomicBool,
}

impl OnSled {
    /// Opens or creates the folder.
    pub(super) fn open(path: &Path) -> Result<OnSled, String> {
        let db = RwLock::new(Ok(open(path)?));
        Ok(OnSled { path: path.to_owned(), db, is_strange: AtomicBool::new(false) })
    }

    /// The folder, not open, and why. It holds nothing and refuses everything until it is opened again.
    pub(super) fn closed(path: &Path, reason: String) -> OnSled {
        OnSled { path: path.to_owned(), db: RwLock::new(Err(reason)), is_strange: AtomicBool::new(true) }
    }

    /// Whether an error says that the disk is full, or that the quota is used up.
    pub(super) fn is_full(error: &str) -> bool {
        // sled passes the system's errors on as text: in two shapes, ENOSPC and EDQUOT.
        ["os error 28", "os error 122", "StorageFull", "QuotaExceeded"].iter().any(|word| error.contains(word))
    }

    /// Whether an error says that another process has the folder.
    pub(super) fn is_in_use(error: &str) -> bool {
        // sled wraps the refusal of its lock in an error of no particular kind.
        error.contains("could not acquire lock")
    }

    fn with<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, String> {
        let db = self.db.read();
        guarded(|| work(db.as_ref().map_err(|reason| sled::Error::Unsupported(reason.clone()))?))
    }
}

fn open(path: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new().path(path).mode(sled::Mode::HighThroughput).flush_every_ms(None);
    let config = config.cache_capacity(CACHE_BYTES);
    for _ in 1..OPEN_ATTEMPTS {
        match guarded(|| config.open()) {
            Err(error) if OnSled::is_in_use(&error) => std::thread::sleep(OPEN_PAUSE),
            opened => return opened,
        }
    }
    guarded(|| config.open())
}

impl Rows for OnSled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(self.with(|db| db.get(key))?.map(|value| value.to_vec()))
    }

    fn first(&self, from: &[u8], last: &[u8]) -> Result<Option<Row>, String> {
        Ok(self.with(|db| db.range(from..=last).next().transpose())?.map(row))
    }

    fn last(&self, from: &[u8], end: &[u8]) -> Result<Option<Row>, String> {
        Ok(self.with(|db| db.range(from..end).next_back().transpose())?.map(row))
    }

    fn write(&self, rows: Vec<Row>) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        rows.into_iter().for_each(|(key, value)| batch.insert(key, value));
        self.with(|db| db.apply_batch(batch))
    }

    fn clear(&self) -> Result<(), String> {
        self.with(|db| db.clear())
    }

    fn flush(&self) -> Result<(), String> {
        self.with(|db| db.flush()).map(|_| ())
    }

    fn reopen(&self) -> Result<(), String> {
        let closed = std::mem::replace(&mut *self.db.write(), Err("it is being opened again".to_owned()));
        // Without the lock: closing and opening wait for the disk, and those who read do without landmarks meanwhile.
        let _ = guarded(|| {
            drop(closed);
            Ok(())
        });
        let opened = open(&self.path).and_then(|db| {
            if self.is_strange.load(Ordering::Relaxed) {
                guarded(|| db.clear())?;
                self.is_strange.store(false, Ordering::Relaxed);
            }
            Ok(db)
        });
        let reopened = opened.as_ref().map(|_| ()).map_err(String::clone);
        *self.db.write() = opened;
        reopened
    }
}

fn row((key, value): (sled::IVec, sled::IVec)) -> Row {
    (key.to_vec(), value.to_vec())
}

fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("sled panicked".to_owned()),
    }
}
