//! From the steps of a stepped run to its capacity.

use squall_capacity::assess::assess;
use squall_capacity::fit::Fit;
use squall_capacity::knee::Step;
use squall_record::event::Event;
use squall_record::latency::{Latency, Quantile};
use squall_scenarios::plan::Plan;

use crate::gather::Gathered;
use crate::steering::Steering;
use crate::summary::{CapacitySummary, StepSummary, UslSummary};

/// A step that was cut short to less than this share of its length is left out.
pub const MIN_STEP_SHARE: f64 = 0.9;

/// What the steps of `plan` show. `phase_s` is how long each phase lasted.
pub(crate) fn capacity(
    plan: &Plan,
    events: &[Event],
    gathered: &Gathered,
    phase_s: &[f64],
) -> CapacitySummary {
    let (steps, summaries): (Vec<Step>, Vec<StepSummary>) = plan
        .phases
        .iter()
        .enumerate()
        .filter(|(i, p)| p.step && !p.warmup && phase_s[*i] >= MIN_STEP_SHARE * p.duration_s())
        .map(|(i, _)| step(i, plan, gathered, phase_s[i]))
        .unzip();
    let demand_rps = plan
        .phases
        .iter()
        .filter(|p| !p.step && !p.warmup)
        .map(|p| p.curve.peak_rps())
        .max_by(f64::total_cmp);
    let steered = (!Steering::of(events).changes().is_empty()).then(|| {
        "the load was changed by hand: what a step was asked for is not what the plan says of it".to_owned()
    });
    let Some(a) = assess(&steps, demand_rps) else { return CapacitySummary::default() };
    CapacitySummary {
        usl: a.fit.as_ref().map(usl),
        knee_rps: a.knee.map(|k| k.rps),
        knee_reached: a.knee.map(|k| k.reached),
        headroom: a.headroom,
        steps: summaries,
        caveats: a.caveats.iter().map(ToString::to_string).chain(steered).collect(),
    }
}

fn step(phase: usize, plan: &Plan, gathered: &Gathered, seconds: f64) -> (Step, StepSummary) {
    let cell = &gathered.phases[phase];
    let offered_rps = plan.phases[phase].curve.peak_rps();
    let percentile = |q| cell.response().and_then(|h| h.quantile(q)).map(Quantile::ms);
    // Little's law on the timed requests: their number in service, averaged over the step, is
    // the sum of their service times over the step's length.
    let busy_s = cell.service().map_or(0.0, |h: &Latency| h.mean_us().unwrap_or(0.0) * h.len() as f64 / 1e6);
    let good_share = cell.counts.availability().unwrap_or(0.0);
    let step = Step {
        offered_rps,
        concurrency: busy_s / seconds,
        throughput_rps: cell.counts.good() as f64 / seconds,
        p99_ms: percentile(0.99),
        good_share,
        meets_slos: meets_slos(phase, plan, gathered),
    };
    let summary = StepSummary {
        phase: plan.phases[phase].name.clone(),
        offered_rps,
        throughput_rps: step.throughput_rps,
        concurrency: step.concurrency,
        p50_ms: percentile(0.5),
        p99_ms: step.p99_ms,
        availability: good_share,
    };
    (step, summary)
}

/// Whether the step kept every promise. Availability alone can break one and, being blind to
/// slowness, cannot vouch for the step: then (`None`) the growth of the p99 decides.
fn meets_slos(phase: usize, plan: &Plan, gathered: &Gathered) -> Option<bool> {
    let kept = plan.slos.iter().zip(&gathered.slos).all(|(slo, counts)| {
        let c = counts[phase];
        c.planned == 0 || c.good as f64 >= slo.objective * c.planned as f64
    });
    let times = plan.slos.iter().any(|s| s.under_ms.is_some());
    (times || !kept).then_some(kept)
}

fn usl(fit: &Fit) -> UslSummary {
    let peak = fit.usl.peak();
    UslSummary {
        gamma: fit.usl.gamma,
        alpha: fit.usl.alpha,
        beta: fit.usl.beta,
        peak_concurrency: peak.map(|p| p.n),
        peak_rps: peak.map(|p| p.throughput),
        limit_rps: fit.usl.limit(),
        r_squared: fit.r_squared,
        points: fit.points,
    }
}
