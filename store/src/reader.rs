//! [`Reader`]: reads a log without being its writer.
//!
//! A reader sees synced records only, and takes no lock that the writer would wait for. It verifies every record it
//! returns: what does not match its checksum is an error that names the offsets, never data. Start at [`Reader::read`]
//! for one record and at [`Reader::scan`] for a run of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::cursor::Cursor;
use crate::disk::{Disk, OsDisk, read_salvaging};
use crate::recovery::{self, Recovery, Tail};
use crate::scan::Scan;
use crate::segment::{self, HEADER_BYTES, ParsedHeader, Segment, SegmentHeader};
use crate::{Error, Offset, Options, VERSION};

/// The segments of a log in ascending order; the last one is being written.
pub(crate) type Table<F> = Arc<Vec<Arc<Segment<F>>>>;

/// What the writer and the readers of one open log share.
#[derive(Debug)]
pub(crate) struct Shared<D: Disk> {
    pub(crate) disk: D,
    pub(crate) salt: u64,
    // Held only to swap or to clone the pointer.
    table: RwLock<Table<D::File>>,
    durable: AtomicU64,
}

impl<D: Disk> Shared<D> {
    pub(crate) fn new(disk: D, salt: u64, table: Vec<Arc<Segment<D::File>>>, durable: Offset) -> Shared<D> {
        Shared { disk, salt, table: RwLock::new(Arc::new(table)), durable: AtomicU64::new(durable.get()) }
    }

    pub(crate) fn table(&self) -> Table<D::File> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change_table(&self, change: impl FnOnce(&mut Vec<Arc<Segment<D::File>>>)) {
        let mut table = (*self.table()).clone();
        change(&mut table);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    pub(crate) fn durable_end(&self) -> Offset {
        Offset::new(self.durable.load(Ordering::Acquire))
    }

    /// Lets readers see records below `end`. The segment's readable bytes are published before.
    pub(crate) fn publish(&self, end: Offset) {
        self.durable.store(end.get(), Ordering::Release);
    }
}

/// A record with a payload of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the log.
    pub offset: Offset,
    /// When it was appended, in nanoseconds since 1970; never less than its predecessor's.
    pub time_unix_nanos: u64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Reads the synced records of a log; cheap to clone, and usable from any thread.
#[derive(Debug)]
pub struct Reader<D: Disk = OsDisk> {
    pub(crate) shared: Arc<Shared<D>>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Reader<D> {
        Reader { shared: Arc::clone(&self.shared) }
    }
}

/// Bytes read at once for a single record, where it is expected.
const DIRECT_BYTES: usize = 6 << 10;

/// Bytes read at once for a single record that is looked for.
const LOOKUP_BYTES: usize = 16 << 10;

impl<D: Disk> Reader<D> {
    /// Opens a log to look at it, without a writer and without changing a byte: a torn tail is left out, not cut off.
    ///
    /// # Errors
    /// [`Error::Version`] for another format, [`Error::Option`], [`Error::Io`].
    pub fn open(disk: D, options: &Options) -> Result<(Reader<D>, Recovery), Error> {
        options.check()?;
        let findings = recovery::examine(&disk, options)?;
        let salt = findings.salt;
        let mut bases = findings.segments;
        let last = match findings.tail {
            Tail::Continue { position, index } => {
                let base = bases.pop().expect("a segment that goes on is in the list");
                let name = segment::name(base);
                let file = disk.open(&name).map_err(Error::io("open", &name))?;
                Some(Segment::open(base, salt, file, index, position))
            }
            Tail::Closed { .. } | Tail::Missing => None,
        };
        let table = bases.into_iter().map(|base| Segment::sealed(base, salt)).chain(last).map(Arc::new).collect();
        let shared = Shared::new(disk, salt, table, findings.recovery.end);
        Ok((Reader { shared: Arc::new(shared) }, findings.recovery))
    }

    /// The first offset still held; equal to [`Reader::end`] when the log is empty.
    pub fn start(&self) -> Offset {
        self.shared.table().first().map_or_else(|| self.end(), |segment| segment.base)
    }

    /// The first offset that cannot be read yet: everything below it is synced.
    pub fn end(&self) -> Offset {
        self.shared.durable_end()
    }

    /// The record at an offset; `None` when it is not synced yet, or no longer held.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the record was acknowledged but does not read back; [`Error::Io`] when the disk refuses.
    pub fn read(&self, offset: Offset) -> Result<Option<Record>, Error> {
        if offset < self.start() || offset >= self.end() {
            return Ok(None);
        }
        if let Some(record) = self.read_directly(offset)? {
            return Ok(Some(record));
        }
        // It was not found directly. A scan from further back finds it, or the reason why it is missing.
        let mut scan = self.scan(offset);
        scan.read_bytes(LOOKUP_BYTES);
        Ok(scan.next()?.filter(|record| record.offset == offset).map(|record| record.to_owned()))
    }

    /// The record at an offset where it is expected to be, with the few bytes before it: most of what a look-up costs is
    /// fetching memory.
    fn read_directly(&self, offset: Offset) -> Result<Option<Record>, Error> {
        let Shared { disk, .. } = &*self.shared;
        let table = self.shared.table();
        let after = table.partition_point(|segment| segment.base <= offset);
        let Some(segment) = after.checked_sub(1).and_then(|at| table.get(at)) else { return Ok(None) };
        let end = table.get(after).map_or_else(|| self.end(), |next| next.base);
        let Some(position) = segment.index(disk, end)?.guess(offset) else { return Ok(None) };
        let limit = segment.readable_bytes(disk)?;
        let mut cursor = Cursor::new(position);
        cursor.set_read_bytes(DIRECT_BYTES);
        let found = cursor.leap(segment.file(disk)?.as_ref(), segment.seed, limit, offset);
        let found = found.map_err(Error::io("read", &segment.name))?;
        Ok(found.map(|(header, payload)| Record {
            offset,
            time_unix_nanos: header.time_unix_nanos,
            payload: cursor.payload(payload).to_vec(),
        }))
    }

    /// Reads records in order from `from` on, or from the first one still held when that is later.
    pub fn scan(&self, from: Offset) -> Scan<D> {
        Scan::new(self.clone(), from)
    }

    /// The first record at or after a time; [`Reader::end`] when there is none.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses; [`Error::Version`] for a segment of an unknown format.
    pub fn offset_at(&self, time_unix_nanos: u64) -> Result<Offset, Error> {
        let end = self.end();
        let table = self.shared.table();
        // The last segment before which everything is earlier; by bisection, each probe reads one segment's header.
        let (mut low, mut high) = (0, table.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.time_before(&table[middle])? < time_unix_nanos {
                low = middle;
            } else {
                high = middle;
            }
        }
        // More than one segment is read only where a damaged header ended the bisection too early.
        for (at, segment) in table.iter().enumerate().skip(low) {
            let segment_end = table.get(at + 1).map_or(end, |next| next.base);
            let index = segment.index(&self.shared.disk, segment_end)?;
            let position = index.before_time(time_unix_nanos, end).map_or(HEADER_BYTES, |entry| entry.position);
            let file = segment.file(&self.shared.disk)?;
            let limit = segment.readable_bytes(&self.shared.disk)?;
            let mut cursor = Cursor::new(position);
            while let Some((header, _)) =
                cursor.next_intact(file.as_ref(), segment.seed, limit).map_err(Error::io("read", &segment.name))?
            {
                if header.kind.takes_offset() {
                    if header.offset >= segment_end {
                        break;
                    }
                    if header.time_unix_nanos >= time_unix_nanos {
                        return Ok(header.offset);
                    }
                }
            }
        }
        Ok(end)
    }

    /// The time of the last record before a segment, from its header.
    fn time_before(&self, segment: &Segment<D::File>) -> Result<u64, Error> {
        let mut bytes = [0; 64];
        let file = segment.file(&self.shared.disk)?;
        read_salvaging(file.as_ref(), &mut bytes, 0).map_err(Error::io("read", &segment.name))?;
        match SegmentHeader::parse(&bytes) {
            ParsedHeader::Known(header) => Ok(header.time_unix_nanos),
            ParsedHeader::UnknownVersion(found) => {
                Err(Error::Version { file: segment.name.clone(), found, expected: VERSION })
            }
            // A damaged header costs a longer search, not the answer: no segment before it is skipped.
            ParsedHeader::Invalid => Ok(u64::MAX),
        }
    }
}
