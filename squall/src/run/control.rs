//! Changing a run while it goes on.
//!
//! Whoever steers, a person at the keyboard or another program, does it through one [`Pilot`]: it
//! checks what is asked against the scenario's limits, hands it to the engine and puts it on
//! record, so that a run whose load was changed by hand always says so.

use std::sync::{Arc, Mutex, PoisonError};

use squall_engine::control::{Control, LEAD_NS, MAX_CHANGES, TooManyChanges};
use squall_record::clock::{Clock, NANOS_PER_SEC};
use squall_record::event::{Form, Steer, Steered, What};
use squall_scenarios::plan::Plan;
use squall_scenarios::schedule::Change;
use squall_scenarios::units::rate::format_rate;

use super::stream::Stream;
use crate::live::printable;

/// The longest text of a mark, in characters.
pub const MAX_MARK_CHARS: usize = 120;
/// The most marks of one run.
pub const MAX_MARKS: usize = 1_000;

/// Changes that are kept for the ways back: to let a paused load go on, and to the plan's rate.
const WAYS_BACK: usize = 2;

/// Steps from nothing to the plan's load.
const STEPS: f64 = 10.0;

/// What can be asked of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Changes the load.
    Steer(Steer),
    /// More load than was asked for last, by tenths of the plan's; less when negative.
    Step(i8),
    /// Pauses the load, or lets it go on.
    TogglePause,
    /// Sets a mark on the time axis.
    Mark(String),
}

impl Command {
    /// The event that it is in a run whose load is `now`.
    #[must_use]
    pub fn event(&self, now: Steered) -> What {
        let steer = match self {
            Self::Mark(text) => {
                return What::Mark { text: printable(text).chars().take(MAX_MARK_CHARS).collect() };
            }
            Self::Steer(steer) => *steer,
            Self::Step(steps) => stepped(now.form, f64::from(*steps)),
            Self::TogglePause if now.paused => Steer::Resume,
            Self::TogglePause => Steer::Pause,
        };
        What::Steered { steer }
    }
}

/// Why it is not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// A rate or factor that is none.
    #[error("{0} is neither a rate nor a factor; give a number from 0 up")]
    NotANumber(f64),
    /// Above the scenario's limit.
    #[error("the rate could reach {}, above load.max_rate {}", format_rate(*rate_rps), format_rate(*limit_rps))]
    TooHigh {
        /// The highest that it could reach.
        rate_rps: f64,
        /// The limit.
        limit_rps: f64,
    },
    /// The target sets the pace.
    #[error("a closed loop has no rate to change")]
    Closed,
    /// A trace sets the pace.
    #[error("recorded traffic comes when it came; a run with a trace has no rate to change")]
    Recorded,
    /// Too often.
    #[error(transparent)]
    TooMany(#[from] TooManyChanges),
    /// [`MAX_MARKS`] were set.
    #[error("{MAX_MARKS} marks were set in this run, which is the most there is")]
    TooManyMarks,
    /// The run is ending: its record takes no more.
    #[error("the run is ending")]
    Ending,
}

/// The one way to change a run. Copies are the same.
#[derive(Clone)]
pub struct Pilot(Arc<Inner>);

struct Inner {
    control: Control,
    clock: Clock,
    stream: Stream,
    peak_rps: f64,
    limit_rps: f64,
    closed: bool,
    recorded: bool,
    /// Held while a change is made, so that the record has them in the order in which they hold.
    asked: Mutex<Asked>,
}

/// What was asked for so far. The record, and every view of it, follow later: two keys pressed at
/// once are two steps.
struct Asked {
    load: Steered,
    changes: usize,
    marks: usize,
}

impl Pilot {
    /// Steers the run of `plan` that `control` belongs to.
    #[must_use]
    pub fn new(plan: &Plan, control: Control, clock: Clock, stream: Stream) -> Self {
        Self(Arc::new(Inner {
            control,
            clock,
            stream,
            peak_rps: plan.peak_rps(),
            limit_rps: plan.load.max_rate_rps,
            closed: plan.load.mode.is_closed(),
            recorded: plan.has_trace(),
            asked: Mutex::new(Asked { load: Steered::PLAN, changes: 0, marks: 0 }),
        }))
    }

    /// Does what `command` asks for and gives the instant from which it holds, in seconds from the
    /// start.
    ///
    /// # Errors
    /// When it is not done; the run goes on as it was.
    pub fn ask(&self, command: &Command) -> Result<f64, Refused> {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let what = command.event(asked.load);
        let at_s = if let What::Steered { steer } = what {
            let change = self.0.check(steer)?;
            let load = asked.load.after(steer);
            if load == asked.load {
                // It is so already.
                return Ok(self.0.clock.now_s());
            }
            let is_way_back = matches!(steer, Steer::Resume) || steer == Steer::Scale { factor: 1.0 };
            if asked.changes + WAYS_BACK >= MAX_CHANGES && !is_way_back {
                return Err(TooManyChanges.into());
            }
            let at_ns = self.0.control.post(self.0.clock.now_ns() + LEAD_NS, change)?;
            (asked.load, asked.changes) = (load, asked.changes + 1);
            at_ns as f64 / NANOS_PER_SEC as f64
        } else if asked.marks < MAX_MARKS {
            asked.marks += 1;
            self.0.clock.now_s()
        } else {
            return Err(Refused::TooManyMarks);
        };
        self.0.stream.event(at_s, what).map(|()| at_s).map_err(|_| Refused::Ending)
    }
}

/// `form` by `steps` more: of the plan's rate, or of a rate of its own.
fn stepped(form: Form, steps: f64) -> Steer {
    match form {
        // In whole steps, so that as many up as down lead back to the plan.
        Form::Plan(factor) => Steer::Scale { factor: ((factor * STEPS).round() + steps).max(1.0) / STEPS },
        Form::Rate(rps) => Steer::Rate { rps: rps * (1.0 + steps / STEPS) },
    }
}

impl Inner {
    /// `steer` as the schedule knows it, when it is within the limits.
    fn check(&self, steer: Steer) -> Result<Change, Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.recorded {
            return Err(Refused::Recorded);
        }
        let (value, rate_rps, change) = match steer {
            Steer::Scale { factor } => (factor, factor * self.peak_rps, Change::Scale(factor)),
            Steer::Rate { rps } => (rps, rps, Change::Rate(rps)),
            Steer::Pause => return Ok(Change::Pause),
            Steer::Resume => return Ok(Change::Resume),
        };
        if !(value >= 0.0 && value.is_finite()) {
            Err(Refused::NotANumber(value))
        } else if rate_rps > self.limit_rps {
            Err(Refused::TooHigh { rate_rps, limit_rps: self.limit_rps })
        } else {
            Ok(change)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Live, sample};
    use squall_record::event::Event;
    use squall_record::interval::{Sink, TargetSample, Tick};
    use std::io;

    /// Keeps the events for the test.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Event>>>);

    impl Sink for Kept {
        fn tick(&mut self, _: &Tick) -> io::Result<()> {
            Ok(())
        }
        fn event(&mut self, event: &Event) -> io::Result<()> {
            self.0.lock().unwrap().push(event.clone());
            Ok(())
        }
        fn target(&mut self, _: &TargetSample) -> io::Result<()> {
            Ok(())
        }
    }

    fn pilot(change: impl Fn(&mut Plan)) -> (Pilot, Kept) {
        let mut plan = sample::plan(1_000.0, 10.0);
        plan.load.max_rate_rps = 2_000.0;
        change(&mut plan);
        let kept = Kept::default();
        let stream = Stream::new(vec![Box::new(kept.clone()), Box::new(Live::new(&plan))]);
        (Pilot::new(&plan, Control::new(), Clock::start(), stream), kept)
    }

    #[test]
    fn every_change_is_an_event_at_the_instant_from_which_it_holds() {
        let (pilot, kept) = pilot(|_| {});
        let steer = Steer::Scale { factor: 1.5 };
        let at_s = pilot.ask(&Command::Steer(steer)).unwrap();
        assert!(at_s >= LEAD_NS as f64 / 1e9);
        pilot.ask(&Command::Steer(Steer::Pause)).unwrap();
        let events = kept.0.lock().unwrap();
        assert_eq!(events[0], Event { at_s, what: What::Steered { steer } });
        assert!(events[1].at_s >= at_s);
    }

    #[test]
    fn steps_go_from_what_was_asked_for_last_and_back_to_the_plan() {
        let (pilot, kept) = pilot(|_| {});
        let ask = |command| pilot.ask(&command).map(drop);
        let rate = Command::Steer(Steer::Rate { rps: 200.0 });
        let plan = Command::Steer(Steer::Scale { factor: 1.0 });
        for command in [Command::Step(1), Command::Step(1), Command::Step(-1), rate, Command::Step(1), plan] {
            ask(command).unwrap();
        }
        (0..9).for_each(|_| ask(Command::Step(-1)).unwrap());
        // Nothing is what a pause is for; what is so already is no change.
        ask(Command::Step(-1)).unwrap();
        let steers: Vec<Steer> = kept.0.lock().unwrap().iter().map(|e| steer_of(&e.what)).collect();
        let scale = |factor| Steer::Scale { factor };
        assert_eq!(steers[..3], [scale(1.1), scale(1.2), scale(1.1)]);
        assert!(matches!(steers[4], Steer::Rate { rps } if (rps - 220.0).abs() < 1e-9), "{steers:?}");
        assert_eq!((steers.len(), steers[14]), (15, scale(0.1)));
    }

    #[test]
    fn what_is_refused_is_not_where_the_next_step_goes_from() {
        let (pilot, kept) = pilot(|_| {});
        pilot.ask(&Command::Steer(Steer::Scale { factor: 2.0 })).unwrap();
        assert!(pilot.ask(&Command::Step(1)).is_err());
        pilot.ask(&Command::Step(-1)).unwrap();
        assert_eq!(steer_of(&kept.0.lock().unwrap()[1].what), Steer::Scale { factor: 1.9 });
    }

    #[test]
    fn however_often_a_load_was_changed_there_is_a_way_back() {
        let (pilot, kept) = pilot(|_| {});
        let ask = |steer| pilot.ask(&Command::Steer(steer)).map(drop);
        let mut factors = [1.1, 1.2].into_iter().cycle();
        let changed = factors.by_ref().take_while(|f| ask(Steer::Scale { factor: *f }).is_ok()).count();
        assert_eq!(changed, MAX_CHANGES - WAYS_BACK);
        let refused = ask(Steer::Pause).unwrap_err();
        assert!(matches!(refused, Refused::TooMany(_)), "{refused}");
        ask(Steer::Scale { factor: 1.0 }).unwrap();
        assert_eq!(kept.0.lock().unwrap().len(), MAX_CHANGES - WAYS_BACK + 1);

        let (pilot, _) = self::pilot(|_| {});
        let ask = |steer| pilot.ask(&Command::Steer(steer)).map(drop);
        (0..MAX_CHANGES - WAYS_BACK).for_each(|n| ask([Steer::Pause, Steer::Resume][n % 2]).unwrap());
        assert!(ask(Steer::Pause).is_err(), "it could not go on");
    }

    #[test]
    fn one_key_pauses_and_lets_go_on() {
        let (pilot, kept) = pilot(|_| {});
        for _ in 0..3 {
            pilot.ask(&Command::TogglePause).unwrap();
        }
        let steers: Vec<Steer> = kept.0.lock().unwrap().iter().map(|e| steer_of(&e.what)).collect();
        assert_eq!(steers, [Steer::Pause, Steer::Resume, Steer::Pause]);
    }

    fn steer_of(what: &What) -> Steer {
        match what {
            What::Steered { steer } => *steer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_scenarios_limit_holds_for_live_rates_too() {
        let (pilot, kept) = pilot(|_| {});
        let ask = |steer| pilot.ask(&Command::Steer(steer));
        let high = ask(Steer::Rate { rps: 2_001.0 }).unwrap_err();
        assert!(high.to_string().contains("load.max_rate 2k/s"), "{high}");
        assert!(matches!(ask(Steer::Scale { factor: 2.1 }), Err(Refused::TooHigh { .. })));
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(ask(Steer::Rate { rps: wrong }).is_err() && ask(Steer::Scale { factor: wrong }).is_err());
        }
        assert!(kept.0.lock().unwrap().is_empty(), "what was refused is not on record");
        assert!(ask(Steer::Rate { rps: 2_000.0 }).is_ok());
    }

    #[test]
    fn a_closed_loop_takes_marks_and_nothing_else() {
        let (pilot, _) = pilot(|p| p.load.mode = squall_scenarios::plan::Mode::Closed);
        assert_eq!(pilot.ask(&Command::Steer(Steer::Pause)), Err(Refused::Closed));
        assert!(pilot.ask(&Command::Mark("here".into())).is_ok());
    }

    #[test]
    fn marks_are_bounded_in_length_and_number_and_cannot_move_a_cursor() {
        let (pilot, kept) = pilot(|_| {});
        let text = "\u{1b}[2J".to_owned() + &"é".repeat(MAX_MARK_CHARS);
        for _ in 0..MAX_MARKS {
            pilot.ask(&Command::Mark(text.clone())).unwrap();
        }
        assert_eq!(pilot.ask(&Command::Mark(text)), Err(Refused::TooManyMarks));
        let events = kept.0.lock().unwrap();
        let What::Mark { text } = &events[0].what else { panic!("{events:?}") };
        assert_eq!(text.chars().count(), MAX_MARK_CHARS);
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
