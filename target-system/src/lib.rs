//! The reference payment service.
//!
//! One process on an embedded, durable store. A payment moves money between two accounts as a
//! double entry; it is acknowledged after it is on disk, at most once for each idempotency key,
//! under a gapless commit number. Everything that can go wrong on purpose goes wrong at a named
//! fault point, and every invariant can be checked from outside (`GET /v1/audit`).
//!
//! The life of a payment: [`http`] parses and checks it, takes its key for itself, and hands it
//! to the [`writer`], which alone changes the [`ledger`]. The writer commits what has arrived in
//! one batch with one sync and then answers. A client that hangs up meanwhile changes nothing.
//!
//! # Layout
//!
//! * [`money`], [`ids`], [`record`], [`decline`]: the nouns.
//! * [`ledger`]: accounts and balances in memory; the rules of double entry.
//! * [`bank`]: where payments are kept, one of two.
//! * [`store`]: the embedded one: rows on disk, recovery, the recount.
//! * [`writer`]: the one thread that commits to it.
//! * [`postgres`]: the other: a database that several processes use, and its replicas.
//! * [`cache`]: balances kept near by processes that share a database.
//! * [`idempotency`]: keys, and the requests that hold one now.
//! * [`fraud`], [`notify`]: what happens before and after a payment.
//! * [`auth`]: tokens, passwords.
//! * [`http`]: the listeners, the API, the admin port.
//! * [`metrics`], [`process`]: what the service says of itself.
//! * [`limits`]: every bound by name.
//! * [`cli`], [`serve`]: the arguments and the story from start to drain.

pub mod auth;
pub mod bank;
pub mod cache;
pub mod cli;
pub mod decline;
pub mod fraud;
pub mod http;
pub mod idempotency;
pub mod ids;
pub mod ledger;
pub mod limits;
pub mod metrics;
pub mod money;
pub mod notify;
pub mod postgres;
pub mod process;
pub mod record;
pub mod serve;
pub mod store;
pub mod writer;
