//! How long an injected delay lasts.

use serde::{Deserialize, Serialize};

/// How long an injected delay lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
pub enum Delay {
    /// Always the same.
    Fixed {
        /// The delay in milliseconds.
        ms: f64,
    },
    /// Evenly between two bounds.
    Uniform {
        /// The shortest delay in milliseconds.
        min_ms: f64,
        /// The longest delay in milliseconds.
        max_ms: f64,
    },
    /// From a percentile curve: between two points the delay is interpolated linearly in the
    /// quantile; below the first point it is the first point's, above the last the last's.
    Curve {
        /// `(quantile in 0..=1, delay in milliseconds)`, both rising.
        points: Vec<(f64, f64)>,
    },
    /// Lognormal, through its median and its 99th percentile: what the latency of a healthy service looks like.
    LogNormal {
        /// The median in milliseconds, above 0.
        p50_ms: f64,
        /// The 99th percentile in milliseconds, at least the median.
        p99_ms: f64,
    },
    /// Pareto: a floor and a heavy tail. The share of delays above `x` is `(min / x)^alpha` (Pareto, 1896).
    Pareto {
        /// The shortest delay in milliseconds, above 0.
        min_ms: f64,
        /// How light the tail is, above 0: at 1 the mean is already infinite, but for `max_ms`.
        alpha: f64,
        /// What longer ones are cut to, in milliseconds.
        max_ms: f64,
    },
}

impl Delay {
    /// The delay in milliseconds at quantile `u` (0..1).
    #[must_use]
    pub fn at_ms(&self, u: f64) -> f64 {
        match self {
            Delay::Fixed { ms } => *ms,
            Delay::Uniform { min_ms, max_ms } => min_ms + (max_ms - min_ms) * u,
            Delay::Curve { points } => {
                let after = points.partition_point(|(q, _)| *q <= u);
                match (after.checked_sub(1).and_then(|i| points.get(i)), points.get(after)) {
                    (Some((q0, ms0)), Some((q1, ms1))) => ms0 + (ms1 - ms0) * (u - q0) / (q1 - q0),
                    (Some((_, ms)), None) | (None, Some((_, ms))) => *ms,
                    (None, None) => 0.0,
                }
            }
            Delay::LogNormal { p50_ms, p99_ms } => {
                p50_ms * ((p99_ms / p50_ms).ln() * normal_quantile(u) / NORMAL_P99).exp()
            }
            Delay::Pareto { min_ms, alpha, max_ms } => (min_ms * (1.0 - u).powf(-1.0 / alpha)).min(*max_ms),
        }
    }
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

/// The quantile of the standard normal distribution at `u`, to within 4.5e-4: Abramowitz and Stegun, Handbook of
/// Mathematical Functions (1964), 26.2.23. Held at eight standard deviations.
fn normal_quantile(u: f64) -> f64 {
    let tail = if u < 0.5 { u } else { 1.0 - u };
    let t = (-2.0 * tail.max(1e-16).ln()).sqrt();
    let x = t
        - (2.515_517 + t * (0.802_853 + t * 0.010_328))
            / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    if u < 0.5 { -x } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_curve_is_interpolated_and_held_at_its_ends() {
        let d = Delay::Curve { points: vec![(0.5, 10.0), (0.9, 50.0), (0.99, 500.0)] };
        assert_eq!(d.at_ms(0.0), 10.0);
        assert_eq!(d.at_ms(0.5), 10.0);
        assert!((d.at_ms(0.7) - 30.0).abs() < 1e-9);
        assert_eq!(d.at_ms(0.999), 500.0);
        assert_eq!(Delay::Uniform { min_ms: 10.0, max_ms: 20.0 }.at_ms(0.5), 15.0);
    }

    #[test]
    fn a_lognormal_delay_goes_through_its_two_percentiles() {
        let d = Delay::LogNormal { p50_ms: 20.0, p99_ms: 200.0 };
        for (u, ms) in [(0.5, 20.0), (0.99, 200.0), (0.01, 2.0)] {
            assert!((d.at_ms(u) / ms - 1.0).abs() < 0.002, "{u}: {}", d.at_ms(u));
        }
        assert!(d.at_ms(0.0) > 0.0 && d.at_ms(1.0).is_finite());
        assert_eq!(Delay::LogNormal { p50_ms: 7.0, p99_ms: 7.0 }.at_ms(0.9), 7.0);
    }

    #[test]
    fn a_pareto_delay_has_a_floor_a_tail_and_an_end() {
        let d = Delay::Pareto { min_ms: 10.0, alpha: 2.0, max_ms: 500.0 };
        assert_eq!(d.at_ms(0.0), 10.0);
        // A quarter is above twice the floor.
        assert!((d.at_ms(0.75) - 20.0).abs() < 1e-9);
        assert_eq!(d.at_ms(1.0), 500.0);
    }
}
