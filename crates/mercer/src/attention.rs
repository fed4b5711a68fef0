//! Attention maps: from scores to weights, with their Jacobians, and attention of several heads.
//!
//! A map turns a row of scores into weights that are not negative and sum to 1. [`Map`] holds the built-in ones behind the trait
//! [`AttentionMap`]; [`heads`] uses any of them for attention over embedded items, plain or relational.
//!
//! All maps treat a row alike:
//!
//! - `-inf` masks a key: its weight is 0. Where all keys are masked all weights are 0.
//! - `+inf` takes it all: the keys with that score share the weight.
//! - NaN makes every weight of its row NaN (the checked functions `try_...` refuse it).
//! - The largest score is taken off first, so that nothing overflows; differences beyond the type's range count as infinite.
//! - At inverse temperature 0 all keys that are not masked share the weight; the hard map does not look at it.
//!
//! Rows are cut into blocks that do not depend on the threads: the same bits for any number of them.

mod collect;
pub mod heads;
mod jacobian;
mod real;
mod root;
mod softmax;
mod sparse;

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::attention::jacobian::{Slope, jvp32, jvp64};
use crate::attention::real::{Real, any_nan32, any_nan64};
use crate::attention::root::Law;
use crate::attention::softmax::{hard, softmax32, softmax64};
use crate::attention::sparse::{entmax32, entmax64};
use crate::error::{Error, ErrorKind, Result};

/// A map from scores to attention weights.
///
/// Scores, weights, directions and results are row-major `(n, keys)`.
///
/// ```
/// use mercer::attention::{AttentionMap, Map};
/// let mut weights = [0.0; 3];
/// Map::Sparsemax.try_weights_f64(&[0.0, 1.0, 0.6], 3, 1.0, &mut weights)?;
/// assert!((weights[1] - 0.7).abs() < 1e-15 && (weights[2] - 0.3).abs() < 1e-15 && weights[0] == 0.0);
/// // At twice the inverse temperature the gap of 0.4 is not yet the margin 1, at 2.5 it is.
/// Map::Sparsemax.try_weights_f64(&[0.0, 1.0, 0.6], 3, 2.5, &mut weights)?;
/// assert_eq!(weights, [0.0, 1.0, 0.0]);
/// # Ok::<(), mercer::Error>(())
/// ```
pub trait AttentionMap: Send + Sync {
    /// Weights of each row of scores: `out = map(beta * scores)`, `f32`; `beta` is the inverse temperature.
    ///
    /// # Panics
    /// If a slice is not `n` rows of `keys > 0` numbers, or `beta` is negative or not finite;
    /// [`AttentionMap::try_weights`] returns an error instead.
    fn weights(&self, scores: &[f32], keys: usize, beta: f64, out: &mut [f32]);

    /// As [`AttentionMap::weights`], in `f64`.
    ///
    /// # Panics
    /// As [`AttentionMap::weights`].
    fn weights_f64(&self, scores: &[f64], keys: usize, beta: f64, out: &mut [f64]);

    /// Jacobian of the map at each row of `weights` times a direction of `beta * scores`, `f32`.
    ///
    /// Jacobians of maps are symmetric (the maps are gradients), so this is the vector-Jacobian product, too. Where the map has a
    /// kink (a key on the edge of the support) it is the derivative with that key outside; keys without weight stay.
    ///
    /// # Panics
    /// If a slice is not `n` rows of `keys > 0` numbers; [`AttentionMap::try_jvp`] returns an error instead.
    fn jvp(&self, weights: &[f32], keys: usize, direction: &[f32], out: &mut [f32]);

    /// As [`AttentionMap::jvp`], in `f64`.
    ///
    /// # Panics
    /// As [`AttentionMap::jvp`].
    fn jvp_f64(&self, weights: &[f64], keys: usize, direction: &[f64], out: &mut [f64]);

    /// The gap of `beta * scores` between the best key and all others from which on the best key's weight is exactly 1:
    /// `1 / (alpha - 1)` for alpha-entmax, 0 for the hard map; `None` where there is none (softmax).
    fn threshold(&self) -> Option<f64>;

    /// [`AttentionMap::weights`] of checked input.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for slices that are not `n` rows of `keys > 0` numbers, [`ErrorKind::Parameter`] for a
    /// `beta` that is negative or not finite, [`ErrorKind::NonFinite`] for a score that is NaN.
    fn try_weights(&self, scores: &[f32], keys: usize, beta: f64, out: &mut [f32]) -> Result<()> {
        check_rows("weights", scores.len(), keys, out.len())?;
        check_beta(beta)?;
        check_numbers(any_nan32(scores), scores, keys)?;
        self.weights(scores, keys, beta, out);
        Ok(())
    }

    /// [`AttentionMap::weights_f64`] of checked input.
    ///
    /// # Errors
    /// As [`AttentionMap::try_weights`].
    fn try_weights_f64(&self, scores: &[f64], keys: usize, beta: f64, out: &mut [f64]) -> Result<()> {
        check_rows("weights", scores.len(), keys, out.len())?;
        check_beta(beta)?;
        check_numbers(any_nan64(scores), scores, keys)?;
        self.weights_f64(scores, keys, beta, out);
        Ok(())
    }

    /// [`AttentionMap::jvp`] of checked input.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for slices that are not `n` rows of `keys > 0` numbers.
    fn try_jvp(&self, weights: &[f32], keys: usize, direction: &[f32], out: &mut [f32]) -> Result<()> {
        check_rows("direction", weights.len(), keys, direction.len())?;
        check_rows("product", weights.len(), keys, out.len())?;
        self.jvp(weights, keys, direction, out);
        Ok(())
    }

    /// [`AttentionMap::jvp_f64`] of checked input.
    ///
    /// # Errors
    /// As [`AttentionMap::try_jvp`].
    fn try_jvp_f64(&self, weights: &[f64], keys: usize, direction: &[f64], out: &mut [f64]) -> Result<()> {
        check_rows("direction", weights.len(), keys, direction.len())?;
        check_rows("product", weights.len(), keys, out.len())?;
        self.jvp_f64(weights, keys, direction, out);
        Ok(())
    }
}

fn check_rows(what: &str, scores: usize, keys: usize, out: usize) -> Result<()> {
    if keys == 0 || !scores.is_multiple_of(keys) {
        return Err(Error::shape("attention: rows of keys", format!("rows of {keys} > 0 numbers"), scores));
    }
    if scores != out {
        return Err(Error::shape(format!("attention: {what}"), scores, out));
    }
    Ok(())
}

fn check_beta(beta: f64) -> Result<()> {
    if beta.is_finite() && beta >= 0.0 {
        return Ok(());
    }
    Err(Error::parameter("inverse temperature", "0 or a positive finite number (map `hard` is its limit)", beta))
}

/// Names the first score that is NaN, if there is `any`.
fn check_numbers<T: Real>(any: bool, scores: &[T], keys: usize) -> Result<()> {
    if !any {
        return Ok(());
    }
    let at = scores.iter().position(|s| s.f64().is_nan()).unwrap_or(0);
    Err(ErrorKind::NonFinite { what: "scores of attention".into(), row: at / keys, column: at % keys }.into())
}

/// An `alpha` of alpha-entmax: finite and above 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Alpha(f64);

impl Alpha {
    /// A checked `alpha`.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] unless `alpha` is finite and above 1.
    pub fn new(alpha: f64) -> Result<Alpha> {
        if alpha.is_finite() && alpha > 1.0 {
            return Ok(Alpha(alpha));
        }
        Err(Error::parameter("alpha of entmax", "a finite number above 1 (at 1 it is softmax)", alpha))
    }

    /// Its value.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The built-in maps; `z = beta * scores`.
///
/// | text | weights |
/// |---|---|
/// | `softmax` | `e^z_i / sum_j e^z_j` |
/// | `sparsemax` | `(z_i - tau)_+`, the projection onto the simplex (Martins and Astudillo 2016); alpha-entmax with alpha 2 |
/// | `entmax:A` | `((A - 1) z_i - tau)_+^(1 / (A - 1))`, `A > 1` (Peters, Niculae and Martins 2019); softmax as `A` falls to 1 |
/// | `hard` | the best keys share the weight: the limit of all of them as `beta` grows |
///
/// `tau` makes the weights sum to 1. It is found in `f64`, exactly up to rounding for every `A`, among the keys whose gap to the
/// best is below the margin `1 / (A - 1)`: sums over the support for 1.5 and 2, powers for others. A best key whose gap to all
/// others is the margin has the weight 1 exactly, in either precision; gaps that are the margin up to the rounding of `beta` and
/// scores count as such.
///
/// Accuracy: in `f64` a few units in the last place of the largest weight; in `f32` 1e-6 of it (`e^-87` and less is 0).
///
/// Cost of a row: softmax, an exponential a key; sparsemax and 1.5-entmax three passes over the keys, of a few
/// operations each, and 5 to 10 over the keys within the margin; others take an exponential and a logarithm where those take a
/// sum; above 2 those within the margin are sorted.
///
/// ```
/// use mercer::attention::{AttentionMap, Map};
/// let map: Map = "entmax:1.5".parse()?;
/// assert_eq!(map, Map::entmax(1.5)?);
/// assert_eq!((map.threshold(), Map::Softmax.threshold()), (Some(2.0), None));
/// let mut weights = [0.0; 2];
/// map.try_weights(&[3.0, 1.0], 2, 1.0, &mut weights)?;
/// assert_eq!(weights, [1.0, 0.0]);
/// assert!("entmax:1".parse::<Map>().is_err());
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Map {
    /// `e^z`, normalised.
    Softmax,
    /// Projection onto the simplex.
    Sparsemax,
    /// Tsallis entropy of order alpha; made by [`Map::entmax`].
    Entmax(Alpha),
    /// The best keys share the weight.
    Hard,
}

impl Map {
    /// alpha-entmax.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] unless `alpha` is finite and above 1.
    pub fn entmax(alpha: f64) -> Result<Map> {
        Ok(Map::Entmax(Alpha::new(alpha)?))
    }

    /// The order of its entropy: 1 for softmax, 2 for sparsemax, `None` for the hard map.
    pub fn alpha(self) -> Option<f64> {
        match self {
            Map::Softmax => Some(1.0),
            Map::Sparsemax => Some(2.0),
            Map::Entmax(alpha) => Some(alpha.get()),
            Map::Hard => None,
        }
    }

    /// How the Jacobian follows from the weights; `None` where it is 0.
    fn slope(self) -> Option<Slope> {
        Some(match self.alpha()? {
            1.0 => Slope::Weight,
            1.5 => Slope::Root,
            2.0 => Slope::Support,
            alpha => Slope::Power(2.0 - alpha),
        })
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Map::Softmax => f.write_str("softmax"),
            Map::Sparsemax => f.write_str("sparsemax"),
            Map::Entmax(alpha) => write!(f, "entmax:{}", alpha.get()),
            Map::Hard => f.write_str("hard"),
        }
    }
}

impl FromStr for Map {
    type Err = Error;

    fn from_str(text: &str) -> Result<Map> {
        let unknown =
            || Error::parameter("attention map", "one of softmax, sparsemax, entmax:ALPHA, hard", format!("'{text}'"));
        match text.split_once(':') {
            None => match text {
                "softmax" => Ok(Map::Softmax),
                "sparsemax" => Ok(Map::Sparsemax),
                "hard" => Ok(Map::Hard),
                _ => Err(unknown()),
            },
            Some(("entmax", alpha)) => Map::entmax(alpha.trim().parse().map_err(|_| unknown())?),
            Some(_) => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Map {
    type Error = Error;

    fn try_from(text: String) -> Result<Map> {
        text.parse()
    }
}

impl From<Map> for String {
    fn from(map: Map) -> String {
        map.to_string()
    }
}

/// Scores that one task works on, at least a row.
const BLOCK: usize = 1 << 16;

/// Calls `work(first number, rows of out)` on fixed blocks of rows; a single one on the calling thread.
fn blocks<T: Real + Send>(keys: usize, out: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    let block = (BLOCK / keys).max(1) * keys;
    if out.len() <= block {
        return work(0, out);
    }
    out.par_chunks_mut(block).enumerate().for_each(|(i, out)| work(i * block, out));
}

/// Refuses what the documentation of [`AttentionMap`] says that it panics on.
fn demand(checked: Result<()>) {
    if let Err(error) = checked {
        panic!("{error}");
    }
}

impl AttentionMap for Map {
    fn weights(&self, scores: &[f32], keys: usize, beta: f64, out: &mut [f32]) {
        demand(check_rows("weights", scores.len(), keys, out.len()).and(check_beta(beta)));
        blocks(keys, out, |first, out| {
            let scores = &scores[first..][..out.len()];
            match *self {
                Map::Softmax => softmax32(scores, keys, beta, out),
                Map::Sparsemax => entmax32(&Law::new(2.0), scores, keys, beta, out),
                Map::Entmax(alpha) => entmax32(&Law::new(alpha.get()), scores, keys, beta, out),
                Map::Hard => hard(scores, keys, out),
            }
        });
    }

    fn weights_f64(&self, scores: &[f64], keys: usize, beta: f64, out: &mut [f64]) {
        demand(check_rows("weights", scores.len(), keys, out.len()).and(check_beta(beta)));
        blocks(keys, out, |first, out| {
            let scores = &scores[first..][..out.len()];
            match *self {
                Map::Softmax => softmax64(scores, keys, beta, out),
                Map::Sparsemax => entmax64(&Law::new(2.0), scores, keys, beta, out),
                Map::Entmax(alpha) => entmax64(&Law::new(alpha.get()), scores, keys, beta, out),
                Map::Hard => hard(scores, keys, out),
            }
        });
    }

    fn jvp(&self, weights: &[f32], keys: usize, direction: &[f32], out: &mut [f32]) {
        demand(check_rows("direction", weights.len(), keys, direction.len()));
        demand(check_rows("product", weights.len(), keys, out.len()));
        let Some(slope) = self.slope() else { return out.fill(0.0) };
        blocks(keys, out, |first, out| {
            let range = first..first + out.len();
            jvp32(slope, &weights[range.clone()], keys, &direction[range], out);
        });
    }

    fn jvp_f64(&self, weights: &[f64], keys: usize, direction: &[f64], out: &mut [f64]) {
        demand(check_rows("direction", weights.len(), keys, direction.len()));
        demand(check_rows("product", weights.len(), keys, out.len()));
        let Some(slope) = self.slope() else { return out.fill(0.0) };
        blocks(keys, out, |first, out| {
            let range = first..first + out.len();
            jvp64(slope, &weights[range.clone()], keys, &direction[range], out);
        });
    }

    fn threshold(&self) -> Option<f64> {
        match self.alpha() {
            Some(1.0) => None,
            Some(alpha) => Some(1.0 / (alpha - 1.0)),
            None => Some(0.0),
        }
    }
}
