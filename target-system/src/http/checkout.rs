//! A payment that asks other services first: the fraud check, then the card network, then the store.
//!
//! In this order, because each step is dearer to undo than the one before: a score is forgotten, an
//! authorisation has to be voided, a payment could only be paid back. Between the last two the process may die, or lose
//! the client: then there is an authorisation and no payment. Whoever asks again with the key is
//! given the same authorisation and makes the payment; if nobody does, it lapses. So from the authorisation on
//! nothing depends on the client's staying.

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
use crate::idempotency::{Claim, ScopedKey};
use crate::network::{Authorization, Network};
use crate::record::{Order, Verdict};
use crate::resilience::guard::CallError;

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
    let mut declined = checked.declined;
    let mut authorized = None;
    if let (None, Some(network)) = (declined, &dependencies.network) {
        match authorize(app, network, claim.key(), &order, deadline).await? {
            Ok(authorization) => authorized = Some((Arc::clone(network), authorization)),
            Err(why) => declined = Some(why),
        }
    }
    payments::pass_store_fault(app, subject).await?;
    let asked = Asked { order, declined, claim, request_id: subject.request_id };
    // In a task of its own: a client that hangs up now changes nothing. The store bounds how many wait.
    let settling = tokio::spawn({
        let app = Arc::clone(app);
        async move {
            let settled = payments::settle(&app, asked).await;
            if let Ok(Settled { record, .. }) = &settled {
                match (record.verdict, counted, authorized) {
                    (Verdict::Succeeded { .. }, counted, _) => counted.into_iter().for_each(Counted::keep),
                    (Verdict::Declined { .. }, _, Some((network, authorization))) => {
                        network.void(authorization)
                    }
                    (Verdict::Declined { .. }, _, None) => {}
                }
            }
            settled
        }
    });
    let settled = settling.await.unwrap_or_else(|_| Err(Problem::internal()))?;
    Ok(Answered { settled, degraded: checked.degraded && !settled.replayed })
}

async fn authorize(
    app: &App,
    network: &Network,
    key: &ScopedKey,
    order: &Order,
    deadline: Instant,
) -> Result<Result<Authorization, Decline>, Problem> {
    network.authorize(key, order, deadline).await.map_err(|error| match error {
        // The network remembers what a ledger that was away has never heard of.
        CallError::Refused(422) => Problem::key_reused(),
        CallError::Refused(status) => {
            tracing::warn!(status, "the network refuses to authorise");
            Problem::network(true)
        }
        error if error.not_asked() => {
            app.metrics.shed.inc();
            Problem::network(false)
        }
        _ => Problem::network(true),
    })
}
