//! Rows in sled: the one file that names it.
//!
//! sled is trusted with what can be made again. It may panic over what it finds; that is an error like any other here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::rows::{Row, Rows};

/// What sled may keep in memory. The state is in memory already; nobody reads it here but at the start.
const CACHE_BYTES: u64 = 32 << 20;

/// Rows in a folder of sled.
#[derive(Debug)]
pub(super) struct OnSled(sled::Db);

impl OnSled {
    /// Opens or creates the folder.
    pub(super) fn open(path: &Path) -> Result<OnSled, String> {
        let config = sled::Config::new().path(path).mode(sled::Mode::HighThroughput).flush_every_ms(None);
        let config = config.cache_capacity(CACHE_BYTES);
        guarded(|| config.open()).map(OnSled)
    }

    /// Whether an error says that another process has the folder.
    pub(super) fn is_in_use(error: &str) -> bool {
        // sled wraps the refusal of its lock in an error of no particular kind.
        error.contains("could not acquire lock")
    }
}

impl Rows for OnSled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(guarded(|| self.0.get(key))?.map(|value| value.to_vec()))
    }

    fn first(&self, from: &[u8], last: &[u8]) -> Result<Option<Row>, String> {
        Ok(guarded(|| self.0.range(from..=last).next().transpose())?.map(row))
    }

    fn last(&self, from: &[u8], end: &[u8]) -> Result<Option<Row>, String> {
        Ok(guarded(|| self.0.range(from..end).next_back().transpose())?.map(row))
    }

    fn write(&self, rows: Vec<Row>) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        rows.into_iter().for_each(|(key, value)| batch.insert(key, value));
        guarded(|| self.0.apply_batch(batch))
    }

    fn clear(&self) -> Result<(), String> {
        guarded(|| self.0.clear())
    }

    fn flush(&self) -> Result<(), String> {
        guarded(|| self.0.flush()).map(|_| ())
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
