//! Faults as leases.
//!
//! A fault is armed where it acts, for a time that the place itself enforces: nobody has to be
//! alive to end it. Which requests it hits is not drawn from a generator but computed from
//! (seed, fault, request, attempt), so the same experiment hits the same requests however its
//! threads interleave. What reproduces is the decision; wall-clock timings do not.
//!
//! # Layout
//!
//! * `acts` (feature `acts`): faults on processes, containers, databases, caches and queues, and the process in which they act.
//! * [`decision`]: the pure draws.
//! * [`lease`]: what a run sends to a service and gets back, and what may be asked at all.
//! * `leases` (feature `layer`): the faults armed in this process, each ending by itself.
//! * `host` (feature `layer`): what the process around does for faults that need its help.
//! * `armed`, `hits`, `brown_out`, `burden` (feature `layer`): one lease, whom it has hit, and what some of them do.
//! * `points` (feature `layer`): what a request suffers when it passes a fault point.
//! * `slow_body` (feature `layer`): an answer whose body comes slowly.
//! * `layer` (feature `layer`): the tower layer that any HTTP service embeds for the `api` point.
//! * `proxy` (feature `proxy`): faults on connections, with Toxiproxy's API.
//! * `switches` (feature `layer`): the environment's `CHAOS_ENGINEERING_ENABLED`.

#[cfg(feature = "acts")]
pub mod acts;
#[cfg(feature = "layer")]
mod armed;
#[cfg(feature = "layer")]
mod brown_out;
#[cfg(feature = "layer")]
mod burden;
pub mod decision;
#[cfg(feature = "layer")]
mod hits;
#[cfg(feature = "layer")]
pub mod host;
#[cfg(feature = "layer")]
pub mod layer;
pub mod lease;
#[cfg(feature = "layer")]
pub mod leases;
#[cfg(feature = "layer")]
pub mod points;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "layer")]
pub mod slow_body;
#[cfg(feature = "layer")]
pub mod switches;
