//! What the person at the keyboard chose.

use std::sync::Arc;

use super::app::Commands;
use super::keys::Action;
use crate::live::{RECENT_S, View};

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
    /// Marks can be set.
    pub can_mark: bool,
    /// How many marks were set.
    pub marks: u32,
}

impl State {
    /// Everything in sight. `can_mark`: whether there is anyone who takes marks.
    #[must_use]
    pub fn new(can_mark: bool) -> Self {
        Self {
            panel: Panel::Overview,
            overlay: Overlay::None,
            sight: Sight::Whole,
            held: None,
            stopping: false,
            can_mark,
            marks: 0,
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
        match action {
            Action::Help if self.overlay == Overlay::Help => self.overlay = Overlay::None,
            Action::Help => self.overlay = Overlay::Help,
            Action::Pause => self.held = if self.held.is_some() { None } else { Some(Arc::clone(newest)) },
            Action::NextPanel => self.panel = self.panel.step(1),
            Action::PreviousPanel => self.panel = self.panel.step(Panel::ALL.len() - 1),
            Action::Sight => {
                self.sight = if self.sight == Sight::Whole { Sight::Recent } else { Sight::Whole };
            }
            Action::Mark if self.can_mark => {
                self.marks += 1;
                commands.mark(&format!("mark {}", self.marks));
            }
            Action::AskStop if !self.stopping => self.overlay = Overlay::AskStop,
            Action::Yes if self.overlay == Overlay::AskStop => self.stop(commands),
            Action::Stop => self.stop(commands),
            Action::Back if self.overlay != Overlay::None => self.overlay = Overlay::None,
            Action::Back => self.panel = Panel::Overview,
            Action::Mark | Action::AskStop | Action::Yes => {}
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
    fn marks_go_to_whoever_takes_them() {
        let marks = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&marks);
        let commands = Commands::new(|| {}).with_mark(move |m| kept.lock().unwrap().push(m.to_owned()));
        let mut s = State::new(commands.can_mark());
        s.apply(Action::Mark, &newest(), &commands);
        s.apply(Action::Mark, &newest(), &commands);
        assert_eq!(*marks.lock().unwrap(), ["mark 1", "mark 2"]);
    }

    #[test]
    fn tab_goes_round_and_back() {
        for p in Panel::ALL {
            assert_eq!(p.step(1).step(Panel::ALL.len() - 1), p);
        }
        assert_eq!(Panel::Events.step(1), Panel::Overview);
    }
}
