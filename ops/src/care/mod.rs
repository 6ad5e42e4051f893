//! Care for the log of a stopped engine: look at it, verify it, repair it.
//!
//! Start at [`verify`], which writes nothing, then [`repair`], which does. [`info`] lists what there is without reading it.
//! A running engine has its folder to itself; it scrubs its log on its own, and verifies its state when it is asked to.

// In dependency order; blank lines keep the formatter from sorting them.
pub mod info;

pub mod verify;

pub mod repair;

use std::path::{Path, PathBuf};

use lifeline_engine::{intake, refetch};
use lifeline_projections::table;
use lifeline_store::{Damage, OsDisk, Reader, Recovery};
use serde::{Deserialize, Serialize};

use crate::data;

/// Why a log could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no log.
    #[error("there is no log in `{}`\nhint: name the folder that `lifeline run --data` was given", .data.display())]
    NoLog {
        /// The folder.
        data: PathBuf,
    },
    /// An engine has it.
    #[error(
        "data folder `{}` is in use by a running engine\nhint: it scrubs its log by itself, see `lifeline status`, and is verified as it runs with `lifeline verify --server URL`; stop it to do this now",
        .data.display()
    )]
    InUse {
        /// The folder.
        data: PathBuf,
    },
    /// The log refused.
    #[error("the log in `{}` cannot be used", .data.display())]
    Log {
        /// The folder.
        data: PathBuf,
        /// Why.
        #[source]
        source: lifeline_store::Error,
    },
    /// A file of the folder could not be read, or not be copied to look at it.
    #[error("`{}` cannot be read", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The copy of the projection.
    #[error("the projection cannot be looked at")]
    Table(#[from] table::Error),
    /// The NATS to fetch from.
    #[error("nothing can be fetched")]
    Fetch(#[from] intake::Error),
    /// The cluster that holds the settings of the connection.
    #[error("the cluster that says where NATS is cannot be asked")]
    Cluster(#[from] lifeline_engine::cluster::Error),
    /// What was in the holes.
    #[error("the lost records cannot be determined")]
    Refetch(#[from] refetch::Error),
    /// The wrong server, most likely: all its messages would be recorded as lost.
    #[error(
        "the log was recorded from stream `{stream}`, which does not exist at {servers}\nhint: name the server that has it with `--nats`, or accept the loss of its messages with `--accept-loss`"
    )]
    NoStream {
        /// The stream.
        stream: String,
        /// Who was asked.
        servers: String,
    },
    /// The machine has no resources left.
    #[error("cannot start to fetch")]
    Runtime(#[source] std::io::Error),
}

/// A place of the log that does not read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedPlace {
    /// The segment file.
    pub file: String,
    /// First record that is lost.
    pub first: u64,
    /// First good record after it; equal to `first` where no record is hit.
    pub end: u64,
    /// First byte of the file that does not read back.
    pub from_byte: u64,
    /// First byte after it that does.
    pub to_byte: u64,
    /// Why it counts as damaged.
    pub why: String,
}

impl DamagedPlace {
    fn of(damage: &Damage) -> DamagedPlace {
        DamagedPlace {
            file: damage.file.clone(),
            first: damage.offsets.start.get(),
            end: damage.offsets.end.get(),
            from_byte: damage.bytes.start,
            to_byte: damage.bytes.end,
            why: damage.why.to_owned(),
        }
    }

    /// The records, as a person says it.
    #[must_use]
    pub fn records(&self) -> String {
        match self.end - self.first {
            0 => "none".to_owned(),
            1 => self.first.to_string(),
            _ => format!("{} to {}", self.first, self.end - 1),
        }
    }
}

/// The folder of the log, if there is one.
fn folder(data: &Path) -> Result<PathBuf, Error> {
    let path = data::log(data);
    if path.is_dir() { Ok(path) } else { Err(Error::NoLog { data: data.to_owned() }) }
}

/// Opens the log of a stopped engine without changing a byte.
fn open(data: &Path) -> Result<(Reader<OsDisk>, Recovery), Error> {
    let opened = OsDisk::open_read_only(&folder(data)?).and_then(|disk| Reader::open(disk, &data::log_options()));
    opened.map_err(refused(data))
}

fn refused(data: &Path) -> impl Fn(lifeline_store::Error) -> Error {
    move |error| match error {
        lifeline_store::Error::Locked { .. } => Error::InUse { data: data.to_owned() },
        source => Error::Log { data: data.to_owned(), source },
    }
}

/// All damage: what opening found, and what reading everything found, each place once.
fn damage(
    reader: &Reader<OsDisk>,
    recovery: &Recovery,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Damage>, lifeline_store::Error> {
    let mut said = std::time::Instant::now();
    let mut damage = reader.verify(&mut |progress| {
        if said.elapsed().as_secs() >= 1 {
            said = std::time::Instant::now();
            say(&format!(
                "verifying: offset {} of {}, {:.1} GB, {} damaged records",
                progress.position,
                progress.end,
                progress.bytes as f64 / 1e9,
                progress.damaged_records
            ));
        }
    })?;
    for found in &recovery.damage {
        let overlaps = |known: &Damage| {
            known.file == found.file && known.bytes.start < found.bytes.end && found.bytes.start < known.bytes.end
        };
        let covered =
            |known: &Damage| known.offsets.start <= found.offsets.start && found.offsets.end <= known.offsets.end;
        if !damage.iter().any(|known| overlaps(known) || (!found.offsets.is_empty() && covered(known))) {
            damage.push(found.clone());
        }
    }
    damage.sort_by_key(|place| (place.offsets.start, place.bytes.start));
    Ok(damage)
}
