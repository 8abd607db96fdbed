//! What the service says of itself: alive, ready, healthy, in figures, and whether its books
//! are straight.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use squall_record::clock;
use tokio::sync::oneshot;

use super::app::App;
use super::payments::{not_queued, unreadable};
use super::problem::Problem;
use super::render;
use crate::metrics::Reading;
use crate::process::Usage;
use crate::store::recount::Recount;
use crate::writer::Command;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    ready: bool,
    uptime_s: f64,
    connections: usize,
    store: StoreHealth,
    process: Usage,
    idempotency: Idempotency,
    fraud_checks_skipped: u64,
    notifications: Notifications,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct StoreHealth {
    ok: bool,
    queue_depth: usize,
    queue_limit: usize,
    commits: u64,
    payments: u64,
    declines: u64,
    accounts: usize,
    last_sync_us: u64,
}

#[derive(Serialize)]
struct Idempotency {
    /// The settings.
    window_s: u64,
    window_keys: u64,
    /// What they come to: how many keys are kept, and for how long they have been.
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
    app.board.healthy.load(Relaxed) && !app.drain.has_begun()
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
    let ok = app.board.healthy.load(Relaxed);
    let (payments, declines, keys, accounts) = {
        let view = app.board.read();
        (view.totals.payments, view.totals.declines, view.totals.keys(), view.accounts.len())
    };
    let oldest_ms = app.board.oldest_key_ms.load(Relaxed);
    let now_ms = clock::unix_ms(clock::wall_now());
    let status = match (ok, app.drain.has_begun()) {
        (false, _) => "unhealthy",
        (true, true) => "draining",
        (true, false) => "ok",
    };
    let health = Health {
        status,
        ready: ready(&app),
        uptime_s: app.started.now_s(),
        connections: app.connections.load(Relaxed),
        store: StoreHealth {
            ok,
            queue_depth: app.queue.depth(),
            queue_limit: app.settings.queue_limit,
            commits: app.board.commits.load(Relaxed),
            payments,
            declines,
            accounts,
            last_sync_us: app.board.last_sync_us.load(Relaxed),
        },
        process: Usage::now(),
        idempotency: Idempotency {
            window_s: app.settings.key_window.as_secs(),
            window_keys: app.settings.key_limit,
            keys,
            effective_window_s: if oldest_ms == 0 { 0 } else { now_ms.saturating_sub(oldest_ms) / 1000 },
        },
        fraud_checks_skipped: app.metrics.fraud_skipped.get(),
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
        queue_depth: app.queue.depth(),
        keys: app.board.read().totals.keys(),
        connections: app.connections.load(Relaxed),
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

#[derive(Default, Serialize)]
struct Sums {
    debits: i128,
    credits: i128,
    /// Of all accounts.
    balances: i128,
    /// The world's balance: minus all openings. With `balances` it comes to zero.
    world: i128,
}

/// `GET /v1/audit`: totals that must hold. With `?recount=true` every payment is read again and
/// every balance computed anew, on a thread of its own.
///
/// # Errors
/// 400 for another query, 429 when a recount is under way, 503 when the store cannot be read.
pub async fn audit(
    State(app): State<Arc<App>>,
    query: Result<Query<How>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(how) = query.map_err(|e| Problem::invalid("parameter_invalid", "recount", e.body_text()))?;
    let mut audit = totals(&app);
    if how.recount {
        let recounting = Arc::clone(&app.recounts).try_acquire_owned();
        let recounting = recounting.map_err(|_| Problem::busy("a recount is under way"))?;
        let (reply, replied) = oneshot::channel();
        app.queue.offer(Command::Cut(reply)).map_err(|e| not_queued(&app, e))?;
        let cut = replied.await.map_err(|_| Problem::store(503))?;
        let store = app.store.clone();
        let counted = tokio::task::spawn_blocking(move || {
            let found = store.recount(&cut);
            drop(recounting);
            found
        });
        let found = counted.await.map_err(|_| Problem::internal())?.map_err(unreadable)?;
        audit.balanced &= found.sound;
        audit.recount = Some(found);
    }
    Ok(render::value(StatusCode::OK, &audit))
}

fn totals(app: &App) -> Audit {
    let view = app.board.read();
    let mut currencies: BTreeMap<String, Sums> = BTreeMap::new();
    for account in &view.accounts {
        let sums = match currencies.get_mut(account.currency.code()) {
            Some(sums) => sums,
            None => currencies.entry(account.currency.to_string()).or_default(),
        };
        sums.balances += i128::from(account.balance);
        sums.world -= i128::from(account.opening);
    }
    for volume in &view.totals.volumes {
        let sums = currencies.entry(volume.currency.to_string()).or_default();
        (sums.debits, sums.credits) = (volume.debits, volume.credits);
    }
    Audit {
        balanced: currencies.values().all(|s| s.debits == s.credits && s.balances + s.world == 0),
        payments: view.totals.payments,
        declines: view.totals.declines,
        keys: view.totals.keys(),
        highest_seq: view.totals.payments,
        accounts: view.accounts.len(),
        debits: currencies.values().map(|s| s.debits).sum(),
        credits: currencies.values().map(|s| s.credits).sum(),
        currencies,
        recount: None,
    }
}
