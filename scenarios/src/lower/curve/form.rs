//! Shapes as mathematics: what a curve is before it is cut to a phase, and the straight lines that
//! stand for it.
//!
//! Straight shapes are exact. A smooth one is made of half cosines from knot to knot, each replaced
//! by [`EASE_LINES`] chords: the rate is off by at most π²/(16·n²) = 0.06 % of the swing, and the
//! arrivals of a whole half cosine are exact, because the chords' errors before and after its middle
//! cancel. A product of two lines is a parabola, which chords replace within [`PRODUCT_TOLERANCE`] of
//! its highest value. A sum is exact.

use crate::curve::MAX_CURVE_POINTS;

/// The chords of a half cosine.
pub(super) const EASE_LINES: usize = 32;
/// How far a product's chords may be off, as a share of the product of its terms' peaks.
pub(super) const PRODUCT_TOLERANCE: f64 = 0.001;

/// How a shape goes on from a knot to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Join {
    /// Along a straight line.
    Line,
    /// Along half a cosine, level at both ends.
    Ease,
}

/// A place that a shape goes through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knot {
    pub(super) at_s: f64,
    pub(super) level: f64,
    pub(super) join: Join,
}

impl Knot {
    pub(super) fn line(at_s: f64, level: f64) -> Self {
        Self { at_s, level, join: Join::Line }
    }

    pub(super) fn ease(at_s: f64, level: f64) -> Self {
        Self { at_s, level, join: Join::Ease }
    }
}

/// A part of a shape's own time, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
}

impl Window {
    pub(super) fn span_s(self) -> f64 {
        self.to_s - self.from_s
    }
}

/// A shape over its own time.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// A line over the whole window, whichever it is.
    Ramp { from: f64, to: f64 },
    /// Through these knots once; level before the first and behind the last.
    Once(Vec<Knot>),
    /// Through these knots again and again. The first lies at 0 or later, all within a period.
    Cycle { knots: Vec<Knot>, period_s: f64 },
    /// A shape that grows: times `(1 + yearly)^years`.
    Growing { form: Box<Form>, yearly: f64 },
    /// Added up.
    Sum(Vec<Form>),
    /// Multiplied.
    Product(Vec<Form>),
}

/// A shape cannot be drawn with [`MAX_CURVE_POINTS`] points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyPoints;

/// Straight lines over a window, in order of time; two points at one instant are a jump.
pub(super) type Lines = Vec<(f64, f64)>;

const YEAR_S: f64 = 365.0 * 86_400.0;
/// Growth is drawn with a point every so many seconds: five days.
const GROWTH_STEP_S: f64 = 5.0 * 86_400.0;

impl Form {
    /// The straight lines that stand for the shape within `window`.
    pub(super) fn trace(&self, window: Window) -> Result<Lines, TooManyPoints> {
        let lines = match self {
            Form::Ramp { from, to } => vec![(window.from_s, *from), (window.to_s, *to)],
            Form::Once(knots) => clip(&chords(knots), window),
            Form::Cycle { knots, period_s } => {
                // One more on either side: a knot outside of the window shapes what is inside.
                let (first, last) = (window.from_s / period_s, window.to_s / period_s);
                let cycles = last.ceil() - first.floor() + 2.0;
                if cycles * knots.len() as f64 > 2.0 * MAX_CURVE_POINTS as f64 {
                    return Err(TooManyPoints);
                }
                let begin_s = (first.floor() - 1.0) * period_s;
                let repeated: Vec<Knot> = (0..cycles as u32)
                    .flat_map(|i| {
                        let shift_s = begin_s + f64::from(i) * period_s;
                        knots.iter().map(move |k| Knot { at_s: k.at_s + shift_s, ..*k })
                    })
                    .collect();
                clip(&chords(&repeated), window)
            }
            Form::Growing { form, yearly } => {
                let fine = split(&form.trace(window)?, GROWTH_STEP_S)?;
                fine.into_iter().map(|(t, y)| (t, y * (1.0 + yearly).powf(t / YEAR_S))).collect()
            }
            Form::Sum(terms) => fold(terms, window, sum)?,
            Form::Product(terms) => fold(terms, window, product)?,
        };
        if lines.len() > MAX_CURVE_POINTS { Err(TooManyPoints) } else { Ok(lines) }
    }
}

fn fold(
    terms: &[Form],
    window: Window,
    combine: fn(&Lines, &Lines) -> Result<Lines, TooManyPoints>,
) -> Result<Lines, TooManyPoints> {
    let mut all = terms.iter().map(|t| t.trace(window));
    let first = all.next().unwrap_or_else(|| Ok(vec![(window.from_s, 0.0), (window.to_s, 0.0)]))?;
    all.try_fold(first, |a, b| combine(&a, &b?))
}

/// The knots with half cosines replaced by chords.
fn chords(knots: &[Knot]) -> Lines {
    let mut out = Lines::new();
    for w in knots.windows(2) {
        let (a, b) = (w[0], w[1]);
        out.push((a.at_s, a.level));
        if a.join == Join::Ease && a.level != b.level {
            for i in 1..EASE_LINES {
                let u = i as f64 / EASE_LINES as f64;
                let eased = (1.0 - (std::f64::consts::PI * u).cos()) / 2.0;
                out.push((a.at_s + (b.at_s - a.at_s) * u, a.level + (b.level - a.level) * eased));
            }
        }
    }
    out.extend(knots.last().map(|k| (k.at_s, k.level)));
    out
}

/// `lines` within `window`, level where they do not reach.
fn clip(lines: &Lines, window: Window) -> Lines {
    let mut out = vec![(window.from_s, after(lines, window.from_s))];
    out.extend(lines.iter().filter(|(t, _)| window.from_s < *t && *t < window.to_s));
    out.push((window.to_s, before(lines, window.to_s)));
    out
}

/// The value at `t`, behind a jump that lies there.
fn after(lines: &Lines, t: f64) -> f64 {
    between(lines, lines.partition_point(|p| p.0 <= t), t)
}

/// The value at `t`, before a jump that lies there.
fn before(lines: &Lines, t: f64) -> f64 {
    between(lines, lines.partition_point(|p| p.0 < t), t)
}

/// The value at `t` between the points `next - 1` and `next`.
fn between(lines: &Lines, next: usize, t: f64) -> f64 {
    match (next.checked_sub(1).map(|i| lines[i]), lines.get(next)) {
        (Some(a), Some(b)) if b.0 > a.0 => a.1 + (b.1 - a.1) * ((t - a.0) / (b.0 - a.0)),
        (Some(a), _) => a.1,
        (None, Some(b)) => b.1,
        (None, None) => 0.0,
    }
}

/// `lines` with no two points further apart than `step_s`.
fn split(lines: &Lines, step_s: f64) -> Result<Lines, TooManyPoints> {
    let mut out = Lines::new();
    for w in lines.windows(2) {
        let (a, b) = (w[0], w[1]);
        let parts = ((b.0 - a.0) / step_s).ceil().max(1.0);
        if out.len() as f64 + parts > MAX_CURVE_POINTS as f64 {
            return Err(TooManyPoints);
        }
        out.extend((0..parts as u32).map(|i| {
            let u = f64::from(i) / parts;
            (a.0 + (b.0 - a.0) * u, a.1 + (b.1 - a.1) * u)
        }));
    }
    out.extend(lines.last());
    Ok(out)
}

/// Every instant at which one of two has a point, once.
fn instants(a: &Lines, b: &Lines) -> Vec<f64> {
    let mut all: Vec<f64> = a.iter().chain(b).map(|p| p.0).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

fn sum(a: &Lines, b: &Lines) -> Result<Lines, TooManyPoints> {
    combine(a, b, |x, y| x + y, |_, _| 1)
}

fn product(a: &Lines, b: &Lines) -> Result<Lines, TooManyPoints> {
    let peak = |l: &Lines| l.iter().map(|p| p.1).fold(0.0, f64::max);
    let tolerance = PRODUCT_TOLERANCE * peak(a) * peak(b);
    // A chord of a·b is off by at most |Δa·Δb|/4, and n chords by that over n².
    let parts = |da: f64, db: f64| {
        let off = (da * db).abs() / 4.0;
        if tolerance > 0.0 { ((off / tolerance).sqrt().ceil() as u32).max(1) } else { 1 }
    };
    combine(a, b, |x, y| x * y, parts)
}

/// `of` the values of both at every point of either, with as many chords between two as `parts` says
/// of the values' differences.
fn combine(
    a: &Lines,
    b: &Lines,
    of: fn(f64, f64) -> f64,
    parts: impl Fn(f64, f64) -> u32,
) -> Result<Lines, TooManyPoints> {
    let instants = instants(a, b);
    let mut out = Lines::new();
    for w in instants.windows(2) {
        let (from, to) = (w[0], w[1]);
        let (a0, b0) = (after(a, from), after(b, from));
        let (da, db) = (before(a, to) - a0, before(b, to) - b0);
        let n = parts(da, db);
        for i in 0..=n {
            let u = f64::from(i) / f64::from(n);
            let point = (from + (to - from) * u, of(a0 + da * u, b0 + db * u));
            // Where nothing jumps, the end of one stretch is the beginning of the next.
            if out.last() != Some(&point) {
                out.push(point);
            }
        }
        if out.len() > MAX_CURVE_POINTS {
            return Err(TooManyPoints);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn integral(lines: &Lines, from_s: f64, to_s: f64) -> f64 {
        let cut = clip(lines, Window { from_s, to_s });
        cut.windows(2).map(|w| (w[0].1 + w[1].1) / 2.0 * (w[1].0 - w[0].0)).sum()
    }

    /// The true value of a half cosine chain, by its definition.
    fn eased(knots: &[(f64, f64)], t: f64) -> f64 {
        let i = knots.partition_point(|k| k.0 <= t).clamp(1, knots.len() - 1);
        let (a, b) = (knots[i - 1], knots[i]);
        let u = ((t - a.0) / (b.0 - a.0)).clamp(0.0, 1.0);
        a.1 + (b.1 - a.1) * (1.0 - (std::f64::consts::PI * u).cos()) / 2.0
    }

    /// The integral of `f` by Simpson's rule.
    fn simpson(f: impl Fn(f64) -> f64, a: f64, b: f64) -> f64 {
        let n = 2000;
        let h = (b - a) / f64::from(n);
        let inner: f64 = (1..n).map(|i| f(a + f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
        (f(a) + inner + f(b)) * h / 3.0
    }

    #[test]
    fn a_cycle_repeats_and_its_jumps_stay_jumps() {
        let knots =
            vec![Knot::line(0.0, 5.0), Knot::line(2.0, 5.0), Knot::line(2.0, 1.0), Knot::line(10.0, 1.0)];
        let pulse = Form::Cycle { knots, period_s: 10.0 };
        let lines = pulse.trace(Window { from_s: 1.0, to_s: 11.0 }).unwrap();
        assert_eq!(lines, [(1.0, 5.0), (2.0, 5.0), (2.0, 1.0), (10.0, 1.0), (10.0, 5.0), (11.0, 5.0)]);
        assert_eq!(integral(&lines, 1.0, 11.0), 18.0);
    }

    #[test]
    fn too_fine_a_cycle_is_refused_before_it_is_drawn() {
        let knots = vec![Knot::line(0.0, 1.0), Knot::line(0.5, 2.0)];
        let form = Form::Cycle { knots, period_s: 1e-9 };
        assert_eq!(form.trace(Window { from_s: 0.0, to_s: 1e9 }), Err(TooManyPoints));
        let many = Form::Sum(vec![Form::Ramp { from: 0.0, to: 1.0 }, form]);
        assert_eq!(many.trace(Window { from_s: 0.0, to_s: 1e9 }), Err(TooManyPoints));
    }

    #[test]
    fn growth_is_compound() {
        let flat = Form::Growing { form: Box::new(Form::Ramp { from: 100.0, to: 100.0 }), yearly: 0.5 };
        let lines = flat.trace(Window { from_s: 0.0, to_s: 2.0 * YEAR_S }).unwrap();
        assert!((lines.last().unwrap().1 - 225.0).abs() < 1e-9);
        let truth = simpson(|t| 100.0 * 1.5f64.powf(t / YEAR_S), 0.0, 2.0 * YEAR_S);
        let seen = integral(&lines, 0.0, 2.0 * YEAR_S);
        assert!((seen / truth - 1.0).abs() < 1e-4, "{seen} is not {truth}");
    }

    proptest! {
        #[test]
        fn chords_of_half_cosines_stay_within_the_stated_tolerance(
            levels in proptest::collection::vec((0.5f64..20.0, 0.0f64..1000.0), 2..8),
            a in 0.0f64..1.0, b in 0.0f64..1.0,
        ) {
            let mut at = 0.0;
            let knots: Vec<(f64, f64)> = levels.iter().map(|(gap, y)| { at += gap; (at, *y) }).collect();
            let form = Form::Once(knots.iter().map(|k| Knot::ease(k.0, k.1)).collect());
            let (from_s, to_s) = (knots[0].0, at);
            let lines = form.trace(Window { from_s, to_s }).unwrap();
            let swing = knots.windows(2).map(|w| (w[0].1 - w[1].1).abs()).fold(0.0, f64::max);
            // Arrivals between any two instants: at most 0.06 % of the swing times the time between.
            let (a, b) = (from_s + a.min(b) * (to_s - from_s), from_s + a.max(b) * (to_s - from_s));
            let truth: f64 = {
                // Knots are where Simpson would stumble.
                let mut cuts: Vec<f64> = knots.iter().map(|k| k.0).filter(|t| a < *t && *t < b).collect();
                cuts.insert(0, a);
                cuts.push(b);
                cuts.windows(2).map(|w| simpson(|t| eased(&knots, t), w[0], w[1])).sum()
            };
            let seen = integral(&lines, a, b);
            prop_assert!((seen - truth).abs() <= 0.00061 * swing * (b - a) + 1e-6, "{} is not {}", seen, truth);
            // And exact over all of it.
            let whole: f64 = knots.windows(2).map(|w| (w[0].1 + w[1].1) / 2.0 * (w[1].0 - w[0].0)).sum();
            prop_assert!((integral(&lines, from_s, to_s) - whole).abs() <= 1e-9 * whole);
        }

        #[test]
        fn sums_are_exact_and_products_within_their_tolerance(
            a in proptest::collection::vec((0.0f64..5.0, 0.0f64..1000.0), 2..6),
            b in proptest::collection::vec((0.0f64..5.0, 0.0f64..3.0), 2..6),
            cut in 0.0f64..1.0,
        ) {
            let knots = |points: &[(f64, f64)]| {
                let mut at = 0.0;
                Form::Once(points.iter().map(|(gap, y)| { at += gap; Knot::line(at, *y) }).collect())
            };
            let window = Window { from_s: 0.0, to_s: 12.0 };
            let (fa, fb) = (knots(&a), knots(&b));
            let (la, lb) = (fa.trace(window).unwrap(), fb.trace(window).unwrap());
            let t = 12.0 * cut;
            let sum = Form::Sum(vec![fa.clone(), fb.clone()]).trace(window).unwrap();
            prop_assert!((after(&sum, t) - after(&la, t) - after(&lb, t)).abs() < 1e-6);
            prop_assert!((integral(&sum, 0.0, t) - integral(&la, 0.0, t) - integral(&lb, 0.0, t)).abs() < 1e-6);
            let product = Form::Product(vec![fa, fb]).trace(window).unwrap();
            let peak = |l: &Lines| l.iter().map(|p| p.1).fold(0.0, f64::max);
            let off = (after(&product, t) - after(&la, t) * after(&lb, t)).abs();
            prop_assert!(off <= PRODUCT_TOLERANCE * peak(&la) * peak(&lb) + 1e-6, "off by {}", off);
        }
    }
}
