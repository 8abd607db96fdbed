//! One key, one payment.

use std::collections::HashSet;

use crate::support::{Client, Service, wait_for};

const HANG: &str = r#"{"kind":"hang"}"#;

#[test]
fn a_repeated_request_is_answered_as_the_first_time() {
    let service = Service::start(&[]);
    let mut c = service.client();
    let first = c.pay("k", 1, 2, 100);
    assert_eq!(first.header("idempotent-replayed"), None);
    for _ in 0..3 {
        let again = service.client().pay("k", 1, 2, 100);
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    assert_eq!(service.audit()["payments"], 1);
}

#[test]
fn a_key_with_another_body_is_refused_and_changes_nothing() {
    let service = Service::start(&[]);
    let mut c = service.client();
    c.pay("k", 1, 2, 100);
    for (from, to, amount) in [(1, 2, 200), (1, 3, 100), (3, 2, 100)] {
        let got = c.pay("k", from, to, amount);
        assert_eq!((got.status, got.code().as_str()), (422, "idempotency_key_reused"));
        assert_eq!(got.json()["error"]["type"], "idempotency_error");
    }
    assert_eq!(service.audit()["payments"], 1);
}

#[test]
fn a_key_in_use_is_refused_until_its_request_has_ended() {
    let service = Service::start(&[]);
    service.arm("stuck", "store", HANG, 60_000);
    let mut first = service.client();
    first.write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    for amount in [100, 200] {
        let second = service.client().pay("k", 1, 2, amount);
        assert_eq!((second.status, second.code().as_str()), (409, "idempotency_key_in_use"));
        assert_eq!(second.header("retry-after"), Some("1"));
    }
    service.end("stuck");
    let paid = first.read().unwrap();
    assert_eq!(paid.status, 201);
    let again = service.client().pay("k", 1, 2, 100);
    assert_eq!((again.status, &again.body), (201, &paid.body));
}

#[test]
fn of_many_at_once_with_one_key_one_pays() {
    let service = Service::start(&[]);
    for round in 0..20 {
        let key = format!("k{round}");
        let mut clients: Vec<Client> = (0..8).map(|_| service.client()).collect();
        clients.iter_mut().for_each(|c| c.write_payment(&key, 1, 2, 100));
        let mut answers = HashSet::new();
        let mut first_hand = 0;
        for reply in clients.iter_mut().map(|c| c.read().unwrap()) {
            match reply.status {
                201 => {
                    first_hand += u32::from(reply.header("idempotent-replayed").is_none());
                    answers.insert(reply.body);
                }
                409 => assert_eq!(reply.code(), "idempotency_key_in_use"),
                other => panic!("{other}: {}", reply.body),
            }
        }
        assert_eq!((answers.len(), first_hand), (1, 1));
    }
    assert_eq!(service.audit()["payments"], 20);
}

#[test]
fn a_client_that_hangs_up_changes_nothing() {
    // The first payment makes the writer wait; the second is in its hand, the third in its queue.
    let service = Service::start(&["--commit-interval-us", "500000"]);
    service.client().pay("first", 1, 2, 100);
    let mut gone = [service.client(), service.client()];
    gone[0].write_payment("in-hand", 1, 2, 100);
    gone[1].write_payment("queued", 1, 2, 100);
    service.wait_until("one is queued", |h| h["store"]["queue_depth"] == 1 || h["store"]["payments"] == 3);
    drop(gone);
    for key in ["in-hand", "queued"] {
        wait_for("it is committed", || {
            service.client().get(&format!("/v1/payments?idempotency_key={key}")).status == 200
        });
    }
    let replay = service.client().pay("queued", 1, 2, 100);
    assert_eq!((replay.status, replay.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(service.audit()["balanced"], true);
}

#[test]
fn a_client_that_hangs_up_before_the_store_is_asked_leaves_its_key_free() {
    let service = Service::start(&[]);
    service.arm("stuck", "store", HANG, 60_000);
    let mut gone = service.client();
    gone.write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    drop(gone);
    wait_for("the key is free", || {
        // A request that gets past the claim hangs too: what tells is that it is not a 409.
        let mut c = service.client();
        c.write_payment("k", 1, 2, 100);
        c.stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        c.read().is_err()
    });
    service.end("stuck");
    wait_for("it can be paid", || service.client().pay("k", 1, 2, 100).status == 201);
    assert_eq!(service.audit()["recount"]["sound"], true);
}
