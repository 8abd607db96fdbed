//! Where a worker's arrivals come from.

use squall_scenarios::schedule::{Arrival, Schedule};

use crate::control::Posted;
use crate::feed::Feed;

/// A worker's arrivals, in order of their intended instants.
pub(crate) enum Source {
    /// A schedule that does not care how the target does.
    Open {
        /// What is still to come.
        schedule: Box<Schedule>,
        /// When the plan ends: until then a change of the rate may bring further arrivals.
        end_ns: u64,
    },
    /// What another thread reads ahead.
    Fed {
        /// Where it comes in.
        feed: Feed,
        /// When the plan ends, which may be after the last arrival.
        end_ns: u64,
    },
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
    /// When the next arrival is intended, or else the plan ends; `None` when nothing is to come that
    /// time alone brings.
    pub(crate) fn next_ns(&mut self, now_ns: u64, has_idle: bool) -> Option<u64> {
        match self {
            Source::Open { schedule, end_ns } => match schedule.peek() {
                Some(a) => Some(a.at_ns),
                None => (now_ns < *end_ns).then_some(*end_ns),
            },
            Source::Fed { feed, end_ns } => {
                feed.next_ns(now_ns).or_else(|| (now_ns < *end_ns).then_some(*end_ns))
            }
            Source::Closed { until_ns, .. } => (now_ns < *until_ns && has_idle).then_some(now_ns),
        }
    }

    /// The next arrival, when it is due.
    #[inline]
    pub(crate) fn take_due(&mut self, now_ns: u64, has_idle: bool) -> Option<Arrival> {
        match self {
            Source::Open { schedule, .. } => {
                schedule.peek().filter(|a| a.at_ns <= now_ns)?;
                schedule.next()
            }
            Source::Fed { feed, .. } => {
                feed.peek().filter(|a| a.at_ns <= now_ns)?;
                feed.take()
            }
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

    /// Method and path of the arrival taken last, as recorded; empty when the workload says what is
    /// asked.
    #[inline]
    pub(crate) fn recorded(&self) -> &[u8] {
        match self {
            Source::Fed { feed, .. } => feed.recorded(),
            Source::Open { .. } | Source::Closed { .. } => &[],
        }
    }

    /// The next planned arrival, due or not; a closed source plans none ahead.
    pub(crate) fn take_planned(&mut self) -> Option<Arrival> {
        match self {
            Source::Open { schedule, .. } => schedule.next(),
            Source::Fed { feed, .. } => feed.take(),
            Source::Closed { .. } => None,
        }
    }

    /// Changes the rate of what is still to come. A closed source has none.
    pub(crate) fn change(&mut self, posted: Posted) {
        if let Source::Open { schedule, .. } = self {
            // Refused are rates that are none or beyond the highest there is, and more changes than
            // a `Control` posts. Every worker refuses alike.
            let _ = schedule.change(posted.at_ns, posted.change);
        }
    }

    /// Whether no arrival is left.
    pub(crate) fn is_exhausted(&mut self, now_ns: u64) -> bool {
        match self {
            Source::Open { schedule, end_ns } => now_ns >= *end_ns && schedule.peek().is_none(),
            Source::Fed { feed, end_ns } => now_ns >= *end_ns && feed.is_exhausted(),
            Source::Closed { until_ns, .. } => now_ns >= *until_ns,
        }
    }
}
