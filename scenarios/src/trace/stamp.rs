//! Instants as logs write them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The unit of stamps that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

impl StampUnit {
    fn ns(self) -> i64 {
        match self {
            StampUnit::S => 1_000_000_000,
            StampUnit::Ms => 1_000_000,
            StampUnit::Us => 1_000,
            StampUnit::Ns => 1,
        }
    }

    /// As a scenario writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StampUnit::S => "s",
            StampUnit::Ms => "ms",
            StampUnit::Us => "us",
            StampUnit::Ns => "ns",
        }
    }
}

/// An instant of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since the Unix epoch, or since whatever zero the numbers of a trace have.
    pub ns: i64,
    /// Written without a fraction of a second: when in that second it was is not known.
    pub whole_second: bool,
}

/// Why a text is no instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// Neither a number nor a date and time with its offset from UTC.
    #[error("is neither a plain number nor an RFC 3339 time with its offset (2026-11-27T10:00:00.250Z)")]
    NotATime,
    /// Not as nginx and Apache write it.
    #[error("is not a time like 10/Oct/2000:13:55:36 -0700")]
    NotALogTime,
    /// Beyond what nanoseconds in 64 bits can hold: 292 years either way.
    #[error("is further than 292 years from its zero; is `unit` right?")]
    TooFar,
}

/// A number of `unit`s, or an RFC 3339 time.
///
/// # Errors
/// When `text` is neither, or too far away.
pub fn parse_stamp(text: &[u8], unit: StampUnit) -> Result<Stamp, StampError> {
    let text = text.trim_ascii();
    match parse_number(text, unit) {
        Err(StampError::NotATime) => parse_rfc3339(text),
        number => number,
    }
}

/// A decimal number, exactly: no floating point lies between a log and its replay.
fn parse_number(text: &[u8], unit: StampUnit) -> Result<Stamp, StampError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut parts = digits.splitn(2, |b| *b == b'.');
    let (whole, fraction) = (parts.next().unwrap_or_default(), parts.next());
    if whole.is_empty() || !whole.iter().chain(fraction.unwrap_or_default()).all(u8::is_ascii_digit) {
        return Err(StampError::NotATime);
    }
    let value = |digits: &[u8]| {
        digits.iter().try_fold(0i64, |n, b| n.checked_mul(10)?.checked_add(i64::from(b - b'0')))
    };
    let mut ns = value(whole).and_then(|n| n.checked_mul(unit.ns())).ok_or(StampError::TooFar)?;
    if let Some(fraction) = fraction {
        // Nine digits of the largest unit are a nanosecond.
        let kept = &fraction[..fraction.len().min(9)];
        let scale = 10i64.pow(kept.len() as u32);
        let part = i128::from(value(kept).unwrap_or(0)) * i128::from(unit.ns()) / i128::from(scale);
        ns = ns.checked_add(part as i64).ok_or(StampError::TooFar)?;
    }
    let ns = if negative { -ns } else { ns };
    Ok(Stamp { ns, whole_second: unit == StampUnit::S && fraction.is_none() })
}

/// RFC 3339. A leap second counts as the second before it.
fn parse_rfc3339(text: &[u8]) -> Result<Stamp, StampError> {
    let text = std::str::from_utf8(text).map_err(|_| StampError::NotATime)?;
    let at: Timestamp = text.parse().map_err(|_| StampError::NotATime)?;
    let ns = i64::try_from(at.as_nanosecond()).map_err(|_| StampError::TooFar)?;
    Ok(Stamp { ns, whole_second: !text.contains(['.', ',']) })
}

/// The length of `10/Oct/2000:13:55:36 -0700`.
pub(super) const LOG_TIME_LEN: usize = 26;

/// The time of nginx's and Apache's logs, in whole seconds. A leap second counts as the second
/// before it.
///
/// # Errors
/// When `text` is not like `10/Oct/2000:13:55:36 -0700`.
pub fn parse_log_time(text: &[u8]) -> Result<Stamp, StampError> {
    let text = std::str::from_utf8(text).map_err(|_| StampError::NotALogTime)?;
    if text.len() != LOG_TIME_LEN {
        return Err(StampError::NotALogTime);
    }
    let at = Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", text).map_err(|_| StampError::NotALogTime)?;
    let ns = i64::try_from(at.as_nanosecond()).map_err(|_| StampError::TooFar)?;
    Ok(Stamp { ns, whole_second: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000_000;

    fn ns(text: &str, unit: StampUnit) -> Result<i64, StampError> {
        parse_stamp(text.as_bytes(), unit).map(|s| s.ns)
    }

    #[test]
    fn numbers_are_read_exactly_in_their_unit() {
        assert_eq!(ns("1700000000.123456789", StampUnit::S), Ok(1_700_000_000_123_456_789));
        assert_eq!(ns(" 12 ", StampUnit::S), Ok(12 * S));
        assert_eq!(ns("0.0000000019", StampUnit::S), Ok(1));
        assert_eq!(ns("-1.5", StampUnit::S), Ok(-1_500_000_000));
        assert_eq!(ns("1700000000123", StampUnit::Ms), Ok(1_700_000_000_123_000_000));
        assert_eq!(ns("1.5", StampUnit::Us), Ok(1_500));
        assert_eq!(ns("7.9", StampUnit::Ns), Ok(7));
    }

    #[test]
    fn what_is_no_time_or_too_far_away_is_refused() {
        for text in
            ["", ".", ".5", "-", "1e9", "nan", "inf", "1,5", "2026-11-27", "2026-11-27T10:00:00", "1 2"]
        {
            assert_eq!(ns(text, StampUnit::S), Err(StampError::NotATime), "{text}");
        }
        // Milliseconds taken for seconds.
        assert_eq!(ns("1700000000123", StampUnit::S), Err(StampError::TooFar));
        assert_eq!(ns(&"9".repeat(400), StampUnit::Ns), Err(StampError::TooFar));
        assert_eq!(ns("9999-12-30T00:00:00Z", StampUnit::S), Err(StampError::TooFar));
    }

    #[test]
    fn offsets_and_changes_of_clocks_are_instants() {
        let at = |t: &str| parse_stamp(t.as_bytes(), StampUnit::Ms).unwrap();
        assert_eq!(at("1970-01-01T01:00:00+01:00").ns, 0);
        assert_eq!(at("1970-01-01T00:00:00.25Z"), Stamp { ns: S / 4, whole_second: false });
        // The hour that a German clock shows twice, and the turn of a year.
        assert_eq!(at("2026-10-25T02:30:00+01:00").ns - at("2026-10-25T02:30:00+02:00").ns, 3600 * S);
        assert_eq!(at("2027-01-01T00:00:00Z").ns - at("2026-12-31T23:59:59Z").ns, S);
        // A leap second.
        assert_eq!(at("2016-12-31T23:59:60Z").ns, at("2016-12-31T23:59:59Z").ns);
    }

    #[test]
    fn log_times_are_read_with_their_zone() {
        let at = |t: &str| parse_log_time(t.as_bytes()).map(|s| s.ns);
        assert_eq!(at("10/Oct/2000:13:55:36 -0700"), Ok(971_211_336 * S));
        assert_eq!(at("31/Dec/2016:23:59:60 +0000"), at("31/Dec/2016:23:59:59 +0000"));
        let turn = at("01/Jan/2027:00:00:00 +0000").unwrap() - at("31/Dec/2026:23:59:59 +0000").unwrap();
        assert_eq!(turn, S);
        for text in [
            "10/Okt/2000:13:55:36 -0700",
            "31/Feb/2000:13:55:36 -0700",
            "10/Oct/2000:25:55:36 -0700",
            "10/Oct/2000 13:55:36 -0700",
            "10/Oct/2000:13:55:36",
            "10/Oct/2000:13:55:36 -0700 ",
        ] {
            assert_eq!(at(text), Err(StampError::NotALogTime), "{text}");
        }
    }

    #[test]
    fn only_what_is_written_in_whole_seconds_is() {
        let whole = |t: &str, unit| parse_stamp(t.as_bytes(), unit).unwrap().whole_second;
        assert!(whole("17", StampUnit::S) && whole("2026-11-27T10:00:00Z", StampUnit::S));
        assert!(!whole("17.000", StampUnit::S) && !whole("17000", StampUnit::Ms));
        assert!(!whole("2026-11-27T10:00:00.000Z", StampUnit::S));
    }

    proptest! {
        #[test]
        fn every_nanosecond_survives_being_written_and_read(at in any::<i64>()) {
            prop_assume!(at != i64::MIN);
            prop_assert_eq!(ns(&at.to_string(), StampUnit::Ns), Ok(at));
            let sign = if at < 0 { "-" } else { "" };
            let text = format!("{sign}{}.{:09}", at.unsigned_abs() / 1_000_000_000, at.unsigned_abs() % 1_000_000_000);
            prop_assert_eq!(ns(&text, StampUnit::S), Ok(at));
        }
    }
}
