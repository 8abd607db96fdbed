//! What is said of databases among which accounts are divided.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::bank::StoreHealth;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Shard {
    shard: u32,
}

/// Counters and gauges.
#[derive(Debug, Clone, Default)]
pub struct ShardMetrics {
    /// Payments between databases that have arrived.
    pub transfers: Counter,
    /// Of those, the ones that were stuck.
    pub recovered: Counter,
    up: Family<Shard, Gauge<i64, AtomicI64>>,
    in_transit: Family<Shard, Gauge<i64, AtomicI64>>,
}

/// What `/health` says of one.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct ShardHealth {
    /// Which: from 0, as they are named.
    shard: usize,
    /// Whether it takes orders.
    ok: bool,
    /// Orders that wait.
    queue_depth: usize,
    /// Transactions that this process has committed there.
    commits: u64,
    /// Payments that this process has made there.
    payments: u64,
    /// Payments made there that other databases may not have yet, as of the last second.
    in_transit: u64,
}

impl ShardHealth {
    /// Whether it takes orders.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.ok
    }
}

impl ShardMetrics {
    /// Adds all figures to `r`.
    pub fn register(&self, r: &mut Registry) {
        r.register("store_shard_up", "Whether the database takes orders", self.up.clone());
        let help = "Payments made in the database that another one may not have yet";
        r.register("store_transfers_in_transit", help, self.in_transit.clone());
        r.register("store_transfers", "Payments between databases", self.transfers.clone());
        let help = "Payments between databases that were stuck and have arrived";
        r.register("store_transfers_recovered", help, self.recovered.clone());
    }

    /// So many payments made in `shard` may not have arrived.
    pub fn in_transit(&self, shard: usize, payments: i64) {
        self.in_transit.get_or_create(&label(shard)).set(payments);
    }

    /// Has the gauge of `shard` say whether it is there.
    pub fn show(&self, shard: usize, ok: bool) {
        self.up.get_or_create(&label(shard)).set(i64::from(ok));
    }

    /// `shard` in figures.
    #[must_use]
    pub fn health(&self, shard: usize, of: StoreHealth) -> ShardHealth {
        let in_transit = self.in_transit.get_or_create(&label(shard)).get().unsigned_abs();
        let StoreHealth { ok, queue_depth, commits, payments, .. } = of;
        ShardHealth { shard, ok, queue_depth, commits, payments, in_transit }
    }
}

fn label(shard: usize) -> Shard {
    // At most as many as there may be.
    Shard { shard: u32::try_from(shard).unwrap_or(u32::MAX) }
}
