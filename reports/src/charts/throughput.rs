//! Planned and achieved throughput over time, from zero.

use crate::charts::axis::Axis;
use crate::charts::chart::Table;
use crate::charts::palette::{BLUE, Dash, ORANGE, Pen};
use crate::charts::plot::{Drawn, Key, Sheet};
use crate::charts::timeline::{timeline, values};
use crate::format;
use crate::report::Report;
use crate::series::Slot;

const PLANNED: Pen = Pen::new(ORANGE, Dash::Dashed, 2);
const ACHIEVED: Pen = Pen::new(BLUE, Dash::Solid, 2);

fn planned(s: &Slot) -> f64 {
    s.counts.planned as f64 / f64::from(s.seconds.max(1))
}

fn achieved(s: &Slot) -> f64 {
    s.counts.completed() as f64 / f64::from(s.seconds.max(1))
}

pub(crate) fn draw(report: &Report, sheet: &Sheet<'_, '_>) -> Drawn {
    sheet.legend(&[
        Key::Line(PLANNED, "planned".into()),
        Key::Line(ACHIEVED, "achieved (completed)".into()),
        Key::Note(format!("n = {} planned arrivals", format::count(all_planned(report)))),
    ])?;
    let most = report.series.slots.iter().map(|s| planned(s).max(achieved(s))).fold(1.0, f64::max);
    let y =
        Axis::linear_up_to("requests per second", 0.0, most * 1.02, 5, |v| format::count(v.max(0.0) as u64));
    let mut plot = timeline(sheet, report, y)?;
    plot.line(values(report, |s| Some(planned(s))), PLANNED)?;
    plot.line(values(report, |s| Some(achieved(s))), ACHIEVED)
}

fn all_planned(report: &Report) -> u64 {
    report.series.slots.iter().map(|s| s.counts.planned).sum()
}

pub(crate) fn describe(report: &Report) -> String {
    let peak = report.series.slots.iter().map(achieved).fold(0.0, f64::max);
    format!(
        "Arrivals planned and requests completed per second, warm-up included. The highest rate achieved was {}.",
        format::rate(peak)
    )
}

pub(crate) fn table(report: &Report) -> Table {
    let headers = ["second", "planned/s", "achieved/s", "shed", "failed", "dropped", "late"];
    let rows = report
        .series
        .slots
        .iter()
        .map(|s| {
            let c = &s.counts;
            let mut row =
                vec![s.start_s.to_string(), format!("{:.0}", planned(s)), format!("{:.0}", achieved(s))];
            row.extend([c.shed, c.failed_total(), c.dropped, c.late].map(|n| n.to_string()));
            row
        })
        .collect();
    Table { headers: headers.map(str::to_owned).to_vec(), rows }
}
