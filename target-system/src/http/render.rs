//! Bytes out: payments as JSON, written by hand because every payment needs it once.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use squall_record::clock;

use crate::ids::{ACCOUNT_DIGITS, PAYMENT_DIGITS};
use crate::record::{Order, Record, Verdict};

/// The fields of a payment, in the order in which they are written.
pub const FIELDS: [&str; 8] = ["id", "status", "seq", "from", "to", "amount", "currency", "created_at"];

/// A set of [`FIELDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted(u8);

impl Wanted {
    /// All fields.
    pub const ALL: Wanted = Wanted(u8::MAX);

    /// The fields in a list with commas; `Err` holds one that is none.
    ///
    /// # Errors
    /// With the first unknown name.
    pub fn parse(list: &str) -> Result<Self, &str> {
        list.split(',').try_fold(Wanted(0), |Wanted(bits), name| {
            let at = FIELDS.iter().position(|f| *f == name).ok_or(name)?;
            Ok(Wanted(bits | 1 << at))
        })
    }

    fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }
}

/// Appends the payment or decline as a JSON object. Every value is a number, an id, a code or a
/// time of our own making, so nothing needs escaping. A decline has a `code` and no id.
pub fn payment(out: &mut Vec<u8>, record: &Record, wanted: Wanted) {
    let order = &record.order;
    let seq = match record.verdict {
        Verdict::Succeeded { seq } => Some(seq),
        Verdict::Declined { .. } => None,
    };
    out.push(b'{');
    let mut first = true;
    for (at, name) in FIELDS.iter().enumerate().filter(|(at, _)| wanted.has(*at)) {
        if seq.is_none() && matches!(*name, "id" | "seq") {
            continue;
        }
        out.extend_from_slice(if first { b"\"" } else { b",\"" });
        first = false;
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match at {
            0 => quoted(out, "pay_", seq.unwrap_or_default(), PAYMENT_DIGITS),
            1 => match record.verdict {
                Verdict::Succeeded { .. } => out.extend_from_slice(br#""succeeded""#),
                Verdict::Declined { why } => {
                    out.extend_from_slice(br#""declined","code":""#);
                    out.extend_from_slice(why.code().as_bytes());
                    out.push(b'"');
                }
            },
            2 => decimal(out, seq.unwrap_or_default(), 1),
            3 => quoted(out, "acc_", order.from.0.into(), ACCOUNT_DIGITS),
            4 => quoted(out, "acc_", order.to.0.into(), ACCOUNT_DIGITS),
            // Amounts are positive.
            5 => decimal(out, order.amount.unsigned_abs(), 1),
            6 => {
                out.push(b'"');
                out.extend_from_slice(order.currency.code().as_bytes());
                out.push(b'"');
            }
            _ => created_at(out, record.created_ms),
        }
    }
    out.push(b'}');
}

/// What a client asks for, as [`super::body::order`] reads it.
#[must_use]
pub fn order(order: &Order) -> String {
    let Order { from, to, amount, currency } = order;
    format!(r#"{{"from":"{from}","to":"{to}","amount":{amount},"currency":"{currency}"}}"#)
}

/// Appends an id in quotes.
fn quoted(out: &mut Vec<u8>, prefix: &str, number: u64, digits: usize) {
    out.push(b'"');
    out.extend_from_slice(prefix.as_bytes());
    decimal(out, number, digits);
    out.push(b'"');
}

/// Appends `number` with at least `digits` digits, without the machinery of `format!`.
pub fn decimal(out: &mut Vec<u8>, mut number: u64, digits: usize) {
    // A `u64` has 20 digits at most.
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while number > 0 {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    let from = at.min(text.len() - digits.min(text.len()));
    out.extend_from_slice(&text[from..]);
}

/// Appends a time in quotes. All payments of a commit share it, so the last one is remembered.
fn created_at(out: &mut Vec<u8>, created_ms: u64) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    LAST.with_borrow_mut(|(ms, text)| {
        if *ms != created_ms {
            *ms = created_ms;
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(created_ms);
            *text = format!("\"{}\"", clock::rfc3339(at));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

/// An answer with a JSON body.
#[must_use]
pub fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer with `value` as its JSON body.
#[must_use]
pub fn value(status: StatusCode, value: &impl serde::Serialize) -> Response {
    json(status, bytes(value))
}

/// `value` as JSON.
#[must_use]
pub fn bytes(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("own types are JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decline::Decline;
    use crate::ids::AccountId;
    use crate::money::Currency;
    use proptest::prelude::*;

    fn record(verdict: Verdict) -> Record {
        let order = Order {
            from: AccountId(1),
            to: AccountId(42),
            amount: 1250,
            currency: Currency::parse("EUR").unwrap(),
        };
        Record { order, verdict, created_ms: 1_000_000_000_004 }
    }

    fn render(verdict: Verdict, wanted: Wanted) -> String {
        let mut out = Vec::new();
        payment(&mut out, &record(verdict), wanted);
        serde_json::from_slice::<serde_json::Value>(&out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_payment_is_written_as_the_contract_says() {
        assert_eq!(
            render(Verdict::Succeeded { seq: 7 }, Wanted::ALL),
            r#"{"id":"pay_0000000000000007","status":"succeeded","seq":7,"from":"acc_00000001","to":"acc_00000042","amount":1250,"currency":"EUR","created_at":"2001-09-09T01:46:40.004Z"}"#
        );
        assert_eq!(
            render(Verdict::Declined { why: Decline::Fraud }, Wanted::ALL),
            r#"{"status":"declined","code":"fraud_suspected","from":"acc_00000001","to":"acc_00000042","amount":1250,"currency":"EUR","created_at":"2001-09-09T01:46:40.004Z"}"#
        );
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_format_does(number: u64, digits in 1usize..=20) {
            let mut out = Vec::new();
            decimal(&mut out, number, digits);
            prop_assert_eq!(out, format!("{number:0digits$}").into_bytes());
        }
    }

    #[test]
    fn zero_is_a_digit() {
        let mut out = Vec::new();
        decimal(&mut out, 0, 1);
        assert_eq!(out, b"0");
    }

    #[test]
    fn only_wanted_fields_are_written() {
        let wanted = Wanted::parse("amount,id").unwrap();
        assert_eq!(
            render(Verdict::Succeeded { seq: 7 }, wanted),
            r#"{"id":"pay_0000000000000007","amount":1250}"#
        );
        assert_eq!(Wanted::parse("id,nonsense"), Err("nonsense"));
        assert_eq!(Wanted::parse(""), Err(""));
    }
}
