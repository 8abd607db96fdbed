//! The settings of the services that are asked before a payment.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use prometheus_client::registry::Registry;

use super::Dependencies;
use crate::fraud::Review;
use crate::fraud::scoring::Scoring;
use crate::http::peer::{Peer, PeerUrl};
use crate::limits::LONGEST_PAUSE;
use crate::network::Network;
use crate::resilience::backoff::BackoffSettings;
use crate::resilience::breaker::BreakerSettings;
use crate::resilience::budget::BudgetSettings;
use crate::resilience::bulkhead::BulkheadSettings;
use crate::resilience::figures::Families;
use crate::resilience::guard::{Guard, GuardSettings};
use crate::role;

/// How other services are called.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Services that are asked before a payment")]
pub struct DependencyArgs {
    /// The fraud service (`payments fraud`), http://host:port; a rule in process when absent.
    #[arg(long, value_name = "URL")]
    pub fraud_url: Option<PeerUrl>,

    /// The card network (`payments network`), http://host:port; nobody is asked when absent.
    #[arg(long, value_name = "URL")]
    pub network_url: Option<PeerUrl>,

    /// Payments that the fraud service gives a greater score are stopped.
    #[arg(long, value_name = "SCORE", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub fraud_score: u8,

    /// Without an answer of the fraud check a greater amount is declined for review, in minor units.
    #[arg(long, value_name = "AMOUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(0..))]
    pub review_amount: i64,

    /// Likewise a payment that makes the payer's day greater than this, with --fraud-url.
    #[arg(long, value_name = "AMOUNT", default_value_t = 5_000_000, value_parser = clap::value_parser!(i64).range(0..))]
    pub review_daily: i64,

    /// How long one attempt to ask the fraud service may take.
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub fraud_attempt_ms: u64,

    /// How long asking it may take, with retries.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub fraud_call_ms: u64,

    /// How often the fraud service is asked at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub fraud_calls: u16,

    /// How long one attempt to ask the network may take.
    #[arg(long, value_name = "MS", default_value_t = 1500, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub network_attempt_ms: u64,

    /// How long asking it may take, with retries.
    #[arg(long, value_name = "MS", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub network_call_ms: u64,

    /// How often the network is asked at once.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub network_calls: u16,

    /// Calls that may wait until another to the same service ends; further ones are refused at once.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub waiting_calls: u16,

    /// Attempts of a call.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub call_attempts: u32,

    /// The longest pause before the first retry; it doubles with each, up to a second.
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub retry_pause_ms: u64,

    /// Retries for a hundred calls to the same service.
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub retry_percent: u32,

    /// Retries a second on top, for a service that is hardly called.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub retry_floor: u32,

    /// Failures in a row after which a service is left alone.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub breaker_failures: u32,

    /// For how long it is.
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub breaker_open_ms: u64,

    /// Calls that then have to succeed before all are let through.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub breaker_probes: u32,
}

/// What is set for each service apart.
#[derive(Clone, Copy)]
struct Own {
    attempt_ms: u64,
    call_ms: u64,
    at_once: u16,
}

impl DependencyArgs {
    fn fraud(&self) -> Own {
        Own { attempt_ms: self.fraud_attempt_ms, call_ms: self.fraud_call_ms, at_once: self.fraud_calls }
    }

    fn network(&self) -> Own {
        Own {
            attempt_ms: self.network_attempt_ms,
            call_ms: self.network_call_ms,
            at_once: self.network_calls,
        }
    }

    fn asked(&self) -> impl Iterator<Item = Own> {
        let fraud = self.fraud_url.is_some().then(|| self.fraud());
        fraud.into_iter().chain(self.network_url.is_some().then(|| self.network()))
    }

    /// Whether a request has the time to ask every service.
    ///
    /// # Errors
    /// When it has not: its client would be told 504 while the service still asks others.
    pub fn check(&self, request: Duration) -> anyhow::Result<()> {
        let calls = Duration::from_millis(self.asked().map(|own| own.call_ms).sum());
        ensure!(
            calls < request,
            "asking other services may take {calls:?}, and a request {request:?}: lower --fraud-call-ms and \
             --network-call-ms or raise --request-timeout-ms"
        );
        Ok(())
    }

    /// Connections to other services: as many as calls at once, and once more those that a call gave up and
    /// that are not closed yet.
    #[must_use]
    pub fn connections(&self) -> usize {
        2 * self.asked().map(|own| usize::from(own.at_once)).sum::<usize>()
    }

    /// What decides without an answer of the fraud check.
    #[must_use]
    pub fn review(&self) -> Review {
        Review { amount: self.review_amount, daily: self.review_daily }
    }

    /// The services that are to be asked, if any. None of them has to be there yet.
    ///
    /// # Errors
    /// When one is not on this machine and there is no token to show to it.
    pub fn connect(&self, registry: &mut Registry) -> anyhow::Result<Option<Dependencies>> {
        let urls = [&self.fraud_url, &self.network_url];
        if urls.iter().all(|url| url.is_none()) {
            return Ok(None);
        }
        let token = role::token(urls.into_iter().flatten().all(PeerUrl::is_loopback))?;
        let families = Families::register(registry);
        let peer = |own: Own| {
            let connect = Duration::from_millis(own.attempt_ms);
            Peer::new(token.as_ref(), usize::from(own.at_once), connect)
        };
        let guard = |own: Own, name| Guard::new(self.guard(own), families.of(name));
        let fraud = self.fraud_url.as_ref().map(|url| {
            let own = self.fraud();
            Scoring::new(peer(own), url, guard(own, "fraud"), self.fraud_score, self.review())
        });
        let network = self.network_url.as_ref().map(|url| {
            let own = self.network();
            Network::new(peer(own), url, guard(own, "network"), registry).into()
        });
        Ok(Some(Dependencies { fraud, network }))
    }

    fn guard(&self, own: Own) -> GuardSettings {
        GuardSettings {
            attempt: Duration::from_millis(own.attempt_ms),
            call: Duration::from_millis(own.call_ms),
            attempts: self.call_attempts,
            backoff: BackoffSettings {
                first: Duration::from_millis(self.retry_pause_ms),
                most: LONGEST_PAUSE,
            },
            budget: BudgetSettings { percent: self.retry_percent, floor_per_s: self.retry_floor },
            breaker: BreakerSettings {
                failures: self.breaker_failures,
                open_ns: self.breaker_open_ms * 1_000_000,
                probes: self.breaker_probes,
            },
            bulkhead: BulkheadSettings {
                at_once: usize::from(own.at_once),
                waiting: usize::from(self.waiting_calls),
            },
        }
    }
}
