//! The picture for terminals without UTF-8: every glyph becomes an ASCII character of about the
//! same weight, in the same cell.

use ratatui::buffer::Buffer;

/// Replaces everything that is not ASCII.
pub(super) fn flatten(buf: &mut Buffer) {
    for cell in &mut buf.content {
        if !cell.symbol().is_ascii() {
            let c = cell.symbol().chars().next().map_or(' ', ascii);
            cell.set_char(c);
        }
    }
}

fn ascii(c: char) -> char {
    match c {
        // Braille: the more dots, the heavier.
        '\u{2800}'..='\u{28ff}' => match (c as u32 & 0xff).count_ones() {
            0 => ' ',
            1..=2 => '.',
            3..=4 => ':',
            _ => '*',
        },
        '─' | '━' | '╌' | '┄' | '▔' | '–' => '-',
        '│' | '▐' => '|',
        '┊' => ':',
        '└' | '┴' | '┌' | '┐' | '┘' => '+',
        '▁' | '▂' => '_',
        '▃' | '▄' | '▅' | '░' => '.',
        '▆' | '▇' | '▀' | '▒' => 'o',
        '▓' => 'O',
        '█' => '#',
        '✔' => '+',
        '✗' => 'X',
        '▲' => '^',
        '▸' => '>',
        '≤' => '<',
        '≥' => '>',
        'µ' => 'u',
        '×' => 'x',
        '·' => '-',
        '…' => '~',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_keeps_its_place() {
        let mut buf = Buffer::with_lines(["│⣿⠁ ✔ 5 µs┊", "└──█▁░ ▸ ü"]);
        flatten(&mut buf);
        assert_eq!(buf, Buffer::with_lines(["|*. + 5 us:", "+--#_. > ?"]));
    }
}
