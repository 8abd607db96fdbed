//! What the steps of a stepped run show: response time against load with the knee, throughput
//! against concurrency with the fitted law.

use squall_capacity::usl::Usl;

use crate::charts::axis::Axis;
use crate::charts::chart::Table;
use crate::charts::palette::{BLUE, Dash, GREEN, ORANGE, PURPLE, Pen, VERMILION};
use crate::charts::plot::{Drawn, Key, Sheet};
use crate::format::{self, NONE};
use crate::report::Report;
use crate::summary::StepSummary;

const P50: Pen = Pen::new(GREEN, Dash::Solid, 2);
const P99: Pen = Pen::new(BLUE, Dash::Solid, 2);
const KNEE: Pen = Pen::new(VERMILION, Dash::Dashed, 2);
const SLO: Pen = Pen::new(PURPLE, Dash::Dashed, 2);
const LAW: Pen = Pen::new(ORANGE, Dash::Dashed, 2);
/// Points of the fitted curve.
const CURVE_POINTS: u32 = 160;

fn rising(report: &Report) -> Vec<&StepSummary> {
    let mut steps: Vec<&StepSummary> = report.summary.capacity.steps.iter().collect();
    steps.sort_by(|a, b| a.offered_rps.total_cmp(&b.offered_rps));
    steps
}

fn thousands(v: f64) -> String {
    format::count(v.max(0.0).round() as u64)
}

pub(crate) fn draw_latency(report: &Report, sheet: &Sheet<'_, '_>) -> Drawn {
    let steps = rising(report);
    let c = &report.summary.capacity;
    let promised: Vec<f64> = report.plan.slos.iter().filter_map(|s| s.under_ms).collect();
    let mut keys = vec![Key::Line(P50, "p50".into()), Key::Line(P99, "p99".into())];
    if c.knee_rps.is_some() {
        keys.push(Key::Line(KNEE, "knee".into()));
    }
    if !promised.is_empty() {
        keys.push(Key::Line(SLO, "SLO".into()));
    }
    keys.push(Key::Note(format!("n = {} steps", steps.len())));
    sheet.legend(&keys)?;
    let times = || steps.iter().flat_map(|s| [s.p50_ms, s.p99_ms]).flatten().chain(promised.iter().copied());
    let lo = times().fold(f64::INFINITY, f64::min);
    let hi = times().fold(0.0, f64::max);
    let most = steps.iter().map(|s| s.offered_rps).fold(1.0, f64::max);
    let x = Axis::linear("offered load (requests per second)", 0.0, most * 1.05, 10, thousands);
    let (lo, hi) = if hi > 0.0 { (lo, hi) } else { (1.0, 10.0) };
    let mut plot = sheet.plot(x, Axis::log("response time (log scale)", lo, hi, format::ms_tick), 0)?;
    for ms in promised {
        plot.level(ms, &format!("SLO {}", format::ms(ms)), SLO)?;
    }
    if let Some(knee) = c.knee_rps {
        let at_least = if c.knee_reached == Some(false) { "≥ " } else { "" };
        plot.mark(knee, &format!("knee {at_least}{}", format::rate(knee)), KNEE)?;
    }
    for (pen, of) in
        [(P50, (|s: &StepSummary| s.p50_ms) as fn(&StepSummary) -> Option<f64>), (P99, |s| s.p99_ms)]
    {
        plot.line(steps.iter().map(|s| (s.offered_rps, of(s))), pen)?;
        let dots: Vec<(f64, f64)> = steps.iter().filter_map(|s| Some((s.offered_rps, of(s)?))).collect();
        plot.dots(&dots, pen.colour)?;
    }
    Ok(())
}

pub(crate) fn draw_scalability(report: &Report, sheet: &Sheet<'_, '_>) -> Drawn {
    let steps = rising(report);
    let usl = report.summary.capacity.usl.as_ref();
    let measured: Vec<(f64, f64)> = steps.iter().map(|s| (s.concurrency, s.throughput_rps)).collect();
    let widest = measured.iter().map(|p| p.0).fold(0.1, f64::max);
    // The peak is shown when it is measured or nearly so; far beyond, it would squeeze the data.
    let peak = usl.and_then(|u| u.peak_concurrency.zip(u.peak_rps)).filter(|(n, _)| *n <= 1.5 * widest);
    let mut keys = vec![Key::Area(BLUE, 1.0, "measured steps".into())];
    if let Some(u) = usl {
        let fit = u.r_squared.map_or_else(String::new, |r| format!(", R² {r:.3}"));
        keys.push(Key::Line(LAW, format!("universal scalability law{fit}")));
    }
    keys.push(Key::Note(format!("n = {} steps", steps.len())));
    sheet.legend(&keys)?;
    let right = peak.map_or(widest, |(n, _)| n.max(widest)) * 1.08;
    let curve: Vec<(f64, f64)> = usl
        .map(|u| Usl { gamma: u.gamma, alpha: u.alpha, beta: u.beta })
        .map(|law| {
            // Close together on the left, where the law bends.
            let at = |i: u32| right * (f64::from(i) / f64::from(CURVE_POINTS)).powi(2);
            (1..=CURVE_POINTS)
                .map(|i| (at(i), law.throughput(at(i))))
                .filter(|p| p.1.is_finite() && p.1 >= 0.0)
                .collect()
        })
        .unwrap_or_default();
    let most = measured.iter().chain(&curve).map(|p| p.1).fold(1.0, f64::max);
    let x = Axis::linear("concurrency (mean requests in service)", 0.0, right, 10, |v| {
        if v == v.trunc() { format!("{v:.0}") } else { format!("{v:.1}") }
    });
    let y = Axis::linear_up_to("good requests per second", 0.0, most * 1.02, 5, thousands);
    let mut plot = sheet.plot(x, y, 0)?;
    plot.line(curve.into_iter().map(|(n, x)| (n, Some(x))), LAW)?;
    if let Some((n, rps)) = peak {
        plot.mark(n, &format!("peak {} at {n:.1}", format::rate(rps)), KNEE)?;
    }
    plot.dots(&measured, BLUE)
}

pub(crate) fn describe_latency(report: &Report) -> String {
    let c = &report.summary.capacity;
    match (c.knee_rps, c.knee_reached) {
        (Some(knee), Some(false)) => {
            format!("Every step kept the promise: the knee lies at {} or above.", format::rate(knee))
        }
        (Some(knee), _) => format!(
            "The knee, the highest step that kept the promise before one broke it, is at {}.",
            format::rate(knee)
        ),
        (None, _) => "Already the lowest step broke the promise.".to_owned(),
    }
}

pub(crate) fn describe_scalability(report: &Report) -> String {
    let base = "Good requests per second of each step against the mean number of requests in service (Little's law).";
    match &report.summary.capacity.usl {
        Some(u) => format!(
            "{base} The curve is the fitted universal scalability law with α = {:.5} and β = {:.7}.",
            u.alpha, u.beta
        ),
        None => base.to_owned(),
    }
}

pub(crate) fn table(report: &Report) -> Table {
    let headers = ["step", "offered/s", "good/s", "concurrency", "p50", "p99", "available"];
    let time = |ms: Option<f64>| ms.map_or_else(|| NONE.to_owned(), format::ms);
    let rows = rising(report)
        .into_iter()
        .map(|s| {
            vec![
                s.phase.clone(),
                format!("{:.0}", s.offered_rps),
                format!("{:.0}", s.throughput_rps),
                format!("{:.2}", s.concurrency),
                time(s.p50_ms),
                time(s.p99_ms),
                format::percent(s.availability, 1.0),
            ]
        })
        .collect();
    Table { headers: headers.map(str::to_owned).to_vec(), rows }
}
