//! Hidden layers under construction: `f64`, one layer wide, evaluated and differentiated in blocks of rows.

use rayon::prelude::*;

use crate::linalg::Matrix;
use crate::parallel::row_blocks;
use crate::rows::{Features, Rows};
use crate::seed::Stream;
use crate::tower::{Activation, Layer, RowScaling};

/// The inputs of one side in the form in which the fit multiplies them.
pub(crate) enum Inputs {
    /// `(n, dim)`, centred by nothing: the fit's layers read raw features.
    Dense(Matrix),
    /// CSR rows.
    Sparse(Features),
}

impl Inputs {
    pub(crate) fn new(features: &Features) -> Self {
        match features.rows() {
            Rows::Dense { data, dim } => {
                let n = features.len();
                Inputs::Dense(Matrix::from_fn(n, dim, |i, j| data[i * dim + j].into()))
            }
            Rows::Sparse { .. } => Inputs::Sparse(features.clone()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Inputs::Dense(x) => x.rows(),
            Inputs::Sparse(x) => x.len(),
        }
    }

    pub(crate) fn dim(&self) -> usize {
        match self {
            Inputs::Dense(x) => x.columns(),
            Inputs::Sparse(x) => x.dim(),
        }
    }

    /// `X W`.
    pub(crate) fn times(&self, weights: &Matrix) -> Matrix {
        let mut out = Matrix::zeros(self.len(), weights.columns());
        self.times_into(weights, &mut out);
        out
    }

    /// `out = X W`.
    fn times_into(&self, weights: &Matrix, out: &mut Matrix) {
        match self {
            Inputs::Dense(x) => x.times_into(weights, out),
            Inputs::Sparse(x) => {
                let (n, rows) = (x.len(), x.rows());
                row_blocks(out.data_mut(), n, 8, |first, columns| {
                    for (k, column) in columns.chunks_exact_mut(n).enumerate() {
                        let weights = weights.column(first + k);
                        for (i, value) in column.iter_mut().enumerate() {
                            *value = 0.0;
                            rows.for_each(i, |c, v| *value += f64::from(v) * weights[c]);
                        }
                    }
                });
            }
        }
    }

    /// `X^T G`.
    pub(crate) fn transpose_times(&self, g: &Matrix) -> Matrix {
        match self {
            Inputs::Dense(x) => x.transpose_times(g),
            Inputs::Sparse(x) => {
                let rows = x.rows();
                let mut out = Matrix::zeros(x.dim(), g.columns());
                row_blocks(out.data_mut(), x.dim(), 8, |first, columns| {
                    for (k, column) in columns.chunks_exact_mut(x.dim()).enumerate() {
                        for (i, &value) in g.column(first + k).iter().enumerate() {
                            rows.for_each(i, |c, v| column[c] += f64::from(v) * value);
                        }
                    }
                });
                out
            }
        }
    }

    /// Adds row `i` to `sum`.
    fn add_row(&self, i: usize, sum: &mut [f64]) {
        match self {
            Inputs::Dense(x) => sum.iter_mut().enumerate().for_each(|(c, s)| *s += x[(i, c)]),
            Inputs::Sparse(x) => x.rows().for_each(i, |c, v| sum[c] += f64::from(v)),
        }
    }

    /// The first `rows` rows.
    pub(crate) fn leading_rows(&self, rows: usize) -> Inputs {
        match self {
            Inputs::Dense(x) => Inputs::Dense(x.leading_rows(rows)),
            Inputs::Sparse(x) => Inputs::Sparse(x.slice(0..rows).to_features()),
        }
    }

    /// Whether the data spread alike in all directions: the participation ratio of the covariance is near the dimension.
    pub(crate) fn is_isotropic(&self) -> bool {
        let Inputs::Dense(x) = self else { return false };
        let (d, mean) = (x.columns(), self.mean());
        if d > 256 {
            return false;
        }
        let centred = Matrix::from_fn(x.rows(), d, |i, j| x[(i, j)] - mean[j]);
        let covariance = centred.gram();
        let trace: f64 = (0..d).map(|i| covariance[(i, i)]).sum();
        let square: f64 = covariance.data().iter().map(|v| v * v).sum();
        trace * trace > 0.9 * d as f64 * square
    }

    /// Mean row.
    pub(crate) fn mean(&self) -> Vec<f64> {
        let ones = Matrix::from_fn(self.len(), 1, |_, _| 1.0 / self.len() as f64);
        self.transpose_times(&ones).column(0).to_vec()
    }
}

/// `[act(X W + b), 1]`: one hidden layer and the constant, with the output layer left open.
#[derive(Clone, Debug)]
pub(crate) struct Hidden {
    /// `(dim, units)`.
    pub(crate) weights: Matrix,
    /// `(units,)`.
    pub(crate) bias: Vec<f64>,
    pub(crate) activation: Activation,
    /// What the inputs are scaled by; [`Inputs`] that it is evaluated on are scaled already.
    pub(crate) scaling: RowScaling,
}

impl Hidden {
    pub(crate) fn units(&self) -> usize {
        self.bias.len()
    }

    /// The feature matrix `H`, `(n, units + 1)`; the last column is 1.
    pub(crate) fn evaluate(&self, x: &Inputs) -> Matrix {
        let (n, m) = (x.len(), self.units());
        let mut z = x.times(&self.weights);
        row_blocks(z.data_mut(), n, 1, |j, column| {
            column.iter_mut().for_each(|v| *v += self.bias[j]);
            self.activation.apply(column);
        });
        let mut data = z.into_data();
        data.resize(n * (m + 1), 1.0);
        Matrix::from_columns(data, n, m + 1)
    }

    /// `H` into `h`, `(n, units + 1)`, and the slopes of its first `units` columns into `slope`, without allocating.
    pub(crate) fn evaluate_with_slope(&self, x: &Inputs, h: &mut Matrix, slope: &mut Matrix) {
        let (n, m) = (x.len(), self.units());
        x.times_into(&self.weights, slope);
        h.column_mut(m).fill(1.0);
        let columns = slope.data_mut().par_chunks_mut(n).zip(h.data_mut()[..n * m].par_chunks_mut(n)).enumerate();
        columns.for_each(|(j, (z, value))| {
            z.iter_mut().for_each(|v| *v += self.bias[j]);
            self.activation.value_and_slope(z, value);
        });
    }

    /// The layer in `f32`.
    pub(crate) fn layer(&self) -> Layer {
        let (d, m) = (self.weights.rows(), self.units());
        let weights = (0..d * m).map(|at| self.weights[(at / m, at % m)] as f32).collect();
        Layer { weights, bias: self.bias.iter().map(|&b| b as f32).collect(), activation: self.activation }
    }

    /// Rounds the weights to `f32`, so that outputs are solved for what is saved.
    pub(crate) fn round(&mut self) {
        self.weights.data_mut().iter_mut().chain(&mut self.bias).for_each(|w| *w = f64::from(*w as f32));
    }

    /// The same layer, rounded.
    pub(crate) fn rounded(mut self) -> Self {
        self.round();
        self
    }
}

/// How the directions of random hidden units are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Directions {
    /// Normal in feature space, in orthogonal blocks: all directions alike.
    Isotropic,
    /// Differences of two data rows: directions in proportion to the spread of the data.
    Differences,
    /// Centres of spherical k-means of the rows.
    Landmarks,
}

/// A recipe for random hidden units: `w . x` has standard deviation about `scale` over the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) activation: Activation,
    pub(crate) directions: Directions,
    pub(crate) scale: f64,
    /// Whether units have offsets; without them (and with ReLU) they are homogeneous.
    pub(crate) offsets: bool,
    /// Whether the rows are scaled to unit norm first: what depends on directions alone needs it.
    pub(crate) scaling: RowScaling,
}

/// The proposals that compete for the hidden units of data `x`.
pub(crate) fn proposals(x: &Inputs) -> Vec<Proposal> {
    let directions: &[Directions] =
        if x.is_isotropic() { &[Directions::Isotropic] } else { &[Directions::Isotropic, Directions::Differences] };
    let (sine, relu, gelu) = (Activation::Sine, Activation::Relu, Activation::Gelu);
    let (none, unit) = (RowScaling::None, RowScaling::UnitNorm);
    let mut all = Vec::new();
    for &directions in directions {
        for scale in [0.1, 0.2, 0.4, 0.7, 1.2, 2.0, 3.2] {
            all.push(Proposal { activation: sine, directions, scale, offsets: true, scaling: none });
        }
        for offsets in [false, true] {
            all.push(Proposal { activation: relu, directions, scale: 1.0, offsets, scaling: none });
        }
        all.push(Proposal { activation: sine, directions, scale: 0.7, offsets: true, scaling: unit });
    }
    if matches!(x, Inputs::Sparse(_)) {
        let directions = Directions::Landmarks;
        all.push(Proposal { activation: gelu, directions, scale: 1.0, offsets: false, scaling: unit });
    }
    all
}

impl std::fmt::Display for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directions = match self.directions {
            Directions::Isotropic => "isotropic",
            Directions::Differences => "data differences",
            Directions::Landmarks => "landmarks",
        };
        let scaling = if self.scaling == RowScaling::UnitNorm { ", unit-norm rows" } else { "" };
        match (self.activation, self.offsets) {
            (Activation::Sine, _) => write!(f, "sine, scale {:.2}, {directions}{scaling}", self.scale),
            (activation, true) => write!(f, "{activation:?}, {directions}{scaling}"),
            (activation, false) => write!(f, "{activation:?} without offsets, {directions}{scaling}"),
        }
    }
}

impl Proposal {
    /// Draws `units` hidden units for the data `x`.
    pub(crate) fn draw(&self, x: &Inputs, units: usize, stream: &mut Stream) -> Hidden {
        let (mean, mut weights) = (x.mean(), self.raw_directions(x, units, stream));
        let units = weights.columns();
        if self.directions == Directions::Landmarks {
            let bias = vec![0.0; units];
            return Hidden { weights, bias, activation: self.activation, scaling: self.scaling };
        }
        let spread = self.spread(x, &weights, &mean);
        let factor = if spread > 0.0 { self.scale / spread } else { self.scale };
        weights.data_mut().iter_mut().for_each(|w| *w *= factor);
        let bias = (0..units).map(|j| self.offset(weights.column(j), &mean, stream)).collect();
        Hidden { weights, bias, activation: self.activation, scaling: self.scaling }
    }

    /// Waves start at any phase (half a turn is enough, the output's sign does the rest); kinks lie where the data are.
    fn offset(&self, weights: &[f64], mean: &[f64], stream: &mut Stream) -> f64 {
        let centre: f64 = weights.iter().zip(mean).map(|(w, m)| w * m).sum();
        match (self.activation, self.offsets) {
            (Activation::Sine | Activation::Cosine, _) => (stream.uniform() - 0.5) * std::f64::consts::PI - centre,
            (_, true) => self.scale * stream.normal() - centre,
            (_, false) => 0.0,
        }
    }

    /// Root mean square over units of the standard deviation of `w . x`, on at most 500 rows.
    fn spread(&self, x: &Inputs, weights: &Matrix, mean: &[f64]) -> f64 {
        let z = x.times(weights);
        let (mut sum, mut count) = (0.0, 0.0);
        for j in 0..z.columns() {
            let centre: f64 = weights.column(j).iter().zip(mean).map(|(w, m)| w * m).sum();
            for v in z.column(j).iter().take(500) {
                sum += (v - centre) * (v - centre);
                count += 1.0;
            }
        }
        f64::sqrt(sum / f64::max(count, 1.0))
    }

    fn raw_directions(&self, x: &Inputs, units: usize, stream: &mut Stream) -> Matrix {
        let d = x.dim();
        match self.directions {
            Directions::Isotropic => orthogonal_normal(d, units, stream),
            Directions::Landmarks => spherical_centres(x, units, stream),
            Directions::Differences => {
                let mut weights = Matrix::zeros(d, units);
                for j in 0..units {
                    let (a, b) = (stream.below(x.len()), stream.below(x.len()));
                    let column = weights.column_mut(j);
                    match x {
                        Inputs::Dense(x) => column.iter_mut().enumerate().for_each(|(c, w)| *w = x[(a, c)] - x[(b, c)]),
                        Inputs::Sparse(x) => {
                            x.rows().for_each(a, |c, v| column[c] += f64::from(v));
                            x.rows().for_each(b, |c, v| column[c] -= f64::from(v));
                        }
                    }
                }
                weights
            }
        }
    }
}

/// `(d, units)` with normal columns that are orthogonal within blocks of `d`: fewer near-repeats than independent draws.
fn orthogonal_normal(d: usize, units: usize, stream: &mut Stream) -> Matrix {
    let mut weights = Matrix::zeros(d, units);
    for first in (0..units).step_by(d) {
        let raw = Matrix::from_columns((0..d * d).map(|_| stream.normal()).collect(), d, d);
        let lengths: Vec<f64> = (0..d).map(|_| (0..d).map(|_| stream.normal().powi(2)).sum::<f64>().sqrt()).collect();
        let basis = if d <= 256 { crate::linalg::qr(&raw).0 } else { raw };
        for j in first..units.min(first + d) {
            let source = basis.column(j - first);
            let norm = source.iter().map(|v| v * v).sum::<f64>().sqrt();
            let length = lengths[j - first] / norm;
            weights.column_mut(j).iter_mut().zip(source).for_each(|(w, s)| *w = s * length);
        }
    }
    weights
}

/// Rounds of spherical k-means; the landmarks need not be converged.
const ROUNDS: usize = 4;

/// Centres of spherical k-means as unit columns, `(dim, at most k)`; empty clusters are dropped.
pub(crate) fn spherical_centres(inputs: &Inputs, k: usize, stream: &mut Stream) -> Matrix {
    let (k, dim) = (k.min(inputs.len()), inputs.dim());
    let mut centres = Matrix::zeros(dim, k);
    for (j, i) in stream.choose(inputs.len(), k).into_iter().enumerate() {
        inputs.add_row(i, centres.column_mut(j));
    }
    for _ in 0..ROUNDS {
        let products = inputs.times(&centres).transpose();
        let mut next = Matrix::zeros(dim, centres.columns());
        let mut filled = vec![false; centres.columns()];
        for i in 0..inputs.len() {
            let own = products.column(i);
            let nearest = (0..own.len()).fold(0, |best, j| if own[j] > own[best] { j } else { best });
            inputs.add_row(i, next.column_mut(nearest));
            filled[nearest] = true;
        }
        let kept: Vec<usize> = (0..filled.len()).filter(|&j| filled[j]).collect();
        centres = next.select_columns(&kept);
        for j in 0..kept.len() {
            let norm = centres.column(j).iter().map(|v| v * v).sum::<f64>().sqrt();
            centres.column_mut(j).iter_mut().for_each(|v| *v /= norm.max(f64::MIN_POSITIVE));
        }
    }
    centres
}
