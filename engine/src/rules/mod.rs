//! Rules: which events matter, what they ask for, and which manifests they become.
//!
//! Start at [`RuleSet`]: immutable, built by a pure function from [`Manifests`], asked by [`RuleSet::decide`] for every event
//! and by [`Trigger::manifests`] for every reconciliation. [`watch`] follows the places that rules come from and hands over a
//! new set when something changed.
//!
//! ```text
//! directory --+                          EventView --decide--> Decision
//!             +--> Manifests --> RuleSet
//! kubernetes -+                          CloudEvent's map --manifests--> Rendered
//! ```
//!
//! | folder | idea |
//! |---|---|
//! | `read/` | from text to typed values; what becomes of each field |
//! | `decide/` | what the rules decide about an event |
//! | `policy/` | what a trigger applies, each kind of policy in its own place |
//! | `sources/` | where rules come from: files, a cluster, the log; the only folder with files, network and time |
//!
//! A defect is a [`Problem`] of one rule and puts nothing else out of force. What is out of force is not gone: see
//! [`Standing`], by which a typo never withdraws what a trigger made.

// In dependency order; blank lines keep the formatter from sorting them.
mod problem;

mod read;

mod decide;

mod cluster;

mod policy;

mod trigger;

mod set;

mod further;

mod lint;

mod sources;

pub use cluster::{Cluster, ClusterKind, Clusters, OWN};
pub use decide::event::EventView;
pub use decide::matching::{Explanation, Mismatch};
pub use decide::pattern::Pattern;
pub use decide::source::EventSource;
pub use lint::{Finding, Level, Source, Spot, lint, placed};
pub use policy::{Error, Handling, Rendered, SECRET_TYPE, named_objects};
pub use problem::{Place, Problem, Severity, Topic};
pub use read::blocks::Block;
pub use read::content::{DIALECT, INSTANTIATE, Reference};
pub use read::manifest::{Manifest, Manifests};
pub use read::spec;
pub use read::spec::{LabelSelector, Operator, Requirement};
pub use set::written::RuleDocument;
pub use set::{RuleSet, Standing};
pub use sources::directory::{Directory, Polled};
pub use sources::kubernetes::read_cluster;
pub(crate) use sources::kubernetes::{read_contents, rule_resource};
pub use sources::recorded::{Left, recorded, recorded_left};
pub use sources::watch::{Current, Places, watch};
pub use trigger::{ADOPT, Trigger};

#[cfg(test)]
mod tests;
