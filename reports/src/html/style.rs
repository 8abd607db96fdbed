//! The style sheet.

use crate::charts::palette::{THEMED, hex};

/// The page's own rules.
const PAGE: &str = include_str!("style.css");

/// The dark value of each colour in [`THEMED`], in its order: lighter, so that lines stand out
/// from a dark ground as much as the originals do from a white one.
const DARK: [&str; THEMED.len()] = [
    "#E8ECF1", "#A3AEBA", "#2E3741", "#14181D", "#9AA4AF", "#FF8F66", "#4FA8EC", "#F2B53C", "#2FC79B",
    "#FF8A57", "#E59CC6", "#A9DCFF", "#F7EF8A",
];

/// The whole style sheet: the charts' colours by light and dark, then the page's own rules.
#[must_use]
pub fn style() -> String {
    let light: String = THEMED.iter().map(|(name, c)| format!("--{name}:{};", hex(*c))).collect();
    let dark: String = THEMED.iter().zip(DARK).map(|((name, _), c)| format!("--{name}:{c};")).collect();
    let mut css =
        format!(":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n");
    for (name, colour) in THEMED {
        let colour = hex(colour);
        css.push_str(&format!(
            ".chart [fill=\"{colour}\"]{{fill:var(--{name})}}.chart [stroke=\"{colour}\"]{{stroke:var(--{name})}}\n"
        ));
    }
    css + PAGE
}
