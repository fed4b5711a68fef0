//! Relations that can be asked.

use crate::encoder::Class;
use crate::error::{Error, Result};
use crate::evaluate::Measure;
use crate::fit::block::{Anchors, Blocks, Problem, fit_blocks};
use crate::fit::dimension::{by_dimension, choose};
use crate::fit::{Choice, Dimension, Fit, Options, Progress, Target};
use crate::linalg::Matrix;
use crate::relation::{Law, Relation, ask_block};
use crate::seed::{Seed, Stream};
use crate::spectrum::Energy;

/// Anchors a side, fitted and held out.
const ANCHORS: [usize; 2] = [2000, 600];
/// Items on which the class is diagnosed.
const DIAGNOSIS: usize = 400;

/// Disjoint draws of at most the sizes asked for; of few items a sixth is held out.
pub(crate) fn anchors(law: Law<'_>, sizes: [usize; 2], stream: &mut Stream) -> Result<Anchors> {
    match law {
        Law::Cube { .. } => {
            // The held-out points come first in the stream.
            let valid = law.draw(sizes[1], stream)?;
            Ok(Anchors { fitted: law.spread(sizes[0], stream)?, valid })
        }
        Law::Items(items) => {
            if items.len() < 12 {
                let problem = format!("{} items are too few to fit and to hold some out", items.len());
                return Err(Error::data(problem, "bring at least 12"));
            }
            let held = sizes[1].min(items.len() / 6);
            let order = stream.choose(items.len(), sizes[0] + held);
            Ok(Anchors { fitted: items.select(&order[held..])?, valid: items.select(&order[..held])? })
        }
    }
}

/// Learns a relation that can be asked on items drawn from `queries` and `keys` (`None`: one set of items).
///
/// Hidden units are chosen and, where they limit the error, polished; the outputs are solved for in closed form:
/// with `H` the hidden features and `R` the block of values between anchors, the best approximation `H A H^T` of `R` of rank
/// `dim`. Coordinates come out ordered by singular value.
///
/// Cost: about 6.5 million values asked, then (one core, 400 units, dimension 64) 0.3 s a tower and 20 ms a polishing step.
///
/// # Errors
/// If the relation cannot be asked, gives NaN or only zeros, or an option is out of range.
///
/// ```
/// use mercer::fit::{Dimension, Law, Options, Silent, spectral};
/// use mercer::{Class, Kernel};
/// let options = Options { dimension: Dimension::Fixed(16), units: Some(64), ..Options::default() };
/// let fit = spectral(&Kernel::gaussian(0.7)?, Law::Cube { dim: 1 }, None, &options, &Silent)?;
/// assert_eq!(fit.encoder.class(), Class::Symmetric);
/// assert!(fit.held_out_relative < 1e-5);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn spectral(
    relation: &dyn Relation,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Fit> {
    spectral_on(relation, [queries, keys.unwrap_or(queries)], keys.is_some(), ANCHORS, options, progress)
}

/// As [`spectral`], on at most `sizes` anchors a side, fitted and held out.
pub(crate) fn spectral_on(
    relation: &dyn Relation,
    [queries, keys]: [Law<'_>; 2],
    two_sets: bool,
    sizes: [usize; 2],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Fit> {
    options.check()?;
    if matches!(queries, Law::Cube { dim: 0 }) || matches!(keys, Law::Cube { dim: 0 }) {
        return Err(Error::parameter("dimension of the cube", "at least 1", 0));
    }
    progress.stage("ask");
    let (class, choice) = class(relation, queries, two_sets, options)?;
    let seed = options.seed;
    let x = anchors(queries, sizes, &mut seed.stream("query anchors"))?;
    let y = match class {
        Class::Asymmetric => Some(anchors(keys, sizes, &mut seed.stream("key anchors"))?),
        _ => None,
    };
    let blocks = (0..relation.components())
        .map(|l| {
            let y = y.as_ref().unwrap_or(&x);
            Ok(Blocks {
                fitted: ask_block(relation, l, &x.fitted, &y.fitted)?,
                query_valid: ask_block(relation, l, &x.valid, &y.fitted)?,
                key_valid: if class == Class::Asymmetric {
                    Some(ask_block(relation, l, &x.fitted, &y.valid)?)
                } else {
                    None
                },
                valid: ask_block(relation, l, &x.valid, &y.valid)?,
            })
        })
        .collect::<Result<_>>()?;
    let mut fit = fit_blocks(&Problem { class, queries: x, keys: y, blocks }, options, progress)?;
    fit.choices.insert(0, choice);
    if let Dimension::Target(target @ Target::Sup(_)) = options.dimension {
        cut_to_largest_error(&mut fit, relation, [queries, keys], target, seed)?;
    }
    Ok(fit)
}

/// Points a side among which the largest error is sought.
const COVER: usize = 1000;

/// Cuts a model of the largest dimension to the smallest whose largest error on a cover of the law meets the target.
fn cut_to_largest_error(
    fit: &mut Fit,
    relation: &dyn Relation,
    laws: [Law<'_>; 2],
    target: Target,
    seed: Seed,
) -> Result<()> {
    let x = laws[0].cover(COVER, &mut seed.stream("query cover"))?;
    let y = laws[1].cover(COVER, &mut seed.stream("key cover"))?;
    let values: Vec<Matrix> =
        (0..relation.components()).map(|l| ask_block(relation, l, &x, &y)).collect::<Result<_>>()?;
    let measures = |measure: Measure| by_dimension(&fit.encoder, [&x, &y], &values, false, |errors| measure.of(errors));
    let chosen = choose(&fit.curve, Dimension::Target(target), fit.held_out_scale, measures)?;
    let place = fit.choices.iter().position(|c| c.what == chosen.choice.what);
    if let Some(choice) = place.and_then(|at| fit.choices.get_mut(at)) {
        *choice = chosen.choice;
        choice.reason += &format!(", sought on {} x {} points with faces and corners", x.len(), y.len());
    }
    fit.encoder = fit.encoder.truncate(chosen.dim)?;
    (fit.held_out_rmse, fit.held_out_relative, fit.target_met) = (chosen.rmse, chosen.relative, chosen.met);
    Ok(())
}

fn class(relation: &dyn Relation, law: Law<'_>, two_sets: bool, options: &Options) -> Result<(Class, Choice)> {
    let chosen = |class: Class, reason: String| (class, Choice::new("class", class, reason));
    match options.class {
        Some(class) if two_sets && class != Class::Asymmetric => {
            return Err(Error::parameter("class", "asymmetric for two different sets of items", class));
        }
        Some(class) => return Ok(chosen(class, "as asked".into())),
        None if two_sets => {
            return Ok(chosen(Class::Asymmetric, "queries and keys are different sets of items".into()));
        }
        None => {}
    }
    let dim = match options.dimension {
        Dimension::Fixed(dim) => dim,
        _ => 64,
    };
    let items = anchors(law, [DIAGNOSIS, 0], &mut options.seed.stream("diagnosis"))?.fitted;
    // The widest class that any component needs.
    let mut widest = (Class::Symmetric, String::new());
    for l in 0..relation.components() {
        let zero = || Error::data("every value is zero", "there is nothing to learn; check the relation");
        let own = Energy::of_block(&ask_block(relation, l, &items, &items)?, dim).ok_or_else(zero)?.class();
        if l == 0 || own.0 > widest.0 {
            widest = own;
        }
    }
    Ok(chosen(widest.0, widest.1))
}
