//! The coefficients of the universal scalability law from measured points.
//!
//! Nonlinear least squares on throughput, bounded to γ > 0, α ≥ 0, β ≥ 0. The bounds matter: on
//! data that has no retrograde part an unbounded fit gives a negative β, and with it a peak that
//! does not exist. The search starts from the linearised law N/X = (1 + α(N−1) + βN(N−1))/γ and
//! from a coarse grid, so it does not hang on one starting value.

use serde::{Deserialize, Serialize};

use crate::least_squares::{
    Free, Model, PARAMETERS, Solution, Vector, inverse, normal_equations, restrict, search,
};
use crate::usl::Usl;

/// Points at different loads that three coefficients need at least.
pub const MIN_LOADS: usize = 3;
/// Points below which a fit is called weak: the residuals then say little about its error.
pub const FEW_LOADS: usize = 6;

/// A load and the throughput measured at it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// N > 0: concurrency, or whatever else was raised.
    pub n: f64,
    /// X ≥ 0 in any unit.
    pub throughput: f64,
}

/// A fitted law and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// The law.
    pub usl: Usl,
    /// Standard error of γ; `None` without degrees of freedom.
    pub gamma_error: Option<f64>,
    /// Standard error of α; `None` when it rests on its bound 0.
    pub alpha_error: Option<f64>,
    /// Standard error of β; `None` when it rests on its bound 0.
    pub beta_error: Option<f64>,
    /// R² = 1 − Σ(X − X̂)² / Σ(X − X̄)²; `None` when all throughputs are equal.
    pub r_squared: Option<f64>,
    /// Residual standard error √(Σ(X − X̂)² / (points − 3)); `None` with three points.
    pub residual_error: Option<f64>,
    /// How many points were fitted.
    pub points: usize,
    /// The highest load among them: beyond it the law is extrapolated.
    pub highest_n: f64,
}

/// Why there is no fit.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Three coefficients need three loads.
    #[error("a scalability fit needs {MIN_LOADS} different loads and has {0}; add steps")]
    TooFewLoads(usize),
    /// A load or throughput that cannot be.
    #[error("N = {n} with X = {throughput} is not a measurement: N must be above 0 and X at least 0")]
    NotAMeasurement {
        /// The load.
        n: f64,
        /// The throughput.
        throughput: f64,
    },
    /// Every throughput was zero.
    #[error("nothing was completed at any load")]
    NothingCompleted,
    /// No coefficients make the law positive at every load.
    #[error("the law does not hold at these points")]
    NoSolution,
}

/// Fits the law to `points`, in any order; several may share a load.
///
/// # Errors
/// See [`FitError`].
pub fn fit(points: &[Point]) -> Result<Fit, FitError> {
    check(points)?;
    // Throughputs of order 1 make one tolerance right for every unit.
    let unit = points.iter().map(|p| p.throughput).fold(0.0, f64::max);
    if unit <= 0.0 {
        return Err(FitError::NothingCompleted);
    }
    let scaled: Vec<(f64, f64)> = points.iter().map(|p| (p.n, p.throughput / unit)).collect();
    let best = best_solution(&scaled).ok_or(FitError::NoSolution)?;
    let [gamma, alpha, beta] = best.at;
    let usl = Usl { gamma: gamma * unit, alpha, beta };

    let mean = points.iter().map(|p| p.throughput).sum::<f64>() / points.len() as f64;
    let sse: f64 = points.iter().map(|p| (p.throughput - usl.throughput(p.n)).powi(2)).sum();
    let total: f64 = points.iter().map(|p| (p.throughput - mean).powi(2)).sum();
    let freedom = points.len() - PARAMETERS;
    let [gamma_error, alpha_error, beta_error] = standard_errors(&scaled, &best, freedom);
    Ok(Fit {
        usl,
        gamma_error: gamma_error.map(|e| e * unit),
        alpha_error,
        beta_error,
        r_squared: (total > 0.0).then(|| 1.0 - sse / total),
        residual_error: (freedom > 0).then(|| (sse / freedom as f64).sqrt()),
        points: points.len(),
        highest_n: points.iter().map(|p| p.n).fold(0.0, f64::max),
    })
}

fn check(points: &[Point]) -> Result<(), FitError> {
    for p in points {
        let possible = p.n.is_finite() && p.throughput.is_finite() && p.n > 0.0 && p.throughput >= 0.0;
        if !possible {
            return Err(FitError::NotAMeasurement { n: p.n, throughput: p.throughput });
        }
    }
    let mut loads: Vec<f64> = points.iter().map(|p| p.n).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    if loads.len() < MIN_LOADS { Err(FitError::TooFewLoads(loads.len())) } else { Ok(()) }
}

const LAW: Model = |[gamma, alpha, beta], n| {
    let law = Usl { gamma: *gamma, alpha: *alpha, beta: *beta };
    let d = law.denominator(n);
    if d <= 0.0 {
        // Below N = 1 a great α or β would turn the law negative.
        return None;
    }
    let slope = -gamma * n * (n - 1.0) / (d * d);
    Some((gamma * n / d, [n / d, slope, slope * n]))
};

fn best_solution(points: &[(f64, f64)]) -> Option<Solution> {
    const FACES: [Free; 4] =
        [[true, true, true], [true, true, false], [true, false, true], [true, false, false]];
    let starts = [linearised(points), grid_start(points)];
    FACES
        .iter()
        .flat_map(|face| starts.iter().flatten().filter_map(|start| search(LAW, points, *start, *face)))
        .filter(|s| s.at[0] > 0.0)
        .min_by(|a, b| a.sse.total_cmp(&b.sse))
}

/// Linear least squares on N/X = a + b(N−1) + cN(N−1), with γ = 1/a, α = b/a, β = c/a.
fn linearised(points: &[(f64, f64)]) -> Option<Vector> {
    const LINE: Model = |[a, b, c], n| {
        let (u, v) = (n - 1.0, n * (n - 1.0));
        Some((a + b * u + c * v, [1.0, u, v]))
    };
    let inverted: Vec<(f64, f64)> =
        points.iter().filter(|(_, x)| *x > 0.0).map(|(n, x)| (*n, n / x)).collect();
    let (_, jtj, jtr) = normal_equations(LINE, &inverted, &[0.0; PARAMETERS])?;
    let inverse = inverse(&jtj)?;
    let [a, b, c]: Vector = std::array::from_fn(|i| (0..PARAMETERS).map(|j| inverse[i][j] * jtr[j]).sum());
    (a > 0.0).then(|| [1.0 / a, (b / a).max(0.0), (c / a).max(0.0)])
}

/// The best of a coarse grid over (α, β), with the γ that is best for each.
fn grid_start(points: &[(f64, f64)]) -> Option<Vector> {
    const SHARES: [f64; 7] = [0.0, 0.001, 0.01, 0.05, 0.2, 0.5, 0.9];
    let highest = points.iter().map(|(n, _)| *n).fold(1.0, f64::max);
    let candidates = SHARES.iter().flat_map(|alpha| {
        // β is sought where it bends the curve within the measured range.
        SHARES.iter().map(move |share| (*alpha, share * 10.0 / (highest * highest)))
    });
    candidates
        .filter_map(|(alpha, beta)| {
            let (mut xg, mut gg) = (0.0, 0.0);
            for (n, x) in points {
                let (g, _) = LAW(&[1.0, alpha, beta], *n)?;
                xg += x * g;
                gg += g * g;
            }
            let at = [xg / gg, alpha, beta];
            let (sse, ..) = normal_equations(LAW, points, &at)?;
            Some(Solution { at, sse })
        })
        .min_by(|a, b| a.sse.total_cmp(&b.sse))
        .map(|s| s.at)
}

/// √diag(s²(JᵀJ)⁻¹) over the coefficients that do not rest on a bound.
fn standard_errors(points: &[(f64, f64)], best: &Solution, freedom: usize) -> [Option<f64>; PARAMETERS] {
    let free: Free = std::array::from_fn(|i| best.at[i] > 0.0);
    let covariance = (freedom > 0).then(|| normal_equations(LAW, points, &best.at)).flatten().and_then(
        |(_, mut jtj, _)| {
            restrict(&mut jtj, free);
            inverse(&jtj)
        },
    );
    std::array::from_fn(|i| {
        let variance = covariance.as_ref()?[i][i] * best.sse / freedom as f64;
        free[i].then(|| variance.sqrt())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(n: &[f64], x: &[f64]) -> Vec<Point> {
        n.iter().zip(x).map(|(n, x)| Point { n: *n, throughput: *x }).collect()
    }

    fn near(got: f64, published: f64, tolerance: f64) {
        assert!((got - published).abs() <= tolerance, "{got} is not {published} ± {tolerance}");
    }

    /// SPEC SDM91, Gunther 2007: the published coefficients of the R package `usl`.
    #[test]
    fn specsdm91_gives_the_published_coefficients() {
        let f = fit(&points(
            &[1.0, 18.0, 36.0, 72.0, 108.0, 144.0, 216.0],
            &[64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2],
        ))
        .unwrap();
        near(f.usl.alpha, 0.027_728_5, 1e-7);
        near(f.usl.beta, 0.000_104_4, 1e-7);
        near(f.usl.gamma, 89.995_233, 1e-4);
        near(f.alpha_error.unwrap(), 0.009_121_7, 1e-6);
        near(f.beta_error.unwrap(), 0.000_019_9, 1e-7);
        near(f.gamma_error.unwrap(), 14.213_5, 1e-3);
        near(f.residual_error.unwrap(), 82.85, 0.01);
        near(f.usl.peak().unwrap().n, 96.519_56, 1e-3);
        near(f.usl.peak().unwrap().throughput, 1883.899, 1e-2);
        near(f.usl.limit().unwrap(), 3245.589, 0.01);
        near(f.usl.optimal_load().unwrap(), 36.064_01, 1e-3);
        for (n, x) in [1.0, 18.0, 36.0, 72.0, 108.0, 144.0, 216.0]
            .into_iter()
            .zip([90.0, 1078.0, 1541.0, 1850.0, 1879.0, 1822.0, 1646.0])
        {
            near(f.usl.throughput(n), x, 0.5);
        }
        assert!(f.r_squared.unwrap() > 0.98);
        assert_eq!((f.points, f.highest_n), (7, 216.0));
    }

    const RAYTRACER_N: [f64; 11] = [1.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 48.0, 64.0];
    const RAYTRACER_X: [f64; 11] =
        [20.0, 78.0, 130.0, 170.0, 190.0, 200.0, 210.0, 230.0, 260.0, 280.0, 310.0];

    #[test]
    fn the_first_six_raytracer_points_give_the_published_coefficients() {
        let f = fit(&points(&RAYTRACER_N[..6], &RAYTRACER_X[..6])).unwrap();
        near(f.usl.alpha, 0.024_44, 5e-6);
        near(f.usl.beta, 0.001_63, 5e-6);
        near(f.usl.gamma, 20.856, 5e-4);
        // The published intervals are .00754–.04135, .00110–.00215 and 19.267–22.445. Their half
        // widths are 2.015 = t(0.95, 5 df) standard errors, where two-sided 95 % on 3 degrees of
        // freedom would take 3.182; the standard errors themselves agree.
        near(f.alpha_error.unwrap() * 2.015, (0.041_35 - 0.007_54) / 2.0, 1e-5);
        near(f.beta_error.unwrap() * 2.015, (0.002_15 - 0.001_10) / 2.0, 1e-5);
        near(f.gamma_error.unwrap() * 2.015, (22.445 - 19.267) / 2.0, 1e-3);
    }

    #[test]
    fn all_raytracer_points_rest_on_the_bound_beta_zero_instead_of_a_negative_one() {
        let f = fit(&points(&RAYTRACER_N, &RAYTRACER_X)).unwrap();
        assert_eq!(f.usl.beta, 0.0);
        assert_eq!(f.beta_error, None);
        near(f.usl.alpha, 0.057_770_8, 1e-6);
        near(f.usl.gamma, 21.848_84, 1e-4);
        near(f.usl.limit().unwrap(), 378.2, 0.1);
        assert_eq!(f.usl.peak(), None);
    }

    #[test]
    fn the_synthetic_set_gives_its_known_coefficients_and_peak() {
        let f =
            fit(&points(&[1.0, 2.0, 4.0, 6.0, 8.0, 10.0], &[1.0, 1.8868, 3.0769, 3.5294, 3.5398, 3.3557]))
                .unwrap();
        near(f.usl.alpha, 0.020_005_8, 1e-6);
        near(f.usl.beta, 0.019_999_7, 1e-6);
        near(f.usl.gamma, 1.000_005_1, 1e-6);
        near(f.usl.peak().unwrap().n, 7.0, 1e-3);
    }

    #[test]
    fn faster_than_linear_points_rest_on_both_bounds() {
        let f = fit(&points(&[1.0, 2.0, 4.0, 8.0], &[1.0, 2.2, 4.8, 10.0])).unwrap();
        assert_eq!((f.usl.alpha, f.usl.beta), (0.0, 0.0));
        assert!(f.usl.gamma > 1.0);
    }

    #[test]
    fn a_plateau_has_contention_and_no_peak() {
        let n: Vec<f64> = (1..=20).map(f64::from).collect();
        let law = Usl { gamma: 100.0, alpha: 0.5, beta: 0.0 };
        let x: Vec<f64> = n.iter().map(|n| law.throughput(*n)).collect();
        let f = fit(&points(&n, &x)).unwrap();
        near(f.usl.alpha, 0.5, 1e-6);
        near(f.usl.beta, 0.0, 1e-9);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_with_the_way_out() {
        let too_few = fit(&points(&[1.0, 2.0, 2.0], &[1.0, 2.0, 2.0])).unwrap_err();
        assert_eq!(too_few, FitError::TooFewLoads(2));
        assert!(too_few.to_string().contains("add steps"));
        assert!(matches!(
            fit(&points(&[0.0, 1.0, 2.0], &[1.0, 2.0, 3.0])),
            Err(FitError::NotAMeasurement { .. })
        ));
        assert!(matches!(
            fit(&points(&[1.0, 2.0, f64::NAN], &[1.0, 2.0, 3.0])),
            Err(FitError::NotAMeasurement { .. })
        ));
        assert_eq!(fit(&points(&[1.0, 2.0, 3.0], &[0.0; 3])), Err(FitError::NothingCompleted));
    }

    proptest! {
        #[test]
        fn a_fit_recovers_noiseless_coefficients(
            gamma in 0.01f64..100_000.0,
            alpha in 0.0f64..0.9,
            beta in 0.0f64..0.02,
        ) {
            let law = Usl { gamma, alpha, beta };
            let n = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
            let x: Vec<f64> = n.iter().map(|n| law.throughput(*n)).collect();
            let f = fit(&points(&n, &x)).unwrap();
            prop_assert!((f.usl.gamma / gamma - 1.0).abs() < 1e-4, "{:?} is not {:?}", f.usl, law);
            prop_assert!((f.usl.alpha - alpha).abs() < 1e-4, "{:?} is not {:?}", f.usl, law);
            prop_assert!((f.usl.beta - beta).abs() < 1e-5, "{:?} is not {:?}", f.usl, law);
        }

        #[test]
        fn a_fit_of_anything_is_finite_and_within_bounds(
            x in proptest::collection::vec(0.0f64..1e6, 3..20),
            step in 0.01f64..50.0,
        ) {
            let n: Vec<f64> = (1..=x.len()).map(|i| i as f64 * step).collect();
            if let Ok(f) = fit(&points(&n, &x)) {
                prop_assert!(f.usl.gamma > 0.0 && f.usl.gamma.is_finite());
                prop_assert!(f.usl.alpha >= 0.0 && f.usl.alpha.is_finite());
                prop_assert!(f.usl.beta >= 0.0 && f.usl.beta.is_finite());
            }
        }

        #[test]
        fn the_unit_of_throughput_does_not_matter(unit in 1e-6f64..1e6) {
            let x: Vec<f64> = RAYTRACER_X.iter().map(|x| x * unit).collect();
            let f = fit(&points(&RAYTRACER_N, &x)).unwrap();
            prop_assert!((f.usl.alpha - 0.057_770_8).abs() < 1e-5);
            prop_assert!((f.usl.gamma / unit - 21.848_84).abs() < 1e-3);
        }
    }
}
