//! Response-time percentiles over time, on a log axis, with the SLO lines.

use squall_record::latency::Quantile;

use crate::charts::axis::Axis;
use crate::charts::chart::Table;
use crate::charts::palette::{BLUE, Dash, GREEN, ORANGE, PURPLE, Pen, SKY, VERMILION};
use crate::charts::plot::{Drawn, Key, Sheet};
use crate::charts::timeline::{timeline, values};
use crate::format::{self, NONE};
use crate::report::Report;
use crate::series::Slot;

/// The percentiles of [`Slot::response`] with their pens.
const LINES: [(&str, Pen); 5] = [
    ("p50", Pen::new(GREEN, Dash::Solid, 2)),
    ("p90", Pen::new(SKY, Dash::Dashed, 2)),
    ("p99", Pen::new(BLUE, Dash::Solid, 2)),
    ("p99.9", Pen::new(ORANGE, Dash::Mixed, 2)),
    ("max", Pen::new(VERMILION, Dash::Dotted, 2)),
];
const SLO: Pen = Pen::new(PURPLE, Dash::Dashed, 2);

pub(crate) fn draw(report: &Report, sheet: &Sheet<'_, '_>) -> Drawn {
    let mut keys: Vec<Key> = LINES.iter().map(|(name, pen)| Key::Line(*pen, (*name).to_owned())).collect();
    let promised: Vec<f64> = report.plan.slos.iter().filter_map(|s| s.under_ms).collect();
    if !promised.is_empty() {
        keys.push(Key::Line(SLO, "SLO".into()));
    }
    keys.push(Key::Note(format!("n = {} timed requests", format::count(timed(report)))));
    sheet.legend(&keys)?;

    let drawn = report.series.slots.iter().filter_map(|s| s.response).flatten().map(Quantile::ms);
    let (mut lo, mut hi) = (f64::INFINITY, 0.0f64);
    for ms in drawn.chain(promised.iter().copied()) {
        (lo, hi) = (lo.min(ms), hi.max(ms));
    }
    let mut plot = timeline(sheet, report, Axis::log("response time (log scale)", lo, hi, format::ms_tick))?;
    for (i, (_, pen)) in LINES.iter().enumerate() {
        plot.line(values(report, move |s| s.response.map(|r| r[i].ms())), *pen)?;
    }
    for ms in promised {
        plot.level(ms, &format!("SLO {}", format::ms(ms)), SLO)?;
    }
    Ok(())
}

fn timed(report: &Report) -> u64 {
    report.series.slots.iter().flat_map(|s| &s.heat).sum()
}

pub(crate) fn describe(report: &Report) -> String {
    let r = &report.summary.latency_ms.response;
    format!(
        "Percentiles of the response time, measured from the intended instant, for each {} of the run. \
         Over the measured phases p50 is {}, p99 {} and the maximum {}.",
        if report.series.slot_s == 1 { "second".to_owned() } else { format!("{} s", report.series.slot_s) },
        format::latency(r, "p50", r.p50),
        format::latency(r, "p99", r.p99),
        format::latency(r, "max", r.max)
    )
}

pub(crate) fn table(report: &Report) -> Table {
    let mut headers = vec!["second".to_owned()];
    headers.extend(LINES.iter().map(|(name, _)| (*name).to_owned()));
    headers.push("n".to_owned());
    let row = |s: &Slot| {
        let mut row = vec![s.start_s.to_string()];
        match s.response {
            Some(r) => row.extend(r.map(|q| q.to_string())),
            None => row.extend(LINES.iter().map(|_| NONE.to_owned())),
        }
        row.push(s.heat.iter().sum::<u64>().to_string());
        row
    };
    Table { headers, rows: report.series.slots.iter().map(row).collect() }
}
