//! How many wrong passwords a name may have.
//!
//! Only wrong ones count, so that a user who logs in often is not held up. A name that nobody has counts like any
//! other: that it is refused tells nothing. There is a fixed number of counters, and which is whose is a hash under
//! a secret of the process.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use squall_record::clock::Clock;

use crate::http::rates::Allowance;

/// Counters. Half a megabyte.
const COUNTERS: usize = 1 << 16;

/// Wrong passwords of each name, as the generic cell rate algorithm counts them.
#[derive(Debug)]
pub struct Attempts {
    /// Until when what was taken lasts, in nanoseconds of `clock`.
    taken_until: Box<[AtomicU64]>,
    /// What one wrong password takes, and how much may be taken ahead.
    each_ns: u64,
    ahead_ns: u64,
    secret: RandomState,
    clock: Clock,
}

impl Attempts {
    /// Counters that allow each name so many wrong passwords.
    #[must_use]
    pub fn new(allowance: Allowance) -> Self {
        let ahead_ns = u64::try_from(allowance.every().as_nanos()).unwrap_or(u64::MAX);
        Self {
            taken_until: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            each_ns: (ahead_ns / u64::from(allowance.requests().get())).max(1),
            ahead_ns,
            secret: RandomState::new(),
            clock: Clock::start(),
        }
    }

    /// Counts a wrong password of `name`, before it is known whether it is one: what is tried at once is counted,
    /// too.
    ///
    /// # Errors
    /// How long it will be until another may be tried.
    pub fn take(&self, name: &str) -> Result<Taken<'_>, Duration> {
        self.take_at(name, self.clock.now_ns())
    }

    fn take_at(&self, name: &str, now_ns: u64) -> Result<Taken<'_>, Duration> {
        let counter = &self.taken_until[(self.secret.hash_one(name) % COUNTERS as u64) as usize];
        let taken =
            |until: u64| Some(until.max(now_ns) + self.each_ns).filter(|u| *u <= now_ns + self.ahead_ns);
        match counter.fetch_update(Relaxed, Relaxed, taken) {
            Ok(_) => Ok(Taken { counter, each_ns: self.each_ns }),
            Err(until) => Err(Duration::from_nanos(until + self.each_ns - now_ns - self.ahead_ns)),
        }
    }
}

/// A password that is being tried.
#[derive(Debug)]
#[must_use]
pub struct Taken<'a> {
    counter: &'a AtomicU64,
    each_ns: u64,
}

impl Taken<'_> {
    /// It was right, and does not count.
    pub fn give_back(self) {
        self.counter.fetch_sub(self.each_ns, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    fn wrong(attempts: &Attempts, name: &str, now_ns: u64) -> usize {
        (0..100).filter(|_| attempts.take_at(name, now_ns).is_ok()).count()
    }

    #[test]
    fn so_many_at_once_and_then_as_they_come_back() {
        let attempts = Attempts::new("3/min".parse().unwrap());
        assert_eq!(wrong(&attempts, "ann", MINUTE), 3);
        assert_eq!(attempts.take_at("ann", MINUTE).unwrap_err(), Duration::from_secs(20));
        assert_eq!(wrong(&attempts, "bob", MINUTE), 3, "another name has its own");
        assert_eq!(wrong(&attempts, "ann", MINUTE + MINUTE / 3), 1);
        assert_eq!(wrong(&attempts, "ann", 10 * MINUTE), 3, "no more than these are saved up");
    }

    #[test]
    fn right_passwords_do_not_count() {
        let attempts = Attempts::new("3/h".parse().unwrap());
        for _ in 0..100 {
            attempts.take_at("ann", MINUTE).unwrap().give_back();
        }
        assert_eq!(wrong(&attempts, "ann", MINUTE), 3);
        assert!(attempts.take_at("ann", MINUTE).is_err(), "nor does the right one come through now");
    }
}
