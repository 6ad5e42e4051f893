//! What the records of the log mean.
//!
//! Start at [`fact`] (what a record says), then [`happened`] and [`lifecycle`] (what may follow what), then `resource` and
//! [`fold`] (how facts become state). `storage` keeps a million resources small; [`table`] keeps the state on disk.
//! [`reads`], [`stuck`], [`history`] and [`why`] answer questions, [`as_of`] about an earlier state; [`changes`] keeps a
//! copy of an answer right.
//!
//! This crate has no clock, no randomness and no network: times and offsets come with the facts, and the same facts
//! give the same state, byte for byte.

mod count;
pub use count::{count, span};

pub mod event;
pub mod fact;
pub mod happened;
pub mod order;

pub mod lifecycle;

mod resource;

mod storage;

mod claims;
pub mod landmarks;

pub mod fold;

pub mod table;

pub mod reads;

pub mod stuck;

mod chain;

mod incarnation;

pub mod history;

pub mod records;

pub mod why;

pub mod detail;

pub mod as_of;

pub mod changes;

pub mod difference;

#[cfg(test)]
mod arbitrary;

#[cfg(test)]
mod properties;
