//! The built service on a real Postgres server, from outside: what holds for the embedded store holds
//! here, and what holds here alone.
//!
//! Each test starts servers of its own: `place` says where.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test")]

#[path = "../service/api.rs"]
mod api;
mod authorized;
mod cache;
#[path = "../service/collector.rs"]
mod collector;
mod contained;
mod container;
mod faults;
#[path = "../service/idempotency.rs"]
mod idempotency;
mod installed;
mod keeping;
mod lapses;
#[path = "../service/logins.rs"]
mod logins;
#[path = "../service/methods.rs"]
mod methods;
mod nats;
mod outage;
mod own;
#[path = "../service/ownership.rs"]
mod ownership;
mod place;
mod queue;
#[path = "../service/receiver.rs"]
mod receiver;
mod redis;
mod replicas;
#[path = "../service/roles.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod roles;
#[path = "../service/secrets.rs"]
mod secrets;
mod security;
mod server;
mod shards;
mod stack;
mod striped;
#[path = "../service/support.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod support;
mod traced;
mod transfers;
#[path = "../service/users.rs"]
mod users;
mod watched;
