//! Bytes out: payments as JSON, written by hand because every payment needs it once.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use squall_record::clock;

use crate::ids::PAYMENT_DIGITS;
use crate::record::{Record, Verdict};

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
pub fn payment(out: &mut String, record: &Record, wanted: Wanted) {
    let order = &record.order;
    out.push('{');
    let mut first = true;
    for (at, name) in FIELDS.iter().enumerate().filter(|(at, _)| wanted.has(*at)) {
        let seq = match record.verdict {
            Verdict::Succeeded { seq } => Some(seq),
            Verdict::Declined { .. } => None,
        };
        if seq.is_none() && matches!(*name, "id" | "seq") {
            continue;
        }
        let comma = if first { "" } else { "," };
        first = false;
        let seq = seq.unwrap_or_default();
        // Writing to a string does not fail.
        let _ = match at {
            0 => write!(out, r#"{comma}"id":"pay_{seq:0PAYMENT_DIGITS$}""#),
            1 => match record.verdict {
                Verdict::Succeeded { .. } => write!(out, r#"{comma}"status":"succeeded""#),
                Verdict::Declined { why } => {
                    write!(out, r#"{comma}"status":"declined","code":"{}""#, why.code())
                }
            },
            2 => write!(out, r#"{comma}"seq":{seq}"#),
            3 => write!(out, r#"{comma}"from":"{}""#, order.from),
            4 => write!(out, r#"{comma}"to":"{}""#, order.to),
            5 => write!(out, r#"{comma}"amount":{}"#, order.amount),
            6 => write!(out, r#"{comma}"currency":"{}""#, order.currency.code()),
            _ => {
                let at = SystemTime::UNIX_EPOCH + Duration::from_millis(record.created_ms);
                write!(out, r#"{comma}"created_at":"{}""#, clock::rfc3339(at))
            }
        };
    }
    out.push('}');
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
    json(status, serde_json::to_vec(value).expect("own types are JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decline::Decline;
    use crate::ids::AccountId;
    use crate::money::Currency;
    use crate::record::Order;

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
        let mut out = String::new();
        payment(&mut out, &record(verdict), wanted);
        serde_json::from_str::<serde_json::Value>(&out).unwrap();
        out
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
