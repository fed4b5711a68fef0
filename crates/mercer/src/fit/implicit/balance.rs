//! From rows of classes to a model of items, in balanced coordinates.

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::fit::ids;
use crate::fit::implicit::lists::{Lists, NONE};
use crate::fit::implicit::solve::Factors;
use crate::linalg::{Matrix, eigen, svd};

/// Half of a Gram matrix: `H` with `G = H H^T` and the pseudo-inverse of `H^T`, both from eigenvectors, so that a rank
/// below the dimension is no obstacle.
fn halves(gram: &Matrix) -> Option<(Matrix, Matrix)> {
    let (values, vectors) = eigen(gram)?;
    let tiny = values.first().copied().unwrap_or(0.0).max(0.0) * gram.rows() as f64 * f64::EPSILON;
    let scaled = |power: f64| {
        let factor = |j: usize| if values[j] > tiny { values[j].powf(power) } else { 0.0 };
        Matrix::from_fn(gram.rows(), gram.rows(), |i, j| vectors[(i, j)] * factor(j))
    };
    Some((scaled(0.5), scaled(-0.5)))
}

/// The model with value `<u_x, v_y>`, its coordinates ordered by singular value over all items and cut to `dim`.
///
/// With `G_u = H_u H_u^T`, `G_v = H_v H_v^T` and `H_u^T H_v = X S Y^T`, the rows become `u H_u^-T X S^(1/2)` and
/// `v H_v^-T Y S^(1/2)`: no value changes, and both sides have Gram matrix `S`.
pub(crate) fn model(sides: &[Lists; 2], factors: [&Factors; 2], dim: usize) -> Result<DualEncoder> {
    let failed = || Error::data("the embeddings' decomposition failed", "use a larger ridge");
    let [u, v] = factors;
    let (half_u, turn_u) = halves(&u.gram(&sides[0].size)).ok_or_else(failed)?;
    let (half_v, turn_v) = halves(&v.gram(&sides[1].size)).ok_or_else(failed)?;
    let (x, s, y) = svd(&half_u.transpose_times(&half_v)).ok_or_else(failed)?;
    let side = |lists: &Lists, factors: &Factors, turn: &Matrix, vectors: &Matrix| {
        let vectors = Matrix::from_fn(vectors.rows(), dim, |i, j| vectors[(i, j)] * s[j].sqrt());
        let map: Matrix<f32> = {
            let map = turn.times(&vectors);
            Matrix::from_fn(dim, map.rows(), |i, j| map[(j, i)] as f32)
        };
        let rows = Matrix::from_columns(factors.rows.clone(), factors.width, factors.len());
        let turned = map.times(&rows);
        let zero = vec![0.0; dim];
        let of = |&class: &u32| if class == NONE { zero.as_slice() } else { turned.column(class as usize) };
        ids::from_rows(lists.class.iter().flat_map(|c| of(c).iter().copied()).collect(), dim)
    };
    let query = side(&sides[0], u, &turn_u, &x)?;
    let key = side(&sides[1], v, &turn_v, &y)?;
    DualEncoder::new(query, Some(key), crate::encoder::Form::Identity, 1)
}
