//! Whether the process has room for more traffic: what a load balancer asks.
//!
//! CPU, memory and connections, each against a limit. One bad reading takes nobody out and one good one
//! brings nobody back: it takes several in a row, and the way back ends lower than the way out began. A
//! balancer that follows every spike moves the load to the next process, and that one is strained then.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use squall_record::clock::Clock;

use crate::http::app::App;
use crate::limits::{STRAIN_READINGS, STRAIN_RELIEF, STRAIN_TICK};
use crate::process::{Usage, memory_limit};

/// Above what the process takes no more traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// CPU time, as a share of what the process may use.
    pub cpu: f64,
    /// Resident memory, likewise.
    pub memory: f64,
    /// Open connections.
    pub connections: f64,
}

/// One figure and its limit.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct Check {
    value: f64,
    limit: f64,
    ok: bool,
    /// Readings in a row that speak against `ok`.
    #[serde(skip)]
    against: u32,
}

impl Check {
    fn new(limit: f64) -> Self {
        Self { value: 0.0, limit, ok: true, against: 0 }
    }

    fn read(&mut self, value: f64) {
        self.value = value;
        let speaks_against = match self.ok {
            true => value > self.limit,
            false => value <= self.limit * STRAIN_RELIEF,
        };
        self.against = if speaks_against { self.against + 1 } else { 0 };
        if self.against >= STRAIN_READINGS {
            (self.ok, self.against) = (!self.ok, 0);
        }
    }
}

/// All of them.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct Checks {
    cpu: Check,
    memory: Check,
    connections: Check,
}

/// The checks as of the last reading.
#[derive(Debug)]
pub struct Strain(Mutex<Checks>);

impl Strain {
    /// Nothing read yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let [cpu, memory, connections] = [limits.cpu, limits.memory, limits.connections].map(Check::new);
        Self(Mutex::new(Checks { cpu, memory, connections }))
    }

    /// The checks.
    #[must_use]
    pub fn checks(&self) -> Checks {
        // Each is whole, whoever panicked.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether none of them is bad.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let Checks { cpu, memory, connections } = self.checks();
        cpu.ok && memory.ok && connections.ok
    }
}

/// Reads the process's figures, for as long as it lives.
pub async fn watch(app: Arc<App>) {
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    let memory = memory_limit().map_or(f64::INFINITY, |bytes| bytes as f64);
    let clock = Clock::start();
    let mut ticks = tokio::time::interval(STRAIN_TICK);
    let (mut cpu_s, mut before_s) = (Usage::now().cpu_s, 0.0);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (usage, now_s) = (Usage::now(), clock.now_s());
        let busy = (usage.cpu_s - cpu_s) / (now_s - before_s).max(f64::MIN_POSITIVE) / cores;
        (cpu_s, before_s) = (usage.cpu_s, now_s);
        let had_room = app.strain.has_room();
        {
            let mut checks = app.strain.0.lock().unwrap_or_else(PoisonError::into_inner);
            checks.cpu.read(busy);
            checks.memory.read(usage.rss_bytes as f64 / memory);
            checks.connections.read(app.connections.load(Relaxed) as f64);
        }
        match (had_room, app.strain.has_room()) {
            (true, false) => {
                tracing::warn!(checks = ?app.strain.checks(), "strained: not ready for more traffic");
            }
            (false, true) => tracing::info!("ready for more traffic again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(readings: &[f64]) -> bool {
        let mut check = Check::new(0.9);
        readings.iter().for_each(|&value| check.read(value));
        check.ok
    }

    #[test]
    fn it_takes_several_bad_readings_in_a_row_to_be_taken_out() {
        assert!(after(&[0.95, 0.99]));
        assert!(!after(&[0.95, 0.99, 0.91]));
        assert!(after(&[0.95, 0.99, 0.5, 0.95, 0.99]));
        assert!(after(&[0.9; 10]), "at the limit is not above it");
    }

    #[test]
    fn the_way_back_takes_as_many_and_ends_lower() {
        let out = [0.95; 3];
        assert!(!after(&[&out[..], &[0.85; 10]].concat()), "below the limit alone is not enough");
        assert!(!after(&[&out[..], &[0.5; 2]].concat()));
        assert!(after(&[&out[..], &[0.5; 3]].concat()));
        assert!(!after(&[&out[..], &[0.5, 0.5, 0.89, 0.5, 0.5]].concat()));
    }
}
