//! One shape as typed, read: its levels, durations and terms checked, and what it means as a [`Form`].

use std::ops::Range;

use super::days::{self, Day};
use super::form::{Form, Knot};
use super::{Rules, export, rate_rps};
use crate::error::tick;
use crate::file::scalar::{At, DurationText, Level, RateText};
use crate::file::shapes::{CurveFile, Daily, Pulse, Ramp, Seasonal, Sine, Spike, Term, Weekly};
use crate::findings::Findings;
use crate::lower::scalar::{duration, duration_within, ratio, within};
use crate::units::duration::{MAX_DURATION, format_seconds};
use crate::units::number::trimmed;
use crate::units::rate::{format_rate, parse_rate_rps};

/// The most terms of one sum or product.
pub const MAX_TERMS: usize = 16;
/// How deep sums and products may lie in one another.
pub const MAX_DEPTH: usize = 4;
/// The highest factor in a product.
pub const MAX_FACTOR: f64 = 1000.0;

/// A shape as typed.
#[derive(Debug)]
pub(in crate::lower) enum Shape<'a> {
    Rate(&'a At<RateText>),
    Hold(&'a At<Level>),
    Ramp(&'a Ramp),
    Spike(&'a Spike),
    Pulse(&'a Pulse),
    Sine(&'a Sine),
    Daily(&'a Daily),
    Weekly(&'a Weekly),
    Seasonal(&'a Seasonal),
    File(&'a CurveFile),
    Sum(&'a At<Vec<At<Term>>>),
    Product(&'a At<Vec<At<Term>>>),
}

/// The shapes that were typed in a phase or a term, with their keys.
macro_rules! typed_shapes {
    ($table:expr, $hold:path) => {
        [
            $table.rate.as_ref().map(|s| ("rate", $hold(s))),
            $table.ramp.as_deref().map(|s| ("ramp", Shape::Ramp(s))),
            $table.spike.as_deref().map(|s| ("spike", Shape::Spike(s))),
            $table.pulse.as_deref().map(|s| ("pulse", Shape::Pulse(s))),
            $table.sine.as_deref().map(|s| ("sine", Shape::Sine(s))),
            $table.daily.as_deref().map(|s| ("daily", Shape::Daily(s))),
            $table.weekly.as_deref().map(|s| ("weekly", Shape::Weekly(s))),
            $table.seasonal.as_deref().map(|s| ("seasonal", Shape::Seasonal(s))),
            $table.curve.as_deref().map(|s| ("curve", Shape::File(s))),
            $table.sum.as_ref().map(|s| ("sum", Shape::Sum(s))),
            $table.product.as_ref().map(|s| ("product", Shape::Product(s))),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
    };
}

pub(super) use typed_shapes;

/// The names of those that a term can have.
const TERM_SHAPES: &str = "rate, ramp, spike, pulse, sine, daily, weekly, seasonal, curve, sum or product";

/// A rate as text, scaled, and, when it is `limited`, not above the limit.
pub(super) fn scaled_rps(
    text: &str,
    span: Range<usize>,
    what: &str,
    rules: &Rules<'_>,
    limited: bool,
    findings: &mut Findings,
) -> Option<f64> {
    let rps = findings.check(span.clone(), what, parse_rate_rps(text))? * rules.scale;
    if limited && rps > rules.max_rate_rps {
        let limit = format_rate(rules.max_rate_rps);
        let scaled = if rules.scale == 1.0 {
            String::new()
        } else {
            format!(" times the scale {} is {}, which", trimmed(rules.scale, 4), format_rate(rps))
        };
        findings.add(
            span,
            format!(
                "{what} {text}{scaled} is above load.max_rate {limit}; raise the limit or spread the load over agents"
            ),
        );
        return None;
    }
    Some(rps)
}

/// What levels are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Unit {
    /// Requests per second; each must keep to the limit by itself unless it is multiplied later.
    Rate { limited: bool },
    /// What a rate is multiplied by.
    Factor,
}

/// A shape, read.
#[derive(Debug)]
pub(super) struct Shaped {
    pub(super) form: Form,
    /// How much of its own time a phase plays when it does not say; `None` for its own duration.
    pub(super) own_s: Option<f64>,
    /// When its own time is over; `None` for never.
    pub(super) ends_s: Option<f64>,
}

impl Shaped {
    fn new(form: Form) -> Self {
        Self { form, own_s: None, ends_s: None }
    }
}

/// Reads the shapes of one phase.
pub(super) struct Reader<'r> {
    pub(super) what: &'r str,
    pub(super) rules: &'r Rules<'r>,
    pub(super) findings: &'r mut Findings,
}

impl Reader<'_> {
    /// `path` is the key path of what `shape` stands in, empty or ending with a dot.
    pub(super) fn shape(
        &mut self,
        shape: &Shape<'_>,
        path: &str,
        unit: Unit,
        depth: usize,
    ) -> Option<Shaped> {
        let key = |name: &str| format!("{path}{name}");
        let form = match shape {
            Shape::Rate(rate) => {
                let rps = rate_rps(rate, "rate", self.what, self.rules, self.findings)?;
                Form::Ramp { from: rps, to: rps }
            }
            Shape::Hold(level) => {
                let level = self.level(level, &key("rate"), unit)?;
                Form::Ramp { from: level, to: level }
            }
            Shape::Ramp(s) => {
                let from = self.level(&s.from, &key("ramp.from"), unit);
                let to = self.level(&s.to, &key("ramp.to"), unit);
                Form::Ramp { from: from?, to: to? }
            }
            Shape::Spike(s) => self.spike(s, &key("spike"), unit)?,
            Shape::Pulse(s) => self.pulse(s, &key("pulse"), unit)?,
            Shape::Sine(s) => self.sine(s, &key("sine"), unit)?,
            Shape::Daily(s) => {
                let form = self.day(s, &key("daily"), unit)?.daily();
                return Some(Shaped { own_s: Some(days::DAY_S), ..Shaped::new(form) });
            }
            Shape::Weekly(s) => {
                let day = self.day(&s.day, &key("weekly.day"), unit);
                let weekend = self.factor(Some(&s.weekend), 1.0, 0.0, 10.0, &key("weekly.weekend"));
                let form = day?.weekly(weekend?);
                return Some(Shaped { own_s: Some(days::WEEK_S), ..Shaped::new(form) });
            }
            Shape::Seasonal(s) => {
                let ordinary = self.level(&s.ordinary, &key("seasonal.ordinary"), unit);
                let friday =
                    self.factor(s.black_friday.as_ref(), 4.0, 1.0, 100.0, &key("seasonal.black_friday"));
                let holidays = self.factor(s.holidays.as_ref(), 1.6, 0.0, 100.0, &key("seasonal.holidays"));
                let growth = self.factor(s.growth.as_ref(), 0.0, -0.9, 10.0, &key("seasonal.growth"));
                let form = days::seasonal(ordinary?, friday?, holidays?, growth?);
                return Some(Shaped { own_s: Some(days::YEAR_S), ..Shaped::new(form) });
            }
            Shape::File(s) => return self.file(s, &key("curve"), unit),
            Shape::Sum(terms) => return self.terms(terms, &key("sum"), unit, depth, Form::Sum),
            Shape::Product(terms) => return self.terms(terms, &key("product"), unit, depth, Form::Product),
        };
        Some(Shaped::new(form))
    }

    fn terms(
        &mut self,
        terms: &At<Vec<At<Term>>>,
        key: &str,
        unit: Unit,
        depth: usize,
        form: fn(Vec<Form>) -> Form,
    ) -> Option<Shaped> {
        let what = self.what;
        let is_product = key.ends_with("product");
        if terms.is_empty() || terms.len() > MAX_TERMS {
            let n = terms.len();
            self.findings.add(terms.span(), format!("{what} {key} has {n} terms; write 1 to {MAX_TERMS}"));
            return None;
        }
        if depth >= MAX_DEPTH {
            self.findings.add(
                terms.span(),
                format!("{what} {key} lies more than {MAX_DEPTH} sums and products deep; write it flatter"),
            );
            return None;
        }
        let (mut forms, mut own_s, mut ends_s) = (Some(Vec::new()), None::<f64>, None::<f64>);
        for (i, term) in terms.iter().enumerate() {
            let unit = match (is_product, i, unit) {
                (false, ..) => unit,
                (true, 0, Unit::Rate { .. }) => Unit::Rate { limited: false },
                (true, ..) => Unit::Factor,
            };
            let path = format!("{key}.{i}.");
            let mut shapes = typed_shapes!(term, Shape::Hold);
            let one = if shapes.len() == 1 { shapes.pop() } else { None };
            let Some((_, shape)) = one else {
                self.findings
                    .add(term.span(), format!("{what} {key}.{i} must have exactly one shape: {TERM_SHAPES}"));
                forms = None;
                continue;
            };
            match (self.shape(&shape, &path, unit, depth + 1), &mut forms) {
                (Some(shaped), Some(forms)) => {
                    own_s = own_s.into_iter().chain(shaped.own_s).reduce(f64::max);
                    ends_s = ends_s.into_iter().chain(shaped.ends_s).reduce(f64::min);
                    forms.push(shaped.form);
                }
                _ => forms = None,
            }
        }
        Some(Shaped { form: form(forms?), own_s, ends_s })
    }

    fn level(&mut self, typed: &At<Level>, key: &str, unit: Unit) -> Option<f64> {
        let what = format!("{} {key}", self.what);
        match (&**typed, unit) {
            (Level::Rate(text), Unit::Rate { limited }) => {
                scaled_rps(text, typed.span(), &what, self.rules, limited, self.findings)
            }
            (Level::Factor(n), Unit::Factor) if (0.0..=MAX_FACTOR).contains(n) => Some(*n),
            (Level::Factor(n), Unit::Factor) => {
                self.findings
                    .add(typed.span(), format!("{what} {n} is outside its range, 0 to {MAX_FACTOR}"));
                None
            }
            (Level::Factor(n), Unit::Rate { .. }) => {
                self.findings.add(
                    typed.span(),
                    format!(
                        "{what} {n} is a factor, which only a product takes, behind its first term; \
                         write a rate such as \"{n}/s\""
                    ),
                );
                None
            }
            (Level::Rate(text), Unit::Factor) => {
                self.findings.add(
                    typed.span(),
                    format!(
                        "{what} {} is a rate, and only the first term of a product is one; \
                         write a factor such as 1.5",
                        tick(text)
                    ),
                );
                None
            }
        }
    }

    fn factor(
        &mut self,
        typed: Option<&At<f64>>,
        default: f64,
        least: f64,
        most: f64,
        key: &str,
    ) -> Option<f64> {
        within(typed, default, least..=most, &format!("{} {key}", self.what), self.findings)
    }

    /// Two levels of which the first may not be the higher one.
    fn low_high(
        &mut self,
        low: (&At<Level>, &str),
        high: (&At<Level>, &str),
        key: &str,
        unit: Unit,
    ) -> Option<(f64, f64)> {
        let a = self.level(low.0, &format!("{key}.{}", low.1), unit);
        let b = self.level(high.0, &format!("{key}.{}", high.1), unit);
        let (a, b) = (a?, b?);
        if a > b {
            self.findings.add(
                low.0.span(),
                format!("{} {key}.{} is above {key}.{}; swap or change them", self.what, low.1, high.1),
            );
            return None;
        }
        Some((a, b))
    }

    /// A duration in seconds, zero included.
    fn seconds(&mut self, typed: &At<DurationText>, key: &str) -> Option<f64> {
        duration(typed, format_args!("{} {key}", self.what), self.findings).map(|d| d.as_secs_f64())
    }

    /// A duration above zero, in seconds.
    fn period_s(&mut self, typed: &At<DurationText>, key: &str) -> Option<f64> {
        duration_within(typed, MAX_DURATION, format_args!("{} {key}", self.what), self.findings)
            .map(|d| d.as_secs_f64())
    }

    fn spike(&mut self, s: &Spike, key: &str, unit: Unit) -> Option<Form> {
        let levels = self.low_high((&s.base, "base"), (&s.peak, "peak"), key, unit);
        let at = self.seconds(&s.at, &format!("{key}.at"));
        let hold = self.seconds(&s.hold, &format!("{key}.hold"));
        let rise = s.rise.as_ref().map_or(Some(0.0), |t| self.seconds(t, &format!("{key}.rise")));
        let fall = s.fall.as_ref().map_or(rise, |t| self.seconds(t, &format!("{key}.fall")));
        let ((base, peak), at, hold, rise, fall) = (levels?, at?, hold?, rise?, fall?);
        let top = at + rise;
        Some(Form::Once(vec![
            Knot::line(at, base),
            Knot::line(top, peak),
            Knot::line(top + hold, peak),
            Knot::line(top + hold + fall, base),
        ]))
    }

    fn pulse(&mut self, s: &Pulse, key: &str, unit: Unit) -> Option<Form> {
        let levels = self.low_high((&s.low, "low"), (&s.high, "high"), key, unit);
        let period = self.period_s(&s.period, &format!("{key}.period"));
        let duty = match &s.duty {
            None => Some(0.5),
            Some(t) => ratio(t, format_args!("{} {key}.duty", self.what), self.findings),
        };
        let ((low, high), period_s, duty) = (levels?, period?, duty?);
        let down_s = period_s * duty;
        let knots = vec![
            Knot::line(0.0, high),
            Knot::line(down_s, high),
            Knot::line(down_s, low),
            Knot::line(period_s, low),
        ];
        Some(Form::Cycle { knots, period_s })
    }

    fn sine(&mut self, s: &Sine, key: &str, unit: Unit) -> Option<Form> {
        let levels = self.low_high((&s.low, "low"), (&s.high, "high"), key, unit);
        let period = self.period_s(&s.period, &format!("{key}.period"));
        let ((low, high), period_s) = (levels?, period?);
        let knots = vec![Knot::ease(period_s / 4.0, high), Knot::ease(period_s * 3.0 / 4.0, low)];
        Some(Form::Cycle { knots, period_s })
    }

    fn day(&mut self, s: &Daily, key: &str, unit: Unit) -> Option<Day> {
        let levels = self.low_high((&s.trough, "trough"), (&s.peak, "peak"), key, unit);
        let lunch = s.lunch.as_ref().map(|l| self.level(l, &format!("{key}.lunch"), unit));
        let hour =
            |typed: &Option<At<DurationText>>, default_h: f64, name: &str, reader: &mut Self| match typed {
                None => Some(default_h * days::HOUR_S),
                Some(t) => reader.seconds(t, &format!("{key}.{name}")),
            };
        let lunch_at = hour(&s.lunch_at, 12.5, "lunch_at", self);
        let evening_at = hour(&s.evening_at, 19.5, "evening_at", self);
        let ((trough, peak), lunch_at_s, evening_at_s) = (levels?, lunch_at?, evening_at?);
        let lunch = match lunch {
            None => None,
            Some(l) => Some(l?),
        };
        if !(days::TROUGH_AT_S < lunch_at_s && lunch_at_s < evening_at_s && evening_at_s < days::DAY_S) {
            let span = s.lunch_at.as_ref().or(s.evening_at.as_ref()).map_or(s.trough.span(), At::span);
            self.findings.add(
                span,
                format!(
                    "{} {key}.lunch_at {} and evening_at {} must follow one another between 4h and 24h",
                    self.what,
                    format_seconds(lunch_at_s),
                    format_seconds(evening_at_s)
                ),
            );
            return None;
        }
        Some(Day { trough, lunch, peak, lunch_at_s, evening_at_s })
    }

    fn file(&mut self, s: &CurveFile, key: &str, unit: Unit) -> Option<Shaped> {
        let what = format!("{} {key}", self.what);
        let longest_gap_s = match &s.longest_gap {
            None => f64::INFINITY,
            Some(t) => self.period_s(t, &format!("{key}.longest_gap"))?,
        };
        let (scale, most, limit) = match unit {
            Unit::Rate { limited } => {
                let most = if limited { self.rules.max_rate_rps } else { f64::MAX };
                let limit = format!("load.max_rate {}", format_rate(self.rules.max_rate_rps));
                (self.rules.scale, most, limit)
            }
            Unit::Factor => (1.0, MAX_FACTOR, format!("the highest factor {MAX_FACTOR}")),
        };
        let limit = if scale == 1.0 {
            limit
        } else {
            format!("{limit} when it is multiplied by the scale {}", trimmed(scale, 4))
        };
        let layout = export::Layout {
            time: s.time.as_ref().map(|c| c.as_str()),
            rate: s.rate.as_ref().map(|c| c.as_str()),
            longest_gap_s,
            most: if scale > 0.0 { most / scale } else { f64::MAX },
            limit: &limit,
        };
        let knots = match export::read(&self.rules.folder.join(s.file.as_str()), &layout) {
            Ok(knots) => knots,
            Err(told) => {
                self.findings.add(s.file.span(), format!("{what}: {told}"));
                return None;
            }
        };
        let ends_s = knots.last().map(|k| k.at_s);
        let knots = knots.into_iter().map(|k| Knot { level: k.level * scale, ..k }).collect();
        Some(Shaped { form: Form::Once(knots), own_s: ends_s, ends_s })
    }
}
