//! From the outbox to the queue.
//!
//! A round is a transaction: take the turn, read the oldest rows, publish them, wait until the server has
//! them on its disk, delete them. A process that ends in between leaves its rows, and the next round
//! publishes them again: the server knows their ids and drops what it has, and what it no longer knows is
//! delivered twice with the same id.
//!
//! One process at a time has the turn, by an advisory lock of its transaction, so what is published is in the
//! order of numbers. `FOR UPDATE SKIP LOCKED` would let several publish at once and mix that order, and one is
//! fast enough: the server takes a thousand at a time. The turn ends with each round, so a process that dies
//! keeps nobody waiting.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;
use squall_record::clock::Clock;
use tokio::sync::{Notify, watch};

use super::outbox;
use crate::bank::BankError;
use crate::queue::event::Event;
use crate::queue::nats::{Nats, NotPublished, PUBLISH_AT_ONCE};
use crate::queue::priority::Thresholds;

/// How often rows are looked for that no commit of this process has told of.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause after a round that has taken all there was: what comes meanwhile shares the next.
const GATHER: Duration = Duration::from_millis(10);
/// The pause while another process has the turn, or after a round that failed; it doubles with each that does.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest of these pauses.
const LONGEST: Duration = Duration::from_secs(5);
/// How often the rows are counted.
const COUNT_EVERY_NS: u64 = 1_000_000_000;

/// What the outbox and its relay say of themselves.
#[derive(Debug, Clone, Default)]
pub struct OutboxMetrics {
    rows: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    /// Of the outbox of each database.
    held: Arc<Mutex<BTreeMap<usize, outbox::Held>>>,
    relayed: Counter,
    repeated: Counter,
    connected: Gauge,
}

/// The same for `/health`.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct OutboxHealth {
    /// Whether the server of the queue is there.
    pub connected: bool,
    /// Notices that it does not have yet.
    pub rows: u64,
    /// With more than these the service is degraded.
    pub limit: u64,
    /// The age of the oldest.
    pub oldest_s: f64,
    /// Notices that this process has published.
    pub relayed: u64,
    /// Of those, the ones that the server knew already.
    pub repeated: u64,
}

impl OutboxMetrics {
    /// Adds all figures to `r`.
    pub fn register(&self, r: &mut Registry) {
        r.register("outbox_rows", "Notices that the queue does not have yet", self.rows.clone());
        let help = "Age of the oldest notice in the outbox";
        r.register_with_unit("outbox_lag", help, Unit::Seconds, self.oldest.clone());
        r.register("outbox_relayed", "Notices published", self.relayed.clone());
        r.register("outbox_repeated", "Notices published that the queue knew", self.repeated.clone());
        r.register("queue_connected", "Whether the queue's server is there", self.connected.clone());
    }

    /// The outbox of the database `shard` holds so much.
    fn note(&self, shard: usize, held: outbox::Held) {
        // One insertion leaves the map whole, whoever panicked before.
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(shard, held);
        self.rows.set(all.values().map(|held| held.rows).sum());
        self.oldest.set(all.values().map(|held| held.oldest_s).fold(0.0, f64::max));
    }

    /// As of now.
    #[must_use]
    pub fn health(&self, limit: u32) -> OutboxHealth {
        OutboxHealth {
            connected: self.connected.get() == 1,
            rows: self.rows.get().unsigned_abs(),
            limit: u64::from(limit),
            oldest_s: self.oldest.get(),
            relayed: self.relayed.get(),
            repeated: self.repeated.get(),
        }
    }
}

/// Where the notices of the outbox go.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The queue's server.
    pub nats: Nats,
    /// Which notices go first.
    pub thresholds: Thresholds,
    /// What the relay says of itself.
    pub metrics: OutboxMetrics,
}

/// Empties the outbox into the queue.
pub struct Relay {
    /// Which database's outbox it is.
    shard: usize,
    /// Of one connection: a server that is slow must not take those of payments.
    pool: Pool,
    to: Destination,
    /// Rung by the commits of this process.
    bell: Arc<Notify>,
    clock: Clock,
    count_at_ns: u64,
    /// The connection over which streams were looked for.
    connection: u64,
}

/// Why a round has come to nothing.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Database(#[from] BankError),
    #[error(transparent)]
    Queue(#[from] NotPublished),
    #[error("{0:#}")]
    Streams(anyhow::Error),
}

/// What a round has come to.
enum Round {
    /// There may be more.
    Full,
    /// All that there was is in the queue.
    Emptied,
    /// There is no server, or another process has the turn.
    NotOurs,
}

impl Relay {
    /// A relay over `pool`, to the database `shard`, that is woken by `bell`.
    #[must_use]
    pub fn new(shard: usize, pool: Pool, to: Destination, bell: Arc<Notify>) -> Self {
        Self { shard, pool, to, bell, clock: Clock::start(), count_at_ns: 0, connection: 0 }
    }

    /// Relays until `ending`, and then what is there.
    pub async fn run(mut self, mut ending: watch::Receiver<bool>) {
        let mut again = AGAIN;
        loop {
            let (pause, woken) = match self.round().await {
                Ok(Round::Full) => continue,
                Ok(Round::Emptied) => (GATHER, true),
                Ok(Round::NotOurs) => (AGAIN, false),
                Err(error) => {
                    tracing::warn!(%error, "notices stay in the outbox");
                    again = LONGEST.min(again * 2);
                    (again, false)
                }
            };
            if *ending.borrow() {
                return;
            }
            let rest = async {
                tokio::time::sleep(pause).await;
                if woken {
                    again = AGAIN;
                    let _ = tokio::time::timeout(LOOK_EVERY, self.bell.notified()).await;
                }
            };
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => {}
                () = rest => {}
            }
        }
    }

    async fn round(&mut self) -> Result<Round, Stopped> {
        let connected = self.to.nats.is_connected();
        self.to.metrics.connected.set(i64::from(connected));
        let mut client = self.pool.get().await.map_err(BankError::from)?;
        self.count(&client).await?;
        if !connected {
            return Ok(Round::NotOurs);
        }
        let connection = *self.to.nats.connections().borrow();
        if self.connection != connection {
            self.to.nats.make_streams().await.map_err(Stopped::Streams)?;
            self.connection = connection;
        }
        let round = self.relay(&mut client).await;
        if round.is_err() {
            // Its transaction is not over, or the server has come back without its streams.
            drop(Object::take(client));
            self.connection = 0;
        }
        round
    }

    async fn relay(&self, client: &mut Object) -> Result<Round, Stopped> {
        let transaction = client.transaction().await.map_err(BankError::from)?;
        if !outbox::take_turn(&transaction).await? {
            transaction.rollback().await.map_err(BankError::from)?;
            return Ok(Round::NotOurs);
        }
        let notices = outbox::oldest(&transaction, PUBLISH_AT_ONCE as i64).await?;
        let full = notices.len() == PUBLISH_AT_ONCE;
        let mut publishing = Vec::with_capacity(notices.len());
        let mut failed = None;
        for (row, notice) in &notices {
            let priority = self.to.thresholds.of(notice.order.amount);
            match self.to.nats.publish(priority, Event::of(notice), notice.trace.as_deref()).await {
                Ok(stored) => publishing.push((*row, stored)),
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        let mut relayed = Vec::with_capacity(publishing.len());
        for (row, stored) in publishing {
            match stored.stored().await {
                Ok(repeated) => {
                    relayed.push(row);
                    self.to.metrics.repeated.inc_by(u64::from(repeated));
                }
                // Those behind it are published again, and dropped where they have arrived.
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        if !relayed.is_empty() {
            outbox::remove(&transaction, &relayed).await?;
        }
        transaction.commit().await.map_err(BankError::from)?;
        self.to.metrics.relayed.inc_by(relayed.len() as u64);
        match failed {
            Some(e) => Err(e.into()),
            None if full => Ok(Round::Full),
            None => Ok(Round::Emptied),
        }
    }

    /// Counts the rows, from time to time.
    async fn count(&mut self, client: &Object) -> Result<(), BankError> {
        if self.clock.now_ns() >= self.count_at_ns {
            let held = outbox::look(client).await?;
            self.to.metrics.note(self.shard, held);
            self.count_at_ns = self.clock.now_ns() + COUNT_EVERY_NS;
        }
        Ok(())
    }
}
