//! How good a model is: errors on pairs with known values, and rankings of related keys among all keys.
//!
//! A ranking is measured in three steps: [`Judged`] says which keys are related to each query, [`Placements`] counts where they
//! stand under some [`Scores`], [`RankingMetrics`] are made of the places, for all pairs or some of them.

mod agreement;
mod calibration;
mod count;
mod estimate;
mod expect;
mod judged;
mod memory;
mod metrics;
mod order;
mod place;
mod ranking;
mod scores;

pub use agreement::{QueryAgreement, kendall, spearman};
pub use calibration::{Calibration, CalibrationBin, CalibrationOptions};
pub use estimate::Estimate;
pub use judged::{Frequency, Judged, popularity};
pub use memory::Blocks;
pub use metrics::{MetricsAt, RankingMetrics};
pub use order::OrderSummary;
pub use place::Placements;
pub use ranking::Ranking;
pub use scores::Scores;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::encoder::{DualEncoder, Link};
use crate::error::Result;
use crate::relation::Pairs;
use crate::rows::Features;

/// Regression metrics of predicted against observed values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of pairs.
    pub pairs: usize,
    /// Root mean square error, in the relation's units.
    pub rmse: f64,
    /// `rmse` divided by the root mean square of the values.
    pub relative_rmse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Largest absolute error.
    pub max: f64,
    /// Spearman's rank correlation, ties at their mean rank; `None` where one side is constant.
    pub spearman: Option<f64>,
    /// Kendall's rank correlation, corrected for ties (tau-b); `None` where one side is constant.
    pub kendall: Option<f64>,
}

impl Summary {
    /// Metrics of `predicted` against `values`; `None` if they are empty or differ in length.
    ///
    /// ```
    /// let summary = mercer::evaluate::Summary::new(&[1.0, 2.0, 2.5], &[1.0, 2.0, 4.0]).unwrap();
    /// assert_eq!((summary.mae, summary.max, summary.spearman), (0.5, 1.5, Some(1.0)));
    /// ```
    pub fn new(predicted: &[f64], values: &[f64]) -> Option<Summary> {
        if values.is_empty() || values.len() != predicted.len() {
            return None;
        }
        let n = values.len() as f64;
        let errors = || predicted.iter().zip(values).map(|(p, v)| (p - v).abs());
        let rmse = (errors().map(|e| e * e).sum::<f64>() / n).sqrt();
        let scale = (values.iter().map(|v| v * v).sum::<f64>() / n).sqrt();
        Some(Summary {
            pairs: values.len(),
            rmse,
            relative_rmse: rmse / scale,
            mae: errors().sum::<f64>() / n,
            max: errors().fold(0.0, f64::max),
            spearman: spearman(predicted, values),
            kendall: kendall(predicted, values),
        })
    }
}

/// Which items of a pair were fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Population {
    /// Both items are known.
    KnownItems,
    /// One item is new.
    OneNewItem,
    /// Both items are new.
    TwoNewItems,
}

impl Population {
    /// From whether each item is known.
    pub fn of(query_known: bool, key_known: bool) -> Population {
        match (query_known, key_known) {
            (true, true) => Population::KnownItems,
            (false, false) => Population::TwoNewItems,
            _ => Population::OneNewItem,
        }
    }
}

/// Embeddings of all items of both sides, for scoring many pairs.
pub struct Scorer {
    queries: Vec<f32>,
    keys: Vec<f32>,
    width: usize,
    link: Link,
}

impl Scorer {
    /// Embeds `queries` and `keys` (`None`: the queries are the keys, too).
    ///
    /// # Errors
    /// As [`crate::Tower::forward`].
    pub fn new(model: &DualEncoder, queries: &Features, keys: Option<&Features>) -> Result<Scorer> {
        let items = keys.unwrap_or(queries);
        Ok(Scorer {
            queries: model.embed_queries(&queries.rows())?,
            keys: model.embed_keys(&items.rows())?,
            width: model.query().outputs(),
            link: model.link(),
        })
    }

    fn products(&self, x: u32, y: u32) -> impl Iterator<Item = f64> + '_ {
        let (q, k) = (&self.queries[x as usize * self.width..], &self.keys[y as usize * self.width..]);
        q[..self.width].iter().zip(&k[..self.width]).map(|(a, b)| f64::from(*a) * f64::from(*b))
    }

    /// Predicted value of one pair of a model with one component.
    ///
    /// # Panics
    /// If `x` or `y` is not below the number of items.
    pub fn score(&self, x: u32, y: u32) -> f64 {
        self.link.apply(self.products(x, y).sum())
    }

    /// Predicted values of all `pairs`.
    ///
    /// # Panics
    /// If a pair names an item beyond those given.
    pub fn scores(&self, pairs: &Pairs) -> Vec<f64> {
        let chunk = pairs.chunk();
        (0..pairs.len()).into_par_iter().map(|p| self.score(chunk.x[p], chunk.y[p])).collect()
    }
}

/// What of many absolute errors counts, where it is not their mean square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measure {
    /// The smallest error that this share of them does not exceed.
    Quantile(f64),
    /// The largest.
    Largest,
}

impl Measure {
    /// The measure of the errors' sizes, or 0 of none.
    pub(crate) fn of(self, errors: impl Iterator<Item = f64>) -> f64 {
        match self {
            Measure::Largest => errors.fold(0.0, |most, e| most.max(e.abs())),
            Measure::Quantile(share) => {
                let mut sizes: Vec<f64> = errors.map(f64::abs).collect();
                let at = (share * sizes.len() as f64).ceil() as usize;
                let at = at.clamp(1, sizes.len().max(1)) - 1;
                if sizes.is_empty() { 0.0 } else { *sizes.select_nth_unstable_by(at, f64::total_cmp).1 }
            }
        }
    }
}

/// Errors on pairs, also of the model cut to smaller dimensions.
pub(crate) struct PairErrors<'a> {
    scorer: Scorer,
    pairs: &'a Pairs,
}

impl<'a> PairErrors<'a> {
    pub(crate) fn new(
        model: &DualEncoder,
        queries: &Features,
        keys: Option<&Features>,
        pairs: &'a Pairs,
    ) -> Result<PairErrors<'a>> {
        Ok(PairErrors { scorer: Scorer::new(model, queries, keys)?, pairs })
    }

    pub(crate) fn rmse(&self) -> f64 {
        let scores = self.scorer.scores(self.pairs);
        self.mean(|p, value| (scores[p] - value).powi(2)).sqrt()
    }

    /// Weighted mean over the pairs.
    fn mean(&self, f: impl Fn(usize, f64) -> f64) -> f64 {
        let chunk = self.pairs.chunk();
        let weight = |p: usize| chunk.weight.map_or(1.0, |w| f64::from(w[p]));
        let total: f64 = (0..self.pairs.len()).map(weight).sum();
        (0..self.pairs.len()).map(|p| weight(p) * f(p, chunk.value[p].into())).sum::<f64>() / total
    }

    /// Root mean square of the values.
    pub(crate) fn scale(&self) -> f64 {
        self.mean(|_, value| value * value).sqrt()
    }

    /// `(k, rmse)` of the model cut to `k = 1, 2, ...` coordinates.
    pub(crate) fn curve(&self) -> Vec<(usize, f64)> {
        let mut squares = vec![0.0; self.scorer.width];
        let mut total = 0.0;
        let chunk = self.pairs.chunk();
        for p in 0..self.pairs.len() {
            let mut partial = 0.0;
            let weight = chunk.weight.map_or(1.0, |w| f64::from(w[p]));
            total += weight;
            for (product, sum) in self.scorer.products(chunk.x[p], chunk.y[p]).zip(&mut squares) {
                partial += product;
                *sum += weight * (self.scorer.link.apply(partial) - f64::from(chunk.value[p])).powi(2);
            }
        }
        squares.iter().enumerate().map(|(i, s)| (i + 1, (s / total).sqrt())).collect()
    }

    /// The measure of the errors of the model cut to 1, 2, ... coordinates; weights do not count.
    pub(crate) fn measures(&self, measure: Measure) -> Vec<f64> {
        let chunk = self.pairs.chunk();
        let product = |p: usize, k: usize| {
            let (x, y) = (chunk.x[p] as usize, chunk.y[p] as usize);
            let at = |items: &[f32], i: usize| f64::from(items[i * self.scorer.width + k]);
            at(&self.scorer.queries, x) * at(&self.scorer.keys, y)
        };
        let mut scores = vec![0.0; self.pairs.len()];
        (0..self.scorer.width)
            .map(|k| {
                scores.par_iter_mut().enumerate().for_each(|(p, score)| *score += product(p, k));
                let error = |(p, &score): (usize, &f64)| self.scorer.link.apply(score) - f64::from(chunk.value[p]);
                measure.of(scores.iter().enumerate().map(error))
            })
            .collect()
    }
}
