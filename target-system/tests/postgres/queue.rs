//! Notices of payments on their way through the outbox, a NATS server and workers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use squall_record::clock::Clock;

use crate::keeping::point;
use crate::lapses::TRIES;
use crate::receiver::{Delivery, Receiver};
use crate::stack::{Gate, NATS, Stack, Worker, pay, pay_until};
use crate::support::{ADMIN_TOKEN, Ends, Service, TOKEN, wait_for};

#[test]
fn every_payment_is_told_once_and_nothing_stays_behind() {
    let stack = Stack::start(Receiver::start());
    let services = [stack.serve(NATS), stack.serve(NATS)];
    let workers = [stack.work(&[]), stack.work(&[])];
    std::thread::scope(|s| {
        for (i, service) in services.iter().enumerate() {
            s.spawn(move || pay(service, &format!("s{i}"), 200, 100_000));
        }
    });
    assert_eq!(services[0].client().pay("declined", 1, 2, 105).status, 402);
    stack.assert_all_delivered();
    assert_eq!(stack.receiver.accepted().len(), 400, "nobody has ended, so nothing comes twice");
    for worker in &workers {
        worker.wait_until("the queue is empty", |n| n["waiting"]["normal"] == 0 && n["oldest_s"] == 0.0);
    }
    let sent: u64 = workers.iter().map(|w| w.health()["notifications"]["sent"].as_u64().unwrap()).sum();
    assert_eq!(sent, 400);
    let relayed = |s: &Service| s.health()["outbox"]["relayed"].as_u64().unwrap();
    wait_for("all is relayed", || services.iter().map(relayed).sum::<u64>() == 400);
    let health = services[0].health();
    assert_eq!((&health["status"], &health["outbox"]["connected"]), (&"ok".into(), &true.into()));
    assert!(health["notifications"].is_null(), "what this process does not do is not 0: {health}");
}

#[test]
fn payments_go_on_while_nats_is_away_and_all_of_them_are_told_afterwards() {
    let mut stack = Stack::start(Receiver::start());
    let service = stack.serve(&[NATS, &["--outbox-limit", "50"]].concat());
    let worker = stack.work_hastily(&[]);
    let (over, paid) = (AtomicBool::new(false), AtomicU32::new(0));
    let more = |n: u32| {
        let before = paid.load(Relaxed);
        wait_for("payments go on", || paid.load(Relaxed) > before + n);
    };
    std::thread::scope(|s| {
        let _ends = Ends(&over);
        s.spawn(|| pay_until(&over, &paid, || service.listening));
        for round in 0..3 {
            more(100);
            stack.nats.kill();
            more(100);
            if round == 0 {
                service.wait_until("it shows", |h| h["outbox"]["rows"].as_u64() > Some(50));
                service.wait_until("it is degraded", |h| h["status"] == "degraded" && h["ready"] == true);
                service.wait_until("it is away", |h| h["outbox"]["connected"] == false);
                wait_for("workers say so", || worker.health()["ready"] == false);
            }
            stack.nats.restart();
        }
        more(100);
        over.store(true, Relaxed);
    });
    stack.assert_all_delivered();
    service.wait_until("it is well", |h| h["status"] == "ok" && h["outbox"]["rows"] == 0);
    assert_eq!(worker.health()["ready"], true);
}

#[test]
fn a_queue_that_stands_still_and_a_database_that_is_killed_lose_no_notice() {
    let mut stack = Stack::start(Receiver::start());
    let service = stack.serve(&[NATS, &["--pool-acquire-ms", "500"]].concat());
    let _worker = stack.work_hastily(&[]);
    let (over, paid) = (AtomicBool::new(false), AtomicU32::new(0));
    let more = |n: u32| {
        let before = paid.load(Relaxed);
        wait_for("payments go on", || paid.load(Relaxed) > before + n);
    };
    std::thread::scope(|s| {
        let _ends = Ends(&over);
        s.spawn(|| pay_until(&over, &paid, || service.listening));
        more(50);
        stack.nats.stand_still(true);
        more(100);
        assert!(stack.in_outbox() > 0);
        stack.nats.stand_still(false);
        wait_for("they are relayed", || stack.in_outbox() < 20);
        for _ in 0..2 {
            more(50);
            stack.server.kill();
            stack.server.restart();
        }
        more(50);
        over.store(true, Relaxed);
    });
    stack.assert_all_delivered();
}

#[test]
fn a_service_killed_between_publishing_and_deleting_loses_no_notice() {
    let stack = Stack::start(Receiver::start());
    let _worker = stack.work(&[]);
    let (over, paid) = (AtomicBool::new(false), AtomicU32::new(0));
    let service = Mutex::new(Some(stack.serve(NATS)));
    let listening = || service.lock().unwrap().as_ref().unwrap().listening;
    let mut repeated = 0;
    std::thread::scope(|s| {
        let _ends = Ends(&over);
        s.spawn(|| pay_until(&over, &paid, listening));
        for _ in 0..8 {
            let before = paid.load(Relaxed);
            wait_for("payments go on", || paid.load(Relaxed) > before + 50);
            // The next waits for the lock: nobody pays until it is there.
            let mut running = service.lock().unwrap();
            running.take().unwrap().kill();
            *running = Some(stack.serve(NATS));
            drop(running);
            let figures = || service.lock().unwrap().as_ref().unwrap().health()["outbox"].clone();
            wait_for("it relays", || figures()["relayed"].as_u64() > Some(0));
            repeated += figures()["repeated"].as_u64().unwrap();
        }
        over.store(true, Relaxed);
    });
    stack.assert_all_delivered();
    // The duplicate window drops what was published twice, so that the receiver got everything once.
    assert_eq!(stack.receiver.accepted().len(), stack.receiver.ids(), "{repeated} repeated");
}

#[test]
fn what_is_published_and_not_deleted_is_published_again_and_dropped() {
    let stack = Stack::start(Receiver::start());
    let worker = stack.work(&[]);
    let service = stack.serve(NATS);
    pay(&service, "k", 20, 100_000);
    stack.assert_all_delivered();
    // As after an end between the two.
    let again = "INSERT INTO outbox (seq, payer, payee, amount, currency, created_at)
                 SELECT seq, payer, payee, amount, currency, created_at FROM payments";
    stack.server.sql(again).unwrap();
    service.wait_until("the server knows them", |h| h["outbox"]["repeated"] == 20);
    // Without the server's memory the worker's remains.
    stack.ask(async |jetstream| jetstream.delete_stream("PAYMENTS").await.unwrap());
    stack.server.sql(again).unwrap();
    worker.wait_until("the worker knows them", |n| n["duplicates"] == 20);
    assert_eq!(stack.receiver.accepted().len(), 20);
}

#[test]
fn what_the_server_refuses_stays_in_the_outbox() {
    let stack = Stack::start(Receiver::start());
    let service = stack.serve(NATS);
    pay(&service, "first", 1, 100_000);
    service.wait_until("there is a stream", |h| h["outbox"]["relayed"] == 1);
    let limit = |messages: i64| {
        stack.ask(async |jetstream| {
            let mut stream = jetstream.get_stream("PAYMENTS").await.unwrap();
            let mut config = stream.info().await.unwrap().config.clone();
            config.max_messages = messages;
            jetstream.update_stream(config).await.unwrap();
        });
    };
    limit(5);
    pay(&service, "more", 20, 100_000);
    service.wait_until("it is full", |h| h["outbox"]["relayed"] == 5 && h["outbox"]["rows"] == 16);
    assert_eq!(stack.in_outbox(), 16);
    limit(-1);
    let _worker = stack.work(&[]);
    stack.assert_all_delivered();
}

#[test]
fn what_a_killed_worker_had_in_hand_comes_to_another() {
    let (gate, first_ten) = (Arc::new(Gate::default()), Mutex::new(HashSet::new()));
    let passed = Arc::clone(&gate);
    let stack = Stack::start(Receiver::that(move |delivery| {
        let mut known = first_ten.lock().unwrap();
        if known.len() < 10 {
            known.insert(delivery.id.clone());
        }
        let is_held = !known.contains(&delivery.id);
        drop(known);
        if is_held {
            passed.pass();
        }
        (Duration::ZERO, 200)
    }));
    let service = stack.serve(NATS);
    let mut first = stack.work_hastily(&[]);
    pay(&service, "k", 100, 100_000);
    wait_for("some are delivered", || stack.receiver.ids() == 10);
    first.kill();
    gate.open();
    let _second = stack.work_hastily(&[]);
    stack.assert_all_delivered();
}

/// What a worker holds for longer than the ack wait is delivered once, although another has nothing to do. The longest
/// pause between two deliveries, in nanoseconds.
fn hold_for_long() -> u64 {
    let (clock, last, longest) = (Clock::start(), AtomicU64::new(u64::MAX), Arc::new(AtomicU64::new(0)));
    let pause = Arc::clone(&longest);
    let stack = Stack::start(Receiver::that(move |delivery| {
        if delivery.amount() != 100_000 {
            return (Duration::ZERO, 200);
        }
        let now_ns = clock.now_ns();
        pause.fetch_max(now_ns.saturating_sub(last.swap(now_ns, Relaxed)), Relaxed);
        (Duration::from_millis(20), 200)
    }));
    let service = stack.serve(NATS);
    // The quick ones come first, so that the others are taken by many: more than an ack wait's work.
    pay(&service, "quick", 200, 10_000_000);
    pay(&service, "slow", 200, 100_000);
    wait_for("all are relayed", || stack.in_outbox() == 0);
    let _first = stack.work_hastily(&["--notify-min", "1", "--notify-max", "1"]);
    wait_for("the slow ones are taken", || stack.receiver.ids() > 205);
    let _second = stack.work_hastily(&[]);
    stack.assert_all_delivered();
    let longest_ns = longest.load(Relaxed);
    if longest_ns < PUNCTUAL_NS {
        assert_eq!(stack.receiver.accepted().len(), 400, "nothing twice");
    }
    longest_ns
}

/// A worker that the machine has not kept from its work for so long has said in time that it holds what it has: it says
/// so every third of the ack wait, which is a second.
const PUNCTUAL_NS: u64 = 300_000_000;

#[test]
fn what_a_worker_holds_for_long_is_not_given_to_another() {
    assert!((0..TRIES).any(|_| hold_for_long() < PUNCTUAL_NS), "not left alone once in {TRIES} tries");
}

#[test]
fn a_drain_finishes_what_is_in_hand_and_leaves_the_rest() {
    let (gate, asked) = (Arc::new(Gate::default()), AtomicU32::new(0));
    let passed = Arc::clone(&gate);
    let stack = Stack::start(Receiver::that(move |_| {
        // What is in hand then is so until the end has begun.
        if asked.fetch_add(1, Relaxed) >= 4 {
            passed.pass();
        }
        (Duration::from_millis(50), 200)
    }));
    let service = stack.serve(NATS);
    let mut first = stack.work(&["--notify-min", "1", "--notify-max", "1"]);
    pay(&service, "k", 60, 100_000);
    wait_for("all are relayed", || stack.in_outbox() == 0 && stack.receiver.ids() > 3);
    first.terminate();
    gate.open();
    assert_eq!(first.exit_code(), Some(0));
    let delivered = stack.receiver.ids();
    assert!((5..60).contains(&delivered), "{delivered}");
    // All that the server does not have back was answered for: no ack wait has to pass.
    let unanswered = stack.ask(async |jetstream| {
        let stream = jetstream.get_stream("PAYMENTS").await.unwrap();
        let normal = stream.consumer_info("notify-normal").await.unwrap();
        (normal.num_ack_pending, normal.num_pending as usize)
    });
    assert_eq!(unanswered, (0, 60 - delivered));
    let _second = stack.work(&[]);
    stack.assert_all_delivered();
    assert_eq!(stack.receiver.accepted().len(), 60, "nothing twice");
}

#[test]
fn a_failure_is_tried_again_and_poison_becomes_a_dead_letter() {
    let failures = Mutex::new(std::collections::HashMap::<String, u32>::new());
    let stack = Stack::start(Receiver::that(move |delivery| {
        let mut failures = failures.lock().unwrap();
        let failed = failures.entry(delivery.id.clone()).or_default();
        *failed += 1;
        match delivery.amount() {
            // Never, only the third time, too late the first time, at once.
            666_666 => (Duration::ZERO, 418),
            333_333 if *failed < 3 => (Duration::ZERO, 500),
            222_222 if *failed < 2 => (Duration::from_secs(3), 500),
            _ => (Duration::ZERO, 200),
        }
    }));
    let service = stack.serve(NATS);
    let worker = stack.work(&["--max-deliveries", "4", "--deliver-timeout-ms", "2000"]);
    for (n, amount) in [666_666, 333_333, 222_222, 100_000].into_iter().enumerate() {
        pay(&service, &format!("k{n}"), 1, amount);
    }
    worker.wait_until("the poison is given up", |n| n["dead"] == 1);
    wait_for("the others arrive", || stack.receiver.ids() == 3);
    worker.wait_until("one lies there", |n| n["dead_letters"] == 1 && n["waiting"]["normal"] == 0);
    let figures = worker.health()["notifications"].clone();
    assert_eq!((&figures["failed"], &figures["retried"]), (&7.into(), &6.into()), "{figures}");
    let (headers, event) = stack.ask(async |jetstream| {
        let stream = jetstream.get_stream("PAYMENTS_DEAD").await.unwrap();
        let letter = stream.get_raw_message(1).await.unwrap();
        assert_eq!(letter.subject.as_str(), "payments.dead.normal");
        (letter.headers, serde_json::from_slice::<Value>(&letter.payload).unwrap())
    });
    assert_eq!(event["data"]["amount"], 666_666);
    let header = |name| headers.get(name).unwrap().as_str();
    assert_eq!([header("Reason"), header("Deliveries")], ["the receiver answers 418", "4"]);
    assert_eq!(Some(header("Notice-Id")), event["id"].as_str());
}

#[test]
fn great_amounts_are_told_first_and_small_ones_are_not_forgotten() {
    let stack = Stack::start(Receiver::that(|_| (Duration::from_millis(5), 200)));
    let service = stack.serve(NATS);
    for (name, amount) in [("low", 999), ("normal", 1_000), ("high", 10_000_000)] {
        pay(&service, name, 100, amount);
    }
    service.wait_until("all are relayed", |h| h["outbox"]["relayed"] == 300);
    // One worker, so that there is an order; 2 ms of work at once is one notice.
    let _worker = stack.work(&["--notify-min", "1", "--notify-max", "1"]);
    stack.assert_all_delivered();
    let amounts: Vec<i64> = stack.receiver.accepted().iter().map(Delivery::amount).collect();
    let among_first = |n: usize, amount: i64| amounts[..n].iter().filter(|a| **a == amount).count();
    let first_100 = [10_000_000, 1_000, 999].map(|amount| among_first(100, amount));
    assert!(first_100[0] > first_100[1] && first_100[1] > first_100[2] && first_100[2] > 0, "{first_100:?}");
}

#[test]
fn more_workers_come_for_a_backlog() {
    let (gate, asked) = (Arc::new(Gate::default()), AtomicU32::new(0));
    let passed = Arc::clone(&gate);
    let stack = Stack::start(Receiver::that(move |_| {
        // What a delivery takes is known then; the backlog stays until all workers are seen.
        if asked.fetch_add(1, Relaxed) >= 10 {
            passed.pass();
        }
        (Duration::from_millis(50), 200)
    }));
    let service = stack.serve(NATS);
    pay(&service, "k", 200, 100_000);
    service.wait_until("all are relayed", |h| h["outbox"]["relayed"] == 200);
    // 200 notices of 50 ms within a second.
    let scaling = ["--scale-every-ms", "100", "--drain-target-s", "1", "--notify-max", "6"];
    let worker = stack.work(&[&scaling[..], &["--scale-down-ms", "0"]].concat());
    worker.wait_until("all workers are there", |n| n["workers"] == 6);
    gate.open();
    stack.assert_all_delivered();
    worker.wait_until("they go", |n| n["workers"] == 2);
}

#[test]
fn what_the_outbox_has_waits_for_a_start_with_a_queue() {
    let mut stack = Stack::start(Receiver::start());
    stack.nats.kill();
    let mut with = stack.serve(NATS);
    pay(&with, "a", 5, 100_000);
    assert_eq!(stack.in_outbox(), 5);
    with.terminate();
    assert_eq!(with.exit_code(), Some(0));
    let without = stack.serve(&[]);
    pay(&without, "b", 5, 100_000);
    assert_eq!(stack.in_outbox(), 5, "without a queue nothing is written");
    without.wait_until("its own queue has them", |h| h["notifications"]["sent"] == 5);
    drop(without);
    stack.nats.restart();
    let _with = stack.serve(NATS);
    let _worker = stack.work(&[]);
    wait_for("the first arrive", || stack.receiver.ids() == 5 && stack.in_outbox() == 0);
}

#[test]
fn the_database_is_told_of_a_payment_and_its_notice_together() {
    let mut stack = Stack::start(Receiver::start());
    stack.nats.kill();
    for strategy in ["batched", "naive"] {
        let service = stack.serve(&[NATS, &["--strategy", strategy]].concat());
        pay(&service, strategy, 10, 100_000);
        assert_eq!(service.client().pay(&format!("{strategy}-0"), 1, 6, 100_000).status, 201);
        assert_eq!(service.client().pay("d", 1, 2, 105).status, 402);
    }
    let same = "SELECT count(*) FROM outbox o JOIN payments p USING (seq, created_at, payer, payee, amount, currency)
                WHERE o.xmin = p.xmin";
    assert_eq!(stack.server.sql(same).unwrap(), "20");
    assert_eq!(stack.in_outbox(), 20);
}

#[test]
fn several_make_the_streams_and_nobody_changes_them() {
    let stack = Stack::start(Receiver::start());
    let (services, workers): (Vec<_>, Vec<_>) = std::thread::scope(|s| {
        let starting: Vec<_> =
            (0..3).map(|_| (s.spawn(|| stack.serve(NATS)), s.spawn(|| stack.work(&[])))).collect();
        starting.into_iter().map(|(s, w)| (s.join().unwrap(), w.join().unwrap())).unzip()
    });
    for worker in &workers {
        wait_for("it is ready", || worker.health()["ready"] == true);
    }
    pay(&services[0], "k", 1, 100_000);
    stack.assert_all_delivered();
    let streams = stack.ask(async |jetstream| {
        let mut streams = jetstream.streams().map(Result::unwrap).collect::<Vec<_>>().await;
        streams.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        for stream in &mut streams {
            stream.config.max_bytes = 1 << 20;
            jetstream.update_stream(&stream.config).await.unwrap();
        }
        streams
    });
    let names: Vec<_> = streams.iter().map(|s| s.config.name.as_str()).collect();
    assert_eq!(names, ["PAYMENTS", "PAYMENTS_DEAD"]);
    let _another = stack.work(&[]);
    let more = stack.serve(NATS);
    pay(&more, "l", 1, 100_000);
    stack.assert_all_delivered();
    let bytes = stack.ask(async |jetstream| {
        jetstream.get_stream("PAYMENTS").await.unwrap().cached_info().config.max_bytes
    });
    assert_eq!(bytes, 1 << 20);
}

#[test]
fn no_secret_of_the_queue_is_told() {
    let stack = Stack::start(Receiver::start());
    for (nats, args, why) in [
        ("nats://u:hunter2@[::1", NATS, "PAYMENTS_NATS makes no sense"),
        (
            "nats://u:hunter2@127.0.0.1:1",
            &["--queue", "nats", "--deliver-to", "https://hunter2/"],
            "--deliver-to makes no sense",
        ),
    ] {
        let mut c = stack.command("serve", args);
        point(&mut c, &stack.server);
        c.env("PAYMENTS_NATS", nats).env("PAYMENTS_TOKEN", TOKEN).env("PAYMENTS_ADMIN_TOKEN", ADMIN_TOKEN);
        let ended = c.output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && told.contains(why) && !told.contains("hunter2"), "{told}");
    }
    let ended = stack.command("worker", &[]).env_remove("PAYMENTS_NATS").output().unwrap();
    assert!(String::from_utf8_lossy(&ended.stderr).contains("PAYMENTS_NATS is not set"));
    let folder = tempfile::tempdir().unwrap();
    let mut embedded = stack.command("serve", NATS);
    embedded
        .arg("--data")
        .arg(folder.path())
        .env("PAYMENTS_TOKEN", TOKEN)
        .env("PAYMENTS_ADMIN_TOKEN", ADMIN_TOKEN);
    let told = String::from_utf8_lossy(&embedded.output().unwrap().stderr).into_owned();
    assert!(told.contains("--queue nats needs --store postgres"), "{told}");

    // Everything that they log while a wrong password is refused, a right one taken and a delivery fails.
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let wrong = stack.nats.url().replace("hunter2", "hunter2-wrong");
    let mut refused = stack.command("worker", &[]);
    refused.env("PAYMENTS_NATS", wrong).env("RUST_LOG", "trace").stderr(file.try_clone().unwrap());
    let refused = Worker::launch(&mut refused);
    let mut taken = stack.command("worker", &["--deliver-to", "http://127.0.0.1:1/hunter2"]);
    let taken = Worker::launch(taken.env("RUST_LOG", "payments=trace,async_nats=trace").stderr(file));
    let service = stack.serve(NATS);
    pay(&service, "k", 1, 100_000);
    taken.wait_until("it fails", |n| n["failed"].as_u64() > Some(0));
    assert_eq!(refused.health()["ready"], false);
    let told = || std::fs::read_to_string(&log).unwrap();
    wait_for("both have told", || {
        told().contains("authorization violation") && told().contains("a delivery failed")
    });
    assert!(!told().contains("hunter2"), "{}", told());
}
