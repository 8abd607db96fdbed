//! The scenario language: what was typed, what it means, and the schedule and requests it asks for.
//!
//! [`source::resolve`] finds a scenario's text, [`load::load`] turns it into a [`plan::Plan`] or
//! tells everything that is wrong with it. Pure but for reading files, that one and what it
//! refers to: nothing here reads a clock, opens a socket or writes a file.
//!
//! # Layout
//!
//! * [`source`], [`library`]: where a scenario's text comes from; what is shipped.
//! * [`load`]: text and overrides to plan. [`overrides`]: `--set key.path=value`.
//! * [`mod@file`]: what was typed. [`schema`]: its JSON Schema.
//! * [`lower`]: from typed to meant, and every check on the way.
//! * [`units`], [`gate`], [`host`]: rates, durations and shares; gates; hosts that may be loaded.
//! * [`error`]: what is told to a person, with file, line and the way out.
//! * [`plan`]: what a scenario means. Everything downstream sees only this.
//! * [`curve`]: rates over time: what every traffic shape becomes. [`bursts`]: how bursty arrivals are.
//! * [`explain`]: a plan as text.
//! * [`schedule`]: when each arrival is intended, also when the rate is changed on the way.
//! * [`content`]: what each arrival asks for. [`workload`], [`template`]: the same as bytes, rendered once and
//!   patched.
//! * [`check`], [`retry`]: what an answer must say; when a failed request is asked again.
//! * [`feeder`]: rows of CSV files to fill requests with. [`place`]: how a value is written where it stands.
//! * [`trace`]: recorded traffic, read as it is replayed.
//! * [`journey`]: what a closed-loop user sends, with values from earlier answers.
//! * [`draw`]: random numbers that belong to an arrival, not to a thread.

pub mod bursts;
pub mod check;
pub mod closed;
pub mod content;
pub mod curve;
pub mod draw;
mod edited;
pub mod error;
pub mod explain;
pub mod feeder;
pub mod file;
mod findings;
pub mod gate;
pub mod host;
mod input;
pub mod journey;
pub mod library;
pub mod load;
pub mod lower;
pub mod overrides;
pub mod place;
pub mod plan;
pub mod retry;
pub mod schedule;
pub mod schema;
pub mod source;
pub mod template;
pub mod trace;
pub mod units;
pub mod words;
pub mod workload;
