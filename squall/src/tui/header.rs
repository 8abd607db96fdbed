//! The verdict, the honest counters, both sides' health and the newest event.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use squall_record::counts::Counts;
use squall_record::event::{Form, Steered};
use squall_reports::generator::RunVerdict;

use super::keys::KEYS;
use super::plot::cut;
use super::state::{Sight, State};
use super::theme::Theme;
use crate::live::{SloState, Stage, Tone, View};
use crate::text::{clock, fit, memory};

/// A piece of a line; of those that do not fit, the one with the highest number goes first.
type Piece<'a> = (u8, Vec<Span<'a>>);

/// Joins the pieces that fit `width`, in their order.
fn fitted<'a>(mut pieces: Vec<Piece<'a>>, width: u16, gap: &'static str) -> Line<'a> {
    let length = |pieces: &[Piece]| -> usize {
        let text: usize = pieces.iter().flat_map(|p| &p.1).map(Span::width).sum();
        text + gap.len() * pieces.len().saturating_sub(1)
    };
    while length(&pieces) > usize::from(width) && pieces.len() > 1 {
        let worst = pieces.iter().map(|p| p.0).max();
        let Some(at) = pieces.iter().rposition(|p| Some(p.0) == worst) else { break };
        pieces.remove(at);
    }
    let mut line = Line::default();
    for (i, (_, spans)) in pieces.into_iter().enumerate() {
        if i > 0 {
            line.push_span(Span::raw(gap));
        }
        line.extend(spans);
    }
    line
}

/// The width of the two verdicts: `✗ INVALID  SLO ! AT RISK`.
const VERDICTS: u16 = 24;

/// Scenario, phase, time, seed, and the two verdicts.
pub(super) fn verdict(buf: &mut Buffer, area: Rect, view: &View, state: &State, theme: &Theme) {
    let plain = |text: String| vec![Span::raw(text)];
    let mut pieces = vec![(5, vec![Span::styled(view.scenario.clone(), theme.strong())])];
    let phase = match (view.stage, view.phase, view.phase_plan()) {
        (Stage::Preparing, ..) => "preparing the target".to_owned(),
        (Stage::Ended { interrupted: false }, ..) => "ended".to_owned(),
        (Stage::Ended { interrupted: true }, ..) => "ended by hand".to_owned(),
        _ if state.stopping => "ending …".to_owned(),
        (Stage::Running, Some(i), Some(p)) => {
            format!("▸ {}/{} {}", i + 1, view.phases.len(), cut(&crate::live::printable(&p.name), 16))
        }
        (Stage::Running, ..) => "running".to_owned(),
    };
    pieces.push((4, plain(phase)));
    pieces.push((2, plain(format!("{}/{}", clock(f64::from(view.elapsed_s)), clock(view.total_s)))));
    pieces.push((6, plain(format!("seed {}", view.seed))));
    if let Some(load) = load_words(view) {
        pieces.push((1, vec![Span::styled(load, theme.key())]));
    }
    if state.held.is_some() {
        pieces.push((3, vec![Span::styled("VIEW FROZEN", theme.key())]));
    }
    if state.sight == Sight::Recent {
        pieces.push((7, plain("last 2 min".to_owned())));
    }
    buf.set_line(area.x, area.y, &fitted(pieces, area.width.saturating_sub(VERDICTS + 2), "  "), area.width);
    // The verdicts have their fixed place at the right end.
    let verdicts =
        Line::from(vec![verdict_span(view, theme), Span::raw("  "), slo_span(view.slo_state(), theme)]);
    let x = area.right().saturating_sub(VERDICTS).max(area.x);
    buf.set_line(x, area.y, &verdicts, VERDICTS.min(area.width));
}

/// What the load is, when it is not the plan's.
fn load_words(view: &View) -> Option<String> {
    match view.steered {
        _ if view.closed => Some("CLOSED LOOP".to_owned()),
        Steered { paused: true, .. } => Some("LOAD PAUSED".to_owned()),
        Steered { form: Form::Rate(rps), .. } => Some(format!("LOAD {rps:.0}/s")),
        Steered { form: Form::Plan(factor), .. } => {
            let percent = (factor * 100.0).round();
            (percent != 100.0).then(|| format!("LOAD {percent:.0} %"))
        }
    }
}

fn verdict_span<'a>(view: &View, theme: &Theme) -> Span<'a> {
    match view.generator.verdict {
        None => Span::styled("· PENDING", theme.quiet()),
        Some(v) => {
            let glyph = match v {
                RunVerdict::Valid => "✔",
                RunVerdict::Suspect => "!",
                RunVerdict::Invalid => "✗",
            };
            Span::styled(format!("{:<9}", format!("{glyph} {}", v.word())), theme.verdict(v))
        }
    }
}

fn slo_span<'a>(state: Option<SloState>, theme: &Theme) -> Span<'a> {
    match state {
        None => Span::styled("no SLO", theme.quiet()),
        Some(s) => Span::styled(format!("SLO {}", slo_words(s)), theme.slo(s)),
    }
}

/// A state of a promise with its glyph.
pub(super) fn slo_words(state: SloState) -> &'static str {
    match state {
        SloState::Waiting => "· WAITING",
        SloState::Ok => "✔ OK",
        SloState::AtRisk => "! AT RISK",
        SloState::Missed => "✗ MISSED",
    }
}

/// The width of the counters' first column.
const COUNTER_NAME: u16 = 8;

/// What is counted, in full and for narrow terminals.
const COUNTERS: [(&str, &str); 9] = [
    ("planned", "plan"),
    ("achieved", "done"),
    ("ok", "ok"),
    ("declined", "decl"),
    ("shed", "shed"),
    ("failed", "fail"),
    ("dropped", "drop"),
    ("late", "late"),
    ("retried", "retr"),
];

/// What became of the arrivals: the last second, and in all.
pub(super) fn counters(buf: &mut Buffer, area: Rect, view: &View, theme: &Theme) {
    // The last one only where clients retry.
    let shown = COUNTERS.len() - usize::from(!view.retries);
    let width = ((area.width - COUNTER_NAME) / shown as u16).min(14);
    let (total, warmup) = view.counts();
    let rows = [("last s", &view.last), (if warmup { "warm-up" } else { "total" }, total)];
    buf.set_stringn(area.x, area.y + 1, rows[0].0, usize::from(COUNTER_NAME), theme.quiet());
    buf.set_stringn(area.x, area.y + 2, rows[1].0, usize::from(COUNTER_NAME), theme.quiet());
    for (i, (name, short)) in COUNTERS.into_iter().take(shown).enumerate() {
        let x = area.x + COUNTER_NAME + width * i as u16;
        let right = usize::from(width);
        let name = if name.len() < right { name } else { short };
        buf.set_stringn(x, area.y, format!("{name:>right$}"), right, theme.quiet());
        for (row, (_, counts)) in rows.iter().enumerate() {
            let n = counted(counts)[i];
            // Shed, failed and dropped are bad; late is the generator's own.
            let style = if (4..7).contains(&i) { theme.bad_count(n) } else { Style::new() };
            let text = format!("{:>right$}", fit(n, right - 1));
            buf.set_stringn(x, area.y + 1 + row as u16, text, right, style);
        }
    }
}

fn counted(c: &Counts) -> [u64; 9] {
    [c.planned, c.completed(), c.ok, c.declined, c.shed, c.failed_total(), c.dropped, c.late, c.retried]
}

/// How the generator and the target are.
pub(super) fn health(buf: &mut Buffer, area: Rect, view: &View, theme: &Theme) {
    let g = &view.generator;
    let t = &view.target;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let share = |v: f64| format!("{:.0}%", v * 100.0);
    let plain = |text: String| vec![Span::raw(text)];
    let up = match t.up {
        None => Span::styled("target –", theme.quiet()),
        Some(true) => Span::styled("target ✔ up", theme.tone(Tone::Good)),
        Some(false) => Span::styled("target ✗ DOWN", theme.tone(Tone::Bad)),
    };
    let pieces = vec![
        (0, plain(format!("gen CPU {}", or_dash(g.cpu.map(share))))),
        (3, plain(format!("pacing p99 {}", or_dash(g.pacing_p99.map(|p| p.to_string()))))),
        (2, plain(format!("in flight {}", g.in_flight))),
        (4, plain(format!("waiting {}", g.waiting))),
        (6, plain(format!("connections {}", g.connections))),
        (1, vec![Span::styled("│ ", theme.quiet()), up]),
        (1, plain(format!("CPU {}", or_dash(t.cpu.map(share))))),
        (2, plain(format!("RSS {}", or_dash(t.rss_bytes.map(memory))))),
        (3, plain(format!("queue {}", or_dash(t.queue_depth.map(|n| n.to_string()))))),
    ];
    buf.set_line(area.x, area.y, &fitted(pieces, area.width, "  "), area.width);
}

/// How long the newest event stands where the journeys' line is.
const NOTE_STANDS_S: f64 = 3.0;

/// What happened last, or why the last key did nothing; where there are journeys, how they are once
/// that is some seconds ago.
pub(super) fn note(buf: &mut Buffer, area: Rect, view: &View, state: &State, theme: &Theme) {
    if let Some(why) = &state.refused {
        let text = format!("not done: {why}");
        buf.set_stringn(
            area.x,
            area.y,
            cut(&text, area.width.into()),
            area.width.into(),
            theme.tone(Tone::Bad),
        );
        return;
    }
    let recent = |at_s: f64| f64::from(view.elapsed_s) < at_s + NOTE_STANDS_S;
    let running = view.stage == Stage::Running;
    if running && !view.journeys.is_empty() && !view.notes.last().is_some_and(|n| recent(n.at_s)) {
        // Several take turns.
        let turn = view.elapsed_s as usize % view.journeys.len();
        let text = view.journeys[turn].line();
        let width = usize::from(area.width);
        buf.set_stringn(area.x, area.y, cut(&text, area.width.into()), width, Style::new());
        return;
    }
    let Some(note) = view.notes.last() else { return };
    let text = format!("{} {}", clock(note.at_s), note.text);
    buf.set_stringn(area.x, area.y, cut(&text, area.width.into()), area.width.into(), theme.tone(note.tone));
}

/// The keys that are always in sight.
pub(super) fn key_bar(buf: &mut Buffer, area: Rect, state: &State, theme: &Theme) {
    let pieces = super::overlay::keys_in_force(KEYS, state)
        .filter_map(|k| Some((k.name, k.short?)))
        .map(|(name, (rank, short))| {
            (rank, vec![Span::styled(format!(" {name} "), theme.key()), Span::raw(format!(" {short}"))])
        })
        .collect();
    buf.set_line(area.x, area.y, &fitted(pieces, area.width, "  "), area.width);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_least_gives_way_first() {
        let pieces =
            || vec![(2, vec![Span::raw("aaaa")]), (0, vec![Span::raw("bb")]), (1, vec![Span::raw("ccc")])];
        let text = |width| fitted(pieces(), width, "  ").to_string();
        assert_eq!([text(20), text(12), text(6), text(1)], ["aaaa  bb  ccc", "bb  ccc", "bb", "bb"]);
    }
}
