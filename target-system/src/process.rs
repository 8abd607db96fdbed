//! What the process may use, and what it uses, for `/health` and `/metrics`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Raises the soft limit on open files to `needed`.
///
/// # Errors
/// With the hard limit, when that is lower.
pub fn allow_open_files(needed: u64) -> Result<(), u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    if hard < needed { Err(hard) } else { setrlimit(Resource::Nofile, raised).map_err(|_| hard) }
}

/// The memory that the process may use, in bytes: its control group's limit, or the machine's memory. `None` when
/// the system says neither.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    let group: Option<u64> =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib: u64 = text.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    });
    match (group, machine) {
        (Some(group), Some(machine)) => Some(group.min(machine)),
        (group, machine) => group.or(machine),
    }
}

/// Figures of this process.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, utoipa::ToSchema)]
pub struct Usage {
    /// CPU time of all its threads, user and system, in seconds.
    pub cpu_s: f64,
    /// Resident memory in bytes; 0 when the system does not say.
    pub rss_bytes: u64,
    /// Threads; 0 when the system does not say.
    pub threads: u64,
}

impl Usage {
    /// As of now.
    #[must_use]
    pub fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let (threads, rss_pages) = from_stat(&stat).unwrap_or_default();
        Self {
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            rss_bytes: rss_pages * rustix::param::page_size() as u64,
            threads,
        }
    }
}

/// Fields 20 (`num_threads`) and 24 (`rss`) of proc_pid_stat(5). The name in field 2 may itself
/// hold spaces and parentheses, so counting starts behind its last one.
fn from_stat(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let threads = fields.nth(20 - 3)?.parse().ok()?;
    let rss_pages = fields.nth(24 - 20 - 1)?.parse().ok()?;
    Some((threads, rss_pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_fields_are_read() {
        let mut stat = "7 (a) b) S".to_owned();
        for field in 4..=52 {
            stat += &format!(" {field}");
        }
        assert_eq!(from_stat(&stat), Some((20, 24)));
        assert_eq!(from_stat(""), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::now();
        assert!(memory_limit().is_none_or(|limit| limit > usage.rss_bytes));
        assert!(usage.cpu_s > 0.0 && usage.rss_bytes > 100_000 && usage.threads >= 1, "{usage:?}");
    }
}
