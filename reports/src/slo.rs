//! Whether the service's promises were kept, and how fast their budgets burned.

use squall_scenarios::plan::{Plan, SloPlan};

use crate::gather::{Gathered, SloCount};
use crate::seconds::{Level, Second};
use crate::stats::{arrivals_to_show, budget_remaining};
use crate::summary::SloSummary;

/// The sliding window of the worst burn rate, in recorded seconds. Load tests last minutes, so the
/// hours of production alerting do not fit; ten seconds are long enough that one slow second of
/// thousands does not decide.
pub const BURN_WINDOW_S: usize = 10;

/// Every SLO of `plan`.
pub(crate) fn slos(plan: &Plan, gathered: &Gathered) -> Vec<SloSummary> {
    plan.slos.iter().enumerate().map(|(i, slo)| summary(i, slo, plan, gathered)).collect()
}

fn summary(index: usize, slo: &SloPlan, plan: &Plan, gathered: &Gathered) -> SloSummary {
    let count = plan.phases.iter().zip(&gathered.slos[index]).filter(|(phase, _)| !phase.warmup).fold(
        SloCount::default(),
        |a, (_, c)| SloCount { planned: a.planned + c.planned, good: a.good + c.good },
    );
    let bad = count.planned.saturating_sub(count.good);
    SloSummary {
        name: slo.name.clone(),
        objective: slo.objective,
        under_ms: slo.under_ms,
        request: slo.request.clone(),
        planned: count.planned,
        good: count.good,
        actual: share(count),
        met: met(slo, count),
        budget_remaining: budget_remaining(slo.objective, count.planned, bad),
        worst_burn_rate: worst_burn_rate(slo.objective, index, &gathered.seconds),
        burn_window_s: BURN_WINDOW_S as u32,
    }
}

fn share(count: SloCount) -> Option<f64> {
    (count.planned > 0).then(|| count.good as f64 / count.planned as f64)
}

/// Whether the promise was kept; `None` when nothing went wrong but too little was asked to show
/// it (the rule of three), or nothing was planned.
pub(crate) fn met(slo: &SloPlan, count: SloCount) -> Option<bool> {
    let actual = share(count)?;
    if count.good >= count.planned && count.planned < arrivals_to_show(1.0 - slo.objective) {
        return None;
    }
    Some(actual >= slo.objective)
}

/// The worst of every window of [`BURN_WINDOW_S`] recorded seconds (of all of them, when there are
/// fewer): bad share ÷ (1 − objective).
fn worst_burn_rate(objective: f64, slo: usize, seconds: &[Second]) -> Option<f64> {
    let allowed = 1.0 - objective;
    if allowed <= 0.0 || seconds.is_empty() {
        return None;
    }
    seconds
        .windows(BURN_WINDOW_S.min(seconds.len()))
        .filter_map(|window| {
            let level = window.iter().fold(Level::default(), |a, s| a.plus(s.slos[slo].level()));
            level.good_share().map(|good| (1.0 - good) / allowed)
        })
        .max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seconds::Tally;

    fn slo(objective: f64) -> SloPlan {
        SloPlan { name: "s".into(), objective, under_ms: None, request: None }
    }

    #[test]
    fn a_clean_but_short_run_does_not_show_that_a_promise_is_kept() {
        let of = |planned, good| met(&slo(0.999), SloCount { planned, good });
        assert_eq!(of(2_999, 2_999), None);
        assert_eq!(of(3_000, 3_000), Some(true));
        assert_eq!(of(1_000, 999), Some(true));
        assert_eq!(of(1_000, 998), Some(false));
        assert_eq!(of(0, 0), None);
    }

    #[test]
    fn the_worst_burn_rate_is_that_of_the_worst_ten_seconds() {
        let second = |s: u32, bad: u64| Second {
            second: s,
            all: Tally::default(),
            kept: 0,
            slos: vec![Tally { planned: 100, settled: 100, good: 100 - bad }],
            p99_us: None,
        };
        let mut seconds: Vec<Second> = (0..30).map(|s| second(s, 0)).collect();
        (10..15).for_each(|i| seconds[i].slos[0].good = 0);
        // Five of ten seconds wholly bad: half of the requests, 50 times the 1 % allowed.
        assert!((worst_burn_rate(0.99, 0, &seconds).unwrap() - 50.0).abs() < 1e-6);
        assert!((worst_burn_rate(0.99, 0, &seconds[10..12]).unwrap() - 100.0).abs() < 1e-6);
        assert_eq!(worst_burn_rate(1.0, 0, &seconds), None);
        assert_eq!(worst_burn_rate(0.99, 0, &[]), None);
    }
}
