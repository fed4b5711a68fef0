//! Losses: what is minimised, as functions of a batch's embeddings.
//!
//! Every score is `s = scale * <q, k>` with one learned positive scale (the inverse temperature of the softmax), which training
//! folds into the query tower at its end.

pub(crate) mod candidates;
pub(crate) mod edges;
pub(crate) mod listwise;
pub(crate) mod pairwise;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fit::gradient::softmax::Softmax;

/// What training minimises; `s` is the model's score of a pair, `v` its observed value, `w` its weight.
///
/// Weights are divided by their mean over the training data first, so that the learning rate does not depend on their unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Values: the mean of `w (s - v)^2`.
    Squared,
    /// Values with outliers: `w (s - v)^2` where `|s - v| <= delta`, `w delta (2 |s - v| - delta)` beyond (Huber 1964, twice his
    /// function). `delta` is in the relation's units.
    Huber {
        /// Where the square ends, positive.
        delta: f64,
    },
    /// Labels from 0 to 1: the mean of `w (ln(1 + e^s) - v s)`. The model gets [`crate::Link::Logistic`].
    Logistic,
    /// Positives (pairs with a positive value): `-ln` of a positive's softmax probability, estimated on sampled keys.
    SampledSoftmax(Sampling),
    /// Positives: `-ln` of a positive's softmax probability among all keys; the query's other positives are left out.
    ///
    /// A step embeds every key, so this is for at most [`Loss::MOST_KEYS`] of them.
    FullSoftmax,
    /// Comparisons: the mean of `w ln(1 + exp(s_other - s_preferred))` (Bradley and Terry 1952).
    BradleyTerry,
    /// Values as rankings: Plackett and Luce's likelihood of each query's listed keys in decreasing order of value, top-down;
    /// keys of one value are not compared. Weights belong to the key that is drawn.
    Listwise,
}

/// How [`Loss::SampledSoftmax`] meets the keys.
///
/// The softmax of positive `y` of query `x` needs `Z = sum over all keys of e^s`. What a batch holds gives the estimate
///
/// `Z^ = e^{s_y} + sum over its own hard negatives of e^s + sum over the other sampled keys j of count_j / E[count_j] e^{s_j}`.
///
/// What is there with certainty counts once; a sampled key counts by the inverse of how often it is expected. With `b`
/// pairs a batch out of `n`, of which `n_j` have key `j`, and `m` extra keys drawn from `Q`,
/// `E[count_j] = (b - 1) n_j / (n - 1) + m Q(j)`, exactly, because batches are drawn without replacement. So `Z^` is unbiased
/// wherever every key can be drawn (`extra > 0`), and its logarithm, which the loss takes, is biased by `O(1 / (b + m))`: the
/// gradient of full softmax is met exactly in `Z^` and in the limit of many samples in the loss. Without the
/// correction popular keys are pushed away in proportion to their popularity, however many samples there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Sampling {
    /// Whether the other positives of the batch are negatives.
    pub in_batch: bool,
    /// Extra keys that a batch draws for all its queries.
    pub extra: usize,
    /// The law of the extra keys.
    pub law: NegativeLaw,
    /// Whether logits are corrected by `-ln E[count]`.
    pub correction: bool,
    /// Whether sampled keys that are known positives of the query are left out.
    pub mask: bool,
    /// Mined hard negatives. As the sum over the other keys leaves them out, they change no expectation: they take away the
    /// noise of the largest terms. So do a user's own negatives ([`crate::fit::gradient::Problem::negatives`]).
    pub hard: Option<Hard>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { in_batch: true, extra: 256, law: NegativeLaw::Uniform, correction: true, mask: true, hard: None }
    }
}

/// The law from which extra negatives are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativeLaw {
    /// Every key alike.
    Uniform,
    /// In proportion to `(number of training positives)^power`; a key without any counts like one with one.
    Popularity {
        /// The exponent, from 0 (uniform) to 2.
        power: f64,
    },
}

/// Hard negatives: the keys without a known relation to the query that the model scores highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Hard {
    /// Hard negatives of each training pair.
    pub count: usize,
    /// They are mined again after this many epochs.
    pub every: usize,
    /// Leaves out keys with a score above `mean + (1 - margin) (s_positive - mean)`, where `mean` is the query's mean score
    /// over all keys: what scores nearly as the positive is likely one that nobody listed. At most 1; `None`: none is left out.
    pub margin: Option<f64>,
    /// Bytes that mining may use beside the model and the data; keys are embedded and searched in blocks that fit.
    pub memory: usize,
}

impl Default for Hard {
    fn default() -> Self {
        Hard { count: 4, every: 1, margin: None, memory: 256 << 20 }
    }
}

impl Loss {
    /// Most keys for [`Loss::FullSoftmax`].
    pub const MOST_KEYS: usize = 1 << 17;

    /// Refuses parameters that no training can follow.
    pub(crate) fn check(&self) -> Result<()> {
        match *self {
            Loss::Huber { delta } if !(delta > 0.0 && delta.is_finite()) => {
                Err(Error::parameter("delta of the Huber loss", "a positive number in the relation's units", delta))
            }
            Loss::SampledSoftmax(sampling) => sampling.check(),
            _ => Ok(()),
        }
    }

    /// Whether pairs count as positives only.
    pub(crate) fn is_softmax(&self) -> bool {
        matches!(self, Loss::SampledSoftmax(_) | Loss::FullSoftmax)
    }
}

impl Sampling {
    fn check(&self) -> Result<()> {
        const MOST: usize = 1 << 20;
        if self.extra > MOST {
            return Err(Error::parameter("extra negatives", format!("at most {MOST}"), self.extra));
        }
        match self.law {
            NegativeLaw::Popularity { power } if !(0.0..=2.0).contains(&power) => {
                return Err(Error::parameter("power of the popularity", "from 0 to 2", power));
            }
            _ => {}
        }
        let Some(hard) = self.hard else { return Ok(()) };
        if !(1..=1024).contains(&hard.count) {
            return Err(Error::parameter("hard negatives", "from 1 to 1024", hard.count));
        }
        if hard.every == 0 {
            return Err(Error::parameter("epochs between minings", "at least 1", 0));
        }
        match hard.margin {
            Some(margin) if !(margin.is_finite() && margin <= 1.0) => {
                Err(Error::parameter("margin", "a finite number up to 1", margin))
            }
            _ => Ok(()),
        }
    }
}

/// A batch's embeddings, row-major `(n, dim)`, and the scale of the scores.
#[derive(Clone, Copy)]
pub(crate) struct Embeddings<'a> {
    pub(crate) queries: &'a [f32],
    pub(crate) keys: &'a [f32],
    pub(crate) dim: usize,
    pub(crate) scale: f64,
}

/// Gradient of a loss with respect to a batch's embeddings, in their layout.
#[derive(Default)]
pub(crate) struct Slopes {
    pub(crate) queries: Vec<f32>,
    pub(crate) keys: Vec<f32>,
    /// One number an edge, kept between steps.
    scratch: Vec<f32>,
    /// Memory of the full softmax, likewise.
    softmax: Softmax,
}

impl Slopes {
    /// Makes room for the gradient at `at`.
    pub(crate) fn fit(&mut self, at: Embeddings<'_>) {
        self.queries.clear();
        self.queries.resize(at.queries.len(), 0.0);
        self.keys.clear();
        self.keys.resize(at.keys.len(), 0.0);
    }

    /// Derivative with respect to the logarithm of the scale: by Euler's rule for functions of `scale * <q, k>` it is
    /// `sum_i <q_i, d loss / d q_i>`.
    pub(crate) fn log_scale(&self, at: Embeddings<'_>) -> f64 {
        self.queries.iter().zip(at.queries).map(|(d, q)| f64::from(*d) * f64::from(*q)).sum()
    }
}

#[cfg(test)]
mod tests;
