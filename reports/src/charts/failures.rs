//! What went wrong, by kind, stacked over time.

use plotters::style::RGBColor;
use squall_record::outcome::Failure;

use crate::charts::axis::Axis;
use crate::charts::chart::Table;
use crate::charts::palette::{BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SKY, VERMILION, YELLOW};
use crate::charts::plot::{Drawn, Key, Sheet};
use crate::charts::timeline::timeline;
use crate::format;
use crate::report::Report;
use crate::series::Slot;

/// A kind of arrival that was not answered well.
#[derive(Clone, Copy)]
enum Kind {
    Failed(Failure),
    Shed,
    Dropped,
}

const KINDS: [(Kind, &str, RGBColor); Failure::COUNT + 2] = [
    (Kind::Failed(Failure::Timeout), "timeout", ORANGE),
    (Kind::Failed(Failure::ServerError), "server error", VERMILION),
    (Kind::Failed(Failure::Reset), "reset", BLUE),
    (Kind::Failed(Failure::Refused), "refused", SKY),
    (Kind::Failed(Failure::UnexpectedStatus), "unexpected status", PURPLE),
    (Kind::Failed(Failure::BadAnswer), "bad answer", GREEN),
    (Kind::Failed(Failure::CheckFailed), "check failed", YELLOW),
    (Kind::Shed, "shed", MUTED),
    (Kind::Dropped, "dropped", INK),
];

fn count(kind: Kind, s: &Slot) -> u64 {
    match kind {
        Kind::Failed(f) => s.counts.failed[f as usize],
        Kind::Shed => s.counts.shed,
        Kind::Dropped => s.counts.dropped,
    }
}

fn total(kind: Kind, report: &Report) -> u64 {
    report.series.slots.iter().map(|s| count(kind, s)).sum()
}

/// The kinds that occurred.
fn present(report: &Report) -> Vec<(Kind, &'static str, RGBColor)> {
    KINDS.into_iter().filter(|(kind, ..)| total(*kind, report) > 0).collect()
}

pub(crate) fn any(report: &Report) -> bool {
    !present(report).is_empty()
}

fn per_second(n: u64, s: &Slot) -> f64 {
    n as f64 / f64::from(s.seconds.max(1))
}

pub(crate) fn draw(report: &Report, sheet: &Sheet<'_, '_>) -> Drawn {
    let kinds = present(report);
    let keys: Vec<Key> = kinds
        .iter()
        .map(|(kind, name, colour)| {
            Key::Area(*colour, 1.0, format!("{name} {}", format::count(total(*kind, report))))
        })
        .collect();
    sheet.legend(&keys)?;
    let stacked = |s: &Slot| per_second(kinds.iter().map(|(kind, ..)| count(*kind, s)).sum(), s);
    let most = report.series.slots.iter().map(stacked).fold(1.0, f64::max);
    let y = Axis::linear_up_to("requests per second", 0.0, most, 4, |v| format::count(v.max(0.0) as u64));
    let mut plot = timeline(sheet, report, y)?;
    for s in &report.series.slots {
        let (from, to) = (f64::from(s.start_s), f64::from(s.start_s + report.series.slot_s));
        let mut floor = 0.0;
        for (kind, _, colour) in &kinds {
            let height = per_second(count(*kind, s), s);
            if height > 0.0 {
                plot.block((from, floor), (to, floor + height), *colour, 1.0)?;
                floor += height;
            }
        }
    }
    Ok(())
}

pub(crate) fn describe(report: &Report) -> String {
    let parts: Vec<String> = present(report)
        .into_iter()
        .map(|(kind, name, _)| format!("{name} {}", format::count(total(kind, report))))
        .collect();
    format!("Arrivals that were not answered well, by kind, warm-up included: {}.", parts.join(", "))
}

pub(crate) fn table(report: &Report) -> Table {
    let kinds = present(report);
    let mut headers = vec!["second".to_owned()];
    headers.extend(kinds.iter().map(|(_, name, _)| (*name).to_owned()));
    let rows = report
        .series
        .slots
        .iter()
        .filter(|s| kinds.iter().any(|(kind, ..)| count(*kind, s) > 0))
        .map(|s| {
            let mut row = vec![s.start_s.to_string()];
            row.extend(kinds.iter().map(|(kind, ..)| count(*kind, s).to_string()));
            row
        })
        .collect();
    Table { headers, rows }
}
