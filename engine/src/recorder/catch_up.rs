//! Folding what the projection does not hold yet, at the start and after a failed disk.

use lifeline_projections::fact::Fact;
use lifeline_projections::fold::{LOCATED_MAX, LifecycleIndex, Projection};
use lifeline_store::{Disk, Offset, Scan};

use super::Error;

/// Progress is told this often: some hundred times a second, which costs nothing and makes a bar move evenly.
const PROGRESS_RECORDS: u64 = 1 << 14;

/// Folds the part of the log that the projection does not hold yet. `progress` is told where it begins, then every
/// 16384 records; `needs_work` is told each lifecycle that comes to need work, as often as it does.
///
/// # Errors
/// When a record cannot be read or understood.
pub fn catch_up<D: Disk>(
    projection: &mut Projection,
    log: &lifeline_store::Reader<D>,
    mut progress: impl FnMut(Offset, Offset),
    mut needs_work: impl FnMut(LifecycleIndex),
) -> Result<(), Error> {
    let mut changed = Vec::new();
    let end = log.end();
    let mut scan = log.scan(projection.watermark());
    progress(projection.watermark(), end);
    let mut piece = Piece::default();
    loop {
        // A piece at a time, so that the memory of its resources is waited for once and not record by record.
        let stopped = piece.fill(&mut scan);
        let facts = piece.facts()?;
        let keys = facts.iter().map(|fact| match fact {
            Fact::EventReceived { source, subject, .. } => Some((*source, *subject)),
            outcome => outcome.lifecycle_key().map(|key| (&*key.resource.source, &*key.resource.subject)),
        });
        let places = projection.locate(keys);
        for ((fact, place), (offset, unix_nanos, _)) in facts.iter().zip(places).zip(&piece.records) {
            projection.fold_at(place, *offset, *unix_nanos, fact, &mut changed);
            if offset.get().is_multiple_of(PROGRESS_RECORDS) {
                progress(*offset, end);
            }
        }
        changed.drain(..).for_each(&mut needs_work);
        match stopped {
            Err(lifeline_store::Error::Damaged { offsets, bytes, file, why }) => {
                let folded = projection.watermark();
                return Err(Error::Damaged { offsets, bytes, file, why, folded });
            }
            Err(error) => return Err(error.into()),
            Ok(()) if piece.records.is_empty() => return Ok(()),
            Ok(()) => {}
        }
    }
}

/// Some records on their way from the log into the projection.
#[derive(Default)]
struct Piece {
    payloads: Vec<u8>,
    /// Offset, time, and where the payload ends.
    records: Vec<(Offset, u64, usize)>,
}

impl Piece {
    /// Takes in the next records, none at the end of the log. After an error it holds those before it.
    fn fill<D: Disk>(&mut self, scan: &mut Scan<D>) -> Result<(), lifeline_store::Error> {
        self.payloads.clear();
        self.records.clear();
        while self.records.len() < LOCATED_MAX
            && let Some(record) = scan.next()?
        {
            self.payloads.extend_from_slice(record.payload);
            self.records.push((record.offset, record.time_unix_nanos, self.payloads.len()));
        }
        Ok(())
    }

    fn facts(&self) -> Result<Vec<Fact<'_>>, Error> {
        let mut start = 0;
        let decode = |(offset, _, end): &(Offset, u64, usize)| {
            let payload = &self.payloads[std::mem::replace(&mut start, *end)..*end];
            Fact::decode(payload).map_err(|source| Error::Fact { offset: *offset, source })
        };
        self.records.iter().map(decode).collect()
    }
}
