//! Carries on payments between databases that somebody began and did not finish: a process that was killed in between, a
//! payee's database that went away.

use deadpool_postgres::Object;
use futures_util::future::join_all;

use super::Shards;
use crate::bank::BankError;
use crate::limits::RECOVER_EVERY;
use crate::postgres::{rows, transfers};

/// Looks again and again for what was paid in the database `from` and has not arrived elsewhere.
pub async fn recover(shards: Shards, from: usize) {
    loop {
        tokio::time::sleep(RECOVER_EVERY).await;
        if let Err(error) = round(&shards, from).await {
            // A database that is away is told of by whoever watches it.
            tracing::debug!(%error, "what is stuck stays for a while");
        }
    }
}

async fn round(shards: &Shards, from: usize) -> Result<(), BankError> {
    let inner = &shards.inner;
    let mut connection = inner.all[from].pool().get().await?;
    inner.metrics.in_transit(from, transfers::count(&connection).await?);
    let carried = carry_on(shards, &mut connection).await;
    if carried.is_err() {
        // Its transaction may not be over.
        drop(Object::take(connection));
    }
    let carried = carried?;
    if carried > 0 {
        inner.metrics.recovered.inc_by(carried);
        tracing::warn!(payments = carried, from, "payments that were on their way have arrived");
    }
    Ok(())
}

/// Gives payees what is stuck; how many payments that were.
async fn carry_on(shards: &Shards, connection: &mut Object) -> Result<u64, BankError> {
    let inner = &shards.inner;
    let there: Vec<usize> = (0..inner.all.len()).filter(|n| inner.all[*n].health().ok).collect();
    let transaction = connection.transaction().await?;
    if !transfers::take_turn(&transaction).await? {
        return Ok(transaction.rollback().await.map(|()| 0)?);
    }
    let stuck = transfers::stuck(&transaction, &there).await?;
    let given = join_all(stuck.iter().map(|(to, credit)| inner.all[*to].credit(credit.clone()))).await;
    let arrived = stuck.iter().zip(given).filter(|(_, given)| given.is_ok());
    let seqs: Vec<i64> = arrived.map(|((_, credit), _)| rows::number(credit.origin)).collect();
    if !seqs.is_empty() {
        transfers::remove_in(&transaction, &seqs).await?;
    }
    transaction.commit().await?;
    Ok(seqs.len() as u64)
}
