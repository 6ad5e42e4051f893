//! The engine: from JetStream to Kubernetes, with every decision in between.
//!
//! ```text
//! intake --+                      +--> log, acknowledgement
//! rules ---+--> recorder --fold---+--> projection --> queue --> reconcile --> cluster
//! outcomes-+        ^                                               |
//!                   +-----------------------------------------------+
//! ```
//!
//! Start at [`engine::Engine`], which wires the parts, then read [`recorder`]: everything enters there. The outside world
//! is behind ports that are handed in (JetStream, cluster, disk, clock), so that a simulation can play all of it.
//!
//! Never here: settings, the command line, HTTP.

// In dependency order; blank lines keep the formatter from sorting them.
pub mod error_text;

pub mod clock;

pub mod digest;

mod damage;

mod builtin;

pub mod kinds;

pub mod template;

pub mod schema;

pub mod account;

pub mod rules;

pub mod cluster;

pub mod fields;

pub mod intake;

pub mod trace;

mod stamps;

pub mod status;

mod warnings;

pub mod by_trigger;
pub mod dry_runs;
pub mod orphans;

mod size;

mod confirmations;

pub mod view;

pub mod waits;

pub mod lists;

pub mod queries;

pub mod queue;

pub mod site;

pub mod replay;

pub mod health;

pub mod report;

pub mod redrive;

pub mod refetch;

pub mod recorder;

pub mod saver;

pub mod reconcile;

pub mod preview;

pub mod scrub;

pub mod engine;
