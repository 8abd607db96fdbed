//! What holds on Postgres alone.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use crate::keeping::point;
use crate::server::Server;
use crate::support::{ADMIN_TOKEN, Client, Ends, Service, TOKEN, wait_for};

/// A further process on `server`.
pub fn beside(server: &Server, args: &[&str]) -> Service {
    Service::launch(command(server).args(args))
}

pub fn command(server: &Server) -> Command {
    opening_accounts(server, "10", "1000000")
}

/// One that opens so many accounts with so much in each.
pub fn opening_accounts(server: &Server, accounts: &str, balance: &str) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_payments"));
    c.args(["serve", "--announce", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--accounts", accounts, "--opening-balance", balance])
        .env_clear()
        .env("PAYMENTS_TOKEN", TOKEN)
        .env("PAYMENTS_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("RUST_LOG", "off")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped());
    point(&mut c, server);
    c
}

pub fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    (folder, server)
}

pub fn assert_sound(audit: &Value) {
    assert_eq!((&audit["balanced"], &audit["recount"]["sound"]), (&true.into(), &true.into()), "{audit}");
}

#[test]
fn every_payment_is_two_entries_and_the_history_of_two_balances() {
    let service = Service::start(&[]);
    let server = service.kept.as_ref().unwrap();
    let mut c = service.client();
    assert_eq!(c.pay("a", 1, 2, 1250).status, 201);
    assert_eq!(c.pay("b", 2, 3, 1_000_000).status, 201);
    assert_eq!(c.pay("c", 1, 2, 105).status, 402);
    let history =
        "SELECT account, amount, balance_before, balance_after FROM balance_history ORDER BY seq, account";
    assert_eq!(
        server.sql(history).unwrap(),
        "1|-1250|1000000|998750\n2|1250|1000000|1001250\n2|-1000000|1001250|1250\n3|1000000|1000000|2000000"
    );
    assert_eq!(server.sql("SELECT sum(amount) FROM entries").unwrap(), "0");
    let audit = service.audit();
    assert_sound(&audit);
    assert_eq!((audit["payments"].as_u64(), audit["declines"].as_u64()), (Some(2), Some(1)));
}

#[test]
fn the_pool_keeps_its_least_and_no_more_than_its_most() {
    let (_folder, server) = server();
    let service = beside(&server, &["--pool-min", "3", "--pool-max", "3", "--committers", "1"]);
    let gauge = |name: &str| -> usize {
        let text = service.client().get("/metrics").body;
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("{name} ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("{name}\n{text}")).parse().unwrap()
    };
    wait_for("three are open", || gauge("store_pool_connections") == 3);
    service.client().pay("k", 1, 2, 100);
    assert_eq!(gauge("store_pool_connections"), 3);
    assert_eq!(gauge("store_pool_waiting"), 0);
    let figures = service.client().get("/metrics").body;
    assert!(!figures.contains("idempotency_keys "), "a figure that is not known is not 0: {figures}");
    let seen = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'payments'";
    assert_eq!(server.sql(seen).as_deref(), Some("3"));
}

#[test]
fn an_audit_finds_what_was_changed_behind_the_services_back() {
    let service = Service::start(&[]);
    let server = service.kept.as_ref().unwrap();
    let mut c = service.client();
    for (key, from, to) in [("a", 1, 2), ("b", 2, 3), ("c", 3, 1)] {
        assert_eq!(c.pay(key, from, to, 100).status, 201);
    }
    for (wrong, right, finding) in [
        (
            "UPDATE accounts SET balance = balance + 1 WHERE id = 2",
            "UPDATE accounts SET balance = balance - 1 WHERE id = 2",
            "wrong_balances",
        ),
        (
            "UPDATE accounts SET balance = balance + 1 WHERE id = 9",
            "UPDATE accounts SET balance = balance - 1 WHERE id = 9",
            "wrong_balances",
        ),
        (
            "UPDATE entries SET balance_after = balance_after + 1 WHERE seq = 2",
            "UPDATE entries SET balance_after = balance_after - 1 WHERE seq = 2",
            "broken_links",
        ),
        (
            "UPDATE payments SET amount = 101 WHERE seq = 2",
            "UPDATE payments SET amount = 100 WHERE seq = 2",
            "impossible_payments",
        ),
        (
            "UPDATE payments SET seq = 99 WHERE seq = 2",
            "UPDATE payments SET seq = 2 WHERE seq = 99",
            "missing_payments",
        ),
        (
            "UPDATE idempotency_keys SET seq = 99 WHERE seq = 2",
            "UPDATE idempotency_keys SET seq = 2 WHERE seq = 99",
            "stray_keys",
        ),
        (
            "UPDATE idempotency_keys SET seq = 3 WHERE seq = 2",
            "UPDATE idempotency_keys SET seq = 2 WHERE ctid = (SELECT max(ctid) FROM idempotency_keys WHERE seq = 3)",
            "stray_keys",
        ),
        (
            "WITH e AS (UPDATE entries SET account = -2, balance_after = NULL WHERE seq = 3 AND amount > 0)
             UPDATE accounts SET balance = balance - 100, last_seq = 1 WHERE id = 1",
            "WITH e AS (UPDATE entries SET account = 1, balance_after = 1000000 WHERE seq = 3 AND amount > 0)
             UPDATE accounts SET balance = balance + 100, last_seq = 3 WHERE id = 1",
            "unmatched_transfers",
        ),
    ] {
        server.sql(wrong).unwrap();
        let audit = service.audit();
        assert_eq!(audit["balanced"], false, "{wrong}: {audit}");
        assert!(audit["recount"][finding].as_u64() > Some(0), "{wrong}: {audit}");
        server.sql(right).unwrap();
        assert_sound(&service.audit());
    }
    // Entries cannot leave an account below zero, whoever writes them.
    assert!(server.sql("UPDATE accounts SET balance = -1 WHERE id = 2").is_none());
}

/// A payment that is asked for, and how it is answered.
pub struct Asked {
    pub from: u32,
    pub to: u32,
    pub amount: i64,
    pub status: u16,
}

/// Between accounts that many want at once, in either direction; every tenth is declined.
pub fn few_accounts(n: u32) -> Asked {
    let (from, to) = if n.is_multiple_of(2) { (1, 2 + n % 3) } else { (2 + n % 3, 1) };
    let (amount, status) = if n.is_multiple_of(10) { (105, 402) } else { (1_000, 201) };
    Asked { from, to, amount, status }
}

/// Two clients of each of `services` ask for the same `payments`: each is made once, and everybody is told the same.
pub fn pay_once_for_each_key(services: &[&Service], payments: u32, asked: impl Fn(u32) -> Asked + Sync) {
    let (first_hand, lapsed) = (AtomicU64::new(0), AtomicU64::new(0));
    let pay = |client: &mut Client, n: u32| {
        let Asked { from, to, amount, .. } = asked(n);
        let reply = loop {
            let reply = client.pay(&format!("k{n}"), from, to, amount);
            match reply.status {
                409 => {}
                // On a slow machine somebody waits too long. That says nothing of the payment.
                503 | 504 => _ = lapsed.fetch_add(1, Relaxed),
                _ => break reply,
            }
        };
        let fresh = reply.header("idempotent-replayed").is_none();
        first_hand.fetch_add(u64::from(fresh), Relaxed);
        (reply.status, reply.body)
    };
    let answers: Vec<Vec<(u16, String)>> = std::thread::scope(|s| {
        let pays = |service: &Service| {
            let mut client = service.client();
            let pay = &pay;
            s.spawn(move || (0..payments).map(|n| pay(&mut client, n)).collect())
        };
        let paying: Vec<_> = services.iter().flat_map(|service| [pays(service), pays(service)]).collect();
        paying.into_iter().map(|t| t.join().unwrap()).collect()
    });
    // What was made and answered too late was told first as a repetition.
    let (first_hand, lapsed) = (first_hand.into_inner(), lapsed.into_inner());
    let all = u64::from(payments);
    assert!(first_hand <= all && first_hand + lapsed >= all, "{first_hand} first-hand, {lapsed} lapsed");
    for n in 0..payments {
        let told = |answer: &[(u16, String)]| answer[n as usize].clone();
        assert_eq!(told(&answers[0]).0, asked(n).status, "{n}");
        for answer in &answers {
            assert_eq!(told(answer), told(&answers[0]), "{n}");
        }
    }
}

#[test]
fn processes_that_share_a_database_pay_once_for_each_key() {
    let (_folder, server) = server();
    // All of them make the tables and open the accounts.
    let strategies = [&["--strategy", "batched"][..], &["--strategy", "naive"], &["--committers", "4"]];
    let services: [Service; 3] = std::thread::scope(|s| {
        let starting = strategies.map(|args| s.spawn(|| beside(&server, args)));
        starting.map(|t| t.join().unwrap())
    });
    assert_eq!(server.sql("SELECT count(*), sum(balance) FROM accounts").unwrap(), "10|10000000");

    pay_once_for_each_key(&services.each_ref(), 150, few_accounts);
    let audit = services[1].audit();
    assert_sound(&audit);
    assert_eq!((audit["payments"].as_u64(), audit["declines"].as_u64()), (Some(135), Some(15)));
}

#[test]
fn of_two_orders_with_one_key_in_two_processes_one_is_paid_and_the_other_refused() {
    let (_folder, server) = server();
    let services = [beside(&server, &[]), beside(&server, &[])];
    let mut clients = services.each_ref().map(Service::client);
    let mut firsts = [0, 0];
    for n in 0..60 {
        // They share no account, so nothing but the key itself can stop the second.
        let key = format!("k{n}");
        clients[0].write_payment(&key, 1, 2, 100);
        clients[1].write_payment(&key, 3, 4, 100);
        let statuses = clients.each_mut().map(|c| c.read().unwrap().status);
        assert!(statuses == [201, 422] || statuses == [422, 201], "{key}: {statuses:?}");
        firsts[usize::from(statuses[1] == 201)] += 1;
    }
    let audit = services[0].audit();
    assert_sound(&audit);
    assert_eq!(audit["payments"], 60, "{firsts:?}");
}

#[test]
fn a_transaction_that_takes_too_long_is_given_up_and_its_connection_with_it() {
    let (_folder, server) = server();
    let service = beside(&server, &["--transaction-ms", "1500", "--pool-max", "2"]);
    let held = server.hold("SELECT 1 FROM accounts WHERE id = 1 FOR UPDATE");
    let late = service.client().pay("k", 1, 2, 100);
    assert_eq!((late.status, late.code().as_str()), (503, "store_unavailable"));
    assert_eq!(service.client().pay("other", 3, 4, 100).status, 201);
    drop(held);
    for n in 0..4 {
        assert_eq!(service.client().pay(&format!("k{n}"), 1, 2, 100).status, 201);
    }
    assert_eq!(service.client().pay("k", 1, 2, 100).status, 201);
    assert_sound(&service.audit());
}

#[test]
fn a_database_that_is_killed_loses_no_acknowledged_payment_and_comes_back_to_the_same_service() {
    let (_folder, mut server) = server();
    let service = beside(&server, &["--pool-acquire-ms", "500"]);
    outlast_kills(&mut server, &service, |n| (n % 10 + 1, (n + 1) % 10 + 1));
}

/// Kills the database three times while accounts pay each other as `order` says.
pub fn outlast_kills(server: &mut Server, service: &Service, order: impl Fn(u32) -> (u32, u32) + Sync) {
    let (over, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let pay_on = |connection: u32| -> Vec<(String, String)> {
        let mut client = service.client();
        let mut seen = Vec::new();
        for n in 0.. {
            if over.load(Relaxed) {
                break;
            }
            let key = format!("c{connection}-{n}");
            let (from, to) = order(connection + n);
            let reply = client.pay(&key, from, to, 100);
            match reply.status {
                201 => {
                    seen.push((key, reply.body));
                    acknowledged.fetch_add(1, Relaxed);
                }
                503 => std::thread::sleep(Duration::from_millis(10)),
                other => panic!("{other}: {}", reply.body),
            }
        }
        seen
    };
    let seen: Vec<(String, String)> = std::thread::scope(|s| {
        let _ends = Ends(&over);
        let pay_on = &pay_on;
        let paying: Vec<_> = (0..4).map(|c| s.spawn(move || pay_on(c))).collect();
        for round in 0..3 {
            let before = acknowledged.load(Relaxed);
            wait_for("payments go on", || acknowledged.load(Relaxed) > before + 100);
            server.kill();
            if round == 0 {
                wait_for("it is noticed", || service.health()["store"]["ok"] == false);
                assert_eq!(service.client().get("/readyz").status, 503);
                assert_eq!(service.client().get("/v1/accounts/acc_00000001").status, 503);
            }
            server.restart();
        }
        let before = acknowledged.load(Relaxed);
        wait_for("payments go on after all", || acknowledged.load(Relaxed) > before + 100);
        over.store(true, Relaxed);
        paying.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    let mut client = service.client();
    for (key, body) in &seen {
        assert_eq!(&client.get(&format!("/v1/payments?idempotency_key={key}")).body, body, "{key}");
    }
    let audit = service.audit();
    assert_sound(&audit);
    assert!(audit["payments"].as_u64() >= Some(seen.len() as u64), "{audit}");
    service.wait_until("it is well", |h| h["ready"] == true);
}

#[test]
fn keys_beyond_the_window_are_removed() {
    let (_folder, server) = server();
    let first = beside(&server, &[]);
    assert_eq!(first.client().pay("k", 1, 2, 100).status, 201);
    std::thread::sleep(Duration::from_millis(1_100));
    let second = beside(&server, &["--key-window-s", "1"]);
    wait_for("the key is gone", || second.client().get("/v1/payments?idempotency_key=k").status == 404);
    assert_sound(&second.audit());
}

#[test]
fn payments_lie_in_tables_of_months_that_can_be_taken_away() {
    let service = Service::start(&[]);
    let server = service.kept.as_ref().unwrap();
    service.client().pay("k", 1, 2, 100);
    let of = |months: u32| {
        let sql = format!("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '{months} months', 'YYYY_MM')");
        server.sql(&sql).unwrap()
    };
    let names =
        "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text) FROM pg_inherits
                 WHERE inhparent = 'payments'::regclass";
    let names = server.sql(names).unwrap();
    assert_eq!(names, format!("payments_{} payments_{} payments_{}", of(0), of(1), of(2)));
    let old = format!("payments_{}", of(0));
    server.sql(&format!("ALTER TABLE payments DETACH PARTITION {old}")).unwrap();
    assert_eq!(server.sql(&format!("SELECT count(*) FROM {old}")).unwrap(), "1");
    assert_eq!(server.sql("SELECT count(*) FROM payments").unwrap(), "0");
}

#[test]
fn what_cannot_be_reached_is_told_and_a_password_never_is() {
    let (_folder, server) = server();
    for (database, why) in [
        ("postgres://u:hunter2@127.0.0.1:1/x", "failed to reach the database"),
        ("postgres://u:hunter2@[::1", "PAYMENTS_POSTGRES makes no sense"),
    ] {
        let ended = command(&server).env("PAYMENTS_POSTGRES", database).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && told.contains(why), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let told = |c: &mut Command| String::from_utf8_lossy(&c.output().unwrap().stderr).into_owned();
    assert!(told(command(&server).env_remove("PAYMENTS_POSTGRES")).contains("PAYMENTS_POSTGRES is not set"));
    let none = told(command(&server).env("PAYMENTS_POSTGRES", server.url() + "x"));
    assert_eq!(none.matches("database \"postgresx\" does not exist (3D000)").count(), 1, "{none}");
    assert!(told(command(&server).env("PAYMENTS_POSTGRES", "")).contains("PAYMENTS_POSTGRES names no host"));
    let copies = told(command(&server).env("PAYMENTS_REPLICAS", "postgres://[::1"));
    assert!(copies.contains("PAYMENTS_REPLICAS makes no sense"), "{copies}");
    let more = told(command(&server).args(["--pool-min", "21", "--pool-max", "20"]));
    assert!(more.contains("--pool-min 21 is above --pool-max 20"), "{more}");
}

#[test]
fn accounts_opened_while_another_process_starts_are_whose_they_were_opened_for() {
    let (_folder, server) = server();
    let service = beside(&server, &[]);
    let opened: Vec<String> = std::thread::scope(|s| {
        let starting: Vec<_> = ["100", "150", "200"]
            .map(|accounts| {
                let mut c = opening_accounts(&server, accounts, "1000000");
                s.spawn(move || Service::launch(&mut c))
            })
            .into();
        let mut client = service.client();
        let open = |_| {
            let reply = client.post("/v1/accounts", r#"{"currency":"USD","opening_balance":7}"#);
            assert_eq!(reply.status, 201, "{}", reply.body);
            reply.json()["id"].as_str().unwrap().to_owned()
        };
        let opened = (0..120).map(open).collect();
        starting.into_iter().for_each(|t| drop(t.join().unwrap()));
        opened
    });
    let mut client = service.client();
    for id in &opened {
        let account = client.get(&format!("/v1/accounts/{id}")).json();
        assert_eq!(
            (&account["currency"], &account["opening_balance"]),
            (&"USD".into(), &7.into()),
            "{account}"
        );
    }
    let different: std::collections::HashSet<_> = opened.iter().collect();
    assert_eq!(different.len(), 120);
    assert_sound(&service.audit());
}

#[test]
fn a_database_of_an_earlier_version_goes_on() {
    let (_folder, server) = server();
    let earlier = [
        include_str!("../../src/postgres/schema/001_ledger.sql"),
        include_str!("../../src/postgres/schema/002_outbox.sql"),
        include_str!("../../src/postgres/schema/003_cache.sql"),
        include_str!("../../src/postgres/schema/004_refresh_tokens.sql"),
        "CREATE TABLE schema_migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
         INSERT INTO schema_migrations SELECT generate_series(1, 4)",
        "SELECT make_months(1);
         INSERT INTO accounts SELECT id, 'EUR', 1000000, 1000000, 0 FROM generate_series(1, 3) AS id;
         UPDATE accounts SET balance = 1000000 + CASE id WHEN 1 THEN -500 ELSE 500 END, last_seq = 1 WHERE id < 3;
         SELECT setval('account_ids', 3), nextval('payment_seqs');
         INSERT INTO payments VALUES (1, now(), 1, 2, 500, 'EUR');
         INSERT INTO entries SELECT v.account, 1, p.created_at, v.amount, 1000000 + v.amount
         FROM payments p, (VALUES (1, -500), (2, 500)) AS v (account, amount);
         INSERT INTO idempotency_keys SELECT 'service'::bytea || '\\x00'::bytea || 'old'::bytea, 1, 2, 500, 'EUR', created_at, 1
         FROM payments;
         INSERT INTO outbox SELECT seq, created_at, payer, payee, amount, currency FROM payments",
    ];
    for sql in earlier {
        server.sql(sql).unwrap();
    }
    let service = beside(&server, &[]);
    let mut client = service.client();
    let old = client.get("/v1/payments/pay_0000000000000001");
    assert_eq!((old.status, &old.json()["amount"]), (200, &500.into()), "{}", old.body);
    let again = client.pay("old", 1, 2, 500);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&old.body, Some("true")));
    assert_eq!(client.pay("new", 2, 9, 100).status, 201);
    let audit = service.audit();
    assert_sound(&audit);
    assert_eq!((audit["payments"].as_u64(), audit["accounts"].as_u64()), (Some(2), Some(10)));
}

#[test]
fn no_payment_reads_a_whole_table_however_small_that_was_at_the_beginning() {
    let (_folder, server) = server();
    let service = beside(&server, &[]);
    let mut c = service.client();
    // What is asked for many rows at once is what reading everything seems to be good for.
    for round in 0..20 {
        for n in 0..40 {
            c.write_payment(&format!("k{round}-{n}"), 1 + n % 10, 1 + (n + 1) % 10, 100);
        }
        for _ in 0..40 {
            assert_eq!(c.read().unwrap().status, 201);
        }
    }
    // Sessions that end tell what they have done.
    drop((c, service));
    let scanned = |how: &str| {
        let tables = "relname = 'idempotency_keys' OR relname ~ '^(payments|entries)_[0-9]'";
        let sum =
            server.sql(&format!("SELECT coalesce(sum({how}), 0) FROM pg_stat_user_tables WHERE {tables}"));
        sum.unwrap().parse::<u64>().unwrap()
    };
    // A key, a payment and two entries of each.
    wait_for("its sessions have told", || scanned("n_tup_ins") >= 3_200);
    assert_eq!(scanned("seq_tup_read"), 0, "rows read without an index");
}
