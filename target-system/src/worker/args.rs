//! The settings of the workers, in `payments serve` and `payments worker`.

use std::fmt;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::Args;

use super::retry::Retries;
use super::scaling::Bounds;
use super::sink::Receiver;

/// How notices are delivered.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Notification workers")]
pub struct NotifyArgs {
    /// Where notices are delivered, by HTTP POST; when absent they are only counted. [env: PAYMENTS_DELIVER_TO]
    #[arg(long, value_name = "URL", env = "PAYMENTS_DELIVER_TO", hide_env = true)]
    pub deliver_to: Option<Unshown>,

    /// How long the receiver may take to answer.
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub deliver_timeout_ms: u64,

    /// How often a notice is tried before it is a dead letter.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_deliveries: u32,

    /// The pause after the first failure; it doubles with each, half of it by chance.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub retry_base_ms: u64,

    /// The longest pause between two tries.
    #[arg(long, value_name = "MS", default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub retry_max_ms: u64,

    /// The fewest workers.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub notify_min: u16,

    /// The most workers.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub notify_max: u16,

    /// Within how long what waits is to be delivered: more workers are taken for that.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub drain_target_s: u64,

    /// How often the number of workers is decided.
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub scale_every_ms: u64,

    /// How long fewer workers must do before there are fewer.
    #[arg(long, value_name = "MS", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    pub scale_down_ms: u64,
}

/// A text that may hold a secret: neither errors nor logs repeat it.
#[derive(Clone)]
pub struct Unshown(String);

impl fmt::Debug for Unshown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl std::str::FromStr for Unshown {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// What the workers keep to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where notices are delivered, if anywhere.
    pub receiver: Option<Receiver>,
    /// How long a delivery may take.
    pub time_limit: Duration,
    /// When one that failed is tried again.
    pub retries: Retries,
    /// How many workers.
    pub bounds: Bounds,
    /// How often that is decided.
    pub scale_every: Duration,
}

impl NotifyArgs {
    /// What the workers keep to.
    ///
    /// # Errors
    /// When bounds cross, or nothing can be delivered to the URL; that is not told.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        ensure!(
            self.notify_min <= self.notify_max,
            "--notify-min {} is above --notify-max {}",
            self.notify_min,
            self.notify_max
        );
        let receiver = self.deliver_to.as_ref().map(|url| url.0.parse::<Receiver>());
        let receiver = receiver.transpose().map_err(|why| anyhow!("--deliver-to makes no sense: {why}"))?;
        Ok(Settings {
            receiver,
            time_limit: Duration::from_millis(self.deliver_timeout_ms),
            retries: Retries {
                base: Duration::from_millis(self.retry_base_ms),
                longest: Duration::from_millis(self.retry_max_ms),
                max_deliveries: self.max_deliveries,
            },
            bounds: Bounds {
                min: usize::from(self.notify_min),
                max: usize::from(self.notify_max),
                drain_target: Duration::from_secs(self.drain_target_s),
                steady: Duration::from_millis(self.scale_down_ms),
            },
            scale_every: Duration::from_millis(self.scale_every_ms),
        })
    }
}
