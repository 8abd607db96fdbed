//! Colours, or none.
//!
//! Lines are Okabe–Ito, which people with any colour vision tell apart (Okabe & Ito, "Color
//! Universal Design"); heat is viridis, whose brightness rises evenly. Colour is never alone:
//! beside it stands a word, a glyph, a dash or the order of the lines.

use std::ffi::OsString;

use ratatui::style::{Color, Modifier, Style};
use squall_reports::generator::RunVerdict;

use crate::live::{SloState, Tone};

/// How many colours the terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// None, or none are wanted.
    Mono,
    /// The 256 of xterm.
    Indexed,
    /// 24 bits.
    Rgb,
}

const BLUE: u32 = 0x00_56_B4_E9;
const ORANGE: u32 = 0x00_E6_9F_00;
const GREEN: u32 = 0x00_00_9E_73;
const VERMILION: u32 = 0x00_D5_5E_00;
const PURPLE: u32 = 0x00_CC_79_A7;

/// Viridis at nine even steps (matplotlib's colour map of that name).
const VIRIDIS: [u32; 9] = [
    0x0044_0154,
    0x0047_2D7B,
    0x003B_528B,
    0x002C_728E,
    0x0021_918C,
    0x0028_AE80,
    0x005E_C962,
    0x00AD_DC30,
    0x00FD_E725,
];

/// Styles by what they mean.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    depth: Depth,
}

impl Theme {
    /// With so many colours.
    #[must_use]
    pub fn new(depth: Depth) -> Self {
        Self { depth }
    }

    /// What this process's environment asks for: none when `NO_COLOR` is set and not empty
    /// (no-color.org), 24 bits when `COLORTERM` promises them, else 256.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::new(depth_of(std::env::var_os("NO_COLOR"), std::env::var_os("COLORTERM")))
    }

    /// Whether there is no colour.
    #[must_use]
    pub fn is_mono(&self) -> bool {
        self.depth == Depth::Mono
    }

    fn color(&self, rgb: u32) -> Option<Color> {
        let [_, r, g, b] = rgb.to_be_bytes();
        match self.depth {
            Depth::Mono => None,
            Depth::Rgb => Some(Color::Rgb(r, g, b)),
            Depth::Indexed => Some(Color::Indexed(nearest_index([r, g, b]))),
        }
    }

    fn fg(&self, rgb: u32) -> Style {
        self.color(rgb).map_or(Style::new(), |c| Style::new().fg(c))
    }

    /// Titles and what must not be missed.
    #[must_use]
    pub fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Rules, axes and labels.
    #[must_use]
    pub fn quiet(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Keys in the key bar.
    #[must_use]
    pub fn key(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    /// The planned rate.
    #[must_use]
    pub fn planned(&self) -> Style {
        self.fg(ORANGE)
    }

    /// The achieved rate.
    #[must_use]
    pub fn achieved(&self) -> Style {
        self.fg(BLUE)
    }

    /// The three percentiles, lowest first.
    #[must_use]
    pub fn percentile(&self, index: usize) -> Style {
        self.fg([GREEN, BLUE, PURPLE][index.min(2)])
    }

    /// The line of a promise.
    #[must_use]
    pub fn promise(&self) -> Style {
        self.fg(VERMILION)
    }

    /// A fault window.
    #[must_use]
    pub fn fault(&self) -> Style {
        self.fg(ORANGE)
    }

    /// The generator's verdict.
    #[must_use]
    pub fn verdict(&self, verdict: RunVerdict) -> Style {
        self.strong().patch(match verdict {
            RunVerdict::Valid => self.fg(GREEN),
            RunVerdict::Suspect => self.fg(ORANGE),
            RunVerdict::Invalid => self.fg(VERMILION),
        })
    }

    /// The state of a promise.
    #[must_use]
    pub fn slo(&self, state: SloState) -> Style {
        match state {
            SloState::Waiting => self.quiet(),
            SloState::Ok => self.fg(GREEN),
            SloState::AtRisk => self.strong().patch(self.fg(ORANGE)),
            SloState::Missed => self.strong().patch(self.fg(VERMILION)),
        }
    }

    /// A note.
    #[must_use]
    pub fn tone(&self, tone: Tone) -> Style {
        match tone {
            Tone::Info => Style::new(),
            Tone::Good => self.fg(GREEN),
            Tone::Warning => self.fg(ORANGE),
            Tone::Bad => self.strong().patch(self.fg(VERMILION)),
        }
    }

    /// A count of something bad: quiet at zero.
    #[must_use]
    pub fn bad_count(&self, n: u64) -> Style {
        if n == 0 { Style::new() } else { self.strong().patch(self.fg(VERMILION)) }
    }

    /// The colour of heat `level` (0..=1); `None` without colour.
    #[must_use]
    pub fn heat(&self, level: f64) -> Option<Color> {
        let at = (level.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64).round() as usize;
        self.color(VIRIDIS[at])
    }
}

fn depth_of(no_color: Option<OsString>, colorterm: Option<OsString>) -> Depth {
    if no_color.is_some_and(|v| !v.is_empty()) {
        Depth::Mono
    } else if colorterm.is_some_and(|v| v == "truecolor" || v == "24bit") {
        Depth::Rgb
    } else {
        Depth::Indexed
    }
}

/// The nearest of xterm's 6×6×6 cube, indexes 16..=231 with the levels 0, 95, 135, … 255.
fn nearest_index(rgb: [u8; 3]) -> u8 {
    let level = |v: u8| match v {
        0..48 => 0,
        48..115 => 1,
        v => (v - 35) / 40,
    };
    let [r, g, b] = rgb.map(level);
    16 + 36 * r + 6 * g + b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_wins_unless_it_is_empty() {
        let v = |s: &str| Some(OsString::from(s));
        assert_eq!(depth_of(v("1"), v("truecolor")), Depth::Mono);
        assert_eq!(depth_of(v(""), v("truecolor")), Depth::Rgb);
        assert_eq!(depth_of(None, None), Depth::Indexed);
    }

    #[test]
    fn without_colour_no_style_has_one() {
        let t = Theme::new(Depth::Mono);
        let styles = [
            t.planned(),
            t.achieved(),
            t.fault(),
            t.promise(),
            t.percentile(2),
            t.verdict(RunVerdict::Invalid),
        ];
        assert!(styles.iter().all(|s| s.fg.is_none() && s.bg.is_none()));
        assert_eq!(t.heat(0.5), None);
    }

    #[test]
    fn the_cube_holds_its_corners() {
        assert_eq!(
            [nearest_index([0, 0, 0]), nearest_index([255, 255, 255]), nearest_index([95, 135, 175])],
            [16, 231, 67]
        );
    }
}
