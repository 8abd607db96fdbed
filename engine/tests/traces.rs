//! Traces against a server that writes down when it saw what.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use squall_engine::control::Control;
use squall_engine::endpoint::Endpoint;
use squall_engine::engine::{EngineError, Job, run_with};
use squall_record::clock::Clock;
use squall_record::counts::Counts;
use squall_record::event::{Event, What};
use squall_record::trace::{TraceEnd, TraceTotals};
use squall_scenarios::load::load;
use squall_scenarios::plan::Plan;
use squall_scenarios::source::Source;
use squall_scenarios::workload::Workload;

/// What a server saw: when, and the head of the request.
type Seen = Arc<Mutex<Vec<(u64, String)>>>;

/// Answers everything with 200 and writes down when it came, by `clock`.
fn recorder(clock: Clock) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Seen::default();
    let writes = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&writes);
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        match reader.read_line(&mut head) {
                            Ok(n) if n > 0 => {}
                            _ => return,
                        }
                    }
                    seen.lock().unwrap().push((clock.now_ns(), head));
                    if writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    (addr, seen)
}

/// A plan with one phase that replays `trace`, a table's inside, for `duration`.
fn plan(folder: &Path, duration: &str, trace: &str, workers: u32) -> Plan {
    let text = format!(
        "name = \"t\"\n[target]\nurl = \"http://127.0.0.1:9\"\n[load]\nconnections = 8\nworkers = {workers}\n\
         [[phase]]\nname = \"replay\"\nduration = \"{duration}\"\ntrace = {{ {trace} }}\n\
         [[request]]\nname = \"as-recorded\"\nmethod = \"GET\"\npath = \"/\"\nheaders = {{ X-Seq = \"${{seq}}\" }}\n"
    );
    let name = folder.join("t.toml").to_str().unwrap().to_owned();
    load(&Source { name, text }, &[]).unwrap_or_else(|e| panic!("{e}"))
}

struct Replayed {
    counts: Counts,
    /// How many seconds the run has told of.
    seconds: u32,
    traces: Vec<(f64, TraceTotals, TraceEnd)>,
    ended: Result<(), EngineError>,
}

fn replay(plan: &Plan, addr: SocketAddr, clock: Clock, stop: &AtomicBool) -> Replayed {
    let endpoint = Endpoint::Tcp(addr);
    let workload = Workload::new(plan, "test", "").unwrap();
    let job = Job { plan, endpoint: &endpoint, host: "test", workload: &workload, clock };
    let (mut counts, mut traces, mut seconds) = (Counts::default(), Vec::new(), 0);
    let on_event = |e: Event| {
        if let What::Trace { replay, .. } = e.what {
            traces.push((e.at_s, replay.totals, replay.end));
        }
        Ok(())
    };
    let ended = run_with(&job, &Control::new(), stop, on_event, |tick| {
        tick.intervals.iter().for_each(|i| counts += &i.counts);
        seconds = tick.second + 1;
        Ok(())
    });
    assert!(counts.check(), "{counts:?}");
    Replayed { counts, seconds, traces, ended }
}

const AS_RECORDED: &str = "format = \"csv\", time = \"t\", path = \"p\", request = \"as-recorded\"";

/// Instants in milliseconds that are no pattern, over about 2.6 s.
fn instants() -> Vec<u64> {
    (0..80u64).map(|i| i * 32 + i * i * 7 % 23).collect()
}

fn write_csv(path: &Path, at_ms: &[u64]) {
    let lines = at_ms.iter().enumerate();
    let lines =
        lines.map(|(i, ms)| format!("{}.{:03},/item/{i}?at={ms}\n", 1_700_000_000 + ms / 1000, ms % 1000));
    std::fs::write(path, format!("t,p\n{}", lines.collect::<String>())).unwrap();
}

#[test]
fn a_server_sees_what_was_recorded_when_it_was_recorded_at_any_speed() {
    let dir = tempfile::tempdir().unwrap();
    for (speed, scale) in [(1, 1), (10, 10)] {
        // As long at ten times the speed: ten times the distances.
        let at_ms: Vec<u64> = instants().iter().map(|ms| ms * scale).collect();
        write_csv(&dir.path().join("trace.csv"), &at_ms);
        let plan =
            plan(dir.path(), "4s", &format!("file = \"trace.csv\", speed = {speed}, {AS_RECORDED}"), 1);
        let clock = Clock::starting_in(Duration::from_millis(300));
        let (addr, seen) = recorder(clock);
        let replayed = replay(&plan, addr, clock, &AtomicBool::new(false));
        replayed.ended.unwrap();
        assert_eq!((replayed.counts.planned, replayed.counts.ok), (80, 80), "{:?}", replayed.counts);

        let mut seen = seen.lock().unwrap().clone();
        seen.sort_by_key(|(_, head)| head.split("X-Seq: ").nth(1).unwrap().to_owned());
        let mut late_ms = Vec::new();
        for (i, (at_ns, head)) in seen.iter().enumerate() {
            let line = format!("GET /item/{i}?at={} HTTP/1.1\r\n", at_ms[i]);
            assert!(head.starts_with(&line), "{head} is not {line}");
            let intended_ns = at_ms[i] * 1_000_000 / speed;
            assert!(*at_ns >= intended_ns, "request {i} came {} ns early", intended_ns - at_ns);
            late_ms.push((at_ns - intended_ns) / 1_000_000);
        }
        late_ms.sort_unstable();
        // A busy machine delays some; most must be where they were.
        assert!(late_ms[40] < 20, "half came more than {} ms late at speed {speed}", late_ms[40]);
    }
}

#[test]
fn without_a_class_the_scenarios_own_requests_are_sent_at_the_recorded_instants() {
    let dir = tempfile::tempdir().unwrap();
    let line = |s: u32, method: &str| {
        format!("127.0.0.1 - - [10/Oct/2000:13:55:{s:02} -0700] \"{method} /v1/payments HTTP/1.1\" 201 5\n")
    };
    // Two in a whole second are half a second apart.
    std::fs::write(dir.path().join("a.log"), line(10, "POST") + &line(10, "POST") + &line(12, "GET"))
        .unwrap();
    let plan = plan(dir.path(), "1s", "file = \"a.log\", format = \"combined\", speed = 4", 1);
    let clock = Clock::starting_in(Duration::from_millis(300));
    let (addr, seen) = recorder(clock);
    replay(&plan, addr, clock, &AtomicBool::new(false)).ended.unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(_, head)| head.starts_with("GET / HTTP/1.1\r\n")));
    let intended_ms = [0, 125, 500];
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().zip(intended_ms).all(|(s, ms)| s.0 / 1_000_000 >= ms), "{seen:?}");
}

#[test]
fn what_is_not_replayed_is_told_and_silence_after_the_trace_too() {
    let dir = tempfile::tempdir().unwrap();
    let text = "t,m,p\n1.0,GET,/a\n1.1,POST,/b\nbroken\n1.05,HEAD,/c\n1.2,GET,/d e\n";
    std::fs::write(dir.path().join("trace.csv"), text).unwrap();
    let plan = plan(dir.path(), "2s", &format!("file = \"trace.csv\", method = \"m\", {AS_RECORDED}"), 2);
    let clock = Clock::starting_in(Duration::from_millis(300));
    let (addr, seen) = recorder(clock);
    let replayed = replay(&plan, addr, clock, &AtomicBool::new(false));
    replayed.ended.unwrap();
    assert_eq!((replayed.counts.planned, seen.lock().unwrap().len()), (2, 2));
    // The phase goes on: faults may still be to come, and what a later phase asks for.
    assert!(replayed.seconds >= 2, "the run ended after {} s", replayed.seconds);
    let [(at_s, t, end)] = &replayed.traces[..] else { panic!("{:?}", replayed.traces) };
    assert_eq!((t.lines, t.replayed, t.unsafe_methods, t.no_path, t.broken, t.ignored), (6, 2, 1, 1, 1, 1));
    // The POST was later than what came after it, but was never an arrival.
    assert_eq!((t.out_of_order, t.first_broken.as_ref().unwrap().line), (0, 4));
    assert!((at_s - 0.05).abs() < 1e-6 && matches!(end, TraceEnd::Exhausted { .. }), "{at_s} {end:?}");
}

#[test]
fn a_trace_longer_than_its_phase_is_cut_and_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write_csv(&dir.path().join("trace.csv"), &(0..5000).collect::<Vec<_>>());
    let plan = plan(dir.path(), "1s", &format!("file = \"trace.csv\", {AS_RECORDED}"), 1);
    let clock = Clock::starting_in(Duration::from_millis(300));
    let (addr, _) = recorder(clock);
    let replayed = replay(&plan, addr, clock, &AtomicBool::new(false));
    replayed.ended.unwrap();
    assert_eq!(replayed.counts.planned, 1000);
    let (at_s, totals, end) = &replayed.traces[0];
    assert_eq!((*at_s, totals.replayed, end), (1.0, 1000, &TraceEnd::Cut));
}

#[test]
fn a_trace_that_breaks_in_the_middle_ends_the_run_there_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    // Good for longer than what a check looks at.
    let good: String = (0..1500).map(|i| format!("{}.{:03},/{i}\n", i / 1000, i % 1000)).collect();
    std::fs::write(dir.path().join("trace.csv"), format!("t,p\n{good}oops\n9.0,/never\n")).unwrap();
    let plan = plan(dir.path(), "60s", &format!("file = \"trace.csv\", max_broken = 0, {AS_RECORDED}"), 2);
    let clock = Clock::starting_in(Duration::from_millis(300));
    let (addr, seen) = recorder(clock);
    let replayed = replay(&plan, addr, clock, &AtomicBool::new(false));
    let told = replayed.ended.unwrap_err().to_string();
    assert!(
        told.contains("line 1502: it holds `oops`, which is") && told.contains("raise trace.max_broken"),
        "{told}"
    );
    let TraceEnd::Failed { problem } = &replayed.traces[0].2 else { panic!("{:?}", replayed.traces) };
    assert_eq!(*problem, told);
    // What came before was replayed, but for what was due in the last moment.
    let seen = seen.lock().unwrap();
    assert!(
        replayed.counts.planned >= 1400 && seen.len() >= 1300,
        "{} {}",
        replayed.counts.planned,
        seen.len()
    );
    assert!(!seen.iter().any(|(_, head)| head.contains("/never")));
}

#[test]
fn a_trace_that_vanished_since_the_check_ends_the_run_before_its_first_request() {
    let dir = tempfile::tempdir().unwrap();
    write_csv(&dir.path().join("trace.csv"), &[0, 1]);
    let plan = plan(dir.path(), "1s", &format!("file = \"trace.csv\", {AS_RECORDED}"), 1);
    std::fs::remove_file(dir.path().join("trace.csv")).unwrap();
    let clock = Clock::start();
    let (addr, seen) = recorder(clock);
    let replayed = replay(&plan, addr, clock, &AtomicBool::new(false));
    assert!(matches!(replayed.ended, Err(EngineError::Trace(_))), "{:?}", replayed.ended);
    assert_eq!((replayed.counts.planned, seen.lock().unwrap().len()), (0, 0));
}

#[test]
fn a_run_that_is_ended_by_hand_leaves_the_rest_and_tells_so() {
    let dir = tempfile::tempdir().unwrap();
    // Far more than is read ahead.
    write_csv(&dir.path().join("trace.csv"), &(0..200_000).collect::<Vec<_>>());
    let plan = plan(dir.path(), "1h", &format!("file = \"trace.csv\", {AS_RECORDED}"), 1);
    let clock = Clock::start();
    let (addr, _) = recorder(clock);
    let stop = AtomicBool::new(false);
    let replayed = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(700));
            stop.store(true, Ordering::Relaxed);
        });
        replay(&plan, addr, clock, &stop)
    });
    replayed.ended.unwrap();
    assert!((1..100_000).contains(&replayed.counts.planned), "{:?}", replayed.counts);
    assert_eq!(replayed.traces.len(), 1);
    assert_eq!(replayed.traces[0].2, TraceEnd::Interrupted);
}
