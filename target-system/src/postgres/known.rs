//! What the database says of an order before it is settled: for payments that other services are asked
//! about first. The transaction asks again, and its word counts.

use super::{Postgres, rows};
use crate::bank::{BankError, Refused};
use crate::idempotency::ScopedKey;
use crate::money::Currency;
use crate::record::{Order, Record};

impl Postgres {
    /// What is known of `key`, and whether `order` makes sense.
    ///
    /// # Errors
    /// When the key stands for another order, the order names what does not exist, or the database gives an
    /// error.
    pub async fn known(&self, key: &ScopedKey, order: &Order) -> Result<Option<Record>, Refused> {
        let unreadable = |error: BankError| {
            tracing::error!(%error, "the store cannot be read");
            Refused::Failed
        };
        let known = self.by_key(key).await.map_err(unreadable)?;
        match known {
            Some(record) if record.order == *order => return Ok(Some(record)),
            Some(_) => return Err(Refused::KeyReused),
            None => {}
        }
        let held = self.currencies(order).await.map_err(unreadable)?;
        for ((param, id), holds) in [("from", order.from), ("to", order.to)].into_iter().zip(held) {
            let holds = holds.ok_or(Refused::NoAccount { param, id })?;
            if holds != order.currency {
                return Err(Refused::OtherCurrency { id, holds });
            }
        }
        Ok(None)
    }

    /// What payer and payee hold; `None` for an account that is none.
    async fn currencies(&self, order: &Order) -> Result<[Option<Currency>; 2], BankError> {
        let connection = self.pool.get().await?;
        let select =
            connection.prepare_cached("SELECT id, currency FROM accounts WHERE id = ANY($1)").await?;
        let ids = [order.from, order.to].map(rows::id);
        let found = connection.query(&select, &[&&ids[..]]).await?;
        let mut held = [None; 2];
        for row in &found {
            let (id, currency): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
            for (held, _) in held.iter_mut().zip(ids).filter(|(_, asked)| *asked == id) {
                *held = Currency::parse(currency);
            }
        }
        Ok(held)
    }
}
