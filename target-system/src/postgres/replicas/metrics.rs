//! What is counted of replicas.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Why the primary is asked although there are replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// No replica may be asked.
    NoneFit,
    /// The replica has failed.
    Error,
    /// The replica has not replayed enough for this question.
    Behind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    replica: String,
}

/// The counters and gauges. Copies are the same figures.
#[derive(Debug, Clone, Default)]
pub struct ReplicaMetrics {
    /// Questions that a replica has answered.
    pub from_replica: Counter,
    /// Questions that the primary was asked.
    pub from_primary: Counter,
    fallbacks: Family<Why, Counter>,
    used: Family<Which, Gauge>,
    lag: Family<Which, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

impl ReplicaMetrics {
    /// All at zero, to be read through `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let reads = Family::<Source, Counter>::default();
        let of = |source| reads.get_or_create(&Source { source }).clone();
        let metrics = Self {
            from_replica: of("replica"),
            from_primary: of("primary"),
            fallbacks: Family::default(),
            used: Family::default(),
            lag: Family::default(),
        };
        registry.register("store_reads", "Accounts and payments read from the database", reads);
        let help = "Questions that went to the primary although there are replicas";
        registry.register("store_replica_fallbacks", help, metrics.fallbacks.clone());
        registry.register("store_replica_used", "1 when the replica is asked", metrics.used.clone());
        let help = "How far the replica was behind when last measured";
        registry.register_with_unit("store_replica_lag", help, Unit::Seconds, metrics.lag.clone());
        metrics
    }

    /// Counts a question that goes to the primary.
    pub fn fell_back(&self, reason: Fallback) {
        let reason = match reason {
            Fallback::NoneFit => "none_fit",
            Fallback::Error => "error",
            Fallback::Behind => "behind",
        };
        self.fallbacks.get_or_create(&Why { reason }).inc();
    }

    /// How `replica` is now.
    pub fn shows(&self, replica: &str, used: bool, lag: Option<Duration>) {
        let which = Which { replica: replica.to_owned() };
        self.used.get_or_create(&which).set(i64::from(used));
        if let Some(lag) = lag {
            self.lag.get_or_create(&which).set(lag.as_secs_f64());
        }
    }
}
