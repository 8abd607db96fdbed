//! What a run leaves behind.
//!
//! Every other room speaks in the nouns of this one: the [`clock`] that all times come from,
//! what became of a request ([`outcome`], [`counts`]), how long it took ([`latency`]), the
//! one-second [`interval`] that the engine publishes, the [`event`]s between them, the
//! [`fault`]s that acted, and the run [`folder`] they are all appended to.
//!
//! # Layout
//!
//! * [`clock`]: the only place that reads a clock.
//! * [`outcome`], [`counts`]: what became of each planned arrival; the sums that must hold.
//! * [`latency`]: histograms that know when they were clipped.
//! * [`interval`]: one second of one request class in one phase, and the [`interval::Tick`] that
//!   carries a whole second to every sink.
//! * [`event`], [`fault`]: what happened between the seconds.
//! * [`trace`]: what became of a trace that was replayed.
//! * [`journey`]: one second of the closed-loop users, apart from all of the above.
//! * [`ops`]: one fixed-size line for each payment attempted, for the audit.
//! * [`manifest`], [`folder`]: the run folder, written as the run goes and read back after it.

pub mod clock;
pub mod counts;
pub mod event;
pub mod fault;
pub mod folder;
pub mod interval;
pub mod journey;
pub mod latency;
pub mod manifest;
pub mod ops;
pub mod outcome;
pub mod trace;
