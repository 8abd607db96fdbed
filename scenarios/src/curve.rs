//! Rates over time: what every traffic shape becomes.
//!
//! A [`Curve`] is a chain of straight lines. Whatever a scenario writes, a hold, a pulse, a day or
//! a monitoring export, is one of these in the plan, so the schedule, the manifest and the reports
//! know one shape only, and its integral is exact.

use serde::{Deserialize, Serialize};

/// The most points of one phase's curve.
pub const MAX_CURVE_POINTS: usize = 10_000;

/// The rate at one instant. Two points at the same instant are a jump.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Seconds from the phase's beginning.
    pub at_s: f64,
    /// Requests per second.
    pub rps: f64,
}

/// The rate of a phase over its length: straight lines from point to point.
///
/// It begins at 0, its points never go back in time, and its rates are finite and not negative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<CurvePoint>", into = "Vec<CurvePoint>")]
pub struct Curve(Vec<CurvePoint>);

/// Why points are not a curve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CurveError {
    /// A line has two ends.
    #[error("a curve has at least 2 points, this one has {0}")]
    TooFew(usize),
    /// More than [`MAX_CURVE_POINTS`].
    #[error("a curve has at most {MAX_CURVE_POINTS} points, this one has {0}")]
    TooMany(usize),
    /// It must begin at 0.
    #[error("a curve begins at 0 s, this one at {0} s")]
    Begin(f64),
    /// Time must rise from the first to the last point and never fall.
    #[error("a curve's time rises, and point {0} is not after the one before")]
    Time(usize),
    /// A rate is negative, infinite or no number.
    #[error("a curve's rates are numbers from 0 up, and point {0} has {1}")]
    Rate(usize, f64),
}

impl Curve {
    /// The curve through `points`.
    ///
    /// # Errors
    /// When they do not begin at 0, go back in time, last no time, hold something that is no rate,
    /// or are fewer than 2 or more than [`MAX_CURVE_POINTS`].
    pub fn new(points: Vec<CurvePoint>) -> Result<Self, CurveError> {
        let (Some(first), Some(last), true) = (points.first(), points.last(), points.len() >= 2) else {
            return Err(CurveError::TooFew(points.len()));
        };
        if points.len() > MAX_CURVE_POINTS {
            return Err(CurveError::TooMany(points.len()));
        }
        if first.at_s != 0.0 {
            return Err(CurveError::Begin(first.at_s));
        }
        // Written so that a time that is no number fails too.
        let falls = |w: &[CurvePoint]| !(w[0].at_s <= w[1].at_s && w[1].at_s.is_finite());
        if let Some(i) = points.windows(2).position(falls) {
            return Err(CurveError::Time(i + 1));
        }
        if last.at_s <= 0.0 {
            return Err(CurveError::Time(points.len() - 1));
        }
        if let Some(i) = points.iter().position(|p| !(p.rps >= 0.0 && p.rps.is_finite())) {
            return Err(CurveError::Rate(i, points[i].rps));
        }
        Ok(Self(points))
    }

    /// A straight line from one rate to another, `duration_s` long.
    ///
    /// # Panics
    /// When the duration is not above 0 or a rate is negative or no number.
    #[must_use]
    pub fn line(duration_s: f64, from_rps: f64, to_rps: f64) -> Self {
        let ends =
            vec![CurvePoint { at_s: 0.0, rps: from_rps }, CurvePoint { at_s: duration_s, rps: to_rps }];
        Self::new(ends).unwrap_or_else(|e| panic!("{e}"))
    }

    /// One rate, `duration_s` long.
    ///
    /// # Panics
    /// As [`line`](Self::line).
    #[must_use]
    pub fn hold(duration_s: f64, rps: f64) -> Self {
        Self::line(duration_s, rps, rps)
    }

    /// Its points, in order of time; at least two.
    #[must_use]
    pub fn points(&self) -> &[CurvePoint] {
        &self.0
    }

    /// Its length in seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.0.last().map_or(0.0, |p| p.at_s)
    }

    /// The rate `s` seconds after its beginning; at a jump the rate after it, outside the curve the
    /// rate at its nearer end.
    #[must_use]
    pub fn rate_at(&self, s: f64) -> f64 {
        let after = self.0.partition_point(|p| p.at_s <= s);
        match (after.checked_sub(1).map(|i| self.0[i]), self.0.get(after)) {
            (Some(a), Some(b)) => a.rps + (b.rps - a.rps) * ((s - a.at_s) / (b.at_s - a.at_s)),
            (Some(last), None) => last.rps,
            (None, first) => first.map_or(0.0, |p| p.rps),
        }
    }

    /// Its highest rate.
    #[must_use]
    pub fn peak_rps(&self) -> f64 {
        self.0.iter().map(|p| p.rps).fold(0.0, f64::max)
    }

    /// Its highest rate from `a_s` to `b_s`.
    #[must_use]
    pub fn peak_between(&self, a_s: f64, b_s: f64) -> f64 {
        let (first, behind) =
            (self.0.partition_point(|p| p.at_s < a_s), self.0.partition_point(|p| p.at_s < b_s));
        let inside = self.0.get(first..behind).unwrap_or_default().iter().map(|p| p.rps);
        // Just before `b_s`, so that a jump there is not counted.
        let ends = [self.rate_at(a_s), self.rate_at(b_s.next_down())];
        inside.chain(ends).fold(0.0, f64::max)
    }

    /// The two rates to tell it by: the first and the last when it only rises or only falls, else
    /// the lowest and the highest. They are equal when it holds one rate.
    #[must_use]
    pub fn ends_rps(&self) -> (f64, f64) {
        let rates = || self.0.iter().map(|p| p.rps);
        if rates().is_sorted() || rates().rev().is_sorted() {
            (self.0[0].rps, self.0[self.0.len() - 1].rps)
        } else {
            (rates().fold(f64::INFINITY, f64::min), self.peak_rps())
        }
    }

    /// Arrivals expected in it: the integral of its rate.
    #[must_use]
    pub fn expected_arrivals(&self) -> f64 {
        self.0.windows(2).map(|w| (w[0].rps + w[1].rps) / 2.0 * (w[1].at_s - w[0].at_s)).sum()
    }

    /// Arrivals expected from `a_s` to `b_s`, counted from its beginning; what lies outside of it
    /// counts nothing.
    #[must_use]
    pub fn expected_between(&self, a_s: f64, b_s: f64) -> f64 {
        let part = |w: &[CurvePoint]| {
            let (p, q) = (w[0], w[1]);
            let (from, to) = (a_s.max(p.at_s), b_s.min(q.at_s));
            if from >= to {
                return 0.0;
            }
            let slope = (q.rps - p.rps) / (q.at_s - p.at_s);
            (p.rps + slope * ((from + to) / 2.0 - p.at_s)) * (to - from)
        };
        self.0.windows(2).map(part).sum()
    }
}

impl TryFrom<Vec<CurvePoint>> for Curve {
    type Error = CurveError;

    fn try_from(points: Vec<CurvePoint>) -> Result<Self, CurveError> {
        Self::new(points)
    }
}

impl From<Curve> for Vec<CurvePoint> {
    fn from(curve: Curve) -> Self {
        curve.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn curve(points: &[(f64, f64)]) -> Result<Curve, CurveError> {
        Curve::new(points.iter().map(|(at_s, rps)| CurvePoint { at_s: *at_s, rps: *rps }).collect())
    }

    #[test]
    fn a_jump_has_the_rate_after_it() {
        let c = curve(&[(0.0, 1.0), (10.0, 1.0), (10.0, 5.0), (20.0, 3.0)]).unwrap();
        for (s, rps) in
            [(-1.0, 1.0), (0.0, 1.0), (9.9, 1.0), (10.0, 5.0), (15.0, 4.0), (20.0, 3.0), (99.0, 3.0)]
        {
            assert_eq!(c.rate_at(s), rps, "at {s} s");
        }
        assert_eq!(c.expected_arrivals(), 50.0);
        assert_eq!(c.expected_between(5.0, 15.0), 5.0 + 22.5);
        assert_eq!((c.peak_rps(), c.duration_s()), (5.0, 20.0));
        assert_eq!((c.peak_between(0.0, 10.0), c.peak_between(9.0, 11.0)), (1.0, 5.0));
    }

    #[test]
    fn what_rises_is_told_by_its_ends_and_what_swings_by_its_extremes() {
        assert_eq!(curve(&[(0.0, 1.0), (1.0, 2.0), (2.0, 4.0)]).unwrap().ends_rps(), (1.0, 4.0));
        assert_eq!(curve(&[(0.0, 4.0), (1.0, 2.0)]).unwrap().ends_rps(), (4.0, 2.0));
        assert_eq!(curve(&[(0.0, 2.0), (1.0, 9.0), (2.0, 1.0), (3.0, 2.0)]).unwrap().ends_rps(), (1.0, 9.0));
        assert_eq!(Curve::hold(3.0, 7.0).ends_rps(), (7.0, 7.0));
    }

    #[test]
    fn what_is_no_curve_is_refused_also_from_a_manifest() {
        for (points, why) in [
            (&[(0.0, 1.0)][..], CurveError::TooFew(1)),
            (&[(0.0, 1.0), (0.0, 2.0)], CurveError::Time(1)),
            (&[(1.0, 1.0), (2.0, 1.0)], CurveError::Begin(1.0)),
            (&[(0.0, 1.0), (2.0, 1.0), (1.0, 1.0)], CurveError::Time(2)),
            (&[(0.0, 1.0), (f64::INFINITY, 1.0)], CurveError::Time(1)),
            (&[(0.0, 1.0), (1.0, -1.0)], CurveError::Rate(1, -1.0)),
        ] {
            assert_eq!(curve(points), Err(why), "{points:?}");
        }
        assert!(matches!(curve(&[(0.0, 1.0), (f64::NAN, 1.0)]), Err(CurveError::Time(1))));
        assert!(matches!(curve(&[(0.0, f64::NAN), (1.0, 1.0)]), Err(CurveError::Rate(0, _))));
        let many: Vec<_> = (0..=MAX_CURVE_POINTS).map(|i| (i as f64, 1.0)).collect();
        assert_eq!(curve(&many), Err(CurveError::TooMany(MAX_CURVE_POINTS + 1)));
        let told = serde_json::from_str::<Curve>(r#"[{"at_s":0,"rps":1},{"at_s":1,"rps":-2}]"#).unwrap_err();
        assert!(told.to_string().contains("point 1 has -2"), "{told}");
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole_and_follow_the_rate(
            steps in proptest::collection::vec((0.0f64..3.0, 0.0f64..1000.0), 1..12), cut in 0.0f64..1.0,
        ) {
            let mut at_s = 0.0;
            let points: Vec<_> = std::iter::once((0.0, 5.0))
                .chain(steps.iter().map(|(gap, rps)| { at_s += gap; (at_s, *rps) }))
                .chain([(100.0, 1.0)])
                .collect();
            let c = curve(&points).unwrap();
            let t = cut * 100.0;
            let (a, b) = (c.expected_between(0.0, t), c.expected_between(t, 100.0));
            let all = c.expected_arrivals();
            prop_assert!((a + b - all).abs() <= 1e-9 * all, "{} + {} is not {}", a, b, all);
            // A short stretch is its rate times its length, when no point lies in it.
            let h = 1e-6;
            if !points.iter().any(|p| (t..t + h).contains(&p.0)) && t + h < 100.0 {
                let near = c.expected_between(t, t + h) / h;
                prop_assert!((near - c.rate_at(t + h / 2.0)).abs() < 1e-3, "{} at {}", near, t);
            }
        }
    }
}
