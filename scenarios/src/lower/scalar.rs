//! Single values and names, the same for every table.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::tick;
use crate::file::scalar::{At, DurationText, RateText, Ratio};
use crate::findings::Findings;
use crate::units::duration::parse_duration;
use crate::units::rate::parse_rate_rps;
use crate::units::ratio::parse_ratio;

/// The longest name of anything, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// A rate in requests per second.
pub(super) fn rate_rps(typed: &At<RateText>, what: impl Display, findings: &mut Findings) -> Option<f64> {
    findings.check(typed.span(), what, parse_rate_rps(typed))
}

/// A duration, zero included.
pub(super) fn duration(
    typed: &At<DurationText>,
    what: impl Display,
    findings: &mut Findings,
) -> Option<Duration> {
    findings.check(typed.span(), what, parse_duration(typed))
}

/// A duration above zero and at most `most`.
pub(super) fn duration_within(
    typed: &At<DurationText>,
    most: Duration,
    what: impl Display,
    findings: &mut Findings,
) -> Option<Duration> {
    let d = duration(typed, &what, findings)?;
    if d.is_zero() {
        findings.add(typed.span(), format!("{what} {} must be longer than zero", tick(typed)));
        return None;
    }
    if d > most {
        let most = crate::units::duration::format_duration(most);
        findings.add(typed.span(), format!("{what} {} is above the limit, {most}", tick(typed)));
        return None;
    }
    Some(d)
}

/// A share, 0..=1.
pub(super) fn ratio(typed: &At<Ratio>, what: impl Display, findings: &mut Findings) -> Option<f64> {
    match &**typed {
        Ratio::Text(text) => findings.check(typed.span(), what, parse_ratio(text)),
        Ratio::Number(n) if (0.0..=1.0).contains(n) => Some(*n),
        Ratio::Number(n) => {
            findings.add(
                typed.span(),
                format!("{what} {n} is not a share; a number is from 0 to 1, a percentage is text: \"{n}%\""),
            );
            None
        }
    }
}

/// `typed` or `default`, when it lies within `allowed`; what was typed outside is told.
pub(super) fn within<T: Copy + PartialOrd + Display>(
    typed: Option<&At<T>>,
    default: T,
    allowed: RangeInclusive<T>,
    what: &str,
    findings: &mut Findings,
) -> Option<T> {
    let Some(typed) = typed else { return Some(default) };
    if allowed.contains(typed) {
        return Some(**typed);
    }
    let value = **typed;
    findings.add(
        typed.span(),
        format!("{what} {value} is outside its range, {} to {}", allowed.start(), allowed.end()),
    );
    None
}

/// Names of one kind of thing: each readable, each once.
#[derive(Debug)]
pub(super) struct Names {
    kind: &'static str,
    seen: HashSet<String>,
}

impl Names {
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, seen: HashSet::new() }
    }

    /// Checks a name that people read and gates refer to.
    pub(super) fn add(&mut self, name: &At<String>, findings: &mut Findings) {
        let plain = |c: char| !c.is_control() && !"{},\"`<>=!".contains(c);
        self.check(name, findings, name.trim().len() == name.len() && name.chars().all(plain), {
            "of plain characters, without { } , \" ` < > = !, and not begin or end with a space"
        });
    }

    /// Checks a name that files and tools see.
    pub(super) fn add_tag(&mut self, name: &At<String>, findings: &mut Findings) {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        self.check(name, findings, name.bytes().all(safe), "of letters, digits, _ and -");
    }

    fn check(&mut self, name: &At<String>, findings: &mut Findings, well_formed: bool, form: &str) {
        let kind = self.kind;
        if name.is_empty() || name.len() > MAX_NAME_LEN || !well_formed {
            findings.add(
                name.span(),
                format!("{kind} name {} must be 1 to {MAX_NAME_LEN} bytes {form}", tick(name)),
            );
        } else if !self.seen.insert(name.to_string()) {
            findings.add(name.span(), format!("{kind} name {} is used twice; give each its own", tick(name)));
        }
    }
}
