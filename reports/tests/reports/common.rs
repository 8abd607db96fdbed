//! Synthetic runs, written by the writer that real runs are written by.
//!
//! A [`Script`] says second by second what happened; everything is arithmetic, so a run reads the
//! same on every machine.

use std::path::{Path, PathBuf};

use squall_record::event::{Event, What};
use squall_record::fault::{Delay, Effect, FaultPoint, FaultSpec, Place};
use squall_record::folder::{FolderWriter, RunFolder};
use squall_record::interval::{GeneratorSample, Interval, Sink, Tick};
use squall_record::latency::Latency;
use squall_record::manifest::{Machine, Manifest};
use squall_record::outcome::{Failure, Outcome};
use squall_scenarios::curve::Curve;
use squall_scenarios::plan::{
    AmountLaw, Arrivals, ClockKind, DataPlan, FaultPlan, GatePlan, LoadPlan, Metric, Mode, Op, PhasePlan,
    Pick, Plan, Profile, RequestPlan, ServicePlan, SloPlan, Tally, TargetPlan, Transport,
};

/// What happened to the arrivals of one second.
#[derive(Debug, Clone, Copy)]
pub struct Second {
    /// The median response time in microseconds; the rest spreads around it.
    pub median_us: u64,
    /// How many of a thousand arrivals fail, and how.
    pub failed_per_mille: u64,
    pub failure: Failure,
    /// How many of a thousand are declined, shed, dropped.
    pub declined_per_mille: u64,
    pub shed_per_mille: u64,
    pub dropped_per_mille: u64,
    /// How many of a thousand answers took longer than histograms hold.
    pub endless_per_mille: u64,
}

/// A second in which all goes well.
pub const CALM: Second = Second {
    median_us: 2_000,
    failed_per_mille: 0,
    failure: Failure::Timeout,
    declined_per_mille: 10,
    shed_per_mille: 0,
    dropped_per_mille: 0,
    endless_per_mille: 0,
};

/// How a synthetic run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Complete,
    Interrupted(u32),
    Early(u32),
    Killed(u32),
}

/// A run to write.
pub struct Script {
    pub plan: Plan,
    pub second: fn(u32) -> Second,
    pub end: End,
    pub faults_fail: bool,
    /// When the condition holds that the first fault waits for, if it does.
    pub due_s: Option<f64>,
    /// What is said of each fault, of which something is left behind, if it is.
    pub not_undone: Option<&'static str>,
    /// How much before their time faults end.
    pub early_s: f64,
}

pub fn phase(name: &str, warmup: bool, start_s: f64, end_s: f64, from_rps: f64, to_rps: f64) -> PhasePlan {
    let curve = Curve::line(end_s - start_s, from_rps, to_rps);
    PhasePlan { name: name.into(), warmup, start_s, end_s, curve, step: false, mix: vec![], trace: None }
}

pub fn request(name: &str, weight: f64) -> RequestPlan {
    RequestPlan {
        name: name.into(),
        weight,
        method: "POST".into(),
        path: format!("/v1/{name}"),
        headers: vec![],
        body: None,
        expect: vec![201],
        declined: vec![402],
        check: vec![],
        retry: None,
    }
}

pub fn fault(name: &str, effect: Effect, start_s: f64, end_s: f64) -> FaultPlan {
    FaultPlan {
        fault: FaultSpec { name: name.into(), place: Place::Point(FaultPoint::Store), effect, fraction: 1.0 },
        start_s,
        end_s,
        when: None,
    }
}

pub fn gate(expression: &str, metric: Metric, op: Op, bound: f64) -> GatePlan {
    GatePlan {
        expression: expression.into(),
        metric,
        phase: None,
        request: None,
        journey: None,
        step: None,
        fault: None,
        slo: None,
        op,
        bound,
    }
}

pub const P99: Metric = Metric::Percentile { q: 0.99, clock: ClockKind::Response };
pub const FAILED: Metric = Metric::Rate { of: Tally::Failed };

/// Warm-up, climb to 2000/s, hold with two faults, recovery: a minute.
pub fn quickstart() -> Plan {
    Plan {
        name: "quickstart".into(),
        summary: "A payment service climbs to its load, loses its store for some seconds, and recovers."
            .into(),
        seed: 42,
        target: TargetPlan::Reference(ServicePlan {
            accounts: 10_000,
            opening_balance: 1_000_000,
            profile: Profile::Hardened,
        }),
        load: LoadPlan {
            arrivals: Arrivals::Uniform,
            connections: 64,
            max_in_flight: 512,
            timeout_ms: 2_000,
            workers: 1,
            max_rate_rps: 1e6,
            mode: Mode::Open,
            spin_us: 0,
            coalesce_us: 0,
            pipeline: 1,
            transport: Transport::Own,
        },
        phases: vec![
            phase("warm up", true, 0.0, 5.0, 200.0, 200.0),
            phase("climb", false, 5.0, 15.0, 200.0, 2_000.0),
            phase("hold", false, 15.0, 60.0, 2_000.0, 2_000.0),
        ],
        requests: vec![request("pay", 9.0), request("balance", 1.0)],
        data: DataPlan {
            accounts: 10_000,
            pick: Pick::Zipf { exponent: 1.0 },
            account_prefix: "acc_".into(),
            account_digits: 8,
            amount_min: 100,
            amount_max: 9_999,
            amount: AmountLaw::Uniform,
        },
        journeys: vec![],
        feeders: vec![],
        places: Default::default(),
        experiment: None,
        faults: vec![
            fault("slow-store", Effect::Latency { delay: Delay::Fixed { ms: 40.0 } }, 25.0, 32.0),
            fault("failing-store", Effect::Error { status: 503 }, 35.0, 40.0),
        ],
        slos: vec![
            SloPlan { name: "available".into(), objective: 0.99, under_ms: None, request: None },
            SloPlan {
                name: "quick payments".into(),
                objective: 0.95,
                under_ms: Some(20.0),
                request: Some("pay".into()),
            },
        ],
        gates: vec![
            gate("p(99)<250ms", P99, Op::Lt, 250.0),
            gate("rate(failed)<5%", FAILED, Op::Lt, 0.05),
            gate("availability>=90%", Metric::Availability, Op::Ge, 0.9),
        ],
    }
}

/// What happens in [`quickstart`]: the slow store shows after a second, the failing one lasts a
/// second longer than its fault.
pub fn quickstart_second(s: u32) -> Second {
    match s {
        26..32 => Second { median_us: 43_000, ..CALM },
        35..41 => Second {
            failed_per_mille: 400,
            failure: if s.is_multiple_of(2) { Failure::ServerError } else { Failure::Timeout },
            dropped_per_mille: 50,
            shed_per_mille: 30,
            median_us: 4_000,
            ..CALM
        },
        _ => CALM,
    }
}

/// Six steps of a service that has its knee at 4000/s.
pub fn stepped() -> Plan {
    let steps = (1..=6).map(|i| {
        let rps = f64::from(i) * 1_000.0;
        let start_s = 5.0 + f64::from(i - 1) * 5.0;
        PhasePlan { step: true, ..phase(&format!("step {i}"), false, start_s, start_s + 5.0, rps, rps) }
    });
    let mut plan = Plan { name: "ramp-to-knee".into(), faults: vec![], ..quickstart() };
    plan.phases = vec![phase("business as usual", false, 0.0, 5.0, 800.0, 800.0)];
    plan.phases.extend(steps);
    plan.gates = vec![];
    plan
}

pub fn stepped_second(s: u32) -> Second {
    let median_us = match s {
        0..10 => 900,
        10..15 => 1_000,
        15..20 => 1_300,
        20..25 => 2_200,
        25..30 => 19_000,
        _ => 90_000,
    };
    Second { median_us, ..CALM }
}

impl Script {
    pub fn new(plan: Plan, second: fn(u32) -> Second) -> Self {
        Self {
            plan,
            second,
            end: End::Complete,
            faults_fail: false,
            due_s: None,
            not_undone: None,
            early_s: 0.0,
        }
    }

    /// Writes the run under `dir` and opens it.
    pub fn write(&self, dir: &Path) -> RunFolder {
        let path: PathBuf = dir.join("run");
        let manifest = Manifest {
            schema: squall_record::manifest::SCHEMA,
            name: self.plan.name.clone(),
            seed: self.plan.seed,
            started_at: "2026-11-21T01:02:03.004Z".into(),
            squall_version: "0.1.0".into(),
            scenario: serde_json::to_value(&self.plan).unwrap(),
            scenario_hash: "00c0ffee00c0ffee".into(),
            classes: self.plan.requests.iter().map(|r| r.name.clone()).collect(),
            machine: Machine { os: "Linux 6.1".into(), cpu: "Test CPU".into(), cpus: 2, memory_mib: 4096 },
        };
        let mut w = FolderWriter::create(&path, &manifest).unwrap();
        let planned_end = self.plan.duration_s().ceil() as u32;
        let end = match self.end {
            End::Complete => planned_end,
            End::Interrupted(s) | End::Early(s) | End::Killed(s) => s,
        };
        w.event(&Event { at_s: 0.0, what: What::Started }).unwrap();
        for (index, p) in self.plan.phases.iter().enumerate().filter(|(_, p)| p.start_s < f64::from(end)) {
            let what = What::Phase { index: index as u16, name: p.name.clone() };
            w.event(&Event { at_s: p.start_s, what }).unwrap();
        }
        self.write_faults(&mut w, f64::from(end));
        for s in 0..end {
            w.tick(&self.tick(s)).unwrap();
        }
        if self.end != End::Killed(end) {
            let what = What::Ended { interrupted: self.end == End::Interrupted(end) };
            w.event(&Event { at_s: f64::from(end), what }).unwrap();
        }
        drop(w);
        RunFolder::open(&path).unwrap()
    }

    fn write_faults(&self, w: &mut FolderWriter, end_s: f64) {
        for (nth, f) in self.plan.faults.iter().enumerate().filter(|(_, f)| f.start_s < end_s) {
            let name = f.fault.name.clone();
            if self.faults_fail {
                let reason = "the admin port refused the connection".to_owned();
                w.event(&Event { at_s: f.start_s, what: What::FaultFailed { name, reason, left: false } })
                    .unwrap();
                continue;
            }
            let due_s = self.due_s.filter(|_| nth == 0);
            let at_s = due_s.unwrap_or(f.start_s) + 0.004;
            w.event(&Event { at_s, what: What::FaultOn { fault: f.fault.clone(), due_s } }).unwrap();
            if f.end_s < end_s {
                if let Some(reason) = self.not_undone {
                    for (reason, left) in [(reason, true), ("its lease ran out", false)] {
                        let (name, reason) = (name.clone(), reason.to_owned());
                        w.event(&Event { at_s: f.end_s, what: What::FaultFailed { name, reason, left } })
                            .unwrap();
                    }
                }
                let what = What::FaultOff { name, affected: Some(7_000) };
                w.event(&Event { at_s: f.end_s + 0.002 - self.early_s, what }).unwrap();
            }
        }
    }

    fn tick(&self, s: u32) -> Tick {
        let phase = self.plan.phase_at(f64::from(s));
        let p = &self.plan.phases[phase];
        let rps = p.curve.rate_at(f64::from(s) + 0.5 - p.start_s);
        let weights: f64 = self.plan.requests.iter().map(|r| r.weight).sum();
        let intervals: Vec<Interval> = self
            .plan
            .requests
            .iter()
            .enumerate()
            .map(|(class, r)| {
                let planned = (rps * r.weight / weights).round() as u64;
                self.interval(s, class as u16, phase as u16, planned)
            })
            .collect();
        let sent: u64 = intervals.iter().map(|i| i.counts.sent).sum();
        let mut pacing = Latency::new();
        (0..100).for_each(|i| pacing.record_us(10 + i / 2));
        let generator = GeneratorSample {
            second: s,
            phase: phase as u16,
            workers: self.plan.load.workers,
            connections: self.plan.load.connections,
            in_flight: 3,
            waiting: 0,
            pausing: 0,
            cpu_ns: sent * 12_000 + 30_000_000,
            wall_ns: 1_000_000_000,
            starved: 0,
            starved_drops: 0,
            ..GeneratorSample::default()
        };
        Tick { second: s, intervals, generator, pacing, ops: vec![] }
    }

    fn interval(&self, s: u32, class: u16, phase: u16, planned: u64) -> Interval {
        let what = (self.second)(s);
        let mut i = Interval::new(s, class, phase);
        i.counts.planned = planned;
        let of = |per_mille: u64| planned * per_mille / 1000;
        i.counts.dropped = of(what.dropped_per_mille);
        i.counts.sent = planned - i.counts.dropped;
        let (failed, shed, declined) =
            (of(what.failed_per_mille), of(what.shed_per_mille), of(what.declined_per_mille));
        let ok = i.counts.sent - failed - shed - declined;
        for (n, outcome) in [
            (ok, Outcome::Ok),
            (declined, Outcome::Declined),
            (shed, Outcome::Shed),
            (failed, Outcome::Failed(what.failure)),
        ] {
            (0..n).for_each(|_| i.counts.finish(outcome));
        }
        let endless = of(what.endless_per_mille);
        for k in 0..ok + declined {
            let us = if k < endless { u64::MAX } else { spread(what.median_us, k + 37 * u64::from(s)) };
            i.response.record_us(us);
            i.service.record_us(us.saturating_sub(us / 10));
        }
        if what.failure == Failure::Timeout {
            let us = self.plan.load.timeout_ms * 1000 + 500;
            (0..failed).for_each(|_| {
                i.response.record_us(us);
                i.service.record_us(us);
            });
        }
        (0..i.counts.sent).for_each(|k| i.lag.record_us(spread(20, k)));
        i
    }
}

/// Values around `median`, log-normal in shape, the same for the same `k`.
fn spread(median: u64, k: u64) -> u64 {
    // The golden ratio's multiples fill 0..1 evenly, so few of them already have the right shape.
    let u = (k as f64 * 0.618_033_988_749_895).fract().clamp(0.000_5, 0.999_5);
    let z = (u / (1.0 - u)).ln() / 1.7;
    (median as f64 * (0.28 * z).exp()).round() as u64
}
