//! Random numbers that belong to an arrival, not to a thread.
//!
//! A [`Draw`] is started from (seed, lane, index), so the i-th arrival draws the same numbers
//! whichever worker or machine handles it and whatever was drawn before.

use std::convert::Infallible;

use rand_core::TryRng;

/// What a stream of draws is for. Streams of different lanes are independent.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub enum Lane {
    /// The gap before an arrival.
    Gap = 1,
    /// What the arrival asks.
    Content = 2,
    /// Its idempotency key.
    Key = 3,
    /// How long a burst, or the calm between two, lasts.
    Spell = 4,
    /// How long it waits before it is tried again.
    Retry = 5,
    /// Which row of a feeder it reads.
    Feeder = 6,
    /// When a monkey breaks something, and what.
    Monkey = 7,
    /// How long a virtual user thinks after a step.
    Think = 16,
}

/// A short stream of random numbers: `SplitMix64` (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", OOPSLA 2014) started from a mix of seed, lane and index.
#[derive(Debug, Clone)]
pub struct Draw(u64);

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Draw {
    /// The stream of `index` in `lane` under `seed`.
    #[must_use]
    #[inline]
    pub fn new(seed: u64, lane: Lane, index: u64) -> Self {
        let stream = mix(seed.wrapping_add((lane as u64).wrapping_mul(GOLDEN_GAMMA)));
        Self(mix(stream ^ index.wrapping_mul(GOLDEN_GAMMA)))
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// The next number in [0, 1), with 53 bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// The next exponentially distributed number with mean 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        // 1 − u lies in (0, 1], so the logarithm is finite.
        -(1.0 - self.unit()).ln()
    }

    /// The next whole number in 0..n (Lemire's multiply-shift; its bias is below n/2^64).
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }
}

impl TryRng for Draw {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.bits() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.bits())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(8) {
            let bytes = self.bits().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_lane_and_index_and_repeat() {
        let first = |s, l, i| Draw::new(s, l, i).bits();
        assert_eq!(first(1, Lane::Gap, 5), first(1, Lane::Gap, 5));
        assert_ne!(first(1, Lane::Gap, 5), first(2, Lane::Gap, 5));
        assert_ne!(first(1, Lane::Gap, 5), first(1, Lane::Content, 5));
        assert_ne!(first(1, Lane::Gap, 5), first(1, Lane::Gap, 6));
    }

    #[test]
    fn units_are_uniform_across_indices() {
        // The numbers used are the first of each stream, so uniformity must hold across streams.
        let n = 100_000;
        let mut bins = [0u32; 10];
        for i in 0..n {
            bins[(Draw::new(42, Lane::Gap, i).unit() * 10.0) as usize] += 1;
        }
        // χ² with 9 degrees of freedom: 27.9 is the 0.1 % point.
        let expected = n as f64 / 10.0;
        let chi2: f64 = bins.iter().map(|b| (f64::from(*b) - expected).powi(2) / expected).sum();
        assert!(chi2 < 27.9, "chi2 = {chi2}, bins = {bins:?}");
    }
}
