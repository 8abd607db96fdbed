//! The good share of what was settled, over time.

use crate::charts::axis::Axis;
use crate::charts::chart::Table;
use crate::charts::palette::{Dash, GREEN, PURPLE, Pen};
use crate::charts::plot::{Drawn, Key, Sheet};
use crate::charts::timeline::{end_s, held, timeline};
use crate::format;
use crate::report::Report;

const GOOD: Pen = Pen::new(GREEN, Dash::Solid, 2);
const OBJECTIVE: Pen = Pen::new(PURPLE, Dash::Dashed, 2);

fn objective(report: &Report) -> Option<f64> {
    report.summary.availability.budget.as_ref().map(|b| b.target)
}

pub(crate) fn draw(report: &Report, sheet: &Sheet<'_, '_>) -> Drawn {
    let objective = objective(report);
    let mut keys = vec![Key::Line(GOOD, "good (ok + declined) of all that ended".into())];
    if objective.is_some() {
        keys.push(Key::Line(OBJECTIVE, "objective".into()));
    }
    keys.push(Key::Note(format!(
        "n = {}",
        format::count(report.series.slots.iter().map(|s| s.level.total).sum())
    )));
    sheet.legend(&keys)?;
    let worst =
        report.series.slots.iter().filter_map(|s| s.level.good_share()).chain(objective).fold(1.0, f64::min);
    // An axis from zero hides a dip of a per mille; one that always zooms makes it a disaster.
    let floor = [0.999, 0.99, 0.9].into_iter().find(|f| worst > *f).unwrap_or(0.0);
    let y = Axis::linear("availability (%)", floor * 100.0, 100.0, 5, |v| {
        format!("{} %", (v * 1000.0).round() / 1000.0)
    });
    let mut plot = timeline(sheet, report, y)?;
    if let Some(objective) = objective {
        plot.line(objective_line(report, objective), OBJECTIVE)?;
    }
    plot.line(held(report, |s| s.level.good_share().map(|g| g * 100.0)), GOOD)
}

fn objective_line(report: &Report, objective: f64) -> [(f64, Option<f64>); 2] {
    [(0.0, Some(objective * 100.0)), (end_s(report), Some(objective * 100.0))]
}

pub(crate) fn describe(report: &Report) -> String {
    let worst = report
        .series
        .slots
        .iter()
        .filter_map(|s| s.level.good_share().map(|g| (g, s.start_s)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    match worst {
        Some((good, at)) if good < 1.0 => format!(
            "The share of requests that ended well, among all that ended in each {}; a second of silence counts as none. \
             The worst was {} at second {at}.",
            if report.series.slot_s == 1 {
                "second".to_owned()
            } else {
                format!("{} s", report.series.slot_s)
            },
            format::percent(good, 1.0)
        ),
        _ => "Every request that ended in any second ended well.".to_owned(),
    }
}

pub(crate) fn table(report: &Report) -> Table {
    let rows = report
        .series
        .slots
        .iter()
        .map(|s| {
            vec![
                s.start_s.to_string(),
                format::percent_or_none(s.level.good_share(), 1.0),
                s.level.bad.to_string(),
                s.level.total.to_string(),
            ]
        })
        .collect();
    Table { headers: ["second", "availability", "bad", "ended"].map(str::to_owned).to_vec(), rows }
}
