//! How many requests took how long, second by second. A second mode that drifts away from the
//! first is invisible in percentiles and plain here.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::axis::{LogAxis, TimeAxis};
use super::charts::{in_sight, response_axis};
use super::plot::{inside, time_axis, titled, vertical_axis};
use super::theme::Theme;
use crate::live::{Column, View, resample};

/// Density without colour, from none to most.
const DENSITY: [&str; 5] = [" ", "░", "▒", "▓", "█"];

/// Time × response time, on the axes of the charts.
pub(super) fn heatmap(buf: &mut Buffer, area: Rect, view: &View, span: (f64, f64), theme: &Theme) {
    let what = if view.closed { "service time heatmap" } else { "response time heatmap" };
    let mut title = vec![Span::styled(what, theme.strong()), Span::raw("  few ")];
    for (level, glyph) in DENSITY.iter().enumerate().skip(1) {
        let share = (level - 1) as f64 / (DENSITY.len() - 2) as f64;
        title.push(match theme.heat(share) {
            Some(color) => Span::styled("█", color),
            None => Span::raw(*glyph),
        });
    }
    title.push(Span::raw(" many  "));
    title.push(Span::styled("▒ fault", theme.fault()));
    let area = titled(buf, area, &Line::from(title), theme);
    let inner = inside(area);
    if inner.is_empty() {
        return;
    }
    let time = TimeAxis { from_s: span.0, to_s: span.1, cells: usize::from(inner.width) };
    let columns = in_sight(view, &time);
    let axis = response_axis(view, columns);
    // With colour a cell shows two levels, one in each half.
    let levels = usize::from(inner.height) * if theme.is_mono() { 1 } else { 2 };
    let grid: Vec<Vec<f64>> = resample(columns, time.from_s, time.to_s, time.cells)
        .iter()
        .map(|c| c.as_ref().map_or_else(Vec::new, |c| per_second(c, axis, levels)))
        .collect();
    let most = grid.iter().flatten().copied().fold(0.0, f64::max);
    let heat = |cell: usize, level: usize| grid[cell].get(level).and_then(|n| share(*n, most));

    for cell in 0..time.cells {
        let x = inner.x + cell as u16;
        for row in 0..usize::from(inner.height) {
            let at = &mut buf[(x, inner.y + row as u16)];
            if theme.is_mono() {
                let glyph = heat(cell, row).map_or(0, |s| 1 + (s * 3.0).round() as usize);
                at.set_symbol(DENSITY[glyph]);
                continue;
            }
            let color = |level| heat(cell, level).and_then(|s| theme.heat(s));
            match (color(2 * row), color(2 * row + 1)) {
                (None, None) => at.set_symbol(" "),
                (Some(top), None) => at.set_symbol("▀").set_fg(top),
                (None, Some(bottom)) => at.set_symbol("▄").set_fg(bottom),
                (Some(top), Some(bottom)) => at.set_symbol("▀").set_fg(top).set_bg(bottom),
            };
        }
    }
    vertical_axis(buf, inner, &axis.ticks(), theme);
    time_axis(buf, inner, &time, view, theme, true);
}

/// Requests per second by level, the slowest first.
fn per_second(column: &Column, axis: LogAxis, levels: usize) -> Vec<f64> {
    let mut counts = vec![0.0; levels];
    for (us, n) in column.response.occupied() {
        let level = ((1.0 - axis.place(us)) * levels as f64) as usize;
        counts[level.min(levels - 1)] += n as f64 / f64::from(column.seconds.max(1));
    }
    counts
}

/// Heat of `n` where `most` is hottest: logarithmic, because one slow request in ten thousand
/// must be seen. `None` for none.
fn share(n: f64, most: f64) -> Option<f64> {
    (n > 0.0).then(|| if most > 0.0 { n.ln_1p() / most.ln_1p() } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Buckets;
    use squall_record::latency::Latency;

    #[test]
    fn every_request_is_in_one_level_and_the_slowest_are_on_top() {
        let mut l = Latency::new();
        [150, 900, 5_000, 5_000, 99_000].into_iter().for_each(|us| l.record_us(us));
        let mut response = Buckets::default();
        response.add(&l);
        let column = Column { seconds: 2, response, ..Column::default() };
        assert_eq!(per_second(&column, LogAxis::over(100.0, 100_000.0), 3), [0.5, 1.0, 1.0]);
    }

    #[test]
    fn one_request_among_ten_thousand_is_seen_and_none_is_not() {
        assert!(share(1.0, 10_000.0).unwrap() > 0.05);
        assert_eq!((share(0.0, 10_000.0), share(7.0, 7.0)), (None, Some(1.0)));
    }
}
