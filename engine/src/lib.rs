//! stub
pub mod intake;
