//! [`Scan`]: records in order, borrowed from one reused buffer.
//!
//! Nothing is copied: a [`RecordRef`] points into the buffer the bytes were read into, and lives until the next call. A
//! scan that has come to the end goes on when more was synced. It never guesses: where records are missing it stops with
//! their exact offsets, and goes on only when asked to with [`Scan::seek`].

use std::ops::Range;
use std::sync::Arc;

use crate::cursor::{Cursor, Step};
use crate::disk::{Disk, OsDisk};
use crate::frame::{Header, Kind};
use crate::reader::{Reader, Record};
use crate::recovery::Damage;
use crate::segment::{HEADER_BYTES, Segment};
use crate::{Error, Offset};

/// A record whose payload is borrowed from a scan's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'scan> {
    /// Its position in the log.
    pub offset: Offset,
    /// When it was appended, in nanoseconds since 1970; never less than its predecessor's.
    pub time_unix_nanos: u64,
    /// Its bytes.
    pub payload: &'scan [u8],
}

impl RecordRef<'_> {
    /// The same record with a payload of its own.
    pub fn to_owned(&self) -> Record {
        Record { offset: self.offset, time_unix_nanos: self.time_unix_nanos, payload: self.payload.to_vec() }
    }
}

/// A record, and where its payload is in the buffer.
struct Found {
    offset: Offset,
    time_unix_nanos: u64,
    payload: Range<usize>,
}

/// Where in the log a scan is.
#[derive(Debug)]
struct CurrentSegment<F> {
    segment: Arc<Segment<F>>,
    /// The next segment's base; `None` while this is the last one.
    end: Option<Offset>,
    /// The running checksum, where the predecessor was seen.
    chain: Option<u32>,
    /// Whether the record that was asked for is still ahead.
    approaching: bool,
    /// Damage met since the last good record.
    skipped: Option<(u64, &'static str)>,
}

/// A run of records, in order.
#[derive(Debug)]
pub struct Scan<D: Disk = OsDisk> {
    reader: Reader<D>,
    next: Offset,
    // The durable end when last looked at: spares an atomic load per record.
    durable: Offset,
    current: Option<CurrentSegment<D::File>>,
    cursor: Cursor,
    /// Damage that cost no record: a trailer's.
    harmless: Vec<Damage>,
}

impl<D: Disk> Scan<D> {
    pub(crate) fn new(reader: Reader<D>, from: Offset) -> Scan<D> {
        let next = from.max(reader.start());
        Scan { reader, next, durable: Offset::ZERO, current: None, cursor: Cursor::new(0), harmless: Vec::new() }
    }

    pub(crate) fn read_bytes(&mut self, bytes: usize) {
        self.cursor.set_read_bytes(bytes);
    }

    /// Damage met so far that cost no record.
    pub(crate) fn take_harmless(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.harmless)
    }

    /// The offset of the record that the next call will return.
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Goes on from another offset; the way past damage, too.
    pub fn seek(&mut self, offset: Offset) {
        self.next = offset.max(self.reader.start());
        self.current = None;
    }

    /// The next record, or `None` at the durable end; then call again when there is more.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the offsets that are missing (again at every call, until [`Scan::seek`]); [`Error::Io`]
    /// when the disk refuses.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its buffer")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<RecordRef<'_>>, Error> {
        let found = match self.plain_next() {
            None => self.advance()?,
            plain => plain,
        };
        Ok(found.map(|found| self.lend(found)))
    }

    /// The next records, `max` at most: those that are in the buffer together. Empty only at the durable end.
    ///
    /// # Errors
    /// As [`Scan::next`], for the first of them; what comes before damage is given first.
    pub fn next_run(&mut self, max: usize) -> Result<Vec<RecordRef<'_>>, Error> {
        let mut found = Vec::with_capacity(max);
        let first = match self.plain_next() {
            None => self.advance()?,
            plain => plain,
        };
        found.extend(first);
        // The plain ones leave the buffer as it is.
        while !found.is_empty()
            && found.len() < max
            && let Some(plain) = self.plain_next()
        {
            found.push(plain);
        }
        Ok(found.into_iter().map(|found| self.lend(found)).collect())
    }

    #[inline]
    fn lend(&self, Found { offset, time_unix_nanos, payload }: Found) -> RecordRef<'_> {
        RecordRef { offset, time_unix_nanos, payload: self.cursor.payload(payload) }
    }

    /// The next record in the plainest of cases, which is nearly every one: it is in a verified block, right after
    /// its predecessor. Everything else is left to [`Scan::advance`].
    #[inline]
    fn plain_next(&mut self) -> Option<Found> {
        let current = self.current.as_mut()?;
        if self.next >= self.durable || current.end.is_some_and(|end| self.next >= end) || current.skipped.is_some() {
            return None;
        }
        let (header, payload) = self.cursor.peek_verified()?;
        if header.kind != Kind::Record || header.offset != self.next || current.chain != Some(header.previous) {
            return None;
        }
        self.cursor.take_verified(&header);
        current.chain = Some(header.checksum);
        self.next = header.offset.next();
        Some(Found { offset: header.offset, time_unix_nanos: header.time_unix_nanos, payload })
    }

    fn advance(&mut self) -> Result<Option<Found>, Error> {
        if self.next >= self.durable {
            self.durable = self.reader.end();
            if self.next >= self.durable {
                return Ok(None);
            }
        }
        loop {
            let Some(current) = &mut self.current else {
                if !self.enter_segment()? {
                    return Ok(None);
                }
                continue;
            };
            if current.end.is_some_and(|end| self.next >= end) {
                self.current = None;
                continue;
            }
            let before = self.cursor.position();
            let step = match self.cursor.step_verified() {
                Some((header, payload)) => Step::Frame(header, payload),
                None => {
                    let disk = &self.reader.shared.disk;
                    let segment = &current.segment;
                    let limit = segment.readable_bytes(disk)?;
                    self.cursor
                        .step(segment.file(disk)?.as_ref(), segment.seed, limit)
                        .map_err(Error::io("read", &segment.name))?
                }
            };
            let why = match step {
                Step::Frame(header, _) if header.kind.is_trailer() => continue,
                Step::Frame(header, payload) if header.kind.takes_offset() => {
                    if header.offset < self.next {
                        current.chain = (header.kind == Kind::Record).then_some(header.checksum);
                        current.skipped = None;
                        continue;
                    }
                    let follows =
                        header.kind != Kind::Record || current.chain.is_none_or(|chain| chain == header.previous);
                    if header.offset == self.next && follows && header.kind != Kind::Lost {
                        if let Some((at, why)) = current.skipped.take()
                            && !current.approaching
                        {
                            let file = current.segment.name.clone();
                            self.harmless.push(Damage { file, offsets: self.next..self.next, bytes: at..before, why });
                        }
                        current.approaching = false;
                        // What follows a replaced record remembers the lost one.
                        current.chain = (header.kind == Kind::Record).then_some(header.checksum);
                        self.next = self.next.next();
                        let Header { offset, time_unix_nanos, .. } = header;
                        return Ok(Some(Found { offset, time_unix_nanos, payload }));
                    }
                    if header.kind == Kind::Lost {
                        "record was lost before a repair"
                    } else if header.offset == self.next {
                        "record does not follow the one before it"
                    } else {
                        "record is missing"
                    }
                }
                Step::Frame(..) | Step::End => {
                    // The next segment may have been begun since this segment was entered.
                    if current.end.is_none() && self.refresh_end() {
                        continue;
                    }
                    "segment ends too early"
                }
                Step::Invalid(why) => {
                    // The next intact frame shows whether a record is lost, and which.
                    current.skipped = current.skipped.or(Some((before, why)));
                    if current.approaching {
                        current.chain = None;
                    }
                    let disk = &self.reader.shared.disk;
                    let segment = &current.segment;
                    let limit = segment.readable_bytes(disk)?;
                    self.cursor.seek(before);
                    if self
                        .cursor
                        .search(segment.file(disk)?.as_ref(), segment.seed, limit)
                        .map_err(Error::io("read", &segment.name))?
                    {
                        continue;
                    }
                    why
                }
            };
            // If a search skipped the damage, it lies where that search began.
            let skipped = self.current.as_ref().and_then(|current| current.skipped);
            let (at, why) = skipped.unwrap_or((before, why));
            self.cursor.seek(at);
            return Err(self.damage(why)?);
        }
    }

    /// Learns whether the segment has been followed by another one.
    fn refresh_end(&mut self) -> bool {
        let table = self.reader.shared.table();
        let Some(current) = &mut self.current else {
            return false;
        };
        let after = table.partition_point(|segment| segment.base <= current.segment.base);
        current.end = table.get(after).map(|segment| segment.base);
        current.end.is_some()
    }

    /// Finds the segment that holds the next record, and a position at or before it.
    fn enter_segment(&mut self) -> Result<bool, Error> {
        let shared = &self.reader.shared;
        let table = shared.table();
        let Some(first) = table.first() else {
            return Ok(false);
        };
        // Retention may have dropped the records that this scan was to read next.
        self.next = self.next.max(first.base);
        let after = table.partition_point(|segment| segment.base <= self.next);
        let Some(segment) = table.get(after - 1) else {
            return Ok(false);
        };
        let end = table.get(after).map(|next| next.base);
        let position = if segment.base == self.next {
            HEADER_BYTES
        } else {
            let index = segment.index(&shared.disk, end.unwrap_or(self.durable))?;
            index.at_or_before(self.next).map_or(HEADER_BYTES, |entry| entry.position)
        };
        self.cursor.restart(position);
        self.current = Some(CurrentSegment {
            segment: Arc::clone(segment),
            end,
            chain: None,
            approaching: segment.base != self.next,
            skipped: None,
        });
        Ok(true)
    }

    /// The error for records missing from the next one on: looks for the first good one after them.
    fn damage(&mut self, why: &'static str) -> Result<Error, Error> {
        self.refresh_end();
        let Some(current) = &self.current else { unreachable!("damage is found in a segment") };
        let segment = &current.segment;
        let disk = &self.reader.shared.disk;
        let file = segment.file(disk)?;
        let limit = segment.readable_bytes(disk)?;
        let segment_end = current.end.unwrap_or(self.durable).min(self.durable);
        let mut cursor = Cursor::new(self.cursor.position());
        let begin = self.cursor.position();
        let mut end = segment_end;
        let mut bytes_end = limit;
        while let Some((header, _)) =
            cursor.next_intact(file.as_ref(), segment.seed, limit).map_err(Error::io("read", &segment.name))?
        {
            if matches!(header.kind, Kind::Record | Kind::Replaced) && header.offset > self.next {
                end = end.min(header.offset);
                bytes_end = cursor.position() - header.frame_bytes();
                break;
            }
        }
        Ok(Error::Damaged {
            offsets: self.next..end,
            bytes: begin..bytes_end.max(begin),
            file: segment.name.clone(),
            why,
        })
    }
}
