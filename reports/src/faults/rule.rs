//! What a good and a bad second are around a fault.

use std::ops::Range;

use squall_scenarios::plan::Plan;

use crate::gather::WindowCell;
use crate::seconds::Second;
use crate::summary::JudgedBy;

/// When more than this share of the baseline's seconds breach the SLOs already, the SLOs cannot
/// tell the fault from everyday life, and the baseline judges instead.
pub const MAX_BREACHED_BASELINE: f64 = 0.2;
/// Judged by the baseline, a second is bad when its bad share is above the baseline's by more
/// than this…
pub const BASELINE_BAD_SHARE: f64 = 0.01;
/// …or its response p99 is above the baseline's by more than this factor.
pub const BASELINE_P99_FACTOR: f64 = 3.0;

/// How a second is judged around a fault.
pub(crate) enum Rule {
    Slos(Vec<f64>),
    Baseline { bad_share: f64, p99_us: Option<f64> },
    Nothing,
}

impl Rule {
    pub fn choose(plan: &Plan, baseline: &WindowCell, seconds: &[Second]) -> Self {
        let slos = Rule::Slos(plan.slos.iter().map(|s| s.objective).collect());
        let usual: Vec<bool> = in_range(seconds, &baseline.range).filter_map(|s| slos.bad(s)).collect();
        let breached = usual.iter().filter(|bad| **bad).count();
        if !plan.slos.is_empty() && breached as f64 <= MAX_BREACHED_BASELINE * usual.len() as f64 {
            return slos;
        }
        match baseline.level.good_share() {
            Some(good) => Rule::Baseline {
                bad_share: 1.0 - good,
                p99_us: baseline.cell.response().and_then(|h| h.quantile(0.99)).map(|q| q.us as f64),
            },
            None => Rule::Nothing,
        }
    }

    pub fn name(&self) -> JudgedBy {
        match self {
            Rule::Slos(_) => JudgedBy::Slos,
            Rule::Baseline { .. } => JudgedBy::Baseline,
            Rule::Nothing => JudgedBy::Nothing,
        }
    }

    /// Whether the second was bad; `None` when nothing happened in it or nothing can judge it.
    pub fn bad(&self, s: &Second) -> Option<bool> {
        let overall = s.all.level().good_share()?;
        match self {
            Rule::Slos(objectives) => {
                Some(s.slos.iter().zip(objectives).any(|(tally, objective)| {
                    tally.level().good_share().is_some_and(|good| good < *objective)
                }))
            }
            Rule::Baseline { bad_share, p99_us } => {
                let slow = s
                    .p99_us
                    .zip(*p99_us)
                    .is_some_and(|(now, usual)| now as f64 > BASELINE_P99_FACTOR * usual);
                Some(slow || 1.0 - overall > bad_share + BASELINE_BAD_SHARE)
            }
            Rule::Nothing => None,
        }
    }
}

/// The recorded seconds of `range`.
pub(crate) fn in_range<'a>(seconds: &'a [Second], range: &Range<u32>) -> impl Iterator<Item = &'a Second> {
    let from = seconds.partition_point(|s| s.second < range.start);
    let to = seconds.partition_point(|s| s.second < range.end);
    seconds[from..to.max(from)].iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seconds::Level;
    use crate::testing::seconds;

    #[test]
    fn slos_that_the_baseline_breaches_too_do_not_judge() {
        let plan = crate::testing::plan_with_slo(0.99);
        let baseline = WindowCell {
            range: 10..20,
            level: Level { bad: 50, total: 1000 },
            seconds: 10,
            ..WindowCell::default()
        };
        let noisy = seconds(50, |s| if s % 2 == 0 { 10 } else { 0 });
        assert_eq!(Rule::choose(&plan, &baseline, &noisy).name(), JudgedBy::Baseline);
        assert_eq!(Rule::choose(&plan, &baseline, &seconds(50, |_| 0)).name(), JudgedBy::Slos);
        let none = crate::testing::plan();
        assert_eq!(Rule::choose(&none, &WindowCell::default(), &[]).name(), JudgedBy::Nothing);
    }
}
