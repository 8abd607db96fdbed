//! How many payments may be under way.
//!
//! By Little's law as many as the service completes in the time that a payment may wait; whatever comes
//! beyond that would only be answered too late. A floor keeps it from closing altogether, so that it notices
//! when whatever held it up is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use squall_record::clock::Clock;

use crate::limits::{ADMISSION_FLOOR, ADMISSION_TICK};

/// The memory of the rate of completion, in seconds: what was longer ago counts for less than a third.
const MEMORY_S: f64 = 1.0;

/// Payments under way, and how many there may be.
#[derive(Debug)]
pub struct Admission {
    max_wait: Option<Duration>,
    under_way: AtomicUsize,
    completed: AtomicU64,
    limit: AtomicUsize,
}

/// A payment under way.
#[derive(Debug)]
pub struct Admitted<'a>(&'a Admission);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
        self.0.completed.fetch_add(1, Relaxed);
    }
}

impl Admission {
    /// Everything is admitted when there is no `max_wait`.
    #[must_use]
    pub fn new(max_wait: Option<Duration>) -> Self {
        let limit = if max_wait.is_some() { ADMISSION_FLOOR } else { usize::MAX };
        Self { max_wait, under_way: AtomicUsize::new(0), completed: AtomicU64::new(0), limit: limit.into() }
    }

    /// Lets a payment in until it is dropped; `None` when it would wait too long.
    pub fn admit(&self) -> Option<Admitted<'_>> {
        let admitted = Admitted(self);
        if self.under_way.fetch_add(1, Relaxed) < self.limit.load(Relaxed) {
            return Some(admitted);
        }
        std::mem::forget(admitted);
        self.under_way.fetch_sub(1, Relaxed);
        None
    }

    /// Payments under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.load(Relaxed)
    }

    /// How many there may be; `None` when nobody asks.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.max_wait.map(|_| self.limit.load(Relaxed))
    }
}

/// Follows the rate of completion, for as long as the service lives.
pub async fn follow(admission: Arc<Admission>) {
    let Some(max_wait) = admission.max_wait else { return };
    let clock = Clock::start();
    let mut ticks = tokio::time::interval(ADMISSION_TICK);
    let (mut rate, mut before, mut before_s) = (Rate::default(), 0, 0.0);
    loop {
        ticks.tick().await;
        let (completed, now_s) = (admission.completed.load(Relaxed), clock.now_s());
        rate.add(completed - before, now_s - before_s);
        (before, before_s) = (completed, now_s);
        admission.limit.store(limit(rate.per_s, max_wait), Relaxed);
    }
}

/// How many may be under way at this rate of completion.
fn limit(per_s: f64, max_wait: Duration) -> usize {
    ADMISSION_FLOOR.max((per_s * max_wait.as_secs_f64()) as usize)
}

/// An exponentially weighted mean.
#[derive(Debug, Default)]
struct Rate {
    per_s: f64,
}

impl Rate {
    /// Adds `count` in the last `seconds`.
    fn add(&mut self, count: u64, seconds: f64) {
        if seconds > 0.0 {
            let weight = 1.0 - (-seconds / MEMORY_S).exp();
            self.per_s += weight * (count as f64 / seconds - self.per_s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_what_is_completed() {
        let mut rate = Rate::default();
        (0..100).for_each(|_| rate.add(500, 0.1));
        assert!((rate.per_s - 5000.0).abs() < 1.0, "{}", rate.per_s);
        (0..10).for_each(|_| rate.add(0, 0.1));
        assert!((rate.per_s - 5000.0 / std::f64::consts::E).abs() < 1.0, "{}", rate.per_s);
        rate.add(7, 0.0);
        assert!(rate.per_s.is_finite());
    }

    #[test]
    fn it_admits_what_is_completed_in_the_time_that_one_may_wait() {
        assert_eq!(limit(5000.0, Duration::from_secs(2)), 10_000);
        assert_eq!(limit(0.0, Duration::from_secs(2)), ADMISSION_FLOOR);
    }

    #[test]
    fn beyond_the_limit_nobody_is_let_in_until_somebody_has_left() {
        let admission = Admission::new(Some(Duration::from_secs(1)));
        let mut all: Vec<_> =
            (0..ADMISSION_FLOOR).map(|_| admission.admit().expect("there is room")).collect();
        assert!(admission.admit().is_none() && admission.admit().is_none());
        assert_eq!(admission.under_way(), ADMISSION_FLOOR);
        drop(all.pop());
        assert!(admission.admit().is_some());
        assert_eq!(admission.completed.load(Relaxed), 2);
        let open = Admission::new(None);
        let many: Vec<_> = (0..100_000).map(|_| open.admit()).collect();
        assert!(many.iter().all(Option::is_some) && open.limit().is_none());
    }
}
