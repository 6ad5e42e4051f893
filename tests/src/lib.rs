//! What the tests of Lifeline use: real servers, a simulated world, and the runner that prepares and sums up.
//!
//! Start at [`harness`] for tests with real servers and at [`simulated`] for those without. The end-to-end tests
//! themselves are in `tests/tests/`.

#[cfg(feature = "servers")]
pub mod harness;
#[cfg(feature = "servers")]
pub mod pages;
pub mod parity;
#[cfg(feature = "servers")]
pub mod report;
pub mod simulated;
