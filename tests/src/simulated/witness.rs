//! Whether what is acknowledged is durable, and what a log holds.
//!
//! Start at [`witness`].

use std::collections::BTreeSet;

use bytes::Bytes;
use lifeline_engine::error_text::chain;
use lifeline_projections::fact::Fact;
use lifeline_store::{Log, Record, SimulatedDisk};
use memchr::memmem::Finder;
use parking_lot::Mutex;

use super::chance::Chance;
use super::process::options;
use super::story::Violation;

/// Asks, of messages that are acknowledged, whether a log would hold them if the power were cut now.
///
/// Each has to be on the disk, synced. For about one acknowledgement in eight, the power of a copy of the disk is cut and
/// the log is opened on it, as the next process would. This is slow, so it is not done each time.
pub fn witness(disk: SimulatedDisk, chance: Chance) -> impl Fn(&[Bytes]) -> Option<Violation> + Send + Sync {
    let seen: Mutex<BTreeSet<Bytes>> = Mutex::default();
    move |acknowledged| {
        let lost = |payload: &[u8]| {
            Some(Violation::new("acknowledged before it was durable", String::from_utf8_lossy(payload)))
        };
        let mut seen = seen.lock();
        for payload in acknowledged {
            if !seen.contains(payload) {
                let finder = Finder::new(payload);
                if !disk.any_durable(|bytes| finder.find(bytes).is_some()) {
                    return lost(payload);
                }
                seen.insert(payload.clone());
            }
        }
        if acknowledged.is_empty() || !chance.one_in(8) {
            return None;
        }
        let copy = disk.copy(chance.below(u64::MAX));
        copy.cut_power();
        let records = match read_log(&copy) {
            Ok(records) => records,
            Err(error) => return Some(Violation::new("acknowledged, but the log cannot be read", chain(&error))),
        };
        let decoded = records.iter().filter_map(|record| Some(Fact::decode(&record.payload).ok()?.message()?.1));
        let recorded: BTreeSet<&[u8]> = decoded.collect();
        acknowledged.iter().find(|payload| !recorded.contains(payload.as_ref())).and_then(|payload| lost(payload))
    }
}

/// Everything that a log on this disk holds.
///
/// # Errors
/// When it cannot be read, or was damaged.
pub fn read_log(disk: &SimulatedDisk) -> Result<Vec<Record>, lifeline_store::Error> {
    let (log, _) = Log::open(disk.clone(), options())?;
    let reader = log.reader();
    let mut scan = reader.scan(reader.start());
    let mut records = Vec::new();
    while let Some(record) = scan.next()? {
        let (offset, time_unix_nanos, payload) = (record.offset, record.time_unix_nanos, record.payload.to_vec());
        records.push(Record { offset, time_unix_nanos, payload });
    }
    Ok(records)
}
