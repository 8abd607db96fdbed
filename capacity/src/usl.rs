//! The universal scalability law.
//!
//! X(N) = γN / (1 + α(N − 1) + βN(N − 1)), N. J. Gunther, *Guerrilla Capacity Planning*,
//! Springer 2007, chapter 4, in the three-parameter form of "A General Theory of Computational
//! Scalability Based on Rational Functions", arXiv:0808.1431. With β = 0 it is Amdahl's law.

use serde::{Deserialize, Serialize};

/// The law with its three coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usl {
    /// γ > 0: throughput at N = 1, in the unit of the throughput.
    pub gamma: f64,
    /// α ≥ 0: contention, the share of work that queues for something held by one at a time.
    pub alpha: f64,
    /// β ≥ 0: coherency, the cost of each pair keeping the other informed.
    pub beta: f64,
}

/// Where throughput is highest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// N*: the load at the peak.
    pub n: f64,
    /// X(N*): the throughput there.
    pub throughput: f64,
}

impl Usl {
    /// Amdahl's law as speed-up: a share `serial` (0..=1) of the work cannot be spread.
    #[must_use]
    pub fn amdahl(serial: f64) -> Self {
        Self { gamma: 1.0, alpha: serial, beta: 0.0 }
    }

    /// X(N), in the unit of γ.
    #[must_use]
    pub fn throughput(&self, n: f64) -> f64 {
        self.gamma * n / self.denominator(n)
    }

    /// 1 + α(N − 1) + βN(N − 1): how many times slower one unit of load gets at N.
    #[must_use]
    pub fn denominator(&self, n: f64) -> f64 {
        1.0 + (n - 1.0) * (self.alpha + self.beta * n)
    }

    /// N* = √((1 − α)/β) and X(N*); `None` when throughput never falls (β = 0 and α < 1). With
    /// α ≥ 1 a second unit of load helps nobody: the peak is N = 1.
    #[must_use]
    pub fn peak(&self) -> Option<Peak> {
        let n = if self.alpha >= 1.0 {
            1.0
        } else if self.beta > 0.0 {
            ((1.0 - self.alpha) / self.beta).sqrt()
        } else {
            return None;
        };
        Some(Peak { n, throughput: self.throughput(n) })
    }

    /// γ/α, the throughput that contention alone would allow however great the load (Amdahl's
    /// limit); `None` when α = 0.
    #[must_use]
    pub fn limit(&self) -> Option<f64> {
        (self.alpha > 0.0).then(|| self.gamma / self.alpha)
    }

    /// (1 − α)/α + 1 = 1/α: the load at which a system that scaled perfectly would reach
    /// [`limit`](Self::limit), the corner below which adding load still pays; `None` when α = 0.
    #[must_use]
    pub fn optimal_load(&self) -> Option<f64> {
        (self.alpha > 0.0).then(|| 1.0 / self.alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amdahl_speed_ups_are_the_known_ones() {
        let law = Usl::amdahl(0.05);
        for (n, speed_up) in [(2.0, 1.905), (8.0, 5.926), (64.0, 15.42)] {
            assert!((law.throughput(n) - speed_up).abs() < 0.005, "{n}: {}", law.throughput(n));
        }
        assert!((law.limit().unwrap() - 20.0).abs() < 1e-9);
        assert_eq!(law.peak(), None);
    }

    #[test]
    fn the_published_peak_limit_and_optimal_load_of_specsdm91() {
        let law = Usl { gamma: 89.995_233, alpha: 0.027_728_475, beta: 1.043_654_8e-4 };
        let peak = law.peak().unwrap();
        assert!((peak.n - 96.519_56).abs() < 1e-3, "{peak:?}");
        assert!((peak.throughput - 1883.899).abs() < 1e-2, "{peak:?}");
        assert!((law.limit().unwrap() - 3245.589).abs() < 1e-2);
        assert!((law.optimal_load().unwrap() - 36.064_01).abs() < 1e-4);
    }

    #[test]
    fn perfect_scaling_has_neither_peak_nor_limit() {
        let law = Usl { gamma: 3.0, alpha: 0.0, beta: 0.0 };
        assert_eq!((law.peak(), law.limit(), law.optimal_load()), (None, None, None));
        assert!((law.throughput(100.0) - 300.0).abs() < 1e-9);
    }

    #[test]
    fn full_contention_peaks_at_one() {
        let law = Usl { gamma: 5.0, alpha: 1.2, beta: 0.001 };
        assert_eq!(law.peak(), Some(Peak { n: 1.0, throughput: 5.0 }));
    }
}
