//! The canonical form of antisymmetric matrices: orthogonal blocks `sigma (v w^T - w v^T)`, largest first.

use crate::encoder::{DualEncoder, Form};
use crate::error::{Error, Result};
use crate::fit::antisymmetric::likelihood::Fitted;
use crate::fit::ids::from_rows;
use crate::linalg::{Matrix, eigen, qr};
use crate::seed::Seed;

/// Columns that a subspace iteration carries beyond those that are wanted.
const SPARE: usize = 6;
/// Products with the matrix that a subspace iteration makes.
const ROUNDS: usize = 12;

/// Embeddings `(n, 2 blocks)` with columns `x_1, y_1, x_2, ..` whose blocks `x y^T - y x^T` are the leading ones of the
/// antisymmetric matrix with entries `(a, b, value)`, `a < b` (and minus them below the diagonal).
///
/// Subspace iteration: `(ROUNDS + 1)` products of the entries with `2 blocks + SPARE` columns.
pub(crate) fn leading(entries: &[(u32, u32, f64)], n: usize, blocks: usize, seed: Seed) -> Matrix {
    let width = (2 * blocks + SPARE).min(n);
    let mut stream = seed.stream("antisymmetric start");
    let mut random = Matrix::zeros(n, width);
    random.data_mut().iter_mut().for_each(|v| *v = stream.normal());
    let product = |v: &Matrix| {
        let mut out = Matrix::zeros(n, width);
        for j in 0..width {
            let (from, to) = (v.column(j), out.column_mut(j));
            for &(a, b, value) in entries {
                to[a as usize] += value * from[b as usize];
                to[b as usize] -= value * from[a as usize];
            }
        }
        out
    };
    let mut basis = qr(&random).0;
    for _ in 0..ROUNDS {
        basis = qr(&product(&basis)).0;
    }
    let core = basis.transpose_times(&product(&basis));
    let found = decompose(core, blocks);
    let mut out = Matrix::zeros(n, 2 * blocks);
    let rotated = basis.times(&found);
    out.data_mut()[..rotated.data().len()].copy_from_slice(rotated.data());
    out
}

/// Columns `sqrt(sigma) v_1, sqrt(sigma) w_1, ..` of the `blocks` largest blocks of a small antisymmetric matrix.
///
/// `A v = -sigma w` and `A w = sigma v`: `v` is a leading eigenvector of `-A^2`. One block after the other is found and taken
/// away, so that equal sizes do not matter.
fn decompose(mut a: Matrix, blocks: usize) -> Matrix {
    let n = a.rows();
    // Rounding leaves a symmetric part.
    a = Matrix::from_fn(n, n, |i, j| 0.5 * (a[(i, j)] - a[(j, i)]));
    let mut out = Matrix::zeros(n, 2 * blocks);
    for block in 0..blocks.min(n / 2) {
        let Some((values, vectors)) = eigen(&a.gram()) else { break };
        let sigma = values[0].max(0.0).sqrt();
        if sigma == 0.0 || !sigma.is_finite() {
            break;
        }
        let v = vectors.leading_columns(1);
        let w = a.times(&v).scaled(-1.0 / sigma);
        for i in 0..n {
            out[(i, 2 * block)] = sigma.sqrt() * v[(i, 0)];
            out[(i, 2 * block + 1)] = sigma.sqrt() * w[(i, 0)];
        }
        a = Matrix::from_fn(n, n, |i, j| a[(i, j)] - sigma * (v[(i, 0)] * w[(j, 0)] - w[(i, 0)] * v[(j, 0)]));
    }
    out
}

/// The embeddings `(items, rank)` of a fitted model in canonical form, a utility being a block like the others.
pub(crate) fn canonical(fitted: &Fitted) -> Result<Matrix> {
    let (terms, width) = (fitted.terms, fitted.terms.width());
    let (items, first) = (fitted.point.len() / width, usize::from(terms.utility));
    let rank = 2 * (terms.blocks + first);
    let value = |i: usize, c: usize| fitted.point[i * width + c];
    let embeddings = Matrix::from_fn(items, rank, |i, c| match (first, c) {
        (1, 0) => value(i, 0),
        (1, 1) => 1.0,
        _ => value(i, c - first),
    });
    let (q, r) = qr(&embeddings);
    let half = Matrix::from_fn(rank, r.rows(), |c, j| if c % 2 == 0 { r[(j, c + 1)] } else { -r[(j, c - 1)] });
    let core = r.times(&half);
    if core.data().iter().any(|v| !v.is_finite()) {
        return Err(Error::data("the fit left the finite numbers", "give a larger ridge, or smaller weights"));
    }
    Ok(q.times(&decompose(core, rank / 2)))
}

/// The id table: query rows `(x, y)`, key rows `(y, -x)` of each block.
pub(crate) fn encoder(embeddings: &Matrix, items: usize) -> Result<DualEncoder> {
    let rank = embeddings.columns();
    let at = |i: usize, c: usize| embeddings[(i, c)] as f32;
    let rows = |value: &dyn Fn(usize, usize) -> f32| {
        (0..items).flat_map(|i| (0..rank).map(move |c| (i, c))).map(|(i, c)| value(i, c)).collect()
    };
    let query = rows(&at);
    let key = rows(&|i, c| if c % 2 == 0 { at(i, c + 1) } else { -at(i, c - 1) });
    DualEncoder::new(from_rows(query, rank)?, Some(from_rows(key, rank)?), Form::Identity, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(embeddings: &Matrix, i: usize, j: usize) -> f64 {
        (0..embeddings.columns() / 2)
            .map(|b| {
                let at = |k: usize, c: usize| embeddings[(k, 2 * b + c)];
                at(i, 0) * at(j, 1) - at(i, 1) * at(j, 0)
            })
            .sum()
    }

    #[test]
    fn a_matrix_of_rank_four_is_reproduced_even_with_equal_blocks() {
        let n = 17;
        for sizes in [[3.0, 1.0], [2.0, 2.0]] {
            let mut stream = Seed(3).stream("blocks");
            let mut random = Matrix::zeros(n, 4);
            random.data_mut().iter_mut().for_each(|v| *v = stream.normal());
            let q = qr(&random).0;
            let entry = |i: usize, j: usize| {
                (0..2)
                    .map(|b| sizes[b] * (q[(i, 2 * b)] * q[(j, 2 * b + 1)] - q[(i, 2 * b + 1)] * q[(j, 2 * b)]))
                    .sum::<f64>()
            };
            let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
            let entries: Vec<(u32, u32, f64)> = pairs.map(|(a, b)| (a as u32, b as u32, entry(a, b))).collect();
            let found = leading(&entries, n, 2, Seed(0));
            for &(a, b, expected) in &entries {
                assert!((value(&found, a as usize, b as usize) - expected).abs() < 1e-10);
                assert!((value(&found, b as usize, a as usize) + expected).abs() < 1e-10);
            }
            // Columns are orthogonal and of squared length sigma.
            let gram = found.gram();
            for (c, &size) in [sizes[0], sizes[0], sizes[1], sizes[1]].iter().enumerate() {
                assert!((gram[(c, c)] - size).abs() < 1e-9 && (c == 0 || gram[(c, c - 1)].abs() < 1e-9));
            }
        }
    }

    #[test]
    fn more_blocks_than_the_matrix_has_are_zero() {
        let found = leading(&[(0, 1, 2.0)], 3, 3, Seed(0));
        assert_eq!((found.rows(), found.columns()), (3, 6));
        assert!((value(&found, 0, 1) - 2.0).abs() < 1e-12 && value(&found, 1, 2).abs() < 1e-12);
    }
}
