//! The penalised likelihood of an antisymmetric model and its maximisation.

use rayon::prelude::*;

use crate::fit::antisymmetric::AntisymmetricOptions;
use crate::fit::antisymmetric::blocks;
use crate::fit::lbfgs::Lbfgs;
use crate::linalg::Matrix;
use crate::preorder::{Answers, ComparedPair, LikelihoodOptions, bradley_terry, pooled};
use crate::relation::Comparisons;

/// What a model is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether there is a term `u(a) - u(b)`.
    pub(crate) utility: bool,
    /// Free blocks `x(a) y(b) - y(a) x(b)`.
    pub(crate) blocks: usize,
}

impl Terms {
    /// Numbers an item.
    pub(crate) fn width(self) -> usize {
        usize::from(self.utility) + 2 * self.blocks
    }
}

/// A fitted model: for each item its utility, where there is one, then `x` and `y` of each block.
pub(crate) struct Fitted {
    pub(crate) terms: Terms,
    /// Row-major `(items, width)`.
    pub(crate) point: Vec<f64>,
    pub(crate) steps: usize,
    pub(crate) converged: bool,
}

impl Fitted {
    fn of(&self, item: u32) -> &[f64] {
        let width = self.terms.width();
        &self.point[item as usize * width..(item as usize + 1) * width]
    }

    /// Log-odds that `a` is preferred to `b`.
    pub(crate) fn log_odds(&self, a: u32, b: u32) -> f64 {
        log_odds(self.terms, self.of(a), self.of(b))
    }
}

fn log_odds(terms: Terms, a: &[f64], b: &[f64]) -> f64 {
    let first = usize::from(terms.utility);
    let utility = if terms.utility { a[0] - b[0] } else { 0.0 };
    utility
        + a[first..]
            .chunks_exact(2)
            .zip(b[first..].chunks_exact(2))
            .map(|(p, q)| p[0] * q[1] - p[1] * q[0])
            .sum::<f64>()
}

/// Where a step gains less than this share of the objective, the fit has converged.
const GAIN: f64 = 1e-8;

/// Maximises the penalised likelihood from the decomposition of observed log-odds.
pub(crate) fn fit(
    comparisons: &Comparisons,
    items: usize,
    terms: Terms,
    ridge: f64,
    options: &AntisymmetricOptions,
) -> Fitted {
    let problem = Problem::new(pooled(comparisons), items, terms, ridge);
    let start = start(comparisons, &problem, options);
    let first = problem.objective(&start);
    let mut search = Lbfgs::new(start, first);
    let (mut steps, mut converged) = (0, false);
    while steps < options.steps && !converged {
        let before = search.value;
        converged = !search.step(|point| problem.objective(point)) || before - search.value < GAIN * before.abs();
        steps += 1;
    }
    Fitted { terms, point: search.point, steps, converged }
}

/// The compared pairs by item, so that each item's gradient is a sum of its own.
struct Problem {
    items: usize,
    terms: Terms,
    ridge: f64,
    pairs: Vec<ComparedPair>,
    /// Where the neighbours of each item start, and where the last ones end.
    starts: Vec<usize>,
    /// The other item, and the weights with which the item was and was not preferred.
    neighbours: Vec<(u32, f64, f64)>,
}

impl Problem {
    fn new(pairs: Vec<ComparedPair>, items: usize, terms: Terms, ridge: f64) -> Problem {
        let mut starts = vec![0; items + 1];
        pairs.iter().flat_map(|p| [p.a, p.b]).for_each(|i| starts[i as usize + 1] += 1);
        (0..items).for_each(|i| starts[i + 1] += starts[i]);
        let mut neighbours = vec![(0, 0.0, 0.0); starts[items]];
        let mut next = starts.clone();
        let mut put = |item: u32, neighbour| {
            neighbours[next[item as usize]] = neighbour;
            next[item as usize] += 1;
        };
        for p in &pairs {
            put(p.a, (p.b, p.wins, p.losses));
            put(p.b, (p.a, p.losses, p.wins));
        }
        Problem { items, terms, ridge, pairs, starts, neighbours }
    }

    /// The objective and its gradient. Every pair is met from both of its items; so items are independent of each other.
    fn objective(&self, point: &[f64]) -> (f64, Vec<f64>) {
        let width = self.terms.width();
        let first = usize::from(self.terms.utility);
        let mut gradient = vec![0.0; point.len()];
        let losses: Vec<f64> = gradient
            .par_chunks_mut(width)
            .with_min_len(64)
            .enumerate()
            .map(|(i, slopes)| {
                let own = &point[i * width..(i + 1) * width];
                let mut value = 0.0;
                for &(other, wins, losses) in &self.neighbours[self.starts[i]..self.starts[i + 1]] {
                    let row = &point[other as usize * width..(other as usize + 1) * width];
                    let answers = Answers::at(log_odds(self.terms, own, row));
                    value += 0.5 * (wins * answers.losses[0] + losses * answers.losses[1]);
                    let slope = losses * answers.shares[0] - wins * answers.shares[1];
                    if self.terms.utility {
                        slopes[0] += slope;
                    }
                    for (g, q) in slopes[first..].chunks_exact_mut(2).zip(row[first..].chunks_exact(2)) {
                        g[0] += slope * q[1];
                        g[1] -= slope * q[0];
                    }
                }
                for (g, p) in slopes.iter_mut().zip(own) {
                    *g += self.ridge * p;
                    value += 0.5 * self.ridge * p * p;
                }
                value
            })
            .collect();
        (losses.iter().sum(), gradient)
    }
}

/// The leading blocks of the matrix of observed log-odds, after the utility where there is one.
///
/// An observed log-odds is that of the share with half a comparison added either way; pairs that were not compared count as 0,
/// so the blocks are too small by the share of pairs compared.
fn start(comparisons: &Comparisons, problem: &Problem, options: &AntisymmetricOptions) -> Vec<f64> {
    let (items, terms) = (problem.items, problem.terms);
    let likelihood =
        LikelihoodOptions { penalty: 0.5 * problem.ridge, tolerance: 1e-6, dense: 0, ..LikelihoodOptions::default() };
    let utility = match terms.utility {
        true => {
            bradley_terry(comparisons, items, &likelihood).map(|e| e.utilities).unwrap_or_else(|_| vec![0.0; items])
        }
        false => vec![0.0; items],
    };
    let entries: Vec<(u32, u32, f64)> = problem
        .pairs
        .iter()
        .map(|p| {
            let odds = ((p.wins + 0.5) / (p.losses + 0.5)).ln();
            (p.a, p.b, odds - (utility[p.a as usize] - utility[p.b as usize]))
        })
        .collect();
    let density = problem.neighbours.len() as f64 / (items * items.saturating_sub(1)).max(1) as f64;
    let found: Matrix = blocks::leading(&entries, items, terms.blocks, options.seed);
    let scale = (1.0 / density.max(1e-3)).sqrt();
    (0..items)
        .flat_map(|i| {
            let free = (0..2 * terms.blocks).map(|c| scale * found[(i, c)]).collect::<Vec<f64>>();
            terms.utility.then_some(utility[i]).into_iter().chain(free)
        })
        .collect()
}
