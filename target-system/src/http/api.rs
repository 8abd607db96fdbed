//! The routes of the API, and what holds for all of them.
//!
//! Around every request: a `Request-Id`, a count, a time. Around everything below `/v1`: first
//! the `api` fault point, then the caller, then the time limit. What watches the service
//! (`/livez`, `/readyz`, `/health`, `/metrics`) is outside of both, so that it sees a fault
//! instead of suffering it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hyper::Request;
use hyper::body::Incoming;
use squall_chaos::layer::{Chaos, ChaosLayer};
use tower::{Layer as _, Service, ServiceExt as _};

use super::app::App;
use super::problem::Problem;
use super::{accounts, login, payments, status};

static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// The API as a service for connections.
#[derive(Clone)]
pub struct Api {
    app: Arc<App>,
    v1: Chaos<Guarded>,
    watching: Router,
    /// The first part of every request id, other in each process.
    process: u32,
    requests: Arc<AtomicU64>,
}

impl Api {
    /// The routes of `app`.
    #[must_use]
    pub fn new(app: &Arc<App>) -> Self {
        let v1 = Router::new()
            .route("/v1/payments", post(payments::create).get(payments::find))
            .route("/v1/payments/{id}", get(payments::get))
            .route("/v1/accounts", post(accounts::create))
            .route("/v1/accounts/{id}", get(accounts::get))
            .route("/v1/accounts/{id}/balance", get(accounts::balance))
            .route("/v1/accounts/{id}/payments", get(payments::list))
            .route("/v1/audit", get(status::audit))
            .route("/v1/auth/login", post(login::login))
            .route("/v1/auth/refresh", post(login::refresh));
        let watching = Router::new()
            .route("/livez", get(status::livez))
            .route("/readyz", get(status::readyz))
            .route("/health", get(status::health))
            .route("/metrics", get(status::metrics));
        let whole = |router: Router<Arc<App>>| {
            router
                .fallback(async || Problem::missing("there is nothing at this URL"))
                .method_not_allowed_fallback(async || Problem::method())
                .with_state(Arc::clone(app))
        };
        let guarded = Guarded { app: Arc::clone(app), router: whole(v1) };
        let mut process = [0; 4];
        // Without randomness ids of two processes may look alike; nothing depends on them.
        let _ = getrandom::fill(&mut process);
        Self {
            app: Arc::clone(app),
            v1: ChaosLayer::new(Arc::clone(&app.leases)).layer(guarded),
            watching: whole(watching),
            process: u32::from_ne_bytes(process),
            requests: Arc::default(),
        }
    }

    fn request_id(&self) -> HeaderValue {
        let n = self.requests.fetch_add(1, Relaxed);
        HeaderValue::try_from(format!("req_{:08x}{n:012x}", self.process)).expect("hexadecimal is a header")
    }
}

impl hyper::service::Service<Request<Incoming>> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let api = self.clone();
        Box::pin(async move {
            let began_ns = api.app.started.now_ns();
            let route = route(request.method(), request.uri().path());
            let request = request.map(Body::new);
            let mut response = if request.uri().path().starts_with("/v1/") {
                api.v1.clone().oneshot(request).await?
            } else {
                api.watching.clone().oneshot(request).await?
            };
            response.headers_mut().insert(&REQUEST_ID, api.request_id());
            let took_ns = api.app.started.now_ns() - began_ns;
            api.app.metrics.answered(route, response.status().as_u16(), took_ns);
            Ok(response)
        })
    }
}

/// Lets callers in, and gives up after the time limit.
#[derive(Debug, Clone)]
pub struct Guarded {
    app: Arc<App>,
    router: Router,
}

impl Service<Request<Body>> for Guarded {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Answer {
        let Self { app, mut router } = self.clone();
        Box::pin(async move {
            if !request.uri().path().starts_with("/v1/auth/") {
                let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
                let Some(caller) = app.auth.caller(header) else {
                    return Ok(Problem::unauthorized("this needs a bearer token").into_response());
                };
                request.extensions_mut().insert(caller);
            }
            match tokio::time::timeout(app.request_timeout, router.call(request)).await {
                Ok(response) => response,
                Err(_) => Ok(Problem::timeout().into_response()),
            }
        })
    }
}

/// The route as a label. A fixed set, whatever clients ask for.
fn route(method: &Method, path: &str) -> &'static str {
    let mut parts = path.split('/').skip(1);
    let parts = [(); 5].map(|()| parts.next());
    match (method.as_str(), parts) {
        ("POST", [Some("v1"), Some("payments"), None, ..]) => "POST /v1/payments",
        ("GET", [Some("v1"), Some("payments"), None, ..]) => "GET /v1/payments",
        ("GET", [Some("v1"), Some("payments"), Some(_), None, _]) => "GET /v1/payments/{id}",
        ("POST", [Some("v1"), Some("accounts"), None, ..]) => "POST /v1/accounts",
        ("GET", [Some("v1"), Some("accounts"), Some(_), None, _]) => "GET /v1/accounts/{id}",
        ("GET", [Some("v1"), Some("accounts"), Some(_), Some("balance"), None]) => {
            "GET /v1/accounts/{id}/balance"
        }
        ("GET", [Some("v1"), Some("accounts"), Some(_), Some("payments"), None]) => {
            "GET /v1/accounts/{id}/payments"
        }
        ("GET", [Some("v1"), Some("audit"), None, ..]) => "GET /v1/audit",
        ("POST", [Some("v1"), Some("auth"), Some("login"), None, _]) => "POST /v1/auth/login",
        ("POST", [Some("v1"), Some("auth"), Some("refresh"), None, _]) => "POST /v1/auth/refresh",
        ("GET", [Some("livez" | "readyz" | "health" | "metrics"), None, ..]) => "watching",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_a_fixed_set() {
        assert_eq!(route(&Method::POST, "/v1/payments"), "POST /v1/payments");
        assert_eq!(
            route(&Method::GET, "/v1/accounts/acc_00000001/payments"),
            "GET /v1/accounts/{id}/payments"
        );
        assert_eq!(route(&Method::GET, "/health"), "watching");
        for path in ["/v1/payments/a/b", "/v1/accounts/a/balance/b", "/", "", "/v2", "//"] {
            assert_eq!(route(&Method::GET, path), "other", "{path}");
        }
        assert_eq!(route(&Method::DELETE, "/v1/payments"), "other");
    }
}
