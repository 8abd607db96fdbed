//! Faults that somebody else holds for us: at points of the service over its admin port, on proxies over their API.
//!
//! A lease is short and renewed while the fault lasts, so that it ends soon after squall is gone. All faults of one holder have one
//! thread: a service that stands still, and so does not answer, holds up nobody else.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use squall_chaos::lease::ArmRequest;
use squall_record::clock::{Clock, NANOS_PER_SEC};
use squall_record::event::What;
use squall_scenarios::plan::{FaultPlan, Plan};

use super::admin::Admin;
use super::outside::{BEAT, LEASE_MS};
use super::stream::Stream;

/// How much later than its fault a lease ends, when nobody ends it.
const GRACE_S: f64 = 1.0;

/// What is asked of the thread.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// Begins a fault, which was due at this second when it waited for a condition.
    Arm(&'a FaultPlan, Option<f64>),
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

/// Who holds faults for as long as their leases last.
pub trait Holder: Sync {
    /// Begins a fault, or renews it. How many requests it has hit, where that is known.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    fn arm(&self, request: &ArmRequest) -> anyhow::Result<Option<u64>>;

    /// Ends one. How many requests it has hit, where that is known.
    ///
    /// # Errors
    /// When it cannot be reached or never had it.
    fn end(&self, name: &str) -> anyhow::Result<Option<u64>>;

    /// Which requests one has hit that is about to end, or has ended: JSON, sorted. `None` where nobody keeps that.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn hits(&self, name: &str) -> anyhow::Result<Option<String>>;
}

impl Holder for Admin {
    fn arm(&self, request: &ArmRequest) -> anyhow::Result<Option<u64>> {
        Admin::arm(self, request).map(|status| Some(status.affected))
    }

    fn end(&self, name: &str) -> anyhow::Result<Option<u64>> {
        Admin::end(self, name).map(|status| Some(status.affected))
    }

    fn hits(&self, name: &str) -> anyhow::Result<Option<String>> {
        Admin::hits(self, name).map(Some)
    }
}

/// The run folder's `hits.jsonl`: which requests each fault has hit, a line each.
#[derive(Debug)]
pub struct HitsLog(PathBuf);

impl HitsLog {
    /// In the run folder `run`.
    #[must_use]
    pub fn in_folder(run: &Path) -> Self {
        Self(run.join("hits.jsonl"))
    }

    fn keep(&self, hits: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        // One write, so that two threads' lines do not mix.
        file.write_all(format!("{}\n", hits.trim_end()).as_bytes())
    }
}

/// The faults of one holder.
pub struct Keeper<'a> {
    holder: Option<&'a dyn Holder>,
    seed: u64,
    clock: Clock,
    stream: &'a Stream,
    log: &'a HitsLog,
    /// When the load ends: a fault that lasts as long acts until the last answer is there.
    load_end_s: f64,
    armed: Vec<Armed<'a>>,
}

impl<'a> Keeper<'a> {
    /// None yet.
    #[must_use]
    pub fn new(
        holder: Option<&'a dyn Holder>,
        plan: &Plan,
        clock: Clock,
        stream: &'a Stream,
        log: &'a HitsLog,
    ) -> Self {
        let load_end_s = plan.duration_s();
        Self { holder, seed: plan.seed, clock, stream, log, load_end_s, armed: Vec::new() }
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
                Ok(Ask::Arm(plan, due_s)) => self.arm(plan, due_s)?,
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

    fn end_s(&self, plan: &FaultPlan) -> f64 {
        if plan.end_s >= self.load_end_s { f64::INFINITY } else { plan.end_s }
    }

    /// A lease that hardly lasts beyond the fault's window: whoever is told to end it is to have it still, and say whom it has hit.
    fn request(&self, plan: &FaultPlan) -> ArmRequest {
        let left_ms = ((self.end_s(plan) + GRACE_S - self.clock.now_s()) * 1000.0).max(1.0);
        ArmRequest { fault: plan.fault.clone(), ttl_ms: (left_ms as u64).min(LEASE_MS), seed: self.seed }
    }

    fn arm(&mut self, plan: &'a FaultPlan, due_s: Option<f64>) -> io::Result<()> {
        let answer = match self.holder {
            None => Err(anyhow::anyhow!("there is nobody who could make it happen")),
            Some(_) if self.clock.now_s() >= self.end_s(plan) => {
                Err(anyhow::anyhow!("its window was over before it could be armed"))
            }
            Some(holder) => holder.arm(&self.request(plan)).map_err(|e| {
                // The request may have arrived although its answer did not.
                match holder.end(&plan.fault.name) {
                    Ok(Some(hit)) => {
                        e.context(format!("it acted on {hit} requests before it was taken back"))
                    }
                    Ok(None) | Err(_) => e,
                }
            }),
        };
        match answer {
            Ok(_) => {
                self.armed.push(Armed { plan, last: 0, before: 0, lost: false });
                self.stream.event(self.clock.now_s(), What::FaultOn { fault: plan.fault.clone(), due_s })
            }
            Err(e) => self.failed(plan, format!("{e:#}")),
        }
    }

    fn renew(&mut self) -> io::Result<()> {
        let Some(holder) = self.holder else { return Ok(()) };
        for i in 0..self.armed.len() {
            let plan = self.armed[i].plan;
            if self.clock.now_s() >= self.end_s(plan) {
                // It has ended by itself; the timeline says so in a moment.
                continue;
            }
            let answer = holder.arm(&self.request(plan));
            let armed = &mut self.armed[i];
            let was_lost = std::mem::replace(&mut armed.lost, answer.is_err());
            match answer {
                Ok(affected) => armed.count(affected.unwrap_or(0)),
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
        let hits = || self.holder.and_then(|h| h.hits(&name).ok()).flatten();
        // A proxy forgets a toxic that has ended; a service tells of those that have, whole.
        let before = if armed.plan.fault.place.point().is_none() { hits() } else { None };
        let affected = self.holder.and_then(|h| h.end(&name).ok()).flatten().map(|hit| armed.total(hit));
        if let Some(hits) = before.or_else(hits)
            && let Err(e) = self.log.keep(&hits)
        {
            // The fault is over all the same, and those that follow it are to come.
            self.failed(armed.plan, format!("keep in hits.jsonl which requests it hit: {e}"))?;
        }
        self.stream.event(self.clock.now_s(), What::FaultOff { name, affected })
    }

    fn failed(&self, plan: &FaultPlan, reason: String) -> io::Result<()> {
        let name = plan.fault.name.clone();
        self.stream.event(self.clock.now_s(), What::FaultFailed { name, reason, left: false })
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
