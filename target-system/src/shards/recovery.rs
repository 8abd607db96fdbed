//! Carries on payments between databases that somebody began and did not finish: a process that was killed in between, a
//! payee's database that went away.

use deadpool_postgres::Object;
use futures_util::future::join_all;

use super::Shards;
use crate::bank::BankError;
use crate::limits::{RECOVER_EVERY, TRANSFERS_AT_ONCE};
use crate::postgres::{rows, transfers};

/// Looks again and again for what was paid in the database `from` and has not arrived elsewhere.
pub async fn recover(shards: Shards, from: usize) {
    // What cannot be given is not in the way of what is behind it.
    let mut after = 0;
    loop {
        tokio::time::sleep(RECOVER_EVERY).await;
        match round(&shards, from, after).await {
            Ok(last) => after = last,
            // A database that is away is told of by whoever watches it.
            Err(error) => tracing::debug!(%error, "what is stuck stays for a while"),
        }
    }
}

/// One look, at what is behind the payment `after`; where to go on.
async fn round(shards: &Shards, from: usize, after: i64) -> Result<i64, BankError> {
    let inner = &shards.inner;
    let mut connection = inner.all[from].aside().get().await?;
    inner.metrics.in_transit(from, transfers::count(&connection).await?);
    let carried = carry_on(shards, from, after, &mut connection).await;
    if carried.is_err() {
        // Its transaction may not be over.
        drop(Object::take(connection));
    }
    let (given, last) = carried?;
    if given > 0 {
        inner.metrics.recovered.inc_by(given);
        tracing::warn!(payments = given, from, "payments that were on their way have arrived");
    }
    Ok(last)
}

/// Gives payees what is stuck: how many payments they had not got before, and where to go on.
async fn carry_on(
    shards: &Shards,
    from: usize,
    after: i64,
    connection: &mut Object,
) -> Result<(u64, i64), BankError> {
    let inner = &shards.inner;
    let there: Vec<usize> = (0..inner.all.len()).filter(|n| inner.all[*n].health().ok).collect();
    let transaction = connection.transaction().await?;
    if !transfers::take_turn(&transaction).await? {
        return Ok(transaction.rollback().await.map(|()| (0, 0))?);
    }
    let stuck = transfers::stuck(&transaction, &there, inner.all[from].patience(), after).await?;
    let given = join_all(stuck.iter().map(|(to, credit)| inner.all[*to].credit(credit.clone()))).await;
    let arrived = stuck.iter().zip(&given).filter(|(_, given)| given.is_ok());
    let seqs: Vec<i64> = arrived.map(|((_, credit), _)| rows::number(credit.origin)).collect();
    if !seqs.is_empty() {
        transfers::remove_in(&transaction, &seqs).await?;
    }
    transaction.commit().await?;
    let last = stuck.last().filter(|_| stuck.len() == TRANSFERS_AT_ONCE);
    let last = last.map_or(0, |(_, credit)| rows::number(credit.origin));
    Ok((given.iter().filter(|given| **given == Ok(true)).count() as u64, last))
}
