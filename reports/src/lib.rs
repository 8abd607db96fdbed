//! What a run meant.
//!
//! Reads a run folder and nothing else: [`report::build`] makes one [`report::Report`] of it,
//! and every output is a renderer of that.
//!
//! # Layout
//!
//! Judging:
//!
//! * [`generator`]: whether the generator, rather than the target, was the limit.
//! * [`steering`]: what changes by hand asked of the run.
//! * [`windows`], [`seconds`]: when faults acted; the service level of one second.
//! * `gather`: the one pass over a run's seconds; `stats`: from counts to figures.
//! * [`journeys`]: the closed-loop users, apart from all of that.
//! * [`slo`], [`gates`], [`faults`], [`steps`]: promises, conditions, faults, capacity.
//! * `verdict`, [`exit`]: the conclusions, and the exit code that says them.
//!
//! Telling:
//!
//! * [`summary`]: `summary.json`. [`series`]: what the charts are drawn from.
//! * [`report`]: the model of it all. `format`: how figures are written for people.
//! * [`csv`]: the seconds themselves, for spreadsheets.
//! * [`text`], [`markdown`], [`junit`], [`html`], [`charts`]: its renderers; [`write`](mod@write):
//!   all of them as files.

pub mod charts;
pub mod csv;
pub mod error;
pub mod exit;
mod experiment;
pub mod faults;
mod format;
pub mod gates;
mod gather;
pub mod generator;
pub mod html;
pub mod journal;
pub mod journeys;
pub mod junit;
pub mod markdown;
pub mod report;
pub mod seconds;
pub mod series;
pub mod slo;
mod stats;
pub mod steering;
pub mod steps;
pub mod summary;
#[cfg(test)]
mod testing;
pub mod text;
mod verdict;
pub mod windows;
pub mod write;

pub use error::ReportError;
pub use report::{Report, build};
pub use text::render_text;
pub use write::write_all;
