//! What a notice is made of, and the event that the receiver gets.

use std::io::Write as _;

use bytes::Bytes;

use crate::http::render::{self, Wanted};
use crate::record::{Order, Record, Verdict};
use crate::trace::span::Trace;

/// One payment to tell about.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The payment's number.
    pub seq: u64,
    /// What was paid.
    pub order: Order,
    /// When it was committed, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// For fault decisions; 0 for one that has left its process.
    pub request_id: u64,
    /// Where its deliveries are told, when the request is sampled.
    pub trace: Option<Box<Trace>>,
}

impl Notice {
    /// The notice of `record`; `None` for a decline, about which nobody is told.
    #[must_use]
    pub fn of(record: &Record, request_id: u64, trace: Option<Box<Trace>>) -> Option<Self> {
        let Verdict::Succeeded { seq } = record.verdict else { return None };
        Some(Self { seq, order: record.order, created_ms: record.created_ms, request_id, trace })
    }

    /// The event's id: the payment's number and time, so that a database that begins anew gives others.
    #[must_use]
    pub fn id(&self) -> String {
        format!("evt_{:016}_{}", self.seq, self.created_ms)
    }
}

/// What a receiver gets, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same whenever it is delivered again.
    pub id: String,
    /// JSON.
    pub body: Bytes,
}

impl Event {
    /// The event of `notice`.
    #[must_use]
    pub fn of(notice: &Notice) -> Self {
        let id = notice.id();
        let record = Record {
            order: notice.order,
            verdict: Verdict::Succeeded { seq: notice.seq },
            created_ms: notice.created_ms,
        };
        let mut body = Vec::with_capacity(300);
        // Writing to memory does not fail.
        let _ = write!(body, r#"{{"id":"{id}","type":"payment.succeeded","data":"#);
        render::payment(&mut body, &record, Wanted::ALL);
        body.push(b'}');
        Self { id, body: body.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decline::Decline;
    use crate::ids::AccountId;
    use crate::money::Currency;

    #[test]
    fn an_event_is_the_payment_with_an_id_of_its_own() {
        let order = Order {
            from: AccountId(1),
            to: AccountId(42),
            amount: 1250,
            currency: Currency::parse("EUR").unwrap(),
        };
        let record = Record { order, verdict: Verdict::Succeeded { seq: 7 }, created_ms: 1_000_000_000_004 };
        let event = Event::of(&Notice::of(&record, 9, None).unwrap());
        assert_eq!(event.id, "evt_0000000000000007_1000000000004");
        let body = std::str::from_utf8(&event.body).unwrap();
        assert_eq!(
            body,
            r#"{"id":"evt_0000000000000007_1000000000004","type":"payment.succeeded","data":{"id":"pay_0000000000000007","status":"succeeded","seq":7,"from":"acc_00000001","to":"acc_00000042","amount":1250,"currency":"EUR","created_at":"2001-09-09T01:46:40.004Z"}}"#
        );
        let declined = Record { verdict: Verdict::Declined { why: Decline::Fraud }, ..record };
        assert!(Notice::of(&declined, 9, None).is_none());
    }
}
