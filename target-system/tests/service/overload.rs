//! More than the service takes on: allowances, admission, readiness.

use std::io::Write as _;

use crate::support::{Client, Reply, Service, TOKEN, wait_for};

fn is_rate_limited(reply: &Reply) -> bool {
    let said = (reply.status, reply.header("Not-Executed")) == (429, Some("true"));
    let wait = reply.header("Retry-After").and_then(|s| s.parse::<u64>().ok());
    said && reply.code() == "rate_limited" && wait.is_some_and(|s| s > 60)
}

/// The requests of one user are counted together, whichever way they come in, and another's are not.
#[test]
fn a_user_has_an_allowance() {
    let service = Service::start(&["--user-limit", "5/h"]);
    let mut c = service.client();
    let paid: Vec<u16> = (0..3).map(|n| c.pay(&format!("k-{n}"), 1, 2, 100).status).collect();
    let read: Vec<u16> = (0..2).map(|_| c.get("/v1/accounts/acc_00000001").status).collect();
    assert_eq!((paid, read), (vec![201; 3], vec![200; 2]));
    let beyond = [c.pay("k-9", 1, 2, 100), service.client().pay("k-9", 1, 2, 100), c.get("/v1/audit")];
    assert!(beyond.iter().all(is_rate_limited), "{beyond:?}");
    assert_eq!(c.get("/livez").status, 200);
    assert_eq!(c.with_token("nobody's token").get("/v1/audit").status, 401);
    let told = service.client().get("/metrics").body;
    assert!(told.contains("http_requests_rate_limited_total{whose=\"user\"} 3"), "{told}");
}

/// An address is stopped before its passwords are looked at, whoever it says it speaks for.
#[test]
fn an_address_has_an_allowance() {
    let login = |c: &mut Client, from: &str| {
        c.send("POST", "/v1/auth/login", &[("X-Forwarded-For", from)], br#"{"username":"a","password":"b"}"#)
    };
    let service = Service::start(&["--address-limit", "3/h"]);
    let mut c = service.client();
    let tried: Vec<u16> = (0..3).map(|n| login(&mut c, &format!("192.0.2.{n}")).status).collect();
    assert_eq!(tried, [401; 3]);
    assert!(is_rate_limited(&login(&mut c, "192.0.2.9")));
    assert!(is_rate_limited(&service.client().pay("k", 1, 2, 100)));

    let behind_a_proxy = Service::start(&["--address-limit", "3/h", "--trust-forwarded"]);
    let mut c = behind_a_proxy.client();
    let tried: Vec<u16> = (0..5).map(|n| login(&mut c, &format!("192.0.2.{n}")).status).collect();
    assert_eq!(tried, [401; 5]);
    let tried: Vec<u16> =
        (0..4).map(|n| login(&mut c, &format!("192.0.2.{n}, 198.51.100.1")).status).collect();
    assert_eq!(tried, [401, 401, 401, 429]);
    // A proxy may write a line of its own: what the client has written is not its word. A payment would go the short way.
    let mut paid = |n: u32| {
        let said = format!("192.0.2.{n}");
        let headers = [("X-Forwarded-For", said.as_str()), ("X-Forwarded-For", "198.51.100.2")];
        behind_a_proxy.client().send("POST", "/v1/payments", &headers, b"").status
    };
    assert_eq!([0, 1, 2, 3].map(&mut paid), [401, 401, 401, 429]);
}

/// A payment as bytes.
fn payment(key: &str) -> String {
    let body = r#"{"from":"acc_00000001","to":"acc_00000002","amount":100,"currency":"EUR"}"#;
    format!(
        "POST /v1/payments HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: {key}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// However long the store takes, no more payments wait than can be answered in time; what is beyond is refused at
/// once, and what was let in is made.
#[test]
fn payments_that_would_wait_too_long_are_not_let_in() {
    let service = Service::start(&["--max-wait-ms", "1"]);
    service.arm("stuck", "store", r#"{"kind":"hang"}"#, 60_000);
    // Pipelined, each connection's in one piece: they are begun together.
    let mut waiting: Vec<Client> = (0..32).map(|_| service.client()).collect();
    for (n, c) in waiting.iter_mut().enumerate() {
        let all: String = (0..32).map(|k| payment(&format!("in-{n}-{k}"))).collect();
        c.stream.write_all(all.as_bytes()).unwrap();
    }
    service.wait_until("1024 payments wait", |health| health["admission"]["under_way"] == 1024);
    let mut beyond = service.client();
    for n in 0..20 {
        let refused = beyond.pay(&format!("out-{n}"), 1, 2, 100);
        assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"), "{refused:?}");
        assert_eq!(
            (refused.header("Not-Executed"), refused.header("Retry-After")),
            (Some("true"), Some("1"))
        );
    }
    service.end("stuck");
    let made = waiting.iter_mut().flat_map(|c| (0..32).map(|_| c.read().unwrap().status).collect::<Vec<_>>());
    assert_eq!(made.filter(|status| *status == 201).count(), 1024);
    assert_eq!(beyond.pay("out-0", 1, 2, 100).status, 201);
    let audit = service.audit();
    assert_eq!((&audit["payments"], &audit["balanced"]), (&1025.into(), &true.into()), "{audit}");
}

/// A process with too many connections asks its balancer for no more, goes on with those, and comes back.
#[test]
fn a_strained_process_is_not_ready_until_it_is_relieved() {
    let service = Service::start(&["--ready-connections", "5"]);
    assert_eq!(service.client().get("/readyz").status, 200);
    let mut open: Vec<Client> = (0..12).map(|_| service.client()).collect();
    wait_for("it is taken out", || service.client().get("/readyz").status == 503);
    let health = service.client().get("/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &"strained".into()), "{health:?}");
    assert_eq!(health.json()["strain"]["connections"]["ok"], false);
    assert_eq!(open[0].pay("k", 1, 2, 100).status, 201);
    open.clear();
    wait_for("it is back", || service.client().get("/readyz").status == 200);
}
