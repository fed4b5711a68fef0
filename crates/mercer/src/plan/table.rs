//! Plans for tables of pairs.

use crate::encoder::Class;
use crate::error::Result;
use crate::fit::{Dimension, Effort, Options, Progress, Silent, Target};
use crate::pipeline::{PairTable, TableFit, fit_table};
use crate::plan::width::Trained;
use crate::plan::{Need, Plan, Size, Wish, choice, dimensions, fit_options, norm_of, recommendation, rows};
use crate::rows::Features;
use crate::spectrum::{Floors, Noise, plateau_noise, repeat_noise, table_floors};

/// Cells up to which the floors of a complete table are computed, exactly, from all of them.
const CELLS: usize = 9_000_000;
/// Pairs of which the search for a width takes a random part.
const SEARCHED: usize = 30_000;

/// Plans for a table of pairs called `name`.
///
/// Where every pair is known (`absent`) the floors of all classes are computed exactly from the whole table, up to 9 million
/// cells. Where only some pairs are known, no floor can be certified: whatever is not observed may be anything, and the plan rests
/// on the held-out error over dimensions, each with its ridge.
///
/// Cost: one [`fit_table`], at most one decomposition of the table, and for each target of observed pairs of items with features
/// a few fits of narrower towers.
///
/// # Errors
/// As [`fit_table`].
pub fn plan_table(table: &PairTable<'_>, name: &str, wish: &Wish, progress: &dyn Progress) -> Result<Plan> {
    let options = fit_options(wish);
    let done = fit_table(table, &options, progress)?;
    let fit = &done.fit;
    let largest = fit.curve.last().map_or(1, |p| p.dim);
    let dims = dimensions(largest, fit.encoder.dim());
    progress.stage("floors");
    let complete = complete_values(table);
    let floors = complete.as_ref().map(|c| table_floors(&c.values, c.queries, c.keys, table.keys.is_none(), &dims));
    let floors = floors.transpose()?;
    let class = fit.encoder.class();
    let scale = fit.held_out_scale;
    let one_hot = table.queries.is_one_hot() && table.keys.is_none_or(Features::is_one_hot);
    let (units, reason) = match fit.encoder.query().layers() {
        [_] => (None, "an embedding an id: there are no hidden units".to_string()),
        [hidden, ..] => (Some(hidden.outputs()), "for this number of items".into()),
        [] => (None, String::new()),
    };
    let searchable = !one_hot && table.absent.is_none();
    let need = |&target: &Target| {
        let (error, norm, words) = norm_of(target, scale);
        let trained = if searchable { narrowest(table, &done, target, units, &options)? } else { None };
        Ok(Need {
            least_dim: floors.as_ref().and_then(|f| least_dim(f, class, error)),
            theory_dim: None,
            counts: Vec::new(),
            trained,
            target: words,
            error,
            norm,
        })
    };
    progress.stage("width");
    let needs = wish.targets.iter().map(need).collect::<Result<Vec<_>>>()?;
    let sizes: Vec<Size> = fit.sizes.iter().map(Size::from).collect();
    Ok(Plan {
        relation: name.into(),
        recommended: recommendation(fit, units, reason),
        energy: floors.as_ref().and_then(|f| f.energy),
        scale,
        rows: rows(fit, floors.as_ref(), class, &dims, 1),
        curve: fit.curve.iter().map(|p| (p.dim, p.rmse)).collect(),
        held_out_pairs: fit.held_out_pairs.clone(),
        assumptions: assumptions(table, &done, floors.as_ref(), &sizes),
        sizes,
        floors,
        spectrum: None,
        independent: None,
        noise: Some(noise(table, complete.as_ref(), wish.confidence)?),
        needs,
    })
}

/// The smallest dimension that the floors of `class` do not exclude: floors fall with the dimension, so all up to the largest
/// excluded one are.
///
/// A largest error is never below the root mean square error, so one floor serves both norms.
pub(crate) fn least_dim(floors: &Floors, class: Class, error: f64) -> Option<usize> {
    let own = || floors.floors.iter().filter(|f| f.class == class);
    let excluded = own().filter(|f| f.rms > error).map(|f| f.dim).max();
    own().next().map(|_| excluded.map_or(1, |dim| dim + 1))
}

/// All values of a table whose every pair is known, row-major.
struct Complete {
    values: Vec<f64>,
    queries: usize,
    keys: usize,
}

/// `None` where pairs are not known, or too many.
fn complete_values(table: &PairTable<'_>) -> Option<Complete> {
    let (n, m) = (table.queries.len(), table.keys.unwrap_or(table.queries).len());
    let absent = table.absent.filter(|_| n.saturating_mul(m) <= CELLS)?;
    let mut values = vec![f64::from(absent); n * m];
    for ((x, y), value) in table.pairs.cells() {
        values[x as usize * m + y as usize] = value;
    }
    Some(Complete { values, queries: n, keys: m })
}

/// The noise in the values: from pairs that occur twice, else from the plateau of a complete table's singular values.
fn noise(table: &PairTable<'_>, complete: Option<&Complete>, confidence: f64) -> Result<Noise> {
    let repeats = repeat_noise(table.pairs, confidence)?;
    match complete {
        Some(c) if repeats.level.is_none() => plateau_noise(&c.values, c.queries, c.keys),
        _ => Ok(repeats),
    }
}

fn assumptions(table: &PairTable<'_>, done: &TableFit, floors: Option<&Floors>, sizes: &[Size]) -> Vec<String> {
    let mut words =
        vec![format!("attainable errors, measured: one fit, cut to each dimension, on {}", done.fit.held_out_pairs)];
    match (floors, table.absent) {
        (Some(floors), _) => words.push(format!("floors, proven, exact: {}", floors.assumptions)),
        (None, Some(_)) => words.push(format!("no floors: the table has more than {CELLS} cells")),
        (None, None) => words.push(
            "no floor can be certified from observed pairs: the pairs that nobody has seen may be anything; read the held-out error \
             instead"
                .into(),
        ),
    }
    if done.fit.encoder.link().is_logistic() {
        words.push(
            "floors and errors by dimension are those of plain inner products (the decomposition); the recommended \
             model's values are log-odds behind a logistic link, which may lie below them"
                .into(),
        );
    }
    if !sizes.is_empty() {
        words.push(format!("ridge and dimension were compared together: {} combinations", sizes.len()));
    }
    words.push(format!("class: {}", choice(&done.fit, "class").1));
    words
}

/// The narrowest of halved widths that still meets `target` on held-out pairs, fitted to a random part of a large table.
fn narrowest(
    table: &PairTable<'_>,
    done: &TableFit,
    target: Target,
    units: Option<usize>,
    options: &Options,
) -> Result<Option<Trained>> {
    let Some(widest) = units else { return Ok(None) };
    let n = table.pairs.len();
    let mut chosen = options.seed.stream("width search").choose(n, SEARCHED.min(n));
    chosen.sort_unstable();
    let pairs = table.pairs.select(&chosen);
    let split: Option<Vec<_>> = table.split.map(|s| chosen.iter().map(|&p| s[p]).collect());
    let part = PairTable { pairs: &pairs, split: split.as_deref(), ..*table };
    let mut found = None;
    let (mut width, mut fits) = (widest, 0);
    while width >= 4 {
        let options = Options {
            dimension: Dimension::Target(target),
            class: Some(done.fit.encoder.class()),
            units: Some(width),
            effort: Effort::Steps(SEARCH_STEPS),
            ..options.clone()
        };
        let fit = fit_table(&part, &options, &Silent)?.fit;
        fits += 1;
        if fit.target_met != Some(true) {
            break;
        }
        let towers = if fit.encoder.is_shared() { 1 } else { 2 };
        found = Some(Trained {
            dim: fit.encoder.dim(),
            units: width,
            neurons: towers * width,
            error: fit.held_out_rmse,
            rmse: fit.held_out_rmse,
            fits,
        });
        width /= 2;
    }
    Ok(found.map(|t| Trained { fits, ..t }))
}

/// Conjugate gradient iterations of each fit of the search.
const SEARCH_STEPS: usize = 25;
