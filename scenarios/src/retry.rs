//! When a client asks again.
//!
//! The pause before an attempt grows exponentially up to a limit. With full jitter it is drawn
//! evenly between zero and that, so that clients which failed together do not come back together
//! (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The draw is a
//! function of (seed, index, attempt).

use squall_record::outcome::{Failure, Outcome};

use crate::draw::{Draw, Lane};
use crate::plan::{Jitter, RetryCause, RetryPlan};

impl RetryPlan {
    /// Whether an attempt that ended so, with this status (0 for no answer), is followed by another.
    #[must_use]
    pub fn covers(&self, outcome: Outcome, status: u16) -> bool {
        let cause = match outcome {
            Outcome::Ok | Outcome::Declined => return false,
            Outcome::Shed => Some(RetryCause::Shed),
            Outcome::Failed(Failure::Timeout) => Some(RetryCause::Timeout),
            Outcome::Failed(Failure::Refused) => Some(RetryCause::Refused),
            Outcome::Failed(Failure::Reset) => Some(RetryCause::Reset),
            Outcome::Failed(Failure::ServerError) => Some(RetryCause::ServerError),
            Outcome::Failed(Failure::UnexpectedStatus | Failure::BadAnswer | Failure::CheckFailed) => None,
        };
        cause.is_some_and(|c| self.on.contains(&c)) || self.statuses.contains(&status)
    }

    /// How long arrival `index` waits after its `attempt`-th attempt (from 1), in nanoseconds.
    #[must_use]
    pub fn pause_ns(&self, seed: u64, index: u64, attempt: u8) -> u64 {
        let grown_ms = self.backoff_ms * self.factor.powi(i32::from(attempt) - 1);
        let most_ns = grown_ms.min(self.max_backoff_ms) * 1e6;
        let share = match self.jitter {
            Jitter::None => 1.0,
            // Indices are below 2^37, so the attempt has room beside them.
            Jitter::Full => Draw::new(seed, Lane::Retry, index << 8 | u64::from(attempt)).unit(),
        };
        (most_ns * share) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn retry(jitter: Jitter) -> RetryPlan {
        RetryPlan {
            attempts: 5,
            backoff_ms: 50.0,
            factor: 2.0,
            max_backoff_ms: 300.0,
            jitter,
            on: vec![RetryCause::Timeout],
            statuses: vec![409],
        }
    }

    #[test]
    fn without_jitter_the_pause_doubles_up_to_its_limit() {
        let r = retry(Jitter::None);
        let ms: Vec<u64> = (1..=5).map(|a| r.pause_ns(1, 7, a) / 1_000_000).collect();
        assert_eq!(ms, [50, 100, 200, 300, 300]);
    }

    #[test]
    fn full_jitter_spreads_clients_evenly_and_each_attempt_draws_its_own() {
        let r = retry(Jitter::Full);
        let n = 10_000;
        let mean_ms = (0..n).map(|i| r.pause_ns(1, i, 2) as f64 / 1e6).sum::<f64>() / n as f64;
        // Half of 100 ms; σ of the mean is 100 / √12 / √n ≈ 0.29 ms.
        assert!((mean_ms - 50.0).abs() < 1.5, "{mean_ms}");
        let tenths = (0..n).filter(|i| r.pause_ns(1, *i, 2) < 10_000_000).count();
        assert!(tenths.abs_diff(1000) < 150, "{tenths}");
        assert_eq!(r.pause_ns(1, 7, 1), r.pause_ns(1, 7, 1));
        assert_ne!(r.pause_ns(1, 7, 1) * 2, r.pause_ns(1, 7, 2));
        assert_ne!(r.pause_ns(1, 7, 1), r.pause_ns(2, 7, 1));
    }

    #[test]
    fn only_what_was_asked_for_is_tried_again() {
        let r = retry(Jitter::None);
        assert!(r.covers(Outcome::Failed(Failure::Timeout), 0));
        assert!(r.covers(Outcome::Failed(Failure::UnexpectedStatus), 409));
        assert!(!r.covers(Outcome::Failed(Failure::UnexpectedStatus), 404));
        assert!(!r.covers(Outcome::Failed(Failure::Reset), 0));
        assert!(!r.covers(Outcome::Ok, 409), "what is expected is not asked again");
    }

    proptest! {
        #[test]
        fn no_pause_is_above_its_limit(seed: u64, index in 0u64..1 << 37, attempt in 1u8..=10, factor in 1.0f64..10.0) {
            for jitter in [Jitter::None, Jitter::Full] {
                let r = RetryPlan { factor, ..retry(jitter) };
                prop_assert!(r.pause_ns(seed, index, attempt) <= 300_000_000);
            }
        }
    }
}
