//! What goes on beside payments: whether the database is there, keys that are over, months to come.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio_postgres::types::ToSql;

use super::layout::{self, Layout};
use super::{State, schema};
use crate::bank::BankError;
use crate::limits::HOME_MARGIN;

/// How often the database is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How often expired keys are removed and tables of months to come made.
const CHORES_EVERY: Duration = Duration::from_secs(60);
/// Expired keys that are removed in one transaction.
const EXPIRE_AT_ONCE: i64 = 10_000;

/// Asks the database whether it is there, until the pool is closed.
pub(super) async fn probe(pool: Pool, layout: Layout, state: Arc<State>, time_limit: Duration) {
    loop {
        let asked = async {
            let connection = pool.get().await?;
            let row = connection.query_one("SELECT max(id), pg_is_in_recovery() FROM accounts", &[]).await?;
            if row.try_get(1)? {
                return Err(BankError::Copy);
            }
            if layout::read(&connection).await? != layout {
                return Err(BankError::Layout);
            }
            Ok::<Option<i32>, BankError>(row.try_get(0)?)
        };
        let healthy = match tokio::time::timeout(time_limit, asked).await {
            Ok(Ok(highest)) => {
                let accounts = highest.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                state.accounts.store(accounts, Relaxed);
                true
            }
            Ok(Err(error @ BankError::Layout)) => {
                tracing::error!(%error, "the database is not used any more");
                false
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
pub(super) async fn do_chores(pool: Pool, key_window: Duration) {
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
    // Whose a key is has to be known for as long as it stands for something, and that begins later.
    for (table, window) in [("idempotency_keys", key_window), ("key_homes", key_window + HOME_MARGIN)] {
        // Those that another process is removing are its business.
        let expire = format!(
            "DELETE FROM {table} WHERE key IN (
                 SELECT key FROM {table} WHERE created_at < now() - make_interval(secs => $1)
                 LIMIT $2 FOR UPDATE SKIP LOCKED)"
        );
        let params: [&(dyn ToSql + Sync); 2] = [&window.as_secs_f64(), &EXPIRE_AT_ONCE];
        while connection.execute(&expire, &params).await? >= EXPIRE_AT_ONCE.unsigned_abs() {}
    }
    Ok(())
}
