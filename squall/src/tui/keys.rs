//! The one table of keys. What a key does, the key bar and the help are all read from it, so the
//! help cannot drift from the truth.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Shows or hides the help.
    Help,
    /// Holds the picture still, or lets it go on.
    Pause,
    /// The next panel in full.
    NextPanel,
    /// The previous panel in full.
    PreviousPanel,
    /// The whole run, or its newest two minutes.
    Sight,
    /// Pauses the load, or lets it go on.
    PauseLoad,
    /// More load.
    MoreLoad,
    /// Less load.
    LessLoad,
    /// The plan's load again.
    PlanLoad,
    /// Sets a mark on the time axis.
    Mark,
    /// Asks whether to end the run.
    AskStop,
    /// Ends the run; a second time: at once.
    Stop,
    /// Yes to a question.
    Yes,
    /// No to a question, or back to the overview.
    Back,
}

impl Action {
    /// Whether it changes the run: the load, or the marks on its record.
    #[must_use]
    pub fn steers(self) -> bool {
        use Action::{LessLoad, Mark, MoreLoad, PauseLoad, PlanLoad};
        matches!(self, Mark | PauseLoad | MoreLoad | LessLoad | PlanLoad)
    }
}

/// A key and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    code: KeyCode,
    control: bool,
    /// What it is called.
    pub name: &'static str,
    /// What it does, in a word for the key bar, after a number: where not all fit, the highest goes
    /// first. Keys without one are in the help only.
    pub short: Option<(u8, &'static str)>,
    /// What it does, in a sentence for the help; empty for a key that the line of another tells of.
    pub long: &'static str,
    /// What it does.
    pub action: Action,
}

const fn key(
    code: KeyCode,
    name: &'static str,
    short: Option<(u8, &'static str)>,
    long: &'static str,
    action: Action,
) -> Key {
    Key { code, control: false, name, short, long, action }
}

/// Every key there is.
pub const KEYS: &[Key] = &[
    key(KeyCode::Char('?'), "?", Some((0, "help")), "show or hide this help", Action::Help),
    key(
        KeyCode::Char(' '),
        "space",
        Some((3, "freeze")),
        "hold the picture still; the run goes on",
        Action::Pause,
    ),
    key(
        KeyCode::Char('p'),
        "p",
        Some((1, "pause")),
        "pause the load, or let it go on; the plan's time goes on",
        Action::PauseLoad,
    ),
    key(
        KeyCode::Char('+'),
        "+ -",
        Some((2, "load")),
        "10 % of the plan's load more, or less",
        Action::MoreLoad,
    ),
    key(KeyCode::Char('-'), "-", None, "", Action::LessLoad),
    key(KeyCode::Char('0'), "0", None, "the plan's load again", Action::PlanLoad),
    key(
        KeyCode::Tab,
        "tab",
        Some((4, "panel")),
        "next panel in full, then all again; shift-tab: the one before",
        Action::NextPanel,
    ),
    key(KeyCode::BackTab, "shift-tab", None, "", Action::PreviousPanel),
    key(
        KeyCode::Char('w'),
        "w",
        Some((6, "time")),
        "the whole run, or its newest two minutes",
        Action::Sight,
    ),
    key(
        KeyCode::Char('m'),
        "m",
        Some((5, "mark")),
        "set a mark, to find this moment in the report",
        Action::Mark,
    ),
    key(
        KeyCode::Char('q'),
        "q",
        Some((0, "end run")),
        "end the run, after a question; reports are written",
        Action::AskStop,
    ),
    Key {
        code: KeyCode::Char('c'),
        control: true,
        name: "ctrl-c",
        short: None,
        long: "end the run without a question; twice: leave at once",
        action: Action::Stop,
    },
    key(KeyCode::Char('y'), "y", None, "", Action::Yes),
    key(KeyCode::Char('n'), "n", None, "", Action::Back),
    key(KeyCode::Esc, "esc", None, "close the help; all panels again; no, to a question", Action::Back),
];

/// What `event` asks for, if it asks for anything.
#[must_use]
pub fn action(event: &KeyEvent) -> Option<Action> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    KEYS.iter().find(|k| k.code == event.code && k.control == control).map(|k| k.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_in_the_table_twice_and_each_does_what_it_says() {
        for (i, k) in KEYS.iter().enumerate() {
            let modifiers = if k.control { KeyModifiers::CONTROL } else { KeyModifiers::NONE };
            assert_eq!(action(&KeyEvent::new(k.code, modifiers)), Some(k.action), "{}", k.name);
            assert!(KEYS[..i].iter().all(|o| (o.code, o.control) != (k.code, k.control)), "{}", k.name);
        }
        assert_eq!(action(&KeyEvent::new(KeyCode::Char('c'), KeyModifiers::NONE)), None);
        assert_eq!(action(&KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL)), None);
    }

    #[test]
    fn letting_a_key_go_is_not_pressing_it() {
        let release = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(action(&release), None);
    }
}
