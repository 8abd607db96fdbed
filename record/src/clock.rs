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

    /// The clock of another process of this machine, whose
    /// [`origin_monotonic_ns`](Self::origin_monotonic_ns) is known.
    #[must_use]
    pub fn with_origin(monotonic_ns: u64) -> Self {
        let (now, now_ns) = (now(), monotonic_now_ns());
        let apart = Duration::from_nanos(monotonic_ns.abs_diff(now_ns));
        let origin = if monotonic_ns >= now_ns { now + apart } else { now.checked_sub(apart).unwrap_or(now) };
        Self { origin }
    }

    /// The origin on the kernel's monotonic clock, which every process of this machine shares.
    #[must_use]
    pub fn origin_monotonic_ns(&self) -> u64 {
        let (now, now_ns) = (now(), monotonic_now_ns());
        // 2^64 ns is 584 years; the casts cannot truncate in a machine's uptime.
        let ahead = self.origin.saturating_duration_since(now).as_nanos() as u64;
        let behind = now.saturating_duration_since(self.origin).as_nanos() as u64;
        (now_ns + ahead).saturating_sub(behind)
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

    /// Sleeps until `at_ns` on this clock; not at all when it has passed.
    pub fn sleep_until(&self, at_ns: u64) {
        let left = self.until(at_ns);
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one read of the monotonic clock")]
#[inline]
fn now() -> Instant {
    Instant::now()
}

fn monotonic_now_ns() -> u64 {
    // Instant reads the same clock on Linux, but does not show its value.
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (t.tv_sec as u64) * NANOS_PER_SEC + t.tv_nsec as u64
}

/// CPU time that the calling thread has used, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Both parts are non-negative for a CPU-time clock.
    (t.tv_sec as u64) * NANOS_PER_SEC + t.tv_nsec as u64
}

/// How long the calling thread has been ready to run without getting a CPU, in nanoseconds: what
/// other processes took from it. Kept open, so that a reading is one system call.
#[derive(Debug)]
pub struct CpuWait {
    schedstat: Option<std::fs::File>,
}

impl CpuWait {
    /// Of the calling thread. A kernel that does not tell reads as 0 for ever.
    #[must_use]
    pub fn of_this_thread() -> Self {
        Self { schedstat: std::fs::File::open("/proc/thread-self/schedstat").ok() }
    }

    /// The time so far.
    #[must_use]
    pub fn ns(&self) -> u64 {
        use std::os::unix::fs::FileExt;
        // Three numbers: time on a CPU, time waiting for one, time slices.
        let mut text = [0; 64];
        let read = self.schedstat.as_ref().and_then(|f| f.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = str::from_utf8(&text[..read]).unwrap_or_default();
        text.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

/// Two other clocks against the monotonic one: their differences are constant unless the machine
/// sleeps or somebody sets its wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffsets {
    boot_ns: i64,
    wall_ns: i64,
}

impl ClockOffsets {
    /// Reads the three clocks.
    #[must_use]
    pub fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};
        let ns = |id| {
            let t = clock_gettime(id);
            t.tv_sec * NANOS_PER_SEC as i64 + t.tv_nsec
        };
        let monotonic = ns(ClockId::Monotonic);
        Self { boot_ns: ns(ClockId::Boottime) - monotonic, wall_ns: ns(ClockId::Realtime) - monotonic }
    }

    /// How long the machine has slept since `earlier`, in nanoseconds: the monotonic clock stands
    /// still meanwhile.
    #[must_use]
    pub fn suspended_since(&self, earlier: &Self) -> u64 {
        u64::try_from(self.boot_ns - earlier.boot_ns).unwrap_or(0)
    }

    /// By how much the wall clock has been set forward or back since `earlier`, in nanoseconds.
    /// What the machine slept is not a step.
    #[must_use]
    pub fn stepped_since(&self, earlier: &Self) -> u64 {
        let slept = self.boot_ns - earlier.boot_ns;
        (self.wall_ns - earlier.wall_ns - slept).unsigned_abs()
    }
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

/// The instant so many seconds after the RFC 3339 `stamp`, in the same form; `None` when that is no instant.
#[must_use]
pub fn rfc3339_after(stamp: &str, seconds: f64) -> Option<String> {
    let start: jiff::Timestamp = stamp.parse().ok()?;
    let after = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Some(format!("{:.3}", start.checked_add(after).ok()?))
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
    fn seconds_after_a_stamp_are_a_stamp() {
        let after = |seconds| rfc3339_after("2026-11-21T23:59:59.500Z", seconds);
        assert_eq!(after(1.25).as_deref(), Some("2026-11-22T00:00:00.750Z"));
        assert_eq!((after(f64::NAN), rfc3339_after("yesterday", 1.0)), (None, None));
    }

    #[test]
    fn a_clock_that_starts_later_reads_zero_until_then() {
        let c = Clock::starting_in(Duration::from_secs(3600));
        assert_eq!(c.now_ns(), 0);
        assert!(c.until(0) > Duration::from_secs(3590));
    }

    #[test]
    fn a_thread_that_shares_its_cpu_waits_for_it() {
        let wait = CpuWait::of_this_thread();
        let before = wait.ns();
        // Many more threads than cores, all busy: each waits most of the time.
        let threads = 4 * std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|s| {
            let clock = Clock::start();
            for _ in 0..threads {
                s.spawn(move || while clock.now_s() < 0.3 {});
            }
            while clock.now_s() < 0.3 {}
        });
        assert!(wait.ns() - before > 10_000_000, "{} ns", wait.ns() - before);
    }

    #[test]
    fn a_sleep_of_the_machine_and_a_step_of_its_clock_are_told_apart() {
        let at = |boot_ns, wall_ns| ClockOffsets { boot_ns, wall_ns };
        let start = at(5, 1_000);
        assert_eq!((at(5, 1_000).suspended_since(&start), at(5, 1_000).stepped_since(&start)), (0, 0));
        // Asleep for 100: wall and boot clock run on.
        assert_eq!((at(105, 1_100).suspended_since(&start), at(105, 1_100).stepped_since(&start)), (100, 0));
        assert_eq!((at(5, 700).suspended_since(&start), at(5, 700).stepped_since(&start)), (0, 300));
        assert_eq!(at(5, 1_400).stepped_since(&start), 400);
    }

    #[test]
    fn the_offsets_stand_still_while_nobody_touches_the_clocks() {
        let (a, b) = (ClockOffsets::now(), ClockOffsets::now());
        assert!(b.suspended_since(&a) < 1_000_000_000);
    }

    #[test]
    fn a_clock_handed_to_another_process_keeps_its_origin() {
        for c in [Clock::start(), Clock::starting_in(Duration::from_secs(60))] {
            let twin = Clock::with_origin(c.origin_monotonic_ns());
            let apart = twin.until(120 * NANOS_PER_SEC).abs_diff(c.until(120 * NANOS_PER_SEC));
            assert!(apart < Duration::from_millis(50), "{apart:?}");
        }
    }

    #[test]
    fn stamps_are_utc_and_sortable() {
        let t = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_004);
        assert_eq!(rfc3339(t), "2001-09-09T01:46:40.004Z");
        assert_eq!(folder_stamp(t), "20010909T014640Z");
        assert_eq!(unix_ms(t), 1_000_000_000_004);
    }
}
