//! Changing the load while it runs.
//!
//! A change is posted once and holds for every worker from one instant, [`LEAD_NS`] ahead. Each
//! worker looks for news once a pass, which it makes five times in that at least, and gives them to its
//! schedule, which rewrites what is still to come. So the load stays one function of plan, seed and
//! changes, whatever the number of workers. Looking for news costs a pass one read of a counter
//! that nobody writes while nothing is posted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_scenarios::schedule::Change;

/// How far ahead of its posting a change is to take effect.
pub const LEAD_NS: u64 = 100_000_000;
/// The most changes of one run. A schedule keeps those that it has not passed, and while a run is
/// paused it passes none; this is less than a schedule keeps.
pub const MAX_CHANGES: usize = 1_000;

const _: () = assert!(MAX_CHANGES < squall_scenarios::schedule::MAX_PENDING_CHANGES);

/// [`MAX_CHANGES`] were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the load was changed {MAX_CHANGES} times in this run, which is the most there is")]
pub struct TooManyChanges;

/// A change and the instant from which it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posted {
    /// In nanoseconds from the start.
    pub at_ns: u64,
    /// The change.
    pub change: Change,
}

/// The one way to change a running load. Copies are the same.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    /// How many there are; written after them.
    count: AtomicUsize,
    changes: Mutex<Vec<Posted>>,
}

impl Control {
    /// Nothing is changed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Posts `change`, to hold from `at_ns` on, and gives the instant from which it holds: that, or
    /// the one of the change before when that is later. Let it lie [`LEAD_NS`] ahead, or workers
    /// that notice late go on with the old load for a while.
    ///
    /// # Errors
    /// [`TooManyChanges`]
    pub fn post(&self, at_ns: u64, change: Change) -> Result<u64, TooManyChanges> {
        let mut changes = self.changes();
        if changes.len() == MAX_CHANGES {
            return Err(TooManyChanges);
        }
        let at_ns = at_ns.max(changes.last().map_or(0, |p| p.at_ns));
        changes.push(Posted { at_ns, change });
        self.0.count.store(changes.len(), Ordering::Release);
        Ok(at_ns)
    }

    /// Whether more was posted than the first `seen` changes.
    #[inline]
    pub(crate) fn has_news(&self, seen: usize) -> bool {
        self.0.count.load(Ordering::Acquire) != seen
    }

    /// The changes after the first `seen`.
    pub(crate) fn news(&self, seen: usize) -> Vec<Posted> {
        self.changes().get(seen..).unwrap_or_default().to_vec()
    }

    fn changes(&self) -> MutexGuard<'_, Vec<Posted>> {
        // A list is whole after every push.
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_hold_in_the_order_in_which_they_were_posted() {
        let control = Control::new();
        assert!(!control.has_news(0));
        assert_eq!(control.post(500, Change::Pause), Ok(500));
        assert_eq!(control.post(400, Change::Resume), Ok(500));
        assert_eq!(control.clone().post(600, Change::Rate(1.0)), Ok(600));
        assert!(control.has_news(2) && !control.has_news(3));
        let (first, second) =
            (Posted { at_ns: 500, change: Change::Resume }, Posted { at_ns: 600, change: Change::Rate(1.0) });
        assert_eq!(control.news(1), [first, second]);
        assert!(control.news(3).is_empty());
    }

    #[test]
    fn a_flood_of_changes_is_bounded() {
        let control = Control::new();
        for _ in 0..MAX_CHANGES {
            control.post(0, Change::Scale(1.0)).unwrap();
        }
        assert_eq!(control.post(0, Change::Pause), Err(TooManyChanges));
        assert_eq!(control.news(0).len(), MAX_CHANGES);
    }
}
