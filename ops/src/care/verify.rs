//! Verify: every checksum of the log, then the fold of all of it against the state at the last checkpoint.
//!
//! Start at [`verify`]. It never writes: the log is opened for reading, and the projection, whose store cannot be opened
//! without being written to, is copied first.

use std::path::Path;

use lifeline_engine::error_text::chain;
use lifeline_engine::recorder;
use lifeline_projections::fact::Fact;
use lifeline_projections::fold::Projection;
use lifeline_projections::table::Table;
use lifeline_store::Reader;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{DamagedPlace, Error, damage, open, refused};
use crate::data;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether every acknowledged record reads back and the state is what the log says.
    pub sound: bool,
    /// First offset still held.
    pub start: u64,
    /// First offset that is not recorded.
    pub end: u64,
    /// Whether the engine stopped in good order.
    pub clean_stop: bool,
    /// Bytes of an unfinished, never acknowledged group at the end. No damage: the next start cuts them off.
    pub torn_bytes: u64,
    /// Where acknowledged bytes do not read back.
    pub damage: Vec<DamagedPlace>,
    /// Offsets whose records an earlier repair could not bring back.
    pub lost: Vec<u64>,
    /// The fold of the log, beside the state at the last checkpoint.
    pub state: State,
    /// Why an engine would refuse to start on this folder; absent when it would not.
    pub refuses: Option<String>,
    /// Why an engine would start, but not read a stream; absent when it would.
    pub unread: Option<String>,
}

/// How the state compares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum State {
    /// The checkpoint, brought to the end of the log, and the fold of the whole log are the same.
    Same {
        /// First offset that the checkpoint does not hold.
        checkpoint: u64,
        /// Checksum of both.
        digest: String,
    },
    /// They are not.
    Differs {
        /// First offset that the checkpoint does not hold.
        checkpoint: u64,
        /// Checksum of the state that goes on from it.
        checkpoint_digest: String,
        /// Checksum of the fold of the whole log.
        digest: String,
    },
    /// There is no checkpoint yet; the log alone gives the state.
    NoCheckpoint {
        /// Checksum of the fold of the whole log.
        digest: String,
    },
    /// The checkpoint cannot be read. The next start sets it aside and folds the log.
    Unusable {
        /// Why.
        reason: String,
    },
    /// The log cannot be folded as a whole.
    NotFolded {
        /// First offset that the checkpoint does not hold, where there is one.
        checkpoint: Option<u64>,
        /// Why.
        reason: String,
    },
}

/// Verifies the folder of a stopped engine; `say` gets the progress.
///
/// # Errors
/// When there is no log, an engine has it, or the disk refuses. Damage is no error but a finding.
pub fn verify(data: &Path, say: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let (reader, recovery) = open(data)?;
    say(&format!("verifying {} records", reader.end().get() - reader.start().get()));
    let damage = damage(&reader, &recovery, say).map_err(refused(data))?;
    say("folding the log");
    let checkpoint = checkpoint(data)?;
    let (folded, lost) = fold(&reader);
    let Compared { state, refuses, unread } = compare(&reader, checkpoint, folded);
    let mut report = Report {
        sound: false,
        start: reader.start().get(),
        end: reader.end().get(),
        clean_stop: recovery.clean_stop,
        torn_bytes: recovery.torn_bytes,
        damage: damage.iter().map(DamagedPlace::of).collect(),
        lost,
        state,
        refuses,
        unread,
    };
    report.sound = report.damage.is_empty()
        && match &report.state {
            State::Same { .. } | State::NoCheckpoint { .. } | State::Unusable { .. } => true,
            // A checkpoint from before a record was lost for good knows what the log no longer does.
            State::Differs { checkpoint, .. } => report.lost.iter().any(|lost| lost < checkpoint),
            // Retention lets go of the first records on purpose.
            State::NotFolded { .. } => report.start > 0 && report.refuses.is_none(),
        };
    Ok(report)
}

/// The fold of the whole log, or why there is none; and the offsets of records that are lost for good.
fn fold(reader: &Reader) -> (Result<Projection, String>, Vec<u64>) {
    let (mut projection, mut lost) = (Projection::default(), Vec::new());
    if reader.start().get() > 0 {
        let reason = format!("the log no longer holds the records below {}", reader.start());
        return (Err(reason), lost);
    }
    let mut scan = reader.scan(reader.start());
    loop {
        let record = match scan.next() {
            Ok(Some(record)) => record,
            Ok(None) => return (Ok(projection), lost),
            Err(error) => return (Err(first_line(&error)), lost),
        };
        let fact = match Fact::decode(record.payload) {
            Ok(fact) => fact,
            Err(error) => {
                let reason = format!("record at offset {} cannot be understood: {}", record.offset, first_line(&error));
                return (Err(reason), lost);
            }
        };
        if let Fact::Lost(_) = fact {
            lost.push(record.offset.get());
        }
        projection.fold(record.offset, record.time_unix_nanos, &fact, &mut Vec::new());
    }
}

/// The checkpoint, if there is one; `Err` inside when it cannot be read.
pub(super) fn checkpoint(data: &Path) -> Result<Option<Result<Projection, String>>, Error> {
    let path = data::projection(data);
    if !path.is_dir() {
        return Ok(None);
    }
    let read = |source| Error::Read { path: path.clone(), source };
    let copy = TempDir::with_prefix("lifeline-verify-").map_err(read)?;
    copy_folder(&path, copy.path()).map_err(read)?;
    Ok(Some(match Table::open(copy.path()) {
        Ok((_table, projection)) => Ok(projection),
        Err(error) => Err(first_line(&error)),
    }))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&to)?;
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The checksum of a state, as it is shown: the same wherever and whenever the same records were folded.
#[must_use]
pub fn digest(projection: &Projection) -> String {
    format!("{:016x}", projection.digest())
}

/// How the state compares, and why an engine would not start, or not read a stream.
struct Compared {
    state: State,
    refuses: Option<String>,
    unread: Option<String>,
}

/// Why an engine does not read a stream: it recognizes each by the last record of it.
pub(crate) fn unread(state: &Projection, reader: &Reader) -> Option<String> {
    state.ground().streams.iter().find_map(|((_, stream), position)| {
        let error = reader.read(position.tail?.record).err()?;
        Some(format!("stream `{stream}` is not read: {}", first_line(&error)))
    })
}

fn compare(
    reader: &Reader,
    checkpoint: Option<Result<Projection, String>>,
    folded: Result<Projection, String>,
) -> Compared {
    // What a start does: on from the checkpoint, or from nothing when it is unusable or ahead of the log.
    let (known, reason) = match checkpoint {
        None => (None, None),
        Some(Err(reason)) => (None, Some(reason)),
        Some(Ok(state)) if state.watermark() > reader.end() => {
            let reason = format!("it reflects offset {}, the log ends at {}", state.watermark(), reader.end());
            (None, Some(reason))
        }
        Some(Ok(state)) => (Some(state), None),
    };
    let watermark = known.as_ref().map(|state| state.watermark().get());
    let mut started = known.unwrap_or_default();
    let refuses = recorder::fold_tail(&mut started, reader, |_, _| {}, |_| {}).err().map(|error| chain(&error));
    let unread = if refuses.is_none() { unread(&started, reader) } else { None };
    let state = match (folded, watermark, reason) {
        (Err(reason), checkpoint, _) => State::NotFolded { checkpoint, reason },
        (Ok(_), None, Some(reason)) => State::Unusable { reason },
        (Ok(folded), None, None) => State::NoCheckpoint { digest: digest(&folded) },
        (Ok(folded), Some(checkpoint), _) if folded.digest() == started.digest() => {
            State::Same { checkpoint, digest: digest(&folded) }
        }
        (Ok(folded), Some(checkpoint), _) => {
            State::Differs { checkpoint, checkpoint_digest: digest(&started), digest: digest(&folded) }
        }
    };
    Compared { state, refuses, unread }
}

fn first_line(error: &dyn std::error::Error) -> String {
    chain(error).lines().next().unwrap_or_default().to_owned()
}
