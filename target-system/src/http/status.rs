//! What the service says of itself: alive, ready, healthy, in figures, and whether its books
//! are straight.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::app::{App, permit};
use super::payments::{refused, unreadable};
use super::problem::{Envelope, Problem};
use super::render;
use crate::auth::role::{Act, Caller};
use crate::bank::{Bank, StoreHealth, Sums};
use crate::cache::CacheHealth;
use crate::dependencies::{Dependencies, DependenciesHealth};
use crate::metrics::Reading;
use crate::postgres::relay::OutboxHealth;
use crate::postgres::replicas::ReplicaHealth;
use crate::process::Usage;
use crate::shards::Shards;
use crate::shards::metrics::ShardHealth;
use crate::store::recount::Recount;
use crate::strain::Checks;
use crate::wall;
use crate::worker::metrics::{Figures, NotifyMetrics};

#[derive(Serialize, ToSchema)]
struct Health {
    status: &'static str,
    ready: bool,
    uptime_s: f64,
    connections: usize,
    store: StoreHealth,
    /// Each database, when accounts are divided among several.
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<Vec<ShardHealth>>,
    strain: Checks,
    admission: Admitting,
    process: Usage,
    idempotency: Idempotency,
    fraud_fallbacks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<DependenciesHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notifications: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox: Option<OutboxHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<Vec<ReplicaHealth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<CacheHealth>,
    faults: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Idempotency {
    /// The setting.
    window_s: u64,
    /// What it comes to where that is known without counting.
    #[serde(flatten)]
    kept: Kept,
}

#[derive(Serialize, ToSchema)]
struct Admitting {
    under_way: usize,
    /// None when everything is admitted.
    limit: Option<usize>,
}

/// The embedded store's keys.
#[derive(Default, Serialize, ToSchema)]
struct Kept {
    /// The setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    window_keys: Option<u64>,
    /// How many keys are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
    /// For how long they have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_window_s: Option<u64>,
}

/// Whether it may take traffic.
fn ready(app: &App) -> bool {
    app.bank.health().ok && !app.drain.has_begun() && app.strain.has_room()
}

/// The keys of the embedded store; nothing of another's.
fn kept(app: &App) -> Kept {
    let Bank::Embedded(bank) = &app.bank else { return Kept::default() };
    let (keys, oldest_ms) = bank.keys();
    let now_ms = wall::now_ms();
    let effective_window_s = if oldest_ms == 0 { 0 } else { now_ms.saturating_sub(oldest_ms) / 1000 };
    Kept {
        window_keys: Some(bank.settings.key_limit),
        keys: Some(keys),
        effective_window_s: Some(effective_window_s),
    }
}

/// The databases, when they are the store.
fn databases(app: &App) -> Option<&Shards> {
    match &app.bank {
        Bank::Embedded(_) => None,
        Bank::Postgres(bank) => Some(bank),
    }
}

/// `GET /livez`: the process answers.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "watching", summary = "The process answers", security(()),
    responses((status = 200, body = String, content_type = "text/plain", description = "It does")))]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it may take traffic; 503 when it may not.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "watching", summary = "It may take traffic", security(()),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "It may"),
        (status = 503, body = String, content_type = "text/plain", description = "It may not: its store is away, it drains, or it is strained"),
    ))]
pub async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if ready(&app) { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

/// `GET /health`: every check with its figures; 503 when it is not healthy. Some atomics, one
/// lock for a few words and one file of `/proc`: cheap enough to be asked each second.
#[utoipa::path(get, path = "/health", operation_id = "health", tag = "watching", summary = "Every check with its figures", security(()),
    responses(
        (status = 200, body = Health, description = "It may take traffic"),
        (status = 503, body = Health, description = "It may not"),
    ))]
pub async fn health(State(app): State<Arc<App>>) -> Response {
    let store = app.bank.health();
    let shards = databases(&app).and_then(Shards::each);
    let outbox = app.metrics.outbox.as_ref().map(|outbox| outbox.health(app.outbox_limit));
    let status = match (store.ok, app.drain.has_begun(), app.strain.has_room()) {
        (false, ..) => "unhealthy",
        (true, true, _) => "draining",
        (true, false, false) => "strained",
        (true, false, true) if outbox.is_some_and(|o| o.rows > o.limit) => "degraded",
        (true, false, true) if shards.iter().flatten().any(|shard| !shard.is_ok()) => "degraded",
        (true, false, true) => "ok",
    };
    let health = Health {
        status,
        ready: ready(&app),
        uptime_s: app.started.now_s(),
        connections: app.connections.load(Relaxed),
        store,
        shards,
        strain: app.strain.checks(),
        admission: Admitting { under_way: app.admission.under_way(), limit: app.admission.limit() },
        process: Usage::now(),
        idempotency: Idempotency { window_s: app.key_window.as_secs(), kept: kept(&app) },
        fraud_fallbacks: app.metrics.fraud_fallbacks.get(),
        dependencies: app.dependencies.as_ref().map(Dependencies::health),
        notifications: app.metrics.notify.as_ref().map(NotifyMetrics::figures),
        outbox,
        replicas: databases(&app).and_then(Shards::replicas),
        cache: databases(&app).and_then(Shards::cache),
        faults: app.leases.list().into_iter().map(|s| s.fault.name).collect(),
    };
    render::value(if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
}

/// `GET /metrics`, in OpenMetrics' text form.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "watching", summary = "Figures for Prometheus", security(()),
    responses((status = 200, body = String, content_type = "application/openmetrics-text", description = "In OpenMetrics' text form")))]
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    if let Some(databases) = databases(&app) {
        databases.read_gauges(&app.metrics);
    }
    app.metrics.answer(Reading {
        queue_depth: app.bank.health().queue_depth,
        keys: kept(&app).keys,
        under_way: (app.admission.under_way(), app.admission.limit().unwrap_or(usize::MAX)),
        connections: app.connections.load(Relaxed),
        pool: databases(&app).map(Shards::connections),
        faults: app.leases.list().len(),
        usage: Usage::now(),
    })
}

/// The query of [`audit`].
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct How {
    #[serde(default)]
    recount: bool,
}

#[derive(Serialize, ToSchema)]
struct Audit {
    /// Whether everything below holds.
    balanced: bool,
    payments: u64,
    declines: u64,
    keys: u64,
    highest_seq: u64,
    accounts: usize,
    /// Sums over all currencies, in minor units; `currencies` has them apart.
    debits: i128,
    credits: i128,
    currencies: BTreeMap<String, Sums>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recount: Option<Recount>,
}

/// `GET /v1/audit`: totals that must hold. With `?recount=true` every payment is read again and
/// every balance computed anew, on a thread of its own.
///
/// # Errors
/// 400 for another query, 403 for customers, 429 when a recount is under way, 503 when the store cannot be read.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "audit",
    tag = "books",
    summary = "Totals that must hold",
    params(("recount" = Option<bool>, Query, description = "Reads every payment again and computes every balance anew; one at a time", nullable = false)),
    responses(
        (status = 200, body = Audit, description = "The totals, and whether they hold"),
        (status = 400, body = Envelope, description = "The query makes no sense"),
    ),
)]
pub async fn audit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<How>, QueryRejection>,
) -> Result<Response, Problem> {
    permit(&caller, Act::Audit)?;
    let Query(how) = query.map_err(|e| Problem::invalid("parameter_invalid", "recount", e.body_text()))?;
    let turn = match how.recount {
        true => Arc::clone(&app.recounts)
            .try_acquire_owned()
            .map_err(|_| Problem::busy("a recount is under way"))?,
        // Its time limit is that of every request. Nobody closes the semaphore.
        false => Arc::clone(&app.audits).acquire_owned().await.map_err(|_| Problem::store(503))?,
    };
    let audited =
        app.bank.audit(how.recount, turn).await.map_err(unreadable)?.map_err(|e| refused(&app, e))?;
    Ok(render::value(
        StatusCode::OK,
        &Audit {
            balanced: audited.is_balanced(),
            payments: audited.payments,
            declines: audited.declines,
            keys: audited.keys,
            highest_seq: audited.highest_seq,
            accounts: audited.accounts,
            debits: audited.currencies.values().map(|s| s.debits).sum(),
            credits: audited.currencies.values().map(|s| s.credits).sum(),
            currencies: audited.currencies,
            recount: audited.recount,
        },
    ))
}
