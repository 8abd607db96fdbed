//! The schedule, the writer and the figures.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::payment::{ACCOUNTS, Payment};
use crate::stores::Store;

/// The most payments of one commit.
const MAX_BATCH: u64 = 4096;
/// How long the writer rests when nothing has arrived: the schedule's resolution.
const REST: Duration = Duration::from_micros(100);
/// A store that is this far behind its schedule is given up.
const MAX_BEHIND_S: u64 = 10;

/// What one store did at one rate.
#[derive(Serialize)]
pub struct Figures {
    store: String,
    offered_per_s: u64,
    commit_interval_us: u64,
    seconds: u64,
    achieved_per_s: u64,
    kept_up: bool,
    payments: u64,
    commits: u64,
    payments_per_commit: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    commit_p50_ms: f64,
    commit_p99_ms: f64,
    cpu_s_per_1000: f64,
    disk_mib: f64,
    disk_bytes_per_payment: f64,
    written_mib: f64,
    rss_mib: f64,
    rss_peak_mib: f64,
}

/// Loads `store` with `rate` payments per second for `seconds`.
///
/// Arrival `n` is due at `n / rate`; how many are due is computed from the clock, so the
/// schedule does not wait for the store and costs no CPU of its own. A commit begins no sooner
/// than `interval` after the one before began.
pub fn run(
    name: &str,
    store: &mut dyn Store,
    folder: &Path,
    rate: u64,
    seconds: u64,
    interval: Duration,
) -> anyhow::Result<Figures> {
    let total = rate * seconds;
    let mut latency = Histogram::<u64>::new(3)?;
    let mut commit_time = Histogram::<u64>::new(3)?;
    let mut balances = vec![1_000_000_000i64; ACCOUNTS as usize];
    let (cpu_before, written_before) = (cpu_s()?, written_bytes()?);
    let start = Instant::now();
    let due_us = |n: u64| n * 1_000_000 / rate;
    let elapsed_us = || start.elapsed().as_micros() as u64;
    let (mut first, mut commits, mut next_us) = (0, 0u64, 0);
    while first < total && elapsed_us() < (seconds + MAX_BEHIND_S) * 1_000_000 {
        let arrived = (elapsed_us() * rate / 1_000_000).min(total);
        if arrived == first || elapsed_us() < next_us {
            std::thread::sleep(REST);
            continue;
        }
        next_us = elapsed_us() + interval.as_micros() as u64;
        let batch: Vec<Payment> =
            (first..arrived.min(first + MAX_BATCH)).map(|n| Payment::nth(n + 1)).collect();
        for p in &batch {
            balances[p.from as usize] -= p.amount;
            balances[p.to as usize] += p.amount;
        }
        let began = elapsed_us();
        store.commit(&batch, &balances)?;
        let now = elapsed_us();
        commit_time.record((now - began).max(1))?;
        for p in &batch {
            latency.record(now.saturating_sub(due_us(p.seq - 1)).max(1))?;
        }
        commits += 1;
        first += batch.len() as u64;
    }
    let took_s = start.elapsed().as_secs_f64();
    let payments = first;
    let (cpu_used, written) = (cpu_s()? - cpu_before, written_bytes()? - written_before);
    let (rss, rss_peak) = (status_kib("VmRSS")?, status_kib("VmHWM")?);
    let disk = bytes_under(folder)?;
    let kept = store.payments()?;
    ensure!(kept == payments || name == "null", "{name} holds {kept} payments of {payments}");
    let ms = |us: u64| us as f64 / 1000.0;
    let mib = |bytes: u64| (bytes as f64 / 104_857.6).round() / 10.0;
    Ok(Figures {
        store: name.to_owned(),
        offered_per_s: rate,
        commit_interval_us: interval.as_micros() as u64,
        seconds,
        achieved_per_s: (payments as f64 / took_s) as u64,
        kept_up: took_s < seconds as f64 * 1.02,
        payments,
        commits,
        payments_per_commit: (payments as f64 / commits as f64 * 10.0).round() / 10.0,
        latency_p50_ms: ms(latency.value_at_quantile(0.5)),
        latency_p99_ms: ms(latency.value_at_quantile(0.99)),
        latency_max_ms: ms(latency.max()),
        commit_p50_ms: ms(commit_time.value_at_quantile(0.5)),
        commit_p99_ms: ms(commit_time.value_at_quantile(0.99)),
        cpu_s_per_1000: (cpu_used / payments as f64 * 1e7).round() / 1e4,
        disk_mib: mib(disk),
        disk_bytes_per_payment: (disk as f64 / payments as f64).round(),
        written_mib: mib(written),
        rss_mib: mib(rss * 1024),
        rss_peak_mib: mib(rss_peak * 1024),
    })
}

/// CPU seconds of all live threads, from the scheduler's own nanoseconds: a store's background
/// threads live as long as the store.
fn cpu_s() -> anyhow::Result<f64> {
    let mut ns = 0u64;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        ns += text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(ns as f64 / 1e9)
}

/// Bytes that this process caused to be written to storage: proc_pid_io(5).
fn written_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|l| l.strip_prefix("write_bytes: "));
    Ok(line.unwrap_or("0").parse()?)
}

fn status_kib(field: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    Ok(line.unwrap_or("0").trim().trim_end_matches(" kB").parse()?)
}

/// Bytes allocated for every file under `folder`.
fn bytes_under(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { bytes_under(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}
