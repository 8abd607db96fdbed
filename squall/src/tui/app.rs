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
use crate::run::control::Command;
use crate::text::Charset;

/// The least time between two pictures that nobody asked for with a key, in nanoseconds.
const REDRAW_NS: u64 = 250_000_000;
/// How long a key is waited for before looking whether something else happened.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// The most keys taken between two pictures: a held key must not starve the picture.
const MAX_KEYS: usize = 64;

/// Does what is asked of the run, or says why not.
type Pilot = Box<dyn Fn(Command) -> Result<(), String> + Send + Sync>;

/// What the keyboard may ask of the run.
pub struct Commands {
    stop: Box<dyn Fn() + Send + Sync>,
    pilot: Option<Pilot>,
}

impl Commands {
    /// `stop` ends the run and still writes every report, as one Ctrl-C does; called again it
    /// means what a second Ctrl-C means. It must return at once.
    #[must_use]
    pub fn new(stop: impl Fn() + Send + Sync + 'static) -> Self {
        Self { stop: Box::new(stop), pilot: None }
    }

    /// With someone who changes the load and sets marks. Without, there are no keys for that. It
    /// must return at once.
    #[must_use]
    pub fn with_pilot(self, pilot: impl Fn(Command) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { pilot: Some(Box::new(pilot)), ..self }
    }

    /// Whether the run can be changed.
    #[must_use]
    pub fn can_steer(&self) -> bool {
        self.pilot.is_some()
    }

    /// Ends the run.
    pub fn stop(&self) {
        (self.stop)();
    }

    /// Changes the run.
    ///
    /// # Errors
    /// Why it was not changed.
    pub fn ask(&self, command: Command) -> Result<(), String> {
        self.pilot.as_ref().map_or(Ok(()), |pilot| pilot(command))
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
    let mut state = State::new(commands.can_steer());
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
