//! Charts as SVG, each with the table of its figures.
//!
//! # Layout
//!
//! * [`chart`]: what a chart is, and which ones a run has.
//! * [`palette`]: the colours, and the dashes that go with them so that colour never stands alone.
//! * [`axis`]: linear and logarithmic axes with round ticks.
//! * [`plot`]: a sheet with a legend and a coordinate system; [`timeline`]: one over a run's time,
//!   with warm-ups and faults marked.
//! * One file per chart: [`throughput`], [`latency`], [`heatmap`], [`spectrum`], [`load`],
//!   [`failures`], [`availability`].

pub mod availability;
pub mod axis;
pub mod chart;
pub mod failures;
pub mod heatmap;
pub mod latency;
pub mod load;
pub mod palette;
pub mod plot;
pub mod spectrum;
pub mod throughput;
pub mod timeline;

pub use chart::{Chart, Dress, Table, charts};
