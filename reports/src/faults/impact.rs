//! How much a fault cost: who suffered, what was lost, what was asked for again, what was burned.

use std::ops::Range;

use squall_scenarios::plan::Plan;

use crate::faults::rule::{BASELINE_BAD_SHARE, in_range};
use crate::gather::{Gathered, WindowCell};
use crate::seconds::{Level, Second, Tally};
use crate::summary::{BlastRadius, BudgetBurned, ClassImpact, ControlImpact, GoodputDip, RetryAmplification};

/// What a baseline has to do with what comes after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usual {
    /// Good ÷ planned by availability, 0..=1.
    pub good_share: f64,
    /// Within every SLO ÷ planned, 0..=1.
    pub kept_share: f64,
    /// Of what was settled, the share that was not within every SLO.
    pub bad_share: f64,
    /// Planned arrivals per recorded second.
    pub planned_rps: f64,
}

impl Usual {
    /// `None` when nothing was planned in `baseline`.
    pub fn of(baseline: &Range<u32>, seconds: &[Second]) -> Option<Self> {
        let (n, all, kept) = in_range(seconds, baseline)
            .fold((0u32, Tally::default(), 0u64), |(n, all, kept), s| {
                (n + 1, all.plus(s.all), kept + s.kept)
            });
        let share = |part: u64, whole: u64| (part as f64 / whole.max(1) as f64).min(1.0);
        // Answers of the second before may come in the first one: no share is above 1.
        (all.planned > 0).then(|| Self {
            good_share: share(all.good, all.planned),
            kept_share: share(kept, all.planned),
            bad_share: share(all.settled.saturating_sub(kept), all.settled),
            planned_rps: all.planned as f64 / f64::from(n),
        })
    }
}

/// The dip of goodput in `effect`.
pub(crate) fn dip(usual: Option<Usual>, effect: &Range<u32>, seconds: &[Second]) -> Option<GoodputDip> {
    let good_share = usual?.good_share;
    let mut dip = GoodputDip {
        seconds: effect.end.saturating_sub(effect.start),
        expected: 0.0,
        missing: 0.0,
        lost: 0.0,
        lost_share: 0.0,
        deepest_share: 0.0,
        deepest_at_s: None,
    };
    for s in in_range(seconds, effect) {
        let expected = good_share * s.all.planned as f64;
        let below = expected - s.all.good as f64;
        dip.expected += expected;
        dip.missing += below.max(0.0);
        dip.lost += below;
        if expected > 0.0 && below / expected > dip.deepest_share {
            (dip.deepest_share, dip.deepest_at_s) = (below / expected, Some(s.second));
        }
    }
    dip.lost = dip.lost.max(0.0);
    if dip.expected > 0.0 {
        dip.lost_share = dip.lost / dip.expected;
    }
    Some(dip)
}

/// Attempts per planned arrival before, in and after a fault.
pub(crate) fn amplification([baseline, during, after]: &[WindowCell; 3]) -> RetryAmplification {
    let of = |w: &WindowCell| {
        let c = &w.cell.counts;
        (c.planned > 0).then(|| c.sent.saturating_add(c.retried) as f64 / c.planned as f64)
    };
    RetryAmplification { baseline: of(baseline), during: of(during), after: of(after) }
}

/// Who suffered: each of `classes`, and what the hits do not explain in `effect`.
pub(crate) fn blast_radius(
    classes: &[String],
    [baseline, during, _]: &[WindowCell; 3],
    affected: Option<u64>,
    usual: Option<Usual>,
    effect: &Range<u32>,
    seconds: &[Second],
) -> BlastRadius {
    let bad = |w: &WindowCell, class: usize| Some(1.0 - w.classes.get(class)?.good_share()?);
    let requests = classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let (baseline_bad, during_bad) = (bad(baseline, class), bad(during, class));
            ClassImpact {
                request: name.clone(),
                baseline_bad,
                during_bad,
                suffered: baseline_bad.zip(during_bad).map(|(before, now)| now > before + BASELINE_BAD_SHARE),
            }
        })
        .collect();
    let beyond_hits = affected.zip(usual).map(|(hits, usual)| {
        let (settled, kept) = in_range(seconds, effect)
            .fold((0u64, 0u64), |(settled, kept), s| (settled + s.all.settled, kept + s.kept));
        let unusual = settled.saturating_sub(kept) as f64 - usual.bad_share * settled as f64;
        (unusual.floor().max(0.0) as u64).saturating_sub(hits)
    });
    BlastRadius { requests, beyond_hits }
}

/// The classes of `plan` that faults pass over, and all others; nothing when there are none.
pub(crate) fn control(plan: &Plan, during: &WindowCell) -> Option<ControlImpact> {
    plan.requests.iter().find(|request| request.is_control())?;
    let bad = |is_control: bool| {
        let classes = plan.requests.iter().zip(&during.classes);
        let level = classes
            .filter(|(request, _)| request.is_control() == is_control)
            .fold(Level::default(), |sum, (_, level)| sum.plus(*level));
        (level.total > 0).then(|| level.bad as f64 / level.total as f64)
    };
    Some(ControlImpact { during_bad: bad(true), others_bad: bad(false) })
}

/// What `effect` took of the budget of each SLO.
pub(crate) fn budget_burned(plan: &Plan, gathered: &Gathered, effect: &Range<u32>) -> Vec<BudgetBurned> {
    let run_planned = |slo: usize| -> u64 {
        let phases = plan.phases.iter().zip(&gathered.slos[slo]);
        phases.filter(|(phase, _)| !phase.warmup).map(|(_, count)| count.planned).sum()
    };
    plan.slos
        .iter()
        .enumerate()
        .map(|(i, slo)| {
            let spent = in_range(&gathered.seconds, effect)
                .filter_map(|s| s.slos.get(i))
                .fold(Tally::default(), |a, t| a.plus(*t));
            burned(&slo.name, slo.objective, spent, run_planned(i))
        })
        .collect()
}

fn burned(slo: &str, objective: f64, spent: Tally, run_planned: u64) -> BudgetBurned {
    let bad = spent.ended_bad();
    let of = |planned: u64| {
        let allowed = planned as f64 * (1.0 - objective);
        (allowed > 0.0).then(|| bad as f64 / allowed)
    };
    BudgetBurned {
        slo: slo.to_owned(),
        planned: spent.planned,
        bad,
        burned: of(spent.planned),
        of_run: of(run_planned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::seconds;
    use squall_record::counts::Counts;
    use squall_record::latency::Latency;
    use squall_scenarios::plan::RequestPlan;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn what_is_missing_is_an_area_and_what_is_lost_is_what_did_not_come_later() {
        // Two seconds in which nothing is answered, and one that makes up for one of them.
        let mut s = seconds(40, |_| 0);
        (s[20].all, s[21].all) =
            (Tally { planned: 100, ..Tally::default() }, Tally { planned: 100, ..Tally::default() });
        s[22].all = Tally { planned: 100, settled: 200, good: 200 };
        let usual = Usual::of(&(10..20), &s);
        let d = dip(usual, &(20..25), &s).unwrap();
        assert!(close(d.expected, 500.0) && close(d.missing, 200.0) && close(d.lost, 100.0), "{d:?}");
        assert!(close(d.lost_share, 0.2) && close(d.deepest_share, 1.0));
        assert_eq!((d.deepest_at_s, d.seconds), (Some(20), 5));
    }

    #[test]
    fn a_changed_rate_is_no_dip() {
        let mut s = seconds(40, |_| 10);
        s.iter_mut().filter(|s| s.second >= 20).for_each(|s| {
            s.all = Tally { planned: 10, settled: 10, good: 9 };
        });
        let d = dip(Usual::of(&(10..20), &s), &(20..30), &s).unwrap();
        assert!(close(d.expected, 90.0) && close(d.lost, 0.0) && d.deepest_share < 1e-9, "{d:?}");
    }

    #[test]
    fn without_a_baseline_nobody_knows_what_was_lost() {
        let s = seconds(40, |_| 50);
        assert_eq!(Usual::of(&(20..20), &s), None);
        assert_eq!(dip(None, &(20..30), &s), None);
        let radius = blast_radius(&[], &Default::default(), Some(7), None, &(20..30), &s);
        assert_eq!(radius.beyond_hits, None);
    }

    #[test]
    fn amplification_is_attempts_per_planned_arrival() {
        let window = |planned, sent, retried| {
            let counts = Counts { planned, sent, retried, ..Counts::default() };
            let mut w = WindowCell::default();
            let none = Latency::new();
            w.cell.add(&counts, &none, &none, &none);
            w
        };
        let a = amplification(&[window(100, 100, 0), window(100, 80, 120), window(0, 0, 0)]);
        assert_eq!((a.baseline, a.during, a.after), (Some(1.0), Some(2.0), None));
    }

    #[test]
    fn the_blast_radius_names_the_classes_that_suffered_and_only_those() {
        let window = |bad: [u64; 2]| WindowCell {
            classes: bad.map(|bad| Level { bad, total: 1000 }).to_vec(),
            ..WindowCell::default()
        };
        let classes = ["pay".to_owned(), "balance".to_owned(), "never asked".to_owned()];
        let cells = [window([0, 5]), window([400, 14]), WindowCell::default()];
        let radius = blast_radius(&classes, &cells, None, None, &(0..0), &[]);
        let suffered: Vec<_> = radius.requests.iter().map(|r| r.suffered).collect();
        assert_eq!(suffered, [Some(true), Some(false), None]);
        assert_eq!(radius.requests[0].during_bad, Some(0.4));
        assert_eq!(radius.beyond_hits, None, "the hits are not known");
    }

    #[test]
    fn the_control_lane_is_all_its_classes_beside_all_others() {
        let request = |name: &str, is_control| RequestPlan {
            name: name.into(),
            weight: 1.0,
            method: "GET".into(),
            path: "/".into(),
            headers: if is_control { vec![("Squall-Lane".into(), "control".into())] } else { vec![] },
            body: None,
            expect: vec![],
            declined: vec![],
            check: vec![],
            retry: None,
        };
        let names = [("pay", false), ("balance", false), ("pay-control", true), ("balance-control", true)];
        let mut plan = Plan {
            requests: names.map(|(name, is_control)| request(name, is_control)).to_vec(),
            ..crate::testing::plan()
        };
        let level = |bad, total| Level { bad, total };
        let during = WindowCell {
            classes: vec![level(400, 1000), level(100, 1000), level(1, 100), level(0, 100)],
            ..WindowCell::default()
        };
        let seen = control(&plan, &during).unwrap();
        assert!(close(seen.others_bad.unwrap(), 0.25) && close(seen.during_bad.unwrap(), 0.005), "{seen:?}");
        let nothing = WindowCell { classes: vec![Level::default(); 4], ..WindowCell::default() };
        assert_eq!(control(&plan, &nothing), Some(ControlImpact { during_bad: None, others_bad: None }));
        plan.requests.truncate(2);
        assert_eq!(control(&plan, &during), None);
    }

    #[test]
    fn bad_requests_beyond_the_hits_are_beyond_the_usual_ones_too() {
        // 1 % is bad as a matter of course; 1000 requests of the fault's ten seconds, half of them.
        let s = seconds(40, |s| if (20..30).contains(&s) { 50 } else { 1 });
        let usual = Usual::of(&(10..20), &s);
        let beyond = |hits| blast_radius(&[], &Default::default(), hits, usual, &(20..30), &s).beyond_hits;
        assert_eq!((beyond(Some(300)), beyond(Some(490)), beyond(Some(800))), (Some(190), Some(0), Some(0)));
        assert_eq!(beyond(None), None);
    }

    #[test]
    fn a_budget_is_burned_by_what_ended_badly_of_what_was_planned() {
        let b = burned("s", 0.99, Tally { planned: 1000, settled: 900, good: 850 }, 10_000);
        assert_eq!((b.planned, b.bad), (1000, 50));
        assert!(close(b.burned.unwrap(), 5.0) && close(b.of_run.unwrap(), 0.5), "{b:?}");
        let all = burned("s", 1.0, Tally { planned: 1000, settled: 900, good: 850 }, 10_000);
        assert_eq!((all.burned, all.of_run), (None, None));
        assert_eq!(burned("s", 0.99, Tally::default(), 10).burned, None);
    }
}
