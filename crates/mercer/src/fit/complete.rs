//! Tables in which every pair that is not listed has one known value: the relation is known everywhere.

use std::collections::BTreeMap;

use crate::encoder::{Class, DualEncoder, Link};
use crate::error::{Error, Result};
use crate::evaluate::Scorer;
use crate::fit::block::{Anchors, Blocks, Problem, fit_blocks};
use crate::fit::dimension::choose;
use crate::fit::grouped::Grouped;
use crate::fit::{
    Choice, CurvePoint, Dimension, Effort, Fit, Method, Options, Outcome, Progress, Target, ids, logistic,
};
use crate::linalg::{Matrix, qr, svd};
use crate::relation::{PairSource, Pairs, all_pairs};
use crate::rows::{Features, ItemSource, all_items};
use crate::seed::Seed;
use crate::spectrum::Energy;

/// A relation known on all pairs of items: listed values, and one value for all other pairs.
#[derive(Clone, Copy)]
pub struct Complete<'a> {
    /// The query items.
    pub queries: &'a dyn ItemSource,
    /// The key items; `None`: the queries' items.
    pub keys: Option<&'a dyn ItemSource>,
    /// Listed pairs; of repeated pairs the mean counts.
    pub pairs: &'a dyn PairSource,
    /// Value of every other pair.
    pub absent: f32,
    /// Query and key items that may be used for fitting, increasing (others are held out); ignored for id tables.
    pub fitted: [&'a [usize]; 2],
}

/// A [`Complete`] in memory.
struct Loaded<'a> {
    queries: &'a Features,
    keys: Option<&'a Features>,
    pairs: &'a Pairs,
    absent: f32,
    fitted: [&'a [usize]; 2],
}

/// Largest dimension that is tried where the data choose it.
const LARGEST: usize = 128;
/// Vectors that the range finder carries beyond the dimension, and its rounds: enough for slowly decaying spectra.
const OVERSAMPLE: usize = 24;
const ROUNDS: usize = 10;
/// Cells up to which the logistic fit, which visits them all at each step, is chosen by itself.
const LOGISTIC_CELLS: usize = 4_000_000;
/// Steps of the logistic fit at the most when no limit is given.
const LOGISTIC_STEPS: usize = 150;
/// Anchors a side, fitted and held out, for items with features.
const ANCHORS: [usize; 2] = [2000, 600];

/// Listed pairs once each, with the mean of their values.
struct Cells(BTreeMap<(u32, u32), f64>);

impl Cells {
    fn new(pairs: &Pairs) -> Cells {
        Cells(pairs.cells())
    }

    fn value(&self, x: usize, y: usize, absent: f64) -> f64 {
        self.0.get(&(x as u32, y as u32)).copied().unwrap_or(absent)
    }

    /// Shares of antisymmetric energy over all cells, exact.
    fn antisymmetric(&self, n: usize, absent: f64) -> f64 {
        let background = absent * absent * ((n * n) as f64 - self.0.len() as f64);
        let total = self.0.values().map(|v| v * v).sum::<f64>() + background;
        let odd = |(&(x, y), v): (&(u32, u32), &f64)| match self.0.get(&(y, x)) {
            // Listed both ways the pair is met twice, else its absent twin adds the second half.
            Some(back) => 0.25 * (v - back) * (v - back),
            None => 0.5 * (v - absent) * (v - absent),
        };
        self.0.iter().map(odd).sum::<f64>() / total
    }
}

/// Learns a relation that is known on all pairs of items.
///
/// Items with features: as [`spectral`](crate::fit::spectral), with the table as the relation. Id tables (one-hot features): the
/// truncated singular value decomposition of the whole table, by sparse subspace iteration; for 0/1 values of up to four million
/// cells then a logistic fit from there.
///
/// # Errors
/// If the table is constant or empty, or an option is out of range.
pub fn complete(table: Complete<'_>, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    let (queries, keys) = (all_items(table.queries)?, table.keys.map(all_items).transpose()?);
    let (pairs, Complete { absent, fitted, .. }) = (all_pairs(table.pairs)?, table);
    let table = Loaded { queries: &queries, keys: keys.as_deref(), pairs: &pairs, absent, fitted };
    options.check_observed()?;
    table.pairs.check_items(table.queries.len(), table.keys.unwrap_or(table.queries).len())?;
    let cells = Cells::new(table.pairs);
    if cells.0.values().all(|v| *v == f64::from(table.absent)) {
        let problem = format!("every value is {}", table.absent);
        return Err(Error::data(problem, "there is nothing to learn; check the value column and --absent"));
    }
    if table.keys.is_some() && options.class.is_some_and(|c| c != Class::Asymmetric) {
        return Err(Error::parameter("class", "asymmetric for two different sets of items", "a symmetric one"));
    }
    if table.queries.is_one_hot() && table.keys.is_none_or(Features::is_one_hot) {
        fit_ids(&table, &cells, options, progress)
    } else {
        fit_features(&table, &cells, options, progress)
    }
}

fn choose_class(options: &Options, two_sets: bool, energy: impl FnOnce() -> Result<Energy>) -> Result<(Class, Choice)> {
    let (class, reason) = match options.class {
        Some(class) => (class, "as asked".into()),
        None if two_sets => (Class::Asymmetric, "queries and keys are different sets of items".into()),
        None => energy()?.class(),
    };
    Ok((class, Choice::new("class", class, reason)))
}

fn fit_features(table: &Loaded<'_>, cells: &Cells, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    let absent = f64::from(table.absent);
    let draw = |items: &Features, fitted: &[usize], stream: &str| {
        let mut stream = options.seed.stream(stream);
        let mut held: Vec<usize> = (0..items.len()).filter(|i| fitted.binary_search(i).is_err()).collect();
        let mut order: Vec<usize> =
            stream.choose(fitted.len(), ANCHORS[0] + ANCHORS[1]).iter().map(|&i| fitted[i]).collect();
        if held.len() < 20 {
            held = order.split_off(order.len() - (order.len() / 6).min(ANCHORS[1]));
        }
        order.truncate(ANCHORS[0]);
        held.truncate(ANCHORS[1]);
        (order, held)
    };
    let block = |x: &[usize], y: &[usize]| Matrix::from_fn(y.len(), x.len(), |j, i| cells.value(x[i], y[j], absent));
    let (x, x_held) = draw(table.queries, table.fitted[0], "query anchors");
    let (class, choice) = choose_class(options, table.keys.is_some(), || {
        let few = &x[..x.len().min(400)];
        Energy::of_block(&block(few, few), 64)
            .ok_or_else(|| Error::data("the sampled pairs are all zero", "give --class"))
    })?;
    let keys = table.keys.unwrap_or(table.queries);
    let shared = class != Class::Asymmetric;
    let (y, y_held) = if shared { (x.clone(), x_held.clone()) } else { draw(keys, table.fitted[1], "key anchors") };
    let anchors = |items: &Features, fitted: &[usize], held: &[usize]| Anchors {
        fitted: items.select(fitted),
        valid: items.select(held),
    };
    let blocks = vec![Blocks {
        fitted: block(&x, &y),
        query_valid: block(&x_held, &y),
        key_valid: (!shared).then(|| block(&x, &y_held)),
        valid: block(&x_held, &y_held),
    }];
    let queries = anchors(table.queries, &x, &x_held);
    let keys = (!shared).then(|| anchors(keys, &y, &y_held));
    let mut fit = fit_blocks(&Problem { class, queries, keys, blocks }, options, progress)?;
    fit.choices.insert(0, choice);
    Ok(fit)
}

/// The table as an operator: `absent` everywhere plus sparse differences, by query and by key.
struct Operator {
    by_query: Grouped,
    by_key: Grouped,
    absent: f64,
}

impl Operator {
    fn new(cells: &Cells, n: usize, m: usize, absent: f64, symmetrised: bool) -> Operator {
        let mut list: Vec<(u32, u32, f64, f64)> = Vec::new();
        for (&(x, y), v) in &cells.0 {
            if symmetrised {
                list.push((x, y, 0.5 * (v - absent), 1.0));
                list.push((y, x, 0.5 * (v - absent), 1.0));
            } else {
                list.push((x, y, v - absent, 1.0));
            }
        }
        let turned = list.iter().map(|&(x, y, v, w)| (y, x, v, w)).collect();
        Operator { by_query: Grouped::from_list(list, n), by_key: Grouped::from_list(turned, m), absent }
    }

    fn apply(&self, rows: &Grouped, b: &Matrix) -> Matrix {
        let mut out = rows.scatter(&b.transpose(), |_, p| rows.value[p]).transpose();
        if self.absent != 0.0 {
            for j in 0..b.columns() {
                let shift = self.absent * b.column(j).iter().sum::<f64>();
                out.column_mut(j).iter_mut().for_each(|v| *v += shift);
            }
        }
        out
    }

    /// `R b`.
    fn times(&self, b: &Matrix) -> Matrix {
        self.apply(&self.by_query, b)
    }

    /// `R^T b`.
    fn transpose_times(&self, b: &Matrix) -> Matrix {
        self.apply(&self.by_key, b)
    }

    /// Orthonormal basis of the leading column range.
    fn range(&self, m: usize, k: usize, seed: Seed) -> Matrix {
        let mut stream = seed.stream("range");
        let normal = Matrix::from_columns((0..m * k).map(|_| stream.normal()).collect(), m, k);
        let mut basis = qr(&self.times(&normal)).0;
        for _ in 0..ROUNDS {
            let back = qr(&self.transpose_times(&basis)).0;
            basis = qr(&self.times(&back)).0;
        }
        basis
    }
}

fn fit_ids(table: &Loaded<'_>, cells: &Cells, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    let (n, m) = (table.queries.len(), table.keys.unwrap_or(table.queries).len());
    let absent = f64::from(table.absent);
    let largest = match options.dimension {
        Dimension::Fixed(dim) if dim > n.min(m) => {
            let expected = format!("at most {}, the number of items of the smaller side", n.min(m));
            return Err(Error::parameter("dimension", expected, dim));
        }
        Dimension::Fixed(dim) => dim,
        _ => LARGEST.min(n).min(m),
    };
    progress.stage("decomposition");
    let k = (largest + OVERSAMPLE).min(n).min(m);
    let signed_energy = || -> Result<Energy> {
        let antisymmetric = cells.antisymmetric(n, absent);
        let operator = Operator::new(cells, n, n, absent, true);
        let basis = operator.range(n, k, options.seed);
        let energy = Energy::of_block(&basis.transpose_times(&operator.times(&basis)), largest);
        let symmetric = energy.ok_or_else(|| Error::data("every value is zero", "there is nothing to learn"))?;
        Ok(Energy { antisymmetric, symmetric: 1.0 - antisymmetric, ..symmetric })
    };
    let (class, choice) = choose_class(options, table.keys.is_some(), signed_energy)?;
    let mut choices = vec![choice];
    let operator = Operator::new(cells, n, m, absent, class != Class::Asymmetric);
    let basis = operator.range(m, k, options.seed);
    let (left, right, full) = decompose(&operator, &basis, class, largest)?;
    let binary = absent == 0.0 && class == Class::Asymmetric && cells.0.values().all(|v| *v == 1.0);
    let link = choose_link(options, binary, n * m, &mut choices)?;
    let curve = error_curve(&full, table, cells)?;
    let scale = {
        let listed: f64 = cells.0.values().map(|v| v * v).sum();
        ((listed + absent * absent * ((n * m) as f64 - cells.0.len() as f64)) / (n * m) as f64).sqrt()
    };
    let mut chosen = choose(&curve, options.dimension, scale, |_| {
        let expected = "a root mean square: every pair of an id table is fitted, so none is held out for a quantile";
        Err(Error::parameter("target error", expected, "a quantile"))
    })?;
    let mut fit = Fit {
        encoder: full.truncate(chosen.dim)?,
        outcome: Outcome::Converged,
        steps: 0,
        held_out_rmse: chosen.rmse,
        held_out_relative: chosen.relative,
        held_out_scale: scale,
        target_met: chosen.met,
        curve,
        sizes: Vec::new(),
        held_out_pairs: format!("all {n} x {m} pairs, fitted ones: an id table has no features for new items"),
        choices,
    };
    if link.is_logistic() {
        progress.stage("logistic");
        let limit = match options.dimension {
            Dimension::Target(Target::Absolute(error)) => Some(error),
            Dimension::Target(Target::Relative(share)) => Some(share * scale),
            _ => None,
        };
        // Log-odds need fewer dimensions than the decomposition: a target is tried on a ladder of its own.
        let dims: Vec<usize> = match limit {
            Some(_) => LADDER.into_iter().filter(|&dim| dim <= largest).collect(),
            None => vec![chosen.dim],
        };
        for &dim in &dims {
            let steps = match options.effort {
                Effort::Steps(steps) => steps,
                Effort::Seconds(seconds) => {
                    (seconds / dims.len() as f64 * 3e10 / (6 * n * m * (dim + 20)) as f64).ceil() as usize
                }
                Effort::Converge => LOGISTIC_STEPS,
            };
            fit_log_odds(&mut fit, (&left, &right, dim), (table, cells), steps, progress)?;
            fit.held_out_relative = fit.held_out_rmse / scale;
            fit.target_met = limit.map(|limit| fit.held_out_rmse <= limit);
            if fit.target_met == Some(true) {
                break;
            }
        }
        match limit {
            Some(limit) => {
                let tried = format!("of {} dimensions tried up to {}", dims.len(), dims[dims.len() - 1]);
                let reason = match fit.target_met {
                    Some(true) => format!("the smallest {tried} whose log-odds err by at most {limit:.3e}"),
                    _ => format!("none {tried} has log-odds that err by at most {limit:.3e}"),
                };
                chosen.choice = Choice::new("dimension", fit.encoder.dim(), reason);
            }
            None => chosen.choice.reason += "; by the decomposition, before the logistic fit",
        }
    }
    fit.choices.push(chosen.choice);
    Ok(fit)
}

/// Dimensions of a logistic fit that are tried for a target error.
const LADDER: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Replaces the model by log-odds of dimension `dim`, from the leading vectors of the decomposition.
fn fit_log_odds(
    fit: &mut Fit,
    (left, right, dim): (&Matrix, &Matrix, usize),
    (table, cells): (&Loaded<'_>, &Cells),
    steps: usize,
    progress: &dyn Progress,
) -> Result<()> {
    let positives: Vec<(u32, u32)> = cells.0.keys().copied().collect();
    let start = (&left.leading_columns(dim), &right.leading_columns(dim));
    let odds = logistic::fit(&positives, start, steps, progress);
    fit.encoder = ids::asymmetric(&odds.p, &odds.q)?.with_link(Link::LOGISTIC);
    fit.steps = odds.steps;
    fit.outcome = if odds.converged { Outcome::Converged } else { Outcome::StepLimit };
    fit.held_out_rmse = all_cells(&fit.encoder, table, cells)?;
    Ok(())
}

/// Both sides' vectors times roots of singular values, and the model of the largest dimension.
fn decompose(
    operator: &Operator,
    basis: &Matrix,
    class: Class,
    largest: usize,
) -> Result<(Matrix, Matrix, DualEncoder)> {
    if class != Class::Asymmetric {
        let core = basis.transpose_times(&operator.times(basis));
        let half = Matrix::from_fn(core.rows(), core.rows(), |i, j| 0.5 * (core[(i, j)] + core[(j, i)]));
        let model = ids::symmetric(basis, &half, class, largest)?;
        return Ok((Matrix::zeros(0, 0), Matrix::zeros(0, 0), model));
    }
    // basis spans the range of R: R = basis (basis^T R), and (R^T basis)^T = V-side.
    let (v, s, u) = svd(&operator.transpose_times(basis))
        .ok_or_else(|| Error::data("the table's decomposition failed", "check its values"))?;
    let k = largest.min(s.len());
    let root = |vectors: Matrix| Matrix::from_fn(vectors.rows(), k, |i, j| vectors[(i, j)] * s[j].sqrt());
    let (left, right) = (root(basis.times(&u)), root(v));
    let model = ids::asymmetric(&left, &right)?;
    Ok((left, right, model))
}

fn choose_link(options: &Options, binary: bool, cells: usize, choices: &mut Vec<Choice>) -> Result<Link> {
    let (link, value, reason) = match options.method {
        Method::Logistic if !binary => {
            let expected =
                "a method for these values (logistic needs values 1, --absent 0, and an asymmetric id table)";
            return Err(Error::parameter("method", expected, "logistic"));
        }
        Method::Logistic => (Link::LOGISTIC, "logistic", "as asked".to_string()),
        Method::ClosedForm => (Link::Identity, "closed form", "as asked".into()),
        Method::Auto if binary && cells <= LOGISTIC_CELLS => (
            Link::LOGISTIC,
            "logistic, from the closed form",
            "values are 0 and 1: log-odds need fewer dimensions".into(),
        ),
        Method::Auto if binary => {
            (Link::Identity, "closed form", format!("{cells} cells are too many for a logistic fit by default"))
        }
        Method::Auto => (Link::Identity, "closed form", "values are not all 0 and 1, or the class is symmetric".into()),
    };
    choices.push(Choice::new("method", value, reason));
    Ok(link)
}

/// Root mean square error of the model cut to each dimension, over all cells.
///
/// For the decomposition itself `|R - R_k|^2` over all cells is computed from `sum R^2 - 2 <R, R_k> + |R_k|^2`, each by sparse
/// sums and Gram matrices, without visiting every cell.
fn error_curve(model: &DualEncoder, table: &Loaded<'_>, cells: &Cells) -> Result<Vec<CurvePoint>> {
    let keys = table.keys.unwrap_or(table.queries);
    let width = model.dim();
    let (p, q) = (model.embed_queries(&table.queries.rows())?, model.embed_keys(&keys.rows())?);
    let (n, m) = (table.queries.len(), keys.len());
    let absent = f64::from(table.absent);
    let matrix = |data: &[f32], rows: usize| Matrix::from_fn(rows, width, |i, j| f64::from(data[i * width + j]));
    let (p, q) = (matrix(&p, n), matrix(&q, m));
    let (gram_p, gram_q) = (p.gram(), q.gram());
    let sum = |v: &[f64]| v.iter().sum::<f64>();
    let listed: f64 = cells.0.values().map(|v| v * v).sum();
    let mut square = listed + absent * absent * ((n * m) as f64 - cells.0.len() as f64);
    let mut points = Vec::with_capacity(width);
    for k in 0..width {
        let mut cross = absent * sum(p.column(k)) * sum(q.column(k));
        for (&(x, y), v) in &cells.0 {
            cross += (v - absent) * p[(x as usize, k)] * q[(y as usize, k)];
        }
        let own: f64 =
            (0..k).map(|j| 2.0 * gram_p[(j, k)] * gram_q[(j, k)]).sum::<f64>() + gram_p[(k, k)] * gram_q[(k, k)];
        square += own - 2.0 * cross;
        points.push(CurvePoint { dim: k + 1, rmse: (square.max(0.0) / (n * m) as f64).sqrt() });
    }
    Ok(points)
}

/// Root mean square error over all cells, link applied.
fn all_cells(model: &DualEncoder, table: &Loaded<'_>, cells: &Cells) -> Result<f64> {
    let scorer = Scorer::new(model, table.queries, table.keys)?;
    let (n, m) = (table.queries.len(), table.keys.unwrap_or(table.queries).len());
    let mut sum = 0.0;
    for x in 0..n {
        for y in 0..m {
            let error = scorer.score(x as u32, y as u32) - cells.value(x, y, f64::from(table.absent));
            sum += error * error;
        }
    }
    Ok((sum / (n * m) as f64).sqrt())
}
