//! What becomes of cached balances when Redis, the database or a process goes away: they are never older than an
//! acknowledged payment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::cache::{L1_HITS, as_of, caching, is_open, open, pay, servers};
use crate::lapses::{TRIES, undisturbed};
use crate::own::{assert_sound, command};
use crate::redis::{Redis, Way};
use crate::replicas::figure;
use crate::support::{Ends, Service, wait_for};

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
        let _ends = Ends(&over);
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
fn a_process_that_is_killed_or_ends_holds_nobody_up_for_long() {
    let (_folder, server, redis) = servers();
    let stays = open(&server, &redis);
    let mut client = stays.client();
    let mut times = 0;
    // How many epochs have ended because another process has gone.
    let mut ended_when_one_goes = |kill: bool| {
        times += 1;
        let mut goes = open(&server, &redis);
        let mut other = goes.client();
        let seq = pay(&mut other, &format!("before{times}"), 1, 2);
        assert_eq!(as_of(&mut client, 1), seq);
        for service in [&stays, &goes] {
            service.wait_until("the cache is open", is_open);
        }
        let ended = figure(&stays, "cache_epochs_ended_total");
        if kill {
            goes.kill();
        } else {
            goes.terminate();
            assert_eq!(goes.exit_code(), Some(0));
        }
        let seq = pay(&mut client, &format!("after{times}"), 1, 2);
        assert_eq!(as_of(&mut client, 1), seq);
        let ended = figure(&stays, "cache_epochs_ended_total") - ended;
        stays.wait_until("the cache is open", is_open);
        ended
    };
    // One that ends gives its part back. A machine under load may end an epoch more, or the one before.
    for kill in [true, false, true] {
        let as_it_has_to_be = (0..TRIES).any(|_| ended_when_one_goes(kill) == u64::from(kill));
        assert!(as_it_has_to_be, "killed: {kill}");
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
    let kept = |redis: &Redis| redis.ask(&["KEYS", "payments:*:acc_00000001"]).unwrap();
    for while_away in [false, true] {
        wait_for("Redis has it", || as_of(&mut services[0].client(), 1) == new && !kept(&redis).is_empty());
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
        assert!(!kept(&redis).is_empty(), "it has the old balance");
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
    let hits = undisturbed(&[&service], |_| {
        as_of(&mut client, 1);
        let before = figure(&service, L1_HITS);
        assert_eq!(as_of(&mut client, 1), seq);
        figure(&service, L1_HITS) - before
    });
    assert_eq!(hits, 1);
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
        let _ends = Ends(&over);
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
