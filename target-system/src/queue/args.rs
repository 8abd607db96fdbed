//! Which queue, and what goes first.

use anyhow::Context as _;
use clap::Args;

use super::nats::Address;
use super::priority::Thresholds;
use crate::auth::secret;

/// The queues that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// In this process.
    Process,
    /// On a NATS server, by way of the database's outbox.
    Nats,
}

/// Where notices of payments go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Notices of payments")]
pub struct QueueArgs {
    /// Where they wait for workers; `nats` needs `--store postgres` and PAYMENTS_NATS.
    #[arg(long, value_enum, default_value_t = Kind::Process)]
    pub queue: Kind,

    /// Payments of this amount or more, in minor units, are told first.
    #[arg(long, value_name = "AMOUNT", default_value_t = 10_000_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub high_from: i64,

    /// Payments below this amount, in minor units, are told last.
    #[arg(long, value_name = "AMOUNT", default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(0..))]
    pub low_below: i64,

    /// With more rows than this in the outbox `/health` says `degraded`.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub outbox_limit: u32,
}

impl QueueArgs {
    /// What goes first.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        Thresholds { high_from: self.high_from, low_below: self.low_below }
    }
}

/// The NATS server of the environment.
///
/// # Errors
/// When none is named, or it makes no sense. What it holds is not told: a password is part of it.
pub fn address() -> anyhow::Result<Address> {
    let named = secret::variable("PAYMENTS_NATS", |name| std::env::var(name).ok())?;
    named.context("PAYMENTS_NATS is not set: name the server, nats://user:password@host:4222")?.parse()
}
