//! The append-only log: bytes and positions, nothing else.
//!
//! Everything Lifeline promises rests on this crate. [`Log`] appends and syncs, [`Reader`] reads what was synced, and
//! opening a log distinguishes a torn tail, which nobody was promised, from damage to what was acknowledged, which is
//! reported and never papered over. `store/FORMAT.md` describes the files.
//!
//! Start at [`Log::open`]. This crate never looks into a payload, never asks a clock (times are handed in), never starts a
//! thread behind its caller's back, and has never heard of CloudEvents.
//!
//! ```
//! # use lifeline_store::{Log, Options, OsDisk};
//! # let folder = std::env::temp_dir().join(format!("lifeline-store-doc-{}", std::process::id()));
//! let (mut log, recovery) = Log::open(OsDisk::open(&folder)?, Options::default())?;
//! assert!(recovery.damage.is_empty());
//! let offset = log.append(1_700_000_000_000_000_000, b"login of user1")?;
//! log.sync()?; // durable from here on
//! let record = log.reader().read(offset)?.expect("synced records are readable");
//! assert_eq!(record.payload, b"login of user1");
//! # log.close()?;
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), lifeline_store::Error>(())
//! ```

// In dependency order; blank lines keep the formatter from sorting them.
mod offset;

mod error;

mod random;

mod checksum;

mod disk;

mod frame;

mod cursor;

mod index;

mod segment;

mod options;

mod mark;

mod recovery;

mod reader;

mod scan;

mod log;

mod retention;

mod scrub;

mod repair;

pub use checksum::crc32c;
pub use disk::{Disk, Fault, File, OsDisk, SimulatedDisk, SimulatedFile};
pub use error::Error;
pub use log::{Log, Space};
pub use offset::{Offset, records};
pub use options::Options;
pub use random::Random;
pub use reader::{Reader, Record};
pub use recovery::{Damage, Recovery};
pub use repair::{Repaired, Replacement};
pub use retention::{Policy, SealedSegment};
pub use scan::{RecordRef, Scan};
pub use scrub::{Pace, Progress, Scrub};
pub use segment::VERSION;
