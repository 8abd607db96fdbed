//! How long the embedded store keeps keys.

use crate::support::Service;

#[test]
fn keys_beyond_the_limit_are_forgotten_oldest_first() {
    let service = Service::start(&["--key-limit", "5"]);
    let mut c = service.client();
    for i in 0..30 {
        // Declines hold keys as well.
        let amount = if i % 4 == 0 { 105 } else { 100 };
        c.pay(&format!("k{i}"), 1, 2, amount);
    }
    service.wait_until("five keys are left", |h| h["idempotency"]["keys"] == 5);
    assert_eq!(c.get("/v1/payments?idempotency_key=k29").status, 200);
    assert_eq!(c.get("/v1/payments?idempotency_key=k24").status, 404);
    let anew = c.pay("k1", 1, 2, 100);
    assert_eq!(
        (anew.status, anew.header("idempotent-replayed")),
        (201, None),
        "a forgotten key is a new one"
    );
    service.wait_until("five keys are left again", |h| h["idempotency"]["keys"] == 5);
    let audit = service.audit();
    assert_eq!(audit["balanced"], true, "{audit}");
    assert_eq!(audit["recount"]["keys"], 5);
}

#[test]
fn keys_beyond_the_window_are_forgotten_even_when_idle() {
    let service = Service::start(&["--key-window-s", "1"]);
    let mut c = service.client();
    c.pay("k", 1, 2, 100);
    c.pay("l", 1, 2, 105);
    service.wait_until("no key is left", |h| h["idempotency"]["keys"] == 0);
    assert_eq!(c.get("/v1/payments?idempotency_key=k").status, 404);
    assert_eq!(c.get("/v1/payments/pay_0000000000000001").status, 200, "the payment stays");
    assert_eq!(service.audit()["recount"]["sound"], true);
}

#[test]
fn what_watches_the_service_finds_how_many_are_kept() {
    let service = Service::start(&[]);
    let mut c = service.client();
    c.pay("k", 1, 2, 100);
    c.pay("k", 1, 2, 100);
    assert_eq!(service.health()["idempotency"]["keys"], 1);
    let metrics = c.send("GET", "/metrics", &[], b"").body;
    assert!(metrics.lines().any(|l| l == "idempotency_keys 1"), "{metrics}");
}
