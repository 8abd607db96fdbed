//! What a busy machine does to a process that is not asked for a while: a lease is over, somebody has waited in vain, a
//! replica is slow. The service says so in its figures. A test that asserts how often something is asked looks there whether
//! it was left alone, and tries again where it was not; it fails when it never is.

use serde_json::Value;

use crate::replicas::figure;
use crate::support::Service;

/// How often a test tries.
pub const TRIES: u32 = 10;

/// What tells of it.
const LAPSES: [&str; 10] = [
    "cache_bypassed_total",
    "cache_stale_refused_total",
    "cache_redis_errors_total",
    "cache_epochs_ended_total",
    "cache_opened_total",
    r#"cache_waits_in_vain_total{level="l1"}"#,
    r#"cache_waits_in_vain_total{level="l2"}"#,
    r#"store_replica_fallbacks_total{reason="none_fit"}"#,
    r#"store_replica_fallbacks_total{reason="error"}"#,
    r#"store_replica_fallbacks_total{reason="behind"}"#,
];

/// The cache is open and all replicas are used, as far as there are any.
fn is_at_ease(health: &Value) -> bool {
    let replicas = health["replicas"].as_array();
    health["cache"]["open"] != false && replicas.is_none_or(|all| all.iter().all(|r| r["used"] == true))
}

/// What comes of `attempt`, when no cache and no replica of `services` has failed it meanwhile.
pub fn left_alone<T>(services: &[&Service], attempt: impl FnOnce() -> T) -> Option<T> {
    let lapses = || services.iter().map(|s| LAPSES.map(|name| figure(s, name))).collect::<Vec<_>>();
    for service in services {
        service.wait_until("it is at ease", is_at_ease);
    }
    let before = lapses();
    let came = attempt();
    let after = lapses();
    for (before, after) in before.iter().zip(&after) {
        for ((name, before), after) in LAPSES.iter().zip(before).zip(after).filter(|((_, b), a)| b != a) {
            eprintln!("not left alone: {name} was {before} and is {after}");
        }
    }
    (after == before).then_some(came)
}

/// The same of the first attempt that was left alone; each is given its number, from 1.
pub fn undisturbed<T>(services: &[&Service], mut attempt: impl FnMut(u32) -> T) -> T {
    (1..=TRIES)
        .find_map(|n| left_alone(services, || attempt(n)))
        .unwrap_or_else(|| panic!("not left alone once in {TRIES} tries"))
}
