//! A run as it stands: what the terminal UI and the plain output draw from.
//!
//! [`Live`] is a sink of the one stream of a run, live or read back. After each second and each
//! event it publishes a new immutable [`View`] through a [`SharedView`]; whoever draws takes the
//! newest and never blocks the run for longer than it takes to swap a pointer.
//!
//! Memory is bounded whatever the length of the run: the past is kept in at most
//! [`MAX_COLUMNS`] columns, and when they are full two neighbours become one, by adding their
//! counts and merging their histograms. No percentile is ever averaged.
//!
//! # Layout
//!
//! * `buckets`: the small histogram that a column keeps.
//! * `history`: columns of the past, and resampling them onto a chart's cells.
//! * `slo`: what has become of the promises so far.
//! * `course`: when a fault shows in them, and when it is over.
//! * `view`: the immutable picture and how it is shared.
//! * `feed`: the sink that makes it.

mod buckets;
mod course;
mod feed;
mod history;
mod slo;
mod view;

#[cfg(test)]
#[path = "../../examples/tui-demo/synthetic.rs"]
pub(crate) mod sample;

pub use buckets::Buckets;
pub use feed::{Live, MAX_FAULT_WINDOWS, MAX_MARKS, MAX_NOTES};
pub use history::{Column, History, MAX_COLUMNS, RECENT_S, resample};
pub use slo::{BURN_WINDOW_S, SloRow, SloState};
pub use view::{
    ErrorRow, FaultState, FaultWindow, GeneratorView, JourneyView, Note, Percentiles, SharedView, Stage,
    TargetView, Tone, View, printable,
};
