//! What an opened folder turns out to hold: the end of the log, a torn tail, damage.
//!
//! Reading decides, nothing here writes: [`examine`] returns a [`Findings`], and `log` carries it out. Only the last
//! segment is read, so the time to open does not grow with the log.
//!
//! The rule: bytes that do not read back are a *torn tail* when nothing shows that they were ever synced, and are then cut
//! off; they are *damage* when something does, and are then never touched. Two things show it: the mark, and a frame
//! of a later group, since a group is only begun when the one before it was synced.

use std::ops::Range;

use crate::cursor::{Cursor, Step};
use crate::disk::{Disk, File, read_salvaging};
use crate::frame::{self, Kind};
use crate::index::{Entry, Index};
use crate::mark::Mark;
use crate::segment::{self, HEADER_BYTES, ParsedHeader, SegmentHeader};
use crate::{Error, Offset, Options, VERSION};

/// Acknowledged records that do not read back any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment file.
    pub file: String,
    /// The records that are gone; empty when only bytes that hold no record are hit.
    pub offsets: Range<Offset>,
    /// The bytes of the file that do not read back.
    pub bytes: Range<u64>,
    /// Why it counts as damaged.
    pub why: &'static str,
}

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The first offset still held.
    pub start: Offset,
    /// The next offset to be appended.
    pub end: Offset,
    /// Whether the log had been stopped in good order.
    pub clean_stop: bool,
    /// Bytes of an unfinished, never acknowledged group that were cut off.
    pub torn_bytes: u64,
    /// Acknowledged records of the last segment that are damaged; the segments before it are `verify`'s to read.
    pub damage: Vec<Damage>,
}

/// The state in which the last segment was found, and what to do about it.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) recovery: Recovery,
    /// Bases of the segments to keep, ascending.
    pub(crate) segments: Vec<Offset>,
    /// Files that a crash left half made and that hold nothing.
    pub(crate) leftovers: Vec<String>,
    pub(crate) mark: Mark,
    pub(crate) tail: Tail,
    /// What a next segment's header goes on with.
    pub(crate) checksum: u32,
    pub(crate) time_unix_nanos: u64,
    pub(crate) salt: u64,
}

/// What the last segment is good for.
#[derive(Debug)]
pub(crate) enum Tail {
    /// Appending goes on in it, at this position; its index so far.
    Continue { position: u64, index: Index },
    /// It is sealed or damaged: appending goes on in a new one. What it holds up to `position` counts, seal included.
    Closed { position: u64 },
    /// There is none.
    Missing,
}

/// Suffix of files being made; one found at open is a leftover of a crash.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// Reads what a folder holds.
pub(crate) fn examine<D: Disk>(disk: &D, options: &Options) -> Result<Findings, Error> {
    let folder = disk.describe();
    let names = disk.list().map_err(Error::io("list folder", &folder))?;
    let found_mark = Mark::load(disk)?;
    let mut segments: Vec<Offset> = names.iter().filter_map(|name| segment::base_of(name)).collect();
    segments.sort_unstable();
    let mut leftovers: Vec<String> = names.into_iter().filter(|name| name.ends_with(UNFINISHED)).collect();
    let mark = found_mark.unwrap_or_default();

    // A crash between creating a segment and its first group leaves a file without records, perhaps without a header.
    let mut last = None;
    while let Some(&base) = segments.last() {
        let found = read_segment(disk, base, &mark, options)?;
        if found.header.is_none() && found.end == base && found.holes.is_empty() && mark.end <= base {
            leftovers.push(segment::name(base));
            segments.pop();
            continue;
        }
        last = Some((base, found));
        break;
    }
    let Some((base, mut found)) = last else {
        return Ok(without_segments(found_mark, leftovers, disk.random()));
    };
    let header = found.header.unwrap_or(SegmentHeader { base, previous: 0, time_unix_nanos: 0, salt: mark.salt });
    let name = segment::name(base);

    let mut damage: Vec<Damage> = std::mem::take(&mut found.holes);
    if found.header.is_none() {
        damage.insert(
            0,
            Damage {
                file: name.clone(),
                offsets: base..base,
                bytes: 0..HEADER_BYTES,
                why: "segment header does not match its checksum",
            },
        );
    }
    let mut end = found.end;
    if mark.end > end {
        // Report it once, together with the damage that was found there.
        let at_end = damage.pop_if(|hole| hole.offsets == (end..end));
        let begin = at_end.map_or(found.position, |hole| hole.bytes.start);
        let bytes = begin..mark.position_in(base).max(begin);
        damage.push(Damage {
            file: name,
            offsets: end..mark.end,
            bytes,
            why: "acknowledged records are missing at the end",
        });
        end = mark.end;
        // Known even where the records are not, so that a replacement can be proven.
        found.checksum = mark.checksum;
    }
    let closed = found.sealed || !damage.is_empty();
    let torn_bytes = if closed { 0 } else { found.torn_bytes };
    let recovery = Recovery {
        start: segments[0],
        end,
        clean_stop: mark.clean && mark.end == end && torn_bytes == 0 && damage.is_empty(),
        torn_bytes,
        damage,
    };
    let tail = if closed {
        Tail::Closed { position: found.read_to }
    } else {
        Tail::Continue { position: found.position, index: found.index }
    };
    let time_unix_nanos = found.time_unix_nanos.max(mark.time_unix_nanos).max(header.time_unix_nanos);
    Ok(Findings {
        recovery,
        segments,
        leftovers,
        mark,
        tail,
        checksum: found.checksum,
        time_unix_nanos,
        salt: header.salt,
    })
}

/// A folder without a segment: new, or emptied by someone.
fn without_segments(mark: Option<Mark>, leftovers: Vec<String>, random: u64) -> Findings {
    let mark = mark.unwrap_or(Mark { salt: random, ..Mark::default() });
    let mut recovery = Recovery { start: mark.end, end: mark.end, ..Recovery::default() };
    if mark.end > Offset::ZERO {
        recovery.damage.push(Damage {
            file: segment::name(mark.segment),
            offsets: mark.segment..mark.end,
            bytes: 0..mark.position,
            why: "segment file is missing",
        });
    }
    let Mark { checksum, time_unix_nanos, salt, .. } = mark;
    Findings { recovery, segments: Vec::new(), leftovers, mark, tail: Tail::Missing, checksum, time_unix_nanos, salt }
}

/// The last segment as it reads back.
struct Found {
    header: Option<SegmentHeader>,
    /// The first offset after the last group that is whole.
    end: Offset,
    /// Where that group ends.
    position: u64,
    checksum: u32,
    time_unix_nanos: u64,
    sealed: bool,
    holes: Vec<Damage>,
    torn_bytes: u64,
    /// Where the last intact frame ends.
    read_to: u64,
    index: Index,
}

fn read_segment<D: Disk>(disk: &D, base: Offset, mark: &Mark, options: &Options) -> Result<Found, Error> {
    let name = segment::name(base);
    let failed = |source| Error::io("read", &name)(source);
    let file = disk.open(&name).map_err(Error::io("open", &name))?;
    let limit = file.len().map_err(failed)?;
    let mut bytes = [0; 64];
    read_salvaging(&file, &mut bytes, 0).map_err(failed)?;
    let header = match SegmentHeader::parse(&bytes) {
        ParsedHeader::Known(header) => Some(header).filter(|header| header.base == base),
        ParsedHeader::UnknownVersion(found) => {
            return Err(Error::Version { file: name, found, expected: VERSION });
        }
        ParsedHeader::Invalid => None,
    };
    let seed = frame::seed(header.map_or(mark.salt, |header| header.salt), base);
    // What the mark vouches for in this segment.
    let marked = if mark.segment == base { mark.position } else { 0 };

    let mut found = Found {
        header,
        end: base,
        position: HEADER_BYTES,
        checksum: header.map_or(0, |header| header.previous),
        time_unix_nanos: header.map_or(0, |header| header.time_unix_nanos),
        sealed: false,
        holes: Vec::new(),
        torn_bytes: 0,
        read_to: HEADER_BYTES,
        index: Index::new(options.segment_bytes_max.max(limit), options.block_bytes),
    };
    // Holes seen since the last whole group: damage if what follows proves it, a torn tail otherwise.
    let mut suspects: Vec<Damage> = Vec::new();
    let mut proven = marked;
    let mut expected = base;
    let mut chain = header.map(|header| header.previous);
    let mut running = found.checksum;
    // Index entries point to the beginnings of blocks.
    let mut block = HEADER_BYTES;
    let mut cursor = Cursor::new(HEADER_BYTES);
    loop {
        let at = cursor.position();
        let why = match cursor.step(&file, seed, limit).map_err(failed)? {
            Step::End => break,
            Step::Invalid(why) => why,
            Step::Frame(header, _) => {
                found.read_to = cursor.position();
                let is_chained = chain.is_none_or(|chain| header.kind == Kind::Replaced || chain == header.previous);
                let follows = header.offset == expected && is_chained;
                if header.kind.takes_offset() && (follows || header.offset > expected) {
                    if !follows {
                        suspects.push(Damage {
                            file: name.clone(),
                            offsets: expected..header.offset,
                            bytes: at..at,
                            why: "record is missing",
                        });
                    }
                    proven = proven.max(at.saturating_sub(u64::from(header.group_distance)));
                    expected = header.offset.next();
                    running = header.checksum;
                    chain = (header.kind == Kind::Record).then_some(header.checksum);
                    if at == block {
                        found.index.note(Entry {
                            offset: header.offset,
                            time_unix_nanos: header.time_unix_nanos,
                            position: at,
                        });
                    }
                    continue;
                }
                if header.kind == Kind::Check && follows {
                    block = cursor.position();
                    continue;
                }
                // A frame that does not go on from the one before it was left by a torn group: a disk may forget that it
                // was cut off.
                if header.kind == Kind::Commit && (follows || header.offset > expected) {
                    block = cursor.position();
                    if header.offset > expected {
                        suspects.push(Damage {
                            file: name.clone(),
                            offsets: expected..header.offset,
                            bytes: at..at,
                            why: "record is missing",
                        });
                    }
                    let group = at.saturating_sub(u64::from(header.group_distance));
                    proven = proven.max(group);
                    expected = header.offset;
                    chain = Some(header.previous);
                    // A group that has a hole is whole only if the hole is damage, which a later one must prove.
                    if suspects.iter().all(|hole| hole.bytes.start < proven) {
                        found.holes.append(&mut suspects);
                        found.end = header.offset;
                        found.position = cursor.position();
                        found.checksum = header.previous;
                        found.time_unix_nanos = found.time_unix_nanos.max(header.time_unix_nanos);
                    }
                    continue;
                }
                let is_closing = header.offset == found.end && is_chained && suspects.is_empty();
                if header.kind == Kind::Seal && is_closing {
                    found.sealed = true;
                    break;
                }
                if header.kind == Kind::Index && is_closing {
                    continue;
                }
                "frame does not follow the one before it"
            }
        };
        // No frame: search for one that was written after it.
        cursor.seek(at);
        if !cursor.search(&file, seed, limit).map_err(failed)? {
            if at < marked {
                suspects.push(Damage { file: name.clone(), offsets: expected..expected, bytes: at..marked, why });
            }
            break;
        }
        chain = None;
        suspects.push(Damage { file: name.clone(), offsets: expected..expected, bytes: at..cursor.position(), why });
    }
    if mark.end > found.end && marked > found.position {
        // The trailer of a group that the mark vouches for is damaged: its records still count, those that are there.
        found.holes.extend(suspects.into_iter().filter(|hole| hole.bytes.start < marked));
        found.end = expected.min(mark.end);
        if found.holes.is_empty() {
            // The file was cut off. Nothing more is appended to a segment that lacks a trailer.
            let why = "file ends before its acknowledged records do";
            let bytes = found.read_to..marked.max(found.read_to);
            found.holes.push(Damage { file: name.clone(), offsets: found.end..found.end, bytes, why });
        }
        found.checksum = running;
    }
    if cursor.met_unreadable() && found.holes.is_empty() && !found.sealed {
        // Bytes that cannot be read are damage, and are never cut off.
        let bytes = found.position..limit;
        let why = "medium cannot be read";
        found.holes.push(Damage { file: name.clone(), offsets: found.end..found.end, bytes, why });
    }
    found.index.truncate(found.end);
    if !found.sealed {
        found.torn_bytes = last_nonzero(&file, found.position, limit).map_err(failed)?.saturating_sub(found.position);
    }
    Ok(found)
}

/// The index of the last byte that is not zero. Most of what is asked about is zero, so it is looked at in large pieces.
fn last_nonzero_in(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 256] = [0; 256];
    let mut end = bytes.len();
    while end >= ZEROS.len() && bytes[end - ZEROS.len()..end] == ZEROS {
        end -= ZEROS.len();
    }
    bytes[..end].iter().rposition(|&byte| byte != 0)
}

/// Where the last byte that is not zero ends, from a position on.
fn last_nonzero<F: File>(file: &F, from: u64, limit: u64) -> std::io::Result<u64> {
    let mut buffer = vec![0; limit.saturating_sub(from).min(256 << 10) as usize];
    let (mut position, mut last) = (from, from);
    while position < limit {
        let wanted = buffer.len().min((limit - position) as usize);
        let (read, _) = read_salvaging(file, &mut buffer[..wanted], position)?;
        if read == 0 {
            break;
        }
        if let Some(at) = last_nonzero_in(&buffer[..read]) {
            last = position + at as u64 + 1;
        }
        position += read as u64;
    }
    Ok(last)
}
