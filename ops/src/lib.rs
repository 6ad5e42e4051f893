//! The parts of the `lifeline` program.
//!
//! Start at [`cli`] (what may be typed), [`run`] (an engine on the real world) and [`api`] (what may be asked of it).

// In dependency order; blank lines keep the formatter from sorting them.
pub mod data;

pub mod hosts;

pub mod tls;

pub mod telemetry;

pub mod settings;

pub mod reach;

pub mod servers;

pub mod care;

pub mod api;

pub mod listener;

pub mod service;

pub mod terminal;

pub mod run;

pub mod client;

pub mod doctor;

pub mod demo;

pub mod bench;

pub mod cli;

#[cfg(test)]
mod reference;
