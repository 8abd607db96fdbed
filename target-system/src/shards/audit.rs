//! Whether the books of all databases are straight. Each is read in a snapshot of its own, all at once; what was on its way
//! meanwhile is counted as that, and matched one by one when everything is counted again.

use futures_util::future::join_all;
use tokio::sync::OwnedSemaphorePermit;

use super::{Shards, reconcile};
use crate::bank::{Audited, BankError};
use crate::postgres::Postgres;

impl Shards {
    /// Totals that must hold, and with `recount` whether every balance, entry, key and transfer does.
    ///
    /// # Errors
    /// When a database gives one.
    pub async fn audit(&self, recount: bool, turn: OwnedSemaphorePermit) -> Result<Audited, BankError> {
        // It goes on when nobody waits any more: whose turn it is tells that it does.
        let shards = self.clone();
        let audited = tokio::spawn(async move {
            let audited = shards.read_all(recount).await;
            drop(turn);
            audited
        });
        audited.await.map_err(|_| BankError::Row("the audit"))?
    }

    async fn read_all(&self, recount: bool) -> Result<Audited, BankError> {
        // All to their end, also when one fails: a connection that is given back in the middle of a question is no use to
        // payments.
        let read = join_all(self.inner.all.iter().map(|database| database.audit(recount))).await;
        let read = read.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut together = Audited::default();
        for audited in &read {
            together.add(audited);
        }
        if let Some(found) = &mut together.recount {
            found.unmatched_transfers = match self.only() {
                // Nothing is on its way to or from nowhere.
                Some(_) => together.currencies.values().filter(|sums| sums.in_transit != 0).count() as u64,
                None => {
                    let pools: Vec<_> = self.inner.all.iter().map(Postgres::pool).collect();
                    reconcile::unmatched(&pools).await?
                }
            };
            found.judge();
        }
        Ok(together)
    }
}
