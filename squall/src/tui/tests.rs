//! The picture as text, for the sizes that people have.

use std::sync::Arc;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use squall_record::event::{Event, Steer, What};
use squall_record::interval::Sink;

use super::keys::Action;
use super::overlay::help_lines;
use super::{Commands, Depth, KEYS, Overlay, Panel, State, Theme, draw};
use crate::live::sample::{self, Step};
use crate::live::{Live, View};
use crate::text::Charset;

fn view_after(seconds: u32) -> Arc<View> {
    let plan = sample::quickstart();
    let mut live = Live::new(&plan);
    for step in sample::steps(&plan, seconds) {
        match step {
            Step::Tick(t) => live.tick(&t).unwrap(),
            Step::Event(e) => live.event(&e).unwrap(),
            Step::Target(t) => live.target(&t).unwrap(),
        }
    }
    live.shared().latest()
}

fn state(actions: &[Action], view: &Arc<View>) -> State {
    let mut state = State::new(true);
    let commands = Commands::new(|| {}).with_pilot(|_| Ok(()));
    actions.iter().for_each(|a| state.apply(*a, view, &commands));
    state
}

fn picture_in(view: &View, state: &State, (width, height): (u16, u16), charset: Charset) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme::new(Depth::Mono);
    terminal.draw(|frame| draw(frame.buffer_mut(), view, state, &theme, charset)).unwrap();
    terminal.backend().to_string()
}

fn picture(seconds: u32, size: (u16, u16), actions: &[Action]) -> String {
    let view = view_after(seconds);
    picture_in(&view, &state(actions, &view), size, Charset::Utf8)
}

#[test]
fn before_the_first_second() {
    insta::assert_snapshot!("80x24_before", picture(0, (80, 24), &[]));
}

#[test]
fn in_the_climb_nothing_has_failed() {
    insta::assert_snapshot!("80x24_climb", picture(14, (80, 24), &[]));
}

#[test]
fn while_the_store_fails() {
    insta::assert_snapshot!("80x24_fault", picture(37, (80, 24), &[]));
    insta::assert_snapshot!("120x40_fault", picture(37, (120, 40), &[]));
    insta::assert_snapshot!("60x20_fault", picture(37, (60, 20), &[]));
}

#[test]
fn after_the_end() {
    insta::assert_snapshot!("120x40_end", picture(60, (120, 40), &[]));
}

#[test]
fn too_small_still_shows_the_verdict() {
    insta::assert_snapshot!("40x10_too_small", picture(37, (40, 10), &[]));
}

#[test]
fn panels_in_full() {
    for (i, panel) in Panel::ALL.iter().enumerate().skip(1) {
        let tabs = vec![Action::NextPanel; i];
        insta::assert_snapshot!(format!("80x24_{panel:?}").to_lowercase(), picture(37, (80, 24), &tabs));
    }
}

#[test]
fn overlays() {
    insta::assert_snapshot!("80x24_help", picture(14, (80, 24), &[Action::Help]));
    insta::assert_snapshot!("80x24_question", picture(14, (80, 24), &[Action::AskStop]));
}

#[test]
fn a_load_that_is_not_the_plans_is_told_in_the_first_line() {
    let shown = |change: fn(&mut View)| {
        let mut view = View::clone(&view_after(20));
        change(&mut view);
        picture_in(&view, &State::new(true), (80, 24), Charset::Utf8).lines().next().unwrap().to_owned()
    };
    assert!(!shown(|_| {}).contains("LOAD"));
    assert!(shown(|v| v.steered = v.steered.after(Steer::Pause)).contains("LOAD PAUSED"));
    assert!(shown(|v| v.steered = v.steered.after(Steer::Scale { factor: 1.2 })).contains("LOAD 120 %"));
    assert!(shown(|v| v.steered = v.steered.after(Steer::Rate { rps: 500.0 })).contains("LOAD 500/s"));
    assert!(shown(|v| v.closed = true).contains("CLOSED LOOP"));
}

#[test]
fn without_utf_8() {
    let mut view = View::clone(&view_after(37));
    view.marks_s.push(12.0);
    let text = picture_in(&view, &State::new(true), (80, 24), Charset::Ascii);
    // The one question mark is the name of a key: every glyph has its likeness.
    assert!(text.is_ascii() && text.matches('?').count() == 1, "{text}");
    insta::assert_snapshot!("80x24_ascii", text);
}

/// Where each title and fixed label stands.
fn anchors(picture: &str) -> Vec<Option<(usize, usize)>> {
    ["last s", "gen CPU", "━ pl", "p50", "heatmap", "budget", "top errors", "help"]
        .iter()
        .map(|label| {
            picture
                .lines()
                .enumerate()
                .find_map(|(y, line)| Some((y, line[..line.find(label)?].chars().count())))
        })
        .collect()
}

#[test]
fn nothing_jumps_when_errors_appear() {
    for size in [(80, 24), (120, 40), (60, 20), (200, 60)] {
        let calm = anchors(&picture(14, size, &[]));
        for seconds in [0, 1, 28, 37, 45, 60] {
            assert_eq!(anchors(&picture(seconds, size, &[])), calm, "{size:?} after {seconds} s");
        }
    }
}

#[test]
fn the_help_lists_every_key_and_those_that_change_the_run_only_where_it_can_be_changed() {
    let theme = Theme::new(Depth::Mono);
    let help = |can_steer| {
        help_lines(KEYS, &State::new(can_steer), &theme).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for key in KEYS.iter().filter(|k| !k.long.is_empty()) {
        assert!(help(true).iter().any(|l| l.contains(key.name) && l.contains(key.long)), "{}", key.name);
    }
    assert!(help(false).iter().all(|l| !l.contains("set a mark") && !l.contains("pause the load")));
    let shown = picture(14, (80, 24), &[Action::Help]);
    assert!(KEYS.iter().all(|k| shown.contains(k.long)), "cut off at 80×24:\n{shown}");
    assert!(shown.contains("burn      1×"), "cut off at 80×24:\n{shown}");
}

#[test]
fn the_key_bar_is_in_sight_on_every_panel_and_under_every_overlay() {
    let view = view_after(20);
    for panel in Panel::ALL {
        for overlay in [Overlay::None, Overlay::Help, Overlay::AskStop] {
            for size in [(60, 20), (80, 24), (120, 40)] {
                let state = State { panel, overlay, ..State::new(true) };
                let text = picture_in(&view, &state, size, Charset::Utf8);
                let last = text.lines().last().unwrap();
                assert!(
                    last.contains("? ") && last.contains("end run"),
                    "{panel:?} {overlay:?} {size:?}: {last}"
                );
            }
        }
    }
}

#[test]
fn no_size_and_no_moment_panics() {
    let views = [0, 1, 37, 60].map(view_after);
    for (width, height) in (1..140).step_by(7).flat_map(|w| (1..50).step_by(3).map(move |h| (w, h))) {
        for view in &views {
            for panel in Panel::ALL {
                let state = State { panel, overlay: Overlay::Help, ..State::new(true) };
                picture_in(view, &state, (width, height), Charset::Utf8);
            }
        }
    }
}

#[test]
fn names_from_outside_cannot_break_the_picture() {
    let mut plan = sample::quickstart();
    plan.name = "n\u{1b}[2J".repeat(40);
    plan.slos[0].name = "\u{202e}slo\n".repeat(40);
    plan.faults[0].fault.name = "f\u{7}".repeat(40);
    plan.phases[0].name = "p\u{9b}".repeat(40);
    let mut live = Live::new(&plan);
    live.tick(&sample::tick(&plan, 0)).unwrap();
    live.event(&Event { at_s: 1.0, what: What::Mark { text: "\u{1b}c".repeat(40) } }).unwrap();
    let text = picture_in(live.view(), &State::new(true), (80, 24), Charset::Utf8);
    assert!(text.lines().all(|l| !l.contains(char::is_control) && !l.contains('\u{202e}')), "{text:?}");
}

#[test]
fn faults_that_touch_are_told_apart() {
    let mut view = View::clone(&view_after(60));
    view.faults[1].start_s = view.faults[0].end_s + 0.02;
    let text = picture_in(&view, &State::new(true), (120, 40), Charset::Utf8);
    assert!(text.contains("▒▒▐▒▒"), "{text}");
}
