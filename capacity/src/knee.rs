//! The knee: the highest step that still kept the promise.
//!
//! Steps are looked at from the lowest rate upwards, and the knee is the last one before the
//! first that broke the promise. A later step that happens to pass does not count: behind a
//! breach lies luck, not capacity. A knee read off a curve's shape (Kneedle and its kin) depends
//! on its own settings, so none is offered as a capacity figure.

use serde::{Deserialize, Serialize};

/// Without a latency promise, a step whose 99th percentile is above this many times the lowest
/// step's is past the knee.
pub const P99_GROWTH: f64 = 3.0;
/// Without a promise, a step in which less than this share of the planned arrivals was answered
/// well is past the knee.
pub const MIN_GOOD_SHARE: f64 = 0.99;

/// What one step of rising load showed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The planned rate, in requests per second.
    pub offered_rps: f64,
    /// Mean number of requests in service, by Little's law.
    pub concurrency: f64,
    /// Requests answered well per second.
    pub throughput_rps: f64,
    /// 99th percentile of the response time in milliseconds; `None` when nothing was timed.
    pub p99_ms: Option<f64>,
    /// Answered well over planned, 0..=1.
    pub good_share: f64,
    /// Whether the step met every service level; `None` when there is none to meet.
    pub meets_slos: Option<bool>,
}

/// Where the promise was last kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// The planned rate of that step, in requests per second.
    pub rps: f64,
    /// Whether a higher step broke the promise. When not, the knee lies at this rate or above.
    pub reached: bool,
}

/// The knee of `steps`, in any order; `None` without steps or when the lowest one already broke
/// the promise.
#[must_use]
pub fn knee(steps: &[Step]) -> Option<Knee> {
    let mut rising: Vec<&Step> = steps.iter().collect();
    rising.sort_by(|a, b| a.offered_rps.total_cmp(&b.offered_rps));
    let baseline_ms = rising.first()?.p99_ms;
    let kept = rising.iter().take_while(|s| keeps(s, baseline_ms)).count();
    let last = rising.get(kept.checked_sub(1)?)?;
    Some(Knee { rps: last.offered_rps, reached: kept < rising.len() })
}

fn keeps(step: &Step, baseline_ms: Option<f64>) -> bool {
    step.meets_slos.unwrap_or_else(|| {
        let quick = match (step.p99_ms, baseline_ms) {
            (Some(p99), Some(baseline)) => p99 <= P99_GROWTH * baseline,
            _ => false,
        };
        quick && step.good_share >= MIN_GOOD_SHARE
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn step(offered_rps: f64, p99_ms: f64, good_share: f64) -> Step {
        Step {
            offered_rps,
            concurrency: offered_rps / 1000.0,
            throughput_rps: offered_rps * good_share,
            p99_ms: Some(p99_ms),
            good_share,
            meets_slos: None,
        }
    }

    #[test]
    fn the_knee_is_the_last_step_before_the_first_breach() {
        let steps = [step(3000.0, 40.0, 1.0), step(1000.0, 5.0, 1.0), step(2000.0, 14.0, 1.0)];
        assert_eq!(knee(&steps), Some(Knee { rps: 2000.0, reached: true }));
    }

    #[test]
    fn a_step_that_passes_behind_a_breach_is_luck() {
        let steps = [step(1000.0, 5.0, 1.0), step(2000.0, 50.0, 1.0), step(3000.0, 6.0, 1.0)];
        assert_eq!(knee(&steps), Some(Knee { rps: 1000.0, reached: true }));
    }

    #[test]
    fn quick_refusals_are_past_the_knee() {
        let steps = [step(1000.0, 5.0, 1.0), step(2000.0, 5.0, 0.9)];
        assert_eq!(knee(&steps), Some(Knee { rps: 1000.0, reached: true }));
    }

    #[test]
    fn a_promise_decides_where_there_is_one() {
        let mut steps = [step(1000.0, 5.0, 1.0), step(2000.0, 500.0, 0.9)];
        steps.iter_mut().for_each(|s| s.meets_slos = Some(true));
        assert_eq!(knee(&steps), Some(Knee { rps: 2000.0, reached: false }));
        steps[0].meets_slos = Some(false);
        assert_eq!(knee(&steps), None);
    }

    #[test]
    fn nothing_timed_keeps_nothing() {
        let mut silent = step(1000.0, 5.0, 1.0);
        silent.p99_ms = None;
        assert_eq!(knee(&[silent]), None);
        assert_eq!(knee(&[]), None);
    }
}
