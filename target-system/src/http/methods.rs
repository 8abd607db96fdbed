//! Payment methods: a card given, a token taken for it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use squall_record::clock;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::app::{App, permit};
use super::body::{self, Fields};
use super::payments::{self, REPLAYED, unreadable};
use super::problem::{Envelope, Problem};
use super::render;
use super::schemas::NewMethod;
use crate::auth::role::{Act, Caller};
use crate::cards::check::{self, Wrong};
use crate::cards::{Kept, Method, MethodId};
use crate::wall;

/// A payment method.
#[derive(Serialize, ToSchema)]
#[schema(as = PaymentMethod)]
struct Shown<'a> {
    /// Its token.
    id: String,
    /// The card's brand.
    brand: &'static str,
    /// The last four digits of its number.
    last4: &'a str,
    /// The month in which it ends.
    exp_month: u8,
    /// The year.
    exp_year: u16,
}

fn shown(status: StatusCode, method: &Method) -> Response {
    render::value(
        status,
        &Shown {
            id: method.id.to_string(),
            brand: method.brand.name(),
            last4: method.last4(),
            exp_month: method.exp_month,
            exp_year: method.exp_year,
        },
    )
}

/// `POST /v1/payment_methods` `{number, exp_month, exp_year, cvc}`, with an `Idempotency-Key` or without
///
/// # Errors
/// 400 for a field that is wrong, 403 for who pays nothing, 422 for a key that stands for another card, 503 when the
/// store fails. None repeats what the body held.
#[utoipa::path(
    post,
    path = "/v1/payment_methods",
    operation_id = "addPaymentMethod",
    tag = "payments",
    summary = "A card for a token",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the token: the same key is given the same", pattern = "^[!-~]{1,255}$", example = "a-card-of-ann")),
    request_body(content = NewMethod, example = json!({"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "123"})),
    responses(
        (status = 201, body = Shown, description = "Kept", headers(("Idempotent-Replayed" = String, description = "`true`: it was kept before"))),
        (status = 403, body = Envelope, description = "The caller adds none"),
        (status = 422, body = Envelope, description = "The key stands for another card"),
    ),
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    permit(&caller, Act::AddMethod)?;
    let id = match headers.get("idempotency-key").map(HeaderValue::as_bytes) {
        Some(sent) => MethodId::of(&payments::key(Some(sent), caller.name())?),
        None => MethodId::random().map_err(|_| Problem::internal())?,
    };
    let method = method(id, &body::read(body).await?)?;
    match app.vault.keep(caller.name(), method).await.map_err(unreadable)? {
        Kept::Now => Ok(shown(StatusCode::CREATED, &method)),
        Kept::Before(Some(before)) if before == method => {
            let mut response = shown(StatusCode::CREATED, &method);
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Kept::Before(_) => Err(Problem::key_reused()),
    }
}

/// The card in `body`, as it is kept.
fn method(id: MethodId, body: &[u8]) -> Result<Method, Problem> {
    // What is wrong with a body may be a card's number: it is not told.
    let malformed = "the body is not a JSON object of which each field stands once";
    let mut fields = Fields::parse(body).map_err(|_| Problem::malformed(malformed))?;
    let number = Zeroizing::new(fields.text("number")?);
    let (month, year) = (fields.whole("exp_month")?, fields.whole("exp_year")?);
    let cvc = Zeroizing::new(fields.text("cvc")?);
    let known = "there are `number`, `exp_month`, `exp_year` and `cvc`, and no other fields";
    fields.end().map_err(|_| Problem::malformed(known))?;
    let wrong = |Wrong { param, code, message }| Problem::invalid(code, param, message);
    let (exp_month, exp_year) = check::expiry(month, year, this_month()).map_err(wrong)?;
    let (brand, last4) = check::card(&number, &cvc).map_err(wrong)?;
    Ok(Method { id, brand, last4, exp_month, exp_year })
}

/// Year and month, in UTC.
fn this_month() -> (u16, u8) {
    let today = clock::rfc3339(wall::now());
    let part = |at: std::ops::Range<usize>| today.get(at).and_then(|digits| digits.parse().ok());
    (part(0..4).unwrap_or(u16::MAX), part(5..7).map_or(12, |month: u16| month as u8))
}

/// `GET /v1/payment_methods/{id}`
///
/// # Errors
/// 404 when the caller has none.
#[utoipa::path(
    get,
    path = "/v1/payment_methods/{id}",
    operation_id = "getPaymentMethod",
    tag = "payments",
    summary = "A payment method",
    params(("id" = String, Path, description = "Its token", example = "pm_af6dbb8e8573b34f33cd198a02ddf648")),
    responses(
        (status = 200, body = Shown, description = "The payment method"),
        (status = 404, body = Envelope, description = "The caller has none with this token"),
    ),
)]
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let none = || Problem::missing("there is no such payment method");
    let id = MethodId::parse(&id).ok_or_else(none)?;
    let method = app.vault.find(caller.name(), id).await.map_err(unreadable)?.ok_or_else(none)?;
    Ok(shown(StatusCode::OK, &method))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"number":"4242424242424242","exp_month":12,"exp_year":2040,"cvc":"987"}"#;

    #[test]
    fn the_wrong_field_is_named_and_nothing_is_repeated() {
        let of = |body: &str| method(MethodId([0; 16]), body.as_bytes());
        assert_eq!(of(GOOD).unwrap().last4(), "4242");
        for (from, to, shows) in [
            ("4242424242424242", "4242424242424241", r#"Some("number")"#),
            (r#""4242424242424242""#, "4242424242424242", r#"Some("number")"#),
            ("12", "13", r#"Some("exp_month")"#),
            ("12", r#""4242424242424242""#, r#"Some("exp_month")"#),
            ("2040", "2020", r#"Some("exp_year")"#),
            (r#""987""#, "987", r#"Some("cvc")"#),
            ("987", "9876", r#"Some("cvc")"#),
            (r#","cvc":"987""#, "", r#"Some("cvc")"#),
            ("}", r#","4242424242424242":1}"#, "no other fields"),
            ("}", r#","number":"4242424242424242"}"#, "stands once"),
            ("{", r#"{4242424242424242"#, "not a JSON object"),
        ] {
            let told = format!("{:?}", of(&GOOD.replacen(from, to, 1)).unwrap_err());
            assert!(told.contains(shows), "{to}: {told}");
            assert!(!told.contains("42424242") && !told.contains("987"), "{told}");
        }
    }

    #[test]
    fn this_month_is_one() {
        let (year, month) = this_month();
        assert!((2026..2200).contains(&year) && (1..=12).contains(&month), "{year} {month}");
    }
}
