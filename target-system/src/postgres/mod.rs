//! Payments in a Postgres database, 15 or newer, that other processes use at the same time.
//!
//! Orders wait in a bounded queue. A few committers take what has arrived, each with a connection
//! of its own, and settle all of it in one transaction of two round trips, however many orders that
//! are. Nothing is acknowledged before the database has said that it is durable.
//!
//! * [`schema`]: tables, and how they come to be.
//! * [`database`]: where it is.
//! * `pool`: connections.
//! * `committer`, [`job`]: who commits, and what they are asked.
//! * [`commit`], `books`: one transaction.
//! * [`transfers`], [`shard`]: what is on its way to another database, and which of several this is.
//! * [`striped`]: one transaction of one payment, where balances are striped.
//! * [`layout`]: whether they are.
//! * `chores`: what goes on beside payments.
//! * `known`: what is known of an order before it.
//! * [`notices`], [`outbox`], [`relay`]: notices of payments, and their way to the queue.
//! * [`logins`], [`methods`]: refresh tokens' logins, payment methods.
//! * [`read`]: accounts and payments, found.
//! * [`replicas`]: copies of the database that are read too.
//! * [`audit`]: whether the books are straight.
//! * [`rows`]: rows as nouns.
//! * [`brake`], [`starve`]: faults that act here.

pub mod audit;
mod books;
pub mod brake;
mod chores;
pub mod commit;
mod committer;
pub mod database;
pub mod job;
mod known;
pub mod layout;
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
pub mod shard;
pub mod starve;
pub mod striped;
pub mod transfers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{Object, Pool};
use squall_chaos::leases::Leases;
use squall_record::clock::Clock;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::bank::{Asked, BankError, NotOpened, Refused, Settled, StoreHealth};
use crate::cache::{self, Cache, CacheHealth, Keeper, epoch};
use crate::ids::AccountId;
use crate::ledger::{Account, OpenError};
use crate::limits::{MAX_ACCOUNTS, MAX_AMOUNT, MAX_BATCH, NUMBERS_DRAWN, OPENED_AT_ONCE, SIDE_CONNECTIONS};
use crate::metrics::{Metrics, PoolReading};
use crate::money::Currency;
use crate::shards::map::Place;
use committer::Committer;
use database::Database;
use job::{Credit, Job, Registration};
use layout::Layout;
use notices::{Notices, Relaying};
use pool::PoolSettings;
use replicas::{Recent, ReplicaHealth, Replicas};

/// How payments become transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Strategy {
    /// What has arrived is committed together; an account that many pay is written once.
    Batched,
    /// Each payment is a transaction of its own, and those of one account wait for each other.
    Naive,
    /// Each payment is a transaction of its own, and takes one of the stripes that an account's balance is divided into.
    Striped,
}

/// How the database is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which of how many it is.
    pub place: Place,
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
    place: Place,
    pool: Pool,
    /// For marks of payments between databases; those of payments may all be in use.
    aside: Option<Pool>,
    patience: Duration,
    /// Numbers of accounts that were drawn and are not in use yet.
    drawn: Mutex<VecDeque<i32>>,
    layout: Layout,
    jobs: mpsc::Sender<Job>,
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

/// Why there is no connection.
#[must_use]
pub fn unconnected(e: &deadpool_postgres::PoolError) -> String {
    match e {
        deadpool_postgres::PoolError::Backend(e) => told(e),
        other => other.to_string(),
    }
}

/// Sees that the database is there and is not another one than it should be. Writes nothing.
///
/// # Errors
/// When that is not so.
pub async fn look(settings: &Settings) -> anyhow::Result<()> {
    let one = PoolSettings { min: 0, max: 1, ..settings.pool };
    let pool = pool::build(settings.database.clone(), one)?;
    let connection = pool.get().await.map_err(BankError::from).context("failed to reach the database")?;
    shard::look(&connection, settings.place).await
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
    leases: Arc<Leases>,
) -> anyhow::Result<(Postgres, Tasks)> {
    let pool = pool::build(settings.database.clone(), settings.pool)?;
    let state = Arc::new(State::default());
    let mut connection = pool.get().await.map_err(BankError::from).context("failed to reach the database")?;
    let layout = settings.strategy.layout();
    prepare(&mut connection, settings.place, layout, opening, &state)
        .await
        .context("failed to prepare the database")?;
    if let (Notices::Process(_), held) = (&notices, outbox::look(&connection).await?)
        && held.rows > 0
    {
        tracing::warn!(rows = held.rows, "the outbox has notices that wait for a start with `--queue nats`");
    }
    let (epoch, name) = (epoch::read(&connection).await?, epoch::name_of(&connection).await?);
    drop(connection);
    state.healthy.store(true, Relaxed);

    let (told, relay) = notices.start(&settings)?;
    // What goes on beside payments need not wait for their connections.
    let side = PoolSettings { min: 0, max: SIDE_CONNECTIONS, ..settings.pool };
    let aside = match settings.place.has_others() {
        true => Some(pool::build(settings.database.clone(), side)?),
        false => None,
    };
    let side = pool::build(settings.database.clone(), side)?;
    let (reading, watching) = match &settings.replicas {
        Some(replicas) => {
            let recent = Arc::new(Recent::new(replicas.behind()));
            let (replicas, watching) = Replicas::start(replicas, &side, metrics.replicas.clone())?;
            (Some(Reading { replicas, recent }), watching)
        }
        None => (None, Vec::new()),
    };
    let cache = Arc::new(Cache::new(name, settings.cache, side, &epoch, metrics.cache.clone()));
    let keeper = Keeper::start(&cache, pool.clone()).await;

    let (jobs, queued) = mpsc::channel(settings.queue_limit);
    let (ending, ended) = watch::channel(false);
    let queued = Arc::new(Mutex::new(queued));
    let told = Arc::new(told);
    let most = match settings.strategy {
        Strategy::Batched => MAX_BATCH,
        Strategy::Naive | Strategy::Striped => 1,
    };
    let committer = |_| {
        let committer = Committer {
            queued: Arc::clone(&queued),
            ended: ended.clone(),
            place: settings.place,
            pool: pool.clone(),
            state: Arc::clone(&state),
            told: Arc::clone(&told),
            recent: reading.as_ref().map(|reading| Arc::clone(&reading.recent)),
            cache: Arc::clone(&cache),
            metrics: Arc::clone(&metrics),
            clock: Clock::start(),
            most,
            layout,
            time_limit: settings.time_limit,
            leases: Arc::clone(&leases),
        };
        tokio::spawn(committer.run())
    };
    let committers = (0..settings.committers).map(committer).collect();
    let mut others = vec![
        tokio::spawn(pool::look_after(pool.clone(), settings.pool)),
        tokio::spawn(chores::probe(pool.clone(), layout, Arc::clone(&state), settings.time_limit)),
        tokio::spawn(chores::do_chores(pool.clone(), settings.key_window)),
    ];
    others.extend(watching);
    let bank = Postgres {
        place: settings.place,
        pool,
        aside,
        patience: settings.time_limit + settings.pool.acquire,
        drawn: Mutex::default(),
        layout,
        jobs,
        queue_limit: settings.queue_limit,
        state,
        reading,
        cache,
        metrics,
    };
    Ok((bank, Tasks { committers, others, ending, relay, keeper }))
}

async fn prepare(
    connection: &mut Object,
    place: Place,
    layout: Layout,
    opening: Opening,
    state: &State,
) -> anyhow::Result<()> {
    schema::migrate(connection).await?;
    shard::adopt(connection, place).await?;
    layout::adopt(connection, layout).await?;
    let opened = open_missing(connection, place, layout, opening).await?;
    let row = connection
        .query_one(
            "SELECT setval('account_ids', greatest(a.highest, s.last_value), a.highest > 0 OR s.is_called), a.accounts
             FROM (SELECT coalesce(max(id), 0) AS highest, count(*) AS accounts FROM accounts) a, account_ids s",
            &[],
        )
        .await
        .map_err(BankError::from)?;
    let all: i64 = row.get(1);
    state.accounts.store(usize::try_from(all).unwrap_or(0), Relaxed);
    tracing::info!(accounts = all, opened, "database ready");
    Ok(())
}

/// Opens those of the first accounts that are missing here; how many that were. Their numbers have no gaps, so that
/// scenarios can name them.
async fn open_missing(
    connection: &Object,
    place: Place,
    layout: Layout,
    opening: Opening,
) -> Result<u64, BankError> {
    let own = (1..=opening.accounts).map(AccountId).filter(|account| place.holds(*account)).map(rows::id);
    let mut own = own.peekable();
    let mut opened = 0;
    while own.peek().is_some() {
        let ids: Vec<i32> = own.by_ref().take(OPENED_AT_ONCE).collect();
        let (currency, balance) = (opening.currency.code(), opening.balance);
        opened += connection.execute(layout.open(), &[&ids, &currency, &balance]).await?;
    }
    Ok(opened)
}

impl Postgres {
    /// Settles an order; waits until it is durable. Of one whose payee is in another database, the payer's side.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn settle(&self, asked: Asked) -> Result<Settled, Refused> {
        self.ask(|reply| Job::Settle(asked, reply)).await
    }

    /// Notes that a key is one payer's, durably.
    ///
    /// # Errors
    /// [`Refused::KeyReused`] when it is another's; else as an order.
    pub async fn register(&self, registration: Registration) -> Result<(), Refused> {
        self.ask(|reply| Job::Register(registration, reply)).await
    }

    /// Gives a payee here what was paid in another database, once; waits until it is durable: whether that was now, and not
    /// before. It waits for room in the queue: the payment is made.
    ///
    /// # Errors
    /// [`Refused::Failed`] when the database has, or the payee cannot hold more.
    pub async fn credit(&self, credit: Credit) -> Result<bool, Refused> {
        let (reply, replied) = oneshot::channel();
        self.jobs.send(Job::Credit(credit, reply)).await.map_err(|_| Refused::Failed)?;
        replied.await.unwrap_or(Err(Refused::Failed))
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Job,
    ) -> Result<T, Refused> {
        let (reply, replied) = oneshot::channel();
        self.jobs.try_send(job(reply)).map_err(|e| match e {
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
            let insert = connection.prepare_cached(self.layout.open()).await?;
            // A number may have been taken by a process that has just started with more accounts.
            let number = loop {
                let number = self.draw(&connection).await?;
                if connection.execute(&insert, &[&&[number][..], &currency.code(), &opening]).await? == 1 {
                    break number;
                }
            };
            Ok::<_, BankError>(rows::account(number))
        };
        let id = opened.await.map_err(|error| {
            tracing::error!(%error, "no account was opened");
            NotOpened::Store(Refused::Failed)
        })?;
        self.state.accounts.fetch_add(1, Relaxed);
        Ok((id, Account { currency, opening, balance: opening, last_seq: 0 }))
    }

    /// The number of the next account here. All databases draw from all numbers, and each takes its own: so none has to ask
    /// another one.
    async fn draw(&self, connection: &Object) -> Result<i32, BankError> {
        let mut drawn = self.drawn.lock().await;
        loop {
            if let Some(number) = drawn.pop_front() {
                return Ok(number);
            }
            let at_once = if self.place.has_others() { NUMBERS_DRAWN } else { 1 };
            let draw = connection
                .prepare_cached("SELECT nextval('account_ids')::int FROM generate_series(1, $1)")
                .await?;
            for row in connection.query(&draw, &[&at_once]).await? {
                let number = row.try_get(0)?;
                if self.place.holds(rows::account(number)) {
                    drawn.push_back(number);
                }
            }
        }
    }

    /// Connections for what goes on beside payments between databases, when there are several.
    #[must_use]
    pub fn aside(&self) -> &Pool {
        self.aside.as_ref().unwrap_or(&self.pool)
    }

    /// How long a payment between databases may take to get here, before somebody else carries it on.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Which of how many it is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
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

    /// Has the gauges of replicas say what is now.
    pub fn read_gauges(&self) {
        if let Some(reading) = &self.reading {
            reading.replicas.read_gauges();
        }
    }

    /// Whether it takes orders, and in figures.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        let state = &self.state;
        StoreHealth {
            ok: state.healthy.load(Relaxed),
            queue_depth: self.queue_limit - self.jobs.capacity(),
            queue_limit: self.queue_limit,
            commits: state.commits.load(Relaxed),
            payments: state.payments.load(Relaxed),
            declines: state.declines.load(Relaxed),
            accounts: state.accounts.load(Relaxed),
            last_sync_us: state.last_commit_us.load(Relaxed),
        }
    }
}
