//! What people read in a terminal: colours, tables, and how a failure is said.
//!
//! Start at [`table`]. Never here: what a command answers.

// In dependency order; blank lines keep the formatter from sorting them.
pub mod style;

pub mod table;

mod failure;

pub use failure::{fail, fail_typing, for_readers_of};
pub use lifeline_projections::count;
