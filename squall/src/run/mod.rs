//! The parts of a run beside the load itself.
//!
//! # Layout
//!
//! * [`stream`]: one stream of ticks, events and samples to every sink.
//! * [`experiment`]: what an experiment holds the run to while it goes on.
//! * [`control`]: changing the run while it goes on.
//! * [`child`]: the reference service as a child of the run.
//! * [`stack`]: the reference service as a stack of docker compose.
//! * [`users`]: the journeys' virtual users as a child of the run.
//! * [`admin`]: arming and ending faults over the service's admin port.
//! * [`places`]: what the places of a plan's faults are.
//! * [`holders`]: faults inside the service, renewed while they last; [`outside`]: the guard, in which all others act.
//! * [`proxies`]: proxies as a child of the run, and faults on them.
//! * [`timeline`]: phases and faults, each at its time.
//! * [`watch`]: what the target says of itself, each second.
//! * [`interrupt`]: Ctrl-C once ends the run, twice leaves at once.
//! * [`preflight`]: what can be known to fail before the first request.

pub mod admin;
pub mod child;
pub mod control;
pub mod experiment;
pub mod holders;
pub mod interrupt;
pub mod outside;
pub mod places;
pub mod preflight;
pub mod proxies;
pub mod stack;
pub mod stream;
pub mod timeline;
pub mod users;
pub mod watch;
