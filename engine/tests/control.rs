//! A load that is changed while it runs, against the responder. Every run must still account for
//! every arrival, and every number of workers must carry the same load.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use squall_engine::control::{Control, LEAD_NS, MAX_CHANGES};
use squall_engine::engine::{Job, run_with};
use squall_engine::responder;
use squall_record::clock::Clock;
use squall_record::counts::Counts;
use squall_scenarios::load::load;
use squall_scenarios::plan::Plan;
use squall_scenarios::schedule::Change;
use squall_scenarios::source::Source;
use squall_scenarios::workload::Workload;

const MS: u64 = 1_000_000;

fn target() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || responder::serve(&listener, None));
    addr
}

/// Evenly spaced arrivals at `rate_rps` for `seconds`.
fn plan(rate_rps: u32, seconds: u32, workers: u32) -> Plan {
    let text = format!(
        r#"
name = "t"
[target]
url = "http://127.0.0.1:1"
[load]
arrivals = "uniform"
connections = 8
workers = {workers}
[[phase]]
name = "hold"
duration = "{seconds}s"
rate = "{rate_rps}/s"
[[request]]
name = "get"
method = "GET"
path = "/"
headers = {{ Idempotency-Key = "${{key}}" }}
"#
    );
    load(&Source { name: "t".into(), text }, &[]).unwrap()
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    /// Planned arrivals by the second in which they were taken.
    planned: Vec<u64>,
    /// The index of every request that ended.
    indices: Vec<u64>,
}

/// Carries out `plan`; `each` is told of every second.
fn carried(plan: &Plan, control: &Control, stop: &AtomicBool, mut each: impl FnMut(u32, Clock)) -> Seen {
    let clock = Clock::starting_in(Duration::from_millis(100));
    let workload = Workload::new(plan, "t", "").unwrap();
    let job = Job { plan, endpoint: &target().into(), host: "t", workload: &workload, clock };
    let mut seen = Seen::default();
    run_with(
        &job,
        control,
        stop,
        |_| Ok(()),
        |tick| {
            seen.planned.push(tick.intervals.iter().map(|i| i.counts.planned).sum());
            seen.indices.extend(tick.ops.iter().map(|op| op.index));
            tick.intervals.iter().for_each(|i| seen.counts += &i.counts);
            each(tick.second, clock);
            Ok(())
        },
    )
    .unwrap();
    assert!(seen.counts.check(), "{:?}", seen.counts);
    assert_eq!(seen.counts.in_flight(), 0);
    seen.indices.sort_unstable();
    seen
}

fn near(got: u64, want: f64) -> bool {
    (got as f64 - want).abs() <= 2.0
}

#[test]
fn changes_hold_for_every_worker_from_the_same_instant() {
    let changes = [
        (500 * MS, Change::Scale(2.0)),
        (1_000 * MS, Change::Pause),
        (1_500 * MS, Change::Rate(100.0)),
        (2_000 * MS, Change::Resume),
        (2_500 * MS, Change::Scale(1.0)),
    ];
    let mut all = Vec::new();
    for workers in [1, 2, 4] {
        let control = Control::new();
        for (at_ns, change) in changes {
            control.post(at_ns, change).unwrap();
        }
        let seen = carried(&plan(400, 3, workers), &control, &AtomicBool::new(false), |_, _| {});
        // Half a second each of 400/s, 800/s, nothing, nothing, 100/s, 400/s.
        assert!(near(seen.counts.planned, 200.0 + 400.0 + 50.0 + 200.0), "{workers}: {:?}", seen.planned);
        assert_eq!(seen.counts.sent, seen.counts.planned);
        all.push(seen.indices);
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}

#[test]
fn a_rate_asked_for_in_the_middle_of_a_run_holds_from_its_instant_on() {
    let control = Control::new();
    let mut held_ns = 0;
    let seen = carried(&plan(200, 4, 2), &control, &AtomicBool::new(false), |second, clock| {
        if second == 0 {
            held_ns = control.post(clock.now_ns() + LEAD_NS, Change::Rate(600.0)).unwrap();
        }
    });
    let held_s = held_ns as f64 / 1e9;
    assert!(held_s >= 1.0 && near(seen.planned[0], 200.0), "{:?}", seen.planned);
    // A worker that a busy machine wakes only after the instant has gone on with the old rate.
    let expected = 200.0 * held_s + 600.0 * (4.0 - held_s);
    let planned = seen.counts.planned as f64;
    assert!((planned / expected - 1.0).abs() < 0.05, "{planned} and not {expected}: {:?}", seen.planned);
}

#[test]
fn a_pause_longer_than_the_rest_of_the_run_ends_with_the_plan() {
    let control = Control::new();
    control.post(500 * MS, Change::Pause).unwrap();
    let mut ended_s = 0.0;
    let seen =
        carried(&plan(200, 2, 2), &control, &AtomicBool::new(false), |_, clock| ended_s = clock.now_s());
    assert!(near(seen.counts.planned, 100.0), "{:?}", seen.planned);
    assert!(ended_s >= 2.0, "it ended at {ended_s} s, before the plan");
}

#[test]
fn a_paused_run_that_is_resumed_goes_on_although_its_schedule_looked_exhausted() {
    let control = Control::new();
    control.post(500 * MS, Change::Pause).unwrap();
    let seen = carried(&plan(200, 4, 2), &control, &AtomicBool::new(false), |second, _| {
        if second == 0 {
            control.post(3_000 * MS, Change::Resume).unwrap();
        }
    });
    assert!(near(seen.counts.planned, 300.0), "{:?}", seen.planned);
}

#[test]
fn a_paused_run_that_is_stopped_ends_at_once() {
    let (control, stop) = (Control::new(), AtomicBool::new(false));
    control.post(100 * MS, Change::Pause).unwrap();
    let seen = carried(&plan(100, 600, 2), &control, &stop, |second, _| {
        if second == 1 {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert!(near(seen.counts.planned, 10.0), "{:?}", seen.planned);
    assert!(seen.planned.len() < 60, "{} s of 600", seen.planned.len());
}

#[test]
fn a_flood_of_changes_is_carried_out_up_to_its_limit() {
    let control = Control::new();
    for i in 0..MAX_CHANGES {
        let change = if i % 2 == 0 { Change::Pause } else { Change::Resume };
        control.post(i as u64 * MS, change).unwrap();
    }
    assert!(control.post(0, Change::Pause).is_err());
    let seen = carried(&plan(1_000, 2, 2), &control, &AtomicBool::new(false), |_, _| {});
    // Every other millisecond of the first second.
    assert!((1_400..=1_600).contains(&seen.counts.planned), "{:?}", seen.planned);
}
