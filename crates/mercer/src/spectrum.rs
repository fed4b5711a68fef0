//! What a relation is made of, before anything is fitted: energy shares and the class that follows, spectra, the error
//! floors that no model can go below, and the noise in observed values.

mod diagnosis;
mod energy;
mod floors;
mod noise;
mod sampled;

use serde::{Deserialize, Serialize};

pub use diagnosis::{Diagnosis, diagnose};
pub use energy::Energy;
pub use floors::{Floor, FloorOptions, Floors, floors, table_floors};
pub use noise::{Noise, NoiseSource, plateau_noise, repeat_noise};
pub use sampled::{Anchors, Norm, Spectrum, sampled};

/// How a number is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// It follows from a theorem (with the stated confidence, where one is stated).
    Proven,
    /// It is computed from a sample or an approximation, without a guarantee.
    Estimated,
    /// It was observed on data.
    Measured,
}
