//! A decimal number without sign or exponent, as it begins a rate, a duration or a share.

/// The longest number accepted, in characters; with at most this many no product below overflows.
pub const MAX_NUMBER_LEN: usize = 20;

/// Splits `text` after the number it begins with: `12.5k` is `12.5` and `k`. `None` when it does
/// not begin with `digits` or `digits.digits`, or the number is longer than [`MAX_NUMBER_LEN`].
#[must_use]
pub fn split(text: &str) -> Option<(&str, &str)> {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    let fraction = text[whole..].strip_prefix('.').map_or(0, digits);
    let end = if fraction > 0 { whole + 1 + fraction } else { whole };
    (whole > 0 && end <= MAX_NUMBER_LEN && !text[end..].starts_with('.')).then(|| text.split_at(end))
}

/// `number` × 10^`exp10`, correctly rounded: 99.9 with −2 is exactly the literal `0.999`, which
/// `99.9 / 100.0` is not. `None` when `number` is not one that [`split`] yields.
#[must_use]
pub fn scaled(number: &str, exp10: i32) -> Option<f64> {
    let (number, "") = split(number)? else { return None };
    format!("{number}e{exp10}").parse().ok()
}

/// `value` with at most `places` decimals and no trailing zeros.
#[must_use]
pub fn trimmed(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `value` rounded to a whole number, digits in groups of three: `1,234,567`.
#[must_use]
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_with_digits_after_its_point() {
        assert_eq!(split("12.5k/s"), Some(("12.5", "k/s")));
        assert_eq!(split("7"), Some(("7", "")));
        for bad in ["", ".5", "5.", "-1", "+1", "1.2.3", "k", "123456789012345678901"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn scaling_is_exact_where_division_is_not() {
        assert_eq!(scaled("99.9", -2), Some(0.999));
        assert_eq!(scaled("1.5", 6), Some(1_500_000.0));
        assert_eq!(scaled("1e5", 0), None);
    }

    #[test]
    fn people_read_groups_and_no_trailing_zeros() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(trimmed(2.50, 4), "2.5");
        assert_eq!(trimmed(100.0, 0), "100");
    }
}
