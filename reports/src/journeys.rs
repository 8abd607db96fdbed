//! What the closed-loop users met. One pass over their seconds, apart from the load's: nothing of
//! theirs is in any total, percentile, promise or gate of the load.

use squall_record::counts::Counts;
use squall_record::folder::{FolderError, JOURNEYS};
use squall_record::journey::{Iterations, JourneyTick};
use squall_record::latency::Latency;
use squall_scenarios::plan::{JourneyPlan, Plan};

use crate::generator::Judge;
use crate::stats::{Cell, latency_stats, load};
use crate::summary::{ClosedLoad, IterationsSummary, JourneyStepSummary, JourneySummary};

/// Why its latencies are not to be compared with the load's, in one sentence for people.
pub const CAVEAT: &str = "Closed loop: each user asks only after its last answer, so a slow target is asked less and \
                          the waits of requests that were never made are missing (coordinated omission). These are \
                          service times of the requests that were made, not comparable with the response times of \
                          the open-loop load, and in none of its figures.";

/// Everything that is kept of one journey.
pub(crate) struct Walked {
    users: u32,
    iterations: Iterations,
    steps: Vec<Cell>,
}

/// Reads all of `ticks`; what they cost the generator goes to `judge`. Gives the end of the last
/// recorded second beside it.
pub(crate) fn walk(
    plan: &Plan,
    judge: &mut Judge,
    ticks: impl Iterator<Item = Result<JourneyTick, FolderError>>,
) -> Result<Vec<Walked>, FolderError> {
    let empty = |j: &JourneyPlan| Walked {
        users: 0,
        iterations: Iterations::default(),
        steps: vec![Cell::default(); j.steps.len()],
    };
    let mut all: Vec<Walked> = plan.journeys.iter().map(empty).collect();
    let none = Latency::new();
    for tick in ticks {
        let tick = tick?;
        let known = |i: usize, j: &JourneyPlan| {
            tick.journeys.get(i).is_some_and(|t| {
                t.journey == j.name && t.steps.iter().map(|s| &s.step).eq(j.steps.iter().map(|s| &s.name))
            })
        };
        if tick.journeys.len() != plan.journeys.len()
            || !plan.journeys.iter().enumerate().all(|(i, j)| known(i, j))
        {
            return Err(FolderError::Impossible {
                path: JOURNEYS.into(),
                problem: format!("second {} is not of the journeys in the manifest", tick.second),
            });
        }
        judge.add_journeys(&tick);
        for (walked, second) in all.iter_mut().zip(&tick.journeys) {
            walked.users = walked.users.max(second.users);
            walked.iterations += &second.iterations;
            for (cell, step) in walked.steps.iter_mut().zip(&second.steps) {
                cell.add(&step.counts, &none, &step.closed_service, &none);
            }
        }
    }
    Ok(all)
}

/// Every journey of `plan` that `walked` tells of, until `end_s`.
pub(crate) fn journeys(plan: &Plan, walked: &[Walked], end_s: f64) -> Vec<JourneySummary> {
    plan.journeys.iter().zip(walked).map(|(plan, walked)| summary(plan, walked, end_s)).collect()
}

/// How long `plan` went on in a run that ended at `end_s`.
pub(crate) fn lasted_s(plan: &JourneyPlan, end_s: f64) -> f64 {
    (plan.end_s.min(end_s) - plan.start_s).max(0.0)
}

fn summary(plan: &JourneyPlan, walked: &Walked, end_s: f64) -> JourneySummary {
    let seconds = lasted_s(plan, end_s);
    let i = walked.iterations;
    JourneySummary {
        name: plan.name.clone(),
        users: walked.users,
        start_s: plan.start_s,
        end_s: plan.start_s + seconds,
        iterations: IterationsSummary {
            started: i.started,
            completed: i.completed,
            abandoned: i.abandoned,
            unfinished: i.started.saturating_sub(i.completed.saturating_add(i.abandoned)),
        },
        steps: plan
            .steps
            .iter()
            .zip(&walked.steps)
            .map(|(step, cell)| JourneyStepSummary {
                name: step.name.clone(),
                load: closed(&cell.counts, seconds),
                closed_loop_service_ms: latency_stats(cell.service()),
            })
            .collect(),
    }
}

fn closed(counts: &Counts, seconds: f64) -> ClosedLoad {
    let l = load(counts, seconds);
    ClosedLoad {
        sent: l.sent,
        completed: l.completed,
        ok: l.ok,
        declined: l.declined,
        shed: l.shed,
        failed: l.failed,
        achieved_rps: l.achieved_rps,
        failures: l.failures,
    }
}

/// What a gate of `journey` looks at: one step, or all of them together. Shares are of what was
/// sent, because nothing was planned.
pub(crate) fn cell(plan: &Plan, walked: &[Walked], journey: &str, step: Option<&str>) -> Cell {
    let mut all = Cell::default();
    let none = Latency::new();
    let chosen = plan.journeys.iter().zip(walked).filter(|(p, _)| p.name == journey);
    for (plan, walked) in chosen {
        for (_, cell) in
            plan.steps.iter().zip(&walked.steps).filter(|(s, _)| step.is_none_or(|n| s.name == n))
        {
            let counts = Counts { planned: cell.counts.sent, ..cell.counts };
            all.add(&counts, &none, cell.service().unwrap_or(&none), &none);
        }
    }
    all
}
