//! What each fault did: before, during, after; how soon it showed; how soon it was over.

use squall_scenarios::plan::Plan;

use crate::gather::{Gathered, WindowCell};
use crate::seconds::Second;
use crate::summary::{FaultSummary, JudgedBy, WindowSummary};
use crate::windows::FaultWindow;

/// A service has recovered when this many seconds in a row are good.
pub const RECOVERED_AFTER_GOOD_S: usize = 3;
/// When more than this share of the baseline's seconds breach the SLOs already, the SLOs cannot
/// tell the fault from everyday life, and the baseline judges instead.
pub const MAX_BREACHED_BASELINE: f64 = 0.2;
/// Judged by the baseline, a second is bad when its bad share is above the baseline's by more
/// than this…
pub const BASELINE_BAD_SHARE: f64 = 0.01;
/// …or its response p99 is above the baseline's by more than this factor.
pub const BASELINE_P99_FACTOR: f64 = 3.0;

/// How a second is judged.
enum Rule {
    Slos(Vec<f64>),
    Baseline { bad_share: f64, p99_us: Option<f64> },
    Nothing,
}

impl Rule {
    fn choose(plan: &Plan, baseline: &WindowCell, seconds: &[Second]) -> Self {
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

    fn name(&self) -> JudgedBy {
        match self {
            Rule::Slos(_) => JudgedBy::Slos,
            Rule::Baseline { .. } => JudgedBy::Baseline,
            Rule::Nothing => JudgedBy::Nothing,
        }
    }

    /// Whether the second was bad; `None` when nothing happened in it or nothing can judge it.
    fn bad(&self, s: &Second) -> Option<bool> {
        let overall = s.level.good_share()?;
        match self {
            Rule::Slos(objectives) => Some(
                s.slos
                    .iter()
                    .zip(objectives)
                    .any(|(level, objective)| level.good_share().is_some_and(|good| good < *objective)),
            ),
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

fn in_range<'a>(seconds: &'a [Second], range: &std::ops::Range<u32>) -> impl Iterator<Item = &'a Second> {
    let from = seconds.partition_point(|s| s.second < range.start);
    let to = seconds.partition_point(|s| s.second < range.end);
    seconds[from..to.max(from)].iter()
}

/// Every fault of `windows`, which are in order of time.
pub(crate) fn faults(plan: &Plan, windows: &[FaultWindow], gathered: &Gathered) -> Vec<FaultSummary> {
    windows
        .iter()
        .zip(&gathered.windows)
        .map(|(window, cells)| {
            let [baseline, during, after] = cells;
            let rule = Rule::choose(plan, baseline, &gathered.seconds);
            let next =
                windows.iter().map(|w| w.during.start).filter(|s| *s >= window.during.end && *s > 0).min();
            FaultSummary {
                name: window.spec.name.clone(),
                kind: window.spec.effect.name().to_owned(),
                point: window.spec.place.to_string(),
                fraction: window.spec.fraction,
                armed: window.armed,
                problem: window.problem.clone(),
                start_s: window.start_s,
                end_s: window.end_s,
                affected: window.affected,
                detect_s: detect_s(window, &rule, &gathered.seconds),
                recover_s: recover_s(window, next, &rule, &gathered.seconds),
                judged_by: rule.name(),
                baseline: window_summary(baseline),
                during: window_summary(during),
                after: window_summary(after),
            }
        })
        .collect()
}

/// From the fault's beginning to the end of its first bad second: a second is known when it is
/// over.
fn detect_s(window: &FaultWindow, rule: &Rule, seconds: &[Second]) -> Option<f64> {
    in_range(seconds, &window.during)
        .find(|s| rule.bad(s) == Some(true))
        .map(|s| (f64::from(s.second) + 1.0 - window.start_s).max(0.0))
}

/// From the fault's end to the first of [`RECOVERED_AFTER_GOOD_S`] good seconds in a row, looked
/// for until the `next` fault. Seconds without load are passed over.
fn recover_s(window: &FaultWindow, next: Option<u32>, rule: &Rule, seconds: &[Second]) -> Option<f64> {
    if !window.armed {
        return None;
    }
    let range = window.during.end..next.unwrap_or(u32::MAX);
    let mut since = None;
    let mut good_seconds = 0;
    for s in in_range(seconds, &range) {
        match rule.bad(s) {
            Some(false) => {
                since.get_or_insert(s.second);
                good_seconds += 1;
                if good_seconds == RECOVERED_AFTER_GOOD_S {
                    break;
                }
            }
            Some(true) => (since, good_seconds) = (None, 0),
            None => {}
        }
    }
    since
        .filter(|_| good_seconds >= RECOVERED_AFTER_GOOD_S)
        .map(|second| (f64::from(second) - window.end_s).max(0.0))
}

fn window_summary(w: &WindowCell) -> Option<WindowSummary> {
    (w.seconds > 0).then(|| WindowSummary {
        start_s: w.range.start,
        end_s: w.range.end,
        load: w.cell.load(f64::from(w.seconds)),
        latency_ms: w.cell.latencies(),
        availability: w.level.good_share(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seconds::Level;
    use crate::testing::fault;

    fn window() -> FaultWindow {
        FaultWindow {
            spec: fault("slow", 20.0, 30.0).fault,
            armed: true,
            problem: None,
            start_s: 20.0,
            end_s: 30.0,
            affected: None,
            baseline: 10..20,
            during: 20..30,
            after: 30..40,
        }
    }

    /// 50 seconds of 100 requests, `bad(second)` of them bad for the one SLO.
    fn seconds(bad: impl Fn(u32) -> u64) -> Vec<Second> {
        (0..50)
            .map(|s| {
                let level = Level { bad: bad(s), total: 100 };
                Second { second: s, level, slos: vec![level], p99_us: Some(1000) }
            })
            .collect()
    }

    fn slos() -> Rule {
        Rule::Slos(vec![0.99])
    }

    #[test]
    fn detection_is_the_end_of_the_first_bad_second_in_the_window() {
        let s = seconds(|s| if (22..33).contains(&s) { 50 } else { 0 });
        assert_eq!(detect_s(&window(), &slos(), &s), Some(3.0));
        assert_eq!(detect_s(&window(), &slos(), &seconds(|_| 1)), None);
        // A breach before the fault is not its doing.
        assert_eq!(detect_s(&window(), &slos(), &seconds(|s| if s == 19 { 50 } else { 0 })), None);
    }

    #[test]
    fn recovery_is_the_first_of_three_good_seconds_in_a_row() {
        let s = seconds(|s| if (22..33).contains(&s) || s == 35 { 50 } else { 0 });
        assert_eq!(recover_s(&window(), None, &slos(), &s), Some(6.0));
        assert_eq!(recover_s(&window(), None, &slos(), &seconds(|_| 0)), Some(0.0));
    }

    #[test]
    fn no_recovery_is_null_as_is_one_that_was_not_seen_to_the_end() {
        assert_eq!(recover_s(&window(), None, &slos(), &seconds(|s| u64::from(s >= 20) * 9)), None);
        let cut = &seconds(|_| 0)[..32];
        assert_eq!(recover_s(&window(), None, &slos(), cut), None);
        assert_eq!(recover_s(&window(), Some(32), &slos(), &seconds(|_| 0)), None);
    }

    #[test]
    fn without_slos_the_baseline_judges_by_bad_share_and_by_p99() {
        let rule = Rule::Baseline { bad_share: 0.02, p99_us: Some(1000.0) };
        let mut s = seconds(|s| if s == 25 { 4 } else { 2 });
        assert_eq!(detect_s(&window(), &rule, &s), Some(6.0));
        s[23].p99_us = Some(3001);
        assert_eq!(detect_s(&window(), &rule, &s), Some(4.0));
        assert_eq!(detect_s(&window(), &Rule::Nothing, &s), None);
    }

    #[test]
    fn slos_that_the_baseline_breaches_too_do_not_judge() {
        let plan = crate::testing::plan_with_slo(0.99);
        let baseline = WindowCell {
            range: 10..20,
            level: Level { bad: 50, total: 1000 },
            seconds: 10,
            ..WindowCell::default()
        };
        let noisy = seconds(|s| if s % 2 == 0 { 10 } else { 0 });
        assert_eq!(Rule::choose(&plan, &baseline, &noisy).name(), JudgedBy::Baseline);
        assert_eq!(Rule::choose(&plan, &baseline, &seconds(|_| 0)).name(), JudgedBy::Slos);
        let none = crate::testing::plan();
        assert_eq!(Rule::choose(&none, &WindowCell::default(), &[]).name(), JudgedBy::Nothing);
    }
}
