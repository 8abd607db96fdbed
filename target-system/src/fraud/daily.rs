//! What each payer has paid today, as far as this process knows: for the rule that decides when the fraud
//! service does not.
//!
//! An amount counts from the moment at which its payment is under way, so that payments at the same time
//! cannot pass under the bound together; one that is not made gives it back. Another process's payments are
//! not seen, nor those from before the start.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::AccountId;

const MS_PER_DAY: u64 = 24 * 3600 * 1000;

/// The totals of one day, in UTC.
#[derive(Debug, Default)]
struct Day {
    number: u64,
    totals: HashMap<AccountId, i64>,
}

impl Day {
    /// Adds to a payer's total; `None` when as many payers are known as may be.
    fn add(&mut self, payer: AccountId, amount: i64, day: u64, most: usize) -> Option<i64> {
        if day > self.number {
            *self = Day { number: day, totals: HashMap::new() };
        }
        let known = self.totals.len();
        let total = match self.totals.entry(payer) {
            Entry::Occupied(total) => total.into_mut(),
            Entry::Vacant(free) if known < most => free.insert(0),
            Entry::Vacant(_) => return None,
        };
        *total = total.saturating_add(amount);
        Some(*total)
    }

    /// Takes back what was added on `day`.
    fn take_back(&mut self, payer: AccountId, amount: i64, day: u64) {
        if day != self.number {
            return;
        }
        if let Entry::Occupied(mut total) = self.totals.entry(payer) {
            *total.get_mut() -= amount;
            if *total.get() <= 0 {
                total.remove();
            }
        }
    }
}

/// Today's totals.
#[derive(Debug)]
pub struct DailyTotals {
    day: Mutex<Day>,
    most: usize,
}

/// An amount that counts; given back when this is dropped, unless it is kept.
#[derive(Debug)]
pub struct Counted {
    totals: Arc<DailyTotals>,
    payer: AccountId,
    amount: i64,
    day: u64,
    /// The payer's total with it, where it is known.
    pub total: Option<i64>,
}

impl DailyTotals {
    /// Totals of up to `most` payers a day. Of those beyond it nothing is known.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { day: Mutex::default(), most }
    }

    /// Counts `amount` for `payer` at `now_ms` since the Unix epoch.
    #[must_use]
    pub fn count(self: &Arc<Self>, payer: AccountId, amount: i64, now_ms: u64) -> Counted {
        // A clock that is set back does not bring yesterday back.
        let (total, day) =
            self.with(|day| (day.add(payer, amount, now_ms / MS_PER_DAY, self.most), day.number));
        Counted { totals: Arc::clone(self), payer, amount, day, total }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Day) -> T) -> T {
        change(&mut self.day.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counted {
    /// The payment was made: it counts until the day is over.
    pub fn keep(mut self) {
        self.total = None;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.total.is_some() {
            self.totals.with(|day| day.take_back(self.payer, self.amount, self.day));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: AccountId = AccountId(1);
    const B: AccountId = AccountId(2);

    #[test]
    fn what_is_kept_counts_until_midnight_and_what_is_dropped_does_not() {
        let totals = Arc::new(DailyTotals::new(10));
        totals.count(A, 100, 5).keep();
        let under_way = totals.count(A, 30, 5);
        assert_eq!(under_way.total, Some(130));
        assert_eq!(totals.count(B, 7, 5).total, Some(7));
        drop(under_way);
        assert_eq!(totals.count(A, 1, MS_PER_DAY - 1).total, Some(101));
        let yesterdays = totals.count(A, 50, MS_PER_DAY - 1);
        assert_eq!(totals.count(A, 1, MS_PER_DAY).total, Some(1));
        totals.count(A, 5, MS_PER_DAY).keep();
        drop(yesterdays);
        assert_eq!(totals.count(A, 1, MS_PER_DAY).total, Some(6), "yesterday's is not taken from today");
    }

    #[test]
    fn no_more_payers_than_may_be_and_a_place_that_comes_free_is_taken() {
        let totals = Arc::new(DailyTotals::new(1));
        let first = totals.count(A, 1, 0);
        assert_eq!(totals.count(B, 1, 0).total, None);
        drop(first);
        assert_eq!(totals.count(B, 1, 0).total, Some(1));
    }

    proptest! {
        /// In whatever order payments begin and end: a payer's total is what was kept and is under way.
        #[test]
        fn a_total_is_the_sum_of_what_counts(steps in proptest::collection::vec((1i64..1000, 0u8..3, any::<usize>()), 0..100)) {
            let totals = Arc::new(DailyTotals::new(4));
            let (mut kept, mut out) = (0, Vec::new());
            for (amount, what, i) in steps {
                match what {
                    1 if !out.is_empty() => {
                        let i = i % out.len();
                        let counted: Counted = out.swap_remove(i);
                        kept += counted.amount;
                        counted.keep();
                    }
                    2 if !out.is_empty() => {
                        let i = i % out.len();
                        drop(out.swap_remove(i));
                    }
                    _ => out.push(totals.count(A, amount, 0)),
                }
                let under_way: i64 = out.iter().map(|c| c.amount).sum();
                prop_assert_eq!(totals.count(A, 1, 0).total, Some(kept + under_way + 1));
            }
        }
    }
}
