//! Fitting towers to a relation: closed form first.
//!
//! [`spectral`] learns a relation that can be asked, [`observed`] a table of pairs with item features, [`complete`] a
//! table of ids in which every absent pair has a known value. All give a [`Fit`]. [`implicit`](fn@implicit) learns
//! pairs of ids that occurred, [`antisymmetric`](fn@antisymmetric) comparisons that no utility represents,
//! [`fold_in`](fn@fold_in) adds items to a model.

mod als;
mod antisymmetric;
mod block;
mod calibrate;
mod closed;
mod complete;
mod dimension;
mod features;
mod fold_in;
pub mod gradient;
mod grouped;
mod hidden;
mod ids;
mod implicit;
mod lbfgs;
mod log_odds;
mod logistic;
mod observed;
mod polish;
mod spectral;
mod utility;

pub use crate::relation::Law;
pub use als::factorise;
pub use antisymmetric::{
    Antisymmetric, AntisymmetricOptions, AntisymmetricSize, HeldOutOrder, HeldOutUnit, Recommendation, Recommended,
    antisymmetric,
};
pub use calibrate::{BaseRate, Calibrated, calibrate};
pub use complete::{Complete, complete};
pub(crate) use dimension::{by_dimension, choose, root_mean_square};
pub use fold_in::{FoldIn, fold_in};
pub use implicit::{Implicit, ImplicitFit, ImplicitSize, Ranking, Solver, Standing, implicit};
pub(crate) use log_odds::log_odds_form;
pub use observed::{Table, observed};
pub use spectral::spectral;
pub(crate) use spectral::spectral_on;
pub(crate) use utility::{Utility, UtilityProblem, utility};

use crate::encoder::{Class, DualEncoder};
use crate::error::{Error, Result};
use crate::seed::Seed;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Further steps would not have lowered the held-out error.
    Converged,
    /// The step limit or the time budget came first.
    StepLimit,
    /// The numbers left the finite range at this step; the model is the best one before it.
    Diverged {
        /// The step.
        step: usize,
    },
    /// The embeddings fell together at this step: their effective rank came down to nearly one; the model is the best one
    /// before it.
    Collapsed {
        /// The step.
        step: usize,
    },
}

/// One choice that a fit made, with its reason, for printing.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What was chosen.
    pub what: &'static str,
    /// The value.
    pub value: String,
    /// Why.
    pub reason: String,
}

impl Choice {
    pub(crate) fn new(what: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Choice { what, value: value.to_string(), reason: reason.into() }
    }
}

/// An error on held-out pairs that a model shall stay below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Root mean square, in the relation's units.
    Absolute(f64),
    /// Root mean square, relative to the root mean square of the values.
    Relative(f64),
    /// The error of a share of the pairs, in the relation's units.
    Quantile {
        /// The share, between 0 and 1.
        share: f64,
        /// What its errors shall stay below.
        error: f64,
    },
    /// The largest error, in the relation's units; for relations that can be asked.
    Sup(f64),
}

impl Target {
    fn check(&self) -> Result<()> {
        let (Target::Absolute(error) | Target::Relative(error) | Target::Quantile { error, .. } | Target::Sup(error)) =
            *self;
        if !(error > 0.0 && error.is_finite()) {
            return Err(Error::parameter("target error", "a positive number", error));
        }
        match self {
            Target::Quantile { share, .. } if !(*share > 0.0 && *share < 1.0) => {
                Err(Error::parameter("share of the pairs", "between 0 and 1", share))
            }
            _ => Ok(()),
        }
    }
}

/// How the embedding dimension is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dimension {
    /// As given.
    Fixed(usize),
    /// The smallest that meets the target on held-out pairs.
    Target(Target),
    /// The knee of the held-out error.
    Knee,
}

impl Dimension {
    /// The dimension, where it was given.
    pub(crate) fn fixed(self) -> Option<usize> {
        match self {
            Dimension::Fixed(dim) => Some(dim),
            _ => None,
        }
    }
}

/// How long to work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effort {
    /// Until the held-out error no longer falls.
    Converge,
    /// At most this many polishing steps a tower.
    Steps(usize),
    /// About this many seconds on one core, turned into counted steps before the start; the clock only stops what takes
    /// longer than counted.
    Seconds(f64),
}

/// Which way a table is fitted where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// By the data.
    #[default]
    Auto,
    /// Least squares in closed form.
    ClosedForm,
    /// Log-odds of a complete 0/1 relation of ids.
    Logistic,
}

/// Settings that all fits share; [`Options::default`] lets the data choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Model class; `None`: diagnosed.
    pub class: Option<Class>,
    /// Embedding dimension of a component.
    pub dimension: Dimension,
    /// Hidden units of each tower; `None`: by the size of the data.
    pub units: Option<usize>,
    /// How long to work.
    pub effort: Effort,
    /// Which way a table is fitted where there are several.
    pub method: Method,
    /// Seed of every random draw.
    pub seed: Seed,
}

impl Options {
    /// Refuses a target in a norm that observed pairs cannot show.
    fn check_observed(&self) -> Result<()> {
        match self.dimension {
            Dimension::Target(Target::Sup(error)) => {
                let expected = "a root mean square or a quantile: a largest error is for relations that can be asked";
                Err(Error::parameter("target error", expected, format!("sup:{error}")))
            }
            _ => self.check(),
        }
    }

    /// Refuses options that no fit can follow.
    fn check(&self) -> Result<()> {
        const MOST: usize = 1 << 16;
        for (name, value) in [("hidden units", self.units), ("dimension", self.dimension.fixed())] {
            if let Some(value) = value.filter(|v| !(1..=MOST).contains(v)) {
                return Err(Error::parameter(name, format!("from 1 to {MOST}"), value));
            }
        }
        if let Dimension::Target(target) = self.dimension {
            target.check()?;
        }
        match self.effort {
            Effort::Seconds(seconds) if !(seconds > 0.0 && seconds.is_finite()) => {
                Err(Error::parameter("time budget", "a positive number of seconds", seconds))
            }
            _ => Ok(()),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            class: None,
            dimension: Dimension::Knee,
            units: None,
            effort: Effort::Converge,
            method: Method::Auto,
            seed: Seed(0),
        }
    }
}

/// Told how a fit goes on; the default methods say nothing.
pub trait Progress: Sync {
    /// A new part of the work begins.
    fn stage(&self, _name: &str) {}
    /// `done` of at most `limit` steps are run; the best held-out residual so far is `held_out`, relative.
    fn step(&self, _done: usize, _limit: usize, _held_out: f64) {}
}

/// No report of progress.
pub struct Silent;
impl Progress for Silent {}

/// Held-out error of a model cut to one dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Dimension.
    pub dim: usize,
    /// Root mean square error on held-out pairs.
    pub rmse: f64,
}

/// Held-out error of one dimension with one ridge: sizes compared without their ridges mislead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizePoint {
    /// Dimension.
    pub dim: usize,
    /// Ridge, in the fit's own units.
    pub ridge: f64,
    /// Root mean square error on held-out pairs.
    pub rmse: f64,
}

/// A fitted model and how it came about.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The model.
    pub encoder: DualEncoder,
    /// How the run ended.
    pub outcome: Outcome,
    /// Steps run: of the polish, a tower; `Effort::Steps` with this number reproduces the run.
    pub steps: usize,
    /// Root mean square error of the saved model on held-out pairs, in the relation's units.
    pub held_out_rmse: f64,
    /// The same divided by the root mean square of the held-out values.
    pub held_out_relative: f64,
    /// Root mean square of the held-out values.
    pub held_out_scale: f64,
    /// Whether [`Dimension::Target`] was met; `None` without a target.
    pub target_met: Option<bool>,
    /// Held-out error of the model cut to each dimension up to the largest one tried.
    pub curve: Vec<CurvePoint>,
    /// Held-out error for each ridge and dimension compared; empty where the ridge only steadies the arithmetic.
    pub sizes: Vec<SizePoint>,
    /// What the held-out error is measured on.
    pub held_out_pairs: String,
    /// Every choice, in order.
    pub choices: Vec<Choice>,
}
