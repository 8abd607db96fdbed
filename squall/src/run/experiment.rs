//! What an experiment holds a run to while it goes on: the steady state before its faults, conditions on which they begin, and conditions that
//! end the run.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use squall_record::clock::Clock;
use squall_record::event::{Event, What};
use squall_record::interval::{Interval, Sink, TargetSample, Tick};
use squall_reports::gates::{self, told};
use squall_reports::summary::{GateResult, GateSummary};
use squall_scenarios::plan::{ExperimentPlan, GatePlan, Plan};

use super::stream::Stream;

/// How often a new second is looked for.
const NAP: Duration = Duration::from_millis(50);
/// How long the last second of a window may take to be there.
const LATE_TICK_S: f64 = 1.5;
/// Over how long conditions are looked at without an experiment.
const DEFAULT_WINDOW_S: u32 = 5;

/// The last seconds of a run, and what an experiment says of them. All clones are one.
#[derive(Debug, Clone)]
pub struct Judge {
    plan: Arc<Plan>,
    window_s: u32,
    seconds: Arc<Mutex<Seconds>>,
}

#[derive(Debug, Default)]
struct Seconds {
    /// The newest last, without those of warm-up.
    kept: VecDeque<(u32, Vec<Interval>)>,
    /// Seconds that are over.
    over: u32,
}

impl Judge {
    /// A judge of the run of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let window_s = plan.experiment.as_ref().map_or(DEFAULT_WINDOW_S, |e| e.window_s);
        Self { plan: Arc::new(plan.clone()), window_s, seconds: Arc::default() }
    }

    /// What gives it the seconds.
    #[must_use]
    pub fn sink(&self) -> Box<dyn Sink> {
        Box::new(self.clone())
    }

    fn experiment(&self) -> Option<&ExperimentPlan> {
        self.plan.experiment.as_ref()
    }

    /// Waits until the seconds before `at_s` are there, at most for as long as they can take.
    fn wait_for(&self, at_s: f64, clock: Clock) {
        let over = || f64::from(self.lock().over);
        while over() < at_s.floor() && clock.now_s() < at_s + LATE_TICK_S {
            std::thread::sleep(NAP);
        }
    }

    /// Whether the steady state holds in the seconds before `at_s`; what does not, and how it stands.
    ///
    /// # Errors
    /// The conditions that do not hold, or of which that cannot be told.
    pub fn steady(&self, at_s: f64, clock: Clock) -> Result<(), String> {
        let Some(experiment) = self.experiment().filter(|e| !e.steady_state.is_empty()) else {
            return Ok(());
        };
        // The second that is just over may not be there yet, and is not worth a late fault.
        self.wait_for(at_s - 1.0, clock);
        let shaken: Vec<String> = experiment
            .steady_state
            .iter()
            .map(|gate| self.look(gate))
            .filter(|seen| seen.result != GateResult::Pass)
            .map(|seen| told(&seen))
            .collect();
        match shaken.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "the steady state did not hold in the {} s before the first fault: {}",
                self.window_s,
                shaken.join(", ")
            )),
        }
    }

    /// How many seconds are over: what is looked at changes with it.
    #[must_use]
    pub fn seconds_over(&self) -> u32 {
        self.lock().over
    }

    /// Whether `gate` holds in the last seconds, without a doubt.
    #[must_use]
    pub fn holds(&self, gate: &GatePlan) -> bool {
        self.lock().kept.len() >= self.window_s as usize && self.look(gate).result == GateResult::Pass
    }

    /// `gate` and how it stands in the last seconds.
    #[must_use]
    pub fn stands(&self, gate: &GatePlan) -> String {
        told(&self.look(gate))
    }

    /// The abort condition that holds in the last seconds, if one does.
    fn abort(&self) -> Option<String> {
        let found = self.experiment()?.abort.iter().find(|gate| self.holds(gate))?;
        Some(format!("abort condition {} in the last {} s", self.stands(found), self.window_s))
    }

    fn look(&self, gate: &GatePlan) -> GateSummary {
        let seconds = self.lock();
        let last = seconds.kept.iter().rev().take(self.window_s as usize);
        gates::over(&self.plan, gate, f64::from(self.window_s), last.flat_map(|(_, intervals)| intervals))
    }

    /// Ends the run when an abort condition holds, until `done`.
    pub fn keep(&self, clock: Clock, stream: &Stream, stop: &AtomicBool, done: &AtomicBool) {
        if self.experiment().is_none_or(|e| e.abort.is_empty()) {
            return;
        }
        let mut seen = 0;
        while !done.load(Ordering::Relaxed) {
            let over = self.lock().over;
            if over != seen {
                seen = over;
                if let Some(reason) = self.abort() {
                    // A sink that cannot go on ends the run as well.
                    let _ = stream.event(clock.now_s(), What::Aborted { reason });
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
            }
            std::thread::sleep(NAP);
        }
    }

    // What a panic could leave half done is one second.
    fn lock(&self) -> std::sync::MutexGuard<'_, Seconds> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Judge {
    fn tick(&mut self, tick: &Tick) -> io::Result<()> {
        let measured = |i: &&Interval| self.plan.phases.get(usize::from(i.phase)).is_some_and(|p| !p.warmup);
        let intervals: Vec<Interval> = tick.intervals.iter().filter(measured).cloned().collect();
        let mut seconds = self.lock();
        seconds.over = tick.second + 1;
        if !intervals.is_empty() {
            seconds.kept.push_back((tick.second, intervals));
        }
        while seconds.kept.len() > self.window_s as usize {
            seconds.kept.pop_front();
        }
        Ok(())
    }

    fn event(&mut self, _: &Event) -> io::Result<()> {
        Ok(())
    }

    fn target(&mut self, _: &TargetSample) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample;
    use squall_scenarios::gate::parse_gate;
    use squall_scenarios::plan::SloPlan;

    /// Of a run whose requests are to be answered in 99 %, and in 50 ms in 90 %.
    fn judge(steady: &str, abort: &str) -> Judge {
        let mut plan = sample::plan(1_000.0, 60.0);
        let slo = |name: &str, objective, under_ms| SloPlan {
            name: name.to_owned(),
            objective,
            under_ms,
            request: None,
        };
        plan.slos = vec![slo("answered", 0.99, None), slo("fast", 0.9, Some(50.0))];
        let gates = |text: &str| vec![parse_gate(text).unwrap()];
        plan.experiment = Some(ExperimentPlan {
            steady_state: gates(steady),
            abort: gates(abort),
            window_s: 3,
            blast_radius: 1.0,
            control: 0.0,
        });
        Judge::new(&plan)
    }

    fn second(judge: &mut Judge, second: u32, failed: u64) {
        slow_second(judge, second, failed, 0);
    }

    fn slow_second(judge: &mut Judge, second: u32, failed: u64, slow: u64) {
        let mut interval = Interval::new(second, 0, 0);
        (failed..1000)
            .for_each(|n| interval.response.record_us(if n < failed + slow { 80_000 } else { 1_000 }));
        interval.counts.planned = 1000;
        interval.counts.sent = 1000;
        interval.counts.ok = 1000 - failed;
        interval.counts.failed[0] = failed;
        let tick = Tick {
            second,
            intervals: vec![interval],
            generator: Default::default(),
            pacing: Default::default(),
            ops: vec![],
        };
        judge.tick(&tick).unwrap();
    }

    #[test]
    fn a_condition_is_of_the_last_seconds_and_of_no_others() {
        let mut judge = judge("rate(failed)<1%", "rate(failed)>50%");
        (0..10).for_each(|s| second(&mut judge, s, 0));
        assert_eq!(judge.steady(10.0, Clock::start()), Ok(()));
        assert_eq!(judge.abort(), None);
        (10..12).for_each(|s| second(&mut judge, s, 700));
        assert_eq!(judge.abort(), None, "two seconds of three are below a half");
        second(&mut judge, 12, 700);
        let told = judge.abort().unwrap();
        assert!(told.contains("rate(failed)>50%") && told.contains("70"), "{told}");
        let shaken = judge.steady(13.0, Clock::start()).unwrap_err();
        assert!(shaken.contains("rate(failed)<1%"), "{shaken}");
    }

    #[test]
    fn a_burn_rate_is_of_the_last_seconds_and_of_what_its_slo_calls_bad() {
        let mut judge = judge("burn<1", "burn{slo:answered}>14.4");
        (0..3).for_each(|s| second(&mut judge, s, 0));
        assert_eq!((judge.steady(3.0, Clock::start()), judge.abort()), (Ok(()), None));
        // Slow answers are bad for the other one alone, of which 10 % may be.
        (3..6).for_each(|s| slow_second(&mut judge, s, 0, 500));
        let shaken = judge.steady(6.0, Clock::start()).unwrap_err();
        assert!(shaken.contains("burn<1 (it is 5×)"), "{shaken}");
        assert_eq!(judge.abort(), None);
        // 400 of 3000 are 13.3 times 1 %, 440 are 14.6 times.
        (6..8).for_each(|s| second(&mut judge, s, 0));
        second(&mut judge, 8, 400);
        assert_eq!(judge.abort(), None);
        (9..11).for_each(|s| second(&mut judge, s, 20));
        let told = judge.abort().unwrap();
        assert_eq!(told, "abort condition burn{slo:answered}>14.4 (it is 14.6×) in the last 3 s");
        second(&mut judge, 11, 0);
        assert_eq!(judge.abort(), None);
    }

    #[test]
    fn what_cannot_be_told_is_no_steady_state_and_no_reason_to_end() {
        let mut judge = judge("rate(failed)<1%", "rate(failed)>=0%");
        assert!(judge.steady(0.0, Clock::start()).unwrap_err().contains("nothing was measured"));
        second(&mut judge, 0, 0);
        assert_eq!(judge.abort(), None, "a window that is not full");
    }

    #[test]
    fn seconds_of_warm_up_are_no_seconds_of_a_steady_state() {
        let judge = judge("rate(failed)<1%", "rate(failed)>50%");
        let mut plan = Plan::clone(&judge.plan);
        plan.phases[0].warmup = true;
        let mut judge = Judge::new(&plan);
        (0..10).for_each(|s| second(&mut judge, s, 900));
        assert_eq!(judge.abort(), None);
        assert!(judge.steady(10.0, Clock::start()).unwrap_err().contains("nothing was measured"));
    }
}
