//! Observed pairs between ids without features: alternating least squares.
//!
//! `value ~ mean + b_x + c_y + <u_x, v_y>`, each side's rows solved in turn by ridge regression on the other side's;
//! the offsets are coordinates against a constant 1, so the result is an inner product like every other. A form without
//! offsets, whose coordinates are all free, competes with it on the held-out error, and so do ridges that are the same
//! for every item and ridges in proportion to its number of pairs (weighted-lambda).

use rayon::prelude::*;

use crate::encoder::Class;
use crate::error::{Error, Result};
use crate::evaluate::PairErrors;
use crate::fit::dimension::choose;
use crate::fit::grouped::Grouped;
use crate::fit::observed::{Loaded, Table, check};
use crate::fit::{Choice, CurvePoint, Dimension, Effort, Fit, Options, Outcome, Progress, SizePoint, ids};
use crate::linalg::{Matrix, cholesky};
use crate::relation::Pairs;
use crate::seed::Seed;
use crate::wide::{add_scaled, dot, wide};

/// Ridges that are compared, in units of the values' variance (mean square, without offsets).
const RIDGES: [Ridge; 7] = [
    Ridge::Constant(0.3),
    Ridge::Constant(1.0),
    Ridge::Constant(3.0),
    Ridge::Constant(10.0),
    Ridge::Weighted(0.01),
    Ridge::Weighted(0.03),
    Ridge::Weighted(0.1),
];
/// Dimensions that are compared where the data choose.
const DIMENSIONS: [usize; 5] = [2, 4, 8, 16, 32];
/// Rounds over both sides, and the most that can be asked for.
const ROUNDS: usize = 12;
const MOST_ROUNDS: usize = 1000;

/// One side's rows, a column an item: with offsets `[1, offset, u...]` for queries and `[offset, 1, v...]` for keys.
struct Factors {
    rows: Matrix,
    /// Coordinate that is fixed at 1.
    fixed: Option<usize>,
}

impl Factors {
    fn new(items: usize, dim: usize, fixed: Option<usize>, name: &str, seed: Seed) -> Factors {
        let mut stream = seed.stream(name);
        let mut rows = Matrix::zeros(dim, items);
        for i in 0..items {
            let column = rows.column_mut(i);
            let free = if fixed.is_some() { 2 } else { 0 };
            column[free..].iter_mut().for_each(|v| *v = 0.1 * stream.normal());
            if let Some(fixed) = fixed {
                column[fixed] = 1.0;
            }
        }
        Factors { rows, fixed }
    }

    /// Solves every row for the other side's: `(sum w g g^T + ridge) f = sum w (value - g_fixed) g` over the free
    /// coordinates.
    fn update(&mut self, other: &Factors, pairs: &Grouped, ridge: Ridge) {
        let (k, fixed) = (self.rows.rows(), self.fixed);
        let free: Vec<usize> = (0..k).filter(|&c| Some(c) != fixed).collect();
        self.rows.data_mut().par_chunks_mut(k).enumerate().for_each_init(List::default, |list, (i, row)| {
            list.clear();
            for p in pairs.starts[i]..pairs.starts[i + 1] {
                let g = other.rows.column(pairs.y[p] as usize);
                let target = pairs.value[p] - fixed.map_or(0.0, |c| g[c]);
                list.push(free.iter().map(|&c| g[c]), pairs.weight[p], target);
            }
            // A positive ridge makes the matrix positive definite; a failure can only be overflow, and the row then
            // stays.
            if let Some(solution) = list.solve(free.len(), ridge) {
                free.iter().zip(solution).for_each(|(&c, value)| row[c] = value);
            }
        });
    }
}

/// The ridge of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ridge {
    /// The same for every row.
    Constant(f64),
    /// This times the summed weight of the row's pairs (Zhou and others 2008): the error's and the ridge's shares of
    /// the objective then do not depend on how often an item was seen.
    Weighted(f64),
}

/// The observed pairs of one row: the other side's rows, weights and targets.
#[derive(Default)]
pub(crate) struct List {
    rows: Vec<f64>,
    weight: Vec<f64>,
    target: Vec<f64>,
}

impl List {
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.weight.clear();
        self.target.clear();
    }

    pub(crate) fn push(&mut self, row: impl Iterator<Item = f64>, weight: f64, target: f64) {
        self.rows.extend(row);
        self.weight.push(weight);
        self.target.push(target);
    }

    /// `f` of `k` coordinates with `(sum w g g^T + ridge) f = sum w target g`: in the space of the coordinates or, for
    /// a list shorter than they are, of the list: `f = sum a g`, `(<g_i, g_j> + ridge / w_i delta_ij) a = target`.
    pub(crate) fn solve(&self, k: usize, ridge: Ridge) -> Option<Vec<f64>> {
        let count = self.weight.len();
        if count == 0 || k == 0 {
            return Some(vec![0.0; k]);
        }
        let ridge = match ridge {
            Ridge::Constant(ridge) => ridge,
            Ridge::Weighted(ridge) => ridge * self.weight.iter().sum::<f64>(),
        };
        let mut solution = vec![0.0; k];
        if count < k {
            let row = |i: usize| &self.rows[i * k..(i + 1) * k];
            let mut matrix = Matrix::from_fn(count, count, |i, j| if i >= j { dot(row(i), row(j)) } else { 0.0 });
            (0..count).for_each(|i| matrix[(i, i)] += ridge / self.weight[i]);
            let mut right = Matrix::from_columns(self.target.clone(), count, 1);
            cholesky(&matrix)?.solve(&mut right);
            right.data().iter().enumerate().for_each(|(i, &a)| add_scaled(&mut solution, a, row(i)));
            return Some(solution);
        }
        let mut matrix = Matrix::zeros(k, k);
        normal(&self.rows, &self.weight, &self.target, matrix.data_mut(), &mut solution);
        matrix.add_to_diagonal(ridge);
        let mut right = Matrix::from_columns(solution, k, 1);
        cholesky(&matrix)?.solve(&mut right);
        Some(right.into_data())
    }
}

#[inline(always)]
fn normal_body<const FMA: bool>(rows: &[f64], weight: &[f64], target: &[f64], matrix: &mut [f64], right: &mut [f64]) {
    let k = right.len();
    for ((row, w), t) in rows.chunks_exact(k).zip(weight).zip(target) {
        for j in 0..k {
            let factor = w * row[j];
            right[j] += factor * t;
            let column = &mut matrix[j * k + j..(j + 1) * k];
            for (m, g) in column.iter_mut().zip(&row[j..]) {
                *m = if FMA { factor.mul_add(*g, *m) } else { factor * g + *m };
            }
        }
    }
}
wide!(
    /// Lower triangle of `matrix += sum w g g^T`, column-major, and `right += sum w target g`, over the rows `g`.
    fn normal(rows: &[f64], weight: &[f64], target: &[f64], matrix: &mut [f64], right: &mut [f64]) = normal_body
);

/// Learns observed pairs between ids without features by alternating least squares.
///
/// Cost: `rounds * pairs * k^2` operations for each size and ridge compared.
///
/// # Errors
/// If there are too few pairs, the values are constant, or an option is out of range.
pub fn factorise(table: Table<'_>, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    table.load(|table| factorise_loaded(table, options, progress))
}

fn factorise_loaded(table: Loaded<'_>, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    check(&table)?;
    options.check_observed()?;
    if options.class.is_some_and(|c| c != Class::Asymmetric) {
        return Err(Error::parameter("class", "asymmetric for observed pairs of ids", "a symmetric one"));
    }
    let mut choices =
        vec![Choice::new("class", Class::Asymmetric, "ids without features: one free embedding an item and side")];
    let rounds = match options.effort {
        Effort::Steps(steps) if steps > 0 => steps.min(MOST_ROUNDS),
        _ => ROUNDS,
    };
    let dims: Vec<usize> = match options.dimension {
        Dimension::Fixed(dim) => vec![dim],
        _ => DIMENSIONS.to_vec(),
    };
    let forms =
        |&dim: &usize| [true, false].into_iter().filter(move |offsets| !offsets || dim >= 2).map(move |o| (dim, o));
    let trials: Vec<(usize, bool)> = dims.iter().flat_map(forms).collect();
    let mut best: Option<(f64, Trial, crate::DualEncoder)> = None;
    let mut sizes = Vec::new();
    progress.stage("alternating least squares");
    for (i, &(dim, offsets)) in trials.iter().enumerate() {
        for ridge in RIDGES {
            let trial = Trial { dim, offsets, ridge };
            let model = run(&table, table.train, trial, rounds, options.seed)?;
            let error = PairErrors::new(&model, table.queries, table.keys, table.valid)?.rmse();
            let (Ridge::Constant(value) | Ridge::Weighted(value)) = ridge;
            sizes.push(SizePoint { dim, ridge: value, rmse: error });
            if best.as_ref().is_none_or(|b| error < b.0) {
                best = Some((error, trial, model));
            }
        }
        progress.step(i + 1, trials.len(), best.as_ref().map_or(0.0, |b| b.0));
    }
    let (_, trial, model) = best.ok_or_else(|| Error::data("no model was fitted", "check the values"))?;
    let form = if trial.offsets { "two coordinates hold offsets" } else { "all coordinates free" };
    choices.push(Choice::new("form", form, "lowest held-out error, with and without offsets"));
    let (ridge, each) = match trial.ridge {
        Ridge::Constant(ridge) => (ridge, "the same for every item"),
        Ridge::Weighted(ridge) => (ridge, "times the pairs of each item"),
    };
    choices.push(Choice::new("ridge", ridge, format!("{each}; lowest held-out error of {}", RIDGES.len())));
    let errors = PairErrors::new(&model, table.queries, table.keys, table.valid)?;
    let curve: Vec<CurvePoint> = errors.curve().into_iter().map(|(dim, rmse)| CurvePoint { dim, rmse }).collect();
    let wish = if options.dimension == Dimension::Knee { Dimension::Fixed(trial.dim) } else { options.dimension };
    let mut chosen = choose(&curve, wish, errors.scale(), |m| Ok(errors.measures(m)))?;
    if options.dimension == Dimension::Knee {
        chosen.choice.reason =
            format!("lowest held-out error of {} dimensions, each with its ridge and form", dims.len());
    }
    choices.push(chosen.choice);
    Ok(Fit {
        encoder: model.truncate(chosen.dim)?,
        outcome: Outcome::Converged,
        steps: rounds,
        held_out_rmse: chosen.rmse,
        held_out_relative: chosen.relative,
        held_out_scale: errors.scale(),
        target_met: chosen.met,
        curve,
        sizes,
        held_out_pairs: format!("{} pairs of known items", table.valid.len()),
        choices,
    })
}

/// One form of the model with its ridge.
#[derive(Clone, Copy)]
struct Trial {
    dim: usize,
    offsets: bool,
    ridge: Ridge,
}

fn run(table: &Loaded<'_>, pairs: &Pairs, trial: Trial, rounds: usize, seed: Seed) -> Result<crate::DualEncoder> {
    let (n, m) = (table.queries.len(), table.keys.unwrap_or(table.queries).len());
    let chunk = pairs.chunk();
    let weight = |p: usize| chunk.weight.map_or(1.0, |w| f64::from(w[p]));
    let weighted = |f: &dyn Fn(f64) -> f64| (0..pairs.len()).map(|p| weight(p) * f(chunk.value[p].into())).sum::<f64>();
    let total = weighted(&|_| 1.0);
    let mean = if trial.offsets { weighted(&|v| v) / total } else { 0.0 };
    let variance = weighted(&|v| (v - mean).powi(2)) / total;
    let list: Vec<(u32, u32, f64, f64)> =
        (0..pairs.len()).map(|p| (chunk.x[p], chunk.y[p], f64::from(chunk.value[p]) - mean, weight(p))).collect();
    let turned = list.iter().map(|&(x, y, v, w)| (y, x, v, w)).collect();
    let (by_query, by_key) = (Grouped::from_list(list, n), Grouped::from_list(turned, m));
    let fixed = |coordinate: usize| trial.offsets.then_some(coordinate);
    let mut u = Factors::new(n, trial.dim, fixed(0), "query factors", seed);
    let mut v = Factors::new(m, trial.dim, fixed(1), "key factors", seed);
    let ridge = match trial.ridge {
        Ridge::Constant(ridge) => Ridge::Constant(ridge * variance),
        Ridge::Weighted(ridge) => Ridge::Weighted(ridge * variance),
    };
    for _ in 0..rounds {
        u.update(&v, &by_query, ridge);
        v.update(&u, &by_key, ridge);
    }
    // The mean joins the queries' offsets.
    let mut p = u.rows.transpose();
    if trial.offsets {
        p.column_mut(1).iter_mut().for_each(|b| *b += mean);
    }
    ids::asymmetric(&p, &v.rows.transpose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lists_have_the_solution_of_the_normal_equations() {
        let mut stream = Seed(3).stream("explicit rows");
        for (count, k) in [(1, 1), (3, 7), (7, 7), (20, 7), (6, 40)] {
            let mut list = List::default();
            (0..count).for_each(|i| {
                let row: Vec<f64> = (0..k).map(|_| stream.normal()).collect();
                list.push(row.into_iter(), 0.5 + i as f64, stream.normal());
            });
            for ridge in [Ridge::Constant(0.7), Ridge::Weighted(0.2)] {
                let value = match ridge {
                    Ridge::Constant(ridge) => ridge,
                    Ridge::Weighted(ridge) => ridge * list.weight.iter().sum::<f64>(),
                };
                let f = list.solve(k, ridge).unwrap();
                // The gradient of the row's objective is zero.
                for c in 0..k {
                    let slope = |i: usize| {
                        let g = &list.rows[i * k..(i + 1) * k];
                        list.weight[i] * (dot(g, &f) - list.target[i]) * g[c]
                    };
                    let gradient = (0..count).map(slope).sum::<f64>() + value * f[c];
                    assert!(gradient.abs() < 1e-11, "{count} {k} {c}: {gradient:e}");
                }
            }
        }
    }
}
