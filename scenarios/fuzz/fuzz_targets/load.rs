//! Whole scenarios with overrides.
#![no_main]

#[path = "../entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|input: &str| entry::scenario(input));
