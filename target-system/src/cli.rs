//! The arguments of `payments serve`, shared with `squall target`, and of the other roles.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio_postgres::config::TargetSessionAttrs;

use crate::auth::args::SecurityArgs;
use crate::auth::secret;
use crate::bank::Kind;
use crate::cache::Strategy as Caching;
use crate::cache::args::{CacheArgs, REDIS_VAR};
use crate::dependencies::args::DependencyArgs;
use crate::http::rates::{Allowance, Rates};
use crate::limits::MAX_AMOUNT;
use crate::money::Currency;
use crate::postgres::database::{CA_VAR, Database};
use crate::postgres::pool::PoolSettings;
use crate::postgres::replicas::args::{REPLICAS_VAR, ReplicaArgs};
use crate::postgres::{self, Strategy};
use crate::profile::Profile;
use crate::queue::args::QueueArgs;
use crate::shards::args::{copies, divide};
use crate::shards::map::{By, Place};
use crate::strain;
use crate::trace::args::TraceArgs;
use crate::worker::args::NotifyArgs;

pub use crate::auth::args::hash_password;
pub use crate::fraud::service::{FraudArgs, serve as serve_fraud};
pub use crate::network::service::{NetworkArgs, serve as serve_network};
pub use crate::serve::serve;
pub use crate::worker::role::{WorkerArgs, work};

/// The environment that names the database: its URL holds a password.
const POSTGRES_VAR: &str = "PAYMENTS_POSTGRES";

/// What `--help` says besides the settings.
const ENVIRONMENT: &str = "\
Environment:
  PAYMENTS_TOKEN             needed: the bearer token of services, 16 characters or more
  PAYMENTS_ADMIN_TOKEN       needed: the bearer token of the admin port
  PAYMENTS_USER              who may log in, with PAYMENTS_PASSWORD
  PAYMENTS_PASSWORD          their password
  PAYMENTS_USER_ROLE         `customer` (when absent) or `operator`
  PAYMENTS_USER_ACCOUNTS     a customer's accounts: `all` (when absent), or acc_00000001,acc_00000010-acc_00000019
  PAYMENTS_USERS_FILE        further users, in TOML or JSON
  PAYMENTS_POSTGRES          the database of --store postgres: postgres://user:password@host/name; or several, among
                             which accounts are divided, with a comma between two
  PAYMENTS_POSTGRES_CA       the certificate of the authority to trust, in PEM, when that ends in ?sslmode=verify-full
  PAYMENTS_INTERNAL_TOKEN    the bearer token shown to the fraud service and the network; needed beyond loopback
  PAYMENTS_NATS              the server of --queue nats: nats://user:password@host:4222
  PAYMENTS_DELIVER_TO        --deliver-to, where no process list shows it
  PAYMENTS_REPLICAS          copies of that database that are read, with a comma between two; a semicolon between
                             those of two databases
  PAYMENTS_REDIS             the cache of balances: redis://user:password@host:6379/0
  PAYMENTS_JWT_KEY           signs access tokens, 32 characters or more; random when absent
  CHAOS_ENGINEERING_ENABLED  `true` makes a share of requests fail
  CHAOS_FAILURE_RATE         that share, 0 to 1; 0.01 when absent

Each token, password, key and database may lie in a file instead, which the variable with _FILE behind its name
names: PAYMENTS_TOKEN_FILE=/run/secrets/token";

/// How the service runs. Secrets come from the environment alone, where no process list shows
/// them.
#[derive(Debug, Clone, Args)]
#[command(after_help = ENVIRONMENT)]
pub struct ServeArgs {
    /// Where the API listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Where the admin port listens; loopback only.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub admin: SocketAddr,

    /// Where payments are kept.
    #[arg(long, value_enum, default_value_t = Kind::Embedded)]
    pub store: Kind,

    /// Strong, or weak on purpose: `naive` plants flaws that a load finds.
    #[arg(long, value_enum, default_value_t = Profile::Hardened)]
    pub profile: Profile,

    /// The folder of the embedded store's ledger; made when it does not exist.
    #[arg(long, value_name = "DIR", required_if_eq("store", "embedded"))]
    pub data: Option<PathBuf>,

    /// How the database of `--store postgres` is used.
    #[command(flatten)]
    pub postgres: PostgresArgs,

    /// Which copies of it are read.
    #[command(flatten)]
    pub replicas: ReplicaArgs,

    /// How balances are cached.
    #[command(flatten)]
    pub cache: CacheArgs,

    /// The services that are asked before a payment.
    #[command(flatten)]
    pub dependencies: Box<DependencyArgs>,

    /// Where notices of payments go.
    #[command(flatten)]
    pub queue: QueueArgs,

    /// How notices are delivered.
    #[command(flatten)]
    pub notify: NotifyArgs,

    /// How many accounts there are at least; missing ones are opened at start.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=99_999_999))]
    pub accounts: u32,

    /// What accounts opened at start hold, in minor units.
    #[arg(long, value_name = "AMOUNT", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=MAX_AMOUNT))]
    pub opening_balance: i64,

    /// The currency of accounts opened at start, ISO 4217.
    #[arg(long, value_name = "CODE", default_value = "EUR")]
    pub currency: Currency,

    /// Threads that serve requests; half the cores when absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,

    /// Open connections; further ones are refused with 503.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// After how long a request is answered 504.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub request_timeout_ms: u64,

    /// After how long a connection that sends no whole request head is closed, idle ones
    /// included.
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub header_timeout_ms: u64,

    /// How long a drain waits for requests under way.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub drain_timeout_ms: u64,

    /// Payments that may wait to be committed; further ones are shed with 503.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue_limit: u32,

    /// The least time from the beginning of one commit to that of the next: longer groups more
    /// payments in one sync.
    #[arg(long, value_name = "US", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub commit_interval_us: u64,

    /// How long an idempotency key is kept, in seconds.
    #[arg(long, value_name = "S", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub key_window_s: u64,

    /// How many idempotency keys are kept; the oldest go first.
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub key_limit: u64,

    /// Who is let in, and how.
    #[command(flatten)]
    pub security: Box<SecurityArgs>,

    /// How much work is taken on.
    #[command(flatten)]
    pub overload: OverloadArgs,

    /// Spans, and where they go.
    #[command(flatten)]
    pub trace: TraceArgs,

    /// Payments above this amount, in minor units, are stopped as fraud.
    #[arg(long, value_name = "AMOUNT", default_value_t = 100_000_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub fraud_limit: i64,

    /// Drains and ends when standard input closes, so that a child does not outlive its parent.
    #[arg(long)]
    pub exit_on_stdin_eof: bool,

    /// Prints one JSON line with the addresses and the process id when ready.
    #[arg(long)]
    pub announce: bool,
}

/// How much work is taken on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Overload and limits")]
pub struct OverloadArgs {
    /// How long a payment may wait: beyond as many as are completed in this time, and beyond 1,024, further ones
    /// are shed with 503; 0 sheds none.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub max_wait_ms: u64,

    /// Requests below /v1 of each user, as in 100/min or 20/s; further ones are answered 429.
    #[arg(long, value_name = "ALLOWANCE")]
    pub user_limit: Option<Allowance>,

    /// Requests below /v1 from each address; of IPv6, from each network of 64 bits.
    #[arg(long, value_name = "ALLOWANCE")]
    pub address_limit: Option<Allowance>,

    /// The client's address is the last one in X-Forwarded-For: only behind a proxy that sets it.
    #[arg(long)]
    pub trust_forwarded: bool,

    /// The share of the CPU time it may use above which the process is not ready for more traffic.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = share)]
    pub ready_cpu: f64,

    /// The share of the memory it may use above which it is not.
    #[arg(long, value_name = "SHARE", default_value_t = 0.85, value_parser = share)]
    pub ready_memory: f64,

    /// The connections above which it is not.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub ready_connections: u32,
}

/// A share of something; above 1 it is never reached.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
    share.ok_or_else(|| "write a number above 0, as in 0.9".to_owned())
}

impl OverloadArgs {
    /// How long a payment may wait, if that is limited.
    #[must_use]
    pub fn max_wait(&self) -> Option<Duration> {
        (self.max_wait_ms > 0).then(|| Duration::from_millis(self.max_wait_ms))
    }

    /// What callers may send, if that is limited.
    #[must_use]
    pub fn rates(&self) -> Option<Rates> {
        Rates::new(self.user_limit, self.address_limit, self.trust_forwarded)
    }

    /// Above what the process is not ready for more traffic.
    #[must_use]
    pub fn strain(&self) -> strain::Limits {
        strain::Limits {
            cpu: self.ready_cpu,
            memory: self.ready_memory,
            connections: f64::from(self.ready_connections),
        }
    }
}

/// How a Postgres database is used.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "With --store postgres")]
pub struct PostgresArgs {
    /// How payments become transactions.
    #[arg(long, value_enum, default_value_t = Strategy::Batched)]
    pub strategy: Strategy,

    /// How accounts are divided among the databases, when PAYMENTS_POSTGRES names several.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = By::Hash)]
    pub shard_by: By,

    /// Transactions at once; 2 when batched, as many as connections when naive or striped.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub committers: Option<u16>,

    /// Connections that are kept open.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub pool_min: u16,

    /// The most connections.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub pool_max: u16,

    /// After how long without use a connection is closed, in seconds.
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub pool_idle_s: u64,

    /// After how long a connection is replaced, in seconds.
    #[arg(long, value_name = "S", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub pool_lifetime_s: u64,

    /// How long a request waits for a connection.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub pool_acquire_ms: u64,

    /// How long a transaction may take.
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub transaction_ms: u64,
}

impl PostgresArgs {
    /// The settings for the databases, the replicas and the cache that the environment `var` names.
    ///
    /// # Errors
    /// When one makes no sense or is missing. What it holds is not told: a password is part of it.
    pub fn settings(
        &self,
        var: impl Fn(&str) -> Option<String>,
        args: &ServeArgs,
    ) -> anyhow::Result<Vec<postgres::Settings>> {
        let urls = secret::variable(POSTGRES_VAR, &var)?.with_context(|| {
            format!("{POSTGRES_VAR} is not set: name the database, postgres://user:password@host:5432/name")
        })?;
        let databases = divide(&urls, self.shard_by).with_context(|| POSTGRES_VAR.to_owned())?;
        ensure!(
            self.pool_min <= self.pool_max,
            "--pool-min {} is above --pool-max {}: lower the one or raise the other",
            self.pool_min,
            self.pool_max
        );
        let pool = PoolSettings {
            min: usize::from(self.pool_min),
            max: usize::from(self.pool_max),
            idle: Duration::from_secs(self.pool_idle_s),
            lifetime: Duration::from_secs(self.pool_lifetime_s),
            acquire: Duration::from_millis(self.pool_acquire_ms),
        };
        let copies_of = secret::variable(REPLICAS_VAR, &var)?;
        let replicas = match &copies_of {
            Some(urls) => copies(urls, databases.len()).with_context(|| REPLICAS_VAR.to_owned())?,
            None => vec![None; databases.len()],
        };
        let mut cache = args.cache.settings(secret::variable(REDIS_VAR, &var)?.as_deref())?;
        if self.strategy == Strategy::Striped {
            const WHY: &str = "cannot be with --strategy striped: numbers of an account's payments do not rise as \
                               they are committed, so nobody can tell by them which of two balances is older; \
                               use --strategy batched";
            ensure!(copies_of.is_none(), "{REPLICAS_VAR} {WHY}");
            ensure!(cache.strategy == Caching::Off, "{REDIS_VAR} {WHY}, or --cache off");
            ensure!(
                databases.len() == 1,
                "{POSTGRES_VAR} names {} databases, and --strategy striped divides the accounts of one: use --strategy batched",
                databases.len()
            );
        }
        let committers = self.committers.map_or_else(
            || match self.strategy {
                Strategy::Batched => 2,
                Strategy::Naive | Strategy::Striped => usize::from(self.pool_max),
            },
            usize::from,
        );
        cache.entries = cache.entries.div_ceil(databases.len() as u64);
        let settings = |((place, url), replicas): ((Place, &str), Option<&str>)| {
            let replicas = replicas
                .map(|urls| args.replicas.settings(urls, pool, |url| self.database(REPLICAS_VAR, url)))
                .transpose()?;
            let mut database = self.database(POSTGRES_VAR, url)?;
            // Of several hosts only one that can be written to is the database; the others are its copies.
            database.config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            Ok(postgres::Settings {
                place,
                database,
                pool,
                strategy: self.strategy,
                committers,
                queue_limit: args.queue_limit as usize,
                time_limit: Duration::from_millis(self.transaction_ms),
                key_window: Duration::from_secs(args.key_window_s),
                replicas,
                cache: cache.clone(),
            })
        };
        databases.into_iter().zip(replicas).map(settings).collect()
    }

    /// How to connect to the database that `variable` has as `url`, or as keys and values as libpq has them.
    fn database(&self, variable: &str, url: &str) -> anyhow::Result<Database> {
        let ca = std::env::var_os(CA_VAR).map(PathBuf::from);
        let mut database = Database::parse(variable, url, ca.as_deref())?;
        // A table that was empty when a statement was planned is read whole by that plan however much it holds, until it is
        // analyzed: a new database, a new month. All that payments ask has an index, or is one row; nothing of it
        // is worth compiling, which is what the planner thinks of a row without an index then.
        let timeout = self.transaction_ms;
        let own = format!("-c statement_timeout={timeout} -c TimeZone=UTC -c enable_seqscan=off -c jit=off");
        // What the URL asks of each session stays, behind ours.
        let options = format!("{own} {}", database.config.get_options().unwrap_or_default());
        database
            .config
            .application_name("payments")
            .connect_timeout(Duration::from_millis(self.pool_acquire_ms))
            .keepalives_idle(Duration::from_secs(10))
            .options(options.trim_end());
        Ok(database)
    }
}

impl ServeArgs {
    /// Refuses what the embedded store has no use for: its balances are in memory. Says so where only a database is named.
    ///
    /// # Errors
    /// When it is asked for.
    pub fn refuse_copies(&self, var: impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
        const WHY: &str = "needs --store postgres: the embedded store's balances are in memory already";
        ensure!(matches!(self.cache.cache, None | Some(Caching::Off)), "--cache {WHY}");
        for name in [REPLICAS_VAR, REDIS_VAR] {
            ensure!(secret::variable(name, &var)?.is_none(), "{name} {WHY}");
        }
        if secret::variable(POSTGRES_VAR, &var)?.is_some() {
            tracing::warn!(
                "{POSTGRES_VAR} is set and not used: the ledger is the embedded one, without --store postgres"
            );
        }
        Ok(())
    }

    /// Threads that serve requests: the store's writer and its background work need the others.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        let half = || std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1));
        self.workers.map_or_else(half, usize::from)
    }

    /// [`request_timeout_ms`](Self::request_timeout_ms) as a duration.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}
