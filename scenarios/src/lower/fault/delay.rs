//! How long an injected delay lasts.

use std::time::Duration;

use squall_record::fault::Delay;

use super::super::scalar::{duration, within};
use crate::error::tick;
use crate::file::faults::Fault;
use crate::file::scalar::{At, DurationText};
use crate::findings::Findings;
use crate::units::number::scaled;

/// The longest injected delay.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// What a Pareto delay has when nothing else is typed.
const PARETO_ALPHA: f64 = 1.5;
const PARETO_MAX_MS: f64 = 30_000.0;

/// How long a delay of it lasts.
pub(super) fn delay(typed: &Fault, what: &str, findings: &mut Findings) -> Option<Delay> {
    let mut ms = |text: &At<DurationText>, key: &str| {
        let d = duration(text, format_args!("{what} {key}"), findings)?;
        if d > MAX_DELAY {
            findings.add(text.span(), format!("{what} {key} {} is above the limit, 5m", tick(text)));
            return None;
        }
        Some(d.as_secs_f64() * 1e3)
    };
    let shapes = (&typed.delay, &typed.min, &typed.max, &typed.percentiles, &typed.lognormal, &typed.pareto);
    match shapes {
        (Some(fixed), None, None, None, None, None) => Some(Delay::Fixed { ms: ms(fixed, "delay")? }),
        (None, Some(min), Some(max), None, None, None) => {
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
        (None, None, None, Some(curve), None, None) => {
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
        (None, None, None, None, Some(law), None) => {
            let (p50_ms, p99_ms) = (ms(&law.p50, "p50"), ms(&law.p99, "p99"));
            let (p50_ms, p99_ms) = (p50_ms?, p99_ms?);
            if p50_ms <= 0.0 || p50_ms > p99_ms {
                findings.add(
                    law.span(),
                    format!("{what} lognormal needs a p50 above zero and a p99 that is no shorter"),
                );
                return None;
            }
            Some(Delay::LogNormal { p50_ms, p99_ms })
        }
        (None, None, None, None, None, Some(law)) => {
            let min_ms = ms(&law.min, "min");
            let max_ms = law.max.as_ref().map_or(Some(PARETO_MAX_MS), |max| ms(max, "max"));
            let key = format!("{what} alpha");
            let alpha = within(law.alpha.as_ref(), PARETO_ALPHA, 0.1..=100.0, &key, findings);
            let (min_ms, max_ms, alpha) = (min_ms?, max_ms?, alpha?);
            if min_ms <= 0.0 || min_ms > max_ms {
                findings.add(
                    law.span(),
                    format!("{what} pareto needs a min above zero and a max that is no shorter"),
                );
                return None;
            }
            Some(Delay::Pareto { min_ms, alpha, max_ms })
        }
        _ => {
            findings.add(
                typed.kind.span(),
                format!(
                    "{what} it needs exactly one of delay, min with max, percentiles, lognormal and pareto"
                ),
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
