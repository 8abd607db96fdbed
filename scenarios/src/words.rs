//! A fault in a few words, for people: the same in every view.

use squall_record::fault::{Delay, Effect, FaultSpec};

use crate::units::duration::format_seconds;
use crate::units::number::trimmed;
use crate::units::ratio::format_ratio;

/// `latency +20ms at store, 10% of requests`, or `every request`; the share only where each request is decided about.
#[must_use]
pub fn fault(fault: &FaultSpec) -> String {
    let (what, place) = (effect(&fault.effect), &fault.place);
    if !fault.effect.is_per_request() || place.point().is_none() {
        format!("{what} at {place}")
    } else if fault.fraction >= 1.0 {
        format!("{what} at {place}, every request")
    } else {
        format!("{what} at {place}, {} of requests", format_ratio(fault.fraction))
    }
}

/// What it does: `latency +20ms`.
#[must_use]
pub fn effect(effect: &Effect) -> String {
    let ms = |ms: f64| format_seconds(ms / 1e3);
    let each = |every_ms: &u64| ms(*every_ms as f64);
    let name = effect.name().replace('_', " ");
    match effect {
        Effect::Error { status } => format!("error {status}"),
        Effect::Latency { delay: by } => format!("latency {}", delay(by)),
        Effect::SlowBody { bytes_per_s } => format!("{name}, {bytes_per_s} bytes/s"),
        Effect::Lock { hold_ms } => format!("lock held {}", ms(*hold_ms)),
        Effect::BrownOut { delay: by, errors, capacity, ramp_ms } => format!(
            "brown-out over {}: {}, {} errors, {capacity} at a time",
            each(ramp_ms),
            delay(by),
            format_ratio(*errors)
        ),
        Effect::Starve { connections } => format!("{connections} connections taken"),
        Effect::Memory { mib, over_ms } => format!("{mib} MiB of memory taken over {}", each(over_ms)),
        Effect::Cpu { cores } => format!("{cores} processors kept busy"),
        Effect::CpuLimit { cores } => format!("limited to {cores} processors"),
        Effect::Skew { by_ms } => {
            let sign = if *by_ms < 0 { "-" } else { "+" };
            format!("clock {sign}{}", ms(by_ms.unsigned_abs() as f64))
        }
        Effect::Descriptors { left } => format!("{left} file descriptors left"),
        Effect::DiskFull { left_mib } => format!("disk full but for {left_mib} MiB"),
        Effect::SlowDisk { writers } => format!("disk kept busy by {writers} writers"),
        Effect::RowLock { table, rows } => format!("{rows} rows of {table} locked"),
        Effect::SlowQueries { sessions } => format!("{sessions} slow queries at a time"),
        Effect::TerminateBackends { every_ms } => format!("backends terminated every {}", each(every_ms)),
        Effect::Failover { replica } => format!("failover to {replica}"),
        Effect::Evict { keys, every_ms } => format!("{keys} keys evicted every {}", each(every_ms)),
        Effect::Toxic { toxic } => match toxic.get("type").and_then(serde_json::Value::as_str) {
            Some(kind) => format!("toxic {kind}"),
            None => name,
        },
        _ => name,
    }
}

/// `+20ms`, `+5ms to +20ms`, `p50 +5ms, p99 +200ms`.
fn delay(delay: &Delay) -> String {
    let ms = |ms: f64| format!("+{}", format_seconds(ms / 1e3));
    match delay {
        Delay::Fixed { ms: fixed } => ms(*fixed),
        Delay::Uniform { min_ms, max_ms } => format!("{} to {}", ms(*min_ms), ms(*max_ms)),
        Delay::Curve { points } => {
            let points = points.iter().map(|(q, d)| format!("p{} {}", trimmed(q * 100.0, 4), ms(*d)));
            points.collect::<Vec<_>>().join(", ")
        }
        Delay::LogNormal { p50_ms, p99_ms } => format!("lognormal p50 {}, p99 {}", ms(*p50_ms), ms(*p99_ms)),
        Delay::Pareto { min_ms, alpha, max_ms } => {
            format!("Pareto {} to {}, alpha {alpha}", ms(*min_ms), ms(*max_ms))
        }
    }
}
