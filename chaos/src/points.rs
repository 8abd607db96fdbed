//! What a request suffers when it passes a fault point.

use std::sync::Arc;
use std::time::Duration;

use squall_record::fault::{Effect, FaultPoint};

use crate::armed::Lease;
use crate::brown_out::{self, Inside, room, severity};
use crate::decision::{SPARED, draw, draw_delay, draw_error};
use crate::leases::Leases;
use crate::slow_body::Pace;

/// What an overloaded dependency answers.
const OVERLOADED: u16 = 503;

/// The error that a fault answers with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("injected by fault `{fault}`")]
pub struct Injected {
    /// The HTTP status of the answer.
    pub status: u16,
    /// Which fault it was.
    pub fault: String,
}

/// What a request takes along from a point: to be kept until what the point stands before is done.
#[derive(Debug, Default)]
#[must_use = "it is kept until what the point stands before is done"]
pub struct Passed(Option<Box<Along>>);

#[derive(Debug, Default)]
struct Along {
    /// Its places inside of brown-outs.
    inside: Vec<Inside>,
    pace: Option<Pace>,
}

impl Passed {
    /// How slowly the body of the answer is to be sent, if that is slowed down.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        self.0.as_ref()?.pace.clone()
    }

    fn along(&mut self) -> &mut Along {
        self.0.get_or_insert_default()
    }
}

/// Whom it is decided about.
#[derive(Debug, Clone, Copy)]
struct Whom {
    request_id: u64,
    attempt: u32,
}

impl Leases {
    /// Lets attempt `attempt` of request `request_id` pass `point`.
    ///
    /// Every lease armed there decides for itself, in the order of arming, so several stack:
    /// two delays add up, and a delay before an error is an error that comes late. A hang, and a
    /// delay too, ends with its lease at the latest; the request then goes on.
    ///
    /// # Errors
    /// When a fault answers in the request's place.
    ///
    /// # Panics
    /// When a fault of kind panic hits the request.
    #[inline]
    pub async fn pass(&self, point: FaultPoint, request_id: u64, attempt: u32) -> Result<Passed, Injected> {
        if !self.any_at(point) {
            return Ok(Passed::default());
        }
        // In a box: a request that nothing happens to shall not carry the room for it.
        Box::pin(suffer(self.at(point), Whom { request_id, attempt })).await
    }

    /// As [`pass`](Self::pass), on a thread that may wait. Only latency acts on one.
    pub fn pass_thread(&self, point: FaultPoint, request_id: u64, attempt: u32) {
        if !self.any_at(point) {
            return;
        }
        let whom = Whom { request_id, attempt };
        for lease in self.at(point) {
            if let (Effect::Latency { delay }, true) = (&lease.spec.effect, whom.is_hit(&lease)) {
                lease.hit(request_id, attempt);
                lease.hold_thread(millis(delay.at_ms(whom.quantile(&lease))));
            }
        }
    }
}

impl Whom {
    fn is_hit(self, lease: &Lease) -> bool {
        self.attempt != SPARED
            && draw(lease.seed, &lease.spec.name, self.request_id, self.attempt) < lease.spec.fraction
    }

    /// Of the delay.
    fn quantile(self, lease: &Lease) -> f64 {
        draw_delay(lease.seed, &lease.spec.name, self.request_id, self.attempt)
    }
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

async fn suffer(leases: Vec<Arc<Lease>>, whom: Whom) -> Result<Passed, Injected> {
    let mut passed = Passed::default();
    for lease in leases {
        let spec = &lease.spec;
        // It may have ended while another one held the request.
        if lease.is_over() || !spec.effect.is_per_request() {
            continue;
        }
        let hit = whom.is_hit(&lease);
        if hit {
            lease.hit(whom.request_id, whom.attempt);
        }
        if let Effect::Lock { hold_ms } = spec.effect {
            lock(&lease, hit.then(|| millis(hold_ms))).await;
        }
        if !hit {
            continue;
        }
        match &spec.effect {
            Effect::Latency { delay } => lease.hold(Some(millis(delay.at_ms(whom.quantile(&lease))))).await,
            Effect::Error { status } => {
                return Err(Injected { status: *status, fault: spec.name.clone() });
            }
            Effect::Hang => lease.hold(None).await,
            Effect::Panic => panic!("fault `{}` panics", spec.name),
            Effect::SlowBody { bytes_per_s } => {
                let slowest = passed.0.as_ref().and_then(|along| along.pace.as_ref());
                if slowest.is_none_or(|slowest| *bytes_per_s < slowest.bytes_per_s) {
                    let pace = Pace { lease: Arc::clone(&lease), bytes_per_s: *bytes_per_s };
                    passed.along().pace = Some(pace);
                }
            }
            Effect::BrownOut { .. } => {
                if let Some(inside) = brown_out(&lease, whom).await? {
                    passed.along().inside.push(inside);
                }
            }
            // A lock was dealt with above; nothing else is per request.
            _ => {}
        }
    }
    Ok(passed)
}

/// Waits for the lock that all at this point need, and holds it for `hold` when that is given. Both end with the lease.
async fn lock(lease: &Lease, hold: Option<Duration>) {
    let held = async {
        let _held = lease.lock.lock().await;
        if let Some(hold) = hold {
            lease.hold(Some(hold)).await;
        }
    };
    tokio::select! {
        biased;
        () = held => {}
        () = lease.hold(None) => {}
    }
}

/// What a dependency does that is as bad as it is now. The request's place inside; none when the lease ended meanwhile.
async fn brown_out(lease: &Arc<Lease>, whom: Whom) -> Result<Option<Inside>, Injected> {
    let Effect::BrownOut { delay, errors, capacity, ramp_ms } = &lease.spec.effect else { return Ok(None) };
    let now = || severity(lease.age(), *ramp_ms);
    let severity = now();
    let Some(inside) = brown_out::enter(lease, || room(*capacity, now())).await else { return Ok(None) };
    lease.hold(Some(millis(delay.at_ms(whom.quantile(lease)) * severity))).await;
    let drawn = draw_error(lease.seed, &lease.spec.name, whom.request_id, whom.attempt);
    if drawn < errors * severity && !lease.is_over() {
        return Err(Injected { status: OVERLOADED, fault: lease.spec.name.clone() });
    }
    Ok(Some(inside))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{ArmRequest, Hits};
    use squall_record::clock::Clock;
    use squall_record::fault::{Delay, FaultSpec, Place};

    fn arm(name: &str, effect: Effect, fraction: f64, ttl_ms: u64) -> ArmRequest {
        let fault =
            FaultSpec { name: name.to_owned(), place: Place::Point(FaultPoint::Store), effect, fraction };
        ArmRequest { fault, ttl_ms, seed: 7 }
    }

    fn fixed(ms: f64) -> Effect {
        Effect::Latency { delay: Delay::Fixed { ms } }
    }

    #[tokio::test]
    async fn an_error_hits_exactly_the_requests_that_its_seed_chooses() {
        let leases = Leases::new();
        leases.arm(&arm("down", Effect::Error { status: 503 }, 0.3, 60_000)).unwrap();
        let mut hit = 0;
        for i in 0..500 {
            let chosen = draw(7, "down", i, 0) < 0.3;
            assert_eq!(leases.pass(FaultPoint::Store, i, 0).await.is_err(), chosen);
            assert!(leases.pass(FaultPoint::Api, i, 0).await.is_ok(), "acts at its point alone");
            hit += u64::from(chosen);
        }
        assert_eq!(leases.end("down").unwrap().affected, hit);
        let _ = leases.pass(FaultPoint::Store, 0, 0).await.unwrap();
    }

    #[tokio::test]
    async fn faults_stack_in_the_order_of_arming() {
        let leases = Leases::new();
        leases.arm(&arm("slow", fixed(30.0), 1.0, 60_000)).unwrap();
        leases.arm(&arm("down", Effect::Error { status: 500 }, 1.0, 60_000)).unwrap();
        let clock = Clock::start();
        let got = leases.pass(FaultPoint::Store, 1, 0).await.unwrap_err();
        assert_eq!((got.status, got.fault.as_str()), (500, "down"));
        assert!(clock.now_ns() >= 30_000_000, "the error came late");
        assert!(leases.list().iter().all(|s| s.affected == 1));
    }

    #[tokio::test]
    async fn a_hang_ends_with_its_lease() {
        let leases = Leases::new();
        leases.arm(&arm("stuck", Effect::Hang, 1.0, 30)).unwrap();
        let clock = Clock::start();
        let _ = leases.pass(FaultPoint::Store, 1, 0).await.unwrap();
        assert!(clock.now_ns() >= 29_000_000);
    }

    #[tokio::test]
    async fn ending_a_lease_early_frees_what_it_holds() {
        for effect in [Effect::Hang, fixed(290_000.0)] {
            let leases = Arc::new(Leases::new());
            leases.arm(&arm("stuck", effect, 1.0, 3_600_000)).unwrap();
            let held = tokio::spawn({
                let leases = Arc::clone(&leases);
                async move { leases.pass(FaultPoint::Store, 1, 0).await }
            });
            while leases.list()[0].affected == 0 {
                tokio::task::yield_now().await;
            }
            assert!(!held.is_finished());
            assert_eq!(leases.end("stuck").unwrap().affected, 1);
            let _ = held.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_renewed_lease_goes_on_holding() {
        let leases = Arc::new(Leases::new());
        leases.arm(&arm("stuck", Effect::Hang, 1.0, 150)).unwrap();
        let held = tokio::spawn({
            let leases = Arc::clone(&leases);
            async move { leases.pass(FaultPoint::Store, 1, 0).await }
        });
        while leases.list().first().is_some_and(|s| s.affected == 0) {
            tokio::task::yield_now().await;
        }
        leases.arm(&arm("stuck", Effect::Hang, 1.0, 3_600_000)).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!held.is_finished());
        leases.end("stuck").unwrap();
        let _ = held.await.unwrap().unwrap();
    }

    /// Lets request `id` pass in a task of its own, which keeps what it takes along.
    fn passing(leases: &Arc<Leases>, id: u64) -> tokio::task::JoinHandle<Result<Passed, Injected>> {
        let leases = Arc::clone(leases);
        tokio::spawn(async move { leases.pass(FaultPoint::Store, id, 0).await })
    }

    async fn until(holds: impl Fn() -> bool) {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_lock_that_one_holds_is_waited_for_by_those_that_are_not_hit() {
        let leases = Arc::new(Leases::new());
        leases.arm(&arm("lock", Effect::Lock { hold_ms: 250_000.0 }, 0.5, 3_600_000)).unwrap();
        let is_hit = |id: &u64| draw(7, "lock", *id, 0) < 0.5;
        let (hit, spared) = ((0..).find(is_hit).unwrap(), (0..).find(|id| !is_hit(id)).unwrap());
        assert!(leases.pass(FaultPoint::Store, spared, 0).await.is_ok(), "nobody holds it yet");
        let holds = passing(&leases, hit);
        until(|| leases.list()[0].affected == 1).await;
        let waits = passing(&leases, spared);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waits.is_finished() && !holds.is_finished());
        assert_eq!(leases.end("lock").unwrap().affected, 1);
        assert!(waits.await.unwrap().is_ok() && holds.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn those_that_are_hit_hold_a_lock_one_after_another() {
        let leases = Arc::new(Leases::new());
        leases.arm(&arm("lock", Effect::Lock { hold_ms: 30.0 }, 1.0, 60_000)).unwrap();
        let clock = Clock::start();
        let all: Vec<_> = (0..4).map(|id| passing(&leases, id)).collect();
        for one in all {
            assert!(one.await.unwrap().is_ok());
        }
        assert!(clock.now_ns() >= 120_000_000);
    }

    #[tokio::test]
    async fn a_panic_is_one_and_ends_nothing_but_its_request() {
        let leases = Arc::new(Leases::new());
        leases.arm(&arm("bug", Effect::Panic, 0.5, 60_000)).unwrap();
        for id in 0..20 {
            let passed = passing(&leases, id).await;
            assert_eq!(passed.is_err_and(|e| e.is_panic()), draw(7, "bug", id, 0) < 0.5);
        }
        assert_eq!(
            leases.end("bug").unwrap().affected,
            (0..20).filter(|id| draw(7, "bug", *id, 0) < 0.5).count() as u64
        );
    }

    fn brown_out(delay_ms: f64, errors: f64, capacity: u32, ramp_ms: u64) -> Effect {
        Effect::BrownOut { delay: Delay::Fixed { ms: delay_ms }, errors, capacity, ramp_ms }
    }

    #[tokio::test]
    async fn a_brown_out_at_its_worst_fails_its_share_and_delays_the_others() {
        let leases = Leases::new();
        leases.arm(&arm("brown", brown_out(2.0, 0.4, 1000, 0), 1.0, 60_000)).unwrap();
        let clock = Clock::start();
        for id in 0..100 {
            let failed = leases.pass(FaultPoint::Store, id, 0).await.is_err_and(|e| e.status == 503);
            assert_eq!(failed, draw_error(7, "brown", id, 0) < 0.4, "{id}");
        }
        assert!(clock.now_ns() >= 200_000_000);
    }

    #[tokio::test]
    async fn a_brown_out_begins_harmless_and_gets_worse() {
        let leases = Leases::new();
        leases.arm(&arm("brown", brown_out(0.0, 1.0, 1000, 400), 1.0, 60_000)).unwrap();
        let failed = async || {
            let mut failed = 0;
            for id in 0..200 {
                failed += u32::from(leases.pass(FaultPoint::Store, id, 0).await.is_err());
            }
            failed
        };
        let (clock, early) = (Clock::start(), failed().await);
        assert!(early < 100 || clock.now_ns() > 100_000_000, "{early}");
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(failed().await, 200);
    }

    #[tokio::test]
    async fn a_brown_out_lets_in_no_more_than_its_capacity() {
        let leases = Arc::new(Leases::new());
        leases.arm(&arm("brown", brown_out(0.0, 0.0, 2, 0), 1.0, 3_600_000)).unwrap();
        let (first, second) = (passing(&leases, 1).await.unwrap(), passing(&leases, 2).await.unwrap());
        let (third, fourth) = (passing(&leases, 3), passing(&leases, 4));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!third.is_finished() && !fourth.is_finished());
        drop(first);
        until(|| third.is_finished() || fourth.is_finished()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!(third.is_finished() && fourth.is_finished()), "one place, one in");
        leases.end("brown").unwrap();
        drop((third.await.unwrap(), fourth.await.unwrap(), second));
    }

    #[tokio::test]
    async fn the_same_requests_and_seed_give_the_same_log_and_another_seed_another() {
        let log = async |seed, ids: Vec<u64>| {
            let leases = Leases::new();
            let request = arm("down", Effect::Error { status: 503 }, 0.3, 60_000);
            leases.arm(&ArmRequest { seed, ..request }).unwrap();
            for id in ids {
                let _ = leases.pass(FaultPoint::Store, id, (id % 3) as u32).await;
            }
            let hits = leases.hits("down").unwrap();
            assert_eq!(hits.hits.len() as u64, leases.end("down").unwrap().affected);
            assert_eq!(leases.hits("down"), Some(hits.clone()), "also when it has ended");
            serde_json::to_string(&Hits { seed: 0, ..hits }).unwrap()
        };
        let first = log(7, (0..500).collect()).await;
        assert_eq!(first, log(7, (0..500).rev().collect()).await);
        assert_ne!(first, log(8, (0..500).collect()).await);
        assert!(
            first.starts_with(r#"{"fault":"down","seed":0,"hits":[["#)
                && first.ends_with(r#"]],"left_out":0}"#)
        );
    }

    #[test]
    fn a_thread_waits_for_latency_and_no_longer_than_its_lease() {
        let leases = Leases::new();
        leases.provide(crate::host::Host { commits: true, ..Default::default() });
        for (name, ms, ttl_ms, least_ms) in [("a", 30.0, 60_000, 30), ("b", 200_000.0, 40, 20)] {
            let mut request = arm(name, fixed(ms), 1.0, ttl_ms);
            request.fault.place = Place::Point(FaultPoint::Commit);
            leases.arm(&request).unwrap();
            let clock = Clock::start();
            leases.pass_thread(FaultPoint::Commit, 1, 0);
            assert!(clock.until(least_ms * 1_000_000).is_zero() || name == "b", "{name}");
            assert_eq!(leases.end(name).unwrap().affected, 1);
        }
    }
}
