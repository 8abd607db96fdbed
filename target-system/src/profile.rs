//! Strong, or weak on purpose.
//!
//! Most services that break under load have one of a few flaws. [`Profile::Naive`] plants them, so that a scenario
//! shows what each looks like from outside; `docs/target.md` has the table. Settings that are given on the command line
//! beside it are overridden.

use std::time::Duration;

use crate::cli::ServeArgs;
use crate::ids::AccountId;
use crate::limits::{FRAUD_TIMEOUT, NAIVE_CALLS, NAIVE_QUEUE};
use crate::postgres::Strategy;

/// How the service stands up to failures around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// As well as it can.
    Hardened,
    /// With planted flaws: to be broken.
    Naive,
}

/// A second payment for each payment: what the payer owes the house for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fee {
    /// The one account that all fees go to.
    pub to: AccountId,
    /// In minor units.
    pub amount: i64,
}

impl Profile {
    /// Has `args` be what the profile stands for.
    pub fn apply(self, args: &mut ServeArgs) {
        if self == Profile::Hardened {
            return;
        }
        // An unbounded queue: everything is let in, and waits.
        args.queue_limit = NAIVE_QUEUE;
        args.overload.max_wait_ms = 0;
        // Timeout inversion: whoever is asked may take longer than whoever asks.
        let patience_ms = args.request_timeout_ms.saturating_mul(3);
        let dependencies = &mut args.dependencies;
        dependencies.fraud_attempt_ms = patience_ms;
        dependencies.fraud_call_ms = patience_ms;
        dependencies.network_attempt_ms = patience_ms;
        dependencies.network_call_ms = patience_ms;
        // Retries at once and without a budget, no breaker, no bulkhead.
        dependencies.call_attempts = 10;
        dependencies.retry_pause_ms = 0;
        dependencies.retry_percent = 100 * dependencies.call_attempts;
        dependencies.breaker_failures = u32::MAX;
        dependencies.fraud_calls = NAIVE_CALLS;
        dependencies.network_calls = NAIVE_CALLS;
        dependencies.waiting_calls = u16::MAX;
        // A transaction, and a row lock, for each payment.
        args.postgres.strategy = Strategy::Naive;
    }

    /// Whether nobody else may use a key while a request with it is under way.
    #[must_use]
    pub fn locks_keys(self) -> bool {
        self == Profile::Hardened
    }

    /// How long the fraud check in process is waited for, in a request that may take `request`.
    #[must_use]
    pub fn fraud_patience(self, request: Duration) -> Duration {
        match self {
            Profile::Hardened => FRAUD_TIMEOUT,
            Profile::Naive => request.saturating_mul(3),
        }
    }

    /// What each payment costs its payer: a hot account that every payment writes to.
    #[must_use]
    pub fn fee(self) -> Option<Fee> {
        (self == Profile::Naive).then_some(Fee { to: AccountId(1), amount: 1 })
    }
}
