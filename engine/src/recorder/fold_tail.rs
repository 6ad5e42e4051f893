//! Folding what the projection does not hold yet, at the start and after a failed disk.

use lifeline_projections::fact::Fact;
use lifeline_projections::fold::{LifecycleIndex, Projection};
use lifeline_store::{Disk, Offset, RecordRef};

use super::Error;

/// Records that are read and folded together.
const RUN_RECORDS: usize = 32;

/// Progress is reported this often: some hundred times a second, which costs nothing and makes a bar move evenly.
const PROGRESS_RECORDS: u64 = 1 << 14;

/// Folds the part of the log that the projection does not hold yet. `progress` is called where it begins, then every
/// 16384 records; `needs_work` is called with a lifecycle each time that it begins or ceases to need work.
///
/// # Errors
/// When a record cannot be read or understood.
pub fn fold_tail<D: Disk>(
    projection: &mut Projection,
    log: &lifeline_store::Reader<D>,
    mut progress: impl FnMut(Offset, Offset),
    mut needs_work: impl FnMut(LifecycleIndex),
) -> Result<(), Error> {
    let mut changed = Vec::new();
    let end = log.end();
    let mut scan = log.scan(projection.watermark());
    progress(projection.watermark(), end);
    loop {
        let records = match scan.next_run(RUN_RECORDS) {
            Ok(records) if records.is_empty() => return Ok(()),
            Ok(records) => records,
            Err(lifeline_store::Error::Damaged { offsets, bytes, file, why }) => {
                let folded = projection.watermark();
                return Err(Error::Damaged { offsets, bytes, file, why, folded });
            }
            Err(error) => return Err(error.into()),
        };
        let facts = records.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        let run = records.iter().zip(&facts).map(|(record, fact)| (record.offset, record.time_unix_nanos, fact));
        projection.fold_all(run, &mut changed);
        let reported = records.iter().filter(|record| record.offset.get().is_multiple_of(PROGRESS_RECORDS));
        reported.for_each(|record| progress(record.offset, end));
        changed.drain(..).for_each(&mut needs_work);
    }
}

fn decode<'r>(record: &RecordRef<'r>) -> Result<Fact<'r>, Error> {
    Fact::decode(record.payload).map_err(|source| Error::Fact { offset: record.offset, source })
}
