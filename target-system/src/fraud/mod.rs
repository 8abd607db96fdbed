//! The fraud check, behind the `fraud` fault point.
//!
//! Without a fraud service it is a rule in process. With one, [`scoring`] asks it. When either does not
//! answer, a rule that needs nobody decides: what is large goes to a person ([`Review`]), and the rest
//! goes on. A check that is down must neither stop the shop nor go unnoticed, so that is counted, and the
//! answer says so.
//!
//! # Layout
//!
//! * [`scoring`]: the fraud service, asked.
//! * [`daily`]: what each payer has paid today.
//! * [`service`]: the fraud service itself, `payments fraud`.

pub mod daily;
pub mod scoring;
pub mod service;

use std::time::Duration;

use squall_chaos::layer::Subject;
use squall_chaos::leases::Leases;
use squall_chaos::points::Passed;
use squall_record::fault::FaultPoint;

use crate::decline::Decline;
use crate::record::Order;

/// What the check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Why the payment is stopped, if it is.
    pub declined: Option<Decline>,
    /// Whether the check did not answer, and the rule without it decided.
    pub degraded: bool,
}

impl Checked {
    fn by_check(stopped: bool) -> Self {
        Self { declined: stopped.then_some(Decline::Fraud), degraded: false }
    }
}

/// The rule in process: amounts above `limit` minor units are stopped.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The greatest amount that passes.
    pub limit: i64,
    /// What decides when the check does not answer.
    pub review: Review,
    /// How long it is waited for.
    pub patience: Duration,
}

/// What a person has to look at when there is no check, in minor units.
#[derive(Debug, Clone, Copy)]
pub struct Review {
    /// A greater amount.
    pub amount: i64,
    /// A greater total of the payer's day, where that is known.
    pub daily: i64,
}

impl Review {
    /// Decides on an order of `amount` that makes the payer's day `daily_total`.
    #[must_use]
    pub fn decide(self, amount: i64, daily_total: Option<i64>) -> Checked {
        let review = amount > self.amount || daily_total.is_some_and(|total| total > self.daily);
        Checked { declined: review.then_some(Decline::Review), degraded: true }
    }
}

impl Rules {
    /// Checks one order.
    pub async fn check(self, leases: &Leases, order: &Order, subject: Subject) -> Checked {
        match answers(leases, subject, self.patience).await {
            Some(_passed) => Checked::by_check(order.amount > self.limit),
            None => self.review.decide(order.amount, None),
        }
    }
}

/// Whether the fault point lets the check answer: then what is to be kept until it has.
async fn answers(leases: &Leases, subject: Subject, patience: Duration) -> Option<Passed> {
    // Nearly always nothing is armed there: no timer then.
    if !leases.any_at(FaultPoint::Fraud) {
        return Some(Passed::default());
    }
    let point = leases.pass(FaultPoint::Fraud, subject.request_id, subject.attempt);
    tokio::time::timeout(patience, point).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_looks_at_large_amounts_and_large_days() {
        let review = Review { amount: 1_000_000, daily: 5_000_000 };
        let decline = |amount, total| review.decide(amount, total).declined;
        assert_eq!(decline(1_000_000, None), None);
        assert_eq!(decline(1_000_001, None), Some(Decline::Review));
        assert_eq!(decline(1, Some(5_000_000)), None);
        assert_eq!(decline(1, Some(5_000_001)), Some(Decline::Review));
        assert!(review.decide(1, None).degraded);
    }
}
