//! One worker's second, on its way to the conductor and back.

use squall_record::interval::Interval;
use squall_record::latency::Latency;
use squall_record::ops::Op;

use crate::transport::Noticed;

/// What one worker did in one second. The conductor sends it back empty, so a run's memory does
/// not grow with its length.
#[derive(Debug)]
pub(crate) struct Slice {
    /// Whole seconds since the start.
    pub(crate) second: u32,
    /// The worker ends with it.
    pub(crate) last: bool,
    /// One for each class and phase that counted something.
    pub(crate) intervals: Vec<Interval>,
    /// Emptied intervals to reuse.
    pub(crate) spare: Vec<Interval>,
    /// How late the loop noticed arrivals that were due.
    pub(crate) pacing: Latency,
    /// Payments that ended.
    pub(crate) ops: Vec<Op>,
    /// CPU time used by the worker in this second.
    pub(crate) cpu_ns: u64,
    /// Wall time that the slice covers.
    pub(crate) wall_ns: u64,
    /// Open connections at its end.
    pub(crate) connections: u32,
    /// On the wire at its end.
    pub(crate) in_flight: u32,
    /// Waiting for a connection at its end.
    pub(crate) waiting: u32,
    /// Between two attempts at its end.
    pub(crate) pausing: u32,
    /// What became of its connections.
    pub(crate) noticed: Noticed,
    /// Waited or dropped because the pool was too small, not because the target was slow.
    pub(crate) starved: u64,
    /// Of those, dropped.
    pub(crate) starved_drops: u64,
    /// How well this machine let the worker run.
    pub(crate) loop_health: LoopHealth,
}

/// What a worker's loop noticed of the machine in one second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoopHealth {
    /// Ready to run without a CPU.
    pub(crate) cpu_wait_ns: u64,
    /// Sleeps that lasted until their end.
    pub(crate) sleeps: u64,
    /// How much longer than asked for, in all.
    pub(crate) overslept_ns: u64,
    /// The longest between two passes beyond the wait that was asked for.
    pub(crate) stood_still_ns: u64,
    /// The machine slept.
    pub(crate) suspended_ns: u64,
    /// The wall clock was set.
    pub(crate) clock_step_ns: u64,
}

impl Slice {
    /// An empty slice.
    pub(crate) fn new() -> Self {
        Self {
            second: 0,
            last: false,
            intervals: Vec::new(),
            spare: Vec::new(),
            pacing: Latency::new(),
            ops: Vec::new(),
            cpu_ns: 0,
            wall_ns: 0,
            connections: 0,
            in_flight: 0,
            waiting: 0,
            pausing: 0,
            noticed: Noticed::default(),
            starved: 0,
            starved_drops: 0,
            loop_health: LoopHealth::default(),
        }
    }

    /// Forgets the second; keeps the memory.
    pub(crate) fn clear(&mut self) {
        for mut i in self.intervals.drain(..) {
            i.response.clear();
            i.service.clear();
            i.lag.clear();
            i.counts = Default::default();
            self.spare.push(i);
        }
        self.pacing.clear();
        self.last = false;
        self.ops.clear();
        (self.cpu_ns, self.wall_ns, self.starved, self.starved_drops) = (0, 0, 0, 0);
        (self.noticed, self.loop_health) = (Noticed::default(), LoopHealth::default());
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::new()
    }
}
