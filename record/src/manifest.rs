//! What was run, where, and when: `manifest.json`, written before the first request.

use serde::{Deserialize, Serialize};

use crate::clock;

/// The current form of the run folder.
pub const SCHEMA: u32 = 1;

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the run folder, [`SCHEMA`].
    pub schema: u32,
    /// The scenario's name.
    pub name: String,
    /// The seed in force.
    pub seed: u64,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The version of squall that wrote it.
    pub squall_version: String,
    /// The plan as resolved, in the form of `squall_scenarios::plan::Plan`.
    pub scenario: serde_json::Value,
    /// XXH3-64 of the plan's JSON, in hexadecimal: equal for equal experiments.
    pub scenario_hash: String,
    /// The request classes' names; an interval's `class` is an index into it.
    pub classes: Vec<String>,
    /// Where it ran.
    pub machine: Machine,
}

/// Where a run took place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel name and release.
    pub os: String,
    /// The processor as the kernel names it; "unknown" when it does not.
    pub cpu: String,
    /// Logical processors usable by the process.
    pub cpus: usize,
    /// Memory in MiB; 0 when unknown.
    pub memory_mib: u64,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        let uname = rustix::system::uname();
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        let field = |file: &str, key: &str| {
            file.lines().find_map(|l| {
                l.strip_prefix(key)?.trim_start().strip_prefix(':').map(|v| v.trim().to_owned())
            })
        };
        Self {
            os: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: field(&text("/proc/meminfo"), "MemTotal")
                .and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
        }
    }
}

impl Manifest {
    /// Stamps the current wall time.
    #[must_use]
    pub fn stamp() -> String {
        clock::rfc3339(clock::wall_now())
    }
}
