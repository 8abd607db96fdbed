//! Accounts: opened, shown.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::app::{App, permit};
use super::body::{self, Fields};
use super::payments::{refused, unreadable};
use super::problem::{Envelope, Problem};
use super::render;
use super::schemas::{Currency, NewAccount};
use crate::auth::role::{Act, Caller};
use crate::bank::{Held, NotOpened};
use crate::ids::AccountId;
use crate::ledger::Account;
use crate::money;

/// An account.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
struct Shown {
    #[schema(pattern = "^acc_[0-9]{8}$")]
    id: String,
    #[schema(value_type = Currency)]
    currency: money::Currency,
    /// In minor units.
    opening_balance: i64,
    /// In minor units.
    balance: i64,
}

/// What an account holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct Balance {
    #[schema(pattern = "^acc_[0-9]{8}$")]
    account: String,
    #[schema(value_type = Currency)]
    currency: money::Currency,
    /// In minor units.
    balance: i64,
    /// The payment up to which it is counted.
    as_of_seq: u64,
}

fn shown(status: StatusCode, id: AccountId, account: &Account) -> Response {
    render::value(
        status,
        &Shown {
            id: id.to_string(),
            currency: account.currency,
            opening_balance: account.opening,
            balance: account.balance,
        },
    )
}

/// `POST /v1/accounts` `{currency, opening_balance?}`
///
/// # Errors
/// 400 for a field that is wrong, 403 for who opens no accounts, 503 when the writer takes no more.
#[utoipa::path(
    post,
    path = "/v1/accounts",
    operation_id = "openAccount",
    tag = "accounts",
    summary = "Opens an account",
    request_body(content = NewAccount, example = json!({"currency": "EUR", "opening_balance": 5000})),
    responses((status = 201, body = Shown, description = "Opened")),
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    permit(&caller, Act::OpenAccount)?;
    let mut fields = Fields::parse(&body::read(body).await?)?;
    let currency = fields.currency("currency")?;
    let opening = fields.amount("opening_balance", 0)?.unwrap_or(0);
    fields.end()?;
    let (id, account) = app.bank.open(currency, opening).await.map_err(|e| match e {
        NotOpened::Refused(e) => Problem::invalid("account_refused", "opening_balance", e.to_string()),
        NotOpened::Store(e) => refused(&app, e),
    })?;
    Ok(shown(StatusCode::CREATED, id, &account))
}

/// Where a client says which payment it has seen.
pub const MIN_SEQ: &str = "Min-Seq";

/// The last payment that a client says it has seen, in [`MIN_SEQ`]; 0 when it says nothing.
///
/// # Errors
/// 400 when that is no number.
pub fn seen(value: Option<&[u8]>) -> Result<u64, Problem> {
    let Some(value) = value else { return Ok(0) };
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    // Numbers of payments are those that an `i64` holds.
    digits.and_then(|text| text.parse::<i64>().ok()).map(i64::unsigned_abs).ok_or_else(|| {
        Problem::invalid("parameter_invalid", MIN_SEQ, format!("`{MIN_SEQ}` is the number of a payment"))
    })
}

async fn find(
    app: &App,
    caller: &Caller,
    id: &str,
    min_seq: Option<&[u8]>,
) -> Result<(AccountId, Held), Problem> {
    let none = || Problem::missing("there is no such account");
    let id = AccountId::parse(id).filter(|id| caller.reads(*id)).ok_or_else(none)?;
    let held = app.bank.account(id, seen(min_seq)?).await.map_err(unreadable)?;
    Ok((id, held.ok_or_else(none)?))
}

/// `GET /v1/accounts/{id}`
///
/// # Errors
/// 404 when the caller has none.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}",
    operation_id = "getAccount",
    tag = "accounts",
    summary = "An account",
    params(
        ("id" = String, Path, description = "The account's id", pattern = "^acc_[0-9]{8}$", example = "acc_00000001"),
        ("Min-Seq" = Option<u64>, Header, description = "A payment that the client has seen: the answer shows it, if the account took part in it"),
    ),
    responses(
        (status = 200, body = Shown, description = "The account"),
        (status = 400, body = Envelope, description = "`Min-Seq` is no number"),
        (status = 404, body = Envelope, description = "There is no such account"),
    ),
)]
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let min_seq = headers.get(MIN_SEQ).map(HeaderValue::as_bytes);
    let (id, held) = find(&app, &caller, &id, min_seq).await?;
    Ok(shown(StatusCode::OK, id, &held.account))
}

/// `GET /v1/accounts/{id}/balance`, with the commit number as of which it holds.
///
/// # Errors
/// 404 when the caller has no such account.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}/balance",
    operation_id = "getBalance",
    tag = "accounts",
    summary = "What an account holds",
    params(
        ("id" = String, Path, description = "The account's id", pattern = "^acc_[0-9]{8}$", example = "acc_00000001"),
        ("Min-Seq" = Option<u64>, Header, description = "A payment that the client has seen: the answer shows it, if the account took part in it"),
    ),
    responses(
        (status = 200, body = Balance, description = "The balance"),
        (status = 400, body = Envelope, description = "`Min-Seq` is no number"),
        (status = 404, body = Envelope, description = "There is no such account"),
    ),
)]
pub async fn balance(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let min_seq = headers.get(MIN_SEQ).map(HeaderValue::as_bytes);
    Ok(render::value(StatusCode::OK, &holds(&app, &caller, &id, min_seq).await?))
}

/// What the account `id` holds, for `caller`, who has seen payment `min_seq`.
///
/// # Errors
/// 404 when the caller has no such account, 400 when `min_seq` is no number.
pub async fn holds(app: &App, caller: &Caller, id: &str, min_seq: Option<&[u8]>) -> Result<Balance, Problem> {
    let (id, Held { account, as_of_seq }) = find(app, caller, id, min_seq).await?;
    Ok(Balance { account: id.to_string(), currency: account.currency, balance: account.balance, as_of_seq })
}
