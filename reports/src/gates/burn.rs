//! `burn`: how many times faster than allowed the budget of an SLO goes.

use squall_scenarios::plan::{GatePlan, Op, SloPlan};

use super::{Goal, Measured, Quantity, too_few};
use crate::seconds::Level;
use crate::slo::burn_rate;
use crate::summary::Unit;

/// The burn rate of the one of `slos` that `gate` looks at, or of the one that burned fastest, each with the level that it was at.
///
/// One SLO that is beyond the bound decides; else all of them have to be known.
pub(super) fn burn<'a>(gate: &GatePlan, slos: impl Iterator<Item = (&'a SloPlan, Level)>) -> Measured {
    let mut m = Measured::exact(None, Unit::Times, 0);
    for (slo, level) in slos.filter(|(slo, _)| gate.slo.as_ref().is_none_or(|name| *name == slo.name)) {
        let rate = burn_rate(slo.objective, level);
        if let Some(value) = rate.filter(|rate| m.actual.is_none_or(|worst| *rate > worst.value)) {
            m.actual = Some(Quantity { value, lower_bound: false });
            m.n = level.total;
        }
        let doubt = match rate {
            Some(_) => {
                too_few(gate.op, Goal::Low, level.bad, level.total, gate.bound * (1.0 - slo.objective))
            }
            None if level.total == 0 => Some("nothing was measured".to_owned()),
            None => Some("it allows nothing to go wrong, so it has no burn rate".to_owned()),
        };
        m.doubt = m.doubt.or(doubt.map(|why| format!("SLO `{}`: {why}", slo.name)));
    }
    let beyond = |worst: Quantity| match gate.op {
        Op::Lt | Op::Le => !gate.op.holds(worst.value, gate.bound),
        Op::Gt | Op::Ge => gate.op.holds(worst.value, gate.bound),
        Op::Eq | Op::Ne => false,
    };
    if m.actual.is_some_and(beyond) {
        m.doubt = None;
    }
    m
}

#[cfg(test)]
mod tests {
    use super::super::{conclude, over};
    use super::*;
    use crate::summary::{GateResult, GateSummary};
    use squall_record::counts::Counts;
    use squall_record::interval::Interval;
    use squall_scenarios::gate::parse_gate;
    use squall_scenarios::plan::Plan;

    const PASS: GateResult = GateResult::Pass;
    const FAIL: GateResult = GateResult::Fail;
    const OPEN: GateResult = GateResult::Inconclusive;

    fn slo(name: &str, objective: f64) -> SloPlan {
        SloPlan { name: name.into(), objective, under_ms: None, request: None }
    }

    fn seen(text: &str, slos: &[(SloPlan, Level)]) -> GateSummary {
        let gate = parse_gate(text).unwrap();
        conclude(&gate, burn(&gate, slos.iter().map(|(slo, level)| (slo, *level))))
    }

    #[test]
    fn a_burn_rate_is_the_bad_share_over_the_share_that_is_allowed() {
        let slos = [(slo("answered", 0.99), Level { bad: 20, total: 1000 })];
        for (text, result) in [
            ("burn{slo:answered}>1.9", PASS),
            ("burn{slo:answered}>2.1", FAIL),
            ("burn<1", FAIL),
            ("burn<2.1", PASS),
        ] {
            let g = seen(text, &slos);
            assert_eq!((g.result, g.unit, g.n), (result, Unit::Times, 1000), "{text}");
            assert!((g.actual.unwrap() - 2.0).abs() < 1e-9, "{g:?}");
        }
        // On the objective is exactly 1.
        let kept = [(slo("answered", 0.99), Level { bad: 1, total: 100 })];
        assert_eq!(seen("burn<=1", &kept).result, PASS);
        assert_eq!(seen("burn<1", &kept).result, FAIL);
    }

    #[test]
    fn without_a_selector_it_is_that_of_the_slo_that_burned_fastest() {
        let slos = [
            (slo("answered", 0.99), Level { bad: 5, total: 1000 }),
            (slo("strict", 0.999), Level { bad: 5, total: 2000 }),
        ];
        let worst = seen("burn<1", &slos);
        assert_eq!((worst.result, worst.n), (FAIL, 2000));
        assert!((worst.actual.unwrap() - 2.5).abs() < 1e-9, "{worst:?}");
        assert_eq!(seen("burn{slo:answered}<1", &slos).result, PASS);
        assert_eq!(seen("burn{slo:gone}<1", &slos).result, OPEN);
    }

    #[test]
    fn what_cannot_be_told_of_one_slo_leaves_the_gate_open_unless_another_decides() {
        let none = (slo("unasked", 0.99), Level::default());
        let fine = (slo("fine", 0.99), Level { bad: 1, total: 1000 });
        let burnt = (slo("burnt", 0.99), Level { bad: 500, total: 1000 });
        let both = |a: &(SloPlan, Level), b: &(SloPlan, Level)| [a.clone(), b.clone()];
        let open = seen("burn<1", &both(&none, &fine));
        assert_eq!(open.reason.as_deref(), Some("SLO `unasked`: nothing was measured"));
        assert_eq!(open.result, OPEN);
        assert_eq!(seen("burn<1", &both(&none, &burnt)).result, FAIL);
        assert_eq!(seen("burn>14.4", &both(&none, &burnt)).result, PASS);
        assert_eq!(seen("burn>14.4", &both(&none, &fine)).result, OPEN);
        assert_eq!(seen("burn>14.4", &[]).reason.as_deref(), Some("nothing was measured"));
    }

    #[test]
    fn a_budget_of_nothing_has_no_burn_rate() {
        for bad in [0, 7] {
            let g = seen("burn>14.4", &[(slo("all", 1.0), Level { bad, total: 1000 })]);
            assert_eq!((g.result, g.actual), (OPEN, None));
            assert!(g.reason.unwrap().contains("allows nothing to go wrong"));
        }
    }

    #[test]
    fn a_clean_burn_rate_takes_as_many_arrivals_as_the_share_that_it_tolerates() {
        let clean = |total| [(slo("answered", 0.99), Level { bad: 0, total })];
        assert_eq!(seen("burn<1", &clean(299)).result, OPEN);
        assert_eq!(seen("burn<1", &clean(300)).result, PASS);
        assert_eq!(seen("burn<10", &clean(30)).result, PASS);
        // That it does not burn fast is no proof of anything.
        assert_eq!(seen("burn>14.4", &clean(3)).result, FAIL);
    }

    /// A second of 100 arrivals of `class`, `failed` of which failed and `slow` of which took 80 ms.
    fn second(second: u32, class: u16, failed: u64, slow: u64) -> Interval {
        let mut i = Interval::new(second, class, 0);
        i.counts = Counts { planned: 100, sent: 100, ok: 100 - failed, ..Counts::default() };
        i.counts.failed[0] = failed;
        (0..100 - failed).for_each(|n| i.response.record_us(if n < slow { 80_000 } else { 1_000 }));
        i
    }

    fn plan() -> Plan {
        let mut plan = crate::testing::plan();
        plan.requests = ["pay", "balance"].map(crate::testing::request).into();
        plan.slos = vec![
            slo("answered", 0.9),
            SloPlan { under_ms: Some(50.0), ..slo("fast", 0.9) },
            SloPlan { request: Some("balance".into()), ..slo("balances", 0.9) },
        ];
        plan
    }

    fn rate(plan: &Plan, text: &str, intervals: &[Interval]) -> Option<f64> {
        let seen = over(plan, &parse_gate(text).unwrap(), 5.0, intervals.iter());
        seen.actual.map(|x| (x * 1e6).round() / 1e6)
    }

    #[test]
    fn over_some_seconds_it_counts_what_each_slo_calls_bad() {
        let plan = plan();
        let intervals: Vec<Interval> =
            (0..5).flat_map(|s| [second(s, 0, 20, 20), second(s, 1, 0, 10)]).collect();
        // 20 of 200 failed; 30 more were late; no balance failed.
        assert_eq!(rate(&plan, "burn{slo:answered}<1", &intervals), Some(1.0));
        assert_eq!(rate(&plan, "burn{slo:fast}<1", &intervals), Some(2.5));
        assert_eq!(rate(&plan, "burn{slo:balances}<1", &intervals), Some(0.0));
        assert_eq!(rate(&plan, "burn<1", &intervals), Some(2.5));
        assert_eq!(rate(&plan, "burn<1", &[]), None);
    }

    #[test]
    fn silence_burns() {
        let plan = plan();
        let mut intervals = vec![second(0, 0, 0, 0), second(0, 1, 0, 0)];
        // Nothing ends in the next second, whatever was planned.
        intervals.extend([0, 1].map(|class| {
            let mut i = Interval::new(1, class, 0);
            i.counts = Counts { planned: 100, sent: 100, ..Counts::default() };
            i
        }));
        assert_eq!(rate(&plan, "burn{slo:answered}<1", &intervals), Some(5.0));
        assert_eq!(rate(&plan, "burn{slo:balances}<1", &intervals), Some(5.0));
    }
}
