//! The fraud service and the card network: away, slow, and back.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use squall_record::clock::Clock;

use crate::roles::{Role, Wire, figure};
use crate::support::{Ends, Reply, Service, command, wait_for};

const PAYMENT: &str = r#"{"from":"acc_00000001","to":"acc_00000002","amount":1250,"currency":"EUR"}"#;
const AT_ONCE: [&str; 2] = ["--median-ms", "0"];

/// A service that asks `fraud` and `network`. It leaves one that fails alone for a short time, and waits for one that does
/// not answer longer than a busy machine keeps anybody waiting.
fn service(fraud: Option<&str>, network: Option<&str>, more: &[&str]) -> Service {
    let soon = [
        ("--fraud-attempt-ms", "1500"),
        ("--fraud-call-ms", "3000"),
        ("--network-attempt-ms", "2000"),
        ("--breaker-open-ms", "300"),
    ];
    let urls = [fraud.map(|url| ("--fraud-url", url)), network.map(|url| ("--network-url", url))];
    let unsaid = soon.into_iter().filter(|(name, _)| !more.contains(name));
    let mut args: Vec<&str> =
        unsaid.chain(urls.into_iter().flatten()).flat_map(|(name, value)| [name, value]).collect();
    args.extend(more);
    Service::start(&args)
}

fn breaker(service: &Service, dependency: &str) -> String {
    service.health()["dependencies"][dependency]["breaker"].as_str().unwrap().to_owned()
}

/// Pays on `connections` until `over`; every key with its answer.
fn load(
    service: &Service,
    connections: u32,
    over: &AtomicBool,
    seen: impl Fn(&Reply) + Sync,
) -> HashMap<String, Reply> {
    std::thread::scope(|s| {
        let paying: Vec<_> = (0..connections)
            .map(|c| {
                let seen = &seen;
                s.spawn(move || {
                    let mut client = service.client();
                    let mut answers = Vec::new();
                    for i in 0u32.. {
                        if over.load(Relaxed) {
                            break;
                        }
                        let key = format!("c{c}-{i}");
                        let reply = client.pay(&key, c + 1, (c + 1) % 10 + 1, 1);
                        seen(&reply);
                        answers.push((key, reply));
                        // Not the limit is tested here.
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    answers
                })
            })
            .collect();
        paying.into_iter().flat_map(|p| p.join().unwrap()).collect()
    })
}

/// Every payment that was acknowledged is there, once, and no other.
fn assert_whole(service: &Service, acknowledged: usize) {
    let audit = service.audit();
    assert_eq!((&audit["balanced"], &audit["recount"]["sound"]), (&true.into(), &true.into()), "{audit}");
    assert_eq!(audit["payments"].as_u64(), Some(acknowledged as u64), "{audit}");
}

#[test]
fn a_fraud_service_that_hangs_stops_no_payment_and_is_asked_again_when_it_is_back() {
    let fraud = Role::start("fraud", &[]);
    let service = service(Some(&fraud.url()), None, &[]);
    let (over, checked, degraded) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let seen = |reply: &Reply| {
        let counter = if reply.header("degraded").is_some() { &degraded } else { &checked };
        counter.fetch_add(1, Relaxed);
    };
    let answers = std::thread::scope(|s| {
        let load_ends = Ends(&over);
        let loading = s.spawn(|| load(&service, 4, &over, seen));
        wait_for("payments are checked", || checked.load(Relaxed) > 20);
        assert_eq!(degraded.load(Relaxed), 0);
        fraud.signal(Signal::STOP);
        wait_for("the breaker opens", || breaker(&service, "fraud") == "open");
        let so_far = degraded.load(Relaxed);
        wait_for("payments go on", || degraded.load(Relaxed) > so_far + 100);
        fraud.signal(Signal::CONT);
        wait_for("the breaker closes", || breaker(&service, "fraud") == "closed");
        let so_far = checked.load(Relaxed);
        wait_for("payments are checked again", || checked.load(Relaxed) > so_far + 20);
        drop(load_ends);
        loading.join().unwrap()
    });
    assert!(answers.values().all(|r| r.status == 201), "{:?}", answers.values().find(|r| r.status != 201));
    assert_whole(&service, answers.len());
    assert_eq!(service.health()["fraud_fallbacks"], degraded.load(Relaxed));
    let figure = |name| figure(service.listening, name);
    assert!(figure(r#"dependency_breaker_transitions_total{dependency="fraud",state="open"}"#) >= 1.0);
    assert_eq!(figure(r#"dependency_breaker_state{dependency="fraud",state="closed"}"#), 1.0);
    assert!(figure(r#"dependency_calls_total{dependency="fraud",outcome="breaker_open"}"#) > 50.0);
    // What was answered without the check is answered again without a word about it.
    let (key, first) = answers.iter().find(|(_, r)| r.header("degraded").is_some()).unwrap();
    let (connection, _) = key[1..].split_once('-').unwrap();
    let c: u32 = connection.parse().unwrap();
    let again = service.client().pay(key, c + 1, (c + 1) % 10 + 1, 1);
    assert_eq!((again.status, &again.body, again.header("degraded")), (201, &first.body, None));
}

#[test]
fn without_the_fraud_service_a_person_looks_at_large_amounts_and_large_days() {
    let mut fraud = Role::start("fraud", &["--amount-limit", "5000"]);
    let service = service(Some(&fraud.url()), None, &["--review-amount", "6000", "--review-daily", "10000"]);
    let mut c = service.client();
    assert_eq!(c.pay("too-large", 9, 2, 5002).code(), "fraud_suspected");
    assert_eq!(c.pay("checked", 1, 2, 4000).status, 201);
    fraud.kill();
    let large = c.pay("large", 3, 2, 6002);
    assert_eq!(
        (large.status, large.code().as_str(), large.header("degraded")),
        (402, "review_required", Some("fraud"))
    );
    assert_eq!(c.pay("not-checked", 1, 2, 5500).status, 201, "9,500 of 10,000");
    assert_eq!(c.pay("day", 1, 2, 600).code(), "review_required", "what was checked counts too");
    assert_eq!(c.pay("rest", 1, 2, 500).status, 201, "what was declined does not count");
    assert_eq!(c.pay("other-payer", 2, 1, 600).status, 201);
    fraud.restart();
    let probes = Cell::new(0);
    wait_for("it is asked again", || {
        probes.set(probes.get() + 1);
        let checked = service.client().pay(&format!("probe-{}", probes.get()), 4, 5, 1);
        checked.status == 201 && checked.header("degraded").is_none()
    });
    assert_eq!(breaker(&service, "fraud"), "closed");
    let again = c.pay("large", 3, 2, 6002);
    assert_eq!(
        (again.code().as_str(), again.header("idempotent-replayed")),
        ("review_required", Some("true"))
    );
    assert_eq!(again.header("degraded"), None);
    assert_eq!(c.get("/v1/payments?idempotency_key=large").json()["code"], "review_required");
}

#[test]
fn without_the_network_nothing_is_paid_and_the_same_keys_are_paid_when_it_is_back() {
    let mut network = Role::start("network", &AT_ONCE);
    let service = service(None, Some(&network.url()), &[]);
    let mut c = service.client();
    assert_eq!(c.pay("before", 1, 2, 100).status, 201);
    network.kill();
    let failed = c.pay("k0", 1, 2, 100);
    assert_eq!((failed.status, failed.code().as_str()), (503, "network_unavailable"));
    assert_eq!(failed.header("not-executed"), None, "it was asked: nobody knows");
    let refused =
        (1..100).map(|i| c.pay(&format!("k{i}"), 1, 2, 100)).find(|r| r.header("not-executed").is_some());
    let refused = refused.expect("the breaker opens");
    assert_eq!((refused.status, refused.code().as_str()), (503, "network_unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(breaker(&service, "network"), "open");
    assert_eq!(c.get("/readyz").status, 200, "reads go on");
    assert_eq!(c.pay("before", 1, 2, 100).header("idempotent-replayed"), Some("true"), "so do replays");
    assert_eq!(c.pay("digits", 1, 2, 105).code(), "do_not_honor", "and what needs no network");
    assert_whole(&service, 1);
    network.restart();
    wait_for("it is asked again", || service.client().pay("k0", 1, 2, 100).status == 201);
    assert_eq!(c.pay("k1", 1, 2, 100).status, 201);
    assert_eq!(breaker(&service, "network"), "closed");
    assert_whole(&service, 3);
}

#[test]
fn a_storm_of_retries_is_held_by_the_budget() {
    let fraud = Role::start("fraud", &[]);
    let more = [
        "--breaker-failures",
        "1000000",
        "--fraud-attempt-ms",
        "10",
        "--fraud-call-ms",
        "250",
        "--retry-percent",
        "10",
        "--retry-floor",
        "1",
    ];
    let service = service(Some(&fraud.url()), None, &[&more[..], &["--retry-pause-ms", "1"]].concat());
    fraud.signal(Signal::STOP);
    let clock = Clock::start();
    let (over, paid) = (AtomicBool::new(false), AtomicU64::new(0));
    let answers = load(&service, 4, &over, |_| {
        if paid.fetch_add(1, Relaxed) >= 300 {
            over.store(true, Relaxed);
        }
    });
    assert!(answers.values().all(|r| r.status == 201 && r.header("degraded").is_some()));
    let figure = |name| figure(service.listening, name);
    let retries = figure(r#"dependency_retries_total{dependency="fraud"}"#);
    let most = answers.len() as f64 / 10.0 + 10.0 + clock.now_s() + 1.0;
    assert!(retries >= 20.0 && retries <= most, "{retries} of {most}");
    assert!(figure(r#"dependency_retry_budget_refusals_total{dependency="fraud"}"#) > 100.0);
    fraud.signal(Signal::CONT);
}

#[test]
fn a_slow_network_takes_no_place_of_the_fraud_service() {
    let (fraud, network) =
        (Role::start("fraud", &[]), Role::start("network", &["--median-ms", "60000", "--p99-ms", "60000"]));
    let more = ["--network-calls", "2", "--waiting-calls", "1", "--fraud-calls", "2"];
    let limits =
        ["--network-attempt-ms", "60000", "--network-call-ms", "60000", "--request-timeout-ms", "120000"];
    let service = service(Some(&fraud.url()), Some(&network.url()), &[&more[..], &limits[..]].concat());
    let mut held: Vec<_> = (0..3).map(|_| service.client()).collect();
    for (i, client) in held.iter_mut().enumerate() {
        client.write_payment(&format!("held-{i}"), 1, 2, 100);
        let network = || service.health()["dependencies"]["network"].clone();
        wait_for("it asks", || {
            let inside =
                [&network()["calls_under_way"], &network()["calls_waiting"]].map(|n| n.as_u64().unwrap());
            inside == [(i as u64 + 1).min(2), (i as u64 + 1).saturating_sub(2)]
        });
    }
    for i in 0..5 {
        let refused = service.client().pay(&format!("refused-{i}"), 3, 4, 100);
        assert_eq!((refused.status, refused.header("not-executed")), (503, Some("true")));
    }
    assert_eq!(breaker(&service, "network"), "closed", "a full bulkhead is no failure");
    assert_eq!(fraud.figure("fraud_scores_total"), 8.0);
    let figure = |name| figure(service.listening, name);
    assert_eq!(figure(r#"dependency_calls_total{dependency="fraud",outcome="ok"}"#), 8.0);
    assert_eq!(figure(r#"dependency_bulkhead_refusals_total{dependency="network"}"#), 5.0);
}

#[test]
fn a_lost_answer_is_asked_for_again_and_authorised_once() {
    let network = Role::start("network", &AT_ONCE);
    let wire = Wire::to(network.listening);
    let approved = r#"network_authorizations_total{outcome="approved"}"#;
    let service = service(None, Some(&wire.url()), &[]);
    wire.lose(2);
    assert_eq!(service.client().pay("k", 1, 2, 100).status, 201, "the third attempt is answered");
    assert_eq!(wire.still_to_lose(), 0);
    assert_eq!((network.figure(approved), network.figure("network_replays_total")), (1.0, 2.0));
    // Or by the client, when the service has given up.
    wire.lose(3);
    let lost = service.client().pay("l", 1, 2, 100);
    assert_eq!((lost.status, lost.header("not-executed")), (503, None));
    assert_eq!(network.figure(approved), 2.0, "the network has authorised it");
    assert_whole(&service, 1);
    wait_for("it is asked again", || service.client().pay("l", 1, 2, 100).status == 201);
    assert_eq!(network.figure(approved), 2.0);
    assert_whole(&service, 2);
    // Such a key stands for its fields already.
    wire.lose(3);
    assert_eq!(service.client().pay("m", 1, 2, 100).status, 503);
    wait_for("it is asked again", || service.client().pay("m", 1, 2, 200).code() == "idempotency_key_reused");
}

#[test]
fn an_authorisation_whose_payment_the_ledger_declines_is_voided() {
    let network = Role::start("network", &AT_ONCE);
    let service = service(None, Some(&network.url()), &[]);
    let mut c = service.client();
    assert_eq!(c.pay("k", 1, 2, 2_000_000).code(), "insufficient_funds");
    wait_for("it is voided", || network.figure("network_voids_total") == 1.0);
    wait_for("and counted", || figure(service.listening, "network_voids_total") == 1.0);
    assert_eq!(c.pay("k", 1, 2, 2_000_000).header("idempotent-replayed"), Some("true"));
    assert_eq!(c.pay("l", 1, 2, 200).status, 201);
    assert_eq!(network.figure("network_voids_total"), 1.0, "what was paid is not");
    assert_eq!(c.pay("m", 1, 77, 200).code(), "resource_missing");
    assert_eq!(
        network.figure(r#"network_authorizations_total{outcome="approved"}"#),
        2.0,
        "nobody asks for nonsense"
    );
}

#[test]
fn the_issuers_no_is_a_decline_that_is_remembered() {
    for (share, code) in [("--declines", "do_not_honor"), ("--outages", "issuer_unavailable")] {
        let mut network = Role::start("network", &[&AT_ONCE[..], &[share, "1"]].concat());
        let service = service(None, Some(&network.url()), &[]);
        for i in 0..20 {
            let declined = service.client().pay(&format!("k{i}"), 1, 2, 100);
            assert_eq!((declined.status, declined.code().as_str()), (402, code));
        }
        assert_eq!(breaker(&service, "network"), "closed", "a no is an answer");
        network.kill();
        let again = service.client().pay("k0", 1, 2, 100);
        assert_eq!((again.code().as_str(), again.header("idempotent-replayed")), (code, Some("true")));
        assert_eq!(network_voids(&service), 0.0);
    }
}

fn network_voids(service: &Service) -> f64 {
    figure(service.listening, "network_voids_total") + figure(service.listening, "network_voids_lost_total")
}

#[test]
fn a_drain_waits_for_who_waits_for_the_network() {
    let network = Role::start("network", &AT_ONCE);
    let mut service = service(None, Some(&network.url()), &[]);
    let mut client = service.client();
    network.signal(Signal::STOP);
    client.write_payment("k", 1, 2, 2_000_000);
    wait_for("it is asked", || service.health()["dependencies"]["network"]["calls_under_way"] == 1);
    service.terminate();
    wait_for("it drains", || TcpStream::connect(service.listening).is_err());
    network.signal(Signal::CONT);
    assert_eq!(client.read().unwrap().code(), "insufficient_funds");
    assert_eq!(service.exit_code(), Some(0));
    assert_eq!(network.figure("network_voids_total"), 1.0, "and the end waits for what it has to take back");
}

#[test]
fn a_client_that_hangs_up_after_the_authorisation_changes_nothing() {
    let network = Role::start("network", &AT_ONCE);
    // Long enough for the client to be gone.
    let service = service(None, Some(&network.url()), &["--commit-interval-us", "400000"]);
    let approved = r#"network_authorizations_total{outcome="approved"}"#;
    for i in 0..3 {
        let mut client = service.client();
        client.write_payment(&format!("k{i}"), 1, 2, 2_000_000);
        wait_for("it is authorised", || network.figure(approved) == f64::from(i + 1));
    }
    wait_for("all are declined and voided", || network.figure("network_voids_total") == 3.0);
}

#[test]
fn callers_without_the_internal_token_are_told_nothing() {
    const INTERNAL: &str = "internal-token-for-tests";
    let network = Role::with_token("network", &AT_ONCE, Some(INTERNAL));
    let refused = network.post("/v1/authorizations", Some("k"), PAYMENT);
    assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"));
    assert_eq!(network.client().get("/readyz").status, 200);
    let folder = tempfile::tempdir().unwrap();
    let mut with_token = command(folder.path());
    with_token.args(["--network-url", &network.url()]).env("PAYMENTS_INTERNAL_TOKEN", INTERNAL);
    assert_eq!(Service::launch(&mut with_token).client().pay("k", 1, 2, 100).status, 201);
    let service = service(None, Some(&network.url()), &[]);
    let got = service.client().pay("k", 1, 2, 100);
    assert_eq!(
        (got.status, got.code().as_str(), got.header("not-executed")),
        (503, "network_unavailable", None)
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_with_a_way_out() {
    let refused = |args: &[&str], with: &str| {
        let folder = tempfile::tempdir().unwrap();
        let out = command(folder.path()).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(with), "{said}");
    };
    refused(&["--fraud-url", "http://fraud.example:8090"], "PAYMENTS_INTERNAL_TOKEN is not set");
    refused(&["--fraud-url", "fraud:8090"], "write http://host:port");
    refused(&["--network-url", "https://127.0.0.1:1"], "write http://host:port");
    let inverted = ["--network-url", "http://127.0.0.1:1", "--request-timeout-ms", "4000"];
    refused(&inverted, "lower --fraud-call-ms and --network-call-ms or raise --request-timeout-ms");
}

#[test]
fn the_roles_read_as_strictly_as_the_service() {
    let (fraud, network) = (Role::start("fraud", &[]), Role::start("network", &AT_ONCE));
    for (role, path) in [(&fraud, "/v1/scores"), (&network, "/v1/authorizations")] {
        let post = |body: &str| role.post(path, Some("k"), body);
        assert_eq!(post(&PAYMENT.replace('}', r#","tip":1}"#)).param(), "tip");
        assert_eq!(post(&PAYMENT.replace("1250", "-1")).param(), "amount");
        assert_eq!(post("[]").status, 400);
        assert_eq!(post(&"x".repeat(17 * 1024)).status, 413);
        assert_eq!(role.client().get(path).status, 405);
        assert_eq!(role.client().get("/v1/nothing").status, 404);
        assert_eq!(role.client().get("/livez").status, 200);
        assert!(role.client().get("/metrics").body.ends_with("# EOF\n"));
    }
    let score = fraud.post("/v1/scores", None, PAYMENT).json();
    assert!(score["score"].as_u64() < Some(50), "{score}");
    assert_eq!(network.post("/v1/authorizations", None, PAYMENT).code(), "idempotency_key_missing");
    let first = network.post("/v1/authorizations", Some("k"), PAYMENT);
    assert_eq!((first.status, &first.json()["status"]), (201, &"approved".into()));
    assert_eq!(network.post("/v1/authorizations", Some("k"), PAYMENT).body, first.body);
    assert_eq!(network.post("/v1/authorizations", Some("k"), &PAYMENT.replace("1250", "1")).status, 422);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let void = |id: &str| network.post("/v1/voids", None, &format!(r#"{{"authorization":"{id}"}}"#));
    assert_eq!(void(&id).json()["status"], "voided");
    assert_eq!(void(&id).status, 200);
    assert_eq!(void(&id.replace("auth_", "auth-")).param(), "authorization");
    assert_eq!(void("auth_00000000000000000000000000000000").status, 404);
    assert_eq!(network.post("/v1/authorizations", Some("k"), PAYMENT).json()["status"], "voided");
}

#[test]
fn the_roles_drain() {
    let mut network = Role::start("network", &["--median-ms", "300", "--p99-ms", "300"]);
    let mut idle = network.client();
    assert_eq!(idle.get("/livez").status, 200);
    let mut asking = network.client();
    let headers = [("Idempotency-Key", "k")];
    let answered =
        std::thread::spawn(move || asking.send("POST", "/v1/authorizations", &headers, PAYMENT.as_bytes()));
    wait_for("it is asked", || network.figure(r#"network_authorizations_total{outcome="approved"}"#) == 1.0);
    network.signal(Signal::TERM);
    assert_eq!(answered.join().unwrap().status, 201);
    assert!(idle.read().is_err(), "an idle connection is closed");
    assert_eq!(network.exit_code(), Some(0));
}
