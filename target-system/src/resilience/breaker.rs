//! The circuit breaker: a dependency that fails again and again is left alone for a while.
//!
//! ```text
//!             so many failures in a row
//!   closed ───────────────────────────────► open ◄──────────┐
//!      ▲                                     │ after a while │ a probe fails
//!      └───────────── every probe succeeds ─ half-open ──────┘
//! ```
//!
//! What is admitted takes a ticket along and brings it back with its result. A ticket from before the
//! last change of state says nothing about the present one, and changes nothing.

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BreakerSettings {
    /// Failures in a row that open it; 1 or more.
    pub failures: u32,
    /// How long it stays open, in nanoseconds.
    pub open_ns: u64,
    /// Calls that are let through when it is half-open, and that must all succeed; 1 or more.
    pub probes: u32,
}

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    /// Lets them through.
    Closed,
    /// Lets a few through, to see.
    HalfOpen,
    /// Refuses them.
    Open,
}

impl Position {
    /// All of them.
    pub const ALL: [Position; 3] = [Position::Closed, Position::HalfOpen, Position::Open];

    /// As a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Position::Closed => "closed",
            Position::HalfOpen => "half_open",
            Position::Open => "open",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// With this many failures in a row.
    Closed {
        failures: u32,
    },
    Open {
        until_ns: u64,
    },
    /// With this many probes out, and this many that have succeeded.
    HalfOpen {
        out: u32,
        succeeded: u32,
    },
}

/// The right to one attempt. It must come back, whatever became of the attempt.
#[derive(Debug)]
pub struct Ticket {
    /// Changes of state before it was given.
    epoch: u64,
}

/// A breaker. It reads no clock: whoever asks says what time it is.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    epoch: u64,
}

impl Breaker {
    /// Closed.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 }, epoch: 0 }
    }

    /// What it does with calls. It stays open until somebody asks after its time.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.state {
            State::Closed { .. } => Position::Closed,
            State::Open { .. } => Position::Open,
            State::HalfOpen { .. } => Position::HalfOpen,
        }
    }

    /// A ticket for an attempt now; `None` when the dependency is to be left alone.
    pub fn admit(&mut self, now_ns: u64) -> Option<Ticket> {
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { until_ns } if now_ns < *until_ns => return None,
            State::Open { .. } => self.turn(State::HalfOpen { out: 1, succeeded: 0 }),
            State::HalfOpen { out, succeeded } if *out + *succeeded < self.settings.probes => *out += 1,
            State::HalfOpen { .. } => return None,
        }
        Some(Ticket { epoch: self.epoch })
    }

    /// The dependency has answered, be it with a no.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket comes back once")]
    pub fn succeeded(&mut self, ticket: Ticket) {
        if ticket.epoch != self.epoch {
            return;
        }
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            State::HalfOpen { out, succeeded } => {
                (*out, *succeeded) = (*out - 1, *succeeded + 1);
                if *succeeded >= self.settings.probes {
                    self.turn(State::Closed { failures: 0 });
                }
            }
            State::Open { .. } => {}
        }
    }

    /// The dependency has failed: no answer, none in time, or none that makes sense.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket comes back once")]
    pub fn failed(&mut self, ticket: Ticket, now_ns: u64) {
        if ticket.epoch != self.epoch {
            return;
        }
        let open = State::Open { until_ns: now_ns.saturating_add(self.settings.open_ns) };
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures >= self.settings.failures {
                    self.turn(open);
                }
            }
            State::HalfOpen { .. } => self.turn(open),
            State::Open { .. } => {}
        }
    }

    /// The attempt was given up before it came to anything: another may take its place.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket comes back once")]
    pub fn abandoned(&mut self, ticket: Ticket) {
        if let State::HalfOpen { out, .. } = &mut self.state
            && ticket.epoch == self.epoch
        {
            *out -= 1;
        }
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: BreakerSettings = BreakerSettings { failures: 3, open_ns: 100, probes: 2 };

    fn fail(breaker: &mut Breaker, now_ns: u64) {
        let ticket = breaker.admit(now_ns).unwrap();
        breaker.failed(ticket, now_ns);
    }

    fn opened(at_ns: u64) -> Breaker {
        let mut breaker = Breaker::new(SETTINGS);
        (0..3).for_each(|_| fail(&mut breaker, at_ns));
        assert_eq!(breaker.position(), Position::Open);
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..5 {
            fail(&mut breaker, 0);
            fail(&mut breaker, 0);
            let ticket = breaker.admit(0).unwrap();
            breaker.succeeded(ticket);
        }
        assert_eq!(breaker.position(), Position::Closed);
        opened(0);
    }

    #[test]
    fn an_open_one_admits_nobody_before_its_time_and_then_as_many_as_there_are_probes() {
        let mut breaker = opened(7);
        assert!(breaker.admit(106).is_none());
        let probes = [breaker.admit(107).unwrap(), breaker.admit(107).unwrap()];
        assert_eq!(breaker.position(), Position::HalfOpen);
        assert!(breaker.admit(107).is_none());
        let [first, second] = probes;
        breaker.succeeded(first);
        assert!(breaker.admit(107).is_none(), "both are what it takes");
        breaker.succeeded(second);
        assert_eq!(breaker.position(), Position::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_the_whole_time_again() {
        let mut breaker = opened(0);
        fail(&mut breaker, 150);
        assert!(breaker.admit(249).is_none());
        assert!(breaker.admit(250).is_some());
    }

    #[test]
    fn a_probe_that_is_given_up_lets_another_try() {
        let mut breaker = opened(0);
        let (lost, _kept) = (breaker.admit(100).unwrap(), breaker.admit(100).unwrap());
        assert!(breaker.admit(100).is_none());
        breaker.abandoned(lost);
        assert!(breaker.admit(100).is_some());
    }

    #[test]
    fn what_began_before_says_nothing_about_now() {
        let mut breaker = Breaker::new(SETTINGS);
        let old: Vec<Ticket> = (0..4).map(|_| breaker.admit(0).unwrap()).collect();
        (0..3).for_each(|_| fail(&mut breaker, 0));
        let probe = breaker.admit(100).unwrap();
        let mut old = old.into_iter();
        breaker.failed(old.next().unwrap(), 100);
        breaker.succeeded(old.next().unwrap());
        breaker.abandoned(old.next().unwrap());
        assert_eq!(breaker.position(), Position::HalfOpen);
        breaker.succeeded(probe);
        let probe = breaker.admit(100).unwrap();
        breaker.succeeded(probe);
        fail(&mut breaker, 100);
        fail(&mut breaker, 100);
        breaker.failed(old.next().unwrap(), 100);
        assert_eq!(breaker.position(), Position::Closed, "a failure from the time before is not the third");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit,
        Succeed(usize),
        Fail(usize),
        Abandon(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Admit),
            2 => any::<usize>().prop_map(Step::Succeed),
            3 => any::<usize>().prop_map(Step::Fail),
            1 => any::<usize>().prop_map(Step::Abandon),
            1 => (0u64..150).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: nobody is admitted while it is open, no more than the
        /// probes while it is half-open, everybody while it is closed; and nothing keeps it open for ever.
        #[test]
        fn its_promises_hold(steps in proptest::collection::vec(step(), 0..200)) {
            let mut breaker = Breaker::new(SETTINGS);
            let (mut now_ns, mut opened_ns) = (0u64, 0);
            let mut out: Vec<Ticket> = Vec::new();
            for step in steps {
                let before = breaker.position();
                match step {
                    Step::Wait(ns) => now_ns += ns,
                    Step::Admit => {
                        let ticket = breaker.admit(now_ns);
                        match before {
                            Position::Closed => prop_assert!(ticket.is_some()),
                            Position::Open => prop_assert_eq!(ticket.is_some(), now_ns >= opened_ns + 100),
                            Position::HalfOpen => {}
                        }
                        out.extend(ticket);
                    }
                    Step::Succeed(i) if !out.is_empty() => {
                        let i = i % out.len();
                        breaker.succeeded(out.swap_remove(i));
                    }
                    Step::Fail(i) if !out.is_empty() => {
                        let i = i % out.len();
                        breaker.failed(out.swap_remove(i), now_ns);
                    }
                    Step::Abandon(i) if !out.is_empty() => {
                        let i = i % out.len();
                        breaker.abandoned(out.swap_remove(i));
                    }
                    _ => {}
                }
                if breaker.position() == Position::Open && before != Position::Open {
                    opened_ns = now_ns;
                }
                if breaker.position() == Position::HalfOpen {
                    let probes = out.iter().filter(|t| t.epoch == breaker.epoch).count();
                    prop_assert!(probes <= 2);
                }
            }
            // Nobody stays out for ever, and a dependency that is well is found to be.
            out.into_iter().for_each(|ticket| breaker.abandoned(ticket));
            now_ns += 100;
            for _ in 0..2 {
                let ticket = breaker.admit(now_ns).expect("its time is over");
                breaker.succeeded(ticket);
            }
            prop_assert_eq!(breaker.position(), Position::Closed);
        }
    }
}
