//! The engine against targets that behave and targets that do not. Every run must account for
//! every planned arrival, whatever happens.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use squall_engine::engine::{Job, Pace, run};
use squall_record::clock::Clock;
use squall_record::counts::Counts;
use squall_record::interval::Tick;
use squall_record::latency::Latency;
use squall_record::outcome::Failure;
use squall_scenarios::curve::Curve;
use squall_scenarios::plan::{
    AmountLaw, Arrivals, DataPlan, LoadPlan, Mode, PhasePlan, Pick, Plan, RequestPlan, TargetPlan,
};
use squall_scenarios::schedule::Schedule;

fn plan(rate_rps: f64, duration_s: f64) -> Plan {
    Plan {
        name: "test".into(),
        summary: String::new(),
        seed: 11,
        target: TargetPlan::Url { url: "http://127.0.0.1".into(), token_env: None, allow: vec![] },
        load: LoadPlan {
            arrivals: Arrivals::Uniform,
            connections: 8,
            max_in_flight: 10_000,
            timeout_ms: 2_000,
            workers: 1,
            max_rate_rps: 1e6,
            mode: Mode::Open,
            spin_us: 0,
        },
        phases: vec![PhasePlan {
            name: "hold".into(),
            warmup: false,
            start_s: 0.0,
            end_s: duration_s,
            curve: Curve::hold(duration_s, rate_rps),
            step: false,
            mix: vec![],
        }],
        requests: vec![RequestPlan {
            name: "pay".into(),
            weight: 1.0,
            method: "POST".into(),
            path: "/pay/${seq}".into(),
            headers: vec![("Idempotency-Key".into(), "${key}".into())],
            body: Some(r#"{"from":"${account}","amount":${amount}}"#.into()),
            expect: vec![],
            declined: vec![402],
        }],
        data: DataPlan {
            accounts: 100,
            pick: Pick::Uniform,
            account_prefix: "acc_".into(),
            account_digits: 8,
            amount_min: 1,
            amount_max: 999,
            amount: AmountLaw::Uniform,
        },
        faults: vec![],
        slos: vec![],
        gates: vec![],
    }
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    response: Latency,
    lag: Latency,
    starved: u64,
    ops: Vec<squall_record::ops::Op>,
    seconds: Vec<u32>,
}

impl Seen {
    fn add(&mut self, tick: &Tick) {
        self.seconds.push(tick.second);
        self.starved += tick.generator.starved;
        self.ops.extend_from_slice(&tick.ops);
        for i in &tick.intervals {
            self.counts += &i.counts;
            self.response.merge(&i.response);
            self.lag.merge(&i.lag);
        }
    }

    fn failed(&self, f: Failure) -> u64 {
        self.counts.failed[f as usize]
    }
}

/// Runs `plan` against `addr` and checks what must hold in every run.
fn load(plan: &Plan, addr: SocketAddr) -> Seen {
    load_until(plan, addr, &AtomicBool::new(false))
}

fn load_until(plan: &Plan, addr: SocketAddr, stop: &AtomicBool) -> Seen {
    let clock = Clock::starting_in(Duration::from_millis(100));
    let job = Job { plan, addr, host: "test", token: "", clock, pace: Pace::Open };
    let mut seen = Seen::default();
    run(&job, stop, |tick| {
        seen.add(tick);
        Ok(())
    })
    .unwrap();
    assert!(seen.counts.check(), "{:?}", seen.counts);
    assert_eq!(seen.counts.in_flight(), 0, "{:?}", seen.counts);
    if !stop.load(Ordering::Relaxed) {
        assert_eq!(seen.counts.planned, Schedule::new(plan).count() as u64, "an arrival was forgotten");
    }
    if seen.failed(Failure::Refused) == 0 {
        assert_eq!(seen.lag.len(), seen.counts.sent, "every request sent has a lag");
    }
    assert_eq!(seen.seconds, (0..seen.seconds.len() as u32).collect::<Vec<_>>(), "a second is missing");
    seen
}

/// Serves each connection on its own thread with `serve`, until the test process ends.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    addr
}

struct Request {
    line: String,
    text: String,
}

/// Reads one request; `None` when the connection ends.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = &head[before..];
        if let Some(n) = line.strip_prefix("Content-Length: ") {
            length = n.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = head.lines().next().unwrap().to_owned();
    Some(Request { line, text: head + std::str::from_utf8(&body).unwrap() })
}

/// Answers every request with what `answer` gives; `None` hangs up instead.
fn answering(answer: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static) -> SocketAddr {
    server(move |stream| {
        stream.set_nodelay(true).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            match answer(&request) {
                Some(bytes) if writer.write_all(&bytes).is_ok() => {}
                _ => return,
            }
        }
    })
}

fn http(status: u16, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n{more}\r\nok").into_bytes()
}

#[test]
fn every_planned_request_arrives_once_and_is_answered() {
    let lines = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let seen_by_server = Arc::clone(&lines);
    let addr = answering(move |r| {
        *seen_by_server.lock().unwrap().entry(r.line.clone()).or_default() += 1;
        Some(http(200, ""))
    });
    let seen = load(&plan(500.0, 1.5), addr);
    assert_eq!((seen.counts.planned, seen.counts.ok), (750, 750));
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 750);
    assert!(lines.values().all(|n| *n == 1));
    assert_eq!(seen.ops.len(), 750, "every payment attempt is recorded");
}

#[test]
fn the_same_seed_sends_the_same_bytes_whatever_the_number_of_workers() {
    let mut all = Vec::new();
    for workers in [1, 2, 4] {
        let texts = Arc::new(Mutex::new(Vec::new()));
        let seen_by_server = Arc::clone(&texts);
        let addr = answering(move |r| {
            seen_by_server.lock().unwrap().push(r.text.clone());
            Some(http(200, ""))
        });
        let mut plan = plan(300.0, 1.0);
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

#[test]
fn answers_are_counted_as_what_they_are() {
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
    let seen = load(&plan(500.0, 1.0), addr);
    let c = &seen.counts;
    assert_eq!((c.ok, c.declined, c.shed), (100, 100, 100));
    assert_eq!((seen.failed(Failure::ServerError), seen.failed(Failure::UnexpectedStatus)), (100, 100));
    assert_eq!(seen.response.len(), 200, "refusals and errors are counted, not timed");
}

#[test]
fn a_target_that_refuses_fails_every_arrival_as_refused() {
    let addr = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let seen = load(&plan(500.0, 1.0), addr);
    assert_eq!(seen.failed(Failure::Refused), 500);
    assert_eq!(seen.counts.dropped, 0);
}

#[test]
fn a_target_that_hangs_up_garbles_or_cuts_its_answers_is_counted_so() {
    let addr = answering(|_| None);
    assert_eq!(load(&plan(100.0, 1.0), addr).failed(Failure::Reset), 100);

    let addr = answering(|_| Some(b"\x00\x01 what is this\r\n\r\n".to_vec()));
    assert_eq!(load(&plan(100.0, 1.0), addr).failed(Failure::BadAnswer), 100);

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
    let seen = load(&plan(100.0, 1.0), addr);
    assert_eq!((seen.counts.ok, seen.failed(Failure::Reset)), (50, 50));
}

#[test]
fn answers_without_a_length_and_connections_closed_after_each_are_fine() {
    let addr = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        if read_request(&mut BufReader::new(stream)).is_some() {
            writer.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil I hang up").unwrap();
        }
    });
    assert_eq!(load(&plan(200.0, 1.0), addr).counts.ok, 200);
}

#[test]
fn a_target_that_never_answers_times_out_and_the_overflow_is_dropped() {
    let addr = server(|mut stream| {
        let mut sink = [0; 4096];
        while matches!(stream.read(&mut sink), Ok(n) if n > 0) {}
    });
    let mut plan = plan(200.0, 1.0);
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

#[test]
fn arrivals_that_wait_for_a_stalled_target_pay_their_full_wait() {
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
    let seen = load(&plan(400.0, 2.0), addr);
    assert_eq!(seen.counts.ok, 800);
    // A quarter of the arrivals fall into the stall and wait up to half a second, uniformly.
    // By arithmetic the 90th percentile is (0.25 − 0.1) / 0.25 × 500 ms = 300 ms.
    let p90_ms = seen.response.quantile(0.90).unwrap().ms();
    assert!((240.0..400.0).contains(&p90_ms), "p90 {p90_ms} ms");
    assert!(seen.counts.late > 100, "waiting arrivals were fired late and counted: {}", seen.counts.late);
}

#[test]
fn too_small_a_pool_is_the_generators_fault() {
    let addr = answering(|_| {
        thread::sleep(Duration::from_millis(20));
        Some(http(200, ""))
    });
    let mut plan = plan(400.0, 2.5);
    plan.load.connections = 2;
    plan.load.max_in_flight = 4;
    let seen = load(&plan, addr);
    assert!(seen.counts.dropped > 100, "{:?}", seen.counts);
    assert!(seen.starved > 100, "starved {}", seen.starved);
}

#[test]
fn an_overloaded_target_is_not_the_pools_fault() {
    // One request at a time, 5 ms each: 200/s whatever the pool. Below that there is no queue;
    // above it every connection is busy, and more connections would only wait longer.
    let one = Mutex::new(());
    let addr = answering(move |_| {
        let _turn = one.lock().unwrap();
        thread::sleep(Duration::from_millis(5));
        Some(http(200, ""))
    });
    let mut plan = plan(50.0, 1.0);
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

#[test]
fn a_target_that_dies_and_comes_back_is_loaded_again() {
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
    let seen = load(&plan(200.0, 3.0), addr);
    reviver.join().unwrap();
    let c = &seen.counts;
    assert!(seen.failed(Failure::Refused) > 20, "{c:?}");
    assert!(c.ok > 250, "loaded before and after: {c:?}");
    assert_eq!(c.dropped, 0, "{c:?}");
}

#[test]
fn a_run_that_is_stopped_ends_early_and_still_accounts_for_everything() {
    let addr = answering(|_| Some(http(200, "")));
    let stop = Arc::new(AtomicBool::new(false));
    let later = Arc::clone(&stop);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(600));
        later.store(true, Ordering::Relaxed);
    });
    let plan = plan(200.0, 60.0);
    let seen = load_until(&plan, addr, &stop);
    assert!(seen.counts.planned > 20 && seen.counts.planned < 2_000, "{:?}", seen.counts);
}

#[test]
fn closed_loop_keeps_every_connection_busy() {
    let addr = answering(|_| Some(http(200, "")));
    let plan = plan(1.0, 1.0);
    let clock = Clock::starting_in(Duration::from_millis(50));
    let job = Job { plan: &plan, addr, host: "t", token: "", clock, pace: Pace::Closed { duration_s: 0.5 } };
    let mut ok = 0;
    run(&job, &AtomicBool::new(false), |t| {
        ok += t.intervals.iter().map(|i| i.counts.ok).sum::<u64>();
        Ok(())
    })
    .unwrap();
    assert!(ok > 100, "{ok}");
}

#[test]
fn a_record_that_fails_ends_the_run() {
    let addr = answering(|_| Some(http(200, "")));
    let clock = Clock::starting_in(Duration::from_millis(50));
    let plan = plan(100.0, 60.0);
    let job = Job { plan: &plan, addr, host: "t", token: "", clock, pace: Pace::Open };
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
    let mut plan = plan(400.0, 1.0);
    plan.load.connections = 20;
    let seen = load(&plan, addr);
    assert!(seen.counts.ok >= 396, "{:?}", seen.counts);
    // In turn, each of the 16 that stay has about 20 of the 400.
    let used = used.lock().unwrap();
    let shares: Vec<u32> = used[4..20].to_vec();
    assert!(shares.iter().all(|n| (8..40).contains(n)), "{used:?}");
}
