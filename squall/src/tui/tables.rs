//! The promises, the errors and what happened.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::axis::short_us;
use super::header::slo_words;
use super::layout::TABLE_ROWS;
use super::plot::{cut, titled};
use super::theme::Theme;
use crate::live::{ErrorRow, SloRow, View};
use crate::text::{clock, fit, percent};

/// The promises' columns right of the name, with their widths.
const SLO_COLUMNS: [(&str, usize); 4] = [("target", 8), ("now", 8), ("budget", 8), ("burn", 7)];
/// Which of them give way, and in which order, where a name would have less than [`SLO_NAME`].
const SLO_GIVE_WAY: [&str; 2] = ["target", "burn"];
const SLO_NAME: usize = 12;
/// The glyph before a promise's name.
const SLO_GLYPH: usize = 2;
/// Widths of the errors' columns right of the kind: count, last seen.
const ERROR_COLUMNS: [(&str, usize); 2] = [("count", 8), ("last at", 8)];

/// Every promise with what is left of its budget; the last row counts those that do not fit.
pub(super) fn promises(buf: &mut Buffer, area: Rect, view: &View, theme: &Theme) {
    let mut columns = SLO_COLUMNS.to_vec();
    let name_width = |columns: &[(&str, usize)]| {
        usize::from(area.width).saturating_sub(columns.iter().map(|c| c.1).sum::<usize>() + SLO_GLYPH)
    };
    for gone in SLO_GIVE_WAY {
        if name_width(&columns) < SLO_NAME {
            columns.retain(|(name, _)| *name != gone);
        }
    }
    let name = name_width(&columns);
    heading(buf, area, "SLO", &columns, theme);
    let rows = usize::from(area.height.saturating_sub(1));
    let fits = if view.slos.len() > rows { rows.saturating_sub(1) } else { view.slos.len() };
    for (i, slo) in view.slos.iter().take(fits).enumerate() {
        let glyph: String = slo_words(slo.state).chars().take(1).collect();
        let mut text = format!("{glyph} {}", padded(&promise_name(slo), name));
        for (column, width) in &columns {
            let value = match *column {
                "target" => percent(slo.objective),
                "now" => slo.actual.map_or("–".to_owned(), percent),
                "budget" if slo.budget_left < -9.99 => "<-999%".to_owned(),
                "budget" => percent(slo.budget_left),
                _ if slo.burn > 999.0 => ">999×".to_owned(),
                _ => format!("{:.1}×", slo.burn),
            };
            text += &format!("{value:>width$}");
        }
        buf.set_stringn(area.x, area.y + 1 + i as u16, text, area.width.into(), theme.slo(slo.state));
    }
    let y = area.y + 1 + fits as u16;
    if view.slos.is_empty() {
        let text = cut("the scenario promises nothing ([[slos]])", area.width.into());
        buf.set_stringn(area.x, y, text, area.width.into(), theme.quiet());
    } else if fits < view.slos.len() {
        let text = format!("  and {} more: tab", view.slos.len() - fits);
        buf.set_stringn(area.x, y, text, area.width.into(), theme.quiet());
    }
}

fn promise_name(slo: &SloRow) -> String {
    let mut name = crate::live::printable(&slo.name);
    if let Some(ms) = slo.under_ms {
        name += &format!(" ≤ {}", short_us(ms * 1000.0));
    }
    if let Some(class) = &slo.request {
        name += &format!(" ({class})");
    }
    name
}

/// The most frequent kinds: always the same number of rows.
pub(super) fn errors(buf: &mut Buffer, area: Rect, view: &View, theme: &Theme) {
    heading(buf, area, "top errors", &ERROR_COLUMNS, theme);
    for (i, row) in view.errors.iter().take(TABLE_ROWS.into()).enumerate() {
        error_row(buf, Rect { y: area.y + 1 + i as u16, height: 1, ..area }, row, theme);
    }
}

fn error_row(buf: &mut Buffer, area: Rect, row: &ErrorRow, theme: &Theme) {
    let [(_, count), (_, last)] = ERROR_COLUMNS;
    let name = usize::from(area.width).saturating_sub(count + last);
    let seen = row.last_s.map_or("–".to_owned(), |s| clock(f64::from(s)));
    let text = format!("{}{:>count$}{seen:>last$}", padded(row.kind, name), fit(row.count, count - 1));
    let style = if row.count == 0 { theme.quiet() } else { Style::new() };
    buf.set_stringn(area.x, area.y, text, area.width.into(), style);
}

/// The promises in full, and why the run is not VALID.
pub(super) fn promises_in_full(buf: &mut Buffer, area: Rect, view: &View, theme: &Theme) {
    let reasons = &view.generator.reasons;
    let below = if reasons.is_empty() { 0 } else { (reasons.len() as u16 + 1).min(area.height / 2) };
    promises(buf, Rect { height: area.height - below, ..area }, view, theme);
    if below > 0 {
        let area = Rect { y: area.bottom() - below, height: below, ..area };
        let title = Line::styled("why the run is not VALID", theme.strong());
        let inner = titled(buf, area, &title, theme);
        for (y, reason) in (inner.y..inner.bottom()).zip(reasons) {
            buf.set_stringn(inner.x, y, cut(reason, inner.width.into()), inner.width.into(), Style::new());
        }
    }
}

/// Every kind of error, and what happened, newest first.
pub(super) fn events(buf: &mut Buffer, area: Rect, view: &View, theme: &Theme) {
    let above = (view.errors.len() as u16 + 1).min(area.height);
    heading(buf, area, "errors", &ERROR_COLUMNS, theme);
    for (y, row) in (area.y + 1..area.y + above).zip(&view.errors) {
        error_row(buf, Rect { y, height: 1, ..area }, row, theme);
    }
    let rest = Rect { y: area.y + above, height: area.height - above, ..area };
    let inner = titled(buf, rest, &Line::styled("events, newest first", theme.strong()), theme);
    for (y, note) in (inner.y..inner.bottom()).zip(view.notes.iter().rev()) {
        let text = format!("{:>8}  {}", clock(note.at_s), note.text);
        buf.set_stringn(
            inner.x,
            y,
            cut(&text, inner.width.into()),
            inner.width.into(),
            theme.tone(note.tone),
        );
    }
}

/// A rule with a title on the left and the names of right-aligned columns on the right.
fn heading(buf: &mut Buffer, area: Rect, title: &str, columns: &[(&str, usize)], theme: &Theme) {
    titled(buf, Rect { height: 1, ..area }, &Line::styled(title, theme.strong()), theme);
    let names: String = columns.iter().map(|(name, width)| format!("{name:>width$}")).collect();
    // One space apart from the rule, and none of the rule between the names.
    let names = format!(" {}", names.trim_start());
    let x = area.right().saturating_sub(names.len() as u16).max(area.x);
    buf.set_stringn(x, area.y, names, area.width.into(), theme.quiet());
}

/// `text` cut or filled to exactly `width` cells.
fn padded(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let fill = width.saturating_sub(Span::raw(text.as_str()).width());
    text + &" ".repeat(fill)
}
