//! What every handler shares.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use squall_chaos::leases::Leases;
use squall_record::clock::Clock;
use tokio::sync::Semaphore;

use super::accept::Drain;
use super::problem::Problem;
use super::rates::Rates;
use crate::admission::Admission;
use crate::auth::bearer::Auth;
use crate::auth::logins::Logins;
use crate::auth::role::{Act, Caller};
use crate::bank::Bank;
use crate::cards::vault::Vault;
use crate::dependencies::Dependencies;
use crate::fraud::Rules;
use crate::idempotency::InFlight;
use crate::metrics::Metrics;
use crate::profile::Fee;
use crate::strain::Strain;
use crate::trace::RequestId;
use crate::trace::context::Carried;
use crate::trace::span::{Span, Tracer};
use crate::worker::Delivery;

/// The service, as its handlers see it.
#[derive(Debug)]
pub struct App {
    /// Who may call.
    pub auth: Auth,
    /// Logins, and the tokens that refresh them.
    pub logins: Logins,
    /// Payment methods.
    pub vault: Vault,
    /// The faults in force.
    pub leases: Arc<Leases>,
    /// Where payments are kept.
    pub bank: Bank,
    /// The keys of requests under way.
    pub keys: Arc<InFlight>,
    /// The fraud check in process.
    pub rules: Rules,
    /// The services that are asked before a payment, when there are any.
    pub dependencies: Option<Dependencies>,
    /// What each payment costs its payer, if anything.
    pub fee: Option<Fee>,
    /// The notification workers of this process, when it has any.
    pub workers: Option<Arc<Delivery>>,
    /// With more rows in the outbox the service is degraded.
    pub outbox_limit: u32,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Open connections of the API.
    pub connections: Arc<AtomicUsize>,
    /// How many payments may be under way.
    pub admission: Arc<Admission>,
    /// How many requests each caller has, when that is limited.
    pub rates: Option<Rates>,
    /// Makes spans, when somebody wants them.
    pub tracer: Option<Tracer>,
    /// Whether the process has room for more traffic.
    pub strain: Strain,
    /// Recounts under way.
    pub recounts: Arc<Semaphore>,
    /// Audits under way that count nothing again.
    pub audits: Arc<Semaphore>,
    /// Stops everything.
    pub drain: Drain,
    /// Zero is when the service became ready.
    pub started: Clock,
    /// After how long a request is given up.
    pub request_timeout: Duration,
    /// How long an idempotency key is kept.
    pub key_window: Duration,
}

/// Lets `caller` go on.
///
/// # Errors
/// 403 when callers of this role do not do that.
pub fn permit(caller: &Caller, act: Act) -> Result<(), Problem> {
    if caller.role().may(act) { Ok(()) } else { Err(Problem::forbidden()) }
}

impl App {
    /// Takes a request of the client at `peer`.
    ///
    /// # Errors
    /// 429 when it has had its allowance.
    pub fn limit_address(&self, peer: IpAddr, forwarded: Option<&[u8]>) -> Result<(), Problem> {
        let Some(rates) = &self.rates else { return Ok(()) };
        rates.take_of_address(peer, forwarded).map_err(|wait| self.limited("address", wait))
    }

    /// Takes a request of `caller`.
    ///
    /// # Errors
    /// 429 when they have had their allowance.
    pub fn limit_user(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(rates) = &self.rates else { return Ok(()) };
        rates.take_of_user(caller.name()).map_err(|wait| self.limited("user", wait))
    }

    /// The span of the request `id` for `route`; an empty one when nobody wants it.
    pub fn span<'a>(
        &self,
        id: RequestId,
        route: &'static str,
        carried: impl FnOnce() -> Carried<'a>,
    ) -> Span {
        let Some(tracer) = &self.tracer else { return Span::default() };
        let mut span = tracer.serve(route, carried());
        if span.is_sampled() {
            span.set("payments.request_id", id.to_string());
        }
        span
    }

    fn limited(&self, whose: &'static str, wait: Duration) -> Problem {
        self.metrics.rate_limited(whose);
        Problem::rate_limited(wait)
    }
}
