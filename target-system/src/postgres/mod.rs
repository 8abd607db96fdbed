//! Payments in a Postgres database, 15 or newer, that other processes use at the same time.
//!
//! Orders wait in a bounded queue. A few committers take what has arrived, each with a connection
//! of its own, and settle all of it in one transaction of two round trips, however many orders that
//! are. Nothing is acknowledged before the database has said that it is durable.
//!
//! * [`schema`]: tables, and how they come to be.
//! * [`database`]: where it is.
//! * `pool`: connections.
//! * [`commit`]: one transaction.
//! * `known`: what is known of an order before it.
//! * [`notices`], [`outbox`], [`relay`]: notices of payments, and their way to the queue.
//! * [`logins`], [`methods`]: refresh tokens' logins, payment methods.
//! * [`read`]: accounts and payments, found.
//! * [`replicas`]: copies of the database that are read too.
//! * [`audit`]: whether the books are straight.
//! * [`rows`]: rows as nouns.

pub mod audit;
pub mod commit;
pub mod database;
mod known;
pub mod logins;
pub mod methods;
pub mod notices;
pub mod outbox;
pub mod pool;
pub mod read;
pub mod relay;
pub mod replicas;
pub mod rows;
pub mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{Object, Pool};
use squall_record::clock::Clock;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::bank::{Asked, BankError, NotOpened, Refused, Settled, StoreHealth};
use crate::cache::{self, Cache, CacheHealth, Keeper, epoch};
use crate::ids::AccountId;
use crate::ledger::{Account, OpenError};
use crate::limits::{MAX_ACCOUNTS, MAX_AMOUNT, MAX_BATCH, SIDE_CONNECTIONS};
use crate::metrics::{Metrics, PoolReading};
use crate::money::Currency;
use crate::record::Verdict;
use commit::{Committed, Outcome};
use database::Database;
use notices::{Notices, Relaying, Told};
use pool::PoolSettings;
use replicas::{Recent, ReplicaHealth, Replicas};

/// How often a batch is tried while others are in its way.
const TRIES: u32 = 5;
/// How often the database is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How often expired keys are removed and tables of months to come made.
const CHORES_EVERY: Duration = Duration::from_secs(60);
/// Expired keys that are removed in one transaction.
const EXPIRE_AT_ONCE: i64 = 10_000;

/// How payments become transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Strategy {
    /// What has arrived is committed together; an account that many pay is written once.
    Batched,
    /// Each payment is a transaction of its own, and those of one account wait for each other.
    Naive,
}

/// How the database is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub database: Database,
    /// The connections.
    pub pool: PoolSettings,
    /// How payments become transactions.
    pub strategy: Strategy,
    /// Transactions at once.
    pub committers: usize,
    /// Orders that may wait; more are shed.
    pub queue_limit: usize,
    /// How long a transaction may take.
    pub time_limit: Duration,
    /// How long a key is kept.
    pub key_window: Duration,
    /// Copies that are read.
    pub replicas: Option<replicas::Settings>,
    /// How balances are cached.
    pub cache: cache::Settings,
}

/// Accounts that there are at least.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// How many.
    pub accounts: u32,
    /// What missing ones hold.
    pub currency: Currency,
    /// In minor units.
    pub balance: i64,
}

/// The way to the database.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
    orders: mpsc::Sender<Waiting>,
    queue_limit: usize,
    state: Arc<State>,
    reading: Option<Reading>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
}

/// Reading from replicas.
#[derive(Debug)]
struct Reading {
    replicas: Replicas,
    recent: Arc<Recent>,
}

/// What the committers and the prober say.
#[derive(Debug, Default)]
struct State {
    healthy: AtomicBool,
    commits: AtomicU64,
    payments: AtomicU64,
    declines: AtomicU64,
    accounts: AtomicUsize,
    last_commit_us: AtomicU64,
}

/// An order and who waits for it, if anybody still does.
struct Waiting {
    asked: Asked,
    reply: oneshot::Sender<Outcome>,
}

/// What goes on behind the orders.
#[derive(Debug)]
pub struct Tasks {
    committers: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    ending: watch::Sender<bool>,
    relay: Option<Relaying>,
    keeper: Option<Keeper>,
}

impl Tasks {
    /// Takes no more orders and waits until those that are queued are settled.
    pub async fn end(self) {
        self.ending.send_replace(true);
        for committer in self.committers {
            // One that has panicked has settled nothing more.
            let _ = committer.await;
        }
        if let Some(relay) = self.relay {
            relay.end().await;
        }
        if let Some(keeper) = self.keeper {
            keeper.end().await;
        }
        self.others.iter().for_each(JoinHandle::abort);
    }
}

/// An error of the database with all that it says; never the connection's settings.
#[must_use]
pub fn told(e: &tokio_postgres::Error) -> String {
    match (e.as_db_error(), std::error::Error::source(e)) {
        (Some(db), _) => format!("the database refuses: {} ({})", db.message(), db.code().code()),
        (None, Some(cause)) => format!("{e}: {cause}"),
        (None, None) => e.to_string(),
    }
}

/// Connects, makes the tables that are missing and opens accounts, and begins to take orders.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn start(
    settings: Settings,
    opening: Opening,
    notices: Notices,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Postgres, Tasks)> {
    let pool = pool::build(settings.database.clone(), settings.pool)?;
    let state = Arc::new(State::default());
    let mut connection = pool.get().await.map_err(BankError::from).context("failed to reach the database")?;
    prepare(&mut connection, opening, &state).await.context("failed to prepare the database")?;
    if let (Notices::Process(_), held) = (&notices, outbox::look(&connection).await?)
        && held.rows > 0
    {
        tracing::warn!(rows = held.rows, "the outbox has notices that wait for a start with `--queue nats`");
    }
    let epoch = epoch::read(&connection).await?;
    drop(connection);
    state.healthy.store(true, Relaxed);

    let (told, relay) = notices.start(&settings)?;
    // What goes on beside payments need not wait for their connections.
    let side = PoolSettings { min: 0, max: SIDE_CONNECTIONS, ..settings.pool };
    let side = pool::build(settings.database.clone(), side)?;
    let (reading, watching) = match &settings.replicas {
        Some(replicas) => {
            let recent = Arc::new(Recent::new(replicas.behind()));
            let (replicas, watching) = Replicas::start(replicas, &side, metrics.replicas.clone())?;
            (Some(Reading { replicas, recent }), watching)
        }
        None => (None, Vec::new()),
    };
    let cache = Arc::new(Cache::new(settings.cache, side, &epoch, metrics.cache.clone()));
    let keeper = Keeper::start(&cache, pool.clone()).await;

    let (orders, queued) = mpsc::channel(settings.queue_limit);
    let (ending, ended) = watch::channel(false);
    let queued = Arc::new(Mutex::new(queued));
    let told = Arc::new(told);
    let most = match settings.strategy {
        Strategy::Batched => MAX_BATCH,
        Strategy::Naive => 1,
    };
    let committer = |_| {
        let committer = Committer {
            queued: Arc::clone(&queued),
            ended: ended.clone(),
            pool: pool.clone(),
            state: Arc::clone(&state),
            told: Arc::clone(&told),
            recent: reading.as_ref().map(|reading| Arc::clone(&reading.recent)),
            cache: Arc::clone(&cache),
            metrics: Arc::clone(&metrics),
            clock: Clock::start(),
            most,
            time_limit: settings.time_limit,
        };
        tokio::spawn(committer.run())
    };
    let committers = (0..settings.committers).map(committer).collect();
    let mut others = vec![
        tokio::spawn(pool::look_after(pool.clone(), settings.pool)),
        tokio::spawn(probe(pool.clone(), Arc::clone(&state), settings.time_limit)),
        tokio::spawn(do_chores(pool.clone(), settings.key_window)),
    ];
    others.extend(watching);
    let bank = Postgres { pool, orders, queue_limit: settings.queue_limit, state, reading, cache, metrics };
    Ok((bank, Tasks { committers, others, ending, relay, keeper }))
}

async fn prepare(connection: &mut Object, opening: Opening, state: &State) -> Result<(), BankError> {
    schema::migrate(connection).await?;
    // Numbers of accounts have no gaps here, so that scenarios can name them.
    let accounts = i32::try_from(opening.accounts).unwrap_or(i32::MAX);
    let opened = connection
        .query_one(
            "WITH opened AS (
                 INSERT INTO accounts (id, currency, opening, balance)
                 SELECT id, $2, $3, $3 FROM generate_series(1, $1) AS id
                 ON CONFLICT (id) DO NOTHING RETURNING 1
             ) SELECT count(*) FROM opened",
            &[&accounts, &opening.currency.code(), &opening.balance],
        )
        .await?;
    let opened: i64 = opened.get(0);
    let row = connection
        .query_one(
            "SELECT setval('account_ids', greatest(coalesce(max(id), 0), 1), max(id) IS NOT NULL), count(*)
             FROM accounts",
            &[],
        )
        .await?;
    let all: i64 = row.get(1);
    state.accounts.store(usize::try_from(all).unwrap_or(0), Relaxed);
    tracing::info!(accounts = all, opened, "database ready");
    Ok(())
}

impl Postgres {
    /// Settles an order; waits until it is durable.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn settle(&self, asked: Asked) -> Result<Settled, Refused> {
        let (reply, replied) = oneshot::channel();
        self.orders.try_send(Waiting { asked, reply }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Failed,
        })?;
        replied.await.unwrap_or(Err(Refused::Failed))
    }

    /// Opens the next account.
    ///
    /// # Errors
    /// [`NotOpened`]
    pub async fn open(&self, currency: Currency, opening: i64) -> Result<(AccountId, Account), NotOpened> {
        if !(0..=MAX_AMOUNT).contains(&opening) {
            return Err(NotOpened::Refused(OpenError::Opening));
        }
        if self.state.accounts.load(Relaxed) >= MAX_ACCOUNTS {
            return Err(NotOpened::Refused(OpenError::Full));
        }
        let opened = async {
            let connection = self.pool.get().await?;
            let insert = connection
                .prepare_cached(
                    "INSERT INTO accounts (id, currency, opening, balance)
                     VALUES (nextval('account_ids'), $1, $2, $2) RETURNING id",
                )
                .await?;
            let row = connection.query_one(&insert, &[&currency.code(), &opening]).await?;
            Ok::<_, BankError>(rows::account(row.try_get(0)?))
        };
        let id = opened.await.map_err(|error| {
            tracing::error!(%error, "no account was opened");
            NotOpened::Store(Refused::Failed)
        })?;
        self.state.accounts.fetch_add(1, Relaxed);
        Ok((id, Account { currency, opening, balance: opening, last_seq: 0 }))
    }

    /// The connections, for what is kept beside the payments.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.pool.clone()
    }

    /// The connections, in figures.
    #[must_use]
    pub fn connections(&self) -> PoolReading {
        let status = self.pool.status();
        PoolReading { open: status.size, idle: status.available, waiting: status.waiting }
    }

    /// The replicas, when there are any.
    #[must_use]
    pub fn replicas(&self) -> Option<Vec<ReplicaHealth>> {
        self.reading.as_ref().map(|reading| reading.replicas.health())
    }

    /// The cache, when there is one.
    #[must_use]
    pub fn cache(&self) -> Option<CacheHealth> {
        self.cache.health()
    }

    /// Has the gauges of replicas and cache say what is now.
    pub fn read_gauges(&self) {
        if let Some(reading) = &self.reading {
            reading.replicas.read_gauges();
        }
        self.cache.read_gauges();
    }

    /// Whether it takes orders, and in figures.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        let state = &self.state;
        StoreHealth {
            ok: state.healthy.load(Relaxed),
            queue_depth: self.queue_limit - self.orders.capacity(),
            queue_limit: self.queue_limit,
            commits: state.commits.load(Relaxed),
            payments: state.payments.load(Relaxed),
            declines: state.declines.load(Relaxed),
            accounts: state.accounts.load(Relaxed),
            last_sync_us: state.last_commit_us.load(Relaxed),
        }
    }
}

/// Takes what has arrived and commits it, again and again.
struct Committer {
    queued: Arc<Mutex<mpsc::Receiver<Waiting>>>,
    ended: watch::Receiver<bool>,
    pool: Pool,
    state: Arc<State>,
    told: Arc<Told>,
    recent: Option<Arc<Recent>>,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Orders of one transaction.
    most: usize,
    time_limit: Duration,
}

impl Committer {
    async fn run(mut self) {
        let mut taken = Vec::new();
        while self.take(&mut taken).await > 0 {
            let (asked, replies): (Vec<Asked>, Vec<_>) = taken.drain(..).map(|w| (w.asked, w.reply)).unzip();
            let began_ns = self.clock.now_ns();
            match self.settle(&asked).await {
                Ok(outcomes) => {
                    let took_ns = self.clock.now_ns() - began_ns;
                    self.count(&asked, &outcomes, took_ns);
                    for trace in asked.iter().filter_map(|asked| asked.trace.as_deref()) {
                        trace.committed(asked.len(), took_ns);
                    }
                    for (reply, outcome) in replies.into_iter().zip(outcomes) {
                        // Whoever has hung up does not want to know.
                        let _ = reply.send(outcome);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, orders = asked.len(), "orders were not settled");
                    for reply in replies {
                        let _ = reply.send(Err(Refused::Failed));
                    }
                }
            }
        }
    }

    /// Takes what has arrived, or waits for it; nothing when the end has come.
    async fn take(&mut self, taken: &mut Vec<Waiting>) -> usize {
        let mut queued = self.queued.lock().await;
        tokio::select! {
            biased;
            n = queued.recv_many(taken, self.most) => return n,
            _ = self.ended.wait_for(|ended| *ended) => {}
        }
        // What is in the queue is still given out.
        queued.close();
        queued.recv_many(taken, self.most).await
    }

    /// Settles all of `asked`. What it returns may be acknowledged: nobody will be shown what was before.
    async fn settle(&self, asked: &[Asked]) -> Result<Vec<Outcome>, BankError> {
        let committed = self.commit(asked).await.inspect_err(|error| {
            // Without a connection nothing was begun; else the commit's answer may be what was lost.
            if !matches!(error, BankError::Pool(_)) {
                self.cache.doubt();
            }
        })?;
        if let Some(recent) = &self.recent {
            recent.note(committed.changes.iter().map(|change| (change.account, change.seq)));
        }
        let seen = committed.cache.ok_or(BankError::Row("cache_epoch"))?;
        self.cache.tell(&seen, &committed.changes).await?;
        Ok(committed.outcomes)
    }

    /// Commits all of `asked` in one transaction, whatever is in its way at first.
    async fn commit(&self, asked: &[Asked]) -> Result<Committed, BankError> {
        let notices = self.told.by_outbox();
        let mut tries = 0;
        loop {
            tries += 1;
            let connection = self.pool.get().await?;
            let committed =
                tokio::time::timeout(self.time_limit, commit::commit(&connection, asked, notices)).await;
            match committed {
                Ok(Ok(committed)) => return Ok(committed),
                Ok(Err(e)) if commit::was_in_the_way(&e) && tries < TRIES => {
                    // Its transaction is over or has to be.
                    if connection.batch_execute("ROLLBACK").await.is_err() {
                        drop(Object::take(connection));
                    }
                }
                Ok(Err(e)) => {
                    drop(Object::take(connection));
                    return Err(e.into());
                }
                Err(_) => {
                    drop(Object::take(connection));
                    return Err(BankError::Slow(self.time_limit));
                }
            }
        }
    }

    fn count(&self, asked: &[Asked], outcomes: &[Outcome], took_ns: u64) {
        let mut fresh = 0;
        for (asked, settled) in asked.iter().zip(outcomes).filter_map(|(a, o)| Some((a, o.ok()?))) {
            if settled.replayed {
                continue;
            }
            fresh += 1;
            self.metrics.settled(&settled.record);
            match settled.record.verdict {
                Verdict::Succeeded { .. } => {
                    self.state.payments.fetch_add(1, Relaxed);
                    self.told.settled(&settled.record, asked);
                }
                Verdict::Declined { .. } => {
                    self.state.declines.fetch_add(1, Relaxed);
                }
            }
        }
        self.state.healthy.store(true, Relaxed);
        if fresh == 0 {
            // Nothing was written.
            return;
        }
        self.told.committed();
        self.state.commits.fetch_add(1, Relaxed);
        self.state.last_commit_us.store(took_ns / 1000, Relaxed);
        self.metrics.committed(fresh, took_ns, 0);
    }
}

/// Asks the database whether it is there, until the pool is closed.
async fn probe(pool: Pool, state: Arc<State>, time_limit: Duration) {
    loop {
        let asked = async {
            let connection = pool.get().await?;
            let row = connection.query_one("SELECT max(id) FROM accounts", &[]).await?;
            Ok::<Option<i32>, BankError>(row.try_get(0)?)
        };
        let healthy = match tokio::time::timeout(time_limit, asked).await {
            Ok(Ok(highest)) => {
                let accounts = highest.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                state.accounts.store(accounts, Relaxed);
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database does not answer");
                false
            }
            Err(_) => {
                tracing::warn!("the database does not answer in time");
                false
            }
        };
        state.healthy.store(healthy, Relaxed);
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

/// Removes keys that are over and makes the tables of months to come.
async fn do_chores(pool: Pool, key_window: Duration) {
    loop {
        if let Err(error) = chores(&pool, key_window).await {
            tracing::warn!(%error, "chores in the database were not done");
        }
        tokio::time::sleep(CHORES_EVERY).await;
    }
}

async fn chores(pool: &Pool, key_window: Duration) -> Result<(), BankError> {
    let connection = pool.get().await?;
    schema::make_months(&connection).await?;
    let window_s = key_window.as_secs_f64();
    loop {
        // Those that another process is removing are its business.
        let removed = connection
            .execute(
                "DELETE FROM idempotency_keys WHERE key IN (
                     SELECT key FROM idempotency_keys
                     WHERE created_at < now() - make_interval(secs => $1)
                     LIMIT $2 FOR UPDATE SKIP LOCKED)",
                &[&window_s, &EXPIRE_AT_ONCE],
            )
            .await?;
        if removed < EXPIRE_AT_ONCE.unsigned_abs() {
            return Ok(());
        }
    }
}
