//! The place in a trace goes with a notice: through the outbox and the NATS server to a worker, and to the receiver.

use crate::collector::{Collector, hex};
use crate::receiver::Receiver;
use crate::stack::{NATS, Stack};
use crate::support::{Service, TOKEN, wait_for};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "5bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A payment that belongs to `trace`.
fn pay(service: &Service, trace: &str, sampled: bool) {
    let (auth, parent) = (format!("Bearer {TOKEN}"), format!("00-{trace}-{CALLER}-0{}", u8::from(sampled)));
    let headers = [
        ("Authorization", auth.as_str()),
        ("Idempotency-Key", trace),
        ("Traceparent", &parent),
        ("Tracestate", "vendor=kept"),
    ];
    let order = br#"{"from":"acc_00000001","to":"acc_00000002","amount":77123,"currency":"EUR"}"#;
    assert_eq!(service.client().send("POST", "/v1/payments", &headers, order).status, 201);
}

#[test]
fn a_worker_tells_its_step_of_a_payment_that_another_process_has_made() {
    let (collector, mut stack) = (Collector::start(), Stack::start(Receiver::start()));
    let url = collector.url();
    for (strategy, traces) in [("batched", [TRACE, OTHER]), ("naive", [OTHER, TRACE])] {
        let traces =
            traces.map(|trace| if strategy == "naive" { trace.replace('4', "6") } else { trace.into() });
        stack.nats.kill();
        let traced = ["--otlp", &url, "--trace-sample", "0"];
        let service = stack.serve(&[NATS, &traced, &["--strategy", strategy]].concat());
        pay(&service, &traces[0], true);
        pay(&service, &traces[1], false);
        // Nothing is written of one that nobody wants to hear of.
        let kept = stack.server.sql("SELECT coalesce(trace, 'nothing') FROM outbox ORDER BY seq").unwrap();
        let kept: Vec<&str> = kept.lines().collect();
        let begins = format!("00-{}-", traces[0]);
        assert!(kept[0].starts_with(&begins) && kept[0].ends_with("-01 vendor=kept"), "{kept:?}");
        assert_eq!(kept[1..], ["nothing"]);
        stack.nats.restart();
        let before = stack.receiver.ids();
        let _worker = stack.work(&traced);
        wait_for("both are delivered", || stack.receiver.ids() == before + 2);

        let told = collector.trace(&traces[0], 4);
        let named =
            |name: &str| told.iter().find(|t| t.span.name == name).unwrap_or_else(|| panic!("{told:?}"));
        let (store, notify) = (named("store"), named("notify"));
        assert_eq!((notify.service.as_str(), notify.span.kind), ("payments-worker", 5));
        assert_eq!(notify.span.parent_span_id, store.span.span_id);
        assert_eq!(notify.span.trace_state, "vendor=kept");
        for (name, said) in [
            ("messaging.system", "nats"),
            ("messaging.destination.name", "payments.notices.normal"),
            ("messaging.operation.type", "process"),
            ("payments.notify.delivery", "1"),
            ("payments.notify.outcome", "delivered"),
        ] {
            assert_eq!(notify.says(name), said, "{name}");
        }
        let accepted = stack.receiver.accepted();
        let of_the_first = accepted.iter().find(|d| d.id == notify.says("messaging.message.id")).unwrap();
        let place = format!("00-{}-{}-01", traces[0], hex(&notify.span.span_id));
        assert_eq!(of_the_first.trace, [place, "vendor=kept".to_owned()]);
        assert_eq!(accepted.iter().filter(|d| d.trace == ["", ""]).count(), accepted.len() / 2);
        assert!(!collector.told().iter().any(|t| hex(&t.span.trace_id) == traces[1]), "it is not sampled");
    }
}

#[test]
fn a_worker_without_a_collector_passes_the_place_on() {
    let (collector, stack) = (Collector::start(), Stack::start(Receiver::start()));
    let url = collector.url();
    let service = stack.serve(&[NATS, &["--otlp", &url, "--trace-sample", "0"]].concat());
    let _worker = stack.work(&[]);
    pay(&service, TRACE, true);
    stack.assert_all_delivered();
    let told = collector.trace(TRACE, 3);
    let store = told.iter().find(|t| t.span.name == "store").unwrap();
    let place = format!("00-{TRACE}-{}-01", hex(&store.span.span_id));
    assert_eq!(stack.receiver.accepted()[0].trace, [place, "vendor=kept".to_owned()]);
}
