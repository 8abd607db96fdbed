//! The faults armed in this process, each ending by itself.
//!
//! A lease's end is compared with the clock wherever the lease is looked at, so no timer has to
//! fire and no controller has to live. Nothing armed at a point costs one relaxed load.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use squall_record::clock::Clock;
use squall_record::fault::{FaultPoint, FaultSpec, Place};
use tokio::sync::watch;

use crate::lease::{ArmRequest, FaultStatus, MAX_TTL_MS, Refused, check_spec};

/// The most faults armed at once.
pub const MAX_ARMED: usize = 32;
/// How many ended leases can still be asked about.
pub const MAX_ENDED: usize = 64;

/// The end of a lease that is held by the process itself.
const NEVER_NS: u64 = u64::MAX;
const NANOS_PER_MS: u64 = 1_000_000;

/// One armed fault.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) spec: FaultSpec,
    pub(crate) seed: u64,
    affected: AtomicU64,
    /// On the clock of the [`Leases`]; 0 once ended. Watched by the requests that it holds.
    ends_ns: watch::Sender<u64>,
}

impl Lease {
    /// Counts one request as hit.
    pub(crate) fn count(&self) {
        self.affected.fetch_add(1, Ordering::Relaxed);
    }

    fn status(&self, now_ns: u64) -> FaultStatus {
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
}

#[derive(Debug, Default)]
struct Books {
    /// In the order of arming.
    armed: Vec<Arc<Lease>>,
    /// The oldest first.
    ended: VecDeque<FaultStatus>,
}

/// The faults of one process. Shared by reference or in an `Arc`.
#[derive(Debug)]
pub struct Leases {
    clock: Clock,
    /// How many leases each point has; what the fast path reads.
    at_point: [AtomicUsize; FaultPoint::COUNT],
    books: RwLock<Books>,
}

impl Default for Leases {
    fn default() -> Self {
        Self::new()
    }
}

impl Leases {
    /// Nothing armed.
    #[must_use]
    pub fn new() -> Self {
        Self { clock: Clock::start(), at_point: Default::default(), books: RwLock::default() }
    }

    /// Arms a fault. A name that is armed already is renewed: it takes the new time to live and
    /// the new specification, and keeps its count.
    ///
    /// # Errors
    /// When the request is out of range, or [`MAX_ARMED`] others are armed.
    pub fn arm(&self, request: &ArmRequest) -> Result<FaultStatus, Refused> {
        request.check()?;
        let now_ns = self.clock.now_ns();
        self.put(&request.fault, request.seed, now_ns, now_ns + request.ttl_ms * NANOS_PER_MS)
    }

    /// Arms a fault for as long as this process lives. Its holder is the process itself, which
    /// keeps renewing it: its status always shows [`MAX_TTL_MS`] remaining. It can be ended like
    /// any other.
    ///
    /// # Errors
    /// As for [`arm`](Self::arm).
    pub fn arm_for_life(&self, fault: &FaultSpec, seed: u64) -> Result<FaultStatus, Refused> {
        check_spec(fault)?;
        self.put(fault, seed, self.clock.now_ns(), NEVER_NS)
    }

    fn put(&self, fault: &FaultSpec, seed: u64, now_ns: u64, ends_ns: u64) -> Result<FaultStatus, Refused> {
        let mut books = self.write();
        self.sweep(&mut books, now_ns);
        let same = books.armed.iter().position(|l| l.spec.name == fault.name);
        if let Some(i) = same {
            let lease = &books.armed[i];
            if lease.spec == *fault && lease.seed == seed {
                lease.ends_ns.send_replace(ends_ns);
                return Ok(lease.status(now_ns));
            }
        } else if books.armed.len() >= MAX_ARMED {
            return Err(Refused::TooMany { name: fault.name.clone(), limit: MAX_ARMED });
        }
        let lease = Lease {
            spec: fault.clone(),
            seed,
            affected: AtomicU64::new(same.map_or(0, |i| books.armed[i].affected.load(Ordering::Relaxed))),
            ends_ns: watch::Sender::new(ends_ns),
        };
        let status = lease.status(now_ns);
        match same {
            Some(i) => {
                let old = std::mem::replace(&mut books.armed[i], Arc::new(lease));
                old.ends_ns.send_replace(0);
            }
            None => books.armed.push(Arc::new(lease)),
        }
        self.recount(&books);
        Ok(status)
    }

    /// Ends a fault and says how many requests it hit; also for one that has ended by itself.
    /// `None` when no lease of that name is known.
    pub fn end(&self, name: &str) -> Option<FaultStatus> {
        let mut books = self.write();
        let now_ns = self.clock.now_ns();
        self.sweep(&mut books, now_ns);
        if let Some(lease) = books.armed.iter().find(|l| l.spec.name == name) {
            lease.ends_ns.send_replace(0);
            self.sweep(&mut books, now_ns);
        }
        books.ended.iter().rev().find(|s| s.fault.name == name).cloned()
    }

    /// The faults armed now, in the order of arming.
    #[must_use]
    pub fn list(&self) -> Vec<FaultStatus> {
        let now_ns = self.clock.now_ns();
        let mut books = self.write();
        self.sweep(&mut books, now_ns);
        books.armed.iter().map(|l| l.status(now_ns)).collect()
    }

    /// Whether anything may be armed at `point`: one relaxed load. A lease that has just run out
    /// may still be counted.
    #[inline]
    pub fn any_at(&self, point: FaultPoint) -> bool {
        self.at_point[point as usize].load(Ordering::Relaxed) > 0
    }

    /// The leases in force at `point`, in the order of arming.
    pub(crate) fn at(&self, point: FaultPoint) -> Vec<Arc<Lease>> {
        let now_ns = self.clock.now_ns();
        let mut stale = false;
        let found = {
            let books = self.read();
            let here = books.armed.iter().filter(|l| l.spec.place == Place::Point(point));
            here.filter(|l| {
                let live = *l.ends_ns.borrow() > now_ns;
                stale |= !live;
                live
            })
            .cloned()
            .collect()
        };
        if stale {
            self.sweep(&mut self.write(), now_ns);
        }
        found
    }

    /// Holds a request for `longest`, or while `lease` lasts when `None`; never beyond the
    /// lease's end, which may come early or be put off meanwhile.
    pub(crate) async fn hold(&self, lease: &Lease, longest: Option<Duration>) {
        let until_ns = longest.map_or(NEVER_NS, |d| {
            self.clock.now_ns().saturating_add(u64::try_from(d.as_nanos()).unwrap_or(NEVER_NS))
        });
        let mut end = lease.ends_ns.subscribe();
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

    fn sweep(&self, books: &mut Books, now_ns: u64) {
        let mut over = Vec::new();
        books.armed.retain(|l| {
            let live = *l.ends_ns.borrow() > now_ns;
            if !live {
                over.push(FaultStatus { remaining_ms: 0, ..l.status(now_ns) });
            }
            live
        });
        if over.is_empty() {
            return;
        }
        for status in over {
            if books.ended.len() == MAX_ENDED {
                books.ended.pop_front();
            }
            books.ended.push_back(status);
        }
        self.recount(books);
    }

    fn recount(&self, books: &Books) {
        for point in FaultPoint::ALL {
            let n = books.armed.iter().filter(|l| l.spec.place == Place::Point(point)).count();
            self.at_point[point as usize].store(n, Ordering::Relaxed);
        }
    }

    // A panic while the lock is held leaves the books whole: every change of theirs is one step.
    fn read(&self) -> RwLockReadGuard<'_, Books> {
        self.books.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Books> {
        self.books.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_record::fault::Effect;

    fn arm(name: &str, ttl_ms: u64) -> ArmRequest {
        let fault = FaultSpec {
            name: name.to_owned(),
            place: Place::Point(FaultPoint::Store),
            effect: Effect::Hang,
            fraction: 1.0,
        };
        ArmRequest { fault, ttl_ms, seed: 1 }
    }

    fn outlive(ttl_ms: u64) {
        std::thread::sleep(Duration::from_millis(ttl_ms + 1));
    }

    #[test]
    fn a_lease_ends_by_itself_and_its_count_stays_readable() {
        let leases = Leases::new();
        leases.arm(&arm("f", 20)).unwrap();
        assert!(leases.any_at(FaultPoint::Store) && !leases.any_at(FaultPoint::Api));
        leases.at(FaultPoint::Store)[0].count();
        outlive(20);
        assert!(leases.at(FaultPoint::Store).is_empty(), "enforced where it acts");
        assert!(!leases.any_at(FaultPoint::Store), "and the fast path is back");
        let last = leases.end("f").unwrap();
        assert_eq!((last.remaining_ms, last.affected), (0, 1));
        assert_eq!(leases.end("g"), None);
    }

    #[test]
    fn rearming_renews_and_keeps_the_count() {
        let leases = Leases::new();
        leases.arm(&arm("f", 1000)).unwrap();
        leases.at(FaultPoint::Store)[0].count();
        let renewed = leases.arm(&arm("f", 60_000)).unwrap();
        assert!(renewed.remaining_ms > 1000);
        assert_eq!(renewed.affected, 1);
        let mut other = arm("f", 60_000);
        other.fault.place = Place::Point(FaultPoint::Api);
        assert_eq!(leases.arm(&other).unwrap().affected, 1);
        assert_eq!(leases.list().len(), 1);
        assert!(leases.any_at(FaultPoint::Api) && !leases.any_at(FaultPoint::Store));
    }

    #[test]
    fn armed_and_remembered_leases_are_bounded() {
        let leases = Leases::new();
        for i in 0..MAX_ARMED {
            leases.arm(&arm(&format!("f{i}"), 60_000)).unwrap();
        }
        assert!(matches!(leases.arm(&arm("more", 1)), Err(Refused::TooMany { .. })));
        leases.arm(&arm("f0", 60_000)).unwrap();
        for i in 0..MAX_ENDED + 5 {
            let name = format!("g{i}");
            leases.end(&format!("f{}", i % MAX_ARMED));
            leases.arm(&arm(&name, 60_000)).unwrap();
            leases.end(&name).unwrap();
        }
        assert_eq!(leases.read().ended.len(), MAX_ENDED);
        assert_eq!(leases.end("f1"), None, "forgotten");
    }

    #[test]
    fn a_lease_for_life_always_has_its_whole_time_left() {
        let leases = Leases::new();
        leases.arm_for_life(&arm("f", 1).fault, 0).unwrap();
        assert_eq!(leases.list()[0].remaining_ms, MAX_TTL_MS);
        assert_eq!(leases.end("f").unwrap().remaining_ms, 0);
        assert!(leases.list().is_empty());
    }
}
