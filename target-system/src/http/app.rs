//! What every handler shares.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use squall_chaos::leases::Leases;
use squall_record::clock::Clock;
use tokio::sync::Semaphore;

use super::accept::Drain;
use crate::auth::bearer::Auth;
use crate::bank::Bank;
use crate::fraud::Rules;
use crate::idempotency::InFlight;
use crate::metrics::Metrics;
use crate::worker::Delivery;

/// The service, as its handlers see it.
#[derive(Debug)]
pub struct App {
    /// Who may call.
    pub auth: Auth,
    /// The faults in force.
    pub leases: Arc<Leases>,
    /// Where payments are kept.
    pub bank: Bank,
    /// The keys of requests under way.
    pub keys: Arc<InFlight>,
    /// The fraud check.
    pub rules: Rules,
    /// The notification workers of this process, when it has any.
    pub workers: Option<Arc<Delivery>>,
    /// With more rows in the outbox the service is degraded.
    pub outbox_limit: u32,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Open connections of the API.
    pub connections: Arc<AtomicUsize>,
    /// Recounts under way.
    pub recounts: Arc<Semaphore>,
    /// Stops everything.
    pub drain: Drain,
    /// Zero is when the service became ready.
    pub started: Clock,
    /// After how long a request is given up.
    pub request_timeout: Duration,
    /// How long an idempotency key is kept.
    pub key_window: Duration,
}
