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

/// Requests of one second: planned in it, settled in it, and those of the settled that were good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub planned: u64,
    pub settled: u64,
    pub good: u64,
}

impl Tally {
    /// By availability.
    pub fn of_counts(c: &Counts) -> Self {
        Self { planned: c.planned, settled: settled(c), good: c.good() }
    }

    pub fn level(self) -> Level {
        Level::of(self.planned, self.settled, self.good)
    }

    /// Requests that ended badly. Those that have not ended are none of them, so a request is never
    /// counted both as silence and as the time-out that it ends with.
    pub fn ended_bad(self) -> u64 {
        self.settled.saturating_sub(self.good)
    }

    pub fn plus(self, o: Self) -> Self {
        Self {
            planned: self.planned.saturating_add(o.planned),
            settled: self.settled.saturating_add(o.settled),
            good: self.good.saturating_add(o.good),
        }
    }
}

/// The requests of each class in one second; good is what every SLO that applies to the class
/// calls so.
pub(crate) fn by_class(intervals: &[&Interval], slos: &[SloPlan], classes: &[String]) -> Vec<Tally> {
    let mut all = vec![Tally::default(); classes.len()];
    for i in intervals {
        let Some(tally) = all.get_mut(usize::from(i.class)) else { continue };
        let strictest = slos
            .iter()
            .filter(|slo| counts_for(slo, classes, i.class))
            .map(|slo| good(slo, &i.counts, &i.response))
            .fold(i.counts.good(), u64::min);
        *tally = tally.plus(Tally { good: strictest, ..Tally::of_counts(&i.counts) });
    }
    all
}

/// What the analysis keeps of each second outside warm-up phases.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Second {
    pub second: u32,
    /// By availability.
    pub all: Tally,
    /// Good by every SLO that applies to their class.
    pub kept: u64,
    /// By each SLO of the plan.
    pub slos: Vec<Tally>,
    /// 99th percentile of the response time, in microseconds.
    pub p99_us: Option<u64>,
}

impl Second {
    /// The second that `intervals` (none of a warm-up) belong to, `kept` of whose requests were good
    /// by every SLO that applies to them.
    pub fn of(second: u32, intervals: &[&Interval], slos: &[SloPlan], classes: &[String], kept: u64) -> Self {
        let mut all = Tally::default();
        let mut response = Latency::new();
        for i in intervals {
            all = all.plus(Tally::of_counts(&i.counts));
            response.merge(&i.response);
        }
        Self {
            second,
            all,
            kept,
            slos: slos.iter().map(|slo| slo_tally(slo, intervals, classes)).collect(),
            p99_us: response.quantile(0.99).map(|q| q.us),
        }
    }
}

/// The requests that count for `slo` in the second that `intervals` (none of a warm-up) belong to; good is what it calls so.
pub(crate) fn slo_tally(slo: &SloPlan, intervals: &[&Interval], classes: &[String]) -> Tally {
    intervals
        .iter()
        .filter(|i| counts_for(slo, classes, i.class))
        .map(|i| Tally { good: good(slo, &i.counts, &i.response), ..Tally::of_counts(&i.counts) })
        .fold(Tally::default(), Tally::plus)
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
        let s = Second::of(0, &[&pay, &balance], &[one, slo(None)], &classes, 0);
        let levels: Vec<Level> = s.slos.iter().map(|t| t.level()).collect();
        assert_eq!(levels, [Level { bad: 0, total: 5 }, Level { bad: 5, total: 10 }]);
    }

    #[test]
    fn a_class_is_as_good_as_the_strictest_slo_that_applies_to_it() {
        let classes = ["pay".to_owned(), "balance".to_owned()];
        let mut quick = slo(Some(10.0));
        quick.request = Some("pay".into());
        let interval = |class| {
            let mut i = Interval::new(0, class, 0);
            i.counts = Counts { planned: 4, sent: 4, ok: 3, shed: 1, ..Counts::default() };
            [1_000, 2_000, 50_000].into_iter().for_each(|us| i.response.record_us(us));
            i
        };
        let (pay, balance) = (interval(0), interval(1));
        let each = by_class(&[&pay, &balance], &[quick, slo(None)], &classes);
        assert_eq!(each.iter().map(|t| t.good).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(each[0].ended_bad(), 2);
    }
}
