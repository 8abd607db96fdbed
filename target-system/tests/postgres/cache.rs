//! Balances from the cache: the same as without, never older than an acknowledged payment, and never an error,
//! whatever becomes of Redis.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use crate::own::{assert_sound, command, server};
use crate::redis::{Redis, Way};
use crate::replicas::figure;
use crate::server::Server;
use crate::support::{ADMIN_TOKEN, Client, Service, TOKEN, wait_for};

const L1_HITS: &str = r#"cache_hits_total{level="l1"}"#;
const L2_HITS: &str = r#"cache_hits_total{level="l2"}"#;
const L1_MISSES: &str = r#"cache_misses_total{level="l1"}"#;
const READS: &str = r#"store_reads_total{source="primary"}"#;

/// A database and a Redis.
fn servers() -> (tempfile::TempDir, Server, Redis) {
    let (folder, server) = server();
    let redis = Redis::start(folder.path());
    (folder, server, redis)
}

fn caching(server: &Server, url: &str) -> Command {
    let mut c = command(server);
    c.env("PAYMENTS_REDIS", url);
    // What is cached is what a test has read.
    c.args(["--cache-warm", "0"]);
    c
}

fn is_open(health: &Value) -> bool {
    health["cache"]["open"] == true
}

/// One with the cache open.
fn open(server: &Server, redis: &Redis) -> Service {
    let service = Service::launch(&mut caching(server, &redis.url()));
    service.wait_until("the cache is open", is_open);
    service
}

fn balance(client: &mut Client, account: u32) -> Value {
    let reply = client.get(&format!("/v1/accounts/acc_{account:08}/balance"));
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

fn as_of(client: &mut Client, account: u32) -> u64 {
    balance(client, account)["as_of_seq"].as_u64().unwrap()
}

fn pay(client: &mut Client, key: &str, from: u32, to: u32) -> u64 {
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
    assert!(figure(&services[0], L1_HITS) > 0 && figure(&services[1], L2_HITS) > 0);
    let reads = figure(&services[1], READS);
    same("once more");
    assert_eq!(figure(&services[1], READS), reads + 2, "the account that there is not, twice");
    let text = payer.get("/metrics").body;
    for name in
        ["cache_open 1", "cache_stale_refused_total", "cache_evictions_total", "cache_redis_errors_total 0"]
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
        for service in &services {
            service.wait_until("the cache is open", is_open);
        }
        let [mut here, mut there] = services.each_ref().map(Service::client);
        assert_eq!(as_of(&mut there, 1), 0);
        assert_eq!(as_of(&mut here, 1), 0);
        for n in 0..50 {
            let misses = figure(&services[1], L1_MISSES);
            let seq = pay(&mut here, &format!("k{n}"), 1, 2);
            assert_eq!(as_of(&mut there, 1), seq, "{how} {n}");
            assert_eq!(figure(&services[1], L1_MISSES) == misses, stays, "{how} {n}");
            assert_eq!(as_of(&mut here, 1), seq, "{how} {n}");
        }
        let ended: u64 = services.iter().map(|s| figure(s, "cache_epochs_ended_total")).sum();
        assert_eq!(ended, 0);
    }
}

/// Has everybody who reads accounts take some time.
fn slow_down(server: &Server) {
    server.sql("ALTER TABLE accounts RENAME TO slow").unwrap();
    let view = "CREATE VIEW accounts AS SELECT slow.* FROM slow, (SELECT pg_sleep(0.3) OFFSET 0) AS slept";
    server.sql(view).unwrap();
}

#[test]
fn two_hundred_who_want_a_cold_account_at_once_are_one_question() {
    let (_folder, server, redis) = servers();
    let service = open(&server, &redis);
    let before = figure(&service, READS);
    slow_down(&server);
    let mut clients: Vec<Client> = (0..200).map(|_| service.client()).collect();
    let auth = format!("Bearer {TOKEN}");
    for client in &mut clients {
        client.write("GET", "/v1/accounts/acc_00000007/balance", &[("Authorization", &auth)], b"").unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.read().unwrap().json()["balance"], 1_000_000);
    }
    assert_eq!(figure(&service, READS), before + 1);
    assert!(figure(&service, "cache_single_flight_waits_total") > 0);
}

#[test]
fn of_two_processes_that_want_a_cold_account_one_asks_the_database() {
    let (_folder, server, redis) = servers();
    let services = [open(&server, &redis), open(&server, &redis)];
    let mut clients: Vec<Client> = (0..40).map(|n| services[n % 2].client()).collect();
    let auth = format!("Bearer {TOKEN}");
    let read = |services: &[Service; 2]| services.iter().map(|s| figure(s, READS)).sum::<u64>();
    let before = read(&services);
    for account in 1..=10 {
        for client in &mut clients {
            client
                .write(
                    "GET",
                    &format!("/v1/accounts/acc_{account:08}/balance"),
                    &[("Authorization", &auth)],
                    b"",
                )
                .unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.read().unwrap().status, 200);
        }
    }
    // One may have to ask although another does: then that one takes long.
    let asked = read(&services) - before;
    assert!((10..20).contains(&asked), "{asked}");
}

#[test]
fn the_most_active_accounts_are_there_when_a_process_starts() {
    let (_folder, server, redis) = servers();
    let first = open(&server, &redis);
    let mut payer = first.client();
    for n in 0..20 {
        pay(&mut payer, &format!("k{n}"), 1 + n % 3, 4);
    }
    let second =
        Service::launch(command(&server).env("PAYMENTS_REDIS", redis.url()).args(["--cache-warm", "4"]));
    wait_for("it is warm", || figure(&second, L1_MISSES) >= 4);
    let (misses, mut reader) = (figure(&second, L1_MISSES), second.client());
    for account in 1..=4 {
        balance(&mut reader, account);
    }
    assert_eq!(figure(&second, L1_MISSES), misses);
    balance(&mut reader, 5);
    assert_eq!(figure(&second, L1_MISSES), misses + 1);
}

#[test]
fn a_process_that_redis_cannot_be_reached_from_changes_what_others_show() {
    let (_folder, server, redis) = servers();
    let way = Way::to(redis.port);
    let near = open(&server, &redis);
    let far = Service::launch(&mut caching(&server, &format!("redis://{}/0", way.listening)));
    far.wait_until("the cache is open", is_open);
    let (mut here, mut there) = (near.client(), far.client());
    for n in 0..3 {
        for account in [1, 2] {
            // So that it lies in every level of both.
            assert_eq!(as_of(&mut here, account), as_of(&mut there, account));
        }
        way.cut(true);
        let seq = pay(&mut there, &format!("far{n}"), 1, 2);
        assert_eq!((as_of(&mut here, 1), as_of(&mut here, 2)), (seq, seq));
        let seq = pay(&mut here, &format!("near{n}"), 2, 1);
        assert_eq!((as_of(&mut there, 1), as_of(&mut there, 2)), (seq, seq));
        assert_eq!((as_of(&mut here, 1), as_of(&mut here, 2)), (seq, seq));
        way.cut(false);
        near.wait_until("the cache is open here", is_open);
        far.wait_until("the cache is open there", is_open);
        assert_eq!((as_of(&mut here, 1), as_of(&mut there, 1)), (seq, seq));
    }
    assert!(figure(&near, "cache_epochs_ended_total") + figure(&far, "cache_epochs_ended_total") > 0);
}

#[test]
fn a_payment_that_its_process_did_not_live_to_acknowledge_is_shown_once_another_has() {
    let (_folder, server, redis) = servers();
    let way = Way::to(redis.port);
    let stays = open(&server, &redis);
    let dies = Service::launch(&mut caching(&server, &format!("redis://{}/0", way.listening)));
    dies.wait_until("the cache is open", is_open);
    let mut client = stays.client();
    assert_eq!(as_of(&mut client, 1), 0);
    way.cut(true);
    dies.client().write_payment("k", 1, 2, 100);
    wait_for("it is committed", || server.sql("SELECT count(*) FROM payments").as_deref() == Some("1"));
    dies.kill();
    let again = client.pay("k", 1, 2, 100);
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(as_of(&mut client, 1), again.json()["seq"].as_u64().unwrap());
}

#[test]
fn a_right_to_fill_that_is_gone_fills_nothing() {
    let (_folder, server, redis) = servers();
    let service = open(&server, &redis);
    let mut client = service.client();
    let key = |account: u32| redis.ask(&["KEYS", &format!("payments:*:acc_{account:08}")]).unwrap();
    balance(&mut client, 1);
    assert!(!key(1).is_empty(), "what was read is there");
    slow_down(&server);
    let auth = format!("Bearer {TOKEN}");
    client.write("GET", "/v1/accounts/acc_00000002/balance", &[("Authorization", &auth)], b"").unwrap();
    wait_for("it is being read", || !key(2).is_empty());
    assert_eq!(redis.ask(&["FLUSHALL"]).as_deref(), Some("OK"));
    assert_eq!(client.read().unwrap().status, 200);
    assert_eq!(key(2), "", "what was read before the flush may be old");
}

#[test]
fn a_database_that_is_killed_leaves_no_old_balance_behind() {
    let (_folder, mut server, redis) = servers();
    let services = [open(&server, &redis), open(&server, &redis)];
    let (over, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let pay_on = |worker: u32| {
        let mut clients = services.each_ref().map(Service::client);
        for n in 0..u32::MAX {
            if over.load(Relaxed) {
                break;
            }
            let (payer, reader) = if n.is_multiple_of(2) { (0, 1) } else { (1, 0) };
            let paid = clients[payer].pay(&format!("w{worker}-{n}"), worker, 10, 100);
            if paid.status != 201 {
                assert_eq!(paid.status, 503, "{}", paid.body);
                continue;
            }
            acknowledged.fetch_add(1, Relaxed);
            let shown = clients[reader].get(&format!("/v1/accounts/acc_{worker:08}/balance"));
            if shown.status == 200 {
                assert!(shown.json()["as_of_seq"].as_u64() >= paid.json()["seq"].as_u64());
            }
        }
    };
    std::thread::scope(|s| {
        let pay_on = &pay_on;
        let paying: Vec<_> = (1..4).map(|worker| s.spawn(move || pay_on(worker))).collect();
        for _ in 0..2 {
            let before = acknowledged.load(Relaxed);
            wait_for("payments go on", || acknowledged.load(Relaxed) > before + 20);
            server.kill();
            wait_for("it is noticed", || services.iter().all(|s| !is_open(&s.health())));
            server.restart();
            for service in &services {
                service.wait_until("the cache is open again", is_open);
            }
        }
        over.store(true, Relaxed);
        paying.into_iter().for_each(|t| t.join().unwrap());
    });
    // What was committed and not acknowledged is shown as well: the caches have begun anew.
    let mut clients = services.each_ref().map(Service::client);
    for account in 1..=10 {
        let truth = server.sql(&format!("SELECT last_seq FROM accounts WHERE id = {account}")).unwrap();
        for client in &mut clients {
            assert_eq!(as_of(client, account).to_string(), truth, "{account}");
        }
    }
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
fn a_process_that_is_killed_or_ends_holds_nobody_up_for_long() {
    let (_folder, server, redis) = servers();
    let stays = open(&server, &redis);
    let mut client = stays.client();
    for (n, kill) in [true, false, true].into_iter().enumerate() {
        let mut goes = open(&server, &redis);
        let mut other = goes.client();
        let seq = pay(&mut other, &format!("before{n}"), 1, 2);
        assert_eq!(as_of(&mut client, 1), seq);
        let ended = figure(&stays, "cache_epochs_ended_total");
        if kill {
            goes.kill();
        } else {
            goes.terminate();
            assert_eq!(goes.exit_code(), Some(0));
        }
        let seq = pay(&mut client, &format!("after{n}"), 1, 2);
        assert_eq!(as_of(&mut client, 1), seq);
        // One that ends gives its part back.
        assert_eq!(figure(&stays, "cache_epochs_ended_total"), ended + u64::from(kill));
        stays.wait_until("the cache is open", is_open);
    }
}

#[test]
fn a_redis_that_comes_back_with_old_balances_is_not_believed() {
    let (_folder, server, mut redis) = servers();
    let services = [open(&server, &redis), open(&server, &redis)];
    let [mut here, mut there] = services.each_ref().map(Service::client);
    let old = pay(&mut here, "old", 1, 2);
    assert_eq!((as_of(&mut here, 1), as_of(&mut there, 1)), (old, old));
    let mut new = old;
    for while_away in [false, true] {
        assert_eq!(redis.ask(&["SAVE"]).as_deref(), Some("OK"));
        if while_away {
            redis.kill();
            new = pay(&mut here, "while-away", 1, 2);
        } else {
            new = pay(&mut here, "before", 1, 2);
            redis.kill();
        }
        assert_eq!((as_of(&mut here, 1), as_of(&mut there, 1)), (new, new));
        redis.restart();
        let kept = redis.ask(&["KEYS", "payments:*:acc_00000001"]).unwrap();
        assert!(!kept.is_empty(), "it has the old balance");
        for service in &services {
            wait_for("the cache answers again", || {
                let hits = figure(service, L1_HITS);
                let mut client = service.client();
                assert_eq!(as_of(&mut client, 1), new);
                figure(service, L1_HITS) > hits
            });
        }
    }
    // A process that starts then believes no more of it.
    let third = open(&server, &redis);
    assert_eq!(as_of(&mut third.client(), 1), new);
}

#[test]
fn without_redis_the_service_starts_and_finds_it_when_it_comes() {
    let (_folder, server, mut redis) = servers();
    redis.kill();
    let service = Service::launch(&mut caching(&server, &redis.url()));
    let mut client = service.client();
    let seq = pay(&mut client, "k", 1, 2);
    assert_eq!(as_of(&mut client, 1), seq);
    assert!(figure(&service, "cache_bypassed_total") > 0);
    assert_eq!((client.get("/readyz").status, is_open(&service.health())), (200, false));
    redis.restart();
    service.wait_until("the cache is open", is_open);
    as_of(&mut client, 1);
    let hits = figure(&service, L1_HITS);
    assert_eq!(as_of(&mut client, 1), seq);
    assert_eq!(figure(&service, L1_HITS), hits + 1);
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
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("the cache cannot be opened") && !told.contains("hunter2"), "{told}");
}

/// What happens to Redis while payments go on.
fn trouble(redis: &mut Redis, way: &Way, round: u32) {
    let rest = |ms| std::thread::sleep(Duration::from_millis(ms));
    match round % 7 {
        0 => {
            redis.kill();
            rest(300);
            redis.restart();
        }
        1 => assert_eq!(redis.ask(&["FLUSHALL"]).as_deref(), Some("OK")),
        2 => {
            redis.stand_still(true);
            rest(1200);
            redis.stand_still(false);
        }
        3 => {
            way.cut(true);
            rest(1000);
            way.cut(false);
        }
        // An old picture comes back.
        4 => {
            redis.ask(&["SAVE"]).unwrap();
            rest(200);
            redis.kill();
            redis.restart();
        }
        5 => {
            redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
        }
        _ => {
            redis.ask(&["FLUSHALL"]).unwrap();
            redis.kill();
            redis.restart();
        }
    }
}

#[test]
fn no_balance_is_older_than_an_acknowledged_payment_whatever_becomes_of_redis() {
    let (_folder, server, mut redis) = servers();
    let way = Way::to(redis.port);
    let far = format!("redis://{}/0", way.listening);
    let services = [
        // A few entries only: they come and go.
        Service::launch(command(&server).env("PAYMENTS_REDIS", redis.url()).args(["--cache-entries", "5"])),
        Service::launch(&mut caching(&server, &far)),
    ];
    for service in &services {
        service.wait_until("the cache is open", is_open);
    }
    let (over, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    // The highest acknowledged payment of each account.
    let newest: [AtomicU64; 11] = Default::default();
    let go_on = |worker: u32| {
        let mut random = u64::from(worker + 1) << 32 | 0x9e37_79b9;
        let mut next = |below: u32| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 33) as u32 % below
        };
        let mut clients = services.each_ref().map(Service::client);
        for n in 0.. {
            if over.load(Relaxed) {
                break;
            }
            if worker.is_multiple_of(2) {
                let (from, to) = (1 + next(10), 1 + next(10));
                if from != to {
                    let client = &mut clients[next(2) as usize];
                    let seq = pay(client, &format!("w{worker}-{n}"), from, to);
                    newest[from as usize].fetch_max(seq, Relaxed);
                    newest[to as usize].fetch_max(seq, Relaxed);
                    acknowledged.fetch_add(1, Relaxed);
                }
            }
            for _ in 0..4 {
                let account = 1 + next(10);
                let least = newest[account as usize].load(Relaxed);
                let process = next(2) as usize;
                let shown = as_of(&mut clients[process], account);
                assert!(
                    shown >= least,
                    "process {process} shows {account} as of {shown}, {least} is acknowledged"
                );
            }
        }
    };
    std::thread::scope(|s| {
        let go_on = &go_on;
        let going: Vec<_> = (0..6).map(|worker| s.spawn(move || go_on(worker))).collect();
        for round in 0..9 {
            let before = acknowledged.load(Relaxed);
            trouble(&mut redis, &way, round);
            wait_for("payments go on", || acknowledged.load(Relaxed) > before + 20);
            for service in &services {
                service.wait_until("the cache is open again", is_open);
            }
            let hits = || services.each_ref().map(|s| figure(s, L1_HITS));
            let before = hits();
            wait_for("it answers", || hits().iter().zip(before).all(|(now, before)| *now > before));
        }
        over.store(true, Relaxed);
        going.into_iter().for_each(|t| t.join().unwrap());
    });
    let audit = services[0].audit();
    assert_sound(&audit);
    assert_eq!(audit["payments"].as_u64(), Some(acknowledged.load(Relaxed)));
    assert!(services.iter().any(|s| figure(s, "cache_epochs_ended_total") > 0));
}
