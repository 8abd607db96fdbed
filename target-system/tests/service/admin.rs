//! Faults over the admin port, and what they do at each point.

use squall_chaos::lease::FaultStatus;

use crate::support::{Service, wait_for};

const ERROR: &str = r#"{"kind":"error","status":503}"#;
const HANG: &str = r#"{"kind":"hang"}"#;

#[test]
fn a_fault_is_armed_listed_and_ended() {
    let service = Service::start(&[]);
    let armed = service.arm("store down", "store", ERROR, 60_000);
    assert_eq!(armed.status, 201);
    let armed: FaultStatus = serde_json::from_str(&armed.body).unwrap();
    assert!(armed.remaining_ms > 50_000 && armed.affected == 0);
    assert_eq!(service.health()["faults"][0], "store down");
    service.client().pay("k", 1, 2, 100);
    let listed = service.administer("GET", "/admin/faults", "").json();
    assert_eq!((listed[0]["affected"].as_u64(), listed.as_array().unwrap().len()), (Some(1), 1));
    let ended = service.end("store%20down");
    assert_eq!((ended.status, ended.json()["affected"].as_u64()), (200, Some(1)));
    assert_eq!(service.end("store%20down").status, 200, "asked again, told again");
    assert_eq!(service.end("nothing").status, 404);
    assert_eq!(service.administer("GET", "/admin/faults", "").body, "[]");
}

#[test]
fn a_fault_that_makes_no_sense_is_refused() {
    let service = Service::start(&[]);
    let got = service.arm("f", "store", r#"{"kind":"error","status":200}"#, 1000);
    assert_eq!((got.status, got.code().as_str()), (400, "fault_refused"));
    assert_eq!(service.arm("f", "store", ERROR, 0).status, 400);
    assert_eq!(service.arm("f", "moon", ERROR, 1000).status, 400);
    assert_eq!(service.administer("POST", "/admin/faults", "{}").status, 400);
}

#[test]
fn a_fault_ends_by_itself() {
    let service = Service::start(&[]);
    // A payment that comes when it is over already says nothing.
    let name = (0..10).map(|n| format!("f{n}")).find(|name| {
        service.arm(name, "store", ERROR, 200);
        service.client().pay(&format!("k-{name}"), 1, 2, 100).status == 503
    });
    let name = name.expect("a payment meets a fault");
    wait_for("it ends", || service.client().pay("k", 1, 2, 100).status == 201);
    let ended = service.end(&name);
    assert_eq!((ended.status, ended.json()["remaining_ms"].as_u64()), (200, Some(0)));
    assert!(ended.json()["affected"].as_u64() >= Some(1));
}

#[test]
fn a_failing_store_is_a_failure_and_executes_nothing() {
    let service = Service::start(&[]);
    service.arm("f", "store", ERROR, 60_000);
    let got = service.client().pay("k", 1, 2, 100);
    assert_eq!((got.status, got.code().as_str()), (503, "store_unavailable"));
    assert_eq!(got.header("not-executed"), None, "it is not shed: the client must count it as failed");
    service.end("f");
    assert_eq!(service.client().get("/v1/payments?idempotency_key=k").status, 404);
    assert_eq!(service.audit()["payments"], 0);
}

#[test]
fn a_slow_store_answers_late_and_reads_go_on() {
    let service = Service::start(&[]);
    service.arm("f", "store", r#"{"kind":"latency","delay":{"shape":"fixed","ms":60000}}"#, 60_000);
    let mut slow = service.client();
    slow.write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    assert_eq!(service.client().get("/v1/accounts/acc_00000001").status, 200);
    service.end("f");
    assert_eq!(slow.read().unwrap().status, 201);
}

#[test]
fn the_api_point_acts_before_anything_else_but_not_on_who_watches() {
    let service = Service::start(&[]);
    service.arm("f", "api", ERROR, 60_000);
    let got = service.client().with_token("no-token-at-all-").get("/v1/audit");
    assert_eq!((got.status, got.header("squall-fault")), (503, Some("f")));
    assert!(got.header("request-id").is_some());
    assert_eq!(service.client().get("/health").status, 200);
    service.end("f");
    service.arm("g", "api", HANG, 60_000);
    let mut held = service.client();
    held.write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    service.end("g");
    assert_eq!(held.read().unwrap().status, 201);
}

#[test]
fn without_a_fraud_check_payments_go_on_but_large_ones() {
    let service = Service::start(&["--fraud-limit", "1000"]);
    assert_eq!(service.client().pay("a", 1, 2, 1001).code(), "fraud_suspected");
    service.arm("f", "fraud", ERROR, 60_000);
    let degraded = service.client().pay("b", 1, 2, 1001);
    assert_eq!((degraded.status, degraded.header("degraded")), (201, Some("fraud")));
    let replayed = service.client().pay("b", 1, 2, 1001);
    assert_eq!((replayed.status, replayed.header("degraded")), (201, None));
    assert_eq!(replayed.body, degraded.body);
    assert_eq!(service.health()["fraud_fallbacks"], 1);
    service.end("f");
    service.arm("g", "fraud", HANG, 60_000);
    assert_eq!(service.client().pay("c", 1, 2, 1001).status, 201, "it does not wait for ever either");
    assert_eq!(service.health()["fraud_fallbacks"], 2);
    assert_eq!(service.client().pay("d", 1, 2, 1_000_002).code(), "review_required");
    service.end("g");
    assert_eq!(service.client().pay("e", 1, 2, 100).header("degraded"), None);
}

#[test]
fn notifications_fail_and_overflow_without_a_word_to_the_client() {
    let service = Service::start(&[]);
    service.arm("f", "notify", ERROR, 60_000);
    assert_eq!(service.client().pay("a", 1, 2, 100).status, 201);
    service.wait_until("it failed", |h| h["notifications"]["failed"].as_u64() > Some(0));
    assert_eq!(service.health()["notifications"]["sent"], 0);
    service.end("f");
    service.wait_until("it is tried again", |h| h["notifications"]["sent"] == 1);
    service.arm("g", "notify", HANG, 3_600_000);
    // Workers hold up to 256 each, the queue 4096 of a priority; what comes on top is lost and counted.
    std::thread::scope(|s| {
        for c in 0..16 {
            let service = &service;
            s.spawn(move || {
                let mut client = service.client();
                for i in 0..300 {
                    assert_eq!(client.pay(&format!("n{c}-{i}"), 1 + c % 4, 5 + c % 4, 100).status, 201);
                }
            });
        }
    });
    service.wait_until("some are lost", |h| h["notifications"]["lost"].as_u64() > Some(0));
    service.end("g");
    service.wait_until("the others arrive", |h| {
        let n = &h["notifications"];
        n["sent"].as_u64().unwrap() + n["lost"].as_u64().unwrap() == 4801
    });
}
