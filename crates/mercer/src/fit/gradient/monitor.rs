//! What a training tells while it runs: one record an epoch.

use serde::Serialize;

use crate::fit::Progress;
use crate::linalg::{Matrix, eigenvalues};

/// Held-out figures of a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeldOut {
    /// The loss that is trained, on held-out examples. For the softmax losses against all keys, or against a fixed sample of
    /// them where there are many.
    pub loss: f64,
    /// The figure named by `name`.
    pub metric: f64,
    /// `rmse` of values, `log_loss` of labels, `mean_reciprocal_rank` of positives among the keys that are no known
    /// positives, or `ordered`: the share of comparisons, or of pairs of listed keys, in the right order (ties count half).
    pub name: MetricName,
}

/// Name of a held-out figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Root mean square error, in the relation's units; smaller is better.
    Rmse,
    /// Mean of `-ln` of the probability of the label; smaller is better.
    LogLoss,
    /// Mean of one over the rank of a positive; larger is better.
    MeanReciprocalRank,
    /// Share in the right order; larger is better.
    Ordered,
}

/// One epoch of a training: at least one pass over the data, and at least 32 steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpochRecord {
    /// Epochs run; 0 is the start.
    pub epoch: usize,
    /// Steps run.
    pub step: usize,
    /// Mean loss of the epoch's batches; `None` for the start.
    pub training_loss: Option<f64>,
    /// Held-out figures after the epoch.
    pub held_out: HeldOut,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// Mean over the epoch's steps of the gradient's Euclidean norm, before clipping.
    pub gradient_norm: f64,
    /// Smaller of the two sides' effective ranks: `exp` of the entropy of the squared singular values' shares of held-out
    /// embeddings, centred; from 1 to the dimension.
    pub effective_rank: f64,
    /// Learned scale of the scores.
    pub scale: f64,
    /// Candidates left out because they are known positives, since the start.
    pub masked: u64,
    /// Mean over positives of their score minus that of their hardest mined negative, when last mined.
    pub hard_gap: Option<f64>,
    /// Seconds since the training or its resumption began.
    pub seconds: f64,
    /// Training examples a second in this epoch.
    pub examples_per_second: f64,
}

impl EpochRecord {
    /// Numbers of a record in a checkpoint.
    pub(crate) const NUMBERS: usize = 13;

    pub(crate) fn numbers(&self) -> [f64; Self::NUMBERS] {
        [
            self.epoch as f64,
            self.step as f64,
            self.training_loss.unwrap_or(f64::NAN),
            self.held_out.loss,
            self.held_out.metric,
            self.learning_rate,
            self.gradient_norm,
            self.effective_rank,
            self.scale,
            self.masked as f64,
            self.hard_gap.unwrap_or(f64::NAN),
            self.seconds,
            self.examples_per_second,
        ]
    }

    pub(crate) fn from_numbers(numbers: &[f64], name: MetricName) -> Option<Self> {
        let [epoch, step, training, loss, metric, rate, norm, rank, scale, masked, gap, seconds, speed] =
            <[f64; Self::NUMBERS]>::try_from(numbers).ok()?;
        Some(EpochRecord {
            epoch: epoch as usize,
            step: step as usize,
            training_loss: (!training.is_nan()).then_some(training),
            held_out: HeldOut { loss, metric, name },
            learning_rate: rate,
            gradient_norm: norm,
            effective_rank: rank,
            scale,
            masked: masked as u64,
            hard_gap: (!gap.is_nan()).then_some(gap),
            seconds,
            examples_per_second: speed,
        })
    }
}

/// Told how a training goes on, and asked whether it shall stop. The default methods say nothing and never stop.
pub trait Monitor: Progress {
    /// An epoch has ended.
    fn epoch(&self, _record: &EpochRecord) {}
    /// Asked before every step: whether to stop here. The model is then the best one so far, the outcome
    /// [`crate::fit::Outcome::StepLimit`], and a checkpoint is written where one was asked for.
    fn stop(&self, _step: usize) -> bool {
        false
    }
}

impl Monitor for crate::fit::Silent {}

/// Effective rank of row-major embeddings `(n, dim)`: `exp(-sum p ln p)`, `p` the shares of the squared singular values of the
/// centred rows (Roy and Vetterli 2007).
///
/// 1 where all rows are one point up to rounding; NaN if a number is not finite.
pub(crate) fn effective_rank(embeddings: &[f32], dim: usize) -> f64 {
    let n = (embeddings.len() / dim).max(1) as f64;
    let rows = Matrix::from_columns(embeddings.iter().map(|&v| f64::from(v)).collect(), dim, embeddings.len() / dim);
    let moments = rows.times_transpose(&rows);
    let mean: Vec<f64> = (0..dim).map(|i| (0..rows.columns()).map(|r| rows[(i, r)]).sum::<f64>() / n).collect();
    let centred = Matrix::from_fn(dim, dim, |i, j| moments[(i, j)] - n * mean[i] * mean[j]);
    let trace = |m: &Matrix| (0..dim).map(|i| m[(i, i)]).sum::<f64>();
    let (spread, all) = (trace(&centred), trace(&moments));
    if !all.is_finite() {
        return f64::NAN;
    }
    // Below f32's rounding of the coordinates the differences of the rows are noise.
    let noise = f64::from(f32::EPSILON).powi(2) * 16.0;
    let Some(values) = eigenvalues(&centred).filter(|_| spread > noise * all) else { return 1.0 };
    let shares = values.iter().map(|v| v.max(0.0) / spread).filter(|p| *p > 0.0);
    (-shares.map(|p| p * p.ln()).sum::<f64>()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn effective_ranks_of_known_clouds() {
        let mut stream = Seed(1).stream("cloud");
        let mut normal = || stream.normal() as f32;
        let sphere: Vec<f32> = (0..40_000).map(|_| normal()).collect();
        assert!((effective_rank(&sphere, 4) - 4.0).abs() < 0.01);
        // A line away from the origin, a point, and a point with rounding noise.
        let line: Vec<f32> = (0..1000).flat_map(|_| [3.0 + normal(), 5.0, -1.0]).collect();
        assert!((effective_rank(&line, 3) - 1.0).abs() < 1e-6);
        assert_eq!(effective_rank(&[0.3_f32; 300], 3), 1.0);
        // Two coordinates with variances 3 : 1.
        let two: Vec<f32> = (0..100_000).flat_map(|_| [3.0_f32.sqrt() * normal(), normal()]).collect();
        let entropy = -(0.75 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
        assert!((effective_rank(&two, 2) - entropy.exp()).abs() < 0.01);
        assert!(effective_rank(&[f32::NAN, 1.0], 1).is_nan());
    }
}
