//! A whole engine in a world of one thread: JetStream, cluster, disk and time are simulated, and everything that
//! happens follows from one seed.
//!
//! Start at [`story::play`]: what happens. [`script`] is what is done to the world, [`hazard`] counts what went wrong
//! in it. [`verdict`] says what must hold at the end; [`rules`] decides a second time what events ask for, without the
//! engine's matching and templates. [`server`] and [`cluster`] are the two sides of the world, [`process`] is one life
//! of the engine in it; [`witness`] watches what is acknowledged. [`campaign`] plays many stories, and [`shrink`] makes a
//! story that breaks a promise as short as it can. [`idle`] has no faults at all. Those that once did are in [`found`].
//! A lost volume has stories of its own ([`lost_volume`]).
//!
//! Inside a story there is no real time, no real file, no thread, and no chance that is not drawn from the seed. Only
//! [`campaign`] uses threads and a clock.

mod altered;
mod applies;
pub mod campaign;
mod chance;
mod cluster;
pub mod found;
pub mod hazard;
pub mod idle;
mod inventory;
mod jetstream;
mod leaving;
pub mod lost_volume;
mod objects;
pub mod planned;
pub mod process;
mod published;
mod refold;
mod rules;
mod said;
pub mod script;
mod server;
pub mod shrink;
pub mod story;
mod table;
mod verdict;
mod witness;

pub use script::Script;
pub use story::{Story, play};
