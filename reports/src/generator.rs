//! Was the generator, rather than the target, the limit? A run whose generator was the
//! bottleneck is INVALID, whatever its numbers say.
//!
//! [`Judge`] reads the one stream of a run, live or read back, and applies the rules below to
//! everything outside warm-up phases. The limits are the constants of this module; why they are
//! what they are stands in `docs/measuring.md`.
//!
//! | what was seen | verdict |
//! |---|---|
//! | no arrival was planned | INVALID |
//! | [`PACING_INVALID_US`] < pacing p99, by at least [`PACING_INVALID_ARRIVALS`] arrivals | INVALID |
//! | [`PACING_SUSPECT_US`] < pacing p99 | SUSPECT |
//! | an arrival was dropped while the target answered promptly | INVALID |
//! | more than [`STARVED_SUSPECT_SHARE`] of the arrivals waited for a connection while the target answered promptly | SUSPECT |
//! | CPU of the workers ≥ [`CPU_INVALID`] | INVALID |
//! | CPU of the workers ≥ [`CPU_SUSPECT`] | SUSPECT |
//! | CPU of the virtual users' thread ≥ [`CPU_INVALID`] | INVALID |
//! | CPU of the virtual users' thread ≥ [`CPU_SUSPECT`] | SUSPECT |
//! | fewer arrivals than the plan asks for, beyond chance and [`SHORTFALL_SUSPECT_SHARE`] | SUSPECT |
//! | a worker's loop stood still for [`STOOD_STILL_INVALID_NS`] | INVALID |
//! | a worker's loop stood still for [`STOOD_STILL_SUSPECT_NS`] | SUSPECT |
//! | the machine was suspended for [`SUSPENDED_INVALID_NS`] | INVALID |
//! | its wall clock was set by [`CLOCK_STEP_SUSPECT_NS`] | SUSPECT |
//! | seconds are missing from the record | SUSPECT |
//!
//! Schedule lag (fired − intended) is reported and never judged: it also holds waits for a
//! connection that a stalled target keeps busy, and that is the target's doing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_record::event::Event;
use squall_record::interval::Tick;
use squall_record::journey::JourneyTick;
use squall_record::latency::{Latency, Quantile, human_us};
use squall_scenarios::plan::{Http, Plan, Transport};

use crate::steering::Steering;

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

/// Whether the numbers of a run may be believed. Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunVerdict {
    /// The generator kept its schedule; what was measured is the target.
    Valid,
    /// The generator was near its limit; read the numbers with care.
    Suspect,
    /// The generator was the limit; the numbers say nothing about the target.
    Invalid,
}

impl RunVerdict {
    /// The word people see: `VALID`, `SUSPECT`, `INVALID`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RunVerdict::Valid => "VALID",
            RunVerdict::Suspect => "SUSPECT",
            RunVerdict::Invalid => "INVALID",
        }
    }
}

/// The generator's judgement of itself, with the figures it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GeneratorVerdict {
    /// The verdict.
    pub run: RunVerdict,
    /// Why it is not VALID: sentences with the figure, the limit and the way out, worst first.
    pub reasons: Vec<String>,
    /// CPU time of the workers per request sent, in microseconds; `None` when nothing was sent.
    pub cpu_us_per_request: Option<f64>,
    /// CPU time of the workers over wall time, 0..=1; `None` before the first measured second.
    pub cpu_utilisation: Option<f64>,
    /// 99th percentile of fired − intended, in microseconds; `None` when nothing was sent.
    pub schedule_lag_p99_us: Option<u64>,
    /// 99th percentile of the loop's own lateness, in microseconds; `None` when it had nothing
    /// to do.
    pub pacing_p99_us: Option<u64>,
    /// Worker threads.
    pub workers: u32,
    /// Most connections open at the end of a second.
    pub connections: u32,
    /// What carried the requests.
    pub transport: Transport,
    /// CPU time of the virtual users' thread over wall time, 0..=1; `None` without journeys.
    pub journeys_cpu_utilisation: Option<f64>,
}

/// CPU and wall time of one phase.
#[derive(Debug, Clone, Copy, Default)]
struct Cpu {
    cpu_ns: u64,
    wall_ns: u64,
    seconds: u32,
}

impl Cpu {
    fn utilisation(self) -> Option<f64> {
        (self.wall_ns > 0).then(|| self.cpu_ns as f64 / self.wall_ns as f64)
    }
}

/// Reads a run second by second and judges its generator. Its size does not grow with the run.
#[derive(Debug, Clone)]
pub struct Judge {
    plan: Plan,
    lag: Latency,
    pacing: Latency,
    cpu: Vec<Cpu>,
    /// Of the virtual users' thread, while there were users.
    journeys: Cpu,
    planned: u64,
    /// Those of phases that say how many they ask for; a trace does not.
    foreseen: u64,
    /// Of those, the ones of the newest second, which may be incomplete.
    foreseen_newest: u64,
    sent: u64,
    starved: u64,
    starved_drops: u64,
    cpu_wait_ns: u64,
    sleeps: u64,
    overslept_ns: u64,
    stood_still_ns: u64,
    suspended_ns: u64,
    clock_step_ns: u64,
    workers: u32,
    connections: u32,
    next_second: u32,
    missing_seconds: u32,
    steering: Steering,
}

impl Judge {
    /// A judge of a run of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            lag: Latency::new(),
            pacing: Latency::new(),
            cpu: vec![Cpu::default(); plan.phases.len()],
            journeys: Cpu::default(),
            planned: 0,
            foreseen: 0,
            foreseen_newest: 0,
            sent: 0,
            starved: 0,
            starved_drops: 0,
            cpu_wait_ns: 0,
            sleeps: 0,
            overslept_ns: 0,
            stood_still_ns: 0,
            suspended_ns: 0,
            clock_step_ns: 0,
            workers: 0,
            connections: 0,
            next_second: 0,
            missing_seconds: 0,
            steering: Steering::default(),
        }
    }

    /// Takes a change of the load by hand into account. It may be told of ahead of its seconds.
    pub fn event(&mut self, event: &Event) {
        self.steering.add(event);
    }

    /// Takes one second into account. Seconds come in rising order.
    pub fn add(&mut self, tick: &Tick) {
        // A gap after the last phase is not one: the load is over and only late answers are awaited.
        let load_ends = self.plan.duration_s().ceil() as u32;
        for second in self.next_second..tick.second.min(load_ends) {
            if !self.is_warmup(self.plan.phase_at(f64::from(second))) {
                self.missing_seconds += 1;
            }
        }
        self.next_second = tick.second.saturating_add(1);
        self.foreseen_newest = 0;
        for i in &tick.intervals {
            if self.is_warmup(usize::from(i.phase)) {
                continue;
            }
            self.planned += i.counts.planned;
            if self.plan.phases.get(usize::from(i.phase)).is_none_or(|p| p.trace.is_none()) {
                self.foreseen_newest += i.counts.planned;
            }
            self.sent += i.counts.sent;
            self.lag.merge(&i.lag);
        }
        self.foreseen += self.foreseen_newest;
        let g = &tick.generator;
        self.workers = g.workers;
        self.connections = self.connections.max(g.connections);
        let phase = usize::from(g.phase);
        if self.is_warmup(phase) {
            return;
        }
        if let Some(cpu) = self.cpu.get_mut(phase) {
            cpu.cpu_ns += g.cpu_ns;
            cpu.wall_ns += g.wall_ns;
            cpu.seconds += 1;
        }
        self.starved += g.starved;
        self.starved_drops += g.starved_drops;
        self.cpu_wait_ns += g.cpu_wait_ns;
        self.sleeps += g.sleeps;
        self.overslept_ns += g.overslept_ns;
        self.stood_still_ns = self.stood_still_ns.max(g.stood_still_ns);
        self.suspended_ns += g.suspended_ns;
        self.clock_step_ns = self.clock_step_ns.max(g.clock_step_ns);
        self.pacing.merge(&tick.pacing);
    }

    /// Takes one second of the journeys into account.
    pub fn add_journeys(&mut self, tick: &JourneyTick) {
        if tick.journeys.iter().any(|j| j.users > 0) {
            self.journeys.cpu_ns += tick.cpu_ns;
            self.journeys.wall_ns += tick.wall_ns;
            self.journeys.seconds += 1;
        }
    }

    /// The verdict on a run that has ended.
    #[must_use]
    pub fn verdict(&self) -> GeneratorVerdict {
        let mut found = self.findings();
        if self.planned == 0 && self.plan.has_load() {
            found.push((
                RunVerdict::Invalid,
                "no arrival was planned outside the warm-up, so nothing was measured; \
                 let the run reach a phase without `warmup = true`"
                    .to_owned(),
            ));
        }
        self.conclude(found)
    }

    /// The verdict on a run that still goes on: as [`verdict`](Self::verdict), but that nothing
    /// was measured yet is no fault.
    #[must_use]
    pub fn verdict_so_far(&self) -> GeneratorVerdict {
        self.conclude(self.findings())
    }

    fn conclude(&self, mut found: Vec<(RunVerdict, String)>) -> GeneratorVerdict {
        found.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
        let cpu = self.cpu_total();
        GeneratorVerdict {
            run: found.first().map_or(RunVerdict::Valid, |(verdict, _)| *verdict),
            reasons: found.into_iter().map(|(_, reason)| reason).collect(),
            cpu_us_per_request: (self.sent > 0).then(|| cpu.cpu_ns as f64 / 1000.0 / self.sent as f64),
            cpu_utilisation: cpu.utilisation(),
            schedule_lag_p99_us: p99_us(&self.lag),
            pacing_p99_us: p99_us(&self.pacing),
            workers: self.workers,
            connections: self.connections,
            transport: self.plan.load.transport,
            journeys_cpu_utilisation: self.journeys.utilisation(),
        }
    }

    fn findings(&self) -> Vec<(RunVerdict, String)> {
        [self.pacing_finding(), self.drop_finding(), self.starved_finding(), self.cpu_finding()]
            .into_iter()
            .chain([self.standstill_finding(), self.suspension_finding(), self.clock_step_finding()])
            .chain([self.shortfall_finding(), self.gap_finding(), self.journeys_finding()])
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
        let (verdict, limit_ns) = if self.stood_still_ns >= STOOD_STILL_INVALID_NS {
            (RunVerdict::Invalid, STOOD_STILL_INVALID_NS)
        } else if self.stood_still_ns >= STOOD_STILL_SUSPECT_NS {
            (RunVerdict::Suspect, STOOD_STILL_SUSPECT_NS)
        } else {
            return None;
        };
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
        (self.starved_drops > 0).then(|| {
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

    fn starved_finding(&self) -> Option<(RunVerdict, String)> {
        let share = self.starved as f64 / self.planned.max(1) as f64;
        (share > STARVED_SUSPECT_SHARE).then(|| {
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

    fn cpu_finding(&self) -> Option<(RunVerdict, String)> {
        let whole = self.cpu_total().utilisation().map(|u| (u, String::new()));
        let phases = self.cpu.iter().zip(&self.plan.phases).filter(|(c, _)| c.seconds >= CPU_MIN_SECONDS);
        let (busiest, place) = phases
            .filter_map(|(c, p)| Some((c.utilisation()?, format!(" in phase `{}`", p.name))))
            .chain(whole)
            .max_by(|a, b| a.0.total_cmp(&b.0))?;
        let (verdict, limit) = if busiest >= CPU_INVALID {
            (RunVerdict::Invalid, CPU_INVALID)
        } else if busiest >= CPU_SUSPECT {
            (RunVerdict::Suspect, CPU_SUSPECT)
        } else {
            return None;
        };
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
        let (verdict, limit) = if busy >= CPU_INVALID {
            (RunVerdict::Invalid, CPU_INVALID)
        } else if busy >= CPU_SUSPECT {
            (RunVerdict::Suspect, CPU_SUSPECT)
        } else {
            return None;
        };
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
        (self.missing_seconds > 0).then(|| {
            (
                RunVerdict::Suspect,
                format!(
                    "{} s are missing from the record (limit 0): the generator stood still or its \
                     machine was suspended; run again on a machine that stays awake",
                    self.missing_seconds
                ),
            )
        })
    }

    fn is_warmup(&self, phase: usize) -> bool {
        self.plan.phases.get(phase).is_some_and(|p| p.warmup)
    }

    fn cpu_total(&self) -> Cpu {
        self.cpu.iter().fold(Cpu::default(), |a, c| Cpu {
            cpu_ns: a.cpu_ns + c.cpu_ns,
            wall_ns: a.wall_ns + c.wall_ns,
            seconds: a.seconds + c.seconds,
        })
    }
}

fn p99_us(latency: &Latency) -> Option<u64> {
    latency.quantile(0.99).map(|Quantile { us, .. }| us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, phase};
    use squall_record::counts::Counts;
    use squall_record::event::{Steer, What};
    use squall_record::interval::{GeneratorSample, Interval};
    use squall_scenarios::bursts::Bursts;
    use squall_scenarios::plan::{Arrivals, LoadPlan};

    const RATE: u64 = 100;

    /// Two seconds of warm-up, eight measured ones.
    fn plan() -> Plan {
        Plan {
            phases: vec![phase("warm", true, 0.0, 2.0), phase("hold", false, 2.0, 10.0)],
            ..testing::plan()
        }
    }

    fn tick(second: u32) -> Tick {
        let phase = u16::from(second >= 2);
        let mut i = Interval::new(second, 0, phase);
        i.counts.planned = RATE;
        i.counts.sent = RATE;
        i.counts.ok = RATE;
        let mut pacing = Latency::new();
        for _ in 0..RATE {
            i.lag.record_us(50);
            pacing.record_us(20);
        }
        let generator = GeneratorSample {
            second,
            phase,
            workers: 2,
            connections: 8,
            cpu_ns: 400_000_000,
            wall_ns: 2_000_000_000,
            ..GeneratorSample::default()
        };
        Tick { second, intervals: vec![i], generator, pacing, ops: vec![] }
    }

    /// A healthy run in which `spoil` had its way with every second.
    fn judged(spoil: impl Fn(&mut Tick)) -> GeneratorVerdict {
        let mut judge = Judge::new(&plan());
        for second in 0..10 {
            let mut t = tick(second);
            spoil(&mut t);
            judge.add(&t);
        }
        judge.verdict()
    }

    fn expect(v: &GeneratorVerdict, run: RunVerdict, words: &[&str]) {
        assert_eq!(v.run, run, "{v:?}");
        for w in words {
            assert!(v.reasons[0].contains(w), "{w:?} is not in {:?}", v.reasons);
        }
    }

    #[test]
    fn a_healthy_generator_is_valid_and_its_figures_are_given() {
        let v = judged(|_| ());
        assert_eq!((v.run, v.reasons.len()), (RunVerdict::Valid, 0));
        assert_eq!(v.cpu_us_per_request, Some(4000.0));
        assert_eq!(v.cpu_utilisation, Some(0.2));
        assert_eq!((v.schedule_lag_p99_us, v.pacing_p99_us), (Some(50), Some(20)));
        assert_eq!((v.workers, v.connections), (2, 8));
    }

    #[test]
    fn a_run_without_measured_arrivals_is_invalid_but_not_while_it_goes_on() {
        let mut judge = Judge::new(&plan());
        judge.add(&tick(0));
        expect(&judge.verdict(), RunVerdict::Invalid, &["no arrival was planned"]);
        assert_eq!(judge.verdict_so_far().run, RunVerdict::Valid);
    }

    #[test]
    fn late_pacing_is_suspect_then_invalid() {
        let slow = |us| move |t: &mut Tick| (0..RATE).for_each(|_| t.pacing.record_us(us));
        assert_eq!(judged(slow(PACING_SUSPECT_US)).run, RunVerdict::Valid);
        expect(&judged(slow(2_000)), RunVerdict::Suspect, &["2.00 ms", "1.00 ms", "load.workers (now 2)"]);
        expect(&judged(slow(20_000)), RunVerdict::Invalid, &["20.0 ms", "10.0 ms"]);
    }

    #[test]
    fn a_handful_of_late_arrivals_is_too_few_to_call_a_short_run_invalid() {
        // Of 800 measured arrivals, 9 or 10 more that are 20 ms late: the 99th percentile either way.
        let late = |n: u64| {
            move |t: &mut Tick| (0..u64::from(t.second == 5) * n).for_each(|_| t.pacing.record_us(20_000))
        };
        expect(&judged(late(PACING_INVALID_ARRIVALS - 1)), RunVerdict::Suspect, &["20.0 ms"]);
        expect(&judged(late(PACING_INVALID_ARRIVALS)), RunVerdict::Invalid, &["20.0 ms"]);
    }

    #[test]
    fn a_stalled_target_that_delays_sending_does_not_invalidate() {
        let v = judged(|t| (0..RATE).for_each(|_| t.intervals[0].lag.record_us(5_000_000)));
        assert_eq!(v.run, RunVerdict::Valid);
        assert!(v.schedule_lag_p99_us.unwrap() > 4_990_000);
    }

    #[test]
    fn drops_of_its_own_making_are_invalid() {
        let v = judged(|t| t.generator.starved_drops = 1);
        expect(&v, RunVerdict::Invalid, &["8 of 800", "load.connections (now 8)", "max_in_flight (now 16)"]);
    }

    #[test]
    fn too_few_connections_are_suspect() {
        assert_eq!(judged(|t| t.generator.starved = 1).run, RunVerdict::Valid);
        let v = judged(|t| t.generator.starved = 2);
        expect(&v, RunVerdict::Suspect, &["2.0 %", "limit 1 %", "load.connections (now 8)"]);
    }

    #[test]
    fn a_generator_at_its_limit_is_told_what_the_general_transport_costs() {
        let over = |transport| {
            let mut plan = plan();
            plan.load.transport = transport;
            let mut judge = Judge::new(&plan);
            for second in 0..10 {
                let mut t = tick(second);
                t.generator.cpu_ns = t.generator.wall_ns;
                (0..RATE).for_each(|_| t.pacing.record_us(20_000));
                judge.add(&t);
            }
            judge.verdict().reasons
        };
        assert!(over(Transport::Own).iter().all(|reason| !reason.contains("transport")));
        for (http, version) in [(Http::V1, "HTTP/1.1"), (Http::V2, "HTTP/2")] {
            let reasons = over(Transport::General { http });
            let told = format!("The general transport ({version}) costs at least twice the CPU");
            assert_eq!(reasons.iter().filter(|r| r.contains(&told)).count(), 2, "{reasons:?}");
        }
    }

    #[test]
    fn a_busy_generator_is_suspect_then_invalid() {
        let busy =
            |share: f64| move |t: &mut Tick| t.generator.cpu_ns = (t.generator.wall_ns as f64 * share) as u64;
        assert_eq!(judged(busy(0.84)).run, RunVerdict::Valid);
        expect(&judged(busy(0.86)), RunVerdict::Suspect, &["86 %", "limit 85 %", "load.workers"]);
        expect(&judged(busy(0.98)), RunVerdict::Invalid, &["98 %", "limit 97 %"]);
    }

    #[test]
    fn busy_virtual_users_are_suspect_then_invalid() {
        use squall_record::journey::{Iterations, JourneySecond};
        let judged = |cpu_percent: u64| {
            let mut judge = Judge::new(&plan());
            (0..10).for_each(|s| judge.add(&tick(s)));
            for (second, users) in [(2, 1), (3, 1), (4, 0)] {
                let journey = JourneySecond {
                    journey: "customer".into(),
                    users,
                    iterations: Iterations::default(),
                    steps: vec![],
                };
                // Without users there is nothing to be late for.
                let cpu_ns = if users > 0 { cpu_percent * 10_000_000 } else { 0 };
                judge.add_journeys(&JourneyTick {
                    second,
                    cpu_ns,
                    wall_ns: 1_000_000_000,
                    journeys: vec![journey],
                    ops: vec![],
                });
            }
            judge.verdict()
        };
        assert_eq!((judged(84).run, judged(84).journeys_cpu_utilisation), (RunVerdict::Valid, Some(0.84)));
        expect(&judged(86), RunVerdict::Suspect, &["virtual users", "86 %", "limit 85 %"]);
        expect(&judged(98), RunVerdict::Invalid, &["98 %", "limit 97 %"]);
    }

    #[test]
    fn journeys_alone_are_no_load_that_failed_to_come() {
        let mut p = plan();
        assert_eq!(Judge::new(&p).verdict().run, RunVerdict::Invalid);
        (p.phases, p.requests) = (vec![], vec![]);
        assert_eq!(Judge::new(&p).verdict().run, RunVerdict::Valid);
    }

    #[test]
    fn a_calm_phase_does_not_hide_a_saturated_one() {
        let mut p = plan();
        p.phases.truncate(1);
        p.phases.extend([phase("hold", false, 2.0, 5.0), phase("peak", false, 5.0, 10.0)]);
        p.phases.push(phase("calm", false, 10.0, 30.0));
        let mut judge = Judge::new(&p);
        for second in 0..30 {
            let mut t = tick(second);
            let phase = p.phase_at(f64::from(second)) as u16;
            (t.generator.phase, t.intervals[0].phase) = (phase, phase);
            if phase == 2 {
                t.generator.cpu_ns = t.generator.wall_ns;
            }
            judge.add(&t);
        }
        expect(&judge.verdict(), RunVerdict::Invalid, &["100 %", "in phase `peak`"]);
    }

    #[test]
    fn fewer_arrivals_than_planned_are_suspect() {
        let v = judged(|t| t.intervals[0].counts.planned = 90);
        expect(&v, RunVerdict::Suspect, &["planned 630 arrivals", "asks for 700"]);
        assert_eq!(judged(|t| t.intervals[0].counts.planned = 99).run, RunVerdict::Valid);
    }

    #[test]
    fn bursty_arrivals_may_fall_short_by_as_much_as_their_bursts_explain() {
        // 700 arrivals are asked for and 630 come. With these bursts the count's standard deviation is
        // at most about 109, so that is no surprise; 210 would be.
        let bursts = Bursts { factor: 3.0, share: 0.2, mean_s: 0.1 };
        let p = Plan { load: LoadPlan { arrivals: Arrivals::Bursty(bursts), ..plan().load }, ..plan() };
        let after = |planned: u64| {
            let mut judge = Judge::new(&p);
            for second in 0..10 {
                let mut t = tick(second);
                t.intervals[0].counts.planned = planned;
                judge.add(&t);
            }
            judge.verdict()
        };
        assert_eq!(after(90).run, RunVerdict::Valid);
        expect(&after(30), RunVerdict::Suspect, &["planned 210 arrivals", "asks for 700"]);
    }

    #[test]
    fn a_load_changed_by_hand_is_judged_by_what_was_asked_for() {
        let paused = |told: bool| {
            let mut judge = Judge::new(&plan());
            if told {
                judge.event(&Event { at_s: 6.0, what: What::Steered { steer: Steer::Pause } });
            }
            for second in 0..10 {
                let mut t = tick(second);
                if second >= 6 {
                    t.intervals[0].counts = Counts::default();
                }
                judge.add(&t);
            }
            judge.verdict()
        };
        assert_eq!(paused(true).run, RunVerdict::Valid, "{:?}", paused(true).reasons);
        expect(&paused(false), RunVerdict::Suspect, &["planned 400 arrivals"]);
    }

    #[test]
    fn missing_seconds_are_suspect_unless_in_the_warm_up() {
        let without = |gone: u32| {
            let mut judge = Judge::new(&plan());
            (0..10).filter(|s| *s != gone).for_each(|s| judge.add(&tick(s)));
            judge.verdict()
        };
        assert_eq!(without(1).run, RunVerdict::Valid);
        expect(&without(5), RunVerdict::Suspect, &["1 s are missing"]);
    }

    #[test]
    fn a_worker_that_stood_still_once_spoils_a_long_calm_run() {
        let still = |ns| move |t: &mut Tick| t.generator.stood_still_ns = u64::from(t.second == 5) * ns;
        assert_eq!(judged(still(STOOD_STILL_SUSPECT_NS - 1)).run, RunVerdict::Valid);
        expect(&judged(still(STOOD_STILL_SUSPECT_NS)), RunVerdict::Suspect, &["stood still for 100", "100"]);
        expect(&judged(still(1_500_000_000)), RunVerdict::Invalid, &["stood still for 1.50 s", "1.00 s"]);
    }

    #[test]
    fn a_suspended_machine_and_a_clock_that_was_set_are_noticed() {
        let v = judged(|t| t.generator.suspended_ns = 4_000_000);
        expect(&v, RunVerdict::Invalid, &["suspended for 32.0 ms"]);
        let v = judged(|t| t.generator.clock_step_ns = u64::from(t.second == 4) * 2_000_000_000);
        expect(&v, RunVerdict::Suspect, &["wall clock was set by 2.00 s"]);
        assert_eq!(judged(|t| t.generator.clock_step_ns = 99_000_000).run, RunVerdict::Valid);
    }

    #[test]
    fn late_pacing_says_what_made_it_late() {
        let late = |t: &mut Tick| (0..RATE).for_each(|_| t.pacing.record_us(20_000));
        let v = judged(|t| {
            late(t);
            t.generator.cpu_wait_ns = 500_000_000;
        });
        expect(&v, RunVerdict::Invalid, &["waited 25 % of the time for a CPU", "load.workers"]);
        let v = judged(|t| {
            late(t);
            (t.generator.sleeps, t.generator.overslept_ns) = (100, 2_000_000_000);
        });
        expect(&v, RunVerdict::Invalid, &["sleeps end 20.0 ms late on average", "load.spin"]);
        // Late because others had the CPU, not because of the timers.
        let v = judged(|t| {
            late(t);
            (t.generator.sleeps, t.generator.overslept_ns) = (100, 500_000_000);
            t.generator.cpu_wait_ns = 500_000_000;
        });
        expect(&v, RunVerdict::Invalid, &["for a CPU"]);
    }

    #[test]
    fn warm_up_is_not_judged() {
        let v = judged(|t| {
            if t.second < 2 {
                t.generator.cpu_ns = t.generator.wall_ns;
                t.generator.starved_drops = 50;
                (0..100_000).for_each(|_| t.pacing.record_us(50_000));
            }
        });
        assert_eq!(v.run, RunVerdict::Valid, "{v:?}");
    }

    #[test]
    fn the_worst_reason_comes_first() {
        let v = judged(|t| {
            t.generator.starved = 50;
            t.generator.cpu_ns = t.generator.wall_ns;
        });
        assert_eq!((v.run, v.reasons.len()), (RunVerdict::Invalid, 2));
        assert!(v.reasons[0].contains("CPU"), "{:?}", v.reasons);
    }
}
