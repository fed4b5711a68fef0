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
    if let Form::Signs(signs) = model.form() {
        // Two towers need no signs: the query tower takes them.
        let own = Matrix::from_fn(signs.len(), signs.len(), |i, j| if i == j { signs[i].into() } else { 0.0 });
        let query = with_outputs_times(model.query(), &own)?;
        let plain = DualEncoder::new(query, Some(model.key().clone()), Form::Identity, 1)?.with_link(model.link());
        return balanced(&plain, x, y);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Features;
    use crate::seed::Seed;
    use crate::tower::{Layer, RowScaling};

    fn normals(n: usize, name: &str) -> Vec<f32> {
        let mut stream = Seed(11).stream(name);
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    fn tower(dim: usize, name: &str) -> Tower {
        let hidden = Layer::new(normals(4 * 9, name), normals(9, "b"), Activation::Tanh).unwrap();
        let mut weights = normals(9 * dim, &format!("{name} out"));
        // A coordinate that repeats another, and one of another size.
        weights.chunks_exact_mut(dim).for_each(|row| (row[1], row[2]) = (row[0], 100.0 * row[2]));
        let last = Layer::new(weights, normals(dim, "c"), Activation::Identity).unwrap();
        Tower::new(vec![hidden, last]).unwrap().with_scaling(RowScaling::UnitNorm).with_scale(1.7).unwrap()
    }

    /// Largest difference of the values on 70 times 80 items, relative to the largest product of norms.
    fn difference(a: &DualEncoder, b: &DualEncoder, x: &Features, y: &Features) -> f64 {
        let norm = |rows: Vec<f32>| {
            rows.chunks_exact(a.dim()).map(|r| r.iter().map(|v| v * v).sum::<f32>()).fold(0.0, f32::max)
        };
        let size = norm(a.embed_queries(&x.rows()).unwrap()) * norm(a.embed_keys(&y.rows()).unwrap());
        let (left, right) = (a.block(0, &x.rows(), &y.rows()).unwrap(), b.block(0, &x.rows(), &y.rows()).unwrap());
        left.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / f64::from(size.sqrt())
    }

    fn moments(rows: &[f32], dim: usize) -> Matrix {
        let rows = Matrix::from_columns(rows.iter().map(|&v| v.into()).collect(), dim, rows.len() / dim);
        rows.times_transpose(&rows)
    }

    fn check(model: &DualEncoder) {
        let (x, y) = (Features::dense(normals(280, "x"), 4).unwrap(), Features::dense(normals(320, "y"), 4).unwrap());
        let y = if model.is_shared() { x.clone() } else { y };
        let found = balanced(model, &x.rows(), &y.rows()).unwrap().unwrap();
        assert_eq!(found.class(), model.class());
        let error = difference(model, &found, &x, &y);
        assert!(error < 3e-6, "{error:e}");
        let dim = model.dim();
        let own = moments(&found.embed_keys(&y.rows()).unwrap(), dim);
        assert!((1..dim).all(|j| own[(j - 1, j - 1)] >= own[(j, j)] * 0.999), "in order");
        for (i, j) in (0..dim).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let signs = match found.form() {
                Form::Signs(signs) => signs[i] == signs[j],
                _ => true,
            };
            assert!(!signs || own[(i, j)].abs() < 1e-3 * own[(0, 0)], "coordinates {i} and {j}");
        }
        if !model.is_shared() {
            let other = moments(&found.embed_queries(&x.rows()).unwrap(), dim);
            let (n, m) = (x.len() as f64, y.len() as f64);
            let gap = (other[(0, 0)] / n - own[(0, 0)] / m).abs();
            assert!(gap < 1e-3 * other[(0, 0)] / n, "both sides of one size");
        }
        // The learned scale only multiplies.
        let twice = scaled(model, 2.5).unwrap();
        let ratio =
            twice.block(0, &x.rows(), &y.rows()).unwrap()[17] / model.block(0, &x.rows(), &y.rows()).unwrap()[17];
        assert!((ratio - 2.5).abs() < 1e-4, "{ratio}");
    }

    #[test]
    fn coordinates_come_in_order_and_values_stay() {
        check(&DualEncoder::new(tower(6, "q"), Some(tower(6, "k")), Form::Identity, 1).unwrap());
        check(&DualEncoder::new(tower(6, "q"), None, Form::Identity, 1).unwrap());
        let signs = Form::Signs(vec![1.0, -1.0, -1.0, 1.0, 1.0, -1.0]);
        check(&DualEncoder::new(tower(6, "q"), None, signs.clone(), 1).unwrap());
        let wide = DualEncoder::new(tower(6, "q"), Some(tower(6, "k")), signs, 1).unwrap();
        let x = Features::dense(normals(280, "x"), 4).unwrap();
        let found = balanced(&wide, &x.rows(), &x.rows()).unwrap().unwrap();
        assert!(difference(&wide, &found, &x, &x) < 3e-6);
    }

    #[test]
    fn a_last_layer_that_is_not_linear_is_left_alone() {
        let layer = Layer::new(normals(12, "w"), normals(3, "b"), Activation::Relu).unwrap();
        let model = DualEncoder::new(Tower::new(vec![layer]).unwrap(), None, Form::Identity, 1).unwrap();
        let x = Features::dense(normals(40, "x"), 4).unwrap();
        assert_eq!(balanced(&model, &x.rows(), &x.rows()).unwrap(), None);
        let twice = scaled(&model, 4.0).unwrap();
        assert_eq!(twice.query().scale(), 2.0);
    }
}
