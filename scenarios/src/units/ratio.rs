//! Shares of a whole: `99.9%`, or a number from 0 to 1.

use super::number::{scaled, split, trimmed};
use crate::error::tick;

/// Why a text is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RatioError {
    /// It is something else.
    #[error("{} is not a share; write it like \"99.9%\", or as a number from 0 to 1", tick(.0))]
    NotARatio(String),
    /// More than the whole.
    #[error("{} is more than the whole; a share is at most 100% or 1", tick(.0))]
    AboveOne(String),
}

/// The share in `text`, 0..=1: a percentage, or a bare number from 0 to 1.
///
/// # Errors
/// When `text` is not a share, or more than the whole.
pub fn parse_ratio(text: &str) -> Result<f64, RatioError> {
    let not = || RatioError::NotARatio(text.to_owned());
    let (number, unit) = split(text).ok_or_else(not)?;
    let exp10 = match unit {
        "%" => -2,
        "" => 0,
        _ => return Err(not()),
    };
    let ratio = scaled(number, exp10).ok_or_else(not)?;
    if ratio > 1.0 { Err(RatioError::AboveOne(text.to_owned())) } else { Ok(ratio) }
}

/// `ratio` as a percentage with at most seven decimals: `99.9%`.
#[must_use]
pub fn format_ratio(ratio: f64) -> String {
    format!("{}%", trimmed(ratio * 100.0, 7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_read_as_people_write_them() {
        for (text, ratio) in [("99.9%", 0.999), ("0.1%", 0.001), ("100%", 1.0), ("0.25", 0.25), ("0", 0.0)] {
            assert_eq!(parse_ratio(text), Ok(ratio), "{text}");
        }
        assert_eq!(format_ratio(0.999), "99.9%");
        assert_eq!(format_ratio(0.9999999), "99.99999%");
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        let message = |t: &str| parse_ratio(t).unwrap_err().to_string();
        assert_eq!(
            message("most"),
            "`most` is not a share; write it like \"99.9%\", or as a number from 0 to 1"
        );
        assert_eq!(message("5"), "`5` is more than the whole; a share is at most 100% or 1");
        assert_eq!(message("101%"), "`101%` is more than the whole; a share is at most 100% or 1");
        for bad in ["", "%", "-1%", "NaN", "1e-3", "5 %", "50%%"] {
            assert!(parse_ratio(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(millionths in 0u32..=1_000_000) {
            let ratio = f64::from(millionths) / 1e6;
            prop_assert!((parse_ratio(&format_ratio(ratio)).unwrap() - ratio).abs() < 1e-12);
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            if let Ok(r) = parse_ratio(&text) {
                prop_assert!((0.0..=1.0).contains(&r));
            }
        }
    }
}
