//! One second of a run.
//!
//! An [`Interval`] holds what one request class did in one second for one phase. Requests belong
//! to the phase in which they were *intended*: one that was planned in a fault window and answered
//! after it counts where it was planned. So a second in which a phase ends, or in which late
//! answers of an earlier phase arrive, has one interval for each of those phases.
//!
//! `planned` counts in the second in which the generator takes the arrival from its schedule (the
//! intended one, unless the generator itself is late), `sent` and `late` in the second of the
//! sending, everything else in the second of the answer: throughput is counted by completion.

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::latency::Latency;

/// One second of one request class in one phase.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Whole seconds since the first planned arrival.
    pub second: u32,
    /// Index of the request class in the plan.
    pub class: u16,
    /// Index of the phase in the plan.
    pub phase: u16,
    /// What became of the arrivals.
    pub counts: Counts,
    /// From the intended instant to the end of the answer: ok, declined, and time-outs at the
    /// age at which they were given up. Refusals and errors are counted, not timed: a fast "no"
    /// would make the service look faster.
    pub response: Latency,
    /// The same requests, from the instant they were sent.
    pub service: Latency,
    /// Sent − intended, for every request sent.
    pub lag: Latency,
}

impl Interval {
    /// An empty interval. Allocates its histograms.
    #[must_use]
    pub fn new(second: u32, class: u16, phase: u16) -> Self {
        Self {
            second,
            class,
            phase,
            counts: Counts::default(),
            response: Latency::new(),
            service: Latency::new(),
            lag: Latency::new(),
        }
    }

    /// Adds what `other` counted; second, class and phase stay.
    pub fn merge(&mut self, other: &Interval) {
        self.counts += &other.counts;
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.lag.merge(&other.lag);
    }
}

/// What a machine lacks when it cannot open a connection: the target was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// Local ports to connect from (EADDRNOTAVAIL).
    Ports,
    /// Open files, of the process or of the machine (EMFILE, ENFILE).
    Files,
    /// Memory for sockets (ENOBUFS, ENOMEM).
    Memory,
    /// The permission to connect (EACCES, EPERM).
    Permission,
}

/// What the generator says of itself for one second: one line of `generator.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorSample {
    /// Whole seconds since the first planned arrival.
    pub second: u32,
    /// Index of the phase in force when the second began.
    pub phase: u16,
    /// Worker threads.
    pub workers: u32,
    /// Open connections at the end of the second.
    pub connections: u32,
    /// Connections opened in the place of one that had ended; 0 with the general transport, which
    /// does not see it.
    #[serde(default)]
    pub reopened: u64,
    /// Connections that ended because the target sent what nobody had asked for; 0 with the general
    /// transport.
    #[serde(default)]
    pub unasked: u64,
    /// Attempts to open a connection that failed on this machine, not at the target.
    #[serde(default)]
    pub unopened: u64,
    /// What they failed for want of, of the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortage: Option<Shortage>,
    /// Requests on the wire at the end of the second.
    pub in_flight: u32,
    /// Arrivals waiting for a connection at the end of the second.
    pub waiting: u32,
    /// Arrivals between two attempts at the end of the second.
    #[serde(default)]
    pub pausing: u32,
    /// CPU time that the workers used in this second, in nanoseconds.
    pub cpu_ns: u64,
    /// Wall time that the sample covers, in nanoseconds, summed over workers.
    pub wall_ns: u64,
    /// Arrivals that had to wait for a connection, or were dropped, because the pool holds fewer
    /// connections than rate × service time although the target answered as usual.
    pub starved: u64,
    /// Of those, the dropped ones.
    pub starved_drops: u64,
    /// Time for which workers were ready and no CPU took them, in nanoseconds, summed over workers.
    #[serde(default)]
    pub cpu_wait_ns: u64,
    /// Sleeps that lasted until their end, summed over workers.
    #[serde(default)]
    pub sleeps: u64,
    /// How much longer than asked for they lasted, in nanoseconds, summed.
    #[serde(default)]
    pub overslept_ns: u64,
    /// The longest that a worker's loop stood still beyond the wait it had asked for, in nanoseconds.
    #[serde(default)]
    pub stood_still_ns: u64,
    /// How long the machine was suspended, in nanoseconds.
    #[serde(default)]
    pub suspended_ns: u64,
    /// By how much somebody set the wall clock forward or back, in nanoseconds.
    #[serde(default)]
    pub clock_step_ns: u64,
}

/// What the target says of itself for one second: one line of `target.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetSample {
    /// Seconds since the first planned arrival.
    pub at_s: f64,
    /// Whether it answered at all.
    pub up: bool,
    /// Its own figures, as it gave them; null when it gave none.
    pub health: serde_json::Value,
}

/// One whole second, as every sink receives it.
#[derive(Debug, Clone)]
pub struct Tick {
    /// Whole seconds since the first planned arrival.
    pub second: u32,
    /// Every class and phase that counted something, ordered by (phase, class).
    pub intervals: Vec<Interval>,
    /// The generator's own health.
    pub generator: GeneratorSample,
    /// Loop passes' lateness in noticing that an arrival was due: the generator's own part of
    /// the schedule lag, free of waits for a connection.
    pub pacing: Latency,
    /// Payments that ended in this second. Empty when read back: the audit reads `ops.bin`.
    pub ops: Vec<crate::ops::Op>,
}

/// A consumer of the one stream of a run. Everything that looks at a run is one.
pub trait Sink: Send {
    /// A second is complete.
    ///
    /// # Errors
    /// When the sink cannot go on (a full disk); the run then ends.
    fn tick(&mut self, tick: &Tick) -> std::io::Result<()>;

    /// Something happened.
    ///
    /// # Errors
    /// As [`tick`](Self::tick).
    fn event(&mut self, event: &crate::event::Event) -> std::io::Result<()>;

    /// The target spoke of itself.
    ///
    /// # Errors
    /// As [`tick`](Self::tick).
    fn target(&mut self, sample: &TargetSample) -> std::io::Result<()>;

    /// A second of the journeys is complete. A sink that looks at the open-loop load alone passes
    /// over it.
    ///
    /// # Errors
    /// As [`tick`](Self::tick).
    fn journeys(&mut self, _tick: &crate::journey::JourneyTick) -> std::io::Result<()> {
        Ok(())
    }
}
