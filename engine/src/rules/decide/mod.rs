//! What the rules decide about an event: which EventSources match it, and what the triggers that listen to them say.
//!
//! Start at [`matching::Matching::decide`]. Pure: no clock, no network. Never here: what a trigger applies.

// In dependency order; blank lines keep the formatter from sorting them.
pub(super) mod event;

pub(super) mod selector;

mod go_syntax;

pub(super) mod pattern;

pub(super) mod exclusion;

pub(super) mod source;

pub(super) mod action;

pub(super) mod matching;

pub(super) mod unmatched;
