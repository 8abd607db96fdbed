//! A password for two tokens, a refresh token for the next two.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::app::App;
use super::body::{self, Fields};
use super::payments::unreadable;
use super::problem::{Envelope, Problem};
use super::render;
use super::schemas::{Login, Refresh};
use crate::auth::bearer::{Tokens, now_s};
use crate::auth::logins::{LoginId, Shown};
use crate::limits::ACCESS_TOKEN_S;

/// Tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
struct Granted<'a> {
    /// For `Authorization: Bearer`.
    access_token: &'a str,
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    refresh_token: &'a str,
    /// In seconds.
    refresh_expires_in: u64,
}

fn granted(tokens: &Tokens) -> Response {
    let granted = Granted {
        access_token: &tokens.access,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_S,
        refresh_token: &tokens.refresh,
        refresh_expires_in: tokens.refresh_s,
    };
    render::value(StatusCode::OK, &granted)
}

/// `POST /v1/auth/login` `{username, password}`
///
/// # Errors
/// 400 for a field that is wrong, 401 for the wrong user or password, 429 when other passwords
/// are being checked or the user has had too many wrong ones, 503 when the store fails.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    operation_id = "login",
    tag = "login",
    summary = "A password for an access token and a refresh token",
    security(()),
    request_body(content = Login, example = json!({"username": "customer", "password": "correct horse battery staple"})),
    responses(
        (status = 200, body = Granted, description = "Tokens"),
        (status = 401, body = Envelope, description = "The user or the password is wrong"),
    ),
)]
pub async fn login(State(app): State<Arc<App>>, body: Body) -> Result<Response, Problem> {
    let mut fields = Fields::parse(&body::read(body).await?)?;
    let (name, password) = (fields.text("username")?, Zeroizing::new(fields.text("password")?));
    fields.end()?;
    let figures = &app.auth.figures;
    let checking = Arc::clone(&app.auth.passwords).try_acquire_owned().map_err(|_| {
        figures.login("busy");
        Problem::busy("other passwords are being checked")
    })?;
    let taken = app.auth.try_password(&name).map_err(|wait| {
        figures.login("limited");
        Problem::rate_limited(wait)
    })?;
    // Argon2 takes a core for some ten milliseconds: not one that serves requests.
    let users = app.auth.users();
    let checked = tokio::task::spawn_blocking(move || {
        let caller = users.check(&name, password.as_bytes());
        drop(checking);
        caller
    });
    let Ok(Ok(checked)) = checked.await else { return Err(Problem::internal()) };
    let caller = checked.ok_or_else(|| {
        figures.login("refused");
        Problem::unauthorized("no user has this name and password")
    })?;
    taken.give_back();
    let id = LoginId::random().map_err(|_| Problem::internal())?;
    let last = app.logins.begin(caller.name(), id, now_s()).await.map_err(unreadable)?;
    figures.login("granted");
    Ok(granted(&app.auth.tokens(&caller, last)))
}

/// `POST /v1/auth/refresh` `{refresh_token}`. The token ends with it, and the next one is good instead.
///
/// # Errors
/// 400 for a field that is wrong, 401 for a token that is not one or has ended, 503 when the store fails.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    operation_id = "refresh",
    tag = "login",
    summary = "A refresh token for another access token and another refresh token",
    security(()),
    request_body(content = Refresh),
    responses(
        (status = 200, body = Granted, description = "Tokens; the one that was shown has ended"),
        (status = 401, body = Envelope, description = "It is no valid refresh token, or has ended"),
    ),
)]
pub async fn refresh(State(app): State<Arc<App>>, body: Body) -> Result<Response, Problem> {
    let mut fields = Fields::parse(&body::read(body).await?)?;
    let token = Zeroizing::new(fields.text("refresh_token")?);
    fields.end()?;
    let bad = || Problem::unauthorized("this is no valid refresh token");
    let (caller, refresh) = app.auth.refresh(&token).map_err(|_| bad())?;
    let shown = app.logins.show(caller.name(), refresh.login, refresh.nth, now_s()).await;
    match shown.map_err(unreadable)? {
        Shown::Rotated(last) => {
            app.auth.figures.refreshed.inc();
            Ok(granted(&app.auth.tokens(&caller, last)))
        }
        Shown::Over => Err(bad()),
        Shown::Reused => {
            app.auth.figures.reused.inc();
            tracing::warn!(user = caller.name(), "a refresh token was shown again: its login has ended");
            Err(bad())
        }
    }
}
