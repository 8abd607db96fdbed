//! The settings of replicas.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::Settings;
use crate::postgres::database::Database;
use crate::postgres::pool::PoolSettings;

/// The environment that names replicas: they hold passwords.
pub const REPLICAS_VAR: &str = "PAYMENTS_REPLICAS";

/// Which copies of the database answer questions.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "With PAYMENTS_REPLICAS")]
pub struct ReplicaArgs {
    /// A replica that is behind by more is not asked.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub replica_max_lag_ms: u64,
}

impl ReplicaArgs {
    /// The settings for `replicas`, URLs with commas between them; `configured` makes one of them what
    /// connections are made with.
    ///
    /// # Errors
    /// When one makes no sense; which one is told, and not what it holds.
    pub fn settings(
        &self,
        replicas: &str,
        pool: PoolSettings,
        configured: impl Fn(&str) -> anyhow::Result<Database>,
    ) -> anyhow::Result<Settings> {
        let databases = (1..)
            .zip(replicas.split(',').map(str::trim))
            .map(|(n, url)| configured(url).with_context(|| format!("replica {n}, with a comma between two")))
            .collect::<anyhow::Result<_>>()?;
        Ok(Settings { databases, pool, max_lag: Duration::from_millis(self.replica_max_lag_ms) })
    }
}
