//! A family of figures: one name, one unit, one meaning, a value for each set of labels.

use squall_record::latency::Latency;

/// The upper bounds of a [`Distribution`]'s buckets, in microseconds: 10 µs to a minute, three to a
/// factor of ten.
pub const BOUNDS_US: [u64; 21] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// What becomes of a figure over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1; its labels are what it says.
    Info,
    /// How values are spread, since the beginning.
    Histogram,
}

/// What a figure counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things, or a share of them.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// What a family is, whatever its values.
#[derive(Debug)]
pub struct Description {
    /// Its parts apart by dots, as OpenTelemetry has it: `squall.requests.planned`.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Its kind.
    pub kind: Kind,
    /// What it means, in a sentence without a full stop.
    pub help: &'static str,
}

/// A family with its values.
#[derive(Debug, Clone)]
pub struct Family {
    /// What it is.
    pub of: &'static Description,
    /// Its values.
    pub points: Vec<Point>,
}

/// Labels and their values.
pub type Labels = Vec<(&'static str, String)>;

/// One value of a family.
#[derive(Debug, Clone)]
pub struct Point {
    /// What tells it from the others.
    pub labels: Labels,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// How many.
    Count(u64),
    /// How much.
    Number(f64),
    /// How values are spread.
    Spread(Distribution),
}

/// Counts by bucket since the beginning: what Prometheus and OpenTelemetry call a histogram.
///
/// It is added up from the HDR histograms of each second, bucket by bucket, so that it is exact to
/// their resolution (three digits); nothing is sampled or interpolated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distribution {
    /// Values at most at each of [`BOUNDS_US`] and above the one before; the last: above all.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// All of them together.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_s: f64,
}

impl Distribution {
    /// Adds every value of `latency`.
    pub fn add(&mut self, latency: &Latency) {
        let mut bound = 0;
        for (us, n) in latency.buckets() {
            // A value as close to the bound as the histogram can tell counts as at most it.
            while BOUNDS_US.get(bound).is_some_and(|b| us > latency.as_hdr().highest_equivalent(*b)) {
                bound += 1;
            }
            self.counts[bound] += n;
        }
        self.count += latency.len();
        self.sum_s += latency.mean_us().unwrap_or(0.0) * latency.len() as f64 / 1e6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_agree_with_the_histograms_they_are_added_up_from() {
        let (mut sum, mut all) = (Distribution::default(), Latency::new());
        for second in 0..5u64 {
            let mut h = Latency::new();
            (0..2000u64).for_each(|i| h.record_us(i * i * (second + 1) % 70_000_000));
            BOUNDS_US.iter().for_each(|b| h.record_us(*b));
            sum.add(&h);
            all.merge(&h);
        }
        let mut at_most = 0;
        for (bound, n) in BOUNDS_US.iter().zip(&sum.counts) {
            at_most += n;
            assert_eq!(at_most, all.count_at_or_below(*bound), "at most {bound} µs");
        }
        assert_eq!(at_most + sum.counts[BOUNDS_US.len()], all.len());
        assert_eq!(sum.count, all.len());
        let mean_s = all.mean_us().unwrap() / 1e6;
        assert!((sum.sum_s / sum.count as f64 / mean_s - 1.0).abs() < 0.001);
    }

    #[test]
    fn what_lies_past_the_range_is_above_every_bound() {
        let mut h = Latency::new();
        h.record_us(u64::MAX);
        let mut d = Distribution::default();
        d.add(&h);
        assert_eq!(d.counts[BOUNDS_US.len()], 1);
    }
}
