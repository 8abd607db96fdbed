//! What has become of a run's promises so far.
//!
//! An arrival is bad when it was dropped, shed or failed, or answered well but later than the
//! promise's `under_ms`. While the run goes on, arrivals on their way are neither: the share is
//! good ÷ decided. Once it has ended, whatever is still undecided is bad: good ÷ planned.
//!
//! The budget is that of the whole run: (1 − objective) × the arrivals that the plan expects
//! outside warm-up. Burn is [`burn_rate`] over the last [`BURN_WINDOW_S`] seconds, as in gates and in the
//! report: a second in which arrivals were planned and none was decided is wholly bad.

use std::collections::VecDeque;

use squall_record::interval::Tick;
use squall_reports::seconds::{Level, good};
pub use squall_reports::slo::BURN_WINDOW_S;
use squall_reports::slo::burn_rate;
use squall_scenarios::plan::{PhasePlan, Plan, SloPlan};

/// How a promise stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SloState {
    /// Nothing measured yet.
    Waiting,
    /// Kept so far, and at this rate to the end.
    Ok,
    /// Being spent faster than the run allows, or below the objective at this moment.
    AtRisk,
    /// The whole run's budget is spent: nothing can save it.
    Missed,
}

/// One promise and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct SloRow {
    /// Its name.
    pub name: String,
    /// The share that must be good, 0..1.
    pub objective: f64,
    /// The response time that makes an answer good, if one does.
    pub under_ms: Option<f64>,
    /// The request class it is about, if not all.
    pub request: Option<String>,
    /// The share that was good so far; `None` before the first decided arrival.
    pub actual: Option<f64>,
    /// Share of the whole run's budget left; negative when overspent.
    pub budget_left: f64,
    /// Bad share over the last [`BURN_WINDOW_S`] seconds, over (1 − objective); 0 before there is one.
    pub burn: f64,
    /// How it stands.
    pub state: SloState,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    planned: u64,
    decided: u64,
    good: u64,
}

impl Tally {
    fn bad(self) -> u64 {
        self.decided.saturating_sub(self.good)
    }

    fn add(&mut self, o: Tally) {
        self.planned += o.planned;
        self.decided += o.decided;
        self.good += o.good;
    }
}

/// One promise, kept count of second by second.
#[derive(Debug)]
pub(super) struct SloLive {
    plan: SloPlan,
    class: Option<usize>,
    expected: f64,
    total: Tally,
    window: VecDeque<(u32, Tally)>,
}

impl SloLive {
    pub(super) fn new(slo: &SloPlan, plan: &Plan) -> Self {
        let class = slo.request.as_ref().and_then(|name| plan.requests.iter().position(|r| r.name == *name));
        let share = |p: &PhasePlan| class.map_or(1.0, |c| plan.share(c, p));
        let measured = plan.phases.iter().filter(|p| !p.warmup);
        Self {
            plan: slo.clone(),
            class,
            expected: measured.map(|p| p.estimated_arrivals() * share(p)).sum(),
            total: Tally::default(),
            window: VecDeque::with_capacity(BURN_WINDOW_S),
        }
    }

    pub(super) fn add(&mut self, tick: &Tick, plan: &Plan) {
        let mut second = Tally::default();
        let counted = tick.intervals.iter().filter(|i| {
            self.class.is_none_or(|c| usize::from(i.class) == c)
                && plan.phases.get(usize::from(i.phase)).is_none_or(|p| !p.warmup)
        });
        for i in counted {
            let c = &i.counts;
            second.add(Tally {
                planned: c.planned,
                decided: c.completed() + c.failed_total() + c.dropped,
                good: good(&self.plan, c, &i.response),
            });
        }
        self.total.add(second);
        self.window.retain(|(s, _)| s + BURN_WINDOW_S as u32 > tick.second);
        self.window.push_back((tick.second, second));
    }

    /// Whether it was not kept in the newest second; `None` when nothing was decided in it.
    pub(super) fn broken(&self) -> Option<bool> {
        let (_, second) = self.window.back().filter(|(_, second)| second.decided > 0)?;
        Some((second.good as f64) < self.plan.objective * second.decided as f64)
    }

    pub(super) fn row(&self, ended: bool) -> SloRow {
        let t = self.total;
        let (of, bad, expected) = if ended {
            (t.planned, t.planned.saturating_sub(t.good), t.planned as f64)
        } else {
            (t.decided, t.bad(), self.expected.max(t.planned as f64))
        };
        let allowed_share = 1.0 - self.plan.objective;
        let spent = ratio(bad as f64, allowed_share * expected);
        let seconds = self.window.iter().map(|(_, s)| Level::of(s.planned, s.decided, s.good));
        let burn = burn_rate(self.plan.objective, seconds.fold(Level::default(), Level::plus)).unwrap_or(0.0);
        let actual = (of > 0).then(|| 1.0 - bad as f64 / of as f64);
        let state = match actual {
            None => SloState::Waiting,
            Some(_) if spent > 1.0 => SloState::Missed,
            Some(a) if !ended && (burn > 1.0 || a < self.plan.objective) => SloState::AtRisk,
            Some(_) => SloState::Ok,
        };
        SloRow {
            name: self.plan.name.clone(),
            objective: self.plan.objective,
            under_ms: self.plan.under_ms,
            request: self.plan.request.clone(),
            actual,
            budget_left: 1.0 - spent,
            burn,
            state,
        }
    }
}

/// `a / b`, where nothing of nothing is nothing and something of nothing is without bound.
fn ratio(a: f64, b: f64) -> f64 {
    if a <= 0.0 {
        0.0
    } else if b <= 0.0 {
        f64::INFINITY
    } else {
        a / b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample;
    use squall_record::counts::Counts;
    use squall_record::interval::{GeneratorSample, Interval};
    use squall_record::latency::Latency;
    use squall_record::outcome::Failure;

    /// A plan of 1,000 arrivals, 100 a second, with one promise of 99 %.
    fn promise(under_ms: Option<f64>) -> (Plan, SloLive) {
        let mut plan = sample::plan(100.0, 10.0);
        plan.slos = vec![SloPlan { name: "answers".to_owned(), objective: 0.99, under_ms, request: None }];
        let slo = SloLive::new(&plan.slos[0], &plan);
        (plan, slo)
    }

    fn second(s: u32, phase: u16, fill: impl Fn(&mut Interval)) -> Tick {
        let mut i = Interval::new(s, 0, phase);
        fill(&mut i);
        let generator = GeneratorSample { second: s, ..GeneratorSample::default() };
        Tick { second: s, intervals: vec![i], generator, pacing: Latency::new(), ops: Vec::new() }
    }

    #[test]
    fn dropped_shed_and_failed_arrivals_spend_the_budget_of_the_whole_run() {
        let (plan, mut slo) = promise(None);
        slo.add(
            &second(0, 0, |i| {
                i.counts =
                    Counts { planned: 100, sent: 99, ok: 95, shed: 1, dropped: 1, ..Counts::default() };
                i.counts.failed[Failure::Reset as usize] = 1;
            }),
            &plan,
        );
        let row = slo.row(false);
        // 98 of 100 are decided, 3 of them badly; 10 may be bad in all.
        assert_eq!(row.actual, Some(1.0 - 3.0 / 98.0));
        assert!((row.budget_left - 0.7).abs() < 1e-9, "{row:?}");
        assert!((row.burn - 3.0 / 98.0 / 0.01).abs() < 1e-6, "{row:?}");
        assert_eq!(row.state, SloState::AtRisk);
        // Ended now: the two on their way were never answered, and 100 arrivals allow one.
        assert_eq!((slo.row(true).state, slo.row(true).actual), (SloState::Missed, Some(0.95)));
    }

    #[test]
    fn slow_answers_and_time_outs_are_bad_when_the_promise_names_a_time() {
        let (plan, mut slo) = promise(Some(50.0));
        slo.add(
            &second(0, 0, |i| {
                i.counts = Counts { planned: 10, sent: 10, ok: 9, ..Counts::default() };
                i.counts.failed[Failure::Timeout as usize] = 1;
                for ms in [1, 2, 3, 4, 5, 6, 50, 51, 60, 1000] {
                    i.response.record_us(ms * 1000);
                }
            }),
            &plan,
        );
        assert_eq!(slo.row(false).actual, Some(0.7));
    }

    #[test]
    fn a_time_out_under_the_promised_time_is_not_good() {
        let (plan, mut slo) = promise(Some(5_000.0));
        slo.add(
            &second(0, 0, |i| {
                i.counts = Counts { planned: 2, sent: 2, ok: 1, ..Counts::default() };
                i.counts.failed[Failure::Timeout as usize] = 1;
                i.response.record_us(1_000);
                i.response.record_us(1_000_000);
            }),
            &plan,
        );
        assert_eq!(slo.row(false).actual, Some(0.5));
    }

    #[test]
    fn burn_forgets_what_is_older_than_its_window_and_the_budget_does_not() {
        let (plan, mut slo) = promise(None);
        let fine = |i: &mut Interval| {
            i.counts = Counts { planned: 10, sent: 10, ok: 10, ..Counts::default() };
        };
        slo.add(&second(0, 0, |i| i.counts = Counts { planned: 5, dropped: 5, ..Counts::default() }), &plan);
        for s in 1..=BURN_WINDOW_S as u32 {
            slo.add(&second(s, 0, fine), &plan);
        }
        let row = slo.row(false);
        assert_eq!(row.burn, 0.0);
        assert!((row.budget_left - 0.5).abs() < 1e-9);
        assert_eq!(slo.window.len(), BURN_WINDOW_S);
    }

    #[test]
    fn silence_burns_and_is_spent_once_it_is_decided() {
        let (plan, mut slo) = promise(None);
        let fill = |ok: u64| {
            move |i: &mut Interval| i.counts = Counts { planned: 10, sent: 10, ok, ..Counts::default() }
        };
        slo.add(&second(0, 0, fill(10)), &plan);
        slo.add(&second(1, 0, fill(0)), &plan);
        let row = slo.row(false);
        assert!((row.burn - 50.0).abs() < 1e-6, "{row:?}");
        assert_eq!((row.actual, row.budget_left, row.state), (Some(1.0), 1.0, SloState::AtRisk));
    }

    #[test]
    fn warm_up_spends_nothing() {
        let (mut plan, _) = promise(None);
        plan.phases[0].warmup = true;
        let mut slo = SloLive::new(&plan.slos[0], &plan);
        slo.add(&second(0, 0, |i| i.counts = Counts { planned: 5, dropped: 5, ..Counts::default() }), &plan);
        assert_eq!((slo.row(false).state, slo.row(false).budget_left), (SloState::Waiting, 1.0));
    }
}
