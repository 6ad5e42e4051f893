//! Where rules come from: files, a cluster, and the log.
//!
//! Start at [`watch::watch`], which follows files ([`directory`]) and a cluster ([`kubernetes`]) and hands over a new
//! [`RuleSet`](super::RuleSet) when something changed. [`recorded`] reads the rules that a log holds. Only this folder knows
//! files, network and time. Never here: what a manifest means.

// In dependency order; blank lines keep the formatter from sorting them.
mod feed;

pub(super) mod directory;

pub(crate) mod kubernetes;

pub(super) mod watch;

pub(super) mod recorded;
