//! Cores in which only what is linear in the keys depends on the query: `u(q, y) = f(q)^T A y + b(y)`.
//!
//! What a key is worth by itself may be curved while queries only tilt it, as in `-|q - M y|^2`, where comparisons see
//! `2 q^T M y - |M y|^2`. Such a core has far fewer free entries than all products of features, so noisy comparisons determine it better;
//! the held-out ones say whether it is enough.

use crate::fit::utility::grouped::Mapped;
use crate::fit::utility::{Descent, Found, path};
use crate::linalg::{Matrix, cholesky};
use crate::wide::dot;

/// Coordinates in which such a core is a pattern of zeros: the first one of the queries is constant, the first ones of the keys
/// span what is linear.
pub(crate) struct Additive {
    /// Orthogonal `(rq, rq)` and `(rk, rk)`.
    query: Matrix,
    key: Matrix,
    linear: usize,
}

/// Root mean square, relative, by which features may miss a function that they are said to span.
const MISSED: f64 = 1e-3;

impl Additive {
    /// For features that span the constant of the queries and the keys' linear functions, whose differences between preferred and other
    /// keys are `linear`, `(d, comparisons)`; `None` for others, or where nothing would be left out.
    pub(crate) fn new(train: &Mapped<'_>, linear: &Matrix) -> Option<Additive> {
        let ones = Matrix::from_fn(1, train.f.columns(), |_, _| 1.0);
        let (query, key) = (spanning(&train.f, &ones)?, spanning(&train.h, linear)?);
        let ((query, _), (key, linear)) = (completed(&query), completed(&key));
        let nothing = query.rows() < 2 || linear >= key.rows();
        (!nothing).then_some(Additive { query, key, linear })
    }

    /// Entries that may differ from zero.
    pub(crate) fn entries(&self) -> usize {
        (self.query.rows() - 1) * self.linear + self.key.rows()
    }

    /// The minimum along the ridges, as a core of the features as they are.
    pub(crate) fn descend(&self, train: &Mapped<'_>, valid: &Mapped<'_>, ridges: &[f64], descent: Descent) -> Found {
        let (train, valid) = (train.rotated(&self.query, &self.key), valid.rotated(&self.query, &self.key));
        let (train, valid) = (train.compared(), valid.compared());
        let rows = self.query.rows();
        let objective = |point: &[f64], ridge: f64| {
            let (value, mut slope) = train.core(point, ridge);
            // Starting from zero these entries then stay zero.
            slope.chunks_exact_mut(rows).skip(self.linear).for_each(|column| column[1..].fill(0.0));
            (value, slope)
        };
        let zero = vec![0.0; rows * self.key.rows()];
        let (_, slope) = objective(&zero, 0.0);
        let scale = dot(&slope, &slope).sqrt();
        let found = path(zero, ridges.iter().map(|r| r * scale), descent, objective, |p| valid.losses(p));
        let core = Matrix::from_columns(found.point, rows, self.key.rows());
        Found { point: self.query.times(&core).times_transpose(&self.key).into_data(), ..found }
    }
}

/// Coefficients `(r, k)` with which the rows of `features` `(r, n)` add up to the rows of `functions` `(k, n)`; `None` if they do not.
fn spanning(features: &Matrix, functions: &Matrix) -> Option<Matrix> {
    let mut gram = features.times_transpose(features);
    let trace: f64 = (0..gram.rows()).map(|i| gram[(i, i)]).sum();
    gram.add_to_diagonal(1e-12 * trace);
    let mut coefficients = features.times_transpose(functions);
    cholesky(&gram)?.solve(&mut coefficients);
    let got = coefficients.transpose_times(features);
    let missed: f64 = got.data().iter().zip(functions.data()).map(|(a, b)| (a - b) * (a - b)).sum();
    let size: f64 = dot(functions.data(), functions.data());
    (missed <= MISSED * MISSED * size).then_some(coefficients)
}

/// An orthogonal matrix whose first columns span those of `first`, and how many that takes: by Gram and Schmidt over them and the
/// unit vectors, twice each.
fn completed(first: &Matrix) -> (Matrix, usize) {
    let n = first.rows();
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(n);
    let mut taken = 0;
    let units = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect::<Vec<f64>>());
    for (at, candidate) in (0..first.columns()).map(|j| first.column(j).to_vec()).chain(units).enumerate() {
        let before = dot(&candidate, &candidate).sqrt();
        let mut rest = candidate;
        for _ in 0..2 {
            for own in &basis {
                let along = dot(own, &rest);
                rest.iter_mut().zip(own).for_each(|(r, o)| *r -= along * o);
            }
        }
        let norm = dot(&rest, &rest).sqrt();
        // Coefficients of functions that hang together differ by rounding, which a nearly singular Gram matrix magnifies.
        if basis.len() < n && norm > 1e-3 * before {
            basis.push(rest.into_iter().map(|r| r / norm).collect());
            taken += usize::from(at < first.columns());
        }
    }
    (Matrix::from_columns(basis.concat(), n, n), taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn bases_are_orthogonal_and_start_with_what_is_asked() {
        let mut stream = Seed(4).stream("basis");
        let mut columns: Vec<f64> = (0..21).map(|_| stream.normal()).collect();
        // A fourth that the others span.
        columns.extend((0..7).map(|i| columns[i] - 2.0 * columns[7 + i]).collect::<Vec<f64>>());
        let first = Matrix::from_columns(columns, 7, 4);
        let (basis, taken) = completed(&first);
        assert_eq!(taken, 3);
        let gram = basis.transpose_times(&basis);
        for i in 0..7 {
            for j in 0..7 {
                assert!((gram[(i, j)] - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
        // What the first columns span has no part along the others.
        let along = basis.transpose_times(&first);
        assert!((3..7).all(|i| (0..4).all(|j| along[(i, j)].abs() < 1e-12)));
    }

    #[test]
    fn features_that_miss_a_function_are_refused() {
        let mut stream = Seed(4).stream("spanning");
        let x: Vec<f64> = (0..50).map(|_| stream.normal()).collect();
        let features = Matrix::from_fn(2, 50, |i, j| if i == 0 { x[j] + 1.0 } else { x[j] - 2.0 });
        let line = Matrix::from_fn(1, 50, |_, j| 3.0 * x[j] - 4.0);
        let found = spanning(&features, &line).unwrap();
        assert!((found[(0, 0)] - 2.0 / 3.0).abs() < 1e-6 && (found[(1, 0)] - 7.0 / 3.0).abs() < 1e-6);
        let curve = Matrix::from_fn(1, 50, |_, j| x[j] * x[j]);
        assert!(spanning(&features, &curve).is_none());
    }
}
