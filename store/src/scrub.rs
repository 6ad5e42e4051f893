//! [`Scrub`]: reads the whole log again, a bounded amount at a time, to find damage before someone needs the record.
//!
//! It has no thread and no clock: the caller of [`Scrub::step`] chooses the rate, and [`Pace`] turns a rate into an amount.
//! Every record goes through the very code that serves readers; segment headers are checked too. A damaged index
//! is not damage: it is made again from the records when it is wanted.
//! It reports damage and goes on; [`Log::repair`](crate::Log::repair) mends it.

use crate::disk::{Disk, File, OsDisk, read_salvaging};
use crate::reader::Reader;
use crate::recovery::Damage;
use crate::scan::Scan;
use crate::segment::{HEADER_BYTES, ParsedHeader, SegmentHeader};
use crate::{Error, Offset, VERSION};

/// How far a scrub has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The next record to be read.
    pub position: Offset,
    /// Where this pass ends: the durable end when it began.
    pub end: Offset,
    /// Records that read back well.
    pub records: u64,
    /// Bytes read: the frames of these records, and what is damaged.
    pub bytes: u64,
    /// Records found damaged.
    pub damaged_records: u64,
}

impl Progress {
    /// Whether the pass is complete.
    pub fn is_done(&self) -> bool {
        self.position >= self.end
    }
}

/// One pass over a log.
#[derive(Debug)]
pub struct Scrub<D: Disk = OsDisk> {
    reader: Reader<D>,
    scan: Scan<D>,
    /// The next segment whose header is due.
    next_segment: Option<Offset>,
    progress: Progress,
    damage: Vec<Damage>,
}

/// Turns bytes a second into bytes that are due, from times that are handed in.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    bytes_per_second: u64,
    last_unix_nanos: u64,
}

impl Pace {
    /// A rate, beginning now.
    pub const fn new(bytes_per_second: u64, now_unix_nanos: u64) -> Pace {
        Pace { bytes_per_second, last_unix_nanos: now_unix_nanos }
    }

    /// The bytes that have become due since the last call, at most one second's worth: after a pause it does not rush.
    pub fn due_bytes(&mut self, now_unix_nanos: u64) -> u64 {
        let nanos = now_unix_nanos.saturating_sub(self.last_unix_nanos).min(1_000_000_000);
        self.last_unix_nanos = now_unix_nanos;
        (u128::from(self.bytes_per_second) * u128::from(nanos) / 1_000_000_000) as u64
    }
}

impl<D: Disk> Reader<D> {
    /// A pass over everything held and synced by now.
    pub fn scrub(&self) -> Scrub<D> {
        let start = self.start();
        Scrub {
            reader: self.clone(),
            scan: self.scan(start),
            next_segment: Some(start),
            progress: Progress { position: start, end: self.end(), ..Progress::default() },
            damage: Vec::new(),
        }
    }

    /// Reads everything once, as fast as it goes; returns the damage found. Empty is good news.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses; [`Error::Version`] for a segment of an unknown format.
    pub fn verify(&self, progress: &mut dyn FnMut(&Progress)) -> Result<Vec<Damage>, Error> {
        let mut scrub = self.scrub();
        while !scrub.progress().is_done() {
            progress(scrub.step(16 << 20)?);
        }
        Ok(scrub.into_damage())
    }
}

impl<D: Disk> Scrub<D> {
    /// Reads on for about that many bytes, at least one record.
    ///
    /// # Errors
    /// As [`Reader::verify`]; the next call goes on where this one stopped.
    pub fn step(&mut self, bytes_max: u64) -> Result<&Progress, Error> {
        let stop = self.progress.bytes.saturating_add(bytes_max.max(1));
        while !self.progress.is_done() && self.progress.bytes < stop {
            if self.next_segment.is_some_and(|base| base <= self.progress.position) {
                self.check_header()?;
            }
            match self.scan.next() {
                Ok(Some(record)) => {
                    self.progress.records += 1;
                    self.progress.bytes += crate::frame::bytes(record.payload.len() as u32);
                }
                Ok(None) => break,
                Err(Error::Damaged { offsets, bytes, file, why }) => {
                    self.progress.damaged_records += offsets.end.get() - offsets.start.get();
                    self.progress.bytes += bytes.end - bytes.start;
                    self.scan.seek(offsets.end);
                    self.damage.push(Damage { file, offsets, bytes, why });
                }
                Err(error) => return Err(error),
            }
            self.damage.append(&mut self.scan.take_harmless());
            // Retention may drop segments while a pass goes on.
            self.progress.position = self.scan.position();
        }
        if self.scan.position() >= self.reader.end() {
            self.progress.position = self.progress.position.max(self.scan.position());
        }
        Ok(&self.progress)
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The damage found so far.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// The damage found.
    pub fn into_damage(self) -> Vec<Damage> {
        self.damage
    }

    /// Checks the header of the segment at the position, and has the disk read it again: memory does not rot.
    fn check_header(&mut self) -> Result<(), Error> {
        let shared = &self.reader.shared;
        let table = shared.table();
        let after = table.partition_point(|segment| segment.base <= self.progress.position);
        self.next_segment = table.get(after).map(|segment| segment.base);
        let Some(segment) = after.checked_sub(1).and_then(|at| table.get(at)) else {
            return Ok(());
        };
        let file = segment.file(&shared.disk)?;
        file.forget_cached().map_err(Error::io("drop cached pages of", &segment.name))?;
        let mut bytes = [0; 64];
        read_salvaging(file.as_ref(), &mut bytes, 0).map_err(Error::io("read", &segment.name))?;
        match SegmentHeader::parse(&bytes) {
            ParsedHeader::Known(header) if header.base == segment.base => Ok(()),
            ParsedHeader::UnknownVersion(found) => {
                Err(Error::Version { file: segment.name.clone(), found, expected: VERSION })
            }
            ParsedHeader::Known(_) | ParsedHeader::Invalid => {
                self.damage.push(Damage {
                    file: segment.name.clone(),
                    offsets: segment.base..segment.base,
                    bytes: 0..HEADER_BYTES,
                    why: "segment header does not match its checksum",
                });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn pace_gives_what_is_due_and_does_not_rush_after_a_pause() {
        let mut pace = Pace::new(1_000, 0);
        assert_eq!(pace.due_bytes(500_000_000), 500);
        assert_eq!(pace.due_bytes(500_000_000), 0);
        assert_eq!(pace.due_bytes(60_000_000_000), 1_000);
        assert_eq!(pace.due_bytes(1), 0, "a clock that goes back owes nothing");
    }
}
