//! What journeys leave behind: closed-loop virtual users, apart from the open-loop load.
//!
//! A virtual user waits for an answer before it asks again, so a slow target makes it ask less,
//! and what it did not ask is not in its latencies (coordinated omission). Its *closed-loop
//! service time* therefore says how the target did for the requests that were made, and nothing
//! about a load that would have gone on. That is why journeys have types, files and histograms of
//! their own: no total, percentile or promise of the open-loop load can ever hold one of theirs.
//!
//! A second is one line of `journeys.jsonl`; each step's histogram stands in it in HdrHistogram's
//! compressed form (V2, base64), as in `latency.hlog`. Payments attempted are lines of
//! `journey_ops.jsonl`.

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::latency::{self, Latency};
use crate::outcome::Outcome;

/// One second of all journeys: one line of `journeys.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JourneyTick {
    /// Whole seconds since the run's zero.
    pub second: u32,
    /// CPU time that the thread of the virtual users used in this second, in nanoseconds.
    pub cpu_ns: u64,
    /// Wall time that it covers, in nanoseconds.
    pub wall_ns: u64,
    /// Every journey, in the order of the plan.
    pub journeys: Vec<JourneySecond>,
    /// Payments that ended in this second. Empty when read back: the audit reads
    /// `journey_ops.jsonl`.
    #[serde(skip)]
    pub ops: Vec<JourneyOp>,
}

/// One second of one journey.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JourneySecond {
    /// Its name.
    pub journey: String,
    /// Virtual users under way at the end of the second.
    pub users: u32,
    /// What became of passes through the steps.
    pub iterations: Iterations,
    /// Every step, in the order of the plan.
    pub steps: Vec<StepSecond>,
}

/// What became of passes through a journey's steps: started = completed + abandoned + under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iterations {
    /// Begun.
    pub started: u64,
    /// Came to their last step's answer.
    pub completed: u64,
    /// Ended by a step that failed, was shed, or gave no value for a later one.
    pub abandoned: u64,
}

impl std::ops::AddAssign<&Iterations> for Iterations {
    fn add_assign(&mut self, o: &Iterations) {
        self.started = self.started.saturating_add(o.started);
        self.completed = self.completed.saturating_add(o.completed);
        self.abandoned = self.abandoned.saturating_add(o.abandoned);
    }
}

/// One second of one step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSecond {
    /// Its name.
    pub step: String,
    /// What became of its requests. Nothing is planned in a closed loop, and so nothing is
    /// dropped or late: those three are 0.
    pub counts: Counts,
    /// From sending to the end of the answer's body: ok, declined, and time-outs at the age at
    /// which they were given up.
    #[serde(with = "latency::base64")]
    pub closed_service: Latency,
}

impl StepSecond {
    /// Nothing has happened yet. Allocates its histogram.
    #[must_use]
    pub fn new(step: &str) -> Self {
        Self { step: step.to_owned(), counts: Counts::default(), closed_service: Latency::new() }
    }
}

/// A payment that a journey attempted: a request with an idempotency key. One line of
/// `journey_ops.jsonl`, in order of completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JourneyOp {
    /// The journey.
    pub journey: String,
    /// The step.
    pub step: String,
    /// The virtual user, from 0.
    pub user: u32,
    /// Its iteration, from 0.
    pub iteration: u64,
    /// The idempotency key.
    pub key: String,
    /// What `${account}` was.
    pub account: String,
    /// What `${other}` was.
    pub other: String,
    /// What `${amount}` was, in minor units.
    pub amount: i64,
    /// When it was sent, in nanoseconds since the run's zero.
    pub fired_ns: u64,
    /// From sending to outcome, in microseconds.
    pub took_us: u64,
    /// The HTTP status; 0 when there was no answer.
    pub status: u16,
    /// What became of it.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Failure;

    #[test]
    fn a_second_survives_its_line_with_its_histogram() {
        let mut step = StepSecond::new("pay");
        step.counts.sent = 3;
        step.counts.finish(Outcome::Ok);
        step.counts.finish(Outcome::Failed(Failure::Timeout));
        [900, 1_100, u64::MAX].into_iter().for_each(|us| step.closed_service.record_us(us));
        let tick = JourneyTick {
            second: 7,
            cpu_ns: 1,
            wall_ns: 2,
            journeys: vec![JourneySecond {
                journey: "customer".into(),
                users: 5,
                iterations: Iterations { started: 2, completed: 1, abandoned: 1 },
                steps: vec![step.clone()],
            }],
            ops: vec![],
        };
        let line = serde_json::to_string(&tick).unwrap();
        let back: JourneyTick = serde_json::from_str(&line).unwrap();
        let found = &back.journeys[0].steps[0];
        assert_eq!((back.second, found.counts), (7, step.counts));
        assert_eq!(found.closed_service.len(), 3);
        assert_eq!(found.closed_service.max().unwrap().to_string(), "≥ 600 s");
        assert!(serde_json::from_str::<JourneyTick>(&line.replace("HIST", "HEST")).is_err());
        assert!(serde_json::from_str::<JourneyTick>(&line.replace("\"hdr\":\"", "\"hdr\":\"!")).is_err());
    }
}
