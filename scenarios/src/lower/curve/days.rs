//! Days, weeks and years: the shapes of a calendar.
//!
//! Their default proportions are a plain convention, not a measurement: a payment service's day has a
//! lunch and an evening peak, its year a Black Friday. Whoever has measurements gives them as a curve.

use super::form::{Form, Knot};

pub(super) const HOUR_S: f64 = 3600.0;
pub(super) const DAY_S: f64 = 24.0 * HOUR_S;
pub(super) const WEEK_S: f64 = 7.0 * DAY_S;
pub(super) const YEAR_S: f64 = 365.0 * DAY_S;

/// When a day is lowest, in seconds from midnight.
pub(super) const TROUGH_AT_S: f64 = 4.0 * HOUR_S;
/// The lunch peak by default, on the way from trough to peak.
const LUNCH: f64 = 0.8;
/// The afternoon's dip, on the way from the trough to the lower of the two peaks beside it.
const DIP: f64 = 0.75;

/// A day's turning points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Day {
    pub(super) trough: f64,
    pub(super) lunch: Option<f64>,
    pub(super) peak: f64,
    /// In seconds from midnight: behind the trough, and rising.
    pub(super) lunch_at_s: f64,
    pub(super) evening_at_s: f64,
}

impl Day {
    fn knots(&self, begin_s: f64, factor: f64) -> [Knot; 4] {
        let lunch = self.lunch.unwrap_or(self.trough + LUNCH * (self.peak - self.trough));
        let dip = self.trough + DIP * (lunch.min(self.peak) - self.trough);
        [
            (TROUGH_AT_S, self.trough),
            (self.lunch_at_s, lunch),
            ((self.lunch_at_s + self.evening_at_s) / 2.0, dip),
            (self.evening_at_s, self.peak),
        ]
        .map(|(at_s, level)| Knot::ease(begin_s + at_s, level * factor))
    }

    /// This day again and again.
    pub(super) fn daily(&self) -> Form {
        Form::Cycle { knots: self.knots(0.0, 1.0).to_vec(), period_s: DAY_S }
    }

    /// Five of this day, then two of them times `weekend`, again and again.
    pub(super) fn weekly(&self, weekend: f64) -> Form {
        let day = |d: u32| self.knots(f64::from(d) * DAY_S, if d < 5 { 1.0 } else { weekend });
        Form::Cycle { knots: (0..7).flat_map(day).collect(), period_s: WEEK_S }
    }
}

/// A year of ordinary days, with Black Friday and the weeks before Christmas as multiples of them.
pub(super) fn seasonal(ordinary: f64, black_friday: f64, holidays: f64, growth: f64) -> Form {
    // Days from New Year, a Monday, to the turning points. Between two days is noon.
    let cyber = |share: f64| 1.0 + share * (black_friday - 1.0);
    let knots = [
        (0.0, 0.8),
        (45.0, 0.9),
        (120.0, 1.0),
        (195.0, 0.9),
        (270.0, 1.0),
        (318.0, 1.0),
        (324.5, cyber(0.2)),
        // Friday 23 November, the weekend, Cyber Monday.
        (326.5, black_friday),
        (328.0, cyber(0.5)),
        (329.5, cyber(0.8)),
        // 1 to 22 December, Christmas, and what follows.
        (334.0, holidays),
        (355.0, holidays),
        (358.5, 0.6),
        (362.0, 0.9),
    ];
    let knots = knots.iter().map(|(day, factor)| Knot::ease(day * DAY_S, ordinary * factor)).collect();
    let year = Form::Cycle { knots, period_s: YEAR_S };
    if growth == 0.0 { year } else { Form::Growing { form: Box::new(year), yearly: growth } }
}

#[cfg(test)]
mod tests {
    use super::super::form::Window;
    use super::*;

    const DAY: Day = Day {
        trough: 10.0,
        lunch: None,
        peak: 110.0,
        lunch_at_s: 12.5 * HOUR_S,
        evening_at_s: 19.5 * HOUR_S,
    };

    fn at(form: &Form, t_s: f64) -> f64 {
        form.trace(Window { from_s: t_s, to_s: t_s + 1.0 }).unwrap()[0].1
    }

    #[test]
    fn a_day_turns_where_it_says() {
        let day = DAY.daily();
        for (hour, level) in [(4.0, 10.0), (12.5, 90.0), (16.0, 70.0), (19.5, 110.0), (28.0, 10.0)] {
            assert!((at(&day, hour * HOUR_S) - level).abs() < 1e-6, "{hour} h");
        }
        // Midnight lies between evening and trough, and the day joins the next one there.
        assert_eq!(at(&day, 0.0), at(&day, DAY_S));
    }

    #[test]
    fn a_weekend_is_a_multiple_of_a_working_day() {
        let week = DAY.weekly(1.5);
        for (day, factor) in [(0.0, 1.0), (4.0, 1.0), (5.0, 1.5), (6.0, 1.5), (7.0, 1.0)] {
            let evening = at(&week, day * DAY_S + 19.5 * HOUR_S);
            assert!((evening - 110.0 * factor).abs() < 1e-6, "day {day}: {evening}");
        }
    }

    #[test]
    fn black_friday_is_a_friday_and_the_highest_day_of_the_year() {
        let year = seasonal(100.0, 5.0, 1.6, 0.0);
        let friday_s = 326.5 * DAY_S;
        assert_eq!((friday_s / DAY_S) as u32 % 7, 4);
        assert!((at(&year, friday_s) - 500.0).abs() < 1e-6);
        let lines = year.trace(Window { from_s: 0.0, to_s: YEAR_S }).unwrap();
        assert!(lines.iter().all(|p| p.1 <= 500.0 + 1e-9 && p.1 >= 60.0 - 1e-9));
        let grown = seasonal(100.0, 5.0, 1.6, 0.3);
        assert!((at(&grown, YEAR_S + friday_s) / at(&grown, friday_s) - 1.3).abs() < 1e-3);
    }
}
