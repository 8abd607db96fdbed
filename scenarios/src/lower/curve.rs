//! The shapes of a phase: from what was typed to straight lines.
//!
//! A shape has a time of its own: a day has 24 hours however short the phase is. The phase plays
//! `span` of it from `offset` on, squeezed or stretched into its `duration`. Levels are rates, but in
//! the later terms of a product, where they are factors.
//!
//! # Layout
//!
//! * `shape`: one shape, read.
//! * `form`: shapes as mathematics, and how closely straight lines follow them.
//! * `days`: days, weeks, years.
//! * `export`: curves from CSV files.

mod days;
mod export;
mod form;
mod shape;

pub use export::MAX_CURVE_BYTES;
pub use shape::{MAX_DEPTH, MAX_FACTOR, MAX_TERMS};

use std::path::Path;
use std::time::Duration;

use super::scalar::{duration, duration_within};
use crate::curve::{Curve, CurvePoint, MAX_CURVE_POINTS};
use crate::file::scalar::{At, DurationText, RateText};
use crate::file::tables::{Phase, Steps, Trace};
use crate::findings::Findings;
use crate::units::duration::{MAX_DURATION, format_seconds, parse_duration};
use crate::units::rate::format_rate;
use form::Window;
use shape::{Reader, Shape, Unit, scaled_rps, typed_shapes};

/// What holds for every phase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Where files lie that are named by relative paths.
    pub(super) folder: &'a Path,
    /// `load.max_rate`
    pub(super) max_rate_rps: f64,
    /// What rates are multiplied by.
    pub(super) scale: f64,
}

/// The one shape of a phase.
#[derive(Debug)]
pub(super) enum PhaseShape<'a> {
    /// Becomes several phases.
    Steps(&'a Steps),
    /// Becomes one.
    Curve(Shape<'a>),
    /// Becomes one without a curve.
    Trace(&'a At<Trace>),
}

/// The names of all shapes, for messages.
const SHAPES: &str =
    "rate, ramp, steps, spike, pulse, sine, daily, weekly, seasonal, curve, sum, product and trace";

/// The one shape of `typed`; told when there is none or more than one.
pub(super) fn shape<'a>(typed: &'a At<Phase>, what: &str, findings: &mut Findings) -> Option<PhaseShape<'a>> {
    let mut shapes = typed_shapes!(typed, Shape::Rate);
    match (&typed.steps, &typed.trace, shapes.len()) {
        (Some(stairs), None, 0) => {
            reject_own_time(typed, "steps", what, findings);
            Some(PhaseShape::Steps(stairs))
        }
        (None, Some(trace), 0) => {
            reject_own_time(typed, "trace", what, findings);
            if let Some(scale) = &typed.scale {
                findings.add(
                    scale.span(),
                    format!(
                        "{what} scale changes nothing about trace, whose arrivals were recorded; remove it"
                    ),
                );
            }
            Some(PhaseShape::Trace(trace))
        }
        (None, None, 1) => shapes.pop().map(|(key, shape)| {
            if matches!(shape, Shape::Rate(_) | Shape::Ramp(_)) {
                reject_own_time(typed, key, what, findings);
            }
            PhaseShape::Curve(shape)
        }),
        (None, None, 0) => {
            findings.add(typed.span(), format!("{what} there is no load; add one of {SHAPES}"));
            None
        }
        _ => {
            let mut keys: Vec<&str> = shapes.iter().map(|s| s.0).collect();
            keys.extend(typed.steps.as_ref().map(|_| "steps"));
            keys.extend(typed.trace.as_ref().map(|_| "trace"));
            findings.add(typed.span(), format!("{what} {} exclude each other; keep one", keys.join(" and ")));
            None
        }
    }
}

/// A shape without a time of its own cannot be squeezed.
fn reject_own_time(typed: &Phase, key: &str, what: &str, findings: &mut Findings) {
    for (name, value) in [("span", &typed.span), ("offset", &typed.offset)] {
        if let Some(value) = value {
            findings.add(
                value.span(),
                format!("{what} {name} changes nothing about {key}, which always fills its phase; remove it"),
            );
        }
    }
}

/// A rate in requests per second, scaled, and not above the limit.
pub(super) fn rate_rps(
    typed: &At<RateText>,
    key: &str,
    what: &str,
    rules: &Rules<'_>,
    findings: &mut Findings,
) -> Option<f64> {
    scaled_rps(typed, typed.span(), &format!("{what} {key}"), rules, true, findings)
}

/// The curve of a phase that lasts `length`.
pub(super) fn lower(
    typed: &At<Phase>,
    shape: &Shape<'_>,
    length: Duration,
    what: &str,
    rules: &Rules<'_>,
    findings: &mut Findings,
) -> Option<Curve> {
    let mut reader = Reader { what, rules, findings };
    let shaped = reader.shape(shape, "", Unit::Rate { limited: true }, 0);
    let given = |text: &Option<At<DurationText>>| text.as_ref().map(At::span);
    let span = typed
        .span
        .as_ref()
        .map(|t| duration_within(t, MAX_DURATION, format_args!("{what} span"), reader.findings));
    let offset = match &typed.offset {
        None => Some(Duration::ZERO),
        Some(t) => duration(t, format_args!("{what} offset"), reader.findings),
    };
    let shaped = shaped?;
    let from_s = offset?.as_secs_f64();
    let span_s = match span {
        Some(span) => span?.as_secs_f64(),
        // A file that is entered later has less left.
        None => shaped.ends_s.map(|end| end - from_s).or(shaped.own_s).unwrap_or(length.as_secs_f64()),
    };
    let window = Window { from_s, to_s: from_s + span_s };
    if let Some(end_s) = shaped.ends_s
        // Files hold decimals, so sums of them round.
        && (span_s <= 0.0 || window.to_s > end_s * (1.0 + 1e-9))
    {
        let at = given(&typed.span).or(given(&typed.offset)).unwrap_or(typed.span());
        findings.add(
            at,
            format!(
                "{what} the curve's file ends after {}, before offset and span do; shorten them",
                format_seconds(end_s)
            ),
        );
        return None;
    }
    if let Shape::Spike(s) = shape
        && parse_duration(&s.at).is_ok_and(|at| at.as_secs_f64() >= window.to_s)
    {
        let end = format_seconds(window.to_s);
        findings.add(
            s.at.span(),
            format!(
                "{what} spike.at `{}` is not before the shape's end, {end}; let it rise earlier",
                &**s.at
            ),
        );
        return None;
    }
    let Ok(lines) = shaped.form.trace(window) else {
        findings.add(
            typed.span(),
            format!(
                "{what} its curve needs more than {MAX_CURVE_POINTS} points over {}; \
                 shorten the span or the phase, or make periods longer",
                format_seconds(span_s)
            ),
        );
        return None;
    };
    let (length_s, last) = (length.as_secs_f64(), lines.len() - 1);
    let points: Vec<CurvePoint> = lines
        .iter()
        .enumerate()
        .map(|(i, (t, y))| {
            // The last point lies at the end whatever division makes of it.
            let share = if i == last { 1.0 } else { ((t - window.from_s) / window.span_s()).clamp(0.0, 1.0) };
            CurvePoint { at_s: share * length_s, rps: y.max(0.0) }
        })
        .collect();
    let curve = match Curve::new(points) {
        Ok(curve) => curve,
        Err(e) => {
            findings.add(typed.span(), format!("{what} {e}"));
            return None;
        }
    };
    let peak_rps = curve.peak_rps();
    // Rates that are typed as they are were looked at one by one; so sums and products are left.
    if peak_rps > rules.max_rate_rps * (1.0 + 1e-9) {
        let (peak, limit) = (format_rate(peak_rps), format_rate(rules.max_rate_rps));
        findings.add(
            typed.span(),
            format!("{what} its curve reaches {peak}, above load.max_rate {limit}; raise the limit or spread the load over agents"),
        );
        return None;
    }
    Some(curve)
}
