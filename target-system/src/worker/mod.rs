//! The workers that deliver notices: at least once, again after a failure, and dead letters in the end.
//!
//! The same workers run in `payments serve` on the queue of the process, and in `payments worker` on a NATS
//! server's.
//!
//! * [`crew`]: as many workers as are needed, and their end.
//! * [`scaling`]: how many that is.
//! * [`sink`]: where notices are delivered.
//! * [`retry`]: when one that failed is tried again.
//! * [`seen`]: what was delivered already.
//! * [`metrics`]: what the workers say of themselves.
//! * [`role`]: `payments worker`.
//! * [`args`]: the settings.

pub mod args;
pub mod crew;
pub mod metrics;
pub mod retry;
pub mod role;
pub mod scaling;
pub mod seen;
pub mod sink;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use squall_chaos::leases::Leases;
use squall_chaos::points::Passed;
use squall_record::clock::Clock;
use squall_record::fault::FaultPoint;

use crate::limits::{NOTIFY_AT_ONCE, SEEN_NOTICES};
use crate::panics;
use crate::queue::{Letter, Queue, Taken};
use crate::trace::span::{Span, SpanKind, Tracer};
use args::Settings;
use metrics::NotifyMetrics;
use retry::Retries;
use seen::Seen;
use sink::{NotDelivered, Sink};

/// How much work a worker takes at once: little enough to leave the rest to others.
const TAKE: Duration = Duration::from_millis(100);
/// The part of the ack wait after which a worker says that it still holds what it has.
const KEEP_AFTER: u32 = 3;

/// What all workers of a process share.
#[derive(Debug)]
pub struct Delivery {
    /// Where notices come from.
    pub queue: Queue,
    /// What the workers say of themselves.
    pub metrics: NotifyMetrics,
    sink: Sink,
    retries: Retries,
    /// The faults in force, inside of the service.
    leases: Option<Arc<Leases>>,
    /// Makes the spans of notices that come from elsewhere.
    tracer: Option<Tracer>,
    /// What was delivered, where notices may come again.
    seen: Option<Mutex<Seen>>,
    /// What a delivery takes on average, in nanoseconds; 0 before the first.
    each_ns: AtomicU64,
    clock: Clock,
}

impl Delivery {
    /// Delivers from `queue` as `settings` say. Notices of this process pass the `notify` point of `leases`, and have the
    /// tracer of their requests.
    #[must_use]
    pub fn new(
        queue: Queue,
        settings: &Settings,
        leases: Option<Arc<Leases>>,
        metrics: NotifyMetrics,
        tracer: Option<Tracer>,
    ) -> Self {
        let seen = queue.ack_wait().map(|_| Mutex::new(Seen::new(SEEN_NOTICES)));
        Self {
            queue,
            metrics,
            sink: Sink::new(settings.receiver.clone(), settings.time_limit, settings.bounds.max),
            retries: settings.retries,
            leases,
            tracer,
            seen,
            each_ns: AtomicU64::new(0),
            clock: Clock::start(),
        }
    }

    /// What a delivery takes on average, when there was one.
    #[must_use]
    pub fn each(&self) -> Option<Duration> {
        match self.each_ns.load(Relaxed) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }

    /// As many notices as make up [`TAKE`].
    fn at_once(&self) -> usize {
        let fits = self.each().map_or(1, |each| TAKE.as_nanos() / each.as_nanos());
        usize::try_from(fits).unwrap_or(usize::MAX).clamp(1, NOTIFY_AT_ONCE)
    }

    /// Delivers all of `taken`, one after another.
    async fn deliver(&self, taken: &mut VecDeque<Taken>) {
        let (count, began_ns) = (taken.len(), self.clock.now_ns());
        let keep_after_ns = self.queue.ack_wait().map(|wait| (wait / KEEP_AFTER).as_nanos() as u64);
        let mut kept_ns = began_ns;
        while let Some(next) = taken.pop_front() {
            if let Some(keep_after_ns) = keep_after_ns
                && self.clock.now_ns() - kept_ns > keep_after_ns
            {
                kept_ns = self.clock.now_ns();
                for held in std::iter::once(&next).chain(taken.iter()) {
                    self.queue.keep(held).await;
                }
            }
            self.settle(next).await;
        }
        self.took(self.clock.now_ns() - began_ns, count as u64);
    }

    /// Counts `notices` that took `ns` together: an eighth of what is new goes into the average.
    fn took(&self, ns: u64, notices: u64) {
        let each = (ns / notices.max(1)).max(1);
        let before = self.each_ns.load(Relaxed);
        // Two workers at once may lose one of their figures, which is an average's right.
        self.each_ns.store(if before == 0 { each } else { before - before / 8 + each.div_ceil(8) }, Relaxed);
    }

    /// Delivers a notice, or sees to it that it is tried again or is a dead letter.
    async fn settle(&self, taken: Taken) {
        let most = self.retries.max_deliveries;
        let mut span = self.step(&taken);
        let failed = match taken.deliveries > most {
            // It was given out as often as that and never answered for.
            true => Failed::NeverAnswered,
            // A panic shall not take along the notices that this worker has in hand.
            false => {
                match panics::caught(self.attempt(&taken, &mut span)).await.unwrap_or(Err(Failed::Panicked)) {
                    Ok(()) => {
                        span.end();
                        self.queue.done(taken).await;
                        return;
                    }
                    Err(why) => {
                        self.metrics.failed.inc();
                        why
                    }
                }
            }
        };
        if span.is_sampled() {
            span.fail(failed.kind());
            span.set("payments.notify.outcome", if taken.deliveries >= most { "dead" } else { "retried" });
            span.end();
        }
        let failed = failed.to_string();
        if taken.deliveries >= most {
            tracing::warn!(deliveries = taken.deliveries, reason = failed, "a notice is given up");
            if self.queue.bury(taken, failed).await {
                self.metrics.dead.inc();
            }
            return;
        }
        // Without randomness all of them wait the least.
        let pause = self.retries.pause(taken.deliveries, getrandom::u64().unwrap_or(0));
        tracing::debug!(deliveries = taken.deliveries, reason = failed, ?pause, "a delivery failed");
        self.metrics.retried.inc();
        self.queue.retry(taken, pause).await;
    }

    /// A delivery as a step of its payment's request.
    fn step(&self, taken: &Taken) -> Span {
        let mut span = taken.letter.trace(self.tracer.as_ref()).span("notify", SpanKind::Consumer);
        if span.is_sampled() {
            let (system, destination) = self.queue.place(taken.priority);
            span.set("messaging.system", system);
            span.set("messaging.operation.name", "notify");
            span.set("messaging.operation.type", "process");
            span.set("messaging.destination.name", destination);
            span.set("payments.notify.delivery", i64::from(taken.deliveries));
        }
        span
    }

    /// Delivers a notice, unless that was done before.
    async fn attempt(&self, taken: &Taken, span: &mut Span) -> Result<(), Failed> {
        let _passed = match (&self.leases, &taken.letter) {
            (Some(leases), Letter::Notice(notice)) => {
                let passed = leases.pass(FaultPoint::Notify, notice.request_id, taken.deliveries - 1).await;
                passed.map_err(|injected| Failed::Fault(injected.fault))?
            }
            _ => Passed::default(),
        };
        if let (Sink::Counter, None, false) = (&self.sink, &self.seen, span.is_sampled()) {
            self.metrics.sent.inc();
            return Ok(());
        }
        let event = taken.letter.event().ok_or(Failed::NoId)?;
        if span.is_sampled() {
            span.set("messaging.message.id", event.id.clone());
        }
        let seen = || self.seen.as_ref().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner));
        if seen().is_some_and(|seen| seen.contains(&event.id)) {
            self.metrics.duplicates.inc();
            span.set("payments.notify.outcome", "duplicate");
            return Ok(());
        }
        let id = event.id.clone();
        if let Sink::Http(receiver) = &self.sink {
            receiver.deliver(event, span.trace()).await?;
        }
        self.metrics.sent.inc();
        span.set("payments.notify.outcome", "delivered");
        if let Some(mut seen) = seen() {
            seen.insert(&id);
        }
        Ok(())
    }
}

/// Why a notice was not delivered.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("fault {0}")]
    Fault(String),
    #[error("the worker has panicked")]
    Panicked,
    #[error("it has no id")]
    NoId,
    #[error("the workers that had it have ended")]
    NeverAnswered,
    #[error(transparent)]
    Receiver(#[from] NotDelivered),
}

impl Failed {
    /// One of a small set, as spans have it.
    fn kind(&self) -> String {
        match self {
            Failed::Fault(_) => "fault".to_owned(),
            Failed::Panicked => "panic".to_owned(),
            Failed::NoId => "no_id".to_owned(),
            Failed::NeverAnswered => "never_answered".to_owned(),
            Failed::Receiver(NotDelivered::Status(status)) => status.to_string(),
            Failed::Receiver(NotDelivered::Unreachable(_)) => "no_answer".to_owned(),
            Failed::Receiver(NotDelivered::Slow(_)) => "timeout".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::crew::Crew;
    use super::*;
    use crate::ids::AccountId;
    use crate::money::Currency;
    use crate::queue::event::Notice;
    use crate::queue::local::{self, Sender};
    use crate::queue::priority::Thresholds;
    use crate::record::Order;
    use scaling::Bounds;
    use squall_record::fault::{Effect, FaultSpec, Place};

    const S: Duration = Duration::from_secs(1);

    fn notice(seq: u64) -> Notice {
        let currency = Currency::parse("EUR").unwrap();
        let order = Order { from: AccountId(1), to: AccountId(2), amount: 100, currency };
        Notice { seq, order, created_ms: 1, request_id: seq, trace: None }
    }

    /// Two workers on a queue of this process that try three times.
    fn crew(leases: Option<Arc<Leases>>) -> (Sender, Crew, NotifyMetrics) {
        let metrics = NotifyMetrics::default();
        let (sender, queue) = local::queue(Thresholds { high_from: 1000, low_below: 10 }, &metrics.lost);
        let settings = Settings {
            receiver: None,
            time_limit: S,
            retries: Retries { base: 60 * S, longest: 600 * S, max_deliveries: 3 },
            bounds: Bounds { min: 2, max: 4, drain_target: S, steady: S },
            scale_every: 60 * S,
        };
        let delivery = Delivery::new(Queue::Local(queue), &settings, leases, metrics.clone(), None);
        (sender, Crew::start(delivery, &settings), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn poison_is_tried_again_after_pauses_and_becomes_a_dead_letter() {
        let leases = Arc::new(Leases::new());
        let (place, effect) = (Place::Point(FaultPoint::Notify), Effect::Error { status: 503 });
        let fault = FaultSpec { name: "f".to_owned(), place, effect, fraction: 1.0 };
        leases.arm_for_life(&fault, 0).unwrap();
        let (sender, crew, metrics) = crew(Some(leases));
        sender.offer(notice(7));
        // The pauses are 30 to 60 and 60 to 120 seconds.
        tokio::time::sleep(29 * S).await;
        assert_eq!((metrics.failed.get(), metrics.retried.get()), (1, 1));
        tokio::time::sleep(32 * S).await;
        assert_eq!((metrics.failed.get(), metrics.retried.get(), metrics.dead.get()), (2, 2, 0));
        tokio::time::sleep(120 * S).await;
        assert_eq!((metrics.failed.get(), metrics.retried.get(), metrics.dead.get()), (3, 2, 1));
        let Queue::Local(queue) = &crew.delivery().queue else { unreachable!() };
        let letters = queue.dead_letters();
        assert_eq!((letters.len(), letters[0].deliveries, letters[0].reason.as_str()), (1, 3, "fault f"));
        assert_eq!((metrics.sent.get(), metrics.lost.get()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_after_the_last_notice() {
        let (sender, crew, metrics) = crew(None);
        for seq in 0..1000 {
            sender.offer(notice(seq));
        }
        drop(sender);
        crew.end(S).await;
        assert_eq!(metrics.sent.get(), 1000);
    }

    #[tokio::test]
    async fn a_take_is_as_large_as_deliveries_are_quick() {
        let (_sender, crew, _metrics) = crew(None);
        let delivery = crew.delivery();
        assert_eq!((delivery.at_once(), delivery.each()), (1, None));
        delivery.took(10_000_000, 1);
        assert_eq!(delivery.at_once(), 10);
        for _ in 0..200 {
            delivery.took(1_000, 100);
        }
        assert_eq!(delivery.at_once(), NOTIFY_AT_ONCE);
        delivery.took(60_000_000_000, 1);
        assert_eq!(delivery.at_once(), 1);
    }
}
