//! Requests that failed and that their clients will ask again.
//!
//! Between two attempts an arrival is neither on the wire nor waiting for a connection, but it is
//! in flight: it holds its place in `max_in_flight` until it is settled. So there are never more
//! pending retries than that, however badly the target does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use squall_record::outcome::Outcome;

use crate::transport::Flight;

/// A failed attempt, and when the next one is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) due_ns: u64,
    /// The attempt that failed.
    pub(crate) flight: Flight,
    /// How it failed, and so what becomes of the arrival if it is not tried again.
    pub(crate) outcome: Outcome,
    pub(crate) service_ns: u64,
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due_ns, self.flight.index).cmp(&(other.due_ns, other.flight.index))
    }
}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Pending retries, the next one due first.
#[derive(Debug, Default)]
pub(crate) struct Retries(BinaryHeap<Reverse<Pending>>);

impl Retries {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn push(&mut self, pending: Pending) {
        self.0.push(Reverse(pending));
    }

    /// When the next one is due.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.0.peek().map(|p| p.0.due_ns)
    }

    /// The next one, when it is due.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<Pending> {
        (self.next_due_ns()? <= now_ns).then(|| self.0.pop()).flatten().map(|p| p.0)
    }

    /// Any of them, due or not.
    pub(crate) fn take(&mut self) -> Option<Pending> {
        self.0.pop().map(|p| p.0)
    }
}
