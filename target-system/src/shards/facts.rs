//! What is known of payers and payees before a payment between databases: nothing may refuse its second half.

use deadpool_postgres::Client;
use moka::future::Cache;

use super::Shards;
use crate::bank::{BankError, Held, Refused};
use crate::decline::Decline;
use crate::ids::AccountId;
use crate::limits::{KNOWN_ACCOUNTS, KNOWN_FOR, WEALTHY};
use crate::money::Currency;
use crate::postgres::read;
use crate::record::Order;

/// What accounts hold. An account that there is stays, and its currency with it, so neither has to be asked twice.
#[derive(Debug)]
pub struct Facts {
    /// Of accounts that are not so wealthy that they may soon have no room.
    currencies: Cache<u32, Currency>,
}

impl Facts {
    /// Nothing is known.
    pub fn new() -> Self {
        Self { currencies: Cache::builder().max_capacity(KNOWN_ACCOUNTS).time_to_live(KNOWN_FOR).build() }
    }

    /// Whether payer and payee of `order` exist and hold its currency; a decline when the payee has no room for it.
    ///
    /// # Errors
    /// When they do not, or a database gives an error.
    pub async fn check(&self, shards: &Shards, order: &Order) -> Result<Option<Decline>, Refused> {
        let (from, to) = tokio::join!(self.look(shards, order.from), self.look(shards, order.to));
        self.agree("from", order.from, from, order.currency)?;
        let room = self.agree("to", order.to, to, order.currency)?;
        Ok((room < order.amount).then_some(Decline::ExceedsLimit))
    }

    /// How much more the account may hold, when it exists and holds `currency`.
    fn agree(
        &self,
        param: &'static str,
        id: AccountId,
        found: Result<Option<(Currency, i64)>, BankError>,
        currency: Currency,
    ) -> Result<i64, Refused> {
        let found = found.map_err(|error| {
            tracing::error!(%error, "the store cannot be read");
            Refused::Failed
        })?;
        match found {
            None => Err(Refused::NoAccount { param, id }),
            Some((holds, _)) if holds != currency => Err(Refused::OtherCurrency { id, holds }),
            Some((_, room)) => Ok(room),
        }
    }

    /// What the account holds, and how much more it may at least.
    async fn look(&self, shards: &Shards, id: AccountId) -> Result<Option<(Currency, i64)>, BankError> {
        if let Some(currency) = self.currencies.get(&id.0).await {
            return Ok(Some((currency, i64::MAX - WEALTHY)));
        }
        let client: Client = shards.of(id).pool().get().await?;
        let Some(Held { account, .. }) = read::account(&client, id).await? else { return Ok(None) };
        if account.balance <= WEALTHY {
            self.currencies.insert(id.0, account.currency).await;
        }
        Ok(Some((account.currency, i64::MAX - account.balance)))
    }
}
