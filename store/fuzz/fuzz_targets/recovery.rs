//! Fuzzes recovery: the input is a list of edits to the files of a good log. The same function runs over a seeded corpus in
//! `tests/recovery_properties.rs`.

#![no_main]

#[path = "../../tests/edited/mod.rs"]
mod edited;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edited::check(&edited::Edit::from_bytes(bytes)));
