//! Numbers and times as people read them, and what a terminal can show of them.

use std::borrow::Cow;
use std::ffi::OsString;

/// `seconds` as `02:41`, or `1:02:41` from an hour on; negative before the first arrival.
#[must_use]
pub fn clock(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    let s = seconds.abs() as u64;
    match s / 3600 {
        0 => format!("{sign}{:02}:{:02}", s / 60, s % 60),
        h => format!("{sign}{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// `n` with its thousands apart: `1,234,567`.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// `n` in at most `width` characters (at least 5): in full when it fits, else `123k`, `12.3M`.
/// Rounded down, so that a total never reads as more than it is.
#[must_use]
pub fn fit(n: u64, width: usize) -> String {
    let full = grouped(n);
    if full.len() <= width {
        return full;
    }
    let (unit, suffix) = match n {
        0..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        1_000_000_000..1_000_000_000_000 => (1_000_000_000, "G"),
        _ => (1_000_000_000_000, "T"),
    };
    let tenths = n / (unit / 10);
    if tenths < 1000 {
        format!("{}.{}{suffix}", tenths / 10, tenths % 10)
    } else {
        format!("{}{suffix}", n / unit)
    }
}

/// A share as a percentage with as many decimals as tell it from 100 %: `99.95%`. Rounded down,
/// so that a promise that was missed never reads as kept.
#[must_use]
pub fn percent(share: f64) -> String {
    if share.is_infinite() {
        return if share > 0.0 { "∞".to_owned() } else { "-∞".to_owned() };
    }
    let p = share * 100.0;
    let decimals = match p {
        99.9..100.0 => 3,
        99.0..99.9 => 2,
        _ => 1,
    };
    let unit = 10f64.powi(decimals);
    // A hair of tolerance, so that 0.999 × 100 reads as 99.9.
    let down = (p * unit + 1e-6).floor() / unit;
    let text = format!("{down:.*}", decimals as usize);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `bytes` in MiB or GiB.
#[must_use]
pub fn memory(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// What the terminal's locale can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// Everything.
    Utf8,
    /// Letters, digits and punctuation: glyphs become words.
    Ascii,
}

impl Charset {
    /// That of this process's environment.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::of_locale(["LC_ALL", "LC_CTYPE", "LANG"].map(std::env::var_os))
    }

    /// The first of `LC_ALL`, `LC_CTYPE`, `LANG` that is set and not empty decides (POSIX, "Locale
    /// environment variables"); none of them is the C locale, which is ASCII.
    #[must_use]
    pub fn of_locale(variables: [Option<OsString>; 3]) -> Self {
        let locale = variables.into_iter().flatten().find(|v| !v.is_empty()).unwrap_or_default();
        let name = locale.to_string_lossy().to_ascii_lowercase();
        if name.contains("utf-8") || name.contains("utf8") { Charset::Utf8 } else { Charset::Ascii }
    }

    /// `text` with every glyph that cannot be shown replaced by something that means the same.
    #[must_use]
    pub fn show(self, text: &str) -> Cow<'_, str> {
        if self == Charset::Utf8 || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                c if c.is_ascii() => out.push(c),
                '✔' => out.push_str("OK"),
                '✗' => out.push('X'),
                'µ' => out.push('u'),
                '≥' => out.push_str(">="),
                '≤' => out.push_str("<="),
                '∞' => out.push_str("inf"),
                '…' => out.push('~'),
                '·' => out.push('-'),
                '▸' => out.push('>'),
                _ => out.push('?'),
            }
        }
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_read_as_people_write_them() {
        assert_eq!(
            [clock(0.0), clock(161.9), clock(3761.0), clock(-2.0)],
            ["00:00", "02:41", "1:02:41", "-00:02"]
        );
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!(memory(96 << 20), "96 MiB");
        assert_eq!(memory(3 << 29), "1.5 GiB");
    }

    #[test]
    fn a_number_fits_its_column_and_never_reads_as_more_than_it_is() {
        assert_eq!(fit(9_999, 5), "9,999");
        assert_eq!([fit(99_999, 5), fit(999_999, 5), fit(1_999_999, 8)], ["99.9k", "999k", "1.9M"]);
        for n in (0..64).map(|p| u64::MAX >> p) {
            assert!(fit(n, 9).len() <= 9, "{n} is {}", fit(n, 9));
        }
    }

    #[test]
    fn a_missed_promise_never_reads_as_kept() {
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.999), "99.9%");
        assert_eq!(percent(0.998_999_9), "99.89%");
        assert_eq!(percent(0.999_999_9), "99.999%");
        assert_eq!(percent(0.053), "5.3%");
        assert_eq!(percent(-0.8), "-80%");
        assert_eq!(percent(f64::NEG_INFINITY), "-∞");
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let of = |a: &str, b: &str, c: &str| {
            Charset::of_locale([a, b, c].map(|v| (v != "-").then(|| OsString::from(v))))
        };
        assert_eq!(of("-", "-", "-"), Charset::Ascii);
        assert_eq!(of("-", "-", "en_US.UTF-8"), Charset::Utf8);
        assert_eq!(of("C", "-", "en_US.UTF-8"), Charset::Ascii);
        assert_eq!(of("", "C.utf8", "C"), Charset::Utf8);
    }

    #[test]
    fn without_utf_8_glyphs_become_words() {
        assert_eq!(Charset::Ascii.show("✔ p99 ≥ 850 µs"), "OK p99 >= 850 us");
        assert_eq!(Charset::Utf8.show("✔"), "✔");
    }
}
