//! Id tables: towers whose only layer is linear on one-hot rows, that is, one free embedding an item.

use crate::encoder::{Class, DualEncoder, Form};
use crate::error::{Error, Result};
use crate::fit::closed::leading;
use crate::linalg::{Matrix, eigen, qr, svd};
use crate::tower::{Activation, Layer, Tower};

/// A tower that looks up the rows of `embeddings`, `(items, dim)`.
fn table(embeddings: &Matrix) -> Result<Tower> {
    let (n, k) = (embeddings.rows(), embeddings.columns());
    let weights = (0..n * k).map(|at| embeddings[(at / k, at % k)] as f32).collect();
    from_rows(weights, k)
}

/// A tower that looks up rows, row-major `(items, dim)`.
pub(crate) fn from_rows(rows: Vec<f32>, dim: usize) -> Result<Tower> {
    Tower::new(vec![Layer::new(rows, vec![0.0; dim], Activation::Identity)?])
}

fn scaled(vectors: &Matrix, sizes: &[f64]) -> Matrix {
    let sizes: Vec<f64> = (0..vectors.columns()).map(|j| sizes.get(j).map_or(0.0, |s| s.sqrt())).collect();
    Matrix::from_fn(vectors.rows(), vectors.columns(), |i, j| vectors[(i, j)] * sizes[j])
}

/// The model with value `<p_x, q_y>`, balanced: rotated so that coordinates are ordered by singular value, which changes no
/// value and makes each truncation the best one.
pub(crate) fn asymmetric(p: &Matrix, q: &Matrix) -> Result<DualEncoder> {
    let failed = || Error::data("the embeddings' decomposition failed", "check the values for extreme numbers");
    let ((qp, rp), (qq, rq)) = (qr(p), qr(q));
    let (u, s, v) = svd(&rp.times_transpose(&rq)).ok_or_else(failed)?;
    let side = |basis: &Matrix, vectors: &Matrix| table(&scaled(&basis.times(vectors), &s));
    DualEncoder::new(side(&qp, &u)?, Some(side(&qq, &v)?), Form::Identity, 1)
}

/// The model with value `q_x^T core q_y` for an orthonormal `basis` `(items, k)` and a symmetric `core`, cut to `dim`.
pub(crate) fn symmetric(basis: &Matrix, core: &Matrix, class: Class, dim: usize) -> Result<DualEncoder> {
    let failed = || Error::data("the values' decomposition failed", "check the values for extreme numbers");
    let (values, vectors) = eigen(core).ok_or_else(failed)?;
    let order = leading(&values, class == Class::Signed, dim);
    if order.is_empty() {
        return Err(Error::data("the relation has no positive part", "use --class signed or asymmetric"));
    }
    let sizes: Vec<f64> = order.iter().map(|&i| values[i].abs()).collect();
    let tower = table(&scaled(&basis.times(&vectors.select_columns(&order)), &sizes))?;
    let signs = order.iter().map(|&i| if values[i] < 0.0 { -1.0 } else { 1.0 }).collect();
    let form = if class == Class::Signed { Form::Signs(signs) } else { Form::Identity };
    DualEncoder::new(tower, None, form, 1)
}
