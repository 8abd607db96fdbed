//! Was the generator, rather than the target, the limit? A run whose generator was the
//! bottleneck is INVALID, whatever its numbers say.
//!
//! [`Judge`] reads the one stream of a run, live or read back, and applies the rules below to
//! everything outside warm-up phases. The limits are constants; why they are
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

mod rules;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_record::event::Event;
use squall_record::interval::{Shortage, Tick};
use squall_record::journey::JourneyTick;
use squall_record::latency::Latency;
use squall_scenarios::plan::{Plan, Transport};

use crate::steering::Steering;

use rules::p99_us;
pub use rules::{
    CLOCK_STEP_SUSPECT_NS, CPU_INVALID, CPU_MIN_SECONDS, CPU_SUSPECT, PACING_INVALID_ARRIVALS,
    PACING_INVALID_US, PACING_SUSPECT_US, SHORTFALL_SIGMAS, SHORTFALL_SUSPECT_SHARE, STARVED_SUSPECT_SHARE,
    STOOD_STILL_INVALID_NS, STOOD_STILL_SUSPECT_NS, SUSPENDED_INVALID_NS,
};

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
    /// Connections opened in the place of one that had ended; `None` when the transport does not see
    /// it.
    pub reopened: Option<u64>,
    /// Of those that had ended, the ones on which the target sent what nobody had asked for; `None`
    /// as above.
    pub unasked: Option<u64>,
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
    reopened: u64,
    unasked: u64,
    unopened: u64,
    shortage: Option<Shortage>,
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
    next_journey_second: u32,
    missing_journey_seconds: u32,
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
            reopened: 0,
            unasked: 0,
            unopened: 0,
            shortage: None,
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
            next_journey_second: 0,
            missing_journey_seconds: 0,
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
        self.reopened += g.reopened;
        self.unasked += g.unasked;
        self.unopened += g.unopened;
        self.shortage = g.shortage.or(self.shortage);
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
        // They are recorded from the first second on, also while there is nobody.
        self.missing_journey_seconds += tick.second.saturating_sub(self.next_journey_second);
        self.next_journey_second = tick.second.saturating_add(1);
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
        let sees = self.plan.transport() == Transport::Own;
        GeneratorVerdict {
            run: found.first().map_or(RunVerdict::Valid, |(verdict, _)| *verdict),
            reasons: found.into_iter().map(|(_, reason)| reason).collect(),
            cpu_us_per_request: (self.sent > 0).then(|| cpu.cpu_ns as f64 / 1000.0 / self.sent as f64),
            cpu_utilisation: cpu.utilisation(),
            schedule_lag_p99_us: p99_us(&self.lag),
            pacing_p99_us: p99_us(&self.pacing),
            workers: self.workers,
            connections: self.connections,
            reopened: sees.then_some(self.reopened),
            unasked: sees.then_some(self.unasked),
            transport: self.plan.transport(),
            journeys_cpu_utilisation: self.journeys.utilisation(),
        }
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

#[cfg(test)]
mod tests;
