//! What the business asks: how many payments, of how much, and why the others were declined.

use std::array;
use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use crate::decline::Decline;
use crate::money::{CURRENCIES, Currency};
use crate::record::{Record, Verdict};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    currency: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

/// Payments that have come to their end since the start, each once.
#[derive(Debug)]
pub struct Business {
    succeeded: Family<Of, Counter>,
    moved: Family<Of, Counter>,
    declined: Family<Code, Counter>,
    /// Of the first two, what each currency has, found without a look-up by label.
    by_currency: [OnceLock<(Counter, Counter)>; CURRENCIES],
    /// Of the last, what each decline has.
    by_code: [Counter; Decline::ALL.len()],
}

impl Default for Business {
    fn default() -> Self {
        let declined = Family::<Code, Counter>::default();
        let of = |why: Decline| declined.get_or_create(&Code { code: why.code() }).clone();
        Self {
            by_code: Decline::ALL.map(of),
            by_currency: array::from_fn(|_| OnceLock::new()),
            succeeded: Family::default(),
            moved: Family::default(),
            declined,
        }
    }
}

impl Business {
    /// Shows the figures.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("payments_succeeded", "Payments that moved money", self.succeeded.clone());
        let unit = Unit::Other("minor_units".to_owned());
        registry.register_with_unit("payments_moved", "Money that payments moved", unit, self.moved.clone());
        registry.register("payments_declined", "Payments declined, by code", self.declined.clone());
    }

    /// Counts a payment.
    pub fn settled(&self, record: &Record) {
        match record.verdict {
            Verdict::Succeeded { .. } => {
                let (payments, moved) = self.of(record.order.currency);
                payments.inc();
                moved.inc_by(record.order.amount.unsigned_abs());
            }
            // Numbered from 1.
            Verdict::Declined { why } => {
                self.by_code[why as usize - 1].inc();
            }
        }
    }

    fn of(&self, currency: Currency) -> &(Counter, Counter) {
        self.by_currency[currency.index()].get_or_init(|| {
            let of = Of { currency: currency.to_string() };
            (self.succeeded.get_or_create(&of).clone(), self.moved.get_or_create(&of).clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;
    use crate::record::Order;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn payments_count_by_currency_and_declines_by_code() {
        let (business, mut registry) = (Business::default(), Registry::default());
        business.register(&mut registry);
        let settle = |currency: &str, amount, verdict| {
            let order =
                Order { from: AccountId(1), to: AccountId(2), amount, currency: currency.parse().unwrap() };
            business.settled(&Record { order, verdict, created_ms: 0 });
        };
        settle("EUR", 1250, Verdict::Succeeded { seq: 1 });
        settle("EUR", 50, Verdict::Succeeded { seq: 2 });
        settle("JPY", 7, Verdict::Succeeded { seq: 3 });
        Decline::ALL.into_iter().for_each(|why| settle("EUR", 1_000_000, Verdict::Declined { why }));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"payments_succeeded_total{currency="EUR"} 2"#,
            r#"payments_succeeded_total{currency="JPY"} 1"#,
            r#"payments_moved_minor_units_total{currency="EUR"} 1300"#,
            r#"payments_moved_minor_units_total{currency="JPY"} 7"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        for why in Decline::ALL {
            assert!(
                text.contains(&format!("payments_declined_total{{code=\"{}\"}} 1\n", why.code())),
                "{text}"
            );
        }
    }
}
