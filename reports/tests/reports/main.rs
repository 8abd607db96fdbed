//! Reports of synthetic runs: what they conclude ([`judging`], [`faults`]) and what is shown ([`rendering`]).

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod common;
mod csv;
mod faults;
mod judging;
mod rendering;
