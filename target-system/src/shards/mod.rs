//! Databases among which accounts are divided, as one store.
//!
//! A payment within one database is a transaction of it. One between two is a saga of two transactions, each of which
//! leaves its database's books straight:
//!
//! 1. In the payer's: payer − amount, *on its way to the payee's database* + amount, the key, and a mark that the payee's
//!    database may not have it yet. From here on the payment is made, whatever fails.
//! 2. In the payee's: *on its way from the payer's database* − amount, payee + amount; once, however often it is asked.
//! 3. It is acknowledged. The mark is removed, soon.
//!
//! What was marked and is not finished is carried on by `recovery`, in any process. The second step is not refused:
//! that the payee exists, holds the currency and has room is seen before the first (`facts`). `docs/decisions/0006-shards.md` says
//! why it is no two-phase commit.
//!
//! * [`map`]: which database holds what.
//! * [`args`]: the settings.
//! * `facts`: what is known of payers and payees before a payment.
//! * `recovery`: carries on what is stuck.
//! * `audit`, `reconcile`: whether the books of all are straight, and agree.
//! * [`metrics`]: what is said of each.

pub mod args;
mod audit;
mod facts;
pub mod map;
pub mod metrics;
mod reconcile;
mod recovery;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Context as _;
use deadpool_postgres::Pool;
use futures_util::future::join_all;
use squall_chaos::leases::Leases;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::bank::{Asked, BankError, Held, NotOpened, Page, Refused, Settled, StoreHealth};
use crate::cache::CacheHealth;
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::Account;
use crate::limits::{FINISHED_QUEUED, MAX_TRANSFERS};
use crate::metrics::{Metrics, PoolReading};
use crate::money::Currency;
use crate::postgres::job::{Credit, Registration};
use crate::postgres::notices::Notices;
use crate::postgres::replicas::ReplicaHealth;
use crate::postgres::{self, Opening, Postgres, Settings, transfers};
use crate::record::{Order, Record, Verdict};
use crate::trace::span::Trace;
use facts::Facts;
use map::ShardMap;
use metrics::{ShardHealth, ShardMetrics};

/// The databases. One is the usual number, and is asked directly.
#[derive(Debug, Clone)]
pub struct Shards {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    map: ShardMap,
    all: Vec<Postgres>,
    facts: Facts,
    /// Payments between databases that may be under way.
    room: Arc<Semaphore>,
    /// Of each database, where finished payments are told.
    finished: Vec<mpsc::Sender<u64>>,
    /// Whose turn it is to be given the next account.
    turn: AtomicUsize,
    metrics: ShardMetrics,
}

/// What goes on behind the orders.
#[derive(Debug)]
pub struct Tasks {
    shards: Shards,
    databases: Vec<postgres::Tasks>,
    others: Vec<JoinHandle<()>>,
}

impl Tasks {
    /// Takes no more orders and waits until those that are queued are settled.
    pub async fn end(self) {
        // Payments between databases need both to go on.
        let all = u32::try_from(MAX_TRANSFERS).unwrap_or(u32::MAX);
        let _ = self.shards.inner.room.acquire_many(all).await;
        self.others.iter().for_each(JoinHandle::abort);
        join_all(self.databases.into_iter().map(postgres::Tasks::end)).await;
    }
}

/// Connects to all of `databases`, makes the tables that are missing and opens accounts, and begins to take orders.
///
/// # Errors
/// When one of them cannot be reached, refuses, or is another one than it should be.
pub async fn start(
    databases: Vec<Settings>,
    opening: Opening,
    notices: Notices,
    metrics: Arc<Metrics>,
    figures: ShardMetrics,
    leases: &Arc<Leases>,
) -> anyhow::Result<(Shards, Tasks)> {
    let map = databases.first().map_or(ShardMap::ONE, |settings| settings.place.map);
    if databases.len() > 1 {
        // Which of them each is is written down for good: not while another one is not what it should be.
        for (settings, n) in databases.iter().zip(1..) {
            postgres::look(settings).await.with_context(|| format!("database {n} of {}", databases.len()))?;
        }
    }
    let (mut all, mut tasks) = (Vec::new(), Vec::new());
    for settings in databases {
        let (database, behind) =
            postgres::start(settings, opening, notices.clone(), Arc::clone(&metrics), Arc::clone(leases))
                .await?;
        all.push(database);
        tasks.push(behind);
    }
    let mut others = Vec::new();
    let mut finished = Vec::new();
    if map.shards() > 1 {
        for database in &all {
            let (sender, receiver) = mpsc::channel(FINISHED_QUEUED);
            others.push(tokio::spawn(transfers::remove_finished(database.aside().clone(), receiver)));
            finished.push(sender);
        }
    }
    let facts = Facts::new();
    let room = Arc::new(Semaphore::new(MAX_TRANSFERS));
    let inner = Inner { map, all, facts, room, finished, turn: AtomicUsize::new(0), metrics: figures };
    let shards = Shards { inner: Arc::new(inner) };
    if map.shards() > 1 {
        let recovering = (0..map.shards()).map(|from| tokio::spawn(recovery::recover(shards.clone(), from)));
        others.extend(recovering);
    }
    Ok((shards.clone(), Tasks { shards, databases: tasks, others }))
}

impl Shards {
    /// The only database, when it is.
    fn only(&self) -> Option<&Postgres> {
        match &self.inner.all[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    fn of(&self, account: AccountId) -> &Postgres {
        &self.inner.all[self.inner.map.of(account)]
    }

    /// What is known of `key`, and whether `order` makes sense: for payments that other services are asked about first.
    ///
    /// # Errors
    /// When the key stands for another order, the order names what does not exist, or a database gives an error.
    pub async fn known(&self, key: &ScopedKey, order: &Order) -> Result<Option<Record>, Refused> {
        if let Some(only) = self.only() {
            return only.known(key, order).await;
        }
        let unreadable = |error: BankError| {
            tracing::error!(%error, "the store cannot be read");
            Refused::Failed
        };
        // Whether another payer has the key is asked when it is settled.
        match self.of(order.from).by_key(key).await.map_err(unreadable)? {
            Some(record) if record.order == *order => {
                self.finish(&record, 0, None).await?;
                return Ok(Some(record));
            }
            Some(_) => return Err(Refused::KeyReused),
            None => {}
        }
        self.inner.facts.check(self, order).await?;
        Ok(None)
    }

    /// Settles an order; waits until it is durable, and until the payee has it.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn settle(&self, asked: Asked) -> Result<Settled, Refused> {
        if let Some(only) = self.only() {
            return only.settle(asked).await;
        }
        // A client that hangs up changes nothing: it goes on by itself.
        let between = self.inner.map.of(asked.order.from) != self.inner.map.of(asked.order.to);
        let room = match between {
            true => Some(Arc::clone(&self.inner.room).try_acquire_owned().map_err(|_| Refused::Full)?),
            false => None,
        };
        let shards = self.clone();
        let settling = tokio::spawn(async move {
            let settled = shards.settle_between(asked).await;
            drop(room);
            settled
        });
        settling.await.unwrap_or(Err(Refused::Failed))
    }

    async fn settle_between(&self, mut asked: Asked) -> Result<Settled, Refused> {
        let (order, request_id, trace) = (asked.order, asked.request_id, asked.trace.clone());
        let (from, to) = (self.of(order.from), self.of(order.to));
        if !to.health().ok {
            // It would be made and then wait for a database that is away: better not made at all.
            return Err(Refused::Failed);
        }
        if let Some(declined) = self.inner.facts.check(self, &order).await? {
            asked.declined = asked.declined.or(Some(declined));
        }
        let key = asked.claim.key().clone();
        let home = &self.inner.all[self.inner.map.home(key.as_bytes())];
        home.register(Registration { key, payer: order.from }).await?;
        let settled = from.settle(asked).await?;
        if self.finish(&settled.record, request_id, trace).await? && !settled.replayed {
            self.inner.metrics.transfers.inc();
        }
        Ok(settled)
    }

    /// Sees that the payee of `record` has it, when that is in another database than the payer: whether it is.
    async fn finish(
        &self,
        record: &Record,
        request_id: u64,
        trace: Option<Box<Trace>>,
    ) -> Result<bool, Refused> {
        let (order, Verdict::Succeeded { seq }) = (record.order, record.verdict) else { return Ok(false) };
        let (from, to) = (self.inner.map.of(order.from), self.inner.map.of(order.to));
        if from == to {
            return Ok(false);
        }
        let credit = Credit { origin: seq, order, made_ms: record.created_ms, request_id, trace };
        self.inner.all[to].credit(credit).await?;
        // With no room the mark stays, and the recovery finds it.
        let _ = self.inner.finished[from].try_send(seq);
        Ok(true)
    }

    /// Opens the next account, in one database after another; of those that are there.
    ///
    /// # Errors
    /// [`NotOpened`]
    pub async fn open(&self, currency: Currency, opening: i64) -> Result<(AccountId, Account), NotOpened> {
        let all = &self.inner.all;
        let turn = self.inner.turn.fetch_add(1, Relaxed);
        let mut next = (0..all.len()).map(|n| &all[turn.wrapping_add(n) % all.len()]);
        let chosen = next.find(|database| database.health().ok).unwrap_or(&all[turn % all.len()]);
        chosen.open(currency, opening).await
    }

    /// The account `id`, if it was opened, with payment `seen` at least when it is one of its.
    ///
    /// # Errors
    /// When its database gives one.
    pub async fn account(&self, id: AccountId, seen: u64) -> Result<Option<Held>, BankError> {
        self.of(id).account(id, self.seen_by(id, seen)).await
    }

    /// `seen` as a number of the database of `account`. A payment from another one has another number there: then
    /// nothing but the primary will do.
    fn seen_by(&self, account: AccountId, seen: u64) -> u64 {
        let is_own = self.inner.map.of_number(seen).is_none_or(|shard| shard == self.inner.map.of(account));
        if is_own || seen == 0 { seen } else { u64::MAX }
    }

    /// The payment with number `seq`.
    ///
    /// # Errors
    /// When its database gives one.
    pub async fn payment(&self, seq: u64) -> Result<Option<Record>, BankError> {
        match self.inner.map.of_number(seq) {
            Some(shard) => self.inner.all[shard].payment(seq).await,
            None => Ok(None),
        }
    }

    /// What `key` stands for. All databases are asked at once: the key alone does not say who paid with it.
    ///
    /// # Errors
    /// When none has it and one gives an error, or when the payee does not have the payment yet and cannot be given it.
    pub async fn by_key(&self, key: &ScopedKey) -> Result<Option<Record>, BankError> {
        if let Some(only) = self.only() {
            return only.by_key(key).await;
        }
        let mut failed = None;
        for found in join_all(self.inner.all.iter().map(|database| database.by_key(key))).await {
            match found {
                Ok(Some(record)) => {
                    self.finish(&record, 0, None).await.map_err(|_| BankError::Halfway)?;
                    return Ok(Some(record));
                }
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Up to `limit` payments of `account`, newest first, from the one behind `after` on; `None` when
    /// that is none of the account's. From the beginning it shows payment `seen` at least, when that is one of
    /// the account's.
    ///
    /// # Errors
    /// When its database gives one.
    pub async fn list(
        &self,
        account: AccountId,
        after: Option<u64>,
        limit: usize,
        seen: u64,
    ) -> Result<Option<Page>, BankError> {
        self.of(account).list(account, after, limit, self.seen_by(account, seen)).await
    }
    /// The connections that payments need, of each database.
    #[must_use]
    pub fn payments_pools(&self) -> Vec<Pool> {
        self.inner.all.iter().map(Postgres::pool).collect()
    }

    /// Connections for what is kept of users beside the payments: each has a database of their own.
    #[must_use]
    pub fn pools(&self) -> UserPools {
        UserPools { map: self.inner.map, pools: self.inner.all.iter().map(Postgres::pool).collect() }
    }

    /// The connections to all, in figures.
    #[must_use]
    pub fn connections(&self) -> PoolReading {
        let none = PoolReading { open: 0, idle: 0, waiting: 0 };
        self.inner.all.iter().map(Postgres::connections).fold(none, |a, b| PoolReading {
            open: a.open + b.open,
            idle: a.idle + b.idle,
            waiting: a.waiting + b.waiting,
        })
    }

    /// The replicas, when there are any.
    #[must_use]
    pub fn replicas(&self) -> Option<Vec<ReplicaHealth>> {
        let all: Vec<_> = self.inner.all.iter().filter_map(Postgres::replicas).flatten().collect();
        (!all.is_empty()).then_some(all)
    }

    /// The cache, when there is one.
    #[must_use]
    pub fn cache(&self) -> Option<CacheHealth> {
        self.inner.all.iter().filter_map(Postgres::cache).reduce(CacheHealth::with)
    }

    /// Has the gauges of replicas, caches and databases say what is now.
    pub fn read_gauges(&self, metrics: &Metrics) {
        self.inner.all.iter().for_each(Postgres::read_gauges);
        if let Some(cache) = self.cache() {
            metrics.cache.show(&cache);
        }
        for (n, database) in self.inner.all.iter().enumerate() {
            self.inner.metrics.show(n, database.health().ok);
        }
    }

    /// Whether orders are taken, and in figures: of all databases together. With one of them away payments among the
    /// others go on.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        let all = self.inner.all.iter().map(Postgres::health);
        let together = all.reduce(|a, b| StoreHealth {
            ok: a.ok || b.ok,
            queue_depth: a.queue_depth + b.queue_depth,
            queue_limit: a.queue_limit + b.queue_limit,
            commits: a.commits + b.commits,
            payments: a.payments + b.payments,
            declines: a.declines + b.declines,
            accounts: a.accounts.max(b.accounts),
            last_sync_us: a.last_sync_us.max(b.last_sync_us),
        });
        together.unwrap_or_default()
    }

    /// Each database, when there are several.
    #[must_use]
    pub fn each(&self) -> Option<Vec<ShardHealth>> {
        if self.only().is_some() {
            return None;
        }
        let told = |(n, database): (usize, &Postgres)| self.inner.metrics.health(n, database.health());
        Some(self.inner.all.iter().enumerate().map(told).collect())
    }
}

/// Connections to the databases of users.
#[derive(Debug, Clone)]
pub struct UserPools {
    map: ShardMap,
    pools: Vec<Pool>,
}

impl UserPools {
    /// Those to the database of `user`.
    #[must_use]
    pub fn of(&self, user: &str) -> &Pool {
        &self.pools[self.map.home(user.as_bytes())]
    }
}
