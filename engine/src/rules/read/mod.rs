//! From text to typed values: manifests, the specs in them, and the texts that policies reference.
//!
//! Start at [`manifest::Manifests::read`]. [`refuse`] is the one place that says what becomes of each field of a spec,
//! [`metadata`] what metadata asks for beside it. Never here: what a rule decides about an event, and where the text came from.

// In dependency order; blank lines keep the formatter from sorting them.
pub(super) mod blocks;

pub(super) mod cluster_fields;

pub(super) mod manifest;

pub mod spec;

pub(super) mod refuse;

pub(super) mod metadata;

pub(super) mod text;

pub(super) mod content;

pub(super) mod places;
