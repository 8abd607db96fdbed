//! Plans for unit tests.

use squall_record::fault::{Delay, Effect, FaultPoint, FaultSpec, Place};
use squall_scenarios::curve::Curve;
use squall_scenarios::plan::{
    AmountLaw, Arrivals, DataPlan, FaultPlan, LoadPlan, Mode, PhasePlan, Pick, Plan, Profile, ServicePlan,
    SloPlan, TargetPlan, Transport,
};

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
