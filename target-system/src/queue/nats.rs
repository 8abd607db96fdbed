//! The NATS server: the connection to it, and the streams with their limits.
//!
//! The client reconnects by itself, for ever. Streams are looked for after every connection, because a server
//! may come back without them, and made by whoever comes first: nobody changes one that is there, so what an
//! operator has set (replicas, more bytes) stays.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::connection::State;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::{Client, ConnectOptions, Event as Change, ServerAddr};
use tokio::sync::watch;

use super::event::Event;
use super::priority::Priority;
use crate::trace::span::Trace;

/// Notices that are not delivered yet, one subject for each priority.
pub const STREAM: &str = "PAYMENTS";
/// Notices that will not be.
pub const DEAD_STREAM: &str = "PAYMENTS_DEAD";

/// The most that either stream keeps, in bytes.
const MAX_BYTES: i64 = 1 << 30;
/// How long a notice or a dead letter is kept.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the server knows an id: a relay that has died publishes again within seconds.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(10 * 60);
/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a silent connection is tested.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Notices published at once, before the first is acknowledged.
pub const PUBLISH_AT_ONCE: usize = 1000;

/// Where the server is, and who we are there.
#[derive(Clone)]
pub struct Address {
    /// Without user and password, so that no log of the client has them.
    server: ServerAddr,
    credentials: Option<Credentials>,
}

#[derive(Clone)]
enum Credentials {
    Token(String),
    User(String, String),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

impl std::str::FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let nonsense =
            || anyhow::anyhow!("PAYMENTS_NATS makes no sense; write nats://user:password@host:4222");
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
        let (secret, host) = match rest.rsplit_once('@') {
            Some((secret, host)) => (Some(secret), host),
            None => (None, rest),
        };
        let credentials = match secret.map(|s| s.split_once(':').ok_or(s)) {
            None => None,
            Some(Ok((user, password))) => Some(Credentials::User(
                decoded(user).ok_or_else(nonsense)?,
                decoded(password).ok_or_else(nonsense)?,
            )),
            Some(Err(token)) => Some(Credentials::Token(decoded(token).ok_or_else(nonsense)?)),
        };
        let server: ServerAddr = format!("{scheme}://{host}").parse().map_err(|_| nonsense())?;
        ensure!(!server.host().is_empty(), nonsense());
        Ok(Self { server, credentials })
    }
}

/// `%40` is `@`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A connection that comes back by itself.
#[derive(Debug, Clone)]
pub struct Nats {
    jetstream: Context,
    /// Counts connections: each may be to a server that has lost what was asked of it.
    connections: watch::Receiver<u64>,
}

/// Begins to connect, and goes on until it succeeds; must be called on a runtime.
///
/// # Errors
/// When the address cannot be used at all.
pub async fn connect(address: Address) -> anyhow::Result<Nats> {
    let (count, connections) = watch::channel(0);
    let count = Arc::new(count);
    // What is in the way of a connection comes again with every attempt: each reason is told once.
    let told = Arc::new(Mutex::new(String::new()));
    let options = ConnectOptions::new()
        .name("payments")
        .retry_on_initial_connect()
        .ping_interval(PING_EVERY)
        .request_timeout(Some(ANSWER_TIMEOUT))
        .reconnect_delay_callback(|attempts| {
            RECONNECT_PAUSE
                .min(Duration::from_millis(50) * u32::try_from(attempts).unwrap_or(u32::MAX).min(100))
        })
        .event_callback(move |change| {
            let (count, told) = (Arc::clone(&count), Arc::clone(&told));
            async move {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                match change {
                    Change::Connected => {
                        told.clear();
                        count.send_modify(|n| *n += 1);
                        tracing::info!("connected to NATS");
                    }
                    Change::Disconnected => tracing::warn!("NATS is away"),
                    other => {
                        let why = other.to_string();
                        if *told != why {
                            tracing::warn!(why, "NATS");
                            *told = why;
                        }
                    }
                }
            }
        });
    let options = match address.credentials {
        None => options,
        Some(Credentials::Token(token)) => options.token(token),
        Some(Credentials::User(user, password)) => options.user_and_password(user, password),
    };
    let client = options.connect(address.server).await.context("failed to begin to connect to NATS")?;
    let jetstream = ContextBuilder::new()
        .timeout(ANSWER_TIMEOUT)
        .ack_timeout(ANSWER_TIMEOUT)
        // A round that was given up, and the next.
        .max_ack_inflight(2 * PUBLISH_AT_ONCE)
        .build(client);
    Ok(Nats { jetstream, connections })
}

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
#[error("NATS does not take a notice: {0}")]
pub struct NotPublished(String);

/// What the server says of an event: not known yet.
pub struct Publishing(PublishAckFuture);

impl Publishing {
    /// Waits until the event is on the server's disk; whether it already was.
    ///
    /// # Errors
    /// When it is not, or is not known to be.
    pub async fn stored(self) -> Result<bool, NotPublished> {
        let stored = self.0.await.map_err(|e| NotPublished(told(&e)))?;
        Ok(stored.duplicate)
    }
}

impl Nats {
    /// JetStream, over this connection.
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// Counts the connections that there were.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.clone()
    }

    /// Whether there is one now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client().connection_state() == State::Connected
    }

    fn client(&self) -> Client {
        self.jetstream.client()
    }

    /// Makes the streams that are missing. Safe from any number of processes at once.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub async fn make_streams(&self) -> anyhow::Result<()> {
        let config = |name: &str, subjects: &str, retention, discard| Config {
            name: name.to_owned(),
            subjects: vec![subjects.to_owned()],
            retention,
            discard,
            storage: StorageType::File,
            max_bytes: MAX_BYTES,
            max_age: MAX_AGE,
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: 1,
            ..Config::default()
        };
        for config in [
            // What is delivered is gone. When it is full, notices wait in the outbox.
            config(STREAM, "payments.notices.*", RetentionPolicy::WorkQueue, DiscardPolicy::New),
            // The oldest make room: a queue that cannot bury goes round in circles.
            config(DEAD_STREAM, "payments.dead.*", RetentionPolicy::Limits, DiscardPolicy::Old),
        ] {
            let name = config.name.clone();
            self.jetstream
                .get_or_create_stream(config)
                .await
                .with_context(|| format!("failed to make the stream {name}"))?;
        }
        Ok(())
    }

    /// Publishes `event` with its place in a trace, if it has one; the server drops it when it knows its id.
    ///
    /// # Errors
    /// When there are too many on their way, or no connection.
    pub async fn publish(
        &self,
        priority: Priority,
        event: Event,
        trace: Option<&Trace>,
    ) -> Result<Publishing, NotPublished> {
        let message = PublishMessage::build().payload(event.body).message_id(&event.id);
        let headers = trace.into_iter().flat_map(Trace::headers);
        let message = headers.fold(message, |message, (name, value)| message.header(name, value));
        let sent = self.jetstream.send_publish(subject(priority), message).await;
        sent.map(Publishing).map_err(|e| NotPublished(told(&e)))
    }

    /// Waits until what was sent is on its way.
    pub async fn flush(&self) {
        // An ending process cannot do more about it.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, self.client().flush()).await;
    }
}

/// Where notices of a priority are published.
#[must_use]
pub fn subject(priority: Priority) -> String {
    format!("payments.notices.{}", priority.name())
}

/// Where dead letters of a priority are.
#[must_use]
pub fn dead_subject(priority: Priority) -> String {
    format!("payments.dead.{}", priority.name())
}

fn told(e: &async_nats::error::Error<PublishErrorKind>) -> String {
    match std::error::Error::source(e) {
        Some(cause) => format!("{}: {cause}", e.kind()),
        None => e.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_holds_is_not_shown() {
        let address: Address = "nats://pay:p%40ss%3Aword@[::1]:4223".parse().unwrap();
        assert!(
            matches!(&address.credentials, Some(Credentials::User(u, p)) if u == "pay" && p == "p@ss:word")
        );
        assert_eq!((address.server.host(), address.server.port()), ("::1", 4223));
        assert!(!format!("{address:?} {:?}", address.server).contains("p%40ss"));
        let address: Address = "nats://t0ken@localhost".parse().unwrap();
        assert!(matches!(&address.credentials, Some(Credentials::Token(t)) if t == "t0ken"));
        assert_eq!(address.server.port(), 4222);
        assert!("localhost:4222".parse::<Address>().unwrap().credentials.is_none());
        for bad in ["nats://u:hunter2@", "http://u:hunter2@host", "nats://u:hunter2%4@host"] {
            let told = bad.parse::<Address>().unwrap_err().to_string();
            assert!(told.contains("PAYMENTS_NATS makes no sense") && !told.contains("hunter2"), "{told}");
        }
    }
}
