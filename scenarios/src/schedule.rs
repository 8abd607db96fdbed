//! When each arrival is intended.
//!
//! The planned rate has an integral Λ(t), the arrivals expected by t. Evenly spaced arrivals lie at
//! Λ⁻¹(0), Λ⁻¹(1), …; a Poisson process with that rate lies at Λ⁻¹ of a unit-rate Poisson process
//! (the inversion method for non-homogeneous processes: Çinlar, "Introduction to Stochastic
//! Processes", 1975). So a schedule is two things that know nothing of each other: a stream of
//! masses, which the seed decides, and a rate over time, which the plan, its bursts and live
//! changes decide. Along a straight line Λ⁻¹ is the root of a quadratic.
//!
//! A schedule is pure and every worker has the whole of it; a worker takes the arrivals whose index
//! is its own, modulo the number of workers.
//!
//! # Changes
//!
//! A live change rewrites the rate from an instant on and leaves the masses alone. An arrival
//! before that instant keeps its place, and every later one gets the place that its mass has under
//! the new rate, also when it was already looked at. Workers that are given the same changes
//! therefore go on to carry one schedule together, however far each had looked ahead.
//!
//! # Layout
//!
//! * `pieces`: the plan's curves as straight lines.
//! * `spells`: when bursts begin and end.
//! * `change`: what a live change makes of the rate.
//! * `walk`: the three together, as stretches from each to the next event.
//! * `masses`: where arrivals lie on Λ's axis.

mod change;
mod masses;
mod pieces;
mod spells;
mod walk;

pub use change::{Change, ChangeError, MAX_PENDING_CHANGES};

use squall_record::clock::NANOS_PER_SEC;

use crate::plan::Plan;
use masses::Masses;
use walk::{Rate, Walk};

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

/// The arrivals of a plan that one worker carries, in order of time but for the rounding to whole
/// nanoseconds.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: Rate,
    masses: Masses,
    /// Where the arrival taken last lies: a change may come anywhere behind it.
    taken: Walk,
    taken_ns: u64,
    /// Where `next` lies.
    ahead: Walk,
    next: Option<Arrival>,
}

impl Schedule {
    /// The whole schedule of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self::for_worker(plan, 0, 1)
    }

    /// The arrivals that worker `worker` of `workers` carries.
    #[must_use]
    pub fn for_worker(plan: &Plan, worker: u32, workers: u32) -> Self {
        let rate = Rate::new(plan);
        let start = rate.start();
        let masses = Masses::new(plan, u64::from(worker), u64::from(workers.max(1)));
        let mut schedule = Self { rate, masses, taken: start, taken_ns: 0, ahead: start, next: None };
        schedule.place();
        schedule
    }

    /// The next arrival, without taking it.
    #[must_use]
    #[inline]
    pub fn peek(&self) -> Option<Arrival> {
        self.next
    }

    /// Changes the rate from `at_ns` on and returns the instant from which it holds: `at_ns`, or
    /// the arrival taken last or the change made last when that is later. Changes come in order of
    /// time, and far enough ahead that no worker has taken an arrival behind them; else workers
    /// differ.
    ///
    /// # Errors
    /// When the rate is none or above the highest there is, or [`MAX_PENDING_CHANGES`] are waiting.
    pub fn change(&mut self, at_ns: u64, change: Change) -> Result<u64, ChangeError> {
        self.rate.forget_changes(&mut self.taken, &mut self.ahead);
        let at_ns = self.rate.change(at_ns.max(self.taken_ns), change)?;
        self.taken.cut(at_ns);
        self.ahead = self.taken;
        self.place();
        Ok(at_ns)
    }

    /// Finds the instant of the arrival whose mass is the current one.
    #[inline]
    fn place(&mut self) {
        let (index, mass) = self.masses.current();
        while mass >= self.ahead.mass_end() {
            if !self.ahead.advance(&self.rate) {
                self.next = None;
                return;
            }
        }
        self.next = Some(Arrival { index, at_ns: self.ahead.at_ns(mass), phase: self.ahead.phase() });
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    #[inline]
    fn next(&mut self) -> Option<Arrival> {
        let arrival = self.next?;
        self.taken = self.ahead;
        self.taken_ns = arrival.at_ns;
        self.masses.advance();
        self.place();
        Some(arrival)
    }
}

/// The instant `at_ns` in seconds.
fn seconds(at_ns: u64) -> f64 {
    at_ns as f64 / NANOS_PER_SEC as f64
}

/// The instant `at_s` in whole nanoseconds.
fn nanos(at_s: f64) -> u64 {
    (at_s * NANOS_PER_SEC as f64) as u64
}

#[cfg(test)]
mod tests;
