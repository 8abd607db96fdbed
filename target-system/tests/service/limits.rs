//! Every bound, reached.

use std::cell::Cell;
use std::io::{Read, Write};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Client, Reply, Service, TOKEN, after, command, wait_for};

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
    // One whose head has come late itself is closed likewise.
    crate::support::wait_for("others are served", || {
        let mut c = service.client();
        c.write("GET", "/livez", &[], b"").is_ok() && c.read().is_ok_and(|r| r.status == 200)
    });
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

/// What a payment is answered that finds the queue full; nothing when the writer was quicker.
fn shed(service: &Service, round: u32) -> Option<Reply> {
    let mut waiting: Vec<(String, Client)> = Vec::new();
    // Some are in the writer's hand while it waits; one is in its queue.
    let is_full = || service.health()["store"]["queue_depth"] == 1;
    while !is_full() && waiting.len() < 100 {
        let (key, mut client) = (format!("in-{round}-{}", waiting.len()), service.client());
        client.write_payment(&key, 1, 2, 100);
        waiting.push((key, client));
    }
    let key = format!("shed-{round}");
    let shed = service.client().pay(&key, 1, 2, 100);
    let mut made = 0;
    for (key, client) in &mut waiting {
        match client.read().unwrap().status {
            201 => made += 1,
            503 => assert_eq!(service.client().get(&known_as(key)).status, 404),
            other => panic!("{other}"),
        }
    }
    assert!(made > 0);
    if shed.status == 201 {
        return None;
    }
    assert_eq!(service.client().get(&known_as(&key)).status, 404);
    assert_eq!(service.client().pay(&key, 1, 2, 100).status, 201, "its key is free");
    Some(shed)
}

fn known_as(key: &str) -> String {
    format!("/v1/payments?idempotency_key={key}")
}

#[test]
fn who_takes_no_answers_is_gone_after_a_while() {
    let service = Service::start(&["--header-timeout-ms", "1000"]);
    for first in ["/v1/accounts/acc_00000001/balance", "/livez"] {
        // The short way, and hyper's.
        let mut c = service.client();
        assert_eq!(c.get(first).status, 200);
        c.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let asked = asked(14, 0, "").repeat(100);
        while c.stream.write_all(asked.as_bytes()).is_ok() {}
        let open = || service.client().get("/health").json()["connections"].as_u64().unwrap();
        assert!(open() > 1);
        wait_for("it is gone", || open() == 1);
        drop(c);
    }
}

#[test]
fn a_full_queue_sheds_and_says_that_nothing_was_executed() {
    let service = Service::start(&["--queue-limit", "1", "--commit-interval-us", "1000000"]);
    service.client().pay("first", 1, 2, 100);
    let shed = (0..10).find_map(|round| shed(&service, round)).expect("a payment finds the queue full");
    assert_eq!((shed.status, shed.code().as_str()), (503, "overloaded"));
    assert_eq!((shed.header("not-executed"), shed.header("retry-after")), (Some("true"), Some("1")));
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
    let balance_short = c.get("/v1/accounts/acc_00000003/balance");
    let short = c.pay("k1", 1, 2, 100);
    let replayed_short = c.pay("k1", 1, 2, 100);
    let declined_short = c.pay("k2", 1, 2, 9_999_999);
    assert_eq!(c.get("/livez").status, 200);
    let balance_long = c.get("/v1/accounts/acc_00000003/balance");
    let long = c.pay("k3", 1, 2, 100);
    let replayed_long = c.pay("k3", 1, 2, 100);
    let declined_long = c.pay("k4", 1, 2, 9_999_999);
    let names = |r: &Reply| {
        let mut names: Vec<_> = r.header_names().map(str::to_ascii_lowercase).collect();
        names.sort();
        names
    };
    for (a, b) in [
        (&balance_short, &balance_long),
        (&short, &long),
        (&replayed_short, &replayed_long),
        (&declined_short, &declined_long),
    ] {
        assert_eq!((a.status, names(a)), (b.status, names(b)));
        assert_eq!(a.header("content-type"), b.header("content-type"));
        assert_eq!(a.header("request-id").map(str::len), b.header("request-id").map(str::len));
        assert_ne!(a.header("request-id"), b.header("request-id"));
    }
    for field in ["account", "currency", "balance"] {
        assert_eq!(balance_short.json()[field], balance_long.json()[field], "{field}");
    }
    assert_eq!(short.json()["seq"], 1);
    assert_eq!(replayed_short.json(), short.json());
    assert_eq!(declined_short.status, 402);
    let metrics = c.get("/metrics").body;
    let paid = r#"http_requests_total{route="POST /v1/payments",status="201"} 4"#;
    let shown = r#"http_requests_total{route="GET /v1/accounts/{id}/balance",status="200"} 2"#;
    assert!(metrics.contains(paid) && metrics.contains(shown), "both ways are counted alike: {metrics}");
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
    assert_eq!(statuses, [201, 400, 201, 201]);
    let audit = service.audit();
    assert_eq!(audit["payments"], 2, "{audit}");
}

/// A request for the lanes to be compared by: `nth` of its stream, on the lane `lane`.
fn asked(kind: u8, nth: usize, lane: &str) -> String {
    let pay = |key: &str, headers: &str, body: &str| {
        let length = body.len();
        format!(
            "POST /v1/payments HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: {key}\r\n\
             {headers}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let balance = |account: &str, headers: &str| {
        format!(
            "GET /v1/accounts/{account}/balance HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\r\n"
        )
    };
    let order = |amount: i64| {
        format!(r#"{{"from":"acc_00000001","to":"acc_00000002","amount":{amount},"currency":"EUR"}}"#)
    };
    let key = format!("{lane}-{nth}");
    match kind {
        0 | 1 => pay(&key, "", &order(100)),
        2 => pay(&format!("{lane}-again"), "", &order(100)),
        3 => pay(&format!("{lane}-again"), "", &order(200)),
        4 => pay(&key, "", &order(105)),
        5 => pay(&key, "", "{not json"),
        6 => pay(&key, "", &order(-1)),
        7 => pay("", "", &order(100)),
        8 => pay(&key, "Squall-Attempt: 2\r\n", &order(100)).replace(TOKEN, "wrong-token-0000"),
        9 => format!(
            "GET /v1/accounts/acc_00000001 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        ),
        10 => "GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(),
        11 => {
            let body = order(100);
            pay(&key, "Transfer-Encoding: chunked\r\n", &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
                .lines()
                .filter(|line| !line.starts_with("Content-Length"))
                .map(|line| format!("{line}\r\n"))
                .collect()
        }
        12 => pay(&key, "", &order(100)).replace("/v1/payments HTTP", "/v1/payments?x=1 HTTP"),
        14 => balance("acc_00000001", ""),
        15 => balance("acc_00000001", "Min-Seq: none\r\n"),
        16 => balance("acc_00099999", "Min-Seq: none\r\n"),
        17 => balance("nonsense", ""),
        18 => balance("acc_00000002", "").replace(TOKEN, "wrong-token-0000"),
        19 => balance("acc_00000002", "Content-Length: 2\r\n") + "{}",
        _ => pay(&key, "Connection: close\r\n", &order(100)),
    }
}

#[test]
fn both_ways_answer_alike_whatever_is_asked_and_however_it_is_cut() {
    let service = Service::start(&[]);
    let case = Cell::new(0);
    // What is asked in a row, whether the last closes the connection, and where the bytes are cut.
    let streams = (
        vec((0u8..20).prop_filter("closes", |kind| *kind != 13), 1..6),
        any::<bool>(),
        vec(any::<Index>(), 0..3),
    );
    let mut runner = TestRunner::new(Config::with_cases(96));
    let compared = runner.run(&streams, |(kinds, closes, cuts)| {
        case.set(case.get() + 1);
        // Who is refused before the body has come is not read on, and may lose the answer over it: only
        // where all comes at once is that told apart.
        let early = |kind: u8| matches!(kind, 7 | 8);
        let kinds = kinds.into_iter().map(|kind| if early(kind) && !cuts.is_empty() { 0 } else { kind });
        let kinds: Vec<u8> = kinds.chain(closes.then_some(13)).collect();
        let answers = |lane: &str| {
            let mut c = service.client();
            if lane == "long" {
                // From here on the connection is hyper's.
                assert_eq!(c.get("/livez").status, 200);
            }
            let lane = format!("{lane}{:06}", case.get());
            let stream: String = kinds.iter().zip(0..).map(|(kind, nth)| asked(*kind, nth, &lane)).collect();
            let mut ends: Vec<usize> = cuts.iter().map(|at| at.index(stream.len())).collect();
            ends.push(stream.len());
            ends.sort_unstable();
            let mut begin = 0;
            for end in ends {
                c.stream.write_all(&stream.as_bytes()[begin..end]).unwrap();
                begin = end;
                std::thread::sleep(Duration::from_millis(1));
            }
            let answers: Vec<_> = kinds
                .iter()
                .map_while(|_| c.read().ok())
                .map(|r| {
                    // Both lanes pay between the same accounts: how much is left is not compared, but whose it is.
                    let shown = r.body.contains("as_of_seq").then(|| r.json()["account"].clone());
                    (r.status, r.header("idempotent-replayed").map(str::to_owned), r.code(), shown)
                })
                .collect();
            (answers, closes.then(|| c.stream.read(&mut [0]).unwrap()))
        };
        let (short, long) = (answers("shrt"), answers("long"));
        prop_assert_eq!(short.0.len(), kinds.len(), "{:?} {:?}", kinds, short);
        prop_assert_eq!(short, long, "{:?}", kinds);
        Ok(())
    });
    compared.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_balance_behind_a_payment_on_the_wire_shows_it() {
    let service = Service::start(&["--commit-interval-us", "20000"]);
    let mut c = service.client();
    let before = c.get("/v1/accounts/acc_00000001/balance").json();
    // The one that waits for its commit is not the first of them.
    let stream: String = (0..2).map(|nth| asked(0, nth, "wire")).collect();
    let ask = asked(14, 0, "");
    c.stream.write_all(format!("{ask}{stream}{ask}").as_bytes()).unwrap();
    let answers = [(); 4].map(|()| c.read().unwrap());
    assert_eq!(answers.each_ref().map(|r| r.status), [200, 201, 201, 200]);
    assert_eq!(answers[0].json(), before);
    let after = answers[3].json();
    assert_eq!(after["balance"], before["balance"].as_i64().unwrap() - 200);
    assert_eq!(after["as_of_seq"], 2);
}

#[test]
fn a_fault_for_some_requests_hits_some_balances() {
    let service = Service::start(&[]);
    let half = r#"{"fault":{"name":"half","point":"api","effect":{"kind":"error","status":500},"fraction":0.5},"ttl_ms":60000,"seed":7}"#;
    assert_eq!(service.administer("POST", "/admin/faults", half).status, 201);
    let mut c = service.client();
    let failed = (0..64).filter(|_| c.get("/v1/accounts/acc_00000001/balance").status == 500).count();
    // None or all of 64, though each is as likely as the other: once in 2^63.
    assert!((1..64).contains(&failed), "{failed}");
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

#[test]
fn what_is_answered_does_not_wait_for_what_is_behind_it() {
    let service = Service::start(&[]);
    service.arm("never", "store", r#"{"kind":"hang"}"#, 60_000);
    let mut c = service.client();
    let payment = |key: &str, to: u32| {
        let body = format!(r#"{{"from":"acc_00000001","to":"acc_{to:08}","amount":100,"currency":"EUR"}}"#);
        format!(
            "POST /v1/payments HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: {key}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    // In one piece: an account that pays itself is refused at once, the other payment waits for the store.
    c.stream.write_all([payment("a", 1), payment("b", 2)].concat().as_bytes()).unwrap();
    assert_eq!(c.read().unwrap().status, 400);
    service.wait_for_hits(1);
    service.end("never");
    assert_eq!(c.read().unwrap().status, 201);
}
