//! How long to wait before a retry: exponential with full jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>), so that those who failed
//! together do not come back together.

use std::time::Duration;

/// The bounds of a pause.
#[derive(Debug, Clone, Copy)]
pub struct BackoffSettings {
    /// The longest pause before the first retry; it doubles with each.
    pub first: Duration,
    /// No pause is longer.
    pub most: Duration,
}

impl BackoffSettings {
    /// The pause before retry `nth`, from 0: evenly between nothing and its longest, as `random` chooses.
    #[must_use]
    pub fn pause(&self, nth: u32, random: u32) -> Duration {
        let longest = 2u32.checked_pow(nth).and_then(|times| self.first.checked_mul(times));
        let longest = longest.unwrap_or(self.most).min(self.most);
        longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_longest_pause_doubles_up_to_its_bound() {
        let backoff = BackoffSettings { first: 10 * MS, most: 50 * MS };
        let longest: Vec<Duration> = (0..5).map(|nth| backoff.pause(nth, u32::MAX)).collect();
        assert_eq!(longest, [10 * MS, 20 * MS, 40 * MS, 50 * MS, 50 * MS]);
        assert_eq!(backoff.pause(3, 0), Duration::ZERO);
        assert_eq!(backoff.pause(u32::MAX, u32::MAX), 50 * MS);
    }

    proptest! {
        #[test]
        fn no_pause_is_beyond_its_bounds(first in 0u64..1000, most in 0u64..100_000, nth: u32, random: u32) {
            let backoff = BackoffSettings { first: MS * first as u32, most: MS * most as u32 };
            prop_assert!(backoff.pause(nth, random) <= backoff.most);
        }
    }
}
