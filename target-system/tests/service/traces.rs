//! Traces: what a collector is told of requests, and that requests do not depend on it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::collector::{Collector, Told, hex};
use crate::receiver::Receiver;
use crate::roles::{Role, figure};
use crate::support::{Client, Reply, Service, TOKEN, wait_for};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const ORDER: &str = r#"{"from":"acc_00000001","to":"acc_00000002","amount":77123,"currency":"EUR"}"#;

/// A payment that belongs to `trace`.
fn pay(client: &mut Client, key: &str, trace: &str, sampled: bool) -> Reply {
    let (auth, parent) = (format!("Bearer {TOKEN}"), format!("00-{trace}-{CALLER}-0{}", u8::from(sampled)));
    let headers = [
        ("Authorization", auth.as_str()),
        ("Idempotency-Key", key),
        ("Traceparent", &parent),
        ("Tracestate", "vendor=kept"),
    ];
    client.send("POST", "/v1/payments", &headers, ORDER.as_bytes())
}

fn one<'a>(told: &'a [Told], service: &str, name: &str) -> &'a Told {
    let found: Vec<&Told> = told.iter().filter(|t| t.service == service && t.span.name == name).collect();
    assert_eq!(found.len(), 1, "{service} {name} in {told:?}");
    found[0]
}

/// The one step of `parent` that is called so.
fn step<'a>(told: &'a [Told], parent: &Told, service: &str, name: &str) -> &'a Told {
    let is = |t: &&Told| {
        t.service == service && t.span.name == name && t.span.parent_span_id == parent.span.span_id
    };
    let found: Vec<&Told> = told.iter().filter(is).collect();
    assert_eq!(found.len(), 1, "{service} {name} below {} in {told:?}", parent.span.name);
    let (step, parent) = (&found[0].span, &parent.span);
    assert!(parent.start_time_unix_nano <= step.start_time_unix_nano, "{step:?} {parent:?}");
    assert!(step.start_time_unix_nano <= step.end_time_unix_nano);
    found[0]
}

#[test]
fn a_payment_is_followed_through_every_process_that_takes_part() {
    let collector = Collector::start();
    let url = collector.url();
    // They sample nothing by themselves: the caller has decided.
    let traced = ["--otlp", &url, "--trace-sample", "0"];
    let fraud = Role::start("fraud", &traced);
    let network = Role::start("network", &[&traced[..], &["--median-ms", "0"]].concat());
    let (fraud_url, network_url) = (fraud.url(), network.url());
    let asked = ["--fraud-url", &fraud_url, "--network-url", &network_url];
    let service = Service::start(&[&traced[..], &asked].concat());
    let mut client = service.client();
    let paid = pay(&mut client, "followed-key", TRACE, true);
    assert_eq!(paid.status, 201, "{paid:?}");

    // Ten: request, fraud, its call and its answer, network likewise, store, commit, notify.
    let told = collector.trace(TRACE, 10);
    let request = one(&told, "payments", "POST /v1/payments");
    assert_eq!((hex(&request.span.parent_span_id), request.span.kind), (CALLER.to_owned(), 2));
    assert_eq!(request.says("http.request.method"), "POST");
    assert_eq!(request.says("http.route"), "/v1/payments");
    assert_eq!(request.says("http.response.status_code"), "201");
    assert_eq!(request.says("payments.request_id"), paid.header("request-id").unwrap());
    for (name, at, service, call) in [
        ("fraud", &fraud, "payments-fraud", "POST /v1/scores"),
        ("network", &network, "payments-network", "POST /v1/authorizations"),
    ] {
        let dependency = step(&told, request, "payments", name);
        let asking = step(&told, dependency, "payments", "POST");
        assert_eq!((asking.span.kind, asking.says("server.port")), (3, at.listening.port().to_string()));
        assert!(asking.says("url.full").ends_with(call.split_once(' ').unwrap().1), "{asking:?}");
        let asked = step(&told, asking, service, call);
        assert_eq!(asked.says("http.response.status_code"), asking.says("http.response.status_code"));
    }
    let store = step(&told, request, "payments", "store");
    assert_eq!(store.says("payments.payment.id"), paid.json()["id"]);
    let commit = step(&told, store, "payments", "commit");
    assert_eq!(commit.says("db.operation.batch.size"), "1");
    let notify = step(&told, store, "payments", "notify");
    assert_eq!((notify.span.kind, notify.says("payments.notify.outcome").as_str()), (5, "delivered"));
    assert_eq!(told.len(), 10, "{told:?}");
    for t in &told {
        assert_eq!((t.span.trace_state.as_str(), &t.span.status), ("vendor=kept", &None), "{t:?}");
        let all = format!("{t:?}");
        for secret in ["acc_", "77123", "followed-key", TOKEN, "Bearer"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }
}

#[test]
fn every_delivery_is_a_step_of_its_payment_and_the_receiver_is_told_which() {
    let collector = Collector::start();
    let tries = AtomicU32::new(0);
    let receiver = Receiver::that(move |delivery| {
        assert_eq!(delivery.trace[1], if delivery.trace[0].is_empty() { "" } else { "vendor=kept" });
        (Duration::ZERO, if tries.fetch_add(1, Relaxed) == 0 { 503 } else { 200 })
    });
    let (url, to) = (collector.url(), receiver.url());
    let service = Service::start(&[
        "--otlp",
        &url,
        "--trace-sample",
        "0",
        "--deliver-to",
        &to,
        "--retry-base-ms",
        "20",
    ]);
    let mut client = service.client();
    assert_eq!(pay(&mut client, "k", TRACE, true).status, 201);
    let told = collector.trace(TRACE, 5);
    let store = one(&told, "payments", "store");
    let mut tried: Vec<&Told> = told.iter().filter(|t| t.span.name == "notify").collect();
    tried.sort_by_key(|t| t.says("payments.notify.delivery"));
    let said = |name: &str| tried.iter().map(|t| t.says(name)).collect::<Vec<_>>();
    assert!(tried.iter().all(|t| t.span.parent_span_id == store.span.span_id), "{tried:?}");
    assert_eq!(said("payments.notify.delivery"), ["1", "2"]);
    assert_eq!(said("payments.notify.outcome"), ["retried", "delivered"]);
    assert_eq!(said("error.type"), ["503", ""]);
    assert_eq!(said("messaging.system"), ["process"; 2]);
    assert_eq!(said("messaging.destination.name"), ["notices.normal"; 2]);
    let accepted = receiver.accepted();
    assert_eq!(said("messaging.message.id"), [accepted[0].id.as_str(); 2]);
    assert_eq!(accepted[0].trace[0], format!("00-{TRACE}-{}-01", hex(&tried[1].span.span_id)));
    // One that is not sampled says nothing.
    let unsampled = TRACE.replace('4', "5");
    assert_eq!(pay(&mut client, "l", &unsampled, false).status, 201);
    wait_for("it is delivered", || receiver.ids() == 2);
    assert_eq!(receiver.accepted()[1].trace, ["", ""]);
}

#[test]
fn what_goes_wrong_is_said_where_it_did() {
    let collector = Collector::start();
    let url = collector.url();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{gone}");
    let asked = ["--network-url", &gone, "--call-attempts", "2", "--retry-pause-ms", "0"];
    let service = Service::start(&[&["--otlp", &url][..], &asked].concat());
    let refused = pay(&mut service.client(), "k", TRACE, true);
    assert_eq!((refused.status, refused.code().as_str()), (503, "network_unavailable"));
    let told = collector.trace(TRACE, 4);
    let request = one(&told, "payments", "POST /v1/payments");
    assert_eq!(
        (request.says("error.type").as_str(), request.says("http.response.status_code").as_str()),
        ("503", "503")
    );
    let network = step(&told, request, "payments", "network");
    assert_eq!(network.says("error.type"), "failed");
    let calls = told.iter().filter(|t| t.span.name == "POST" && t.says("error.type") == "no_answer");
    assert_eq!(calls.count(), 2, "an attempt and its retry: {told:?}");
    assert!(told.iter().all(|t| t.span.status.as_ref().is_some_and(|s| s.code == 2)), "{told:?}");

    // A client that goes away leaves a request that was given up.
    assert_eq!(service.arm("slow", "store", r#"{"kind":"hang"}"#, 60_000).status, 201);
    let other = TRACE.replace('4', "5");
    let mut client = service.client();
    let parent = format!("00-{other}-{CALLER}-01");
    let auth = format!("Bearer {TOKEN}");
    let accounts = [("Authorization", auth.as_str()), ("Traceparent", &parent)];
    // By the other lane.
    assert_eq!(client.send("GET", "/v1/accounts/acc_00000001", &accounts, b"").status, 200);
    let told = collector.trace(&other, 1);
    assert_eq!(one(&told, "payments", "GET /v1/accounts/{id}").says("http.route"), "/v1/accounts/{id}");
}

#[test]
fn the_share_is_sampled_of_requests_that_nobody_has_decided_about() {
    let collector = Collector::start();
    let all = Service::start(&["--otlp", &collector.url(), "--trace-sample", "1"]);
    let mut client = all.client();
    let paid: Vec<Reply> = (0..5).map(|n| client.pay(&format!("k{n}"), 1, 2, 100)).collect();
    assert_eq!(client.get("/v1/payments?idempotency_key=k0").status, 200);
    assert_eq!(client.get("/livez").status, 200);
    // The caller has decided against it.
    assert_eq!(pay(&mut client, "unsampled", TRACE, false).status, 201);
    let requests = || {
        let told = collector.told().into_iter();
        told.filter(|t| t.span.kind == 2).map(|t| (t.says("payments.request_id"), t)).collect::<Vec<_>>()
    };
    wait_for("the spans of six requests", || requests().len() >= 6);
    for reply in &paid {
        let id = reply.header("request-id").unwrap();
        let (_, told) = requests().into_iter().find(|(told, _)| told == id).unwrap();
        assert_eq!(
            (told.span.parent_span_id.len(), told.says("http.response.status_code").as_str()),
            (0, "201")
        );
        let steps = collector.trace(&hex(&told.span.trace_id), 4);
        assert_eq!(steps.len(), 4, "request, store, commit, notify: {steps:?}");
    }
    drop(all);

    let none = Service::start(&["--otlp", &collector.url(), "--trace-sample", "0"]);
    let before = collector.told().len();
    let mut client = none.client();
    assert!((0..50).all(|n| client.pay(&format!("k{n}"), 1, 2, 100).status == 201));
    let last = TRACE.replace('4', "6");
    assert_eq!(pay(&mut client, "last", &last, true).status, 201);
    collector.trace(&last, 4);
    let told = collector.told();
    assert!(told[before..].iter().all(|t| hex(&t.span.trace_id) == last), "{:?}", &told[before..]);
    assert!(!told.iter().any(|t| t.span.name == "livez" || hex(&t.span.trace_id) == TRACE), "{told:?}");
}

#[test]
fn a_collector_that_is_away_refuses_or_hangs_costs_payments_nothing() {
    let lost = |service: &Service, reason: &str| {
        figure(service.listening, &format!("trace_spans_dropped_total{{reason=\"{reason}\"}}"))
    };
    let exported = |service: &Service| figure(service.listening, "trace_spans_exported_total");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = Collector::answering(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    for url in [format!("http://{gone}"), refusing.url()] {
        let mut service = Service::start(&["--otlp", &url, "--trace-sample", "1"]);
        assert_eq!(service.client().pay("k", 1, 2, 100).status, 201);
        wait_for("lost spans", || lost(&service, "export_failed") >= 3.0);
        assert_eq!(exported(&service), 0.0);
        service.terminate();
        assert_eq!(service.exit_code(), Some(0));
    }
    // ExportTraceServiceResponse { partial_success: { rejected_spans: 2 } }
    let partial = Collector::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x02");
    let service = Service::start(&["--otlp", &partial.url(), "--trace-sample", "1"]);
    assert_eq!(service.client().pay("k", 1, 2, 100).status, 201);
    wait_for("rejected spans", || lost(&service, "rejected") >= 2.0);

    let hanging = Collector::answering(b"");
    let mut service = Service::start(&["--otlp", &hanging.url(), "--trace-sample", "1"]);
    // More spans than the queue holds and what is under way.
    let payments = 4 * 450;
    std::thread::scope(|scope| {
        for client in 0..4 {
            let service = &service;
            scope.spawn(move || {
                let mut connection = service.client();
                for n in 0..450 {
                    assert_eq!(connection.pay(&format!("{client}-{n}"), 1, 2, 1).status, 201);
                }
            });
        }
    });
    wait_for("the queue to overflow", || lost(&service, "queue_full") > 0.0);
    assert_eq!(service.health()["store"]["payments"], payments);
    service.terminate();
    assert_eq!(service.exit_code(), Some(0));
}
