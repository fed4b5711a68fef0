//! A joint utility `u(q, y) = <phi(q), psi(y)>` from comparisons: a convex fit in features, then factors of low rank.
//!
//! 1. Feature maps of both sides compete on a part of the comparisons, each side on its own: the likelihood of held-out
//!    comparisons chooses, polynomials among random units.
//! 2. With the winners `f` and `g` the core of `u = f(q)^T C g(y)` minimises Bradley and Terry's loss with a ridge, which is
//!    convex, by L-BFGS. The ridge falls by factors of ten as long as the held-out loss does. Consistent answers have no finite
//!    maximum of the likelihood: there the scores grow as the ridge falls, and near ties count more and more.
//! 3. A decomposition in the metric of the features gives the best core of every rank; the held-out loss says where to cut.
//!    A core in which queries only meet what is linear in the keys ([`additive`]) is taken instead where it is level with the whole one.
//! 4. The factors of a whole core go down the likelihood themselves, now under the nuclear norm.

mod additive;
mod contest;
mod grouped;
mod likelihood;
mod recipes;

use crate::encoder::{DualEncoder, Form};
use crate::error::{Error, Result};
use crate::fit::Choice;
use crate::fit::lbfgs::Lbfgs;
use crate::fit::utility::additive::Additive;
use crate::fit::utility::contest::{contest, is_level};
use crate::fit::utility::grouped::{Grouped, Mapped};
use crate::fit::utility::likelihood::Compared;
use crate::fit::utility::recipes::linear_map;
use crate::linalg::{Matrix, svd};
use crate::relation::Comparisons;
use crate::rows::Features;
use crate::seed::Seed;
use crate::wide::dot;

/// What is fitted and what chooses.
#[derive(Clone, Copy)]
pub(crate) struct UtilityProblem<'a> {
    pub(crate) queries: &'a Features,
    pub(crate) keys: &'a Features,
    pub(crate) train: &'a Comparisons,
    pub(crate) valid: &'a Comparisons,
}

/// A fitted utility.
pub(crate) struct Utility {
    pub(crate) encoder: DualEncoder,
    pub(crate) choices: Vec<Choice>,
}

/// Comparisons that are fitted at the most: memory grows with them, and a start needs no more.
const MOST: usize = 200_000;
/// Entries of the core times queries at the most: what one look at the likelihood costs, up to a factor of four.
const WORK: usize = 250_000_000;
/// The ridges, relative to the least one at which no core but zero is best.
const RIDGES: [f64; 9] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10];
/// How far a minimum is followed at each ridge.
#[derive(Clone, Copy)]
pub(crate) struct Descent {
    /// Steps of L-BFGS at the most.
    pub(crate) steps: usize,
    /// It ends where [`LOOK`] steps gained less than this share of the loss.
    pub(crate) gain: f64,
}
const LOOK: usize = 5;
/// Steps that every core gets, and the most that a small one does.
const STEPS: [usize; 2] = [50, 300];
/// Entries of the core times queries times steps that a ridge may cost beyond the first of these.
const DESCENT: usize = 1_200_000_000;
/// What small components gain is little, beside what noise there is in the loss.
const GAIN: f64 = 1e-7;
/// Ridges of the factors, each a tenth of the one before.
const FACTOR_RIDGES: usize = 6;
/// The largest rank and the smallest ridge are taken whose held-out loss is within this share of the lowest. Small components are
/// below the noise of held-out comparisons, and yet decide which key is the best: they are cut or shrunk only where they do harm.
const SLACK: f64 = 0.002;
/// Largest rank where nothing else is asked.
const LARGEST: usize = 64;

/// Fits a joint utility in closed form as far as there is one; `None` where an id has no features to map, or no map fits.
///
/// # Errors
/// If a decomposition fails, which needs extreme numbers.
pub(crate) fn utility(problem: &UtilityProblem<'_>, dim: Option<usize>, seed: Seed) -> Result<Option<Utility>> {
    let ids = |items: &Features| items.len() > 1 && items.is_one_hot();
    if ids(problem.queries) || ids(problem.keys) || problem.train.is_empty() || problem.valid.is_empty() {
        return Ok(None);
    }
    let mut choices = Vec::new();
    let Some(maps) = contest(problem, seed, &mut choices) else { return Ok(None) };
    let part =
        |of: &Comparisons, most: usize, name: &str| of.select(&seed.stream(name).choose(of.len(), most.min(of.len())));
    let (train, valid) = (part(problem.train, MOST, "utility"), part(problem.valid, MOST, "utility held out"));
    let group = Grouped::new(&train, problem.queries, problem.keys);
    let rank = (WORK / group.queries.len().max(1)).isqrt().max(8);
    let maps = maps.map(|map| map.leading(rank));
    let valid = Grouped::new(&valid, problem.queries, problem.keys);
    let (train, valid) = (group.mapped(&maps), valid.mapped(&maps));
    let linear = linear_map(problem.keys, seed).map(|map| group.differences(&map));
    let (path, polished) = best_core(&train, &valid, linear.as_ref(), &mut choices);
    choices.push(Choice::new(
        "ridge",
        format!("{:.0e}", path.ridge),
        format!("the smallest that does no harm: held-out loss {:.4}", path.held_out),
    ));
    let (mut a, mut b) = truncate(&path.point, &train, &valid, dim, &mut choices)?;
    if polished {
        (a, b) = polish(&train.compared(), &valid.compared(), (a, b), &mut choices);
    }
    let [query, key] = maps;
    let width = dim.unwrap_or(a.columns()).max(a.columns());
    let outputs = |c: &Matrix| Matrix::from_fn(c.rows(), width, |i, j| if j < c.columns() { c[(i, j)] } else { 0.0 });
    let encoder = DualEncoder::new(query.tower(&outputs(&a))?, Some(key.tower(&outputs(&b))?), Form::Identity, 1)?;
    Ok(Some(Utility { encoder, choices }))
}

/// The whole core, or one in which queries only meet what is linear in the keys; and whether its factors may go on by themselves.
fn best_core(
    train: &Mapped<'_>,
    valid: &Mapped<'_>,
    linear: Option<&Matrix>,
    choices: &mut Vec<Choice>,
) -> (Found, bool) {
    let cost = train.f.rows() * train.h.rows() * train.f.columns();
    let steps = (DESCENT / cost.max(1)).clamp(STEPS[0], STEPS[1]);
    let descent = Descent { steps, gain: GAIN };
    let whole = descend_core(&train.compared(), &valid.compared(), &RIDGES, descent);
    let Some(additive) = linear.and_then(|linear| Additive::new(train, linear)) else { return (whole, true) };
    let own = additive.descend(train, valid, &RIDGES, descent);
    if !is_level(&own.losses, &whole.losses) {
        return (whole, true);
    }
    let (entries, held_out) = (additive.entries(), own.held_out);
    let reason = format!("{entries} entries do: held-out loss {held_out:.4}, of all {:.4}", whole.held_out);
    choices.push(Choice::new("core", "queries meet what is linear in the keys", reason));
    (own, false)
}

/// The last point of a path of falling ridges whose held-out loss is about the lowest.
struct Found {
    point: Vec<f64>,
    ridge: f64,
    /// Mean held-out loss.
    held_out: f64,
    /// Held-out loss of each comparison.
    losses: Vec<f64>,
}

/// Follows a minimum down the ridges as long as the held-out loss does not rise.
fn path(
    start: Vec<f64>,
    ridges: impl Iterator<Item = f64>,
    descent: Descent,
    objective: impl Fn(&[f64], f64) -> (f64, Vec<f64>),
    held_out: impl Fn(&[f64]) -> Vec<f64>,
) -> Found {
    let look = |point: &[f64], ridge: f64| {
        let losses = held_out(point);
        let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        Found { point: point.to_vec(), ridge, held_out: mean, losses }
    };
    let mut best = look(&start, f64::INFINITY);
    let (mut lowest, mut point) = (best.held_out, start);
    for ridge in ridges {
        let mut search = Lbfgs::new(point.clone(), objective(&point, ridge));
        let mut mark = search.value;
        for step in 1..=descent.steps {
            if !search.step(|p| objective(p, ridge)) {
                break;
            }
            if step % LOOK == 0 {
                if search.value > (1.0 - descent.gain) * mark {
                    break;
                }
                mark = search.value;
            }
        }
        point = search.point;
        let found = look(&point, ridge);
        if found.held_out <= (1.0 + SLACK) * lowest {
            lowest = lowest.min(found.held_out);
            best = found;
        } else if best.ridge.is_finite() {
            break;
        }
    }
    best
}

fn descend_core(train: &Compared<'_>, valid: &Compared<'_>, ridges: &[f64], descent: Descent) -> Found {
    let zero = vec![0.0; train.f.rows() * train.h.rows()];
    let (_, slope) = train.core(&zero, 0.0);
    // The Frobenius norm is at least the spectral one, which is the least ridge of a zero solution under the nuclear norm.
    let scale = dot(&slope, &slope).sqrt();
    path(zero, ridges.iter().map(|r| r * scale), descent, |p, ridge| train.core(p, ridge), |p| valid.losses(p))
}

/// Factors of the core, cut where the held-out loss does not object.
fn truncate(
    core: &[f64],
    train: &Mapped<'_>,
    valid: &Mapped<'_>,
    dim: Option<usize>,
    choices: &mut Vec<Choice>,
) -> Result<(Matrix, Matrix)> {
    let (rq, rk) = (train.f.rows(), train.h.rows());
    let (x, y) = (sizes(&train.f), sizes(&train.h));
    let scaled = Matrix::from_fn(rq, rk, |i, j| x[i] * core[j * rq + i] * y[j]);
    let failed = || Error::data("the core's decomposition failed", "check the features for extreme numbers");
    let (u, s, v) = svd(&scaled).ok_or_else(failed)?;
    let most = s.len().min(dim.unwrap_or(LARGEST));
    let factor = |vectors: &Matrix, metric: &[f64]| {
        Matrix::from_fn(vectors.rows(), most, |i, j| vectors[(i, j)] * s[j].sqrt() / metric[i])
    };
    let (a, b) = (factor(&u, &x), factor(&v, &y));
    let losses = valid.compared().mean_losses(&a, &b);
    let lowest = losses.iter().fold(f64::INFINITY, |a, &b| a.min(b));
    let rank = losses.iter().rposition(|l| *l <= (1.0 + SLACK) * lowest).unwrap_or(most).max(1);
    let reason = format!(
        "held-out loss {:.4} at this rank, {lowest:.4} at the best, {:.4} at {most}",
        losses[rank], losses[most]
    );
    choices.push(Choice::new("rank", rank, reason));
    Ok((a.leading_columns(rank), b.leading_columns(rank)))
}

/// Root mean square of each row, floored so that a feature without any spread stays finite.
fn sizes(features: &Matrix) -> Vec<f64> {
    let mut squares = vec![0.0; features.rows()];
    for j in 0..features.columns() {
        squares.iter_mut().zip(features.column(j)).for_each(|(s, v)| *s += v * v);
    }
    let floor = 1e-6 * squares.iter().fold(f64::MIN_POSITIVE, |a, &b| a.max(b));
    squares.iter().map(|s| (s.max(floor) / features.columns().max(1) as f64).sqrt()).collect()
}

/// The factors, let down the likelihood under the nuclear norm as long as the held-out loss does not object.
fn polish(
    train: &Compared<'_>,
    valid: &Compared<'_>,
    (a, b): (Matrix, Matrix),
    choices: &mut Vec<Choice>,
) -> (Matrix, Matrix) {
    let dim = a.columns();
    let start = [a.data(), b.data()].concat();
    let held_out = |p: &[f64]| {
        let (a, b) = train.unpack(p, dim);
        valid.losses(a.times_transpose(&b).data())
    };
    let before = valid.mean_losses(&a, &b)[dim];
    // At a minimum of the factors the penalty balances the pull of the loss: the start says which ridge it is the minimum for.
    let (_, slope) = train.factors(&start, dim, 0.0);
    let balance = -dot(&slope, &start) / dot(&start, &start).max(f64::MIN_POSITIVE);
    let first = balance.abs().max(1e-9);
    let ridges = (0..FACTOR_RIDGES).map(|k| first * 0.1f64.powi(k as i32));
    let descent = Descent { steps: 2 * STEPS[0], gain: GAIN };
    let found = path(start, ridges, descent, |p, ridge| train.factors(p, dim, ridge), held_out);
    let reason = format!("held-out loss {before:.4} before, {:.4} after", found.held_out);
    let value =
        if found.ridge.is_finite() { format!("nuclear norm, ridge {:.0e}", found.ridge) } else { "as cut".into() };
    choices.push(Choice::new("factors", value, reason));
    train.unpack(&found.point, dim)
}
