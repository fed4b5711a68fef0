//! Output layers in closed form: for given hidden features, the best model of every dimension at once.
//!
//! With the singular value decomposition `H = Q diag(s) B^T` of each side's features (by way of QR: a Gram matrix would square
//! the condition and lose half the digits) and the core `M = Qx^T R Qy`, a ridge `l` on the outputs only shrinks: with
//! `f = s / sqrt(s^2 + l)` the truncated decomposition `diag(fx) M diag(fy) ~ U S V^T` gives the outputs
//! `Cx = Bx diag(1 / sqrt(sx^2 + l)) U sqrt(S)`, likewise `Cy`. At `l = 0`, `Hx Cx Cy^T Hy^T` is the best approximation of `R`
//! of its rank among all outputs (Eckart and Young). A symmetric `R` with shared features needs one eigendecomposition.

use crate::encoder::{Class, DualEncoder, Form};
use crate::error::{Error, Result};
use crate::fit::hidden::Hidden;
use crate::linalg::{Matrix, eigen, qr, svd};
use crate::tower::{Activation, Layer, Tower};

/// The feature matrix of one side, decomposed.
pub(crate) struct Basis {
    /// `(n, k)`, orthonormal columns.
    pub(crate) q: Matrix,
    /// `(k,)`, decreasing.
    s: Vec<f64>,
    /// `(units + 1, k)`.
    b: Matrix,
}

impl Basis {
    /// `None` if the features hold a NaN.
    pub(crate) fn new(h: &Matrix) -> Option<Basis> {
        let (q, r) = qr(h);
        let (a, s, b) = svd(&r)?;
        Some(Basis { q: q.times(&a), s, b })
    }

    /// Absolute ridge from one relative to the mean feature energy.
    fn ridge(&self, relative: f64) -> f64 {
        relative * self.s.iter().map(|s| s * s).sum::<f64>() / self.b.rows() as f64
    }

    fn shrink(&self, relative: f64) -> Vec<f64> {
        let ridge = self.ridge(relative);
        self.s.iter().map(|s| s / (s * s + ridge).sqrt()).collect()
    }

    /// Outputs from the leading vectors of the shrunk core and their singular values.
    fn outputs(&self, vectors: &Matrix, values: &[f64], dim: usize, relative: f64) -> Matrix {
        let ridge = self.ridge(relative);
        let mut scaled = Matrix::zeros(vectors.rows(), dim);
        for (j, value) in values.iter().take(dim).enumerate() {
            let column = scaled.column_mut(j).iter_mut().zip(vectors.column(j)).zip(&self.s);
            column.for_each(|((out, v), s)| *out = v * value.sqrt() / (s * s + ridge).sqrt());
        }
        self.b.times(&scaled)
    }
}

/// What the closed form needs: both sides' bases and one core a component.
pub(crate) struct Cores {
    pub(crate) query: Basis,
    /// `None` where the features are shared.
    pub(crate) key: Option<Basis>,
    /// `Qx^T R_l Qy`.
    pub(crate) cores: Vec<Matrix>,
}

/// Outputs of both sides and signs; components are stacked side by side.
pub(crate) struct Outputs {
    pub(crate) query: Matrix,
    pub(crate) key: Option<Matrix>,
    pub(crate) signs: Option<Vec<f32>>,
}

/// The best outputs of class `class` and dimension `dim` for a ridge relative to the mean feature energy.
///
/// `None` if a decomposition fails, which needs a NaN.
pub(crate) fn solve(cores: &Cores, class: Class, dim: usize, ridge: f64) -> Option<Outputs> {
    let (x, y) = (&cores.query, cores.key.as_ref().unwrap_or(&cores.query));
    let (fx, fy) = (x.shrink(ridge), y.shrink(ridge));
    let mut parts = Vec::new();
    for core in &cores.cores {
        let shrunk = Matrix::from_fn(core.rows(), core.columns(), |i, j| fx[i] * core[(i, j)] * fy[j]);
        parts.push(if class == Class::Asymmetric {
            let (u, s, v) = svd(&shrunk)?;
            let key = Some(y.outputs(&v, &s, dim, ridge));
            Outputs { query: x.outputs(&u, &s, dim, ridge), key, signs: None }
        } else {
            symmetric(&shrunk, x, class == Class::Signed, dim, ridge)?
        });
    }
    let signs: Vec<f32> = parts.iter().filter_map(|p| p.signs.as_ref()).flatten().copied().collect();
    Some(Outputs {
        query: Matrix::beside(parts.iter().map(|p| &p.query)),
        key: (class == Class::Asymmetric).then(|| Matrix::beside(parts.iter().filter_map(|p| p.key.as_ref()))),
        signs: (class == Class::Signed).then_some(signs),
    })
}

fn symmetric(core: &Matrix, x: &Basis, signed: bool, dim: usize, ridge: f64) -> Option<Outputs> {
    let half = Matrix::from_fn(core.rows(), core.rows(), |i, j| 0.5 * (core[(i, j)] + core[(j, i)]));
    let (values, vectors) = eigen(&half)?;
    let order = leading(&values, signed, dim);
    let sizes: Vec<f64> = order.iter().map(|&i| values[i].abs()).collect();
    let signs = (0..dim).map(|j| order.get(j).map_or(1.0, |&i| if values[i] < 0.0 { -1.0 } else { 1.0 })).collect();
    let query = x.outputs(&vectors.select_columns(&order), &sizes, dim, ridge);
    Some(Outputs { query, key: None, signs: signed.then_some(signs) })
}

/// Indices of at most `dim` eigenvalues, largest size first; only positive ones unless `signed`.
pub(crate) fn leading(values: &[f64], signed: bool, dim: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).filter(|&i| signed || values[i] > 0.0).collect();
    order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()).then(a.cmp(&b)));
    order.truncate(dim);
    order
}

/// The model with these hidden layers and outputs, in `f32`.
pub(crate) fn assemble(
    query: &Hidden,
    key: Option<&Hidden>,
    outputs: &Outputs,
    components: usize,
) -> Result<DualEncoder> {
    let tower = |hidden: &Hidden, c: &Matrix| -> Result<Tower> {
        let (m, k) = (hidden.units(), c.columns());
        let weights: Vec<f32> = (0..m * k).map(|at| c[(at / k, at % k)] as f32).collect();
        let bias: Vec<f32> = (0..k).map(|j| c[(m, j)] as f32).collect();
        let layers = vec![hidden.layer(), Layer::new(weights, bias, Activation::Identity)?];
        Ok(Tower::new(layers)?.with_scaling(hidden.scaling))
    };
    let form = outputs.signs.clone().map_or(Form::Identity, Form::Signs);
    let key = match (&outputs.key, key) {
        (Some(c), hidden) => Some(tower(hidden.unwrap_or(query), c)?),
        (None, None) => None,
        (None, Some(_)) => return Err(Error::shape("closed form", "outputs for both towers", "outputs for one")),
    };
    DualEncoder::new(tower(query, &outputs.query)?, key, form, components)
}
