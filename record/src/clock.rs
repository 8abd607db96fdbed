//! The only place in squall that reads a clock.
//!
//! A [`Clock`] counts nanoseconds from one origin, so load, faults and records share one time
//! axis. Wall time is read once, to name a run; nothing is measured with it, because it jumps.

use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds in a second.
pub const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A monotonic clock with its origin at zero. Copies share the origin.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose zero is now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: now() }
    }

    /// A clock whose zero lies `lead` in the future: it reads 0 until then.
    #[must_use]
    pub fn starting_in(lead: Duration) -> Self {
        Self { origin: now() + lead }
    }

    /// Nanoseconds since the origin; 0 before it.
    #[must_use]
    #[inline]
    pub fn now_ns(&self) -> u64 {
        // 2^64 ns is 584 years; the cast cannot truncate in a process's lifetime.
        now().saturating_duration_since(self.origin).as_nanos() as u64
    }

    /// Seconds since the origin; 0 before it.
    #[must_use]
    pub fn now_s(&self) -> f64 {
        self.now_ns() as f64 / NANOS_PER_SEC as f64
    }

    /// How long from now until `at_ns` on this clock; zero when it has passed.
    #[must_use]
    pub fn until(&self, at_ns: u64) -> Duration {
        (self.origin + Duration::from_nanos(at_ns)).saturating_duration_since(now())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one read of the monotonic clock")]
#[inline]
fn now() -> Instant {
    Instant::now()
}

/// CPU time that the calling thread has used, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Both parts are non-negative for a CPU-time clock.
    (t.tv_sec as u64) * NANOS_PER_SEC + t.tv_nsec as u64
}

/// The wall clock, for names and stamps only.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one read of the wall clock")]
pub fn wall_now() -> SystemTime {
    SystemTime::now()
}

/// `t` as RFC 3339 in UTC with milliseconds: `2026-11-21T01:02:03.004Z`.
#[must_use]
pub fn rfc3339(t: SystemTime) -> String {
    match jiff::Timestamp::try_from(t) {
        Ok(ts) => format!("{ts:.3}"),
        Err(_) => "unknown".to_owned(),
    }
}

/// `t` in UTC as it appears in a run folder's name: `20261121T010203Z`.
#[must_use]
pub fn folder_stamp(t: SystemTime) -> String {
    rfc3339(t).split('.').next().unwrap_or("unknown").replace(['-', ':'], "") + "Z"
}

/// Milliseconds since the Unix epoch; 0 before it.
#[must_use]
pub fn unix_ms(t: SystemTime) -> u64 {
    t.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_starts_later_reads_zero_until_then() {
        let c = Clock::starting_in(Duration::from_secs(3600));
        assert_eq!(c.now_ns(), 0);
        assert!(c.until(0) > Duration::from_secs(3590));
    }

    #[test]
    fn stamps_are_utc_and_sortable() {
        let t = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_004);
        assert_eq!(rfc3339(t), "2001-09-09T01:46:40.004Z");
        assert_eq!(folder_stamp(t), "20010909T014640Z");
        assert_eq!(unix_ms(t), 1_000_000_000_004);
    }
}
