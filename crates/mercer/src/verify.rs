//! Every theorem as a claim with a prediction and a measurement.

use serde::Serialize;

use crate::certify::sup::SupNorm;
use crate::plan::Need;

/// One claim of the theory, what it predicts and what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Claim {
    /// The theorem that the claim belongs to, such as `symmetric universality`.
    pub theorem: String,
    /// The claim, for named relations.
    pub claim: String,
    /// What the theory predicts.
    pub predicted: String,
    /// What was measured.
    pub measured: String,
    /// Whether the measurement agrees.
    pub holds: bool,
}

/// A sampled spectrum beside the one that is known in closed form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpectrumFigure {
    /// The relation.
    pub relation: String,
    /// Sampled eigenvalues, `(index from 1, value)`.
    pub sampled: Vec<(usize, f64)>,
    /// Half the width of the confidence band around each sampled value.
    pub radius: f64,
    /// Confidence of the band.
    pub confidence: f64,
    /// Eigenvalues by the formula, at the same indices.
    pub exact: Vec<(usize, f64)>,
}

/// Error against dimension.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorFigure {
    /// The relation.
    pub relation: String,
    /// Root mean square error of fitted models on held-out pairs, `(dimension, error)`.
    pub attained: Vec<(usize, f64)>,
    /// Certified floors, `(dimension, error)`; zeros are left out.
    pub floors: Vec<(usize, f64)>,
    /// Tail of the sampled spectrum, `(dimension, error)`.
    pub tails: Vec<(usize, f64)>,
}

/// Neurons against error: everything that [`Need`] counts, for one relation over several errors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NeuronFigure {
    /// The relation with its domain.
    pub relation: String,
    /// One entry an error and norm.
    pub needs: Vec<Need>,
}

/// Where a model errs most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorstFigure {
    /// The relation and the model.
    pub relation: String,
    /// Coordinates of the grid's nodes, the same on both sides.
    pub nodes: Vec<f64>,
    /// Absolute errors, row-major, a row a query.
    pub errors: Vec<f64>,
    /// The certificate with the worst point.
    pub certificate: SupNorm,
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// The claims, in the order of the theory.
    pub claims: Vec<Claim>,
    /// Sampled spectra beside exact ones.
    pub spectra: Vec<SpectrumFigure>,
    /// Error against dimension.
    pub errors: Vec<ErrorFigure>,
    /// Neurons against error.
    pub neurons: Vec<NeuronFigure>,
    /// Where the worst point lies.
    pub worst: Vec<WorstFigure>,
}

impl Verification {
    /// Whether every claim holds.
    pub fn holds(&self) -> bool {
        self.claims.iter().all(|c| c.holds)
    }
}
