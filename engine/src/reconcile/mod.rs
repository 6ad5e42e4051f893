//! Reconciliation: what the lifecycles say becomes what the cluster holds.
//!
//! Start at [`Reconciler::run`]. A key from the [queue](crate::queue) is reconciled by reading the CURRENT lifecycle,
//! never the message that woke it: render, [`plan`], apply or delete, and record the outcome. Whatever is recorded says
//! which decision it acted for, so an outcome that comes late settles nothing it should not.
//!
//! Decided without effects: `plan` (a lifecycle), `conflict` (what others hold), `step` (one object), `attempt` (how it
//! ends), `failure` (when to try again). Effects: `work`, `apply`, `remove`, and `perform`, which calls the cluster. What
//! others do to objects is seen by `drift`; objects that the log does not know by `orphans`.
//!
//! Why a crash at any point is harmless: the name of an object is durable in the log before each change to it
//! (`ApplyIntended`), applying twice changes nothing, and a deletion names the uid it means.

mod altered;
mod apply;
mod attempt;
mod conflict;
mod drift;
mod dry_run;
pub(crate) mod failure;
mod gone;
pub(crate) mod kinds;
mod leaving;
mod lost;
pub mod marks;
mod orphans;
mod perform;
pub mod plan;
mod recent;
pub(crate) mod recreate;
mod remove;
pub(crate) mod render;
pub(crate) mod step;
#[cfg(test)]
pub(crate) mod stories;
pub(crate) mod task;
mod tiers;
mod turns;
mod work;

pub use work::Reconciler;
