//! What the workers say of themselves.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

use crate::queue::Backlog;
use crate::queue::priority::Priority;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lane {
    priority: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// What `/health` says of the workers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Figures {
    sent: u64,
    failed: u64,
    lost: u64,
    retried: u64,
    duplicates: u64,
    dead: u64,
    workers: u64,
    waiting: Waiting,
    oldest_s: f64,
    dead_letters: u64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Waiting {
    high: u64,
    normal: u64,
    low: u64,
}

/// The workers' figures.
#[derive(Debug, Clone, Default)]
pub struct NotifyMetrics {
    /// Notifications delivered.
    pub sent: Counter,
    /// Deliveries that failed; each is tried again or ends as a dead letter.
    pub failed: Counter,
    /// Deliveries put off to a later try.
    pub retried: Counter,
    /// Notices that came again after they were delivered, and were not delivered again.
    pub duplicates: Counter,
    /// Notices that were given up.
    pub dead: Counter,
    /// Notices that found the queue in the process full.
    pub lost: Counter,
    /// Workers.
    pub workers: Gauge,
    /// How long a delivery takes, on average.
    pub processing: Seconds,
    waiting: Family<Lane, Gauge>,
    oldest: Seconds,
    dead_letters: Gauge,
}

impl NotifyMetrics {
    /// Adds all figures to `r`.
    pub fn register(&self, r: &mut Registry) {
        r.register("notifications_sent", "Notifications delivered", self.sent.clone());
        r.register("notifications_failed", "Deliveries that failed", self.failed.clone());
        r.register("notifications_retried", "Deliveries put off to a later try", self.retried.clone());
        r.register(
            "notifications_duplicate",
            "Notices that came again after they were delivered",
            self.duplicates.clone(),
        );
        r.register("notifications_dead", "Notices given up", self.dead.clone());
        r.register("notifications_lost", "Notifications that found the queue full", self.lost.clone());
        r.register("notification_workers", "Workers", self.workers.clone());
        r.register("notification_queue_depth", "Notices that wait, by priority", self.waiting.clone());
        let help = "Age of the oldest notice that waits";
        r.register_with_unit("notification_queue_lag", help, Unit::Seconds, self.oldest.clone());
        let help = "Time of a delivery, on average";
        r.register_with_unit("notification_processing", help, Unit::Seconds, self.processing.clone());
        r.register("notification_dead_letters", "Dead letters that are kept", self.dead_letters.clone());
    }

    /// The same for `/health`.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let waiting = |priority: Priority| {
            let lane = Lane { priority: priority.name() };
            self.waiting.get(&lane).map_or(0, |gauge| gauge.get().unsigned_abs())
        };
        Figures {
            sent: self.sent.get(),
            failed: self.failed.get(),
            lost: self.lost.get(),
            retried: self.retried.get(),
            duplicates: self.duplicates.get(),
            dead: self.dead.get(),
            workers: self.workers.get().unsigned_abs(),
            waiting: Waiting {
                high: waiting(Priority::High),
                normal: waiting(Priority::Normal),
                low: waiting(Priority::Low),
            },
            oldest_s: self.oldest.get(),
            dead_letters: self.dead_letters.get().unsigned_abs(),
        }
    }

    /// Shows what waits.
    pub fn backlog(&self, backlog: &Backlog) {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for priority in Priority::ALL {
            let lane = Lane { priority: priority.name() };
            self.waiting.get_or_create(&lane).set(count(backlog.waiting[priority as usize]));
        }
        self.oldest.set(backlog.oldest_s);
        self.dead_letters.set(count(backlog.dead_letters));
    }
}
