//! The settings of the cache.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use super::link::Address;
use super::{Settings, Strategy};

/// The environment that names Redis: its URL holds a password.
pub const REDIS_VAR: &str = "PAYMENTS_REDIS";

/// How balances are cached.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "With PAYMENTS_REDIS")]
pub struct CacheArgs {
    /// How balances are cached; `through` when PAYMENTS_REDIS is set, else `off`.
    #[arg(long, value_enum, value_name = "HOW")]
    pub cache: Option<Strategy>,

    /// Accounts that this process keeps.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub cache_entries: u64,

    /// For how long this process keeps an account that it has read, in seconds.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub cache_ttl_s: u64,

    /// For how long Redis does, in seconds.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub cache_shared_ttl_s: u64,

    /// Accounts that are read at start: those with most of the latest payments.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub cache_warm: u32,
}

impl CacheArgs {
    /// The settings with the Redis of the URL `redis`.
    ///
    /// # Errors
    /// When it makes no sense, which is told without it, or is missing.
    pub fn settings(&self, redis: Option<&str>) -> anyhow::Result<Settings> {
        let redis = match redis {
            Some(url) => Some(Address::parse(url).with_context(|| {
                format!("{REDIS_VAR} makes no sense; write redis://user:password@host:6379/0")
            })?),
            None => None,
        };
        let strategy = self.cache.unwrap_or(if redis.is_some() { Strategy::Through } else { Strategy::Off });
        ensure!(
            strategy == Strategy::Off || redis.is_some(),
            "--cache needs {REDIS_VAR}: processes hear over Redis of each other's payments"
        );
        Ok(Settings {
            strategy,
            redis,
            entries: self.cache_entries,
            ttl: Duration::from_secs(self.cache_ttl_s),
            shared_ttl: Duration::from_secs(self.cache_shared_ttl_s),
            warm: self.cache_warm,
        })
    }
}
