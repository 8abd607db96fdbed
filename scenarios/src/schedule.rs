//! When each arrival is intended.
//!
//! The rate curve of the plan has an integral Λ(t), the arrivals expected by t. Evenly spaced
//! arrivals lie at Λ⁻¹(0), Λ⁻¹(1), …; a Poisson process with that rate lies at Λ⁻¹ of a unit-rate
//! Poisson process (the inversion method for non-homogeneous processes: Çinlar, "Introduction to
//! Stochastic Processes", 1975). Each
//! piece of a curve is a straight line, so Λ⁻¹ is the root of a quadratic.
//!
//! The schedule is pure and the same for every worker; a worker takes the arrivals whose index
//! is its own, modulo the number of workers.

use squall_record::clock::NANOS_PER_SEC;

use crate::draw::{Draw, Lane};
use crate::plan::{Arrivals, Plan};

/// One planned request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the schedule, from 0.
    pub index: u64,
    /// The intended instant, in nanoseconds from the start.
    pub at_ns: u64,
    /// Index of the phase it belongs to.
    pub phase: u16,
}

/// A straight line of a phase's curve.
#[derive(Debug, Clone, Copy)]
struct Piece {
    phase: u16,
    start_s: f64,
    end_s: f64,
    from_rps: f64,
    /// Requests per second, per second.
    slope: f64,
    /// Λ at its start and end.
    mass_start: f64,
    mass_end: f64,
}

impl Piece {
    /// The instant at which Λ reaches `mass`, which lies in this piece.
    fn inverse_s(&self, mass: f64) -> f64 {
        let m = (mass - self.mass_start).max(0.0);
        // Root of from·t + slope·t²/2 = m, in the form that does not cancel when slope is small.
        let root = (self.from_rps * self.from_rps + 2.0 * self.slope * m).max(0.0).sqrt();
        let denominator = self.from_rps + root;
        let t = if denominator > 0.0 { 2.0 * m / denominator } else { 0.0 };
        (self.start_s + t).min(self.end_s)
    }
}

/// All arrivals of a plan, in order of time.
#[derive(Debug, Clone)]
pub struct Schedule {
    pieces: Vec<Piece>,
    arrivals: Arrivals,
    seed: u64,
    current: usize,
    next_index: u64,
    mass: f64,
    last_ns: u64,
}

impl Schedule {
    /// The schedule of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut mass = 0.0;
        let mut pieces = Vec::new();
        for (phase, p) in plan.phases.iter().enumerate() {
            for w in p.curve.points().windows(2) {
                let length_s = w[1].at_s - w[0].at_s;
                // A jump takes no time.
                if length_s <= 0.0 {
                    continue;
                }
                let mass_start = mass;
                mass += (w[0].rps + w[1].rps) / 2.0 * length_s;
                pieces.push(Piece {
                    phase: phase as u16,
                    start_s: p.start_s + w[0].at_s,
                    end_s: p.end_s.min(p.start_s + w[1].at_s),
                    from_rps: w[0].rps,
                    slope: (w[1].rps - w[0].rps) / length_s,
                    mass_start,
                    mass_end: mass,
                });
            }
        }
        Self {
            pieces,
            arrivals: plan.load.arrivals,
            seed: plan.seed,
            current: 0,
            next_index: 0,
            mass: 0.0,
            last_ns: 0,
        }
    }

    /// The arrivals that worker `worker` of `workers` carries.
    pub fn for_worker(plan: &Plan, worker: u32, workers: u32) -> impl Iterator<Item = Arrival> + use<> {
        let (worker, workers) = (u64::from(worker), u64::from(workers.max(1)));
        Self::new(plan).filter(move |a| a.index % workers == worker)
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let index = self.next_index;
        let mass = match self.arrivals {
            Arrivals::Uniform => index as f64,
            // 1 − u lies in (0, 1], so the logarithm is finite.
            Arrivals::Poisson => self.mass - (1.0 - Draw::new(self.seed, Lane::Gap, index).unit()).ln(),
        };
        let piece = loop {
            let piece = self.pieces.get(self.current)?;
            if mass < piece.mass_end {
                break piece;
            }
            self.current += 1;
        };
        self.mass = mass;
        self.next_index += 1;
        // Rounding may not turn time back, nor push an arrival out of its phase.
        let at_ns = ((piece.inverse_s(mass) * NANOS_PER_SEC as f64) as u64).max(self.last_ns);
        self.last_ns = at_ns;
        Some(Arrival { index, at_ns, phase: piece.phase })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::plan_with_phases;
    use proptest::prelude::*;

    fn arrivals_in(plan: &Plan, a: f64, b: f64) -> usize {
        Schedule::new(plan).filter(|x| (a..b).contains(&(x.at_ns as f64 / 1e9))).count()
    }

    #[test]
    fn uniform_arrivals_are_evenly_spaced_from_zero() {
        let plan = plan_with_phases(Arrivals::Uniform, &[(1.0, 1000.0, 1000.0)]);
        let at: Vec<u64> = Schedule::new(&plan).map(|a| a.at_ns).collect();
        assert_eq!(at.len(), 1000);
        for (i, t) in at.iter().enumerate() {
            assert!(t.abs_diff(i as u64 * 1_000_000) <= 1, "arrival {i} at {t}");
        }
    }

    #[test]
    fn a_ramp_from_zero_has_the_arrivals_of_its_integral() {
        let plan = plan_with_phases(Arrivals::Uniform, &[(10.0, 0.0, 200.0)]);
        // Λ(t) = 10 t²: 250 by 5 s, 1000 by 10 s.
        assert!(arrivals_in(&plan, 0.0, 5.0).abs_diff(250) <= 1);
        assert!(arrivals_in(&plan, 0.0, 10.0).abs_diff(1000) <= 1);
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let plan = plan_with_phases(Arrivals::Poisson, &[(100.0, 1000.0, 1000.0)]);
        let at: Vec<f64> = Schedule::new(&plan).map(|a| a.at_ns as f64 / 1e6).collect();
        let gaps: Vec<f64> = at.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let var = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Mean 1 ms and coefficient of variation 1, each within 1 % for 100,000 gaps (3 σ).
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
        assert!((var.sqrt() / mean - 1.0).abs() < 0.02, "cv {}", var.sqrt() / mean);
        let over = gaps.iter().filter(|g| **g > 3.0).count() as f64 / gaps.len() as f64;
        assert!((over - (-3.0f64).exp()).abs() < 0.002, "share over 3 ms: {over}");
    }

    #[test]
    fn the_union_over_workers_is_the_whole_schedule() {
        let plan = plan_with_phases(Arrivals::Poisson, &[(2.0, 500.0, 1500.0), (1.0, 100.0, 100.0)]);
        let whole: Vec<Arrival> = Schedule::new(&plan).collect();
        for workers in [1, 2, 4, 7] {
            let mut union: Vec<Arrival> =
                (0..workers).flat_map(|w| Schedule::for_worker(&plan, w, workers)).collect();
            union.sort_by_key(|a| a.index);
            assert_eq!(union, whole, "{workers} workers");
        }
    }

    proptest! {
        #[test]
        fn arrivals_follow_the_integral_of_the_rate(
            phases in proptest::collection::vec((0.1f64..5.0, 0.0f64..2000.0, 0.0f64..2000.0), 1..6),
            cut in 0.0f64..1.0,
        ) {
            let plan = plan_with_phases(Arrivals::Uniform, &phases);
            let t = plan.duration_s() * cut;
            let integral: f64 = plan.phases.iter().map(|p| p.expected_until(t)).sum();
            let counted = arrivals_in(&plan, 0.0, t) as f64;
            prop_assert!((counted - integral).abs() <= 1.0 + 1e-6 * integral, "{} vs {}", counted, integral);
        }

        #[test]
        fn time_never_turns_back_and_phases_contain_their_arrivals(
            phases in proptest::collection::vec((0.1f64..3.0, 0.0f64..1000.0, 0.0f64..1000.0), 1..6),
            poisson in any::<bool>(), seed in any::<u64>(),
        ) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Uniform };
            let mut plan = plan_with_phases(arrivals, &phases);
            plan.seed = seed;
            let mut last = 0;
            for a in Schedule::new(&plan) {
                prop_assert!(a.at_ns >= last);
                last = a.at_ns;
                let p = &plan.phases[usize::from(a.phase)];
                let t = a.at_ns as f64 / 1e9;
                prop_assert!(t >= p.start_s - 1e-6 && t <= p.end_s + 1e-6, "{} in {:?}", t, p);
            }
        }
    }
}
