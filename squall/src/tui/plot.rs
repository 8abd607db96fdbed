//! Frames, dots and lines in character cells.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::axis::TimeAxis;
use super::theme::Theme;
use crate::live::{FaultState, View};

/// Cells left of a plot: a label of at most [`LABEL`] and the axis.
pub(super) const GUTTER: u16 = LABEL + 1;
/// The longest label of a vertical axis: `100 ms`.
const LABEL: u16 = 6;

/// The first row of `area` as a rule with a title in it; what is left of `area`.
pub(super) fn titled(buf: &mut Buffer, area: Rect, title: &Line<'_>, theme: &Theme) -> Rect {
    if area.is_empty() {
        return area;
    }
    let rule = "─".repeat(usize::from(area.width));
    buf.set_stringn(area.x, area.y, rule, usize::from(area.width), theme.quiet());
    let room = area.width.saturating_sub(2);
    let (end, _) = buf.set_line(area.x + 2.min(area.width), area.y, title, room);
    // A space on both sides of the title, where there is one.
    for x in [area.x + 1, end] {
        if x < area.right() {
            buf[(x, area.y)].set_symbol(" ");
        }
    }
    Rect { y: area.y + 1, height: area.height - 1, ..area }
}

/// Where a plot draws inside `area`: right of the gutter, above the time axis.
pub(super) fn inside(area: Rect) -> Rect {
    Rect {
        x: area.x + GUTTER.min(area.width),
        width: area.width.saturating_sub(GUTTER),
        height: area.height.saturating_sub(1),
        ..area
    }
}

/// Labels of a vertical axis. `place` is 0 at the bottom to 1 at the top; of two labels on one
/// row the first given stays.
pub(super) fn vertical_axis(buf: &mut Buffer, inner: Rect, labels: &[(f64, String)], theme: &Theme) {
    for y in inner.y..inner.bottom() {
        buf.set_stringn(inner.x.saturating_sub(1), y, "│", 1, theme.quiet());
    }
    let mut taken = vec![false; usize::from(inner.height)];
    for (place, label) in labels {
        let row = row_of(*place, inner.height);
        if std::mem::replace(&mut taken[row], true) {
            continue;
        }
        let width = Span::raw(label.as_str()).width().min(usize::from(LABEL));
        let x = inner.x.saturating_sub(1 + width as u16);
        buf.set_stringn(x, inner.y + row as u16, label, width, theme.quiet());
    }
}

/// The row, from the top, in which a place between 0 (bottom) and 1 (top) falls.
pub(super) fn row_of(place: f64, rows: u16) -> usize {
    let rows = f64::from(rows);
    ((1.0 - place) * rows).floor().clamp(0.0, (rows - 1.0).max(0.0)) as usize
}

/// The time axis under `inner`: warm-up dotted, fault windows and marks on it, and the windows'
/// edges as dotted lines above it. `names`: say which is which, where there is room.
pub(super) fn time_axis(
    buf: &mut Buffer,
    inner: Rect,
    time: &TimeAxis,
    view: &View,
    theme: &Theme,
    names: bool,
) {
    let mut axis =
        Strip { cells: vec![("─".to_owned(), theme.quiet()); time.cells], taken: vec![false; time.cells] };
    for warmup in view.phases.iter().filter(|p| p.warmup).filter_map(|p| time.range(p.start_s, p.end_s)) {
        warmup.clone().for_each(|c| axis.cells[c].0 = "┄".to_owned());
        if names && warmup.len() > WARMUP.len() {
            axis.write(warmup.start, WARMUP, theme.quiet());
        }
    }
    let windows: Vec<_> =
        view.faults.iter().filter_map(|f| Some((f, time.range(f.start_s, f.end_s)?))).collect();
    for (fault, cells) in &windows {
        let glyph = match fault.state {
            FaultState::Scheduled => "░",
            FaultState::On => "▓",
            FaultState::Off => "▒",
            FaultState::Failed => "x",
        };
        // Windows that touch are still two.
        let touches = cells.start.checked_sub(1).is_some_and(|before| axis.taken[before]);
        cells.clone().for_each(|c| axis.write(c, glyph, theme.fault()));
        if touches {
            axis.write(cells.start, "▐", theme.fault());
        }
        for edge in [cells.start, cells.end].into_iter().filter(|e| *e < time.cells) {
            for y in inner.y..inner.bottom() {
                let cell = &mut buf[(inner.x + edge as u16, y)];
                if cell.symbol() == " " {
                    cell.set_symbol("┊").set_style(theme.fault());
                }
            }
        }
    }
    for at_s in &view.marks_s {
        if let Some(cell) = time.cell(*at_s) {
            axis.write(cell, "▲", theme.strong());
        }
    }
    if names {
        windows.iter().for_each(|(fault, cells)| axis.name(&fault.name, cells, theme));
    }
    for (cell, label) in time.ticks() {
        if axis.is_free(cell, label.len() + 2) {
            axis.write(cell, &format!("┴{label}"), theme.quiet());
        }
    }
    let y = inner.bottom();
    buf.set_stringn(inner.x.saturating_sub(1), y, "└", 1, theme.quiet());
    for (x, (symbol, style)) in (inner.x..inner.right()).zip(&axis.cells) {
        buf[(x, y)].set_symbol(symbol).set_style(*style);
    }
}

/// What a warm-up phase is called on the axis.
const WARMUP: &str = "warm-up";

/// A row of cells in which labels take the room that is left.
struct Strip {
    cells: Vec<(String, Style)>,
    taken: Vec<bool>,
}

impl Strip {
    fn is_free(&self, at: usize, length: usize) -> bool {
        self.taken.get(at..at + length).is_some_and(|cells| cells.iter().all(|t| !t))
    }

    fn write(&mut self, at: usize, text: &str, style: Style) {
        let cells = self.cells.iter_mut().zip(&mut self.taken).skip(at);
        for ((cell, taken), c) in cells.zip(text.chars()) {
            *cell = (c.to_string(), style);
            *taken = true;
        }
    }

    /// Writes `name` beside a window: before it, or after it, or what fits of it after it.
    fn name(&mut self, name: &str, window: &std::ops::Range<usize>, theme: &Theme) {
        let length = Span::raw(name).width() + 2;
        let before = window.start.checked_sub(length).filter(|at| self.is_free(*at, length));
        let room = self.taken[window.end..].iter().take_while(|t| !**t).count();
        let style = theme.fault();
        if let Some(at) = before {
            self.write(at, &format!(" {name} "), style);
        } else if room >= length.min(SHORTEST_NAME + 2) {
            self.write(window.end, &format!(" {} ", cut(name, room - 2)), style);
        }
    }
}

/// Less of a fault's name says nothing.
const SHORTEST_NAME: usize = 4;

/// `text` in at most `width` cells; "…" stands for what was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if Span::raw(out.as_str()).width() + 1 > width {
            out.pop();
            break;
        }
    }
    if width == 0 { out } else { out + "…" }
}

/// A dotted picture: every cell holds 2 × 4 braille dots.
pub(super) struct Dots {
    cells: Rect,
    bits: Vec<u8>,
    styles: Vec<Style>,
}

impl Dots {
    pub fn new(cells: Rect) -> Self {
        let n = usize::from(cells.width) * usize::from(cells.height);
        Self { cells, bits: vec![0; n], styles: vec![Style::new(); n] }
    }

    fn dot(&mut self, x: usize, y: usize, style: Style) {
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        let at = y / 4 * usize::from(self.cells.width) + x / 2;
        if let Some(b) = self.bits.get_mut(at) {
            *b |= BITS[x % 2][y % 4];
            self.styles[at] = style;
        }
    }

    /// A line through one place (0 bottom .. 1 top) for each cell column; a gap where there is
    /// none. Neighbours are joined, so that a jump is seen as one.
    pub fn line(&mut self, places: &[Option<f64>], style: Style) {
        let height = usize::from(self.cells.height) * 4;
        if height == 0 {
            return;
        }
        let row = |place: f64| ((1.0 - place) * (height - 1) as f64).round() as usize;
        let mut before: Option<usize> = None;
        for (cell, place) in places.iter().enumerate().take(usize::from(self.cells.width)) {
            let Some(here) = place.map(row) else {
                before = None;
                continue;
            };
            let from = before.unwrap_or(here);
            for y in from.min(here)..=from.max(here) {
                self.dot(cell * 2, y, style);
            }
            self.dot(cell * 2 + 1, here, style);
            before = Some(here);
        }
    }

    pub fn draw(&self, buf: &mut Buffer) {
        for (i, bits) in self.bits.iter().enumerate().filter(|(_, b)| **b != 0) {
            let (x, y) = (i as u16 % self.cells.width, i as u16 / self.cells.width);
            // Every value from U+2800 to U+28FF is a braille pattern.
            if let Some(glyph) = char::from_u32(0x2800 + u32::from(*bits)) {
                buf[(self.cells.x + x, self.cells.y + y)].set_char(glyph).set_style(self.styles[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_between_two_cells_is_joined() {
        let area = Rect::new(0, 0, 2, 2);
        let mut dots = Dots::new(area);
        dots.line(&[Some(0.0), Some(1.0)], Style::new());
        let mut buf = Buffer::empty(area);
        dots.draw(&mut buf);
        assert_eq!(buf, Buffer::with_lines([" ⡏", "⣀⡇"]));
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(
            [cut("slow-store", 10), cut("slow-store", 5), cut("slow", 0)],
            ["slow-store", "slow…", ""]
        );
    }

    #[test]
    fn the_ends_of_an_axis_fall_on_the_outer_rows() {
        assert_eq!([row_of(1.0, 4), row_of(0.0, 4), row_of(0.5, 4), row_of(0.5, 0)], [0, 3, 2, 0]);
    }
}
