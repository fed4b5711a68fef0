//! What the whole jobs on labels, clicks and comparisons share: their settings and what they give.

use serde::Serialize;

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::evaluate::{Blocks, Calibration, OrderSummary, Population, RankingMetrics};
use crate::fit::gradient::{self, EpochRecord, Loss, Session};
use crate::fit::{Choice, Dimension, Implicit, Options, Outcome};
use crate::relation::{Leakage, Pairs, Split, SplitRule};
use crate::rows::Features;

/// Labels or clicks between items in memory.
#[derive(Clone, Copy)]
pub struct RelationTable<'a> {
    /// Features of the query items.
    pub queries: &'a Features,
    /// Features of the key items; `None`: both sides are one set of items.
    pub keys: Option<&'a Features>,
    /// Labels 0 or 1, or pairs that are positives.
    pub pairs: &'a Pairs,
    /// What each pair may be used for; `None`: by [`Training::hold_out`].
    pub split: Option<&'a [Split]>,
    /// Time of each pair, in any unit.
    pub times: Option<&'a [f64]>,
    /// The user's own negative keys of each pair; for clicks on items with features.
    pub negatives: Option<&'a [Vec<u32>]>,
}

impl RelationTable<'_> {
    /// Whether every item is an id without features.
    pub(crate) fn is_ids(&self) -> bool {
        self.queries.is_one_hot() && self.keys.is_none_or(Features::is_one_hot)
    }

    /// Number of key items.
    pub(crate) fn key_count(&self) -> usize {
        self.keys.unwrap_or(self.queries).len()
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.pairs.check_items(self.queries.len(), self.key_count())?;
        let columns = [
            ("split", self.split.map(<[_]>::len)),
            ("times", self.times.map(<[_]>::len)),
            ("own negatives", self.negatives.map(<[_]>::len)),
        ];
        for (name, len) in columns {
            if let Some(len) = len.filter(|&len| len != self.pairs.len()) {
                return Err(Error::shape(name, format!("one entry for each of {} pairs", self.pairs.len()), len));
            }
        }
        Ok(())
    }

    /// The pairs of one part.
    pub(crate) fn part(&self, split: &[Split], wanted: Split) -> Pairs {
        self.pairs.select(&positions(split, wanted))
    }
}

/// Indices of the entries of one part.
pub(crate) fn positions(split: &[Split], wanted: Split) -> Vec<usize> {
    (0..split.len()).filter(|&p| split[p] == wanted).collect()
}

/// What is held out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum HoldOut {
    /// By the split column where there is one; else a random part.
    #[default]
    Auto,
    /// By this rule.
    Rule(SplitRule),
    /// Nothing: every pair is fitted, and the report is on the fitted pairs (reconstruction).
    Nothing,
}

/// Which way labels, clicks and comparisons are learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// By the data.
    #[default]
    Auto,
    /// In closed form: alternating least squares for clicks on ids, least squares for labels.
    ClosedForm,
    /// By gradients.
    Gradient,
}

/// How a relation is trained, beside the [`Options`] that all fits share; what is `None` is chosen.
#[derive(Clone)]
pub struct Training<'a> {
    /// Which way.
    pub path: Path,
    /// What is minimised.
    pub loss: Option<Loss>,
    /// Outputs of each hidden layer of towers that start at random.
    pub hidden: Option<Vec<usize>>,
    /// Examples a step.
    pub batch: Option<usize>,
    /// Largest learning rate.
    pub learning_rate: Option<f64>,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub clip: Option<f64>,
    /// Epochs without progress after which training ends.
    pub patience: Option<usize>,
    /// What is held out.
    pub hold_out: HoldOut,
    /// Settings of implicit alternating least squares.
    pub implicit: Implicit,
    /// Bytes that a full ranking may use beside the model and the data.
    pub max_memory: Option<u64>,
    /// The first places that ranking metrics look at.
    pub at: Vec<usize>,
    /// Checkpoints and listeners.
    pub session: Session<'a>,
}

impl Default for Training<'_> {
    fn default() -> Self {
        Training {
            path: Path::Auto,
            loss: None,
            hidden: None,
            batch: None,
            learning_rate: None,
            weight_decay: 0.0,
            clip: None,
            patience: None,
            hold_out: HoldOut::Auto,
            implicit: Implicit::default(),
            max_memory: None,
            at: vec![1, 10, 100],
            session: Session::default(),
        }
    }
}

impl Training<'_> {
    /// The settings of a gradient training with this loss.
    pub(crate) fn gradient(&self, loss: Loss, options: &Options) -> gradient::Options {
        gradient::Options {
            loss,
            batch: self.batch,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            clip: self.clip,
            effort: options.effort,
            patience: self.patience,
            seed: options.seed,
            ..gradient::Options::default()
        }
    }

    /// Hidden layers of towers that start at random: none where all items of a side are ids.
    pub(crate) fn hidden(&self, options: &Options, ids: bool) -> Vec<usize> {
        match (&self.hidden, options.units) {
            (Some(hidden), _) => hidden.clone(),
            (None, Some(units)) => vec![units, units],
            (None, None) if ids => Vec::new(),
            (None, None) => vec![128, 128],
        }
    }
}

/// A target error where rows have no values.
pub(crate) fn no_target() -> Error {
    let expected = "left out: rows have no values that could err; name a dimension instead";
    Error::parameter("target error", expected, "one")
}

/// The dimension that was asked for, else `default`, with the reason.
pub(crate) fn dimension(options: &Options, default: (usize, &str)) -> Result<(usize, Choice)> {
    match options.dimension {
        Dimension::Fixed(dim) => Ok((dim, Choice::new("dimension", dim, "as asked for"))),
        Dimension::Knee => Ok((default.0, Choice::new("dimension", default.0, default.1))),
        Dimension::Target(_) => Err(no_target()),
    }
}

/// A full ranking: where related keys stand among all keys, for the model and for what it is compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FullRanking {
    /// Number of keys.
    pub keys: usize,
    /// Known pairs of the ranked queries that are no candidates.
    pub left_out: usize,
    /// What the baselines were made of.
    pub baselines_from: String,
    /// Ranked pairs that the training has, too; `None` where the baselines come from the ranked pairs themselves.
    pub leakage: Option<Leakage>,
    /// Blocks of the model's scores.
    pub blocks: Option<Blocks>,
    /// The model.
    pub model: RankingMetrics,
    /// Truncated singular value decomposition of the 0/1 matrix; `None` where it says nothing or does not fit into memory.
    pub truncated_svd: Option<Decomposition>,
    /// Keys by how often they occur.
    pub popularity: RankingMetrics,
    /// The expectation of a random order.
    pub random: RankingMetrics,
    /// The model's metrics by what its training knew.
    pub groups: Vec<(String, RankingMetrics)>,
}

/// A truncated singular value decomposition as a baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decomposition {
    /// Its dimension.
    pub dim: usize,
    /// Its metrics.
    #[serde(flatten)]
    pub metrics: RankingMetrics,
}

/// What the pairs that nothing saw say of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Labels: calibration and separation, by population.
    Labels(Vec<(Population, Calibration)>),
    /// Clicks: where the related keys stand among all keys.
    Ranking(Box<FullRanking>),
    /// Comparisons: the share in the right order, the model first, then what it is compared with.
    Order(Vec<(String, OrderSummary)>),
}

/// A held-out figure by which a model was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// What it was measured on.
    pub on: String,
}

/// A fitted relation of labels, clicks or comparisons.
#[derive(Clone, Debug)]
pub struct RelationFit {
    /// The model.
    pub encoder: DualEncoder,
    /// How the run ended.
    pub outcome: Outcome,
    /// Steps or sweeps run; `Effort::Steps` with this number reproduces the run.
    pub steps: usize,
    /// By what the model was chosen, on held-out examples that fitted nothing; `None` where nothing was held out.
    pub held_out: Option<Figure>,
    /// Every choice, in order.
    pub choices: Vec<Choice>,
    /// Every epoch of a gradient training.
    pub history: Vec<EpochRecord>,
    /// Candidate negatives left out because they are known positives.
    pub masked: u64,
    /// What unseen pairs say; `None` if there are none.
    pub evidence: Option<Evidence>,
    /// Query and key items that were fitted, increasing.
    pub known: [Vec<usize>; 2],
}
