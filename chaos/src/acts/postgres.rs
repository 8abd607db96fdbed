//! Postgres: connections, locks, queries, replication.
//!
//! What is held is held by connections, and ends with them. Where the server itself would go on (a transaction whose client
//! stands still, a query whose client is gone), it is told beforehand when to stop.

use std::error::Error as _;
use std::time::Duration;

use squall_record::fault::Effect;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::begin::cannot;
use super::error::ActError;
use super::order::Target;
use super::running::Running;
use super::undo::{Undo, Undone};
use super::{container, lookup};

/// What the server calls squall's own sessions.
const NAME: &str = "squall chaos";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A transaction that nobody has spoken in for so long is ended by the server.
const LOCK_LEASE_MS: u64 = 2000;
/// How often it is spoken in.
const LOCK_BEAT: Duration = Duration::from_millis(400);
/// How long rows are waited for that others have locked.
const LOCK_WAIT_MS: u64 = 2000;
/// A slow query runs so long at most, whoever waits for it.
const QUERY_LIMIT_MS: u64 = 2000;
/// How long a session that was closed waits before it comes again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the promotion of a replica may take, in seconds.
const PROMOTE_S: i32 = 10;
/// Nine million rows by nine million additions: work for a processor, and neither memory nor disk.
const SLOW_QUERY: &str =
    "SELECT sum(a.n * b.n) FROM generate_series(1, 3000) a(n), generate_series(1, 3000) b(n)";

/// Begins a fault at the Postgres whose URL is in `url_env`.
///
/// # Errors
/// When it cannot be begun there.
pub async fn begin(effect: &Effect, url_env: &str, running: &mut Running) -> Result<String, ActError> {
    match effect {
        Effect::Starve { connections } => starve(url_env, *connections, running).await,
        Effect::RowLock { table, rows } => lock_rows(url_env, table, *rows, running).await,
        Effect::SlowQueries { sessions } => slow_queries(url_env, *sessions, running).await,
        Effect::TerminateBackends { every_ms } => terminate_backends(url_env, *every_ms, running).await,
        Effect::ReplicaLag => pause_replay(url_env, running).await,
        other => Err(cannot(other, "a Postgres")),
    }
}

async fn connect(url_env: &str) -> Result<Client, ActError> {
    let url = lookup::url(url_env)?;
    let mut config: Config = url.parse().map_err(|_| lookup::unreadable(url_env, "Postgres"))?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(ActError::refused(format!(
            "the URL in {url_env} asks for TLS, which faults do not speak"
        )));
    }
    config.application_name(NAME).connect_timeout(CONNECT_TIMEOUT);
    let (client, connection) = config.connect(NoTls).await.map_err(said("connect to the Postgres"))?;
    // It ends with its client.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn said(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> ActError {
    let what = what.into();
    move |e| match (e.as_db_error(), e.source()) {
        (Some(db), _) => ActError::server(what)(db.message()),
        (None, Some(cause)) => ActError::server(what)(format!("{e}: {cause}")),
        (None, None) => ActError::server(what)(e),
    }
}

async fn starve(url_env: &str, connections: u32, running: &mut Running) -> Result<String, ActError> {
    let mut held = Vec::new();
    let mut refused = None;
    while held.len() < connections as usize && refused.is_none() {
        match connect(url_env).await {
            Ok(client) => held.push(client),
            Err(e) => refused = Some(e),
        }
    }
    let n = held.len();
    running.lasting(async move {
        while held.iter().any(|client| !client.is_closed()) {
            tokio::time::sleep(LOCK_BEAT).await;
        }
    });
    match refused {
        None => Ok(format!("holds {n} connections")),
        Some(e) if n == 0 => Err(e),
        Some(e) => Ok(format!("holds {n} connections of {connections}, and gets no more: {e}")),
    }
}

async fn lock_rows(url_env: &str, table: &str, rows: u32, running: &mut Running) -> Result<String, ActError> {
    let client = connect(url_env).await?;
    // The server says how the names are written, so that nothing of the scenario's stands in a statement.
    let found = client
        .query_opt(
            "SELECT c.oid::regclass::text, string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
               FROM pg_class c
               JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
               CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place)
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
              WHERE c.oid = to_regclass($1) GROUP BY c.oid",
            &[&table],
        )
        .await
        .map_err(said("look for the table"))?;
    let Some(row) = found else {
        return Err(ActError::refused(format!("there is no table {table} with a primary key")));
    };
    let (table, key): (String, String) = (row.get(0), row.get(1));
    let begin = format!(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = {LOCK_LEASE_MS}; SET LOCAL lock_timeout = {LOCK_WAIT_MS}"
    );
    client.batch_execute(&begin).await.map_err(said("begin a transaction"))?;
    let lock = format!("SELECT 1 FROM {table} ORDER BY {key} LIMIT {rows} FOR UPDATE");
    let locked = client.query(&lock, &[]).await.map_err(said(format!("lock rows of {table}")))?.len();
    running.lasting(async move {
        // The server takes the locks back when nothing is heard any more.
        while client.batch_execute("SELECT 1").await.is_ok() {
            tokio::time::sleep(LOCK_BEAT).await;
        }
    });
    Ok(format!("holds {locked} rows of {table} locked"))
}

async fn slow_queries(url_env: &str, sessions: u32, running: &mut Running) -> Result<String, ActError> {
    // Whether it can be reached at all is told.
    let mut first = Some(connect(url_env).await?);
    for _ in 0..sessions {
        let (url_env, mut client) = (url_env.to_owned(), first.take());
        running.task(async move {
            loop {
                let asked = match client.take() {
                    Some(client) => Ok(client),
                    None => connect(&url_env).await,
                };
                if let Ok(client) = asked {
                    // Without the second setting the server would notice only at the end that nobody waits any more; it
                    // has it from Postgres 14 on.
                    let _ = client.batch_execute(&format!("SET statement_timeout = {QUERY_LIMIT_MS}")).await;
                    let _ = client.batch_execute("SET client_connection_check_interval = '200ms'").await;
                    while !client.is_closed() {
                        let _ = client.batch_execute(SLOW_QUERY).await;
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
    Ok(format!("{sessions} sessions ask queries that take long"))
}

async fn terminate_backends(url_env: &str, every_ms: u64, running: &mut Running) -> Result<String, ActError> {
    const TERMINATE: &str = "SELECT count(*) FROM (
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND datname = current_database() AND application_name <> $1) ended";
    let client = connect(url_env).await?;
    let ended =
        client.query_one(TERMINATE, &[&NAME]).await.map_err(said("close the connections of others"))?;
    let first: i64 = ended.get(0);
    let url_env = url_env.to_owned();
    running.task(async move {
        let mut client = client;
        loop {
            tokio::time::sleep(Duration::from_millis(every_ms.max(1))).await;
            if client.query_one(TERMINATE, &[&NAME]).await.is_err()
                && let Ok(again) = connect(&url_env).await
            {
                client = again;
            }
        }
    });
    Ok(format!("closed {first} connections of others, and does so again every {every_ms} ms"))
}

async fn pause_replay(url_env: &str, running: &mut Running) -> Result<String, ActError> {
    let client = connect(url_env).await?;
    match is_paused(&client).await? {
        None => return Err(ActError::refused("this Postgres is no replica: it follows nobody")),
        Some(true) => return Err(ActError::refused("this replica stands still as it is")),
        Some(false) => {}
    }
    running.promise(
        "the replica follows its primary again",
        Undo::ResumeReplay { url_env: url_env.to_owned() },
    )?;
    client.batch_execute("SELECT pg_wal_replay_pause()").await.map_err(said("stop the replica"))?;
    Ok("the replica stands still".to_owned())
}

/// Whether the replica stands still; `None` of one that is no replica.
async fn is_paused(client: &Client) -> Result<Option<bool>, ActError> {
    let is = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END";
    let row = client.query_one(is, &[]).await.map_err(said("ask the Postgres whether it is a replica"))?;
    Ok(row.get(0))
}

/// Has a replica follow its primary, unless it does or is none any more.
///
/// # Errors
/// When it cannot be reached.
pub async fn resume_replay(url_env: &str) -> Result<Undone, ActError> {
    let client = connect(url_env).await?;
    if is_paused(&client).await? != Some(true) {
        return Ok(Undone::Before);
    }
    client.batch_execute("SELECT pg_wal_replay_resume()").await.map_err(said("let the replica go on"))?;
    Ok(Undone::Now)
}

/// Ends the primary's container for good and makes the replica a primary. There is no way back: two primaries would each
/// have payments that the other has not.
///
/// # Errors
/// When the primary cannot be stopped or the replica is none.
pub async fn failover(targets: &[Target]) -> Result<String, ActError> {
    let [_, Target::Postgres { url_env }, Target::Container { name, project }] = targets else {
        return Err(ActError::refused(
            "squall can stop a primary that is a container of its stack (target.system = \"compose\") and no other: \
             while it runs, a promoted replica would be a second one",
        ));
    };
    let replica = connect(url_env).await?;
    if is_paused(&replica).await?.is_none() {
        return Err(ActError::refused("the replica is none: it follows nobody"));
    }
    let killed = container::kill_for_good(name, project.as_deref()).await?;
    let row = replica
        .query_one("SELECT pg_promote(true, $1)", &[&PROMOTE_S])
        .await
        .map_err(said(format!("{killed}, promote the replica")))?;
    match row.get(0) {
        true => Ok(format!("{killed}; the replica is a primary now")),
        false => Err(ActError::refused(format!("{killed}; the replica was no primary after {PROMOTE_S} s"))),
    }
}
