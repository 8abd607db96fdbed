//! Latency histograms that know when they were clipped.
//!
//! One resolution everywhere: microseconds, three significant digits, up to ten minutes. A value
//! past the range is counted at the range's end and remembered as clipped, so that a percentile
//! which falls on it prints as "≥". Percentiles come from merged histograms only; there is no
//! way in this module to combine percentiles.

use std::fmt;

use hdrhistogram::Histogram;

/// The highest value that is kept exactly: ten minutes.
pub const HIGHEST_US: u64 = 600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram of microseconds.
#[derive(Debug, Clone)]
pub struct Latency {
    hist: Histogram<u64>,
    clipped: u64,
}

/// A percentile, and whether it is only a lower bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantile {
    /// The value in microseconds.
    pub us: u64,
    /// The true value is at least `us`: it lay past the histogram's range.
    pub clipped: bool,
}

impl Quantile {
    /// The value in milliseconds.
    #[must_use]
    pub fn ms(self) -> f64 {
        self.us as f64 / 1000.0
    }
}

impl fmt::Display for Quantile {
    /// Three significant digits with a unit that fits: `850 µs`, `12.3 ms`, `≥ 600 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.clipped {
            f.write_str("≥ ")?;
        }
        f.write_str(&human_us(self.us as f64))
    }
}

/// `us` microseconds with three significant digits and a unit that fits.
#[must_use]
pub fn human_us(us: f64) -> String {
    let (value, unit) = if us < 1000.0 {
        (us, "µs")
    } else if us < 1_000_000.0 {
        (us / 1000.0, "ms")
    } else {
        (us / 1_000_000.0, "s")
    };
    let decimals = if unit == "µs" || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {unit}")
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// An empty histogram. Allocates once; recording never does.
    #[must_use]
    pub fn new() -> Self {
        let hist = Histogram::new_with_bounds(1, HIGHEST_US, SIGNIFICANT_DIGITS)
            .expect("constant bounds are valid: 1 < HIGHEST_US and 0 < digits <= 5");
        Self { hist, clipped: 0 }
    }

    /// Counts a duration of `ns` nanoseconds, rounded up to whole microseconds, so that an event
    /// that took time never reads as zero.
    #[inline]
    pub fn record_ns(&mut self, ns: u64) {
        self.record_us(ns.div_ceil(1000));
    }

    /// Counts a duration of `us` microseconds.
    #[inline]
    pub fn record_us(&mut self, us: u64) {
        if us > HIGHEST_US {
            self.clipped += 1;
            self.hist.saturating_record(HIGHEST_US);
        } else {
            self.hist.saturating_record(us);
        }
    }

    /// Adds every value of `other`.
    pub fn merge(&mut self, other: &Latency) {
        // Same bounds by construction, so the addition cannot fail.
        let _ = self.hist.add(&other.hist);
        self.clipped += other.clipped;
    }

    /// Forgets everything; keeps the memory.
    pub fn clear(&mut self) {
        self.hist.reset();
        self.clipped = 0;
    }

    /// How many values were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.hist.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hist.is_empty()
    }

    /// The value at or under which a share `q` (0..=1) of all values lies; `None` when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Quantile> {
        if self.is_empty() {
            return None;
        }
        let us = self.hist.value_at_quantile(q.clamp(0.0, 1.0)).min(self.hist.max()).min(HIGHEST_US);
        // Clipped values are the largest ones: the percentile is one of them when its rank
        // reaches into the last `clipped`.
        let rank = ((q * self.len() as f64).ceil() as u64).max(1);
        let clipped = self.clipped > 0 && rank > self.len() - self.clipped;
        Some(Quantile { us, clipped })
    }

    /// The largest value; `None` when empty.
    #[must_use]
    pub fn max(&self) -> Option<Quantile> {
        (!self.is_empty())
            .then(|| Quantile { us: self.hist.max().min(HIGHEST_US), clipped: self.clipped > 0 })
    }

    /// The mean in microseconds; `None` when empty. A lower bound when values were clipped.
    #[must_use]
    pub fn mean_us(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.hist.mean())
    }

    /// How many values are at most `us`.
    #[must_use]
    pub fn count_at_or_below(&self, us: u64) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.hist
            .iter_recorded()
            .take_while(|v| v.value_iterated_to() <= self.hist.highest_equivalent(us))
            .map(|v| v.count_at_value())
            .sum()
    }

    /// How many values lay past the range.
    #[must_use]
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// Every recorded bucket in rising order: its highest equivalent value in microseconds and
    /// its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.hist.iter_recorded().map(|v| (v.value_iterated_to().min(HIGHEST_US), v.count_at_value()))
    }

    /// The histogram itself, for writing it to a log.
    #[must_use]
    pub fn as_hdr(&self) -> &Histogram<u64> {
        &self.hist
    }

    /// A histogram read back from a log, with what the log's companion says was clipped.
    ///
    /// # Errors
    /// When `hist` holds values past the range, which no log of ours does.
    pub fn from_hdr(hist: &Histogram<u64>, clipped: u64) -> Result<Self, hdrhistogram::AdditionError> {
        let mut own = Self::new();
        own.hist.add(hist)?;
        own.clipped = clipped;
        Ok(own)
    }
}

/// `Latency` in JSON: `{"clipped": 0, "hdr": "HISTFAAAA…"}`, the histogram in HdrHistogram's
/// compressed form (V2), in base64.
pub mod base64 {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;
    use hdrhistogram::serialization::{
        Deserializer as HdrDeserializer, Serializer as _, V2DeflateSerializer,
    };
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Latency;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        clipped: u64,
        hdr: String,
    }

    /// Writes `latency`; an empty one costs no histogram.
    ///
    /// # Errors
    /// When `s` fails.
    pub fn serialize<S: Serializer>(latency: &Latency, s: S) -> Result<S::Ok, S::Error> {
        let mut raw = Vec::new();
        if !latency.is_empty() {
            V2DeflateSerializer::new().serialize(latency.as_hdr(), &mut raw).map_err(S::Error::custom)?;
        }
        Written { clipped: latency.clipped(), hdr: STANDARD.encode(&raw) }.serialize(s)
    }

    /// Reads a [`Latency`] back.
    ///
    /// # Errors
    /// When it is not one.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Latency, D::Error> {
        let w = Written::deserialize(d)?;
        if w.hdr.is_empty() {
            return Ok(Latency::new());
        }
        let raw = STANDARD.decode(&w.hdr).map_err(|e| D::Error::custom(format_args!("not base64: {e}")))?;
        let hist = HdrDeserializer::new()
            .deserialize::<u64, _>(&mut &raw[..])
            .map_err(|e| D::Error::custom(format_args!("not a histogram: {e}")))?;
        Latency::from_hdr(&hist, w.clipped)
            .map_err(|e| D::Error::custom(format_args!("histogram out of range: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clipped_value_prints_as_at_least() {
        let mut h = Latency::new();
        for _ in 0..98 {
            h.record_us(1000);
        }
        h.record_us(HIGHEST_US + 1);
        h.record_us(u64::MAX);
        assert_eq!(h.quantile(0.5).unwrap().to_string(), "1.00 ms");
        assert_eq!(h.quantile(0.98).unwrap().to_string(), "1.00 ms");
        assert_eq!(h.quantile(0.99).unwrap().to_string(), "≥ 600 s");
        assert_eq!(h.max().unwrap().to_string(), "≥ 600 s");
    }

    #[test]
    fn empty_has_no_percentiles() {
        let h = Latency::new();
        assert_eq!((h.quantile(0.5), h.max(), h.mean_us()), (None, None, None));
        assert_eq!(h.count_at_or_below(10), 0);
    }

    #[test]
    fn under_a_microsecond_is_not_zero() {
        let mut h = Latency::new();
        h.record_ns(1);
        assert_eq!(h.max().unwrap().us, 1);
    }

    proptest! {
        #[test]
        fn merged_percentiles_are_those_of_the_union(
            a in proptest::collection::vec(0u64..10_000_000, 1..200),
            b in proptest::collection::vec(0u64..10_000_000, 1..200),
            q in 0.0f64..=1.0,
        ) {
            let fill = |xs: &[u64]| { let mut h = Latency::new(); xs.iter().for_each(|x| h.record_us(*x)); h };
            let mut merged = fill(&a);
            merged.merge(&fill(&b));
            let mut union: Vec<u64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(merged.quantile(q), fill(&union).quantile(q));
            // And within the resolution of the exact order statistic.
            union.sort_unstable();
            let rank = ((q * union.len() as f64).ceil() as usize).clamp(1, union.len());
            let exact = union[rank - 1];
            let got = merged.quantile(q).unwrap().us;
            prop_assert!(got.abs_diff(exact) as f64 <= (exact as f64 * 0.001).max(1.0), "{} vs {}", got, exact);
        }

        #[test]
        fn counts_at_or_below_are_exact_to_the_bucket(xs in proptest::collection::vec(0u64..2000, 1..200), t in 0u64..2000) {
            // Below 2048 µs every bucket holds one value.
            let mut h = Latency::new();
            xs.iter().for_each(|x| h.record_us(*x));
            prop_assert_eq!(h.count_at_or_below(t), xs.iter().filter(|x| **x <= t).count() as u64);
        }
    }
}
