//! The accept loop.
//!
//! `axum::serve` sets no timer for request heads, no cap on connections and no TCP_NODELAY, so
//! a client that sends one byte a minute could hold a connection for ever. This loop does.

use std::convert::Infallible;
use std::io::Cursor;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::api::Api;
use super::express;
use super::tls::Tls;
use crate::limits::{ACCEPT_REST, MAX_HEAD_BYTES, MAX_HEADERS};

/// What a connection above the cap is told. Nothing was executed: nothing was read.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nNot-Executed: true\r\n\
    Content-Type: application/json\r\nContent-Length: 94\r\nConnection: close\r\n\r\n\
    {\"error\":{\"type\":\"api_error\",\"code\":\"too_many_connections\",\"message\":\"try again in a second\"}}";

/// Tells the whole service to stop taking work.
#[derive(Debug)]
pub struct Drain(watch::Sender<bool>);

impl Drain {
    /// Not yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Now. Once is enough.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Becomes true when it begins.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// A socket with its limits.
#[derive(Debug)]
pub struct Listener {
    /// Where clients connect.
    pub socket: TcpListener,
    /// Open connections; further ones are refused.
    pub max_connections: usize,
    /// How long a connection may take to send a whole request head, idling included, and to take an answer in.
    pub header_timeout: Duration,
    /// How long a drain waits for requests under way.
    pub drain_timeout: Duration,
    /// Open connections, for whoever asks.
    pub connections: Arc<AtomicUsize>,
    /// Counts refusals.
    pub refused: Counter,
    /// Whose payments go the short way, if any do. Not with TLS.
    pub express: Option<Arc<Api>>,
    /// What connections are wrapped in, if anything.
    pub tls: Option<Arc<Tls>>,
}

/// Counts a connection while it is open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Accepts connections and serves them until `drain` becomes true; then no more are accepted,
/// idle ones are closed, and requests under way are waited for.
pub async fn listen<A, F>(listener: Listener, answer: A, mut drain: watch::Receiver<bool>)
where
    A: Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(listener.max_connections));
    // Closed when the last connection is.
    let (alive, mut all_closed) = mpsc::channel::<Infallible>(1);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(listener.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        // Answers are a few hundred bytes: copying head and body together costs less than a list
        // of buffers does, here and in the kernel.
        .writev(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = begun(&mut drain) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the client has gone already.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            listener.refused.inc();
            if listener.tls.is_none() {
                refuse(&stream);
            }
            continue;
        };
        // Answers are small and somebody waits for each: never hold one back for the next.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "set TCP_NODELAY");
        }
        // Who takes no answer in may hold the connection no longer than who sends no request.
        let patience = u32::try_from(listener.header_timeout.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = sockopt::set_tcp_user_timeout(&stream, patience) {
            tracing::debug!(%error, "set TCP_USER_TIMEOUT");
        }
        let open = Open::new(&listener.connections);
        let connection = Connection {
            stream,
            peer: peer.ip(),
            express: listener.express.clone(),
            tls: listener.tls.clone(),
            http: http.clone(),
            header_timeout: listener.header_timeout,
            drain: drain.clone(),
        };
        let (answer, alive) = (answer.clone(), alive.clone());
        tokio::spawn(async move {
            connection.serve(answer).await;
            drop((permit, open, alive));
        });
    }
    drop((listener.socket, alive));
    if tokio::time::timeout(listener.drain_timeout, all_closed.recv()).await.is_err() {
        tracing::warn!("requests were still under way after the drain's {:?}", listener.drain_timeout);
    }
}

/// Waits until the drain has begun.
pub async fn begun(drain: &mut watch::Receiver<bool>) {
    // An error means that nobody can begin one any more, which comes to the same.
    let _ = drain.wait_for(|begun| *begun).await;
}

/// A connection, from its first request to its last.
struct Connection {
    stream: TcpStream,
    peer: IpAddr,
    express: Option<Arc<Api>>,
    tls: Option<Arc<Tls>>,
    http: http1::Builder,
    header_timeout: Duration,
    drain: watch::Receiver<bool>,
}

impl Connection {
    async fn serve<A, F>(self, answer: A)
    where
        A: Fn(Request<Incoming>, IpAddr) -> F + Send + 'static,
        F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let Self { mut stream, peer, express, tls, http, header_timeout, mut drain } = self;
        let answer = move |request| answer(request, peer);
        if let Some(tls) = tls {
            let accepted = tokio::select! {
                accepted = tls.accept(stream) => accepted,
                () = begun(&mut drain) => None,
            };
            if let Some(stream) = accepted {
                talk(&http, stream, answer, drain).await;
            }
            return;
        }
        let mut first = Vec::new();
        if let Some(api) = express {
            match express::serve(&api, &mut stream, peer, header_timeout, drain.clone()).await {
                Some(bytes) => first = bytes,
                None => return,
            }
        }
        let (read, write) = stream.into_split();
        talk(&http, tokio::io::join(Cursor::new(first).chain(read), write), answer, drain).await;
    }
}

/// Answers what is asked on `stream` until it ends.
async fn talk<S, A, F>(http: &http1::Builder, stream: S, answer: A, mut drain: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service_fn(answer)));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = begun(&mut drain) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that hangs up or sends no HTTP is its own affair.
    if let Err(error) = served {
        tracing::debug!(%error, "connection");
    }
}

/// Says why before closing, as far as the socket takes it at once.
fn refuse(stream: &TcpStream) {
    let _ = stream.try_write(REFUSAL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_its_own_length() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
