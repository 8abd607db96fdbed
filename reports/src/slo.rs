//! Whether the service's promises were kept, and how fast their budgets burned.

use std::collections::BTreeMap;

use squall_record::interval::Interval;
use squall_scenarios::plan::{Plan, SloPlan};

use crate::gather::{Gathered, SloCount};
use crate::seconds::{Level, Second, slo_tally};
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

/// The share of bad requests as a multiple of the share that `objective` allows; `None` when there was no request, or nothing is
/// allowed. At 1 the error budget lasts exactly as long as the time that it is for
/// (Google SRE Workbook, "Alerting on SLOs").
#[must_use]
pub fn burn_rate(objective: f64, level: Level) -> Option<f64> {
    let allowed = 1.0 - objective;
    // From shares, not counts: where the good share is the objective this is 1 without a remainder.
    level.good_share().filter(|_| allowed > 0.0).map(|good| (1.0 - good) / allowed)
}

/// What became of all arrivals that `slo` is about.
pub(crate) fn level_of(slo: &SloSummary) -> Level {
    Level { bad: slo.planned.saturating_sub(slo.good), total: slo.planned }
}

/// The level of each SLO of `plan` in the seconds of `intervals`, all of which are measured.
pub(crate) fn levels<'a>(plan: &Plan, intervals: impl Iterator<Item = &'a Interval>) -> Vec<Level> {
    let classes: Vec<String> = plan.requests.iter().map(|r| r.name.clone()).collect();
    let mut seconds: BTreeMap<u32, Vec<&Interval>> = BTreeMap::new();
    intervals.for_each(|i| seconds.entry(i.second).or_default().push(i));
    let over = |slo| {
        let each = seconds.values().map(|second| slo_tally(slo, second, &classes).level());
        each.fold(Level::default(), Level::plus)
    };
    plan.slos.iter().map(over).collect()
}

/// The worst of every window of [`BURN_WINDOW_S`] recorded seconds (of all of them, when there are
/// fewer).
fn worst_burn_rate(objective: f64, slo: usize, seconds: &[Second]) -> Option<f64> {
    seconds
        .windows(BURN_WINDOW_S.min(seconds.len()).max(1))
        .filter_map(|window| {
            let level = window.iter().fold(Level::default(), |a, s| a.plus(s.slos[slo].level()));
            burn_rate(objective, level)
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
