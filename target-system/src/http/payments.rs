//! Payments: made once for each key, found by id or by key, listed by account.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use squall_chaos::layer::Subject;
use squall_record::fault::FaultPoint;
use tokio::sync::oneshot;

use super::app::App;
use super::body;
use super::problem::Problem;
use super::render::{self, Wanted};
use crate::auth::bearer::Caller;
use crate::decline::Decline;
use crate::fraud::Checked;
use crate::idempotency::ScopedKey;
use crate::ids::{AccountId, parse_payment};
use crate::limits::{DEFAULT_PAGE, MAX_PAGE};
use crate::record::{Order, Record, Verdict};
use crate::store::StoreError;
use crate::writer::{Command, NotQueued, Pay};

/// Says that an answer was given before.
const REPLAYED: &str = "idempotent-replayed";

/// `POST /v1/payments`
///
/// # Errors
/// 400, 402, 409, 413, 422, 503: `docs/target.md` has the table.
pub async fn create(
    app: &Arc<App>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Result<Response, Problem> {
    let key = key(request.headers().get("idempotency-key").map(HeaderValue::as_bytes), caller)?;
    let subject = Subject::of(request.headers(), || 0);
    let order = body::order(&body::read(request.into_body()).await?)?;
    Ok(pay(app, key, order, subject).await?.into_response())
}

/// What a payment came to.
#[derive(Debug)]
pub struct Paid {
    /// The record of it.
    pub record: Record,
    /// Whether it was made by an earlier request with the same key.
    pub replayed: bool,
}

impl IntoResponse for Paid {
    fn into_response(self) -> Response {
        let mut response = match self.record.verdict {
            Verdict::Succeeded { .. } => rendered(StatusCode::CREATED, &self.record),
            Verdict::Declined { why } => Problem::declined(why).into_response(),
        };
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// Makes the payment `order` under `key`, once; waits until it is durable.
///
/// # Errors
/// 400, 409, 422, 503: `docs/target.md` has the table.
pub async fn pay(app: &Arc<App>, key: ScopedKey, order: Order, subject: Subject) -> Result<Paid, Problem> {
    let claim = app.keys.claim(key).ok_or_else(Problem::key_in_use)?;
    if let Some(known) = app.store.by_key(claim.key()).map_err(unreadable)? {
        if known.order != order {
            return Err(Problem::key_reused());
        }
        app.metrics.replays.inc();
        return Ok(Paid { record: known, replayed: true });
    }
    check_accounts(app, &order)?;
    let declined = decide(app, &order, subject).await;
    // From here on the store is asked: a fault there is a failure of ours, not a refusal.
    let passed = app.leases.pass(FaultPoint::Store, subject.request_id, subject.attempt).await;
    passed.map_err(|injected| Problem::store(injected.status))?;
    let (reply, replied) = oneshot::channel();
    let pay = Pay { order, declined, claim, request_id: subject.request_id, reply };
    app.queue.offer(Command::Pay(pay)).map_err(|e| not_queued(app, e))?;
    // An answer that never comes means that the store has failed with the command in hand.
    let record = replied.await.map_err(|_| Problem::store(503))?;
    if let Verdict::Declined { why } = record.verdict {
        app.metrics.declined(why);
    }
    Ok(Paid { record, replayed: false })
}

/// A command that was not taken, as an answer.
pub fn not_queued(app: &App, error: NotQueued) -> Problem {
    match error {
        NotQueued::Full => {
            app.metrics.shed.inc();
            Problem::shed()
        }
        NotQueued::Ended => Problem::store(503),
    }
}

/// A store that cannot be read, as an answer.
#[expect(clippy::needless_pass_by_value, reason = "it ends an error's way through `map_err`")]
pub fn unreadable(error: StoreError) -> Problem {
    tracing::error!(%error, "the store cannot be read");
    Problem::store(503)
}

/// The key that `caller` has sent for a payment.
///
/// # Errors
/// 400 when there is none, or it is no key.
pub fn key(sent: Option<&[u8]>, caller: &Caller) -> Result<ScopedKey, Problem> {
    const NAME: &str = "Idempotency-Key";
    let sent = sent.ok_or_else(|| {
        Problem::invalid("idempotency_key_missing", NAME, "a payment needs an Idempotency-Key header")
    })?;
    ScopedKey::new(&caller.0, sent)
        .map_err(|e| Problem::invalid("idempotency_key_invalid", NAME, e.to_string()))
}

/// Both accounts exist and hold the currency. Like Stripe, an id in a field that names nothing
/// is a 400; a 404 is for ids in a URL.
fn check_accounts(app: &App, order: &Order) -> Result<(), Problem> {
    let view = app.board.read();
    for (param, id) in [("from", order.from), ("to", order.to)] {
        let account = view.account(id).ok_or_else(|| {
            Problem::invalid("resource_missing", param, format!("there is no account {id}"))
        })?;
        if account.currency != order.currency {
            return Err(Problem::invalid(
                "currency_mismatch",
                "currency",
                format!("account {id} holds {}", account.currency),
            ));
        }
    }
    Ok(())
}

/// What can be decided without the ledger: the amount's digits, then the fraud rules.
async fn decide(app: &App, order: &Order, subject: Subject) -> Option<Decline> {
    if let Some(why) = Decline::by_amount(order.amount) {
        return Some(why);
    }
    match app.rules.check(&app.leases, order, subject.request_id, subject.attempt).await {
        Checked::Clear => None,
        Checked::Stopped(why) => Some(why),
        Checked::Skipped => {
            app.metrics.fraud_skipped.inc();
            None
        }
    }
}

fn rendered(status: StatusCode, record: &Record) -> Response {
    let mut out = String::with_capacity(200);
    render::payment(&mut out, record, Wanted::ALL);
    render::json(status, out)
}

/// `GET /v1/payments/{id}`
///
/// # Errors
/// 404 when there is none.
pub async fn get(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let none = || Problem::missing("there is no such payment");
    let seq = parse_payment(&id).ok_or_else(none)?;
    let row = app.store.payment(seq).map_err(unreadable)?.ok_or_else(none)?;
    Ok(rendered(StatusCode::OK, &row.record(seq)))
}

/// The query of [`find`].
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Find {
    idempotency_key: String,
}

/// `GET /v1/payments?idempotency_key=`: what the caller's key stands for; a decline too.
///
/// # Errors
/// 400 without a key, 404 when it stands for nothing.
pub async fn find(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Find>, QueryRejection>,
) -> Result<Response, Problem> {
    let param = "idempotency_key";
    let Query(find) = query.map_err(|e| Problem::invalid("parameter_missing", param, e.body_text()))?;
    let key = ScopedKey::new(&caller.0, find.idempotency_key.as_bytes())
        .map_err(|e| Problem::invalid("parameter_invalid", param, e.to_string()))?;
    let record = app.store.by_key(&key).map_err(unreadable)?;
    record
        .map(|r| rendered(StatusCode::OK, &r))
        .ok_or_else(|| Problem::missing("this key stands for no payment"))
}

/// The query of [`list`].
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    limit: Option<String>,
    starting_after: Option<String>,
    fields: Option<String>,
}

/// `GET /v1/accounts/{id}/payments`: newest first.
///
/// # Errors
/// 404 for no account, 400 for a query that makes no sense.
pub async fn list(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let none = || Problem::missing("there is no such account");
    let account = AccountId::parse(&id).ok_or_else(none)?;
    let newest = app.board.read().account(account).map(|a| a.last_seq).ok_or_else(none)?;
    let Query(page) = query.map_err(|e| Problem::invalid("parameter_unknown", "query", e.body_text()))?;
    let limit = match page.limit {
        None => DEFAULT_PAGE,
        Some(text) => text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n)).ok_or_else(|| {
            Problem::invalid(
                "parameter_invalid",
                "limit",
                format!("`limit` is a number from 1 to {MAX_PAGE}"),
            )
        })?,
    };
    let wanted = match page.fields {
        None => Wanted::ALL,
        Some(list) => Wanted::parse(&list).map_err(|name| {
            let known = render::FIELDS.join(", ");
            Problem::invalid("parameter_invalid", "fields", format!("`{name}` is not one of {known}"))
        })?,
    };
    let after = match page.starting_after {
        None => None,
        Some(id) => Some(parse_payment(&id).ok_or_else(not_on_list)?),
    };
    // Up to a hundred reads, some of them from disk: not on a thread that serves requests.
    let body = tokio::task::spawn_blocking(move || walk(&app, account, newest, after, limit, wanted));
    Ok(render::json(StatusCode::OK, body.await.map_err(|_| Problem::internal())??))
}

fn not_on_list() -> Problem {
    Problem::invalid("parameter_invalid", "starting_after", "this is no payment of the account")
}

/// Follows the account's links from its newest payment, or from the one after `after`.
fn walk(
    app: &App,
    account: AccountId,
    newest: u64,
    after: Option<u64>,
    limit: usize,
    wanted: Wanted,
) -> Result<String, Problem> {
    let read = |seq| app.store.payment(seq).map_err(unreadable);
    let mut next = newest;
    if let Some(seq) = after {
        let row = read(seq)?.ok_or_else(not_on_list)?;
        next = row.prev_of(account).ok_or_else(not_on_list)?;
    }
    let mut out = String::from(r#"{"object":"list","data":["#);
    for n in 0..limit {
        if next == 0 {
            break;
        }
        let row = read(next)?.ok_or_else(Problem::internal)?;
        if n > 0 {
            out.push(',');
        }
        render::payment(&mut out, &row.record(next), wanted);
        next = row.prev_of(account).ok_or_else(Problem::internal)?;
    }
    out.push_str(if next > 0 { r#"],"has_more":true}"# } else { r#"],"has_more":false}"# });
    Ok(out)
}
