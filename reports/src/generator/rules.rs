//! The rules, and their limits.

use squall_record::interval::Shortage;
use squall_record::latency::{Latency, Quantile, human_us};
use squall_scenarios::plan::{Http, Transport};

use super::{Judge, RunVerdict};

/// Above this 99th percentile of pacing the run is SUSPECT: a millisecond is the point from which
/// an arrival counts as late.
pub const PACING_SUSPECT_US: u64 = 1_000;
/// Above this 99th percentile of pacing the run is INVALID: bursts of 10 ms are another workload
/// than the one that was planned.
pub const PACING_INVALID_US: u64 = 10_000;
/// With fewer arrivals than this beyond [`PACING_INVALID_US`] the run is SUSPECT at most: one
/// hiccup of the machine among a hundred arrivals is not a generator at its limit.
pub const PACING_INVALID_ARRIVALS: u64 = 10;
/// Above this share of planned arrivals that waited for a connection while the target answered
/// promptly, the run is SUSPECT.
pub const STARVED_SUSPECT_SHARE: f64 = 0.01;
/// Above this share of requests behind which the target sent more than was asked for, the run is
/// SUSPECT: whose answers its answers are is not known.
pub const UNASKED_SUSPECT_SHARE: f64 = 0.01;
/// From this CPU utilisation of the workers the run is SUSPECT.
pub const CPU_SUSPECT: f64 = 0.85;
/// From this CPU utilisation of the workers the run is INVALID: nothing is left to be punctual
/// with.
pub const CPU_INVALID: f64 = 0.97;
/// Once a worker's loop stood still for this long, beyond the wait it had asked for, the run is
/// SUSPECT: what was due meanwhile was fired in one burst. The 99th percentile of a long run does
/// not notice.
pub const STOOD_STILL_SUSPECT_NS: u64 = 100_000_000;
/// Once it stood still for this long, the run is INVALID.
pub const STOOD_STILL_INVALID_NS: u64 = 1_000_000_000;
/// Once the machine was suspended for this long, the run is INVALID: its clock stood still while
/// the world, and perhaps the target, went on.
pub const SUSPENDED_INVALID_NS: u64 = 10_000_000;
/// Once the wall clock was set by this much, the run is SUSPECT: latencies do not rest on it, but
/// the target's own time-outs, tokens and logs may.
pub const CLOCK_STEP_SUSPECT_NS: u64 = 100_000_000;
/// From this share of its time spent waiting for a CPU, late pacing is said to come from that.
const CPU_WAIT_SHARE: f64 = 0.01;
/// From this mean lateness of sleeps, late pacing is said to come from the timers.
const OVERSLEPT_NS: u64 = 500_000;
/// A phase with at least this many seconds is judged by its own CPU utilisation, so that a long
/// calm run cannot hide a saturated peak.
pub const CPU_MIN_SECONDS: u32 = 5;
/// A shortfall of planned arrivals up to this share is not remarked upon.
pub const SHORTFALL_SUSPECT_SHARE: f64 = 0.02;
/// Standard deviations of the count of arrivals that a shortfall must exceed besides, so that
/// chance is not called a fault.
pub const SHORTFALL_SIGMAS: f64 = 4.0;

impl Judge {
    /// What the rules find, in no order.
    pub(super) fn findings(&self) -> Vec<(RunVerdict, String)> {
        [self.pacing_finding(), self.drop_finding(), self.starved_finding(), self.cpu_finding()]
            .into_iter()
            .chain([self.standstill_finding(), self.suspension_finding(), self.clock_step_finding()])
            .chain([self.shortfall_finding(), self.gap_finding(), self.journeys_finding()])
            .chain([self.unasked_finding(), self.shortage_finding()])
            .flatten()
            .collect()
    }

    fn pacing_finding(&self) -> Option<(RunVerdict, String)> {
        let p99 = p99_us(&self.pacing)?;
        let beyond = self.pacing.len() - self.pacing.count_at_or_below(PACING_INVALID_US);
        let (verdict, limit) = if p99 > PACING_INVALID_US && beyond >= PACING_INVALID_ARRIVALS {
            (RunVerdict::Invalid, PACING_INVALID_US)
        } else if p99 > PACING_SUSPECT_US {
            (RunVerdict::Suspect, PACING_SUSPECT_US)
        } else {
            return None;
        };
        Some((
            verdict,
            format!(
                "the generator's own loop was late: pacing p99 {} is above the limit of {}{}; {}{}",
                human_us(p99 as f64),
                human_us(limit as f64),
                self.why_late().unwrap_or_default(),
                if self.has_coarse_timers() {
                    "run on a machine with high-resolution timers, or poll before arrivals with load.spin"
                        .into()
                } else {
                    format!(
                        "lower the rate, set load.workers (now {}) to the cores that are free, or give \
                         the target a machine of its own",
                        self.plan.load.workers
                    )
                },
                self.costly_transport(),
            ),
        ))
    }

    /// What made the loop late, when that can be told.
    fn why_late(&self) -> Option<String> {
        let wall_ns = self.cpu_total().wall_ns;
        let waited = self.cpu_wait_ns as f64 / wall_ns.max(1) as f64;
        if self.has_coarse_timers() {
            let mean_us = self.overslept_ns as f64 / self.sleeps as f64 / 1e3;
            return Some(format!(" (its sleeps end {} late on average)", human_us(mean_us)));
        }
        (waited >= CPU_WAIT_SHARE).then(|| {
            format!(" (its workers waited {:.0} % of the time for a CPU that others had)", waited * 100.0)
        })
    }

    /// Whether sleeps end late although a CPU is free.
    fn has_coarse_timers(&self) -> bool {
        self.overslept_ns.saturating_sub(self.cpu_wait_ns) / self.sleeps.max(1) >= OVERSLEPT_NS
    }

    fn standstill_finding(&self) -> Option<(RunVerdict, String)> {
        let (verdict, limit_ns) =
            reached(self.stood_still_ns, STOOD_STILL_SUSPECT_NS, STOOD_STILL_INVALID_NS)?;
        Some((
            verdict,
            format!(
                "a worker stood still for {} (limit {}) and then fired what was due in one burst: it was \
                 stopped, or got no CPU; run again on a machine with a core to spare",
                human_us(self.stood_still_ns as f64 / 1e3),
                human_us(limit_ns as f64 / 1e3),
            ),
        ))
    }

    fn suspension_finding(&self) -> Option<(RunVerdict, String)> {
        (self.suspended_ns >= SUSPENDED_INVALID_NS).then(|| {
            (
                RunVerdict::Invalid,
                format!(
                    "the machine was suspended for {} (limit {}); run again on one that stays awake",
                    human_us(self.suspended_ns as f64 / 1e3),
                    human_us(SUSPENDED_INVALID_NS as f64 / 1e3),
                ),
            )
        })
    }

    fn clock_step_finding(&self) -> Option<(RunVerdict, String)> {
        (self.clock_step_ns >= CLOCK_STEP_SUSPECT_NS).then(|| {
            (
                RunVerdict::Suspect,
                format!(
                    "the wall clock was set by {} during the run (limit {}): latencies do not rest on it, \
                     but the target's time-outs, tokens and logs may; let the clock settle before a run",
                    human_us(self.clock_step_ns as f64 / 1e3),
                    human_us(CLOCK_STEP_SUSPECT_NS as f64 / 1e3),
                ),
            )
        })
    }

    fn drop_finding(&self) -> Option<(RunVerdict, String)> {
        (self.starved_drops > 0 && self.shortage.is_none()).then(|| {
            (
                RunVerdict::Invalid,
                format!(
                    "{} of {} planned arrivals were dropped although the target was answering promptly \
                     (limit 0); raise load.connections (now {}) and load.max_in_flight (now {})",
                    self.starved_drops,
                    self.planned,
                    self.plan.load.connections,
                    self.plan.load.max_in_flight,
                ),
            )
        })
    }

    /// More connections would not help a machine that cannot open those it has, so this stands in the
    /// place of what is said of waits.
    fn shortage_finding(&self) -> Option<(RunVerdict, String)> {
        let (lacking, way_out) = match self.shortage? {
            Shortage::Ports => (
                "local ports to connect from",
                "let the target keep its connections open, or widen net.ipv4.ip_local_port_range",
            ),
            Shortage::Files => ("open files left", "raise the limit of open files (ulimit -n)"),
            Shortage::Memory => ("memory for sockets", "free some, or lower load.connections"),
            Shortage::Permission => {
                ("permission to connect", "let its firewall, its sandbox or the socket's file allow it")
            }
        };
        let dropped = match self.starved_drops {
            0 => String::new(),
            n => format!(", and {n} of {} planned arrivals were dropped", self.planned),
        };
        Some((
            if self.starved_drops > 0 { RunVerdict::Invalid } else { RunVerdict::Suspect },
            format!(
                "{} to open a connection failed on this machine, which had no {lacking} (limit 0){dropped}: the \
                 target was not asked; {way_out}",
                if self.unopened == 1 {
                    "1 attempt".to_owned()
                } else {
                    format!("{} attempts", self.unopened)
                },
            ),
        ))
    }

    fn starved_finding(&self) -> Option<(RunVerdict, String)> {
        let share = self.starved as f64 / self.planned.max(1) as f64;
        (share > STARVED_SUSPECT_SHARE && self.shortage.is_none()).then(|| {
            (
                RunVerdict::Suspect,
                format!(
                    "{:.1} % of the planned arrivals had to wait for a connection although the target was \
                     answering promptly (limit {:.0} %); raise load.connections (now {})",
                    share * 100.0,
                    STARVED_SUSPECT_SHARE * 100.0,
                    self.plan.load.connections,
                ),
            )
        })
    }

    fn unasked_finding(&self) -> Option<(RunVerdict, String)> {
        let share = self.unasked as f64 / self.sent.max(1) as f64;
        (share > UNASKED_SUSPECT_SHARE).then(|| {
            (
                RunVerdict::Suspect,
                format!(
                    "the target sent what nobody had asked for {} times, and was sent {} requests (limit {:.0} %), so \
                     that answers may have been taken for those of other requests; look at what it sends before a \
                     request and behind an answer",
                    self.unasked,
                    self.sent,
                    UNASKED_SUSPECT_SHARE * 100.0,
                ),
            )
        })
    }

    fn cpu_finding(&self) -> Option<(RunVerdict, String)> {
        let whole = self.cpu_total().utilisation().map(|u| (u, String::new()));
        let phases = self.cpu.iter().zip(&self.plan.phases).filter(|(c, _)| c.seconds >= CPU_MIN_SECONDS);
        let (busiest, place) = phases
            .filter_map(|(c, p)| Some((c.utilisation()?, format!(" in phase `{}`", p.name))))
            .chain(whole)
            .max_by(|a, b| a.0.total_cmp(&b.0))?;
        let (verdict, limit) = reached(busiest, CPU_SUSPECT, CPU_INVALID)?;
        Some((
            verdict,
            format!(
                "the generator's workers used {:.0} % of their CPU{place} (limit {:.0} %); raise \
                 load.workers (now {}), lower the rate, or use a faster machine{}",
                busiest * 100.0,
                limit * 100.0,
                self.plan.load.workers,
                self.costly_transport(),
            ),
        ))
    }

    /// What a general transport has to do with a generator that is too slow; nothing for the own one.
    fn costly_transport(&self) -> &'static str {
        match self.plan.load.transport {
            Transport::Own => "",
            Transport::General { http: Http::V1 } => {
                ". The general transport (HTTP/1.1) costs at least twice the CPU per request of the own \
                 one, which carries http:// and unix:// targets"
            }
            Transport::General { http: Http::V2 } => {
                ". The general transport (HTTP/2) costs at least twice the CPU per request of the own one, \
                 which carries http:// and unix:// targets over HTTP/1.1"
            }
        }
    }

    /// Compares with the plan over the seconds before the newest one, which may be incomplete.
    fn shortfall_finding(&self) -> Option<(RunVerdict, String)> {
        if self.missing_seconds > 0 {
            return None;
        }
        let until_s = f64::from(self.next_second.checked_sub(1)?);
        let asked = self.steering.asked(&self.plan, until_s);
        let planned = (self.foreseen - self.foreseen_newest) as f64;
        let chance = 1.0 + SHORTFALL_SIGMAS * self.plan.count_variance(asked).sqrt();
        (asked > 0.0 && asked - planned > chance + SHORTFALL_SUSPECT_SHARE * asked).then(|| {
            (
                RunVerdict::Suspect,
                format!(
                    "the generator planned {planned:.0} arrivals where the scenario asks for {asked:.0} \
                     (limit {:.0} % less); lower the rate or raise load.workers (now {})",
                    SHORTFALL_SUSPECT_SHARE * 100.0,
                    self.plan.load.workers,
                ),
            )
        })
    }

    /// Users that wait for their own thread find the target slower than it is.
    fn journeys_finding(&self) -> Option<(RunVerdict, String)> {
        let busy = self.journeys.utilisation()?;
        let (verdict, limit) = reached(busy, CPU_SUSPECT, CPU_INVALID)?;
        Some((
            verdict,
            format!(
                "the virtual users' thread used {:.0} % of its CPU (limit {:.0} %): their service times hold waits of \
                 its own; take fewer users, let them think longer, or load with [[request]]s",
                busy * 100.0,
                limit * 100.0
            ),
        ))
    }

    fn gap_finding(&self) -> Option<(RunVerdict, String)> {
        let missing = self.missing_seconds.max(self.missing_journey_seconds);
        (missing > 0).then(|| {
            (
                RunVerdict::Suspect,
                format!(
                    "{missing} s are missing from the record (limit 0): the generator stood still or its \
                     machine was suspended; run again on a machine that stays awake"
                ),
            )
        })
    }
}

pub(super) fn p99_us(latency: &Latency) -> Option<u64> {
    latency.quantile(0.99).map(|Quantile { us, .. }| us)
}

/// Which of two limits `seen` has reached, and what that makes of the run.
fn reached<T: PartialOrd + Copy>(seen: T, suspect: T, invalid: T) -> Option<(RunVerdict, T)> {
    if seen >= invalid {
        Some((RunVerdict::Invalid, invalid))
    } else if seen >= suspect {
        Some((RunVerdict::Suspect, suspect))
    } else {
        None
    }
}
