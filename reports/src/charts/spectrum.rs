//! How response and service time grow towards the rare: x is "one in so many requests".

use crate::charts::axis::Axis;
use crate::charts::chart::Table;
use crate::charts::palette::{BLUE, Dash, ORANGE, PURPLE, Pen};
use crate::charts::plot::{Drawn, Key, Sheet};
use crate::format;
use crate::report::Report;

const RESPONSE: Pen = Pen::new(BLUE, Dash::Solid, 2);
const SERVICE: Pen = Pen::new(ORANGE, Dash::Dashed, 2);
const SLO: Pen = Pen::new(PURPLE, Dash::Dashed, 2);

/// `1/(1 − p)` as the percentile: 100 is 99 %.
fn percentile_label(one_in: f64) -> String {
    if one_in < 1.5 { "0 %".to_owned() } else { format!("{} %", trimmed(100.0 - 100.0 / one_in)) }
}

fn trimmed(percent: f64) -> f64 {
    (percent * 1e7).round() / 1e7
}

pub(crate) fn draw(report: &Report, sheet: &Sheet<'_, '_>) -> Drawn {
    let (response, service) = (&report.response_spectrum, &report.service_spectrum);
    let mut keys =
        vec![Key::Line(RESPONSE, "response time".into()), Key::Line(SERVICE, "service time".into())];
    let promised: Vec<f64> = report.plan.slos.iter().filter_map(|s| s.under_ms).collect();
    if !promised.is_empty() {
        keys.push(Key::Line(SLO, "SLO".into()));
    }
    keys.push(Key::Note(format!("n = {} timed requests", format::count(response.n))));
    sheet.legend(&keys)?;

    let all = || response.points.iter().chain(&service.points);
    let rarest = all().map(|p| p.0).fold(10.0, f64::max);
    let lo = all().map(|p| p.1).chain(promised.iter().copied()).fold(f64::INFINITY, f64::min);
    let hi = all().map(|p| p.1).chain(promised.iter().copied()).fold(0.0, f64::max);
    let ticks = [1.0, 2.0, 4.0].into_iter().chain((1..=9).map(|d| 10f64.powi(d))).collect();
    let x = Axis::log("percentile", 1.0, rarest, percentile_label).with_ticks(ticks);
    let y = Axis::log("latency (log scale)", lo, hi, format::ms_tick);
    let mut plot = sheet.plot(x, y, 0)?;
    plot.line(service.points.iter().map(|p| (p.0, Some(p.1))), SERVICE)?;
    plot.line(response.points.iter().map(|p| (p.0, Some(p.1))), RESPONSE)?;
    for ms in promised {
        plot.level(ms, &format!("SLO {}", format::ms(ms)), SLO)?;
    }
    Ok(())
}

pub(crate) fn describe(_report: &Report) -> String {
    "Response time (from the intended instant) and service time (from the sending) at every percentile, the rare ones \
     spread out. Where the two part, requests waited before they were sent."
        .to_owned()
}

pub(crate) fn table(report: &Report) -> Table {
    let l = &report.summary.latency_ms;
    let row = |name: &str, key: &str, response: Option<f64>, service: Option<f64>| {
        vec![
            name.to_owned(),
            format::latency(&l.response, key, response),
            format::latency(&l.service, key, service),
        ]
    };
    let rows = vec![
        row("p50", "p50", l.response.p50, l.service.p50),
        row("p90", "p90", l.response.p90, l.service.p90),
        row("p95", "p95", l.response.p95, l.service.p95),
        row("p99", "p99", l.response.p99, l.service.p99),
        row("p99.9", "p99_9", l.response.p99_9, l.service.p99_9),
        row("max", "max", l.response.max, l.service.max),
        row("mean", "mean", l.response.mean, l.service.mean),
    ];
    Table { headers: ["figure", "response", "service"].map(str::to_owned).to_vec(), rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_read_as_percentiles() {
        let labels: Vec<String> = [1.0, 2.0, 10.0, 1000.0, 1e6].into_iter().map(percentile_label).collect();
        assert_eq!(labels, ["0 %", "50 %", "90 %", "99.9 %", "99.9999 %"]);
    }
}
