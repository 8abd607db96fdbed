//! Tables, and how they come to be.
//!
//! Every process applies at its start what the database lacks, one process at a time.

use tokio_postgres::Client;

use crate::bank::BankError;

/// The lock that a process takes while it changes tables: `squall` in a number of its own.
const MIGRATION_LOCK: i64 = 0x7371_7561_6c6c;

/// What makes tables, by number, in order. What is applied is never changed: changes are further ones.
const MIGRATIONS: &[(i32, &str)] = &[
    (1, include_str!("schema/001_ledger.sql")),
    (2, include_str!("schema/002_outbox.sql")),
    (3, include_str!("schema/003_cache.sql")),
    (4, include_str!("schema/004_refresh_tokens.sql")),
    (5, include_str!("schema/005_shards.sql")),
    (6, include_str!("schema/006_stripes.sql")),
    (7, include_str!("schema/007_trace.sql")),
];

/// Months for which tables are made ahead, besides the one that is now.
pub const MONTHS_AHEAD: i32 = 2;

/// Applies what the database lacks. Safe from any number of processes at once.
///
/// # Errors
/// When the database refuses; nothing is half applied.
pub async fn migrate(client: &mut Client) -> Result<(), BankError> {
    take_turn(client).await?;
    let migrated = apply(client).await;
    end_turn(client).await?;
    migrated
}

/// Waits until no other process changes tables, and keeps others from it until [`end_turn`].
pub(super) async fn take_turn(client: &Client) -> Result<(), BankError> {
    // A change of tables may take longer than a payment, and so does waiting for one.
    client.batch_execute("SET statement_timeout = 0").await?;
    // Of the session, so that it ends with the connection at the latest.
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    Ok(())
}

pub(super) async fn end_turn(client: &Client) -> Result<(), BankError> {
    client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await?;
    client.batch_execute("RESET statement_timeout").await?;
    Ok(())
}

async fn apply(client: &mut Client) -> Result<(), BankError> {
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                 version    integer     PRIMARY KEY,
                 applied_at timestamptz NOT NULL DEFAULT now()
             )",
        )
        .await?;
    let rows = client.query("SELECT version FROM schema_migrations", &[]).await?;
    let applied: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| !applied.contains(version)) {
        let transaction = client.transaction().await?;
        transaction.batch_execute(sql).await?;
        transaction.execute("INSERT INTO schema_migrations (version) VALUES ($1)", &[version]).await?;
        transaction.commit().await?;
        tracing::info!(version, "schema migrated");
    }
    make_months(client).await
}

/// Makes the tables of this month and of those to come.
///
/// # Errors
/// When the database refuses.
pub async fn make_months(client: &Client) -> Result<(), BankError> {
    client.execute("SELECT make_months($1)", &[&MONTHS_AHEAD]).await?;
    Ok(())
}
