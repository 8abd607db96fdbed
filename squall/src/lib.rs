//! The command `squall`: arguments, wiring and everything that a person sees while a run goes on.
//!
//! # Layout
//!
//! * [`cli`]: the arguments; [`commands`]: one function a command.
//! * [`calibrate`]: how fast and how punctual the generator is on this machine.
//! * [`run`]: the parts of a run beside the load itself.
//! * [`outputs`]: its figures for other programs: Prometheus, OpenTelemetry.
//! * [`live`]: a run as it stands, in bounded memory, fed by the one stream of ticks and events.
//! * [`plain`]: that view as lines of text, for CI and logs.
//! * [`tui`]: that view on a full screen.
//! * [`stdout`]: results, whole or not at all.
//! * [`text`]: numbers and times as people read them, and what a terminal can show of them.

pub mod calibrate;
pub mod cli;
pub mod commands;
pub mod live;
pub mod outputs;
pub mod plain;
pub mod run;
pub mod stdout;
pub mod text;
pub mod tui;
