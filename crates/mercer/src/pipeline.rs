//! The whole job on a table: split, fit, and the error of the saved model on pairs that it never saw.

use crate::certify::{Certificate, Request, Values, certify_complete, certify_pairs};
use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
mod antisymmetric;
mod clicks;
mod comparisons;
mod kernel;
mod labels;
mod relations;
mod values;

pub use crate::evaluate::Population;
pub use antisymmetric::fit_antisymmetric;
pub use clicks::fit_clicks;
pub use comparisons::{ComparisonTable, fit_comparisons};
pub use kernel::{KernelFit, fit_kernel, largest_error};
pub use labels::fit_labels;
pub use relations::{
    Decomposition, Evidence, Figure, FullRanking, HoldOut, Path, RelationFit, RelationTable, Training,
};
pub use values::fit_values;

use crate::evaluate::{Ranking, Scorer, Summary};
use crate::fit::{Choice, Complete, Fit, Options, Progress, Table, complete, factorise, observed};
use crate::relation::{Pairs, Split};
use crate::rows::{Features, ItemSource};
use crate::seed::Seed;

/// A table of pairs between items in memory.
#[derive(Clone, Copy)]
pub struct PairTable<'a> {
    /// Features of the query items.
    pub queries: &'a Features,
    /// Features of the key items; `None`: both sides are one set of items.
    pub keys: Option<&'a Features>,
    /// The listed pairs.
    pub pairs: &'a Pairs,
    /// What each pair may be used for; `None`: chosen here.
    pub split: Option<&'a [Split]>,
    /// Value of every pair that is not listed, where it is known.
    pub absent: Option<f32>,
}

/// A fitted table.
#[derive(Clone, Debug)]
pub struct TableFit {
    /// The model and the choices.
    pub fit: Fit,
    /// Errors of the model on pairs that neither fitted nor chose anything, by population.
    pub test: Vec<(Population, Summary)>,
    /// What those errors certify of pairs that nobody has seen, by population.
    pub certificates: Vec<Certificate>,
    /// Values and predictions of those pairs, in no population's order.
    pub residuals: Values,
    /// Ranking of the listed pairs, where all others are declared absent.
    pub ranking: Option<Ranking>,
    /// Query and key items that were fitted, increasing.
    pub known: [Vec<usize>; 2],
}

/// Learns a table of pairs; the method follows from what the table holds.
///
/// | items | other pairs | method |
/// |---|---|---|
/// | features | unknown | [`observed`] |
/// | features | known (`absent`) | [`complete`], as [`spectral`](crate::fit::spectral) |
/// | ids | unknown | [`factorise`] |
/// | ids | known (`absent`) | [`complete`], by decomposition |
///
/// # Errors
/// If the table holds too little, or an option is out of range.
pub fn fit_table(table: &PairTable<'_>, options: &Options, progress: &dyn Progress) -> Result<TableFit> {
    table.pairs.check_items(table.queries.len(), table.keys.unwrap_or(table.queries).len())?;
    if let Some(len) = table.split.map(<[_]>::len).filter(|&len| len != table.pairs.len()) {
        return Err(Error::shape("split", format!("one entry for each of {} pairs", table.pairs.len()), len));
    }
    let one_hot = table.queries.is_one_hot() && table.keys.is_none_or(Features::is_one_hot);
    match table.absent {
        Some(absent) => fit_complete(table, absent, one_hot, options, progress),
        None => fit_observed(table, one_hot, options, progress),
    }
}

fn fit_complete(
    table: &PairTable<'_>,
    absent: f32,
    one_hot: bool,
    options: &Options,
    progress: &dyn Progress,
) -> Result<TableFit> {
    let keys = table.keys.unwrap_or(table.queries);
    // Pairs outside the training split count as absent, whatever the items are: the fit must not see their values.
    let pairs =
        table.split.map_or_else(|| table.pairs.clone(), |split| select(table.pairs, split, |s| s == Split::Train));
    let hidden = table.pairs.len() - pairs.len();
    let split_choice = (hidden > 0).then(|| {
        let reason = format!("{hidden} pairs not in the training split count as absent");
        Choice::new("hold-out", "split column", reason)
    });
    let (fitted, choice) = if one_hot {
        let all = [(0..table.queries.len()).collect(), (0..keys.len()).collect()];
        let none = || Choice::new("hold-out", "none", "an id table knows only its items: reconstruction");
        (all, split_choice.unwrap_or_else(none))
    } else {
        let draw = |n: usize, name: &str| {
            let mut order = options.seed.stream(name).choose(n, n);
            order.truncate(n - n / 10);
            order.sort_unstable();
            order
        };
        let queries = draw(table.queries.len(), "query split");
        let key_items = if table.keys.is_some() { draw(keys.len(), "key split") } else { queries.clone() };
        let mut choice = Choice::new("hold-out", "a tenth of the items", "with all their pairs; the rest is fitted");
        if let Some(split) = split_choice {
            choice.reason += &format!("; {}", split.reason);
        }
        ([queries, key_items], choice)
    };
    let complete_table = Complete {
        queries: table.queries,
        keys: table.keys.map(|k| k as &dyn ItemSource),
        pairs: &pairs,
        absent,
        fitted: [&fitted[0], &fitted[1]],
    };
    let mut fit = complete(complete_table, options, progress)?;
    fit.choices.insert(0, choice);
    progress.stage("ranking");
    // Ranking multiplies for every pair: beyond half a minute or so `mercer evaluate` does it on demand.
    let products = table.queries.len().saturating_mul(keys.len()).saturating_mul(fit.encoder.dim());
    let listed = pairs.chunk().value;
    let positives = listed.iter().all(|v| *v == listed[0] && *v > absent);
    let ranking = if positives && products <= 2_000_000_000_000 {
        Ranking::new(&fit.encoder, table.queries, table.keys, &pairs)?
    } else {
        None
    };
    let test = match table.split {
        Some(split) => {
            let held = select(table.pairs, split, |s| s == Split::Test);
            let found = test_errors(&fit.encoder, table, &held, &fitted, options.seed)?;
            // Listed pairs are no random part of all pairs, most of which are absent: they certify nothing of those.
            Test { certificates: Vec::new(), ..found }
        }
        // Every pair was fitted, and every pair can be measured.
        None if one_hot => {
            progress.stage("certificate");
            let request = Request { seed: options.seed.0, ..Request::default() };
            let all = certify_complete(&fit.encoder, table.queries, table.keys, table.pairs, absent, request)?;
            Test { certificates: vec![all], ..Test::default() }
        }
        None => Test::default(),
    };
    let Test { test, certificates, residuals } = test;
    Ok(TableFit { fit, test, certificates, residuals, ranking, known: fitted })
}

fn fit_observed(table: &PairTable<'_>, one_hot: bool, options: &Options, progress: &dyn Progress) -> Result<TableFit> {
    let cut = Cut::of(table, one_hot, options.seed)?;
    let fit = closed_form(table, &cut, one_hot, options, progress)?;
    report(table, &cut, fit, options, progress)
}

/// The closed form of the training pairs.
fn closed_form(
    table: &PairTable<'_>,
    cut: &Cut,
    one_hot: bool,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Fit> {
    let keys = table.keys.map(|k| k as &dyn ItemSource);
    let observed_table = Table { queries: table.queries, keys, train: &cut.train, valid: &cut.valid };
    match one_hot {
        true => factorise(observed_table, options, progress),
        false => observed(observed_table, options, progress),
    }
}

/// The fit with what its test pairs say.
fn report(
    table: &PairTable<'_>,
    cut: &Cut,
    mut fit: Fit,
    options: &Options,
    progress: &dyn Progress,
) -> Result<TableFit> {
    fit.choices.insert(0, cut.choice.clone());
    let known = known_items(table, &[&cut.train]);
    progress.stage("certificate");
    let Test { test, certificates, residuals } = test_errors(&fit.encoder, table, &cut.test, &known, options.seed)?;
    Ok(TableFit { fit, test, certificates, residuals, ranking: None, known })
}

fn select(pairs: &Pairs, split: &[Split], keep: impl Fn(Split) -> bool) -> Pairs {
    let indices: Vec<usize> = (0..pairs.len()).filter(|&p| keep(split[p])).collect();
    pairs.select(&indices)
}

/// Query and key items that occur in the pairs.
fn known_items(table: &PairTable<'_>, parts: &[&Pairs]) -> [Vec<usize>; 2] {
    let mut seen = [vec![false; table.queries.len()], vec![false; table.keys.unwrap_or(table.queries).len()]];
    for chunk in parts.iter().map(|p| p.chunk()) {
        chunk.x.iter().for_each(|&i| seen[0][i as usize] = true);
        chunk.y.iter().for_each(|&i| seen[1][i as usize] = true);
    }
    let [mut x, mut y] = seen;
    if table.keys.is_none() {
        x.iter_mut().zip(&mut y).for_each(|(a, b)| (*a, *b) = (*a || *b, *a || *b));
    }
    [x, y].map(|side| (0..side.len()).filter(|&i| side[i]).collect())
}

/// What the test pairs say.
#[derive(Default)]
struct Test {
    test: Vec<(Population, Summary)>,
    certificates: Vec<Certificate>,
    residuals: Values,
}

/// Errors and certificates by population, in the populations' order; populations without pairs are left out.
fn test_errors(
    model: &DualEncoder,
    table: &PairTable<'_>,
    pairs: &Pairs,
    known: &[Vec<usize>; 2],
    seed: Seed,
) -> Result<Test> {
    let predicted = Scorer::new(model, table.queries, table.keys)?.scores(pairs);
    let chunk = pairs.chunk();
    let value: Vec<f64> = chunk.value.iter().map(|&v| v.into()).collect();
    let is_known = |side: usize, i: u32| known[side].binary_search(&(i as usize)).is_ok();
    let population = |p: usize| Population::of(is_known(0, chunk.x[p]), is_known(1, chunk.y[p]));
    let all = [Population::KnownItems, Population::OneNewItem, Population::TwoNewItems];
    let summary = |wanted: Population| {
        let own: Vec<usize> = (0..pairs.len()).filter(|&p| population(p) == wanted).collect();
        let part = |of: &[f64]| own.iter().map(|&p| of[p]).collect::<Vec<f64>>();
        Summary::new(&part(&predicted), &part(&value)).map(|s| (wanted, s))
    };
    let request = Request { seed: seed.0, ..Request::default() };
    Ok(Test {
        test: all.into_iter().filter_map(summary).collect(),
        certificates: certify_pairs(model, table.queries, table.keys, pairs, population, request)?,
        residuals: Values { value, predicted },
    })
}

/// Pairs to fit, to choose on, and to report on.
struct Cut {
    train: Pairs,
    valid: Pairs,
    test: Pairs,
    choice: Choice,
}

/// Held-out pairs below which choices would be guesses.
const ENOUGH: usize = 30;

impl Cut {
    fn of(table: &PairTable<'_>, one_hot: bool, seed: Seed) -> Result<Cut> {
        match table.split {
            Some(split) => Cut::from_split(table, split, seed),
            None => Ok(Cut::draw(table, one_hot, ENOUGH, seed)),
        }
    }

    fn from_split(table: &PairTable<'_>, split: &[Split], seed: Seed) -> Result<Cut> {
        let part = |wanted: Split| select(table.pairs, split, |s| s == wanted);
        let (train, valid, test) = (part(Split::Train), part(Split::Valid), part(Split::Test));
        if train.is_empty() {
            return Err(Error::data(
                "no pair is in the training split",
                "check the split column: train, valid or test",
            ));
        }
        if valid.len() >= ENOUGH {
            let reason = format!("{} train, {} valid, {} test pairs", train.len(), valid.len(), test.len());
            return Ok(Cut { train, valid, test, choice: Choice::new("hold-out", "split column", reason) });
        }
        let inner = Cut::draw(&PairTable { pairs: &train, split: None, ..*table }, false, ENOUGH, seed);
        let valid = inner.valid.concat(&inner.test);
        let reason = format!("{} train, {} held out of it, {} test pairs", inner.train.len(), valid.len(), test.len());
        Ok(Cut { train: inner.train, valid, test, choice: Choice::new("hold-out", "split column", reason) })
    }

    /// Holds out items with all their pairs where items have features, pairs where they are ids. Pairs of one held-out item
    /// help to choose where those of two are fewer than `enough`.
    fn draw(table: &PairTable<'_>, one_hot: bool, enough: usize, seed: Seed) -> Cut {
        let n = table.pairs.len();
        if one_hot {
            return Cut::draw_pairs(table, seed, "an id table knows only its items, so pairs are held out");
        }
        let roles = |len: usize, name: &str| {
            let share = if len >= 400 { len / 20 } else { len / 10 };
            let order = seed.stream(name).choose(len, len);
            let mut roles = vec![Split::Train; len];
            order[..share].iter().for_each(|&i| roles[i] = Split::Valid);
            order[share..2 * share].iter().for_each(|&i| roles[i] = Split::Test);
            roles
        };
        let x = roles(table.queries.len(), "query split");
        let y = table.keys.map_or_else(|| x.clone(), |keys| roles(keys.len(), "key split"));
        let chunk = table.pairs.chunk();
        let mut stream = seed.stream("pair split");
        let mut parts = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for p in 0..n {
            let part = match (x[chunk.x[p] as usize], y[chunk.y[p] as usize]) {
                // A few pairs of known items are kept back to report on that population, too.
                (Split::Train, Split::Train) => 2 * usize::from(stream.uniform() < 0.03),
                (Split::Valid, Split::Valid) => 1,
                (Split::Test, Split::Test) | (Split::Test, Split::Train) | (Split::Train, Split::Test) => 2,
                (Split::Valid, Split::Train) | (Split::Train, Split::Valid) => 3,
                _ => continue,
            };
            parts[part].push(p);
        }
        let [train, mut valid, test, mixed] = parts;
        if valid.len() < enough {
            valid.extend(mixed);
            valid.sort_unstable();
        }
        if valid.len() < ENOUGH.min(n / 10) {
            return Cut::draw_pairs(table, seed, "too few pairs to hold out items");
        }
        let reason = format!(
            "items with all their pairs: {} pairs fitted, {} to choose, {} to report",
            train.len(),
            valid.len(),
            test.len()
        );
        Cut {
            train: table.pairs.select(&train),
            valid: table.pairs.select(&valid),
            test: table.pairs.select(&test),
            choice: Choice::new("hold-out", "items", reason),
        }
    }

    fn draw_pairs(table: &PairTable<'_>, seed: Seed, why: &str) -> Cut {
        let n = table.pairs.len();
        let order = seed.stream("pair split").choose(n, n);
        let share = (n / 20).max(5).min(n / 3);
        let part = |range: std::ops::Range<usize>| {
            let mut own = order[range].to_vec();
            own.sort_unstable();
            table.pairs.select(&own)
        };
        let reason = format!("{why}: {} fitted, {share} to choose, {share} to report", n - 2 * share);
        Cut {
            valid: part(0..share),
            test: part(share..2 * share),
            train: part(2 * share..n),
            choice: Choice::new("hold-out", "pairs", reason),
        }
    }
}
