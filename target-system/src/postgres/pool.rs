//! Connections to the database, kept and validated.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::NoTls;

use super::database::Database;
use crate::bank::BankError;

/// How often the pool is looked after.
const CARE_EVERY: Duration = Duration::from_secs(10);

/// How many connections there are, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// Connections that are kept open.
    pub min: usize,
    /// The most.
    pub max: usize,
    /// After how long without use one is closed, down to `min`.
    pub idle: Duration,
    /// After how long one is replaced, used or not.
    pub lifetime: Duration,
    /// How long somebody waits for one.
    pub acquire: Duration,
}

/// A pool for `database`. No connection is opened yet.
///
/// # Errors
/// Never: a runtime is given.
pub fn build(database: Database, settings: PoolSettings) -> anyhow::Result<Pool> {
    // Whether the socket is still open is seen without a question; one that breaks meanwhile fails the
    // transaction, and the connection is thrown away.
    let recycled = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match database.tls {
        Some(tls) => Manager::from_config(database.config, tls, recycled),
        None => Manager::from_config(database.config, NoTls, recycled),
    };
    let lifetime = settings.lifetime;
    let pool = Pool::builder(manager)
        .max_size(settings.max)
        .wait_timeout(Some(settings.acquire))
        .create_timeout(Some(settings.acquire))
        .recycle_timeout(Some(settings.acquire))
        .runtime(Runtime::Tokio1)
        .pre_recycle(Hook::sync_fn(move |_, metrics| {
            if metrics.age() < lifetime { Ok(()) } else { Err(HookError::message("its time is over")) }
        }))
        .build()?;
    Ok(pool)
}

/// Closes what is idle and opens what is missing, until the pool is closed.
pub async fn look_after(pool: Pool, settings: PoolSettings) {
    while !pool.is_closed() {
        // A database that is away is noticed by whoever asks it.
        let _ = open_least(&pool, settings.min).await;
        tokio::time::sleep(CARE_EVERY).await;
        let mut spare = pool.status().size.saturating_sub(settings.min);
        pool.retain(|_, metrics| {
            let closes = spare > 0 && metrics.last_used() >= settings.idle;
            spare -= usize::from(closes);
            !closes
        });
    }
}

/// Opens connections until there are `min`. Those that nobody uses are in hand meanwhile, so it waits for no other.
async fn open_least(pool: &Pool, min: usize) -> Result<(), BankError> {
    let mut open: Vec<Object> = Vec::new();
    while pool.status().size < min {
        let at_once = Timeouts { wait: Some(Duration::ZERO), ..pool.timeouts() };
        open.push(pool.timeout_get(&at_once).await?);
    }
    Ok(())
}
