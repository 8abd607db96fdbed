//! `load.arrivals` and `load.bursts`: how arrivals are spaced.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::scalar::{duration_within, ratio, within};
use crate::bursts::Bursts;
use crate::file::scalar::At;
use crate::file::tables::{ArrivalsText, BurstsTable, Load};
use crate::findings::Findings;
use crate::plan::{Arrivals, LoadPlan};
use crate::units::duration::format_duration;
use crate::units::number::trimmed;
use crate::units::rate::format_rate;
use crate::units::ratio::format_ratio;

/// The highest rate in a burst over the planned rate.
pub const MAX_BURST_FACTOR: f64 = 1000.0;
/// The shares of time that bursts may take.
pub const BURST_SHARES: RangeInclusive<f64> = 0.001..=0.9;
/// The shortest mean length of a burst: a worker that waits for a rare arrival walks over all the
/// bursts until then.
pub const MIN_BURST: Duration = Duration::from_millis(10);
/// The longest mean length of a burst.
pub const MAX_BURST: Duration = Duration::from_secs(3600);

/// `load.arrivals` with `load.bursts`.
pub(super) fn arrivals(file: &Load, findings: &mut Findings) -> Option<Arrivals> {
    let arrivals = match file.arrivals {
        Some(ArrivalsText::Bursty) => {
            return bursts(file.bursts.as_ref(), findings).map(Arrivals::Bursty);
        }
        Some(ArrivalsText::Uniform) => Arrivals::Uniform,
        Some(ArrivalsText::Poisson) | None => Arrivals::Poisson,
    };
    if let Some(typed) = &file.bursts {
        findings.add(
            typed.span(),
            "load.bursts does nothing without load.arrivals = \"bursty\"; add it or remove the bursts",
        );
        return None;
    }
    Some(arrivals)
}

fn bursts(file: Option<&At<BurstsTable>>, findings: &mut Findings) -> Option<Bursts> {
    let none = BurstsTable::default();
    let typed = file.map_or(&none, |t| t);
    let factor = within(typed.factor.as_ref(), 4.0, 1.0..=MAX_BURST_FACTOR, "load.bursts.factor", findings);
    let share = match &typed.share {
        None => Some(0.1),
        Some(t) => ratio(t, "load.bursts.share", findings).and_then(|share| {
            if BURST_SHARES.contains(&share) {
                return Some(share);
            }
            let (least, most) = (format_ratio(*BURST_SHARES.start()), format_ratio(*BURST_SHARES.end()));
            findings.add(
                t.span(),
                format!("load.bursts.share {} is outside its range, {least} to {most}", format_ratio(share)),
            );
            None
        }),
    };
    let mean = match &typed.mean {
        None => Some(Duration::from_secs(1)),
        Some(t) => duration_within(t, MAX_BURST, "load.bursts.mean", findings).and_then(|mean| {
            if mean >= MIN_BURST {
                return Some(mean);
            }
            let least = format_duration(MIN_BURST);
            findings.add(t.span(), format!("load.bursts.mean `{}` is below the limit, {least}", &***t));
            None
        }),
    };
    let (factor, share, mean_s) = (factor?, share?, mean?.as_secs_f64());
    if let Some(typed) = file
        && factor * share > 1.0
    {
        findings.add(
            typed.span(),
            format!(
                "load.bursts: {} times the rate for {} of the time is more than the whole load; \
                 factor times share is at most 1, so lower one of them",
                trimmed(factor, 4),
                format_ratio(share)
            ),
        );
        return None;
    }
    Some(Bursts { factor, share, mean_s })
}

/// Tells when the bursts of `load` lift `peak_rps`, which is allowed by itself, above the limit.
pub(super) fn check_peak(
    file: Option<&Load>,
    load: &LoadPlan,
    peak_rps: f64,
    max_rate_rps: f64,
    findings: &mut Findings,
) {
    let Arrivals::Bursty(b) = load.arrivals else { return };
    let burst_rps = peak_rps * b.factor;
    if peak_rps <= max_rate_rps && burst_rps > max_rate_rps {
        let span = file.and_then(|l| l.bursts.as_ref()).map_or(0..0, At::span);
        findings.add(
            span,
            format!(
                "load.bursts lift the highest rate {} to {}, above load.max_rate {}; \
                 raise the limit, or lower load.bursts.factor or the rate",
                format_rate(peak_rps),
                format_rate(burst_rps),
                format_rate(max_rate_rps)
            ),
        );
    }
}
