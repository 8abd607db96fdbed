//! A payment that asks other services first: the fraud check, then the card network, then the store.
//!
//! In this order, because each step is dearer to undo than the one before: a score is forgotten, an
//! authorisation has to be voided, a payment could only be paid back. Between the last two the process may die, or lose
//! the client: then there is an authorisation and no payment. Whoever asks again with the key is
//! given the same authorisation and makes the payment; if nobody does, it lapses. A client that goes away is
//! no reason to leave one behind: once the network is asked, the payment comes to its end without the client.

use std::sync::Arc;

use squall_chaos::layer::Subject;
use tokio::time::Instant;

use super::app::App;
use super::payments::{self, Answered, refused};
use super::problem::Problem;
use crate::bank::{Asked, Settled};
use crate::decline::Decline;
use crate::dependencies::Dependencies;
use crate::fraud::Checked;
use crate::fraud::daily::Counted;
use crate::idempotency::Claim;
use crate::network::{Authorization, Network};
use crate::record::{Order, Verdict};
use crate::resilience::guard::CallError;
use crate::trace;

/// Makes the payment `order` for `claim`'s key, once; waits until it is durable. Others are asked for no longer
/// than until `deadline`.
///
/// # Errors
/// As [`payments::pay`]; 503 when the network gives no answer.
pub async fn pay(
    app: &Arc<App>,
    dependencies: &Dependencies,
    claim: Claim,
    order: Order,
    subject: Subject,
    deadline: Instant,
) -> Result<Answered, Problem> {
    let known = app.bank.known_elsewhere(claim.key(), &order).await;
    if let Some(record) = known.map_err(|e| refused(app, e))? {
        app.metrics.replays.inc();
        return Ok(Answered { settled: Settled { record, replayed: true }, degraded: false });
    }
    let by_amount = Decline::by_amount(order.amount);
    let counted = match (&dependencies.fraud, by_amount) {
        (Some(fraud), None) => Some(fraud.count(&order)),
        _ => None,
    };
    let checked = match (by_amount, &dependencies.fraud, &counted) {
        (Some(why), ..) => Checked { declined: Some(why), degraded: false },
        (None, Some(fraud), Some(counted)) => {
            fraud.check(&app.leases, &order, subject, counted, deadline).await
        }
        (None, ..) => app.rules.check(&app.leases, &order, subject).await,
    };
    if checked.degraded {
        app.metrics.fraud_fallbacks.inc();
    }
    let checkout = Checkout {
        app: Arc::clone(app),
        asked: Asked {
            order,
            declined: checked.declined,
            claim,
            request_id: subject.request_id,
            trace: None,
        },
        counted,
        subject,
        deadline,
    };
    // In a task of its own: a client that hangs up now changes nothing. It is over soon after the deadline.
    let settling = trace::current().work(checkout.settle());
    let settled = tokio::spawn(settling).await.unwrap_or_else(|_| Err(Problem::internal()))?;
    Ok(Answered { settled, degraded: checked.degraded && !settled.replayed })
}

/// A payment that the fraud check has seen.
struct Checkout {
    app: Arc<App>,
    asked: Asked,
    counted: Option<Counted>,
    subject: Subject,
    deadline: Instant,
}

impl Checkout {
    async fn settle(mut self) -> Result<Settled, Problem> {
        let app = &self.app;
        let network = app.dependencies.as_ref().and_then(|d| d.network.as_ref());
        let mut authorized = None;
        if let (None, Some(network)) = (self.asked.declined, network) {
            match self.authorize(network).await? {
                Ok(authorization) => authorized = Some((network, authorization)),
                Err(why) => self.asked.declined = Some(why),
            }
        }
        // A store that a fault holds up shall not gather payments whose clients have given up.
        let passed = tokio::time::timeout_at(self.deadline, payments::pass_store_fault(app, self.subject));
        let _passed = passed.await.map_err(|_| Problem::timeout())??;
        let settled = payments::settle(app, self.asked).await?;
        match (settled.record.verdict, self.counted, authorized) {
            (Verdict::Succeeded { .. }, Some(counted), _) if !settled.replayed => counted.keep(),
            (Verdict::Declined { .. }, _, Some((network, authorization))) => network.void(authorization),
            _ => {}
        }
        Ok(settled)
    }

    async fn authorize(&self, network: &Network) -> Result<Result<Authorization, Decline>, Problem> {
        let (key, order) = (self.asked.claim.key(), &self.asked.order);
        network.authorize(key, order, self.deadline).await.map_err(|error| match error {
            // The network remembers what a ledger that was away has never heard of.
            CallError::Refused(422) => Problem::key_reused(),
            CallError::Refused(status) => {
                tracing::warn!(status, "the network refuses to authorise");
                Problem::network(true)
            }
            error if error.not_asked() => {
                self.app.metrics.shed.inc();
                Problem::network(false)
            }
            _ => Problem::network(true),
        })
    }
}
