//! The table of the projection in a simulated world: rows that outlive a process, and a part of which a power cut takes.

use lifeline_projections::table::{InMemory, Row, Rows};
use parking_lot::Mutex;

use super::chance::Chance;

/// The key of the row that ends a checkpoint.
const GROUND: &[u8] = b"g";

/// Rows on a simulated disk.
#[derive(Debug)]
pub struct SimulatedTable {
    rows: InMemory,
    /// What was written since the last flush.
    unflushed: Mutex<Vec<Vec<Row>>>,
    /// What there was at the last flush.
    flushed: InMemory,
    /// A checkpoint has begun to be written, and is not complete.
    is_within_checkpoint: Mutex<bool>,
    chance: Chance,
}

impl SimulatedTable {
    /// No rows.
    #[must_use]
    pub fn new(chance: Chance) -> SimulatedTable {
        let (rows, flushed) = (InMemory::default(), InMemory::default());
        SimulatedTable { rows, unflushed: Mutex::default(), flushed, is_within_checkpoint: Mutex::default(), chance }
    }

    /// Ends the process that writes. Whether that was within a checkpoint.
    #[must_use]
    pub fn end_process(&self) -> bool {
        std::mem::take(&mut *self.is_within_checkpoint.lock())
    }

    /// Cuts the power: of what was not flushed, the first so many writes survive.
    pub fn cut_power(&self) {
        let mut unflushed = self.unflushed.lock();
        let survive = self.chance.below(unflushed.len() as u64 + 1);
        unflushed.truncate(usize::try_from(survive).expect("it is below a length"));
        self.rows.replace(&self.flushed);
        for rows in unflushed.iter() {
            self.rows.write(rows.clone()).expect("memory takes it");
        }
    }
}

impl Rows for SimulatedTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.rows.get(key)
    }

    fn first(&self, from: &[u8], last: &[u8]) -> Result<Option<Row>, String> {
        self.rows.first(from, last)
    }

    fn last(&self, from: &[u8], end: &[u8]) -> Result<Option<Row>, String> {
        self.rows.last(from, end)
    }

    fn write(&self, rows: Vec<Row>) -> Result<(), String> {
        *self.is_within_checkpoint.lock() = rows.iter().all(|(key, _)| key != GROUND);
        self.unflushed.lock().push(rows.clone());
        self.rows.write(rows)
    }

    fn clear(&self) -> Result<(), String> {
        self.unflushed.lock().clear();
        self.flushed.clear()?;
        self.rows.clear()
    }

    fn flush(&self) -> Result<(), String> {
        self.unflushed.lock().clear();
        self.flushed.replace(&self.rows);
        Ok(())
    }
}
