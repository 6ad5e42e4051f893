//! The table of the projection in a simulated world: rows that outlive a process, and a part of which a power cut takes.
//! Like sled, it refuses everything after a write that failed, until it is opened again.

use lifeline_projections::table::{InMemory, Row, Rows};
use parking_lot::Mutex;

use super::chance::Chance;
use super::hazard::{Counter, Hazard};

/// One write in so many is refused.
const REFUSED_ONE_IN: u64 = 50;

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
    /// It refuses everything.
    is_failed: Mutex<bool>,
    chance: Chance,
    counter: Counter,
}

impl SimulatedTable {
    /// No rows.
    #[must_use]
    pub fn new(chance: Chance, counter: Counter) -> SimulatedTable {
        let (rows, flushed) = (InMemory::default(), InMemory::default());
        let (unflushed, is_within_checkpoint, is_failed) = (Mutex::default(), Mutex::default(), Mutex::default());
        SimulatedTable { rows, unflushed, flushed, is_within_checkpoint, is_failed, chance, counter }
    }

    /// Ends the process that writes. Whether that was within a checkpoint.
    #[must_use]
    pub fn end_process(&self) -> bool {
        *self.is_failed.lock() = false;
        std::mem::take(&mut *self.is_within_checkpoint.lock())
    }

    /// Cuts the power: of what was not flushed, the first so many writes survive.
    pub fn cut_power(&self) {
        self.lose_unflushed();
    }

    fn lose_unflushed(&self) {
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
        let mut is_failed = self.is_failed.lock();
        if !*is_failed && self.chance.one_in(REFUSED_ONE_IN) {
            *is_failed = true;
            self.counter.count(Hazard::RefusedCheckpoint);
        }
        if *is_failed {
            return Err("no space".to_owned());
        }
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

    fn reopen(&self) -> Result<(), String> {
        if self.chance.one_in(2) {
            return Err("no space yet".to_owned());
        }
        *self.is_failed.lock() = false;
        self.lose_unflushed();
        self.flush()
    }
}
