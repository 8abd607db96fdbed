//! When a delivery that failed is tried again.

use std::time::Duration;

/// How often, and after how long.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// The pause after the first failure; it doubles with each.
    pub base: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// Tries, the first included; then the notice is a dead letter.
    pub max_deliveries: u32,
}

impl Retries {
    /// The pause after `deliveries` that failed: half of it fixed, half of it by `dice`, so that what failed
    /// together does not come back together.
    #[must_use]
    pub fn pause(&self, deliveries: u32, dice: u64) -> Duration {
        let doublings = deliveries.saturating_sub(1).min(31);
        let whole = self.base.saturating_mul(1 << doublings).min(self.longest);
        let share = dice as f64 / u64::MAX as f64;
        whole / 2 + (whole / 2).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RETRIES: Retries =
        Retries { base: Duration::from_secs(1), longest: Duration::from_secs(600), max_deliveries: 16 };

    #[test]
    fn pauses_double_up_to_the_longest() {
        let longest = |n| RETRIES.pause(n, u64::MAX).as_secs();
        assert_eq!([longest(1), longest(2), longest(3), longest(10)], [1, 2, 4, 512]);
        assert_eq!([longest(11), longest(32), longest(u32::MAX)], [600; 3]);
        assert_eq!(RETRIES.pause(3, 0), Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn a_pause_is_at_least_half_of_what_it_may_be(n: u32, dice: u64) {
            let (least, pause, most) = (RETRIES.pause(n, 0), RETRIES.pause(n, dice), RETRIES.pause(n, u64::MAX));
            prop_assert!(least <= pause && pause <= most && most <= least * 2);
        }
    }
}
