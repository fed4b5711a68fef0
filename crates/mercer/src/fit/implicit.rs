//! Implicit feedback between ids without features: pairs that occurred, all others being weak evidence of the contrary.
//!
//! First least squares over all cells, alternating between the sides (Hu, Koren and Volinsky 2008):
//!
//! `sum over all cells of c_xy (p_xy - <u_x, v_y>)^2 + ridge (sum |u_x|^2 + sum |v_y|^2)`
//!
//! with `p = 1` and confidence `c = alpha * strength` on positive cells, `p = 0` and `c = unobserved` on all others.
//! Then, where held-out pairs gain by it, sweeps that rank each query's positives above its hardest negatives (see
//! `ranking`).

mod balance;
mod judge;
mod kernels;
mod lists;
mod ranking;
mod scores;
mod solve;

pub use judge::Standing;

use serde::Serialize;

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::fit::implicit::judge::Judge;
use crate::fit::implicit::lists::{Lists, both_sides};
use crate::fit::implicit::ranking::{Ranked, rank};
use crate::fit::implicit::solve::objective;
pub(crate) use crate::fit::implicit::solve::{Common, Factors, Room, Terms, way};
use crate::fit::observed::Loaded;
use crate::fit::{Choice, Outcome, Progress, Table};
use crate::seed::Seed;

/// Dimensions that are compared where the data choose; confidence and ridge are found at the first.
const DIMENSIONS: [usize; 5] = [16, 8, 32, 64, 128];
/// Confidence and ridge from which the climb starts, and the range in which it stays.
const START: (f64, f64) = (10.0, 1.0);
const RANGE: std::ops::RangeInclusive<f64> = 1e-3..=1e6;
/// The climb moves by this factor.
const FACTOR: f64 = 10.0;
/// Confidence and ridge where nothing is held out: the pairs themselves are to be reconstructed.
const RECONSTRUCTION: (f64, f64) = (200.0, 0.1);
/// Ranking sweeps at the most, where their number is not given.
const RANKING_SWEEPS: usize = 60;
/// The most sweeps that can be asked for.
const MOST_SWEEPS: usize = 10_000;

/// How the rows of least squares are solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// Exactly, in the space of the list where it is short.
    Exact,
    /// By this many steps of conjugate gradients from the row of the sweep before. Stopping early acts like a ridge.
    Gradients(usize),
}

/// Whether ranking sweeps follow least squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// As long as held-out pairs stand higher for it; where none are held out, the pairs themselves.
    Auto,
    /// Never.
    Never,
    /// At most this many, under the same rule.
    Sweeps(usize),
}

/// Settings of [`implicit`]; [`Implicit::default`] lets held-out pairs choose.
///
/// At equal `dim`, `ridge`, `alpha` and `sweeps` with [`Solver::Gradients`]`(3)`, [`Ranking::Never`] and
/// `unobserved = 1` the objective and the steps are those of `implicit.als.AlternatingLeastSquares` (factors, regularization, alpha,
/// iterations).
#[derive(Clone, Debug, PartialEq)]
pub struct Implicit {
    /// Embedding dimension; `None`: chosen together with the ridge by where held-out pairs stand.
    pub dim: Option<usize>,
    /// Ridge, in units of confidence times squared score; `None`: chosen likewise.
    pub ridge: Option<f64>,
    /// Confidence of a positive pair of strength 1, beside `unobserved` for all others; `None`: chosen likewise.
    pub alpha: Option<f64>,
    /// Confidence of all cells that are not positive pairs.
    pub unobserved: f64,
    /// Sweeps of least squares over both sides.
    pub sweeps: usize,
    /// How rows are solved.
    pub solver: Solver,
    /// Whether ranking sweeps follow.
    pub ranking: Ranking,
    /// Seed of the start and of the queries that are looked at.
    pub seed: Seed,
}

impl Default for Implicit {
    fn default() -> Self {
        Implicit {
            dim: None,
            ridge: None,
            alpha: None,
            unobserved: 1.0,
            sweeps: 15,
            solver: Solver::Gradients(3),
            ranking: Ranking::Auto,
            seed: Seed(0),
        }
    }
}

impl Implicit {
    fn check(&self) -> Result<()> {
        const MOST_DIM: usize = 1 << 12;
        if let Some(dim) = self.dim.filter(|d| !(1..=MOST_DIM).contains(d)) {
            return Err(Error::parameter("dimension", format!("from 1 to {MOST_DIM}"), dim));
        }
        let positive = [("ridge", self.ridge), ("alpha", self.alpha), ("unobserved", Some(self.unobserved))];
        for (name, value) in positive.into_iter().filter_map(|(name, v)| v.map(|v| (name, v))) {
            if !(1e-9..=1e9).contains(&value) {
                return Err(Error::parameter(name, "between 1e-9 and 1e9", value));
            }
        }
        let steps = match self.solver {
            Solver::Exact => 1,
            Solver::Gradients(steps) => steps,
        };
        let ranking = match self.ranking {
            Ranking::Sweeps(sweeps) => sweeps,
            _ => 1,
        };
        let counts = [("sweeps", self.sweeps), ("conjugate-gradient steps", steps), ("ranking sweeps", ranking)];
        for (name, value) in counts {
            if !(1..=MOST_SWEEPS).contains(&value) {
                return Err(Error::parameter(name, format!("from 1 to {MOST_SWEEPS}"), value));
            }
        }
        Ok(())
    }

    fn terms(&self, trial: Trial) -> Terms {
        Terms {
            alpha: trial.alpha as f32,
            unobserved: self.unobserved as f32,
            ridge: trial.ridge,
            steps: match self.solver {
                Solver::Exact => 0,
                Solver::Gradients(steps) => steps,
            },
        }
    }
}

/// One setting of least squares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Trial {
    dim: usize,
    alpha: f64,
    ridge: f64,
}

/// Where the held-out pairs stand for one dimension, confidence and ridge: sizes compared without their ridges mislead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ImplicitSize {
    /// Dimension.
    pub dim: usize,
    /// Confidence of positive pairs.
    pub alpha: f64,
    /// Ridge.
    pub ridge: f64,
    /// Where the held-out pairs stand after least squares.
    pub standing: Standing,
}

/// A model of implicit feedback and how it came about.
#[derive(Clone, Debug)]
pub struct ImplicitFit {
    /// The model: two id tables, coordinates ordered by singular value.
    pub encoder: DualEncoder,
    /// How the run ended.
    pub outcome: Outcome,
    /// The objective of least squares after each sweep of the chosen trial.
    pub objective: Vec<f64>,
    /// Ranking sweeps in the model; 0: it is that of least squares.
    pub ranking_sweeps: usize,
    /// Where the held-out pairs stand by the model.
    pub standing: Standing,
    /// What `standing` is measured on.
    pub held_out_pairs: String,
    /// Every trial of least squares.
    pub sizes: Vec<ImplicitSize>,
    /// Every choice, in order.
    pub choices: Vec<Choice>,
}

/// Learns pairs of ids that occurred (those with positive value; strength is value times weight, repeated pairs add
/// up).
///
/// Settings that are not given are chosen by where the held-out pairs `table.valid` stand among all keys that are not
/// known positives of their query. With no held-out pairs the task is to reconstruct the pairs themselves, and `dim`
/// must be given.
///
/// Cost: a sweep takes `steps * (items * dim^2 + pairs * dim)` operations by gradients; items with equal lists count
/// once. A ranking sweep takes `queries * 64 * dim`, every third also `queries * keys * dim`. Same bits for any number
/// of threads.
///
/// ```
/// use mercer::fit::{Implicit, Silent, Table, implicit};
/// use mercer::{Features, Pairs};
/// // Two groups of users who choose among two groups of items.
/// let all = (0..8).flat_map(|x| (0..6).map(move |y| (x, y)));
/// let cells: Vec<(u32, u32)> = all.filter(|(x, y)| x % 2 == y % 2).collect();
/// let column = |f: fn(&(u32, u32)) -> u32| cells.iter().map(f).collect::<Vec<u32>>();
/// let clicks = Pairs::new(column(|c| c.0), column(|c| c.1), vec![1.0; cells.len()], None)?;
/// let (users, items) = (Features::one_hot(8), Features::one_hot(6));
/// let table = Table { queries: &users, keys: Some(&items), train: &clicks, valid: &Pairs::default() };
/// let fit = implicit(table, &Implicit { dim: Some(2), ..Implicit::default() }, &Silent)?;
/// assert_eq!(fit.standing.map, 1.0);
/// # Ok::<(), mercer::Error>(())
/// ```
///
/// # Errors
/// If a setting is out of range, a pair names an item beyond the tables, or no pair is positive.
pub fn implicit(table: Table<'_>, options: &Implicit, progress: &dyn Progress) -> Result<ImplicitFit> {
    options.check()?;
    table.load(|table| implicit_loaded(table, options, progress))
}

fn implicit_loaded(table: Loaded<'_>, options: &Implicit, progress: &dyn Progress) -> Result<ImplicitFit> {
    let items = [table.queries.len(), table.keys.unwrap_or(table.queries).len()];
    table.train.check_items(items[0], items[1])?;
    table.valid.check_items(items[0], items[1])?;
    let sides = both_sides(table.train, items);
    if sides[0].classes() == 0 {
        return Err(Error::data(
            "no pair has a positive value",
            "give the pairs that occurred, with value 1 or a count",
        ));
    }
    let judge = Judge::new(&sides[0], items[1], table.train, table.valid, table.keys.is_none(), options.seed);
    let reconstruct = table.valid.is_empty();
    if reconstruct && options.dim.is_none() {
        return Err(Error::data(
            "no pairs are held out to choose a dimension by",
            "give a dimension, or hold pairs out",
        ));
    }
    if judge.is_empty() {
        let remedy =
            "hold out pairs of items that also occur in other pairs, with keys other than the queries themselves";
        return Err(Error::data("no held-out pair can be judged", remedy));
    }
    let run = Run { sides: &sides, keys: items[1], options, judge: &judge };
    let (best, sizes, mut choices) = run.choose(reconstruct, progress)?;
    let ranked = run.rank(&best, progress)?;
    let looked = match ranked.factors.is_some() {
        true => format!(
            "{} sweeps: held-out precision {:.4} after {:.4}",
            ranked.sweeps, ranked.standing.map, best.standing.map
        ),
        false if options.ranking == Ranking::Never => "as asked".into(),
        false => format!("held-out precision does not rise above {:.4}", best.standing.map),
    };
    let method = if ranked.factors.is_some() { "least squares, then ranking" } else { "least squares" };
    choices.push(Choice::new("method", method, looked));
    let [u, v] = match &ranked.factors {
        Some([u, v]) => [u, v],
        None => [&best.factors[0], &best.factors[1]],
    };
    let what = if reconstruct { "the fitted pairs themselves" } else { "held-out pairs of known queries" };
    Ok(ImplicitFit {
        encoder: balance::model(&sides, [u, v], best.trial.dim)?,
        outcome: ranked.outcome,
        objective: best.objective,
        ranking_sweeps: ranked.sweeps,
        standing: ranked.standing,
        held_out_pairs: format!("{} {what}, of {} queries", ranked.standing.positives, ranked.standing.queries),
        sizes,
        choices,
    })
}

/// Least squares at one setting.
struct Squares {
    trial: Trial,
    factors: [Factors; 2],
    objective: Vec<f64>,
    standing: Standing,
}

/// The trials so far and the best of them.
struct Tried {
    sizes: Vec<ImplicitSize>,
    best: Option<Squares>,
}

impl Tried {
    /// The held-out precision of a trial, which is run unless it was before.
    fn run(&mut self, run: &Run<'_>, trial: Trial, progress: &dyn Progress) -> Result<f64> {
        let Trial { dim, alpha, ridge } = trial;
        if let Some(known) = self.sizes.iter().find(|s| (s.dim, s.alpha, s.ridge) == (dim, alpha, ridge)) {
            return Ok(known.standing.map);
        }
        let own = run.squares(trial)?;
        let standing = own.standing;
        self.sizes.push(ImplicitSize { dim, alpha, ridge, standing });
        if self.best.as_ref().is_none_or(|b| standing.map > b.standing.map) {
            self.best = Some(own);
        }
        // How many trials follow is not known: at least one more.
        progress.step(self.sizes.len(), self.sizes.len() + 1, 1.0 - standing.map);
        Ok(standing.map)
    }
}

/// Two significant digits: a way up and down by factors of ten comes back to the same number.
fn rounded(value: f64) -> f64 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

struct Run<'a> {
    sides: &'a [Lists; 2],
    keys: usize,
    options: &'a Implicit,
    judge: &'a Judge,
}

impl Run<'_> {
    fn squares(&self, trial: Trial) -> Result<Squares> {
        let [queries, keys] = self.sides;
        let terms = self.options.terms(trial);
        let mut u = Factors::draw(queries.classes(), trial.dim, self.options.seed, "implicit queries");
        let mut v = Factors::draw(keys.classes(), trial.dim, self.options.seed, "implicit keys");
        let mut values = Vec::new();
        for _ in 0..self.options.sweeps {
            Common::new(&v, &keys.size, terms)?.update(&mut u, queries);
            Common::new(&u, &queries.size, terms)?.update(&mut v, keys);
            values.push(objective(self.sides, [&u, &v], terms));
        }
        let standing = self.judge.judge(keys, &u, &v);
        Ok(Squares { trial, factors: [u, v], objective: values, standing })
    }

    /// Tries `start` and then its neighbours a factor away, as long as one is better; what was tried is not tried again.
    fn climb(&self, tried: &mut Tried, start: Trial, moves: [bool; 2], progress: &dyn Progress) -> Result<()> {
        let mut centre = start;
        let mut value = tried.run(self, start, progress)?;
        loop {
            let mut next = (value, centre);
            for factor in [FACTOR, 1.0 / FACTOR] {
                let confident = Trial { alpha: rounded(centre.alpha * factor), ..centre };
                let ridged = Trial { ridge: rounded(centre.ridge * factor), ..centre };
                for (_, trial) in moves.into_iter().zip([confident, ridged]).filter(|(allowed, _)| *allowed) {
                    if RANGE.contains(&trial.alpha) && RANGE.contains(&trial.ridge) {
                        let value = tried.run(self, trial, progress)?;
                        if value > next.0 {
                            next = (value, trial);
                        }
                    }
                }
            }
            if next.1 == centre {
                return Ok(());
            }
            (value, centre) = next;
        }
    }

    /// Confidence and ridge at the first dimension, then each dimension with its ridge, then all again at the best dimension.
    fn choose(&self, reconstruct: bool, progress: &dyn Progress) -> Result<(Squares, Vec<ImplicitSize>, Vec<Choice>)> {
        let options = self.options;
        let (alpha, ridge) = if reconstruct { RECONSTRUCTION } else { START };
        let (alpha, ridge) = (options.alpha.unwrap_or(alpha), options.ridge.unwrap_or(ridge));
        let free = [options.alpha.is_none() && !reconstruct, options.ridge.is_none() && !reconstruct];
        let most = self.sides[0].class.len().min(self.keys);
        let first = options.dim.unwrap_or(DIMENSIONS[0]);
        let mut tried = Tried { sizes: Vec::new(), best: None };
        progress.stage("alternating least squares");
        self.climb(&mut tried, Trial { dim: first, alpha, ridge }, free, progress)?;
        if options.dim.is_none() {
            for &dim in DIMENSIONS[1..].iter().filter(|d| **d <= most) {
                let start = tried.best.as_ref().map_or(Trial { dim, alpha, ridge }, |b| b.trial);
                self.climb(&mut tried, Trial { dim, ..start }, [false, free[1]], progress)?;
            }
            if let Some(start) = tried.best.as_ref().map(|b| b.trial) {
                self.climb(&mut tried, start, free, progress)?;
            }
        }
        let best = tried.best.ok_or_else(|| Error::data("no model was fitted", "check the values"))?;
        let why = |given: bool| match (given, reconstruct) {
            (true, _) => "as asked".to_owned(),
            (_, true) => "to reconstruct the pairs".to_owned(),
            _ => format!("held-out pairs stand highest, of {} trials", tried.sizes.len()),
        };
        let Trial { dim, alpha, ridge } = best.trial;
        let choices = vec![
            Choice::new("dimension", dim, why(options.dim.is_some())),
            Choice::new("alpha", alpha, why(options.alpha.is_some())),
            Choice::new("ridge", ridge, why(options.ridge.is_some())),
        ];
        Ok((best, tried.sizes, choices))
    }

    fn rank(&self, start: &Squares, progress: &dyn Progress) -> Result<Ranked> {
        let most = match self.options.ranking {
            Ranking::Auto => RANKING_SWEEPS,
            Ranking::Sweeps(most) => most,
            Ranking::Never => {
                return Ok(Ranked { factors: None, standing: start.standing, sweeps: 0, outcome: Outcome::Converged });
            }
        };
        progress.stage("ranking against hard negatives");
        let judge = |[u, v]: [&Factors; 2]| self.judge.judge(&self.sides[1], u, v);
        let report = |done: usize, map: f64| progress.step(done, most, 1.0 - map);
        rank(self.sides, [&start.factors[0], &start.factors[1]], start.standing, most, &judge, &report)
    }
}
