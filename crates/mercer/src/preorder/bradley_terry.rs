//! Bradley and Terry's model: differences of utilities are log-odds of preference.

use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::preorder::existence;
use crate::preorder::graph::Graph;
use crate::preorder::maximum::{Curvature, Estimated, Likelihood, LikelihoodOptions, maximise};
use crate::preorder::observed::{ComparedPair, Reading, by_query, pooled};
use crate::relation::Comparisons;

/// Utilities of maximum likelihood, `P(a preferred to b) = 1 / (1 + exp(u(b) - u(a)))`, of all comparisons whatever their
/// query.
///
/// Minimises `sum w ln(1 + exp(u(other) - u(preferred))) + alpha |u|^2` over utilities `(keys,)` in `f64` (the penalty as in
/// the package choix), by Newton's method. A tie is two comparisons of half the weight, one each way. Utilities have sum zero.
///
/// # Errors
/// [`crate::ErrorKind::Data`] without keys, or for `alpha = 0` where the likelihood has no unique finite maximum: the parts of
/// the comparison graph are named. [`crate::ErrorKind::Shape`] if a comparison names a key beyond `keys`,
/// [`crate::ErrorKind::Parameter`] for a negative penalty.
///
/// Cost: a few steps of `keys^3 / 3` multiplications, for more than 400 keys of conjugate gradients over the compared pairs;
/// and `keys^3` for the standard errors up to [`LikelihoodOptions::dense`] keys. Source: Bradley and Terry 1952; Ford 1957.
///
/// ```
/// use mercer::{Comparisons, preorder::{bradley_terry, LikelihoodOptions}};
/// let comparisons = Comparisons::new(vec![0; 4], vec![0, 1, 2, 0], vec![1, 2, 0, 2], None)?;
/// let estimated = bradley_terry(&comparisons, 3, &LikelihoodOptions::default())?;
/// assert!(estimated.converged && estimated.utilities[0] > estimated.utilities[2]);
/// // Without a penalty, a key that never loses has no finite utility.
/// let unbeaten = Comparisons::new(vec![0], vec![0], vec![1], None)?;
/// assert!(bradley_terry(&unbeaten, 2, &LikelihoodOptions::default()).is_err());
/// let options = LikelihoodOptions { penalty: 0.1, ..LikelihoodOptions::default() };
/// assert!(bradley_terry(&unbeaten, 2, &options)?.utilities[0] > 0.0);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn bradley_terry(comparisons: &Comparisons, keys: usize, options: &LikelihoodOptions) -> Result<Estimated> {
    options.check()?;
    let queries = comparisons.query().iter().max().map_or(0, |&q| q as usize + 1);
    comparisons.check_items(queries, keys)?;
    if keys == 0 {
        return Err(Error::data("there is no key", "give comparisons of at least two keys"));
    }
    estimate(pooled(comparisons), keys, options)
}

/// Utilities of one query's keys.
#[derive(Clone, Debug, serde::Serialize)]
pub struct QueryEstimate {
    /// The query.
    pub query: u32,
    /// Item indices of its keys, increasing; the estimate names keys by their place here.
    pub keys: Vec<u32>,
    /// The estimate.
    pub estimated: Estimated,
}

/// [`bradley_terry`] of every query by itself, over the keys that it compares; queries increasing.
///
/// # Errors
/// As [`bradley_terry`], query by query: the others still get their estimate.
///
/// ```
/// use mercer::{Comparisons, preorder::{bradley_terry_by_query, LikelihoodOptions}};
/// let comparisons = Comparisons::new(vec![0, 4], vec![9, 5], vec![7, 9], None)?;
/// let options = LikelihoodOptions { penalty: 0.1, ..LikelihoodOptions::default() };
/// let second = bradley_terry_by_query(&comparisons, &options).remove(1)?;
/// assert_eq!((second.query, &second.keys[..]), (4, &[5, 9][..]));
/// assert!(second.estimated.utilities[0] > second.estimated.utilities[1]);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn bradley_terry_by_query(comparisons: &Comparisons, options: &LikelihoodOptions) -> Vec<Result<QueryEstimate>> {
    let own = |observed: crate::preorder::observed::Observed| {
        options.check()?;
        let estimated = estimate(observed.pairs, observed.keys.len(), options)?;
        Ok(QueryEstimate { query: observed.query, keys: observed.keys, estimated })
    };
    by_query(comparisons).into_iter().map(own).collect()
}

fn estimate(pairs: Vec<ComparedPair>, keys: usize, options: &LikelihoodOptions) -> Result<Estimated> {
    if options.penalty == 0.0 {
        existence::check(&Graph::new(keys, &pairs, Reading::Majority), keys)?;
    }
    maximise(&PairLikelihood { keys, pairs }, options)
}

/// `sum over pairs of wins ln(1 + e^-s) + losses ln(1 + e^s)` with `s = u(a) - u(b)`.
struct PairLikelihood {
    keys: usize,
    pairs: Vec<ComparedPair>,
}

/// What log-odds mean for either answer.
pub(crate) struct Answers {
    /// Losses `ln(1 + e^-s)` of a preference, and `ln(1 + e^s)` of its opposite.
    pub(crate) losses: [f64; 2],
    /// Their probabilities `1 / (1 + e^-s)` and `1 / (1 + e^s)`.
    pub(crate) shares: [f64; 2],
}

impl Answers {
    /// At log-odds `s`, without overflow or cancellation.
    #[inline]
    pub(crate) fn at(s: f64) -> Answers {
        let small = (-s.abs()).exp();
        let (both, rest) = (small.ln_1p(), 1.0 / (1.0 + small));
        let shares = if s >= 0.0 { [rest, small * rest] } else { [small * rest, rest] };
        Answers { losses: [(-s).max(0.0) + both, s.max(0.0) + both], shares }
    }
}

impl Likelihood for PairLikelihood {
    fn keys(&self) -> usize {
        self.keys
    }

    fn value(&self, theta: &[f64]) -> (f64, Vec<f64>) {
        let (mut value, mut gradient) = (0.0, vec![0.0; self.keys]);
        for p in &self.pairs {
            let (a, b) = (p.a as usize, p.b as usize);
            let Answers { losses, shares } = Answers::at(theta[a] - theta[b]);
            value += p.wins * losses[0] + p.losses * losses[1];
            let slope = p.losses * shares[0] - p.wins * shares[1];
            gradient[a] += slope;
            gradient[b] -= slope;
        }
        (value, gradient)
    }

    fn curvature(&self, theta: &[f64]) -> Box<dyn Curvature> {
        let mut diagonal = vec![0.0; self.keys];
        let edges = self.pairs.iter().map(|p| {
            let (a, b) = (p.a as usize, p.b as usize);
            let shares = Answers::at(theta[a] - theta[b]).shares;
            let weight = (p.wins + p.losses) * shares[0] * shares[1];
            diagonal[a] += weight;
            diagonal[b] += weight;
            (p.a, p.b, weight)
        });
        let edges = edges.collect();
        Box::new(Edges { edges, diagonal })
    }

    fn scale(&self) -> f64 {
        let mut weight = vec![0.0; self.keys];
        for p in &self.pairs {
            weight[p.a as usize] += p.wins + p.losses;
            weight[p.b as usize] += p.wins + p.losses;
        }
        weight.into_iter().fold(0.0, f64::max)
    }
}

/// The Laplacian of a list of weighted edges `(a, b, weight)`, `a < b`.
struct Edges {
    edges: Vec<(u32, u32, f64)>,
    diagonal: Vec<f64>,
}

impl Curvature for Edges {
    fn add_product(&self, v: &[f64], out: &mut [f64]) {
        for &(a, b, weight) in &self.edges {
            let flow = weight * (v[a as usize] - v[b as usize]);
            out[a as usize] += flow;
            out[b as usize] -= flow;
        }
    }

    fn diagonal(&self) -> &[f64] {
        &self.diagonal
    }

    fn add_lower(&self, out: &mut Matrix) {
        self.edges.iter().for_each(|&(a, b, weight)| out[(b as usize, a as usize)] -= weight);
    }
}
