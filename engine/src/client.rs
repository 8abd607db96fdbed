//! A reqwest client that talks to one target and does nothing on its own account: no proxy from
//! the environment, no redirect, no retry, no decompression, no cookie.
//!
//! One thing cannot be turned off: a request that finds its kept connection closed before a byte
//! of it was sent goes out on a new one. The own transport notices such a connection earlier, and
//! does the same.

use std::time::Duration;

use reqwest::ClientBuilder;
use reqwest::redirect::Policy;
use reqwest::retry;
pub use reqwest::{Client, Url};
use squall_scenarios::plan::Http;

use crate::answer::{MAX_HEAD_BYTES, MAX_HEADERS};
use crate::endpoint::Endpoint;
use crate::tls;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host is not part of a URL.
    #[error("write {0} as a URL")]
    Host(String),
    /// reqwest refuses.
    #[error("make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// What the requests for `host` at `endpoint` begin with.
///
/// # Errors
/// When `host` is no host, or more.
pub fn base_url(endpoint: &Endpoint, host: &str) -> Result<Url, ClientError> {
    Url::parse(&format!("{}://{host}/", endpoint.scheme()))
        .ok()
        .filter(|url| url.has_host() && url.path() == "/")
        .ok_or_else(|| ClientError::Host(host.to_owned()))
}

/// A client that keeps one connection open, and opens it within `connect_timeout`. Whatever name
/// `base` has, it connects to `endpoint`.
///
/// # Errors
/// When reqwest cannot make one.
pub fn client(
    endpoint: &Endpoint,
    base: &Url,
    http: Http,
    connect_timeout: Duration,
) -> Result<Client, ClientError> {
    let builder = builder(endpoint, base, http, connect_timeout);
    Ok(builder.pool_idle_timeout(None).pool_max_idle_per_host(1).build()?)
}

/// The makings of a client, but for how many connections it keeps, and how long.
pub(crate) fn builder(
    endpoint: &Endpoint,
    base: &Url,
    http: Http,
    connect_timeout: Duration,
) -> ClientBuilder {
    let builder = Client::builder()
        .no_proxy()
        .no_gzip()
        .redirect(Policy::none())
        .referer(false)
        .retry(retry::never())
        .tcp_nodelay(true)
        .connect_timeout(connect_timeout)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEAD_BYTES as u32);
    let builder = match http {
        Http::V1 => builder.http1_only(),
        Http::V2 => builder.http2_prior_knowledge(),
    };
    let name = base.host_str().unwrap_or_default();
    match endpoint {
        Endpoint::Tcp(addr) => builder.resolve(name, *addr).tls_backend_preconfigured(tls::unused()),
        Endpoint::Tls(addr, tls) => builder.resolve(name, *addr).tls_backend_preconfigured(tls.config()),
        Endpoint::Unix(path) => builder.unix_socket(path.as_path()).tls_backend_preconfigured(tls::unused()),
    }
}
