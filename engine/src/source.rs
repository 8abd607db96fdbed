//! Where a worker's arrivals come from.

use std::iter::Peekable;

use squall_scenarios::schedule::Arrival;

/// A worker's arrivals, in order of their intended instants.
pub(crate) enum Source {
    /// A schedule that does not care how the target does.
    Open(Peekable<Box<dyn Iterator<Item = Arrival> + Send>>),
    /// The next request whenever a connection is free, until this instant.
    Closed {
        /// When it ends.
        until_ns: u64,
        /// The next index.
        next: u64,
        /// The distance between this worker's indices.
        stride: u64,
    },
}

impl Source {
    /// When the next arrival is intended; `None` when there is none that time alone brings.
    pub(crate) fn next_ns(&mut self, now_ns: u64, has_idle: bool) -> Option<u64> {
        match self {
            Source::Open(arrivals) => arrivals.peek().map(|a| a.at_ns),
            Source::Closed { until_ns, .. } => (now_ns < *until_ns && has_idle).then_some(now_ns),
        }
    }

    /// The next arrival, when it is due.
    #[inline]
    pub(crate) fn take_due(&mut self, now_ns: u64, has_idle: bool) -> Option<Arrival> {
        match self {
            Source::Open(arrivals) => arrivals.next_if(|a| a.at_ns <= now_ns),
            Source::Closed { until_ns, next, stride } => {
                if now_ns >= *until_ns || !has_idle {
                    return None;
                }
                let index = *next;
                *next += *stride;
                Some(Arrival { index, at_ns: now_ns, phase: 0 })
            }
        }
    }

    /// The next planned arrival, due or not; a closed source plans none ahead.
    pub(crate) fn take_planned(&mut self) -> Option<Arrival> {
        match self {
            Source::Open(arrivals) => arrivals.next(),
            Source::Closed { .. } => None,
        }
    }

    /// Whether no arrival is left.
    pub(crate) fn is_exhausted(&mut self, now_ns: u64) -> bool {
        match self {
            Source::Open(arrivals) => arrivals.peek().is_none(),
            Source::Closed { until_ns, .. } => now_ns >= *until_ns,
        }
    }
}
