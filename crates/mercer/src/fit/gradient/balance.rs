//! The end of a training: the learned scale goes into the towers, and their coordinates into the order of singular values.

use crate::encoder::{DualEncoder, Form};
use crate::error::{Error, Result};
use crate::fit::gradient::start::with_outputs_times;
use crate::linalg::{Matrix, cholesky, eigen, svd};
use crate::rows::Rows;
use crate::tower::{Activation, Tower};

/// Added to the diagonal of the sample's second moments, relative to their mean: makes them invertible; far above the rounding
/// of `f32`, far below what a coordinate needs to matter.
const RIDGE: f64 = 1e-6;

/// The model whose inner products are `scale` times those of `model`.
pub(crate) fn scaled(model: &DualEncoder, scale: f64) -> Result<DualEncoder> {
    let factor = if model.is_shared() { scale.sqrt() } else { scale };
    let query = if is_linear(model.query()) {
        let dim = model.query().outputs();
        with_outputs_times(model.query(), &Matrix::from_fn(dim, dim, |i, j| if i == j { factor } else { 0.0 }))?
    } else {
        let own = model.query().scale();
        model.query().clone().with_scale((f64::from(own) * factor) as f32)?
    };
    let key = (!model.is_shared()).then(|| model.key().clone());
    Ok(DualEncoder::new(query, key, model.form().clone(), 1)?.with_link(model.link()))
}

/// The same model with coordinates ordered by singular value on a sample of items, so that its truncations are good ones; `None`
/// where a last layer is not linear.
///
/// With second moments `F = Rf^T Rf` of the query embeddings and `G = Rg^T Rg` of the key embeddings and `Rf Rg^T = U S V^T`, the
/// towers get `A = Rg^T V S^-1/2` and `B = Rf^T U S^-1/2`: `A B^T = 1`, so no value changes but by rounding, and both second
/// moments become `S`. A shared tower is rotated to the eigenvectors of its second moments, among the coordinates of one sign.
///
/// # Errors
/// If the embeddings are not finite.
pub(crate) fn balanced(model: &DualEncoder, x: &Rows<'_>, y: &Rows<'_>) -> Result<Option<DualEncoder>> {
    if !is_linear(model.query()) || !is_linear(model.key()) {
        return Ok(None);
    }
    let failed = || Error::data("the embeddings' decomposition failed", "check the features for extreme numbers");
    let f = second_moments(model.query(), x)?;
    if model.is_shared() {
        return rotated(model, &f).ok_or_else(failed)?.map(Some);
    }
    let g = second_moments(model.key(), y)?;
    let (rf, rg) = (root(&f).ok_or_else(failed)?, root(&g).ok_or_else(failed)?);
    let (u, s, v) = svd(&rf.times_transpose(&rg)).ok_or_else(failed)?;
    let side = |root: &Matrix, vectors: &Matrix| {
        let a = root.transpose_times(vectors);
        Matrix::from_fn(a.rows(), a.columns(), |i, j| a[(i, j)] / s[j].sqrt())
    };
    let query = with_outputs_times(model.query(), &side(&rg, &v))?;
    let key = with_outputs_times(model.key(), &side(&rf, &u))?;
    Ok(Some(DualEncoder::new(query, Some(key), model.form().clone(), 1)?.with_link(model.link())))
}

/// `R` with `R^T R = m`, upper triangular: `L^-1 m` for the factor `L`.
fn root(m: &Matrix) -> Option<Matrix> {
    let mut root = m.clone();
    cholesky(m)?.solve_lower(&mut root);
    Some(root)
}

fn is_linear(tower: &Tower) -> bool {
    tower.layers().last().is_some_and(|layer| layer.activation() == Activation::Identity)
}

/// `E^T E / n` of the embeddings with a small ridge.
fn second_moments(tower: &Tower, items: &Rows<'_>) -> Result<Matrix> {
    let (dim, rows) = (tower.outputs(), tower.forward(items)?);
    let rows = Matrix::from_columns(rows.into_iter().map(f64::from).collect(), dim, items.len());
    let mut moments = rows.times_transpose(&rows).scaled(1.0 / items.len().max(1) as f64);
    let mean = (0..dim).map(|i| moments[(i, i)]).sum::<f64>() / dim as f64;
    moments.add_to_diagonal(RIDGE * if mean > 0.0 { mean } else { 1.0 });
    Ok(moments)
}

fn rotated(model: &DualEncoder, moments: &Matrix) -> Option<Result<DualEncoder>> {
    let dim = moments.rows();
    let signs = match model.form() {
        Form::Signs(signs) => signs.clone(),
        _ => vec![1.0; dim],
    };
    // Each sign's own coordinates, turned to their eigenvectors; then all by decreasing eigenvalue.
    let mut found: Vec<(f64, f32, Vec<f64>)> = Vec::new();
    for sign in [1.0, -1.0] {
        let own: Vec<usize> = (0..dim).filter(|&j| signs[j] == sign).collect();
        if own.is_empty() {
            continue;
        }
        let (values, vectors) = eigen(&Matrix::from_fn(own.len(), own.len(), |i, j| moments[(own[i], own[j])]))?;
        for (j, value) in values.into_iter().enumerate() {
            let mut column = vec![0.0; dim];
            own.iter().enumerate().for_each(|(i, &at)| column[at] = vectors[(i, j)]);
            found.push((value, sign, column));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let turn = Matrix::from_fn(dim, dim, |i, j| found[j].2[i]);
    let form = match model.form() {
        Form::Identity => Form::Identity,
        Form::Signs(_) => Form::Signs(found.iter().map(|f| f.1).collect()),
    };
    let tower = with_outputs_times(model.query(), &turn);
    Some(tower.and_then(|t| Ok(DualEncoder::new(t, None, form, 1)?.with_link(model.link()))))
}
