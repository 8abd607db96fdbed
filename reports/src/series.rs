//! What the charts are drawn from: some hundred slots of time, however long the run.

use squall_record::counts::Counts;
use squall_record::interval::Tick;
use squall_record::latency::{HIGHEST_US, Latency, Quantile};

use crate::seconds::Level;

/// Slots at most; a longer run has longer slots. A chart is some 800 pixels wide.
pub const MAX_SLOTS: u32 = 240;
/// Rows of the heatmap per factor of ten of latency.
pub const HEAT_ROWS_PER_DECADE: u32 = 8;
/// Rows of the heatmap in all: from 1 µs to the histograms' end.
pub const HEAT_ROWS: usize = 71;
/// The percentiles kept for each slot; the greatest value follows them.
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// One slot of time, over all request classes and phases, warm-up included.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Its first second.
    pub start_s: u32,
    /// How many seconds of it were recorded.
    pub seconds: u32,
    /// What happened in them.
    pub counts: Counts,
    /// The service level of its seconds.
    pub level: Level,
    /// [`QUANTILES`] and the greatest of the response time; `None` when nothing was timed.
    pub response: Option<[Quantile; 5]>,
    /// Requests per heatmap row; see [`heat_row`].
    pub heat: Vec<u64>,
}

/// The time series of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The length of a slot in seconds.
    pub slot_s: u32,
    /// The slots that hold something, in rising order.
    pub slots: Vec<Slot>,
}

/// The heatmap row of a latency of `us` microseconds.
#[must_use]
pub fn heat_row(us: u64) -> usize {
    let row = (us.clamp(1, HIGHEST_US) as f64).log10() * f64::from(HEAT_ROWS_PER_DECADE);
    (row as usize).min(HEAT_ROWS - 1)
}

/// The lower bound of a heatmap row, in milliseconds.
#[must_use]
pub fn heat_row_ms(row: usize) -> f64 {
    10f64.powf(row as f64 / f64::from(HEAT_ROWS_PER_DECADE)) / 1000.0
}

/// Builds a [`Series`] second by second, holding the histogram of one slot only.
pub(crate) struct SeriesBuilder {
    slot_s: u32,
    done: Vec<Slot>,
    open: Option<(Slot, Latency)>,
}

impl SeriesBuilder {
    /// For a run of about `duration_s` seconds.
    pub fn new(duration_s: f64) -> Self {
        let slot_s = (duration_s / f64::from(MAX_SLOTS)).ceil().max(1.0) as u32;
        Self { slot_s, done: Vec::new(), open: None }
    }

    pub fn add(&mut self, tick: &Tick) {
        let start_s = tick.second / self.slot_s * self.slot_s;
        if self.open.as_ref().is_some_and(|(slot, _)| slot.start_s != start_s) {
            self.close();
        }
        let (slot, response) = self.open.get_or_insert_with(|| {
            let slot = Slot {
                start_s,
                seconds: 0,
                counts: Counts::default(),
                level: Level::default(),
                response: None,
                heat: vec![0; HEAT_ROWS],
            };
            (slot, Latency::new())
        });
        slot.seconds += 1;
        let mut second = Counts::default();
        for i in &tick.intervals {
            second += &i.counts;
            response.merge(&i.response);
        }
        slot.counts += &second;
        slot.level = slot.level.plus(Level::of_counts(&second));
    }

    pub fn finish(mut self) -> Series {
        self.close();
        Series { slot_s: self.slot_s, slots: self.done }
    }

    fn close(&mut self) {
        let Some((mut slot, response)) = self.open.take() else { return };
        let [p50, p90, p99, p99_9] = QUANTILES.map(|q| response.quantile(q));
        slot.response = match (p50, p90, p99, p99_9, response.max()) {
            (Some(a), Some(b), Some(c), Some(d), Some(e)) => Some([a, b, c, d, e]),
            _ => None,
        };
        for (us, n) in response.buckets() {
            slot.heat[heat_row(us)] += n;
        }
        self.done.push(slot);
    }
}

/// A percentile spectrum: how the latency grows towards the rare.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// `(1/(1 − p), milliseconds)`, both rising; at most [`SPECTRUM_POINTS`].
    pub points: Vec<(f64, f64)>,
    /// How many values it rests on.
    pub n: u64,
}

/// Points of a spectrum at most.
pub const SPECTRUM_POINTS: usize = 300;

/// The spectrum of `latency`; without points when it is empty.
pub(crate) fn spectrum(latency: Option<&Latency>) -> Spectrum {
    let Some(h) = latency.filter(|h| !h.is_empty()) else { return Spectrum { points: vec![], n: 0 } };
    let n = h.len();
    // The greatest value stands at 1/(1 − p) = n: one in n is as slow as that.
    let rarest = (n as f64).max(1.0);
    let points = (0..SPECTRUM_POINTS)
        .filter_map(|i| {
            let one_in = rarest.powf(i as f64 / (SPECTRUM_POINTS - 1) as f64);
            let q = 1.0 - 1.0 / one_in;
            h.quantile(q).map(|v| (one_in, v.ms()))
        })
        .collect();
    Spectrum { points, n }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_record::interval::{GeneratorSample, Interval};

    fn tick(second: u32, us: u64) -> Tick {
        let mut i = Interval::new(second, 0, 0);
        i.counts.planned = 10;
        i.counts.sent = 10;
        i.counts.ok = 10;
        (0..10).for_each(|_| i.response.record_us(us));
        Tick {
            second,
            intervals: vec![i],
            generator: GeneratorSample::default(),
            pacing: Latency::new(),
            ops: vec![],
        }
    }

    #[test]
    fn a_long_run_has_longer_slots_with_percentiles_of_merged_histograms() {
        let mut b = SeriesBuilder::new(f64::from(MAX_SLOTS) * 4.0);
        for s in 0..8 {
            b.add(&tick(s, if s % 4 == 3 { 9_000 } else { 1_000 }));
        }
        let series = b.finish();
        assert_eq!((series.slot_s, series.slots.len()), (4, 2));
        let slot = &series.slots[1];
        assert_eq!((slot.start_s, slot.seconds, slot.counts.ok), (4, 4, 40));
        let [p50, p90, ..] = slot.response.unwrap();
        assert_eq!((p50.us, p90.ms().round()), (1_000, 9.0));
        assert_eq!(slot.heat.iter().sum::<u64>(), 40);
    }

    #[test]
    fn missing_seconds_stay_missing() {
        let mut b = SeriesBuilder::new(10.0);
        b.add(&tick(0, 10));
        b.add(&tick(5, 10));
        let starts: Vec<u32> = b.finish().slots.iter().map(|s| s.start_s).collect();
        assert_eq!(starts, [0, 5]);
    }

    #[test]
    fn heat_rows_cover_the_histograms_range() {
        assert_eq!(heat_row(0), 0);
        assert_eq!(heat_row(HIGHEST_US), HEAT_ROWS - 1);
        assert!(heat_row_ms(HEAT_ROWS) * 1000.0 > HIGHEST_US as f64);
        for us in [1, 7, 999, 1_000, 123_456] {
            let row = heat_row(us);
            assert!(heat_row_ms(row) * 1000.0 <= us as f64 * 1.000_001);
            assert!(heat_row_ms(row + 1) * 1000.0 > us as f64);
        }
    }

    #[test]
    fn a_spectrum_rises_to_the_greatest_value_at_one_in_n() {
        let mut h = Latency::new();
        (1..=1000).for_each(|us| h.record_us(us));
        let s = spectrum(Some(&h));
        assert!(s.points.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1));
        let last = s.points.last().unwrap();
        assert!((last.0 - 1000.0).abs() < 1e-6);
        assert!((last.1 - 1.0).abs() < 0.002, "{last:?}");
        assert!(spectrum(None).points.is_empty());
    }
}
