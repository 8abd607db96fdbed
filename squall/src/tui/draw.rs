//! The whole picture.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::keys::KEYS;
use super::layout::{MIN_HEIGHT, MIN_WIDTH, places};
use super::state::{Overlay, Panel, State};
use super::theme::Theme;
use super::{ascii, charts, header, heatmap, overlay, tables};
use crate::live::View;
use crate::text::Charset;

/// Draws `view` on all of `buf`.
pub fn draw(buf: &mut Buffer, view: &View, state: &State, theme: &Theme, charset: Charset) {
    let area = buf.area;
    match places(area) {
        Some(_) => panels(buf, area, view, state, theme),
        None => too_small(buf, area, view, state, theme),
    }
    if charset == Charset::Ascii {
        ascii::flatten(buf);
    }
}

fn panels(buf: &mut Buffer, area: Rect, view: &View, state: &State, theme: &Theme) {
    let Some(at) = places(area) else { return };
    header::verdict(buf, at.verdict, view, state, theme);
    header::counters(buf, at.counters, view, theme);
    header::health(buf, at.health, view, theme);
    header::note(buf, at.note, view, state, theme);
    header::key_bar(buf, at.keys, state, theme);
    let span = state.span_s(view);
    match state.panel {
        Panel::Overview => {
            charts::throughput(buf, at.throughput, view, span, theme);
            charts::response(buf, at.response, view, span, theme);
            heatmap::heatmap(buf, at.heatmap, view, span, theme);
            tables::promises(buf, at.promises, view, theme);
            tables::errors(buf, at.errors, view, theme);
        }
        Panel::Throughput => charts::throughput(buf, at.body, view, span, theme),
        Panel::Response => charts::response(buf, at.body, view, span, theme),
        Panel::Heatmap => heatmap::heatmap(buf, at.body, view, span, theme),
        Panel::Promises => tables::promises_in_full(buf, at.body, view, theme),
        Panel::Events => tables::events(buf, at.body, view, theme),
    }
    let above_keys = Rect { height: area.height - at.keys.height, ..area };
    match state.overlay {
        Overlay::None => {}
        Overlay::Help => {
            overlay::boxed(buf, above_keys, "help", overlay::help_lines(KEYS, state, theme), theme);
        }
        Overlay::AskStop => {
            overlay::boxed(buf, above_keys, "end the run now?", overlay::question(theme), theme);
        }
    }
}

/// The verdict, and what would be needed for more.
fn too_small(buf: &mut Buffer, area: Rect, view: &View, state: &State, theme: &Theme) {
    let row = |y: u16| Rect { y: area.y + y, height: 1, ..area };
    if area.height == 0 {
        return;
    }
    header::verdict(buf, row(0), view, state, theme);
    let (width, height) = (area.width, area.height);
    let more = if state.overlay == Overlay::AskStop {
        ["end the run now? y / n".to_owned(), String::new()]
    } else {
        [format!("terminal too small: {width}×{height}"), format!("panels need {MIN_WIDTH}×{MIN_HEIGHT}")]
    };
    for (y, text) in (2..area.height).zip(more) {
        buf.set_line(area.x, area.y + y, &Line::raw(text), area.width);
    }
    if area.height > 5 {
        header::key_bar(buf, row(area.height - 1), state, theme);
    }
}
