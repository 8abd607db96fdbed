//! What a calibration found.

use serde::{Deserialize, Serialize};
use squall_record::manifest::Machine;

/// The current form of a calibration.
pub const SCHEMA: u32 = 1;

/// What a calibration found, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// [`SCHEMA`]
    pub schema: u32,
    /// When, RFC 3339, UTC.
    pub at: String,
    /// Of what machine and squall.
    pub fingerprint: Fingerprint,
    /// Load workers.
    pub workers: u32,
    /// Connections to the responder.
    pub connections: u32,
    /// Seconds measured at each rate.
    pub seconds: u32,
    /// The highest rate that was kept, in requests per second; null when none was.
    pub limit_rps: Option<f64>,
    /// No rate was tried that was not kept: the limit is higher, or just this.
    pub at_least: bool,
    /// Every rate that was tried, in rising order; a rate that was tried twice is told once, as
    /// the better of the two.
    pub steps: Vec<Step>,
    /// As fast as the connections allow; null when it was left out.
    pub closed_loop: Option<ClosedLoop>,
    /// How late sleeping threads wake.
    pub timers: Timers,
}

/// What must be the same for a calibration to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The processor as the kernel names it.
    pub cpu: String,
    /// Logical processors usable by the process.
    pub cpus: usize,
    /// Kernel name and release.
    pub os: String,
    /// The version of squall.
    pub squall_version: String,
    /// Whether squall was built with optimisation.
    pub optimised: bool,
}

impl Fingerprint {
    /// Of this machine and this squall.
    #[must_use]
    pub fn this() -> Self {
        let Machine { cpu, cpus, os, .. } = Machine::this();
        Self {
            cpu,
            cpus,
            os,
            squall_version: env!("CARGO_PKG_VERSION").to_owned(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

/// One rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What was asked for, in requests per second.
    pub rate_rps: f64,
    /// What was answered, in requests per second.
    pub achieved_rps: f64,
    /// Schedule lag in microseconds.
    pub lag_p50_us: u64,
    /// Schedule lag in microseconds.
    pub lag_p99_us: u64,
    /// Schedule lag in microseconds.
    pub lag_max_us: u64,
    /// How late the loop noticed arrivals, in microseconds.
    pub pacing_p99_us: u64,
    /// CPU time of the workers over their wall time, 0 to 1.
    pub cpu: f64,
    /// CPU time of the workers per request, in microseconds.
    pub cpu_us_per_request: f64,
    /// Why it was not kept; null when it was.
    pub problem: Option<String>,
}

impl Step {
    /// Whether the rate was kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.problem.is_none()
    }
}

/// A maximum throughput, which says nothing about punctuality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedLoop {
    /// Answers per second, each connection sending as soon as it is answered.
    pub max_rps: f64,
    /// CPU time of the workers per request, in microseconds.
    pub cpu_us_per_request: f64,
}

/// How late a thread wakes from a short sleep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timers {
    /// How long each sleep was to last, in microseconds.
    pub sleep_us: u64,
    /// The median of how much longer it lasted, in microseconds.
    pub overshoot_p50_us: u64,
    /// The 99th percentile.
    pub overshoot_p99_us: u64,
    /// The worst.
    pub overshoot_max_us: u64,
}
