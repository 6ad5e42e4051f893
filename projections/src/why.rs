//! Why: from an object back to the event and the rule that ask for it, and from an event on to what came of it.
//!
//! Start at [`object::Search`] and [`event::event`]. Both read the log by following the records of one resource, a bounded
//! number of them, and say so where that was not enough. The shapes are public: scripts read them as JSON.
//!
//! Never here: a rule. Which EventSource nearly matched is known to the crate that knows rules, and is added there
//! ([`event::Unmatched`]).

pub mod event;
pub mod object;

/// Records of one resource that an answer follows back, at most: some milliseconds of reading.
const RECORDS_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
