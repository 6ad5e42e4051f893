//! What a log consists of. Cheap: a name, a length and two records of each segment are looked at, however large it is.

use std::path::Path;

use lifeline_store::{Offset, Reader};
use serde::{Deserialize, Serialize};

use super::{DamagedPlace, Error, folder, open, refused};

/// A log, as far as it is known without being read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// First offset still held.
    pub start: u64,
    /// First offset that is not recorded.
    pub end: u64,
    /// Size of all segments in bytes, with the space reserved for the last one.
    pub bytes: u64,
    /// Whether the engine stopped in good order.
    pub clean_stop: bool,
    /// Bytes of an unfinished, never acknowledged group at the end; the next start cuts them off.
    pub torn_bytes: u64,
    /// Damage in the last segment; `verify` reads the others.
    pub damage: Vec<DamagedPlace>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentInfo>,
}

/// One file of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// Its name.
    pub file: String,
    /// Offset of its first record.
    pub start: u64,
    /// First offset after it.
    pub end: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it is complete and will not change.
    pub sealed: bool,
    /// When its first record was written, in nanoseconds since 1970; absent without one that can be read.
    pub first_unix_nanos: Option<u64>,
    /// And its last.
    pub last_unix_nanos: Option<u64>,
}

/// Looks at the log of a stopped engine.
///
/// # Errors
/// When there is none, an engine has it, or it cannot be opened.
pub fn info(data: &Path) -> Result<Info, Error> {
    let path = folder(data)?;
    let (reader, recovery) = open(data)?;
    let sealed = reader.sealed().map_err(refused(data))?;
    let mut segments: Vec<SegmentInfo> = Vec::new();
    for segment in &sealed {
        segments.push(of(&reader, segment.file.clone(), segment.start..segment.end, segment.bytes, true));
    }
    let last_start = sealed.last().map_or(reader.start(), |segment| segment.end);
    let name = format!("{:020}.segment", last_start.get());
    let last = path.join(&name);
    if last.is_file() {
        let bytes = last.metadata().map_err(|source| Error::Read { path: last, source })?.len();
        segments.push(of(&reader, name, last_start..reader.end(), bytes, false));
    }
    Ok(Info {
        start: reader.start().get(),
        end: reader.end().get(),
        bytes: segments.iter().map(|segment| segment.bytes).sum(),
        clean_stop: recovery.clean_stop,
        torn_bytes: recovery.torn_bytes,
        damage: recovery.damage.iter().map(DamagedPlace::of).collect(),
        segments,
    })
}

fn of(reader: &Reader, file: String, offsets: std::ops::Range<Offset>, bytes: u64, sealed: bool) -> SegmentInfo {
    // A record that is damaged has no time; `verify` says why.
    let time = |offset: Offset| Some(reader.read(offset).ok()??.time_unix_nanos);
    let last = offsets.end.get().checked_sub(1).filter(|last| *last >= offsets.start.get());
    SegmentInfo {
        file,
        start: offsets.start.get(),
        end: offsets.end.get(),
        bytes,
        sealed,
        first_unix_nanos: last.and_then(|_| time(offsets.start)),
        last_unix_nanos: last.and_then(|last| time(Offset::from(last))),
    }
}
