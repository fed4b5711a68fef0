//! L2 floors: below them no pair of functions into `R^D` can go, networks of any size included.
//!
//! For `r = sum_i sigma_i u_i(x) v_i(y)` in `L2(mu x nu)` the least mean-square error of `D` coordinates is
//! `floor_D^2 = sum_{i > D} sigma_i^2` (Schmidt 1907; Eckart and Young 1936). A block of independent items has a tail
//! `t = sum_{i > D} sigma_i(R)^2 / (n m)` below which no `D` coordinates fit that block, so `E t <= floor_D^2`, and
//! Markov's inequality on the product of `N` independent blocks gives `floor_D^2 >= (delta t_1 ... t_N)^(1/N)` with
//! confidence `1 - delta`, whatever the law of `t`.
//!
//! Narrower classes lose more. With `R_s`, `R_a` the symmetric and antisymmetric parts, for `x` and `y` drawn
//! independently:
//!
//! - signed: `E |R_a|^2 + tail_D(R_s)`, by the same argument;
//! - symmetric: every such model `k` is positive, so `<k, P> >= 0` for every `P(x, y) = <a(x), a(y)>`, and
//!   `|R_s - k|^2 >= |R_s - k|^2 - 2 <k, P> = |R_s + P - k|^2 - 2 <R_s, P> - |P|^2`, whose first term has the floor of
//!   `R_s + P`. Any `P` from other data is valid; the best one is minus the negative part of `R_s`.

mod exact;
mod parts;
mod pilot;

use rayon::prelude::*;
use serde::Serialize;

use crate::encoder::Class;
use crate::error::{Error, Result};
use crate::relation::{Law, Relation, ask_block};
use crate::rows::{Features, all_items};
use crate::seed::Seed;
use crate::spectrum::floors::exact::exact_floors;
use crate::spectrum::floors::parts::{Parts, mean_square, tail};
use crate::spectrum::floors::pilot::Pilot;
use crate::spectrum::{Energy, Evidence};

pub use exact::table_floors;

/// How [`floors`] samples.
///
/// ```
/// use mercer::spectrum::FloorOptions;
/// assert_eq!(FloorOptions::default().confidence, 0.95);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloorOptions {
    /// Items a side of a block; `None`: 16 times the largest dimension, from 128 to 512.
    pub size: Option<usize>,
    /// Independent blocks; `None`: so many that Markov's inequality costs 10 % of the squared floor (5 % where blocks
    /// are small), at least 32.
    pub blocks: Option<usize>,
    /// Whether a pair of an item with itself counts, where both sides are one set of given items. Without self pairs queries
    /// and keys of a block are different items, so a block has at most half of them a side, and no floor is exact.
    pub self_pairs: bool,
    /// Confidence that all floors stated together hold, between 0 and 1.
    pub confidence: f64,
    /// Where the items come from.
    pub seed: Seed,
}

impl Default for FloorOptions {
    fn default() -> Self {
        FloorOptions { size: None, blocks: None, self_pairs: true, confidence: 0.95, seed: Seed(0) }
    }
}

/// A lower bound on the root-mean-square error of every model of one class and dimension.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// The models it speaks of.
    pub class: Class,
    /// Coordinates of each component's embedding.
    pub dim: usize,
    /// Root of the mean square over all values (all components), in the relation's units; 0 says nothing.
    pub rms: f64,
    /// `rms` as a share of the root mean square of the values.
    pub relative: f64,
}

/// What [`floors`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Floors {
    /// One for each class and dimension: narrow classes first, dimensions as asked.
    pub floors: Vec<Floor>,
    /// Whether a floor is a lower bound with `confidence` (`false`) or the value itself, less rounding (`true`).
    pub exact: bool,
    /// That a floor is proven: under `assumptions`, all together with `confidence`.
    pub evidence: Evidence,
    /// Confidence of all floors together.
    pub confidence: f64,
    /// Items a side of each block.
    pub size: usize,
    /// Independent blocks.
    pub blocks: usize,
    /// Root mean square of the values (estimated unless `exact`).
    pub value_rms: f64,
    /// Standard error of `value_rms`; 0 if `exact`.
    pub value_rms_error: f64,
    /// Energy shares, the largest over components (estimated unless `exact`); `None` for two sets of items or zero
    /// values.
    pub energy: Option<Energy>,
    /// The narrowest class that loses nothing: what a fit would take.
    pub class: Class,
    /// Why `class`.
    pub reason: String,
    /// The conditions under which the floors hold, in words.
    pub assumptions: String,
}

impl Floors {
    /// The floor of `class` at dimension `dim`, if it was asked for.
    pub fn get(&self, class: Class, dim: usize) -> Option<&Floor> {
        self.floors.iter().find(|f| f.class == class && f.dim == dim)
    }

    /// The narrowest class, and in it the smallest dimension, that the floors do not exclude at an error of `rms`.
    ///
    /// `None`: every class and dimension asked for is excluded. Not excluded does not mean attainable.
    pub fn smallest_class(&self, rms: f64) -> Option<&Floor> {
        self.floors.iter().filter(|f| f.rms <= rms).min_by_key(|f| (f.class, f.dim))
    }
}

/// Item sets up to this size have their floors computed exactly, from all pairs.
const EXACT: usize = 1024;
/// What Markov's inequality may cost where the number of blocks is free.
const LOSS: f64 = 0.9;

/// Lower bounds on the root-mean-square error of every model, for each class and each of `dims`.
///
/// The mean square is over independent `x` from `queries` and `y` from `keys` (`None`: the same law, and then all three
/// classes are bounded; two laws leave [`Class::Asymmetric`] only) and over components, each of which has `dim`
/// coordinates. For given items the statement is about pairs of *those* items; up to 1024 items a side it is exact.
/// Noise in the values counts towards the floor: no function of `x` and `y` predicts it.
///
/// Singular values enter less `n eps |R|_F`, a bound with room to spare on what the decomposition and the rounding of
/// the values add, so that a relation of rank `k` has floor exactly 0 from `dim = k` on.
///
/// Cost: `blocks` decompositions of `size x size` (values only: about 0.06 s each at 512 on one core), up to three
/// times that where the relation is neither symmetric nor positive. Measured on the Brownian kernel, share of the
/// squared floor certified by 32 blocks of 512 for one dimension: .90 at 4, .84 at 16, .65 at 64 (.80 of the RMS
/// floor); by 64 blocks .94, .89, .68; by 256 blocks of 256, at the same cost, .96, .84, .43. Bounds are useful up to
/// `dim = size / 8`.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for no dimension, dimension 0, a confidence outside (0, 1), fewer than 2 items or no
/// block; what the relation or the items report.
///
/// ```
/// use mercer::spectrum::{FloorOptions, floors};
/// use mercer::{Class, Kernel, Law};
/// let found = floors(&Kernel::matern12(1.0)?, Law::Cube { dim: 1 }, None, &[1, 4], &FloorOptions::default())?;
/// let four = found.get(Class::Asymmetric, 4).map_or(0.0, |f| f.rms);
/// assert!(four > 0.02 && four < 0.04); // the floor itself is .033
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn floors(
    relation: &dyn Relation,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    dims: &[usize],
    options: &FloorOptions,
) -> Result<Floors> {
    check(relation, dims, options)?;
    for law in [Some(&queries), keys.as_ref()].into_iter().flatten() {
        if matches!(law, Law::Items(items) if items.is_empty()) {
            return Err(Error::data("there are no items", "give at least one item a side"));
        }
    }
    let apart = match (queries, &keys) {
        (Law::Items(items), None) if !options.self_pairs => Some(items),
        _ => None,
    };
    if apart.is_none()
        && let Some((x, y)) = small_items(&queries, keys.as_ref())?
    {
        return exact_floors(relation, &x, y.as_ref(), dims);
    }
    let largest = dims.iter().copied().max().unwrap_or(1);
    let most = apart.map_or(usize::MAX, |items| items.len() / 2);
    if most < 2 {
        return Err(Error::data("too few items for pairs of different ones", "give at least four"));
    }
    let n = options.size.unwrap_or_else(|| (16 * largest).clamp(128, 512)).min(most);
    let pilot = match &keys {
        None => Pilot::new(relation, &queries, n, dims, options.seed)?,
        Some(_) => Pilot::two_sets(),
    };
    let stated = pilot.stated();
    let share = (1.0 - options.confidence) / (stated.len() * dims.len()) as f64;
    let loss = if n > 256 { LOSS } else { LOSS.sqrt() };
    let blocks = options.blocks.unwrap_or_else(|| ((share.ln() / loss.ln()).ceil() as usize).max(32));
    let found: Vec<BlockStatistics> = (0..blocks)
        .into_par_iter()
        .map(|b| {
            let mut stream = options.seed.stream(&format!("floor block {b}"));
            let (x, y) = match apart {
                Some(items) => {
                    let drawn = stream.choose(items.len(), 2 * n);
                    (items.select(&drawn[..n])?, items.select(&drawn[n..])?)
                }
                None => (queries.draw(n, &mut stream)?, keys.as_ref().unwrap_or(&queries).draw(n, &mut stream)?),
            };
            block_statistics(relation, &x, &y, &stated, &pilot, dims)
        })
        .collect::<Result<_>>()?;
    let product = |statistic: usize, d: usize| {
        // A block that is zero, or by chance below, makes the bound vacuous.
        let logs: f64 = found.iter().map(|b| b.tails[statistic][d].max(0.0).ln()).sum();
        ((share.ln() + logs) / blocks as f64).exp().sqrt()
    };
    let bound: Vec<(Class, Vec<f64>)> = stated
        .iter()
        .enumerate()
        .map(|(s, &class)| (class, (0..dims.len()).map(|d| product(s, d)).collect()))
        .collect();
    let (rms, error) = root_mean(&found.iter().map(|b| b.square).collect::<Vec<_>>());
    let (class, reason) = pilot.class;
    Ok(Floors {
        floors: nested(&bound, dims, keys.is_some(), rms),
        exact: false,
        evidence: Evidence::Proven,
        confidence: options.confidence,
        size: n,
        blocks,
        value_rms: rms,
        value_rms_error: error,
        energy: pilot.energy,
        class,
        reason,
        assumptions: assumptions(&queries, apart.is_some(), stated.contains(&Class::Symmetric)),
    })
}

fn check(relation: &dyn Relation, dims: &[usize], options: &FloorOptions) -> Result<()> {
    if dims.is_empty() || dims.contains(&0) {
        return Err(Error::parameter("floor dimensions", "one or more whole numbers from 1", format!("{dims:?}")));
    }
    if !(options.confidence > 0.0 && options.confidence < 1.0) {
        return Err(Error::parameter("confidence", "between 0 and 1", options.confidence));
    }
    if let Some(bad) = options.size.filter(|n| !(2..=8192).contains(n)) {
        return Err(Error::parameter("items a side of a block", "from 2 to 8192", bad));
    }
    if let Some(bad) = options.blocks.filter(|n| !(1..=1_000_000).contains(n)) {
        return Err(Error::parameter("independent blocks", "from 1 to 1000000", bad));
    }
    if relation.components() == 0 {
        return Err(Error::parameter("components of the relation", "at least 1", 0));
    }
    Ok(())
}

fn assumptions(queries: &Law<'_>, apart: bool, symmetric: bool) -> String {
    let law = match queries {
        Law::Cube { .. } => "uniform on the cube",
        Law::Items(_) if apart => "uniform on the given items, never the same item twice",
        Law::Items(_) => "uniform on the given items, with replacement",
    };
    let mut text = format!(
        "queries and keys are independent, {law}; mean square over all such pairs; values are exact up to rounding \
         (noise in them counts towards the floor); all floors hold together with the stated confidence"
    );
    if symmetric {
        text +=
            "; floors of the symmetric class: the statistic of a block is not negative but with negligible probability";
    }
    text
}

/// All items of both sides, where they are few enough for an exact answer.
fn small_items(queries: &Law<'_>, keys: Option<&Law<'_>>) -> Result<Option<(Features, Option<Features>)>> {
    let few = |law: &Law<'_>| -> Result<Option<Features>> {
        match law {
            Law::Items(items) if (1..=EXACT).contains(&items.len()) => Ok(Some(all_items(*items)?.into_owned())),
            _ => Ok(None),
        }
    };
    Ok(match (few(queries)?, keys) {
        (Some(x), None) => Some((x, None)),
        (Some(x), Some(keys)) => few(keys)?.map(|y| (x, Some(y))),
        _ => None,
    })
}

/// A bound for a wider class or a larger dimension holds for the narrower class and the smaller dimension too.
fn nested(bound: &[(Class, Vec<f64>)], dims: &[usize], two_sets: bool, value_rms: f64) -> Vec<Floor> {
    let classes: &[Class] =
        if two_sets { &[Class::Asymmetric] } else { &[Class::Symmetric, Class::Signed, Class::Asymmetric] };
    let pairs = classes.iter().flat_map(|&class| dims.iter().map(move |&dim| (class, dim)));
    pairs
        .map(|(class, dim)| {
            let wider = bound.iter().filter(|(other, _)| *other >= class);
            let larger = wider.flat_map(|(_, rms)| rms.iter().zip(dims).filter(|(_, other)| **other >= dim));
            let rms = larger.map(|(rms, _)| *rms).fold(0.0, f64::max);
            Floor { class, dim, rms, relative: if rms > 0.0 { rms / value_rms } else { 0.0 } }
        })
        .collect()
}

/// Root of the mean of independent `squares`, and its standard error.
fn root_mean(squares: &[f64]) -> (f64, f64) {
    let n = squares.len() as f64;
    let mean = squares.iter().sum::<f64>() / n;
    let variance = squares.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / (n - 1.0).max(1.0);
    let rms = mean.sqrt();
    (rms, if rms > 0.0 { (variance / n).sqrt() / (2.0 * rms) } else { 0.0 })
}

/// What one block of independent items says: its mean square and, for each statistic and dimension, its tail.
struct BlockStatistics {
    square: f64,
    tails: Vec<Vec<f64>>,
}

fn block_statistics(
    relation: &dyn Relation,
    x: &Features,
    y: &Features,
    stated: &[Class],
    pilot: &Pilot,
    dims: &[usize],
) -> Result<BlockStatistics> {
    let components = relation.components();
    let mut all = BlockStatistics { square: 0.0, tails: vec![vec![0.0; dims.len()]; stated.len()] };
    for l in 0..components {
        let block = ask_block(relation, l, x, y)?;
        let back = if pilot.antisymmetric { Some(ask_block(relation, l, y, x)?) } else { None };
        let parts = Parts::new(block, back);
        all.square += mean_square(&parts.whole) / components as f64;
        for (tails, class) in all.tails.iter_mut().zip(stated) {
            let own = match (class, &pilot.negative) {
                (Class::Asymmetric, _) => tail(&parts.whole, 0.0, dims)?,
                (Class::Symmetric, Some(negative)) => {
                    parts.symmetric_tail(&negative[l].at(relation, l, x, y)?, dims)?
                }
                _ => parts.signed_tail(dims)?,
            };
            tails.iter_mut().zip(own).for_each(|(sum, t)| *sum += t / components as f64);
        }
    }
    Ok(all)
}
