//! Every bound, reached.

use std::io::{Read, Write};

use crate::support::{Client, Reply, Service, after, command};

#[test]
fn a_body_above_the_limit_is_refused() {
    let service = Service::start(&[]);
    let huge = "x".repeat(16 * 1024 + 1);
    let got = service.client().post("/v1/accounts", &huge);
    assert_eq!((got.status, got.code().as_str()), (413, "body_too_large"));
    // Without a length the body is counted as it comes.
    let mut c = service.client();
    let head = format!(
        "POST /v1/accounts HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        crate::support::TOKEN,
        huge.len()
    );
    c.stream.write_all(head.as_bytes()).unwrap();
    c.stream.write_all(huge.as_bytes()).unwrap();
    assert_eq!(c.read().unwrap().status, 413);
}

#[test]
fn a_head_above_the_limit_is_refused() {
    let service = Service::start(&[]);
    let long = "x".repeat(32 * 1024);
    let mut c = service.client();
    let _ = c.stream.write_all(format!("GET /livez HTTP/1.1\r\nHost: t\r\nLong: {long}\r\n\r\n").as_bytes());
    assert_eq!(c.read().unwrap().status, 431);
}

#[test]
fn bytes_that_are_no_http_are_refused() {
    let service = Service::start(&[]);
    let mut c = service.client();
    c.stream.write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    assert_eq!(c.read().unwrap().status, 400);
}

#[test]
fn a_head_that_never_ends_closes_the_connection() {
    let service = Service::start(&["--header-timeout-ms", "200"]);
    let mut c = service.client();
    c.stream.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
    let mut rest = Vec::new();
    // Closed, with or without a word: not held until the client's own patience ends.
    let _ = c.stream.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(service.client().get("/livez").status, 200);
}

#[test]
fn connections_above_the_cap_are_refused_and_marked() {
    let service = Service::start(&["--max-connections", "2"]);
    let mut held: Vec<Client> = (0..2).map(|_| service.client()).collect();
    for c in &mut held {
        assert_eq!(c.get("/livez").status, 200);
    }
    let refused = service.client().read().unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "too_many_connections"));
    assert_eq!((refused.header("not-executed"), refused.header("retry-after")), (Some("true"), Some("1")));
    assert_eq!(held[0].get("/livez").status, 200, "those inside do not notice");
    drop(held.pop());
    crate::support::wait_for("room again", || {
        let mut c = service.client();
        // A refused connection may be reset before the request is written.
        c.stream.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n").is_ok()
            && c.read().is_ok_and(|r| r.status == 200)
    });
}

#[test]
fn the_limit_on_open_files_is_raised_to_what_the_connections_need() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::launch(&mut after("ulimit -Sn 64", &command(folder.path())));
    let mut held: Vec<Client> = (0..100).map(|_| service.client()).collect();
    for c in &mut held {
        assert_eq!(c.get("/livez").status, 200);
    }
    service.kill();
    let out = after("ulimit -n 600", &command(folder.path())).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success()
            && said.contains(
                "--max-connections 4096 needs 4688 open files, above the hard limit of 600: lower it to 8"
            ),
        "{said}"
    );
}

#[test]
fn a_full_queue_sheds_and_says_that_nothing_was_executed() {
    let service = Service::start(&["--queue-limit", "1", "--commit-interval-us", "1000000"]);
    service.client().pay("first", 1, 2, 100);
    // The second is in the writer's hand while it waits, the third in its queue of one.
    let mut waiting: Vec<Client> = (0..2).map(|_| service.client()).collect();
    waiting[0].write_payment("in-hand", 1, 2, 100);
    std::thread::sleep(std::time::Duration::from_millis(50));
    waiting[1].write_payment("queued", 1, 2, 100);
    service.wait_until("the queue is full", |h| h["store"]["queue_depth"] == 1);
    let shed = service.client().pay("shed", 1, 2, 100);
    assert_eq!((shed.status, shed.code().as_str()), (503, "overloaded"));
    assert_eq!((shed.header("not-executed"), shed.header("retry-after")), (Some("true"), Some("1")));
    for c in &mut waiting {
        assert_eq!(c.read().unwrap().status, 201);
    }
    assert_eq!(service.client().get("/v1/payments?idempotency_key=shed").status, 404);
    assert_eq!(service.client().pay("shed", 1, 2, 100).status, 201, "its key is free");
}

#[test]
fn a_request_out_of_time_is_answered_504() {
    let service = Service::start(&["--request-timeout-ms", "200"]);
    service.arm("stuck", "store", r#"{"kind":"hang"}"#, 60_000);
    let got = service.client().pay("k", 1, 2, 100);
    assert_eq!((got.status, got.code().as_str()), (504, "request_timeout"));
    assert_eq!(got.header("not-executed"), None, "nobody knows");
}

#[test]
fn a_connection_that_pays_can_ask_for_anything_else_and_go_on() {
    let service = Service::start(&[]);
    let mut c = service.client();
    // The short way, then hyper's for the rest of the connection's life: the answers are alike.
    let short = c.pay("k1", 1, 2, 100);
    let replayed_short = c.pay("k1", 1, 2, 100);
    let declined_short = c.pay("k2", 1, 2, 9_999_999);
    assert_eq!(c.get("/v1/accounts/acc_00000001/balance").status, 200);
    let long = c.pay("k3", 1, 2, 100);
    let replayed_long = c.pay("k3", 1, 2, 100);
    let declined_long = c.pay("k4", 1, 2, 9_999_999);
    let names = |r: &Reply| {
        let mut names: Vec<_> = r.header_names().map(str::to_ascii_lowercase).collect();
        names.sort();
        names
    };
    for (a, b) in [(&short, &long), (&replayed_short, &replayed_long), (&declined_short, &declined_long)] {
        assert_eq!((a.status, names(a)), (b.status, names(b)));
        assert_eq!(a.header("content-type"), b.header("content-type"));
        assert_eq!(a.header("request-id").map(str::len), b.header("request-id").map(str::len));
        assert_ne!(a.header("request-id"), b.header("request-id"));
    }
    assert_eq!(short.json()["seq"], 1);
    assert_eq!(replayed_short.json(), short.json());
    assert_eq!(declined_short.status, 402);
    let metrics = c.get("/metrics").body;
    let paid = r#"http_requests_total{route="POST /v1/payments",status="201"} 4"#;
    assert!(metrics.contains(paid), "both ways are counted alike: {metrics}");
}

#[test]
fn a_pipelined_request_that_is_refused_does_not_disturb_the_others() {
    let service = Service::start(&[]);
    let mut c = service.client();
    c.write_payment("k0", 1, 2, 100);
    c.write_payment("k1", 1, 999, 100);
    c.write_payment("k2", 2, 1, 100);
    c.write_payment("k2", 2, 1, 100);
    let statuses = [(); 4].map(|()| c.read().unwrap().status);
    // The key is taken by the one before until that is answered, or stands for it already.
    assert!(matches!(statuses, [201, 400, 201, 201 | 409]), "{statuses:?}");
    let audit = service.audit();
    assert_eq!(audit["payments"], 2, "{audit}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let service = Service::start(&[]);
    let mut c = service.client();
    for i in 0..5 {
        c.write_payment(&format!("k{i}"), 1, 2, 100);
    }
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while String::from_utf8_lossy(&bytes).matches("\"created_at\"").count() < 5 {
        let n = c.stream.read(&mut chunk).unwrap();
        assert!(n > 0);
        bytes.extend(&chunk[..n]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let at: Vec<_> = (1..=5).map(|seq| text.find(&format!("\"seq\":{seq},")).unwrap()).collect();
    assert!(at.is_sorted());
}
