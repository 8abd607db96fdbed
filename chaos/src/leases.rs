//! The faults armed in this process, each ending by itself.
//!
//! A lease's end is compared with the clock wherever the lease is looked at, so no timer has to
//! fire and no controller has to live. Nothing armed at a point costs one relaxed load.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use squall_record::clock::Clock;
use squall_record::fault::{Effect, FaultPoint, FaultSpec, Place};

use crate::armed::{Lease, NANOS_PER_MS, NEVER_NS, Tenure};
use crate::burden;
use crate::hits::HitLog;
use crate::host::Host;
use crate::lease::{ArmRequest, FaultStatus, Hits, Refused, check_spec};

/// The most faults armed at once.
pub const MAX_ARMED: usize = 32;
/// How many ended leases can still be asked about.
pub const MAX_ENDED: usize = 64;
/// Of how many of those the hits can be.
pub const MAX_ENDED_LOGS: usize = 8;

/// The hits of a lease that has ended.
#[derive(Debug)]
struct EndedLog {
    fault: String,
    seed: u64,
    log: Arc<HitLog>,
}

#[derive(Debug, Default)]
struct Books {
    /// In the order of arming.
    armed: Vec<Arc<Lease>>,
    /// The oldest first.
    ended: VecDeque<FaultStatus>,
    /// Likewise.
    logs: VecDeque<EndedLog>,
}

/// The faults of one process. Shared by reference or in an `Arc`. Those that are left end when it is dropped.
#[derive(Debug)]
pub struct Leases {
    clock: Clock,
    /// How many leases each point has; what the fast path reads.
    at_point: [AtomicUsize; FaultPoint::COUNT],
    books: RwLock<Books>,
    host: OnceLock<Host>,
}

impl Default for Leases {
    fn default() -> Self {
        Self::new()
    }
}

impl Leases {
    /// Nothing armed, in a process that provides nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Clock::start(),
            at_point: Default::default(),
            books: RwLock::default(),
            host: OnceLock::new(),
        }
    }

    /// Says what the process around provides. Once: what is said later is not heard.
    pub fn provide(&self, host: Host) {
        let _ = self.host.set(host);
    }

    /// Arms a fault. A name that is armed already is renewed: it takes the new time to live and
    /// the new specification, and keeps its count.
    ///
    /// # Errors
    /// When the request is out of range, needs what this process does not provide, or [`MAX_ARMED`] others are
    /// armed.
    pub fn arm(&self, request: &ArmRequest) -> Result<FaultStatus, Refused> {
        request.check()?;
        self.put(&request.fault, request.seed, Some(request.ttl_ms))
    }

    /// Arms a fault for as long as this process lives. Its holder is the process itself, which
    /// keeps renewing it: its status always shows [`MAX_TTL_MS`](crate::lease::MAX_TTL_MS) remaining. It can be ended like
    /// any other.
    ///
    /// # Errors
    /// As for [`arm`](Self::arm).
    pub fn arm_for_life(&self, fault: &FaultSpec, seed: u64) -> Result<FaultStatus, Refused> {
        check_spec(fault)?;
        self.put(fault, seed, None)
    }

    fn put(&self, fault: &FaultSpec, seed: u64, ttl_ms: Option<u64>) -> Result<FaultStatus, Refused> {
        self.host.get().unwrap_or(&Host::default()).check(fault)?;
        let mut books = self.write();
        let now_ns = self.clock.now_ns();
        let ends_ns = ttl_ms.map_or(NEVER_NS, |ms| now_ns + ms * NANOS_PER_MS);
        self.sweep(&mut books, now_ns);
        let same = books.armed.iter().position(|l| l.spec.name == fault.name);
        let before = same.map(|i| &*books.armed[i]);
        if let Some(lease) = before.filter(|l| l.spec == *fault && l.seed == seed)
            && lease.renew(ends_ns)
        {
            return Ok(lease.status(now_ns));
        }
        if before.is_none() && books.armed.len() >= MAX_ARMED {
            return Err(Refused::TooMany { name: fault.name.clone(), limit: MAX_ARMED });
        }
        let lease = Arc::new(Lease::new(fault.clone(), seed, self.clock, ends_ns, before));
        burden::take_on(&lease)?;
        if let (Effect::Starve { connections }, Some(Host { starve: Some(starve), .. })) =
            (&fault.effect, self.host.get())
        {
            starve(*connections, Tenure(Arc::clone(&lease)));
        }
        let status = lease.status(now_ns);
        match same {
            Some(i) => std::mem::replace(&mut books.armed[i], lease).end(),
            None => books.armed.push(lease),
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
            lease.end();
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

    /// Which requests the fault `name` has hit; also of the last [`MAX_ENDED_LOGS`] that have ended. `None` when no such lease is
    /// known. It sorts up to a million: not on a thread that others wait for.
    #[must_use]
    pub fn hits(&self, name: &str) -> Option<Hits> {
        let (seed, log) = {
            let books = self.read();
            let armed =
                books.armed.iter().find(|l| l.spec.name == name).map(|l| (l.seed, Arc::clone(&l.log)));
            let ended =
                || books.logs.iter().rev().find(|l| l.fault == name).map(|l| (l.seed, Arc::clone(&l.log)));
            armed.or_else(ended)?
        };
        let (hits, left_out) = log.read();
        Some(Hits { fault: name.to_owned(), seed, hits, left_out })
    }

    /// Whether anything may be armed at `point`: one relaxed load. A lease that has just run out
    /// may still be counted.
    #[inline]
    pub fn any_at(&self, point: FaultPoint) -> bool {
        self.at_point[point as usize].load(Ordering::Relaxed) > 0
    }

    /// By how much the wall clock is to be wrong now, in milliseconds; back when negative. Several add up, and each counts how
    /// often it was asked for.
    #[must_use]
    pub fn skew_ms(&self) -> i64 {
        if !self.any_at(FaultPoint::Service) {
            return 0;
        }
        let skew = |lease: Arc<Lease>| match lease.spec.effect {
            Effect::Skew { by_ms } => {
                lease.count();
                by_ms
            }
            _ => 0,
        };
        self.at(FaultPoint::Service).into_iter().map(skew).fold(0, i64::saturating_add)
    }

    /// The leases in force at `point`, in the order of arming.
    pub(crate) fn at(&self, point: FaultPoint) -> Vec<Arc<Lease>> {
        let mut stale = false;
        let found = {
            let books = self.read();
            let here = books.armed.iter().filter(|l| l.spec.place == Place::Point(point));
            here.filter(|l| {
                let over = l.is_over();
                stale |= over;
                !over
            })
            .cloned()
            .collect()
        };
        if stale {
            self.sweep(&mut self.write(), self.clock.now_ns());
        }
        found
    }

    fn sweep(&self, books: &mut Books, now_ns: u64) {
        let over = books.armed.extract_if(.., |l| l.is_over()).collect::<Vec<_>>();
        if over.is_empty() {
            return;
        }
        for lease in over {
            // Nobody who still holds it may think that it could be renewed.
            lease.end();
            keep_last(&mut books.ended, MAX_ENDED, lease.status(now_ns));
            let (fault, seed, log) = (lease.spec.name.clone(), lease.seed, Arc::clone(&lease.log));
            keep_last(&mut books.logs, MAX_ENDED_LOGS, EndedLog { fault, seed, log });
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

impl Drop for Leases {
    fn drop(&mut self) {
        // What acts while they last would go on without them.
        self.read().armed.iter().for_each(|lease| lease.end());
    }
}

/// Adds `one` to `all`, of which the oldest makes room beyond `most`.
fn keep_last<T>(all: &mut VecDeque<T>, most: usize, one: T) {
    if all.len() == most {
        all.pop_front();
    }
    all.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::MAX_TTL_MS;
    use std::time::Duration;

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
        leases.at(FaultPoint::Store)[0].hit(1, 0);
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
        leases.at(FaultPoint::Store)[0].hit(1, 0);
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

    #[test]
    fn what_the_process_does_not_provide_is_refused() {
        let at = |point, effect| {
            let mut request = arm("f", 1000);
            (request.fault.place, request.fault.effect) = (Place::Point(point), effect);
            request
        };
        let needy = [
            at(FaultPoint::Store, Effect::Starve { connections: 3 }),
            at(FaultPoint::Service, Effect::Skew { by_ms: 5 }),
            at(FaultPoint::Commit, Effect::Latency { delay: squall_record::fault::Delay::Fixed { ms: 1.0 } }),
        ];
        let leases = Leases::new();
        for request in &needy {
            assert!(matches!(leases.arm(request), Err(Refused::NotProvided { .. })), "{request:?}");
        }
        assert_eq!((leases.list(), leases.skew_ms()), (Vec::new(), 0));
        let taken = Arc::new(AtomicUsize::new(0));
        let starve: crate::host::Starve = Box::new({
            let taken = Arc::clone(&taken);
            move |n, _| taken.store(n as usize, Ordering::Relaxed)
        });
        leases.provide(Host { commits: true, wall_clock: true, starve: Some(starve) });
        for request in &needy {
            leases.arm(request).unwrap();
        }
        assert_eq!(taken.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn the_wall_clock_is_wrong_while_the_lease_lasts() {
        let leases = Leases::new();
        leases.provide(Host { wall_clock: true, ..Host::default() });
        for (name, by_ms, ttl_ms) in [("a", 7_000, 60_000), ("b", -2_000, 30)] {
            let mut request = arm(name, ttl_ms);
            request.fault.place = Place::Point(FaultPoint::Service);
            request.fault.effect = Effect::Skew { by_ms };
            leases.arm(&request).unwrap();
        }
        let skew = leases.skew_ms();
        assert!(skew == 5_000 || leases.list().len() == 1, "{skew}");
        outlive(30);
        assert_eq!(leases.skew_ms(), 7_000);
        assert!(leases.end("a").unwrap().affected >= 2);
        assert_eq!(leases.skew_ms(), 0);
    }

    #[test]
    fn the_hits_of_the_last_that_have_ended_are_kept() {
        let leases = Leases::new();
        for i in 0..=MAX_ENDED_LOGS as u64 {
            let name = format!("f{i}");
            leases.arm(&arm(&name, 60_000)).unwrap();
            leases.at(FaultPoint::Store)[0].hit(i, 2);
            let armed = leases.hits(&name).unwrap();
            assert_eq!((armed.hits.as_slice(), armed.left_out), (&[(i, 2)][..], 0));
            leases.end(&name).unwrap();
        }
        assert_eq!(leases.hits("f0"), None);
        assert_eq!(leases.hits("f1").unwrap().hits, [(1, 2)]);
    }

    #[test]
    fn another_seed_begins_another_log() {
        let leases = Leases::new();
        leases.arm(&arm("f", 60_000)).unwrap();
        leases.at(FaultPoint::Store)[0].hit(1, 0);
        leases.arm(&arm("f", 90_000)).unwrap();
        assert_eq!(leases.hits("f").unwrap().hits, [(1, 0)]);
        leases.arm(&ArmRequest { seed: 2, ..arm("f", 90_000) }).unwrap();
        let begun = leases.hits("f").unwrap();
        assert_eq!((begun.seed, begun.hits.len()), (2, 0));
    }
}
