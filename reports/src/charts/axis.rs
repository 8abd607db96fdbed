//! Linear and logarithmic axes with round ticks and units in their labels.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// A scale with its ticks.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    log: bool,
    lo: f64,
    hi: f64,
    ticks: Vec<f64>,
    label: fn(f64) -> String,
}

impl Axis {
    /// From `lo` to at least `hi`, about `count` ticks.
    #[must_use]
    pub fn linear(title: &str, lo: f64, hi: f64, count: usize, label: fn(f64) -> String) -> Self {
        let hi = if hi > lo { hi } else { lo + 1.0 };
        let step = round_step((hi - lo) / count.max(1) as f64);
        let first = (lo / step - 1e-9).ceil() as i64;
        let last = (hi / step + 1e-9).floor() as i64;
        let ticks = (first..=last).map(|i| i as f64 * step).collect();
        Self { title: title.to_owned(), log: false, lo, hi, ticks, label }
    }

    /// As [`linear`](Self::linear), but ending on a tick above `hi`.
    #[must_use]
    pub fn linear_up_to(title: &str, lo: f64, hi: f64, count: usize, label: fn(f64) -> String) -> Self {
        let hi = if hi > lo { hi } else { lo + 1.0 };
        let step = round_step((hi - lo) / count.max(1) as f64);
        Self::linear(title, lo, (hi / step).ceil() * step, count, label)
    }

    /// Logarithmic, around `lo..=hi` (both above 0), ending on ticks.
    #[must_use]
    pub fn log(title: &str, lo: f64, hi: f64, label: fn(f64) -> String) -> Self {
        let lo = lo.max(f64::MIN_POSITIVE);
        let hi = hi.max(lo);
        let (first, last) =
            (lo.log10().floor() as i32, (hi.log10().ceil() as i32).max(lo.log10().floor() as i32 + 1));
        // Within two factors of ten the decades alone would leave the axis bare.
        let steps: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all: Vec<f64> =
            (first..=last).flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d))).collect();
        let from = all.iter().copied().rev().find(|t| *t <= lo * 1.000_001).unwrap_or(lo);
        let to = all.iter().copied().find(|t| *t >= hi * 0.999_999 && *t > from).unwrap_or(hi);
        let ticks: Vec<f64> = all.into_iter().filter(|t| *t >= from && *t <= to).collect();
        Self { title: title.to_owned(), log: true, lo: from, hi: to, ticks: thin(ticks), label }
    }

    /// The same axis with `ticks` instead of its own.
    #[must_use]
    pub fn with_ticks(mut self, ticks: Vec<f64>) -> Self {
        self.ticks = ticks.into_iter().filter(|t| *t >= self.lo && *t <= self.hi).collect();
        self
    }

    /// The least and the greatest value shown.
    #[must_use]
    pub fn bounds(&self) -> (f64, f64) {
        (self.lo, self.hi)
    }

    /// How far along the axis `value` stands, 0..=1; a value outside stands at the end.
    #[must_use]
    pub fn share(&self, value: f64) -> f64 {
        let inside = value.clamp(self.lo, self.hi);
        if self.log {
            (inside / self.lo).ln() / (self.hi / self.lo).ln()
        } else {
            (inside - self.lo) / (self.hi - self.lo)
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.share(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.lo..self.hi
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        (self.label)(*value)
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= step * 0.999_999).unwrap_or(step)
}

/// At most some ticks, evenly left out.
fn thin(ticks: Vec<f64>) -> Vec<f64> {
    const MOST: usize = 9;
    let every = ticks.len().div_ceil(MOST).max(1);
    ticks.into_iter().step_by(every).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(v: f64) -> String {
        format!("{v}")
    }

    #[test]
    fn linear_ticks_are_round_and_within() {
        let a = Axis::linear("t (s)", 0.0, 60.0, 8, plain);
        assert_eq!(a.ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        let up = Axis::linear_up_to("r", 0.0, 10_300.0, 5, plain);
        assert_eq!(up.bounds(), (0.0, 15_000.0));
    }

    #[test]
    fn a_log_axis_ends_on_ticks_around_its_data() {
        let a = Axis::log("ms", 0.3, 4.0, plain);
        assert_eq!(a.bounds(), (0.2, 5.0));
        let wide = Axis::log("ms", 0.3, 40_000.0, plain);
        assert_eq!(wide.bounds(), (0.1, 100_000.0));
        assert_eq!(wide.map(&100.0, (600, 0)), 300);
        assert_eq!(wide.format_ext(&1.0), "1");
    }

    #[test]
    fn degenerate_ranges_still_have_an_extent_and_values_outside_stand_at_the_end() {
        let (lo, hi) = Axis::log("ms", 1.0, 1.0, plain).bounds();
        assert!(hi > lo);
        let flat = Axis::linear("x", 0.0, 0.0, 5, plain);
        assert!(flat.bounds().1 > flat.bounds().0);
        assert_eq!((flat.share(-5.0), flat.share(5.0)), (0.0, 1.0));
    }
}
