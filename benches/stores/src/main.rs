//! Which embedded store can take 10,000 and 50,000 durable payments a second?
//!
//! Every store writes the same rows for a payment (the payment by its commit number, its
//! idempotency key, an index entry for each of its two accounts, and both balances) through the
//! same writer: it takes what has arrived, up to a limit, commits it with one durable sync, and
//! only then are the payments acknowledged. Arrivals come on a fixed schedule, whether or not
//! the store keeps up; latency counts from the scheduled instant to the acknowledgement.
//!
//! `stores all` runs every store at every rate, each in a process of its own so that memory and
//! CPU are its own, one after the other, and prints one JSON line each.

mod journal;
mod load;
mod payment;
mod stores;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand, ValueEnum};

/// Compares embedded stores under group commit of payments.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// One store at one rate, in this process.
    One {
        #[arg(long)]
        store: StoreName,
        /// Payments per second.
        #[arg(long)]
        rate: u64,
        #[arg(long, default_value_t = 8)]
        seconds: u64,
        /// The least time from the beginning of one commit to that of the next.
        #[arg(long, default_value_t = 0)]
        interval_us: u64,
        /// Where the store may put a new folder.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Every store at every rate, one process after the other.
    All {
        #[arg(long, value_delimiter = ',', default_value = "10000,50000")]
        rates: Vec<u64>,
        #[arg(long, value_delimiter = ',', default_value = "0,1000")]
        intervals_us: Vec<u64>,
        #[arg(long, default_value_t = 8)]
        seconds: u64,
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreName {
    /// No store at all: what the harness itself costs.
    Null,
    /// fjall 3.1: log-structured merge tree.
    Fjall,
    /// redb 4.4: copy-on-write B-tree.
    Redb,
    /// SQLite through rusqlite 0.41: WAL, synchronous=FULL.
    Sqlite,
    /// An own append-only journal with CRCs; the indices are in memory only.
    Journal,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        What::One { store, rate, seconds, interval_us, dir } => {
            let folder = tempfile::tempdir_in(&dir).with_context(|| format!("in {}", dir.display()))?;
            let mut opened: Box<dyn stores::Store> = match store {
                StoreName::Null => Box::new(stores::Null),
                StoreName::Fjall => Box::new(stores::Fjall::open(folder.path())?),
                StoreName::Redb => Box::new(stores::Redb::open(folder.path())?),
                StoreName::Sqlite => Box::new(stores::Sqlite::open(folder.path())?),
                StoreName::Journal => Box::new(journal::Journal::open(folder.path())?),
            };
            let name = store.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
            let figures = load::run(
                &name,
                opened.as_mut(),
                folder.path(),
                rate,
                seconds,
                Duration::from_micros(interval_us),
            )?;
            println!("{}", serde_json::to_string(&figures)?);
        }
        What::All { rates, intervals_us, seconds, dir } => {
            for (rate, interval) in rates.iter().flat_map(|r| intervals_us.iter().map(move |i| (r, i))) {
                for store in StoreName::value_variants() {
                    let name =
                        store.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
                    let status = Command::new(std::env::current_exe()?)
                        .args(["one", "--store", &name, "--rate", &rate.to_string()])
                        .args([
                            "--interval-us",
                            &interval.to_string(),
                            "--seconds",
                            &seconds.to_string(),
                            "--dir",
                        ])
                        .arg(&dir)
                        .status()?;
                    ensure!(status.success(), "{name} at {rate}/s: {status}");
                }
            }
        }
    }
    Ok(())
}
