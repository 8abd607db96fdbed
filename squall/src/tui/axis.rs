//! Scales: time from left to right, rates from zero, latencies by powers of ten.

use squall_record::latency::human_us;

use crate::text::clock;

/// Steps between time labels, in seconds.
const TIME_STEPS_S: [f64; 17] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0,
    43_200.0, 86_400.0,
];
/// The least distance between two time labels, in cells.
const TIME_LABEL_CELLS: f64 = 10.0;

/// Time on a number of cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TimeAxis {
    pub from_s: f64,
    pub to_s: f64,
    pub cells: usize,
}

impl TimeAxis {
    fn cell_s(&self) -> f64 {
        (self.to_s - self.from_s) / self.cells.max(1) as f64
    }

    /// The middle of a cell.
    pub fn at_s(&self, cell: usize) -> f64 {
        self.from_s + self.cell_s() * (cell as f64 + 0.5)
    }

    /// The cell that holds an instant; `None` outside the axis.
    pub fn cell(&self, at_s: f64) -> Option<usize> {
        let cell = ((at_s - self.from_s) / self.cell_s()).floor();
        (cell >= 0.0 && cell < self.cells as f64).then_some(cell as usize)
    }

    /// The cells of a stretch of time, cut to the axis; at least one when any of it is inside.
    pub fn range(&self, from_s: f64, to_s: f64) -> Option<std::ops::Range<usize>> {
        if to_s < self.from_s || from_s >= self.to_s {
            return None;
        }
        let first = self.cell(from_s.max(self.from_s))?;
        let last = ((to_s.min(self.to_s) - self.from_s) / self.cell_s()).ceil() as usize;
        Some(first..last.clamp(first + 1, self.cells))
    }

    /// Where to write which label.
    pub fn ticks(&self) -> Vec<(usize, String)> {
        let span = self.to_s - self.from_s;
        let wanted = TIME_LABEL_CELLS * self.cell_s();
        // Past the longest step, whole multiples of it.
        let longest = TIME_STEPS_S[TIME_STEPS_S.len() - 1];
        let step = TIME_STEPS_S
            .into_iter()
            .find(|s| *s >= wanted)
            .unwrap_or_else(|| longest * (wanted / longest).ceil());
        let first = (self.from_s / step).ceil();
        let count = (span / step) as usize + 1;
        (0..count)
            .map(|i| (first + i as f64) * step)
            .filter_map(|t| Some((self.cell(t)?, clock(t))))
            .collect()
    }
}

/// Numbers whose halves are easy to read too.
const ROUND: [f64; 10] = [1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 6.0, 8.0, 10.0];

/// Rates from zero to a round number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ZeroAxis {
    pub max: f64,
}

impl ZeroAxis {
    /// From zero to the least of [`ROUND`] times a power of ten that is not under `highest`.
    pub fn up_to(highest: f64) -> Self {
        let highest = highest.max(1.0);
        let power = 10f64.powf(highest.log10().floor());
        let max = ROUND.map(|m| m * power).into_iter().find(|m| *m >= highest * 0.999_999);
        Self { max: max.unwrap_or(highest) }
    }

    /// Where a rate lies, 0 at the bottom to 1 at the top.
    pub fn place(&self, value: f64) -> f64 {
        (value / self.max).clamp(0.0, 1.0)
    }
}

/// Latencies in microseconds over whole decades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogAxis {
    /// Powers of ten of a microsecond.
    low: i32,
    high: i32,
}

impl LogAxis {
    /// The decades that hold `lowest_us` and `highest_us`, at least two of them. They change by
    /// whole decades only, so that the picture stands still.
    pub fn over(lowest_us: f64, highest_us: f64) -> Self {
        let low = lowest_us.max(1.0).log10().floor() as i32;
        let high = highest_us.max(1.0).log10().ceil() as i32;
        Self { low, high: high.max(low + 2) }
    }

    /// Where a latency lies, 0 at the bottom to 1 at the top.
    pub fn place(&self, us: f64) -> f64 {
        ((us.max(1.0).log10() - f64::from(self.low)) / f64::from(self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Every decade: its place and its label. The two ends come first.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        [self.high, self.low]
            .into_iter()
            .chain(self.low + 1..self.high)
            .map(|d| {
                let us = 10f64.powi(d);
                (self.place(us), short_us(us))
            })
            .collect()
    }
}

/// A latency without needless zeros: `10 ms`, `2.5 s`.
pub(super) fn short_us(us: f64) -> String {
    let text = human_us(us);
    match text.split_once(' ') {
        Some((n, unit)) if n.contains('.') => {
            format!("{} {unit}", n.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_throughput_axis_starts_at_zero_and_ends_at_a_round_number() {
        assert_eq!(ZeroAxis::up_to(10_000.0).max, 10_000.0);
        assert_eq!(ZeroAxis::up_to(10_001.0).max, 12_000.0);
        assert_eq!(ZeroAxis::up_to(0.0).max, 1.0);
        let a = ZeroAxis::up_to(2300.0);
        assert_eq!((a.max, a.place(0.0), a.place(1200.0), a.place(9e9)), (2400.0, 0.0, 0.5, 1.0));
    }

    #[test]
    fn equal_ratios_are_equal_distances_on_the_latency_axis() {
        let a = LogAxis::over(420.0, 66_000.0);
        assert_eq!(a, LogAxis { low: 2, high: 5 });
        let step = a.place(1000.0) - a.place(100.0);
        assert!((a.place(10_000.0) - a.place(1000.0) - step).abs() < 1e-12);
        assert_eq!((a.place(1.0), a.place(1e12)), (0.0, 1.0));
        let labels: Vec<String> = a.ticks().into_iter().map(|t| t.1).collect();
        assert_eq!(labels, ["100 ms", "100 µs", "1 ms", "10 ms"]);
        assert_eq!(LogAxis::over(500.0, 500.0), LogAxis { low: 2, high: 4 });
    }

    #[test]
    fn time_labels_are_round_and_apart() {
        let a = TimeAxis { from_s: 0.0, to_s: 60.0, cells: 70 };
        let ticks = a.ticks();
        assert_eq!(ticks[..3], [(0, "00:00".to_owned()), (11, "00:10".to_owned()), (23, "00:20".to_owned())]);
        for (from_s, to_s, cells) in
            [(0.0, 86_400.0 * 30.0, 40), (480.0, 600.0, 25), (0.0, 1.0, 100), (0.0, 9.0, 1)]
        {
            let t = TimeAxis { from_s, to_s, cells }.ticks();
            assert!(t.len() <= cells && t.windows(2).all(|w| w[1].0 - w[0].0 >= 9), "{t:?}");
        }
    }

    #[test]
    fn a_stretch_of_time_has_at_least_one_cell_while_it_is_in_sight() {
        let a = TimeAxis { from_s: 10.0, to_s: 20.0, cells: 10 };
        assert_eq!(a.range(0.0, 5.0), None);
        assert_eq!(a.range(5.0, 12.0), Some(0..2));
        assert_eq!(a.range(15.1, 15.2), Some(5..6));
        assert_eq!(a.range(19.5, 99.0), Some(9..10));
        assert_eq!(a.range(20.0, 99.0), None);
    }
}
