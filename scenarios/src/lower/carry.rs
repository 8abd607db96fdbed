//! `[load]`: how the load is carried.

use std::time::Duration;

use super::bursts;
use super::scalar::{duration, duration_within, rate_rps, within};
use crate::error::tick;
use crate::file::scalar::{At, DurationText};
use crate::file::tables::{HttpText, Load, TransportText};
use crate::findings::Findings;
use crate::plan::{Http, LoadPlan, Mode, TargetPlan, Transport};

/// The most keep-alive connections.
pub const MAX_CONNECTIONS: u32 = 10_000;
/// The most requests that a connection carries at once.
pub const MAX_PIPELINE: u32 = 64;
/// The most requests in flight or waiting for a connection.
pub const MAX_IN_FLIGHT: u32 = 1_000_000;
/// The longest timeout in milliseconds.
pub const MAX_TIMEOUT_MS: u64 = 60_000;
/// The longest that a worker polls before an arrival is due, or leaves its sockets alone, in
/// microseconds.
pub const MAX_FINE_US: u64 = 1_000;
/// The most worker threads.
pub const MAX_WORKERS: u32 = 64;

const DEFAULT_CONNECTIONS: u32 = 64;
const DEFAULT_IN_FLIGHT: u32 = 10_000;
const DEFAULT_TIMEOUT_MS: u64 = 2_000;
const DEFAULT_MAX_RATE_RPS: f64 = 100_000.0;

pub(super) fn lower(
    file: Option<&Load>,
    target: Option<&TargetPlan>,
    max_rate_rps: f64,
    findings: &mut Findings,
) -> Option<LoadPlan> {
    let none = Load::default();
    let file = file.unwrap_or(&none);
    let connections = within(
        file.connections.as_ref(),
        DEFAULT_CONNECTIONS,
        1..=MAX_CONNECTIONS,
        "load.connections",
        findings,
    );
    let max_in_flight = within(
        file.max_in_flight.as_ref(),
        DEFAULT_IN_FLIGHT,
        1..=MAX_IN_FLIGHT,
        "load.max_in_flight",
        findings,
    );
    let pipeline = within(file.pipeline.as_ref(), 1, 1..=MAX_PIPELINE, "load.pipeline", findings);
    let workers = within(file.workers.as_ref(), 1, 1..=MAX_WORKERS, "load.workers", findings);
    let timeout_ms = match &file.timeout {
        None => Some(DEFAULT_TIMEOUT_MS),
        Some(t) => duration_within(t, Duration::from_millis(MAX_TIMEOUT_MS), "load.timeout", findings)
            .and_then(|d| {
                // 60 000 ms at most: the cast cannot truncate.
                let ms = d.as_millis() as u64;
                if Duration::from_millis(ms) == d {
                    return Some(ms);
                }
                findings.add(t.span(), format!("load.timeout `{}` must be whole milliseconds", &***t));
                None
            }),
    };
    let spin_us = up_to_1ms(file.spin.as_ref(), "load.spin", "a longer one would only burn CPU", findings);
    let coalesce_us =
        up_to_1ms(file.coalesce.as_ref(), "load.coalesce", "later than that no run is VALID", findings);
    if let (Some(typed), Some(1..), Some(1..)) = (&file.coalesce, spin_us, coalesce_us) {
        findings.add(
            typed.span(),
            "load.coalesce saves the wake-ups that load.spin would have more of; remove one of them",
        );
    }
    let arrivals = bursts::arrivals(file, findings);
    let (connections, pipeline, max_in_flight, workers, timeout_ms, spin_us, coalesce_us, arrivals) =
        (connections?, pipeline?, max_in_flight?, workers?, timeout_ms?, spin_us?, coalesce_us?, arrivals?);
    // One of the two was typed when this holds, as it does not for the defaults.
    let typed = file.max_in_flight.as_ref().or(file.connections.as_ref());
    if let Some(typed) = typed
        && connections > max_in_flight
    {
        findings.add(
            typed.span(),
            format!(
                "load.connections {connections} is above load.max_in_flight {max_in_flight}: \
                 some could never be used; raise the limit or open fewer"
            ),
        );
    }
    if let Some(typed) = file.workers.as_ref().or(file.connections.as_ref())
        && workers > connections
    {
        findings.add(
            typed.span(),
            format!("load.workers {workers} is above load.connections {connections}: each worker needs its own; lower it"),
        );
    }
    let transport = transport(file, target, findings);
    if let (Some(typed), 2.., Transport::General { http }) = (&file.pipeline, pipeline, transport) {
        let instead = match http {
            Http::V1 => "set it to 1 and open more load.connections",
            Http::V2 => "set it to 1: an HTTP/2 connection carries many requests at once anyway",
        };
        findings.add(
            typed.span(),
            format!("load.pipeline {pipeline}: only the own transport pipelines, and this load needs the general one; {instead}"),
        );
    }
    Some(LoadPlan {
        arrivals,
        connections,
        pipeline,
        max_in_flight,
        timeout_ms,
        workers,
        max_rate_rps,
        mode: Mode::Open,
        spin_us,
        coalesce_us,
        transport,
    })
}

/// A duration of microseconds, 0 when absent. Unlike others, it may be zero.
fn up_to_1ms(typed: Option<&At<DurationText>>, key: &str, why: &str, findings: &mut Findings) -> Option<u64> {
    let Some(typed) = typed else { return Some(0) };
    let fine = duration(typed, key, findings)?;
    if fine > Duration::from_micros(MAX_FINE_US) {
        findings.add(typed.span(), format!("{key} {} is above the limit, 1ms: {why}", tick(typed)));
        return None;
    }
    Some(fine.as_micros() as u64)
}

/// What can carry the requests to `target`: the own transport unless it will not do.
fn transport(file: &Load, target: Option<&TargetPlan>, findings: &mut Findings) -> Transport {
    let http = match file.http.as_deref() {
        Some(HttpText::V2) => Http::V2,
        Some(HttpText::V1) | None => Http::V1,
    };
    let tls = matches!(target, Some(TargetPlan::Url { url, .. }) if url.starts_with("https:"));
    if let (Some(typed), Http::V2, Some(_)) = (&file.http, http, target.and_then(TargetPlan::service)) {
        findings.add(
            typed.span(),
            "load.http `2`: the reference service speaks HTTP/1.1; remove it, or load a target.url",
        );
    }
    match &file.transport {
        Some(typed) if **typed == TransportText::Own && (tls || http == Http::V2) => {
            let what = if tls { "TLS" } else { "HTTP/2" };
            findings.add(
                typed.span(),
                format!("load.transport `own` does not speak {what}; write `general`, or leave it out"),
            );
            Transport::Own
        }
        Some(typed) if **typed == TransportText::General => Transport::General { http },
        _ if tls || http == Http::V2 => Transport::General { http },
        _ => Transport::Own,
    }
}

/// `load.max_rate` in requests per second. What is wrong with it is told and the highest rate
/// there is stands in, so that no phase is blamed for it.
pub(super) fn max_rate_rps(file: Option<&Load>, findings: &mut Findings) -> f64 {
    match file.and_then(|l| l.max_rate.as_ref()) {
        None => DEFAULT_MAX_RATE_RPS,
        Some(typed) => rate_rps(typed, "load.max_rate", findings).unwrap_or(crate::units::rate::MAX_RATE_RPS),
    }
}
