//! Where the rows of a table are kept: the port [`Rows`], and [`InMemory`], for tests and simulations.
//!
//! Rows are bytes under bytes, in order. Never here: what is in them (see `layout`).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use parking_lot::Mutex;

/// A row: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A store of rows. Errors are sentences of its own.
///
/// Invariant: after a crash it holds the rows of the first so many writes, whole ones, and not of a later without an earlier.
pub trait Rows: fmt::Debug + Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// When the store refuses.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// The first row from `from` up to and including `last`.
    ///
    /// # Errors
    /// When the store refuses.
    fn first(&self, from: &[u8], last: &[u8]) -> Result<Option<Row>, String>;

    /// The last row from `from` up to but not including `end`.
    ///
    /// # Errors
    /// When the store refuses.
    fn last(&self, from: &[u8], end: &[u8]) -> Result<Option<Row>, String>;

    /// Writes rows, all or none of them, in place of those with the same keys. May wait for the disk.
    ///
    /// # Errors
    /// When the store refuses.
    fn write(&self, rows: Vec<Row>) -> Result<(), String>;

    /// Removes all rows.
    ///
    /// # Errors
    /// When the store refuses.
    fn clear(&self) -> Result<(), String>;

    /// Returns once everything written survives a power cut.
    ///
    /// # Errors
    /// When the store refuses.
    fn flush(&self) -> Result<(), String>;

    /// Makes the store usable again after it refused. Then it holds what it would hold after a crash.
    ///
    /// # Errors
    /// When the store still refuses.
    fn reopen(&self) -> Result<(), String>;
}

/// Rows in memory.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl InMemory {
    /// Takes over the rows of another, in place of its own.
    pub fn replace(&self, other: &InMemory) {
        let rows = other.0.lock().clone();
        *self.0.lock() = rows;
    }
}

impl Rows for InMemory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.lock().get(key).cloned())
    }

    fn first(&self, from: &[u8], last: &[u8]) -> Result<Option<Row>, String> {
        let rows = self.0.lock();
        let mut range = rows.range::<[u8], _>((Bound::Included(from), Bound::Included(last)));
        Ok(range.next().map(|(key, value)| (key.clone(), value.clone())))
    }

    fn last(&self, from: &[u8], end: &[u8]) -> Result<Option<Row>, String> {
        let rows = self.0.lock();
        let mut range = rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(end)));
        Ok(range.next_back().map(|(key, value)| (key.clone(), value.clone())))
    }

    fn write(&self, rows: Vec<Row>) -> Result<(), String> {
        self.0.lock().extend(rows);
        Ok(())
    }

    fn clear(&self) -> Result<(), String> {
        self.0.lock().clear();
        Ok(())
    }

    fn flush(&self) -> Result<(), String> {
        Ok(())
    }

    fn reopen(&self) -> Result<(), String> {
        Ok(())
    }
}
