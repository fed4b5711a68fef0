//! Explicit networks: the existence proofs as constructors.
//!
//! Each constructor writes down the weights of two ordinary towers, so the result saves, loads, embeds, truncates and
//! is searched like a trained model. It comes with its number of neurons and a bound on its error, and says what the
//! bound rests on; [`measure`] compares the bound with the error on given items.
//!
//! | constructor | relations | guarantee |
//! |---|---|---|
//! | [`partition`] | any continuous one in up to four columns a side | largest error on a box, proven |
//! | [`random_features`] | shift-invariant kernels | largest or mean-square error, proven with a confidence |
//! | [`nystrom`] | `polynomial`, `exponential`, `cosine` | at the landmarks, proven; elsewhere [`residual`] |
//! | [`spectral_network`] | any that can be asked | mean-square error, measured on fresh pairs |

mod nystrom;
mod partition;
mod random_features;
mod spectral;

pub use crate::spectrum::{Evidence, Norm};
pub use nystrom::{nystrom, residual};
pub use partition::{Modulus, PartitionOptions, PartitionSize, partition, partition_size};
pub use random_features::random_features;
pub use spectral::spectral_network;

use serde::{Deserialize, Serialize};

use crate::encoder::DualEncoder;
use crate::error::{Error, ErrorKind, Result};
use crate::relation::Relation;
use crate::rows::Features;
use crate::tower::{Activation, Layer};

/// Unit roundoff of `f32`: a rounded result errs by at most this share of itself.
const UNIT: f64 = 0.5 * f32::EPSILON as f64;

/// `n u / (1 - n u)`: relative error of `n` roundings in `f32`, in any order (Higham, 2002, section 3.1).
fn roundings(n: usize) -> f64 {
    let share = n as f64 * UNIT;
    if share < 0.5 { share / (1.0 - share) } else { f64::INFINITY }
}

/// An explicit network with its size and its guarantee.
///
/// The guarantee holds for the `f32` model with inner products summed in `f64`, as [`DualEncoder::block`] does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Construction {
    /// The towers.
    #[serde(skip)]
    pub encoder: DualEncoder,
    /// Units with a nonlinear activation in both towers, those of a shared tower once.
    pub neurons: usize,
    /// Weights and biases of both towers, those of a shared tower once.
    pub parameters: usize,
    /// Embedding dimension.
    pub dimension: usize,
    /// Which network of which relation.
    pub name: String,
    /// The norm of the guarantee.
    pub norm: Norm,
    /// The error is at most this.
    pub guarantee: f64,
    /// With at least this probability over the random draws, 1 where nothing is drawn or the number is measured.
    pub confidence: f64,
    /// What the guarantee rests on.
    pub evidence: Evidence,
    /// Where it holds and under which assumptions.
    pub assumptions: String,
}

/// A bound on an error, and what it rests on.
struct Guarantee {
    norm: Norm,
    error: f64,
    confidence: f64,
    evidence: Evidence,
    assumptions: String,
}

impl Construction {
    fn new(encoder: DualEncoder, name: String, guarantee: Guarantee) -> Self {
        Construction {
            neurons: neurons(&encoder),
            parameters: encoder.parameters(),
            dimension: encoder.dim(),
            encoder,
            name,
            norm: guarantee.norm,
            guarantee: guarantee.error,
            confidence: guarantee.confidence,
            evidence: guarantee.evidence,
            assumptions: guarantee.assumptions,
        }
    }
}

/// Units of `encoder` with a nonlinear activation, those of a shared tower once.
///
/// ReLU units on the output count: they are neurons of the theorems.
pub fn neurons(encoder: &DualEncoder) -> usize {
    let towers = [Some(encoder.query()), (!encoder.is_shared()).then(|| encoder.key())];
    let nonlinear = |layer: &&Layer| layer.activation() != Activation::Identity;
    towers.into_iter().flatten().flat_map(|tower| tower.layers()).filter(nonlinear).map(Layer::outputs).sum()
}

/// An error beside its guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The norm of both.
    pub norm: Norm,
    /// The error on the pairs: measured.
    pub error: f64,
    /// The construction's guarantee, which rests on its evidence.
    pub guarantee: f64,
    /// `error / guarantee`: 1 is tight, above 1 the guarantee fails on these pairs.
    pub tightness: f64,
    /// Number of pairs.
    pub pairs: usize,
}

/// Values of one block of pairs.
const PAIRS: usize = 1 << 22;

/// The error of a construction on all pairs of `x` and `y`, in the norm of its guarantee.
///
/// Cost: `2 dimension` operations and one value of the relation a pair; memory for about four million pairs.
///
/// # Errors
/// As [`DualEncoder::block`] and [`Relation::block`]; [`ErrorKind::Data`] if there is no pair, [`ErrorKind::NonFinite`]
/// at a value (row = query, column = key) that is NaN or infinite.
pub fn measure(
    construction: &Construction,
    relation: &dyn Relation,
    x: &Features,
    y: &Features,
) -> Result<Measurement> {
    if x.is_empty() || y.is_empty() {
        return Err(Error::data("there is no pair to measure on", "bring at least one item a side"));
    }
    let what = || format!("errors of the {}", construction.name);
    let (mut largest, mut squares) = (0f64, 0.0);
    let height = (PAIRS / y.len()).max(1);
    let mut first = 0;
    while first < x.len() {
        let rows = x.slice(first..(first + height).min(x.len()));
        let mut values = vec![0.0; rows.len() * y.len()];
        relation.block(0, &rows, &y.rows(), &mut values)?;
        let model = construction.encoder.block(0, &rows, &y.rows())?;
        for (at, (value, own)) in values.iter().zip(model).enumerate() {
            let error = (value - own).abs();
            if !error.is_finite() {
                let (row, column) = (first + at / y.len(), at % y.len());
                return Err(ErrorKind::NonFinite { what: what(), row, column }.into());
            }
            largest = largest.max(error);
            squares += error * error;
        }
        first += height;
    }
    let pairs = x.len() * y.len();
    let error = match construction.norm {
        Norm::Sup => largest,
        Norm::Rms => (squares / pairs as f64).sqrt(),
    };
    let guarantee = construction.guarantee;
    Ok(Measurement { norm: construction.norm, error, guarantee, tightness: error / guarantee, pairs })
}
