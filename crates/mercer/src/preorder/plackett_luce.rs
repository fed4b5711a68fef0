//! Plackett and Luce's model of rankings: the best key is drawn by its share of `e^u`, then the next one of the rest, and so
//! on.
//!
//! Let a ranking have groups `g = 1, .., G` of tied keys and let `R_g` be the sum of `e^u` below group `g`. Key `i` of group `g
//! < G` is drawn from itself and the keys below: its term is `ln Z_i - u_i` with `Z_i = e^{u_i} + R_g`. Keys of one group are
//! not compared among themselves (as in the listwise loss of `fit::gradient`); without ties that is the usual likelihood. With
//! `p_k = e^{u_k} / Z_i` the gradient of a term is `p - e_i` and its Hessian `diag(p) - p p^T` on the keys drawn from. Summed
//! over the terms of a ranking, key `k` of group `h` has `e^{u_k} (D_h + 1/Z_k)` and two keys `j`, `k` have `e^{u_j + u_k} C_h`
//! with sums `D_h` of `1/Z_i` and `C_h` of `1/Z_i^2` over the keys `i` of the groups above `h`, the higher one's own term
//! apart: running sums from the top.

use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::preorder::existence;
use crate::preorder::graph::Graph;
use crate::preorder::maximum::{Curvature, Estimated, Likelihood, LikelihoodOptions, maximise};
use crate::preorder::observed::{ComparedPair, Reading};
use crate::preorder::rankings::Rankings;

/// Utilities of maximum likelihood of rankings of `keys` keys: penalised by `alpha |u|^2`, of sum zero, with standard errors.
///
/// `P(ranking) = product over its draws of e^{u_i} / (e^{u_i} + sum of e^u over the keys below)`: without ties Plackett and
/// Luce's model, and with two keys Bradley and Terry's. Tied keys are not compared with each other; each is drawn from itself
/// and the keys below. A last group, such as the keys that nobody placed, is not drawn at all.
///
/// # Errors
/// As [`bradley_terry`](fn@crate::preorder::bradley_terry), where "preferred" means listed above.
///
/// Cost: a few steps of Newton's method, each of the sum of squared lengths of the rankings and `keys^3 / 3` multiplications,
/// for more than 400 keys of conjugate gradients whose products are linear in the lengths; and `keys^3` for the standard errors
/// up to [`LikelihoodOptions::dense`] keys. Source: Plackett 1975, Luce 1959; Hunter, *MM algorithms for generalized
/// Bradley-Terry models*, 2004, for when a maximum exists.
///
/// ```
/// use mercer::preorder::{LikelihoodOptions, Rankings, plackett_luce};
/// let rankings = Rankings::strict(&[vec![0, 1, 2], vec![1, 0, 2], vec![2, 0, 1]], None)?;
/// let estimated = plackett_luce(&rankings, 3, &LikelihoodOptions::default())?;
/// assert!(estimated.converged && estimated.utilities[0] > estimated.utilities[2]);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn plackett_luce(rankings: &Rankings, keys: usize, options: &LikelihoodOptions) -> Result<Estimated> {
    options.check()?;
    if keys == 0 {
        return Err(Error::data("there is no key", "give rankings of at least two keys"));
    }
    if rankings.keys() > keys {
        return Err(Error::shape("rankings", format!("keys below {keys}"), rankings.keys() - 1));
    }
    if options.penalty == 0.0 {
        existence::check(&beats(rankings, keys), keys)?;
    }
    maximise(&RankingLikelihood { rankings, keys }, options)
}

/// Who was listed above whom: from the keys of each group to an auxiliary key, from there to the keys of the next group.
pub(crate) fn beats(rankings: &Rankings, keys: usize) -> Graph {
    let mut pairs = Vec::new();
    let mut auxiliary = keys as u32;
    for at in 0..rankings.len() {
        let groups: Vec<&[u32]> = rankings.ranking(at).collect();
        for two in groups.windows(2) {
            pairs.extend(two[0].iter().map(|&a| ComparedPair { a, b: auxiliary, wins: 1.0, losses: 0.0 }));
            pairs.extend(two[1].iter().map(|&a| ComparedPair { a, b: auxiliary, wins: 0.0, losses: 1.0 }));
            auxiliary += 1;
        }
    }
    pairs.sort_unstable_by_key(|p| (p.a, p.b));
    Graph::new(auxiliary as usize, &pairs, Reading::Every)
}

struct RankingLikelihood<'a> {
    rankings: &'a Rankings,
    keys: usize,
}

/// One ranking's draws at given utilities, shifted by the largest.
struct Draws {
    /// Key of each place, from the top.
    keys: Vec<u32>,
    /// Group of each place.
    group: Vec<usize>,
    /// `e^(u - shift)` of each place.
    size: Vec<f64>,
    /// `1 / Z` of each place; 0 in the last group, which is not drawn.
    inverse: Vec<f64>,
    /// Largest utility.
    shift: f64,
}

impl Draws {
    fn new(rankings: &Rankings, at: usize, theta: &[f64]) -> Draws {
        let groups: Vec<&[u32]> = rankings.ranking(at).collect();
        let keys: Vec<u32> = groups.iter().copied().flatten().copied().collect();
        let group: Vec<usize> = groups.iter().enumerate().flat_map(|(g, own)| own.iter().map(move |_| g)).collect();
        let shift = keys.iter().map(|&k| theta[k as usize]).fold(f64::NEG_INFINITY, f64::max);
        let size: Vec<f64> = keys.iter().map(|&k| (theta[k as usize] - shift).exp()).collect();
        let mut inverse = vec![0.0; keys.len()];
        let (mut below, mut end) = (0.0, keys.len());
        for (g, own) in groups.iter().enumerate().rev() {
            let range = end - own.len()..end;
            if g + 1 < groups.len() {
                range.clone().for_each(|i| inverse[i] = 1.0 / (size[i] + below));
            }
            below += size[range.clone()].iter().sum::<f64>();
            end = range.start;
        }
        Draws { keys, group, size, inverse, shift }
    }

    /// For each place the sum of `value` over the places of the groups above it.
    fn above(&self, value: impl Fn(usize) -> f64) -> Vec<f64> {
        let (mut sum, mut pending) = (0.0, 0.0);
        let mut sums = Vec::with_capacity(self.keys.len());
        for i in 0..self.keys.len() {
            if i > 0 && self.group[i] != self.group[i - 1] {
                (sum, pending) = (sum + pending, 0.0);
            }
            sums.push(sum);
            pending += value(i);
        }
        sums
    }

    /// For each place the sum of `value` over the places of the groups below it.
    fn below(&self, value: impl Fn(usize) -> f64) -> Vec<f64> {
        let (mut sum, mut pending) = (0.0, 0.0);
        let mut sums = vec![0.0; self.keys.len()];
        for i in (0..self.keys.len()).rev() {
            if i + 1 < self.keys.len() && self.group[i] != self.group[i + 1] {
                (sum, pending) = (sum + pending, 0.0);
            }
            sums[i] = sum;
            pending += value(i);
        }
        sums
    }
}

impl Likelihood for RankingLikelihood<'_> {
    fn keys(&self) -> usize {
        self.keys
    }

    fn value(&self, theta: &[f64]) -> (f64, Vec<f64>) {
        let (mut value, mut gradient) = (0.0, vec![0.0; self.keys]);
        for at in 0..self.rankings.len() {
            let (draws, weight) = (Draws::new(self.rankings, at, theta), self.rankings.weight()[at]);
            let lists = draws.above(|i| draws.inverse[i]);
            for (i, &key) in draws.keys.iter().enumerate() {
                let (size, inverse) = (draws.size[i], draws.inverse[i]);
                gradient[key as usize] += weight * size * lists[i];
                if inverse > 0.0 {
                    value -= weight * (inverse.ln() + theta[key as usize] - draws.shift);
                    // p - 1, without its rounding where p is close to 1.
                    gradient[key as usize] -= weight * (1.0 - size * inverse);
                }
            }
        }
        (value, gradient)
    }

    fn curvature(&self, theta: &[f64]) -> Box<dyn Curvature> {
        let all: Vec<(f64, Draws)> = (0..self.rankings.len())
            .map(|at| (self.rankings.weight()[at], Draws::new(self.rankings, at, theta)))
            .collect();
        let mut diagonal = vec![0.0; self.keys];
        for (weight, draws) in &all {
            let (first, second) = (draws.above(|i| draws.inverse[i]), draws.above(|i| draws.inverse[i].powi(2)));
            for (i, &key) in draws.keys.iter().enumerate() {
                let (size, inverse) = (draws.size[i], draws.inverse[i]);
                let own = size * inverse * (1.0 - size * inverse);
                diagonal[key as usize] += weight * (size * first[i] - size * size * second[i] + own);
            }
        }
        Box::new(DrawnCurvature { all, diagonal })
    }

    fn scale(&self) -> f64 {
        let mut weight = vec![0.0; self.keys];
        for at in 0..self.rankings.len() {
            let keys = self.rankings.ranking(at).flatten();
            keys.for_each(|&key| weight[key as usize] += self.rankings.weight()[at]);
        }
        weight.into_iter().fold(0.0, f64::max)
    }
}

/// Sum over draws of `w (diag(p) - p p^T)`.
struct DrawnCurvature {
    all: Vec<(f64, Draws)>,
    diagonal: Vec<f64>,
}

impl Curvature for DrawnCurvature {
    fn add_product(&self, v: &[f64], out: &mut [f64]) {
        for (weight, draws) in &self.all {
            let at = |i: usize| v[draws.keys[i] as usize];
            let rest = draws.below(|i| draws.size[i] * at(i));
            // p^T v of each draw, times 1/Z: what every key of the draw loses.
            let mean = |i: usize| draws.inverse[i] * (draws.size[i] * at(i) + rest[i]);
            let (first, means) = (draws.above(|i| draws.inverse[i]), draws.above(|i| draws.inverse[i] * mean(i)));
            for (i, &key) in draws.keys.iter().enumerate() {
                let own = draws.inverse[i] * (at(i) - mean(i));
                out[key as usize] += weight * draws.size[i] * (first[i] * at(i) - means[i] + own);
            }
        }
    }

    fn diagonal(&self) -> &[f64] {
        &self.diagonal
    }

    fn add_lower(&self, out: &mut Matrix) {
        for (weight, draws) in &self.all {
            let second = draws.above(|i| draws.inverse[i].powi(2));
            for (i, &high) in draws.keys.iter().enumerate() {
                for (j, &low) in draws.keys.iter().enumerate().skip(i + 1) {
                    let own = if draws.group[i] < draws.group[j] { draws.inverse[i].powi(2) } else { 0.0 };
                    let place = (high.max(low) as usize, high.min(low) as usize);
                    out[place] -= weight * draws.size[i] * draws.size[j] * (second[i] + own);
                }
            }
        }
    }
}
