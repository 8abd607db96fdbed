//! Accounts and payments, found.

use tokio_postgres::Row;

use super::{Postgres, rows};
use crate::bank::{BankError, Held, Page};
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::Account;
use crate::money::Currency;
use crate::record::Record;

/// What [`rows::record`] reads of a payment.
macro_rules! payment {
    ($rest:literal) => {
        concat!(
            "SELECT p.payer, p.payee, p.amount, p.currency, p.created_at, p.seq, NULL::smallint FROM ",
            $rest
        )
    };
}

impl Postgres {
    /// The account `id`, if it was opened.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn account(&self, id: AccountId) -> Result<Option<Held>, BankError> {
        let connection = self.pool.get().await?;
        let select = connection
            .prepare_cached("SELECT currency, opening, balance, last_seq FROM accounts WHERE id = $1")
            .await?;
        let Some(row) = connection.query_opt(&select, &[&rows::id(id)]).await? else { return Ok(None) };
        let currency = Currency::parse(row.try_get(0)?).ok_or(BankError::Row("accounts"))?;
        let last_seq = row.try_get::<_, i64>(3)?.unsigned_abs();
        let account = Account { currency, opening: row.try_get(1)?, balance: row.try_get(2)?, last_seq };
        Ok(Some(Held { account, as_of_seq: last_seq }))
    }

    /// The payment with number `seq`.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn payment(&self, seq: u64) -> Result<Option<Record>, BankError> {
        let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
        let connection = self.pool.get().await?;
        let select = connection.prepare_cached(payment!("payments p WHERE p.seq = $1")).await?;
        connection.query_opt(&select, &[&seq]).await?.as_ref().map(sound).transpose()
    }

    /// What `key` stands for.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn by_key(&self, key: &ScopedKey) -> Result<Option<Record>, BankError> {
        let connection = self.pool.get().await?;
        let select = connection
            .prepare_cached(
                "SELECT payer, payee, amount, currency, created_at, seq, decline
                 FROM idempotency_keys WHERE key = $1",
            )
            .await?;
        connection.query_opt(&select, &[&key.as_bytes()]).await?.as_ref().map(sound).transpose()
    }

    /// Up to `limit` payments of `account`, newest first, from the one behind `after` on; `None` when
    /// that is none of the account's.
    ///
    /// # Errors
    /// When the database gives one.
    pub async fn list(
        &self,
        account: AccountId,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Option<Page>, BankError> {
        let connection = self.pool.get().await?;
        let account = rows::id(account);
        let before = match after {
            None => i64::MAX,
            Some(after) => {
                let after = i64::try_from(after).unwrap_or(i64::MAX);
                let on_list = connection
                    .prepare_cached("SELECT 1 FROM entries WHERE account = $1 AND seq = $2")
                    .await?;
                if connection.query_opt(&on_list, &[&account, &after]).await?.is_none() {
                    return Ok(None);
                }
                after
            }
        };
        let select = connection
            .prepare_cached(payment!(
                "entries e JOIN payments p ON p.seq = e.seq AND p.created_at = e.created_at
                 WHERE e.account = $1 AND e.seq < $2 ORDER BY e.seq DESC LIMIT $3"
            ))
            .await?;
        // One more shows that there are more.
        let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let found = connection.query(&select, &[&account, &before, &most]).await?;
        let records = found.iter().take(limit).map(sound).collect::<Result<_, _>>()?;
        Ok(Some(Page { records, has_more: found.len() > limit }))
    }
}

fn sound(row: &Row) -> Result<Record, BankError> {
    rows::record(row)?.ok_or(BankError::Row("payments"))
}
