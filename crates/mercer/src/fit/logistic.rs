//! Complete 0/1 relations of ids through a logistic link.
//!
//! With log-odds `S = P Q^T` the objective is `sum over all cells of ln(1 + e^S) - A S`, plus `penalty / 2 (|P|^2 + |Q|^2)`;
//! its gradient is `E Q + penalty P` and `E^T P + penalty Q` with `E = sigma(S) - A`. Least squares spends its dimensions on how
//! far above one a score lies; the logistic loss only on which side of a half, so far fewer dimensions separate the pairs.

use rayon::prelude::*;

use crate::fit::Progress;
use crate::fit::lbfgs::Lbfgs;
use crate::linalg::Matrix;
use crate::wide::{exp, wide};

/// Penalty on the embeddings' squared norms; .01 to .1 gave alike results on is-a relations.
const PENALTY: f64 = 0.03;
/// The starting log-odds are this factor times the truncated decomposition of the 0/1 values.
const START: f64 = 4.0;

/// Log-odds embeddings `P` `(n, k)` and `Q` `(m, k)`, the steps run and whether they converged.
pub(crate) struct Odds {
    pub(crate) p: Matrix,
    pub(crate) q: Matrix,
    pub(crate) steps: usize,
    pub(crate) converged: bool,
}

/// Replaces log-odds by probabilities and adds the loss `ln(1 + e^s)` of the cells to `loss[0]`.
#[inline(always)]
fn probabilities_body<const FMA: bool>(cells: &mut [f64], loss: &mut [f64; 1]) {
    for chunk in cells.chunks_mut(64) {
        // One logarithm for 64 factors between 1 and 2.
        let (mut product, mut linear) = (1.0, 0.0);
        for s in chunk.iter_mut() {
            let t = exp::<FMA>(-s.abs());
            product *= 1.0 + t;
            linear += s.max(0.0);
            *s = if *s >= 0.0 { 1.0 } else { t } / (1.0 + t);
        }
        loss[0] += linear + product.ln();
    }
}
wide!(fn probabilities(cells: &mut [f64], loss: &mut [f64; 1]) = probabilities_body);

/// Fits log-odds to the positives (pairs of row and column, each once), all other cells being 0.
pub(crate) fn fit(positives: &[(u32, u32)], start: (&Matrix, &Matrix), steps: usize, progress: &dyn Progress) -> Odds {
    let (n, m, k) = (start.0.rows(), start.1.rows(), start.0.columns());
    let objective = |point: &[f64]| {
        let p = Matrix::from_columns(point[..n * k].to_vec(), n, k);
        let q = Matrix::from_columns(point[n * k..].to_vec(), m, k);
        let mut cells = p.times_transpose(&q);
        let on: f64 = positives.iter().map(|&(x, y)| cells[(x as usize, y as usize)]).sum();
        let losses: Vec<f64> = cells
            .data_mut()
            .par_chunks_mut(n)
            .map(|column| {
                let mut loss = [0.0];
                probabilities(column, &mut loss);
                loss[0]
            })
            .collect();
        positives.iter().for_each(|&(x, y)| cells[(x as usize, y as usize)] -= 1.0);
        let norm: f64 = point.iter().map(|v| v * v).sum();
        let mut gradient = cells.times(&q).into_data();
        gradient.extend(cells.transpose_times(&p).into_data());
        gradient.iter_mut().zip(point).for_each(|(g, v)| *g += PENALTY * v);
        (losses.iter().sum::<f64>() - on + 0.5 * PENALTY * norm, gradient)
    };
    let scale = START.sqrt();
    let point: Vec<f64> = start.0.data().iter().chain(start.1.data()).map(|v| v * scale).collect();
    let first = objective(&point);
    let mut search = Lbfgs::new(point, first);
    let (mut done, mut converged) = (0, false);
    while done < steps && !converged {
        let before = search.value;
        converged = !search.step(objective) || before - search.value < 1e-7 * before;
        done += 1;
        if done % 10 == 0 {
            progress.step(done, steps, search.value / positives.len().max(1) as f64);
        }
    }
    let q = search.point.split_off(n * k);
    Odds { p: Matrix::from_columns(search.point, n, k), q: Matrix::from_columns(q, m, k), steps: done, converged }
}
