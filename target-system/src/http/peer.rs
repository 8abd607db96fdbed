//! Another service, asked over HTTP/1.1 on connections that are kept.

use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::auth::secret::Secret;
use crate::limits::{MAX_BODY_BYTES, MAX_HEADERS, PEER_IDLE};
use crate::resilience::guard::Failure;
use crate::trace;
use crate::trace::span::SpanKind;

/// Where a service is: `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrl {
    authority: axum::http::uri::Authority,
}

impl std::str::FromStr for PeerUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write http://host:port, without a path, a query or a user";
        let uri: Uri = text.parse().map_err(|_| wrong)?;
        let authority = uri.authority().ok_or(wrong)?;
        let bare = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
        if uri.scheme_str() != Some("http") || !bare {
            return Err(wrong);
        }
        Ok(Self { authority: authority.clone() })
    }
}

impl PeerUrl {
    /// Whether it is on this machine, so that nobody else hears what is said.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    /// `path` there.
    #[must_use]
    pub fn at(&self, path: &'static str) -> Uri {
        let parts = Uri::builder().scheme("http").authority(self.authority.clone()).path_and_query(path);
        parts.build().expect("a scheme, an authority and a path are a URI")
    }
}

/// Another service.
#[derive(Debug)]
pub struct Peer {
    client: Client<HttpConnector, Full<Bytes>>,
    authorization: Option<HeaderValue>,
}

impl Peer {
    /// One that is called `at_once` times at once, with `token` as its bearer token. A connection is made
    /// within `connect`.
    #[must_use]
    pub fn new(token: Option<&Secret>, at_once: usize, connect: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(PEER_IDLE)
            .pool_max_idle_per_host(at_once)
            .http1_max_buf_size(MAX_BODY_BYTES)
            .http1_max_headers(MAX_HEADERS)
            .build(connector);
        let authorization = token.map(|token| {
            let header = [b"Bearer ", token.expose()].concat();
            let mut header = HeaderValue::from_bytes(&header).expect("visible ASCII is a header");
            header.set_sensitive(true);
            header
        });
        Self { client, authorization }
    }

    /// Posts `body`, JSON, under `key` when there is one; the body of the answer.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn post(&self, uri: &Uri, key: Option<&str>, body: Bytes) -> Result<Bytes, Failure> {
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, uri.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.authorization {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(key) = key {
            headers.insert("idempotency-key", HeaderValue::from_str(key).map_err(|_| Failure::Failed)?);
        }
        let mut span = trace::step("POST", SpanKind::Client);
        span.trace().carry(headers);
        if span.is_sampled() {
            span.set("http.request.method", "POST");
            span.set("url.full", uri.to_string());
            span.set("server.address", uri.host().unwrap_or_default());
            span.set("server.port", i64::from(uri.port_u16().unwrap_or(80)));
        }
        let answered = async {
            let answer = self.client.request(request).await.map_err(|e| failed(uri, &e))?;
            let status = answer.status();
            // Read to its end whatever the status: the connection is used again after that.
            let body = Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await;
            Ok((status, body.map_err(|e| failed(uri, &*e))?.to_bytes()))
        };
        let (status, body) = match answered.await {
            Ok(answered) => answered,
            Err(error) => {
                span.fail("no_answer");
                span.end();
                return Err(error);
            }
        };
        span.answered(status.as_u16(), 400);
        match status {
            status if status.is_success() => Ok(body),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Failure::Failed),
            status if status.is_client_error() => Err(Failure::Refused(status.as_u16())),
            _ => Err(Failure::Failed),
        }
    }
}

fn failed(uri: &Uri, error: &dyn std::error::Error) -> Failure {
    tracing::debug!(%uri, %error, "no answer");
    Failure::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_nothing_else() {
        for good in ["http://127.0.0.1:9", "http://fraud:8090/", "http://[::1]:9", "http://localhost"] {
            assert!(good.parse::<PeerUrl>().is_ok(), "{good}");
        }
        for bad in
            ["", "fraud:8090", "https://fraud", "http://fraud/v1", "http://u:p@fraud", "http://f?x", "/x"]
        {
            assert!(bad.parse::<PeerUrl>().is_err(), "{bad}");
        }
        assert_eq!(
            "http://fraud:1".parse::<PeerUrl>().unwrap().at("/v1/x").to_string(),
            "http://fraud:1/v1/x"
        );
    }

    #[test]
    fn loopback_is_known_by_its_address_and_its_name() {
        for (url, is) in [
            ("http://127.0.0.1:9", true),
            ("http://127.8.8.8", true),
            ("http://[::1]:9", true),
            ("http://localhost:9", true),
            ("http://localhost.example:9", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0:9", false),
        ] {
            assert_eq!(url.parse::<PeerUrl>().unwrap().is_loopback(), is, "{url}");
        }
    }
}
