//! A whole engine in a world of one thread: JetStream, cluster, disk and time are simulated, and everything that happens
//! follows from one seed.
//!
//! Start at [`story::play`]: what happens. [`verdict`] says what must hold at the end; it is judged by [`rules`], a second
//! opinion that shares no code with the engine. [`server`] and [`cluster`] are the two sides of the world, [`process`] is
//! one life of the engine in it.
//!
//! Never here: real time, real files, threads, and chance that is not drawn from the seed.

mod chance;
mod cluster;
mod jetstream;
pub mod process;
mod rules;
mod server;
pub mod story;
mod verdict;

pub use story::{Told, play};
