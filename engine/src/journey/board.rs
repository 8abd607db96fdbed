//! A second's counts and histograms.

use std::collections::BTreeMap;

use squall_record::clock::NANOS_PER_SEC;
use squall_record::journey::{Iterations, JourneyOp, JourneySecond, JourneyTick, StepSecond};
use squall_record::outcome::{Failure, Outcome};
use squall_scenarios::plan::{JourneyPlan, Plan};

/// Where users count what happens, each in the second in which it happens.
pub(super) struct Board {
    plans: Vec<JourneyPlan>,
    /// Users under way.
    users: Vec<u32>,
    seconds: BTreeMap<u32, Second>,
    /// The first second that was not taken.
    next: u32,
}

struct Second {
    journeys: Vec<JourneySecond>,
    ops: Vec<JourneyOp>,
}

/// What became of one request.
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    pub(super) fired_ns: u64,
    pub(super) now_ns: u64,
    /// When it carried an idempotency key.
    pub(super) op: Option<JourneyOp>,
}

impl Board {
    pub(super) fn new(plan: &Plan) -> Self {
        let plans = plan.journeys.clone();
        Self { users: vec![0; plans.len()], plans, seconds: BTreeMap::new(), next: 0 }
    }

    fn second(&mut self, now_ns: u64) -> &mut Second {
        // What happened in a second that was taken already counts in the next.
        let second = ((now_ns / NANOS_PER_SEC) as u32).max(self.next);
        let plans = &self.plans;
        self.seconds.entry(second).or_insert_with(|| Second::new(plans))
    }

    pub(super) fn user_begins(&mut self, journey: usize) {
        self.users[journey] += 1;
    }

    pub(super) fn user_ends(&mut self, journey: usize) {
        self.users[journey] -= 1;
    }

    pub(super) fn iterations(&mut self, journey: usize, now_ns: u64) -> &mut Iterations {
        &mut self.second(now_ns).journeys[journey].iterations
    }

    pub(super) fn sent(&mut self, journey: usize, step: usize, now_ns: u64) {
        self.second(now_ns).journeys[journey].steps[step].counts.sent += 1;
    }

    pub(super) fn finish(&mut self, journey: usize, step: usize, finished: Finished) {
        let Finished { outcome, fired_ns, now_ns, op } = finished;
        let second = self.second(now_ns);
        second.ops.extend(op);
        let cell = &mut second.journeys[journey].steps[step];
        cell.counts.finish(outcome);
        // As of the open-loop load: a fast "no" would make the service look faster.
        if outcome.is_good() || outcome == Outcome::Failed(Failure::Timeout) {
            cell.closed_service.record_ns(now_ns.saturating_sub(fired_ns));
        }
    }

    /// Every second before `second`, also those in which nothing happened. CPU and wall time of
    /// them all count in the last.
    pub(super) fn take_before(&mut self, second: u32, cpu_ns: u64, wall_ns: u64) -> Vec<JourneyTick> {
        let mut taken = Vec::new();
        while self.next < second {
            let s = self.seconds.remove(&self.next).unwrap_or_else(|| Second::new(&self.plans));
            let mut journeys = s.journeys;
            for (j, users) in journeys.iter_mut().zip(&self.users) {
                j.users = *users;
            }
            let last = self.next + 1 == second;
            taken.push(JourneyTick {
                second: self.next,
                cpu_ns: if last { cpu_ns } else { 0 },
                wall_ns: if last { wall_ns } else { 0 },
                journeys,
                ops: s.ops,
            });
            self.next += 1;
        }
        taken
    }
}

impl Second {
    fn new(plans: &[JourneyPlan]) -> Self {
        let journeys = plans
            .iter()
            .map(|j| JourneySecond {
                journey: j.name.clone(),
                users: 0,
                iterations: Iterations::default(),
                steps: j.steps.iter().map(|s| StepSecond::new(&s.name)).collect(),
            })
            .collect();
        Self { journeys, ops: Vec::new() }
    }
}
