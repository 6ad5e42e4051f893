//! The parts of the `lifeline` program that other programs use too.

pub mod servers;
