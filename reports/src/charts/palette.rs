//! The colours of every chart: Okabe and Ito's, which people with any colour vision tell apart,
//! viridis for heat, and the dash that goes with a line.
//!
//! A chart is drawn in the light colours below. The HTML report overrides them by their hex
//! values in CSS, so one drawing serves light and dark.

use plotters::style::RGBColor;

/// Text and axes.
pub const INK: RGBColor = RGBColor(0x1B, 0x1F, 0x24);
/// Lesser text.
pub const MUTED: RGBColor = RGBColor(0x59, 0x63, 0x6E);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xDD, 0xE2, 0xE8);
/// What lies behind a standalone chart.
pub const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
/// Shade of a warm-up.
pub const WARM_UP: RGBColor = RGBColor(0x8A, 0x93, 0x9E);
/// Shade of a fault.
pub const FAULT: RGBColor = RGBColor(0xC8, 0x3C, 0x0A);
/// Okabe–Ito blue.
pub const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
/// Okabe–Ito orange.
pub const ORANGE: RGBColor = RGBColor(0xE6, 0x9F, 0x00);
/// Okabe–Ito bluish green.
pub const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);
/// Okabe–Ito vermilion.
pub const VERMILION: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
/// Okabe–Ito reddish purple.
pub const PURPLE: RGBColor = RGBColor(0xCC, 0x79, 0xA7);
/// Okabe–Ito sky blue.
pub const SKY: RGBColor = RGBColor(0x56, 0xB4, 0xE9);

/// Okabe–Ito yellow.
pub const YELLOW: RGBColor = RGBColor(0xF0, 0xE4, 0x42);

/// Every colour that the HTML report restyles, with the name of its CSS variable.
pub const THEMED: [(&str, RGBColor); 13] = [
    ("ink", INK),
    ("muted", MUTED),
    ("grid", GRID),
    ("paper", PAPER),
    ("warm-up", WARM_UP),
    ("fault", FAULT),
    ("blue", BLUE),
    ("orange", ORANGE),
    ("green", GREEN),
    ("vermilion", VERMILION),
    ("purple", PURPLE),
    ("sky", SKY),
    ("yellow", YELLOW),
];

/// How a line is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dash {
    /// Not at all.
    Solid,
    /// Long dashes.
    Dashed,
    /// Dots.
    Dotted,
    /// Dash, dot.
    Mixed,
}

/// A line's look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pen {
    /// Its colour.
    pub colour: RGBColor,
    /// Its dash.
    pub dash: Dash,
    /// Its width in pixels.
    pub width: u32,
}

impl Pen {
    /// A pen of `colour`, `dash` and `width`.
    #[must_use]
    pub const fn new(colour: RGBColor, dash: Dash, width: u32) -> Self {
        Self { colour, dash, width }
    }

    /// What is drawn with: the drawing library knows no dashes, so a dashed line is drawn in a
    /// colour one bit away from its own, by which [`apply_dashes`] finds it.
    #[must_use]
    pub(crate) fn stand_in(self) -> RGBColor {
        let RGBColor(r, g, b) = self.colour;
        RGBColor(r, g ^ self.dash as u8, b)
    }
}

/// `#RRGGBB`, as the drawing library writes it.
#[must_use]
pub fn hex(colour: RGBColor) -> String {
    let RGBColor(r, g, b) = colour;
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// Turns the stand-in colours of dashed lines into dashed lines of their colour.
#[must_use]
pub(crate) fn apply_dashes(mut svg: String) -> String {
    for (_, colour) in THEMED {
        for (dash, array) in [(Dash::Dashed, "7 4"), (Dash::Dotted, "2 3"), (Dash::Mixed, "8 3 2 3")] {
            let stand_in = format!("stroke=\"{}\"", hex(Pen::new(colour, dash, 1).stand_in()));
            if svg.contains(&stand_in) {
                let dashed = format!("stroke=\"{}\" stroke-dasharray=\"{array}\"", hex(colour));
                svg = svg.replace(&stand_in, &dashed);
            }
        }
    }
    svg
}

/// Viridis at `t` (0..=1), interpolated between nine of its colours (matplotlib's table, CC0).
#[must_use]
pub fn viridis(t: f64) -> RGBColor {
    const STOPS: [(u8, u8, u8); 9] = [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ];
    let at = t.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (at as usize).min(STOPS.len() - 2);
    let share = at - below as f64;
    let (a, b) = (STOPS[below], STOPS[below + 1]);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_stand_in_is_another_colour_or_another_stand_in() {
        let mut seen = BTreeSet::new();
        for (_, colour) in THEMED {
            for dash in [Dash::Solid, Dash::Dashed, Dash::Dotted, Dash::Mixed] {
                assert!(seen.insert(hex(Pen::new(colour, dash, 1).stand_in())));
            }
        }
    }

    #[test]
    fn a_dashed_line_gets_its_colour_back() {
        let drawn = format!("<line stroke=\"{}\"/>", hex(Pen::new(BLUE, Dash::Dashed, 2).stand_in()));
        assert_eq!(apply_dashes(drawn), "<line stroke=\"#0072B2\" stroke-dasharray=\"7 4\"/>");
    }

    #[test]
    fn viridis_runs_from_purple_to_yellow() {
        assert_eq!((viridis(0.0), viridis(1.0)), (RGBColor(68, 1, 84), RGBColor(253, 231, 37)));
        assert_eq!(viridis(0.5), RGBColor(33, 144, 141));
    }
}
