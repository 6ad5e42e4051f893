//! [`Log`]: the only writer. Append stages, sync makes durable, and only then does a reader see it.
//!
//! One thread at a time owns it, and it starts none of its own, so that the same calls give the same bytes. A failed
//! write or sync poisons it: what the disk then holds is unknown, and pretending otherwise is how logs lose data. Start
//! at [`Log::open`], then [`Log::append`] and [`Log::sync`].

use std::io::ErrorKind;
use std::sync::Arc;

use crate::disk::{Disk, File, OsDisk, PAGE_BYTES, read_salvaging};
use crate::frame::{self, FRAME_BYTES, Header, Kind};
use crate::index::{Entry, Index};
use crate::mark::{Mark, MarkFile};
use crate::reader::{Reader, Shared};
use crate::recovery::{self, Recovery, Tail};
use crate::segment::{self, HEADER_BYTES, Segment, SegmentHeader};
use crate::{Error, Offset, Options, checksum};

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that may still be written to the folder.
    pub free_bytes: u64,
    /// Whether that is below [`Options::low_space_bytes`], where [`Log::append`] refuses.
    pub is_low: bool,
}

/// The single writer of a log.
#[derive(Debug)]
pub struct Log<D: Disk = OsDisk> {
    pub(crate) shared: Arc<Shared<D>>,
    options: Options,
    tail: Arc<Segment<D::File>>,
    mark: MarkFile<D::File>,
    /// Staged frames; the first of them goes to `buffer_position` of the tail.
    buffer: Vec<u8>,
    buffer_position: u64,
    /// Where the group being staged begins.
    group_position: u64,
    /// Where the block being staged begins. Invariant: never below `buffer_position`.
    block_position: u64,
    /// Records staged since the last group ended.
    group_records: u64,
    end: Offset,
    time_unix_nanos: u64,
    checksum: u32,
    free_bytes: u64,
    poisoned: Option<String>,
}

impl<D: Disk> Log<D> {
    /// Opens the log in a folder, or begins one there, and repairs what a crash left.
    ///
    /// Flow: read the last segment and the mark; cut off a torn tail; write what was read above the mark once more and
    /// sync it, since a page that reads back may still have missed the disk; go on in a new segment when the last one is
    /// sealed or damaged.
    ///
    /// # Errors
    /// [`Error::Version`] for another format, [`Error::ReadOnly`], [`Error::Option`], [`Error::Io`].
    pub fn open(disk: D, options: Options) -> Result<(Log<D>, Recovery), Error> {
        options.check()?;
        if disk.is_read_only() {
            return Err(Error::ReadOnly { folder: disk.describe() });
        }
        let findings = recovery::examine(&disk, &options)?;
        for name in &findings.leftovers {
            disk.remove(name).map_err(Error::io("remove", name))?;
        }
        let folder = disk.describe();
        // Always: a name that is listed may be as unsynced as the bytes are.
        disk.sync_folder().map_err(Error::io("sync folder", &folder))?;
        let end = findings.recovery.end;
        let salt = findings.salt;
        let mut sealed = findings.segments;
        let last = sealed.last().copied();
        let (tail, position) = match findings.tail {
            Tail::Continue { position, index } => {
                let base = sealed.pop().expect("a segment that goes on is in the list");
                let name = segment::name(base);
                let file = disk.open(&name).map_err(Error::io("open", &name))?;
                harden(&file, &name, findings.mark.position_in(base), position)?;
                // A short file means that a cut was not finished and may not be durable: cut again.
                let bytes = file.len().map_err(Error::io("read length of", &name))?;
                if findings.recovery.torn_bytes > 0 || bytes < options.segment_bytes_max {
                    erase(&file, &name, position, options.segment_bytes_max)?;
                }
                (Segment::open(base, salt, file, index, position), position)
            }
            Tail::Closed { .. } | Tail::Missing => {
                if let (Some(base), Tail::Closed { position }) = (last, &findings.tail) {
                    let name = segment::name(base);
                    let file = disk.open(&name).map_err(Error::io("open", &name))?;
                    harden(&file, &name, findings.mark.position_in(base), *position)?;
                }
                let header = SegmentHeader {
                    base: end,
                    previous: findings.checksum,
                    time_unix_nanos: findings.time_unix_nanos,
                    salt,
                };
                let file = begin_segment(&disk, &header, options.segment_bytes_max)?;

                let index = Index::new(options.segment_bytes_max, options.block_bytes);
                (Segment::open(end, salt, file, index, HEADER_BYTES), HEADER_BYTES)
            }
        };
        let mut mark = MarkFile::open(&disk, findings.mark)?;
        mark.write(Mark {
            clean: false,
            end,
            segment: tail.base,
            position,
            time_unix_nanos: findings.time_unix_nanos,
            checksum: findings.checksum,
            salt,
            ..Mark::default()
        })?;
        mark.sync()?;
        let free_bytes = disk.free_bytes().map_err(Error::io("read free space of", &folder))?;
        let tail = Arc::new(tail);
        let table =
            sealed.into_iter().map(|base| Arc::new(Segment::sealed(base, salt))).chain([Arc::clone(&tail)]).collect();
        let log = Log {
            shared: Arc::new(Shared::new(disk, salt, table, end)),
            tail,
            mark,
            buffer: Vec::with_capacity(options.staged_bytes_max.min(4 << 20)),
            buffer_position: position,
            group_position: position,
            block_position: position,
            group_records: 0,
            end,
            time_unix_nanos: findings.time_unix_nanos,
            checksum: findings.checksum,
            free_bytes,
            poisoned: None,
            options,
        };
        Ok((log, findings.recovery))
    }

    /// Stages a record: not durable, and seen by no reader, before the next [`Log::sync`].
    ///
    /// A time below the last record's is raised to it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::LowSpace`] leave the log as it was; [`Error::Io`] of a write poisons it.
    pub fn append(&mut self, time_unix_nanos: u64, payload: &[u8]) -> Result<Offset, Error> {
        if self.is_low_on_space() {
            self.refresh_free_bytes()?;
            if self.is_low_on_space() {
                return Err(Error::LowSpace {
                    free_bytes: self.free_bytes,
                    low_space_bytes: self.options.low_space_bytes,
                });
            }
        }
        self.append_reserved(time_unix_nanos, payload)
    }

    /// Stages a record even below the low-space watermark: for the outcomes of what was already taken in.
    ///
    /// # Errors
    /// As [`Log::append`], without [`Error::LowSpace`].
    pub fn append_reserved(&mut self, time_unix_nanos: u64, payload: &[u8]) -> Result<Offset, Error> {
        self.append_encoded(time_unix_nanos, |buffer| buffer.extend_from_slice(payload))
    }

    /// Stages a record whose payload `encode` appends to the buffer it is given: what is encoded in place need not be
    /// copied. As [`Log::append_reserved`] in all else.
    ///
    /// # Errors
    /// As [`Log::append_reserved`].
    ///
    /// # Panics
    /// When `encode` does anything to the buffer but append.
    pub fn append_encoded(&mut self, time_unix_nanos: u64, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Offset, Error> {
        self.check_usable()?;
        // The header's place; it is written when the payload is known.
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME_BYTES]);
        encode(&mut self.buffer);
        let payload_bytes = self.buffer.len().checked_sub(begin + FRAME_BYTES).expect("a payload is appended");
        if payload_bytes > self.options.payload_bytes_max as usize {
            self.buffer.truncate(begin);
            return Err(Error::TooLarge { payload_bytes, payload_bytes_max: self.options.payload_bytes_max });
        }
        let frame_bytes = frame::bytes(payload_bytes as u32);
        let mut begin = begin;
        if self.buffer_position + begin as u64 + frame_bytes + 2 * FRAME_BYTES as u64 > self.options.segment_bytes_max {
            let frame = self.buffer.split_off(begin);
            let rolled = self.begin_next_segment();
            self.guarded(rolled)?;
            begin = self.buffer.len();
            self.buffer.extend_from_slice(&frame);
        }
        let position = self.buffer_position + begin as u64;
        let offset = self.end;
        let time_unix_nanos = time_unix_nanos.max(self.time_unix_nanos);
        let header = Header {
            kind: Kind::Record,
            payload_bytes: payload_bytes as u32,
            offset,
            time_unix_nanos,
            previous: self.checksum,
            checksum: checksum::extend(self.checksum, &self.buffer[begin + FRAME_BYTES..]),
            group_distance: (position - self.group_position) as u32,
        };
        frame::complete(&mut self.buffer, begin, &header, self.tail.seed);
        if position == self.block_position
            && let Some(index) = self.tail.index_in_memory()
        {
            index.note(Entry { offset, time_unix_nanos, position });
        }
        self.end = offset.next();
        self.time_unix_nanos = time_unix_nanos;
        self.checksum = header.checksum;
        self.group_records += 1;
        if self.position() - self.block_position >= self.options.block_bytes {
            self.stage_trailer(Kind::Check);
            // Only between blocks: a trailer covers bytes that are still in memory.
            if self.buffer.len() >= self.options.staged_bytes_max {
                let written = self.write_buffer();
                self.guarded(written)?;
            }
        }
        Ok(offset)
    }

    /// Makes everything staged durable with one sync and lets readers see it; returns the new durable end. Does nothing
    /// when nothing is staged.
    ///
    /// # Errors
    /// [`Error::Io`], which poisons the log: nothing staged may be acknowledged, and only a reopened log can show what
    /// of it survived.
    pub fn sync(&mut self) -> Result<Offset, Error> {
        self.check_usable()?;
        if self.end > self.durable_end() {
            let synced = self.sync_group();
            self.guarded(synced)?;
        }
        Ok(self.end)
    }

    /// Syncs what is staged and leaves the folder so that the next open has nothing to repair.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub fn close(mut self) -> Result<(), Error> {
        self.sync()?;
        let mark = self.mark.last();
        self.mark.write(Mark { clean: true, ..mark })?;
        self.mark.sync()
    }

    /// The offset of the next record to be appended.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The first offset that is not synced.
    pub fn durable_end(&self) -> Offset {
        self.shared.durable_end()
    }

    /// The first offset still held.
    pub fn start(&self) -> Offset {
        self.reader().start()
    }

    /// A reader of what is synced; it stays usable when this log is poisoned or dropped.
    pub fn reader(&self) -> Reader<D> {
        Reader { shared: Arc::clone(&self.shared) }
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Looks at the free space, now.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk does not answer.
    pub fn space(&mut self) -> Result<Space, Error> {
        self.refresh_free_bytes()?;
        Ok(Space { free_bytes: self.free_bytes, is_low: self.is_low_on_space() })
    }

    fn is_low_on_space(&self) -> bool {
        self.free_bytes < self.options.low_space_bytes
    }

    /// The failure that stopped this log; `None` while it is usable.
    pub fn poisoned_by(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// Offset of the first record of the segment being written.
    pub(crate) fn tail_base(&self) -> Offset {
        self.tail.base
    }

    /// Seals the segment being written, unless it holds nothing, and begins the next one.
    pub(crate) fn seal_tail(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        if self.end > self.tail.base {
            let sealed = self.begin_next_segment();
            self.guarded(sealed)?;
        }
        Ok(())
    }

    /// Where in the tail the next frame goes.
    fn position(&self) -> u64 {
        self.buffer_position + self.buffer.len() as u64
    }

    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        match &self.poisoned {
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Any failure to write is final: a kernel that failed a sync forgets the data, and a retry would "succeed".
    pub(crate) fn guarded<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| {
            let cause = match error {
                // Without its hint: the one of `Poisoned` follows.
                Error::Io { doing, file, source } => format!("cannot {doing} `{file}`: {source}"),
                other => other.to_string(),
            };
            tracing::error!(cause, "log is stopped");
            self.poisoned = Some(cause);
        })
    }

    fn refresh_free_bytes(&mut self) -> Result<(), Error> {
        let folder = self.shared.disk.describe();
        self.free_bytes = self.shared.disk.free_bytes().map_err(Error::io("read free space of", &folder))?;
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), Error> {
        let file = self.tail.file(&self.shared.disk)?;
        file.write_at(&self.buffer, self.buffer_position).map_err(Error::io("write", &self.tail.name))?;
        self.buffer_position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync_tail(&self) -> Result<(), Error> {
        self.tail.file(&self.shared.disk)?.sync().map_err(Error::io("sync", &self.tail.name))
    }

    /// The trailer of the block being staged.
    fn trailer(&self, kind: Kind) -> Header {
        let block = &self.buffer[(self.block_position - self.buffer_position) as usize..];
        Header {
            kind,
            payload_bytes: 0,
            offset: self.end,
            time_unix_nanos: self.time_unix_nanos,
            previous: self.checksum,
            checksum: checksum::extend(self.tail.seed, block),
            group_distance: (self.position() - self.group_position) as u32,
        }
    }

    fn stage_trailer(&mut self, kind: Kind) {
        let trailer = self.trailer(kind);
        frame::push(&mut self.buffer, &trailer, &[], self.tail.seed);
        self.block_position = self.position();
    }

    fn sync_group(&mut self) -> Result<(), Error> {
        // A roll may have left nothing but its own, already synced, groups.
        if self.group_records > 0 {
            self.stage_trailer(Kind::Commit);
            self.write_buffer()?;
            self.sync_tail()?;
            self.group_position = self.buffer_position;
            self.group_records = 0;
        }
        self.tail.publish(self.buffer_position);
        self.shared.publish(self.end);
        self.write_mark()?;
        self.refresh_free_bytes()
    }

    fn write_mark(&mut self) -> Result<(), Error> {
        self.mark.write(Mark {
            clean: false,
            end: self.end,
            segment: self.tail.base,
            position: self.buffer_position,
            time_unix_nanos: self.time_unix_nanos,
            checksum: self.checksum,
            salt: self.shared.salt,
            ..Mark::default()
        })
    }

    /// Seals the tail and begins the next segment. What was staged becomes durable in the old one, and readers see it at
    /// the next sync, as promised.
    fn begin_next_segment(&mut self) -> Result<(), Error> {
        if self.group_records > 0 {
            self.stage_trailer(Kind::Commit);
            self.group_records = 0;
        }
        let readable = self.position();
        if let Some(index) = self.tail.index_in_memory() {
            let closing = index.seal(&self.trailer(Kind::Commit), self.tail.seed);
            self.buffer.extend_from_slice(&closing);
        }
        self.write_buffer()?;
        let file = self.tail.file(&self.shared.disk)?;
        file.set_len(self.buffer_position).map_err(Error::io("cut", &self.tail.name))?;
        self.sync_tail()?;
        self.tail.publish(readable);

        let header = SegmentHeader {
            base: self.end,
            previous: self.checksum,
            time_unix_nanos: self.time_unix_nanos,
            salt: self.shared.salt,
        };
        let file = begin_segment(&self.shared.disk, &header, self.options.segment_bytes_max)?;
        let index = Index::new(self.options.segment_bytes_max, self.options.block_bytes);
        self.tail = Arc::new(Segment::open(self.end, self.shared.salt, file, index, HEADER_BYTES));
        self.buffer_position = HEADER_BYTES;
        self.group_position = HEADER_BYTES;
        self.block_position = HEADER_BYTES;
        self.shared.change_table(|table| table.push(Arc::clone(&self.tail)));
        // Durable once per segment, so that after a power cut the mark lags by one segment at most.
        self.write_mark()?;
        self.mark.sync()
    }
}

/// Creates a segment that holds its header and nothing else.
///
/// Invariant: frames are only written under a durable header, so frames without one are damage, not a crash.
fn begin_segment<D: Disk>(disk: &D, header: &SegmentHeader, bytes: u64) -> Result<D::File, Error> {
    let name = segment::name(header.base);
    let file = disk.create(&name, bytes).map_err(Error::io("create", &name))?;
    file.write_at(&header.encode(), 0).map_err(Error::io("write", &name))?;
    file.sync().map_err(Error::io("sync", &name))?;
    let folder = disk.describe();
    disk.sync_folder().map_err(Error::io("sync folder", &folder))?;
    Ok(file)
}

/// Writes the bytes of `from..to` over themselves and syncs them. They may have read back from memory only: after a
/// failed sync the kernel forgets that it still owes them to the disk.
fn harden<F: File>(file: &F, name: &str, from: u64, to: u64) -> Result<(), Error> {
    let mut buffer = vec![0; to.saturating_sub(from).min(1 << 20) as usize];
    let mut position = from;
    let mut step = buffer.len() as u64;
    while position < to {
        let wanted = step.min(to - position) as usize;
        let (read, readable) =
            read_salvaging(file, &mut buffer[..wanted], position).map_err(Error::io("read", name))?;
        if read == 0 {
            break;
        }
        if readable {
            file.write_at(&buffer[..read], position).map_err(Error::io("write", name))?;
        } else if step > PAGE_BYTES {
            // Once more in small pieces: what cannot be read stays as it is, for those who can make more of it.
            step = PAGE_BYTES;
            continue;
        }
        position += read as u64;
    }
    file.sync().map_err(Error::io("sync", name))
}

/// Makes everything from a position on zero: what a torn group left must not follow the next one.
fn erase<F: File>(file: &F, name: &str, position: u64, bytes: u64) -> Result<(), Error> {
    file.set_len(position).map_err(Error::io("cut", name))?;
    file.sync().map_err(Error::io("sync", name))?;
    match file.set_len(bytes.max(position)) {
        Ok(()) => file.sync().map_err(Error::io("sync", name)),
        // What was torn is gone for good. The room is asked for again at the next start.
        Err(cause) if cause.kind() == ErrorKind::StorageFull => {
            tracing::warn!(file = name, "there is no room to reserve for the segment; it grows as records are written");
            Ok(())
        }
        Err(cause) => Err(Error::io("extend", name)(cause)),
    }
}
