//! A scenario as it is typed: the TOML tables and their keys, before anything is checked.
//!
//! # Layout
//!
//! * [`tables`]: the tables and their keys; the JSON Schema is generated from them.
//! * [`shapes`]: the shapes that a phase's rate can have.
//! * [`faults`]: what goes wrong, what it acts on, and what must hold around it.
//! * [`journeys`]: virtual users and what they do.
//! * [`scalar`]: values that know where they stand, and texts that hold a unit.
//! * `read`: TOML to tables, telling several mistakes at once.

pub mod faults;
pub mod journeys;
pub(crate) mod read;
pub mod scalar;
pub mod shapes;
pub mod tables;
