//! stub
pub mod template;
pub mod rules;
