//! A run on a full screen, while it goes on.
//!
//! The screen is drawn from the newest immutable [`crate::live::View`] a few times a second and
//! only when something changed; a run never waits for its picture. Heights are fixed, so that
//! nothing jumps when errors appear. Every meaning that has a colour also has a word, a glyph or
//! a place, and the terminal is put back as it was on every way out.
//!
//! # Layout
//!
//! * `app`: the loop: newest view, keys, draw.
//! * `screen`: the terminal, taken and given back, also after a panic.
//! * `keys`: the one table of keys; the key bar and the help are made from it.
//! * `state`: what the person at the keyboard chose.
//! * `layout`: which panel is where, for every size.
//! * `draw`: the whole picture.
//! * `header`, `tables`, `charts`, `heatmap`, `overlay`: its parts.
//! * `axis`, `plot`: scales, and dots and lines in character cells.
//! * `theme`: colours, or none.
//! * `ascii`: the picture for terminals without UTF-8.

mod app;
mod ascii;
mod axis;
mod charts;
mod draw;
mod header;
mod heatmap;
mod keys;
mod layout;
mod overlay;
mod plot;
mod screen;
mod state;
mod tables;
mod theme;

pub use app::{Commands, run};
pub use draw::draw;
pub use keys::{Action, KEYS, Key};
pub use layout::{MIN_HEIGHT, MIN_WIDTH};
pub use screen::restore;
pub use state::{Overlay, Panel, Sight, State};
pub use theme::{Depth, Theme};

#[cfg(test)]
mod tests;
