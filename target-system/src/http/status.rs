//! What the service says of itself: alive, ready, healthy, in figures, and whether its books
//! are straight.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use squall_record::clock;

use super::app::{App, permit};
use super::payments::{refused, unreadable};
use super::problem::Problem;
use super::render;
use crate::auth::role::{Act, Caller};
use crate::bank::{Bank, StoreHealth, Sums};
use crate::dependencies::{Dependencies, DependenciesHealth};
use crate::metrics::Reading;
use crate::process::Usage;
use crate::store::recount::Recount;
use crate::strain::Checks;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    ready: bool,
    uptime_s: f64,
    connections: usize,
    store: StoreHealth,
    strain: Checks,
    admission: Admitting,
    process: Usage,
    idempotency: Idempotency,
    fraud_fallbacks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<DependenciesHealth>,
    notifications: Notifications,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct Idempotency {
    /// The setting.
    window_s: u64,
    /// What it comes to where that is known without counting.
    #[serde(flatten)]
    kept: Option<Kept>,
}

#[derive(Serialize)]
struct Admitting {
    under_way: usize,
    /// None when everything is admitted.
    limit: Option<usize>,
}

/// The embedded store's keys.
#[derive(Serialize)]
struct Kept {
    /// The setting.
    window_keys: u64,
    /// How many keys are kept, and for how long they have been.
    keys: u64,
    effective_window_s: u64,
}

#[derive(Serialize)]
struct Notifications {
    sent: u64,
    failed: u64,
    lost: u64,
}

/// Whether it may take traffic.
fn ready(app: &App) -> bool {
    app.bank.health().ok && !app.drain.has_begun() && app.strain.has_room()
}

/// The keys of the embedded store.
fn kept(app: &App) -> Option<Kept> {
    let Bank::Embedded(bank) = &app.bank else { return None };
    let (keys, oldest_ms) = bank.keys();
    let now_ms = clock::unix_ms(clock::wall_now());
    let effective_window_s = if oldest_ms == 0 { 0 } else { now_ms.saturating_sub(oldest_ms) / 1000 };
    Some(Kept { window_keys: bank.settings.key_limit, keys, effective_window_s })
}

/// `GET /livez`: the process answers.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it may take traffic; 503 when it may not.
pub async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if ready(&app) { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

/// `GET /health`: every check with its figures; 503 when it is not healthy. Some atomics, one
/// lock for a few words and one file of `/proc`: cheap enough to be asked each second.
pub async fn health(State(app): State<Arc<App>>) -> Response {
    let store = app.bank.health();
    let status = match (store.ok, app.drain.has_begun(), app.strain.has_room()) {
        (false, ..) => "unhealthy",
        (true, true, _) => "draining",
        (true, false, false) => "strained",
        (true, false, true) => "ok",
    };
    let health = Health {
        status,
        ready: ready(&app),
        uptime_s: app.started.now_s(),
        connections: app.connections.load(Relaxed),
        store,
        strain: app.strain.checks(),
        admission: Admitting { under_way: app.admission.under_way(), limit: app.admission.limit() },
        process: Usage::now(),
        idempotency: Idempotency { window_s: app.key_window.as_secs(), kept: kept(&app) },
        fraud_fallbacks: app.metrics.fraud_fallbacks.get(),
        dependencies: app.dependencies.as_ref().map(Dependencies::health),
        notifications: Notifications {
            sent: app.metrics.notifications_sent.get(),
            failed: app.metrics.notifications_failed.get(),
            lost: app.metrics.notifications_lost.get(),
        },
        faults: app.leases.list().into_iter().map(|s| s.fault.name).collect(),
    };
    render::value(if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
}

/// `GET /metrics`, in OpenMetrics' text form.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.metrics.text(Reading {
        queue_depth: app.bank.health().queue_depth,
        keys: kept(&app).map(|kept| kept.keys),
        under_way: (app.admission.under_way(), app.admission.limit().unwrap_or(usize::MAX)),
        connections: app.connections.load(Relaxed),
        pool: match &app.bank {
            Bank::Embedded(_) => None,
            Bank::Postgres(bank) => Some(bank.connections()),
        },
        faults: app.leases.list().len(),
        usage: Usage::now(),
    });
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// The query of [`audit`].
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct How {
    #[serde(default)]
    recount: bool,
}

#[derive(Serialize)]
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
pub async fn audit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<How>, QueryRejection>,
) -> Result<Response, Problem> {
    permit(&caller, Act::Audit)?;
    let Query(how) = query.map_err(|e| Problem::invalid("parameter_invalid", "recount", e.body_text()))?;
    let recounting = match how.recount {
        true => Some(
            Arc::clone(&app.recounts)
                .try_acquire_owned()
                .map_err(|_| Problem::busy("a recount is under way"))?,
        ),
        false => None,
    };
    let audited = app.bank.audit(recounting).await.map_err(unreadable)?.map_err(|e| refused(&app, e))?;
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
