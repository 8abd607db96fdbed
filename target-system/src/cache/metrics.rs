//! What is counted of the caches.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::CacheHealth;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLevel {
    level: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Did {
    did: &'static str,
}

/// How often a level had what was asked.
#[derive(Debug, Clone, Default)]
pub struct Level {
    /// It had.
    pub hits: Counter,
    /// It had not.
    pub misses: Counter,
    /// Another read was about to put it there, and took longer than this one waits.
    pub in_vain: Counter,
}

/// The counters and gauges. Copies are the same figures.
#[derive(Debug, Clone, Default)]
pub struct CacheMetrics {
    /// The level in the process.
    pub l1: Level,
    /// The level in Redis.
    pub l2: Level,
    /// Reads that went to the database because the cache was not open.
    pub bypassed: Counter,
    /// What was read before a payment that was heard of meanwhile.
    pub stale_refused: Counter,
    /// Entries that went for lack of room.
    pub evictions: Counter,
    /// Entries that a payment has changed.
    pub updated: Counter,
    /// Entries that a payment has removed.
    pub removed: Counter,
    /// What Redis has not done.
    pub redis_errors: Counter,
    /// Reads that have waited for another one of the same account.
    pub waits: Counter,
    /// Epochs that this process has ended.
    pub epochs_ended: Counter,
    /// Times that this process has begun to take part in an epoch.
    pub opened: Counter,
    /// 1 when the cache answers.
    pub open: Gauge,
    /// Accounts in the process.
    pub entries: Gauge,
}

impl CacheMetrics {
    /// All at zero, to be read through `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let hits = Family::<OfLevel, Counter>::default();
        let misses = Family::<OfLevel, Counter>::default();
        let in_vain = Family::<OfLevel, Counter>::default();
        let invalidations = Family::<Did, Counter>::default();
        let level = |level| Level {
            hits: hits.get_or_create(&OfLevel { level }).clone(),
            misses: misses.get_or_create(&OfLevel { level }).clone(),
            in_vain: in_vain.get_or_create(&OfLevel { level }).clone(),
        };
        let did = |did| invalidations.get_or_create(&Did { did }).clone();
        let metrics = Self {
            l1: level("l1"),
            l2: level("l2"),
            updated: did("updated"),
            removed: did("removed"),
            ..Self::default()
        };
        registry.register("cache_hits", "Balances found, by level", hits);
        registry.register("cache_misses", "Balances not found, by level", misses);
        let help = "Reads that have waited in vain for what another one was to put there, by level";
        registry.register("cache_waits_in_vain", help, in_vain);
        registry.register(
            "cache_invalidations",
            "Entries of the process that a payment has changed",
            invalidations,
        );
        for (name, help, counter) in [
            ("cache_bypassed", "Reads while the cache was not open", &metrics.bypassed),
            (
                "cache_stale_refused",
                "Readings that were old when they were to be cached",
                &metrics.stale_refused,
            ),
            ("cache_evictions", "Entries of the process that went for lack of room", &metrics.evictions),
            ("cache_redis_errors", "What Redis has not done", &metrics.redis_errors),
            ("cache_single_flight_waits", "Reads that waited for another one's answer", &metrics.waits),
            (
                "cache_epochs_ended",
                "Times that this process has made all caches begin anew",
                &metrics.epochs_ended,
            ),
            ("cache_opened", "Times that this process has begun to answer from the cache", &metrics.opened),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register("cache_open", "1 when the cache answers", metrics.open.clone());
        registry.register("cache_entries", "Accounts that the process keeps", metrics.entries.clone());
        metrics
    }

    /// Has the gauges say what is now.
    pub fn show(&self, health: &CacheHealth) {
        self.open.set(i64::from(health.open));
        self.entries.set(i64::try_from(health.entries).unwrap_or(i64::MAX));
    }
}
