//! The fraud check: one rule, in process, behind the `fraud` fault point.
//!
//! When the check fails or takes too long the payment goes on without it, and that is counted:
//! a check that is down must neither stop the shop nor go unnoticed.

use squall_chaos::leases::Leases;
use squall_record::fault::FaultPoint;

use crate::decline::Decline;
use crate::limits::FRAUD_TIMEOUT;
use crate::record::Order;

/// What the check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// No rule fired.
    Clear,
    /// A rule fired.
    Stopped(Decline),
    /// There was no answer in time; the payment goes on without.
    Skipped,
}

/// The rule: amounts above `limit` minor units are stopped.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The greatest amount that passes.
    pub limit: i64,
}

impl Rules {
    /// Checks one order, within [`FRAUD_TIMEOUT`].
    pub async fn check(self, leases: &Leases, order: &Order, request_id: u64, attempt: u32) -> Checked {
        let point = leases.pass(FaultPoint::Fraud, request_id, attempt);
        match tokio::time::timeout(FRAUD_TIMEOUT, point).await {
            Ok(Ok(())) if order.amount > self.limit => Checked::Stopped(Decline::Fraud),
            Ok(Ok(())) => Checked::Clear,
            Ok(Err(_)) | Err(_) => Checked::Skipped,
        }
    }
}
