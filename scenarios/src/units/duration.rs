//! Durations: `30s`, `1m30s`, `250ms`, `1h`.

use std::time::Duration;

use super::number::split;
use crate::error::tick;

/// The longest duration that can be written: ten years.
pub const MAX_DURATION: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Units from large to small, with their length in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is something else.
    #[error("{} is not a duration; write it like \"30s\", \"1m30s\", \"250ms\" or \"1h\"", tick(.0))]
    NotADuration(String),
    /// A number without a unit.
    #[error("{} has no unit; write {} for seconds, or ms, m, h", tick(.0), tick(&format!("{}s", .0)))]
    NoUnit(String),
    /// The unit is not one.
    #[error("{} has an unknown unit {}; the units are d, h, m, s, ms, us and ns", tick(.0), tick(.1))]
    UnknownUnit(String, String),
    /// `30s1m`, `1s1s`.
    #[error("{} has its units out of order; write each once, from large to small, like \"1h30m\"", tick(.0))]
    OutOfOrder(String),
    /// A fraction of a nanosecond.
    #[error("{} is not a whole number of nanoseconds", tick(.0))]
    TooFine(String),
    /// More than [`MAX_DURATION`].
    #[error("{} is longer than 10 years", tick(.0))]
    TooLong(String),
}

/// The duration in `text`: one or more numbers with a unit, from large to small.
///
/// # Errors
/// When `text` is not a duration, is longer than [`MAX_DURATION`] or finer than a nanosecond.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut total_ns = 0u128;
    let mut units_left = &UNITS[..];
    let mut rest = text;
    loop {
        let (number, after) = split(rest).ok_or_else(|| DurationError::NotADuration(text.to_owned()))?;
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let unit = if unit == "µs" { "us" } else { unit };
        if unit.is_empty() {
            return Err(DurationError::NoUnit(text.to_owned()));
        }
        if !UNITS.iter().any(|(u, _)| *u == unit) {
            return Err(DurationError::UnknownUnit(text.to_owned(), unit.to_owned()));
        }
        let at = units_left
            .iter()
            .position(|(u, _)| *u == unit)
            .ok_or_else(|| DurationError::OutOfOrder(text.to_owned()))?;
        total_ns += nanos(number, units_left[at].1).ok_or_else(|| DurationError::TooFine(text.to_owned()))?;
        units_left = &units_left[at + 1..];
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    if total_ns > MAX_DURATION.as_nanos() {
        return Err(DurationError::TooLong(text.to_owned()));
    }
    // Ten years are 3.2e17 ns: the cast cannot truncate.
    Ok(Duration::from_nanos(total_ns as u64))
}

/// `number` × `unit_ns`, when that is whole. At most 20 digits times a day is below 10^34, which
/// `u128` holds.
fn nanos(number: &str, unit_ns: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let scaled = digits * unit_ns;
    scaled.is_multiple_of(scale).then_some(scaled / scale)
}

/// `d` as people write it, exactly: `1m30s`. Below two days, days are written as hours.
#[must_use]
pub fn format_duration(d: Duration) -> String {
    let mut left = d.as_nanos();
    let mut out = String::new();
    let largest = if left >= 2 * UNITS[0].1 { 0 } else { 1 };
    for (unit, ns) in &UNITS[largest..] {
        if left >= *ns {
            out.push_str(&format!("{}{unit}", left / ns));
            left %= ns;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// `seconds` as people write it, to the microsecond: `1m30s`. Not a number and negative are zero.
#[must_use]
pub fn format_seconds(seconds: f64) -> String {
    let micros = (seconds * 1e6).round().clamp(0.0, MAX_DURATION.as_micros() as f64);
    format_duration(Duration::from_micros(micros as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1h", 3_600_000),
            ("1.5s", 1_500),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("15µs"), parse_duration("15us"));
        assert_eq!(format_seconds(90.0), "1m30s");
        assert_eq!(format_seconds(0.0155), "15ms500us");
        assert_eq!(format_seconds(f64::NAN), "0s");
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        let message = |t: &str| parse_duration(t).unwrap_err().to_string();
        assert_eq!(
            message("soon"),
            "`soon` is not a duration; write it like \"30s\", \"1m30s\", \"250ms\" or \"1h\""
        );
        assert_eq!(message("30"), "`30` has no unit; write `30s` for seconds, or ms, m, h");
        assert_eq!(
            message("30sec"),
            "`30sec` has an unknown unit `sec`; the units are d, h, m, s, ms, us and ns"
        );
        assert_eq!(
            message("30s1m"),
            "`30s1m` has its units out of order; write each once, from large to small, like \"1h30m\""
        );
        assert_eq!(message("0.5ns"), "`0.5ns` is not a whole number of nanoseconds");
        assert_eq!(message("3651d"), "`3651d` is longer than 10 years");
        for bad in ["", "-1s", "1s1s", "NaNs", "1e3s", " 1s", "1 s", "99999999999999999999d", "s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(ns in 0u64..=31_536_000_000_000_000) {
            let d = Duration::from_nanos(ns);
            prop_assert_eq!(parse_duration(&format_duration(d)).unwrap(), d);
        }

        #[test]
        fn any_text_is_answered(text in "([0-9.]{0,24}[a-zµ]{0,3}){0,4}|.*") {
            if let Ok(d) = parse_duration(&text) {
                prop_assert!(d <= MAX_DURATION);
            }
        }
    }
}
