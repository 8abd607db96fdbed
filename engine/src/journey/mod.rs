//! Journeys: closed-loop virtual users, run by goose in a process of their own.
//!
//! goose is made to be a program, not a part of one. It installs a logger, takes over Ctrl-C (and
//! leaves the process on the second), listens for telnet, prints its metrics, and stops by a
//! switch that is global to the process. Each of these would break a run that has its own answer
//! to it. So goose gets what it expects, a process, started from squall's own file:
//!
//! * It is in a process group of its own, so a Ctrl-C on the terminal does not reach it. The
//!   parent hears the Ctrl-C and tells it to stop.
//! * Its standard output is `/dev/null`; its standard error is a file of the run folder.
//! * Its logger is installed before goose's, and says nothing; telnet, metrics and reports are
//!   switched off besides.
//! * Its environment is empty, so neither a proxy nor a setting of goose's comes from outside, and
//!   the run's secrets are in neither its arguments nor its environment.
//! * Its standard input is a socket to the parent: orders come in, seconds go out, a line each.
//!   When it closes, the process ends, so users cannot outlive a killed squall. When the process
//!   does not end in time, the parent kills it.
//!
//! goose brings the users, their sessions and the loop over iterations, and sends the requests.
//! What a request took and came to is measured here, to the end of its body (goose times up to the
//! headers), on the run's clock, into the run's histograms.
//!
//! # Layout
//!
//! * [`users`]: the parent's end: starting, listening, stopping.
//! * [`process`]: the process's end: from an order to goose and back.
//! * `user`: one iteration of one user.
//! * `exchange`: from a response, or its absence, to what it says.
//! * `board`: a second's counts and histograms.
//! * `wire`: what parent and process say to each other.

mod board;
mod exchange;
pub mod process;
mod user;
pub mod users;
mod wire;
