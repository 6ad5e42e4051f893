//! What the tests of Lifeline stand on: real servers, and the runner that prepares them and sums up.
//!
//! Start at [`harness`]. The end-to-end tests themselves are in `tests/tests/`.

pub mod harness;
pub mod report;
