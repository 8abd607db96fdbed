//! Throughput and response time over the time of the run.

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use ratatui::text::{Line, Span};

use super::axis::{LogAxis, TimeAxis, ZeroAxis, short_us};
use super::plot::{Dots, inside, row_of, time_axis, titled, vertical_axis};
use super::theme::Theme;
use crate::live::{Column, Percentiles, View, resample};
use crate::text::fit;

/// Of fewer requests the 99.9th percentile is no more than the slowest one.
const MIN_FOR_P99_9: u64 = 1_000;

/// Room above the planned peak, so that chance does not change the scale.
const HEADROOM: f64 = 1.1;

const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// A horizontal stroke low, in the middle and high in its cell.
const STROKES: [&str; 3] = ["▁", "━", "▔"];

/// The columns of the run that are in sight, one by one.
pub(super) fn in_sight<'a>(view: &'a View, time: &TimeAxis) -> &'a [Arc<Column>] {
    let fine = view.recent.first().is_some_and(|c| f64::from(c.start_s) <= time.from_s);
    let columns = if fine && view.column_s > 1 { &view.recent } else { &view.columns };
    let from = columns.partition_point(|c| f64::from(c.start_s + c.seconds) <= time.from_s);
    &columns[from..]
}

/// Planned and achieved requests per second.
pub(super) fn throughput(buf: &mut Buffer, area: Rect, view: &View, span: (f64, f64), theme: &Theme) {
    let [unit, planned, achieved] = match area.width {
        0..30 => ["req/s ", "━ plan ", "█ done"],
        30..40 => ["req/s ", "━ planned ", "█ achieved"],
        _ => ["requests/s  ", "━ planned  ", "█ achieved"],
    };
    let title = Line::from(vec![
        Span::styled(unit, theme.strong()),
        Span::styled(planned, theme.planned()),
        Span::styled(achieved, theme.achieved()),
    ]);
    let area = titled(buf, area, &title, theme);
    let inner = inside(area);
    if inner.is_empty() {
        return;
    }
    let time = TimeAxis { from_s: span.0, to_s: span.1, cells: usize::from(inner.width) };
    let columns = in_sight(view, &time);
    let peak = view.phases.iter().map(|p| p.curve.peak_rps()).fold(0.0, f64::max);
    let highest = columns.iter().map(|c| c.achieved_rps()).fold(peak * HEADROOM, f64::max);
    let axis = ZeroAxis::up_to(highest);

    let rows = f64::from(inner.height);
    for (cell, column) in resample(columns, time.from_s, time.to_s, time.cells).iter().enumerate() {
        let x = inner.x + cell as u16;
        let filled = column.as_ref().map_or(0.0, |c| axis.place(c.achieved_rps()) * rows * 8.0);
        for up in 0..inner.height {
            let eighths = (filled.round() - f64::from(up) * 8.0).clamp(0.0, 8.0) as usize;
            buf[(x, inner.bottom() - 1 - up)].set_symbol(EIGHTHS[eighths]).set_style(theme.achieved());
        }
        if let Some(planned) = view.planned_rps(time.at_s(cell)) {
            stroke(buf, inner, x, axis.place(planned), filled, theme);
        }
    }
    let labels = [1.0, 0.0, 0.5].map(|p| (p, fit((axis.max * p) as u64, 6)));
    vertical_axis(buf, inner, &labels, theme);
    time_axis(buf, inner, &time, view, theme, false);
}

/// A stroke of the planned rate over a bar of `filled` eighths. Where the bar fills most of the
/// cell it becomes the stroke's background; without colour a bar that reaches the stroke hides it:
/// the plan was met.
fn stroke(buf: &mut Buffer, inner: Rect, x: u16, place: f64, filled: f64, theme: &Theme) {
    let from_bottom = place * f64::from(inner.height);
    let up = (from_bottom.ceil() - 1.0).max(0.0);
    let third = (((from_bottom - up) * 2.999) as usize).min(2);
    let filled = filled.round();
    if theme.is_mono() && filled >= (from_bottom * 8.0).floor() {
        return;
    }
    let cell = &mut buf[(x, inner.bottom() - 1 - up as u16)];
    let style = match theme.achieved().fg.filter(|_| filled - up * 8.0 >= 4.0) {
        Some(bar) => theme.planned().bg(bar),
        None => theme.planned(),
    };
    cell.set_symbol(STROKES[third]).set_style(style);
}

/// The scale that response times are drawn on: the same in every panel.
pub(super) fn response_axis(view: &View, columns: &[Arc<Column>]) -> LogAxis {
    let promise_us = view.slo_under_ms().map(|ms| ms * 1000.0);
    let mut low = promise_us.unwrap_or(1_000.0);
    let mut high = promise_us.unwrap_or(100_000.0);
    for c in columns {
        low = c.response.quantile_us(0.5).map_or(low, |us| low.min(us));
        high = c.response.quantile_us(0.999).map_or(high, |us| high.max(us));
    }
    LogAxis::over(low, high)
}

/// p50, p99 and p99.9 of the response time.
pub(super) fn response(buf: &mut Buffer, area: Rect, view: &View, span: (f64, f64), theme: &Theme) {
    let area = titled(buf, area, &response_title(view, area.width, theme), theme);
    let inner = inside(area);
    if inner.is_empty() {
        return;
    }
    let time = TimeAxis { from_s: span.0, to_s: span.1, cells: usize::from(inner.width) };
    let columns = in_sight(view, &time);
    let axis = response_axis(view, columns);
    let cells = resample(columns, time.from_s, time.to_s, time.cells);

    let promise = view.slo_under_ms().map(|ms| (axis.place(ms * 1000.0), short_us(ms * 1000.0)));
    if let Some((place, _)) = &promise {
        let y = inner.y + row_of(*place, inner.height) as u16;
        buf.set_stringn(inner.x, y, "╌".repeat(time.cells), time.cells, theme.promise());
    }
    let mut dots = Dots::new(inner);
    for (i, q) in [0.5, 0.99, 0.999].into_iter().enumerate() {
        let places: Vec<Option<f64>> =
            cells.iter().map(|c| Some(axis.place(c.as_ref()?.response.quantile_us(q)?))).collect();
        dots.line(&places, theme.percentile(i));
    }
    dots.draw(buf);
    // The promise first, then the ends of the axis: a label that comes later gives way.
    let mut labels: Vec<(f64, String)> =
        promise.into_iter().map(|(place, time)| (place, format!("≤{}", time.replace(' ', "")))).collect();
    labels.extend(axis.ticks());
    vertical_axis(buf, inner, &labels, theme);
    time_axis(buf, inner, &time, view, theme, false);
}

/// The names of the lines with the last second's figures, in the order of the lines from the
/// lowest.
fn response_title(view: &View, width: u16, theme: &Theme) -> Line<'static> {
    let enough = |p: &Percentiles| (p.n >= MIN_FOR_P99_9).then_some(p.p99_9);
    let values = view.last_response.map_or([None; 3], |p| [Some(p.p50), Some(p.p99), enough(&p)]);
    let (name, gap) = match width {
        0..40 => ("time", " "),
        40..55 if view.closed => ("service", " "),
        40..55 => ("response", " "),
        _ if view.closed => ("service time", "  "),
        _ => ("response time", "  "),
    };
    let mut spans = vec![Span::styled(name, theme.strong())];
    for (i, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
        let value = values[i].map_or("–".to_owned(), |v| v.to_string().replace(' ', ""));
        spans.push(Span::raw(gap));
        spans.push(Span::styled(format!("{name} {value}"), theme.percentile(i)));
    }
    if width >= 55 && view.slo_under_ms().is_some() {
        spans.push(Span::raw(gap));
        spans.push(Span::styled("╌ SLO", theme.promise()));
    }
    Line::from(spans)
}
