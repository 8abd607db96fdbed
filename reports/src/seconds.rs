//! The service level of one second, as somebody watching would have seen it.
//!
//! A request counts in the second in which it ended (a dropped one in the second it was planned
//! for), because nobody can know earlier. A second in which arrivals were planned and nothing
//! ended at all counts as wholly bad: silence is an outage, not missing data.

use squall_record::counts::Counts;
use squall_record::interval::Interval;
use squall_record::latency::Latency;
use squall_record::outcome::Failure;
use squall_scenarios::plan::SloPlan;

/// Requests of one second that were settled, and how many of them were bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// Not good.
    pub bad: u64,
    /// Settled: good, shed, failed or dropped; planned when nothing was settled.
    pub total: u64,
}

impl Level {
    /// The level of what `planned` arrivals and `settled` requests, `good` of them, amount to.
    #[must_use]
    pub fn of(planned: u64, settled: u64, good: u64) -> Self {
        if settled == 0 {
            Self { bad: planned, total: planned }
        } else {
            Self { bad: settled.saturating_sub(good), total: settled }
        }
    }

    /// The level by availability alone.
    #[must_use]
    pub fn of_counts(c: &Counts) -> Self {
        Self::of(c.planned, settled(c), c.good())
    }

    /// The good share, 0..=1; `None` when nothing was planned or settled.
    #[must_use]
    pub fn good_share(self) -> Option<f64> {
        (self.total > 0).then(|| (self.total - self.bad) as f64 / self.total as f64)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { bad: self.bad + other.bad, total: self.total + other.total }
    }
}

/// Requests that ended, well or badly, in the span of `c`.
fn settled(c: &Counts) -> u64 {
    c.completed() + c.failed_total() + c.dropped
}

/// Good requests in the sense of `slo`: ok or declined and, where it says so, quick enough.
#[must_use]
pub fn good(slo: &SloPlan, counts: &Counts, response: &Latency) -> u64 {
    let Some(under_ms) = slo.under_ms else { return counts.good() };
    let in_time = response.count_at_or_below((under_ms * 1000.0) as u64);
    // Time-outs are timed too. They are as old as the time-out at least; where the bound is
    // longer than that, they must not pass for answers.
    let timed_out = counts.failed[Failure::Timeout as usize];
    let answers = response.len().saturating_sub(timed_out);
    in_time.min(answers).min(counts.good())
}

/// What the analysis keeps of each second outside warm-up phases.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Second {
    pub second: u32,
    /// By availability.
    pub level: Level,
    /// By each SLO of the plan.
    pub slos: Vec<Level>,
    /// 99th percentile of the response time, in microseconds.
    pub p99_us: Option<u64>,
}

impl Second {
    /// The second that `intervals` (none of a warm-up) belong to.
    pub fn of(second: u32, intervals: &[&Interval], slos: &[SloPlan], classes: &[String]) -> Self {
        let mut all = Counts::default();
        let mut response = Latency::new();
        for i in intervals {
            all += &i.counts;
            response.merge(&i.response);
        }
        let slo_level = |slo: &SloPlan| {
            let (mut planned, mut done, mut fine) = (0, 0, 0);
            for i in intervals.iter().filter(|i| counts_for(slo, classes, i.class)) {
                planned += i.counts.planned;
                done += settled(&i.counts);
                fine += good(slo, &i.counts, &i.response);
            }
            Level::of(planned, done, fine)
        };
        Self {
            second,
            level: Level::of_counts(&all),
            slos: slos.iter().map(slo_level).collect(),
            p99_us: response.quantile(0.99).map(|q| q.us),
        }
    }
}

/// Whether requests of `class` count for `slo`.
pub(crate) fn counts_for(slo: &SloPlan, classes: &[String], class: u16) -> bool {
    slo.request.as_ref().is_none_or(|name| classes.get(usize::from(class)) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_record::outcome::Outcome;

    fn slo(under_ms: Option<f64>) -> SloPlan {
        SloPlan { name: "s".into(), objective: 0.99, under_ms, request: None }
    }

    #[test]
    fn silence_is_an_outage() {
        assert_eq!(Level::of(100, 0, 0).good_share(), Some(0.0));
        assert_eq!(Level::of(0, 0, 0).good_share(), None);
        // Late answers of an earlier second do not make a second worse.
        assert_eq!(Level::of(100, 150, 150).good_share(), Some(1.0));
    }

    #[test]
    fn shed_failed_and_dropped_are_bad() {
        let mut c = Counts { planned: 10, sent: 9, dropped: 1, ..Counts::default() };
        (0..6).for_each(|_| c.finish(Outcome::Ok));
        c.finish(Outcome::Declined);
        c.finish(Outcome::Shed);
        c.finish(Outcome::Failed(Failure::Reset));
        assert_eq!(Level::of_counts(&c), Level { bad: 3, total: 10 });
    }

    #[test]
    fn a_slow_answer_is_bad_only_for_a_latency_slo() {
        let mut c = Counts { planned: 3, sent: 3, ..Counts::default() };
        let mut h = Latency::new();
        for us in [1_000, 50_000, 50_100] {
            c.finish(Outcome::Ok);
            h.record_us(us);
        }
        assert_eq!(good(&slo(None), &c, &h), 3);
        assert_eq!(good(&slo(Some(50.0)), &c, &h), 2);
    }

    #[test]
    fn a_time_out_is_never_good_even_under_a_bound_longer_than_the_time_out() {
        let mut c = Counts { planned: 2, sent: 2, ..Counts::default() };
        let mut h = Latency::new();
        c.finish(Outcome::Ok);
        h.record_us(1_000);
        c.finish(Outcome::Failed(Failure::Timeout));
        h.record_us(500_000);
        assert_eq!(good(&slo(Some(1_000.0)), &c, &h), 1);
    }

    #[test]
    fn an_slo_of_one_request_class_looks_at_that_class_alone() {
        let classes = ["pay".to_owned(), "balance".to_owned()];
        let mut one = slo(None);
        one.request = Some("balance".into());
        let mut pay = Interval::new(0, 0, 0);
        pay.counts = Counts { planned: 5, sent: 5, failed: [5, 0, 0, 0, 0, 0, 0], ..Counts::default() };
        let mut balance = Interval::new(0, 1, 0);
        balance.counts = Counts { planned: 5, sent: 5, ok: 5, ..Counts::default() };
        let s = Second::of(0, &[&pay, &balance], &[one, slo(None)], &classes);
        assert_eq!(s.slos, [Level { bad: 0, total: 5 }, Level { bad: 5, total: 10 }]);
    }
}
