//! Sup-norm certificates: a proven bound of the largest error of a model on a box.
//!
//! Let `e = r^ - r` on a box with a grid of steps `h_i` along its axes. Multilinear interpolation `I = I_1 ... I_d`
//! reproduces `e` at the nodes, and each `I_i` averages nodes, so that it enlarges no maximum. Linear interpolation on
//! an interval errs by at most `h^2 / 8 sup|f''|`. Together:
//!
//! ```text
//! e - I e = sum_i I_1 ... I_(i-1) (e - I_i e)
//! sup|e| <= max over nodes |e| + sum_i h_i^2 / 8 sup|d_ii e|                                         (1)
//! ```
//!
//! The second derivatives are again functions on the box, and (1) holds for them: so they are bounded by their values
//! at the nodes, where the model and the relation cancel as they do in `e`, and by fourth derivatives, which come
//! with `h^4`. Only the derivatives of the last level are bounded apart, by
//!
//! ```text
//! sum_j sup|d phi_j| sup|d psi_j| + sup|d r|
//! ```
//!
//! with `sup|d phi_j|` from (1) on one side alone, and there at last by `sum_u |c_uj| |w_u|^n sup|act^(n)|`. The order
//! of these steps matters: closed-form outputs are large and cancel, and sums over units are orders of magnitude too
//! high unless a high power of `h` stands before them.
//!
//! - A relation without a second derivative is interpolated with error at most `h_i / 2` times its Lipschitz constant
//!   (on an interval `t (1 - t) h + (1 - t) t h <= h / 2`); kernels with a kink at `x = y` are smooth elsewhere, so
//!   only tiles there suffer.
//! - ReLU towers of one input get their kinks as nodes and are affine between; with more inputs, the units whose kink
//!   crosses a cell add what interpolation misses of `max(z, 0)`.
//!
//! The box is cut where the bound is largest, each time across the axis that adds most, until the bound is close to
//! the largest error seen. Each tile has a grid on either side, and its values are one matrix product. Tiles are
//! evaluated in fixed batches, so the result does not depend on the number of threads.

mod side;
mod slopes;
mod tile;

use crate::relation::{Cuboid, Domain, Smooth};

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::certify::sup::side::{AXES, Shallow, Side};
use crate::certify::sup::tile::{Tile, bound};
use crate::encoder::{DualEncoder, Form, Link};
use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::rows::Features;
use crate::seed::Seed;

/// When a certificate is good enough, and how much work it may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Pairs of grid nodes at which the error or one of its derivatives is evaluated, at most.
    pub evaluations: f64,
    /// An error: the work also ends once the proven bound, with the rounding of `f32` added, is not above it.
    pub target: Option<f64>,
    /// The work ends once the proven bound is at most this multiple of the largest error found; above 1.
    pub gap: f64,
}

/// Evaluations a second on one core; measured: 1e7 to 4e7.
const EVALUATIONS_PER_SECOND: f64 = 1e7;

impl Default for Budget {
    /// `1e9` evaluations, no target, a gap of 1.2.
    fn default() -> Self {
        Budget { evaluations: 1e9, target: None, gap: 1.2 }
    }
}

impl Budget {
    /// About this many seconds on one core, turned into counted work: the result depends on no clock.
    pub fn seconds(seconds: f64) -> Self {
        Budget { evaluations: seconds * EVALUATIONS_PER_SECOND, ..Budget::default() }
    }

    fn check(&self) -> Result<()> {
        if self.evaluations.is_nan() || self.evaluations < 1.0 {
            return Err(Error::parameter("budget of evaluations", "a number from 1 on", self.evaluations));
        }
        if self.gap.is_nan() || self.gap <= 1.0 {
            return Err(Error::parameter("gap", "a number above 1", self.gap));
        }
        match self.target {
            Some(target) if !(target > 0.0 && target.is_finite()) => {
                Err(Error::parameter("target error", "a positive number", target))
            }
            _ => Ok(()),
        }
    }
}

/// Why a certificate went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The bound is close enough to the largest error found.
    Gap,
    /// The bound is not above the target.
    Target,
    /// The budget ended.
    Budget,
    /// What is left of the bound is rounding, which no finer grid lowers.
    Rounding,
}

/// `lower <= sup |r^ - r| <= upper` on a box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct SupNorm {
    /// Proven: no pair of the box has a larger error, for the model in exact arithmetic with its `f32` weights.
    pub upper: f64,
    /// Measured: the largest error at a grid node, in `f64`.
    pub lower: f64,
    /// The query and the key with error `lower`.
    pub worst: (Vec<f64>, Vec<f64>),
    /// The component with error `lower`.
    pub component: usize,
    /// Estimated: what evaluation in `f32` adds; a quarter more than the largest difference measured.
    pub rounding: f64,
    /// Random pairs on which `rounding` was measured.
    pub rounding_pairs: usize,
    /// The target, if one was set.
    pub target: Option<f64>,
    /// Whether `upper + rounding` is not above the target; `None` without a target.
    pub met: Option<bool>,
    /// Why the work ended.
    pub stopped: Stop,
    /// Pairs of nodes at which the error or one of its derivatives was evaluated.
    pub evaluations: f64,
    /// Tiles into which the box was cut.
    pub tiles: usize,
    /// The longest cell side of the tiles, from the smallest tile to the largest.
    pub steps: (f64, f64),
    /// The box.
    pub domain: Domain,
    /// How the bound was found, in words.
    pub method: String,
    /// What it rests on, in words.
    pub assumptions: Vec<String>,
}

impl SupNorm {
    /// `upper + rounding`: what no error of the model as it is evaluated, in `f32`, should exceed (proven but for the
    /// rounding).
    pub fn with_rounding(&self) -> f64 {
        self.upper + self.rounding
    }
}

/// Tiles that are cut in one round; fixed, so that rounds do not depend on threads.
const BATCH: usize = 64;
/// Numbers in the tables of sides that are kept from round to round, at most: 128 MB.
const KEPT: usize = 1 << 24;
/// A tile is cut as long as what lies between its nodes adds this share of the gap to its bound.
const WORTH: f64 = 0.05;
/// A derivative is not evaluated where its crude bound adds less than this share of the gap.
const NEGLIGIBLE: f64 = 0.01;

/// Proves a bound of `sup |r^(x, y) - r(x, y)|` over a box, and finds the worst pair. Source: the module's formula (1).
///
/// With several components it is the largest over all. The model's towers have at most one hidden layer (sine,
/// cosine, GELU, tanh, ReLU) on unscaled rows, at most four inputs each, and its link is the identity.
///
/// Cost: about 1e7 evaluations a second on a core. To a gap of 1.2 that is, measured on Gaussian fits, 1e4 to 1e6
/// evaluations in 1 + 1 dimensions and 1e6 to 1e8 in 2 + 2; a relation known by Lipschitz constants alone takes about
/// (constant / error)^2 in 1 + 1.
///
/// ```
/// use mercer::certify::sup::{Budget, certify};
/// use mercer::fit::{Dimension, Law, Options, Silent, spectral};
/// use mercer::{Domain, Kernel};
///
/// let kernel = Kernel::gaussian(1.0)?;
/// let options = Options { dimension: Dimension::Fixed(3), units: Some(16), ..Options::default() };
/// let fit = spectral(&kernel, Law::Cube { dim: 1 }, None, &options, &Silent)?;
/// let sup = certify(&fit.encoder, &kernel, &Domain::cube(1, -1.0, 1.0)?, &Budget::default())?;
/// assert!(sup.lower <= sup.upper && sup.upper <= 1.2 * sup.lower);
/// # Ok::<(), mercer::Error>(())
/// ```
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if model, relation and box do not fit together; [`crate::ErrorKind::Parameter`] for a
/// model or relation without a bound (deeper towers, unit-norm rows, id tables, a logistic link, kernels at a
/// singular point) or a bad budget; [`crate::ErrorKind::Data`] if the relation or a bound of it is infinite on the
/// box.
pub fn certify(model: &DualEncoder, relation: &dyn Smooth, domain: &Domain, budget: &Budget) -> Result<SupNorm> {
    budget.check()?;
    check(model, relation, domain)?;
    let mut search = Search::new(model, relation)?;
    let (rounding, rounding_pairs) = search.rounding(model, domain)?;
    let stopped = search.run(domain, budget, rounding);
    let worst = search.worst().clone();
    let upper = search.tiles.iter().map(|t| t.upper).fold(0.0, f64::max);
    if !upper.is_finite() {
        return Err(Error::data(
            format!("no finite bound of the error of {} on this box was found", relation.name()),
            "choose a box on which the relation is finite and has Lipschitz constants, or a larger budget",
        ));
    }
    let steps = search.tiles.iter().map(|t| t.step);
    Ok(SupNorm {
        upper,
        lower: worst.lower,
        worst: worst.worst,
        component: worst.component,
        rounding,
        rounding_pairs,
        target: budget.target,
        met: budget.target.map(|target| upper + rounding <= target),
        stopped,
        evaluations: search.evaluations,
        tiles: search.tiles.len(),
        steps: (steps.clone().fold(f64::INFINITY, f64::min), steps.fold(0.0, f64::max)),
        domain: domain.clone(),
        method: METHOD.into(),
        assumptions: assumptions(relation),
    })
}

const METHOD: &str =
    "largest error on grids plus h^2/8 times bounds of second derivatives, refined where the bound is largest";

fn assumptions(relation: &dyn Smooth) -> Vec<String> {
    vec![
        "proven: the upper bound holds for every pair of real points of the box and for the model in exact \
         arithmetic with its f32 weights; the roundings of the f64 grid values are bounded and included"
            .into(),
        format!(
            "assumed: the derivative bounds stated for {} hold, and its values are exact to 64 roundings",
            relation.name()
        ),
        "measured: the lower end, an error seen at a grid node, evaluated in f64".into(),
        "estimated: what evaluation in f32 adds, twice the largest difference on random pairs; it is not part of the \
         upper bound"
            .into(),
    ]
}

/// Refuses what does not fit together.
fn check(model: &DualEncoder, relation: &dyn Smooth, domain: &Domain) -> Result<()> {
    domain.x.check()?;
    domain.y.check()?;
    for (name, side, tower) in [("query box", &domain.x, model.query()), ("key box", &domain.y, model.key())] {
        if side.dim() > AXES {
            return Err(Error::parameter(name, format!("of at most {AXES} axes: grids grow too fast"), side.dim()));
        }
        if side.dim() != tower.inputs() {
            return Err(Error::shape(name, format!("{} axes, as the model reads", tower.inputs()), side.dim()));
        }
    }
    if model.link() != Link::Identity {
        return Err(Error::parameter("link of a sup-norm certificate", "the identity", "a logistic link"));
    }
    if relation.components() != model.components() {
        return Err(Error::shape("components of the relation", model.components(), relation.components()));
    }
    relation.check_domain(domain)
}

type SideKey = (usize, bool, Vec<u64>);

/// The tiles and what they were made from.
struct Search<'a> {
    relation: &'a dyn Smooth,
    /// Query and key tower of each component.
    towers: Vec<[Shallow; 2]>,
    tiles: Vec<Tile>,
    evaluations: f64,
}

impl<'a> Search<'a> {
    fn new(model: &DualEncoder, relation: &'a dyn Smooth) -> Result<Self> {
        let signs = match model.form() {
            Form::Signs(signs) => Some(signs.as_slice()),
            Form::Identity => None,
        };
        let towers = |l: usize| {
            let range = l * model.dim()..(l + 1) * model.dim();
            Ok([Shallow::new(model.query(), range.clone(), signs)?, Shallow::new(model.key(), range, None)?])
        };
        let towers = (0..model.components()).map(towers).collect::<Result<_>>()?;
        Ok(Search { relation, towers, tiles: Vec::new(), evaluations: 0.0 })
    }

    /// The tile with the largest error seen.
    fn worst(&self) -> &Tile {
        self.tiles.iter().fold(&self.tiles[0], |worst, tile| if tile.lower > worst.lower { tile } else { worst })
    }

    /// Cuts tiles until the budget's conditions are met.
    fn run(&mut self, domain: &Domain, budget: &Budget, rounding: f64) -> Stop {
        let mut sides = BTreeMap::new();
        let towers = std::mem::take(&mut self.towers);
        let target = budget.target.map_or(0.0, |target| target - rounding);
        let slack = budget.gap.min(2.0) - 1.0;
        let whole = (0..towers.len()).map(|component| (component, domain.clone())).collect();
        self.tiles = self.evaluate(&towers, &mut sides, whole, 0.0);
        let stop = loop {
            self.tiles.sort_by(|a, b| b.upper.total_cmp(&a.upper));
            let (upper, lower) = (self.tiles[0].upper, self.worst().lower);
            if upper <= budget.gap * lower {
                break Stop::Gap;
            }
            if upper <= target {
                break Stop::Target;
            }
            if !lower.is_finite() || split(&self.tiles[0], WORTH * slack).is_none() {
                break Stop::Rounding;
            }
            let threshold = (budget.gap * lower).max(target);
            let a_tile = self.tiles.iter().map(|t| t.evaluations).max().unwrap_or(1) as f64;
            let affordable = ((budget.evaluations - self.evaluations) / (2.0 * a_tile)).floor();
            if affordable < 1.0 {
                break Stop::Budget;
            }
            let most = BATCH.min(affordable as usize);
            let above = self.tiles.iter().take_while(|t| t.upper > threshold).take(most);
            let halves: Vec<_> =
                above.map_while(|t| split(t, WORTH * slack).map(|halves| (t.component, halves))).collect();
            let cut = halves.len();
            let parts = halves.into_iter().flat_map(|(l, halves)| halves.map(|half| (l, half))).collect();
            let old: Vec<Tile> = self.tiles.drain(..cut).collect();
            let mut new = self.evaluate(&towers, &mut sides, parts, NEGLIGIBLE * slack * lower);
            inherit(&old, &mut new);
            self.tiles.append(&mut new);
        };
        drop(sides);
        self.towers = towers;
        stop
    }

    /// The bounds of tiles, in their order.
    fn evaluate<'t>(
        &mut self,
        towers: &'t [[Shallow; 2]],
        sides: &mut BTreeMap<SideKey, Arc<Side<'t>>>,
        parts: Vec<(usize, Domain)>,
        negligible: f64,
    ) -> Vec<Tile> {
        if sides.values().map(|side| side.numbers()).sum::<usize>() > KEPT {
            sides.clear();
        }
        let keys = |(l, domain): &(usize, Domain)| [(*l, false, bits(&domain.x)), (*l, true, bits(&domain.y))];
        let mut missing: BTreeMap<SideKey, Cuboid> = BTreeMap::new();
        for part in &parts {
            let [x, y] = keys(part);
            missing.extend([(x, part.1.x.clone()), (y, part.1.y.clone())]);
        }
        missing.retain(|key, _| !sides.contains_key(key));
        let missing: Vec<(SideKey, Cuboid)> = missing.into_iter().collect();
        let build = |(key, cuboid): (SideKey, Cuboid)| {
            let side = Side::new(&towers[key.0][usize::from(key.1)], cuboid);
            (key, Arc::new(side))
        };
        sides.extend(missing.into_par_iter().map(build).collect::<Vec<_>>());
        let relation = self.relation;
        let of_part = |part: &(usize, Domain)| {
            let [x, y] = keys(part);
            bound(&sides[&x], &sides[&y], relation, part.0, negligible)
        };
        let tiles: Vec<Tile> = parts.par_iter().map(of_part).collect();
        self.evaluations += tiles.iter().map(|t| t.evaluations as f64).sum::<f64>();
        tiles
    }

    /// A quarter more than the largest difference between the model in `f32` and in `f64` on random pairs, and their number.
    ///
    /// Roundings are about normal: the largest of a million is 5 standard deviations, a quarter more would take 1e9 to see.
    fn rounding(&self, model: &DualEncoder, domain: &Domain) -> Result<(f64, usize)> {
        const POINTS: usize = 1024;
        let mut stream = Seed(0).stream("sup-norm rounding");
        let mut draw = |side: &Cuboid| {
            let mut axis = |i: usize| (side.low[i] + (side.high[i] - side.low[i]) * stream.uniform()) as f32;
            Features::dense((0..POINTS * side.dim()).map(|at| axis(at % side.dim())).collect(), side.dim())
        };
        let (x, y) = (draw(&domain.x)?, draw(&domain.y)?);
        let columns = |points: &Features| {
            let rows = points.rows();
            let mut data = vec![0.0; points.len() * points.dim()];
            for i in 0..points.len() {
                rows.for_each(i, |column, value| data[i * points.dim() + column] = value.into());
            }
            Matrix::from_columns(data, points.dim(), points.len())
        };
        let mut largest = 0.0f64;
        for (l, [query, key]) in self.towers.iter().enumerate() {
            let single = model.block(l, &x.rows(), &y.rows())?;
            let double = key.forward(&columns(&y)).times_transpose(&query.forward(&columns(&x)));
            let differences = single.iter().zip(double.data()).map(|(a, b)| (a - b).abs());
            largest = differences.fold(largest, f64::max);
        }
        Ok((1.25 * largest, POINTS * POINTS))
    }
}

fn bits(cuboid: &Cuboid) -> Vec<u64> {
    cuboid.low.iter().chain(&cuboid.high).map(|v| v.to_bits()).collect()
}

/// The two halves across the axis that adds most to the bound; `None` where cutting no longer lowers it.
fn split(tile: &Tile, worth: f64) -> Option<[Domain; 2]> {
    let total: f64 = tile.gaps.iter().sum();
    if total <= worth * tile.upper {
        return None;
    }
    let axis = (0..tile.gaps.len()).fold(0, |best, i| if tile.gaps[i] > tile.gaps[best] { i } else { best });
    let cut = |side: &Cuboid, i: usize| {
        let middle = 0.5 * side.low[i] + 0.5 * side.high[i];
        let (mut below, mut above) = (side.clone(), side.clone());
        (below.high[i], above.low[i]) = (middle, middle);
        (side.low[i] < middle && middle < side.high[i]).then_some((below, above))
    };
    let Domain { x, y } = &tile.domain;
    Some(match axis.checked_sub(x.dim()) {
        None => cut(x, axis).map(|(a, b)| [Domain { x: a, y: y.clone() }, Domain { x: b, y: y.clone() }])?,
        Some(i) => cut(y, i).map(|(a, b)| [Domain { x: x.clone(), y: a }, Domain { x: x.clone(), y: b }])?,
    })
}

/// Halves keep what was proven and seen on the whole.
fn inherit(old: &[Tile], new: &mut [Tile]) {
    for (whole, halves) in old.iter().zip(new.chunks_exact_mut(2)) {
        halves.iter_mut().for_each(|half| half.upper = half.upper.min(whole.upper));
        if whole.lower > halves[0].lower.max(halves[1].lower) {
            (halves[0].lower, halves[0].worst) = (whole.lower, whole.worst.clone());
        }
    }
}
