//! Payments: made once for each key, found by id or by key, listed by account.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::Request;
use squall_chaos::layer::Subject;
use squall_chaos::points::Passed;
use squall_record::fault::FaultPoint;
use tokio::time::Instant;

use super::accounts::{MIN_SEQ, seen};
use super::app::{App, permit};
use super::body;
use super::checkout;
use super::problem::{Envelope, Problem};
use super::render::{self, Wanted};
use super::schemas::{KnownPayment, NewPayment, Payment, PaymentList};
use crate::auth::role::{Act, Caller};
use crate::bank::{Asked, BankError, Refused, Settled};
use crate::decline::Decline;
use crate::fraud::Checked;
use crate::idempotency::ScopedKey;
use crate::ids::{AccountId, parse_payment, payment_id};
use crate::limits::{DEFAULT_PAGE, MAX_PAGE};
use crate::profile::Fee;
use crate::record::{Order, Record, Verdict};
use crate::timer;
use crate::trace;
use crate::trace::span::{Span, SpanKind};

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
pub async fn create<B>(app: &Arc<App>, caller: &Caller, request: Request<B>) -> Result<Response, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let deadline = timer::now() + app.request_timeout;
    permit(caller, Act::Pay)?;
    let key = key(request.headers().get("idempotency-key").map(HeaderValue::as_bytes), caller.name())?;
    let subject = Subject::of(request.headers(), || 0);
    let order = body::order(&body::read(request.into_body()).await?)?;
    Ok(pay(app, caller, key, order, subject, deadline).await?.into_response())
}

/// [`create`], for the router: so that it knows the call. Requests go past the router.
///
/// # Errors
/// As [`create`].
#[utoipa::path(
    post,
    path = "/v1/payments",
    operation_id = "createPayment",
    tag = "payments",
    summary = "Makes a payment, once for its key",
    description = "Answered after it is on disk. The same key with the same fields is given the same answer again.",
    params(
        ("Idempotency-Key" = String, Header, description = "The payment's own name, by which it is made once",
            min_length = 1, max_length = 255, pattern = "^[!-~]+$", example = "order-1001"),
    ),
    request_body(content = NewPayment,
        example = json!({"from": "acc_00000001", "to": "acc_00000002", "amount": 1250, "currency": "EUR"})),
    responses(
        (status = 201, body = Payment, description = "Made", headers(
            ("Idempotent-Replayed" = String, description = "`true`: this answer was given before"),
            ("Degraded" = String, description = "`fraud`: decided without an answer of the fraud check"),
        )),
        (status = 402, body = Envelope, description = "Declined, and remembered; no money moved", headers(
            ("Idempotent-Replayed" = String, description = "`true`: this answer was given before"),
            ("Degraded" = String, description = "`fraud`: decided without an answer of the fraud check"),
        )),
        (status = 409, body = Envelope, description = "A payment with this key is under way",
            headers(("Retry-After" = u64, description = "In seconds"))),
        (status = 422, body = Envelope, description = "The key stands for other fields"),
    ),
)]
pub async fn make(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    create(&app, &caller, request).await
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
    let _passed = pass_store_fault(app, subject).await?;
    let asked = Asked { order, declined, claim, request_id: subject.request_id, trace: None };
    let settled = settle(app, asked).await?;
    Ok(Answered { settled, degraded: degraded && !settled.replayed })
}

/// Lets a payment pass the `store` fault point. From here on the store is asked: a fault there is a
/// failure of ours, not a refusal. To be kept until it has answered.
pub(super) async fn pass_store_fault(app: &App, subject: Subject) -> Result<Passed, Problem> {
    let passed = app.leases.pass(FaultPoint::Store, subject.request_id, subject.attempt).await;
    passed.map_err(|injected| Problem::store(injected.status))
}

/// Has the store settle what is asked.
pub(super) async fn settle(app: &App, mut asked: Asked) -> Result<Settled, Problem> {
    let fee = app.fee.and_then(|fee| charged(app, fee, &asked));
    let span = trace::step("store", SpanKind::Internal);
    asked.trace = span.trace().if_sampled();
    let settled = app.bank.settle(asked).await;
    if span.is_sampled() {
        tell(span, &settled);
    }
    let settled = settled.map_err(|e| refused(app, e))?;
    match (settled.replayed, settled.record.verdict, fee) {
        (true, ..) => {
            app.metrics.replays.inc();
        }
        (false, Verdict::Succeeded { .. }, Some(fee)) => {
            // One of the naive profile's flaws: whether it was paid is nobody's concern.
            let _ = app.bank.settle(fee).await;
        }
        _ => {}
    }
    Ok(settled)
}

/// Ends the store's span: what became of the payment, and which it is.
fn tell(mut span: Span, settled: &Result<Settled, Refused>) {
    match settled.map(|settled| settled.record.verdict) {
        Ok(Verdict::Succeeded { seq }) => span.set("payments.payment.id", payment_id(seq)),
        Ok(Verdict::Declined { why }) => span.set("payments.decline.code", why.code()),
        Err(Refused::Failed) => span.fail("store_unavailable"),
        Err(Refused::Full) => span.fail("overloaded"),
        Err(_) => {}
    }
    span.end();
}

/// The payment of `fee` that goes with what is asked.
fn charged(app: &App, fee: Fee, asked: &Asked) -> Option<Asked> {
    let claim = app.keys.claim(asked.claim.key().of_more(b"#fee")?)?;
    let order = Order { to: fee.to, amount: fee.amount, ..asked.order };
    (order.from != order.to).then_some(Asked {
        order,
        declined: None,
        claim,
        request_id: asked.request_id,
        trace: None,
    })
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
    let mut out = Vec::with_capacity(200);
    render::payment(&mut out, record, Wanted::ALL);
    render::json(status, out)
}

/// `GET /v1/payments/{id}`
///
/// # Errors
/// 404 when there is none, or it is not the caller's.
#[utoipa::path(
    get,
    path = "/v1/payments/{id}",
    operation_id = "getPayment",
    tag = "payments",
    summary = "A payment",
    params(("id" = String, Path, description = "The payment's id", pattern = "^pay_[0-9]{16}$", example = "pay_0000000000000001")),
    responses(
        (status = 200, body = Payment, description = "The payment"),
        (status = 404, body = Envelope, description = "There is none with this id"),
    ),
)]
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
#[utoipa::path(
    get,
    path = "/v1/payments",
    operation_id = "findPayment",
    tag = "payments",
    summary = "What the caller's key stands for; a decline too",
    params(("idempotency_key" = String, Query, description = "The key of a payment",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$", example = "order-1001")),
    responses(
        (status = 200, body = KnownPayment, description = "The payment, or the decline"),
        (status = 400, body = Envelope, description = "No key"),
        (status = 404, body = Envelope, description = "It stands for nothing"),
    ),
)]
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
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}/payments",
    operation_id = "listPayments",
    tag = "accounts",
    summary = "An account's payments, newest first",
    params(
        ("id" = String, Path, description = "The account's id", pattern = "^acc_[0-9]{8}$", example = "acc_00000001"),
        ("limit" = Option<u32>, Query, description = "At most so many; 10 when absent", minimum = 1, maximum = 100, nullable = false),
        ("starting_after" = Option<String>, Query, description = "From the payment behind this one on", pattern = "^pay_[0-9]{16}$", nullable = false),
        ("fields" = Option<String>, Query, description = "Those fields alone, with commas between them; all when absent", nullable = false,
            pattern = "^(id|status|seq|from|to|amount|currency|created_at)(,(id|status|seq|from|to|amount|currency|created_at))*$"),
    ),
    responses(
        (status = 200, body = PaymentList, description = "A page"),
        (status = 400, body = Envelope, description = "The query makes no sense, or `starting_after` is no payment of the account"),
        (status = 404, body = Envelope, description = "There is no such account"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let none = || Problem::missing("there is no such account");
    let account = AccountId::parse(&id).filter(|id| caller.reads(*id)).ok_or_else(none)?;
    let seen = seen(headers.get(MIN_SEQ).map(HeaderValue::as_bytes))?;
    app.bank.account(account, 0).await.map_err(unreadable)?.ok_or_else(none)?;
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
    let page =
        app.bank.list(account, after, limit, seen).await.map_err(unreadable)?.ok_or_else(not_on_list)?;
    let mut out = br#"{"object":"list","data":["#.to_vec();
    for (n, record) in page.records.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        render::payment(&mut out, record, wanted);
    }
    let end: &[u8] = if page.has_more { br#"],"has_more":true}"# } else { br#"],"has_more":false}"# };
    out.extend_from_slice(end);
    Ok(render::json(StatusCode::OK, out))
}

fn not_on_list() -> Problem {
    Problem::invalid("parameter_invalid", "starting_after", "this is no payment of the account")
}
