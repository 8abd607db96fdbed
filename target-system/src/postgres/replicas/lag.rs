//! How far a replica is behind.
//!
//! The lag is the time from when the primary was asked what it has until the replica had replayed that,
//! on this process's clock. It is true when the primary is idle (the replica has everything: no time at
//! all), where the age of the last commit that was replayed is not, and it compares no two servers' clocks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio_postgres::types::PgLsn;

use super::Replica;
use crate::bank::BankError;
use crate::limits::{REPLICA_LOOK_EVERY, REPLICA_PROBE_EVERY, REPLICA_PROBE_LIMIT};

/// What the primary had, and when it was asked.
#[derive(Debug, Clone, Copy)]
struct Mark {
    position: PgLsn,
    asked_ns: u64,
}

/// Why a replica is not good.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("it is behind by {0:?}")]
    Behind(Duration),
    #[error("it is no replica of the primary")]
    Stranger,
    #[error(transparent)]
    Silent(#[from] BankError),
}

/// Probes `replica` again and again, until its pool is closed.
pub async fn watch(replica: Arc<Replica>, primary: Pool, max_lag: Duration) {
    // What it has not reached yet, when it is behind.
    let mut ahead = None;
    while !replica.pool.is_closed() {
        let limit = max_lag + REPLICA_PROBE_LIMIT;
        let probed = tokio::time::timeout(limit, probe(&replica, &primary, max_lag, &mut ahead)).await;
        match probed.unwrap_or(Err(Bad::Silent(BankError::Slow(limit)))) {
            Ok(asked_ns) => replica.found_good(asked_ns),
            Err(why) => replica.leave_out(&why),
        }
        tokio::time::sleep(REPLICA_PROBE_EVERY).await;
    }
}

/// When the replica has reached what the primary had: when the primary had that.
async fn probe(
    replica: &Replica,
    primary: &Pool,
    max_lag: Duration,
    ahead: &mut Option<Mark>,
) -> Result<u64, Bad> {
    let asked_ns = replica.clock.now_ns();
    let (of_primary, position) = primary_at(primary).await?;
    // What it should have reached before is still the measure.
    let mark = *ahead.get_or_insert(Mark { position, asked_ns });
    let connection = replica.pool.get().await.map_err(BankError::from)?;
    let select = connection
        .prepare_cached(
            "SELECT pg_last_wal_replay_lsn(), pg_is_in_recovery(),
                    (SELECT system_identifier FROM pg_control_system())",
        )
        .await
        .map_err(BankError::from)?;
    let began_ns = replica.clock.now_ns();
    loop {
        let row = connection.query_one(&select, &[]).await.map_err(BankError::from)?;
        let replayed: Option<PgLsn> = row.try_get(0).map_err(BankError::from)?;
        let (recovers, of): (bool, i64) =
            (row.try_get(1).map_err(BankError::from)?, row.try_get(2).map_err(BankError::from)?);
        let replayed = replayed.filter(|_| recovers && of == of_primary).ok_or(Bad::Stranger)?;
        let now_ns = replica.clock.now_ns();
        let lag = Duration::from_nanos(now_ns.saturating_sub(mark.asked_ns));
        if replayed >= mark.position {
            *ahead = None;
            replica.lag_us.store(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX - 1), Relaxed);
            return if lag <= max_lag { Ok(mark.asked_ns) } else { Err(Bad::Behind(lag)) };
        }
        if Duration::from_nanos(now_ns.saturating_sub(began_ns)) > max_lag {
            replica.lag_us.store(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX - 1), Relaxed);
            return Err(Bad::Behind(lag));
        }
        tokio::time::sleep(REPLICA_LOOK_EVERY).await;
    }
}

/// Which cluster the primary is, and up to where what it has is durable. Not what it has written only:
/// replicas are sent that later.
async fn primary_at(primary: &Pool) -> Result<(i64, PgLsn), BankError> {
    let connection = primary.get().await?;
    let select = connection
        .prepare_cached(
            "SELECT (SELECT system_identifier FROM pg_control_system()), pg_current_wal_flush_lsn()",
        )
        .await?;
    let row = connection.query_one(&select, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
