//! Where notices are delivered: over HTTP, or to a counter alone.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::queue::event::Event;
use crate::trace::span::Trace;

/// How much of an answer is read, so that its connection can be used again.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How long an idle connection to the receiver is kept.
const IDLE: Duration = Duration::from_secs(15);

/// A receiver's URL. It may hold a secret, and is never shown.
#[derive(Clone)]
pub struct Receiver(Uri);

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver(..)")
    }
}

impl std::str::FromStr for Receiver {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let uri: Uri = url.parse().map_err(|_| "this is no URL".to_owned())?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if !authority.as_str().contains('@') => Ok(Self(uri)),
            (Some("http"), Some(_)) => Err("a user is not supported: put a secret into the path".to_owned()),
            _ => Err("write http://host/path; TLS is for a proxy beside the worker".to_owned()),
        }
    }
}

/// Where notices go.
#[derive(Debug)]
pub enum Sink {
    /// Nowhere: being counted is all.
    Counter,
    /// To a receiver, as a `POST` each.
    Http(Box<Http>),
}

/// A receiver, and how long it may take.
#[derive(Debug)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    receiver: Receiver,
    host: HeaderValue,
    time_limit: Duration,
}

/// Why a notice was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum NotDelivered {
    /// The receiver says no.
    #[error("the receiver answers {0}")]
    Status(u16),
    /// There is no connection, or it broke.
    #[error("the receiver cannot be reached")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    /// No answer in time.
    #[error("the receiver has not answered within {0:?}")]
    Slow(Duration),
}

impl Sink {
    /// Delivers to `receiver`, if there is one, within `time_limit` each, over `connections` that are kept.
    #[must_use]
    pub fn new(receiver: Option<Receiver>, time_limit: Duration, connections: usize) -> Self {
        let Some(receiver) = receiver else { return Sink::Counter };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(time_limit));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .build(connector);
        let host = receiver.0.authority().and_then(|a| HeaderValue::try_from(a.as_str()).ok());
        let host = host.unwrap_or(HeaderValue::from_static("localhost"));
        Sink::Http(Box::new(Http { client, receiver, host, time_limit }))
    }
}

impl Http {
    /// Delivers `event` with its place in a trace, if it has one: the receiver has answered 2xx.
    ///
    /// # Errors
    /// [`NotDelivered`]; whether the receiver has it is not known unless it said so.
    pub async fn deliver(&self, event: Event, trace: &Trace) -> Result<(), NotDelivered> {
        tokio::time::timeout(self.time_limit, self.post(event, trace))
            .await
            .unwrap_or(Err(NotDelivered::Slow(self.time_limit)))
    }

    async fn post(&self, event: Event, trace: &Trace) -> Result<(), NotDelivered> {
        let mut request = Request::new(Full::new(event.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.receiver.0.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(id) = HeaderValue::try_from(event.id) {
            headers.insert("webhook-id", id);
        }
        trace.carry(headers);
        let (head, body) = self.client.request(request).await?.into_parts();
        // What it says does not matter; a long answer costs its connection.
        let _ = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        if head.status.is_success() { Ok(()) } else { Err(NotDelivered::Status(head.status.as_u16())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_an_http_url_and_never_shown() {
        let receiver: Receiver = "http://127.0.0.1:8090/hooks/s3cret".parse().unwrap();
        assert_eq!(format!("{receiver:?}"), "Receiver(..)");
        for bad in ["https://u:hunter2@h/", "http://u:hunter2@h/", "hunter2", "http:///hunter2", "hunter2 "] {
            let told = bad.parse::<Receiver>().unwrap_err();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
