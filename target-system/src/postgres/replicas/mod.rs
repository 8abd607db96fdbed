//! Copies of the database that answer questions.
//!
//! Questions go round robin over the replicas that are fit: those whose lag was measured and is below
//! the limit (`lag`). What a replica does not answer in time, answers with an error, or has not
//! replayed yet is asked of the primary; the client sees nothing of it.

pub mod args;
mod lag;
mod metrics;
mod recent;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use deadpool_postgres::{Client, Object, Pool};
use serde::Serialize;
use squall_record::clock::Clock;
use tokio::task::JoinHandle;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::database::Database;
use super::pool::{self, PoolSettings};
use crate::bank::BankError;
use crate::limits::{REPLICA_FIT_FOR, REPLICA_GOOD_PROBES, REPLICA_READ};
pub use metrics::{Fallback, ReplicaMetrics};
pub use recent::Recent;

/// Which replicas there are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where they are. They hold passwords.
    pub databases: Vec<Database>,
    /// The connections to each.
    pub pool: PoolSettings,
    /// How far one may be behind.
    pub max_lag: Duration,
}

impl Settings {
    /// How old what a replica shows may be: as old as the lag allows when it was measured, and for as long
    /// as that holds.
    #[must_use]
    pub fn behind(&self) -> Duration {
        self.max_lag + REPLICA_FIT_FOR
    }
}

/// The replicas.
#[derive(Debug)]
pub struct Replicas {
    all: Vec<Arc<Replica>>,
    turn: AtomicUsize,
    metrics: ReplicaMetrics,
}

/// One of them.
#[derive(Debug)]
struct Replica {
    /// Its host and port.
    name: String,
    pool: Pool,
    clock: Clock,
    /// How old what it shows may be.
    behind: Duration,
    /// Until when it may be asked, by `clock`, unless it is found fit again.
    fit_until_ns: AtomicU64,
    /// How often in succession it was found good.
    good: AtomicU32,
    /// As last measured.
    lag_us: AtomicU64,
    /// Whether somebody was told that it is left out.
    told: AtomicBool,
}

/// What `/health` says of a replica.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ReplicaHealth {
    /// Its host and port.
    pub replica: String,
    /// Whether it is asked.
    pub used: bool,
    /// How far it was behind when that was last measured; nothing when it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<f64>,
}

/// No lag was measured yet.
const UNKNOWN: u64 = u64::MAX;

impl Replicas {
    /// Begins to watch the replicas of `settings`, whose primary `primary` asks.
    ///
    /// # Errors
    /// Never: connections are opened when they are needed.
    pub fn start(
        settings: &Settings,
        primary: &Pool,
        metrics: ReplicaMetrics,
    ) -> anyhow::Result<(Self, Vec<JoinHandle<()>>)> {
        let mut all = Vec::new();
        let mut tasks = Vec::new();
        for database in settings.databases.clone() {
            let name = name(&database.config);
            let pool = pool::build(database, settings.pool)?;
            let replica = Arc::new(Replica {
                name,
                pool: pool.clone(),
                clock: Clock::start(),
                behind: settings.behind(),
                fit_until_ns: AtomicU64::new(0),
                // The first good probe lets it in: nothing bad is known of it.
                good: AtomicU32::new(REPLICA_GOOD_PROBES - 1),
                lag_us: AtomicU64::new(UNKNOWN),
                told: AtomicBool::new(false),
            });
            tasks.push(tokio::spawn(pool::look_after(pool, settings.pool)));
            tasks.push(tokio::spawn(lag::watch(Arc::clone(&replica), primary.clone(), settings.max_lag)));
            all.push(replica);
        }
        Ok((Self { all, turn: AtomicUsize::new(0), metrics }, tasks))
    }

    /// A connection to the next replica that is fit; `None` when none is, or it gives no connection.
    pub async fn lend(&self) -> Option<Lent<'_>> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let replica = (0..self.all.len())
            .map(|n| &self.all[turn.wrapping_add(n) % self.all.len()])
            .find(|replica| replica.is_fit());
        let Some(replica) = replica else {
            self.metrics.fell_back(Fallback::NoneFit);
            return None;
        };
        match tokio::time::timeout(REPLICA_READ, replica.pool.get()).await {
            Ok(Ok(connection)) => Some(Lent {
                replica,
                metrics: &self.metrics,
                connection: Some(connection),
                failed: AtomicBool::new(false),
            }),
            gave => {
                let error = gave.map_or(BankError::Slow(REPLICA_READ), |gave| {
                    gave.err().map_or(BankError::Slow(REPLICA_READ), BankError::from)
                });
                replica.leave_out(&error);
                self.metrics.fell_back(Fallback::Error);
                None
            }
        }
    }

    /// Each one as it is now.
    #[must_use]
    pub fn health(&self) -> Vec<ReplicaHealth> {
        let health = |replica: &Arc<Replica>| ReplicaHealth {
            replica: replica.name.clone(),
            used: replica.is_fit(),
            lag_ms: replica.lag().map(|lag| lag.as_secs_f64() * 1e3),
        };
        self.all.iter().map(health).collect()
    }

    /// Has the gauges say what is now.
    pub fn read_gauges(&self) {
        for replica in &self.all {
            self.metrics.shows(&replica.name, replica.is_fit(), replica.lag());
        }
    }
}

impl Replica {
    fn is_fit(&self) -> bool {
        self.clock.now_ns() < self.fit_until_ns.load(Relaxed)
    }

    fn lag(&self) -> Option<Duration> {
        Some(self.lag_us.load(Relaxed)).filter(|us| *us != UNKNOWN).map(Duration::from_micros)
    }

    /// It has what the primary had at `asked_ns`. It is asked when it was found good often enough.
    fn found_good(&self, asked_ns: u64) {
        let good = self.good.load(Relaxed).saturating_add(1);
        self.good.store(good, Relaxed);
        if good < REPLICA_GOOD_PROBES {
            return;
        }
        if !self.is_fit() {
            self.told.store(false, Relaxed);
            tracing::info!(replica = self.name, "the replica is used");
        }
        self.fit_until_ns.store(asked_ns.saturating_add(nanos(self.behind)), Relaxed);
    }

    /// It is not asked until it has been found good several times in succession.
    fn leave_out(&self, why: &dyn std::fmt::Display) {
        self.good.store(0, Relaxed);
        self.fit_until_ns.store(0, Relaxed);
        if !self.told.swap(true, Relaxed) {
            tracing::warn!(replica = self.name, %why, "the replica is left out");
        }
    }
}

/// A connection to a replica, lent for one question.
pub struct Lent<'a> {
    replica: &'a Replica,
    metrics: &'a ReplicaMetrics,
    /// `None` when it is given back.
    connection: Option<Object>,
    failed: AtomicBool,
}

impl Lent<'_> {
    /// The answer to `question`, which is asked over this connection; `None` when it is not `fresh`
    /// enough, or there is none in time.
    pub async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, BankError>>,
        fresh: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let answered = tokio::time::timeout(REPLICA_READ, question).await;
        match answered.unwrap_or(Err(BankError::Slow(REPLICA_READ))) {
            Ok(answer) if fresh(&answer) => {
                self.metrics.from_replica.inc();
                Some(answer)
            }
            Ok(_) => {
                self.metrics.fell_back(Fallback::Behind);
                None
            }
            Err(error) => {
                self.failed.store(true, Relaxed);
                self.replica.leave_out(&error);
                self.metrics.fell_back(Fallback::Error);
                None
            }
        }
    }
}

impl Deref for Lent<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.connection.as_ref().expect("it is given back when this is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // What a connection that has failed would still say is nobody's answer.
        if self.failed.load(Relaxed)
            && let Some(connection) = self.connection.take()
        {
            drop(Object::take(connection));
        }
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// The host and the port of `database`; never its password.
fn name(database: &Config) -> String {
    let host = match database.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    format!("{host}:{}", database.get_ports().first().copied().unwrap_or(5432))
}
