//! Faults outside the service, through the binary: on real processes, containers, databases, caches and queues. Whichever
//! way a fault ends, also by SIGKILL of whoever asked for it, its place is clean again.
#![expect(clippy::unwrap_used, reason = "a test's helper fails the test")]

#[path = "../../target-system/tests/postgres/container.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod container;
mod containers;
mod databases;
mod guard;
#[path = "../support/mod.rs"]
mod harness;
#[path = "../../target-system/tests/postgres/installed.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod installed;
#[path = "../../target-system/tests/postgres/nats.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod nats;
#[path = "../../target-system/tests/postgres/place.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod place;
mod processes;
#[path = "../../target-system/tests/postgres/redis.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod redis;
mod runs;
#[path = "../../target-system/tests/postgres/server.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod server;

/// What the servers of these tests are waited for with.
mod support {
    pub fn wait_for(what: &str, mut check: impl FnMut() -> bool) {
        crate::harness::wait_for(what, || check().then_some(()));
    }
}
