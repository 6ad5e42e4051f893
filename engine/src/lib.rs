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
//! stands behind ports that are handed in (JetStream, cluster, disk, clock), so that a simulation can play all of it.
//!
//! Never here: settings, the command line, HTTP.

pub mod clock;
pub mod cluster;
pub mod digest;
pub mod engine;
pub mod intake;
pub mod reconcile;
pub mod recorder;
pub mod refetch;
pub mod replay;
pub mod rules;
pub mod scrub;
mod stamps;
pub mod status;
pub mod template;
pub mod trace;
pub mod view;
