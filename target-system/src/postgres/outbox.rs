//! The outbox: notices that are written with their payments and removed once the queue has them.

use deadpool_postgres::{Object, Transaction};

use super::rows::{self, instant};
use crate::bank::BankError;
use crate::money::Currency;
use crate::queue::event::Notice;
use crate::record::Order;
use crate::trace::span::Trace;

/// Writes the notices of payments, in their transaction: with the columns of `payments`, and where
/// their spans belong.
pub const INSERT: &str = "
    INSERT INTO outbox (seq, payer, payee, amount, currency, trace, created_at)
    SELECT *, now() FROM unnest($1::bigint[], $2::int[], $3::int[], $4::bigint[], $5::text[], $6::text[])";

/// The same for payments that came from another database: under their numbers and times there.
pub const INSERT_CREDITED: &str = "
    INSERT INTO outbox (seq, payer, payee, amount, currency, origin, trace, created_at)
    SELECT seq, payer, payee, amount, currency, origin, trace,
           'epoch'::timestamptz + made_ms * interval '1 millisecond'
    FROM unnest($1::bigint[], $2::int[], $3::int[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::text[])
        AS v (seq, payer, payee, amount, currency, origin, made_ms, trace)";

/// The lock of the process that empties the outbox: `outbox` in a number of its own.
const TURN: i64 = 0x6f75_7462_6f78;

/// Rows that are counted; beyond them a count says no more.
const COUNTED: i64 = 1_000_000;

/// What the outbox holds.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Rows, up to a million.
    pub rows: i64,
    /// The age of the oldest, in seconds.
    pub oldest_s: f64,
}

/// Looks at the outbox.
///
/// # Errors
/// When the database gives one.
pub async fn look(client: &Object) -> Result<Held, BankError> {
    let look = client
        .prepare_cached(
            "SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) AS counted),
                    (SELECT extract(epoch FROM now() - created_at)::float8 FROM outbox ORDER BY seq LIMIT 1)",
        )
        .await?;
    let row = client.query_one(&look, &[&COUNTED]).await?;
    Ok(Held { rows: row.try_get(0)?, oldest_s: row.try_get::<_, Option<f64>>(1)?.unwrap_or(0.0).max(0.0) })
}

/// Takes the turn of emptying the outbox until the transaction ends; `false` while another has it.
///
/// # Errors
/// When the database gives one.
pub async fn take_turn(transaction: &Transaction<'_>) -> Result<bool, BankError> {
    take(transaction, TURN).await
}

/// Takes the turn that the lock `turn` stands for until the transaction ends; `false` while another has it.
pub(super) async fn take(transaction: &Transaction<'_>, turn: i64) -> Result<bool, BankError> {
    // A process that stands still loses its turn with its session.
    let (limited, taken) = tokio::join!(
        biased;
        transaction.batch_execute("SET LOCAL idle_in_transaction_session_timeout = '30s'"),
        async { transaction.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&turn]).await },
    );
    limited?;
    Ok(taken?.try_get(0)?)
}

/// The oldest notices, `most` at most, with the numbers of their rows. Those of one account are in the order of its payments: numbers are
/// taken while the account is locked, so a lower one of the same account is committed first.
///
/// # Errors
/// When the database gives one.
pub async fn oldest(transaction: &Transaction<'_>, most: i64) -> Result<Vec<(i64, Notice)>, BankError> {
    let oldest = transaction
        .prepare_cached(
            "SELECT seq, payer, payee, amount, currency, created_at, coalesce(origin, seq), trace
             FROM outbox ORDER BY seq LIMIT $1",
        )
        .await?;
    let mut notices = Vec::new();
    for row in transaction.query(&oldest, &[&most]).await? {
        let currency = Currency::parse(row.try_get(4)?).ok_or(BankError::Row("outbox"))?;
        let order = Order {
            from: rows::account(row.try_get(1)?),
            to: rows::account(row.try_get(2)?),
            amount: row.try_get(3)?,
            currency,
        };
        let seq = row.try_get::<_, i64>(6)?.unsigned_abs();
        let trace = row.try_get::<_, Option<&str>>(7)?.and_then(Trace::read).map(Box::new);
        let notice = Notice { seq, order, created_ms: instant(&row, 5)?, request_id: 0, trace };
        notices.push((row.try_get(0)?, notice));
    }
    Ok(notices)
}

/// Removes the rows `seqs`.
///
/// # Errors
/// When the database gives one.
pub async fn remove(transaction: &Transaction<'_>, seqs: &[i64]) -> Result<(), BankError> {
    let remove = transaction.prepare_cached("DELETE FROM outbox WHERE seq = ANY($1)").await?;
    transaction.execute(&remove, &[&seqs]).await?;
    Ok(())
}
