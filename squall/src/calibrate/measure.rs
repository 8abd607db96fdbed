//! One step of a calibration.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use squall_engine::engine::{self, Job};
use squall_record::clock::Clock;
use squall_record::counts::Counts;
use squall_record::latency::Latency;
use squall_scenarios::closed::closed_loop;
use squall_scenarios::load::load;
use squall_scenarios::plan::Plan;
use squall_scenarios::source::Source;
use squall_scenarios::workload::Workload;

use super::KEPT_LAG_US;
use super::result::{ClosedLoop, Step, Timers};

/// How far ahead a step's zero lies, so that every connection is open by then.
const LEAD: Duration = Duration::from_millis(300);
/// Seconds of load before those that are measured.
pub const WARMUP_S: u32 = 1;
/// A rate is not kept when less than this share of its arrivals is answered: more than that is no
/// matter of the last few on the wire.
const ANSWERED_SHARE: f64 = 0.99;
/// Sleeps that the timers are judged by.
const SLEEPS: usize = 500;
/// How long each of them is to last.
const SLEEP: Duration = Duration::from_micros(100);

/// How the engine is set up for every step.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Where the responder answers.
    pub addr: SocketAddr,
    /// Load workers.
    pub workers: u32,
    /// Connections in all.
    pub connections: u32,
    /// Seconds measured.
    pub seconds: u32,
}

/// What the engine did in the measured seconds.
#[derive(Default)]
struct Seen {
    counts: Counts,
    lag: Latency,
    pacing: Latency,
    cpu_ns: u64,
    wall_ns: u64,
}

impl Seen {
    fn cpu_us_per_request(&self) -> f64 {
        self.cpu_ns as f64 / 1000.0 / self.counts.sent.max(1) as f64
    }
}

impl Settings {
    /// Loads the responder at `rate_rps`, open loop with Poisson arrivals.
    ///
    /// # Errors
    /// When the load cannot be carried on this machine.
    pub fn open_loop(&self, rate_rps: f64) -> anyhow::Result<Step> {
        let seen = self.run(&self.plan(rate_rps)?)?;
        let us = |h: &Latency, q| h.quantile(q).map_or(0, |v| v.us);
        let step = Step {
            rate_rps,
            achieved_rps: seen.counts.completed() as f64 / f64::from(self.seconds),
            lag_p50_us: us(&seen.lag, 0.5),
            lag_p99_us: us(&seen.lag, 0.99),
            lag_max_us: us(&seen.lag, 1.0),
            pacing_p99_us: us(&seen.pacing, 0.99),
            cpu: if seen.wall_ns > 0 { seen.cpu_ns as f64 / seen.wall_ns as f64 } else { 0.0 },
            cpu_us_per_request: seen.cpu_us_per_request(),
            problem: None,
        };
        Ok(Step { problem: problem(&step, &seen.counts), ..step })
    }

    /// Loads the responder as fast as the connections allow.
    ///
    /// # Errors
    /// As [`open_loop`](Self::open_loop).
    pub fn closed_loop(&self) -> anyhow::Result<ClosedLoop> {
        let duration_s = f64::from(WARMUP_S + self.seconds);
        let (plan, _) = closed_loop(self.plan(1.0)?, duration_s);
        let seen = self.run(&plan)?;
        Ok(ClosedLoop {
            max_rps: seen.counts.completed() as f64 / f64::from(self.seconds),
            cpu_us_per_request: seen.cpu_us_per_request(),
        })
    }

    fn run(&self, plan: &Plan) -> anyhow::Result<Seen> {
        let host = self.addr.to_string();
        let workload = Workload::new(plan, &host, "")?;
        let clock = Clock::starting_in(LEAD);
        let job = Job { plan, endpoint: &self.addr.into(), host: &host, workload: &workload, clock };
        let mut seen = Seen::default();
        let measured = WARMUP_S..WARMUP_S + self.seconds;
        engine::run(&job, &AtomicBool::new(false), |tick| {
            // By the second in which they ended: what is late for its own is not lost.
            if measured.contains(&tick.second) {
                for i in &tick.intervals {
                    seen.counts += &i.counts;
                    seen.lag.merge(&i.lag);
                }
                seen.pacing.merge(&tick.pacing);
                seen.cpu_ns += tick.generator.cpu_ns;
                seen.wall_ns += tick.generator.wall_ns;
            }
            Ok(())
        })
        .context("load the responder")?;
        Ok(seen)
    }

    fn plan(&self, rate_rps: f64) -> anyhow::Result<Plan> {
        let Self { addr, workers, connections, seconds } = self;
        let duration_s = WARMUP_S + seconds;
        let text = format!(
            r#"
name = "calibrate"
[target]
url = "http://{addr}"
[load]
connections = {connections}
workers = {workers}
max_rate = "10M/s"
[[phase]]
name = "hold"
duration = "{duration_s}s"
rate = "{rate_rps:.2}/s"
[[request]]
name = "get"
method = "GET"
path = "/"
"#
        );
        load(&Source { name: "calibrate".to_owned(), text }, &[]).context("plan a step")
    }
}

/// Why the rate of `step` was not kept.
fn problem(step: &Step, counts: &Counts) -> Option<String> {
    let unanswered = counts.planned.saturating_sub(counts.completed());
    if counts.planned == 0 {
        Some("nothing was planned in the seconds measured".to_owned())
    } else if (counts.completed() as f64) < counts.planned as f64 * ANSWERED_SHARE {
        Some(format!("{unanswered} of {} were not answered in time", counts.planned))
    } else if step.lag_p99_us > KEPT_LAG_US {
        Some("late".to_owned())
    } else {
        None
    }
}

/// How late this machine wakes a thread that sleeps as the engine does.
#[must_use]
pub fn timers() -> Timers {
    let measured = std::thread::spawn(|| {
        // As the engine's workers do: the default slack alone is 50 µs.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut overshoot = Latency::new();
        for _ in 0..SLEEPS {
            let clock = Clock::start();
            std::thread::sleep(SLEEP);
            overshoot.record_ns(clock.now_ns().saturating_sub(SLEEP.as_nanos() as u64));
        }
        overshoot
    });
    let overshoot = measured.join().unwrap_or_default();
    let us = |q| overshoot.quantile(q).map_or(0, |v| v.us);
    Timers {
        sleep_us: SLEEP.as_micros() as u64,
        overshoot_p50_us: us(0.5),
        overshoot_p99_us: us(0.99),
        overshoot_max_us: us(1.0),
    }
}
