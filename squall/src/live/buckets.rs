//! A small histogram of latencies for one column of the past.
//!
//! A full three-digit histogram takes 170 KiB; hundreds of them would not be bounded memory worth
//! the name. This one takes 8 KiB and is within [`RESOLUTION`] of the truth, which is finer than
//! any cell of a terminal. Figures that are printed as numbers come from full histograms.

use squall_record::latency::{HIGHEST_US, Latency};

/// Buckets per doubling of the latency.
const PER_OCTAVE: usize = 32;
const PER_OCTAVE_BITS: u32 = PER_OCTAVE.trailing_zeros();
/// Doublings from one microsecond to past [`HIGHEST_US`].
const OCTAVES: usize = HIGHEST_US.ilog2() as usize + 1;
const LEN: usize = OCTAVES * PER_OCTAVE;

/// The width of a bucket relative to its lower edge.
pub const RESOLUTION: f64 = 1.0 / PER_OCTAVE as f64;

/// Counts of latencies by logarithmic bucket. Merging adds counts; a percentile is read from the
/// merged counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    counts: Box<[u64; LEN]>,
    total: u64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { counts: Box::new([0; LEN]), total: 0 }
    }
}

fn index(us: u64) -> usize {
    let us = us.clamp(1, HIGHEST_US);
    let octave = us.ilog2();
    // The bits below the leading one, widened or narrowed to PER_OCTAVE_BITS.
    let sub = ((us - (1 << octave)) << PER_OCTAVE_BITS) >> octave;
    octave as usize * PER_OCTAVE + sub as usize
}

/// The middle of a bucket in microseconds, on the logarithmic axis it is drawn on.
fn middle_us(index: usize) -> f64 {
    let octave = (index / PER_OCTAVE) as f64;
    let sub = (index % PER_OCTAVE) as f64;
    octave.exp2() * (1.0 + sub * RESOLUTION) * (1.0 + RESOLUTION).sqrt()
}

impl Buckets {
    /// Adds every value of `latency`.
    pub fn add(&mut self, latency: &Latency) {
        for (us, n) in latency.buckets() {
            self.counts[index(us)] += n;
            self.total += n;
        }
    }

    /// Adds every value of `other`.
    pub fn merge(&mut self, other: &Buckets) {
        for (a, b) in self.counts.iter_mut().zip(other.counts.iter()) {
            *a += b;
        }
        self.total += other.total;
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value in microseconds at or under which a share `q` (0..=1) lies, within
    /// 3 %; `None` when empty.
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> Option<f64> {
        let rank = ((q.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        self.occupied().find_map(|(us, n)| {
            seen += n;
            (seen >= rank).then_some(us)
        })
    }

    /// Every bucket that counted something, rising: its middle in microseconds and its count.
    pub fn occupied(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| (middle_us(i), *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(values: impl IntoIterator<Item = u64>) -> (Buckets, Latency) {
        let mut exact = Latency::new();
        values.into_iter().for_each(|v| exact.record_us(v));
        let mut b = Buckets::default();
        b.add(&exact);
        (b, exact)
    }

    #[test]
    fn percentiles_are_within_the_resolution_of_the_full_histogram() {
        let (b, exact) = filled((1..5000u64).map(|i| i * i % 900_001 + 1));
        for q in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (got, want) = (b.quantile_us(q).unwrap(), exact.quantile(q).unwrap().us as f64);
            assert!((got / want - 1.0).abs() < RESOLUTION, "q={q}: {got} against {want}");
        }
    }

    #[test]
    fn merging_is_the_union() {
        let (mut a, _) = filled([10, 20, 30_000]);
        let (b, _) = filled([500, 600_000_000, u64::MAX]);
        let (both, _) = filled([10, 20, 30_000, 500, 600_000_000, u64::MAX]);
        a.merge(&b);
        assert_eq!(a, both);
        assert_eq!(a.total(), 6);
    }

    #[test]
    fn the_ends_of_the_range_have_buckets_and_nothing_has_no_percentile() {
        assert_eq!(index(0), 0);
        assert!(index(u64::MAX) < LEN);
        assert_eq!(Buckets::default().quantile_us(0.99), None);
    }
}
