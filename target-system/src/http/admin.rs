//! The admin port: faults on and off, drain. Loopback only, with a token of its own.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use hyper::Request;
use hyper::body::Incoming;
use squall_chaos::lease::ArmRequest;
use tower::Service as _;

use super::app::App;
use super::body;
use super::problem::Problem;
use super::render;
use crate::queue::Queue;

/// The admin port: what one request goes through.
pub struct Admin {
    app: Arc<App>,
    router: Router,
}

impl Admin {
    /// The routes that govern `app`.
    #[must_use]
    pub fn new(app: &Arc<App>) -> Self {
        let router = Router::new()
            .route("/admin/faults", get(list).post(arm))
            .route("/admin/faults/{name}", delete(end))
            .route("/admin/faults/{name}/hits", get(hits))
            .route("/admin/drain", post(drain))
            .route("/admin/dead-letters", get(dead_letters))
            .fallback(async || Problem::missing("there is nothing at this URL"))
            .method_not_allowed_fallback(async || Problem::method())
            .with_state(Arc::clone(app));
        Self { app: Arc::clone(app), router }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, Infallible> {
        let header = request.headers().get(AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
        if !self.app.auth.is_admin(header) {
            return Ok(Problem::unauthorized("this needs the admin token").into_response());
        }
        let answered = self.router.clone().call(request.map(Body::new));
        let in_time = tokio::time::timeout(self.app.request_timeout, answered).await;
        in_time.unwrap_or_else(|_| Ok(Problem::timeout().into_response()))
    }
}

/// `POST /admin/faults`: arms a fault, or renews it.
async fn arm(State(app): State<Arc<App>>, body: Body) -> Result<Response, Problem> {
    let bytes = body::read(body).await?;
    let request: ArmRequest =
        serde_json::from_slice(&bytes).map_err(|e| Problem::malformed(format!("this is no fault: {e}")))?;
    let status =
        app.leases.arm(&request).map_err(|e| Problem::invalid("fault_refused", "fault", e.to_string()))?;
    tracing::info!(fault = status.fault.name, ttl_ms = request.ttl_ms, "fault armed");
    Ok(render::value(StatusCode::CREATED, &status))
}

/// `GET /admin/faults`: what is armed now.
async fn list(State(app): State<Arc<App>>) -> Response {
    render::value(StatusCode::OK, &app.leases.list())
}

/// `DELETE /admin/faults/{name}`: ends a fault and says how many requests it hit; also of one
/// that has ended by itself.
async fn end(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let status = app.leases.end(&name).ok_or_else(|| Problem::missing("no fault of this name is known"))?;
    tracing::info!(fault = status.fault.name, affected = status.affected, "fault ended");
    Ok(render::value(StatusCode::OK, &status))
}

/// `GET /admin/faults/{name}/hits`: which requests a fault has hit; also one of the last that have ended.
async fn hits(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, Problem> {
    // Up to a million are sorted and written: not on a thread that serves requests.
    let told = tokio::task::spawn_blocking(move || app.leases.hits(&name).map(|hits| render::bytes(&hits)));
    let told = told.await.map_err(|_| Problem::internal())?;
    let told = told.ok_or_else(|| Problem::missing("no fault of this name is known"))?;
    Ok(render::json(StatusCode::OK, told))
}

/// `GET /admin/dead-letters`: the notices that were given up, and why; those of this process alone.
async fn dead_letters(State(app): State<Arc<App>>) -> Response {
    let kept = match app.workers.as_ref().map(|workers| &workers.queue) {
        Some(Queue::Local(queue)) => queue.dead_letters(),
        _ => Vec::new(),
    };
    render::value(StatusCode::OK, &kept)
}

/// `POST /admin/drain`: as SIGTERM does.
async fn drain(State(app): State<Arc<App>>) -> Response {
    app.drain.begin();
    render::json(StatusCode::ACCEPTED, r#"{"draining":true}"#)
}
