//! stub
pub mod cluster;
