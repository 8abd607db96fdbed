//! A made-up run of one minute for drawing: warm-up, climb, hold, a slow store, a failing store,
//! recovery. A function of nothing but the second, so that pictures of it can be compared.
//!
//! Shared by the example that shows the terminal UI without a target and by the tests that draw
//! it. Nothing here is ever part of a real run.

use squall_record::counts::Counts;
use squall_record::event::{Event, What};
use squall_record::fault::{Delay, Effect, FaultPoint, FaultSpec, Place};
use squall_record::interval::{GeneratorSample, Interval, TargetSample, Tick};
use squall_record::latency::Latency;
use squall_record::outcome::Failure;
use squall_scenarios::curve::Curve;
use squall_scenarios::plan::{
    AmountLaw, Arrivals, DataPlan, FaultPlan, LoadPlan, Mode, PhasePlan, Pick, Plan, Profile, RequestPlan,
    ServicePlan, SloPlan, TargetPlan, Transport,
};

/// What a sink is fed, in order.
pub enum Step {
    /// A second.
    Tick(Box<Tick>),
    /// Something that happened.
    Event(Event),
    /// What the target said.
    Target(TargetSample),
}

/// A plan of one phase at `rps` for `duration_s` seconds, without promises or faults.
pub fn plan(rps: f64, duration_s: f64) -> Plan {
    Plan {
        name: "synthetic".to_owned(),
        summary: "a made-up run".to_owned(),
        seed: 7,
        target: TargetPlan::Reference(ServicePlan {
            accounts: 1000,
            opening_balance: 1_000_000,
            profile: Profile::Hardened,
        }),
        load: LoadPlan {
            arrivals: Arrivals::Uniform,
            connections: 64,
            max_in_flight: 1024,
            timeout_ms: 2000,
            workers: 1,
            max_rate_rps: 1e6,
            mode: Mode::Open,
            spin_us: 0,
            coalesce_us: 0,
            pipeline: 1,
            transport: Transport::Own,
        },
        phases: vec![phase("hold", 0.0, duration_s, rps, rps, false)],
        requests: vec![RequestPlan {
            name: "pay".to_owned(),
            weight: 1.0,
            method: "POST".to_owned(),
            path: "/v1/payments".to_owned(),
            headers: Vec::new(),
            body: None,
            expect: Vec::new(),
            declined: vec![402],
            check: vec![],
            retry: None,
        }],
        feeders: vec![],
        journeys: Vec::new(),
        data: DataPlan {
            accounts: 1000,
            pick: Pick::Uniform,
            account_prefix: "acc_".to_owned(),
            account_digits: 8,
            amount_min: 100,
            amount_max: 10_000,
            amount: AmountLaw::Uniform,
        },
        places: Default::default(),
        experiment: None,
        faults: Vec::new(),
        slos: Vec::new(),
        gates: Vec::new(),
    }
}

fn phase(name: &str, start_s: f64, end_s: f64, from_rps: f64, to_rps: f64, warmup: bool) -> PhasePlan {
    let curve = Curve::line(end_s - start_s, from_rps, to_rps);
    PhasePlan { name: name.to_owned(), warmup, start_s, end_s, curve, step: false, mix: vec![], trace: None }
}

/// The minute that the pictures show.
pub fn quickstart() -> Plan {
    let fault = |name: &str, effect, start_s, end_s| FaultPlan {
        fault: FaultSpec {
            name: name.to_owned(),
            place: Place::Point(FaultPoint::Store),
            effect,
            fraction: 1.0,
        },
        start_s,
        end_s,
        when: None,
    };
    Plan {
        name: "quickstart".to_owned(),
        phases: vec![
            phase("warm-up", 0.0, 5.0, 1000.0, 1000.0, true),
            phase("climb", 5.0, 15.0, 1000.0, 10_000.0, false),
            phase("hold", 15.0, 26.0, 10_000.0, 10_000.0, false),
            phase("fault", 26.0, 40.0, 10_000.0, 10_000.0, false),
            phase("recovery", 40.0, 60.0, 10_000.0, 10_000.0, false),
        ],
        journeys: vec![],
        places: Default::default(),
        experiment: None,
        faults: vec![
            fault("slow-store", Effect::Latency { delay: Delay::Fixed { ms: 40.0 } }, 26.0, 32.0),
            fault("store-down", Effect::Error { status: 503 }, 35.0, 38.0),
        ],
        slos: vec![
            SloPlan { name: "payments answered".to_owned(), objective: 0.99, under_ms: None, request: None },
            SloPlan { name: "fast".to_owned(), objective: 0.95, under_ms: Some(50.0), request: None },
        ],
        ..plan(1.0, 1.0)
    }
}

/// One second of [`quickstart`]'s minute.
pub fn tick(plan: &Plan, second: u32) -> Tick {
    let at_s = f64::from(second) + 0.5;
    let index = plan.phase_at(at_s);
    let p = &plan.phases[index];
    let planned = p.curve.rate_at(at_s - p.start_s).round() as u64;
    let within =
        |name: &str| plan.faults.iter().any(|f| f.fault.name == name && f.start_s <= at_s && at_s < f.end_s);
    let (slow, down) = (within("slow-store"), within("store-down"));

    let dropped = if down { planned / 50 } else { 0 };
    let shed = if slow { planned / 200 } else { 0 };
    let mut failed = [0; Failure::COUNT];
    if down {
        failed[Failure::ServerError as usize] = planned * 9 / 10;
        failed[Failure::Timeout as usize] = planned / 100;
    } else if slow {
        failed[Failure::Timeout as usize] = 3;
    }
    let sent = planned - dropped;
    let answered = sent - shed - failed.iter().sum::<u64>();
    let mut interval = Interval::new(second, 0, index as u16);
    interval.counts = Counts {
        planned,
        sent,
        ok: answered - answered / 50,
        declined: answered / 50,
        shed,
        failed,
        dropped,
        late: sent / 2000,
        retried: 0,
    };
    // A body that grows with the load, a tail, and a second mode of commits that had to wait.
    let load = planned as f64 / 10_000.0;
    for i in 0..answered {
        let u = (i as f64 + 0.5) / answered as f64;
        let body_us = (350.0 + 500.0 * load) * (0.6 + 0.8 * u);
        let tail_us = 600.0 * load * ((1.0 - u).recip().powf(0.35) - 1.0);
        let wait_us = if slow { 40_000.0 * (0.6 + u) } else { 0.0 };
        interval.response.record_us((body_us + tail_us + wait_us) as u64);
        interval.service.record_us((body_us + tail_us + wait_us) as u64);
    }
    for _ in 0..failed[Failure::Timeout as usize] {
        interval.response.record_us(2_000_000);
        interval.service.record_us(2_000_000);
    }
    let mut pacing = Latency::new();
    for i in 0..sent {
        interval.lag.record_us(20 + i % 60);
        pacing.record_us(20 + i % 60);
    }
    let generator = GeneratorSample {
        second,
        phase: index as u16,
        workers: 1,
        connections: 64,
        in_flight: if slow { 480 } else { 12 },
        waiting: if slow { 210 } else { 0 },
        pausing: 0,
        cpu_ns: 80_000_000 + sent * 33_000,
        wall_ns: 1_000_000_000,
        reopened: 0,
        unasked: 0,
        unopened: 0,
        shortage: None,
        starved: 0,
        starved_drops: 0,
        ..GeneratorSample::default()
    };
    Tick { second, intervals: vec![interval], generator, pacing, ops: Vec::new() }
}

/// What a sink is fed from the beginning until `until_s` seconds are complete; with the end of
/// the run when that is the whole minute.
pub fn steps(plan: &Plan, until_s: u32) -> Vec<Step> {
    (0..until_s).flat_map(|s| second(plan, s)).chain(end(plan, until_s)).collect()
}

/// Everything of one second, in order.
fn second(plan: &Plan, second: u32) -> Vec<Step> {
    let at_s = f64::from(second);
    let event = |what| Step::Event(Event { at_s, what });
    let mut steps = Vec::new();
    if second == 0 {
        steps.push(event(What::Started));
    }
    for (index, p) in plan.phases.iter().enumerate().filter(|(_, p)| p.start_s == at_s) {
        steps.push(event(What::Phase { index: index as u16, name: p.name.clone() }));
    }
    for f in &plan.faults {
        if f.start_s == at_s {
            steps.push(event(What::FaultOn { fault: f.fault.clone(), due_s: None }));
        }
        if f.end_s == at_s {
            let affected = Some(((f.end_s - f.start_s) * 10_000.0) as u64);
            steps.push(event(What::FaultOff { name: f.fault.name.clone(), affected }));
        }
    }
    let tick = tick(plan, second);
    let cpu_s = 0.3 + f64::from(second) * 0.42;
    let health = serde_json::json!({
        "process": { "cpu_s": cpu_s, "rss_bytes": 96_000_000 + u64::from(second) * 400_000 },
        "store": { "queue_depth": tick.generator.waiting },
    });
    steps.push(Step::Tick(Box::new(tick)));
    steps.push(Step::Target(TargetSample { at_s: at_s + 1.0, up: true, health }));
    steps
}

/// The end of the run, when `until_s` is past the plan's.
fn end(plan: &Plan, until_s: u32) -> Option<Step> {
    (f64::from(until_s) >= plan.duration_s())
        .then(|| Step::Event(Event { at_s: plan.duration_s(), what: What::Ended { interrupted: false } }))
}
