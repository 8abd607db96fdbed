//! Accounts: opened, shown.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::app::{App, permit};
use super::body::{self, Fields};
use super::payments::{refused, unreadable};
use super::problem::Problem;
use super::render;
use crate::auth::role::{Act, Caller};
use crate::bank::{Held, NotOpened};
use crate::ids::AccountId;
use crate::ledger::Account;

#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    currency: &'a str,
    opening_balance: i64,
    balance: i64,
}

#[derive(Serialize)]
struct Balance<'a> {
    account: String,
    currency: &'a str,
    balance: i64,
    as_of_seq: u64,
}

fn shown(status: StatusCode, id: AccountId, account: &Account) -> Response {
    render::value(
        status,
        &Shown {
            id: id.to_string(),
            currency: account.currency.code(),
            opening_balance: account.opening,
            balance: account.balance,
        },
    )
}

/// `POST /v1/accounts` `{currency, opening_balance?}`
///
/// # Errors
/// 400 for a field that is wrong, 403 for who opens no accounts, 503 when the writer takes no more.
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

async fn find(app: &App, caller: &Caller, id: &str) -> Result<(AccountId, Held), Problem> {
    let none = || Problem::missing("there is no such account");
    let id = AccountId::parse(id).filter(|id| caller.reads(*id)).ok_or_else(none)?;
    let held = app.bank.account(id).await.map_err(unreadable)?;
    Ok((id, held.ok_or_else(none)?))
}

/// `GET /v1/accounts/{id}`
///
/// # Errors
/// 404 when the caller has none.
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (id, held) = find(&app, &caller, &id).await?;
    Ok(shown(StatusCode::OK, id, &held.account))
}

/// `GET /v1/accounts/{id}/balance`, with the commit number as of which it holds.
///
/// # Errors
/// 404 when the caller has no such account.
pub async fn balance(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (id, Held { account, as_of_seq }) = find(&app, &caller, &id).await?;
    let balance = Balance {
        account: id.to_string(),
        currency: account.currency.code(),
        balance: account.balance,
        as_of_seq,
    };
    Ok(render::value(StatusCode::OK, &balance))
}
