//! Gates, units and hosts.
#![no_main]

#[path = "../entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|input: &str| entry::parsers(input));
