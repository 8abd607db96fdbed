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
use tokio::time::Instant;

use super::app::{App, permit};
use super::body;
use super::checkout;
use super::problem::Problem;
use super::render::{self, Wanted};
use crate::auth::role::{Act, Caller};
use crate::bank::{Asked, BankError, Refused, Settled};
use crate::decline::Decline;
use crate::fraud::Checked;
use crate::idempotency::ScopedKey;
use crate::ids::{AccountId, parse_payment};
use crate::limits::{DEFAULT_PAGE, MAX_PAGE};
use crate::record::{Order, Record, Verdict};
use crate::timer;

/// Says that an answer was given before.
pub const REPLAYED: &str = "idempotent-replayed";
/// Says which dependency did not take part in the answer.
const DEGRADED: &str = "degraded";

/// What a payment came to, as its client is told.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// What it came to.
    pub settled: Settled,
    /// Whether it was decided without an answer of the fraud check. Of this answer alone: nobody
    /// remembers it.
    pub degraded: bool,
}

/// `POST /v1/payments`
///
/// # Errors
/// 400, 402, 403, 409, 413, 422, 503: `docs/target.md` has the table.
pub async fn create(
    app: &Arc<App>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Result<Response, Problem> {
    let deadline = timer::now() + app.request_timeout;
    permit(caller, Act::Pay)?;
    let key = key(request.headers().get("idempotency-key").map(HeaderValue::as_bytes), caller.name())?;
    let subject = Subject::of(request.headers(), || 0);
    let order = body::order(&body::read(request.into_body()).await?)?;
    Ok(pay(app, caller, key, order, subject, deadline).await?.into_response())
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let mut response = self.settled.into_response();
        if self.degraded {
            response.headers_mut().insert(DEGRADED, HeaderValue::from_static("fraud"));
        }
        response
    }
}

impl IntoResponse for Settled {
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

/// Makes the payment `order` of `caller` under `key`, once; waits until it is durable. Other services are asked no longer
/// than until `deadline`.
///
/// # Errors
/// 400, 409, 422, 503: `docs/target.md` has the table.
pub async fn pay(
    app: &Arc<App>,
    caller: &Caller,
    key: ScopedKey,
    order: Order,
    subject: Subject,
    deadline: Instant,
) -> Result<Answered, Problem> {
    if !caller.pays_from(order.from) {
        // Nobody looks whether there is such an account: the answer is that of one that does not exist.
        return Err(refused(app, Refused::NoAccount { param: "from", id: order.from }));
    }
    let _admitted = app.admission.admit().ok_or_else(|| refused(app, Refused::Full))?;
    let claim = app.keys.claim(key).ok_or_else(Problem::key_in_use)?;
    if let Some(known) = app.bank.known(claim.key(), &order).map_err(|e| refused(app, e))? {
        app.metrics.replays.inc();
        return Ok(Answered { settled: Settled { record: known, replayed: true }, degraded: false });
    }
    if let Some(dependencies) = &app.dependencies {
        // In a box: payments that ask nobody shall not carry the room for it.
        return Box::pin(checkout::pay(app, dependencies, claim, order, subject, deadline)).await;
    }
    let Checked { declined, degraded } = decide(app, &order, subject).await;
    pass_store_fault(app, subject).await?;
    let asked = Asked { order, declined, claim, request_id: subject.request_id };
    let settled = settle(app, asked).await?;
    Ok(Answered { settled, degraded: degraded && !settled.replayed })
}

/// Lets a payment pass the `store` fault point. From here on the store is asked: a fault there is a
/// failure of ours, not a refusal.
pub(super) async fn pass_store_fault(app: &App, subject: Subject) -> Result<(), Problem> {
    let passed = app.leases.pass(FaultPoint::Store, subject.request_id, subject.attempt).await;
    passed.map_err(|injected| Problem::store(injected.status))
}

/// Has the store settle what is asked.
pub(super) async fn settle(app: &App, asked: Asked) -> Result<Settled, Problem> {
    let settled = app.bank.settle(asked).await.map_err(|e| refused(app, e))?;
    match settled.record.verdict {
        _ if settled.replayed => {
            app.metrics.replays.inc();
        }
        Verdict::Declined { why } => app.metrics.declined(why),
        Verdict::Succeeded { .. } => {}
    }
    Ok(settled)
}

/// Why an order was not settled, as an answer. Like Stripe, an id in a field that names nothing
/// is a 400; a 404 is for ids in a URL.
pub fn refused(app: &App, why: Refused) -> Problem {
    match why {
        Refused::KeyReused => Problem::key_reused(),
        Refused::NoAccount { param, id } => {
            Problem::invalid("resource_missing", param, format!("there is no account {id}"))
        }
        Refused::OtherCurrency { id, holds } => {
            Problem::invalid("currency_mismatch", "currency", format!("account {id} holds {holds}"))
        }
        Refused::Full => {
            app.metrics.shed.inc();
            Problem::shed()
        }
        Refused::Failed => Problem::store(503),
    }
}

/// A store that cannot be read, as an answer.
#[expect(clippy::needless_pass_by_value, reason = "it ends an error's way through `map_err`")]
pub fn unreadable(error: BankError) -> Problem {
    tracing::error!(%error, "the store cannot be read");
    Problem::store(503)
}

/// The key that the caller of this name has sent for a payment.
///
/// # Errors
/// 400 when there is none, or it is no key.
pub fn key(sent: Option<&[u8]>, caller: &str) -> Result<ScopedKey, Problem> {
    const NAME: &str = "Idempotency-Key";
    let sent = sent.ok_or_else(|| {
        Problem::invalid("idempotency_key_missing", NAME, "a payment needs an Idempotency-Key header")
    })?;
    ScopedKey::new(caller, sent).map_err(|e| Problem::invalid("idempotency_key_invalid", NAME, e.to_string()))
}

/// What can be decided without the ledger: the amount's digits, then the fraud rules.
async fn decide(app: &App, order: &Order, subject: Subject) -> Checked {
    if let Some(why) = Decline::by_amount(order.amount) {
        return Checked { declined: Some(why), degraded: false };
    }
    let checked = app.rules.check(&app.leases, order, subject).await;
    if checked.degraded {
        app.metrics.fraud_fallbacks.inc();
    }
    checked
}

fn rendered(status: StatusCode, record: &Record) -> Response {
    let mut out = String::with_capacity(200);
    render::payment(&mut out, record, Wanted::ALL);
    render::json(status, out)
}

/// `GET /v1/payments/{id}`
///
/// # Errors
/// 404 when there is none, or it is not the caller's.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let none = || Problem::missing("there is no such payment");
    let seq = parse_payment(&id).ok_or_else(none)?;
    let record = app.bank.payment(seq).await.map_err(unreadable)?;
    let record = record.filter(|r| reads(&caller, r)).ok_or_else(none)?;
    Ok(rendered(StatusCode::OK, &record))
}

/// Whether one of the accounts is the caller's.
fn reads(caller: &Caller, record: &Record) -> bool {
    caller.reads(record.order.from) || caller.reads(record.order.to)
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
    let key = ScopedKey::new(caller.name(), find.idempotency_key.as_bytes())
        .map_err(|e| Problem::invalid("parameter_invalid", param, e.to_string()))?;
    let record = app.bank.by_key(&key).await.map_err(unreadable)?;
    record
        .filter(|r| reads(&caller, r))
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
/// 404 for no account of the caller's, 400 for a query that makes no sense.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let none = || Problem::missing("there is no such account");
    let account = AccountId::parse(&id).filter(|id| caller.reads(*id)).ok_or_else(none)?;
    app.bank.account(account).await.map_err(unreadable)?.ok_or_else(none)?;
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
    let page = app.bank.list(account, after, limit).await.map_err(unreadable)?.ok_or_else(not_on_list)?;
    let mut out = String::from(r#"{"object":"list","data":["#);
    for (n, record) in page.records.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        render::payment(&mut out, record, wanted);
    }
    out.push_str(if page.has_more { r#"],"has_more":true}"# } else { r#"],"has_more":false}"# });
    Ok(render::json(StatusCode::OK, out))
}

fn not_on_list() -> Problem {
    Problem::invalid("parameter_invalid", "starting_after", "this is no payment of the account")
}
