//! Plans for unit tests.

use squall_record::fault::{Delay, Effect, FaultPoint, FaultSpec, Place};
use squall_scenarios::curve::Curve;
use squall_scenarios::plan::{
    AmountLaw, Arrivals, DataPlan, FaultPlan, LoadPlan, Mode, PhasePlan, Pick, Plan, Profile, RequestPlan,
    ServicePlan, SloPlan, TargetPlan, Transport,
};

use crate::seconds::{Second, Tally};
use crate::summary::{FaultSummary, JudgedBy, Recovery};
use crate::windows::FaultWindow;

/// 5 s of warm-up and 55 s at 100 requests per second.
pub(crate) fn plan() -> Plan {
    Plan {
        name: "t".into(),
        summary: String::new(),
        seed: 1,
        target: TargetPlan::Reference(ServicePlan {
            accounts: 1,
            opening_balance: 1,
            profile: Profile::Hardened,
        }),
        load: LoadPlan {
            arrivals: Arrivals::Uniform,
            connections: 8,
            max_in_flight: 16,
            timeout_ms: 1000,
            workers: 2,
            max_rate_rps: 1e6,
            mode: Mode::Open,
            spin_us: 0,
            coalesce_us: 0,
            pipeline: 1,
            transport: Transport::Own,
        },
        phases: vec![phase("warm", true, 0.0, 5.0), phase("hold", false, 5.0, 60.0)],
        requests: vec![],
        data: DataPlan {
            accounts: 1,
            pick: Pick::Uniform,
            account_prefix: String::new(),
            account_digits: 1,
            amount_min: 1,
            amount_max: 1,
            amount: AmountLaw::Uniform,
        },
        journeys: vec![],
        feeders: vec![],
        faults: vec![],
        places: Default::default(),
        experiment: None,
        slos: vec![],
        gates: vec![],
    }
}

/// A phase at 100 requests per second.
pub(crate) fn phase(name: &str, warmup: bool, start_s: f64, end_s: f64) -> PhasePlan {
    let curve = Curve::hold(end_s - start_s, 100.0);
    PhasePlan { name: name.into(), warmup, start_s, end_s, curve, step: false, mix: vec![], trace: None }
}

/// [`plan`] with one availability SLO.
pub(crate) fn plan_with_slo(objective: f64) -> Plan {
    let slo = SloPlan { name: "available".into(), objective, under_ms: None, request: None };
    Plan { slos: vec![slo], ..plan() }
}

/// A class of requests.
pub(crate) fn request(name: &str) -> RequestPlan {
    RequestPlan {
        name: name.into(),
        weight: 1.0,
        method: "GET".into(),
        path: format!("/{name}"),
        headers: vec![],
        body: None,
        expect: vec![200],
        declined: vec![],
        check: vec![],
        retry: None,
    }
}

/// A slow store.
pub(crate) fn fault(name: &str, start_s: f64, end_s: f64) -> FaultPlan {
    FaultPlan {
        fault: FaultSpec {
            name: name.into(),
            place: Place::Point(FaultPoint::Store),
            effect: Effect::Latency { delay: Delay::Fixed { ms: 50.0 } },
            fraction: 1.0,
        },
        start_s,
        end_s,
        when: None,
    }
}

/// [`fault`] as it acted from 20 to 30 s.
pub(crate) fn window() -> FaultWindow {
    FaultWindow {
        spec: fault("slow", 20.0, 30.0).fault,
        armed: true,
        problem: None,
        left: false,
        cut_short: false,
        planned_start_s: 20.0,
        due_s: 20.0,
        start_s: 20.0,
        end_s: 30.0,
        affected: None,
        baseline: 10..20,
        during: 20..30,
        after: 30..40,
        to_the_end: false,
    }
}

/// `end` seconds of 100 requests, `bad(second)` of them bad in every sense, under one SLO.
pub(crate) fn seconds(end: u32, bad: impl Fn(u32) -> u64) -> Vec<Second> {
    (0..end)
        .map(|second| {
            let all = Tally { planned: 100, settled: 100, good: 100 - bad(second) };
            Second { second, all, kept: all.good, slos: vec![all], p99_us: Some(1000) }
        })
        .collect()
}

/// A fault from 20 to 30 s that the service recovered from.
pub(crate) fn fault_summary() -> FaultSummary {
    FaultSummary {
        name: "slow".into(),
        kind: "latency".into(),
        point: "store".into(),
        fraction: 1.0,
        armed: true,
        throughout: false,
        problem: None,
        left: false,
        cut_short: false,
        start_s: 20.0,
        end_s: 30.0,
        injection_lag_s: Some(0.004),
        overlaps: vec![],
        affected: Some(7),
        detect_s: Some(1.5),
        mitigate_s: None,
        recover_s: Some(1.0),
        recovery: Some(Recovery::Recovered),
        watched_s: Some(20.0),
        rto_s: Some(11.0),
        relapse_s: Some(0),
        judged_by: JudgedBy::Slos,
        blast_radius: None,
        control: None,
        retry_amplification: None,
        goodput_dip: None,
        hysteresis: None,
        hysteresis_s: None,
        metastable: None,
        budget_burned: vec![],
        baseline: None,
        during: None,
        after: None,
    }
}
