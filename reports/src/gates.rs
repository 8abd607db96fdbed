//! Whether the run showed what it was asked to show.
//!
//! A short run cannot prove a rare event away, and a percentile that few samples lie beyond is
//! luck. So a gate has three results, and the rules for the third are:
//!
//! * a rate, availability or burn gate with nothing gone wrong needs as many arrivals as the rule of
//!   three asks for: 3 ÷ (share that the bound tolerates). A bound that tolerates nothing
//!   (`rate(failed)==0`) is taken as a statement about this run and needs no number;
//! * a percentile gate `p(q)` needs [`BEYOND`] samples beyond the percentile on average:
//!   n ≥ 10 ÷ (1 − q). With fewer it still fails if the highest percentile that n does support is
//!   above the bound already;
//! * a percentile past the histograms' range is a lower bound, and judges only as far as that goes;
//! * nothing measured judges nothing;
//! * a service that was not back when nobody watched any more was away for at least so long.

mod burn;

use squall_record::counts::Counts;
use squall_record::interval::Interval;
use squall_record::latency::{Latency, Quantile};
use squall_scenarios::plan::{ClockKind, GatePlan, Metric, Op, Plan, SloPlan, Tally};

use crate::faults::told::acted;
use crate::format;
use crate::gather::Gathered;
use crate::journeys;
use crate::seconds::Level;
use crate::slo;
use crate::stats::{Cell, arrivals_to_show};
use crate::summary::{FaultSummary, GateResult, GateSummary, Recovery, SloSummary, Unit};

/// Samples that must lie beyond a percentile, on average, for it to be judged.
pub const BEYOND: f64 = 10.0;

/// What a gate looks at.
struct Scope<'a> {
    cell: &'a Cell,
    seconds: f64,
}

/// The (phase, class) pairs whose figures have to be kept apart for `plan`'s gates.
pub(crate) fn pairs(plan: &Plan) -> Vec<(usize, usize)> {
    plan.gates.iter().filter_map(|g| phase_of(plan, g).zip(class_of(plan, g))).collect()
}

fn phase_of(plan: &Plan, gate: &GatePlan) -> Option<usize> {
    gate.phase.as_ref().and_then(|name| plan.phases.iter().position(|p| p.name == *name))
}

pub(crate) fn class_of(plan: &Plan, gate: &GatePlan) -> Option<usize> {
    gate.request.as_ref().and_then(|name| plan.requests.iter().position(|r| r.name == *name))
}

/// Every gate of `plan`, whose `slos` and `faults` are told of already. `phase_s` is how long each phase lasted,
/// `measured_s` how long all measured ones did, `end_s` when the run ended.
pub(crate) fn gates(
    plan: &Plan,
    gathered: &Gathered,
    (slos, faults): (&[SloSummary], &[FaultSummary]),
    phase_s: &[f64],
    measured_s: f64,
    end_s: f64,
) -> Vec<GateSummary> {
    let nothing = Cell::default();
    plan.gates
        .iter()
        .map(|gate| {
            if gate.metric.is_of_faults() {
                return conclude(gate, around_faults(gate, faults));
            }
            if gate.metric == Metric::Burn {
                return burn_over(gate, plan.slos.iter().zip(slos.iter().map(slo::level_of)));
            }
            if let Some(name) = &gate.journey {
                let cell = journeys::cell(plan, &gathered.journeys, name, gate.step.as_deref());
                let journey = plan.journeys.iter().find(|j| j.name == *name);
                let seconds = journey.map_or(0.0, |j| journeys::lasted_s(j, end_s));
                return judge(gate, &Scope { cell: &cell, seconds });
            }
            let (phase, class) = (phase_of(plan, gate), class_of(plan, gate));
            let seconds = phase.map_or(measured_s, |p| phase_s.get(p).copied().unwrap_or(0.0));
            let cell = match (phase, class) {
                (None, None) => Some(&gathered.measured),
                (Some(p), None) => gathered.phases.get(p),
                (None, Some(c)) => gathered.classes.get(c),
                (Some(p), Some(c)) => gathered.pairs.get(&(p, c)),
            };
            judge(gate, &Scope { cell: cell.unwrap_or(&nothing), seconds })
        })
        .collect()
}

/// What `gate` says of some seconds alone, of which `intervals` are all that was measured. Its phase is not looked at.
#[must_use]
pub fn over<'a>(
    plan: &Plan,
    gate: &GatePlan,
    seconds: f64,
    intervals: impl Iterator<Item = &'a Interval>,
) -> GateSummary {
    if gate.metric == Metric::Burn {
        let levels = slo::levels(plan, intervals);
        return burn_over(gate, plan.slos.iter().zip(levels));
    }
    let class = class_of(plan, gate);
    let mut cell = Cell::default();
    for i in intervals.filter(|i| class.is_none_or(|class| usize::from(i.class) == class)) {
        cell.add(&i.counts, &i.response, &i.service, &i.lag);
    }
    judge(gate, &Scope { cell: &cell, seconds })
}

/// What `gate`, which is one of `burn`, says of `slos` at these levels.
pub(crate) fn burn_over<'a>(
    gate: &GatePlan,
    slos: impl Iterator<Item = (&'a SloPlan, Level)>,
) -> GateSummary {
    conclude(gate, burn::burn(gate, slos))
}

/// What any other `gate` says of what `cells` hold together.
pub(crate) fn over_cells<'a>(
    gate: &GatePlan,
    seconds: f64,
    cells: impl Iterator<Item = &'a Cell>,
) -> GateSummary {
    let mut all = Cell::default();
    cells.for_each(|cell| all.merge(cell));
    judge(gate, &Scope { cell: &all, seconds })
}

/// A condition and how it stands: `rate(failed)<1% (it is 70 %)`.
#[must_use]
pub fn told(seen: &GateSummary) -> String {
    match &seen.reason {
        Some(reason) => format!("{} ({reason})", seen.expression),
        None => format!("{} (it is {})", seen.expression, format::actual(seen)),
    }
}

/// A measured value, and whether the run can judge by it.
struct Measured {
    actual: Option<Quantity>,
    unit: Unit,
    n: u64,
    /// Why the run cannot tell although there is a value.
    doubt: Option<String>,
    /// Whether the gate fails whatever the doubt.
    fails_anyway: bool,
}

#[derive(Clone, Copy)]
struct Quantity {
    value: f64,
    lower_bound: bool,
}

impl Measured {
    fn exact(value: Option<f64>, unit: Unit, n: u64) -> Self {
        let actual = value.map(|value| Quantity { value, lower_bound: false });
        Self { actual, unit, n, doubt: None, fails_anyway: false }
    }
}

fn judge(gate: &GatePlan, scope: &Scope<'_>) -> GateSummary {
    conclude(gate, measure(gate, scope))
}

fn conclude(gate: &GatePlan, m: Measured) -> GateSummary {
    let (result, reason) = match m.actual {
        None => (GateResult::Inconclusive, m.doubt.or_else(|| Some("nothing was measured".to_owned()))),
        Some(q) => match (holds(gate.op, q, gate.bound), m.doubt) {
            (_, Some(_)) if m.fails_anyway => (GateResult::Fail, None),
            (_, Some(doubt)) => (GateResult::Inconclusive, Some(doubt)),
            (Some(true), None) => (GateResult::Pass, None),
            (Some(false), None) => (GateResult::Fail, None),
            (None, None) => (
                GateResult::Inconclusive,
                Some("the value lies past the histograms' range of ten minutes".to_owned()),
            ),
        },
    };
    GateSummary {
        expression: gate.expression.clone(),
        actual: m.actual.map(|q| q.value),
        clipped: m.actual.is_some_and(|q| q.lower_bound),
        unit: m.unit,
        n: m.n,
        result,
        reason,
    }
}

/// Whether `q op bound` holds; `None` when a lower bound leaves it open.
fn holds(op: Op, q: Quantity, bound: f64) -> Option<bool> {
    let holds = op.holds(q.value, bound);
    if !q.lower_bound {
        return Some(holds);
    }
    match op {
        Op::Lt | Op::Le => (!holds).then_some(false),
        Op::Gt | Op::Ge => holds.then_some(true),
        Op::Eq | Op::Ne => (q.value > bound).then_some(op == Op::Ne),
    }
}

fn measure(gate: &GatePlan, scope: &Scope<'_>) -> Measured {
    let counts = &scope.cell.counts;
    match gate.metric {
        Metric::Percentile { q, clock } => percentile(gate, q, latency(scope.cell, clock)),
        Metric::Mean { clock } => {
            let h = latency(scope.cell, clock);
            let mean = h.and_then(Latency::mean_us).map(|us| us / 1000.0);
            let clipped = h.is_some_and(|h| h.clipped() > 0);
            let actual = mean.map(|value| Quantity { value, lower_bound: clipped });
            Measured { actual, ..Measured::exact(None, Unit::Ms, h.map_or(0, Latency::len)) }
        }
        Metric::Max { clock } => {
            let h = latency(scope.cell, clock);
            let actual = h.and_then(Latency::max).map(quantity);
            Measured { actual, ..Measured::exact(None, Unit::Ms, h.map_or(0, Latency::len)) }
        }
        Metric::Rate { of } => rate(gate, of, counts),
        Metric::Availability => share(gate, counts.good(), Goal::High, counts.planned),
        Metric::Count { of } => {
            let counted = (counts.planned > 0).then(|| tally(of, counts) as f64);
            Measured::exact(counted, Unit::Count, counts.planned)
        }
        // They are of faults and of SLOs, and of no cell.
        Metric::Recover | Metric::Rto => Measured::exact(None, Unit::Ms, 0),
        Metric::Burn => Measured::exact(None, Unit::Times, 0),
        Metric::Throughput => {
            let rps = (scope.seconds > 0.0).then(|| counts.completed() as f64 / scope.seconds);
            Measured::exact(rps, Unit::Rps, counts.completed())
        }
    }
}

/// How long the service was away for the one of `faults` that it was away longest for.
fn around_faults(gate: &GatePlan, faults: &[FaultSummary]) -> Measured {
    let mut m = Measured::exact(None, Unit::Ms, 0);
    for f in faults.iter().filter(|f| !f.throughout && gate.is_of_fault(&f.name)) {
        m.n += 1;
        let doubt = match away_s(gate.metric, f) {
            Ok((s, lower_bound)) => {
                let worst = m.actual.unwrap_or(Quantity { value: 0.0, lower_bound: false });
                m.actual = Some(Quantity {
                    value: worst.value.max(s * 1e3),
                    lower_bound: worst.lower_bound || lower_bound,
                });
                lower_bound
                    .then(|| format!("it was not back for the {} that were watched", format::seconds(s)))
            }
            Err(why) => Some(why.to_owned()),
        };
        m.doubt = m.doubt.or(doubt.map(|why| format!("fault `{}`: {why}", f.name)));
    }
    let upper = matches!(gate.op, Op::Lt | Op::Le);
    m.fails_anyway = upper && m.actual.is_some_and(|q| !gate.op.holds(q.value, gate.bound));
    m
}

/// For how many seconds it was away, and whether that is only how long it was watched.
fn away_s(metric: Metric, f: &FaultSummary) -> Result<(f64, bool), &'static str> {
    if !acted(f) {
        return Err("it did not act");
    }
    let (back_s, watched_s) = match metric {
        Metric::Rto => (f.rto_s, f.end_s - f.start_s + f.watched_s.unwrap_or(0.0)),
        _ => (f.recover_s, f.watched_s.unwrap_or(0.0)),
    };
    match (f.recovery, back_s) {
        (Some(Recovery::NotNeeded), _) => Ok((0.0, false)),
        (Some(Recovery::Recovered), Some(s)) => Ok((s, false)),
        (Some(Recovery::Never), _) => Ok((watched_s, true)),
        (Some(Recovery::Unseen), _) => Err("too little was watched after it to see whether it was back"),
        (None | Some(Recovery::Recovered), _) => Err("there is nothing to judge it by"),
    }
}

fn quantity(q: Quantile) -> Quantity {
    Quantity { value: q.ms(), lower_bound: q.clipped }
}

fn latency(cell: &Cell, clock: ClockKind) -> Option<&Latency> {
    match clock {
        ClockKind::Response => cell.response(),
        ClockKind::Service => cell.service(),
        ClockKind::ScheduleLag => cell.lag(),
    }
}

fn percentile(gate: &GatePlan, q: f64, latency: Option<&Latency>) -> Measured {
    let n = latency.map_or(0, Latency::len);
    let actual = latency.and_then(|h| h.quantile(q)).map(quantity);
    let mut m = Measured { actual, ..Measured::exact(None, Unit::Ms, n) };
    // p(100) is the greatest value: a statement about this run, not an estimate.
    if n > 0 && q < 1.0 && (n as f64) * (1.0 - q) < BEYOND * (1.0 - 1e-9) {
        let needed = (BEYOND / (1.0 - q) * (1.0 - 1e-12)).ceil();
        m.doubt = Some(format!(
            "{n} samples are too few for a p({}): it takes {needed:.0}; run longer or at a higher rate",
            trim(q * 100.0)
        ));
        let supported = 1.0 - BEYOND / (n as f64).max(1.0);
        let below = latency.filter(|_| supported > 0.0).and_then(|h| h.quantile(supported)).map(quantity);
        let upper = matches!(gate.op, Op::Lt | Op::Le);
        m.fails_anyway = upper && below.is_some_and(|b| holds(gate.op, b, gate.bound) == Some(false));
    }
    m
}

/// `99.9` rather than `99.90000000000001`.
fn trim(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

/// Whether much or little of a share is wanted.
#[derive(Clone, Copy, PartialEq)]
enum Goal {
    High,
    Low,
}

fn rate(gate: &GatePlan, of: Tally, counts: &Counts) -> Measured {
    let goal = match of {
        Tally::Planned | Tally::Sent | Tally::Completed | Tally::Ok => Goal::High,
        Tally::Declined | Tally::Shed | Tally::Failed | Tally::Dropped | Tally::Late | Tally::Retried => {
            Goal::Low
        }
    };
    share(gate, tally(of, counts), goal, counts.planned)
}

fn share(gate: &GatePlan, counted: u64, goal: Goal, planned: u64) -> Measured {
    let actual = (planned > 0).then(|| counted as f64 / planned as f64);
    let (bad, tolerated) = match goal {
        Goal::High => (planned.saturating_sub(counted), 1.0 - gate.bound),
        Goal::Low => (counted, gate.bound),
    };
    let doubt = too_few(gate.op, goal, bad, planned, tolerated);
    Measured { doubt, ..Measured::exact(actual, Unit::Ratio, planned) }
}

/// Why `planned` arrivals of which none was `bad` do not show that at most a share of `tolerated` is; `None` when they do, when
/// that is not what was asked, and when there was none.
fn too_few(op: Op, goal: Goal, bad: u64, planned: u64, tolerated: f64) -> Option<String> {
    let asked = match goal {
        Goal::High => matches!(op, Op::Gt | Op::Ge),
        Goal::Low => matches!(op, Op::Lt | Op::Le),
    };
    let needed = arrivals_to_show(tolerated);
    (asked && bad == 0 && planned > 0 && planned < needed).then(|| {
        format!(
            "nothing went wrong in {planned} arrivals, which is too few to show it: it takes {needed}; \
             run longer or at a higher rate"
        )
    })
}

fn tally(of: Tally, c: &Counts) -> u64 {
    match of {
        Tally::Planned => c.planned,
        Tally::Sent => c.sent,
        Tally::Completed => c.completed(),
        Tally::Ok => c.ok,
        Tally::Declined => c.declined,
        Tally::Shed => c.shed,
        Tally::Failed => c.failed_total(),
        Tally::Dropped => c.dropped,
        Tally::Late => c.late,
        Tally::Retried => c.retried,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_record::latency::HIGHEST_US;

    fn gate(metric: Metric, op: Op, bound: f64) -> GatePlan {
        GatePlan {
            expression: "g".into(),
            metric,
            phase: None,
            request: None,
            journey: None,
            step: None,
            fault: None,
            slo: None,
            op,
            bound,
        }
    }

    fn cell(counts: Counts, us: &[(u64, u64)]) -> Cell {
        let mut h = Latency::new();
        for (us, n) in us {
            (0..*n).for_each(|_| h.record_us(*us));
        }
        let mut cell = Cell::default();
        cell.add(&counts, &h, &Latency::new(), &Latency::new());
        cell
    }

    fn result(g: &GatePlan, cell: &Cell) -> (GateResult, Option<String>) {
        let s = judge(g, &Scope { cell, seconds: 10.0 });
        (s.result, s.reason)
    }

    #[test]
    fn a_gate_of_faults_looks_at_the_one_that_it_was_away_longest_for() {
        let fault = |name: &str, recovery, recover_s| FaultSummary {
            name: name.into(),
            recovery: Some(recovery),
            recover_s,
            rto_s: recover_s.map(|s: f64| s + 10.0),
            watched_s: Some(20.0),
            ..crate::testing::fault_summary()
        };
        let (quick, slow) =
            (fault("quick", Recovery::Recovered, Some(1.0)), fault("slow", Recovery::Recovered, Some(8.0)));
        let never = fault("never", Recovery::Never, None);
        let unseen = fault("unseen", Recovery::Unseen, None);
        let held = fault("held", Recovery::NotNeeded, None);
        let seen = |text: &str, faults: &[&FaultSummary]| {
            let gate = squall_scenarios::gate::parse_gate(text).unwrap();
            let faults: Vec<FaultSummary> = faults.iter().copied().cloned().collect();
            let g = conclude(&gate, around_faults(&gate, &faults));
            (g.result, g.actual, g.clipped)
        };
        let (pass, fail, open) = (GateResult::Pass, GateResult::Fail, GateResult::Inconclusive);
        assert_eq!(seen("recover<10s", &[&quick, &slow, &held]), (pass, Some(8000.0), false));
        assert_eq!(seen("recover<5s", &[&quick, &slow]), (fail, Some(8000.0), false));
        assert_eq!(seen("recover{fault:quick}<5s", &[&quick, &slow]), (pass, Some(1000.0), false));
        assert_eq!(seen("rto<18s", &[&quick, &slow]), (fail, Some(18_000.0), false));
        assert_eq!(seen("recover<1ms", &[&held]), (pass, Some(0.0), false));
        // Nobody knows how long it would have taken, only that it is longer.
        assert_eq!(seen("recover<20s", &[&quick, &never]), (fail, Some(20_000.0), true));
        assert_eq!(seen("recover<21s", &[&never]), (open, Some(20_000.0), true));
        assert_eq!(seen("rto<30s", &[&never]), (fail, Some(30_000.0), true));
        assert_eq!(seen("recover<10s", &[&quick, &unseen]), (open, Some(1000.0), false));
        assert_eq!(seen("recover<500ms", &[&quick, &unseen]), (fail, Some(1000.0), false));
        let harmless = FaultSummary { affected: Some(0), ..quick.clone() };
        assert_eq!(seen("recover<10s", &[&harmless]), (open, None, false));
        let always = FaultSummary { throughout: true, ..slow };
        assert_eq!(seen("recover<5s", &[&quick, &always]), (pass, Some(1000.0), false));
        assert_eq!(seen("recover<5s", &[]).0, open);
        // Repetitions are of the fault that they repeat.
        let [second, third] =
            ["quick 2", "quick (3)"].map(|name| fault(name, Recovery::Recovered, Some(6.0)));
        assert_eq!(seen("recover{fault:quick}<5s", &[&quick, &second]).0, fail);
        assert_eq!(seen("recover{fault:quick}<5s", &[&quick, &third]).0, fail);
        assert_eq!(
            seen("recover{fault:quick}<5s", &[&quick, &fault("quicker", Recovery::Never, None)]).0,
            pass
        );
    }

    fn planned(planned: u64, ok: u64) -> Counts {
        Counts { planned, sent: planned, ok, failed: [planned - ok, 0, 0, 0, 0, 0, 0], ..Counts::default() }
    }

    const P99: Metric = Metric::Percentile { q: 0.99, clock: ClockKind::Response };
    const FAILED: Metric = Metric::Rate { of: Tally::Failed };

    #[test]
    fn a_clean_run_too_short_for_its_rate_gate_is_inconclusive() {
        for g in [gate(FAILED, Op::Lt, 0.001), gate(Metric::Availability, Op::Ge, 0.999)] {
            let (short, reason) = result(&g, &cell(planned(2_999, 2_999), &[]));
            assert_eq!(short, GateResult::Inconclusive);
            assert!(reason.unwrap().contains("it takes 3000"));
            assert_eq!(result(&g, &cell(planned(3_000, 3_000), &[])).0, GateResult::Pass);
        }
    }

    #[test]
    fn failures_fail_however_short_the_run() {
        let g = gate(FAILED, Op::Lt, 0.001);
        assert_eq!(result(&g, &cell(planned(100, 99), &[])).0, GateResult::Fail);
    }

    #[test]
    fn no_tolerance_is_a_statement_about_this_run() {
        let clean = cell(planned(10, 10), &[]);
        for g in [gate(FAILED, Op::Le, 0.0), gate(Metric::Availability, Op::Ge, 1.0)] {
            assert_eq!(result(&g, &clean).0, GateResult::Pass);
        }
        assert_eq!(
            result(&gate(Metric::Count { of: Tally::Failed }, Op::Eq, 0.0), &clean).0,
            GateResult::Pass
        );
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        let g = gate(P99, Op::Lt, 50.0);
        let (few, reason) = result(&g, &cell(Counts::default(), &[(1_000, 999)]));
        assert_eq!(few, GateResult::Inconclusive);
        assert!(reason.as_ref().unwrap().contains("it takes 1000"), "{reason:?}");
        assert!(reason.unwrap().contains("p(99)"));
        assert_eq!(result(&g, &cell(Counts::default(), &[(1_000, 1_000)])).0, GateResult::Pass);
    }

    #[test]
    fn a_percentile_that_fails_where_the_samples_suffice_fails() {
        let g = gate(P99, Op::Lt, 50.0);
        // 50 samples support the 80th percentile, and that is too slow already.
        let slow = cell(Counts::default(), &[(1_000, 30), (90_000, 20)]);
        assert_eq!(result(&g, &slow).0, GateResult::Fail);
        let one_slow = cell(Counts::default(), &[(1_000, 49), (90_000, 1)]);
        assert_eq!(result(&g, &one_slow).0, GateResult::Inconclusive);
    }

    #[test]
    fn a_clipped_percentile_judges_as_far_as_a_lower_bound_goes() {
        let clipped = cell(Counts::default(), &[(HIGHEST_US + 1, 2_000)]);
        assert_eq!(result(&gate(P99, Op::Lt, 50.0), &clipped).0, GateResult::Fail);
        assert_eq!(result(&gate(P99, Op::Lt, 700_000.0), &clipped).0, GateResult::Inconclusive);
        assert_eq!(result(&gate(P99, Op::Gt, 50.0), &clipped).0, GateResult::Pass);
        assert!(judge(&gate(P99, Op::Lt, 50.0), &Scope { cell: &clipped, seconds: 1.0 }).clipped);
    }

    #[test]
    fn nothing_measured_judges_nothing() {
        let empty = Cell::default();
        let dropped = Metric::Count { of: Tally::Dropped };
        for m in [P99, FAILED, dropped, Metric::Availability, Metric::Max { clock: ClockKind::Service }] {
            assert_eq!(result(&gate(m, Op::Lt, 50.0), &empty).0, GateResult::Inconclusive);
        }
    }

    #[test]
    fn throughput_is_completed_requests_over_the_scopes_time() {
        let c = cell(planned(1_000, 1_000), &[]);
        let s = judge(&gate(Metric::Throughput, Op::Ge, 100.0), &Scope { cell: &c, seconds: 10.0 });
        assert_eq!((s.actual, s.result, s.unit), (Some(100.0), GateResult::Pass, Unit::Rps));
    }

    #[test]
    fn mean_and_max_are_in_milliseconds() {
        let c = cell(Counts::default(), &[(1_000, 1), (3_000, 1)]);
        let of = |m| judge(&gate(m, Op::Lt, 5.0), &Scope { cell: &c, seconds: 1.0 }).actual;
        assert!((of(Metric::Mean { clock: ClockKind::Response }).unwrap() - 2.0).abs() < 0.01);
        assert!((of(Metric::Max { clock: ClockKind::Response }).unwrap() - 3.0).abs() < 0.01);
    }
}
