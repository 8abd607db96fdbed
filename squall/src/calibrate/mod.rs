//! How fast and how punctual the generator is on this machine.
//!
//! The real engine loads a built-in responder, a process of its own on loopback, at one rate after
//! the other. A rate is *kept* when the 99th percentile of schedule lag stays at or under
//! [`KEPT_LAG_US`] and every arrival is answered. Rates double until one is not kept; between the
//! last that was and the first that was not, the search goes on by halves (on a logarithmic scale).
//!
//! On a machine where responder and generator share cores the result is what the two can do
//! together, as it is for any target on the same machine.
//!
//! # Layout
//!
//! * [`measure`]: one step: the engine at one rate, or as fast as it goes; the machine's timers.
//! * [`ladder`]: which rate comes next.
//! * [`responder`]: the child process that answers.
//! * [`result`]: what was found, and as what machine.
//! * [`saved`]: the result, kept for later runs.
//! * [`show`]: the result as text.

pub mod ladder;
pub mod measure;
pub mod responder;
pub mod result;
pub mod saved;
pub mod show;

/// The 99th percentile of schedule lag that a rate may have to count as kept: from a millisecond
/// on, an arrival is late.
pub const KEPT_LAG_US: u64 = 1_000;
