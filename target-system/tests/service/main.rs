//! The built service, from outside.
//!
//! Every test starts the binary on a folder and ports of its own and talks to it over TCP.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod admin;
mod api;
mod auth;
mod collector;
mod crash;
mod dependencies;
mod faults;
mod idempotency;
mod keeping;
mod keys;
mod lifecycle;
mod limits;
mod logins;
mod methods;
mod notify;
mod observed;
mod overload;
mod ownership;
mod profile;
mod receiver;
mod roles;
mod secrets;
mod support;
mod tls;
mod traces;
mod users;
