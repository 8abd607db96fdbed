//! What each fault inside of the service really does, and that the service is whole afterwards.

use std::time::Duration;

use squall_chaos::decision::draw;
use squall_chaos::layer::Subject;
use squall_record::clock::{self, Clock};

use crate::support::{Service, wait_for};
use crate::users::{PASSWORD, field, log_in};

const PANIC: &str = r#"{"kind":"panic"}"#;
/// What `Service::arm` arms with.
const SEED: u64 = 7;

/// A key of which a fault `f` that meets half of the requests hits the first attempt, or does not.
fn key(hit: bool) -> String {
    let is_hit = |key: &String| draw(SEED, "f", Subject::new(key.as_bytes(), None, None).request_id, 0) < 0.5;
    (0..).map(|n| format!("key-{n}")).find(|key| is_hit(key) == hit).unwrap()
}

#[test]
fn a_panic_is_a_500_of_its_request_and_of_no_other() {
    let service = Service::start(&[]);
    service.arm_half("f", "api", PANIC);
    let mut c = service.client();
    // Both on one connection, and begun together.
    c.write_payment(&key(true), 1, 2, 100);
    c.write_payment(&key(false), 1, 2, 100);
    let (panicked, spared) = (c.read().unwrap(), c.read().unwrap());
    assert_eq!((panicked.status, panicked.code().as_str()), (500, "internal"));
    assert!(panicked.header("request-id").is_some());
    assert_eq!(spared.status, 201);
    service.arm("f", "api", PANIC, 60_000);
    assert_eq!(c.get("/v1/accounts/acc_00000001").status, 500, "the long way, too");
    assert_eq!(c.get("/v1/accounts/acc_00000001/balance").status, 500);
    service.end("f");
    assert_eq!(c.pay(&key(true), 1, 2, 100).status, 201, "the connection and the key are free");
    assert_eq!(service.audit()["payments"], 2);
}

#[test]
fn a_panic_inside_of_a_payment_leaves_its_key_free_and_nothing_executed() {
    let service = Service::start(&["--fraud-limit", "1000"]);
    for point in ["store", "fraud"] {
        service.arm("f", point, PANIC, 60_000);
        let mut c = service.client();
        for _ in 0..3 {
            let got = c.pay(point, 1, 2, 100);
            assert_eq!((got.status, got.code().as_str()), (500, "internal"), "{point}");
        }
        service.end("f");
        assert_eq!(c.pay(point, 1, 2, 100).header("idempotent-replayed"), None);
    }
    assert_eq!(service.audit()["payments"], 2);
}

#[test]
fn a_worker_that_panics_loses_no_notice() {
    let service = Service::start(&["--retry-base-ms", "20", "--max-deliveries", "1000"]);
    service.arm("f", "notify", PANIC, 60_000);
    let mut c = service.client();
    for n in 0..50 {
        assert_eq!(c.pay(&format!("k{n}"), 1, 2, 100).status, 201);
    }
    service.wait_until("each has panicked", |h| h["notifications"]["failed"].as_u64() >= Some(50));
    service.end("f");
    service.wait_until("all are delivered", |h| h["notifications"]["sent"] == 50);
    assert_eq!(service.health()["notifications"]["lost"], 0);
}

#[test]
fn a_slow_body_trickles_and_ends_with_its_lease() {
    let service = Service::start(&[]);
    for path in ["/v1/accounts/acc_00000001/balance", "/v1/accounts/acc_00000001"] {
        let usual = service.client().get(path);
        service.arm("f", "api", r#"{"kind":"slow_body","bytes_per_s":100}"#, 60_000);
        let clock = Clock::start();
        let slow = service.client().get(path);
        // All but the last piece have had their time.
        let least_ms = (slow.body.len() as u64 - 10) * 10 - 50;
        assert!(clock.until(least_ms * 1_000_000).is_zero(), "{path}: {} s", clock.now_s());
        assert_eq!((slow.status, &slow.body), (200, &usual.body));
        service.arm("f", "api", r#"{"kind":"slow_body","bytes_per_s":1}"#, 60_000);
        let mut c = service.client();
        let auth = format!("Bearer {}", c.token());
        c.write("GET", path, &[("Authorization", &auth)], b"").unwrap();
        // Its count goes on from before.
        service.wait_for_hits(2);
        service.end("f");
        assert_eq!(c.read().unwrap().body, usual.body);
    }
    service.arm("f", "api", r#"{"kind":"slow_body","bytes_per_s":200}"#, 60_000);
    assert_eq!(service.client().pay("k", 1, 2, 100).status, 201);
}

#[test]
fn a_lock_holds_up_also_those_that_it_does_not_hit() {
    let service = Service::start(&[]);
    service.arm_half("f", "store", r#"{"kind":"lock","hold_ms":60000}"#);
    let (mut holds, mut waits) = (service.client(), service.client());
    holds.write_payment(&key(true), 1, 2, 100);
    service.wait_for_hits(1);
    waits.write_payment(&key(false), 1, 2, 100);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(service.health()["store"]["payments"], 0);
    assert_eq!(service.end("f").json()["affected"], 1);
    assert_eq!((holds.read().unwrap().status, waits.read().unwrap().status), (201, 201));
}

#[test]
fn a_brown_out_fails_its_share_and_lets_in_its_capacity() {
    let service = Service::start(&[]);
    let brown_out = |ms: u32, errors: f64| {
        format!(
            r#"{{"kind":"brown_out","delay":{{"shape":"fixed","ms":{ms}}},"errors":{errors},"capacity":1,"ramp_ms":0}}"#
        )
    };
    service.arm("f", "store", &brown_out(0, 1.0), 60_000);
    let failed = service.client().pay("a", 1, 2, 100);
    assert_eq!((failed.status, failed.code().as_str()), (503, "store_unavailable"));
    service.end("f");
    // The one that is let in waits for its commit, and is inside until that is done.
    service.arm("commit", "commit", r#"{"kind":"latency","delay":{"shape":"fixed","ms":60000}}"#, 60_000);
    service.arm("f", "store", &brown_out(0, 0.0), 60_000);
    let mut clients = [service.client(), service.client()];
    clients[0].write_payment("b", 1, 2, 100);
    service.wait_for_hits(1);
    clients[1].write_payment("c", 1, 2, 100);
    std::thread::sleep(Duration::from_millis(200));
    let queued = |health: &serde_json::Value| health["store"]["queue_depth"].as_u64();
    assert_eq!(queued(&service.health()), Some(0));
    assert_eq!(service.end("f").json()["affected"], 2);
    service.wait_until("it is let in", |h| queued(h) == Some(1));
    service.end("commit");
    assert!(clients.iter_mut().all(|c| c.read().unwrap().status == 201));
}

#[test]
fn a_slow_commit_holds_up_payments_and_no_reading() {
    let service = Service::start(&[]);
    service.arm("f", "commit", r#"{"kind":"latency","delay":{"shape":"fixed","ms":60000}}"#, 60_000);
    let mut c = service.client();
    c.write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    assert_eq!(service.client().get("/v1/accounts/acc_00000001/balance").json()["balance"], 1_000_000);
    assert_eq!(service.health()["store"]["payments"], 0);
    service.end("f");
    assert_eq!(c.read().unwrap().status, 201);
    assert_eq!(service.audit()["balanced"], true);
}

#[test]
fn what_is_not_durable_yet_is_gone_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::on(folder.path());
    service.arm("f", "commit", r#"{"kind":"latency","delay":{"shape":"fixed","ms":60000}}"#, 60_000);
    service.client().write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    service.kill();
    let service = Service::on(folder.path());
    assert_eq!(service.audit()["payments"], 0);
}

#[test]
fn an_embedded_store_has_no_connections_that_could_be_taken() {
    let service = Service::start(&[]);
    let refused = service.arm("f", "store", r#"{"kind":"starve","connections":3}"#, 60_000);
    assert_eq!((refused.status, refused.code().as_str()), (400, "fault_refused"));
    assert!(
        refused.body.contains("starve at store cannot be done here: this service has no pool"),
        "{refused:?}"
    );
    assert_eq!(service.administer("GET", "/admin/faults", "").body, "[]");
}

#[test]
fn memory_is_taken_and_given_back() {
    let service = Service::start(&[]);
    let rss_mib = || service.health()["process"]["rss_bytes"].as_u64().unwrap() >> 20;
    let before = rss_mib();
    service.arm("f", "service", r#"{"kind":"memory","mib":256,"over_ms":100}"#, 60_000);
    // What the start has left behind may be given back meanwhile.
    service.wait_for_hits(256);
    wait_for("it is taken", || rss_mib() >= before + 160);
    assert_eq!(service.end("f").json()["affected"], 256);
    wait_for("it is given back", || rss_mib() < before + 64);
}

#[test]
fn processors_are_busy_until_the_lease_ends_by_itself() {
    let service = Service::start(&[]);
    let cpu_s = || service.health()["process"]["cpu_s"].as_f64().unwrap();
    let before = cpu_s();
    service.arm("f", "service", r#"{"kind":"cpu","cores":1.0}"#, 3_000);
    wait_for("half a second is burnt", || cpu_s() > before + 0.5);
    wait_for("it is over", || service.administer("GET", "/admin/faults", "").body == "[]");
    wait_for("nothing burns any more", || {
        let before = cpu_s();
        std::thread::sleep(Duration::from_millis(200));
        cpu_s() < before + 0.1
    });
}

#[test]
fn a_clock_that_is_wrong_dates_payments_forgets_keys_and_ends_logins() {
    let (_folder, service) = crate::users::service(&[]);
    let mut c = service.client();
    let year = |text: &str| text[..4].parse::<u32>().unwrap();
    let now = year(&clock::rfc3339(clock::wall_now()));
    let made = |c: &mut crate::support::Client, key: &str| {
        year(c.pay(key, 1, 2, 100).json()["created_at"].as_str().unwrap())
    };
    assert!(made(&mut c, "a") <= now + 1);
    let ann = field(&log_in(&mut c, "ann", PASSWORD), "access_token");
    let mut ann = service.client().with_token(&ann);
    assert_eq!(ann.get("/v1/accounts/acc_00000001").status, 200);
    // Nine years and a half.
    service.arm("f", "service", r#"{"kind":"skew","by_ms":300000000000}"#, 60_000);
    assert_eq!(ann.get("/v1/accounts/acc_00000001").status, 401);
    assert!(made(&mut c, "b") >= now + 9);
    assert_eq!(c.pay("a", 1, 2, 100).header("idempotent-replayed"), None, "its key was over");
    assert!(service.end("f").json()["affected"].as_u64() > Some(0));
    assert_eq!(ann.get("/v1/accounts/acc_00000001").status, 200);
    assert!(made(&mut c, "c") >= now + 9, "no payment is dated before one that was made earlier");
}

#[test]
fn the_same_keys_and_seed_are_hit_again_and_another_seed_hits_others() {
    let hits = |seed: u64, order: &mut dyn Iterator<Item = u32>| {
        let service = Service::start(&[]);
        let arm = |seed| {
            format!(
                r#"{{"fault":{{"name":"a b","point":"api","effect":{{"kind":"error","status":503}},"fraction":0.5}},"ttl_ms":60000,"seed":{seed}}}"#
            )
        };
        assert_eq!(service.administer("POST", "/admin/faults", &arm(seed)).status, 201);
        let mut c = service.client();
        let failed = order.filter(|n| c.pay(&format!("key-{n}"), 1, 2, 100).status == 503).count();
        let armed = service.administer("GET", "/admin/faults/a%20b/hits", "");
        service.end("a%20b");
        let ended = service.administer("GET", "/admin/faults/a%20b/hits", "");
        assert_eq!((armed.status, &armed.body), (200, &ended.body));
        assert_eq!(ended.json()["hits"].as_array().unwrap().len(), failed);
        assert_eq!((&ended.json()["seed"], &ended.json()["left_out"]), (&seed.into(), &0.into()));
        assert_eq!(service.administer("GET", "/admin/faults/other/hits", "").status, 404);
        ended.body.replace(&format!("\"seed\":{seed}"), "")
    };
    let first = hits(7, &mut (0..60));
    assert_eq!(first, hits(7, &mut (0..60).rev()));
    assert_ne!(first, hits(8, &mut (0..60)));
}
