//! Tables of observed pairs between items with features: a convex fit in whitened hidden features.
//!
//! Each side gets a feature map `f(x)` of `r` coordinates (hidden units, whitened, cut to their principal components and scaled
//! to unit mean square). The core `M` minimises the convex
//! `sum_p w_p (f(x_p)^T M g(y_p) - v_p)^2 + lambda |M|^2`
//! by conjugate gradients; a decomposition of `M` in the metric of the data, truncated, gives the towers' outputs for every
//! dimension at once.

use crate::encoder::{Class, DualEncoder, Form};
use crate::error::{Error, Result};
use crate::evaluate::PairErrors;
use crate::fit::closed::leading;
use crate::fit::dimension::{Chosen, choose};
use crate::fit::features::{FeatureMap, candidates};
use crate::fit::grouped::Grouped;
use crate::fit::{Choice, CurvePoint, Dimension, Effort, Fit, Options, Outcome, Progress, SizePoint};
use crate::linalg::{Matrix, eigen, svd};
use crate::relation::{PairSource, Pairs, all_pairs};
use crate::rows::{Features, ItemSource, all_items};
use crate::tower::Tower;
use crate::wide::{add_scaled, dot};

/// A table of observed pairs, cut into what is fitted and what is held out for choices.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    /// The query items.
    pub queries: &'a dyn ItemSource,
    /// The key items; `None`: the queries' items.
    pub keys: Option<&'a dyn ItemSource>,
    /// Pairs to fit.
    pub train: &'a dyn PairSource,
    /// Pairs on which scale, ridge, class and dimension are chosen.
    pub valid: &'a dyn PairSource,
}

/// A [`Table`] in memory.
#[derive(Clone, Copy)]
pub(crate) struct Loaded<'a> {
    pub(crate) queries: &'a Features,
    pub(crate) keys: Option<&'a Features>,
    pub(crate) train: &'a Pairs,
    pub(crate) valid: &'a Pairs,
}

impl Table<'_> {
    /// Runs `work` on the table in memory, reading what is not there.
    pub(crate) fn load<T>(&self, work: impl FnOnce(Loaded<'_>) -> Result<T>) -> Result<T> {
        let (queries, keys) = (all_items(self.queries)?, self.keys.map(all_items).transpose()?);
        let (train, valid) = (all_pairs(self.train)?, all_pairs(self.valid)?);
        work(Loaded { queries: &queries, keys: keys.as_deref(), train: &train, valid: &valid })
    }
}

/// Ridge relative to features and values of unit scale: the first is kept unless another is clearly better held out.
const RIDGES: [f64; 5] = [0.3, 3.0, 30.0, 300.0, 0.03];
/// A ridge replaces the first only below this share of its held-out error: a few near pairs can dominate hold-outs.
const CLEARLY: f64 = 0.95;
/// Conjugate-gradient iterations at the most.
const ITERATIONS: usize = 60;
/// Squared relative residual at which the iterations end.
const TOLERANCE: f64 = 1e-6;
/// Pairs on which candidate feature maps compete.
const CONTEST: usize = 20_000;
/// A wider class is chosen below this share of the narrower one's held-out error; the noise of a hold-out is a few percent.
const WORTH: f64 = 0.95;
/// Largest dimension that is tried where the data choose it.
const LARGEST: usize = 128;

/// A core with the iterations that found it.
struct Core {
    /// `(rx, ry)`.
    matrix: Matrix,
    iterations: usize,
    outcome: Outcome,
}

/// The minimising core for features `f` `(rx, n)` and `g` `(ry, m)`, a column an item.
fn solve_core(f: &Matrix, g: &Matrix, pairs: &Grouped, ridge: f64, iterations: usize) -> Core {
    let apply = |p: &Matrix| {
        let q = p.transpose_times(f);
        let s = pairs.scatter(g, |x, at| dot(q.column(x), g.column(pairs.y[at] as usize)));
        let mut out = f.times_transpose(&s);
        add_scaled(out.data_mut(), ridge, p.data());
        out
    };
    let mut residual = f.times_transpose(&pairs.scatter(g, |_, at| pairs.value[at]));
    let mut core = Matrix::zeros(f.rows(), g.rows());
    let mut direction = residual.clone();
    let start = dot(residual.data(), residual.data());
    let mut norm = start;
    let mut done = 0;
    while done < iterations && norm > TOLERANCE * start {
        let image = apply(&direction);
        let step = norm / dot(direction.data(), image.data());
        if !step.is_finite() {
            return Core { matrix: core, iterations: done, outcome: Outcome::Diverged { step: done } };
        }
        add_scaled(core.data_mut(), step, direction.data());
        add_scaled(residual.data_mut(), -step, image.data());
        let next = dot(residual.data(), residual.data());
        let turn = next / norm;
        direction.data_mut().iter_mut().zip(residual.data()).for_each(|(d, r)| *d = r + turn * *d);
        norm = next;
        done += 1;
    }
    // A residual of NaN has left the loop, too.
    let outcome = match norm <= TOLERANCE * start {
        true => Outcome::Converged,
        false if norm.is_finite() => Outcome::StepLimit,
        false => Outcome::Diverged { step: done },
    };
    Core { matrix: core, iterations: done, outcome }
}

/// Towers from a core, cut to dimension `dim` in the metric of the data.
fn build(x: &Mapped, y: Option<&Mapped>, core: &Matrix, class: Class, dim: usize) -> Result<DualEncoder> {
    let failed = || Error::data("the core's decomposition failed", "check the values for extreme numbers");
    let other = y.unwrap_or(x);
    let scaled = Matrix::from_fn(core.rows(), core.columns(), |i, j| x.metric[i] * core[(i, j)] * other.metric[j]);
    let outputs = |side: &Mapped, vectors: &Matrix, sizes: &[f64]| {
        let scale = |i: usize, j: usize| sizes.get(j).map_or(0.0, |s| vectors[(i, j)] * s.sqrt() / side.metric[i]);
        side.map.tower(&Matrix::from_fn(vectors.rows(), dim, scale))
    };
    if class == Class::Asymmetric {
        let (u, s, v) = svd(&scaled).ok_or_else(failed)?;
        return DualEncoder::new(outputs(x, &u, &s)?, Some(outputs(other, &v, &s)?), Form::Identity, 1);
    }
    let half = Matrix::from_fn(core.rows(), core.rows(), |i, j| 0.5 * (scaled[(i, j)] + scaled[(j, i)]));
    let (values, vectors) = eigen(&half).ok_or_else(failed)?;
    let order = leading(&values, class == Class::Signed, dim);
    let sizes: Vec<f64> = order.iter().map(|&i| values[i].abs()).collect();
    let tower: Tower = outputs(x, &vectors.select_columns(&order), &sizes)?;
    let sign = |j: usize| order.get(j).map_or(1.0, |&i| if values[i] < 0.0 { -1.0 } else { 1.0 });
    let form = if class == Class::Signed { Form::Signs((0..dim).map(sign).collect()) } else { Form::Identity };
    DualEncoder::new(tower, None, form, 1)
}

/// A feature map with its values on all items of a side.
struct Mapped {
    map: FeatureMap,
    /// `(r, n)`, a column an item.
    f: Matrix,
    /// Root mean square of each feature over the items that occur in pairs.
    metric: Vec<f64>,
}

impl Mapped {
    fn new(map: FeatureMap, items: &Features, used: &[usize]) -> Mapped {
        let f = map.evaluate(items).transpose();
        let mut metric = vec![0.0; f.rows()];
        for &i in used {
            metric.iter_mut().zip(f.column(i)).for_each(|(m, v)| *m += v * v);
        }
        let floor = 1e-6 * metric.iter().fold(0.0, |a: f64, &b| a.max(b)).max(f64::MIN_POSITIVE);
        metric.iter_mut().for_each(|m| *m = (m.max(floor) / used.len().max(1) as f64).sqrt());
        Mapped { map, f, metric }
    }
}

/// Items that occur on one side of the pairs (on either side where the items are shared), increasing.
fn used_items(pairs: &Pairs, query: bool, shared: bool, len: usize) -> Vec<usize> {
    let mut seen = vec![false; len];
    let chunk = pairs.chunk();
    if query || shared {
        chunk.x.iter().for_each(|&i| seen[i as usize] = true);
    }
    if !query || shared {
        chunk.y.iter().for_each(|&i| seen[i as usize] = true);
    }
    (0..len).filter(|&i| seen[i]).collect()
}

/// Everything about one fit but the ridge and the class.
struct Work<'a> {
    table: Loaded<'a>,
    x: Mapped,
    y: Option<Mapped>,
}

impl Work<'_> {
    /// The model of a core, cut to dimension `dim`.
    fn cut(&self, core: &Core, class: Class, dim: usize) -> Result<DualEncoder> {
        build(&self.x, if class == Class::Asymmetric { Some(self.other()) } else { None }, &core.matrix, class, dim)
    }

    fn other(&self) -> &Mapped {
        self.y.as_ref().unwrap_or(&self.x)
    }

    fn core(&self, pairs: &Pairs, class: Class, ridge: f64, iterations: usize) -> Core {
        let grouped = Grouped::new(pairs, self.table.queries.len(), class != Class::Asymmetric);
        solve_core(&self.x.f, &self.other().f, &grouped, ridge, iterations)
    }

    fn error(&self, model: &DualEncoder) -> Result<f64> {
        Ok(PairErrors::new(model, self.table.queries, self.table.keys, self.table.valid)?.rmse())
    }
}

/// Learns a table of observed pairs between items with features.
///
/// Cost: 60 iterations of about `4 r^2 (items) + 4 r (pairs)` operations, `r = 300`, for each class and ridge compared.
///
/// # Errors
/// If there are too few pairs, the values are constant, or an option is out of range.
pub fn observed(table: Table<'_>, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    table.load(|table| fit_loaded(table, options, progress))
}

fn fit_loaded(table: Loaded<'_>, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    check(&table)?;
    options.check_observed()?;
    if table.keys.is_some() && options.class.is_some_and(|c| c != Class::Asymmetric) {
        return Err(Error::parameter("class", "asymmetric for two different sets of items", "a symmetric one"));
    }
    let mut choices = Vec::new();
    progress.stage("features");
    let iterations = match options.effort {
        Effort::Steps(steps) if steps > 0 => steps,
        _ => ITERATIONS,
    };
    let work = choose_features(table, options, &mut choices)?;
    progress.stage("core");
    let rank = work.x.f.rows().min(work.other().f.rows());
    let largest = match options.dimension {
        Dimension::Fixed(dim) => dim,
        _ => LARGEST.min(rank),
    };
    let class = choose_class(&work, options, largest, iterations, &mut choices)?;
    let mut sizes = Vec::new();
    let (model, core) = choose_ridge(&work, class, largest, iterations, &mut choices, &mut sizes)?;
    progress.stage("dimension");
    let errors = PairErrors::new(&model, table.queries, table.keys, table.valid)?;
    let curve: Vec<CurvePoint> = errors.curve().into_iter().map(|(dim, rmse)| CurvePoint { dim, rmse }).collect();
    let Chosen { dim, rmse, relative, met, choice } =
        choose(&curve, options.dimension, errors.scale(), |m| Ok(errors.measures(m)))?;
    choices.push(choice);
    Ok(Fit {
        encoder: if dim < largest { model.truncate(dim)? } else { model },
        outcome: core.outcome,
        steps: core.iterations,
        held_out_rmse: rmse,
        held_out_relative: relative,
        held_out_scale: errors.scale(),
        target_met: met,
        curve,
        sizes,
        held_out_pairs: format!("{} pairs", table.valid.len()),
        choices,
    })
}

/// Refuses tables from which nothing can be learned.
pub(crate) fn check(table: &Loaded<'_>) -> Result<()> {
    let keys = table.keys.unwrap_or(table.queries).len();
    table.train.check_items(table.queries.len(), keys)?;
    table.valid.check_items(table.queries.len(), keys)?;
    let values = table.train.chunk().value;
    if values.len() < 20 || table.valid.len() < 5 {
        let pairs = values.len() + table.valid.len();
        let problem = format!("{pairs} pairs to fit and to choose with ({} held out) are too few", table.valid.len());
        return Err(Error::data(problem, "bring at least 30, or declare the value of all other pairs (--absent 0)"));
    }
    if values.iter().all(|v| *v == values[0]) {
        let problem = format!("the target is constant: every value is {}", values[0]);
        return Err(Error::data(problem, "bring pairs with other values, or declare all other pairs with --absent 0"));
    }
    Ok(())
}

fn choose_features<'a>(table: Loaded<'a>, options: &Options, choices: &mut Vec<Choice>) -> Result<Work<'a>> {
    let shared = table.keys.is_none();
    let all = table.train.concat(table.valid);
    let used = used_items(&all, true, shared, table.queries.len());
    let keys = table.keys.map(|k| (k, used_items(&all, false, false, k.len())));
    let mut maps: Vec<(String, FeatureMap, Option<FeatureMap>)> = Vec::new();
    let units = options.units;
    let key_maps = keys.as_ref().map(|(items, used)| candidates(&items.select(used), units, options.seed, "key units"));
    for (i, (name, map)) in
        candidates(&table.queries.select(&used), units, options.seed, "query units").into_iter().enumerate()
    {
        match &key_maps {
            // Both sides take the recipe of the same place in the list; a shorter list repeats its last.
            Some(keys) => {
                let (key_name, key) = &keys[i.min(keys.len() - 1)];
                maps.push((format!("{name}; keys: {key_name}"), map, Some(key.clone())));
            }
            None => maps.push((name, map, None)),
        }
    }
    let entrants = maps.len();
    let mut best: Option<(f64, String, Work<'a>)> = None;
    let part = table.train.select(&options.seed.stream("contest").choose(table.train.len(), CONTEST));
    for (name, map, key) in maps {
        let y = keys.as_ref().zip(key).map(|((items, used), key)| Mapped::new(key, items, used));
        let work = Work { table, x: Mapped::new(map, table.queries, &used), y };
        let error = if entrants == 1 {
            0.0
        } else {
            let dim = work.x.f.rows().min(work.other().f.rows());
            let core = work.core(&part, Class::Asymmetric, RIDGES[0], ITERATIONS / 2);
            work.error(&work.cut(&core, Class::Asymmetric, dim)?)?
        };
        if best.as_ref().is_none_or(|b| error < b.0) {
            best = Some((error, name, work));
        }
    }
    let (error, name, work) = best.ok_or_else(|| Error::data("no feature map fits the items", "check the features"))?;
    let reason = match entrants {
        1 => "the recipe for sparse rows: measured best at equal dimension".to_string(),
        n => format!("lowest held-out error of {n} candidates ({error:.2e})"),
    };
    choices.push(Choice::new("units", name, reason));
    Ok(work)
}

/// Share of antisymmetric energy on pairs observed in both orders, with their number.
fn reversed_pairs(pairs: &Pairs) -> (usize, f64) {
    let chunk = pairs.chunk();
    let mut sums = std::collections::BTreeMap::<(u32, u32), (f64, f64)>::new();
    for p in 0..pairs.len() {
        let own = sums.entry((chunk.x[p], chunk.y[p])).or_default();
        let weight = chunk.weight.map_or(1.0, |w| f64::from(w[p]));
        *own = (own.0 + weight * f64::from(chunk.value[p]), own.1 + weight);
    }
    let (mut count, mut odd, mut total) = (0, 0.0, 0.0);
    for (&(x, y), &(sum, n)) in sums.iter().filter(|((x, y), _)| x < y) {
        if let Some(&(back, m)) = sums.get(&(y, x)) {
            let (a, b) = (sum / n, back / m);
            (count, odd, total) = (count + 1, odd + 0.25 * (a - b) * (a - b), total + 0.5 * (a * a + b * b));
        }
    }
    (count, if total > 0.0 { odd / total } else { 0.0 })
}

/// The class, and its core at the first ridge.
fn choose_class(
    work: &Work<'_>,
    options: &Options,
    dim: usize,
    iterations: usize,
    choices: &mut Vec<Choice>,
) -> Result<(Class, Core)> {
    let core = |class: Class| work.core(work.table.train, class, RIDGES[0], iterations);
    let error = |class: Class, core: &Core| work.error(&work.cut(core, class, dim)?);
    let mut decide = |class: Class, reason: String, core: Core| {
        choices.push(Choice::new("class", class, reason));
        Ok((class, core))
    };
    if let Some(class) = options.class {
        return decide(class, "as asked".into(), core(class));
    }
    if work.y.is_some() {
        let class = Class::Asymmetric;
        return decide(class, "queries and keys are different sets of items".into(), core(class));
    }
    let shared = core(Class::Signed);
    let (tied, signed) = (error(Class::Symmetric, &shared)?, error(Class::Signed, &shared)?);
    let (class, signs) = match signed < WORTH * tied {
        true => (Class::Signed, format!("signs lower the held-out error from {tied:.2e} to {signed:.2e}")),
        false => {
            (Class::Symmetric, format!("signs do not lower the held-out error ({tied:.2e}, with signs {signed:.2e})"))
        }
    };
    let (count, odd) = reversed_pairs(work.table.train);
    if count >= 20 && odd < 1e-9 {
        return decide(class, format!("all {count} pairs seen in both orders agree; {signs}"), shared);
    }
    let free = core(Class::Asymmetric);
    let untied = error(Class::Asymmetric, &free)?;
    let lowest = tied.min(signed);
    let seen = match count {
        0 => "no pair is seen in both orders".into(),
        _ => format!("{:.2} % antisymmetric on {count} pairs seen in both orders", 100.0 * odd),
    };
    let errors = format!("held-out error tied {tied:.2e}, signed {signed:.2e}, untied {untied:.2e}");
    if untied < WORTH * lowest {
        return decide(Class::Asymmetric, format!("{seen}; {errors}"), free);
    }
    let undetermined = count == 0 && lowest > WORTH * untied;
    let verdict = if undetermined { "undetermined, the smaller model is kept: " } else { "" };
    decide(class, format!("{verdict}{seen}; {errors}"), shared)
}

fn choose_ridge(
    work: &Work<'_>,
    (class, core): (Class, Core),
    dim: usize,
    iterations: usize,
    choices: &mut Vec<Choice>,
    sizes: &mut Vec<SizePoint>,
) -> Result<(DualEncoder, Core)> {
    let mut error = |model: &DualEncoder, ridge: f64| -> Result<f64> {
        let errors = PairErrors::new(model, work.table.queries, work.table.keys, work.table.valid)?;
        sizes.extend(errors.curve().into_iter().map(|(dim, rmse)| SizePoint { dim, ridge, rmse }));
        Ok(sizes[sizes.len() - 1].rmse)
    };
    let model = work.cut(&core, class, dim)?;
    let first = error(&model, RIDGES[0])?;
    let mut best = (first, RIDGES[0], model, core);
    for ridge in &RIDGES[1..] {
        let core = work.core(work.table.train, class, *ridge, iterations);
        let other = work.cut(&core, class, dim)?;
        let held_out = error(&other, *ridge)?;
        if held_out < best.0 && held_out < CLEARLY * first {
            best = (held_out, *ridge, other, core);
        }
    }
    let reason = match best.1 == RIDGES[0] {
        true => "the default; no other is clearly better held out",
        false => "lowest held-out error",
    };
    choices.push(Choice::new("ridge", best.1, reason));
    Ok((best.2, best.3))
}
