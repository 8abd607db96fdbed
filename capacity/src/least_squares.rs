//! Bounded nonlinear least squares for the three coefficients: Levenberg–Marquardt with
//! projection onto the bounds (K. Levenberg, 1944; D. Marquardt, 1963; projection after
//! C. Kanzow, N. Yamashita, M. Fukushima, 2004).
//!
//! Which bounds are active at the optimum is not guessed: every face of the feasible set (α free
//! or 0, β free or 0) is searched and the best point wins, so the result is a minimum even when
//! the unbounded one lies outside.

/// How many coefficients there are: γ, α, β.
pub(crate) const PARAMETERS: usize = 3;
/// Steps of one search at most. A well-posed fit takes some tens.
const MAX_STEPS: usize = 2_000;
/// A step that lowers the sum of squares by less than this share is the last one.
const CONVERGED: f64 = 1e-15;
/// Damping beyond which no step can be found any more.
const MAX_DAMPING: f64 = 1e20;

pub(crate) type Vector = [f64; PARAMETERS];
pub(crate) type Matrix = [Vector; PARAMETERS];

/// Which coefficients may move; the others stay at 0.
pub(crate) type Free = [bool; PARAMETERS];

/// A model point by point: value and gradient at `n`, or `None` outside the model's domain.
pub(crate) type Model = fn(&Vector, f64) -> Option<(f64, Vector)>;

/// A point of the search and its sum of squared residuals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Solution {
    pub at: Vector,
    pub sse: f64,
}

/// The sum of squared residuals at `at`, Gauss's matrix JᵀJ and Jᵀr; `None` outside the domain.
pub(crate) fn normal_equations(
    model: Model,
    points: &[(f64, f64)],
    at: &Vector,
) -> Option<(f64, Matrix, Vector)> {
    let (mut sse, mut jtj, mut jtr) = (0.0, [[0.0; PARAMETERS]; PARAMETERS], [0.0; PARAMETERS]);
    for (n, x) in points {
        let (value, gradient) = model(at, *n)?;
        let residual = x - value;
        sse += residual * residual;
        for i in 0..PARAMETERS {
            jtr[i] += gradient[i] * residual;
            for j in 0..PARAMETERS {
                jtj[i][j] += gradient[i] * gradient[j];
            }
        }
    }
    sse.is_finite().then_some((sse, jtj, jtr))
}

/// The least sum of squares from `start` with the coefficients in `free` moving and none below 0.
/// `None` when `start` is outside the model's domain.
pub(crate) fn search(model: Model, points: &[(f64, f64)], start: Vector, free: Free) -> Option<Solution> {
    let mut at = start;
    for (value, moves) in at.iter_mut().zip(free) {
        *value = if moves { value.max(0.0) } else { 0.0 };
    }
    let (mut sse, mut jtj, mut jtr) = normal_equations(model, points, &at)?;
    let mut damping = 1e-3;
    for _ in 0..MAX_STEPS {
        // A coefficient that rests on its bound and would leave the domain does not move.
        let moving: Free = std::array::from_fn(|i| free[i] && !(at[i] <= 0.0 && jtr[i] < 0.0));
        let Some(step) = damped_step(&jtj, &jtr, damping, moving) else { break };
        let tried: Vector = std::array::from_fn(|i| if free[i] { (at[i] + step[i]).max(0.0) } else { 0.0 });
        match normal_equations(model, points, &tried) {
            Some(better) if better.0 < sse => {
                let gain = (sse - better.0) / sse;
                (at, damping) = (tried, (damping / 10.0).max(1e-15));
                (sse, jtj, jtr) = better;
                if gain < CONVERGED {
                    break;
                }
            }
            _ => damping *= 10.0,
        }
        if damping > MAX_DAMPING || sse <= 0.0 {
            break;
        }
    }
    Some(Solution { at, sse })
}

fn damped_step(jtj: &Matrix, jtr: &Vector, damping: f64, moving: Free) -> Option<Vector> {
    let mut a = *jtj;
    let mut b = *jtr;
    for i in 0..PARAMETERS {
        if moving[i] {
            // Marquardt's scaling; the floor keeps a flat direction solvable.
            a[i][i] += damping * a[i][i].max(f64::MIN_POSITIVE);
        }
    }
    restrict(&mut a, moving);
    for (value, moves) in b.iter_mut().zip(moving) {
        if !moves {
            *value = 0.0;
        }
    }
    let inverse = inverse(&a)?;
    Some(std::array::from_fn(|i| (0..PARAMETERS).map(|j| inverse[i][j] * b[j]).sum()))
}

/// Replaces the rows and columns of coefficients that do not move by those of the unit matrix.
pub(crate) fn restrict(a: &mut Matrix, moving: Free) {
    for i in 0..PARAMETERS {
        for j in 0..PARAMETERS {
            if !moving[i] || !moving[j] {
                a[i][j] = if i == j { 1.0 } else { 0.0 };
            }
        }
    }
}

/// The inverse of a symmetric positive matrix by Gauss–Jordan with pivots, after scaling its
/// diagonal to 1 (α, β and γ differ by many orders of magnitude); `None` when singular.
pub(crate) fn inverse(a: &Matrix) -> Option<Matrix> {
    let scale: Vector = std::array::from_fn(|i| 1.0 / a[i][i].sqrt());
    if scale.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let mut m: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] * scale[i] * scale[j]));
    let mut inv: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))));
    for column in 0..PARAMETERS {
        let pivot =
            (column..PARAMETERS).max_by(|p, q| m[*p][column].abs().total_cmp(&m[*q][column].abs()))?;
        if m[pivot][column].abs() < f64::EPSILON {
            return None;
        }
        m.swap(column, pivot);
        inv.swap(column, pivot);
        let divisor = m[column][column];
        for j in 0..PARAMETERS {
            m[column][j] /= divisor;
            inv[column][j] /= divisor;
        }
        for row in (0..PARAMETERS).filter(|r| *r != column) {
            let factor = m[row][column];
            for j in 0..PARAMETERS {
                m[row][j] -= factor * m[column][j];
                inv[row][j] -= factor * inv[column][j];
            }
        }
    }
    Some(std::array::from_fn(|i| std::array::from_fn(|j| inv[i][j] * scale[i] * scale[j])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_survives_very_different_scales() {
        let a = [[1e12, 1e3, 0.0], [1e3, 4e-3, 1e-9], [0.0, 1e-9, 1e-10]];
        let inv = inverse(&a).unwrap();
        for (i, row) in a.iter().enumerate() {
            for j in 0..PARAMETERS {
                let terms: Vec<f64> = row.iter().zip(&inv).map(|(x, column)| x * column[j]).collect();
                let size: f64 = terms.iter().map(|t| t.abs()).sum();
                let unit = if i == j { 1.0 } else { 0.0 };
                let product: f64 = terms.iter().sum();
                assert!((product - unit).abs() < 1e-9 * size.max(1.0), "{i},{j}: {product}");
            }
        }
        assert!(inverse(&[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).is_none());
    }
}
