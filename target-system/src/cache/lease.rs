//! Until when this process may answer from its cache.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use squall_record::clock::Clock;

use crate::limits::CACHE_LEASE;

/// The right to answer from the cache. It is lost by itself, unless it is renewed.
#[derive(Debug)]
pub struct Lease {
    clock: Clock,
    until_ns: AtomicU64,
    /// Counts the epochs that this process has taken part in: what was cached in another is not an answer.
    turn: AtomicU64,
}

impl Default for Lease {
    fn default() -> Self {
        Self { clock: Clock::start(), until_ns: AtomicU64::new(0), turn: AtomicU64::new(0) }
    }
}

impl Lease {
    /// Now, on this lease's clock.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Which turn it is.
    pub fn turn(&self) -> u64 {
        self.turn.load(SeqCst)
    }

    /// Whether what was cached in `turn` is an answer. To be asked after it was found.
    pub fn holds(&self, turn: u64) -> bool {
        // In this order: a new turn is there before its lease is.
        self.clock.now_ns() < self.until_ns.load(SeqCst) && self.turn() == turn
    }

    /// The epoch was found to be the current one by a question that was asked at `asked_ns`.
    pub fn renew(&self, asked_ns: u64) {
        // A tenth less than others wait, for clocks that do not run alike.
        self.until_ns.store(asked_ns.saturating_add(nanos(CACHE_LEASE) / 10 * 9), SeqCst);
    }

    /// Nothing that is cached is an answer any more.
    pub fn end(&self) {
        self.until_ns.store(0, SeqCst);
        self.turn.fetch_add(1, SeqCst);
    }
}

/// A duration as clocks count.
pub fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_lost_by_itself_and_by_its_end() {
        let lease = Lease::default();
        let turn = lease.turn();
        assert!(!lease.holds(turn), "nothing was asked yet");
        lease.renew(lease.now_ns());
        assert!(lease.holds(turn));
        assert!(!lease.holds(turn + 1));
        // An answer that took as long as the lease is worth nothing.
        let late = Lease { clock: Clock::start(), ..Lease::default() };
        std::thread::sleep(CACHE_LEASE);
        late.renew(0);
        assert!(!late.holds(late.turn()));
        lease.renew(lease.now_ns());
        lease.end();
        assert!(!lease.holds(turn));
        lease.renew(lease.now_ns());
        assert!(!lease.holds(turn) && lease.holds(turn + 1), "what was cached before is no answer");
    }
}
