//! What changes by hand asked of a run.

use squall_record::event::{Event, Form, Steer, Steered, What};
use squall_scenarios::plan::{PhasePlan, Plan};

/// The changes of a load by hand, in the order in which they hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Steering(Vec<(f64, Steer)>);

impl Steering {
    /// Those in `events`.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let mut all = Self::default();
        events.iter().for_each(|e| all.add(e));
        all
    }

    /// Takes note of `event`, if it is one.
    pub fn add(&mut self, event: &Event) {
        if let What::Steered { steer } = event.what {
            self.0.push((event.at_s, steer));
        }
    }

    /// Each change with the instant from which it holds, in seconds.
    #[must_use]
    pub fn changes(&self) -> &[(f64, Steer)] {
        &self.0
    }

    /// Arrivals asked for outside warm-up before `until_s`: of the plan, and of what was made of
    /// it.
    #[must_use]
    pub fn asked(&self, plan: &Plan, until_s: f64) -> f64 {
        let mut asked = 0.0;
        let (mut from_s, mut holds) = (0.0, Steered::PLAN);
        let end = (until_s, Steer::Pause);
        for (at_s, steer) in self.0.iter().chain([&end]) {
            let to_s = at_s.clamp(from_s, until_s.max(from_s));
            asked += between(plan, holds, from_s, to_s);
            (from_s, holds) = (to_s, holds.after(*steer));
        }
        asked
    }
}

/// Arrivals asked for outside warm-up between two instants in which `holds` does.
fn between(plan: &Plan, holds: Steered, from_s: f64, to_s: f64) -> f64 {
    let measured = plan.phases.iter().filter(|p| !p.warmup);
    match holds {
        Steered { paused: true, .. } => 0.0,
        Steered { form: Form::Plan(factor), .. } => {
            let planned = |p: &PhasePlan| p.expected_until(to_s) - p.expected_until(from_s);
            factor * measured.map(planned).sum::<f64>()
        }
        Steered { form: Form::Rate(rps), .. } => {
            let seconds = |p: &PhasePlan| (to_s.min(p.end_s) - from_s.max(p.start_s)).max(0.0);
            rps * measured.map(seconds).sum::<f64>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn steering(changes: &[(f64, Steer)]) -> Steering {
        let events: Vec<Event> = changes
            .iter()
            .map(|(at_s, steer)| Event { at_s: *at_s, what: What::Steered { steer: *steer } })
            .collect();
        Steering::of(&events)
    }

    #[test]
    fn what_is_asked_for_follows_every_change() {
        // 5 s of warm-up, then 55 s at 100/s.
        let plan = testing::plan();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} and not {b}");
        near(steering(&[]).asked(&plan, 15.0), 1_000.0);
        let s = steering(&[
            (10.0, Steer::Pause),
            (12.0, Steer::Scale { factor: 2.0 }),
            (15.0, Steer::Resume),
            (20.0, Steer::Rate { rps: 7.0 }),
            (30.0, Steer::Scale { factor: 1.0 }),
        ]);
        near(s.asked(&plan, 10.0), 500.0);
        near(s.asked(&plan, 15.0), 500.0);
        near(s.asked(&plan, 20.0), 1_500.0);
        near(s.asked(&plan, 25.0), 1_535.0);
        near(s.asked(&plan, 60.0), 1_570.0 + 3_000.0);
        near(s.asked(&plan, 99.0), 1_570.0 + 3_000.0);
    }

    #[test]
    fn warm_up_and_disorder_ask_for_nothing() {
        let plan = testing::plan();
        assert_eq!(steering(&[(0.0, Steer::Rate { rps: 1e6 })]).asked(&plan, 5.0), 0.0);
        let disorder = steering(&[(20.0, Steer::Pause), (10.0, Steer::Resume), (-5.0, Steer::Pause)]);
        assert!((disorder.asked(&plan, 60.0) - 1_500.0).abs() < 1e-6);
    }
}
