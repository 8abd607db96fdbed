//! Bursty arrivals: a Poisson process whose rate switches between two states.
//!
//! A Markov-modulated Poisson process (Heffes, Lucantoni: "A Markov modulated characterization of
//! packetized voice and data traffic and related statistical multiplexer performance", IEEE JSAC
//! 4(6), 1986; Fischer, Meier-Hellstern: "The Markov-modulated Poisson process (MMPP) cookbook",
//! Performance Evaluation 18, 1993). In a burst the rate is [`factor`](Bursts::factor) times the
//! planned one, between bursts it is lower by just so much that the mean is the planned rate. How
//! long each state lasts is exponential. The states lie in time, whatever the planned rate is.

use serde::{Deserialize, Serialize};

/// How bursty arrivals are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bursts {
    /// The rate in a burst over the planned rate, above 1. `factor` × `share` is at most 1.
    pub factor: f64,
    /// The share of time in bursts, above 0 and below 1.
    pub share: f64,
    /// The mean length of a burst, in seconds.
    pub mean_s: f64,
}

impl Bursts {
    /// The rate between bursts over the planned rate.
    #[must_use]
    pub fn calm_factor(&self) -> f64 {
        ((1.0 - self.share * self.factor) / (1.0 - self.share)).max(0.0)
    }

    /// The mean time between the end of a burst and the beginning of the next, in seconds.
    #[must_use]
    pub fn mean_calm_s(&self) -> f64 {
        self.mean_s * (1.0 - self.share) / self.share
    }

    /// The index of dispersion for counts, variance over mean, of the arrivals in a window of
    /// `window_s` seconds at a planned rate of `rps`; 1 for a Poisson process. Infinite windows have
    /// a limit.
    ///
    /// `1 + 2·rps·V/r · (1 − (1 − e^(−r·t))/(r·t))`, where `V` is the variance of the factor and
    /// `r` the sum of the two switching rates (Heffes, Lucantoni 1986, eq. 6 for two states).
    #[must_use]
    pub fn dispersion(&self, rps: f64, window_s: f64) -> f64 {
        let spread = self.factor - self.calm_factor();
        let variance = self.share * (1.0 - self.share) * spread * spread;
        let switching = 1.0 / self.mean_s + 1.0 / self.mean_calm_s();
        let rt = switching * window_s;
        let settled = if rt > 0.0 { 1.0 + (-rt).exp_m1() / rt } else { 0.0 };
        1.0 + 2.0 * rps * variance / switching * settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_factor_is_one() {
        for (factor, share) in [(4.0, 0.1), (1.5, 0.5), (10.0, 0.1), (100.0, 0.001)] {
            let b = Bursts { factor, share, mean_s: 2.0 };
            let mean = share * factor + (1.0 - share) * b.calm_factor();
            assert!((mean - 1.0).abs() < 1e-12, "{b:?}: {mean}");
            let in_burst = b.mean_s / (b.mean_s + b.mean_calm_s());
            assert!((in_burst - share).abs() < 1e-12, "{b:?}: {in_burst}");
        }
    }

    #[test]
    fn dispersion_grows_from_one_to_its_limit() {
        let b = Bursts { factor: 4.0, share: 0.1, mean_s: 1.0 };
        assert_eq!(b.dispersion(1000.0, 0.0), 1.0);
        // V = 0.1 · 0.9 · (4 − 2/3)² = 1, r = 1 + 1/9: the limit is 1 + 2000 · 0.9.
        let limit = b.dispersion(1000.0, f64::INFINITY);
        assert!((limit - 1801.0).abs() < 1e-9, "{limit}");
        assert!(b.dispersion(1000.0, 0.1) < b.dispersion(1000.0, 1.0));
        assert!(b.dispersion(1000.0, 1e6) < limit);
    }
}
