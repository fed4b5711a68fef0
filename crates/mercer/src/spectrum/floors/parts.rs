//! A block's symmetric and antisymmetric parts, and what lies beyond its leading singular values.

use crate::error::{Error, Result};
use crate::linalg::{Matrix, singular_values};

/// The mean of the squared values.
pub(crate) fn mean_square(a: &Matrix) -> f64 {
    a.data().iter().map(|v| v * v).sum::<f64>() / a.data().len() as f64
}

/// No decomposition.
pub(crate) fn not_finite() -> Error {
    Error::data("the decomposition of a block did not converge", "check the relation's values for overflow")
}

/// What rounding may add to a singular value, relative to the Frobenius norm: the backward error of the decomposition
/// is a small multiple of `eps`, and values that are off by `eps` each move singular values by `sqrt(n) eps` at most.
pub(crate) fn rounding(a: &Matrix) -> f64 {
    a.rows().max(a.columns()) as f64 * f64::EPSILON
}

/// For each dimension the mean square beyond it, from singular values less rounding at scale `|a|_F + other`.
pub(crate) fn tail(a: &Matrix, other: f64, dims: &[usize]) -> Result<Vec<f64>> {
    let values = singular_values(a).ok_or_else(not_finite)?;
    let pairs = a.data().len() as f64;
    let allowance = rounding(a) * ((mean_square(a) * pairs).sqrt() + other);
    Ok(tail_sums(values.iter().map(|s| (s - allowance).max(0.0)), dims).into_iter().map(|t| t / pairs).collect())
}

/// For each dimension the sum of squares of all but the first `dim` of the decreasing `values`.
pub(crate) fn tail_sums(values: impl DoubleEndedIterator<Item = f64>, dims: &[usize]) -> Vec<f64> {
    // Summed from the small end, so that small tails keep their digits.
    let mut sums: Vec<f64> = values
        .rev()
        .scan(0.0, |sum, v| {
            *sum += v * v;
            Some(*sum)
        })
        .collect();
    sums.reverse();
    dims.iter().map(|&d| sums.get(d).copied().unwrap_or(0.0)).collect()
}

/// A block on independent items, its symmetric part and the mean square of its antisymmetric part.
pub(crate) struct Parts {
    pub(crate) whole: Matrix,
    /// `None`: the block itself.
    symmetric: Option<Matrix>,
    pub(crate) antisymmetric: f64,
}

impl Parts {
    /// From `r(x_i, y_j)` and, unless the relation is symmetric, `r(y_j, x_i)`.
    pub(crate) fn new(whole: Matrix, back: Option<Matrix>) -> Self {
        let Some(back) = back else { return Parts { whole, symmetric: None, antisymmetric: 0.0 } };
        let part = |sign: f64| {
            Matrix::from_fn(whole.rows(), whole.columns(), |j, i| 0.5 * (whole[(j, i)] + sign * back[(i, j)]))
        };
        let rms = mean_square(&part(-1.0)).sqrt() - rounding(&whole) * mean_square(&whole).sqrt();
        let symmetric = part(1.0);
        Parts { symmetric: Some(symmetric), antisymmetric: rms.max(0.0).powi(2), whole }
    }

    pub(crate) fn symmetric(&self) -> &Matrix {
        self.symmetric.as_ref().unwrap_or(&self.whole)
    }

    pub(crate) fn norm(&self) -> f64 {
        (mean_square(&self.whole) * self.whole.data().len() as f64).sqrt()
    }

    pub(crate) fn signed_tail(&self, dims: &[usize]) -> Result<Vec<f64>> {
        let tails = tail(self.symmetric(), self.norm(), dims)?;
        Ok(tails.into_iter().map(|t| t + self.antisymmetric).collect())
    }

    /// `R_a^2 - 2 S P - P^2 + tail(S + P)` for a positive `P` that does not depend on this block.
    pub(crate) fn symmetric_tail(&self, positive: &Matrix, dims: &[usize]) -> Result<Vec<f64>> {
        let (s, p) = (self.symmetric().data(), positive.data());
        let lifted =
            Matrix::from_columns(s.iter().zip(p).map(|(s, p)| s + p).collect(), positive.rows(), positive.columns());
        let gap = -s.iter().zip(p).map(|(s, p)| p * (2.0 * s + p)).sum::<f64>() / s.len() as f64;
        let tails = tail(&lifted, self.norm(), dims)?;
        Ok(tails.into_iter().map(|t| t + gap + self.antisymmetric).collect())
    }
}
