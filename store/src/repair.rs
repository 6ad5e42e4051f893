//! Repair: puts replacements where acknowledged records were damaged, and says which are lost for good.
//!
//! A segment is never changed in place. The damaged file is kept beside the log (`….segment.damaged-1`, then `-2`), a whole
//! new one is written, synced, and renamed over it, so a crash leaves the one or the other. The running checksum proves a
//! replacement: the successor remembers what came before it, so a record fetched again is known to be byte for byte the lost
//! one, or known not to be, and is then marked as replaced. What nobody can replace keeps its offset and serves an error.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::cursor::{Cursor, Step};
use crate::disk::{Disk, File, read_salvaging};
use crate::frame::{self, FRAME_BYTES, Header, Kind};
use crate::index::{Entry, Index};
use crate::log::Log;
use crate::segment::{HEADER_BYTES, ParsedHeader, Segment, SegmentHeader};
use crate::{Error, Offset, checksum, recovery};

/// A record to put in place of a damaged one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Its time where the header of the lost one does not say it; kept between its neighbours'.
    pub time_unix_nanos: u64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// When records were recorded, by their offsets.
type Times = BTreeMap<Offset, u64>;

/// What a repair achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Records whose replacement is proven to be byte for byte what was lost.
    pub proven: Vec<Offset>,
    /// Records that were replaced without such a proof.
    pub replaced: Vec<Offset>,
    /// Records that nobody could replace; reading them stays an error.
    pub lost: Vec<Offset>,
    /// The damaged files that were kept for a closer look.
    pub kept_files: Vec<String>,
}

/// A record as it is to be in the new file.
struct Piece {
    header: Header,
    payload: Vec<u8>,
}

impl<D: Disk> Log<D> {
    /// Rewrites the segments that hold damaged records among `offsets`, asking `replacement` for each record that does not
    /// read back. Syncs what is staged first. Readers see the repaired segment at their next seek.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a replacement; [`Error::Poisoned`]; [`Error::Io`], which poisons the log if a write failed.
    pub fn repair(
        &mut self,
        offsets: Range<Offset>,
        replacement: &mut dyn FnMut(Offset) -> Option<Replacement>,
    ) -> Result<Repaired, Error> {
        self.sync()?;
        let mut repaired = Repaired::default();
        if offsets.end > self.tail_base() {
            // The tail cannot be rewritten while it is written to.
            self.seal_tail()?;
        }
        let table = self.shared.table();
        for (at, segment) in table.iter().enumerate() {
            let Some(next) = table.get(at + 1) else { break };
            if segment.base < offsets.end && next.base > offsets.start {
                self.repair_segment(segment, next, replacement, &mut repaired)?;
            }
        }
        Ok(repaired)
    }

    fn repair_segment(
        &mut self,
        segment: &Segment<D::File>,
        next: &Segment<D::File>,
        replacement: &mut dyn FnMut(Offset) -> Option<Replacement>,
        repaired: &mut Repaired,
    ) -> Result<(), Error> {
        let previous_after = self.header_of(next)?.map(|header| header.previous);
        let mut header = self.header_of(segment)?;
        let header_damaged = header.is_none();
        let (good, times, passed_damage) = self.good_records(segment, next.base)?;
        let expected = (next.base.get() - segment.base.get()) as usize;
        if !header_damaged && !passed_damage && good.len() == expected {
            return Ok(());
        }
        let first = good.first().filter(|piece| piece.header.offset == segment.base).map(|piece| piece.header);
        let header = header.get_or_insert(SegmentHeader {
            base: segment.base,
            previous: first.map_or(0, |first| first.previous),
            time_unix_nanos: first.map_or(0, |first| first.time_unix_nanos),
            salt: self.shared.salt,
        });
        // A payload may be damaged under a header that still says when it was recorded.
        let mut timed = |offset: Offset| {
            let found = replacement(offset)?;
            let time_unix_nanos = times.get(&offset).copied().unwrap_or(found.time_unix_nanos);
            Some(Replacement { time_unix_nanos, ..found })
        };
        let pieces = self.fill_holes(header, good, segment.base..next.base, previous_after, &mut timed, repaired)?;
        let bytes = encode_segment(header, &pieces, segment.seed, self.options().block_bytes);
        let written = self.replace_file(&segment.name, &bytes);
        repaired.kept_files.push(self.guarded(written)?);
        let fresh = Arc::new(Segment::sealed(segment.base, self.shared.salt));
        self.shared.change_table(|table| {
            if let Some(old) = table.iter_mut().find(|old| old.base == fresh.base) {
                *old = fresh;
            }
        });
        Ok(())
    }

    fn header_of(&self, segment: &Segment<D::File>) -> Result<Option<SegmentHeader>, Error> {
        let mut bytes = [0; 64];
        let file = segment.file(&self.shared.disk)?;
        read_salvaging(file.as_ref(), &mut bytes, 0).map_err(Error::io("read", &segment.name))?;
        Ok(match SegmentHeader::parse(&bytes) {
            ParsedHeader::Known(header) if header.base == segment.base => Some(header),
            _ => None,
        })
    }

    /// Every record of a segment that reads back, in order, the times of those that do not and have a good header all the
    /// same, and whether anything does not.
    fn good_records(&self, segment: &Segment<D::File>, end: Offset) -> Result<(Vec<Piece>, Times, bool), Error> {
        let file = segment.file(&self.shared.disk)?;
        let failed = |source| Error::io("read", &segment.name)(source);
        let limit = file.len().map_err(failed)?;
        let mut cursor = Cursor::new(HEADER_BYTES);
        let mut expected = segment.base;
        let (mut good, mut times) = (Vec::new(), Times::new());
        loop {
            let (header, payload) = match cursor.step(file.as_ref(), segment.seed, limit).map_err(failed)? {
                Step::Frame(header, payload) => (header, payload),
                Step::End => break,
                Step::Invalid(_) => {
                    if let Some(header) = cursor.header(segment.seed).filter(|header| header.kind == Kind::Record) {
                        times.insert(header.offset, header.time_unix_nanos);
                    }
                    if !cursor.search(file.as_ref(), segment.seed, limit).map_err(failed)? {
                        break;
                    }
                    continue;
                }
            };
            // A frame that was lost before is asked for again.
            if matches!(header.kind, Kind::Record | Kind::Replaced) && header.offset >= expected && header.offset < end
            {
                expected = header.offset.next();
                good.push(Piece { header, payload: cursor.payload(payload).to_vec() });
            }
        }
        Ok((good, times, cursor.passed_damage()))
    }

    fn fill_holes(
        &self,
        header: &SegmentHeader,
        good: Vec<Piece>,
        offsets: Range<Offset>,
        previous_after: Option<u32>,
        replacement: &mut dyn FnMut(Offset) -> Option<Replacement>,
        repaired: &mut Repaired,
    ) -> Result<Vec<Piece>, Error> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut good = good.into_iter().peekable();
        let mut next = offsets.start;
        while next < offsets.end {
            if let Some(piece) = good.next_if(|piece| piece.header.offset == next) {
                pieces.push(piece);
                next = next.next();
                continue;
            }
            let hole_end = good.peek().map_or(offsets.end, |piece| piece.header.offset);
            let successor = good.peek().map(|piece| &piece.header);
            let before = pieces.last().map_or((header.previous, header.time_unix_nanos), |piece| {
                (piece.header.checksum, piece.header.time_unix_nanos)
            });
            let time_max = successor.map_or(u64::MAX, |header| header.time_unix_nanos);
            let remembered = match successor {
                Some(header) => (header.kind == Kind::Record).then_some(header.previous),
                None => previous_after,
            };
            let (mut chain, mut time) = before;
            let first = pieces.len();
            while next < hole_end {
                let found = replacement(next);
                let kind = if found.is_some() { Kind::Replaced } else { Kind::Lost };
                let Replacement { time_unix_nanos, payload } =
                    found.unwrap_or(Replacement { time_unix_nanos: time, payload: Vec::new() });
                let payload_bytes_max = self.options().payload_bytes_max;
                if payload.len() > payload_bytes_max as usize {
                    return Err(Error::TooLarge { payload_bytes: payload.len(), payload_bytes_max });
                }
                time = time_unix_nanos.min(time_max).max(time);
                let header = Header {
                    kind,
                    payload_bytes: payload.len() as u32,
                    offset: next,
                    time_unix_nanos: time,
                    previous: chain,
                    checksum: checksum::extend(chain, &payload),
                    group_distance: 0,
                };
                chain = header.checksum;
                pieces.push(Piece { header, payload });
                next = next.next();
            }
            let hole = &mut pieces[first..];
            let proven = remembered == Some(chain) && hole.iter().all(|piece| piece.header.kind == Kind::Replaced);
            for piece in hole {
                match piece.header.kind {
                    Kind::Lost => repaired.lost.push(piece.header.offset),
                    _ if proven => {
                        piece.header.kind = Kind::Record;
                        repaired.proven.push(piece.header.offset);
                    }
                    _ => repaired.replaced.push(piece.header.offset),
                }
            }
        }
        Ok(pieces)
    }

    /// Keeps a copy of the damaged file and puts `bytes` in its place; returns the copy's name.
    fn replace_file(&mut self, name: &str, bytes: &[u8]) -> Result<String, Error> {
        let disk = &self.shared.disk;
        let names = disk.list().map_err(Error::io("list folder of", name))?;
        let copy = (1..)
            .map(|number| format!("{name}.damaged-{number}"))
            .find(|copy| !names.contains(copy))
            .expect("some number is free");
        let damaged = disk.open(name).map_err(Error::io("open", name))?;
        let mut old = vec![0; damaged.len().map_err(Error::io("read length of", name))? as usize];
        read_salvaging(&damaged, &mut old, 0).map_err(Error::io("read", name))?;
        let unfinished = format!("{name}{}", recovery::UNFINISHED);
        for (target, contents) in [(&copy, old.as_slice()), (&unfinished, bytes)] {
            let file = disk.create(target, 0).map_err(Error::io("create", target))?;
            file.write_at(contents, 0).map_err(Error::io("write", target))?;
            file.sync().map_err(Error::io("sync", target))?;
        }
        // The copy's name is durable before the original is gone.
        disk.sync_folder().map_err(Error::io("sync folder of", name))?;
        disk.rename(&unfinished, name).map_err(Error::io("rename", &unfinished))?;
        disk.sync_folder().map_err(Error::io("sync folder of", name))?;
        Ok(copy)
    }
}

/// A whole sealed segment, as one group.
fn encode_segment(header: &SegmentHeader, pieces: &[Piece], seed: u32, block_bytes: u64) -> Vec<u8> {
    let mut bytes = header.encode();
    let body: u64 = pieces.iter().map(|piece| piece.header.frame_bytes()).sum();
    let index = Index::new(HEADER_BYTES + body, block_bytes.min(32 << 10));
    let mut block = bytes.len();
    let trailer = |bytes: &[u8], block: usize, kind: Kind, last: &Header| Header {
        kind,
        payload_bytes: 0,
        offset: last.offset.next(),
        previous: last.checksum,
        checksum: checksum::extend(seed, &bytes[block..]),
        group_distance: (bytes.len() as u64 - HEADER_BYTES) as u32,
        ..*last
    };
    for piece in pieces {
        let position = bytes.len() as u64;
        if position == block as u64 {
            let Header { offset, time_unix_nanos, .. } = piece.header;
            index.note(Entry { offset, time_unix_nanos, position });
        }
        let header = Header { group_distance: (position - HEADER_BYTES) as u32, ..piece.header };
        frame::push(&mut bytes, &header, &piece.payload, seed);
        if (bytes.len() - block) as u64 >= block_bytes {
            let check = trailer(&bytes, block, Kind::Check, &piece.header);
            frame::push(&mut bytes, &check, &[], seed);
            block = bytes.len();
        }
    }
    if let Some(last) = pieces.last() {
        let commit = trailer(&bytes, block, Kind::Commit, &last.header);
        frame::push(&mut bytes, &commit, &[], seed);
        bytes.extend_from_slice(&index.seal(&commit, seed));
    }
    debug_assert_eq!(bytes.len() % frame::ALIGNMENT, 0, "frames stay aligned");
    debug_assert!(bytes.len() > FRAME_BYTES);
    bytes
}
