//! Whether the books are straight: every entry is read, in one snapshot, while the service goes on.

use std::collections::BTreeMap;

use deadpool_postgres::{Client, Pool, Transaction};
use tokio_postgres::{IsolationLevel, Row};

use super::Postgres;
use crate::bank::{Audited, BankError, Sums};
use crate::store::recount::Recount;

impl Postgres {
    /// Totals that must hold, and with `recount` whether every balance, entry and key does.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn audit(&self, recount: bool) -> Result<Audited, BankError> {
        read_all(&self.pool, recount).await
    }
}

async fn read_all(pool: &Pool, recount: bool) -> Result<Audited, BankError> {
    let mut connection = pool.get().await?;
    let snapshot = snapshot(&mut connection).await?;
    let mut audited = totals(&snapshot).await?;
    if recount {
        audited.recount = Some(count_again(&snapshot, &audited).await?);
    }
    snapshot.commit().await?;
    Ok(audited)
}

/// What the database holds now, to be read for as long as it takes.
///
/// # Errors
/// When the database gives one.
pub async fn snapshot(connection: &mut Client) -> Result<Transaction<'_>, BankError> {
    let snapshot = connection
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    // Reading everything takes its time; the limits of a connection are meant for payments.
    snapshot.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on").await?;
    Ok(snapshot)
}

async fn totals(snapshot: &Transaction<'_>) -> Result<Audited, BankError> {
    let counts = snapshot
        .query_one(
            "SELECT (SELECT count(*) FROM payments WHERE origin IS NULL),
                    (SELECT coalesce(max(seq), 0) FROM payments WHERE origin IS NULL),
                    count(*), count(*) FILTER (WHERE decline IS NOT NULL),
                    (SELECT count(*) FROM accounts)
             FROM idempotency_keys",
            &[],
        )
        .await?;
    let currencies = snapshot
        .query(
            "WITH moved AS (
                 SELECT a.currency, -sum(e.amount) FILTER (WHERE e.amount < 0) AS debits,
                        sum(e.amount) FILTER (WHERE e.amount > 0) AS credits
                 FROM entries e JOIN accounts a ON a.id = e.account GROUP BY a.currency
             ), held AS (
                 SELECT currency, sum(balance) AS balances, sum(opening) AS openings
                 FROM account_balances GROUP BY currency
             )
             SELECT currency, coalesce(debits, 0)::text, coalesce(credits, 0)::text, balances::text,
                    (-openings)::text
             FROM held LEFT JOIN moved USING (currency) ORDER BY currency",
            &[],
        )
        .await?;
    let in_transit = snapshot
        .query(
            "SELECT p.currency, sum(e.amount)::text
             FROM entries e JOIN payments p ON p.seq = e.seq AND p.created_at = e.created_at
             WHERE e.account < 0 GROUP BY p.currency",
            &[],
        )
        .await?;
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    for row in &currencies {
        let (debits, credits) = (sum(row, 1)?, sum(row, 2)?);
        let held = Sums { debits, credits, balances: sum(row, 3)?, world: sum(row, 4)?, in_transit: 0 };
        sums.insert(row.try_get(0)?, held);
    }
    for row in &in_transit {
        sums.entry(row.try_get(0)?).or_default().in_transit = sum(row, 1)?;
    }
    Ok(Audited {
        payments: count(&counts, 0)?,
        highest_seq: count(&counts, 1)?,
        keys: count(&counts, 2)?,
        declines: count(&counts, 3)?,
        accounts: usize::try_from(count(&counts, 4)?).unwrap_or(usize::MAX),
        currencies: sums,
        recount: None,
    })
}

/// What a recount of the embedded store finds, of rows in tables. Numbers have gaps here: a payment is
/// missing when entries have no payment.
async fn count_again(snapshot: &Transaction<'_>, audited: &Audited) -> Result<Recount, BankError> {
    // Numbers rise within a stripe as payments are committed; within an account they do where it has one stripe.
    let entries = snapshot
        .query_one(
            "WITH lines AS (
                 SELECT account, stripe, seq, amount, balance_after, true AS is_entry FROM entries
                 UNION ALL
                 SELECT account, stripe, seq, amount, NULL, false FROM stripe_moves
             ), running AS (
                 SELECT l.account, l.balance_after, l.is_entry,
                        CASE WHEN l.stripe = 0 THEN a.opening ELSE 0 END
                        + sum(l.amount) OVER (PARTITION BY l.account, l.stripe ORDER BY l.seq) AS counted
                 FROM lines l LEFT JOIN accounts a ON a.id = l.account
                 WHERE l.account > 0
             )
             SELECT count(DISTINCT account) FILTER (WHERE counted < 0),
                    count(*) FILTER (WHERE is_entry AND balance_after IS DISTINCT FROM counted)
             FROM running",
            &[],
        )
        .await?;
    // One of the two accounts is that of what is on its way, when the other is in another database; of the payments that
    // begin here that is where the payee would be, of those that end here where the payer would.
    let payments = snapshot
        .query_one(
            "WITH pairs AS (
                 SELECT seq, count(*) AS entries, sum(amount) AS sum,
                        min(account) FILTER (WHERE amount < 0) AS payer,
                        min(account) FILTER (WHERE amount > 0) AS payee, max(amount) AS amount
                 FROM entries GROUP BY seq
             )
             SELECT count(*) FILTER (WHERE p.seq IS NULL),
                    count(*) FILTER (WHERE p.seq IS NOT NULL AND
                        (e.entries, e.sum, e.payer, e.payee, e.amount)
                        IS DISTINCT FROM (2::bigint, 0::numeric,
                            CASE WHEN p.origin IS NULL THEN p.payer ELSE least(e.payer, -1) END,
                            CASE WHEN p.origin IS NULL AND e.payee < 0 THEN e.payee ELSE p.payee END,
                            p.amount))
             FROM payments p FULL JOIN pairs e USING (seq)",
            &[],
        )
        .await?;
    let keys = snapshot
        .query_one(
            "WITH oldest AS (SELECT min(created_at) AS kept FROM idempotency_keys)
             SELECT count(*) FILTER (WHERE p.seq IS NULL),
                    count(*) FILTER (WHERE k.seq IS NULL AND p.created_at > kept)
             FROM (SELECT seq FROM idempotency_keys WHERE seq IS NOT NULL) k
                  FULL JOIN (SELECT seq, created_at FROM payments WHERE origin IS NULL) p USING (seq)
                  CROSS JOIN oldest",
            &[],
        )
        .await?;
    let twice = snapshot
        .query_one(
            "SELECT (SELECT count(*) - count(DISTINCT seq) FROM idempotency_keys WHERE seq IS NOT NULL),
                    (SELECT count(origin) - count(DISTINCT origin) FROM payments)",
            &[],
        )
        .await?;
    let mut found = Recount {
        payments: audited.payments,
        highest_seq: audited.highest_seq,
        keys: audited.keys,
        accounts: audited.accounts as u64,
        missing_payments: count(&payments, 0)?,
        wrong_balances: wrong_balances(snapshot).await?,
        overdrawn_accounts: count(&entries, 0)?,
        broken_links: count(&entries, 1)?,
        wrong_volumes: audited.currencies.values().filter(|sums| !sums.hold()).count() as u64,
        impossible_payments: count(&payments, 1)? + count(&twice, 1)?,
        stray_keys: count(&keys, 0)? + count(&twice, 0)?,
        missing_keys: count(&keys, 1)?,
        unmatched_transfers: 0,
        sound: false,
    };
    found.judge();
    Ok(found)
}

/// Accounts of which a stripe is not what its entries and moves come to, or that have another last payment. A stripe
/// that is gone, since all were folded, has come to nothing.
async fn wrong_balances(snapshot: &Transaction<'_>) -> Result<u64, BankError> {
    let wrong = snapshot
        .query_one(
            "WITH lines AS (
                 SELECT account, stripe, amount FROM entries WHERE account > 0
                 UNION ALL
                 SELECT account, stripe, amount FROM stripe_moves
             ), moved AS (
                 SELECT account, stripe, sum(amount) AS amount FROM lines GROUP BY account, stripe
             ), last AS (
                 SELECT account, max(seq) AS seq FROM entries WHERE account > 0 GROUP BY account
             ), last_known AS (
                 SELECT account, max(last_seq) AS seq FROM account_parts GROUP BY account
             ), wrong AS (
                 SELECT account FROM account_parts p FULL JOIN moved m USING (account, stripe)
                 WHERE coalesce(p.balance, 0) <> coalesce(p.opening, 0) + coalesce(m.amount, 0)
                       OR (p.balance IS NULL AND stripe = 0)
                 UNION
                 SELECT account FROM last_known k FULL JOIN last l USING (account)
                 WHERE k.seq IS DISTINCT FROM coalesce(l.seq, 0)
                 UNION
                 SELECT account FROM stripe_moves GROUP BY account, seq HAVING sum(amount) <> 0
             )
             SELECT count(*) FROM wrong",
            &[],
        )
        .await?;
    count(&wrong, 0)
}

fn count(row: &Row, column: usize) -> Result<u64, BankError> {
    Ok(row.try_get::<_, i64>(column)?.unsigned_abs())
}

/// A sum, which Postgres keeps as a decimal of any length.
fn sum(row: &Row, column: usize) -> Result<i128, BankError> {
    row.try_get::<_, &str>(column)?.parse().map_err(|_| BankError::Row("sums"))
}
