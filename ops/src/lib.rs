//! The parts of the `lifeline` program that other programs use too.

pub mod servers;
//! The `lifeline` binary: settings, command line, HTTP, telemetry.
//!
//! Start at [`cli`] (what may be typed) and [`api`] (what may be asked over HTTP).

pub mod data;

pub mod api;

pub mod cli;
