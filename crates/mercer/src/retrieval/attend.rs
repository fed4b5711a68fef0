//! Attention of given queries over given keys, with its certificate.

use rayon::prelude::*;
use serde::Serialize;

use crate::attention::{AttentionMap, Map};
use crate::error::{Error, Result};
use crate::retrieval::certificate::{
    KeysHeld, MarginLaw, check_eps, guaranteed_weight, inverse_temperature, keys_held,
};
use crate::retrieval::certified::{
    BestTwo, Certified, Near, check_beta, check_tolerance, outside, rows, softmax_window,
};

/// How sharp attention is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Temperature {
    /// As sharp as it must be: so that a share `share` of the given queries have their best key's weight guaranteed (of those that
    /// have a positive gap; 1: all of them).
    Auto {
        /// Share of the queries.
        share: f64,
    },
    /// This inverse temperature.
    Given {
        /// What scores are multiplied by.
        beta: f64,
    },
}

/// What is asked of [`Certified::attend`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// From scores to weights.
    pub map: Map,
    /// The inverse temperature.
    pub temperature: Temperature,
    /// The best key's weight shall be `1 - eps` (softmax; the other maps give it 1).
    pub eps: f64,
    /// The largest error of the model on these pairs, 0 if scores are what is meant.
    pub eta: f64,
    /// The most that the weights of keys that are left out may come to (softmax; of the other maps no weight is left out).
    pub tolerance: f64,
    /// Share of new queries that the tolerance bound of the margin speaks of.
    pub covered: f64,
    /// Confidence of statements about new queries.
    pub confidence: f64,
}

impl Default for Request {
    /// Softmax, sharp enough for all given queries, `eps` 0.001, no model error, tolerance 1e-6, 95 % of new queries with 95 %
    /// confidence.
    fn default() -> Self {
        Request {
            map: Map::Softmax,
            temperature: Temperature::Auto { share: 1.0 },
            eps: 1e-3,
            eta: 0.0,
            tolerance: 1e-6,
            covered: 0.95,
            confidence: 0.95,
        }
    }
}

/// A key with its weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weight {
    /// Index of the key.
    pub key: u32,
    /// Its weight among those listed.
    pub weight: f64,
}

/// Attention of one query.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attention {
    /// The key with the largest score; of equal ones the first.
    pub selected: u32,
    /// Its score.
    pub score: f64,
    /// Its score less the second best.
    pub margin: f64,
    /// What of the margin the error of the scores leaves: `margin - 2 (eta + rounding)`.
    pub gap: f64,
    /// The least weight of the selected key that the gap allows; `None` where there is no gap.
    pub guaranteed: Option<f64>,
    /// Keys with weight, by index: all of them, but for softmax, where others share at most `outside`.
    pub weights: Vec<Weight>,
    /// The most that the weights of all keys that are not listed come to.
    pub outside: f64,
    /// Keys that were looked at.
    pub touched: u64,
    /// The weighted mean of the values; empty without values.
    pub output: Vec<f64>,
}

impl Attention {
    /// The weight of the selected key, at least: those listed sum to 1 without what is outside.
    pub fn selected_weight(&self) -> f64 {
        let own = self.weights.iter().find(|w| w.key == self.selected).map_or(0.0, |w| w.weight);
        own * (1.0 - self.outside)
    }
}

/// What is guaranteed of all given queries, and of new ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// The map.
    pub map: Map,
    /// Number of keys.
    pub keys: usize,
    /// The inverse temperature that was used.
    pub beta: f64,
    /// The inverse temperature that every given query with a gap needs; `None` without such a query.
    pub needed: Option<f64>,
    /// The best key's weight was to be `1 - eps`.
    pub eps: f64,
    /// The error of the scores that margins were cut by, twice.
    pub eta: f64,
    /// The most by which rounding made a score wrong.
    pub rounding: f64,
    /// Queries whose best key has its weight guaranteed, of all.
    pub served: usize,
    /// Number of queries.
    pub queries: usize,
    /// Queries without a gap (ties, or margins within the error), by index: no temperature serves them.
    pub tied: Vec<usize>,
    /// The smallest positive gap.
    pub smallest_gap: Option<f64>,
    /// The least guaranteed weight over queries with a gap. What is retrieved errs by at most 1 less this, times the diameter of
    /// the values.
    pub guaranteed: Option<f64>,
    /// Up to how many keys the temperature holds at the smallest gap of the queries served.
    pub keys_held: Option<KeysHeld>,
    /// The margin of new queries.
    pub law: MarginLaw,
}

/// Attention of all queries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attended {
    /// One for each query.
    pub queries: Vec<Attention>,
    /// What is guaranteed.
    pub certificate: Certificate,
}

/// [`Certified::attend`] over keys that are used once: row-major `keys` `(n, dim)`, `values` `(n, width)`.
///
/// # Errors
/// As [`Certified::new`] and [`Certified::attend`].
///
/// ```
/// use mercer::{attention::Map, retrieval::{Request, attend}};
/// let keys = [1.0, 0.0, 0.0, 1.0, 0.7, 0.7];
/// let request = Request { map: Map::Sparsemax, ..Request::default() };
/// let found = attend(&[1.0, 0.1, 0.0, 1.0], &keys, 2, Some((&[10.0, 20.0, 30.0], 1)), &request)?;
/// assert_eq!(found.queries.iter().map(|q| q.output[0]).collect::<Vec<_>>(), [10.0, 20.0]);
/// // Sparsemax gives the best key everything from a gap of 1 / beta on; the smallest one is 0.23.
/// assert!((found.certificate.beta - 1.0 / 0.23).abs() < 1e-5);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn attend(
    queries: &[f32],
    keys: &[f32],
    dim: usize,
    values: Option<(&[f32], usize)>,
    request: &Request,
) -> Result<Attended> {
    Certified::new(keys, dim, values)?.attend(queries, request)
}

impl Certified<'_> {
    /// Weights, outputs and a certificate for row-major `queries` `(n, dim)`: scores in `f64`, support only.
    ///
    /// The margin of each query comes from an exact search. With the gap `g = margin - 2 (eta + rounding)` the key with the largest
    /// score is the best one by the relation that the model is within `eta` of, and its weight is guaranteed. Softmax leaves out
    /// keys whose weights come to `tolerance` at most; of the other maps no weight is left out.
    ///
    /// Cost: as [`Certified::best_two`] twice; where many keys have weight, all scores in `f64` (and memory for them).
    ///
    /// # Errors
    /// [`crate::ErrorKind::Shape`] and [`crate::ErrorKind::NonFinite`] for bad queries, [`crate::ErrorKind::Data`] without queries
    /// and where a temperature is asked for and no query has a gap, [`crate::ErrorKind::Parameter`] for numbers out of their
    /// range.
    pub fn attend(&self, queries: &[f32], request: &Request) -> Result<Attended> {
        let n = rows(queries, self.dim, "queries")?;
        request.check()?;
        let best = self.best_two(queries)?;
        let rounding = |q: usize| self.rounding(self.row(queries, q));
        let gaps: Vec<f64> =
            best.iter().enumerate().map(|(q, best)| best.margin() - 2.0 * (request.eta + rounding(q))).collect();
        let beta = request.beta(self.len(), &gaps)?;
        let certificate = self.certificate(&best, &gaps, beta, (0..n).map(rounding).fold(0.0, f64::max), request)?;
        let guarantee = |gap: f64| guaranteed_weight(request.map, self.len(), beta, gap);
        let near = self.within(queries, request.window(self.len()), beta, request.map);
        let each = near.into_par_iter().zip(best).zip(gaps).map(|((near, best), gap)| {
            let guaranteed = if gap > 0.0 { Some(guarantee(gap)?) } else { None };
            Ok(self.weigh(near, best, gap, guaranteed, beta, request))
        });
        Ok(Attended { queries: each.collect::<Result<Vec<_>>>()?, certificate })
    }

    /// Keys that may have weight, of each query.
    fn within(&self, queries: &[f32], window: f64, beta: f64, map: Map) -> Vec<Near> {
        let n = queries.len() / self.dim;
        // The hard map takes the best ones at every temperature.
        let window = if map == Map::Hard { 0.0 } else { window / beta };
        let few = self.few(queries, &vec![window; n]);
        let (chosen, others): (Vec<usize>, Vec<usize>) = (0..n).partition(|&q| few[q]);
        let rows: Vec<f32> = chosen.iter().flat_map(|&q| self.row(queries, q)).copied().collect();
        let mut near = vec![Near::default(); n];
        for (found, &q) in self.near(&rows, &vec![window; chosen.len()]).into_iter().zip(&chosen) {
            near[q] = found;
        }
        let all: Vec<Near> = others.par_iter().map(|&q| self.near_of_all(self.row(queries, q), window)).collect();
        for (found, q) in all.into_iter().zip(others) {
            near[q] = found;
        }
        near
    }

    fn weigh(
        &self,
        near: Near,
        best: BestTwo,
        gap: f64,
        guaranteed: Option<f64>,
        beta: f64,
        request: &Request,
    ) -> Attention {
        let mut weights = vec![0.0; near.scores.len()];
        request.map.weights_f64(&near.scores, near.scores.len(), beta, &mut weights);
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let others = self.len() - near.keys.len();
        let softmax = request.map == Map::Softmax && others > 0;
        // A single key's rivals are all below by the margin at least.
        let below = if near.keys.len() == 1 { beta * best.margin() * (1.0 - 1e-12) } else { 0.0 };
        // Weights are relative to the largest, which is 1 in what the bound speaks of.
        let outside = if softmax { outside(others, request.window(self.len()).max(below), 1.0 / largest) } else { 0.0 };
        let output = self.mean(&near.keys, &weights);
        let listed = near.keys.iter().zip(&weights).filter(|(_, weight)| **weight > 0.0);
        Attention {
            selected: best.key,
            score: best.score,
            margin: best.margin(),
            gap,
            guaranteed,
            weights: listed.map(|(&key, &weight)| Weight { key, weight }).collect(),
            outside,
            touched: near.touched,
            output,
        }
    }

    fn certificate(
        &self,
        best: &[BestTwo],
        gaps: &[f64],
        beta: f64,
        rounding: f64,
        request: &Request,
    ) -> Result<Certificate> {
        let (keys, map) = (self.len(), request.map);
        let mut positive: Vec<f64> = gaps.iter().copied().filter(|gap| *gap > 0.0).collect();
        positive.sort_by(f64::total_cmp);
        let weights = positive.iter().map(|&gap| guaranteed_weight(map, keys, beta, gap));
        let weights = weights.collect::<Result<Vec<f64>>>()?;
        // Weights grow with the gap. A weight may miss its aim by the rounding of the temperature.
        let served = weights.partition_point(|weight| *weight < 1.0 - request.eps * (1.0 + 1e-9));
        let smallest_gap = positive.first().copied();
        let margins: Vec<f64> = best.iter().map(BestTwo::margin).collect();
        let held = positive.get(served).map(|&gap| keys_held(map, beta, gap, request.eps));
        Ok(Certificate {
            map,
            keys,
            beta,
            needed: smallest_gap.map(|gap| inverse_temperature(map, keys, gap, request.eps)).transpose()?,
            eps: request.eps,
            eta: request.eta,
            rounding,
            served: positive.len() - served,
            queries: gaps.len(),
            tied: (0..gaps.len()).filter(|&q| gaps[q] <= 0.0).collect(),
            smallest_gap,
            guaranteed: weights.first().copied(),
            keys_held: held.transpose()?,
            law: MarginLaw::new(&margins, 2.0 * (request.eta + rounding), request.covered, request.confidence)?,
        })
    }
}

impl Request {
    fn check(&self) -> Result<()> {
        check_eps(self.eps)?;
        check_tolerance(self.tolerance)?;
        if !(self.eta.is_finite() && self.eta >= 0.0) {
            return Err(Error::parameter("error of the scores", "0 or a positive finite number", self.eta));
        }
        match self.temperature {
            Temperature::Given { beta } => check_beta(beta),
            Temperature::Auto { share } if share > 0.0 && share <= 1.0 => Ok(()),
            Temperature::Auto { share } => {
                Err(Error::parameter("share of the queries", "above 0 and at most 1", share))
            }
        }
    }

    /// How far `beta score` may be below the largest for a key to have weight.
    fn window(&self, keys: usize) -> f64 {
        // Beyond the threshold there is no weight; a little more costs nothing and covers rounding.
        self.map.threshold().map_or_else(|| softmax_window(keys, self.tolerance), |threshold| threshold * (1.0 + 1e-9))
    }

    fn beta(&self, keys: usize, gaps: &[f64]) -> Result<f64> {
        let share = match self.temperature {
            Temperature::Given { beta } => return Ok(beta),
            Temperature::Auto { share } => share,
        };
        let mut positive: Vec<f64> = gaps.iter().copied().filter(|gap| *gap > 0.0).collect();
        positive.sort_by(|a, b| b.total_cmp(a));
        let served = (share * positive.len() as f64 - 1e-9).ceil() as usize;
        let Some(&gap) = positive.get(served.max(1) - 1) else {
            return Err(Error::data(
                "no query has a best key that stands above all others by more than the error of the scores",
                "give a temperature, or a model whose error is smaller",
            ));
        };
        let beta = inverse_temperature(self.map, keys, gap, self.eps)?;
        // A gap of rounding size asks for more than there is.
        check_beta(beta).map(|()| beta)
    }
}
