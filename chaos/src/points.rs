//! What a request suffers when it passes a fault point.

use std::sync::Arc;
use std::time::Duration;

use squall_record::fault::{Effect, FaultPoint};

use crate::decision::{draw, draw_delay};
use crate::leases::{Lease, Leases};

/// The error that a fault answers with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("injected by fault `{fault}`")]
pub struct Injected {
    /// The HTTP status of the answer.
    pub status: u16,
    /// Which fault it was.
    pub fault: String,
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
    #[inline]
    pub async fn pass(&self, point: FaultPoint, request_id: u64, attempt: u32) -> Result<(), Injected> {
        if !self.any_at(point) {
            return Ok(());
        }
        // In a box: a request that nothing happens to shall not carry the room for it.
        Box::pin(self.suffer(self.at(point), request_id, attempt)).await
    }

    async fn suffer(&self, leases: Vec<Arc<Lease>>, request_id: u64, attempt: u32) -> Result<(), Injected> {
        for lease in leases {
            let spec = &lease.spec;
            if draw(lease.seed, &spec.name, request_id, attempt) >= spec.fraction {
                continue;
            }
            lease.count();
            match &spec.effect {
                Effect::Latency { delay } => {
                    let ms = delay.at_ms(draw_delay(lease.seed, &spec.name, request_id, attempt));
                    self.hold(&lease, Some(Duration::from_secs_f64(ms / 1000.0))).await;
                }
                Effect::Error { status } => {
                    return Err(Injected { status: *status, fault: spec.name.clone() });
                }
                Effect::Hang => self.hold(&lease, None).await,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::ArmRequest;
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
        assert_eq!(leases.pass(FaultPoint::Store, 0, 0).await, Ok(()));
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
        assert_eq!(leases.pass(FaultPoint::Store, 1, 0).await, Ok(()));
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
            assert_eq!(held.await.unwrap(), Ok(()));
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
        held.await.unwrap().unwrap();
    }
}
