//! From counts and histograms to the figures of a summary.

use std::collections::BTreeMap;

use squall_record::counts::Counts;
use squall_record::latency::{Latency, Quantile};
use squall_record::outcome::Failure;

use crate::summary::{Availability, Budget, Latencies, LatencyStats, Load};

/// Failures per clean run that the rule of three assumes: no failure in N requests shows, with
/// 95 % confidence, at most 3/N of them failing (1 − 0.95 ≈ e⁻³).
pub(crate) const RULE_OF_THREE: f64 = 3.0;

/// Counts and latencies of whatever was selected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub counts: Counts,
    timed: Option<Box<Timed>>,
}

/// The histograms of a cell, allocated when the first value arrives.
#[derive(Debug, Clone, Default)]
struct Timed {
    response: Latency,
    service: Latency,
    lag: Latency,
}

impl Cell {
    /// Adds one interval's share.
    pub fn add(&mut self, counts: &Counts, response: &Latency, service: &Latency, lag: &Latency) {
        self.counts += counts;
        if response.is_empty() && service.is_empty() && lag.is_empty() {
            return;
        }
        let timed = self.timed.get_or_insert_default();
        timed.response.merge(response);
        timed.service.merge(service);
        timed.lag.merge(lag);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Cell) {
        match &other.timed {
            Some(t) => self.add(&other.counts, &t.response, &t.service, &t.lag),
            None => self.counts += &other.counts,
        }
    }

    pub fn response(&self) -> Option<&Latency> {
        self.timed.as_ref().map(|t| &t.response)
    }

    pub fn service(&self) -> Option<&Latency> {
        self.timed.as_ref().map(|t| &t.service)
    }

    pub fn lag(&self) -> Option<&Latency> {
        self.timed.as_ref().map(|t| &t.lag)
    }

    pub fn latencies(&self) -> Latencies {
        Latencies {
            response: latency_stats(self.response()),
            service: latency_stats(self.service()),
            schedule_lag: latency_stats(self.lag()),
        }
    }

    pub fn load(&self, seconds: f64) -> Load {
        load(&self.counts, seconds)
    }
}

pub(crate) fn load(c: &Counts, seconds: f64) -> Load {
    let per_second = |n: u64| (seconds > 0.0).then(|| n as f64 / seconds);
    Load {
        planned: c.planned,
        sent: c.sent,
        completed: c.completed(),
        ok: c.ok,
        declined: c.declined,
        shed: c.shed,
        failed: c.failed_total(),
        dropped: c.dropped,
        late: c.late,
        retried: c.retried,
        planned_rps: per_second(c.planned),
        achieved_rps: per_second(c.completed()),
        failures: failures(c),
    }
}

fn failures(c: &Counts) -> BTreeMap<String, u64> {
    Failure::ALL
        .into_iter()
        .map(|f| (f.name().to_owned(), c.failed[f as usize]))
        .filter(|(_, n)| *n > 0)
        .collect()
}

pub(crate) fn latency_stats(latency: Option<&Latency>) -> LatencyStats {
    let Some(h) = latency.filter(|h| !h.is_empty()) else { return LatencyStats::default() };
    let mut clipped = Vec::new();
    let mut take = |name: &str, quantile: Option<Quantile>| {
        if quantile.is_some_and(|q| q.clipped) {
            clipped.push(name.to_owned());
        }
        quantile.map(Quantile::ms)
    };
    let (p50, p90) = (take("p50", h.quantile(0.5)), take("p90", h.quantile(0.9)));
    let (p95, p99) = (take("p95", h.quantile(0.95)), take("p99", h.quantile(0.99)));
    let (p99_9, max) = (take("p99_9", h.quantile(0.999)), take("max", h.max()));
    if h.clipped() > 0 {
        clipped.push("mean".to_owned());
    }
    let mean = h.mean_us().map(|us| us / 1000.0);
    LatencyStats { p50, p90, p95, p99, p99_9, max, mean, n: h.len(), clipped }
}

/// `measured_s` is the time that the counts cover; `objective` that of the availability SLO.
pub(crate) fn availability(c: &Counts, measured_s: f64, objective: Option<f64>) -> Availability {
    let bad = c.planned.saturating_sub(c.good());
    let ratio = c.availability();
    Availability {
        ratio,
        nines: (bad > 0).then(|| -(bad as f64 / c.planned as f64).log10()),
        nines_at_least: (bad == 0 && c.planned > 0)
            .then(|| (c.planned as f64 / RULE_OF_THREE).log10().max(0.0)),
        downtime_s: ratio.map(|r| (1.0 - r) * measured_s),
        budget: objective.map(|target| {
            let allowed = (1.0 - target) * c.planned as f64;
            Budget { target, allowed, spent: bad, remaining_ratio: budget_remaining(target, c.planned, bad) }
        }),
    }
}

/// 1 − bad ÷ ((1 − objective) × planned); `None` when no budget was ever allowed.
pub(crate) fn budget_remaining(objective: f64, planned: u64, bad: u64) -> Option<f64> {
    let allowed = (1.0 - objective) * planned as f64;
    (allowed > 0.0).then(|| 1.0 - bad as f64 / allowed)
}

/// How many clean arrivals it takes to show that a share of at most `tolerated` goes wrong: the
/// rule of three. A tolerance of nothing is a statement about this run, not about a rate: it
/// takes none.
pub(crate) fn arrivals_to_show(tolerated: f64) -> u64 {
    if tolerated > 0.0 {
        // The quotient of 3 and 0.001 is 3000.0000000000005 or so; a relative nudge keeps the
        // ceiling where arithmetic on paper has it.
        (RULE_OF_THREE / tolerated * (1.0 - 1e-12)).ceil() as u64
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_record::latency::HIGHEST_US;
    use squall_record::outcome::Outcome;

    fn counts(planned: u64, good: u64) -> Counts {
        Counts { planned, sent: planned, ok: good, ..Counts::default() }
    }

    #[test]
    fn nines_downtime_and_budget_follow_their_formulas() {
        let a = availability(&counts(1_000_000, 999_000), 600.0, Some(0.9995));
        assert!((a.nines.unwrap() - 3.0).abs() < 1e-9);
        assert!((a.downtime_s.unwrap() - 0.6).abs() < 1e-9);
        let b = a.budget.unwrap();
        assert!((b.allowed - 500.0).abs() < 1e-6);
        assert_eq!(b.spent, 1000);
        assert!((b.remaining_ratio.unwrap() + 1.0).abs() < 1e-9, "{b:?}");
    }

    #[test]
    fn a_clean_run_shows_no_more_nines_than_its_length_allows() {
        let a = availability(&counts(30_000, 30_000), 60.0, None);
        assert_eq!(a.nines, None);
        assert!((a.nines_at_least.unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(availability(&Counts::default(), 60.0, None).ratio, None);
    }

    #[test]
    fn dropped_arrivals_count_against_availability() {
        let mut c = counts(1000, 900);
        c.sent = 900;
        c.dropped = 100;
        assert_eq!(availability(&c, 10.0, None).ratio, Some(0.9));
    }

    #[test]
    fn four_nines_take_thirty_thousand_clean_arrivals() {
        assert_eq!(arrivals_to_show(1.0 - 0.9999), 30_000);
        assert_eq!(arrivals_to_show(0.001), 3_000);
        assert_eq!(arrivals_to_show(0.0), 0);
    }

    #[test]
    fn clipped_figures_are_named() {
        let mut h = Latency::new();
        (0..9_990).for_each(|_| h.record_us(1000));
        (0..10).for_each(|_| h.record_us(HIGHEST_US + 1));
        let s = latency_stats(Some(&h));
        assert_eq!(s.p99, Some(1.0));
        assert_eq!(s.clipped, ["max", "mean"]);
        assert_eq!(s.max, Some(600_000.0));
        assert_eq!(latency_stats(None), LatencyStats::default());
    }

    #[test]
    fn failures_are_listed_by_kind_without_zeros() {
        let mut c = counts(3, 1);
        c.finish(Outcome::Failed(Failure::Reset));
        c.finish(Outcome::Failed(Failure::Reset));
        let l = load(&c, 0.5);
        assert_eq!(l.failures, BTreeMap::from([("reset".to_owned(), 2)]));
        assert_eq!((l.planned_rps, l.achieved_rps), (Some(6.0), Some(2.0)));
        assert_eq!(load(&c, 0.0).planned_rps, None);
    }
}
