//! Neuron bounds: how many hidden units are known to suffice for an error.
//!
//! Counts are `f64`, rounded up where they are counts, because honest bounds reach 1e30. Every [`Bound`] lists the
//! numbers it is made of and how each is known; what is not finite or not applicable says so ([`Bound::valid`]) instead
//! of a number.

mod features;
mod partition;
mod random;
mod spectral;

use serde::Serialize;

pub use crate::spectrum::{Evidence, Norm};
pub use features::FeatureNorms;
pub(crate) use partition::{fewest_layers, grid_nodes, hat_layers, interpolation_reach};
pub use partition::{interpolation_constant, partition};
pub use random::{random_features, random_features_error};
pub use spectral::{asymmetric, symmetric};

use crate::error::{Error, Result};

/// A number of hidden units that suffices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// Which bound.
    pub name: String,
    /// The error that is reached.
    pub error: f64,
    /// In which norm.
    pub norm: Norm,
    /// Hidden units of the whole model, both towers where there are two; infinite unless `valid`.
    pub neurons: f64,
    /// Coordinates of the embedding, if the bound fixes them.
    pub dimension: Option<f64>,
    /// Whether the bound says anything here; if not, `assumptions` says why.
    pub valid: bool,
    /// The numbers it is made of.
    pub parts: Vec<Part>,
    /// What it rests on, in words.
    pub assumptions: String,
}

/// One number inside a [`Bound`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// What it is, with its symbol.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// How it is known.
    pub evidence: Evidence,
}

impl Bound {
    /// The part called `name`.
    pub fn part(&self, name: &str) -> Option<f64> {
        self.parts.iter().find(|p| p.name == name).map(|p| p.value)
    }

    fn new(name: &str, error: f64, norm: Norm, neurons: f64, dimension: Option<f64>) -> Self {
        let (valid, parts) = (neurons.is_finite(), Vec::new());
        Bound { name: name.into(), error, norm, neurons, dimension, valid, parts, assumptions: String::new() }
    }

    fn invalid(name: &str, error: f64, norm: Norm, why: &str) -> Self {
        Bound { assumptions: why.into(), ..Bound::new(name, error, norm, f64::INFINITY, None) }
    }

    fn with(mut self, name: &str, value: f64, evidence: Evidence) -> Self {
        self.parts.push(Part { name: name.into(), value, evidence });
        self
    }
}

fn check_error(eps: f64) -> Result<()> {
    if eps > 0.0 && eps.is_finite() {
        return Ok(());
    }
    Err(Error::parameter("target error", "a positive number", eps))
}

/// `ln` of a number of balls of radius `radius` that cover a box with these edges: a grid whose cells have that
/// half-diagonal.
fn covering_ln(widths: impl ExactSizeIterator<Item = f64>, radius: f64) -> f64 {
    let edge = 2.0 * radius / (widths.len() as f64).sqrt();
    widths.map(|width| (width / edge).ceil().max(1.0).ln()).sum()
}
