//! The retry budget: how many retries there may be is a share of how many calls there are, and a few a
//! second besides, for those who hardly call. The manner is Finagle's
//! (<https://finagle.github.io/blog/2016/02/08/retry-budgets/>): without it three attempts for each call
//! treble the load on a dependency just when it has too much.
//!
//! A bucket of tokens that begins full: each call puts a part of a token in, each retry takes one out.

/// Parts of a token.
const TOKEN: u64 = 1_000_000;
/// The bucket holds what comes by itself in this time: a longer calm does not pay for a bigger storm.
const HOLDS_S: u64 = 10;
const NANOS_PER_SEC: u128 = 1_000_000_000;

/// How much may be retried.
#[derive(Debug, Clone, Copy)]
pub struct BudgetSettings {
    /// Retries for a hundred calls.
    pub percent: u32,
    /// Retries a second on top; 1 or more.
    pub floor_per_s: u32,
}

/// A budget. It reads no clock: whoever asks says what time it is.
#[derive(Debug)]
pub struct Budget {
    settings: BudgetSettings,
    /// In parts of a token.
    held: u64,
    /// Until when the floor has been paid in.
    paid_ns: u64,
}

impl Budget {
    /// A full one, at zero of the clock.
    #[must_use]
    pub fn new(settings: BudgetSettings) -> Self {
        let mut budget = Self { settings, held: 0, paid_ns: 0 };
        budget.held = budget.most();
        budget
    }

    fn most(&self) -> u64 {
        u64::from(self.settings.floor_per_s) * HOLDS_S * TOKEN
    }

    fn put(&mut self, parts: u64) {
        self.held = self.held.saturating_add(parts).min(self.most());
    }

    /// A call has begun.
    pub fn call(&mut self) {
        self.put(u64::from(self.settings.percent) * (TOKEN / 100));
    }

    /// Whether there may be a retry now; if so it is paid for.
    pub fn retry(&mut self, now_ns: u64) -> bool {
        let since_ns = u128::from(now_ns.saturating_sub(self.paid_ns));
        let parts = since_ns * u128::from(self.settings.floor_per_s) * u128::from(TOKEN) / NANOS_PER_SEC;
        self.put(u64::try_from(parts).unwrap_or(u64::MAX));
        self.paid_ns = self.paid_ns.max(now_ns);
        match self.held.checked_sub(TOKEN) {
            Some(left) => {
                self.held = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spend(budget: &mut Budget, now_ns: u64) -> u64 {
        (0..10_000).take_while(|_| budget.retry(now_ns)).count() as u64
    }

    #[test]
    fn retries_are_a_share_of_calls_and_a_few_a_second() {
        let mut budget = Budget::new(BudgetSettings { percent: 20, floor_per_s: 2 });
        assert_eq!(spend(&mut budget, 0), 20, "it begins full");
        (0..50).for_each(|_| budget.call());
        assert_eq!(spend(&mut budget, 0), 10);
        assert_eq!(spend(&mut budget, 3_000_000_000), 6);
        assert_eq!(spend(&mut budget, 3_000_000_000), 0);
        assert_eq!(spend(&mut budget, 1_000_000_000_000), 20, "and never holds more");
    }

    #[test]
    fn a_clock_that_does_not_move_on_pays_nothing() {
        let mut budget = Budget::new(BudgetSettings { percent: 0, floor_per_s: 1 });
        assert_eq!(spend(&mut budget, 5_000_000_000), 10);
        assert_eq!(spend(&mut budget, 0), 0);
        assert_eq!(spend(&mut budget, 5_000_000_000), 0);
    }

    proptest! {
        /// However calls and retries come: retries ≤ share × calls + floor × seconds + what it holds.
        #[test]
        fn no_storm_beats_it(
            percent in 0u32..=100,
            floor_per_s in 1u32..20,
            steps in proptest::collection::vec((0u64..50_000_000, 0u32..5, 0u32..10), 1..200),
        ) {
            let mut budget = Budget::new(BudgetSettings { percent, floor_per_s });
            let (mut now_ns, mut calls, mut retries) = (0u64, 0u64, 0u64);
            for (wait_ns, call, retry) in steps {
                now_ns += wait_ns;
                for _ in 0..call {
                    budget.call();
                    calls += 1;
                }
                retries += (0..retry).filter(|_| budget.retry(now_ns)).count() as u64;
            }
            let seconds = now_ns as f64 / 1e9;
            let most = calls as f64 * f64::from(percent) / 100.0
                + f64::from(floor_per_s) * (seconds + HOLDS_S as f64);
            prop_assert!(retries as f64 <= most + 1e-6, "{retries} > {most}");
        }
    }
}
