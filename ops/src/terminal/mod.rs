//! What people read in a terminal: colours, tables, and how a failure is said.
//!
//! Start at [`table`]. Never here: what a command answers.

// In dependency order; blank lines keep the formatter from sorting them.
pub mod style;

pub mod table;

mod failure;

pub use failure::{fail, fail_typing, for_readers_of};

/// `1 trigger`, `2 triggers`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
