//! Redis: a cache that loses what it holds, answers late or not at all, or has another password.

use std::task::Poll;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind, cmd};
use sha2::{Digest, Sha256};
use squall_record::fault::Effect;

use super::begin::cannot;
use super::error::ActError;
use super::lookup;
use super::order::Begin;
use super::running::Running;
use super::undo::{Undo, Undone};
use crate::decision::draw_delay;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to answer; longer than any pause that it is asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a Redis stands still at a time: it goes on by itself when it is asked no more.
const PAUSE_MS: u64 = 500;
/// The longest delay: a longer one is what `hang` is for.
const MAX_DELAY_MS: f64 = 5000.0;
/// How long what was sent may take to be in line: a part of a pause.
const IN_LINE: Duration = Duration::from_millis(50);
/// How long one that was lost waits before it is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// How many keys are asked for at a time.
const SCAN_KEYS: u32 = 1000;

/// Begins a fault at the Redis whose URL is in `url_env`.
///
/// # Errors
/// When it cannot be begun there.
pub async fn begin(order: &Begin, url_env: &str, running: &mut Running) -> Result<String, ActError> {
    match &order.fault.effect {
        Effect::Flush => {
            let keys: u64 = ask(&mut connect(url_env).await?, "DBSIZE", &[]).await?;
            ask::<()>(&mut connect(url_env).await?, "FLUSHALL", &[]).await?;
            Ok(format!("deleted everything, {keys} keys of this database among it"))
        }
        Effect::Evict { keys, every_ms } => evict(url_env, *keys, *every_ms, running).await,
        Effect::Latency { .. } => slow(order, url_env, running).await,
        Effect::Hang => hang(url_env, running).await,
        Effect::WrongPassword => change_password(url_env, running).await,
        other => Err(cannot(other, "a Redis")),
    }
}

fn client(url_env: &str) -> Result<Client, ActError> {
    Client::open(lookup::url(url_env)?).map_err(|_| lookup::unreadable(url_env, "Redis"))
}

async fn connect(url_env: &str) -> Result<MultiplexedConnection, ActError> {
    open(&client(url_env)?).await.map_err(said("connect to the Redis"))
}

async fn open(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn said(what: impl Into<String>) -> impl FnOnce(RedisError) -> ActError {
    ActError::server(what)
}

async fn ask<T: ::redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    name: &str,
    args: &[&str],
) -> Result<T, ActError> {
    // Arguments may be a password; the name says enough.
    cmd(name).arg(args).query_async(connection).await.map_err(said(format!("have the Redis do {name}")))
}

async fn evict(url_env: &str, keys: u32, every_ms: u64, running: &mut Running) -> Result<String, ActError> {
    let mut connection = connect(url_env).await?;
    let mut cursor = 0;
    let first = blow(&mut connection, &mut cursor, keys).await?;
    let url_env = url_env.to_owned();
    running.task(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(every_ms.max(1))).await;
            if blow(&mut connection, &mut cursor, keys).await.is_err()
                && let Ok(again) = connect(&url_env).await
            {
                connection = again;
            }
        }
    });
    Ok(format!("deleted {first} keys, and does so again every {every_ms} ms"))
}

/// Deletes the next `keys` keys in the order of their hashes, which is as good as any.
async fn blow(
    connection: &mut MultiplexedConnection,
    cursor: &mut u64,
    keys: u32,
) -> Result<usize, ActError> {
    let mut deleted = 0;
    while deleted < keys as usize {
        let left = keys - deleted as u32;
        let at = cursor.to_string();
        let count = left.min(SCAN_KEYS).to_string();
        let (next, found): (u64, Vec<Vec<u8>>) = ask(connection, "SCAN", &[&at, "COUNT", &count]).await?;
        *cursor = next;
        let found = &found[..found.len().min(left as usize)];
        if !found.is_empty() {
            cmd("UNLINK")
                .arg(found)
                .query_async::<()>(connection)
                .await
                .map_err(said("have the Redis do UNLINK"))?;
        }
        deleted += found.len();
        if next == 0 {
            // Once round: what has come meanwhile is of the next time.
            break;
        }
    }
    Ok(deleted)
}

/// While a Redis stands still, commands wait: one that comes in the middle of a pause waits for the rest of it.
async fn slow(order: &Begin, url_env: &str, running: &mut Running) -> Result<String, ActError> {
    let Effect::Latency { delay } = &order.fault.effect else {
        return Err(cannot(&order.fault.effect, "a Redis"));
    };
    let (delay, name, seed) = (delay.clone(), order.fault.name.clone(), order.seed);
    let pause_ms = move |n: u64| delay.at_ms(draw_delay(seed, &name, n, 0)).clamp(1.0, MAX_DELAY_MS) as u64;
    let mut connection = connect(url_env).await?;
    ask::<()>(&mut connection, "CLIENT", &["PAUSE", &pause_ms(0).to_string()]).await?;
    let url_env = url_env.to_owned();
    running.task(async move {
        let mut last_ms = pause_ms(0);
        for n in 1.. {
            // The millisecond more is when those that waited are served.
            tokio::time::sleep(Duration::from_millis(last_ms + 1)).await;
            last_ms = pause_ms(n);
            let paused = ask::<()>(&mut connection, "CLIENT", &["PAUSE", &last_ms.to_string()]).await;
            if paused.is_err()
                && let Ok(again) = connect(&url_env).await
            {
                connection = again;
            }
        }
    });
    Ok("commands wait for the end of one pause after another".to_owned())
}

/// A Redis that stands still reads no commands, also not the one to stand still longer. Two of those are kept in line, so that
/// one is always the first that is read when a pause is over, and nobody else's gets through.
async fn hang(url_env: &str, running: &mut Running) -> Result<String, ActError> {
    let mut connection = connect(url_env).await?;
    let pause = PAUSE_MS.to_string();
    ask::<()>(&mut connection, "CLIENT", &["PAUSE", &pause]).await?;
    for _ in 0..2 {
        let (mut connection, pause, url_env) = (connection.clone(), pause.clone(), url_env.to_owned());
        let mut line = Box::pin(async move {
            loop {
                if ask::<()>(&mut connection, "CLIENT", &["PAUSE", &pause]).await.is_err() {
                    tokio::time::sleep(AGAIN).await;
                    if let Ok(again) = connect(&url_env).await {
                        connection = again;
                    }
                }
            }
        });
        // It is in line before anybody hears of the fault and asks: who asks first would be read first.
        std::future::poll_fn(|cx| {
            let _ = line.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
        running.task(line);
    }
    tokio::time::sleep(IN_LINE).await;
    Ok(format!("it stands still, {PAUSE_MS} ms at a time"))
}

async fn change_password(url_env: &str, running: &mut Running) -> Result<String, ActError> {
    let url = lookup::url(url_env)?;
    let client = client(url_env)?;
    let settings = client.get_connection_info().redis_settings();
    if settings.username().is_some_and(|name| !name.is_empty() && name != "default") {
        return Err(ActError::refused(format!(
            "the URL in {url_env} names a user; the password is that of no user"
        )));
    }
    let old = settings.password().unwrap_or_default().to_owned();
    let mut connection = open(&client).await.map_err(said("connect to the Redis"))?;
    let (_, has): (String, String) = ask(&mut connection, "CONFIG", &["GET", "requirepass"]).await?;
    if has != old {
        return Err(ActError::refused(format!(
            "the password in {url_env} is not the one that the Redis would go back to"
        )));
    }
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn).map_err(|e| ActError::refused(format!("draw a password: {e}")))?;
    let nonce = hex(&drawn);
    let undo = Undo::Password { url_env: url_env.to_owned(), nonce: nonce.clone() };
    running.promise("the Redis takes its password again", undo)?;
    ask::<()>(&mut connection, "CONFIG", &["SET", "requirepass", &meanwhile(&url, &nonce)]).await?;
    // Those who are in would stay in.
    let closed: u64 = ask(&mut connection, "CLIENT", &["KILL", "TYPE", "normal", "SKIPME", "yes"]).await?;
    Ok(format!("changed its password and closed {closed} connections"))
}

/// The password of a Redis meanwhile: whoever has its URL can compute it from the journal, and nobody else.
fn meanwhile(url: &str, nonce: &str) -> String {
    hex(&Sha256::new().chain_update(nonce).chain_update([0]).chain_update(url).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Gives a Redis the password that its URL names, unless it takes it.
///
/// # Errors
/// When it cannot be reached, or takes neither password.
pub async fn restore_password(url_env: &str, nonce: &str) -> Result<Undone, ActError> {
    let url = lookup::url(url_env)?;
    let client = client(url_env)?;
    let info = client.get_connection_info().clone();
    match greet(&client).await {
        Ok(_) => return Ok(Undone::Before),
        Err(e) if is_refusal(&e) => {}
        Err(e) => return Err(said("connect to the Redis")(e)),
    }
    let settings = info.redis_settings().clone();
    let old = settings.password().unwrap_or_default().to_owned();
    let info = info.set_redis_settings(settings.set_password(meanwhile(&url, nonce)));
    let client = Client::open(info).map_err(|_| lookup::unreadable(url_env, "Redis"))?;
    let mut connection =
        greet(&client).await.map_err(said("connect to the Redis with the password that it had meanwhile"))?;
    ask::<()>(&mut connection, "CONFIG", &["SET", "requirepass", &old]).await?;
    Ok(Undone::Now)
}

async fn greet(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let mut connection = open(client).await?;
    cmd("PING").query_async::<String>(&mut connection).await?;
    Ok(connection)
}

/// Whether the server wants another password.
fn is_refusal(e: &RedisError) -> bool {
    matches!(e.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::ResponseError))
        || matches!(e.code(), Some("NOAUTH" | "WRONGPASS"))
}
