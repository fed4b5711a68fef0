//! From blocks of values between anchors to a model: targets, hidden units, polish, outputs, dimension.

use std::time::{Duration, Instant};

use crate::encoder::{Class, DualEncoder};
use crate::error::{Error, Result};
use crate::evaluate::Measure;
use crate::fit::closed::{Basis, Cores, assemble, leading, solve};
use crate::fit::dimension::{Chosen, by_dimension, choose, root_mean_square};
use crate::fit::hidden::{Hidden, Inputs, Proposal, proposals};
use crate::fit::polish::{CHECK, Limits, Polish, Targets};
use crate::fit::{Choice, CurvePoint, Dimension, Effort, Fit, Options, Outcome, Progress, Target};
use crate::linalg::{Matrix, eigen, qr, svd};
use crate::parallel::both;
use crate::rows::Features;
use crate::seed::{Seed, Stream};
use crate::tower::{Activation, RowScaling};

/// Anchors of one side, fitted and held out.
pub(crate) struct Anchors {
    pub(crate) fitted: Features,
    pub(crate) valid: Features,
}

/// Values of one component between anchors; each matrix has a row a key and a column a query.
pub(crate) struct Blocks {
    pub(crate) fitted: Matrix,
    /// Held-out queries against fitted keys.
    pub(crate) query_valid: Matrix,
    /// Fitted queries against held-out keys; `None` where the two sides are one.
    pub(crate) key_valid: Option<Matrix>,
    /// Held-out queries against held-out keys.
    pub(crate) valid: Matrix,
}

/// Everything that a fit to blocks needs: `keys: None` means one set of anchors for both sides.
pub(crate) struct Problem {
    pub(crate) class: Class,
    pub(crate) queries: Anchors,
    pub(crate) keys: Option<Anchors>,
    /// One entry a component.
    pub(crate) blocks: Vec<Blocks>,
}

/// Largest dimension that is tried where the data choose it.
const LARGEST: usize = 128;
/// Hidden units of a tower where there are anchors enough.
const UNITS: usize = 400;
/// Polishing steps a tower at the most when no limit is given.
const STEPS: usize = 200;
/// Operations that one core is counted on to do in a second: what turns a time budget into steps.
const RATE: f64 = 3e10;
/// Rows and held-out rows on which proposals for hidden units compete.
const CONTEST: (usize, usize) = (900, 400);
/// Singular functions beyond the dimension that the range finder carries along.
const OVERSAMPLE: usize = 12;

/// Anchors of one side as a first layer reads them.
struct Scaled {
    x: Inputs,
    valid: Inputs,
}

impl Scaled {
    fn new(anchors: &Anchors, scaling: RowScaling) -> Scaled {
        Scaled { x: Inputs::new(&scaling.apply(&anchors.fitted)), valid: Inputs::new(&scaling.apply(&anchors.valid)) }
    }
}

/// One side with its targets.
struct Side {
    raw: Scaled,
    unit: Scaled,
    t: Matrix,
    t_valid: Matrix,
    /// Residual share, relative to the targets' energy, that no longer matters beside the tail.
    enough: f64,
}

impl Side {
    fn inputs(&self, scaling: RowScaling) -> &Scaled {
        match scaling {
            RowScaling::None => &self.raw,
            RowScaling::UnitNorm => &self.unit,
        }
    }

    fn targets(&self, scaling: RowScaling) -> Targets<'_> {
        let inputs = self.inputs(scaling);
        Targets { x: &inputs.x, t: &self.t, x_valid: &inputs.valid, t_valid: &self.t_valid }
    }
}

/// Fits towers of class `problem.class` to the blocks.
pub(crate) fn fit_blocks(problem: &Problem, options: &Options, progress: &dyn Progress) -> Result<Fit> {
    let start = Instant::now();
    let (n, m) = (problem.queries.fitted.len(), problem.keys.as_ref().unwrap_or(&problem.queries).fitted.len());
    // Units at landmarks are worth more than random ones: sparse rows have more of them for the same anchors.
    let share = if problem.queries.fitted.is_sparse() { 2 } else { 4 };
    let units = options.units.unwrap_or_else(|| UNITS.min(n.min(m) / share).max(8));
    let largest = match options.dimension {
        Dimension::Fixed(dim) => dim,
        _ => LARGEST.min(n.min(m) / 2).min(units + 1).max(1),
    };
    let mut choices = vec![match options.units {
        Some(units) => Choice::new("hidden units", units, "as asked"),
        None => Choice::new("hidden units", units, format!("for {} anchors a side", n.min(m))),
    }];
    progress.stage("targets");
    let sides = targets(problem, largest, options.seed)?;
    let plan = Plan::new(options.effort, start, n.max(m), units, largest, &sides);
    progress.stage("hidden units");
    let work = |i: usize| choose_hidden(&sides[i], i, units, options.seed);
    let mut found = match sides.len() {
        1 => vec![work(0)],
        _ => {
            let (a, b) = both(|| work(0), || work(1));
            vec![a, b]
        }
    };
    let (steps, converged) = polish(&sides, &mut found, &plan, progress);
    // Outputs are solved for the units as they are saved.
    found.iter_mut().for_each(|f| f.hidden.round());
    for (side, own) in found.iter().enumerate() {
        let name = ["query units", "key units"][side];
        choices.push(Choice::new(if found.len() == 1 { "units" } else { name }, &own.description, &own.reason));
    }
    progress.stage("outputs");
    let solved = Solver::new(problem, &sides, &found)?.best(largest, &mut choices)?;
    let errors = problem.by_dimension(&solved, root_mean_square)?;
    let curve: Vec<_> = errors.iter().enumerate().map(|(i, &rmse)| CurvePoint { dim: i + 1, rmse }).collect();
    let scale = problem.held_out(&solved)?.scale;
    if scale == 0.0 || !scale.is_finite() {
        let problem = "every held-out value is zero, so no error can be measured";
        return Err(Error::data(problem, "bring more items or pairs, or items that have some"));
    }
    let wish = match options.dimension {
        // A largest error is sought elsewhere than on the held-out anchors: `spectral` cuts.
        Dimension::Target(Target::Sup(_)) => Dimension::Fixed(largest),
        wish => wish,
    };
    let measures = |measure: Measure| problem.by_dimension(&solved, |errors| measure.of(errors));
    let Chosen { dim, rmse, relative, met, choice } = choose(&curve, wish, scale, measures)?;
    choices.push(choice);
    Ok(Fit {
        encoder: if dim < largest { solved.truncate(dim)? } else { solved },
        outcome: if converged { Outcome::Converged } else { Outcome::StepLimit },
        steps,
        held_out_rmse: rmse,
        held_out_relative: relative,
        held_out_scale: scale,
        target_met: met,
        curve,
        sizes: Vec::new(),
        held_out_pairs: format!(
            "{} new queries times {} new keys",
            problem.queries.valid.len(),
            problem.keys.as_ref().unwrap_or(&problem.queries).valid.len()
        ),
        choices,
    })
}

/// Orthonormal basis of the leading column range of `a`: one round of randomised subspace iteration
/// (Halko, Martinsson, Tropp 2011). It only sets the targets of hidden units, not the outputs.
fn leading_range(a: &Matrix, k: usize, stream: &mut Stream) -> Matrix {
    let normal = Matrix::from_columns((0..a.columns() * k).map(|_| stream.normal()).collect(), a.columns(), k);
    let basis = qr(&a.times(&normal)).0;
    qr(&a.times(&a.transpose_times(&basis))).0
}

/// Singular functions times singular values at all anchors; held-out rows by the integral operator, `u_i(x) s_i = r(x, .) v_i`.
fn targets(problem: &Problem, dim: usize, seed: Seed) -> Result<Vec<Side>> {
    let mut parts: Vec<[(Matrix, Matrix); 2]> = Vec::new();
    let (mut kept, mut total) = (0.0, 0.0);
    let failed = || Error::data("the values' singular value decomposition failed", "check the relation for NaN");
    for block in &problem.blocks {
        let r = &block.fitted;
        let k = (dim + OVERSAMPLE).min(r.rows()).min(r.columns());
        let basis = leading_range(r, k, &mut seed.stream("range"));
        let image = r.transpose_times(&basis);
        let (x, y) = if problem.class == Class::Asymmetric {
            let (v, _, u) = svd(&image).ok_or_else(failed)?;
            let (left, turn) = (v.leading_columns(dim.min(k)), u.leading_columns(dim.min(k)));
            let x = (image.times(&turn), block.query_valid.transpose_times(&basis.times(&turn)));
            let y_valid = block.key_valid.as_ref().map_or_else(|| Matrix::zeros(0, 0), |b| b.times(&left));
            (x, (r.times(&left), y_valid))
        } else {
            let (values, vectors) = eigen(&basis.transpose_times(&image)).ok_or_else(failed)?;
            let turn = vectors.select_columns(&leading(&values, true, dim));
            let x = (image.times(&turn), block.query_valid.transpose_times(&basis.times(&turn)));
            (x, (Matrix::zeros(0, 0), Matrix::zeros(0, 0)))
        };
        kept += x.0.data().iter().map(|v| v * v).sum::<f64>();
        total += r.data().iter().map(|v| v * v).sum::<f64>();
        parts.push([x, y]);
    }
    if total == 0.0 {
        return Err(Error::data("every value is zero", "there is nothing to learn; check the value column"));
    }
    let enough = (0.02 * (total - kept) / kept).max(1e-16);
    let side = |anchors: &Anchors, i: usize| Side {
        raw: Scaled::new(anchors, RowScaling::None),
        unit: Scaled::new(anchors, RowScaling::UnitNorm),
        t: Matrix::beside(parts.iter().map(|p| &p[i].0)),
        t_valid: Matrix::beside(parts.iter().map(|p| &p[i].1)),
        enough,
    };
    let mut sides = vec![side(&problem.queries, 0)];
    sides.extend(problem.keys.as_ref().map(|keys| side(keys, 1)));
    Ok(sides)
}

/// How many polishing steps there are, and when the clock stops them.
struct Plan {
    steps: usize,
    deadline: Option<Instant>,
    /// Looks without a gain after which the polish ends; where the caller said how long to work, more.
    patience: usize,
}

impl Plan {
    fn new(effort: Effort, start: Instant, n: usize, units: usize, dim: usize, sides: &[Side]) -> Self {
        let (n, m, d, k) = (n as f64, units as f64, sides[0].raw.x.dim() as f64, dim as f64);
        let towers = sides.len() as f64;
        let step = towers * (n * m * (m + 6.0 * k + 4.0 * d + 60.0) + m * m * m);
        let outputs = towers * (2.0 * n * m * m + 40.0 * m * m * m);
        let fixed = outputs + towers * 8.0 * n * m * m + 2.0 * n * n * (6.0 * k + m + 50.0);
        match effort {
            Effort::Converge => Plan { steps: STEPS, deadline: None, patience: 6 },
            Effort::Steps(steps) => Plan { steps, deadline: None, patience: 24 },
            Effort::Seconds(seconds) => {
                let seconds = seconds.min(1e7);
                let steps = ((seconds * RATE - fixed) / step).max(0.0) as usize / CHECK * CHECK;
                // Time is left for the outputs and for one round of steps that has begun.
                let rest = (outputs + CHECK as f64 * step) / RATE;
                let deadline = start + Duration::from_secs_f64((seconds - rest).max(0.0));
                Plan { steps, deadline: Some(deadline), patience: 24 }
            }
        }
    }
}

/// Polishes the hidden units of all sides in step, so that one number of steps reproduces a run that the clock cut.
///
/// Returns that number, and whether the search ended by itself.
fn polish(sides: &[Side], found: &mut [Found], plan: &Plan, progress: &dyn Progress) -> (usize, bool) {
    let starts: Vec<Hidden> = found.iter().map(|f| f.hidden.clone()).collect();
    let needed = |i: &usize| found[*i].residual > sides[*i].enough;
    let rough: Vec<usize> = (0..sides.len()).filter(needed).collect();
    if rough.is_empty() || plan.steps == 0 {
        return (0, true);
    }
    progress.stage("polish");
    let begin = |&i: &usize| {
        let limits = Limits { enough: sides[i].enough, patience: plan.patience };
        Polish::new(sides[i].targets(starts[i].scaling), &starts[i], limits)
    };
    let mut towers: Vec<Polish<'_>> = rough.iter().map(begin).collect();
    let mut steps = 0;
    while steps < plan.steps && !towers.iter().all(Polish::converged) {
        if plan.deadline.is_some_and(|d| Instant::now() >= d) {
            break;
        }
        let round = CHECK.min(plan.steps - steps);
        match towers.as_mut_slice() {
            [a, b] => {
                both(|| a.advance(round), || b.advance(round));
            }
            all => all.iter_mut().for_each(|t| t.advance(round)),
        }
        steps += round;
        progress.step(steps, plan.steps, towers.iter().map(|t| t.held_out).fold(0.0, f64::max).sqrt());
    }
    let converged = towers.iter().all(Polish::converged);
    for (i, tower) in rough.into_iter().zip(towers) {
        let own = &mut found[i];
        own.reason += &format!("; {:.1e} after {steps} polishing steps", tower.held_out.sqrt());
        own.hidden = tower.best;
    }
    (steps, converged)
}

/// Hidden units of one side and how they were found.
struct Found {
    hidden: Hidden,
    description: String,
    reason: String,
    /// Held-out residual share in the contest.
    residual: f64,
}

/// A contest of proposals on a part of the anchors.
fn choose_hidden(side: &Side, index: usize, units: usize, seed: Seed) -> Found {
    let part = |scaled: &Scaled| Scaled {
        x: scaled.x.leading_rows(CONTEST.0.min(side.t.rows())),
        valid: scaled.valid.leading_rows(CONTEST.1.min(side.t_valid.rows())),
    };
    let small = Side {
        raw: part(&side.raw),
        unit: part(&side.unit),
        t: side.t.leading_rows(CONTEST.0.min(side.t.rows())),
        t_valid: side.t_valid.leading_rows(CONTEST.1.min(side.t_valid.rows())),
        enough: side.enough,
    };
    let stream = ["query units", "key units"][index];
    let enter = |proposal: Proposal| {
        let hidden = proposal.draw(&side.inputs(proposal.scaling).x, units, &mut seed.stream(stream));
        (small.targets(proposal.scaling).held_out(&hidden), proposal, hidden)
    };
    let mut ranked: Vec<_> = proposals(&side.raw.x).into_iter().map(enter).collect();
    let best =
        |all: &[(f64, Proposal, Hidden)]| (0..all.len()).min_by(|&a, &b| all[a].0.total_cmp(&all[b].0)).unwrap_or(0);
    let coarse = ranked[best(&ranked)].1;
    if coarse.activation == Activation::Sine {
        for factor in [0.77, 1.3] {
            ranked.push(enter(Proposal { scale: coarse.scale * factor, ..coarse }));
        }
    }
    let winner = best(&ranked);
    let entrants = ranked.len();
    let (residual, proposal, hidden) = ranked.swap_remove(winner);
    let mut reason = format!("lowest held-out residual of {entrants} proposals ({:.1e})", residual.sqrt());
    if residual <= side.enough {
        reason += "; below the dimension's own floor, not polished";
    }
    Found { hidden, description: proposal.to_string(), reason, residual }
}

/// The closed-form outputs for given hidden units, with the ridge chosen on the held-out error of the saved `f32` model.
struct Solver<'a> {
    problem: &'a Problem,
    found: &'a [Found],
    cores: Cores,
}

impl<'a> Solver<'a> {
    fn new(problem: &'a Problem, sides: &[Side], found: &'a [Found]) -> Result<Self> {
        let h: Vec<Matrix> = sides
            .iter()
            .zip(found)
            .map(|(side, own)| own.hidden.evaluate(&side.inputs(own.hidden.scaling).x))
            .collect();
        let basis = |h: &Matrix| {
            Basis::new(h)
                .ok_or_else(|| Error::data("the hidden features cannot be decomposed", "check the features' scale"))
        };
        let (query, key) = match h.as_slice() {
            [x, y] => {
                let (x, y) = both(|| basis(x), || basis(y));
                (x?, Some(y?))
            }
            _ => (basis(&h[0])?, None),
        };
        let (x, y) = (&query.q, &key.as_ref().unwrap_or(&query).q);
        let cores = problem.blocks.iter().map(|b| x.transpose_times(&b.fitted.transpose_times(y))).collect();
        Ok(Solver { problem, found, cores: Cores { query, key, cores } })
    }

    fn at(&self, dim: usize, exponent: i32) -> Result<Option<(f64, DualEncoder)>> {
        let Some(outputs) = solve(&self.cores, self.problem.class, dim, 10f64.powf(f64::from(exponent) / 2.0)) else {
            return Ok(None);
        };
        let key = self.found.get(1).map(|f| &f.hidden);
        let model = assemble(&self.found[0].hidden, key, &outputs, self.problem.blocks.len())?;
        Ok(Some((self.problem.held_out(&model)?.rmse, model)))
    }

    /// Walks the ridge, in half powers of ten from 1e-12, downhill to the lowest held-out error.
    fn best(&self, dim: usize, choices: &mut Vec<Choice>) -> Result<DualEncoder> {
        const START: i32 = -24;
        let mut best: Option<(f64, i32, DualEncoder)> = None;
        for direction in [2, -2] {
            let mut exponent = if direction > 0 { START } else { START - 2 };
            let mut improved = false;
            while (-32..=-2).contains(&exponent) {
                let found = self.at(dim, exponent)?;
                // Less than half a percent is not worth a further look in the same direction.
                let gain = match (&found, &best) {
                    (Some((error, _)), Some((lowest, ..))) => *error < 0.995 * lowest,
                    (Some(_), None) => true,
                    (None, _) => best.is_none() && direction > 0,
                };
                if let Some((error, model)) = found.filter(|(e, _)| best.as_ref().is_none_or(|b| *e < b.0)) {
                    best = Some((error, exponent, model));
                }
                if !gain {
                    break;
                }
                improved = exponent > START;
                exponent += direction;
            }
            if improved {
                break;
            }
        }
        if let Some(centre) = best.as_ref().map(|b| b.1).filter(|&e| e != START && e != START - 2) {
            for exponent in [centre - 1, centre + 1] {
                if let Some((error, model)) =
                    self.at(dim, exponent)?.filter(|(e, _)| best.as_ref().is_none_or(|b| *e < b.0))
                {
                    best = Some((error, exponent, model));
                }
            }
        }
        let (_, exponent, model) = best.ok_or_else(|| {
            Error::data(
                "the hidden features are numerically dependent at every ridge",
                "use fewer hidden units or check the features",
            )
        })?;
        let value = format!("{:.0e}", 10f64.powf(f64::from(exponent) / 2.0));
        choices.push(Choice::new("ridge", value, "lowest held-out error of the f32 model"));
        Ok(model)
    }
}

/// Held-out error of a model and the root mean square of the values there.
pub(crate) struct HeldOut {
    pub(crate) rmse: f64,
    pub(crate) scale: f64,
}

impl Problem {
    /// Whether held-out queries and keys are the same items, so that the diagonal holds self pairs.
    pub(crate) fn shared(&self) -> bool {
        self.keys.is_none()
    }

    /// Calls `visit(component, query, key, value)` on all held-out pairs of different items.
    pub(crate) fn for_each_held_out(&self, mut visit: impl FnMut(usize, usize, usize, f64)) {
        for (l, block) in self.blocks.iter().enumerate() {
            for i in 0..block.valid.columns() {
                for (j, &value) in block.valid.column(i).iter().enumerate() {
                    if !(self.shared() && i == j) {
                        visit(l, i, j, value);
                    }
                }
            }
        }
    }

    /// A statistic of the held-out errors of `model` cut to 1, 2, ... coordinates.
    fn by_dimension(
        &self,
        model: &DualEncoder,
        statistic: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
    ) -> Result<Vec<f64>> {
        let items = [&self.queries.valid, &self.keys.as_ref().unwrap_or(&self.queries).valid];
        by_dimension(model, items, self.blocks.iter().map(|b| &b.valid), self.shared(), statistic)
    }

    pub(crate) fn held_out(&self, model: &DualEncoder) -> Result<HeldOut> {
        let (x, y) = (&self.queries.valid, &self.keys.as_ref().unwrap_or(&self.queries).valid);
        let fitted: Vec<Vec<f64>> =
            (0..self.blocks.len()).map(|l| model.block(l, &x.rows(), &y.rows())).collect::<Result<_>>()?;
        let (mut error, mut energy, mut count) = (0.0, 0.0, 0usize);
        self.for_each_held_out(|l, i, j, value| {
            error += (fitted[l][i * y.len() + j] - value).powi(2);
            energy += value * value;
            count += 1;
        });
        let mean = |sum: f64| (sum / count.max(1) as f64).sqrt();
        Ok(HeldOut { rmse: mean(error), scale: mean(energy) })
    }
}
