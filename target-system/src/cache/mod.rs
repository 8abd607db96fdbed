//! Balances kept near, for processes that share a database: in the process (`l1`), in Redis (`l2`), and in
//! the database, which alone is the truth.
//!
//! A balance that is read after a payment was acknowledged is never older than that payment, whichever process is
//! asked and whatever becomes of Redis. Three things see to that:
//!
//! * All caches belong to an epoch, which the database names ([`epoch`]). A process answers from its cache only
//!   while it has known for less than [`CACHE_LEASE`](crate::limits::CACHE_LEASE) that its epoch is the
//!   current one (`lease`).
//! * A payment is acknowledged when every process of the epoch has said that it knows of it, and Redis does
//!   (`session`).
//! * Who cannot get that said ends the epoch, and acknowledges when the last lease on it is over.
//!
//! `docs/decisions/0005-cache.md` has the argument.

pub mod args;
pub mod epoch;
mod flights;
mod keeper;
mod l1;
mod l2;
mod lease;
mod link;
pub mod metrics;
mod session;
mod warm;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use deadpool_postgres::Pool;
use serde::Serialize;
use tokio::sync::watch;

use crate::bank::{BankError, Held};
use crate::ids::AccountId;
use crate::limits::SESSION_WAIT;
use epoch::{Epochs, Seen};
use flights::Flights;
use l1::L1;
use l2::Looked;
use lease::Lease;
use metrics::CacheMetrics;
use session::Session;

pub use keeper::Keeper;

/// How balances are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Not at all.
    Off,
    /// What was read is kept; a payment removes it.
    Aside,
    /// What was read is kept; a payment writes the new balance in its place.
    Through,
}

/// How balances are cached, and where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How.
    pub strategy: Strategy,
    /// Where, unless that is nowhere. It holds a password.
    pub redis: Option<link::Address>,
    /// Accounts that this process keeps.
    pub entries: u64,
    /// For how long it does.
    pub ttl: Duration,
    /// For how long Redis does.
    pub shared_ttl: Duration,
    /// Accounts that are read into the cache at start.
    pub warm: u32,
}

/// What a payment has made of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The account.
    pub account: AccountId,
    /// The payment.
    pub seq: u64,
    /// What the account holds since, in minor units; `None` where only the payment is known.
    pub balance: Option<i64>,
}

/// The caches as this process sees them.
#[derive(Debug)]
pub struct Cache {
    /// What the database is called in Redis.
    name: String,
    settings: Settings,
    epochs: Epochs,
    lease: Arc<Lease>,
    l1: Arc<L1>,
    flights: Flights,
    session: watch::Sender<Option<Arc<Session>>>,
    /// Whether something may be committed that nobody was told of.
    in_doubt: AtomicBool,
    metrics: CacheMetrics,
}

/// What `/health` says of the cache.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct CacheHealth {
    strategy: Strategy,
    /// Whether it answers; without it the database does.
    open: bool,
    /// Accounts that this process keeps.
    entries: u64,
}

impl CacheHealth {
    /// This and that of another database.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { open: self.open && other.open, entries: self.entries + other.entries, ..self }
    }
}

impl Cache {
    /// An empty cache of the database that Redis knows as `name`; `seen` is the epoch that `database` names.
    #[must_use]
    pub fn new(name: String, settings: Settings, database: Pool, seen: &Seen, metrics: CacheMetrics) -> Self {
        let epochs = Epochs::new(database, seen);
        let lease = Arc::new(Lease::default());
        let l1 = Arc::new(L1::new(settings.entries, settings.ttl, Arc::clone(&lease), metrics.clone()));
        Self {
            name,
            settings,
            epochs,
            lease,
            l1,
            flights: Flights::default(),
            session: watch::Sender::new(None),
            in_doubt: AtomicBool::new(false),
            metrics,
        }
    }

    /// Whether balances are cached at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.settings.strategy != Strategy::Off
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Option<CacheHealth> {
        let open = self.lease.holds(self.lease.turn());
        self.is_on().then(|| CacheHealth {
            strategy: self.settings.strategy,
            open,
            entries: self.l1.entries(),
        })
    }

    /// The account `id`, when this process has it cached.
    pub async fn near(&self, id: AccountId) -> Option<Held> {
        let held = self.l1.get(id).await?;
        self.metrics.l1.hits.inc();
        Some(held)
    }

    /// The account `id`, which is not [near](Self::near): from the nearest other level that has it, else `store`, which asks the primary.
    ///
    /// # Errors
    /// When `store` gives one.
    pub async fn read(
        &self,
        id: AccountId,
        store: impl Future<Output = Result<Option<Held>, BankError>>,
    ) -> Result<Option<Held>, BankError> {
        let session = self.session.borrow().clone();
        let Some(session) = session.filter(|session| self.lease.holds(session.turn)) else {
            self.metrics.bypassed.inc();
            return store.await;
        };
        // Of those who want an account that is not there, one asks and the others find it here.
        let flight = self.flights.board(id).await;
        if flight.waited() {
            self.metrics.waits.inc();
            if let Some(held) = self.near(id).await {
                return Ok(Some(held));
            }
            if !flight.has_turn() {
                self.metrics.l1.in_vain.inc();
            }
        }
        self.metrics.l1.misses.inc();
        let mark = self.l1.mark(id, session.turn).await;
        let looked = l2::look(&session, id).await;
        if let Looked::Found(held) = looked {
            if self.lease.holds(session.turn) {
                self.metrics.l2.hits.inc();
                self.l1.put(id, held, mark).await;
                return Ok(Some(held));
            }
            // It was open when this began.
            self.metrics.bypassed.inc();
        } else {
            self.metrics.l2.misses.inc();
        }
        if looked == Looked::Awaited {
            self.metrics.l2.in_vain.inc();
        }
        let found = store.await?;
        if let Looked::Fill(right) = looked
            && l2::fill(&session, id, found.as_ref(), &right, self.settings.shared_ttl).await == Some(false)
        {
            self.metrics.stale_refused.inc();
        }
        if let Some(held) = found {
            self.l1.put(id, held, mark).await;
        }
        Ok(found)
    }

    /// Returns when no cache shows any of `changes` as it was before: `seen` was read after they were committed.
    ///
    /// # Errors
    /// When that cannot be seen to; then they must not be acknowledged.
    pub async fn tell(&self, seen: &Seen, changes: &[Change]) -> Result<(), BankError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.epochs.note(seen.id);
        let mut epoch = seen.id;
        // Nothing is cached in an epoch that no Redis belongs to.
        if seen.redis.is_some() && !self.is_told(seen, changes).await {
            epoch = self.end(seen.id, "not every process could be told of a payment").await?.id;
        }
        self.epochs.outlast_the_one_before(epoch).await;
        Ok(())
    }

    /// Whether everybody in the epoch knows of `changes`, and nothing older is untold.
    async fn is_told(&self, seen: &Seen, changes: &[Change]) -> bool {
        if !self.is_on() || self.in_doubt.load(Relaxed) {
            return false;
        }
        let mut sessions = self.session.subscribe();
        let ours = |session: &Option<Arc<Session>>| session.as_ref().is_some_and(|s| s.epoch == seen.id);
        // A session that is being made is worth a short wait.
        let session = match tokio::time::timeout(SESSION_WAIT, sessions.wait_for(ours)).await {
            Ok(Ok(session)) => session.clone(),
            _ => None,
        };
        match session {
            Some(session) => session.tell(&seen.holders, changes, self.settings.strategy).await,
            None => false,
        }
    }

    /// Something may have been committed that nobody will be told of. The epoch is to end.
    pub fn doubt(&self) {
        self.in_doubt.store(true, Relaxed);
    }

    /// Ends the epoch `id`, unless it has ended; the one that is now.
    async fn end(&self, id: i64, why: &str) -> Result<Seen, BankError> {
        let doubted = self.in_doubt.swap(false, Relaxed);
        let ended = self.epochs.end(id, why).await;
        match &ended {
            Ok(_) => {
                self.metrics.epochs_ended.inc();
            }
            Err(_) if doubted => self.doubt(),
            Err(_) => {}
        }
        ended
    }
}
