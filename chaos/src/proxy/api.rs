//! Toxiproxy's HTTP API: its routes, codes, defaults and bodies.
//!
//! What Toxiproxy does not say, or does differently: keys that it does not know are refused, values that make no sense
//! too; a proxy may bring its toxics along, and a toxic its `ttl`; `/metrics` is always there. `/partitions` and a toxic's `hits` are not Toxiproxy's at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Proxies;
use super::error::ApiError;
use super::object::Object;
use super::one::{Shown, Typed};
use super::toxic::Stream;

/// The version whose API this is: clients choose by it what they ask for, some of them letter by letter.
pub const VERSION: &str = "2.9.0";
/// The largest body.
const MAX_BODY_BYTES: usize = 4 << 20;
/// How long a request may take, its body included.
const TIMEOUT: Duration = Duration::from_secs(25);
/// What browsers call themselves: a web page must not reach the API.
const BROWSER: &[u8] = b"Mozilla/";
static REQUEST_ID: HeaderName = HeaderName::from_static("x-toxiproxy-request-id");

type Answer = Result<Response, ApiError>;
type Shared = State<Arc<Proxies>>;

/// The API on `proxies`.
pub fn router(proxies: Arc<Proxies>) -> Router {
    Router::new()
        .route("/proxies", get(list).post(create))
        .route("/populate", post(populate))
        .route("/reset", post(reset))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/proxies/{proxy}", get(show).post(update).patch(update).delete(remove))
        .route("/proxies/{proxy}/toxics", get(list_toxics).post(create_toxic))
        .route(
            "/proxies/{proxy}/toxics/{toxic}",
            get(show_toxic).post(update_toxic).patch(update_toxic).delete(remove_toxic),
        )
        .route("/proxies/{proxy}/toxics/{toxic}/hits", get(hits))
        .route("/partitions", get(list_partitions).post(part))
        .route("/partitions/{partition}", axum::routing::delete(heal))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(gate))
        .with_state(proxies)
}

/// Turns browsers away, and names every request.
async fn gate(request: Request, next: Next) -> Response {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let agent = request.headers().get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut response = if agent.starts_with(BROWSER) {
        (StatusCode::FORBIDDEN, "User agent not allowed\n").into_response()
    } else {
        let answered = tokio::time::timeout(TIMEOUT, whole(request, next)).await;
        answered.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
    };
    let id = format!("{:020x}", REQUESTS.fetch_add(1, Ordering::Relaxed));
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID.clone(), id);
    }
    response
}

/// What is asked for is done once all of it is there, also for a client that hangs up meanwhile: half of a change is none.
async fn whole(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let done = tokio::spawn(next.run(Request::from_parts(head, body.into())));
    done.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        json(status(self.status), &self)
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response(),
    }
}

/// Whatever its content type says: clients say nothing, or that it is a form.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    if body.is_empty() {
        return Err(ApiError::bad_body("EOF"));
    }
    serde_json::from_slice(body).map_err(ApiError::bad_body)
}

fn object<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    read(body).map(|Object(typed)| typed)
}

async fn list(State(proxies): Shared) -> Response {
    let all: BTreeMap<String, Shown> =
        proxies.all().iter().map(|proxy| (proxy.name().to_owned(), proxy.shown())).collect();
    json(StatusCode::OK, &all)
}

async fn create(State(proxies): Shared, body: Bytes) -> Answer {
    Ok(json(StatusCode::CREATED, &proxies.create(object(&body)?).await?.shown()))
}

/// What has become of the proxies of a population.
#[derive(Serialize)]
struct Populated {
    #[serde(flatten)]
    error: Option<ApiError>,
    proxies: Vec<Shown>,
}

async fn populate(State(proxies): Shared, body: Bytes) -> Answer {
    let typed: Vec<Object<Typed>> = read(&body)?;
    let (code, populated) = match proxies.populate(typed).await {
        Ok(proxies) => (StatusCode::CREATED, Populated { error: None, proxies }),
        Err((e, proxies)) => (status(e.status), Populated { error: Some(e), proxies }),
    };
    Ok(json(code, &populated))
}

async fn reset(State(proxies): Shared) -> Answer {
    proxies.reset().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn version() -> Response {
    let body = format!("{{\"version\": \"{VERSION}\"}}\n");
    ([(CONTENT_TYPE, "application/json;charset=utf-8")], body).into_response()
}

/// Bytes that have passed, under Toxiproxy's names.
async fn metrics(State(proxies): Shared) -> Response {
    let mut text = String::new();
    for (name, what, sent) in [
        ("toxiproxy_proxy_received_bytes_total", "Bytes read from who sends.", false),
        ("toxiproxy_proxy_sent_bytes_total", "Bytes written to who receives.", true),
    ] {
        let _ = writeln!(text, "# HELP {name} {what}\n# TYPE {name} counter");
        for proxy in proxies.all() {
            let Shown { name: proxy_name, listen, upstream, .. } = proxy.shown();
            let [proxy_name, listen, upstream] = [proxy_name, listen, upstream].map(|text| label(&text));
            for stream in [Stream::Upstream, Stream::Downstream] {
                let bytes = proxy.shared().bytes(stream);
                let count = if sent { &bytes.sent } else { &bytes.received }.load(Ordering::Relaxed);
                let direction = stream.name();
                let _ = writeln!(
                    text,
                    r#"{name}{{direction="{direction}",listener="{listen}",proxy="{proxy_name}",upstream="{upstream}"}} {count}"#
                );
            }
        }
    }
    let name = "squall_toxic_met_total";
    let _ =
        writeln!(text, "# HELP {name} Requests and connections that a toxic has met.\n# TYPE {name} counter");
    for proxy in proxies.all() {
        for (toxic, met) in proxy.met() {
            let (proxy, toxic) = (label(proxy.name()), label(&toxic));
            let _ = writeln!(text, r#"{name}{{proxy="{proxy}",toxic="{toxic}"}} {met}"#);
        }
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// A label's value as Prometheus reads it.
fn label(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

async fn show(State(proxies): Shared, Path(proxy): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &proxies.get(&proxy)?.shown()))
}

async fn update(State(proxies): Shared, Path(proxy): Path<String>, body: Bytes) -> Answer {
    let proxy = proxies.get(&proxy)?;
    proxy.update(object(&body)?).await?;
    Ok(json(StatusCode::OK, &proxy.shown()))
}

async fn remove(State(proxies): Shared, Path(proxy): Path<String>) -> Answer {
    proxies.remove(&proxy).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list_toxics(State(proxies): Shared, Path(proxy): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &proxies.get(&proxy)?.toxics()))
}

async fn create_toxic(State(proxies): Shared, Path(proxy): Path<String>, body: Bytes) -> Answer {
    let proxy = proxies.get(&proxy)?;
    Ok(json(StatusCode::OK, &proxy.add(object(&body)?)?))
}

async fn show_toxic(State(proxies): Shared, Path((proxy, toxic)): Path<(String, String)>) -> Answer {
    Ok(json(StatusCode::OK, &proxies.get(&proxy)?.toxic(&toxic)?))
}

async fn list_partitions(State(proxies): Shared) -> Response {
    json(StatusCode::OK, &proxies.partitions())
}

async fn part(State(proxies): Shared, body: Bytes) -> Answer {
    Ok(json(StatusCode::CREATED, &proxies.part(object(&body)?).await?))
}

async fn heal(State(proxies): Shared, Path(partition): Path<String>) -> Answer {
    proxies.heal(&partition).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn hits(State(proxies): Shared, Path((proxy, toxic)): Path<(String, String)>) -> Answer {
    Ok(json(StatusCode::OK, &proxies.get(&proxy)?.hits(&toxic)?))
}

async fn update_toxic(
    State(proxies): Shared,
    Path((proxy, toxic)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let proxy = proxies.get(&proxy)?;
    // A toxic that is not there is what is told, whatever the body says.
    proxy.toxic(&toxic)?;
    Ok(json(StatusCode::OK, &proxy.change(&toxic, object(&body)?)?))
}

async fn remove_toxic(State(proxies): Shared, Path((proxy, toxic)): Path<(String, String)>) -> Answer {
    proxies.get(&proxy)?.remove(&toxic)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
