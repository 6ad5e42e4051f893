//! stub
pub mod template;
