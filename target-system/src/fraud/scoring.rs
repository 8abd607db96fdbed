//! The fraud service, asked.

use std::sync::Arc;

use axum::http::Uri;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use squall_chaos::layer::Subject;
use squall_chaos::leases::Leases;
use tokio::time::Instant;

use super::daily::{Counted, DailyTotals};
use super::{Checked, Review, answers};
use crate::http::peer::{Peer, PeerUrl};
use crate::http::render;
use crate::limits::{FRAUD_TIMEOUT, MAX_DAILY_TOTALS};
use crate::record::Order;
use crate::resilience::guard::{CallError, Failure, Guard};
use crate::wall;

/// Where a payment is scored.
pub const PATH: &str = "/v1/scores";

/// What the fraud service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// From 0, harmless, to 100.
    pub score: u8,
}

/// The check by a fraud service.
#[derive(Debug)]
pub struct Scoring {
    peer: Peer,
    uri: Uri,
    guard: Guard,
    /// A payment with a greater score is stopped.
    highest: u8,
    /// What decides when the service does not answer.
    review: Review,
    daily: Arc<DailyTotals>,
}

impl Scoring {
    /// Asks the service at `url` through `guard`.
    #[must_use]
    pub fn new(peer: Peer, url: &PeerUrl, guard: Guard, highest: u8, review: Review) -> Self {
        let daily = Arc::new(DailyTotals::new(MAX_DAILY_TOTALS));
        Self { peer, uri: url.at(PATH), guard, highest, review, daily }
    }

    /// Counts the order for its payer's day. To be kept when the payment is made.
    #[must_use]
    pub fn count(&self, order: &Order) -> Counted {
        self.daily.count(order.from, order.amount, wall::now_ms())
    }

    /// Checks one order that is `counted`, by `deadline` at the latest.
    pub async fn check(
        &self,
        leases: &Leases,
        order: &Order,
        subject: Subject,
        counted: &Counted,
        deadline: Instant,
    ) -> Checked {
        if let Some(_passed) = answers(leases, subject, FRAUD_TIMEOUT).await
            && let Ok(score) = self.ask(order, deadline).await
        {
            return Checked::by_check(score > self.highest);
        }
        self.review.decide(order.amount, counted.total)
    }

    /// Scoring changes nothing, so it may be asked again.
    async fn ask(&self, order: &Order, deadline: Instant) -> Result<u8, CallError> {
        let body = Bytes::from(render::order(order));
        let asked = self.guard.call(deadline, || async {
            let answer = self.peer.post(&self.uri, None, body.clone()).await?;
            let score: Score = serde_json::from_slice(&answer).map_err(|_| Failure::Failed)?;
            if score.score > 100 { Err(Failure::Failed) } else { Ok(score.score) }
        });
        let answered = asked.await;
        if let Err(CallError::Refused(status)) = answered {
            tracing::warn!(status, "the fraud service refuses to score");
        }
        answered
    }

    /// What stands before the service.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }
}
