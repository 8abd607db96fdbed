//! Each rule, provoked.

use super::*;
use crate::testing::{self, phase};
use squall_record::counts::Counts;
use squall_record::event::{Steer, What};
use squall_record::interval::{GeneratorSample, Interval, Shortage};
use squall_scenarios::bursts::Bursts;
use squall_scenarios::plan::{Arrivals, Http, LoadPlan};

const RATE: u64 = 100;

/// Two seconds of warm-up, eight measured ones.
fn plan() -> Plan {
    Plan { phases: vec![phase("warm", true, 0.0, 2.0), phase("hold", false, 2.0, 10.0)], ..testing::plan() }
}

fn tick(second: u32) -> Tick {
    let phase = u16::from(second >= 2);
    let mut i = Interval::new(second, 0, phase);
    i.counts.planned = RATE;
    i.counts.sent = RATE;
    i.counts.ok = RATE;
    let mut pacing = Latency::new();
    for _ in 0..RATE {
        i.lag.record_us(50);
        pacing.record_us(20);
    }
    let generator = GeneratorSample {
        second,
        phase,
        workers: 2,
        connections: 8,
        cpu_ns: 400_000_000,
        wall_ns: 2_000_000_000,
        ..GeneratorSample::default()
    };
    Tick { second, intervals: vec![i], generator, pacing, ops: vec![] }
}

/// A healthy run in which `spoil` had its way with every second.
fn judged(spoil: impl Fn(&mut Tick)) -> GeneratorVerdict {
    let mut judge = Judge::new(&plan());
    for second in 0..10 {
        let mut t = tick(second);
        spoil(&mut t);
        judge.add(&t);
    }
    judge.verdict()
}

fn expect(v: &GeneratorVerdict, run: RunVerdict, words: &[&str]) {
    assert_eq!(v.run, run, "{v:?}");
    for w in words {
        assert!(v.reasons[0].contains(w), "{w:?} is not in {:?}", v.reasons);
    }
}

#[test]
fn a_healthy_generator_is_valid_and_its_figures_are_given() {
    let v = judged(|_| ());
    assert_eq!((v.run, v.reasons.len()), (RunVerdict::Valid, 0));
    assert_eq!(v.cpu_us_per_request, Some(4000.0));
    assert_eq!(v.cpu_utilisation, Some(0.2));
    assert_eq!((v.schedule_lag_p99_us, v.pacing_p99_us), (Some(50), Some(20)));
    assert_eq!((v.workers, v.connections), (2, 8));
}

#[test]
fn a_run_without_measured_arrivals_is_invalid_but_not_while_it_goes_on() {
    let mut judge = Judge::new(&plan());
    judge.add(&tick(0));
    expect(&judge.verdict(), RunVerdict::Invalid, &["no arrival was planned"]);
    assert_eq!(judge.verdict_so_far().run, RunVerdict::Valid);
}

#[test]
fn late_pacing_is_suspect_then_invalid() {
    let slow = |us| move |t: &mut Tick| (0..RATE).for_each(|_| t.pacing.record_us(us));
    assert_eq!(judged(slow(PACING_SUSPECT_US)).run, RunVerdict::Valid);
    expect(&judged(slow(2_000)), RunVerdict::Suspect, &["2.00 ms", "1.00 ms", "load.workers (now 2)"]);
    expect(&judged(slow(20_000)), RunVerdict::Invalid, &["20.0 ms", "10.0 ms"]);
}

#[test]
fn a_handful_of_late_arrivals_is_too_few_to_call_a_short_run_invalid() {
    // Of 800 measured arrivals, 9 or 10 more that are 20 ms late: the 99th percentile either way.
    let late = |n: u64| {
        move |t: &mut Tick| (0..u64::from(t.second == 5) * n).for_each(|_| t.pacing.record_us(20_000))
    };
    expect(&judged(late(PACING_INVALID_ARRIVALS - 1)), RunVerdict::Suspect, &["20.0 ms"]);
    expect(&judged(late(PACING_INVALID_ARRIVALS)), RunVerdict::Invalid, &["20.0 ms"]);
}

#[test]
fn a_stalled_target_that_delays_sending_does_not_invalidate() {
    let v = judged(|t| (0..RATE).for_each(|_| t.intervals[0].lag.record_us(5_000_000)));
    assert_eq!(v.run, RunVerdict::Valid);
    assert!(v.schedule_lag_p99_us.unwrap() > 4_990_000);
}

#[test]
fn drops_of_its_own_making_are_invalid() {
    let v = judged(|t| t.generator.starved_drops = 1);
    expect(&v, RunVerdict::Invalid, &["8 of 800", "load.connections (now 8)", "max_in_flight (now 16)"]);
}

#[test]
fn a_machine_that_cannot_open_connections_is_named_and_more_of_them_are_not_advised() {
    let lacking = |of, drops| {
        judged(|t| {
            (t.generator.unopened, t.generator.shortage) = (1, (t.second == 3).then_some(of));
            (t.generator.starved, t.generator.starved_drops) = (50, drops);
        })
    };
    let waited = lacking(Shortage::Ports, 0);
    expect(&waited, RunVerdict::Suspect, &["8 attempts", "no local ports", "ip_local_port_range"]);
    let dropped = lacking(Shortage::Files, 2);
    expect(&dropped, RunVerdict::Invalid, &["no open files left", "16 of 800", "ulimit -n"]);
    assert!(!format!("{:?}{:?}", waited.reasons, dropped.reasons).contains("raise load"), "{dropped:?}");
}

#[test]
fn too_few_connections_are_suspect() {
    assert_eq!(judged(|t| t.generator.starved = 1).run, RunVerdict::Valid);
    let v = judged(|t| t.generator.starved = 2);
    expect(&v, RunVerdict::Suspect, &["2.0 %", "limit 1 %", "load.connections (now 8)"]);
}

#[test]
fn a_target_that_speaks_unasked_is_suspect_unless_it_is_an_exception() {
    let times = |n| judged(|t| (t.generator.unasked, t.generator.reopened) = (n, n));
    let rare = times(RATE / 100);
    assert_eq!((rare.run, rare.unasked, rare.reopened), (RunVerdict::Valid, Some(8), Some(8)));
    expect(
        &times(RATE / 50),
        RunVerdict::Suspect,
        &["nobody had asked for 16 times, and was sent 800 requests", "limit 1 %"],
    );
    // The general transport sees nothing of it.
    let mut plan = plan();
    plan.load.transport = Transport::General { http: Http::V1 };
    assert_eq!(Judge::new(&plan).verdict().unasked, None);
}

#[test]
fn a_generator_at_its_limit_is_told_what_the_general_transport_costs() {
    let over = |transport| {
        let mut plan = plan();
        plan.load.transport = transport;
        let mut judge = Judge::new(&plan);
        for second in 0..10 {
            let mut t = tick(second);
            t.generator.cpu_ns = t.generator.wall_ns;
            (0..RATE).for_each(|_| t.pacing.record_us(20_000));
            judge.add(&t);
        }
        judge.verdict().reasons
    };
    assert!(over(Transport::Own).iter().all(|reason| !reason.contains("transport")));
    for (http, version) in [(Http::V1, "HTTP/1.1"), (Http::V2, "HTTP/2")] {
        let reasons = over(Transport::General { http });
        let told = format!("The general transport ({version}) costs at least twice the CPU");
        assert_eq!(reasons.iter().filter(|r| r.contains(&told)).count(), 2, "{reasons:?}");
    }
}

#[test]
fn a_busy_generator_is_suspect_then_invalid() {
    let busy =
        |share: f64| move |t: &mut Tick| t.generator.cpu_ns = (t.generator.wall_ns as f64 * share) as u64;
    assert_eq!(judged(busy(0.84)).run, RunVerdict::Valid);
    expect(&judged(busy(0.86)), RunVerdict::Suspect, &["86 %", "limit 85 %", "load.workers"]);
    expect(&judged(busy(0.98)), RunVerdict::Invalid, &["98 %", "limit 97 %"]);
}

#[test]
fn busy_virtual_users_are_suspect_then_invalid() {
    use squall_record::journey::{Iterations, JourneySecond};
    let judged = |cpu_percent: u64| {
        let mut judge = Judge::new(&plan());
        (0..10).for_each(|s| judge.add(&tick(s)));
        for (second, users) in [(0, 1), (1, 1), (2, 0)] {
            let journey = JourneySecond {
                journey: "customer".into(),
                users,
                iterations: Iterations::default(),
                steps: vec![],
            };
            // Without users there is nothing to be late for.
            let cpu_ns = if users > 0 { cpu_percent * 10_000_000 } else { 0 };
            judge.add_journeys(&JourneyTick {
                second,
                cpu_ns,
                wall_ns: 1_000_000_000,
                journeys: vec![journey],
                ops: vec![],
            });
        }
        judge.verdict()
    };
    assert_eq!((judged(84).run, judged(84).journeys_cpu_utilisation), (RunVerdict::Valid, Some(0.84)));
    expect(&judged(86), RunVerdict::Suspect, &["virtual users", "86 %", "limit 85 %"]);
    expect(&judged(98), RunVerdict::Invalid, &["98 %", "limit 97 %"]);
}

#[test]
fn journeys_alone_are_no_load_that_failed_to_come() {
    let mut p = plan();
    assert_eq!(Judge::new(&p).verdict().run, RunVerdict::Invalid);
    (p.phases, p.requests) = (vec![], vec![]);
    assert_eq!(Judge::new(&p).verdict().run, RunVerdict::Valid);
}

#[test]
fn a_calm_phase_does_not_hide_a_saturated_one() {
    let mut p = plan();
    p.phases.truncate(1);
    p.phases.extend([phase("hold", false, 2.0, 5.0), phase("peak", false, 5.0, 10.0)]);
    p.phases.push(phase("calm", false, 10.0, 30.0));
    let mut judge = Judge::new(&p);
    for second in 0..30 {
        let mut t = tick(second);
        let phase = p.phase_at(f64::from(second)) as u16;
        (t.generator.phase, t.intervals[0].phase) = (phase, phase);
        if phase == 2 {
            t.generator.cpu_ns = t.generator.wall_ns;
        }
        judge.add(&t);
    }
    expect(&judge.verdict(), RunVerdict::Invalid, &["100 %", "in phase `peak`"]);
}

#[test]
fn fewer_arrivals_than_planned_are_suspect() {
    let v = judged(|t| t.intervals[0].counts.planned = 90);
    expect(&v, RunVerdict::Suspect, &["planned 630 arrivals", "asks for 700"]);
    assert_eq!(judged(|t| t.intervals[0].counts.planned = 99).run, RunVerdict::Valid);
}

#[test]
fn bursty_arrivals_may_fall_short_by_as_much_as_their_bursts_explain() {
    // 700 arrivals are asked for and 630 come. With these bursts the count's standard deviation is
    // at most about 109, so that is no surprise; 210 would be.
    let bursts = Bursts { factor: 3.0, share: 0.2, mean_s: 0.1 };
    let p = Plan { load: LoadPlan { arrivals: Arrivals::Bursty(bursts), ..plan().load }, ..plan() };
    let after = |planned: u64| {
        let mut judge = Judge::new(&p);
        for second in 0..10 {
            let mut t = tick(second);
            t.intervals[0].counts.planned = planned;
            judge.add(&t);
        }
        judge.verdict()
    };
    assert_eq!(after(90).run, RunVerdict::Valid);
    expect(&after(30), RunVerdict::Suspect, &["planned 210 arrivals", "asks for 700"]);
}

#[test]
fn a_load_changed_by_hand_is_judged_by_what_was_asked_for() {
    let paused = |told: bool| {
        let mut judge = Judge::new(&plan());
        if told {
            judge.event(&Event { at_s: 6.0, what: What::Steered { steer: Steer::Pause } });
        }
        for second in 0..10 {
            let mut t = tick(second);
            if second >= 6 {
                t.intervals[0].counts = Counts::default();
            }
            judge.add(&t);
        }
        judge.verdict()
    };
    assert_eq!(paused(true).run, RunVerdict::Valid, "{:?}", paused(true).reasons);
    expect(&paused(false), RunVerdict::Suspect, &["planned 400 arrivals"]);
}

#[test]
fn missing_seconds_are_suspect_unless_in_the_warm_up() {
    let without = |gone: u32| {
        let mut judge = Judge::new(&plan());
        (0..10).filter(|s| *s != gone).for_each(|s| judge.add(&tick(s)));
        judge.verdict()
    };
    assert_eq!(without(1).run, RunVerdict::Valid);
    expect(&without(5), RunVerdict::Suspect, &["1 s are missing"]);
}

#[test]
fn missing_seconds_of_the_journeys_are_suspect() {
    let without = |gone: u32| {
        let mut judge = Judge::new(&plan());
        for second in (0..10).filter(|s| *s != gone) {
            judge.add(&tick(second));
            judge.add_journeys(&JourneyTick { second, cpu_ns: 0, wall_ns: 0, journeys: vec![], ops: vec![] });
        }
        judge.verdict()
    };
    expect(&without(0), RunVerdict::Suspect, &["1 s are missing"]);
    expect(&without(4), RunVerdict::Suspect, &["1 s are missing"]);
    assert_eq!(without(10).run, RunVerdict::Valid);
}

#[test]
fn a_worker_that_stood_still_once_spoils_a_long_calm_run() {
    let still = |ns| move |t: &mut Tick| t.generator.stood_still_ns = u64::from(t.second == 5) * ns;
    assert_eq!(judged(still(STOOD_STILL_SUSPECT_NS - 1)).run, RunVerdict::Valid);
    expect(&judged(still(STOOD_STILL_SUSPECT_NS)), RunVerdict::Suspect, &["stood still for 100", "100"]);
    expect(&judged(still(1_500_000_000)), RunVerdict::Invalid, &["stood still for 1.50 s", "1.00 s"]);
}

#[test]
fn a_suspended_machine_and_a_clock_that_was_set_are_noticed() {
    let v = judged(|t| t.generator.suspended_ns = 4_000_000);
    expect(&v, RunVerdict::Invalid, &["suspended for 32.0 ms"]);
    let v = judged(|t| t.generator.clock_step_ns = u64::from(t.second == 4) * 2_000_000_000);
    expect(&v, RunVerdict::Suspect, &["wall clock was set by 2.00 s"]);
    assert_eq!(judged(|t| t.generator.clock_step_ns = 99_000_000).run, RunVerdict::Valid);
}

#[test]
fn late_pacing_says_what_made_it_late() {
    let late = |t: &mut Tick| (0..RATE).for_each(|_| t.pacing.record_us(20_000));
    let v = judged(|t| {
        late(t);
        t.generator.cpu_wait_ns = 500_000_000;
    });
    expect(&v, RunVerdict::Invalid, &["waited 25 % of the time for a CPU", "load.workers"]);
    let v = judged(|t| {
        late(t);
        (t.generator.sleeps, t.generator.overslept_ns) = (100, 2_000_000_000);
    });
    expect(&v, RunVerdict::Invalid, &["sleeps end 20.0 ms late on average", "load.spin"]);
    // Late because others had the CPU, not because of the timers.
    let v = judged(|t| {
        late(t);
        (t.generator.sleeps, t.generator.overslept_ns) = (100, 500_000_000);
        t.generator.cpu_wait_ns = 500_000_000;
    });
    expect(&v, RunVerdict::Invalid, &["for a CPU"]);
}

#[test]
fn warm_up_is_not_judged() {
    let v = judged(|t| {
        if t.second < 2 {
            t.generator.cpu_ns = t.generator.wall_ns;
            t.generator.starved_drops = 50;
            (0..100_000).for_each(|_| t.pacing.record_us(50_000));
        }
    });
    assert_eq!(v.run, RunVerdict::Valid, "{v:?}");
}

#[test]
fn the_worst_reason_comes_first() {
    let v = judged(|t| {
        t.generator.starved = 50;
        t.generator.cpu_ns = t.generator.wall_ns;
    });
    assert_eq!((v.run, v.reasons.len()), (RunVerdict::Invalid, 2));
    assert!(v.reasons[0].contains("CPU"), "{:?}", v.reasons);
}
