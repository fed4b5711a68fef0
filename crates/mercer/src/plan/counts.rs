//! How many neurons a target error needs: by theorems, by construction, by training.

use serde::Serialize;

use crate::encoder::Class;
use crate::error::Result;
use crate::fit::{Progress, Target};
use crate::plan::table::least_dim;
use crate::plan::width::{Search, Trained, Training};
use crate::plan::{Wish, norm_of};
use crate::relation::{Kernel, Law, Relation};
use crate::spectrum::{Evidence, Floors, Norm, Spectrum};

/// One way to reach an error, with its size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Count {
    /// Which theorem or construction.
    pub name: String,
    /// Hidden units of both towers, of a shared one once, that suffice; `None` where it does not apply.
    pub neurons: Option<f64>,
    /// Embedding dimension.
    pub dim: Option<f64>,
    /// The error of the network as it was built; `None` where it was only counted.
    pub error: Option<f64>,
    /// How the number of neurons is known.
    pub evidence: Evidence,
    /// What it rests on, in words.
    pub words: String,
}

/// What one target error needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Need {
    /// The target, in words.
    pub target: String,
    /// The error, in the relation's units.
    pub error: f64,
    /// The norm in which it is meant.
    pub norm: Norm,
    /// Smallest dimension, of those with a floor, that is not excluded for the class: proven.
    pub least_dim: Option<usize>,
    /// Smallest dimension whose truncated spectrum errs by at most the target: estimated.
    pub theory_dim: Option<usize>,
    /// What theorems and constructions need.
    pub counts: Vec<Count>,
    /// What training needs; `None` if the widest towers tried do not do it, or nothing was tried.
    pub trained: Option<Trained>,
}

/// Everything that the counts for a relation rest on.
pub(crate) struct Sizes<'a> {
    pub(crate) relation: &'a dyn Relation,
    pub(crate) kernel: Option<&'a Kernel>,
    pub(crate) queries: Law<'a>,
    pub(crate) keys: Option<Law<'a>>,
    pub(crate) class: Class,
    pub(crate) floors: &'a Floors,
    pub(crate) spectrum: &'a Spectrum,
    pub(crate) scale: f64,
    pub(crate) wish: &'a Wish,
}

impl Sizes<'_> {
    pub(crate) fn need(&self, target: Target, progress: &dyn Progress) -> Result<Need> {
        let (error, norm, words) = norm_of(target, self.scale);
        progress.stage("width");
        let search = Search::new(self.relation, self.queries, self.keys, self.class, self.wish.options.seed)?;
        let least = self.least_dim(error, norm);
        let from = least.or(self.spectrum.dimension_for(error, Norm::Rms)).unwrap_or(1).max(1);
        let trained = search.narrowest(error, norm, from, Training::Polished)?;
        let mut counts = Vec::new();
        counts.extend(search.narrowest(error, norm, from, Training::ClosedForm)?.map(|t| Count {
            name: "spectral network".into(),
            neurons: Some(t.neurons as f64),
            dim: Some(t.dim as f64),
            error: Some(t.error),
            evidence: Evidence::Measured,
            words: format!("random hidden units, outputs in closed form; the narrowest of {} fits", t.fits),
        }));
        Ok(Need {
            least_dim: least,
            theory_dim: self.spectrum.dimension_for(error, norm),
            counts,
            trained,
            target: words,
            error,
            norm,
        })
    }

    fn least_dim(&self, error: f64, norm: Norm) -> Option<usize> {
        least_dim(self.floors, self.class, error, norm)
    }
}
