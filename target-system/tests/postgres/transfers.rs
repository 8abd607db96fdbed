//! Payments between databases that somebody or something breaks off half way: they come to their end, once, and the books
//! are straight all the time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;

use crate::own::assert_sound;
use crate::replicas::figure;
use crate::shards::{Pair, balance};
use crate::support::{Ends, Service, wait_for};

#[test]
fn a_payment_whose_process_is_killed_half_way_arrives_by_another_one() {
    let pair = Pair::start();
    let first = pair.serve(&[]);
    let held = pair.hold(2);
    first.client().write_payment("k", 1, 2, 100);
    wait_for("the payer has paid", || pair.sql("SELECT count(*) FROM transfers") == ["0", "1"]);
    // Half of it is there, and the books of both are straight.
    let second = pair.serve(&["--transaction-ms", "1000", "--pool-acquire-ms", "1000"]);
    first.signal(Signal::KILL);
    let audit = second.audit();
    assert_sound(&audit);
    assert_eq!(audit["currencies"]["EUR"]["in_transit"], 100, "{audit}");
    let mut client = second.client();
    assert_eq!((balance(&mut client, 1), balance(&mut client, 2)), (999_900, 1_000_000));
    drop(held);
    wait_for("it has arrived", || balance(&mut second.client(), 2) == 1_000_100);
    wait_for("the mark is gone", || pair.is_settled());
    assert_eq!(figure(&second, "store_transfers_recovered_total"), 1);
    let reply = client.pay("k", 1, 2, 100);
    assert_eq!((reply.status, reply.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!((balance(&mut client, 1), balance(&mut client, 2)), (999_900, 1_000_100));
    assert_sound(&second.audit());
}

#[test]
fn whoever_asks_again_for_a_payment_that_is_half_made_is_not_told_before_it_is_whole() {
    let pair = Pair::start();
    let service = pair.serve(&["--transaction-ms", "400"]);
    let held = pair.hold(2);
    let late = service.client().pay("k", 1, 2, 100);
    assert_eq!((late.status, late.code().as_str()), (503, "store_unavailable"));
    assert_eq!(service.client().get("/v1/payments?idempotency_key=k").status, 503);
    assert_eq!(balance(&mut service.client(), 1), 999_900);
    drop(held);
    let paid = service.client().pay("k", 1, 2, 100);
    assert_eq!((paid.status, paid.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(balance(&mut service.client(), 2), 1_000_100);
    assert_sound(&service.audit());
}

#[test]
fn many_who_ask_at_once_for_a_payment_that_is_half_made_have_it_made_once() {
    let pair = Pair::start();
    // Nothing that waits is given up.
    let patient = ["--committers", "1", "--transaction-ms", "60000", "--request-timeout-ms", "60000"];
    let (dies, service) = (pair.serve(&[]), pair.serve(&patient));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let wait_until = |n: &str| {
        wait_for("a payee is waited for", || pair.servers[0].sql(waiting).as_deref() == Some(n));
    };
    // The only one who commits there waits for another account. What waits behind that will be one transaction.
    let other = pair.hold(4);
    service.client().write_payment("other", 1, 4, 100);
    wait_until("1");
    let held = pair.hold(2);
    dies.client().write_payment("k", 1, 2, 100);
    wait_until("2");
    dies.signal(Signal::KILL);
    drop(held);
    std::thread::scope(|s| {
        let asking: Vec<_> = (0..8)
            .map(|_| s.spawn(|| service.client().get("/v1/payments?idempotency_key=k").status))
            .collect();
        wait_for("eight wait", || service.health()["shards"][0]["queue_depth"].as_u64() >= Some(8));
        drop(other);
        let statuses: Vec<u16> = asking.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(statuses, [200; 8]);
    });
    assert_eq!(balance(&mut service.client(), 2), 1_000_100);
    wait_for("the marks are gone", || pair.is_settled());
    assert_sound(&service.audit());
}

#[test]
fn kills_of_processes_and_databases_lose_and_double_nothing() {
    let mut pair = Pair::start();
    let args = ["--pool-acquire-ms", "500", "--transaction-ms", "2000"];
    let keeps = pair.serve(&args);
    let (over, acknowledged, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // Each key is asked for until it is answered, as a client does that wants to know.
    let pay_on = |connection: u32| -> Vec<(String, String)> {
        let mut client = keeps.client();
        let mut seen = Vec::new();
        for n in 0.. {
            if over.load(Relaxed) {
                break;
            }
            let (key, from) = (format!("c{connection}-{n}"), (connection + n) % 10 + 1);
            let to = (connection + 3 * n + 1) % 10 + 1;
            if from == to {
                continue;
            }
            loop {
                let reply = client.pay(&key, from, to, 100);
                match reply.status {
                    201 => {
                        seen.push((key, reply.body));
                        acknowledged.fetch_add(1, Relaxed);
                        break;
                    }
                    503 | 409 => {
                        refused.fetch_add(1, Relaxed);
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    other => panic!("{other}: {}", reply.body),
                }
            }
        }
        seen
    };
    let more = |than: u64| {
        let before = acknowledged.load(Relaxed);
        wait_for("payments go on", || acknowledged.load(Relaxed) > before + than);
    };
    let seen: Vec<(String, String)> = std::thread::scope(|s| {
        let _over = Ends(&over);
        let pay_on = &pay_on;
        let paying: Vec<_> = (0..4).map(|c| s.spawn(move || pay_on(c))).collect();
        for round in 0..4 {
            more(100);
            // A second process, killed in the middle of what it does.
            let dies = Service::launch(&mut pair.command(&args));
            let mut client = dies.client();
            for n in 0..20 {
                client.write_payment(&format!("dies{round}-{n}"), 1 + n % 10, 1 + (n + 1) % 10, 100);
            }
            dies.signal(Signal::KILL);
            pair.servers[round % 2].kill();
            wait_for("it is noticed", || keeps.health()["status"] == "degraded");
            let health = keeps.health();
            assert_eq!((&health["ready"], &health["shards"][round % 2]["ok"]), (&true.into(), &false.into()));
            pair.servers[round % 2].restart();
        }
        more(100);
        over.store(true, Relaxed);
        paying.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert!(refused.load(Relaxed) > 0);
    wait_for("nothing is on its way", || pair.is_settled());
    let mut client = keeps.client();
    for (key, body) in &seen {
        assert_eq!(&client.get(&format!("/v1/payments?idempotency_key={key}")).body, body, "{key}");
    }
    let audit = keeps.audit();
    assert_sound(&audit);
    assert_eq!(audit["currencies"]["EUR"]["in_transit"], 0, "{audit}");
    let payments = audit["payments"].as_u64().unwrap();
    let acknowledged = seen.len() as u64;
    assert!((acknowledged..=acknowledged + 4 * 20).contains(&payments), "{acknowledged} {audit}");
}

#[test]
fn an_audit_finds_what_one_database_alone_knows() {
    // Whole payments, so that each database alone is straight.
    let lost = "WITH p AS (DELETE FROM payments WHERE origin IS NOT NULL AND payee = 4 RETURNING seq),
                     e AS (DELETE FROM entries WHERE seq IN (SELECT seq FROM p) RETURNING account)
                UPDATE accounts SET balance = balance - 100, last_seq = 0 WHERE id = 4";
    let other_amount =
        "WITH p AS (UPDATE payments SET amount = amount + 5 WHERE origin IS NOT NULL RETURNING seq),
                             e AS (UPDATE entries SET amount = amount + 5 * sign(amount),
                                   balance_after = balance_after + 5 WHERE seq IN (SELECT seq FROM p))
                        UPDATE accounts SET balance = balance + 5 WHERE id = 1";
    let twice = "WITH p AS (INSERT INTO payments (seq, created_at, payer, payee, amount, currency, origin, made_at)
                            SELECT nextval('payment_seqs'), now(), payer, payee, amount, currency, origin, made_at
                            FROM payments WHERE origin IS NOT NULL RETURNING *),
                      e AS (INSERT INTO entries SELECT -1, seq, created_at, -100, NULL FROM p
                            UNION ALL SELECT 1, seq, created_at, 100, 1000200 FROM p)
                 UPDATE accounts SET balance = balance + 100, last_seq = (SELECT seq FROM p) WHERE id = 1";
    for (shard, wrong, finding) in [
        (0, lost, "unmatched_transfers"),
        (1, other_amount, "unmatched_transfers"),
        (1, twice, "impossible_payments"),
    ] {
        let pair = Pair::start();
        let service = pair.serve(&[]);
        let mut client = service.client();
        assert_eq!(client.pay("a", 3, 4, 100).status, 201);
        assert_eq!(client.pay("b", 2, 1, 100).status, 201);
        wait_for("the marks are gone", || pair.is_settled());
        assert_sound(&service.audit());
        pair.servers[shard].sql(wrong).unwrap();
        let audit = service.audit();
        let found = &audit["recount"];
        assert_eq!((&audit["balanced"], &found["sound"]), (&false.into(), &false.into()), "{wrong}: {audit}");
        assert!(found[finding].as_u64() > Some(0), "{wrong}: {audit}");
        for fine in
            ["wrong_balances", "broken_links", "wrong_volumes", "missing_payments", "overdrawn_accounts"]
        {
            assert_eq!(found[fine], 0, "{wrong}: {audit}");
        }
    }
}
