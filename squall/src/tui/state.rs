//! What the person at the keyboard chose.

use std::sync::Arc;

use squall_record::event::Steer;

use super::app::Commands;
use super::keys::Action;
use crate::live::{RECENT_S, View};
use crate::run::control::Command;

/// What fills the space between the counters and the key bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    /// Everything.
    Overview,
    /// Planned and achieved requests.
    Throughput,
    /// Percentiles.
    Response,
    /// The heatmap.
    Heatmap,
    /// Every promise, and why the run is not VALID.
    Promises,
    /// Every kind of error and what happened.
    Events,
}

impl Panel {
    /// In the order of the tab key.
    pub const ALL: [Panel; 6] =
        [Panel::Overview, Panel::Throughput, Panel::Response, Panel::Heatmap, Panel::Promises, Panel::Events];

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|p| *p == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }
}

/// What lies over the panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    /// Nothing.
    None,
    /// The keys and the words.
    Help,
    /// Whether to end the run.
    AskStop,
}

/// How much of the run the charts show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// All of it, also what is planned.
    Whole,
    /// The newest [`RECENT_S`] seconds.
    Recent,
}

/// What the person at the keyboard chose.
#[derive(Debug, Clone)]
pub struct State {
    /// Which panel is in full.
    pub panel: Panel,
    /// What lies over it.
    pub overlay: Overlay,
    /// How much of the run is in sight.
    pub sight: Sight,
    /// The view that is held still, if one is.
    pub held: Option<Arc<View>>,
    /// The run was asked to end.
    pub stopping: bool,
    /// The run can be changed: its load, and the marks on its record.
    pub can_steer: bool,
    /// How many marks were set.
    pub marks: u32,
    /// Why the last key did not change the run, until the next one.
    pub refused: Option<String>,
}

impl State {
    /// Everything in sight. `can_steer`: whether there is anyone who changes the run.
    #[must_use]
    pub fn new(can_steer: bool) -> Self {
        Self {
            panel: Panel::Overview,
            overlay: Overlay::None,
            sight: Sight::Whole,
            held: None,
            stopping: false,
            can_steer,
            marks: 0,
            refused: None,
        }
    }

    /// What is drawn when `newest` is the newest view.
    #[must_use]
    pub fn shown(&self, newest: &Arc<View>) -> Arc<View> {
        Arc::clone(self.held.as_ref().unwrap_or(newest))
    }

    /// The stretch of time in sight, in seconds.
    #[must_use]
    pub fn span_s(&self, view: &View) -> (f64, f64) {
        let elapsed = f64::from(view.elapsed_s);
        match self.sight {
            Sight::Whole => (0.0, view.total_s.max(elapsed).max(1.0)),
            Sight::Recent => {
                let from = (elapsed - RECENT_S as f64).max(0.0);
                (from, from + RECENT_S as f64)
            }
        }
    }

    /// Does what was asked for.
    pub fn apply(&mut self, action: Action, newest: &Arc<View>, commands: &Commands) {
        self.refused = None;
        if action.steers() {
            if self.can_steer {
                let command = self.command(action);
                self.refused = commands.ask(command).err();
            }
            return;
        }
        match action {
            Action::Help if self.overlay == Overlay::Help => self.overlay = Overlay::None,
            Action::Help => self.overlay = Overlay::Help,
            Action::Pause => self.held = if self.held.is_some() { None } else { Some(Arc::clone(newest)) },
            Action::NextPanel => self.panel = self.panel.step(1),
            Action::PreviousPanel => self.panel = self.panel.step(Panel::ALL.len() - 1),
            Action::Sight => {
                self.sight = if self.sight == Sight::Whole { Sight::Recent } else { Sight::Whole };
            }
            Action::AskStop if !self.stopping => self.overlay = Overlay::AskStop,
            Action::Yes if self.overlay == Overlay::AskStop => self.stop(commands),
            Action::Stop => self.stop(commands),
            Action::Back if self.overlay != Overlay::None => self.overlay = Overlay::None,
            Action::Back => self.panel = Panel::Overview,
            _ => {}
        }
    }

    /// What `action` asks of a run.
    fn command(&mut self, action: Action) -> Command {
        match action {
            Action::PauseLoad => Command::TogglePause,
            Action::MoreLoad => Command::Step(1),
            Action::LessLoad => Command::Step(-1),
            Action::PlanLoad => Command::Steer(Steer::Scale { factor: 1.0 }),
            _ => {
                self.marks += 1;
                Command::Mark(format!("mark {}", self.marks))
            }
        }
    }

    fn stop(&mut self, commands: &Commands) {
        self.stopping = true;
        self.overlay = Overlay::None;
        commands.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Live, sample};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn newest() -> Arc<View> {
        Live::new(&sample::quickstart()).shared().latest()
    }

    #[test]
    fn q_asks_first_and_ctrl_c_does_not() {
        let stops = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&stops);
        let commands = Commands::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let mut s = State::new(false);
        let mut press = |a| {
            s.apply(a, &newest(), &commands);
            stops.load(Ordering::Relaxed)
        };
        assert_eq!([press(Action::Yes), press(Action::AskStop), press(Action::Back)], [0, 0, 0]);
        assert_eq!([press(Action::Yes), press(Action::AskStop), press(Action::Yes)], [0, 0, 1]);
        // Asked once is enough; Ctrl-C is heard again, for leaving at once.
        assert_eq!([press(Action::AskStop), press(Action::Yes), press(Action::Stop)], [1, 1, 2]);
    }

    #[test]
    fn pausing_holds_the_picture_and_not_the_run() {
        let plan = sample::quickstart();
        let mut live = Live::new(&plan);
        let shared = live.shared();
        let commands = Commands::new(|| {});
        let mut s = State::new(false);
        s.apply(Action::Pause, &shared.latest(), &commands);
        squall_record::interval::Sink::tick(&mut live, &sample::tick(&plan, 0)).unwrap();
        assert_eq!(s.shown(&shared.latest()).version, 0);
        s.apply(Action::Pause, &shared.latest(), &commands);
        assert_eq!(s.shown(&shared.latest()).version, 1);
    }

    #[test]
    fn keys_ask_for_changes_and_number_their_marks() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&asked);
        let commands = Commands::new(|| {}).with_pilot(move |command| {
            keep.lock().unwrap().push(command);
            Ok(())
        });
        let mut s = State::new(commands.can_steer());
        let keys = [Action::MoreLoad, Action::LessLoad, Action::PlanLoad, Action::PauseLoad];
        keys.into_iter().chain([Action::Mark; 2]).for_each(|a| s.apply(a, &newest(), &commands));
        let plan = Command::Steer(Steer::Scale { factor: 1.0 });
        let mark = |n| Command::Mark(format!("mark {n}"));
        let expected = [Command::Step(1), Command::Step(-1), plan, Command::TogglePause, mark(1), mark(2)];
        assert_eq!(*asked.lock().unwrap(), expected);
    }

    #[test]
    fn why_a_key_did_nothing_is_told_until_the_next_one() {
        let commands = Commands::new(|| {}).with_pilot(|_| Err("too high".to_owned()));
        let mut s = State::new(true);
        s.apply(Action::MoreLoad, &newest(), &commands);
        assert_eq!(s.refused.as_deref(), Some("too high"));
        s.apply(Action::NextPanel, &newest(), &commands);
        assert_eq!(s.refused, None);
        let mut without = State::new(false);
        without.apply(Action::MoreLoad, &newest(), &commands);
        assert_eq!(without.refused, None, "nobody was asked");
    }

    #[test]
    fn tab_goes_round_and_back() {
        for p in Panel::ALL {
            assert_eq!(p.step(1).step(Panel::ALL.len() - 1), p);
        }
        assert_eq!(Panel::Events.step(1), Panel::Overview);
    }
}
