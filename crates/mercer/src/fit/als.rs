//! Observed pairs between ids without features: alternating least squares.
//!
//! `value ~ mean + b_x + c_y + <u_x, v_y>`, each side's rows solved in turn by ridge regression on the other side's; the offsets
//! are coordinates against a constant 1, so the result is an inner product like every other.

use rayon::prelude::*;

use crate::encoder::Class;
use crate::error::{Error, Result};
use crate::evaluate::PairErrors;
use crate::fit::dimension::choose;
use crate::fit::grouped::Grouped;
use crate::fit::observed::{Table, check};
use crate::fit::{Choice, CurvePoint, Dimension, Effort, Fit, Options, Outcome, Progress, ids};
use crate::linalg::{Matrix, cholesky};
use crate::relation::Pairs;
use crate::seed::Seed;

/// Ridges that are compared, in units of the values' variance a pair.
const RIDGES: [f64; 4] = [0.3, 1.0, 3.0, 10.0];
/// Free coordinates that are compared where the data choose the dimension (two more hold the offsets).
const RANKS: [usize; 5] = [0, 2, 6, 14, 30];
/// Rounds over both sides.
const ROUNDS: usize = 12;

/// One side's rows, a column an item: `[1, offset, u...]` for queries, `[offset, 1, v...]` for keys.
struct Factors {
    rows: Matrix,
    /// Coordinate that is fixed at 1.
    fixed: usize,
}

impl Factors {
    fn new(items: usize, rank: usize, fixed: usize, seed: Seed) -> Factors {
        let mut stream = seed.stream(if fixed == 0 { "query factors" } else { "key factors" });
        let mut rows = Matrix::zeros(rank + 2, items);
        for i in 0..items {
            let column = rows.column_mut(i);
            column[2..].iter_mut().for_each(|v| *v = 0.1 * stream.normal());
            column[fixed] = 1.0;
        }
        Factors { rows, fixed }
    }

    /// Solves every row for the other side's: `(sum w g g^T + ridge) f = sum w (value - g_fixed) g` over the free coordinates.
    fn update(&mut self, other: &Factors, pairs: &Grouped, ridge: f64) {
        let (k, fixed) = (self.rows.rows(), self.fixed);
        let free: Vec<usize> = (0..k).filter(|&c| c != fixed).collect();
        self.rows.data_mut().par_chunks_mut(k).enumerate().for_each(|(i, row)| {
            let range = pairs.starts[i]..pairs.starts[i + 1];
            let mut gram = Matrix::zeros(free.len(), free.len());
            let mut right = Matrix::zeros(free.len(), 1);
            for p in range {
                let g = other.rows.column(pairs.y[p] as usize);
                let target = pairs.value[p] - g[fixed];
                for (a, &ca) in free.iter().enumerate() {
                    let weighted = pairs.weight[p] * g[ca];
                    right[(a, 0)] += weighted * target;
                    free[..=a].iter().enumerate().for_each(|(b, &cb)| gram[(a, b)] += weighted * g[cb]);
                }
            }
            gram.add_to_diagonal(ridge);
            // A positive ridge makes the matrix positive definite; a failure can only be overflow, and the row then stays.
            if let Some(factor) = cholesky(&gram) {
                factor.solve(&mut right);
                free.iter().enumerate().for_each(|(a, &c)| row[c] = right[(a, 0)]);
            }
        });
    }
}

/// Learns observed pairs between ids without features by alternating least squares.
///
/// Cost: `rounds * pairs * k^2` operations for each size and ridge compared.
///
/// # Errors
/// If there are too few pairs, the values are constant, or an option is out of range.
pub fn factorise(table: Table<'_>, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    check(&table)?;
    options.check()?;
    if options.class.is_some_and(|c| c != Class::Asymmetric) {
        return Err(Error::parameter("class", "asymmetric for observed pairs of ids", "another"));
    }
    let mut choices =
        vec![Choice::new("class", Class::Asymmetric, "ids without features: one free embedding an item and side")];
    let rounds = match options.effort {
        Effort::Steps(steps) => steps.max(1),
        _ => ROUNDS,
    };
    let ranks: Vec<usize> = match options.dimension {
        Dimension::Fixed(dim) if dim < 2 => {
            return Err(Error::parameter("dimension", "at least 2 (two hold the offsets)", dim));
        }
        Dimension::Fixed(dim) => vec![dim - 2],
        _ => RANKS.to_vec(),
    };
    let mut best: Option<(f64, usize, f64, crate::DualEncoder)> = None;
    progress.stage("alternating least squares");
    let trials = ranks.len() * RIDGES.len();
    for (i, &rank) in ranks.iter().enumerate() {
        for (j, &ridge) in RIDGES.iter().enumerate() {
            let model = run(&table, table.train, rank, ridge, rounds, options.seed)?;
            let error = PairErrors::new(&model, table.queries, table.keys, table.valid)?.rmse();
            if best.as_ref().is_none_or(|b| error < b.0) {
                best = Some((error, rank, ridge, model));
            }
            progress.step(i * RIDGES.len() + j + 1, trials, best.as_ref().map_or(0.0, |b| b.0));
        }
    }
    let (_, rank, ridge, model) = best.ok_or_else(|| Error::data("no model was fitted", "check the values"))?;
    choices.push(Choice::new(
        "ridge",
        ridge,
        format!("lowest held-out error, with {rank} free coordinates and two offsets"),
    ));
    let errors = PairErrors::new(&model, table.queries, table.keys, table.valid)?;
    let curve: Vec<CurvePoint> = errors.curve().into_iter().map(|(dim, rmse)| CurvePoint { dim, rmse }).collect();
    let wish = if options.dimension == Dimension::Knee { Dimension::Fixed(rank + 2) } else { options.dimension };
    let mut chosen = choose(&curve, wish, errors.scale());
    if options.dimension == Dimension::Knee {
        chosen.choice.reason = format!("lowest held-out error of {} sizes, each with its ridge", ranks.len());
    }
    choices.push(chosen.choice);
    Ok(Fit {
        encoder: model.truncate(chosen.dim)?,
        outcome: Outcome::Converged,
        steps: rounds,
        held_out_rmse: chosen.rmse,
        held_out_relative: chosen.relative,
        target_met: chosen.met,
        curve,
        held_out_pairs: format!("{} pairs of known items", table.valid.len()),
        choices,
    })
}

fn run(
    table: &Table<'_>,
    pairs: &Pairs,
    rank: usize,
    ridge: f64,
    rounds: usize,
    seed: Seed,
) -> Result<crate::DualEncoder> {
    let (n, m) = (table.queries.len(), table.keys.unwrap_or(table.queries).len());
    let chunk = pairs.chunk();
    let weight = |p: usize| chunk.weight.map_or(1.0, |w| f64::from(w[p]));
    let weighted = |f: &dyn Fn(f64) -> f64| (0..pairs.len()).map(|p| weight(p) * f(chunk.value[p].into())).sum::<f64>();
    let total = weighted(&|_| 1.0);
    let mean = weighted(&|v| v) / total;
    let variance = weighted(&|v| (v - mean).powi(2)) / total;
    let list: Vec<(u32, u32, f64, f64)> =
        (0..pairs.len()).map(|p| (chunk.x[p], chunk.y[p], f64::from(chunk.value[p]) - mean, weight(p))).collect();
    let turned = list.iter().map(|&(x, y, v, w)| (y, x, v, w)).collect();
    let (by_query, by_key) = (Grouped::from_list(list, n), Grouped::from_list(turned, m));
    let (mut u, mut v) = (Factors::new(n, rank, 0, seed), Factors::new(m, rank, 1, seed));
    for _ in 0..rounds {
        u.update(&v, &by_query, ridge * variance);
        v.update(&u, &by_key, ridge * variance);
    }
    // The mean joins the queries' offsets.
    let mut p = u.rows.transpose();
    p.column_mut(1).iter_mut().for_each(|b| *b += mean);
    ids::asymmetric(&p, &v.rows.transpose())
}
