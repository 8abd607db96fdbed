//! When bursts begin and end: a function of the seed alone.

use crate::bursts::Bursts;
use crate::draw::{Draw, Lane};
use crate::plan::{Arrivals, Plan};

/// What decides about spells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spells {
    seed: u64,
    bursts: Option<Bursts>,
}

/// A time without a switch: a burst, the calm between two, or, without bursts, everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spell {
    index: u64,
    burst: bool,
    pub(super) end_s: f64,
    /// What the planned rate is multiplied by.
    pub(super) factor: f64,
}

impl Spells {
    pub(super) fn new(plan: &Plan) -> Self {
        let bursts = match plan.load.arrivals {
            Arrivals::Bursty(bursts) => Some(bursts),
            Arrivals::Uniform | Arrivals::Poisson => None,
        };
        Self { seed: plan.seed, bursts }
    }

    /// The first one, from 0. Whether it is a burst is drawn, so that the process is stationary
    /// from the beginning; that the exponential forgets its age makes its length right too.
    pub(super) fn first(&self) -> Spell {
        match &self.bursts {
            None => Spell { index: 0, burst: false, end_s: f64::INFINITY, factor: 1.0 },
            Some(b) => {
                let burst = Draw::new(self.seed, Lane::Spell, 0).unit() < b.share;
                self.spell(b, 1, burst, 0.0)
            }
        }
    }

    /// The one after `spell`.
    pub(super) fn after(&self, spell: &Spell) -> Spell {
        match &self.bursts {
            None => *spell,
            Some(b) => self.spell(b, spell.index + 1, !spell.burst, spell.end_s),
        }
    }

    fn spell(&self, b: &Bursts, index: u64, burst: bool, start_s: f64) -> Spell {
        let (mean_s, factor) = if burst { (b.mean_s, b.factor) } else { (b.mean_calm_s(), b.calm_factor()) };
        let length_s = mean_s * Draw::new(self.seed, Lane::Spell, index).exponential();
        Spell { index, burst, end_s: start_s + length_s, factor }
    }
}
