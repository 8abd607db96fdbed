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
//! * [`shards`]: several such databases, among which accounts are divided.
//! * [`cache`]: balances kept near by processes that share a database.
//! * [`idempotency`]: keys, and the requests that hold one now.
//! * [`fraud`], [`network`]: what happens before a payment.
//! * [`dependencies`]: the services that are asked before a payment, when there are any.
//! * [`resilience`]: what stands between this service and those.
//! * [`role`]: what those services have in common; they are roles of the same program.
//! * [`queue`], [`worker`]: what happens after it: notices, and who delivers them.
//! * [`auth`]: tokens, passwords, roles.
//! * [`cards`]: tokens that stand for cards.
//! * [`http`]: the listeners, the API, the admin port.
//! * [`metrics`], `business`, [`process`]: what the service says of itself.
//! * [`admission`], [`strain`]: how much work is taken on, and whether a balancer should send more.
//! * [`profile`]: strong, or weak on purpose.
//! * [`trace`], [`log`]: which request the code works for, told to a collector and in lines.
//! * [`wall`]: what day it is.
//! * [`panics`]: a panic ends a request, and not what others share.
//! * [`limits`]: every bound by name.
//! * [`cli`], [`serve`]: the arguments and the story from start to drain.

pub mod admission;
pub mod auth;
pub mod bank;
mod business;
pub mod cache;
pub mod cards;
pub mod cli;
pub mod decline;
pub mod dependencies;
pub mod fraud;
pub mod http;
pub mod idempotency;
pub mod ids;
pub mod ledger;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod money;
pub mod network;
pub mod panics;
pub mod postgres;
pub mod process;
pub mod profile;
pub mod queue;
pub mod record;
pub mod resilience;
pub mod role;
pub mod serve;
pub mod shards;
pub mod store;
pub mod strain;
mod timer;
pub mod trace;
pub mod wall;
pub mod worker;
pub mod writer;
