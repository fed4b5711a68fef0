//! Maximum likelihood of utilities by Newton's method, and standard errors.
//!
//! The likelihoods here depend on differences of utilities only: the Hessian of `-ll` is the Laplacian of a graph with positive
//! weights, and with a penalty `alpha |theta|^2` it is `L + 2 alpha I`. It is inverted on utilities of sum zero:
//! with `J = 1 1^T / n` and any `c > 0`, `(L + 2 alpha I + c J)^-1 - J / (2 alpha + c)` is that inverse, and for `alpha = 0`
//! the Moore-Penrose inverse of `L`.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::linalg::{Matrix, cholesky};
use crate::wide::{add_scaled, dot};

/// How utilities are estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LikelihoodOptions {
    /// `alpha >= 0` of `-ll + alpha |theta|^2`; 0: plain maximum likelihood, which needs every key to be reached by a chain of
    /// preferences from every other.
    pub penalty: f64,
    /// Newton's method ends where no component of the gradient exceeds this times the largest summed weight of a key (at least
    /// 1).
    pub tolerance: f64,
    /// Newton steps at most.
    pub steps: usize,
    /// Keys up to which the inverse Hessian, and with it all standard errors, is formed: `8 keys^2` bytes a copy and about
    /// `keys^3` multiplications, once.
    pub dense: usize,
}

impl Default for LikelihoodOptions {
    fn default() -> Self {
        LikelihoodOptions { penalty: 0.0, tolerance: 1e-12, steps: 100, dense: 3000 }
    }
}

impl LikelihoodOptions {
    pub(crate) fn check(&self) -> Result<()> {
        if !(self.penalty >= 0.0 && self.penalty.is_finite()) {
            return Err(Error::parameter("penalty", "0 or a positive number", self.penalty));
        }
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            return Err(Error::parameter("tolerance", "between 0 and 1", self.tolerance));
        }
        Ok(())
    }
}

/// A likelihood of differences of utilities.
pub(crate) trait Likelihood {
    /// Number of utilities.
    fn keys(&self) -> usize;
    /// `-ll` and its gradient.
    fn value(&self, theta: &[f64]) -> (f64, Vec<f64>);
    /// The Laplacian of `-ll` at `theta`, as something that can be applied.
    fn curvature(&self, theta: &[f64]) -> Box<dyn Curvature>;
    /// The largest summed weight of a key: the size of gradients before they cancel.
    fn scale(&self) -> f64;
}

/// A weighted graph's Laplacian `L`.
pub(crate) trait Curvature: Send + Sync {
    /// `out += L v`.
    fn add_product(&self, v: &[f64], out: &mut [f64]);
    /// The diagonal of `L`.
    fn diagonal(&self) -> &[f64];
    /// Adds the entries below the diagonal.
    fn add_lower(&self, out: &mut Matrix);
}

/// Utilities of maximum likelihood, with their uncertainty.
#[derive(Clone, Debug, Serialize)]
pub struct Estimated {
    /// Utility of each key, of sum zero; differences are log-odds of preference.
    pub utilities: Vec<f64>,
    /// Standard error of each utility, as a deviation from the mean of all: root of the diagonal of the inverse Hessian on
    /// utilities of sum zero. Asymptotic; with a penalty, of the penalised curvature.
    pub standard_errors: Option<Vec<f64>>,
    /// Why there are no standard errors.
    pub without_errors: Option<String>,
    /// Log-likelihood, without the penalty.
    pub log_likelihood: f64,
    /// The penalty `alpha`.
    pub penalty: f64,
    /// Largest component of the penalised gradient at the end.
    pub gradient: f64,
    /// Newton steps.
    pub steps: usize,
    /// Whether the gradient came down to the tolerance.
    pub converged: bool,
    #[serde(skip)]
    inverse: Inverse,
}

/// What differences need.
#[derive(Clone)]
enum Inverse {
    /// Column-major `(keys, keys)`.
    Dense(Matrix),
    Sparse(std::sync::Arc<dyn Curvature>, f64),
}

impl std::fmt::Debug for Inverse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Inverse::Dense(_) => "Dense",
            Inverse::Sparse(..) => "Sparse",
        })
    }
}

impl Estimated {
    /// Covariance of the estimates of keys `a` and `b` on utilities of sum zero; `None` where standard errors are, or if there
    /// is no such key.
    pub fn covariance(&self, a: usize, b: usize) -> Option<f64> {
        let n = self.utilities.len();
        match &self.inverse {
            Inverse::Dense(inverse) if a < n && b < n => Some(inverse[(a, b)]),
            _ => None,
        }
    }

    /// Standard error of `utility(a) - utility(b)`, in log-odds; `None` if there is no such key, or where conjugate gradients
    /// fail.
    ///
    /// Cost: constant where the Hessian was dense; otherwise one solution by conjugate gradients.
    ///
    /// ```
    /// use mercer::{Comparisons, preorder::{bradley_terry, LikelihoodOptions}};
    /// // Key 0 is preferred in 3 of 4 comparisons: log-odds ln 3 with variance 1/3 + 1/1.
    /// let comparisons = Comparisons::new(vec![0; 4], vec![0, 0, 0, 1], vec![1, 1, 1, 0], None)?;
    /// let estimated = bradley_terry(&comparisons, 2, &LikelihoodOptions::default())?;
    /// assert!((estimated.utilities[0] - estimated.utilities[1] - 3f64.ln()).abs() < 1e-10);
    /// assert!((estimated.difference_error(0, 1).unwrap() - (4.0 / 3.0f64).sqrt()).abs() < 1e-10);
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn difference_error(&self, a: usize, b: usize) -> Option<f64> {
        let n = self.utilities.len();
        if a >= n || b >= n {
            return None;
        }
        if a == b {
            return Some(0.0);
        }
        let variance = match &self.inverse {
            Inverse::Dense(inverse) => inverse[(a, a)] + inverse[(b, b)] - 2.0 * inverse[(a, b)],
            Inverse::Sparse(curvature, ridge) => {
                let mut difference = vec![0.0; n];
                (difference[a], difference[b]) = (1.0, -1.0);
                let solution = solve(curvature.as_ref(), *ridge, &difference, 1e-10)?;
                solution[a] - solution[b]
            }
        };
        Some(variance.max(0.0).sqrt())
    }
}

/// Newton's method with a backtracking line search from utilities 0.
pub(crate) fn maximise(likelihood: &dyn Likelihood, options: &LikelihoodOptions) -> Result<Estimated> {
    let n = likelihood.keys();
    let ridge = 2.0 * options.penalty;
    let objective = |theta: &[f64]| {
        let (mut value, mut gradient) = likelihood.value(theta);
        value += options.penalty * dot(theta, theta);
        add_scaled(&mut gradient, ridge, theta);
        (value, gradient)
    };
    let largest = |gradient: &[f64]| gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
    let tolerance = options.tolerance * likelihood.scale().max(1.0);
    let mut theta = vec![0.0; n];
    let (mut value, mut gradient) = objective(&theta);
    let mut steps = 0;
    while steps < options.steps && largest(&gradient) > tolerance {
        let curvature = likelihood.curvature(&theta);
        let Some(step) = newton_step(curvature.as_ref(), ridge, &gradient, options.dense) else { break };
        let slope = -dot(&step, &gradient);
        let moved = (0..40).map(|halvings| 0.5f64.powi(halvings)).find_map(|length| {
            let mut point = theta.clone();
            add_scaled(&mut point, -length, &step);
            centre(&mut point);
            let (next, slopes) = objective(&point);
            // Near the end the objective no longer shows what the gradient does.
            let rounding = 1e-13 * value.abs();
            let accepted = next.is_finite() && next <= value + 1e-4 * length * slope + rounding;
            let flat = next.is_finite() && (next - value).abs() <= rounding;
            (accepted && (!flat || largest(&slopes) < largest(&gradient))).then_some((point, next, slopes))
        });
        let Some(moved) = moved else { break };
        (theta, value, gradient) = moved;
        steps += 1;
    }
    let curvature = likelihood.curvature(&theta);
    let left = largest(&gradient);
    let log_likelihood = options.penalty * dot(&theta, &theta) - value;
    let (inverse, standard_errors, without_errors) = if n <= options.dense {
        let inverse = inverse(curvature.as_ref(), ridge).ok_or_else(|| {
            Error::data(
                "the curvature of the likelihood is not positive at its maximum",
                "give a larger penalty: some preferences are almost without exception",
            )
        })?;
        let errors = (0..n).map(|i| inverse[(i, i)].max(0.0).sqrt()).collect();
        (Inverse::Dense(inverse), Some(errors), None)
    } else {
        let reason = format!(
            "the inverse of a matrix of {n} keys was not formed (limit {}): ask for the standard error of a difference, or raise \
             the limit",
            options.dense
        );
        (Inverse::Sparse(curvature.into(), ridge), None, Some(reason))
    };
    Ok(Estimated {
        utilities: theta,
        standard_errors,
        without_errors,
        log_likelihood,
        penalty: options.penalty,
        gradient: left,
        steps,
        // A step that rounding forbids, with a gradient that is small all the same, is an end too.
        converged: left <= 100.0 * tolerance,
        inverse,
    })
}

/// Subtracts the mean.
fn centre(values: &mut [f64]) {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter_mut().for_each(|v| *v -= mean);
}

/// Keys up to which a step factorises the Hessian; beyond, conjugate gradients are faster.
const FACTORISED: usize = 400;

fn newton_step(curvature: &dyn Curvature, ridge: f64, gradient: &[f64], dense: usize) -> Option<Vec<f64>> {
    let n = gradient.len();
    if n > FACTORISED.min(dense) {
        let step = solve(curvature, ridge, gradient, 1e-8);
        if step.is_some() || n > dense {
            return step;
        }
    }
    let factor = cholesky(&steadied(curvature, ridge).0)?;
    let mut step = Matrix::from_columns(gradient.to_vec(), gradient.len(), 1);
    factor.solve(&mut step);
    let mut step = step.into_data();
    centre(&mut step);
    Some(step)
}

/// `L + ridge I + c J` and `c`, the mean of the diagonal.
fn steadied(curvature: &dyn Curvature, ridge: f64) -> (Matrix, f64) {
    let diagonal = curvature.diagonal();
    let n = diagonal.len();
    let mean = diagonal.iter().sum::<f64>() / n.max(1) as f64 + ridge;
    // A single key has no curvature.
    let level = if mean > 0.0 { mean } else { 1.0 };
    let mut matrix = Matrix::zeros(n, n);
    curvature.add_lower(&mut matrix);
    for j in 0..n {
        matrix[(j, j)] += diagonal[j] + ridge;
        for i in j..n {
            matrix[(i, j)] += level / n as f64;
            let below = matrix[(i, j)];
            matrix[(j, i)] = below;
        }
    }
    (matrix, level)
}

/// The inverse of `L + ridge I` on utilities of sum zero.
fn inverse(curvature: &dyn Curvature, ridge: f64) -> Option<Matrix> {
    let (matrix, level) = steadied(curvature, ridge);
    let n = matrix.rows();
    let mut inverse = Matrix::from_fn(n, n, |i, j| f64::from(u8::from(i == j)));
    cholesky(&matrix)?.solve(&mut inverse);
    let mean = 1.0 / ((level + ridge) * n as f64);
    inverse.data_mut().iter_mut().for_each(|v| *v -= mean);
    inverse.data().iter().all(|v| v.is_finite()).then_some(inverse)
}

/// Conjugate gradients, preconditioned by the diagonal, for `(L + ridge I) x = b` on vectors of sum zero; `None` if they break
/// down.
fn solve(curvature: &dyn Curvature, ridge: f64, b: &[f64], accuracy: f64) -> Option<Vec<f64>> {
    let n = b.len();
    let scale: Vec<f64> = curvature.diagonal().iter().map(|d| 1.0 / (d + ridge).max(f64::MIN_POSITIVE)).collect();
    let precondition = |r: &[f64]| {
        let mut z: Vec<f64> = r.iter().zip(&scale).map(|(r, s)| r * s).collect();
        centre(&mut z);
        z
    };
    let (mut x, mut r) = (vec![0.0; n], b.to_vec());
    centre(&mut r);
    let goal = accuracy * dot(&r, &r).sqrt();
    let mut z = precondition(&r);
    let (mut direction, mut rz) = (z.clone(), dot(&r, &z));
    for _ in 0..10 * n + 100 {
        if dot(&r, &r).sqrt() <= goal {
            break;
        }
        let mut image: Vec<f64> = direction.iter().map(|d| ridge * d).collect();
        curvature.add_product(&direction, &mut image);
        let curve = dot(&direction, &image);
        if !(curve > 0.0 && curve.is_finite()) {
            return None;
        }
        let length = rz / curve;
        add_scaled(&mut x, length, &direction);
        add_scaled(&mut r, -length, &image);
        centre(&mut r);
        z = precondition(&r);
        let next = dot(&r, &z);
        let turn = next / rz;
        direction.iter_mut().zip(&z).for_each(|(d, z)| *d = z + turn * *d);
        rz = next;
    }
    centre(&mut x);
    x.iter().all(|v| v.is_finite()).then_some(x)
}
