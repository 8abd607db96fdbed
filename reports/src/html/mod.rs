//! `report.html`: one file that opens from disk, asks nothing of any network, and is readable in
//! light, dark and on paper.
//!
//! # Layout
//!
//! * [`escape`](mod@escape): everything that came from outside passes through it.
//! * `parts`: tables, cards, charts with their data.
//! * [`style`]: the style sheet, with the charts' colours for light and dark.
//! * `run`, `sections`, `faults`, `journeys`: what was run, and what came of it; [`page`]: the order of it all.

pub mod escape;
mod faults;
mod journeys;
pub mod page;
mod parts;
mod run;
mod sections;
pub mod style;

pub use escape::{escape, prose};
pub use page::render_html;
