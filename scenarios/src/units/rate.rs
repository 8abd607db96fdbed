//! Rates: `10k/s`, `600/min`, `1.5M/s`.

use super::number::{scaled, split, trimmed};
use crate::error::tick;

/// The highest rate that can be written, in requests per second.
pub const MAX_RATE_RPS: f64 = 10e6;
/// The lowest rate above zero that can be written, in requests per second: one an hour.
pub const MIN_RATE_RPS: f64 = 1.0 / 3600.0;

/// Why a text is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It is something else.
    #[error("{} is not a rate; write a number and a period, such as \"10k/s\", \"600/min\" or \"1.5M/s\"", tick(.0))]
    NotARate(String),
    /// A number without a period.
    #[error("{} has no period; write {} for so many a second", tick(.0), tick(&format!("{}/s", .0)))]
    NoPeriod(String),
    /// The period is not one.
    #[error("{} has an unknown period {}; write /s, /min or /h", tick(.0), tick(.1))]
    UnknownPeriod(String, String),
    /// More than [`MAX_RATE_RPS`].
    #[error("{} is above the highest rate, 10M/s", tick(.0))]
    TooHigh(String),
    /// Less than [`MIN_RATE_RPS`] and not zero.
    #[error("{} is below the lowest rate, 1/h; write 0/s for a pause", tick(.0))]
    TooLow(String),
}

/// The rate in `text`, in requests per second: a number, `k` or `M` or nothing, and `/s`, `/min`
/// or `/h`. Zero is a rate.
///
/// # Errors
/// When `text` is not a rate, or one out of [`MIN_RATE_RPS`]..=[`MAX_RATE_RPS`].
pub fn parse_rate_rps(text: &str) -> Result<f64, RateError> {
    let (number, unit) = split(text).ok_or_else(|| RateError::NotARate(text.to_owned()))?;
    let (exp10, period) = match unit.as_bytes().first() {
        Some(b'k') => (3, &unit[1..]),
        Some(b'M') => (6, &unit[1..]),
        _ => (0, unit),
    };
    let period_s = match period {
        "/s" => 1.0,
        "/min" => 60.0,
        "/h" => 3600.0,
        "" => return Err(RateError::NoPeriod(text.to_owned())),
        p if p.starts_with('/') => return Err(RateError::UnknownPeriod(text.to_owned(), p.to_owned())),
        _ => return Err(RateError::NotARate(text.to_owned())),
    };
    let rps = scaled(number, exp10).ok_or_else(|| RateError::NotARate(text.to_owned()))? / period_s;
    if rps > MAX_RATE_RPS {
        Err(RateError::TooHigh(text.to_owned()))
    } else if rps > 0.0 && rps < MIN_RATE_RPS {
        Err(RateError::TooLow(text.to_owned()))
    } else {
        Ok(rps)
    }
}

/// `rate_rps` as people write it, rounded to four decimals: `10k/s`.
#[must_use]
pub fn format_rate(rate_rps: f64) -> String {
    match rate_rps {
        r if r >= 1e6 => format!("{}M/s", trimmed(r / 1e6, 4)),
        r if r >= 1e3 => format!("{}k/s", trimmed(r / 1e3, 4)),
        r if r >= 0.1 || r == 0.0 => format!("{}/s", trimmed(r, 4)),
        r => format!("{}/h", trimmed(r * 3600.0, 4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_read_as_people_write_them() {
        for (text, rps) in [
            ("10k/s", 10_000.0),
            ("600/min", 10.0),
            ("1.5M/s", 1_500_000.0),
            ("7.2k/h", 2.0),
            ("0/s", 0.0),
            ("0.5/s", 0.5),
        ] {
            assert_eq!(parse_rate_rps(text), Ok(rps), "{text}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        let message = |t: &str| parse_rate_rps(t).unwrap_err().to_string();
        assert_eq!(
            message("fast"),
            "`fast` is not a rate; write a number and a period, such as \"10k/s\", \"600/min\" or \"1.5M/s\""
        );
        assert_eq!(message("10k"), "`10k` has no period; write `10k/s` for so many a second");
        assert_eq!(message("10k/m"), "`10k/m` has an unknown period `/m`; write /s, /min or /h");
        assert_eq!(message("11M/s"), "`11M/s` is above the highest rate, 10M/s");
        assert_eq!(message("0.1/h"), "`0.1/h` is below the lowest rate, 1/h; write 0/s for a pause");
        for bad in [
            "-5/s",
            "NaN/s",
            "inf/s",
            "1e9/s",
            "",
            "/s",
            " 5/s",
            "5 /s",
            "5kk/s",
            "99999999999999999999999/s",
        ] {
            assert!(parse_rate_rps(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(rps in MIN_RATE_RPS * 1.01..MAX_RATE_RPS) {
            let back = parse_rate_rps(&format_rate(rps)).unwrap();
            prop_assert!((back - rps).abs() <= rps * 5.1e-4, "{} became {}", rps, back);
        }

        #[test]
        fn whole_rates_read_back_exactly(rps in 0u32..10_000_000) {
            // Four decimals of a thousand hold every whole rate below a million and every hundred above.
            let rps = f64::from(if rps >= 1_000_000 { rps / 100 * 100 } else { rps });
            prop_assert_eq!(parse_rate_rps(&format_rate(rps)).unwrap(), rps);
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            if let Ok(rps) = parse_rate_rps(&text) {
                prop_assert!((0.0..=MAX_RATE_RPS).contains(&rps));
            }
        }
    }
}
