//! Payments to other databases that those may not have yet: the marks of them.

use std::time::Duration;

use deadpool_postgres::{Object, Pool, Transaction};
use tokio::sync::mpsc;

use super::job::Credit;
use super::outbox;
use super::rows::{self, instant};
use crate::bank::BankError;
use crate::limits::{TRANSFERS_AT_ONCE, TRANSFERS_COUNTED};
use crate::money::Currency;
use crate::record::Order;

/// The lock of the process that carries on what is stuck: `transit` in a number of its own.
const TURN: i64 = 0x0074_7261_6e73_6974;

const REMOVE: &str = "DELETE FROM transfers WHERE seq = ANY($1)";

/// Removes the marks of the payments that `finished` tells of, until it ends. One that is lost here is found by the
/// recovery, which gives nothing twice.
pub async fn remove_finished(pool: Pool, mut finished: mpsc::Receiver<u64>) {
    let mut taken = Vec::new();
    while finished.recv_many(&mut taken, TRANSFERS_AT_ONCE).await > 0 {
        let seqs: Vec<i64> = taken.drain(..).map(rows::number).collect();
        if let Err(error) = remove(&pool, &seqs).await {
            tracing::warn!(%error, "marks of finished payments stay for a while");
        }
    }
}

async fn remove(pool: &Pool, seqs: &[i64]) -> Result<(), BankError> {
    let connection = pool.get().await?;
    let remove = connection.prepare_cached(REMOVE).await?;
    // Nobody waits for it, and what is lost with the server is found again: it need not wait for a disk.
    let removed = tokio::join!(
        biased;
        connection.batch_execute("BEGIN; SET LOCAL synchronous_commit = off"),
        async { connection.execute(&remove, &[&seqs]).await },
        connection.batch_execute("COMMIT"),
    );
    if let Err(e) = removed.0.and(removed.1.map(drop)).and(removed.2) {
        // Its transaction may not be over.
        drop(Object::take(connection));
        return Err(e.into());
    }
    Ok(())
}

/// How many there are, up to a million.
///
/// # Errors
/// When the database gives one.
pub async fn count(connection: &Object) -> Result<i64, BankError> {
    let count =
        connection.prepare_cached("SELECT count(*) FROM (SELECT FROM transfers LIMIT $1) AS counted").await?;
    Ok(connection.query_one(&count, &[&TRANSFERS_COUNTED]).await?.try_get(0)?)
}

/// Takes the turn of carrying on what is stuck until the transaction ends; `false` while another process has it.
///
/// # Errors
/// When the database gives one.
pub async fn take_turn(transaction: &Transaction<'_>) -> Result<bool, BankError> {
    outbox::take(transaction, TURN).await
}

/// The oldest payments to one of `shards` behind `after` that are older than `patience`, and to which of them each goes.
///
/// # Errors
/// When the database gives one.
pub async fn stuck(
    transaction: &Transaction<'_>,
    shards: &[usize],
    patience: Duration,
    after: i64,
) -> Result<Vec<(usize, Credit)>, BankError> {
    let select = transaction
        .prepare_cached(
            "SELECT seq, payer, payee, amount, currency, made_at, shard FROM transfers
             WHERE shard = ANY($1) AND made_at < now() - make_interval(secs => $2) AND seq > $3
             ORDER BY seq LIMIT $4",
        )
        .await?;
    let shards: Vec<i16> = shards.iter().filter_map(|shard| i16::try_from(*shard).ok()).collect();
    let most = i64::try_from(TRANSFERS_AT_ONCE).unwrap_or(i64::MAX);
    let rows = transaction.query(&select, &[&shards, &patience.as_secs_f64(), &after, &most]).await?;
    let read = |row: &tokio_postgres::Row| {
        let order = Order {
            from: rows::account(row.try_get(1)?),
            to: rows::account(row.try_get(2)?),
            amount: row.try_get(3)?,
            currency: Currency::parse(row.try_get(4)?).ok_or(BankError::Row("transfers"))?,
        };
        let origin = row.try_get::<_, i64>(0)?.unsigned_abs();
        let credit = Credit { origin, order, made_ms: instant(row, 5)?, request_id: 0, trace: None };
        Ok((usize::try_from(row.try_get::<_, i16>(6)?).unwrap_or(usize::MAX), credit))
    };
    rows.iter().map(read).collect()
}

/// Removes the marks of the payments `seqs`.
///
/// # Errors
/// When the database gives one.
pub async fn remove_in(transaction: &Transaction<'_>, seqs: &[i64]) -> Result<(), BankError> {
    let remove = transaction.prepare_cached(REMOVE).await?;
    transaction.execute(&remove, &[&seqs]).await?;
    Ok(())
}
