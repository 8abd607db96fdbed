//! Recorded traces: real traffic read back from a log, line by line.
//!
//! A trace is read as it is replayed and never held: memory does not depend on its length. What
//! is read is outside text, so every line, stamp and path may be anything. The policies:
//!
//! | what is met | what happens |
//! |---|---|
//! | a line that is no record | skipped and counted; beyond `max_broken` of them the run ends |
//! | a stamp earlier than one before it | fired at the latest stamp so far, and counted: logs are written when a request *ends* |
//! | … by more than [`MAX_DISORDER_S`] | the line counts as broken: the file is not in order of time, or one stamp is wild |
//! | a hole | silence, as long as it was |
//! | several records in one whole second | spread evenly over it, unless `spread = false` |
//! | a method that may change something | left out and counted: its body was not recorded |
//! | a path that must not be sent | left out and counted |
//! | more records within a second of the run than `load.max_rate` | the run ends |
//! | the phase ends first | the rest is not replayed, and that is told |
//! | the trace ends first | the rest of the phase is silent, and that is told |
//! | the file got shorter since the scenario was read | the run ends |
//! | the file grew | what was added is not replayed |
//!
//! # Layout
//!
//! * [`lines`]: lines of bounded length.
//! * [`stamp`]: instants as logs write them.
//! * [`request`]: what of a recorded request may be sent.
//! * `combined`, `csv`, `jsonl`: one line of each format.
//! * [`reader`]: lines to records, and what is counted on the way.
//! * [`replay`]: records to arrivals: order, speed, whole seconds.
//! * [`open`]: a trace's file, and what its beginning tells.
//! * [`error`]: what stops a trace, with its line.

mod combined;
mod csv;
pub mod error;
mod jsonl;
pub mod lines;
pub mod open;
pub mod reader;
pub mod replay;
pub mod request;
pub mod stamp;
#[cfg(test)]
mod testing;

pub(crate) use csv::MAX_COLUMNS;
pub use replay::MAX_DISORDER_S;
