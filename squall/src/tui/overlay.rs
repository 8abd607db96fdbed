//! What lies over the panels: the help, and the question before a run is ended.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget};

use super::keys::Key;
use super::state::State;
use super::theme::Theme;

/// The words of the counters, for who reads them for the first time.
const WORDS: [(&str, &str); 9] = [
    ("total", "since the end of the warm-up"),
    ("planned", "arrivals that the scenario asked for: sent + dropped"),
    ("achieved", "answered: ok + declined + shed"),
    ("declined", "a business refusal, as asked: no error"),
    ("shed", "refused as overloaded, nothing was executed"),
    ("dropped", "never sent: too many requests in flight"),
    ("late", "sent over 1 ms after the intended instant"),
    ("budget", "what is left of the bad arrivals that the whole run may have"),
    ("burn", "1×: spent exactly at the end; over it: sooner"),
];

/// Keys that do something in this session.
pub(super) fn keys_in_force<'a>(keys: &'a [Key], state: &State) -> impl Iterator<Item = &'a Key> {
    let can_steer = state.can_steer;
    keys.iter().filter(move |k| can_steer || !k.action.steers())
}

/// The lines of the help: every key in force, then the words.
pub(super) fn help_lines(keys: &[Key], state: &State, theme: &Theme) -> Vec<Line<'static>> {
    let row = |name: &str, text: &'static str| {
        Line::from(vec![Span::styled(format!(" {name:<9} "), theme.strong()), Span::raw(text)])
    };
    let mut lines: Vec<Line> =
        keys_in_force(keys, state).filter(|k| !k.long.is_empty()).map(|k| row(k.name, k.long)).collect();
    lines.push(Line::default());
    lines.extend(WORDS.map(|(word, meaning)| row(word, meaning)));
    lines
}

/// A box in the middle of `area`, as large as its lines need.
pub(super) fn boxed(buf: &mut Buffer, area: Rect, title: &'static str, lines: Vec<Line<'_>>, theme: &Theme) {
    let width = lines.iter().map(Line::width).max().unwrap_or(0).max(title.len()) as u16 + 3;
    let height = lines.len() as u16 + 2;
    let (width, height) = (width.min(area.width), height.min(area.height));
    let at =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(at, buf);
    let block = Block::bordered().title(Line::styled(format!(" {title} "), theme.strong()));
    Paragraph::new(lines).block(block).alignment(Alignment::Left).render(at, buf);
}

/// The question before a run is ended.
pub(super) fn question(theme: &Theme) -> Vec<Line<'static>> {
    let key = |name: &'static str| Span::styled(format!(" {name} "), theme.key());
    vec![
        Line::raw(" The load stops, faults are ended and every report is written."),
        Line::default(),
        Line::from(vec![
            Span::raw(" "),
            key("y"),
            Span::raw(" end it   "),
            key("n"),
            Span::raw(" let it go on"),
        ]),
    ]
}
