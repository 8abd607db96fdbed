//! The epoch that all caches of a database belong to.
//!
//! Everybody who commits reads the epoch after the commit. It changes only when somebody could not tell
//! everybody else of a payment.

use std::sync::{Mutex, PoisonError};

use deadpool_postgres::{Client, Pool};
use squall_record::clock::Clock;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row};

use super::lease::nanos;
use crate::bank::BankError;
use crate::limits::{CACHE_DATABASE, CACHE_LEASE};

/// Reads a [`Seen`].
pub const SELECT: &str = "
    SELECT e.id, e.redis, h.holder FROM cache_epoch e LEFT JOIN cache_holders h ON h.epoch = e.id";

/// What `client`'s database is called where several share a Redis: no other has that name, nor has one that takes its place.
///
/// # Errors
/// When the database gives one.
pub async fn name_of(client: &Client) -> Result<String, BankError> {
    let database =
        client.query_one("SELECT oid FROM pg_database WHERE datname = current_database()", &[]).await?;
    let database: u32 = database.try_get(0)?;
    let server = match client.query_one("SELECT system_identifier FROM pg_control_system()", &[]).await {
        Ok(row) => row.try_get(0)?,
        // Not everybody may ask. Then databases of several servers may have one name.
        Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => 0_i64,
        Err(e) => return Err(e.into()),
    };
    Ok(format!("{server:x}-{database}"))
}

/// An epoch, as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub id: i64,
    /// The run of the Redis server that belongs to it; nothing is cached when none does.
    pub redis: Option<String>,
    /// Who answers from the cache.
    pub holders: Vec<i64>,
}

impl Seen {
    /// What [`SELECT`] has found.
    ///
    /// # Errors
    /// When that are other columns.
    pub fn read(rows: &[Row]) -> Result<Option<Self>, Error> {
        let Some(first) = rows.first() else { return Ok(None) };
        let holders = rows.iter().filter_map(|row| row.try_get(2).transpose());
        Ok(Some(Self {
            id: first.try_get(0)?,
            redis: first.try_get(1)?,
            holders: holders.collect::<Result<_, _>>()?,
        }))
    }
}

/// The epoch as it is now.
///
/// # Errors
/// When the database gives one.
pub async fn read(client: &Client) -> Result<Seen, BankError> {
    let select = client.prepare_cached(SELECT).await?;
    let rows = client.query(&select, &[]).await?;
    Seen::read(&rows)?.ok_or(BankError::Row("cache_epoch"))
}

/// The way to the epoch in the database.
#[derive(Debug)]
pub struct Epochs {
    /// Connections of its own: those of payments may all be in use.
    database: Pool,
    clock: Clock,
    /// The epoch that was seen last, and since when it has been.
    known: Mutex<(i64, u64)>,
}

impl Epochs {
    /// `seen` is the first that is known.
    pub fn new(database: Pool, seen: &Seen) -> Self {
        Self { database, clock: Clock::start(), known: Mutex::new((seen.id, 0)) }
    }

    /// The epoch as it is now.
    ///
    /// # Errors
    /// When the database gives one, or takes too long.
    pub async fn current(&self) -> Result<Seen, BankError> {
        let seen = in_time(async { read(&self.database.get().await?).await }).await?;
        self.note(seen.id);
        Ok(seen)
    }

    /// `epoch` was the current one a moment ago.
    pub fn note(&self, epoch: i64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != epoch {
            *known = (epoch, self.clock.now_ns());
        }
    }

    /// Makes `holder` one of those who answer from the cache in `epoch`, which is that of the server `redis`.
    /// Whether it is one: the epoch may have ended, or be another server's.
    ///
    /// # Errors
    /// When the database gives one, or takes too long.
    pub async fn join(&self, holder: i64, epoch: i64, redis: &str) -> Result<bool, BankError> {
        let joined = async {
            let connection = self.database.get().await?;
            let inserted = connection
                .execute(
                    "WITH joined AS (
                         UPDATE cache_epoch SET redis = $3 WHERE id = $2 AND coalesce(redis, $3) = $3 RETURNING id
                     ) INSERT INTO cache_holders (holder, epoch) SELECT $1, id FROM joined",
                    &[&holder, &epoch, &redis],
                )
                .await?;
            Ok(inserted == 1)
        };
        in_time(joined).await
    }

    /// `holder` answers from the cache no more, and what it has committed it has told.
    ///
    /// # Errors
    /// When the database gives one, or takes too long.
    pub async fn leave(&self, holder: i64) -> Result<(), BankError> {
        let left = async {
            let connection = self.database.get().await?;
            connection.execute("DELETE FROM cache_holders WHERE holder = $1", &[&holder]).await?;
            Ok(())
        };
        in_time(left).await
    }

    /// Ends `epoch`, unless it has ended; the one that is now.
    ///
    /// # Errors
    /// When the database gives one, or takes too long.
    pub async fn end(&self, epoch: i64, why: &str) -> Result<Seen, BankError> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|_| BankError::Row("cache_epoch"))?;
        let ended = async {
            let connection = self.database.get().await?;
            let id = i64::from_le_bytes(id);
            let ended = connection
                .execute("UPDATE cache_epoch SET id = $2, redis = NULL WHERE id = $1", &[&epoch, &id])
                .await?;
            connection
                .execute("DELETE FROM cache_holders WHERE epoch <> (SELECT id FROM cache_epoch)", &[])
                .await?;
            if ended == 1 {
                tracing::warn!(why, "the cache begins anew");
            }
            Ok(())
        };
        in_time(ended).await?;
        self.current().await
    }

    /// Waits until nobody answers from the cache of the epoch before `epoch`: whoever does has asked whether it
    /// is the current one before `epoch` was known here.
    pub async fn outlast_the_one_before(&self, epoch: i64) {
        let since_ns = match *self.known.lock().unwrap_or_else(PoisonError::into_inner) {
            (id, since_ns) if id == epoch => since_ns,
            _ => self.clock.now_ns(),
        };
        tokio::time::sleep(self.clock.until(since_ns.saturating_add(nanos(CACHE_LEASE)))).await;
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, BankError>>) -> Result<T, BankError> {
    tokio::time::timeout(CACHE_DATABASE, asked).await.unwrap_or(Err(BankError::Slow(CACHE_DATABASE)))
}
