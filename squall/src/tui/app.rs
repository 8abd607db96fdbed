//! The loop: newest view, keys, draw.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};
use squall_record::clock::Clock;

use super::keys;
use super::screen::Screen;
use super::state::State;
use super::theme::Theme;
use crate::live::SharedView;
use crate::text::Charset;

/// The least time between two pictures that nobody asked for with a key, in nanoseconds.
const REDRAW_NS: u64 = 250_000_000;
/// How long a key is waited for before looking whether something else happened.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// The most keys taken between two pictures: a held key must not starve the picture.
const MAX_KEYS: usize = 64;

/// Takes the text of a mark.
type Mark = Box<dyn Fn(&str) + Send + Sync>;

/// What the keyboard may ask of the run.
pub struct Commands {
    stop: Box<dyn Fn() + Send + Sync>,
    mark: Option<Mark>,
}

impl Commands {
    /// `stop` ends the run and still writes every report, as one Ctrl-C does; called again it
    /// means what a second Ctrl-C means. It must return at once.
    #[must_use]
    pub fn new(stop: impl Fn() + Send + Sync + 'static) -> Self {
        Self { stop: Box::new(stop), mark: None }
    }

    /// With someone who takes marks. Without, there is no key for them. It must return at once.
    #[must_use]
    pub fn with_mark(self, mark: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { mark: Some(Box::new(mark)), ..self }
    }

    /// Whether marks are taken.
    #[must_use]
    pub fn can_mark(&self) -> bool {
        self.mark.is_some()
    }

    /// Ends the run.
    pub fn stop(&self) {
        (self.stop)();
    }

    /// Sets a mark.
    pub fn mark(&self, text: &str) {
        if let Some(mark) = &self.mark {
            mark(text);
        }
    }
}

/// Shows a run on the terminal at stderr until `done`, on a thread of its own. While it does,
/// nothing else may write to stderr or stdout if they are that terminal.
///
/// It ends early, and gives the terminal back, when any thread panics or the terminal is gone.
/// The caller then has to go on without: the run does not depend on its picture.
///
/// # Errors
/// When stderr is not a terminal, or reading from or drawing on it fails.
pub fn run(view: &SharedView, commands: &Commands, done: &AtomicBool) -> io::Result<()> {
    let mut screen = Screen::take()?;
    let theme = Theme::of_environment();
    let charset = Charset::of_environment();
    let clock = Clock::start();
    let mut state = State::new(commands.can_mark());
    let mut asked = true;
    let mut drawn: Option<(u64, u64)> = None;

    while !done.load(Ordering::Relaxed) && Screen::is_taken() {
        let newest = view.latest();
        let shown = state.shown(&newest);
        let now_ns = clock.now_ns();
        let due =
            drawn.is_none_or(|(version, at_ns)| version != shown.version && now_ns - at_ns >= REDRAW_NS);
        if asked || due {
            screen.terminal.draw(|frame| super::draw(frame.buffer_mut(), &shown, &state, &theme, charset))?;
            drawn = Some((shown.version, now_ns));
            asked = false;
        }
        let mut wait = KEY_WAIT;
        for _ in 0..MAX_KEYS {
            if !event::poll(wait)? {
                break;
            }
            wait = Duration::ZERO;
            match event::read()? {
                Event::Key(key) => {
                    if let Some(action) = keys::action(&key) {
                        state.apply(action, &newest, commands);
                        asked = true;
                    }
                }
                Event::Resize(..) => asked = true,
                _ => {}
            }
        }
    }
    Ok(())
}
