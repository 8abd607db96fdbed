//! One armed fault, and what lives as long as it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use squall_record::clock::Clock;
use squall_record::fault::FaultSpec;
use tokio::sync::{Mutex, watch};

use crate::brown_out::Crowd;
use crate::hits::HitLog;
use crate::lease::{FaultStatus, MAX_TTL_MS};

/// The end of a lease that is held by the process itself.
pub(crate) const NEVER_NS: u64 = u64::MAX;
pub(crate) const NANOS_PER_MS: u64 = 1_000_000;
/// How often a thread that waits looks whether its lease is over.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One armed fault.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) spec: FaultSpec,
    pub(crate) seed: u64,
    /// Which requests it has hit.
    pub(crate) log: Arc<HitLog>,
    /// What a fault of kind lock holds.
    pub(crate) lock: Mutex<()>,
    /// Who is inside of a brown-out.
    pub(crate) crowd: Crowd,
    affected: AtomicU64,
    clock: Clock,
    began_ns: u64,
    /// On `clock`; 0 once it is over for good. Watched by whoever it holds.
    ends_ns: watch::Sender<u64>,
}

impl Lease {
    /// A lease from now until `ends_ns`, in the place of `before` if that has the same name.
    pub(crate) fn new(
        spec: FaultSpec,
        seed: u64,
        clock: Clock,
        ends_ns: u64,
        before: Option<&Lease>,
    ) -> Self {
        // Hits of two seeds in one log would be those of neither.
        let log = before.filter(|b| b.seed == seed).map(|b| Arc::clone(&b.log));
        Self {
            spec,
            seed,
            log: log.unwrap_or_default(),
            lock: Mutex::default(),
            crowd: Crowd::default(),
            affected: AtomicU64::new(before.map_or(0, |b| b.affected.load(Ordering::Relaxed))),
            clock,
            began_ns: clock.now_ns(),
            ends_ns: watch::Sender::new(ends_ns),
        }
    }

    /// Counts and remembers one request as hit.
    pub(crate) fn hit(&self, request_id: u64, attempt: u32) {
        self.count();
        self.log.note(request_id, attempt);
    }

    /// Counts what it has done to something that is no request.
    pub(crate) fn count(&self) {
        self.affected.fetch_add(1, Ordering::Relaxed);
    }

    /// How long it has been armed.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_nanos(self.clock.now_ns().saturating_sub(self.began_ns))
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.ends_ns.borrow() <= self.clock.now_ns()
    }

    /// Ends it now.
    pub(crate) fn end(&self) {
        self.ends_ns.send_replace(0);
    }

    /// Puts its end off to `ends_ns`; whether it was in time for that.
    pub(crate) fn renew(&self, ends_ns: u64) -> bool {
        self.ends_ns.send_if_modified(|end| {
            let live = *end > self.clock.now_ns();
            if live {
                *end = ends_ns;
            }
            live
        })
    }

    /// Whether it is over for good: one that says so cannot be renewed any more.
    fn close(&self) -> bool {
        let mut over = false;
        self.ends_ns.send_if_modified(|end| {
            over = *end <= self.clock.now_ns();
            over && std::mem::replace(end, 0) != 0
        });
        over
    }

    /// As of `now_ns` on its clock.
    pub(crate) fn status(&self, now_ns: u64) -> FaultStatus {
        let ends_ns = *self.ends_ns.borrow();
        FaultStatus {
            fault: self.spec.clone(),
            remaining_ms: match ends_ns {
                NEVER_NS => MAX_TTL_MS,
                // Rounded up: a lease that still acts never says that nothing remains.
                _ => ends_ns.saturating_sub(now_ns).div_ceil(NANOS_PER_MS),
            },
            affected: self.affected.load(Ordering::Relaxed),
        }
    }

    /// Waits for `longest`, or while it lasts when `None`; never beyond its end, which may come early or be put off
    /// meanwhile.
    pub(crate) async fn hold(&self, longest: Option<Duration>) {
        let until_ns = longest.map_or(NEVER_NS, |d| {
            self.clock.now_ns().saturating_add(u64::try_from(d.as_nanos()).unwrap_or(NEVER_NS))
        });
        let mut end = self.ends_ns.subscribe();
        loop {
            let wake_ns = until_ns.min(*end.borrow_and_update());
            if wake_ns <= self.clock.now_ns() {
                return;
            }
            // An end that never comes would overflow the clock: look again every hour.
            let nap = self.clock.until(wake_ns.min(self.clock.now_ns() + MAX_TTL_MS * NANOS_PER_MS));
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                changed = end.changed() => if changed.is_err() { return },
            }
        }
    }

    /// As [`hold`](Self::hold), on a thread that may wait.
    pub(crate) fn hold_thread(&self, longest: Duration) {
        let longest_ns = u64::try_from(longest.as_nanos()).unwrap_or(NEVER_NS);
        let until_ns = self.clock.now_ns().saturating_add(longest_ns);
        while !self.is_over() {
            let left = self.clock.until(until_ns);
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

/// A hold on an armed fault, for whoever acts as long as it lasts.
#[derive(Debug, Clone)]
pub struct Tenure(pub(crate) Arc<Lease>);

impl Tenure {
    /// Waits until the fault is over: by its own end, by somebody's word, or because another took its name.
    pub async fn over(&self) {
        while !self.0.close() {
            self.0.hold(None).await;
        }
    }

    /// Waits for `pause` on a thread that may wait, or until the fault is over; whether it goes on.
    pub fn rest(&self, pause: Duration) -> bool {
        self.0.hold_thread(pause);
        !self.0.close()
    }

    /// Counts something as affected: a connection that was taken, for one.
    pub fn count(&self) {
        self.0.count();
    }
}
