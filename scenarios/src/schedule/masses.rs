//! Where arrivals lie on Λ's axis: evenly, or as a unit-rate Poisson process.

use crate::draw::{Draw, Lane};
use crate::plan::{Arrivals, Plan};

/// The masses of one worker's arrivals, rising. Every worker walks over the same ones.
#[derive(Debug, Clone)]
pub(super) struct Masses {
    /// `None` for evenly spaced ones.
    seed: Option<u64>,
    stride: u64,
    index: u64,
    mass: f64,
}

impl Masses {
    /// Those of the arrivals `first`, `first + stride`, …
    pub(super) fn new(plan: &Plan, first: u64, stride: u64) -> Self {
        let seed = match plan.load.arrivals {
            Arrivals::Uniform => None,
            Arrivals::Poisson | Arrivals::Bursty(_) => Some(plan.seed),
        };
        let mut masses = Self { seed, stride, index: 0, mass: 0.0 };
        masses.mass = masses.gap(0);
        masses.skip(first);
        masses
    }

    /// The index and the mass of the arrival it stands at.
    #[inline]
    pub(super) fn current(&self) -> (u64, f64) {
        (self.index, self.mass)
    }

    /// Goes on to the worker's next arrival.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.skip(self.stride);
    }

    #[inline]
    fn skip(&mut self, count: u64) {
        if self.seed.is_none() {
            self.index += count;
            self.mass = self.index as f64;
            return;
        }
        for _ in 0..count {
            self.index += 1;
            self.mass += self.gap(self.index);
        }
    }

    /// The mass between arrival `index` and the one before; 0 for evenly spaced ones, whose mass
    /// is their index.
    #[inline]
    fn gap(&self, index: u64) -> f64 {
        self.seed.map_or(0.0, |seed| Draw::new(seed, Lane::Gap, index).exponential())
    }
}
