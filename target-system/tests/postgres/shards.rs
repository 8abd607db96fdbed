//! Accounts divided among several databases: what clients see is what they see with one, no payment is lost or doubled
//! between two, and a database that is away takes its own accounts with it and no others.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::nats::Nats;
use crate::own::{Asked, assert_sound, command, pay_once_for_each_key, server};
use crate::receiver::Receiver;
use crate::redis::Redis;
use crate::replicas::figure;
use crate::server::{Held, Server};
use crate::stack::Worker;
use crate::support::{Client, Ends, Reply, Service, TOKEN, wait_for};

/// Two databases, each on a server of its own. By modulo, even accounts are in the first and odd ones in the second.
pub struct Pair {
    pub servers: [Server; 2],
    _folders: [tempfile::TempDir; 2],
}

impl Pair {
    pub fn start() -> Self {
        let [(a, first), (b, second)] = [server(), server()];
        Self { servers: [first, second], _folders: [a, b] }
    }

    fn urls(&self) -> String {
        self.servers.each_ref().map(Server::url).join(",")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.divided("modulo", args)
    }

    fn divided(&self, by: &str, args: &[&str]) -> Command {
        let mut c = command(&self.servers[0]);
        c.env("PAYMENTS_POSTGRES", self.urls()).args(["--shard-by", by]).args(args);
        c
    }

    /// What it says when it does not start with `urls`.
    fn refuses(&self, urls: &str) -> String {
        let ended = self.command(&["--exit-on-stdin-eof"]).env("PAYMENTS_POSTGRES", urls).output().unwrap();
        assert!(!ended.status.success());
        String::from_utf8_lossy(&ended.stderr).into_owned()
    }

    pub fn serve(&self, args: &[&str]) -> Service {
        Service::launch(&mut self.command(args))
    }

    /// What each database says to `statement`.
    pub fn sql(&self, statement: &str) -> [String; 2] {
        self.servers.each_ref().map(|server| server.sql(statement).unwrap())
    }

    /// Whether nothing is on its way any more.
    pub fn is_settled(&self) -> bool {
        self.sql("SELECT count(*) FROM transfers") == ["0", "0"]
    }

    /// Has `account` locked until what this returns is dropped.
    pub fn hold(&self, account: u32) -> Held {
        self.servers[account as usize % 2]
            .hold(&format!("SELECT FROM accounts WHERE id = {account} FOR UPDATE"))
    }
}

pub fn balance(client: &mut Client, account: u32) -> i64 {
    let reply = client.get(&format!("/v1/accounts/acc_{account:08}/balance"));
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["balance"].as_i64().unwrap()
}

fn listed(client: &mut Client, account: u32, query: &str) -> Vec<String> {
    let reply = client.get(&format!("/v1/accounts/acc_{account:08}/payments?{query}"));
    assert_eq!(reply.status, 200, "{}", reply.body);
    let json = reply.json();
    json["data"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect()
}

fn id(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_payment_between_databases_is_like_any_other() {
    let pair = Pair::start();
    let services = [pair.serve(&[]), pair.serve(&["--strategy", "naive"])];
    assert_eq!(
        pair.sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM accounts"),
        ["2 4 6 8 10", "1 3 5 7 9"]
    );
    let [mut here, mut there] = services.each_ref().map(Service::client);
    let across = here.pay("across", 1, 2, 1000);
    let back = there.pay("back", 2, 1, 300);
    let within = here.pay("within", 1, 3, 50);
    let more = there.pay("more", 3, 2, 7);
    for client in [&mut here, &mut there] {
        assert_eq!([1, 2, 3].map(|n| balance(client, n)), [999_250, 1_000_707, 1_000_043]);
        for (key, paid) in [("across", &across), ("back", &back), ("within", &within), ("more", &more)] {
            assert_eq!(client.get(&format!("/v1/payments/{}", id(paid))).body, paid.body, "{key}");
            assert_eq!(client.get(&format!("/v1/payments?idempotency_key={key}")).body, paid.body, "{key}");
        }
        // The payee's list has the payment as everybody knows it, to the letter, and goes on behind it.
        let all = client.get("/v1/accounts/acc_00000002/payments");
        let shown = all.json()["data"].as_array().unwrap().clone();
        assert_eq!(shown, [&more, &back, &across].map(Reply::json));
        assert_eq!(listed(client, 2, "limit=1"), [id(&more)]);
        assert_eq!(listed(client, 2, &format!("starting_after={}", id(&more))), [id(&back), id(&across)]);
        assert_eq!(listed(client, 2, &format!("starting_after={}", id(&across))), [""; 0]);
        let none = client.get(&format!("/v1/accounts/acc_00000005/payments?starting_after={}", id(&across)));
        assert_eq!(none.status, 400);
    }
    let again = there.pay("across", 1, 2, 1000);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&across.body, Some("true")));
    assert_eq!(there.pay("across", 1, 2, 1001).status, 422);
    assert_eq!(here.pay("nobody", 1, 12, 100).param(), "to");
    assert_eq!(here.pay("nobody", 11, 2, 100).param(), "from");
    assert_eq!(here.pay("declined", 1, 2, 105).status, 402);
    assert_eq!(here.pay("poor", 1, 2, 5_000_000).code(), "insufficient_funds");
    // The number that the payee's side has in its own database is no payment's.
    let side = pair.servers[0].sql("SELECT min(seq) FROM payments WHERE origin IS NOT NULL").unwrap();
    assert_eq!(here.get(&format!("/v1/payments/pay_{:016}", side.parse::<u64>().unwrap())).status, 404);

    let books = "SELECT sum(amount), count(*) FILTER (WHERE account < 0) FROM entries";
    assert_eq!(pair.sql(books), ["0|3", "0|3"], "what is on its way is on the books of both");
    wait_for("the marks are gone", || pair.is_settled());
    let audit = services[1].audit();
    assert_sound(&audit);
    assert_eq!((audit["payments"].as_u64(), audit["declines"].as_u64()), (Some(4), Some(2)), "{audit}");
    assert_eq!(audit["currencies"]["EUR"]["in_transit"], 0);
    let figures = services.each_ref().map(|s| figure(s, "store_transfers_total"));
    assert_eq!(figures, [1, 2]);
}

#[test]
fn accounts_are_opened_in_every_database_and_keep_their_numbers_apart() {
    let pair = Pair::start();
    let service = Service::launch(&mut pair.divided("hash", &[]));
    let mut client = service.client();
    let mut opened: Vec<u32> = (0..40)
        .map(|_| {
            let reply = client.post("/v1/accounts", r#"{"currency":"EUR","opening_balance":500}"#);
            assert_eq!(reply.status, 201, "{}", reply.body);
            reply.json()["id"].as_str().unwrap()[4..].parse().unwrap()
        })
        .collect();
    for account in &opened {
        assert_eq!(balance(&mut client, *account), 500);
    }
    for (n, account) in opened.iter().enumerate() {
        let other = opened[(n + 1) % opened.len()];
        assert_eq!(client.pay(&format!("k{n}"), *account, other, 100).status, 201);
    }
    opened.sort_unstable();
    opened.dedup();
    assert_eq!(opened.len(), 40);
    assert!(opened[0] > 10);
    let held = pair.sql("SELECT count(*) FROM accounts").map(|n| n.parse::<u32>().unwrap());
    assert!(held.iter().sum::<u32>() == 50 && held.iter().all(|n| *n > 20), "{held:?}");
    assert_sound(&service.audit());
}

#[test]
fn processes_pay_between_databases_once_for_each_key_while_the_books_are_read() {
    const PAYMENTS: u32 = 300;
    let pair = Pair::start();
    let services =
        [pair.serve(&[]), pair.serve(&["--strategy", "naive"]), pair.serve(&["--committers", "3"])];
    let (audits, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|s| {
        let _over = Ends(&over);
        s.spawn(|| {
            while !over.load(Relaxed) {
                assert_sound(&services[0].audit());
                audits.fetch_add(1, Relaxed);
            }
        });
        pay_once_for_each_key(&services.each_ref(), PAYMENTS, |n| {
            // Two accounts that many want at once, one in each database; in every direction.
            let (from, to) = match n % 4 {
                0 => (1, 2),
                1 => (2, 1),
                2 => (3 + n % 8, 1 + n % 2),
                _ => (1 + n % 2, 3 + n % 8),
            };
            Asked { from, to, amount: 100 + i64::from(n % 3), status: 201 }
        });
    });
    assert!(audits.load(Relaxed) > 0);
    wait_for("the marks are gone", || pair.is_settled());
    let audit = services[2].audit();
    assert_sound(&audit);
    assert_eq!(audit["payments"], PAYMENTS, "{audit}");
    assert_eq!(audit["currencies"]["EUR"]["balances"], 10_000_000, "{audit}");
}

#[test]
fn a_key_is_one_payers_whichever_database_the_payers_are_in() {
    let pair = Pair::start();
    let services = [pair.serve(&[]), pair.serve(&[])];
    let mut clients = services.each_ref().map(Service::client);
    let mut firsts = [0, 0];
    for n in 0..60 {
        let key = format!("k{n}");
        clients[0].write_payment(&key, 1, 3, 100);
        clients[1].write_payment(&key, 2, 4, 100);
        let statuses = clients.each_mut().map(|c| c.read().unwrap().status);
        assert!(statuses == [201, 422] || statuses == [422, 201], "{key}: {statuses:?}");
        firsts[usize::from(statuses[1] == 201)] += 1;
    }
    let audit = services[0].audit();
    assert_sound(&audit);
    assert_eq!(audit["payments"], 60, "{firsts:?}");
}

#[test]
fn a_database_that_is_away_takes_its_own_accounts_with_it_and_no_others() {
    let mut pair = Pair::start();
    let service = pair.serve(&["--pool-acquire-ms", "300"]);
    let mut client = service.client();
    // So that the service knows the accounts, and need not ask for them.
    assert_eq!(client.pay("there", 2, 1, 100).status, 201);
    assert_eq!(client.pay("back", 1, 2, 100).status, 201);
    pair.servers[1].kill();
    wait_for("it is noticed", || service.health()["shards"][1]["ok"] == false);
    assert_eq!(client.get("/readyz").status, 200);
    // Keys have homes, too: of twenty some are in the database that is there.
    let paid = (0..20).filter(|n| client.pay(&format!("k{n}"), 2, 4, 100).status == 201).count();
    assert!(paid > 0, "{paid}");
    assert_eq!(balance(&mut client, 4), 1_000_000 + 100 * paid as i64);
    for (from, to) in [(1, 3), (1, 2), (2, 1)] {
        for n in 0..10 {
            let reply = client.pay(&format!("{from}-{to}-{n}"), from, to, 100);
            assert_eq!((reply.status, reply.code().as_str()), (503, "store_unavailable"), "{from} to {to}");
        }
    }
    assert_eq!(client.get("/v1/accounts/acc_00000001").status, 503);
    assert_eq!(client.get("/v1/audit").status, 503);
    assert_eq!(client.post("/v1/accounts", r#"{"currency":"EUR"}"#).status, 201);
    assert_eq!(
        balance(&mut client, 2),
        1_000_000 - 100 * paid as i64,
        "what was not to be made was not begun"
    );
    assert_eq!(figure(&service, r#"store_shard_up{shard="0"}"#), 1);
    assert_eq!(figure(&service, r#"store_shard_up{shard="1"}"#), 0);
    pair.servers[1].restart();
    service.wait_until("all is well", |h| h["status"] == "ok");
    assert_eq!(client.pay("2-1", 2, 1, 100).status, 201);
    assert_sound(&service.audit());
}

#[test]
fn a_payee_without_room_is_a_decline_before_anything_is_taken() {
    let pair = Pair::start();
    let service = pair.serve(&[]);
    let room = i64::MAX - 150;
    pair.servers[0]
        .sql(&format!("UPDATE accounts SET opening = {room}, balance = {room} WHERE id = 2"))
        .unwrap();
    let mut client = service.client();
    assert_eq!(client.pay("fits", 1, 2, 100).status, 201);
    let full = client.pay("full", 1, 2, 100);
    assert_eq!((full.status, full.code().as_str()), (402, "exceeds_limit"));
    assert_eq!(client.pay("full", 1, 2, 100).header("idempotent-replayed"), Some("true"));
    assert_eq!(balance(&mut client, 1), 999_900);
    assert_sound(&service.audit());
}

#[test]
fn databases_keep_their_places() {
    let pair = Pair::start();
    drop(pair.serve(&[]));
    let [first, second] = pair.servers.each_ref().map(Server::url);
    let (_folder, third) = server();
    drop(Service::launch(&mut command(&third)));
    let (_other, empty) = server();
    for (databases, by, why) in [
        (format!("{second},{first}"), "modulo", "the database is database 2 of 2, divided by modulo"),
        (format!("{first},{second}"), "hash", "names it as database 1 of 2, divided by hash"),
        (first.clone(), "modulo", "names it as the only database"),
        (format!("{first},{second},{}", empty.url()), "modulo", "names it as database 1 of 3"),
        (format!("{first},{first}"), "modulo", "names it as database 2 of 2"),
        (format!("{},{}", third.url(), empty.url()), "modulo", "the database is the only database"),
        (vec![first.clone(); 65].join(","), "modulo", "64 at most"),
    ] {
        let ended = pair.divided(by, &[]).env("PAYMENTS_POSTGRES", &databases).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && told.contains(why), "{why}: {told}");
        assert!(!told.contains(crate::server::PASSWORD), "{told}");
    }
    let mut c = pair.command(&[]);
    let ended = c.env("PAYMENTS_REPLICAS", first).output().unwrap();
    assert!(String::from_utf8_lossy(&ended.stderr).contains("replicas of 1 databases, and there are 2"));
}

#[test]
fn each_payment_between_databases_is_told_once_and_by_the_name_that_everybody_knows() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let nats = Nats::start(folder.path());
    let receiver = Receiver::start();
    let mut c = pair.command(&["--queue", "nats"]);
    let service = Service::launch(c.env("PAYMENTS_NATS", nats.url()));
    let mut c = Command::new(env!("CARGO_BIN_EXE_payments"));
    c.args(["worker", "--announce", "--listen", "127.0.0.1:0", "--deliver-to", &receiver.url()])
        .env_clear()
        .env("PAYMENTS_NATS", nats.url())
        .env("RUST_LOG", "off")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped());
    let _worker = Worker::launch(&mut c);
    let mut client = service.client();
    let mut paid: Vec<Value> = [("a", 1, 2), ("b", 2, 1), ("c", 1, 3), ("d", 4, 6), ("e", 9, 2)]
        .map(|(key, from, to)| client.pay(key, from, to, 100).json())
        .into();
    wait_for("all are told", || receiver.ids() >= 5);
    let mut told: Vec<Value> = receiver.accepted().into_iter().map(|d| d.event["data"].clone()).collect();
    let by_id = |p: &Value| p["id"].as_str().unwrap().to_owned();
    paid.sort_by_key(by_id);
    told.sort_by_key(by_id);
    assert_eq!(told, paid);
    wait_for("the outboxes are empty", || pair.sql("SELECT count(*) FROM outbox") == ["0", "0"]);
    // By the payee's database alone: the payer's tells nobody what has not arrived.
    assert_eq!(["outbox_relayed_total", "outbox_repeated_total"].map(|name| figure(&service, name)), [5, 0]);
}

#[test]
fn what_came_from_another_database_is_read_although_the_replica_has_not_got_it() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let replica = pair.servers[1].replica(folder.path());
    // Of the second database alone, whose own numbers are all higher than those of the first. The lag that it may have is longer than the test.
    let copies = format!(";{}", replica.url());
    let services = [(); 2].map(|()| {
        let mut c = pair.command(&["--replica-max-lag-ms", "60000"]);
        Service::launch(c.env("PAYMENTS_REPLICAS", &copies))
    });
    for service in &services {
        service.wait_until("the replica is used", |h| h["replicas"][0]["used"] == true);
    }
    let [mut here, mut there] = services.each_ref().map(Service::client);
    // A number of its own, higher than that of what is to come.
    let old = here.pay("old", 1, 3, 100);
    let replicated = "SELECT count(*) FROM accounts WHERE id = 1 AND last_seq > 0";
    wait_for("it is replicated", || replica.sql(replicated).as_deref() == Some("1"));
    replica.sql("SELECT pg_wal_replay_pause()").unwrap();
    let paid = here.pay("k", 2, 1, 1000);
    assert_eq!(balance(&mut here, 1), 1_000_900);
    assert_eq!(listed(&mut here, 1, ""), [id(&paid), id(&old)]);
    // Another process knows only what it is told, and the payment has another number in the payee's database.
    assert_eq!(balance(&mut there, 1), 999_900);
    let (auth, seen) = (format!("Bearer {TOKEN}"), paid.json()["seq"].to_string());
    let headers = [("Authorization", auth.as_str()), ("Min-Seq", seen.as_str())];
    let fresh = there.send("GET", "/v1/accounts/acc_00000001/balance", &headers, b"");
    assert_eq!(fresh.json()["balance"], 1_000_900, "{}", fresh.body);
    let page = there.send("GET", "/v1/accounts/acc_00000001/payments", &headers, b"");
    assert_eq!(page.json()["data"][0], paid.json(), "{}", page.body);
    replica.sql("SELECT pg_wal_replay_resume()").unwrap();
}

#[test]
fn cached_balances_are_never_older_than_a_payment_from_another_database() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path());
    let services = [(); 2].map(|()| {
        let mut c = pair.command(&["--cache-warm", "0"]);
        Service::launch(c.env("PAYMENTS_REDIS", redis.url()))
    });
    for service in &services {
        service.wait_until("the caches are open", |h| h["cache"]["open"] == true);
    }
    let [mut here, mut there] = services.each_ref().map(Service::client);
    let mut paid = 0;
    for n in 0..30 {
        let before = 1_000_000 + 100 * paid;
        assert_eq!((balance(&mut there, 2), balance(&mut here, 2)), (before, before), "{n}");
        assert_eq!(here.pay(&format!("k{n}"), 1, 2, 100).status, 201);
        paid += 1;
        assert_eq!(here.pay(&format!("k{n}"), 1, 2, 100).header("idempotent-replayed"), Some("true"));
        assert_eq!(balance(&mut there, 1), 1_000_000 - 100 * paid, "{n}");
    }
    let hits = services.each_ref().map(|s| figure(s, r#"cache_hits_total{level="l1"}"#));
    assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
}

#[test]
fn numbers_that_were_drawn_for_accounts_are_used() {
    let pair = Pair::start();
    let service = pair.serve(&[]);
    let mut client = service.client();
    for _ in 0..300 {
        assert_eq!(client.post("/v1/accounts", r#"{"currency":"EUR"}"#).status, 201);
    }
    let highest = pair.sql("SELECT max(id) FROM accounts").map(|id| id.parse::<u32>().unwrap());
    assert!(highest.iter().all(|id| *id < 10 + 2 * 300), "{highest:?}");
}

#[test]
fn whose_a_key_is_is_known_for_longer_than_what_it_stands_for() {
    let pair = Pair::start();
    let service = pair.serve(&["--key-window-s", "86400"]);
    assert_eq!(service.client().pay("k", 1, 3, 100).status, 201);
    // It was noted long before the payment was made: asked for again, it is noted anew.
    let age = "UPDATE key_homes SET created_at = now() - interval '30 hours'";
    pair.sql(age);
    assert_eq!(service.client().pay("k", 1, 3, 100).status, 201);
    let homes = pair.sql("SELECT count(*) FROM key_homes WHERE created_at > now() - interval '1 hour'");
    assert!(homes == ["1", "0"] || homes == ["0", "1"], "{homes:?}");
    // What is removed when a process starts is older than keys can be.
    pair.sql(age);
    let _another = pair.serve(&["--key-window-s", "86400"]);
    assert_eq!(service.client().pay("k", 2, 4, 100).status, 422);
}

#[test]
fn a_database_is_not_made_one_of_several_while_another_is_wrong() {
    let pair = Pair::start();
    let [first, second] = pair.servers.each_ref().map(Server::url);
    let told = pair.refuses(&format!("{first},{second}x"));
    assert!(told.contains("database 2 of 2") && told.contains("does not exist"), "{told}");
    // By itself it is the only one.
    let alone = Service::launch(command(&pair.servers[0]).env("PAYMENTS_POSTGRES", &first));
    assert_eq!(alone.client().pay("k", 1, 2, 100).status, 201);
    drop(alone);
    let told = pair.refuses(&format!("{second},{first}"));
    assert!(told.contains("database 2 of 2") && told.contains("the database is the only database"), "{told}");
    let made = pair.servers[1].sql("SELECT to_regclass('shard') IS NULL");
    assert_eq!(made.as_deref(), Some("t"), "nothing was written there");
}
