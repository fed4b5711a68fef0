//! Feature maps for observed pairs: hidden units, whitened and cut to principal components.

use crate::error::Result;
use crate::fit::hidden::{Hidden, Inputs, Proposal, proposals, spherical_centres};
use crate::linalg::{Matrix, eigen};
use crate::rows::Features;
use crate::seed::{Seed, Stream};
use crate::tower::{Activation, Layer, RowScaling, Tower};

/// `f(x) = A^T [h(scaling(x)), 1]`, one hidden layer and a linear map to `r` features.
#[derive(Clone)]
pub(crate) struct FeatureMap {
    hidden: Hidden,
    /// `(units + 1, r)`.
    a: Matrix,
}

/// Features that are kept at the most.
const RANK: usize = 300;
/// Landmarks of sparse rows at the most.
const LANDMARKS: usize = 512;
/// Rows on which landmarks and principal components are found.
const SAMPLE: usize = 10_000;
/// Share of the largest eigenvalue below which a direction of the landmark kernel is dropped.
const CUTOFF: f64 = 1e-4;

impl FeatureMap {
    /// The principal components of these units over `sample`, at most `rank`; `None` if the units say nothing there.
    ///
    /// With `white` all of them have one size, with mean squares that sum to 1, too.
    pub(crate) fn of(hidden: Hidden, sample: &Features, rank: usize, white: bool) -> Option<FeatureMap> {
        let n = hidden.units() + 1;
        let a = Matrix::from_fn(n, n, |i, j| f64::from(u8::from(i == j)));
        let mut map = FeatureMap { hidden: hidden.rounded(), a }.reduced(sample)?.leading(rank);
        if white {
            let f = map.evaluate(sample);
            for j in 0..f.columns() {
                let square: f64 = f.column(j).iter().map(|v| v * v).sum::<f64>() / sample.len() as f64;
                let factor = (square * f.columns() as f64).sqrt().recip();
                map.a.column_mut(j).iter_mut().for_each(|v| *v *= factor);
            }
        }
        Some(map)
    }

    /// The leading `rank` features.
    pub(crate) fn leading(&self, rank: usize) -> FeatureMap {
        FeatureMap { hidden: self.hidden.clone(), a: self.a.leading_columns(rank.min(self.a.columns())) }
    }

    fn hidden_features(&self, items: &Features) -> Matrix {
        self.hidden.evaluate(&Inputs::new(&self.hidden.scaling.apply(items)))
    }

    /// Features of all items, `(n, r)`, in blocks so that the hidden layer never stands in memory whole.
    pub(crate) fn evaluate(&self, items: &Features) -> Matrix {
        const BLOCK: usize = 8192;
        let mut out = Matrix::zeros(items.len(), self.a.columns());
        for first in (0..items.len()).step_by(BLOCK) {
            let count = BLOCK.min(items.len() - first);
            let part = self.hidden_features(&items.slice(first..first + count).to_features()).times(&self.a);
            for j in 0..part.columns() {
                out.column_mut(j)[first..first + count].copy_from_slice(part.column(j));
            }
        }
        out
    }

    /// The tower with outputs `C^T f(x)`.
    pub(crate) fn tower(&self, c: &Matrix) -> Result<Tower> {
        let out = self.a.times(c);
        let (m, k) = (self.hidden.units(), c.columns());
        let weights: Vec<f32> = (0..m * k).map(|at| out[(at / k, at % k)] as f32).collect();
        let bias: Vec<f32> = (0..k).map(|j| out[(m, j)] as f32).collect();
        let layers = vec![self.hidden.layer(), Layer::new(weights, bias, Activation::Identity)?];
        Ok(Tower::new(layers)?.with_scaling(self.hidden.scaling))
    }

    /// Cuts the map to the leading principal components of `sample` and scales them to unit mean square norm.
    fn reduced(mut self, sample: &Features) -> Option<FeatureMap> {
        let f = self.evaluate(sample);
        let (values, vectors) = eigen(&f.gram())?;
        let kept = values.iter().take_while(|v| **v > 1e-10 * values[0]).count().clamp(1, RANK);
        let energy: f64 = values[..kept].iter().sum::<f64>() / sample.len() as f64;
        if energy.is_nan() || energy <= 0.0 {
            return None;
        }
        self.a = self.a.times(&vectors.leading_columns(kept)).scaled(energy.sqrt().recip());
        Some(self)
    }
}

/// Feature maps worth comparing for these items, with their names.
///
/// Sparse rows have one: GELU units at spherical k-means landmarks. On fingerprints at dimension 64 it left held-out errors
/// below a linear first layer (.0187), random rows as landmarks (.0172), sine (.0175) and polished weights (.0212, overfitted):
/// .0170. Dense rows have random sine and ReLU units of several scales.
pub(crate) fn candidates(
    items: &Features,
    units: Option<usize>,
    seed: Seed,
    stream: &str,
) -> Vec<(String, FeatureMap)> {
    let mut stream = seed.stream(stream);
    let sample = items.select(&stream.choose(items.len(), SAMPLE));
    if items.is_sparse() {
        let map = landmarks(&sample, units.unwrap_or(LANDMARKS), &mut stream).and_then(|m| m.reduced(&sample));
        return map
            .map(|m| (format!("gelu at {} landmarks, unit-norm rows", m.hidden.units()), m))
            .into_iter()
            .collect();
    }
    let x = Inputs::new(&sample);
    let units = units.unwrap_or((sample.len() / 2).clamp(16, 400));
    let map = |p: Proposal| {
        let hidden = p.draw(&x, units, &mut stream.clone()).rounded();
        let a = Matrix::from_fn(units + 1, units + 1, |i, j| f64::from(u8::from(i == j)));
        FeatureMap { hidden, a }.reduced(&sample).map(|m| (p.to_string(), m))
    };
    proposals(&x).into_iter().filter(|p| p.scaling == RowScaling::None).filter_map(map).collect()
}

/// GELU units at the centres of spherical k-means, whitened by their own kernel (Nystroem): the inner product of two feature
/// vectors is the kernel's projection on the landmarks, so that `|M|^2` is a norm of functions, not of weights.
fn landmarks(items: &Features, units: usize, stream: &mut Stream) -> Option<FeatureMap> {
    let scaled = RowScaling::UnitNorm.apply(items);
    let centres = spherical_centres(&Inputs::new(&scaled), units, stream);
    let m = centres.columns();
    let hidden =
        Hidden { weights: centres, bias: vec![0.0; m], activation: Activation::Gelu, scaling: RowScaling::UnitNorm };
    let hidden = hidden.rounded();
    let mut kernel = hidden.weights.gram();
    Activation::Gelu.value_and_slope(&mut kernel.data().to_vec(), kernel.data_mut());
    let (values, vectors) = eigen(&kernel)?;
    let kept = values.iter().take_while(|v| **v > CUTOFF * values[0]).count();
    // One more feature is the constant, so that the core can hold an offset and what each item adds by itself.
    let entry = |i: usize, j: usize| match (i < m, j < kept) {
        (true, true) => vectors[(i, j)] / values[j].sqrt(),
        (false, false) => 0.3,
        _ => 0.0,
    };
    let a = Matrix::from_fn(m + 1, kept + 1, entry);
    (kept > 0).then_some(FeatureMap { hidden, a })
}

impl RowScaling {
    /// Scaled copies of all rows.
    pub(crate) fn apply(self, items: &Features) -> Features {
        match self {
            RowScaling::None => items.clone(),
            RowScaling::UnitNorm => {
                let rows = items.rows();
                let factors: Vec<f64> = (0..rows.len()).map(|i| self.factor(rows.squared_norm(i))).collect();
                items.scaled_rows(&factors)
            }
        }
    }
}
