//! The engine against targets that behave and targets that do not. Every run must account for
//! every planned arrival, whatever happens, and over either transport with the same outcomes.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use squall_engine::engine::{Job, run};
use squall_record::clock::Clock;
use squall_record::outcome::Failure;
use squall_scenarios::closed::closed_loop;
use squall_scenarios::curve::Curve;
use squall_scenarios::plan::{Arrivals, Transport};
use squall_scenarios::workload::Workload;

use support::{GENERAL, answering, http, load, load_until, plan, read_request, server};

/// Each case is a test over each transport.
macro_rules! over_both {
    ($($case:ident)*) => {
        mod own {
            $(#[test] fn $case() { super::$case(super::Transport::Own); })*
        }
        mod general {
            $(#[test] fn $case() { super::$case(super::GENERAL); })*
        }
    };
}

#[path = "targets/checks.rs"]
mod checks;
#[path = "targets/pipelining.rs"]
mod pipelining;
#[path = "targets/retries.rs"]
mod retries;
#[path = "targets/unasked.rs"]
mod unasked;

over_both! {
    every_planned_request_arrives_once_and_is_answered
    the_same_seed_sends_the_same_bytes_whatever_the_number_of_workers
    answers_are_counted_as_what_they_are
    a_target_that_refuses_fails_every_arrival_as_refused
    a_target_that_hangs_up_garbles_or_cuts_its_answers_is_counted_so
    answers_without_a_length_and_connections_closed_after_each_are_fine
    a_target_that_never_answers_times_out_and_the_overflow_is_dropped
    arrivals_that_wait_for_a_stalled_target_pay_their_full_wait
    too_small_a_pool_is_the_generators_fault
    one_that_never_ends_holds_up_no_other
    an_overloaded_target_is_not_the_pools_fault
    a_target_that_dies_and_comes_back_is_loaded_again
    a_run_that_is_stopped_ends_early_and_still_accounts_for_everything
    closed_loop_keeps_every_connection_busy
    a_record_that_fails_ends_the_run
}

fn every_planned_request_arrives_once_and_is_answered(via: Transport) {
    let lines = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let seen_by_server = Arc::clone(&lines);
    let addr = answering(move |r| {
        *seen_by_server.lock().unwrap().entry(r.line.clone()).or_default() += 1;
        Some(http(200, ""))
    });
    let seen = load(&plan(via, 500.0, 1.5), addr);
    assert_eq!((seen.counts.planned, seen.counts.ok), (750, 750));
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 750);
    assert!(lines.values().all(|n| *n == 1));
    assert_eq!(seen.ops.len(), 750, "every payment attempt is recorded");
}

fn the_same_seed_sends_the_same_bytes_whatever_the_number_of_workers(via: Transport) {
    let mut all = Vec::new();
    for workers in [1, 2, 4] {
        let texts = Arc::new(Mutex::new(Vec::new()));
        let seen_by_server = Arc::clone(&texts);
        let addr = answering(move |r| {
            seen_by_server.lock().unwrap().push(r.text.clone());
            Some(http(200, ""))
        });
        let mut plan = plan(via, 300.0, 1.0);
        plan.load.workers = workers;
        plan.load.arrivals = Arrivals::Poisson;
        load(&plan, addr);
        let mut texts = texts.lock().unwrap().clone();
        texts.sort();
        all.push(texts);
    }
    assert!(all[0].len() > 200);
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}

fn answers_are_counted_as_what_they_are(via: Transport) {
    let addr = answering(|r| {
        let n: u64 = r.line.split(['/', ' ']).find_map(|w| w.parse().ok()).unwrap();
        Some(match n % 5 {
            0 => http(201, ""),
            1 => http(402, ""),
            2 => http(503, "Not-Executed: true\r\n"),
            3 => http(503, ""),
            _ => http(404, ""),
        })
    });
    let seen = load(&plan(via, 500.0, 1.0), addr);
    let c = &seen.counts;
    assert_eq!((c.ok, c.declined, c.shed), (100, 100, 100));
    assert_eq!((seen.failed(Failure::ServerError), seen.failed(Failure::UnexpectedStatus)), (100, 100));
    assert_eq!(seen.response.len(), 200, "refusals and errors are counted, not timed");
}

fn a_target_that_refuses_fails_every_arrival_as_refused(via: Transport) {
    let addr = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let seen = load(&plan(via, 500.0, 1.0), addr);
    assert_eq!(seen.failed(Failure::Refused), 500);
    assert_eq!(seen.counts.dropped, 0);
}

fn a_target_that_hangs_up_garbles_or_cuts_its_answers_is_counted_so(via: Transport) {
    let addr = answering(|_| None);
    assert_eq!(load(&plan(via, 100.0, 1.0), addr).failed(Failure::Reset), 100);

    let addr = answering(|_| Some(b"\x00\x01 what is this\r\n\r\n".to_vec()));
    assert_eq!(load(&plan(via, 100.0, 1.0), addr).failed(Failure::BadAnswer), 100);

    let cut = Arc::new(AtomicBool::new(false));
    let addr = server(move |stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while read_request(&mut reader).is_some() {
            let whole = cut.fetch_xor(true, Ordering::Relaxed);
            writer
                .write_all(if whole {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour"
                } else {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfo"
                })
                .unwrap();
            if !whole {
                return;
            }
        }
    });
    let seen = load(&plan(via, 100.0, 1.0), addr);
    assert_eq!((seen.counts.ok, seen.failed(Failure::Reset)), (50, 50));
}

fn answers_without_a_length_and_connections_closed_after_each_are_fine(via: Transport) {
    let addr = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        if read_request(&mut BufReader::new(stream)).is_some() {
            writer.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil I hang up").unwrap();
        }
    });
    assert_eq!(load(&plan(via, 200.0, 1.0), addr).counts.ok, 200);
}

fn a_target_that_never_answers_times_out_and_the_overflow_is_dropped(via: Transport) {
    let addr = server(|mut stream| {
        let mut sink = [0; 4096];
        while matches!(stream.read(&mut sink), Ok(n) if n > 0) {}
    });
    let mut plan = plan(via, 200.0, 1.0);
    plan.load.timeout_ms = 300;
    plan.load.max_in_flight = 40;
    let seen = load(&plan, addr);
    let c = &seen.counts;
    assert!(c.dropped > 0 && seen.failed(Failure::Timeout) > 0, "{c:?}");
    assert_eq!(seen.failed(Failure::Timeout) + c.dropped, c.planned);
    assert_eq!(seen.starved, 0, "a silent target is not the pool's fault");
    assert_eq!(seen.response.len(), seen.failed(Failure::Timeout), "a time-out is timed at its age");
    assert!(seen.response.quantile(0.5).unwrap().us >= 300_000);
}

fn arrivals_that_wait_for_a_stalled_target_pay_their_full_wait(via: Transport) {
    // One connection's thread stalls all of them for half a second, half a second in.
    let started = Arc::new(Mutex::new(None::<Clock>));
    let stall = Arc::new(Mutex::new(()));
    let addr = answering(move |_| {
        let clock = *started.lock().unwrap().get_or_insert_with(Clock::start);
        if (0.5..1.0).contains(&clock.now_s()) {
            let _one = stall.lock().unwrap();
            thread::sleep(Duration::from_secs_f64((1.0 - clock.now_s()).max(0.0)));
        }
        Some(http(200, ""))
    });
    let seen = load(&plan(via, 400.0, 2.0), addr);
    assert_eq!(seen.counts.ok, 800);
    // A quarter of the arrivals fall into the stall and wait up to half a second, uniformly.
    // By arithmetic the 90th percentile is (0.25 − 0.1) / 0.25 × 500 ms = 300 ms. A busy machine
    // can only add to it; `benches/stall.sh` compares exactly on a quiet one.
    let p90_ms = seen.response.quantile(0.90).unwrap().ms();
    assert!((240.0..1_500.0).contains(&p90_ms), "p90 {p90_ms} ms");
    assert!(seen.counts.late > 100, "waiting arrivals were fired late and counted: {}", seen.counts.late);
}

fn too_small_a_pool_is_the_generators_fault(via: Transport) {
    let addr = answering(|_| {
        thread::sleep(Duration::from_millis(20));
        Some(http(200, ""))
    });
    let mut plan = plan(via, 400.0, 2.5);
    plan.load.connections = 2;
    plan.load.max_in_flight = 4;
    let seen = load(&plan, addr);
    assert!(seen.counts.dropped > 100, "{:?}", seen.counts);
    assert!(seen.starved > 100, "starved {}", seen.starved);
    assert!(seen.starved_drops > 100, "starved drops {}", seen.starved_drops);

    // With room to wait they are dropped at the end, and for the same reason.
    plan.load.max_in_flight = 10_000;
    plan.load.timeout_ms = 500;
    let seen = load(&plan, addr);
    assert!(seen.counts.dropped > 100, "{:?}", seen.counts);
    assert!(seen.starved_drops > 100, "starved drops {} of {:?}", seen.starved_drops, seen.counts);
}

fn one_that_never_ends_holds_up_no_other(via: Transport) {
    // Every tenth request is answered without end, as fast as the connection takes it.
    let addr = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            let seq: u64 = request.line.split(['/', ' ']).find_map(|word| word.parse().ok()).unwrap();
            if seq % 10 != 3 {
                if writer.write_all(&http(200, "")).is_err() {
                    return;
                }
                continue;
            }
            let piece = [b'x'; 256 * 1024];
            let mut written = writer.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while written.is_ok() {
                written = writer.write_all(&piece);
            }
            return;
        }
    });
    let mut plan = plan(via, 20.0, 1.0);
    plan.load.timeout_ms = 1_000;
    let seen = load(&plan, addr);
    assert_eq!((seen.counts.ok, seen.failed(Failure::Timeout)), (18, 2), "{:?}", seen.counts);
}

fn an_overloaded_target_is_not_the_pools_fault(via: Transport) {
    // One request at a time, 5 ms each: 200/s whatever the pool. Below that there is no queue;
    // above it every connection is busy, and more connections would only wait longer.
    let one = Mutex::new(());
    let addr = answering(move |_| {
        let _turn = one.lock().unwrap();
        thread::sleep(Duration::from_millis(5));
        Some(http(200, ""))
    });
    let mut plan = plan(via, 50.0, 1.0);
    plan.load.connections = 64;
    plan.load.max_in_flight = 100;
    let mut overload = plan.phases[0].clone();
    (overload.name, overload.start_s, overload.end_s) = ("overload".into(), 1.0, 3.0);
    overload.curve = Curve::hold(2.0, 500.0);
    plan.phases.push(overload);
    let seen = load(&plan, addr);
    assert!(seen.counts.dropped > 100, "{:?}", seen.counts);
    assert_eq!(seen.starved, 0, "{:?}", seen.counts);
}

fn a_target_that_dies_and_comes_back_is_loaded_again(via: Transport) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let alive = Arc::new(AtomicBool::new(true));
    let (served, flag) = (Arc::new(AtomicU64::new(0)), Arc::clone(&alive));
    let counter = Arc::clone(&served);
    let serve = move |listener: TcpListener, flag: Arc<AtomicBool>| {
        listener.set_nonblocking(true).unwrap();
        while flag.load(Ordering::Relaxed) {
            let Ok((stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let (flag, counter) = (Arc::clone(&flag), Arc::clone(&counter));
            thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                while flag.load(Ordering::Relaxed) {
                    if reader.fill_buf().is_ok_and(|b| !b.is_empty()) {
                        if read_request(&mut reader).is_none() || writer.write_all(&http(200, "")).is_err() {
                            return;
                        }
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    };
    let killer = thread::spawn({
        let serve = serve.clone();
        move || {
            let first = thread::spawn({
                let flag = Arc::clone(&flag);
                move || serve(listener, flag)
            });
            thread::sleep(Duration::from_millis(700));
            alive.store(false, Ordering::Relaxed);
            first.join().unwrap();
        }
    });
    let reviver = thread::spawn(move || {
        killer.join().unwrap();
        thread::sleep(Duration::from_millis(600));
        // The port is free again: the old listener is closed.
        let again = TcpListener::bind(addr).unwrap();
        let forever = Arc::new(AtomicBool::new(true));
        thread::spawn(move || serve(again, forever));
    });
    let seen = load(&plan(via, 200.0, 3.0), addr);
    reviver.join().unwrap();
    let c = &seen.counts;
    assert!(seen.failed(Failure::Refused) > 20, "{c:?}");
    assert!(c.ok > 250, "loaded before and after: {c:?}");
    assert_eq!(c.dropped, 0, "{c:?}");
}

fn a_run_that_is_stopped_ends_early_and_still_accounts_for_everything(via: Transport) {
    let addr = answering(|_| Some(http(200, "")));
    let stop = Arc::new(AtomicBool::new(false));
    let later = Arc::clone(&stop);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(600));
        later.store(true, Ordering::Relaxed);
    });
    let plan = plan(via, 200.0, 60.0);
    let seen = load_until(&plan, addr, &stop);
    assert!(seen.counts.planned > 20 && seen.counts.planned < 2_000, "{:?}", seen.counts);
}

fn closed_loop_keeps_every_connection_busy(via: Transport) {
    let addr = answering(|_| Some(http(200, "")));
    let (plan, _) = closed_loop(plan(via, 1.0, 1.0), 0.5);
    let clock = Clock::starting_in(Duration::from_millis(50));
    let workload = Workload::new(&plan, "localhost", "").unwrap();
    let job = Job { plan: &plan, endpoint: &addr.into(), host: "localhost", workload: &workload, clock };
    let mut ok = 0;
    run(&job, &AtomicBool::new(false), |t| {
        ok += t.intervals.iter().map(|i| i.counts.ok).sum::<u64>();
        Ok(())
    })
    .unwrap();
    assert!(ok > 100, "{ok}");
}

fn a_record_that_fails_ends_the_run(via: Transport) {
    let addr = answering(|_| Some(http(200, "")));
    let clock = Clock::starting_in(Duration::from_millis(50));
    let plan = plan(via, 100.0, 60.0);
    let workload = Workload::new(&plan, "localhost", "").unwrap();
    let job = Job { plan: &plan, endpoint: &addr.into(), host: "localhost", workload: &workload, clock };
    let err = run(&job, &AtomicBool::new(false), |_| Err(std::io::Error::other("disk full"))).unwrap_err();
    assert!(err.to_string().contains("disk full"));
    assert!(clock.now_s() < 30.0);
}

#[test]
fn every_connection_carries_its_part_also_when_some_close_unasked() {
    let used = Arc::new(Mutex::new(Vec::<u32>::new()));
    let seen_by = Arc::clone(&used);
    let addr = server(move |mut stream| {
        let me = {
            let mut used = seen_by.lock().unwrap();
            used.push(0);
            used.len() - 1
        };
        while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                break;
            }
            seen_by.lock().unwrap()[me] += 1;
            if me < 4 {
                // Hangs up while nothing is on the wire.
                break;
            }
        }
    });
    let mut plan = plan(Transport::Own, 400.0, 1.0);
    plan.load.connections = 20;
    let seen = load(&plan, addr);
    assert!(seen.counts.ok >= 396, "{:?}", seen.counts);
    // In turn, each of the 16 that stay has about 20 of the 400.
    let used = used.lock().unwrap();
    let shares: Vec<u32> = used[4..20].to_vec();
    assert!(shares.iter().all(|n| (8..40).contains(n)), "{used:?}");
}
