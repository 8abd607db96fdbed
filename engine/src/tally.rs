//! Counting what became of a worker's requests.

use squall_record::ops::Op;
use squall_record::outcome::{Failure, Outcome};
use squall_scenarios::plan::Plan;
use squall_scenarios::workload::Workload;

use crate::answer::Answer;
use crate::cells::Cells;
use crate::transport::Finished;

/// Counting, apart from the pool so that the pool can report while it is borrowed.
pub(crate) struct Tally<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) workload: &'a Workload,
    pub(crate) cells: Cells,
    /// Recent service times.
    pub(crate) service: Recent,
    /// Arrivals taken from the source in this second and in the one before.
    pub(crate) planned: [u64; 2],
    /// Whether requests have an intended instant.
    pub(crate) open: bool,
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
    /// Counts a request that ended.
    #[inline]
    pub(crate) fn finish(&mut self, finished: Finished, now_ns: u64) {
        let Finished { flight, result } = finished;
        let outcome = match result {
            Ok(answer) => self.classify(flight.class, answer),
            Err(failure) => Outcome::Failed(failure),
        };
        let service_ns = now_ns.saturating_sub(flight.fired_ns);
        let cell = self.cells.of(flight.phase, flight.class);
        cell.counts.finish(outcome);
        if outcome.is_good() || outcome == Outcome::Failed(Failure::Timeout) {
            if self.open {
                cell.response.record_ns(now_ns.saturating_sub(flight.intended_ns));
            }
            cell.service.record_ns(service_ns);
        }
        if outcome.is_good() {
            self.service.add(service_ns);
        }
        if self.workload.has_key(flight.class) {
            self.cells.slice.ops.push(Op {
                index: flight.index,
                fired_ns: flight.fired_ns,
                took_us: u32::try_from(service_ns.div_ceil(1000)).unwrap_or(u32::MAX),
                status: result.map_or(0, |a| a.status),
                class: flight.class as u8,
                outcome,
            });
        }
    }

    fn classify(&self, class: u16, answer: Answer) -> Outcome {
        let request = &self.plan.requests[usize::from(class)];
        let status = answer.status;
        let expected = if request.expect.is_empty() {
            (200..300).contains(&status)
        } else {
            request.expect.contains(&status)
        };
        if expected {
            Outcome::Ok
        } else if request.declined.contains(&status) {
            Outcome::Declined
        } else if answer.not_executed && matches!(status, 429 | 503) {
            Outcome::Shed
        } else if status >= 500 {
            Outcome::Failed(Failure::ServerError)
        } else {
            Outcome::Failed(Failure::UnexpectedStatus)
        }
    }
}
