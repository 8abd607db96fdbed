//! A call to a dependency: time limit, retries, breaker, bulkhead, in this order from outside.
//!
//! The breaker hears of every attempt, the budget of every retry. A no of the dependency is an answer: it is
//! not repeated and opens nothing. Only what may be repeated is called through a guard: a question, or
//! an order with a key.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::backoff::BackoffSettings;
use super::breaker::{Breaker, BreakerSettings, Position, Ticket};
use super::budget::{Budget, BudgetSettings};
use super::bulkhead::{Bulkhead, BulkheadSettings, Full};
use super::figures::Figures;
use crate::timer;
use crate::trace;
use crate::trace::span::SpanKind;

/// How a dependency is called.
#[derive(Debug, Clone, Copy)]
pub struct GuardSettings {
    /// How long an attempt may take.
    pub attempt: Duration,
    /// How long a call may take, with its retries and pauses.
    pub call: Duration,
    /// Attempts of a call; 1 or more.
    pub attempts: u32,
    /// The pauses between them.
    pub backoff: BackoffSettings,
    /// How much may be retried.
    pub budget: BudgetSettings,
    /// When it is left alone.
    pub breaker: BreakerSettings,
    /// How many calls there are at once.
    pub bulkhead: BulkheadSettings,
}

/// Why an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer, or none that makes sense: another attempt may do better.
    Failed,
    /// The dependency has said no, with this status: another attempt would be told the same.
    Refused(u16),
}

/// Why a call came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody was asked: the breaker is open.
    #[error("not asked: its breaker is open")]
    Open,
    /// Nobody was asked: as many calls are under way as may be.
    #[error("not asked: as many calls are under way as may be")]
    Full,
    /// There was no answer in time.
    #[error("no answer in time")]
    Timeout,
    /// There was no answer that makes sense.
    #[error("no usable answer")]
    Failed,
    /// The answer was no.
    #[error("it answers {0}")]
    Refused(u16),
}

impl CallError {
    /// Whether it is certain that the dependency has not heard of the call.
    #[must_use]
    pub fn not_asked(self) -> bool {
        matches!(self, CallError::Open | CallError::Full)
    }

    fn label(self) -> &'static str {
        match self {
            CallError::Open => "breaker_open",
            CallError::Full => "bulkhead_full",
            CallError::Timeout => "timeout",
            CallError::Failed => "failed",
            CallError::Refused(_) => "refused",
        }
    }
}

/// What `/health` says of a dependency.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct GuardHealth {
    breaker: &'static str,
    calls_under_way: usize,
    calls_waiting: usize,
}

/// What stands before a dependency.
#[derive(Debug)]
pub struct Guard {
    settings: GuardSettings,
    /// Zero of the state machines' time.
    origin: Instant,
    breaker: Mutex<Breaker>,
    budget: Mutex<Budget>,
    bulkhead: Bulkhead,
    figures: Figures,
}

/// An attempt that the breaker waits to hear of. Dropped, it was given up.
struct Admitted<'a> {
    guard: &'a Guard,
    ticket: Option<Ticket>,
}

impl Admitted<'_> {
    fn succeeded(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.guard.breaker(|breaker| breaker.succeeded(ticket));
        }
    }

    fn failed(mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now_ns = self.guard.now_ns();
            self.guard.breaker(|breaker| breaker.failed(ticket, now_ns));
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.guard.breaker(|breaker| breaker.abandoned(ticket));
        }
    }
}

impl Guard {
    /// A guard whose breaker is closed.
    #[must_use]
    pub fn new(settings: GuardSettings, figures: Figures) -> Self {
        Self {
            settings,
            origin: timer::now(),
            breaker: Mutex::new(Breaker::new(settings.breaker)),
            budget: Mutex::new(Budget::new(settings.budget)),
            bulkhead: Bulkhead::new(settings.bulkhead),
            figures,
        }
    }

    /// Calls the dependency: `ask` once, or again when that has failed. It ends by `deadline`, and
    /// sooner when a call may not take as long.
    ///
    /// # Errors
    /// [`CallError`]: of the last attempt that was made, when there was one.
    pub async fn call<T, F>(&self, deadline: Instant, ask: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let began = timer::now();
        let until = deadline.min(began + self.settings.call);
        let mut span = trace::step(self.figures.dependency(), SpanKind::Internal);
        let called = trace::within(&span, self.attempts(until, &ask)).await;
        let outcome = called.as_ref().map_or_else(|e| e.label(), |_| "ok");
        if called.is_err() {
            span.fail(outcome);
        }
        span.end();
        self.figures.called(outcome, began.elapsed().as_secs_f64());
        if let Err(error) = &called {
            tracing::debug!(dependency = self.figures.dependency(), %error, "call");
        }
        called
    }

    async fn attempts<T, F>(&self, until: Instant, ask: &impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.budget(Budget::call);
        let mut last = match self.attempt(until, ask).await {
            Err(error) => error,
            answered => return answered,
        };
        for retry in 1..self.settings.attempts {
            if !matches!(last, CallError::Failed | CallError::Timeout) {
                break;
            }
            let pause = self.settings.backoff.pause(retry - 1, random());
            if !self.has_time(until, pause) {
                break;
            }
            let now_ns = self.now_ns();
            if !self.budget(|budget| budget.retry(now_ns)) {
                self.figures.budget_refusals.inc();
                break;
            }
            tokio::time::sleep(pause).await;
            self.figures.retries.inc();
            match self.attempt(until, ask).await {
                // What the attempts before have done is not known: "not asked" would be untrue.
                Err(error) if error.not_asked() => break,
                Err(error) => last = error,
                answered => return answered,
            }
        }
        Err(last)
    }

    async fn attempt<T, F>(&self, until: Instant, ask: &impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        if !self.has_time(until, Duration::ZERO) {
            return Err(CallError::Timeout);
        }
        let now_ns = self.now_ns();
        let ticket = self.breaker(|breaker| breaker.admit(now_ns)).ok_or(CallError::Open)?;
        let admitted = Admitted { guard: self, ticket: Some(ticket) };
        // A wait for a place must leave the attempt its time.
        let patience = until.saturating_duration_since(timer::now()).saturating_sub(self.least());
        let place = self.bulkhead.enter(patience).await;
        let _place = place.map_err(|Full| {
            self.figures.bulkhead_refusals.inc();
            CallError::Full
        })?;
        let asked = timer::now();
        let limit = until.saturating_duration_since(asked).min(self.settings.attempt);
        match tokio::time::timeout(limit, ask()).await {
            Ok(Ok(answer)) => {
                admitted.succeeded();
                Ok(answer)
            }
            Ok(Err(Failure::Refused(status))) => {
                admitted.succeeded();
                Err(CallError::Refused(status))
            }
            Ok(Err(Failure::Failed)) => {
                admitted.failed();
                Err(CallError::Failed)
            }
            Err(_) => {
                // Who notices only long after has stood still itself, and knows nothing of others: all that was under way
                // would open the breaker at once.
                if asked.elapsed() < limit + limit / 2 {
                    admitted.failed();
                }
                Err(CallError::Timeout)
            }
        }
    }

    /// What an attempt must have, lest the breaker hear of failures that were its caller's haste: half of
    /// what it may take.
    fn least(&self) -> Duration {
        self.settings.attempt.min(self.settings.call) / 2
    }

    /// Whether an attempt that begins after `pause` is worth beginning.
    fn has_time(&self, until: Instant, pause: Duration) -> bool {
        until.saturating_duration_since(timer::now()) >= pause + self.least()
    }

    /// As `/health` shows it.
    #[must_use]
    pub fn health(&self) -> GuardHealth {
        GuardHealth {
            breaker: self.breaker(|breaker| breaker.position()).name(),
            calls_under_way: self.bulkhead.under_way(),
            calls_waiting: self.bulkhead.waiting(),
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn breaker<T>(&self, ask: impl FnOnce(&mut Breaker) -> T) -> T {
        // Whoever panicked before has left it whole: each change is one step.
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.position();
        let answer = ask(&mut breaker);
        let after = breaker.position();
        // Under the lock: two changes must not be shown in the wrong order.
        if after != before {
            self.figures.turned(after);
            let dependency = self.figures.dependency();
            match after {
                Position::Closed => tracing::info!(dependency, "breaker closed"),
                Position::HalfOpen => tracing::info!(dependency, "breaker half-open"),
                Position::Open => tracing::warn!(dependency, "breaker open"),
            }
        }
        answer
    }

    fn budget<T>(&self, ask: impl FnOnce(&mut Budget) -> T) -> T {
        ask(&mut self.budget.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn random() -> u32 {
    // Without randomness retries come late and together: better than not at all.
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
