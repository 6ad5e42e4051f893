//! What reconciliation makes of clusters, with a recorder and a log in memory, in simulated time.

mod calls;
mod claims;
mod deletions;
mod drift;
mod guests;
mod large;
mod modes;
mod slow_log;
mod world;
