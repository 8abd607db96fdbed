//! Notifications from the queue of the process.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::receiver::Receiver;
use crate::support::{Service, wait_for};

const EAGER: &[&str] = &["--retry-base-ms", "20"];

fn serve(receiver: &Receiver, args: &[&str]) -> Service {
    let url = receiver.url();
    Service::start(&[&["--deliver-to", url.as_str()], EAGER, args].concat())
}

#[test]
fn a_payment_is_told_with_an_id_and_a_decline_is_not() {
    let receiver = Receiver::start();
    let service = serve(&receiver, &[]);
    let mut c = service.client();
    let paid = c.pay("a", 1, 2, 1250);
    assert_eq!(c.pay("b", 1, 2, 105).status, 402);
    assert_eq!(c.pay("a", 1, 2, 1250).header("idempotent-replayed"), Some("true"));
    assert_eq!(c.pay("c", 2, 3, 500).status, 201);
    service.wait_until("both are told", |h| h["notifications"]["sent"] == 2);
    let accepted = receiver.accepted();
    assert_eq!(accepted.len(), 2);
    assert_eq!(accepted[0].event["data"], paid.json());
    assert_eq!(accepted[1].payment(), "pay_0000000000000002");
    assert!(accepted[0].id.starts_with("evt_0000000000000001_"), "{}", accepted[0].id);
    assert!(accepted[1].id.starts_with("evt_0000000000000002_"), "{}", accepted[1].id);
}

#[test]
fn what_fails_is_tried_again_and_given_up_in_the_end() {
    let tries = AtomicU32::new(0);
    let receiver = Receiver::that(move |delivery| match delivery.amount() {
        666 => (Duration::ZERO, 418),
        333 if tries.fetch_add(1, Relaxed) < 2 => (Duration::ZERO, 503),
        _ => (Duration::ZERO, 200),
    });
    let service = serve(&receiver, &["--max-deliveries", "3"]);
    let mut c = service.client();
    for (key, amount) in [("a", 666), ("b", 333), ("c", 100)] {
        assert_eq!(c.pay(key, 1, 2, amount).status, 201);
    }
    service.wait_until("one is given up", |h| {
        let n = &h["notifications"];
        n["sent"] == 2 && n["dead"] == 1 && n["dead_letters"] == 1 && n["waiting"]["low"] == 0
    });
    let n = service.health()["notifications"].clone();
    assert_eq!((&n["failed"], &n["retried"], &n["lost"]), (&5.into(), &4.into(), &0.into()), "{n}");
    let letters = service.administer("GET", "/admin/dead-letters", "").json();
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(
        (&letters[0]["deliveries"], &letters[0]["reason"]),
        (&3.into(), &"the receiver answers 418".into())
    );
    let figures = service.client().get("/metrics").body;
    for line in [
        "notifications_dead_total 1",
        "notification_workers 2",
        r#"notification_queue_depth{priority="low"} 0"#,
    ] {
        assert!(figures.contains(line), "{line}\n{figures}");
    }
}

#[test]
fn a_drain_delivers_what_is_left() {
    let receiver = Receiver::that(|_| (Duration::from_millis(5), 200));
    let mut service = serve(&receiver, &["--notify-min", "1", "--notify-max", "1"]);
    let mut c = service.client();
    for n in 0..40 {
        assert_eq!(c.pay(&format!("k{n}"), 1, 2, 100).status, 201);
    }
    service.terminate();
    assert_eq!(service.exit_code(), Some(0));
    assert_eq!(receiver.ids(), 40);
}

#[test]
fn a_receiver_that_hangs_neither_delays_payments_nor_the_end() {
    let receiver = Receiver::that(|_| (Duration::from_secs(3600), 200));
    let mut service = serve(&receiver, &["--deliver-timeout-ms", "60000"]);
    let mut c = service.client();
    for n in 0..20 {
        assert_eq!(c.pay(&format!("k{n}"), 1, 2, 100).status, 201);
    }
    service.wait_until("they wait", |h| h["notifications"]["waiting"]["low"].as_u64() >= Some(16));
    service.terminate();
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn the_fault_point_acts_before_a_receiver() {
    let receiver = Receiver::start();
    let service = serve(&receiver, &[]);
    service.arm("f", "notify", r#"{"kind":"error","status":503}"#, 60_000);
    assert_eq!(service.client().pay("a", 1, 2, 100).status, 201);
    service.wait_until("it failed twice", |h| h["notifications"]["failed"].as_u64() >= Some(2));
    assert_eq!(receiver.ids(), 0);
    service.end("f");
    wait_for("it arrives", || receiver.ids() == 1);
    let ids: HashSet<_> = receiver.accepted().into_iter().map(|d| d.id).collect();
    assert_eq!(ids.len(), 1);
}
