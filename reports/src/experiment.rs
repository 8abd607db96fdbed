//! Whether an experiment's steady state held before its faults and came back after them: gates over some seconds alone.

use std::ops::Range;

use squall_record::interval::Interval;
use squall_scenarios::plan::{Metric, Plan};

use crate::gates::{burn_over, class_of, over_cells};
use crate::seconds::{Level, Second};
use crate::stats::Cell;
use crate::summary::{GateResult, GateSummary};
use crate::windows::{EDGE_S, FaultWindow};

/// The seconds before the first fault and the last ones of the load.
#[derive(Debug, Default)]
pub(crate) struct Steady {
    pub(crate) sides: Vec<Side>,
}

/// Some seconds, each class apart.
#[derive(Debug)]
pub(crate) struct Side {
    name: &'static str,
    range: Range<u32>,
    classes: Vec<Cell>,
    /// By each SLO of the plan.
    slos: Vec<Level>,
    /// How many of its seconds were recorded.
    seconds: u32,
}

impl Steady {
    /// The seconds of `plan`'s experiment; none when it asks for no steady state.
    pub(crate) fn new(plan: &Plan, classes: usize, faults: &[FaultWindow], load_end_s: f64) -> Self {
        let Some(experiment) = plan.experiment.as_ref().filter(|e| !e.steady_state.is_empty()) else {
            return Self::default();
        };
        let window_s = experiment.window_s;
        let side = |name, range| Side {
            name,
            range,
            classes: vec![Cell::default(); classes],
            slos: vec![Level::default(); plan.slos.len()],
            seconds: 0,
        };
        // What is there from the beginning belongs to the steady state, and may last to the end.
        let later = |start_s: &f64| *start_s > 0.0;
        let first_s = plan.faults.iter().map(|f| f.start_s).filter(later).fold(load_end_s, f64::min);
        let first = first_s.max(0.0) as u32;
        // What ends with the load is no second of a steady state.
        let end = (load_end_s + EDGE_S).floor().max(0.0) as u32;
        let last = faults.iter().filter(|f| !f.is_from_the_beginning()).map(|f| f.during.end).max();
        // A run that ended before its first fault has no after.
        let last = last.unwrap_or(first).max(first);
        Self {
            sides: vec![
                side("before", first.saturating_sub(window_s)..first),
                side("after", end.saturating_sub(window_s).max(last)..end.max(last)),
            ],
        }
    }

    /// The seconds that `side` looks at: `before` or `after`.
    pub(crate) fn range(&self, side: &str) -> Option<Range<u32>> {
        self.sides.iter().find(|s| s.name == side).map(|s| s.range.clone())
    }

    /// Adds a `second` and the measured `intervals` that it is made of.
    pub(crate) fn add(&mut self, second: &Second, intervals: &[&Interval]) {
        for side in self.sides.iter_mut().filter(|side| side.range.contains(&second.second)) {
            side.seconds += 1;
            for (level, slo) in side.slos.iter_mut().zip(&second.slos) {
                *level = level.plus(slo.level());
            }
            for i in intervals {
                if let Some(cell) = side.classes.get_mut(usize::from(i.class)) {
                    cell.add(&i.counts, &i.response, &i.service, &i.lag);
                }
            }
        }
    }

    /// How each condition stood on each side, as gates. With fewer seconds than it asks for the run cannot tell.
    pub(crate) fn gates(&self, plan: &Plan) -> Vec<GateSummary> {
        let Some(experiment) = &plan.experiment else { return Vec::new() };
        let sides = self.sides.iter().flat_map(|side| experiment.steady_state.iter().map(move |g| (side, g)));
        sides
            .map(|(side, gate)| {
                let class = class_of(plan, gate);
                let cells = side.classes.iter().enumerate().filter(|(i, _)| class.is_none_or(|c| c == *i));
                let mut seen = match gate.metric {
                    Metric::Burn => burn_over(gate, plan.slos.iter().zip(side.slos.iter().copied())),
                    _ => over_cells(gate, f64::from(side.seconds), cells.map(|(_, cell)| cell)),
                };
                seen.expression = format!("steady state {}: {}", side.name, gate.expression);
                if side.seconds < experiment.window_s {
                    seen.result = GateResult::Inconclusive;
                    seen.reason = Some(format!(
                        "{} of the {} s that it is looked at over were there",
                        side.seconds, experiment.window_s
                    ));
                }
                seen
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_scenarios::gate::parse_gate;
    use squall_scenarios::plan::ExperimentPlan;

    /// How `condition` stood before and after a fault from 20 to 30 s, over five seconds of 1000 arrivals each.
    fn results_of(
        condition: &str,
        load_end_s: f64,
        failed: impl Fn(u32) -> u64,
    ) -> Vec<(String, GateResult)> {
        let mut plan = crate::testing::plan_with_slo(0.9);
        plan.faults = vec![crate::testing::fault("slow", 20.0, 30.0)];
        plan.experiment = Some(ExperimentPlan {
            steady_state: vec![parse_gate(condition).unwrap()],
            abort: vec![],
            window_s: 5,
            blast_radius: 1.0,
            control: 0.0,
        });
        let faults = [crate::testing::window()];
        let mut steady = Steady::new(&plan, 1, &faults, load_end_s);
        for second in 0..load_end_s as u32 {
            let mut i = Interval::new(second, 0, 0);
            i.counts.planned = 1000;
            i.counts.failed[0] = failed(second);
            i.counts.ok = 1000 - failed(second);
            steady.add(&Second::of(second, &[&i], &plan.slos, &[], 0), &[&i]);
        }
        steady.gates(&plan).into_iter().map(|g| (g.expression, g.result)).collect()
    }

    fn results(load_end_s: f64, failed: impl Fn(u32) -> u64) -> Vec<(String, GateResult)> {
        results_of("rate(failed)<1%", load_end_s, failed)
    }

    #[test]
    fn a_burn_rate_is_of_the_same_seconds() {
        let sides = |text: &str, from: u32, to: u32| {
            let failed = move |s: u32| if (from..to).contains(&s) { 900 } else { 0 };
            results_of(text, 50.0, failed).into_iter().map(|(_, result)| result).collect::<Vec<_>>()
        };
        let (pass, fail) = (GateResult::Pass, GateResult::Fail);
        // One second of five at 90 % is 1.8 times the 10 % that are allowed.
        assert_eq!(sides("burn<1", 20, 45), [pass, pass]);
        assert_eq!(sides("burn<1", 20, 46), [pass, fail]);
        assert_eq!(sides("burn{slo:available}<1", 19, 30), [fail, pass]);
        assert_eq!(sides("burn<1.9", 19, 46), [pass, pass]);
    }

    #[test]
    fn it_is_looked_at_before_the_first_fault_and_at_the_end_of_the_load() {
        let gate = |side: &str, result| (format!("steady state {side}: rate(failed)<1%"), result);
        let (pass, fail) = (GateResult::Pass, GateResult::Fail);
        let broken = |from: u32, to: u32| move |s: u32| if (from..to).contains(&s) { 900 } else { 0 };
        assert_eq!(results(50.0, broken(20, 45)), [gate("before", pass), gate("after", pass)]);
        assert_eq!(results(50.0, broken(20, 46)), [gate("before", pass), gate("after", fail)]);
        assert_eq!(results(50.0, broken(19, 30)), [gate("before", fail), gate("after", pass)]);
        let ended = results(20.0, broken(20, 30));
        assert_eq!(ended, [gate("before", pass), gate("after", GateResult::Inconclusive)]);
        let short = results(33.0, broken(20, 30));
        assert_eq!(short[1], gate("after", GateResult::Inconclusive), "three seconds are not five");
    }
}
