//! One connection to Redis: what is asked over it, and what is published to it.
//!
//! It is not made again when it breaks. What was known of Redis ends with it.

use std::sync::Arc;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind,
    RedisError,
};
use tokio::sync::{mpsc, watch};

use super::metrics::CacheMetrics;
use crate::limits::{REDIS_ANSWER, REDIS_CONNECT, REDIS_PUSHES};

/// Where a Redis is. It holds a password, which it does not show.
#[derive(Clone)]
pub struct Address(Client);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(..)")
    }
}

impl Address {
    /// The server of `url`; `None` when that makes no sense.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let info = url.into_connection_info().ok()?;
        // Answers and messages over one connection: both end at once.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Client::open(info.set_redis_settings(settings)).ok().map(Self)
    }
}

/// The connection.
#[derive(Debug)]
pub struct Link {
    connection: MultiplexedConnection,
    /// Which run of the server it leads to.
    pub run: String,
    lost: Arc<watch::Sender<bool>>,
    metrics: CacheMetrics,
}

impl Link {
    /// A new connection, and what will be pushed over it.
    ///
    /// # Errors
    /// When the server does not answer in time.
    pub async fn connect(
        address: &Address,
        metrics: CacheMetrics,
    ) -> anyhow::Result<(Self, mpsc::Receiver<PushInfo>)> {
        let (pushes, pushed) = mpsc::channel(REDIS_PUSHES);
        let lost = Arc::new(watch::Sender::new(false));
        let losing = Arc::clone(&lost);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REDIS_CONNECT))
            .set_response_timeout(Some(REDIS_ANSWER))
            .set_push_sender(move |push: PushInfo| {
                let goes_on = push.kind != PushKind::Disconnection && pushes.try_send(push).is_ok();
                if !goes_on {
                    losing.send_replace(true);
                }
                Ok::<(), ()>(())
            });
        let made = tokio::time::timeout(
            REDIS_CONNECT,
            address.0.get_multiplexed_async_connection_with_config(&config),
        );
        let mut connection = made.await.context("it does not answer")??;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let run =
            info.lines().find_map(|line| line.strip_prefix("run_id:")).context("it does not tell its run")?;
        let run = run.trim().to_owned();
        Ok((Self { connection, run, lost, metrics }, pushed))
    }

    /// Has what is published on `channels` pushed.
    ///
    /// # Errors
    /// When the server gives one, or none in time.
    pub async fn subscribe(&self, channels: &[String]) -> Result<(), RedisError> {
        self.connection.clone().subscribe(channels).await
    }

    /// What [`ask`](Self::ask) asks with.
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// The answer to `question`; `None` when there is none in time, or it is an error.
    pub async fn ask<T>(&self, question: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        question.await.map_err(|error| self.failed(&error)).ok()
    }

    fn failed(&self, error: &RedisError) {
        self.metrics.redis_errors.inc();
        tracing::debug!(%error, "Redis has failed");
        // A refusal is an answer.
        if error.kind() == ErrorKind::Io || error.is_timeout() || error.is_unrecoverable_error() {
            self.lost.send_replace(true);
        }
    }

    /// Returns when the connection is lost.
    pub async fn lost(&self) {
        // The sender lives as long as this.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }
}
