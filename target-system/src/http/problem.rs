//! Errors, in the form that Stripe's clients know:
//! `{"error":{"type","code","message","param"}}`.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::decline::Decline;

/// The mark of a request of which nothing was executed: sending it again is safe.
pub static NOT_EXECUTED: HeaderName = HeaderName::from_static("not-executed");

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    error: Error,
    /// In seconds.
    retry_after: Option<u64>,
    not_executed: bool,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Error {
    /// The family of the error.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The error, for programs.
    code: &'static str,
    /// The error, for people.
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    /// The field, parameter or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    param: Option<Cow<'static, str>>,
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Envelope<'a> {
    error: &'a Error,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let error = Error { kind, code, message: message.into(), param: None };
        Self { status, error, retry_after: None, not_executed: false }
    }

    /// 400: a field, named.
    #[must_use]
    pub fn invalid(
        code: &'static str,
        param: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let mut p = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message);
        p.error.param = Some(param.into());
        p
    }

    /// 400: the body as a whole.
    #[must_use]
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "malformed_request", message)
    }

    /// 401: nobody that we know.
    #[must_use]
    pub fn unauthorized(message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "unauthorized", message)
    }

    /// 403: known, and not allowed to.
    #[must_use]
    pub fn forbidden() -> Self {
        let message = "this is not for callers of this role";
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", "forbidden", message)
    }

    /// 402: the payment was declined. The same for a replay: it depends on the code alone.
    #[must_use]
    pub fn declined(why: Decline) -> Self {
        Self::new(StatusCode::PAYMENT_REQUIRED, "card_error", why.code(), why.message())
    }

    /// 404: no such thing.
    #[must_use]
    pub fn missing(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "resource_missing", what)
    }

    /// 405.
    #[must_use]
    pub fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            "method_not_allowed",
            "this URL does not take this method",
        )
    }

    /// 409: the key is somebody's now.
    #[must_use]
    pub fn key_in_use() -> Self {
        let mut p = Self::new(
            StatusCode::CONFLICT,
            "idempotency_error",
            "idempotency_key_in_use",
            "a request with this Idempotency-Key is under way",
        );
        p.retry_after = Some(1);
        p
    }

    /// 413: too long a body.
    #[must_use]
    pub fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            "body_too_large",
            "the body is above 16 KiB",
        )
    }

    /// 422: the key stands for another request.
    #[must_use]
    pub fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_error",
            "idempotency_key_reused",
            "this Idempotency-Key was used with other fields",
        )
    }

    /// 429: too many of the same at once; nothing was executed.
    #[must_use]
    pub fn busy(message: &'static str) -> Self {
        let p = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "too_many_requests", message);
        Self { retry_after: Some(1), not_executed: true, ..p }
    }

    /// 429: the caller has used up its allowance; nothing was executed.
    #[must_use]
    pub fn rate_limited(wait: Duration) -> Self {
        let p = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "rate_limited",
            "more requests than this caller may send; nothing was executed",
        );
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(1)), not_executed: true, ..p }
    }

    /// 503: more payments wait than can be answered in time; nothing was executed.
    #[must_use]
    pub fn shed() -> Self {
        let p = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "api_error",
            "overloaded",
            "more payments are waiting than the service takes; nothing was executed",
        );
        Self { retry_after: Some(1), not_executed: true, ..p }
    }

    /// 503: the card network gives no answer. Nothing was executed when it was not asked; otherwise it may
    /// have authorised the payment, and gives the same key the same authorisation.
    #[must_use]
    pub fn network(asked: bool) -> Self {
        let p = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "api_error",
            "network_unavailable",
            "the card network gives no answer; ask for it again with the same key",
        );
        Self { retry_after: (!asked).then_some(1), not_executed: !asked, ..p }
    }

    /// The store gave an error, with the status that a fault chose or 503. A failure: it carries
    /// no mark.
    #[must_use]
    pub fn store(status: u16) -> Self {
        Self::new(
            StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            "api_error",
            "store_unavailable",
            "the ledger's store gave an error",
        )
    }

    /// 504: out of time; whether it was executed is not known.
    #[must_use]
    pub fn timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "api_error",
            "request_timeout",
            "the request took too long; ask for it again with the same key",
        )
    }

    /// 500: a bug, or a machine that gives no memory or randomness.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "api_error", "internal", "something went wrong here")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&Envelope { error: &self.error }).expect("strings are JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.not_executed {
            headers.insert(&NOT_EXECUTED, HeaderValue::from_static("true"));
        }
        response
    }
}
