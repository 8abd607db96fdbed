//! Counting what became of a worker's requests.

use squall_record::ops::Op;
use squall_record::outcome::{Failure, Outcome};
use squall_scenarios::check::holds;
use squall_scenarios::plan::Plan;
use squall_scenarios::workload::Workload;

use crate::answer::Answer;
use crate::cells::Cells;
use crate::retries::{Pending, Retries};
use crate::transport::{Finished, Flight};

/// Counting, apart from the pool so that the pool can report while it is borrowed.
pub(crate) struct Tally<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) workload: &'a Workload,
    pub(crate) cells: Cells,
    /// Recent service times.
    pub(crate) service: Recent,
    /// Whether requests have an intended instant.
    pub(crate) open: bool,
    /// Failed requests that will be asked again.
    pub(crate) retries: Retries,
    /// The load is ending: nothing more is tried again.
    pub(crate) closing: bool,
    /// Requests that wanted a connection in this second and in the one before.
    pub(crate) asked: [u64; 2],
}

/// A mean that follows the newest values, each weighted 1/64, and the least it has been.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recent {
    pub(crate) mean: u64,
    pub(crate) least: u64,
    pub(crate) seen: u64,
}

impl Recent {
    /// Values before the mean means something.
    pub(crate) const ENOUGH: u64 = 16;

    pub(crate) const fn new() -> Self {
        Self { mean: 0, least: u64::MAX, seen: 0 }
    }

    #[inline]
    fn add(&mut self, value: u64) {
        self.mean = if self.seen == 0 { value } else { self.mean - self.mean / 64 + value / 64 };
        self.seen += 1;
        if self.seen >= Self::ENOUGH {
            self.least = self.least.min(self.mean);
        }
    }
}

impl Tally<'_> {
    /// Counts an attempt that ended, and its arrival with it unless it is tried again.
    #[inline]
    pub(crate) fn finish(&mut self, finished: Finished, body: &[u8], now_ns: u64) {
        let Finished { flight, result } = finished;
        let outcome = match result {
            Ok(answer) => self.classify(flight.class, answer, body),
            Err(failure) => Outcome::Failed(failure),
        };
        let status = result.map_or(0, |a| a.status);
        let service_ns = now_ns.saturating_sub(flight.fired_ns);
        if self.workload.has_key(flight.class) {
            self.cells.slice.ops.push(Op {
                index: flight.index,
                attempt: flight.attempt,
                fired_ns: flight.fired_ns,
                took_us: u32::try_from(service_ns.div_ceil(1000)).unwrap_or(u32::MAX),
                status,
                class: flight.class as u8,
                outcome,
            });
        }
        if outcome.is_good() {
            self.service.add(service_ns);
        } else if let Some(pause_ns) = self.pause_ns(flight, outcome, status) {
            self.retries.push(Pending { due_ns: now_ns + pause_ns, flight, outcome, service_ns });
            return;
        }
        self.settle(flight, outcome, service_ns, now_ns);
    }

    /// Counts an arrival that will not be tried again as what its last attempt ended as.
    pub(crate) fn give_up(&mut self, pending: Pending, now_ns: u64) {
        self.settle(pending.flight, pending.outcome, pending.service_ns, now_ns);
    }

    /// How long the client waits before it tries again; `None` when it does not.
    fn pause_ns(&self, flight: Flight, outcome: Outcome, status: u16) -> Option<u64> {
        let retry = self.plan.requests[usize::from(flight.class)].retry.as_ref()?;
        (!self.closing && flight.attempt < retry.attempts && retry.covers(outcome, status))
            .then(|| retry.pause_ns(self.plan.seed, flight.index, flight.attempt))
    }

    #[inline]
    fn settle(&mut self, flight: Flight, outcome: Outcome, service_ns: u64, now_ns: u64) {
        let cell = self.cells.of(flight.phase, flight.class);
        cell.counts.finish(outcome);
        if outcome.is_good() || outcome == Outcome::Failed(Failure::Timeout) {
            if self.open {
                cell.response.record_ns(now_ns.saturating_sub(flight.intended_ns));
            }
            cell.service.record_ns(service_ns);
        }
    }

    fn classify(&self, class: u16, answer: Answer, body: &[u8]) -> Outcome {
        let request = &self.plan.requests[usize::from(class)];
        let status = answer.status;
        let outcome = outcome_of(status, answer.not_executed, &request.expect, &request.declined);
        if outcome == Outcome::Ok && !request.check.is_empty() && !holds(&request.check, body) {
            return Outcome::Failed(Failure::CheckFailed);
        }
        outcome
    }
}

/// What a complete answer means: `expect` are the statuses of success, every 2xx when empty.
#[inline]
pub(crate) fn outcome_of(status: u16, not_executed: bool, expect: &[u16], declined: &[u16]) -> Outcome {
    let expected = if expect.is_empty() { (200..300).contains(&status) } else { expect.contains(&status) };
    if expected {
        Outcome::Ok
    } else if declined.contains(&status) {
        Outcome::Declined
    } else if not_executed && matches!(status, 429 | 503) {
        Outcome::Shed
    } else if status >= 500 {
        Outcome::Failed(Failure::ServerError)
    } else {
        Outcome::Failed(Failure::UnexpectedStatus)
    }
}
