//! Reads the accounts that were most active of late, so that a process that starts need not be slow.

use std::sync::Arc;

use deadpool_postgres::Pool;

use super::Cache;
use crate::bank::BankError;
use crate::limits::WARM_PAYMENTS;
use crate::postgres::{read, rows};

/// Reads them one after another, as anybody would. What fails is read when somebody asks.
pub async fn warm(cache: Arc<Cache>, database: Pool) {
    match read_most_active(&cache, &database).await {
        Ok(accounts) => tracing::info!(accounts, "the cache is warm"),
        Err(error) => tracing::warn!(%error, "the cache was not warmed"),
    }
}

async fn read_most_active(cache: &Cache, database: &Pool) -> Result<usize, BankError> {
    let most = cache.settings.entries.min(cache.settings.warm.into());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let ids = {
        let connection = database.get().await?;
        let select = "
            WITH latest AS (SELECT payer, payee FROM payments ORDER BY seq DESC LIMIT $1)
            SELECT account FROM (SELECT payer AS account FROM latest UNION ALL SELECT payee FROM latest) AS took_part
            GROUP BY account ORDER BY count(*) DESC, account LIMIT $2";
        connection.query(select, &[&WARM_PAYMENTS, &most]).await?
    };
    for row in &ids {
        let id = rows::account(row.try_get(0)?);
        if cache.near(id).await.is_some() {
            continue;
        }
        cache.read(id, async { read::account(&database.get().await?, id).await }).await?;
    }
    Ok(ids.len())
}
