//! `[[fault]]`: what goes wrong, on the time axis of the phases.

use std::time::Duration;

use squall_record::fault::{Delay, Effect, FaultSpec};

use super::phase::{Stretch, Timeline};
use super::scalar::{Names, duration, duration_within, ratio};
use crate::error::{did_you_mean, tick};
use crate::file::scalar::{At, DurationText};
use crate::file::tables::{Fault, FaultKind};
use crate::findings::Findings;
use crate::plan::{FaultPlan, TargetPlan};
use crate::units::duration::format_duration;
use crate::units::number::scaled;

/// The most faults of a run.
pub const MAX_FAULTS: usize = 32;
/// The longest injected delay.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// The longest fault: as long as a run can be.
const MAX_FAULT: Duration = Duration::from_secs(super::MAX_RUN_S);

pub(super) fn lower(
    file: &[At<Fault>],
    timeline: &Timeline,
    target: Option<&TargetPlan>,
    findings: &mut Findings,
) -> Vec<FaultPlan> {
    let Some(first) = file.first() else { return Vec::new() };
    let elsewhere = match target {
        Some(TargetPlan::Url { .. }) => Some("which a target.url is not; remove the faults or the url"),
        Some(TargetPlan::Compose { .. }) => Some(
            "and those of a stack cannot be reached; remove the faults, or load target.system = \"reference\"",
        ),
        Some(TargetPlan::Reference(_)) | None => None,
    };
    if let Some(why) = elsewhere {
        let what = format!("fault {} acts inside the reference service, {why}", tick(&first.name));
        findings.add(first.span(), what);
    }
    if let Some(beyond) = file.get(MAX_FAULTS) {
        findings.add(beyond.span(), format!("there are more than {MAX_FAULTS} faults"));
    }
    let mut names = Names::new("fault");
    file.iter()
        .take(MAX_FAULTS)
        .filter_map(|typed| {
            names.add(&typed.name, findings);
            let what = format!("fault {}:", tick(&typed.name));
            let effect = effect(typed, &what, findings);
            let fraction = fraction(typed, &what, findings);
            let (start, end) = window(typed, timeline, &what, findings)?;
            let fault = FaultSpec {
                name: typed.name.to_string(),
                point: typed.point,
                effect: effect?,
                fraction: fraction?,
            };
            Some(FaultPlan { fault, start_s: start.as_secs_f64(), end_s: end.as_secs_f64() })
        })
        .collect()
}

fn fraction(typed: &Fault, what: &str, findings: &mut Findings) -> Option<f64> {
    let Some(fraction) = &typed.fraction else { return Some(1.0) };
    let share = ratio(fraction, format_args!("{what} fraction"), findings)?;
    if share == 0.0 {
        findings
            .add(fraction.span(), format!("{what} fraction 0 hits no request; raise it or remove the fault"));
        return None;
    }
    Some(share)
}

/// When it acts.
fn window(
    typed: &At<Fault>,
    timeline: &Timeline,
    what: &str,
    findings: &mut Findings,
) -> Option<(Duration, Duration)> {
    let lasts =
        typed.lasts.as_ref().map(|d| duration_within(d, MAX_FAULT, format_args!("{what} for"), findings));
    let (start, default_end) = match (&typed.at, &typed.phase) {
        (Some(at), None) => {
            if let Some(after) = &typed.after {
                findings.add(
                    after.span(),
                    format!("{what} after counts from a phase's beginning; name the phase, or add it to at"),
                );
            }
            (duration(at, format_args!("{what} at"), findings)?, None)
        }
        (None, Some(name)) => {
            let stretch = stretch(name, timeline, what, findings)?;
            let after = match &typed.after {
                Some(after) => duration(after, format_args!("{what} after"), findings)?,
                None => Duration::ZERO,
            };
            (stretch.start + after, Some(stretch.end))
        }
        _ => {
            findings.add(typed.span(), format!("{what} it needs either at or phase, to say when it begins"));
            return None;
        }
    };
    let end = match (lasts, default_end) {
        (Some(lasts), _) => start + lasts?,
        (None, Some(end)) => end,
        (None, None) => {
            findings.add(typed.span(), format!("{what} it needs for, to say how long it lasts"));
            return None;
        }
    };
    if start >= end || end > timeline.end {
        if timeline.complete {
            let (start, end, run) =
                (format_duration(start), format_duration(end), format_duration(timeline.end));
            findings.add(
                typed.span(),
                format!("{what} its window {start} to {end} does not lie within the run, 0s to {run}; move or shorten it"),
            );
        }
        return None;
    }
    Some((start, end))
}

fn stretch<'a>(
    name: &At<String>,
    timeline: &'a Timeline,
    what: &str,
    findings: &mut Findings,
) -> Option<&'a Stretch> {
    let found = timeline.stretches.iter().find(|s| s.name == **name);
    if found.is_none() {
        let known = || timeline.stretches.iter().map(|s| s.name.as_str());
        let hint = did_you_mean(name, known());
        let all = known().take(20).collect::<Vec<_>>().join(", ");
        findings.add(name.span(), format!("{what} there is no phase {}{hint} (known: {all})", tick(name)));
    }
    found
}

/// What it does; keys of another kind are told.
fn effect(typed: &Fault, what: &str, findings: &mut Findings) -> Option<Effect> {
    let latency_keys = [
        ("delay", typed.delay.as_ref().map(At::span)),
        ("min", typed.min.as_ref().map(At::span)),
        ("max", typed.max.as_ref().map(At::span)),
        ("percentiles", typed.percentiles.as_ref().map(At::span)),
    ];
    let error_keys = [("status", typed.status.as_ref().map(At::span))];
    let kind = *typed.kind;
    let mut foreign = |keys: &[(&str, Option<std::ops::Range<usize>>)], of: &str| {
        for (key, span) in keys {
            if let Some(span) = span {
                findings.add(
                    span.clone(),
                    format!("{what} {key} is of kind = \"{of}\"; change the kind or remove it"),
                );
            }
        }
    };
    if kind != FaultKind::Latency {
        foreign(&latency_keys, "latency");
    }
    if kind != FaultKind::Error {
        foreign(&error_keys, "error");
    }
    match kind {
        FaultKind::Hang => Some(Effect::Hang),
        FaultKind::Error => {
            let key = format!("{what} status");
            let status = super::scalar::within(typed.status.as_ref(), 503, 400..=599, &key, findings)?;
            Some(Effect::Error { status })
        }
        FaultKind::Latency => Some(Effect::Latency { delay: delay(typed, what, findings)? }),
    }
}

fn delay(typed: &Fault, what: &str, findings: &mut Findings) -> Option<Delay> {
    let mut ms = |text: &At<DurationText>, key: &str| {
        let d = duration(text, format_args!("{what} {key}"), findings)?;
        if d > MAX_DELAY {
            findings.add(text.span(), format!("{what} {key} {} is above the limit, 10m", tick(text)));
            return None;
        }
        Some(d.as_secs_f64() * 1e3)
    };
    match (&typed.delay, &typed.min, &typed.max, &typed.percentiles) {
        (Some(fixed), None, None, None) => Some(Delay::Fixed { ms: ms(fixed, "delay")? }),
        (None, Some(min), Some(max), None) => {
            let (min_ms, max_ms) = (ms(min, "min"), ms(max, "max"));
            let (min_ms, max_ms) = (min_ms?, max_ms?);
            if min_ms > max_ms {
                findings.add(
                    min.span(),
                    format!("{what} min {} is above max {}; swap them", tick(min), tick(max)),
                );
                return None;
            }
            Some(Delay::Uniform { min_ms, max_ms })
        }
        (None, None, None, Some(curve)) => {
            let mut points = Vec::new();
            for (key, value) in curve.iter() {
                let q = key
                    .strip_prefix('p')
                    .and_then(|n| scaled(&n.replace('_', "."), -2))
                    .filter(|q| *q <= 1.0);
                let delay_ms = ms(value, key);
                match q {
                    Some(q) => points.push((q, delay_ms?, key)),
                    None => {
                        findings.add(
                            key.span(),
                            format!("{what} {} is not a percentile; write p50, p99 or p99_9", tick(key)),
                        );
                        return None;
                    }
                }
            }
            rising(points, curve.span(), what, findings)
        }
        _ => {
            findings.add(
                typed.kind.span(),
                format!("{what} latency needs exactly one of delay, min with max, and percentiles"),
            );
            None
        }
    }
}

/// The curve through `points`: a higher percentile never waits less.
fn rising(
    mut points: Vec<(f64, f64, &At<String>)>,
    span: std::ops::Range<usize>,
    what: &str,
    findings: &mut Findings,
) -> Option<Delay> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    if points.is_empty() {
        findings
            .add(span, format!("{what} percentiles is empty; write {{ p50 = \"5ms\", p99 = \"200ms\" }}"));
        return None;
    }
    if let Some(pair) = points.windows(2).find(|w| w[0].0 >= w[1].0 || w[0].1 > w[1].1) {
        findings.add(
            pair[1].2.span(),
            format!(
                "{what} {} must be a higher percentile than {} and wait no less",
                tick(pair[1].2),
                tick(pair[0].2)
            ),
        );
        return None;
    }
    Some(Delay::Curve { points: points.into_iter().map(|(q, ms, _)| (q, ms)).collect() })
}
