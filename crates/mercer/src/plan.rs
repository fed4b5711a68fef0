//! How large the towers must be, before anything is served: class, dimension and width, with what is proven, estimated and
//! measured side by side.
//!
//! [`plan_relation`] plans for a relation that can be asked, [`plan_table`] for a table of pairs.

mod counts;
mod table;
mod width;

use serde::Serialize;

pub use counts::{Count, Need};
pub use table::plan_table;
pub use width::Trained;

use crate::encoder::Class;
use crate::error::Result;
use crate::evaluate::Measure;
use crate::fit::{
    Choice, CurvePoint, Dimension, Fit, Options, Progress, SizePoint, Target, by_dimension, choose, root_mean_square,
    spectral,
};
use crate::linalg::Matrix;
use crate::plan::counts::{Sizes, barron_norms};
use crate::plan::width::{PROBES, Search, Training};
use crate::relation::{Kernel, Law, Relation, ask_block};
use crate::rows::Features;
use crate::spectrum::{Anchors, Energy, FloorOptions, Floors, Noise, Norm, Spectrum, floors, sampled};

/// What a plan is asked.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Errors for which sizes are wanted; the first chooses the recommendation, without one the knee of the error does.
    pub targets: Vec<Target>,
    /// Confidence of all floors together.
    pub confidence: f64,
    /// Class, hidden units, effort and seed of the fits that measure what is attainable.
    pub options: Options,
}

impl Default for Wish {
    fn default() -> Self {
        Wish { targets: Vec::new(), confidence: 0.95, options: Options::default() }
    }
}

/// One dimension of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Embedding dimension of a component.
    pub dim: usize,
    /// Root mean square error below which no model of the recommended class can go at this dimension: proven at the plan's confidence;
    /// `None` where the relation cannot be asked.
    pub floor: Option<f64>,
    /// Root mean square error of a fitted model on held-out pairs: measured.
    pub attainable: f64,
    /// `f32` numbers stored for an item and side, in bytes.
    pub bytes_per_item: usize,
    /// Multiplications of one similarity.
    pub multiplications: usize,
}

/// What a plan recommends.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// Model class.
    pub class: Class,
    /// Why this class.
    pub class_reason: String,
    /// Embedding dimension.
    pub dim: usize,
    /// Why this dimension.
    pub dim_reason: String,
    /// Hidden units of each tower; `None` for id tables, which have none.
    pub units: Option<usize>,
    /// Why this width.
    pub units_reason: String,
    /// Root mean square error on held-out pairs at this size: measured.
    pub rmse: f64,
    /// The same divided by the root mean square of the values.
    pub relative: f64,
    /// What that error was measured on.
    pub measured_on: String,
    /// Whether the first target is met on held-out pairs; `None` without one.
    pub target_met: Option<bool>,
}

/// What must be built for a relation, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// What was planned for.
    pub relation: String,
    /// Class, dimension and width.
    pub recommended: Recommendation,
    /// Energy shares; `None` for two sets of items, or where the relation cannot be asked.
    pub energy: Option<Energy>,
    /// Root mean square of the values: estimated.
    pub scale: f64,
    /// A row a dimension.
    pub rows: Vec<Row>,
    /// Held-out root mean square error at every dimension, `(dim, rmse)`: measured.
    pub curve: Vec<(usize, f64)>,
    /// What the held-out errors are measured on.
    pub held_out_pairs: String,
    /// Held-out error for each ridge and dimension compared; empty where the ridge only steadies the arithmetic.
    pub sizes: Vec<Size>,
    /// The floors of every class; `None` where the relation cannot be asked.
    pub floors: Option<Floors>,
    /// Sampled eigenvalues or singular values; `None` where the relation cannot be asked.
    pub spectrum: Option<Spectrum>,
    /// The same from independent items, for positive kernels: its values have a proven confidence radius.
    pub independent: Option<Spectrum>,
    /// Noise in the values; its level is `None` where neither repeats nor a plateau of singular values show one.
    pub noise: Option<Noise>,
    /// For each target, how many neurons suffice and how many training needs.
    pub needs: Vec<Need>,
    /// What stands behind the numbers, in words.
    pub assumptions: Vec<String>,
}

/// Held-out error of one dimension with one ridge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Dimension.
    pub dim: usize,
    /// Ridge, in the fit's own units.
    pub ridge: f64,
    /// Root mean square error on held-out pairs.
    pub rmse: f64,
}

impl From<&SizePoint> for Size {
    fn from(p: &SizePoint) -> Size {
        Size { dim: p.dim, ridge: p.ridge, rmse: p.rmse }
    }
}

/// Dimensions of a plan's rows.
const DIMENSIONS: [usize; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
/// Items on which the spectrum is sampled: spread ones for the values, independent ones for the confidence radius.
const SAMPLE: usize = 2000;
const INDEPENDENT: usize = 600;

/// The dimensions whose rows are shown: a fixed ladder, and the recommended one.
fn dimensions(largest: usize, chosen: usize) -> Vec<usize> {
    let mut dims: Vec<usize> = DIMENSIONS.into_iter().filter(|&d| d <= largest).chain([chosen]).collect();
    dims.sort_unstable();
    dims.dedup();
    dims
}

/// The options of the fit that shows what is attainable.
fn fit_options(wish: &Wish) -> Options {
    let dimension = wish.targets.first().map_or(Dimension::Knee, |&t| Dimension::Target(t));
    Options { dimension, ..wish.options.clone() }
}

/// Largest dimension, and hidden units by default, of the fit that shows what is attainable.
const LARGEST: usize = 128;
const UNITS: usize = 400;
/// Points a side on which the errors of a fit on a cube are measured: their means come so close to integrals that what is
/// attained never seems to lie below a floor.
const MEASURED: usize = 1500;

/// The class that was asked for; else the narrowest whose floors leave every target open and which small fits reach, or the
/// diagnosed one, which loses nothing.
fn choose_class(
    relation: &dyn Relation,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    floors: &Floors,
    wish: &Wish,
) -> Result<(Class, String)> {
    if let Some(class) = wish.options.class {
        return Ok((class, "as asked".into()));
    }
    let targets: Vec<_> = wish.targets.iter().map(|&target| norm_of(target, floors.value_rms)).collect();
    let open: Option<Vec<_>> = targets.iter().map(|(error, ..)| floors.smallest_class(*error)).collect();
    let widest = open.as_ref().and_then(|open| open.iter().map(|o| o.class).max()).filter(|c| *c < floors.class);
    let (Some(open), Some(class)) = (open, widest) else { return Ok((floors.class, floors.reason.clone())) };
    let search = Search::new(relation, queries, keys, class, wish.options.seed)?;
    for ((error, norm, _), open) in targets.iter().zip(&open) {
        if search.narrowest(*error, *norm, open.dim, Training::ClosedForm)?.is_none() {
            return Ok((floors.class, floors.reason.clone()));
        }
    }
    let words: Vec<&str> = targets.iter().map(|(.., words)| words.as_str()).collect();
    Ok((class, format!("{}, but the narrower class does for {}", floors.reason, words.join(", "))))
}

/// The fit of a class that shows what is attainable at each dimension.
fn attainable(
    relation: &dyn Relation,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    (class, reason): (Class, String),
    wish: &Wish,
    progress: &dyn Progress,
) -> Result<Fit> {
    let as_asked = Options { class: Some(class), ..fit_options(wish) };
    let (Law::Cube { .. }, None | Some(Law::Cube { .. })) = (queries, keys) else {
        let mut fit = spectral(relation, queries, keys, &as_asked, progress)?;
        fit.choices.retain(|c| c.what != "class");
        fit.choices.push(Choice::new("class", class, reason));
        return Ok(fit);
    };
    let seed = wish.options.seed;
    let largest = LARGEST.min(wish.options.units.unwrap_or(UNITS) + 1);
    let options = Options { dimension: Dimension::Fixed(largest), ..as_asked.clone() };
    let mut fit = spectral(relation, queries, keys, &options, progress)?;
    let probe = |cover: bool| -> Result<(Features, Features, Vec<Matrix>)> {
        let points = |law: Law<'_>, name: &str| match cover {
            true => law.cover(MEASURED, &mut seed.stream(name)),
            false => law.spread(MEASURED, &mut seed.stream(name)),
        };
        let (x, y) = (points(queries, "plan queries")?, points(keys.unwrap_or(queries), "plan keys")?);
        let values = (0..relation.components()).map(|l| ask_block(relation, l, &x, &y)).collect::<Result<_>>()?;
        Ok((x, y, values))
    };
    let (x, y, values) = probe(false)?;
    let errors = by_dimension(&fit.encoder, [&x, &y], &values, false, root_mean_square)?;
    fit.curve = errors.into_iter().zip(1..).map(|(rmse, dim)| CurvePoint { dim, rmse }).collect();
    let count = values.iter().map(|v| v.data().len()).sum::<usize>() as f64;
    let scale = (values.iter().flat_map(|v| v.data()).map(|v| v * v).sum::<f64>() / count).sqrt();
    let measures = |measure: Measure| {
        let (x, y, values) = probe(measure == Measure::Largest)?;
        by_dimension(&fit.encoder, [&x, &y], &values, false, |errors| measure.of(errors))
    };
    let chosen = choose(&fit.curve, as_asked.dimension, scale, measures)?;
    fit.choices.retain(|c| c.what != "class" && c.what != chosen.choice.what);
    fit.choices.extend([Choice::new("class", class, reason), chosen.choice]);
    fit.encoder = fit.encoder.truncate(chosen.dim)?;
    (fit.held_out_rmse, fit.held_out_relative, fit.target_met) = (chosen.rmse, chosen.relative, chosen.met);
    fit.held_out_scale = scale;
    fit.held_out_pairs = format!("{MEASURED} x {MEASURED} fresh, evenly spread points");
    Ok(fit)
}

/// A row for each dimension, from the held-out curve and the floors of `class`.
fn rows(fit: &Fit, floors: Option<&Floors>, class: Class, dims: &[usize], components: usize) -> Vec<Row> {
    let attainable = |dim: usize| fit.curve.iter().find(|p| p.dim == dim).map(|p| p.rmse);
    let row = |&dim: &usize| {
        Some(Row {
            dim,
            floor: floors.and_then(|f| floor_at(f, class, dim)),
            attainable: attainable(dim)?,
            bytes_per_item: 4 * components * dim,
            multiplications: components * dim,
        })
    };
    dims.iter().filter_map(row).collect()
}

/// The floor of `class` at `dim`, or that of the next larger dimension, which holds all the more.
fn floor_at(floors: &Floors, class: Class, dim: usize) -> Option<f64> {
    let own = floors.floors.iter().filter(|f| f.class == class && f.dim >= dim);
    own.min_by_key(|f| f.dim).map(|f| f.rms)
}

fn choice<'a>(fit: &'a Fit, what: &str) -> (&'a str, &'a str) {
    fit.choices.iter().find(|c| c.what == what).map_or(("", ""), |c| (&c.value, &c.reason))
}

fn recommendation(fit: &Fit, units: Option<usize>, units_reason: String) -> Recommendation {
    Recommendation {
        class: fit.encoder.class(),
        class_reason: choice(fit, "class").1.into(),
        dim: fit.encoder.dim(),
        dim_reason: choice(fit, "dimension").1.into(),
        units,
        units_reason,
        rmse: fit.held_out_rmse,
        relative: fit.held_out_relative,
        measured_on: fit.held_out_pairs.clone(),
        target_met: fit.target_met,
    }
}

/// Plans for a relation that can be asked on items drawn from `queries` and `keys` (`None`: one set of items); `kernel` is the
/// relation itself where it is a built-in one, whose constants are known.
///
/// Cost: one [`spectral`] fit, one [`floors`], one [`sampled`], and for each target a search of 5 to 30 small fits.
///
/// # Errors
/// As [`spectral`] and [`floors`].
///
/// ```
/// use mercer::fit::{Silent, Target};
/// use mercer::plan::{Wish, plan_relation};
/// use mercer::{Kernel, Law};
/// let kernel = Kernel::gaussian(0.7)?;
/// let wish = Wish { targets: vec![Target::Absolute(0.01)], ..Wish::default() };
/// let plan = plan_relation(&kernel, Some(&kernel), Law::Cube { dim: 1 }, None, &wish, &Silent)?;
/// assert!(plan.recommended.rmse <= 0.01 && plan.needs[0].trained.as_ref().unwrap().neurons < 50);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn plan_relation(
    relation: &dyn Relation,
    kernel: Option<&Kernel>,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    wish: &Wish,
    progress: &dyn Progress,
) -> Result<Plan> {
    progress.stage("floors");
    // As in the fit's held-out errors, a pair of an item with itself does not count.
    let options = FloorOptions {
        self_pairs: false,
        confidence: wish.confidence,
        seed: wish.options.seed,
        ..FloorOptions::default()
    };
    let floors = floors(relation, queries, keys, &DIMENSIONS, &options)?;
    let chosen = choose_class(relation, queries, keys, &floors, wish)?;
    let fit = attainable(relation, queries, keys, chosen, wish, progress)?;
    let class = fit.encoder.class();
    let largest = fit.curve.last().map_or(1, |p| p.dim);
    progress.stage("spectrum");
    let spectrum = sampled(relation, 0, queries, keys, Anchors::Spread, SAMPLE, wish.options.seed)?;
    let independent = match spectrum.positive {
        true => Some(sampled(relation, 0, queries, keys, Anchors::Independent, INDEPENDENT, wish.options.seed)?),
        false => None,
    };
    let scale = fit.held_out_scale;
    let norms = if wish.targets.is_empty() {
        None
    } else {
        barron_norms(relation, kernel, (queries, keys), &spectrum, &wish.options)?
    };
    let sizes =
        Sizes { relation, kernel, queries, keys, class, floors: &floors, spectrum: &spectrum, norms, scale, wish };
    let needs = wish.targets.iter().map(|&target| sizes.need(target, progress)).collect::<Result<Vec<_>>>()?;
    let mut recommended =
        recommendation(&fit, choice(&fit, "hidden units").0.parse().ok(), choice(&fit, "hidden units").1.to_string());
    // The narrowest towers that meet the first target, as they are: their width goes with their dimension.
    if let Some(trained) = needs.first().and_then(|need| need.trained.as_ref()) {
        recommended = Recommendation {
            dim: trained.dim,
            dim_reason: format!(
                "that of the narrowest towers for the first target; wide towers: {}, {}",
                recommended.dim, recommended.dim_reason
            ),
            units: Some(trained.units),
            units_reason: format!("the narrowest towers found for the first target, in {} fits", trained.fits),
            rmse: trained.rmse,
            relative: trained.rmse / scale,
            measured_on: format!("{PROBES} x {PROBES} fresh points"),
            target_met: Some(true),
            ..recommended
        };
    }
    let dims = dimensions(largest, recommended.dim);
    let mut assumptions = vec![
        format!("floors, proven with confidence {} together: {}", wish.confidence, floors.assumptions),
        format!("attainable errors, measured: a fit with up to {largest} dimensions on {}", fit.held_out_pairs),
        format!("spectrum: {}", spectrum.assumptions),
    ];
    if relation.components() > 1 {
        assumptions.push("the spectrum is that of the first component".into());
    }
    Ok(Plan {
        relation: relation.name(),
        recommended,
        energy: floors.energy,
        scale,
        rows: rows(&fit, Some(&floors), class, &dims, relation.components()),
        curve: fit.curve.iter().map(|p| (p.dim, p.rmse)).collect(),
        held_out_pairs: fit.held_out_pairs.clone(),
        sizes: Vec::new(),
        floors: Some(floors),
        spectrum: Some(spectrum),
        independent,
        noise: None,
        needs,
        assumptions,
    })
}

/// A target as an error in the relation's units, in the norm whose theory bounds it, and in words.
fn norm_of(target: Target, scale: f64) -> (f64, Norm, String) {
    match target {
        Target::Absolute(error) => (error, Norm::Rms, format!("RMS {error}")),
        Target::Relative(share) => (share * scale, Norm::Rms, format!("RMS {} % of the values'", 100.0 * share)),
        Target::Sup(error) => (error, Norm::Sup, format!("sup {error}")),
        // P(|e| > E) <= rms^2 / E^2 (Chebyshev): this RMS suffices.
        Target::Quantile { share, error } => {
            let rms = error * (1.0 - share).sqrt();
            (rms, Norm::Rms, format!("{} % of pairs within {error} (RMS {rms:.3e} suffices)", 100.0 * share))
        }
    }
}
