//! What the naive profile breaks, and the hardened one does not.

use crate::support::Service;

/// A client that asks again while its first request is under way pays twice.
#[test]
fn a_key_without_a_lock_pays_twice() {
    for (profile, payments) in [("hardened", 1), ("naive", 2)] {
        let service = Service::start(&["--profile", profile]);
        service.arm("stuck", "store", r#"{"kind":"hang"}"#, 60_000);
        let (mut first, mut again) = (service.client(), service.client());
        first.write_payment("k", 1, 2, 100);
        service.wait_for_hits(1);
        again.write_payment("k", 1, 2, 100);
        if profile == "naive" {
            service.wait_for_hits(2);
            service.end("stuck");
            assert_eq!(again.read().unwrap().status, 201);
        } else {
            assert_eq!(again.read().unwrap().status, 409);
            service.end("stuck");
        }
        assert_eq!(first.read().unwrap().status, 201);
        let made = service.audit()["payments"].as_u64().unwrap();
        // Account 1 pays no fee: it is the one that gets them.
        assert_eq!(made, payments, "{profile}");
    }
}

/// Every payment of the naive profile also writes to one account.
#[test]
fn a_fee_makes_one_account_hot() {
    let service = Service::start(&["--profile", "naive"]);
    let mut c = service.client();
    for n in 0..5 {
        assert_eq!(c.pay(&format!("k-{n}"), 2 + n, 9, 100).status, 201);
    }
    let balance = |c: &mut crate::support::Client, n: u32| {
        c.get(&format!("/v1/accounts/acc_{n:08}")).json()["balance"].as_i64()
    };
    assert_eq!(balance(&mut c, 1), Some(1_000_005));
    assert_eq!(balance(&mut c, 2), Some(1_000_000 - 100 - 1));
    assert_eq!(c.pay("k-0", 2, 9, 100).header("Idempotent-Replayed"), Some("true"));
    assert_eq!(balance(&mut c, 1), Some(1_000_005), "a replay costs no fee");
    assert_eq!(service.audit()["balanced"], true);
}

/// Whoever waits for the fraud check longer than its client waits for it gives no answer in time.
#[test]
fn a_check_that_hangs_takes_the_naive_service_with_it() {
    for (profile, status) in [("hardened", 201), ("naive", 504)] {
        let service = Service::start(&["--profile", profile, "--request-timeout-ms", "1500"]);
        service.arm("gone", "fraud", r#"{"kind":"hang"}"#, 60_000);
        assert_eq!(service.client().pay("k", 2, 3, 100).status, status, "{profile}");
    }
}

/// What has no bound takes everything, and answers nobody in time.
#[test]
fn an_unbounded_queue_lets_everything_in() {
    let service = Service::start(&["--profile", "naive", "--queue-limit", "1"]);
    let health = service.health();
    assert_eq!(health["store"]["queue_limit"], 1_000_000);
    assert!(health["admission"]["limit"].is_null(), "{health}");
}
