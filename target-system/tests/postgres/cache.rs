//! Balances from the cache: the same as without, and how often the database is asked for them.

use std::process::Command;

use serde_json::Value;

use crate::lapses::{TRIES, left_alone, undisturbed};
use crate::own::{command, opening_accounts, server};
use crate::redis::Redis;
use crate::replicas::figure;
use crate::server::Server;
use crate::support::{ADMIN_TOKEN, Client, Service, TOKEN, wait_for};

pub const L1_HITS: &str = r#"cache_hits_total{level="l1"}"#;
const L2_HITS: &str = r#"cache_hits_total{level="l2"}"#;
const L1_MISSES: &str = r#"cache_misses_total{level="l1"}"#;
const BYPASSED: &str = "cache_bypassed_total";
const WAITS: &str = "cache_single_flight_waits_total";
const READS: &str = r#"store_reads_total{source="primary"}"#;

/// A database and a Redis.
pub fn servers() -> (tempfile::TempDir, Server, Redis) {
    let (folder, server) = server();
    let redis = Redis::start(folder.path());
    (folder, server, redis)
}

pub fn caching(server: &Server, url: &str) -> Command {
    let mut c = command(server);
    c.env("PAYMENTS_REDIS", url);
    // What is cached is what a test has read.
    c.args(["--cache-warm", "0"]);
    c
}

pub fn is_open(health: &Value) -> bool {
    health["cache"]["open"] == true
}

/// One with the cache open.
pub fn open(server: &Server, redis: &Redis) -> Service {
    let service = Service::launch(&mut caching(server, &redis.url()));
    service.wait_until("the cache is open", is_open);
    service
}

fn balance(client: &mut Client, account: u32) -> Value {
    let reply = client.get(&format!("/v1/accounts/acc_{account:08}/balance"));
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

pub fn as_of(client: &mut Client, account: u32) -> u64 {
    balance(client, account)["as_of_seq"].as_u64().unwrap()
}

pub fn pay(client: &mut Client, key: &str, from: u32, to: u32) -> u64 {
    let paid = client.pay(key, from, to, 100);
    assert_eq!(paid.status, 201, "{key}: {}", paid.body);
    paid.json()["seq"].as_u64().unwrap()
}

#[test]
fn answers_from_every_level_are_those_of_the_database() {
    let (_folder, server, redis) = servers();
    let services = [open(&server, &redis), open(&server, &redis), Service::launch(&mut command(&server))];
    let mut clients = services.each_ref().map(Service::client);
    assert_eq!(services[2].health().get("cache"), None);
    let mut same = |what: &str| {
        for path in
            ["/v1/accounts/acc_00000001", "/v1/accounts/acc_00000001/balance", "/v1/accounts/acc_00000099"]
        {
            let truth = clients[2].get(path);
            for client in &mut clients {
                for _ in 0..2 {
                    let reply = client.get(path);
                    assert_eq!((reply.status, &reply.body), (truth.status, &truth.body), "{what}: {path}");
                }
            }
        }
    };
    same("as opened");
    let mut payer = services[0].client();
    pay(&mut payer, "a", 1, 2);
    same("paid");
    pay(&mut payer, "b", 3, 1);
    same("got");
    assert_eq!(payer.pay("c", 1, 2, 105).status, 402);
    assert_eq!(payer.pay("a", 1, 2, 100).status, 201);
    same("declined and repeated");
    let cached = [&services[0], &services[1]];
    let (asked, text) = undisturbed(&cached, |_| {
        let reads = figure(&services[1], READS);
        same("once more");
        (figure(&services[1], READS) - reads, services[1].client().get("/metrics").body)
    });
    assert_eq!(asked, 2, "the account that there is not, twice");
    // What one has read the other finds in Redis, and then in itself.
    let found = undisturbed(&cached, |n| {
        let account = 11 - n;
        balance(&mut services[0].client(), account);
        let hits = || [L1_HITS, L2_HITS].map(|level| figure(&services[1], level));
        let before = hits();
        for _ in 0..2 {
            balance(&mut services[1].client(), account);
        }
        let after = hits();
        [after[0] - before[0], after[1] - before[1]]
    });
    assert_eq!(found, [1, 1]);
    for name in
        ["cache_open 1", "cache_stale_refused_total", "cache_evictions_total", "cache_redis_errors_total"]
    {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn a_payment_in_one_process_changes_what_another_has_cached() {
    for (how, stays) in [("through", true), ("aside", false)] {
        let (_folder, server, redis) = servers();
        let services =
            [(); 2].map(|()| Service::launch(caching(&server, &redis.url()).args(["--cache", how])));
        let [mut here, mut there] = services.each_ref().map(Service::client);
        assert_eq!((as_of(&mut there, 1), as_of(&mut here, 1)), (0, 0));
        // Nobody ends an epoch for it: that were a lapse.
        let kept = undisturbed(&[&services[0], &services[1]], |round| {
            assert_eq!(as_of(&mut there, 1), as_of(&mut here, 1));
            let pay_and_look = |n: u32| {
                let misses = figure(&services[1], L1_MISSES);
                let seq = pay(&mut here, &format!("k{round}-{n}"), 1, 2);
                assert_eq!(as_of(&mut there, 1), seq, "{how} {n}");
                let kept = figure(&services[1], L1_MISSES) == misses;
                assert_eq!(as_of(&mut here, 1), seq, "{how} {n}");
                kept
            };
            (0..50).map(pay_and_look).collect::<Vec<_>>()
        });
        assert_eq!(kept, [stays; 50], "{how}");
    }
}

/// Has everybody who reads accounts take some time: less than others wait for what is read.
fn slow_down(server: &Server) {
    server.sql("ALTER VIEW account_balances RENAME TO quick").unwrap();
    let view = "CREATE VIEW account_balances AS
                SELECT quick.* FROM quick, (SELECT pg_sleep(0.1) OFFSET 0) AS slept";
    server.sql(view).unwrap();
}

fn ask(client: &mut Client, account: u32) {
    let auth = format!("Bearer {TOKEN}");
    let path = format!("/v1/accounts/acc_{account:08}/balance");
    client.write("GET", &path, &[("Authorization", &auth)], b"").unwrap();
}

/// All of `clients` ask for `account` at once, and are answered.
fn ask_at_once(clients: &mut [Client], account: u32) {
    clients.iter_mut().for_each(|client| ask(client, account));
    for client in clients {
        assert_eq!(client.read().unwrap().json()["balance"], 1_000_000);
    }
}

#[test]
fn two_hundred_who_want_a_cold_account_at_once_are_one_question() {
    let (_folder, server, redis) = servers();
    let service = open(&server, &redis);
    slow_down(&server);
    let mut clients: Vec<Client> = (0..200).map(|_| service.client()).collect();
    let figures = || [READS, WAITS].map(|name| figure(&service, name));
    let [asked, waited] = undisturbed(&[&service], |account| {
        let before = figures();
        ask_at_once(&mut clients, account);
        let after = figures();
        [after[0] - before[0], after[1] - before[1]]
    });
    assert_eq!(asked, 1);
    assert!(waited > 0);
}

#[test]
fn of_two_processes_that_want_a_cold_account_one_asks_the_database() {
    let (_folder, server, redis) = servers();
    let services = [open(&server, &redis), open(&server, &redis)];
    let mut clients: Vec<Client> = (0..40).map(|n| services[n % 2].client()).collect();
    let read = || services.iter().map(|s| figure(s, READS)).sum::<u64>();
    let asked: Vec<u64> = (1..=10)
        .filter_map(|account| {
            left_alone(&[&services[0], &services[1]], || {
                let before = read();
                ask_at_once(&mut clients, account);
                read() - before
            })
        })
        .collect();
    assert!(!asked.is_empty() && asked.iter().all(|asked| *asked == 1), "{asked:?}");
}

#[test]
fn databases_that_share_a_redis_never_show_each_others_balances() {
    let (_folder, server, redis) = servers();
    // All of them are as old, and one takes the place of another.
    let on = |database: &str, opening: &str| {
        server.sql(&format!("CREATE DATABASE {database}")).unwrap();
        let mut c = opening_accounts(&server, "10", opening);
        let url = server.url();
        c.env("PAYMENTS_POSTGRES", format!("{}/{database}", url.rsplit_once('/').unwrap().0));
        c.env("PAYMENTS_REDIS", redis.url());
        let service = Service::launch(&mut c);
        service.wait_until("the cache is open", is_open);
        service
    };
    let first = on("first", "1000");
    let second = on("second", "2000");
    let [mut of_first, mut of_second] = [&first, &second].map(Service::client);
    assert_eq!(pay(&mut of_first, "k", 1, 2), 1);
    for _ in 0..2 {
        assert_eq!(balance(&mut of_first, 1)["balance"], 900);
        assert_eq!(balance(&mut of_second, 1)["balance"], 2000);
    }
    assert_eq!(pay(&mut of_second, "k", 1, 2), 1);
    assert_eq!(balance(&mut of_second, 1)["balance"], 1900);
    drop((of_first, first));
    server.sql("DROP DATABASE first WITH (FORCE)").unwrap();
    let again = on("first", "3000");
    assert_eq!(balance(&mut again.client(), 1)["balance"], 3000);
}

#[test]
fn the_most_active_accounts_are_there_when_a_process_starts() {
    let (_folder, server, redis) = servers();
    let first = open(&server, &redis);
    let mut payer = first.client();
    for n in 0..20 {
        pay(&mut payer, &format!("k{n}"), 1 + n % 3, 4);
    }
    let missed = (0..TRIES).find_map(|_| {
        let mut second = command(&server);
        let second = Service::launch(second.env("PAYMENTS_REDIS", redis.url()).args(["--cache-warm", "4"]));
        let misses = || figure(&second, L1_MISSES);
        // A cache that opens late is not warmed.
        let late = || figure(&second, BYPASSED) > 0;
        wait_for("it is warm", || misses() >= 4 || late());
        let missed = left_alone(&[&second], || {
            let warm = misses();
            let mut reader = second.client();
            (1..=4).for_each(|account| drop(balance(&mut reader, account)));
            let known = misses();
            balance(&mut reader, 5);
            [known - warm, misses() - known]
        });
        missed.filter(|_| !late())
    });
    assert_eq!(missed, Some([0, 1]));
}

#[test]
fn a_right_to_fill_that_is_gone_fills_nothing() {
    let (_folder, server, redis) = servers();
    let service = open(&server, &redis);
    let mut client = service.client();
    let key = |account: u32| {
        let keys = redis.ask(&["KEYS", &format!("payments:*:acc_{account:08}")]).unwrap();
        if keys.is_empty() { keys } else { redis.ask(&["GET", &keys]).unwrap() }
    };
    let read = undisturbed(&[&service], |account| {
        balance(&mut client, account);
        key(account)
    });
    assert!(read.contains("1000000"), "what was read is there: {read}");
    let refused = || figure(&service, "cache_stale_refused_total");
    let left = (1..=TRIES).find_map(|_| {
        let opened = client.post("/v1/accounts", r#"{"currency":"EUR"}"#).json();
        let account = opened["id"].as_str().unwrap()[4..].parse().unwrap();
        let (bypassed, before) = (figure(&service, BYPASSED), refused());
        let goes_past = || figure(&service, BYPASSED) > bypassed;
        let locked = server.hold("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE");
        ask(&mut client, account);
        wait_for("it is being read", || key(account).starts_with('?') || goes_past());
        assert_eq!(redis.ask(&["FLUSHALL"]).as_deref(), Some("OK"));
        drop(locked);
        assert_eq!(client.read().unwrap().status, 200);
        (!goes_past()).then(|| (key(account), refused() - before))
    });
    assert_eq!(left, Some((String::new(), 1)), "what was read before the flush may be old");
}

#[test]
fn a_process_without_a_cache_changes_what_one_with_it_shows() {
    let (_folder, server, redis) = servers();
    let with = open(&server, &redis);
    let without = Service::launch(&mut command(&server));
    let (mut reader, mut payer) = (with.client(), without.client());
    for n in 0..3 {
        as_of(&mut reader, 1);
        let seq = pay(&mut payer, &format!("k{n}"), 1, 2);
        assert_eq!(as_of(&mut reader, 1), seq);
    }
}

#[test]
fn a_cache_that_cannot_be_is_refused_and_a_password_never_told() {
    let (_folder, server) = server();
    let refused = |c: &mut Command| -> String {
        let ended = c.output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && !told.contains("hunter2"), "{told}");
        told
    };
    let told = refused(command(&server).env("PAYMENTS_REDIS", "nothing:hunter2"));
    assert!(told.contains("PAYMENTS_REDIS makes no sense"), "{told}");
    let told = refused(command(&server).args(["--cache", "through"]));
    assert!(told.contains("--cache needs PAYMENTS_REDIS"), "{told}");
    let embedded = || {
        let mut c = Command::new(env!("CARGO_BIN_EXE_payments"));
        c.args([
            "serve",
            "--data",
            "/nonexistent/ledger",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ])
        .env_clear()
        .env("PAYMENTS_TOKEN", TOKEN)
        .env("PAYMENTS_ADMIN_TOKEN", ADMIN_TOKEN);
        c
    };
    for (what, told) in [
        ("--cache", refused(embedded().args(["--cache", "aside"]))),
        ("PAYMENTS_REDIS", refused(embedded().env("PAYMENTS_REDIS", "redis://u:hunter2@127.0.0.1/0"))),
        (
            "PAYMENTS_REPLICAS",
            refused(embedded().env("PAYMENTS_REPLICAS", "postgres://u:hunter2@127.0.0.1/x")),
        ),
    ] {
        assert!(told.contains(&format!("{what} needs --store postgres")), "{told}");
    }
    // A password that is wrong is as good as no Redis.
    let redis_folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(redis_folder.path());
    redis.ask(&["CONFIG", "SET", "requirepass", "another"]).unwrap();
    let url = format!("redis://:hunter2@127.0.0.1:{}/0", redis.port);
    let mut c = caching(&server, &url);
    let log = redis_folder.path().join("log");
    c.env("RUST_LOG", "debug").stderr(std::fs::File::create(&log).unwrap());
    let service = Service::launch(&mut c);
    assert_eq!(service.client().get("/v1/accounts/acc_00000001").status, 200);
    let told = || std::fs::read_to_string(&log).unwrap();
    wait_for("it says so", || told().contains("the cache cannot be opened"));
    assert!(!told().contains("hunter2"), "{}", told());
}
