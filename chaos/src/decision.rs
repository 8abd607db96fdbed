//! Whom a fault decides about, and whether it hits a request, as a pure function.
//!
//! A shared random generator would make the answer depend on which thread asked first. A hash
//! of (seed, fault, request, attempt) does not: rerunning a seed reproduces every decision.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// 2⁻⁵³: the spacing of the draws, so that every one of them is exact in an `f64`.
const STEP: f64 = 1.0 / (1u64 << 53) as f64;

/// Keeps the draw of the delay apart from the draw of the hit.
const DELAY_STREAM: u64 = 0x9E37_79B9_7F4A_7C15;
/// Likewise the draw of the error, from both.
const ERROR_STREAM: u64 = 0xD1B5_4A32_D192_ED03;

/// The header with a request's attempt, counted from 0.
pub const ATTEMPT_HEADER: &str = "squall-attempt";
/// The header of a request that is sent to compare with those that faults meet: with the value `control` none does.
pub const LANE_HEADER: &str = "squall-lane";
/// The attempt of a request that no fault meets.
pub const SPARED: u32 = u32::MAX;

/// What a fault decides about: the same for every attempt of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The hash of the `Idempotency-Key`, else of the `Request-Id`.
    pub request_id: u64,
    /// From [`ATTEMPT_HEADER`]; 0 when absent or not a number. [`SPARED`] in the control lane.
    pub attempt: u32,
}

impl Subject {
    /// Of a request with this id, and this [`ATTEMPT_HEADER`] and [`LANE_HEADER`] if any.
    #[must_use]
    pub fn new(id: &[u8], attempt: Option<&[u8]>, lane: Option<&[u8]>) -> Self {
        let attempt = attempt.and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
        let attempt = if lane == Some(b"control") { SPARED } else { attempt.unwrap_or(0) };
        Self { request_id: xxh3_64(id), attempt }
    }
}

/// A number in 0..1 for attempt `attempt` of request `request` under the fault called `fault`.
/// The request is hit when it is below the fault's fraction.
#[must_use]
pub fn draw(seed: u64, fault: &str, request: u64, attempt: u32) -> f64 {
    unit(seed, fault, request, attempt)
}

/// A second number in 0..1 for the same attempt, independent of [`draw`]: the quantile of the
/// injected delay. Were it the same number, only the lowest delays would ever be seen.
#[must_use]
pub fn draw_delay(seed: u64, fault: &str, request: u64, attempt: u32) -> f64 {
    unit(seed ^ DELAY_STREAM, fault, request, attempt)
}

/// A third number in 0..1 for the same attempt, independent of both: a brown-out answers with an error when it is below its
/// share of errors.
#[must_use]
pub fn draw_error(seed: u64, fault: &str, request: u64, attempt: u32) -> f64 {
    unit(seed ^ ERROR_STREAM, fault, request, attempt)
}

fn unit(seed: u64, fault: &str, request: u64, attempt: u32) -> f64 {
    let mut words = [0u8; 20];
    words[..8].copy_from_slice(&xxh3_64(fault.as_bytes()).to_le_bytes());
    words[8..16].copy_from_slice(&request.to_le_bytes());
    words[16..].copy_from_slice(&attempt.to_le_bytes());
    (xxh3_64_with_seed(&words, seed) >> 11) as f64 * STEP
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const N: u64 = 100_000;

    fn share(hit: impl Fn(u64) -> bool) -> f64 {
        (0..N).filter(|i| hit(*i)).count() as f64 / N as f64
    }

    #[test]
    fn the_share_of_hits_is_the_fraction() {
        for fraction in [0.0, 0.001, 0.1, 0.5, 0.99, 1.0] {
            let got = share(|i| draw(7, "slow store", i, 0) < fraction);
            // Five standard deviations of a binomial share.
            let tolerance = 5.0 * (fraction * (1.0 - fraction) / N as f64).sqrt();
            assert!((got - fraction).abs() <= tolerance, "{fraction}: {got}");
        }
    }

    #[test]
    fn faults_attempts_seeds_and_the_delay_are_independent() {
        let a = |i| draw(7, "a", i, 0) < 0.5;
        let others: [&dyn Fn(u64) -> bool; 5] = [
            &|i| draw(7, "b", i, 0) < 0.5,
            &|i| draw(7, "a", i, 1) < 0.5,
            &|i| draw(8, "a", i, 0) < 0.5,
            &|i| draw_delay(7, "a", i, 0) < 0.5,
            &|i| draw_error(7, "a", i, 0) < 0.5,
        ];
        for other in others {
            let both = share(|i| a(i) && other(i));
            assert!((both - 0.25).abs() < 0.01, "{both}");
        }
        let both = share(|i| draw_delay(7, "a", i, 0) < 0.5 && draw_error(7, "a", i, 0) < 0.5);
        assert!((both - 0.25).abs() < 0.01, "{both}");
    }

    #[test]
    fn interleaving_of_threads_changes_nothing() {
        let alone: Vec<f64> = (0..1000).map(|i| draw(3, "f", i, 0)).collect();
        let halves = std::thread::scope(|s| {
            let odd =
                s.spawn(|| (0..1000).filter(|i| i % 2 == 1).map(|i| draw(3, "f", i, 0)).collect::<Vec<_>>());
            let even =
                s.spawn(|| (0..1000).filter(|i| i % 2 == 0).map(|i| draw(3, "f", i, 0)).collect::<Vec<_>>());
            (even.join().unwrap(), odd.join().unwrap())
        });
        let together: Vec<f64> = halves.0.into_iter().zip(halves.1).flat_map(|(e, o)| [e, o]).collect();
        assert_eq!(alone, together);
    }

    #[test]
    fn decisions_are_the_same_in_every_build() {
        // A changed hash would silently make old seeds mean something else.
        assert_eq!(format!("{:.12}", draw(1, "store-down", 42, 0)), "0.822293274581");
    }

    proptest! {
        #[test]
        fn every_draw_is_in_range_and_repeatable(seed: u64, name in ".{0,40}", request: u64, attempt: u32) {
            for f in [draw, draw_delay, draw_error] {
                let u = f(seed, &name, request, attempt);
                prop_assert!((0.0..1.0).contains(&u));
                prop_assert_eq!(u, f(seed, &name, request, attempt));
            }
        }
    }
}
