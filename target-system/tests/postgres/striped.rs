//! Striped balances: who holds what, that nothing is lost or overdrawn, and who may be on one database.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::own::{assert_sound, beside, command, few_accounts, outlast_kills, pay_once_for_each_key, server};
use crate::server::Server;
use crate::support::{Client, Reply, Service, wait_for};

const STRIPED: &[&str] = &["--strategy", "striped"];

fn balance(service: &Service, account: u32) -> i64 {
    let reply = service.client().get(&format!("/v1/accounts/acc_{account:08}/balance"));
    reply.json()["balance"].as_i64().unwrap()
}

/// Locks the main row of the account that these tests are about.
const MAIN: &str = "SELECT FROM accounts WHERE id = 1 FOR UPDATE";

/// Has payments meet at `account`, so that its balance is divided.
fn divide(server: &Server, service: &Service, account: u32) {
    let (divided, key) = (format!("divide-{account}"), format!("divided-{account}"));
    let held = server.hold(&format!("SELECT FROM accounts WHERE id = {account} FOR UPDATE"));
    let mut client = service.client();
    client.write_payment(&divided, account, 10, 100);
    wait_until_waiting(server, 1);
    drop(held);
    assert_eq!(client.read().unwrap().status, 201);
    assert_eq!(client.pay(&key, 10, account, 100).status, 201);
    let parts = format!("SELECT count(*) FROM account_stripes WHERE account = {account}");
    assert_eq!(server.sql(&parts).unwrap(), "15");
}

/// Waits until as many transactions wait for a lock.
fn wait_until_waiting(server: &Server, transactions: u32) {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let all = Some(transactions.to_string());
    wait_for("they wait for a lock", || server.sql(waits) == all);
}

fn assert_no_deadlocks(server: &Server) {
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    // It says who waited for whom.
    assert_eq!(server.sql(deadlocks).unwrap(), "0", "{}", server.log());
}

/// What the process says when it does not start.
fn refusal(command: &mut Command) -> String {
    // One that starts all the same ends at once, since its input has.
    let ended = command.arg("--exit-on-stdin-eof").output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "{told}");
    told
}

#[test]
fn a_payment_takes_a_stripe_that_nobody_holds() {
    let (_folder, server) = server();
    let service = beside(&server, STRIPED);
    assert_eq!(service.client().pay("first", 1, 2, 100).status, 201);
    assert_eq!(server.sql("SELECT count(*) FROM account_stripes").unwrap(), "0");
    divide(&server, &service, 1);
    // What is held, others need not wait for: on neither side.
    let main = server.hold(MAIN);
    assert_eq!(service.client().pay("from", 1, 3, 100).status, 201);
    assert_eq!(service.client().pay("to", 3, 1, 200).status, 201);
    let two = server.hold("SELECT FROM account_stripes WHERE account = 1 AND stripe IN (1, 2) FOR UPDATE");
    assert_eq!(service.client().pay("third", 1, 3, 300).status, 201);
    drop((main, two));
    let taken = "SELECT e.amount, e.stripe FROM entries e JOIN idempotency_keys k USING (seq)
                 WHERE account = 1 AND encode(k.key, 'escape') ~ '(from|to|third)$' ORDER BY e.seq";
    assert_eq!(server.sql(taken).unwrap(), "-100|1\n200|1\n-300|3");
    assert_eq!(balance(&service, 1), 1_000_000 - 100 - 100 + 200 - 300);
    assert_sound(&service.audit());
}

#[test]
fn what_no_stripe_has_is_gathered_from_all_and_never_more_than_there_is() {
    let (_folder, server) = server();
    let service = beside(&server, STRIPED);
    divide(&server, &service, 1);
    let most = "SELECT max(balance) FROM account_parts WHERE account = 1";
    assert!(server.sql(most).unwrap().parse::<i64>().unwrap() < 100_000);
    let mut c = service.client();
    let declined = |reply: Reply| (reply.status, reply.code());
    let poor = (402, "insufficient_funds".to_owned());
    assert_eq!(declined(c.pay("more", 1, 2, 1_000_100)), poor);
    assert_eq!(c.pay("most", 1, 2, 900_000).status, 201);
    assert_eq!(declined(c.pay("again", 1, 2, 100_100)), poor);
    assert_eq!(c.pay("rest", 1, 2, 100_000).status, 201);
    assert_eq!(declined(c.pay("nothing", 1, 2, 100)), poor);
    assert_eq!((balance(&service, 1), balance(&service, 2)), (0, 2_000_000));
    assert!(server.sql("SELECT count(*) FROM stripe_moves").unwrap().parse::<u32>().unwrap() > 15);
    let sums =
        "SELECT count(*) FROM (SELECT FROM stripe_moves GROUP BY account, seq HAVING sum(amount) <> 0) AS s";
    assert_eq!(server.sql(sums).unwrap(), "0");
    // What was declined stays declined, whatever the account holds by now.
    assert_eq!(c.pay("back", 2, 1, 2_000_000).status, 201);
    let replayed = c.pay("more", 1, 2, 1_000_100);
    assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (402, Some("true")));
    assert_sound(&service.audit());
}

#[test]
fn mistakes_are_told_as_ever() {
    let (_folder, server) = server();
    let service = beside(&server, STRIPED);
    let mut c = service.client();
    let told = |reply: Reply| (reply.status, reply.code(), reply.param());
    let missing = |param: &str| (400, "resource_missing".to_owned(), param.to_owned());
    assert_eq!(told(c.pay("from", 77, 1, 100)), missing("from"));
    assert_eq!(told(c.pay("to", 1, 77, 100)), missing("to"));
    assert_eq!(told(c.pay("asked", 1, 77, 105)), missing("to"));
    let opened = c.post("/v1/accounts", r#"{"currency":"USD","opening_balance":500}"#);
    assert_eq!(opened.status, 201, "{}", opened.body);
    assert_eq!(c.pay("usd", 1, 11, 100).status, 400);
    assert_eq!(server.sql("SELECT count(*) FROM idempotency_keys").unwrap(), "0");
    assert_eq!(c.pay("asked", 1, 2, 105).status, 402);
    let reused = c.pay("asked", 1, 2, 100);
    assert_eq!((reused.status, reused.code()), (422, "idempotency_key_reused".to_owned()));
    assert_eq!(c.pay("paid", 1, 2, 100).status, 201);
    assert_eq!(c.pay("paid", 1, 3, 100).status, 422);
    let audit = service.audit();
    assert_sound(&audit);
    assert_eq!((&audit["payments"], &audit["declines"]), (&1.into(), &1.into()));
}

/// Payments from `payers` threads on each of `services`, `each` of a thread; how many were paid, and how many declined.
fn pay_from_all(
    services: &[Service],
    threads: u32,
    each: u32,
    order: impl Fn(u32) -> (u32, u32, i64) + Sync,
) -> (u64, u64) {
    let (paid, declined) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|s| {
        for (process, service) in (0..).zip(services) {
            for thread in 0..threads {
                let (paid, declined, order) = (&paid, &declined, &order);
                s.spawn(move || {
                    let mut client = service.client();
                    for n in 0..each {
                        let (from, to, amount) = order((process * threads + thread) * each + n);
                        let reply = client.pay(&format!("p{process}-{thread}-{n}"), from, to, amount);
                        match (reply.status, reply.code().as_str()) {
                            (201, _) => paid.fetch_add(1, Relaxed),
                            (402, "insufficient_funds") => declined.fetch_add(1, Relaxed),
                            other => panic!("{other:?}: {}", reply.body),
                        };
                    }
                });
            }
        }
    });
    (paid.into_inner(), declined.into_inner())
}

#[test]
fn an_account_is_drained_to_nothing_and_not_beyond() {
    // What is left: nothing, and less than a payment.
    for (amount, left) in [(10_000, 0), (7_000, 6_000)] {
        let (_folder, server) = server();
        let services = [beside(&server, STRIPED), beside(&server, STRIPED)];
        divide(&server, &services[0], 1);
        let (paid, declined) = pay_from_all(&services, 8, 12, |n| (1, 2 + n % 8, amount));
        assert_eq!((paid, declined), (1_000_000 / amount as u64, 192 - 1_000_000 / amount as u64));
        assert_eq!(balance(&services[1], 1), left);
        assert_sound(&services[1].audit());
        drop(services);
        assert_no_deadlocks(&server);
    }
}

#[test]
fn two_processes_pay_to_and_fro_between_hot_accounts_and_neither_waits_in_a_circle() {
    let (_folder, server) = server();
    let services = [beside(&server, STRIPED), beside(&server, STRIPED)];
    // Large amounts, so that stripes run out again and again, in either direction and between three.
    let order = |n: u32| {
        let (from, to) = [(1, 2), (2, 1), (2, 3), (3, 1), (1, 3), (3, 2)][n as usize % 6];
        (from, to, i64::from(n % 7 + 1) * 20_000)
    };
    let (paid, declined) = pay_from_all(&services, 12, 60, order);
    assert_eq!(paid + declined, 1_440);
    let audit = services[0].audit();
    assert_sound(&audit);
    assert_eq!((&audit["payments"], &audit["declines"]), (&paid.into(), &declined.into()));
    assert_eq!((1..=3).map(|account| balance(&services[1], account)).sum::<i64>(), 3_000_000);
    let stripes = "SELECT count(DISTINCT stripe) FROM entries";
    assert!(server.sql(stripes).unwrap().parse::<u32>().unwrap() > 4, "{:?}", server.sql(stripes));
    assert_ne!(server.sql("SELECT count(*) FROM stripe_moves").unwrap(), "0");
    drop(services);
    assert_no_deadlocks(&server);
}

#[test]
fn payments_that_find_every_stripe_held_wait_for_one_each_and_gather_nothing() {
    let (_folder, server) = server();
    let services = [beside(&server, STRIPED), beside(&server, STRIPED)];
    divide(&server, &services[0], 1);
    let moves = || server.sql("SELECT count(*) FROM stripe_moves").unwrap();
    let moved = moves();
    let held = [MAIN, "SELECT FROM account_stripes WHERE account = 1 FOR UPDATE"].map(|all| server.hold(all));
    // No two of them meet at another account.
    let mut waiting: Vec<Client> = (0..9)
        .map(|n| {
            let mut client = services[n as usize % 2].client();
            let (from, to) = if n < 5 { (1, 2 + n) } else { (2 + n, 1) };
            client.write_payment(&format!("w{n}"), from, to, 100);
            client
        })
        .collect();
    wait_until_waiting(&server, 9);
    drop(held);
    for client in &mut waiting {
        assert_eq!(client.read().unwrap().status, 201);
    }
    assert_eq!(moves(), moved);
    let taken = "SELECT count(DISTINCT stripe) FROM entries JOIN idempotency_keys k USING (seq)
                 WHERE account = 1 AND encode(k.key, 'escape') ~ 'w[0-9]+$'";
    assert!(server.sql(taken).unwrap().parse::<u32>().unwrap() > 2, "{:?}", server.sql(taken));
    assert_sound(&services[0].audit());
}

#[test]
fn processes_pay_once_for_each_key() {
    let (_folder, server) = server();
    let services = [beside(&server, STRIPED), beside(&server, STRIPED)];
    pay_once_for_each_key(&services.each_ref(), 150, few_accounts);
    let audit = services[1].audit();
    assert_sound(&audit);
    assert_eq!((&audit["payments"], &audit["declines"]), (&135.into(), &15.into()));
    drop(services);
    assert_no_deadlocks(&server);
}

#[test]
fn a_database_that_is_killed_loses_no_acknowledged_payment() {
    let (_folder, mut server) = server();
    let service = beside(&server, &[STRIPED, &["--pool-acquire-ms", "500"]].concat());
    outlast_kills(&mut server, &service, |n| (n % 3 + 1, (n + 1) % 3 + 1));
    assert_ne!(server.sql("SELECT count(*) FROM account_stripes").unwrap(), "0");
}

#[test]
fn every_payment_has_its_notice_and_no_decline_has() {
    let (_folder, server) = server();
    let mut c = command(&server);
    // Nobody is there to take them.
    c.args(STRIPED).args(["--queue", "nats"]).env("PAYMENTS_NATS", "nats://127.0.0.1:1");
    let service = Service::launch(&mut c);
    assert_eq!(service.client().pay("one", 1, 2, 100).status, 201);
    divide(&server, &service, 1);
    assert_eq!(service.client().pay("gathered", 1, 3, 900_000).status, 201);
    assert_eq!(service.client().pay("poor", 1, 3, 900_000).status, 402);
    assert_eq!(service.client().pay("one", 1, 2, 100).status, 201);
    let same = "SELECT count(*), count(p.seq), count(o.seq) FROM payments p
                FULL JOIN outbox o USING (seq, created_at, payer, payee, amount, currency)";
    assert_eq!(server.sql(same).unwrap(), "4|4|4");
}

#[test]
fn an_audit_finds_what_was_changed_in_stripes() {
    let (_folder, server) = server();
    let service = beside(&server, STRIPED);
    divide(&server, &service, 1);
    let held = server.hold(MAIN);
    assert_eq!(service.client().pay("k", 1, 3, 100).status, 201);
    drop(held);
    assert_sound(&service.audit());
    let in_stripe = "WHERE account = 1 AND stripe = 1";
    for (change, back, finding) in [
        (
            "UPDATE account_stripes SET balance = balance + 1",
            "UPDATE account_stripes SET balance = balance - 1",
            "wrong_balances",
        ),
        (
            "UPDATE account_stripes SET last_seq = last_seq + 99",
            "UPDATE account_stripes SET last_seq = last_seq - 99",
            "wrong_balances",
        ),
        (
            "UPDATE stripe_moves SET amount = amount + 1",
            "UPDATE stripe_moves SET amount = amount - 1",
            "wrong_balances",
        ),
        (
            "UPDATE entries SET balance_after = balance_after + 1",
            "UPDATE entries SET balance_after = balance_after - 1",
            "broken_links",
        ),
        (
            "UPDATE stripe_moves SET seq = seq + 99",
            "UPDATE stripe_moves SET seq = seq - 99",
            "overdrawn_accounts",
        ),
    ] {
        server.sql(&format!("{change} {in_stripe}")).unwrap();
        let audit = service.audit();
        assert_eq!(audit["balanced"], false, "{change}: {audit}");
        assert!(audit["recount"][finding].as_u64() > Some(0), "{change}: {audit}");
        server.sql(&format!("{back} {in_stripe}")).unwrap();
        assert_sound(&service.audit());
    }
    // Moved from one stripe to another by hand: the sum is the same.
    let by_hand = |amount: i64| {
        let sql = format!(
            "UPDATE account_stripes SET balance = balance + {amount} * (2 * stripe - 3) WHERE account = 1 AND stripe IN (1, 2)"
        );
        server.sql(&sql).unwrap();
    };
    by_hand(1);
    let audit: Value = service.audit();
    assert_eq!(
        (&audit["balanced"], &audit["recount"]["wrong_balances"]),
        (&false.into(), &1.into()),
        "{audit}"
    );
    by_hand(-1);
    assert_sound(&service.audit());
    assert!(server.sql(&format!("UPDATE account_stripes SET balance = -1 {in_stripe}")).is_none());
}

#[test]
fn a_database_is_striped_for_all_or_for_nobody() {
    let (_folder, server) = server();
    let epoch = || server.sql("SELECT id FROM cache_epoch").unwrap();
    // One that ends before the others start.
    assert_eq!(beside(&server, &[]).client().pay("first", 1, 2, 100).status, 201);
    let first_epoch = epoch();
    // All that start at once agree.
    let services: Vec<Service> = std::thread::scope(|s| {
        let starting = [(); 3].map(|()| s.spawn(|| beside(&server, STRIPED)));
        starting.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let striped_epoch = epoch();
    assert_ne!(striped_epoch, first_epoch, "what was cached before is not told of payments");
    divide(&server, &services[0], 1);
    assert_eq!(services[1].client().pay("k", 1, 2, 50_000).status, 201);
    for other in ["batched", "naive"] {
        let told = refusal(command(&server).args(["--strategy", other]));
        assert!(told.contains("end them first, or start with --strategy striped"), "{told}");
    }
    assert_eq!(services[1].client().pay("goes-on", 1, 2, 100).status, 201);
    let parts = "SELECT count(*) FROM account_stripes";
    assert_eq!(server.sql(parts).unwrap(), "15");

    // Nobody uses it any more: what is in stripes goes back.
    drop(services);
    let service = beside(&server, &[]);
    assert_ne!(epoch(), striped_epoch);
    assert_eq!(server.sql(parts).unwrap(), "0");
    assert_eq!(balance(&service, 1), 1_000_000 - 50_000 - 200);
    assert_sound(&service.audit());
    assert_eq!(service.client().pay("all-of-it", 1, 2, 949_800).status, 201);
    assert_eq!(service.client().pay("k", 1, 2, 50_000).header("idempotent-replayed"), Some("true"));
    assert_eq!(beside(&server, &["--strategy", "naive"]).client().pay("n", 2, 1, 100).status, 201);
    let told = refusal(command(&server).args(STRIPED));
    assert!(told.contains("end them first, or start with --strategy batched"), "{told}");
    assert_sound(&service.audit());

    // And to stripes again.
    drop(service);
    let service = beside(&server, STRIPED);
    divide(&server, &service, 2);
    assert_eq!(balance(&service, 1), 100);
    assert_sound(&service.audit());
}

/// Should a start not see a process that is there, the database refuses that process.
#[test]
fn a_process_whose_layout_was_changed_pays_nothing_more() {
    for (args, to) in [
        (STRIPED, include_str!("../../src/postgres/schema/to_whole.sql")),
        (&["--strategy", "batched"], include_str!("../../src/postgres/schema/to_striped.sql")),
    ] {
        let (_folder, server) = server();
        let service = beside(&server, args);
        let mut c = service.client();
        assert_eq!(c.pay("before", 1, 2, 100).status, 201);
        server.sql(&format!("BEGIN; {to}; COMMIT")).unwrap();
        assert_eq!(c.pay("after", 1, 2, 100).status, 503, "{args:?}");
        assert_eq!(c.post("/v1/accounts", r#"{"currency":"EUR"}"#).status, 503, "{args:?}");
        service.wait_until("it says so", |h| h["store"]["ok"] == false);
        assert_eq!(c.get("/readyz").status, 503);
        assert_eq!(server.sql("SELECT count(*) FROM payments").unwrap(), "1");
        assert_eq!(server.sql("SELECT sum(amount), count(*) FROM entries").unwrap(), "0|2");
    }
}

#[test]
fn stripes_are_refused_with_replicas_and_with_a_cache() {
    let (_folder, server) = server();
    for (name, value) in
        [("PAYMENTS_REPLICAS", server.url()), ("PAYMENTS_REDIS", "redis://127.0.0.1:1".to_owned())]
    {
        let told = refusal(command(&server).args(STRIPED).env(name, value));
        assert!(told.contains(name) && told.contains("--strategy batched"), "{told}");
    }
    let mut off = command(&server);
    off.args(STRIPED).args(["--cache", "off"]).env("PAYMENTS_REDIS", "redis://127.0.0.1:1");
    assert_eq!(Service::launch(&mut off).client().pay("k", 1, 2, 100).status, 201);
}
