//! The routes of the API, and what holds for all of them.
//!
//! Around every request: a `Request-Id`, a count, a time. Around everything below `/v1`: first
//! the address's allowance, then the `api` fault point, then the caller and their allowance, then the time limit. What watches the service
//! (`/livez`, `/readyz`, `/health`, `/metrics`) is outside of both, so that it sees a fault
//! instead of suffering it.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use squall_chaos::layer::{Chaos, ChaosLayer, REQUEST_ID};
use squall_chaos::slow_body::Trickled;
use tower::{Layer as _, Service};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::problem::Problem;
use super::{accounts, login, methods, openapi, payments, status};
use crate::auth::role::Caller;
use crate::metrics::{BALANCE_ROUTE, PAY_ROUTE};
use crate::panics;
use crate::trace::RequestId;
use crate::trace::context::Carried;

/// Where a proxy says for whom it asks.
pub const FORWARDED_FOR: &str = "x-forwarded-for";

/// What a caller without a valid token is told.
pub const UNAUTHORIZED: &str = "this needs a bearer token";

/// What is below `/v1`, with its description.
pub fn v1() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(payments::find, payments::make))
        .routes(routes!(payments::get))
        .routes(routes!(accounts::create))
        .routes(routes!(accounts::get))
        .routes(routes!(accounts::balance))
        .routes(routes!(payments::list))
        .routes(routes!(methods::create))
        .routes(routes!(methods::get))
        .routes(routes!(status::audit))
        .routes(routes!(login::login))
        .routes(routes!(login::refresh))
}

/// What watches the service, with its description.
pub fn watching() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(status::livez))
        .routes(routes!(status::readyz))
        .routes(routes!(status::health))
        .routes(routes!(status::metrics))
        .routes(routes!(openapi::document))
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// The API: what one request goes through from its head to its answer.
#[derive(Debug)]
pub struct Api {
    app: Arc<App>,
    v1: Chaos<Guarded>,
    watching: Router,
    /// The first part of every request id, other in each process.
    process: u32,
    requests: AtomicU64,
}

impl Api {
    /// The routes of `app`.
    #[must_use]
    pub fn new(app: &Arc<App>) -> Self {
        let whole = |router: Router<Arc<App>>| {
            router
                .fallback(async || Problem::missing("there is nothing at this URL"))
                .method_not_allowed_fallback(async || Problem::method())
                .with_state(Arc::clone(app))
        };
        let v1 = whole(v1().into());
        let guarded = Guarded(Arc::new(Routes { app: Arc::clone(app), router: v1 }));
        let mut process = [0; 4];
        // Without randomness ids of two processes may look alike; nothing depends on them.
        let _ = getrandom::fill(&mut process);
        Self {
            app: Arc::clone(app),
            v1: ChaosLayer::new(Arc::clone(&app.leases)).layer(guarded),
            watching: whole(watching().into()),
            process: u32::from_ne_bytes(process),
            requests: AtomicU64::new(0),
        }
    }

    /// What the handlers share.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response, Infallible> {
        let began_ns = self.app.started.now_ns();
        let route = route(request.method(), request.uri().path());
        // A proxy may add a line of its own behind what the client has sent: the last one is its word.
        let forwarded =
            request.headers().get_all(FORWARDED_FOR).iter().next_back().map(HeaderValue::as_bytes);
        let id = self.next_id();
        let mut response = if request.uri().path().starts_with("/v1/") {
            let span = self.app.span(id, route, || Carried::by(request.headers()));
            let response = match self.app.limit_address(peer, forwarded) {
                Err(limited) => limited.into_response(),
                Ok(()) => {
                    // What is behind the layer is always ready.
                    let answered = span.of_request(id, self.v1.clone().call(request));
                    match panics::caught(answered).await {
                        Ok(answered) => answered?.map(whole),
                        Err(panics::Panicked) => Problem::internal().into_response(),
                    }
                }
            };
            span.answered(response.status().as_u16(), 500);
            response
        } else {
            self.watching.clone().call(request.map(Body::new)).await?
        };
        let header = HeaderValue::try_from(id.to_string()).expect("hexadecimal is a header");
        response.headers_mut().insert(&REQUEST_ID, header);
        let took_ns = self.app.started.now_ns() - began_ns;
        self.app.metrics.answered(route, response.status().as_u16(), took_ns);
        Ok(response)
    }

    /// The next request's id: the process, then 48 bits that count.
    pub fn next_id(&self) -> RequestId {
        RequestId(u128::from(self.process) << 48 | u128::from(self.requests.fetch_add(1, Relaxed)))
    }
}

/// The body as it is, unless a fault slows it down.
fn whole(body: Trickled<Body>) -> Body {
    match body.into_plain() {
        Ok(body) => body,
        Err(slow) => Body::new(slow),
    }
}

/// What is below `/v1`.
#[derive(Debug)]
struct Routes {
    app: Arc<App>,
    /// Everything but the one call that the service is there for.
    router: Router,
}

/// Lets callers in, and gives up after the time limit.
#[derive(Debug, Clone)]
struct Guarded(Arc<Routes>);

impl Service<Request<Incoming>> for Guarded {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answer {
        let routes = Arc::clone(&self.0);
        Box::pin(async move {
            let app = &routes.app;
            let path = request.uri().path();
            let mut caller = None;
            if !path.starts_with("/v1/auth/") {
                caller = app.auth.caller(request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes));
                let Some(caller) = &caller else {
                    return Ok(Problem::unauthorized(UNAUTHORIZED).into_response());
                };
                if let Err(limited) = app.limit_user(caller) {
                    return Ok(limited.into_response());
                }
            }
            let paying = path == "/v1/payments" && request.method() == Method::POST;
            let answered = async {
                match caller {
                    // Straight to its handler: routing and extractors cost as much as the rest.
                    Some(caller) if paying => {
                        payments::create(app, &caller, request).await.unwrap_or_else(Problem::into_response)
                    }
                    caller => routes.route(caller, request).await,
                }
            };
            let in_time = tokio::time::timeout(app.request_timeout, answered).await;
            Ok(in_time.unwrap_or_else(|_| Problem::timeout().into_response()))
        })
    }
}

impl Routes {
    async fn route(&self, caller: Option<Caller>, request: Request<Incoming>) -> Response {
        let mut request = request.map(Body::new);
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let Ok(response) = self.router.clone().call(request).await;
        response
    }
}

/// The route as a label. A fixed set, whatever clients ask for.
pub fn route(method: &Method, path: &str) -> &'static str {
    let mut parts = path.split('/').skip(1);
    let parts = [(); 5].map(|()| parts.next());
    match (method.as_str(), parts) {
        ("POST", [Some("v1"), Some("payments"), None, ..]) => PAY_ROUTE,
        ("GET", [Some("v1"), Some("payments"), None, ..]) => "GET /v1/payments",
        ("GET", [Some("v1"), Some("payments"), Some(_), None, _]) => "GET /v1/payments/{id}",
        ("POST", [Some("v1"), Some("payment_methods"), None, ..]) => "POST /v1/payment_methods",
        ("GET", [Some("v1"), Some("payment_methods"), Some(_), None, _]) => "GET /v1/payment_methods/{id}",
        ("POST", [Some("v1"), Some("accounts"), None, ..]) => "POST /v1/accounts",
        ("GET", [Some("v1"), Some("accounts"), Some(_), None, _]) => "GET /v1/accounts/{id}",
        ("GET", [Some("v1"), Some("accounts"), Some(_), Some("balance"), None]) => BALANCE_ROUTE,
        ("GET", [Some("v1"), Some("accounts"), Some(_), Some("payments"), None]) => {
            "GET /v1/accounts/{id}/payments"
        }
        ("GET", [Some("v1"), Some("audit"), None, ..]) => "GET /v1/audit",
        ("POST", [Some("v1"), Some("auth"), Some("login"), None, _]) => "POST /v1/auth/login",
        ("POST", [Some("v1"), Some("auth"), Some("refresh"), None, _]) => "POST /v1/auth/refresh",
        ("GET", [Some("livez" | "readyz" | "health" | "metrics" | "openapi.json"), None, ..]) => "watching",
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
