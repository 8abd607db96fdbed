//! Accounts and payments, found: on a replica where that is fresh enough, else on the primary.
//!
//! What a replica has not is never an answer: it may not have it yet. What it has of a payment or a key
//! never changes; what it has of an account does, so that has to show the last payment that this process
//! has committed, and the one that the client has seen.

use deadpool_postgres::Client;
use tokio_postgres::Row;

use super::replicas::Lent;
use super::{Postgres, rows};
use crate::bank::{BankError, Held, Page};
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::Account;
use crate::money::Currency;
use crate::record::Record;

/// What [`rows::record`] reads of a payment, under the number and time that everybody knows it by, and its number here.
macro_rules! payment {
    ($rest:literal) => {
        concat!(
            "SELECT p.payer, p.payee, p.amount, p.currency, coalesce(p.made_at, p.created_at),
                    coalesce(p.origin, p.seq), NULL::smallint, p.seq FROM ",
            $rest
        )
    };
}

/// The number here of a payment that is one of an account's.
const ON_LIST: &str = "
    SELECT p.seq FROM payments p JOIN entries e ON e.seq = p.seq AND e.created_at = p.created_at
    WHERE e.account = $1 AND e.seq = $2 AND p.origin IS NULL";
/// The same of one that was made in another database.
const CREDIT_ON_LIST: &str = "
    SELECT p.seq FROM payments p JOIN entries e ON e.seq = p.seq AND e.created_at = p.created_at
    WHERE e.account = $1 AND p.origin = $2";

impl Postgres {
    /// The account `id`, if it was opened, with payment `seen` at least when it is one of its.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn account(&self, id: AccountId, seen: u64) -> Result<Option<Held>, BankError> {
        if let Some(held) = self.cache.near(id).await {
            return Ok(Some(held));
        }
        // In a box: whoever awaits this has the room of its future, and so have requests that ask for no account at all.
        Box::pin(self.ask_for(id, seen)).await
    }

    /// The account `id`, which this process has not cached.
    async fn ask_for(&self, id: AccountId, seen: u64) -> Result<Option<Held>, BankError> {
        if self.cache.is_on() {
            // What is cached has to be true, so it comes from the primary.
            return self.cache.read(id, async { account(&self.primary().await?, id).await }).await;
        }
        if let Some(replica) = self.lend().await {
            let least = self.least(id, seen);
            let fresh = |found: &Option<Held>| found.is_some_and(|held| held.as_of_seq >= least);
            if let Some(found) = replica.ask(account(&replica, id), fresh).await {
                return Ok(found);
            }
        }
        account(&self.primary().await?, id).await
    }

    /// The payment with number `seq`.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn payment(&self, seq: u64) -> Result<Option<Record>, BankError> {
        let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
        if let Some(replica) = self.lend().await
            && let Some(found) = replica.ask(payment(&replica, seq), Option::is_some).await
        {
            return Ok(found);
        }
        payment(&self.primary().await?, seq).await
    }

    /// What `key` stands for.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn by_key(&self, key: &ScopedKey) -> Result<Option<Record>, BankError> {
        if let Some(replica) = self.lend().await
            && let Some(found) = replica.ask(by_key(&replica, key), Option::is_some).await
        {
            return Ok(found);
        }
        by_key(&self.primary().await?, key).await
    }

    /// Up to `limit` payments of `account`, newest first, from the one behind `after` on; `None` when
    /// that is none of the account's. From the beginning it shows payment `seen` at least, when that is one of
    /// the account's.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn list(
        &self,
        account: AccountId,
        after: Option<u64>,
        limit: usize,
        seen: u64,
    ) -> Result<Option<Page>, BankError> {
        if let Some(replica) = self.lend().await {
            // What lies behind a payment does not change any more.
            let least = if after.is_some() { 0 } else { self.least(account, seen) };
            let fresh = |listed: &Option<Listed>| listed.as_ref().is_some_and(|l| l.newest >= least);
            if let Some(listed) = replica.ask(self.look(&replica, account, after, limit), fresh).await {
                return Ok(listed.map(|listed| listed.page));
            }
        }
        let listed = self.look(&self.primary().await?, account, after, limit).await?;
        Ok(listed.map(|listed| listed.page))
    }

    /// [`list`](Self::list) as `client` has it.
    async fn look(
        &self,
        client: &Client,
        account: AccountId,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Option<Listed>, BankError> {
        let account = rows::id(account);
        let before = match after {
            None => i64::MAX,
            Some(after) => {
                // One from another database has another number here.
                let elsewhere = self.place.map.of_number(after) != Some(self.place.own);
                let find = if elsewhere { CREDIT_ON_LIST } else { ON_LIST };
                let find = client.prepare_cached(find).await?;
                match client.query_opt(&find, &[&account, &rows::number(after)]).await? {
                    Some(row) => row.try_get(0)?,
                    None => return Ok(None),
                }
            }
        };
        list(client, account, before, limit).await.map(Some)
    }

    async fn lend(&self) -> Option<Lent<'_>> {
        self.reading.as_ref()?.replicas.lend().await
    }

    /// The payment that `account` has to show at least.
    fn least(&self, account: AccountId, seen: u64) -> u64 {
        self.reading.as_ref().map_or(seen, |reading| reading.recent.least(account).max(seen))
    }

    async fn primary(&self) -> Result<Client, BankError> {
        self.metrics.replicas.from_primary.inc();
        Ok(self.pool.get().await?)
    }
}

/// The account `id`, if it was opened.
///
/// # Errors
/// When the database gives one.
pub async fn account(client: &Client, id: AccountId) -> Result<Option<Held>, BankError> {
    let select = client
        .prepare_cached("SELECT currency, opening, balance, last_seq FROM account_balances WHERE id = $1")
        .await?;
    let Some(row) = client.query_opt(&select, &[&rows::id(id)]).await? else { return Ok(None) };
    let currency = Currency::parse(row.try_get(0)?).ok_or(BankError::Row("accounts"))?;
    let last_seq = row.try_get::<_, i64>(3)?.unsigned_abs();
    let account = Account { currency, opening: row.try_get(1)?, balance: row.try_get(2)?, last_seq };
    Ok(Some(Held { account, as_of_seq: last_seq }))
}

async fn payment(client: &Client, seq: i64) -> Result<Option<Record>, BankError> {
    let select = client.prepare_cached(payment!("payments p WHERE p.seq = $1 AND p.origin IS NULL")).await?;
    client.query_opt(&select, &[&seq]).await?.as_ref().map(sound).transpose()
}

async fn by_key(client: &Client, key: &ScopedKey) -> Result<Option<Record>, BankError> {
    let select = client
        .prepare_cached(
            "SELECT payer, payee, amount, currency, created_at, seq, decline
             FROM idempotency_keys WHERE key = $1",
        )
        .await?;
    client.query_opt(&select, &[&key.as_bytes()]).await?.as_ref().map(sound).transpose()
}

/// A page, and the number here of its newest payment.
struct Listed {
    page: Page,
    newest: u64,
}

/// The payments of `account` from the one with the number `before` here on.
async fn list(client: &Client, account: i32, before: i64, limit: usize) -> Result<Listed, BankError> {
    let select = client
        .prepare_cached(payment!(
            "entries e JOIN payments p ON p.seq = e.seq AND p.created_at = e.created_at
             WHERE e.account = $1 AND e.seq < $2 ORDER BY e.seq DESC LIMIT $3"
        ))
        .await?;
    // One more shows that there are more.
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let found = client.query(&select, &[&account, &before, &most]).await?;
    let records = found.iter().take(limit).map(sound).collect::<Result<_, _>>()?;
    let newest = found.first().map_or(Ok(0), |row| row.try_get::<_, i64>(7))?.unsigned_abs();
    Ok(Listed { page: Page { records, has_more: found.len() > limit }, newest })
}

fn sound(row: &Row) -> Result<Record, BankError> {
    rows::record(row)?.ok_or(BankError::Row("payments"))
}
