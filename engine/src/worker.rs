//! One thread's loop.
//!
//! A pass waits for sockets until the next thing is due, reads the clock once, finishes what was
//! answered, gives up what is too old, fires what is due, and ends the second when it is over.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use squall_record::clock::{Clock, ClockOffsets, CpuWait, NANOS_PER_SEC, thread_cpu_ns};
use squall_record::outcome::Failure;
use squall_scenarios::plan::Plan;
use squall_scenarios::schedule::Arrival;
use squall_scenarios::workload::Workload;

use crate::cells::Cells;
use crate::control::Control;
use crate::retries::{Pending, Retries};
use crate::slice::Slice;
use crate::source::Source;
use crate::tally::{Recent, Tally};
use crate::transport::{Finished, Flight, Transport};

/// Arrivals fired in one pass: a pass shares one clock reading, so it is short.
const ARRIVALS_PER_PASS: usize = 16;
/// A request fired later than this after its intended instant is late.
const LATE_NS: u64 = 1_000_000;
/// The target answers as usual while the oldest answer is outstanding for less than this many
/// recent service times, and those are at most this many times the least they have been.
const USUAL_FACTOR: u64 = 4;
/// A shorter time than this is usual whatever the factor says.
const USUAL_NS: u64 = 1_000_000;
/// The longest wait in one pass, so that a request to stop is noticed.
const LONGEST_WAIT_NS: u64 = 20_000_000;

/// What a worker needs to know.
pub(crate) struct Setup<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) workload: &'a Workload,
    pub(crate) clock: Clock,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) connections: u32,
    pub(crate) max_in_flight: u32,
    pub(crate) end_ns: u64,
    /// How long before the next thing is due the loop stops sleeping and polls.
    pub(crate) spin_ns: u64,
    /// The least time between two passes when nothing is due.
    pub(crate) coalesce_ns: u64,
    /// Changes of the load while it runs.
    pub(crate) control: &'a Control,
    /// Whether a schedule sets the pace. When the target does, nothing is intended: there is no
    /// response time and no lag.
    pub(crate) open: bool,
}

/// What waits for a connection.
#[derive(Debug)]
enum Waiting {
    /// An arrival, its class, method and path as recorded (empty, and no memory, when the workload
    /// says what is asked), and whether it waits because the pool is too small.
    First(Arrival, u16, Box<[u8]>, bool),
    /// One that was sent before and failed.
    Again(Pending),
}

pub(crate) struct Worker<'a, T> {
    setup: Setup<'a>,
    source: Source,
    transport: T,
    tally: Tally<'a>,
    waiting: VecDeque<Waiting>,
    /// The request being rendered.
    request: Vec<u8>,
    timeout_ns: u64,
    second_end_ns: u64,
    second_start_ns: u64,
    cpu_ns: u64,
    cpu_wait: CpuWait,
    cpu_wait_ns: u64,
    clocks: ClockOffsets,
    /// How many changes of the load are with the source.
    changes: usize,
    stopped: bool,
}

impl<'a, T: Transport> Worker<'a, T> {
    pub(crate) fn new(setup: Setup<'a>, source: Source, transport: T) -> Self {
        let timeout_ns = setup.plan.load.timeout_ms * 1_000_000;
        Self {
            source,
            transport,
            tally: Tally {
                plan: setup.plan,
                workload: setup.workload,
                cells: Cells::new(setup.plan.phases.len(), setup.plan.requests.len()),
                service: Recent::new(),
                open: setup.open,
                retries: Retries::default(),
                closing: false,
                asked: [0; 2],
            },
            waiting: VecDeque::with_capacity(setup.max_in_flight.min(1 << 16) as usize),
            request: Vec::with_capacity(4096),
            timeout_ns,
            second_end_ns: NANOS_PER_SEC,
            second_start_ns: 0,
            cpu_ns: 0,
            cpu_wait: CpuWait::of_this_thread(),
            cpu_wait_ns: 0,
            clocks: ClockOffsets::now(),
            changes: 0,
            stopped: false,
            setup,
        }
    }

    /// Runs until every planned arrival is accounted for; sends a slice each second to `out` and
    /// takes emptied ones from `back`.
    pub(crate) fn run(mut self, out: &SyncSender<Slice>, back: &Receiver<Slice>) -> io::Result<()> {
        // Sleeps of tens of microseconds matter here; the default slack alone is 50 µs.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        self.cpu_ns = thread_cpu_ns();
        self.cpu_wait_ns = self.cpu_wait.ns();
        let mut now_ns = self.setup.clock.now_ns();
        loop {
            let (rest, wait) = if now_ns == 0 {
                (Duration::ZERO, self.setup.clock.until(1).min(Duration::from_nanos(LONGEST_WAIT_NS)))
            } else {
                // Within the spin a pass waits for nothing: it polls.
                let wait_ns = self.next_due_ns(now_ns).saturating_sub(now_ns + self.setup.spin_ns);
                // What is due is not put off; what comes in the next while is left to gather.
                let rest_ns = if wait_ns > 0 { self.setup.coalesce_ns } else { 0 };
                let wait_ns = wait_ns.min(LONGEST_WAIT_NS).saturating_sub(rest_ns);
                (Duration::from_nanos(rest_ns), Duration::from_nanos(wait_ns))
            };
            if !rest.is_zero() {
                self.transport.flush();
                self.setup.clock.sleep_until(now_ns + rest.as_nanos() as u64);
            }
            let (clock, tally) = (self.setup.clock, &mut self.tally);
            let before_ns = now_ns;
            now_ns = self.transport.poll(wait, || clock.now_ns(), &mut |f, body, now| {
                tally.finish(f, body, now);
            })?;
            self.notice_sleep(before_ns, rest + wait, now_ns);
            if now_ns == 0 {
                if self.setup.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                continue;
            }
            if self.setup.control.has_news(self.changes) {
                self.take_changes();
            }
            while let Some(f) =
                now_ns.checked_sub(self.timeout_ns).and_then(|before| self.transport.expire(before))
            {
                self.tally.finish(f, &[], now_ns);
            }
            self.transport.maintain(now_ns);
            if !self.stopped && self.setup.stop.load(Ordering::Relaxed) {
                self.stop(now_ns);
            }
            self.send_waiting(now_ns);
            self.retry_due(now_ns);
            self.fire_due(now_ns);
            while now_ns >= self.second_end_ns {
                self.turn_second(out, back, self.second_end_ns);
            }
            if self.is_over(now_ns) {
                break;
            }
        }
        self.tally.cells.slice.last = true;
        self.turn_second(out, back, now_ns);
        Ok(())
    }

    /// Notices how the machine kept to a wait from `before_ns` that has ended.
    #[inline]
    fn notice_sleep(&mut self, before_ns: u64, wait: Duration, now_ns: u64) {
        if before_ns == 0 {
            return;
        }
        let wait_ns = wait.as_nanos() as u64;
        let Some(beyond_ns) = now_ns.checked_sub(before_ns + wait_ns) else { return };
        let health = &mut self.tally.cells.slice.loop_health;
        health.stood_still_ns = health.stood_still_ns.max(beyond_ns);
        if wait_ns > 0 {
            health.sleeps += 1;
            health.overslept_ns += beyond_ns;
        }
    }

    /// Gives the source what was changed. A worker that notices after the instant of a change has
    /// fired some arrivals of the load before it; that it was so late is in its pacing.
    fn take_changes(&mut self) {
        for posted in self.setup.control.news(self.changes) {
            self.changes += 1;
            self.source.change(posted);
        }
    }

    /// When the next thing is due.
    fn next_due_ns(&mut self, now_ns: u64) -> u64 {
        let mut due = self.second_end_ns;
        if !self.waiting.is_empty() && (self.transport.has_idle() || self.transport.is_refusing()) {
            return now_ns;
        }
        if !self.stopped {
            due = due.min(self.source.next_ns(now_ns, self.is_free()).unwrap_or(u64::MAX));
        }
        if let Some(at) = self.tally.retries.next_due_ns() {
            due = due.min(at);
        }
        if let Some(oldest) = self.transport.oldest_fired_ns() {
            due = due.min(oldest + self.timeout_ns);
        }
        if let Some(at) = self.transport.next_maintenance_ns() {
            due = due.min(at);
        }
        due
    }

    /// Takes what is due from the source and fires it, or lets it wait, or drops it.
    fn fire_due(&mut self, now_ns: u64) {
        if self.stopped {
            return;
        }
        for _ in 0..ARRIVALS_PER_PASS {
            let Some(arrival) = self.source.take_due(now_ns, self.is_free()) else { return };
            if self.setup.open {
                self.tally.cells.slice.pacing.record_ns(now_ns - arrival.at_ns);
            }
            self.tally.asked[0] += 1;
            if self.waiting.is_empty() && self.is_free() {
                let class = self.setup.workload.class(arrival.index, arrival.phase);
                let recorded = self.source.recorded();
                render(self.setup.workload, arrival.index, class, recorded, &mut self.request);
                self.tally.cells.of(arrival.phase, class).counts.planned += 1;
                self.fire(first(arrival, class), now_ns);
            } else {
                self.hold(arrival, now_ns);
            }
        }
    }

    /// Whether an arrival can be sent at once.
    fn is_free(&self) -> bool {
        self.transport.has_idle() && self.has_room()
    }

    /// Whether another arrival may be in flight: waiting, on the wire, or between two attempts.
    fn has_room(&self) -> bool {
        let in_flight = self.waiting.len() + self.tally.retries.len() + self.transport.in_flight() as usize;
        in_flight < self.setup.max_in_flight as usize
    }

    /// Tries again what is due.
    fn retry_due(&mut self, now_ns: u64) {
        for _ in 0..ARRIVALS_PER_PASS {
            let Some(pending) = self.tally.retries.take_due(now_ns) else { return };
            self.tally.asked[0] += 1;
            if self.transport.is_exhausted() {
                self.starve(&Waiting::Again(pending), now_ns);
            } else if self.transport.is_refusing() || self.waiting.is_empty() && self.transport.has_idle() {
                self.send(Waiting::Again(pending), now_ns);
            } else {
                self.waiting.push_back(Waiting::Again(pending));
                self.tally.cells.slice.starved += u64::from(self.is_pool_too_small(now_ns));
            }
        }
    }

    /// No connection is free: the arrival waits, fails as refused, or is dropped.
    fn hold(&mut self, arrival: Arrival, now_ns: u64) {
        let class = self.setup.workload.class(arrival.index, arrival.phase);
        let counts = &mut self.tally.cells.of(arrival.phase, class).counts;
        counts.planned += 1;
        if self.transport.is_exhausted() {
            self.starve(&Waiting::First(arrival, class, Box::default(), false), now_ns);
            return;
        }
        let dropped = !self.has_room();
        let starved = self.is_pool_too_small(now_ns);
        if dropped {
            self.tally.cells.of(arrival.phase, class).counts.dropped += 1;
        } else if self.transport.is_refusing() {
            self.send(Waiting::First(arrival, class, self.source.recorded().into(), false), now_ns);
            return;
        } else {
            self.waiting.push_back(Waiting::First(arrival, class, self.source.recorded().into(), starved));
        }
        if starved {
            self.tally.cells.slice.starved += 1;
            self.tally.cells.slice.starved_drops += u64::from(dropped);
        }
    }

    /// Whether an arrival that finds no connection is the pool's fault rather than the target's.
    ///
    /// By Little's law the pool must hold rate × service time. It is too small when it holds less
    /// although the target answers as usual: when a target stalls, slows down, or works off what
    /// a stall left behind, the wait is the target's doing and part of what is measured.
    fn is_pool_too_small(&self, now_ns: u64) -> bool {
        let Recent { mean: service_ns, least: least_ns, seen } = self.tally.service;
        let Some(oldest_ns) = self.transport.oldest_fired_ns() else { return false };
        if seen < Recent::ENOUGH {
            return false;
        }
        let usual = |ns: u64| (ns * USUAL_FACTOR).max(USUAL_NS);
        let rate = u128::from(self.tally.asked[0].max(self.tally.asked[1]));
        let pipeline = u128::from(self.setup.plan.load.pipeline);
        let needed = rate * u128::from(service_ns);
        needed > u128::from(self.setup.connections) * pipeline * u128::from(NANOS_PER_SEC)
            && service_ns <= usual(least_ns)
            && now_ns.saturating_sub(oldest_ns) < usual(service_ns)
    }

    fn send_waiting(&mut self, now_ns: u64) {
        for _ in 0..ARRIVALS_PER_PASS {
            if !(self.transport.has_idle() || self.transport.is_refusing()) {
                return;
            }
            let Some(waiting) = self.waiting.pop_front() else { return };
            if self.transport.is_exhausted() {
                self.starve(&waiting, now_ns);
            } else {
                self.send(waiting, now_ns);
            }
        }
    }

    /// Ends what this machine cannot carry: the target was never asked, so it is the generator's failure.
    fn starve(&mut self, waiting: &Waiting, now_ns: u64) {
        self.tally.cells.slice.starved += 1;
        match waiting {
            Waiting::First(arrival, class, ..) => {
                self.tally.cells.of(arrival.phase, *class).counts.dropped += 1;
                self.tally.cells.slice.starved_drops += 1;
            }
            Waiting::Again(pending) => self.tally.give_up(*pending, now_ns),
        }
    }

    /// Sends what has waited, or was refused a connection. A connection must be free, or the target
    /// refuse them all.
    fn send(&mut self, waiting: Waiting, now_ns: u64) {
        let (flight, recorded) = match waiting {
            Waiting::First(arrival, class, recorded, _) => (first(arrival, class), recorded),
            // What was recorded is asked once.
            Waiting::Again(Pending { flight, .. }) => {
                (Flight { attempt: flight.attempt + 1, ..flight }, Box::default())
            }
        };
        render(self.setup.workload, flight.index, flight.class, &recorded, &mut self.request);
        self.fire(flight, now_ns);
    }

    /// Sends the rendered request as `flight`.
    fn fire(&mut self, flight: Flight, now_ns: u64) {
        let request = &self.setup.plan.requests[usize::from(flight.class)];
        let flight = Flight {
            fired_ns: now_ns,
            head_request: self.request.starts_with(b"HEAD "),
            keep_body: !request.check.is_empty(),
            ..flight
        };
        let cell = self.tally.cells.of(flight.phase, flight.class);
        if flight.attempt == 1 {
            let lag_ns = now_ns - flight.intended_ns;
            cell.counts.sent += 1;
            cell.counts.late += u64::from(lag_ns > LATE_NS);
            if self.setup.open {
                cell.lag.record_ns(lag_ns);
            }
        } else {
            cell.counts.retried += 1;
        }
        if self.transport.is_refusing() {
            self.tally.finish(Finished { flight, result: Err(Failure::Refused) }, &[], now_ns);
            return;
        }
        if let Err(f) = self.transport.send(&self.request, flight) {
            self.tally.finish(f, &[], now_ns);
        }
    }

    /// Ends the load before its time: what is due and not fired is dropped, and counted.
    fn stop(&mut self, now_ns: u64) {
        self.stopped = true;
        self.settle_waiting(now_ns);
        // A closed source has nothing due: it would go on only with a free connection.
        while let Some(arrival) = self.source.take_due(now_ns, false) {
            self.drop_planned(arrival);
        }
    }

    /// Counts an arrival that will never be sent.
    fn drop_planned(&mut self, arrival: Arrival) {
        let class = self.setup.workload.class(arrival.index, arrival.phase);
        let counts = &mut self.tally.cells.of(arrival.phase, class).counts;
        counts.planned += 1;
        counts.dropped += 1;
    }

    /// Nothing that waits will be sent any more: arrivals are dropped, and those that were sent before
    /// end as what their last attempt ended as.
    fn settle_waiting(&mut self, now_ns: u64) {
        self.tally.closing = true;
        for w in self.waiting.drain(..) {
            match w {
                Waiting::First(arrival, class, _, starved) => {
                    self.tally.cells.of(arrival.phase, class).counts.dropped += 1;
                    // One that was stopped by hand might have been sent yet.
                    self.tally.cells.slice.starved_drops += u64::from(starved && !self.stopped);
                }
                Waiting::Again(pending) => self.tally.give_up(pending, now_ns),
            }
        }
        while let Some(pending) = self.tally.retries.take() {
            self.tally.give_up(pending, now_ns);
        }
    }

    /// Whether every planned arrival is accounted for. Long after the end the rest is given up:
    /// what waits for the target as dropped, what this worker never came to as its own fault.
    fn is_over(&mut self, now_ns: u64) -> bool {
        let exhausted = self.stopped || self.source.is_exhausted(now_ns);
        if now_ns > self.setup.end_ns + self.timeout_ns {
            self.settle_waiting(now_ns);
            while let (false, Some(arrival)) = (self.stopped, self.source.take_planned()) {
                self.drop_planned(arrival);
                self.tally.cells.slice.starved += 1;
                self.tally.cells.slice.starved_drops += 1;
            }
            self.stopped = true;
        }
        let in_flight = self.waiting.len() + self.tally.retries.len() + self.transport.in_flight() as usize;
        exhausted && in_flight == 0
    }

    fn turn_second(&mut self, out: &SyncSender<Slice>, back: &Receiver<Slice>, end_ns: u64) {
        let next = back.try_recv().unwrap_or_default();
        let mut slice = self.tally.cells.turn(next);
        let cpu_ns = thread_cpu_ns();
        slice.cpu_ns = cpu_ns.saturating_sub(self.cpu_ns);
        self.cpu_ns = cpu_ns;
        let cpu_wait_ns = self.cpu_wait.ns();
        slice.loop_health.cpu_wait_ns = cpu_wait_ns.saturating_sub(self.cpu_wait_ns);
        self.cpu_wait_ns = cpu_wait_ns;
        let clocks = ClockOffsets::now();
        slice.loop_health.suspended_ns = clocks.suspended_since(&self.clocks);
        slice.loop_health.clock_step_ns = clocks.stepped_since(&self.clocks);
        self.clocks = clocks;
        slice.wall_ns = end_ns.saturating_sub(self.second_start_ns);
        slice.connections = self.transport.open();
        slice.noticed = self.transport.take_noticed();
        slice.in_flight = self.transport.in_flight();
        slice.waiting = self.waiting.len() as u32;
        slice.pausing = self.tally.retries.len() as u32;
        self.tally.asked = [0, self.tally.asked[0]];
        self.second_start_ns = end_ns;
        self.second_end_ns += NANOS_PER_SEC;
        // Blocks only when the record is minutes behind; fails only when the run is being torn
        // down. Either way the conductor knows.
        let _ = out.send(slice);
    }
}

/// The first attempt of an arrival.
fn first(arrival: Arrival, class: u16) -> Flight {
    Flight {
        index: arrival.index,
        intended_ns: arrival.at_ns,
        fired_ns: 0,
        phase: arrival.phase,
        class,
        attempt: 1,
        head_request: false,
        keep_body: false,
    }
}

/// Writes the request of arrival `index` into `out`: as it was recorded, or as the workload has it.
#[inline]
fn render(workload: &Workload, index: u64, class: u16, recorded: &[u8], out: &mut Vec<u8>) {
    if recorded.is_empty() {
        workload.fill(index, class, out);
    } else {
        workload.fill_recorded(index, class, recorded, out);
    }
}
