//! Faults at points of the service, over its admin port.
//!
//! A lease is short and renewed while the fault lasts, so that it ends soon after squall is gone. All of them have one
//! thread: a service that stands still, and so does not answer, holds up nobody else.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use squall_chaos::lease::ArmRequest;
use squall_record::clock::{Clock, NANOS_PER_SEC};
use squall_record::event::What;
use squall_scenarios::plan::FaultPlan;

use super::admin::Admin;
use super::outside::{BEAT, LEASE_MS};
use super::stream::Stream;

/// What is asked of the thread.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// Begins a fault.
    Arm(&'a FaultPlan),
    /// Ends it.
    End(&'a FaultPlan),
}

/// A fault that acts.
struct Armed<'a> {
    plan: &'a FaultPlan,
    /// How many requests it had hit when it was last heard of, and in lives of the service before.
    last: u64,
    before: u64,
    /// Whether the last renewal failed, which was told.
    lost: bool,
}

/// The service's faults.
pub struct Points<'a> {
    admin: Option<&'a Admin>,
    seed: u64,
    clock: Clock,
    stream: &'a Stream,
    armed: Vec<Armed<'a>>,
}

impl<'a> Points<'a> {
    /// None yet.
    #[must_use]
    pub fn new(admin: Option<&'a Admin>, seed: u64, clock: Clock, stream: &'a Stream) -> Self {
        Self { admin, seed, clock, stream, armed: Vec::new() }
    }

    /// Does what is asked and renews what acts, until nobody asks any more; then everything is ended.
    ///
    /// # Errors
    /// When a sink cannot go on.
    pub fn keep(mut self, asked: &Receiver<Ask<'a>>) -> io::Result<()> {
        let mut beat_ns = self.clock.now_ns();
        loop {
            if self.armed.is_empty() {
                beat_ns = self.clock.now_ns() + BEAT.as_nanos() as u64;
            }
            let wait = if self.armed.is_empty() { Duration::MAX } else { self.clock.until(beat_ns) };
            match next(asked, wait) {
                Ok(Ask::Arm(plan)) => self.arm(plan)?,
                Ok(Ask::End(plan)) => {
                    if let Some(i) = self.armed.iter().position(|a| a.plan.fault.name == plan.fault.name) {
                        let armed = self.armed.remove(i);
                        self.end(&armed)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.renew()?;
                    beat_ns = self.clock.now_ns() + BEAT.as_nanos() as u64;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for armed in std::mem::take(&mut self.armed) {
            self.end(&armed)?;
        }
        Ok(())
    }

    /// A lease that does not last beyond the fault's window.
    fn request(&self, plan: &FaultPlan) -> ArmRequest {
        let left_ms = ((plan.end_s - self.clock.now_s()) * 1000.0).max(1.0);
        ArmRequest { fault: plan.fault.clone(), ttl_ms: (left_ms as u64).min(LEASE_MS), seed: self.seed }
    }

    fn arm(&mut self, plan: &'a FaultPlan) -> io::Result<()> {
        let answer = match self.admin {
            None => Err(anyhow::anyhow!("the target has no admin port")),
            Some(_) if self.clock.now_s() >= plan.end_s => {
                Err(anyhow::anyhow!("its window was over before it could be armed"))
            }
            Some(admin) => admin.arm(&self.request(plan)).map_err(|e| {
                // The request may have arrived although its answer did not.
                match admin.end(&plan.fault.name) {
                    Ok(s) => {
                        e.context(format!("it acted on {} requests before it was taken back", s.affected))
                    }
                    Err(_) => e,
                }
            }),
        };
        match answer {
            Ok(_) => {
                self.armed.push(Armed { plan, last: 0, before: 0, lost: false });
                self.stream.event(self.clock.now_s(), What::FaultOn { fault: plan.fault.clone() })
            }
            Err(e) => self.failed(plan, format!("{e:#}")),
        }
    }

    fn renew(&mut self) -> io::Result<()> {
        let Some(admin) = self.admin else { return Ok(()) };
        for i in 0..self.armed.len() {
            let plan = self.armed[i].plan;
            if self.clock.now_s() >= plan.end_s {
                // It has ended by itself; the timeline says so in a moment.
                continue;
            }
            let answer = admin.arm(&self.request(plan));
            let armed = &mut self.armed[i];
            let was_lost = std::mem::replace(&mut armed.lost, answer.is_err());
            match answer {
                Ok(status) => armed.count(status.affected),
                // A service that is down for a minute is told once.
                Err(e) if !was_lost => self.failed(plan, format!("renew: {e:#}"))?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn end(&self, armed: &Armed<'_>) -> io::Result<()> {
        let name = armed.plan.fault.name.clone();
        // When the service does not answer, its lease ends the fault all the same.
        let affected = self.admin.and_then(|a| a.end(&name).ok()).map(|s| armed.total(s.affected));
        self.stream.event(self.clock.now_s(), What::FaultOff { name, affected })
    }

    fn failed(&self, plan: &FaultPlan, reason: String) -> io::Result<()> {
        self.stream.event(self.clock.now_s(), What::FaultFailed { name: plan.fault.name.clone(), reason })
    }
}

impl Armed<'_> {
    /// A service that was started again counts from 0.
    fn count(&mut self, affected: u64) {
        if affected < self.last {
            self.before += self.last;
        }
        self.last = affected;
    }

    fn total(&self, affected: u64) -> u64 {
        self.before + if affected < self.last { self.last } else { 0 } + affected
    }
}

fn next<'a>(asked: &Receiver<Ask<'a>>, wait: Duration) -> Result<Ask<'a>, RecvTimeoutError> {
    if wait == Duration::MAX {
        return asked.recv().map_err(|_| RecvTimeoutError::Disconnected);
    }
    // At most a second, as an instant on the clock and not a sum of waits.
    asked.recv_timeout(wait.min(Duration::from_nanos(NANOS_PER_SEC)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_record::fault::{Effect, FaultPoint, FaultSpec, Place};

    #[test]
    fn the_requests_hit_before_the_service_was_started_again_are_counted() {
        let fault = FaultSpec {
            name: "f".to_owned(),
            place: Place::Point(FaultPoint::Api),
            effect: Effect::Hang,
            fraction: 1.0,
        };
        let plan = FaultPlan { fault, start_s: 0.0, end_s: 1.0, when: None };
        let mut armed = Armed { plan: &plan, last: 0, before: 0, lost: false };
        for affected in [3, 10, 2, 5] {
            armed.count(affected);
        }
        assert_eq!(armed.total(7), 17);
        assert_eq!(armed.total(1), 16);
    }
}
