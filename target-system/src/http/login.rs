//! A password for two tokens, a refresh token for another access token.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::body::{self, Fields};
use super::problem::{Envelope, Problem};
use super::render;
use super::schemas::{Login, Refresh};
use crate::limits::{ACCESS_TOKEN_S, REFRESH_TOKEN_S};

/// Tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
struct Granted<'a> {
    /// For `Authorization: Bearer`.
    access_token: &'a str,
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refresh_token: Option<&'a str>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refresh_expires_in: Option<u64>,
}

/// `POST /v1/auth/login` `{username, password}`
///
/// # Errors
/// 400 for a field that is wrong, 401 for the wrong user or password, 429 when other passwords
/// are being checked.
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
    let (username, password) = (fields.text("username")?, fields.text("password")?);
    fields.end()?;
    let wrong = || Problem::unauthorized("no user has this name and password");
    let user = app.auth.user.clone().ok_or_else(wrong)?;
    let checking = Arc::clone(&app.auth.logins).try_acquire_owned();
    let checking = checking.map_err(|_| Problem::busy("other passwords are being checked"))?;
    // Argon2 takes a core for some ten milliseconds: not one that serves requests.
    let name = user.name.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let is = user.is(&username, &password);
        drop(checking);
        is
    });
    match checked.await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Err(wrong()),
        Ok(Err(_)) | Err(_) => return Err(Problem::internal()),
    }
    let tokens = app.auth.tokens(&name);
    let granted = Granted {
        access_token: &tokens.access,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_S,
        refresh_token: Some(&tokens.refresh),
        refresh_expires_in: Some(REFRESH_TOKEN_S),
    };
    Ok(render::value(StatusCode::OK, &granted))
}

/// `POST /v1/auth/refresh` `{refresh_token}`. The refresh token stays good until its end.
///
/// # Errors
/// 400 for a field that is wrong, 401 for a token that is not one.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    operation_id = "refresh",
    tag = "login",
    summary = "A refresh token for another access token",
    security(()),
    request_body(content = Refresh),
    responses(
        (status = 200, body = Granted, description = "An access token"),
        (status = 401, body = Envelope, description = "It is no valid refresh token"),
    ),
)]
pub async fn refresh(State(app): State<Arc<App>>, body: Body) -> Result<Response, Problem> {
    let mut fields = Fields::parse(&body::read(body).await?)?;
    let token = fields.text("refresh_token")?;
    fields.end()?;
    let access =
        app.auth.refresh(&token).map_err(|_| Problem::unauthorized("this is no valid refresh token"))?;
    let granted = Granted {
        access_token: &access,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_S,
        refresh_token: None,
        refresh_expires_in: None,
    };
    Ok(render::value(StatusCode::OK, &granted))
}
