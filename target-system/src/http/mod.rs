//! The API and the admin port over HTTP/1.1.
//!
//! # Layout
//!
//! * [`accept`]: the accept loop, its limits, and the drain.
//! * [`tls`]: what stands around a connection, when that is asked for.
//! * [`express`]: the short way of a payment and of a balance, past hyper.
//! * [`app`]: what every handler shares.
//! * [`api`]: the routes; who may call them, how long they may take, what is counted.
//! * [`rates`]: how many requests each caller has.
//! * [`checkout`]: a payment that asks other services first.
//! * [`payments`], [`accounts`], [`methods`], [`login`], [`status`]: the handlers.
//! * [`admin`]: faults and drain.
//! * [`body`], [`render`], [`problem`]: bytes in, bytes out, errors out.
//! * [`openapi`], [`schemas`]: the API, described.
//! * [`peer`]: another service, asked.

pub mod accept;
pub mod accounts;
pub mod admin;
pub mod api;
pub mod app;
pub mod body;
pub mod checkout;
pub mod express;
pub mod login;
pub mod methods;
pub mod openapi;
pub mod payments;
pub mod peer;
pub mod problem;
pub mod rates;
pub mod render;
pub mod schemas;
pub mod status;
pub mod tls;
