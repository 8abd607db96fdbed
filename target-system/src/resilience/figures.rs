//! What the guards say of themselves, a label for each dependency.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::breaker::Position;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    dependency: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    dependency: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    dependency: &'static str,
    state: &'static str,
}

/// The families that all guards share.
#[derive(Debug)]
pub struct Families {
    calls: Family<Outcome, Counter>,
    seconds: Family<Of, Histogram, fn() -> Histogram>,
    retries: Family<Of, Counter>,
    budget_refusals: Family<Of, Counter>,
    bulkhead_refusals: Family<Of, Counter>,
    breaker: Family<State, Gauge>,
    transitions: Family<State, Counter>,
}

impl Families {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        // 100 µs to 13 s, in powers of two.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let families = Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            retries: Family::default(),
            budget_refusals: Family::default(),
            bulkhead_refusals: Family::default(),
            breaker: Family::default(),
            transitions: Family::default(),
        };
        let r = registry;
        r.register("dependency_calls", "Calls by how they ended, retries included", families.calls.clone());
        let help = "Time of a call with its retries";
        r.register_with_unit("dependency_call_duration", help, Unit::Seconds, families.seconds.clone());
        r.register("dependency_retries", "Attempts beyond the calls' first", families.retries.clone());
        r.register(
            "dependency_retry_budget_refusals",
            "Retries that the budget did not allow",
            families.budget_refusals.clone(),
        );
        r.register(
            "dependency_bulkhead_refusals",
            "Attempts that found no place",
            families.bulkhead_refusals.clone(),
        );
        r.register("dependency_breaker_state", "1 for the state that it is in", families.breaker.clone());
        r.register(
            "dependency_breaker_transitions",
            "Changes of a breaker's state, by the new one",
            families.transitions.clone(),
        );
        families
    }

    /// The figures of `dependency`.
    #[must_use]
    pub fn of(&self, dependency: &'static str) -> Figures {
        let of = Of { dependency };
        let state = |position: Position| State { dependency, state: position.name() };
        let figures = Figures {
            dependency,
            calls: self.calls.clone(),
            seconds: self.seconds.get_or_create(&of).clone(),
            retries: self.retries.get_or_create(&of).clone(),
            budget_refusals: self.budget_refusals.get_or_create(&of).clone(),
            bulkhead_refusals: self.bulkhead_refusals.get_or_create(&of).clone(),
            breaker: Position::ALL.map(|p| (p, self.breaker.get_or_create(&state(p)).clone())),
            transitions: Position::ALL.map(|p| (p, self.transitions.get_or_create(&state(p)).clone())),
        };
        figures.show(Position::Closed);
        figures
    }
}

/// The figures of one dependency.
#[derive(Debug)]
pub struct Figures {
    dependency: &'static str,
    calls: Family<Outcome, Counter>,
    seconds: Histogram,
    /// Attempts beyond the calls' first.
    pub retries: Counter,
    /// Retries that the budget did not allow.
    pub budget_refusals: Counter,
    /// Attempts that found no place.
    pub bulkhead_refusals: Counter,
    breaker: [(Position, Gauge); 3],
    transitions: [(Position, Counter); 3],
}

impl Figures {
    /// The dependency's name.
    #[must_use]
    pub fn dependency(&self) -> &'static str {
        self.dependency
    }

    /// Counts a call that ended as `outcome` after `seconds`.
    pub fn called(&self, outcome: &'static str, seconds: f64) {
        self.calls.get_or_create(&Outcome { dependency: self.dependency, outcome }).inc();
        self.seconds.observe(seconds);
    }

    /// Counts that the breaker has turned to `position`.
    pub fn turned(&self, position: Position) {
        self.show(position);
        self.transitions.iter().filter(|(p, _)| *p == position).for_each(|(_, counter)| {
            counter.inc();
        });
    }

    fn show(&self, position: Position) {
        for (p, gauge) in &self.breaker {
            gauge.set(i64::from(*p == position));
        }
    }
}
