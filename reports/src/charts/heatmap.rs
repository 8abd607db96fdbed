//! How many requests took how long, second by second: what percentiles hide.

use plotters::style::text_anchor::HPos;

use crate::charts::axis::Axis;
use crate::charts::chart::Table;
use crate::charts::palette::{INK, viridis};
use crate::charts::plot::{Drawn, Key, Sheet, text_width};
use crate::charts::timeline::timeline;
use crate::format;
use crate::report::Report;
use crate::series::{HEAT_ROWS, heat_row_ms};

/// Columns at most: more would be thinner than the eye can tell, and each is many rectangles.
const MAX_COLUMNS: usize = 120;

/// Some slots side by side.
struct Column {
    from_s: f64,
    to_s: f64,
    rows: Vec<u64>,
}

fn columns(report: &Report) -> Vec<Column> {
    let slots = &report.series.slots;
    let slot_s = report.series.slot_s;
    let span = slots.last().map_or(0, |s| s.start_s / slot_s + 1) as usize;
    let width_s = slot_s * span.div_ceil(MAX_COLUMNS).max(1) as u32;
    let mut all: Vec<Column> = Vec::new();
    for s in slots {
        let from_s = f64::from(s.start_s / width_s * width_s);
        if all.last().is_none_or(|c| c.from_s < from_s) {
            all.push(Column { from_s, to_s: from_s + f64::from(width_s), rows: vec![0; HEAT_ROWS] });
        }
        if let Some(column) = all.last_mut() {
            column.rows.iter_mut().zip(&s.heat).for_each(|(sum, n)| *sum += n);
        }
    }
    all
}

/// The rows that hold something.
fn used_rows(columns: &[Column]) -> std::ops::Range<usize> {
    let used = |row: &usize| columns.iter().any(|c| c.rows[*row] > 0);
    let first = (0..HEAT_ROWS).find(used).unwrap_or(0);
    let last = (0..HEAT_ROWS).rev().find(used).unwrap_or(0);
    first..last + 1
}

fn most(columns: &[Column]) -> u64 {
    columns.iter().flat_map(|c| &c.rows).copied().max().unwrap_or(0)
}

pub(crate) fn draw(report: &Report, sheet: &Sheet<'_, '_>) -> Drawn {
    let columns = columns(report);
    let most = most(&columns).max(1);
    let width_s = columns.first().map_or(1.0, |c| c.to_s - c.from_s);
    let per = if width_s > 1.0 { format!("per {width_s:.0} s") } else { "per second".to_owned() };
    let words = format!("requests {per}, log scale:  1");
    sheet.legend(&[Key::Note(words.clone())])?;
    let left = crate::charts::plot::LEFT + text_width(&words) + 4;
    scale(sheet, left, most)?;

    let rows = used_rows(&columns);
    let y = Axis::log(
        "response time (log scale)",
        heat_row_ms(rows.start),
        heat_row_ms(rows.end),
        format::ms_tick,
    );
    let mut plot = timeline(sheet, report, y)?;
    for c in &columns {
        for row in rows.clone().filter(|row| c.rows[*row] > 0) {
            let heat = (c.rows[row] as f64).ln() / (most.max(2) as f64).ln();
            let (from, to) = ((c.from_s, heat_row_ms(row)), (c.to_s, heat_row_ms(row + 1)));
            plot.block(from, to, viridis(heat), 1.0)?;
        }
    }
    Ok(())
}

/// The colour scale in the legend line.
fn scale(sheet: &Sheet<'_, '_>, left: i32, most: u64) -> Drawn {
    const STEPS: i32 = 40;
    const STEP: i32 = 4;
    let y = sheet.legend_y();
    for i in 0..STEPS {
        sheet.box_at(
            (left + i * STEP, y - 6),
            (left + (i + 1) * STEP, y + 6),
            viridis(f64::from(i) / f64::from(STEPS - 1)),
        )?;
    }
    sheet.write((left + STEPS * STEP + 6, y), &format::count(most), INK, HPos::Left)
}

pub(crate) fn describe(report: &Report) -> String {
    let rows = used_rows(&columns(report));
    format!(
        "Each column is a stretch of time, each row a range of response times, the colour the number of requests \
         (n = {}). Values lie between {} and {}.",
        format::count(report.series.slots.iter().flat_map(|s| &s.heat).sum()),
        format::ms(heat_row_ms(rows.start)),
        format::ms(heat_row_ms(rows.end))
    )
}

/// The heat by factor of ten: the full grid would be a table nobody reads.
pub(crate) fn table(report: &Report) -> Table {
    let columns = columns(report);
    let per_decade = crate::series::HEAT_ROWS_PER_DECADE as usize;
    let used = used_rows(&columns);
    let decades = used.start / per_decade..(used.end - 1) / per_decade + 1;
    let mut headers = vec!["second".to_owned()];
    headers.extend(decades.clone().map(|d| {
        format!(
            "{} to {}",
            format::ms(heat_row_ms(d * per_decade)),
            format::ms(heat_row_ms((d + 1) * per_decade))
        )
    }));
    let rows = columns
        .iter()
        .map(|c| {
            let mut row = vec![format!("{:.0}", c.from_s)];
            row.extend(
                decades
                    .clone()
                    .map(|d| c.rows.iter().skip(d * per_decade).take(per_decade).sum::<u64>().to_string()),
            );
            row
        })
        .collect();
    Table { headers, rows }
}
