//! [`Cursor`]: steps through the frames of one segment with one reusable buffer.
//!
//! Scans, random reads, recovery, verification and repair all read through it. It checks what a frame alone can show
//! (header and payload checksum, length); what the sequence can show (offsets, the chain) is its caller's to check. It
//! never writes and never reads beyond the limit it is given.

use std::io;
use std::ops::Range;

use crate::Offset;
use crate::checksum;
use crate::disk::{File, read_salvaging};
use crate::frame::{ALIGNMENT, FRAME_BYTES, Header, Kind};

/// Bytes read at once: large enough to hide the cost of the call, small enough to stay in the processor's cache.
const READ_BYTES: usize = 512 << 10;

/// What is at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An intact frame; its payload is in the cursor's buffer.
    Frame(Header, Range<usize>),
    /// No room for a frame before the limit.
    End,
    /// Bytes that are no intact frame, and why.
    Invalid(&'static str),
}

/// A position in a segment and the bytes read around it.
#[derive(Debug)]
pub(crate) struct Cursor {
    buffer: Vec<u8>,
    // File position of the buffer's first byte, and how much of the buffer is filled.
    buffer_position: u64,
    filled: usize,
    position: u64,
    read_bytes: usize,
    /// Frames before this position are known to be good: their block's checksum held, all at once.
    verified: u64,
    /// Whether a block begins at the position, as far as known.
    block_begins: bool,
    /// Whether a search has ever led to a good frame: there is something damaged before it.
    passed_damage: bool,
    /// Whether the medium refused to give some of the bytes read.
    met_unreadable: bool,
}

impl Cursor {
    /// A cursor at `position`, with nothing read yet.
    pub(crate) fn new(position: u64) -> Cursor {
        Cursor {
            buffer: Vec::new(),
            buffer_position: position,
            filled: 0,
            position,
            read_bytes: READ_BYTES,
            verified: 0,
            block_begins: true,
            passed_damage: false,
            met_unreadable: false,
        }
    }

    /// Chooses how much is read at once.
    pub(crate) fn set_read_bytes(&mut self, bytes: usize) {
        self.read_bytes = bytes;
    }

    /// Whether anything between good frames was damaged.
    pub(crate) fn passed_damage(&self) -> bool {
        self.passed_damage
    }

    /// Whether the medium refused some of what was read.
    pub(crate) fn met_unreadable(&self) -> bool {
        self.met_unreadable
    }

    /// Where the next frame is looked for.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Goes to a position of the same file.
    pub(crate) fn seek(&mut self, position: u64) {
        self.position = position;
        self.verified = 0;
        self.block_begins = false;
    }

    /// Forgets what was read: the next step is in another file, or the file has changed.
    pub(crate) fn restart(&mut self, position: u64) {
        self.position = position;
        self.filled = 0;
        self.verified = 0;
        self.block_begins = true;
    }

    /// The header at the position, where it is intact though its frame need not be.
    pub(crate) fn header(&self, seed: u32) -> Option<Header> {
        let at = usize::try_from(self.position.checked_sub(self.buffer_position)?).ok()?;
        Header::parse(self.buffer.get(at..self.filled)?, seed)
    }

    /// The bytes of a range that [`Step::Frame`] named.
    #[inline]
    pub(crate) fn payload(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Reads the frame at the position and, when it is intact, moves behind it.
    ///
    /// # Errors
    /// When the disk cannot read.
    #[inline]
    pub(crate) fn step<F: File>(&mut self, file: &F, seed: u32, limit: u64) -> io::Result<Step> {
        if self.position >= self.verified && self.block_begins {
            self.verify_block(file, seed, limit)?;
        }
        match self.step_verified() {
            Some((header, payload)) => Ok(Step::Frame(header, payload)),
            None => self.step_unverified(file, seed, limit),
        }
    }

    /// The next frame of the block that has been verified already; `None` when there is none left. Needs no file.
    #[inline]
    pub(crate) fn step_verified(&mut self) -> Option<(Header, Range<usize>)> {
        let (header, payload) = self.peek_verified()?;
        self.take_verified(&header);
        Some((header, payload))
    }

    /// The same, without moving behind it.
    #[inline]
    pub(crate) fn peek_verified(&self) -> Option<(Header, Range<usize>)> {
        if self.position >= self.verified {
            return None;
        }
        let at = (self.position - self.buffer_position) as usize;
        let header = Header::decode(self.buffer.get(at..)?.first_chunk()?)?;
        Some((header, at + FRAME_BYTES..at + FRAME_BYTES + header.payload_bytes as usize))
    }

    /// Moves behind the frame that [`Cursor::peek_verified`] returned.
    #[inline]
    pub(crate) fn take_verified(&mut self, header: &Header) {
        self.position += header.frame_bytes();
        self.block_begins = self.position >= self.verified;
    }

    /// Reads one frame and verifies it by itself.
    fn step_unverified<F: File>(&mut self, file: &F, seed: u32, limit: u64) -> io::Result<Step> {
        let Some(mut at) = self.need(file, FRAME_BYTES as u64, limit)? else {
            return Ok(Step::End);
        };
        let Some(header) = Header::parse(&self.buffer[at..self.filled], seed) else {
            return Ok(Step::Invalid("frame header does not match its checksum"));
        };
        if at as u64 + header.frame_bytes() > self.filled as u64 {
            match self.need(file, header.frame_bytes(), limit)? {
                Some(moved) => at = moved,
                None => return Ok(Step::Invalid("frame is cut short")),
            }
        }
        let payload = at + FRAME_BYTES..at + FRAME_BYTES + header.payload_bytes as usize;
        if !header.matches(&self.buffer[payload.clone()]) {
            return Ok(Step::Invalid("payload does not match its checksum"));
        }
        self.position += header.frame_bytes();
        self.block_begins = header.kind.is_trailer();
        Ok(Step::Frame(header, payload))
    }

    /// Verifies the block that begins at the position with one pass over its bytes, which is much faster than a checksum
    /// per frame. When that cannot be done (a block larger than the buffer, an unfinished or damaged one) nothing is
    /// lost: its frames are verified one by one.
    fn verify_block<F: File>(&mut self, file: &F, seed: u32, limit: u64) -> io::Result<()> {
        self.block_begins = false;
        let Some(begin) = self.need(file, FRAME_BYTES as u64, limit)? else {
            return Ok(());
        };
        if self.block_in_buffer(begin, seed) {
            return Ok(());
        }
        // The block's end may lie beyond the buffer: read on from its beginning, once.
        let buffered_end = self.buffer_position + self.filled as u64;
        if begin > 0 && buffered_end < limit {
            self.fill(file, FRAME_BYTES as u64, limit)?;
            self.block_in_buffer(0, seed);
        }
        Ok(())
    }

    /// Whether a whole, good block begins there in the buffer; then its frames count as verified.
    fn block_in_buffer(&mut self, begin: usize, seed: u32) -> bool {
        let buffer = &self.buffer[..self.filled];
        let mut at = begin;
        // Lengths are followed before they are verified, which is safe: a wrong one leads out of the buffer, or to a
        // trailer whose checksum does not hold.
        while let Some(bytes) = buffer.get(at..).and_then(|rest| rest.first_chunk::<FRAME_BYTES>()) {
            let Some(header) = Header::decode(bytes) else {
                return false;
            };
            if header.kind.is_trailer() {
                let good = Header::parse(bytes, seed).is_some()
                    && checksum::extend(seed, &buffer[begin..at]) == header.checksum;
                if good {
                    self.verified = self.position + (at + FRAME_BYTES - begin) as u64;
                }
                return good;
            }
            if !header.kind.takes_offset() {
                return false;
            }
            at += header.frame_bytes() as usize;
        }
        false
    }

    /// The next intact frame at or after the position, searching over what is not; the cursor moves behind it.
    ///
    /// # Errors
    /// When the disk cannot read.
    pub(crate) fn next_intact<F: File>(
        &mut self,
        file: &F,
        seed: u32,
        limit: u64,
    ) -> io::Result<Option<(Header, Range<usize>)>> {
        loop {
            match self.step(file, seed, limit)? {
                Step::Frame(header, payload) => return Ok(Some((header, payload))),
                Step::End => return Ok(None),
                Step::Invalid(_) => {
                    if !self.search(file, seed, limit)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The frame of the record at an offset, from a position before it that need not be where a frame begins. What is found
    /// is intact. `None` where that does not lead there at once, which says nothing about the record.
    ///
    /// Between two entries of the sparse index records are mostly of one size, so a guess, a search for the next header and
    /// a hop or two find nearly every record within 6 KiB.
    ///
    /// # Errors
    /// When the disk cannot read.
    pub(crate) fn leap<F: File>(
        &mut self,
        file: &F,
        seed: u32,
        limit: u64,
        offset: Offset,
    ) -> io::Result<Option<(Header, Range<usize>)>> {
        let mut searched = false;
        loop {
            let Some(at) = self.need(file, FRAME_BYTES as u64, limit)? else { return Ok(None) };
            let Some(header) = Header::parse(&self.buffer[at..self.filled], seed) else {
                if searched || !self.search(file, seed, limit)? {
                    return Ok(None);
                }
                searched = true;
                continue;
            };
            searched = true;
            // In a trailer it is the next record's.
            let is_there = header.offset == offset && !header.kind.is_trailer();
            if is_there && matches!(header.kind, Kind::Record | Kind::Replaced) {
                let Step::Frame(header, payload) = self.step_unverified(file, seed, limit)? else { return Ok(None) };
                return Ok(Some((header, payload)));
            }
            if is_there || header.offset > offset {
                return Ok(None);
            }
            self.position += header.frame_bytes();
        }
    }

    /// Moves to the next position, after the present one, where a frame header could be: a search after damage.
    /// Returns false when there is none before the limit.
    ///
    /// # Errors
    /// When the disk cannot read.
    pub(crate) fn search<F: File>(&mut self, file: &F, seed: u32, limit: u64) -> io::Result<bool> {
        self.seek(self.position + ALIGNMENT as u64);
        while let Some(at) = self.need(file, FRAME_BYTES as u64, limit)? {
            let candidates = self.buffer[at..self.filled].windows(FRAME_BYTES).step_by(ALIGNMENT);
            let mut looked_at = 0;
            for window in candidates {
                if Header::parse(window, seed).is_some() {
                    self.position += looked_at;
                    self.passed_damage = true;
                    return Ok(true);
                }
                looked_at += ALIGNMENT as u64;
            }
            self.position += looked_at;
        }
        Ok(false)
    }

    /// Makes sure that `bytes` bytes from the position on are in the buffer; returns where they begin, or `None` when
    /// the limit or the file ends before.
    #[inline]
    fn need<F: File>(&mut self, file: &F, bytes: u64, limit: u64) -> io::Result<Option<usize>> {
        if self.position >= self.buffer_position {
            let at = self.position - self.buffer_position;
            if at + bytes <= self.filled as u64 {
                return Ok(Some(at as usize));
            }
        }
        self.fill(file, bytes, limit)
    }

    #[cold]
    fn fill<F: File>(&mut self, file: &F, bytes: u64, limit: u64) -> io::Result<Option<usize>> {
        let left = limit.saturating_sub(self.position);
        if left < bytes {
            return Ok(None);
        }
        let wanted = left.min(bytes.max(self.read_bytes as u64)) as usize;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        self.buffer_position = self.position;
        self.filled = 0;
        let (filled, readable) = read_salvaging(file, &mut self.buffer[..wanted], self.position)?;
        self.filled = filled;
        self.met_unreadable |= !readable;
        Ok(if (self.filled as u64) < bytes { None } else { Some(0) })
    }
}
