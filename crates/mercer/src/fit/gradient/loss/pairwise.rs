//! Losses of single pairs and of comparisons: each pair's slope depends on one product, or on the difference of two.

use crate::fit::gradient::loss::edges::Edges;
use crate::fit::gradient::loss::{Embeddings, Slopes};

/// The loss of a score `s` against an observed value `v`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pointwise {
    /// `(s - v)^2`
    Squared,
    /// `(s - v)^2` up to `delta`, from there on its tangent.
    Huber(f64),
    /// `ln(1 + e^s) - v s`: minus the log-likelihood of the label `v`.
    Logistic,
}

impl Pointwise {
    /// Loss and its derivative with respect to the score.
    fn at(self, score: f64, value: f64) -> (f64, f64) {
        let error = score - value;
        match self {
            Pointwise::Huber(delta) if error.abs() > delta => {
                (delta * (2.0 * error.abs() - delta), 2.0 * delta * error.signum())
            }
            Pointwise::Squared | Pointwise::Huber(_) => (error * error, 2.0 * error),
            Pointwise::Logistic => (softplus(score) - value * score, sigmoid(score) - value),
        }
    }

    /// `1/n sum_p w_p l(scale <q, k>, v_p)` with its slopes.
    pub(crate) fn loss(
        self,
        at: Embeddings<'_>,
        edges: Edges<'_>,
        values: &[f32],
        weights: Option<&[f32]>,
        slopes: &mut Slopes,
    ) -> f64 {
        let mut products = std::mem::take(&mut slopes.scratch);
        edges.products(at, &mut products);
        let share = 1.0 / products.len() as f64;
        let mut loss = 0.0;
        for (p, product) in products.iter_mut().enumerate() {
            let score = at.scale * f64::from(*product);
            let (value, slope) = self.at(score, values[p].into());
            let weight = share * weights.map_or(1.0, |w| f64::from(w[p]));
            loss += weight * value;
            *product = (weight * slope * at.scale) as f32;
        }
        edges.pull_back(at, &products, slopes);
        slopes.scratch = products;
        loss
    }
}

/// Bradley and Terry's loss `1/n sum_p w_p ln(1 + exp(-scale (<q, k> - <q, l>)))` of comparisons `k` above `l`.
///
/// `edges` lists the preferred keys first, then the others in the same order.
pub(crate) fn bradley_terry(at: Embeddings<'_>, edges: Edges<'_>, weights: Option<&[f32]>, slopes: &mut Slopes) -> f64 {
    let n = edges.x.len() / 2;
    let mut products = std::mem::take(&mut slopes.scratch);
    edges.products(at, &mut products);
    let (preferred, others) = products.split_at_mut(n);
    let share = 1.0 / n as f64;
    let mut loss = 0.0;
    for (p, (above, below)) in preferred.iter_mut().zip(others).enumerate() {
        let margin = at.scale * (f64::from(*above) - f64::from(*below));
        let weight = share * weights.map_or(1.0, |w| f64::from(w[p]));
        let slope = -weight * sigmoid(-margin);
        loss += weight * softplus(-margin);
        *above = (slope * at.scale) as f32;
        *below = -*above;
    }
    edges.pull_back(at, &products, slopes);
    slopes.scratch = products;
    loss
}

/// `ln(1 + e^z)` without overflow.
pub(crate) fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

/// `1 / (1 + e^-z)` without overflow.
pub(crate) fn sigmoid(z: f64) -> f64 {
    let e = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}
