//! Training by gradients: for what has no closed form, and to go on from one.
//!
//! [`train`] minimises a [`Loss`] over the weights of both towers by Adam on batches. It serves every kind of observation: values
//! ([`Loss::Squared`], [`Loss::Huber`], or their order only, [`Loss::Listwise`]), labels ([`Loss::Logistic`]), positives
//! ([`Loss::SampledSoftmax`], [`Loss::FullSoftmax`]), preferences and triplets ([`Loss::BradleyTerry`]).
//!
//! Each epoch ends with held-out figures; the best weights are kept. A run ends in an [`Outcome`]: `Converged` when the held-out
//! loss no longer falls, `StepLimit`, `Diverged` when a loss is not finite or more than 10,000 times that of the start and of
//! a model without any opinion, `Collapsed` when the embeddings fall together. In all of them the model returned is
//! the best one seen.
//!
//! The same seed gives the same bits for any number of threads, and after a resumption from a [checkpoint](Session::checkpoint).
//!
//! ```
//! use mercer::fit::gradient::{Examples, Loss, Options, Problem, Session, Shape, Start, train};
//! use mercer::fit::Effort;
//! use mercer::{Features, Pairs};
//!
//! // x * y on 20 points a side; every fifth pair is held out.
//! let points = Features::dense((0..20).map(|i| i as f32 / 10.0 - 0.95).collect(), 1)?;
//! let at = |i: usize| i as f32 / 10.0 - 0.95;
//! let part = |held_out: bool| {
//!     let chosen: Vec<(u32, u32)> =
//!         (0..400).filter(|p| (p % 5 == 2) == held_out).map(|p| (p / 20, p % 20)).collect();
//!     let value = chosen.iter().map(|p| at(p.0 as usize) * at(p.1 as usize)).collect();
//!     Pairs::new(chosen.iter().map(|p| p.0).collect(), chosen.iter().map(|p| p.1).collect(), value, None)
//! };
//! let (pairs, held_out) = (part(false)?, part(true)?);
//! let problem = Problem::new(&points, Some(&points), Examples::Pairs(&pairs), Examples::Pairs(&held_out));
//! let shape = Shape { dim: 4, hidden: vec![32], ..Shape::default() };
//! let options = Options { loss: Loss::Squared, effort: Effort::Steps(400), ..Options::default() };
//! let trained = train(&problem, &Start::Random(shape), &options, &Session::default())?;
//! assert!(trained.held_out.metric < 0.05);
//! # Ok::<(), mercer::Error>(())
//! ```

pub(crate) mod adam;
mod balance;
mod checkpoint;
mod data;
mod held_out;
pub(crate) mod loss;
mod mine;
mod monitor;
pub(crate) mod net;
mod sampler;
mod schedule;
pub(crate) mod softmax;
mod standard;
mod start;
mod state;
mod trainer;
#[doc(hidden)]
pub mod workload;

use std::path::Path;

pub use data::{Examples, Problem};
pub use loss::{Hard, Loss, NegativeLaw, Sampling};
pub use monitor::{EpochRecord, HeldOut, MetricName, Monitor};
pub use net::Precision;
pub use schedule::Schedule;
pub use start::{Shape, Start};
pub use trainer::train;
pub(crate) use trainer::usual_batch;

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::fit::{Choice, Effort, Outcome, Silent};
use crate::seed::Seed;

/// Settings of a training; the data choose where nothing is named.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What is minimised.
    pub loss: Loss,
    /// Examples a step: pairs or comparisons; of [`Loss::Listwise`] about as many pairs, in whole lists. `None`: about a
    /// hundredth of the examples, a power of two from 256 to 4096.
    pub batch: Option<usize>,
    /// Learning rate at its largest. `None`: 1e-3, and 1e-2 for an id table, each of whose rows only few steps touch.
    pub learning_rate: Option<f64>,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Decoupled weight decay, a share of each weight per unit of learning rate.
    pub weight_decay: f64,
    /// Largest Euclidean norm of the gradient; longer ones are shortened to it. `None`: as they come.
    pub clip: Option<f64>,
    /// How long to work: until the held-out loss no longer falls, or a number of steps. Seconds are turned into steps before the
    /// start, by timing some on a copy, and [`Effort::Steps`] with that number reproduces the run.
    pub effort: Effort,
    /// Epochs without a lower held-out loss (by a thousandth) after which training ends. `None`: 10 where it runs until it
    /// converges, no end where the steps are counted.
    pub patience: Option<usize>,
    /// Whether the scale of the scores is learned: the inverse temperature of softmax, and the size of values.
    pub learn_scale: bool,
    /// Numbers that the towers' products read. `None`: bf16 where this processor multiplies it faster, for random towers with a
    /// hidden layer of 256 units or more; else `f32`.
    pub precision: Option<Precision>,
    /// Seed of every random draw.
    pub seed: Seed,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            loss: Loss::Squared,
            batch: None,
            learning_rate: None,
            schedule: Schedule::Auto,
            weight_decay: 0.0,
            clip: None,
            effort: Effort::Converge,
            patience: None,
            learn_scale: true,
            precision: None,
            seed: Seed(0),
        }
    }
}

impl Options {
    /// Refuses options that no training can follow.
    fn check(&self) -> Result<()> {
        self.loss.check()?;
        self.schedule.check()?;
        if let Some(batch) = self.batch.filter(|b| !(1..=1 << 20).contains(b)) {
            return Err(Error::parameter("examples a step", format!("from 1 to {}", 1 << 20), batch));
        }
        for (name, value) in [("learning rate", self.learning_rate), ("largest gradient norm", self.clip)] {
            if let Some(value) = value.filter(|v| !(*v > 0.0 && v.is_finite())) {
                return Err(Error::parameter(name, "a positive number", value));
            }
        }
        if !(0.0..=1e6).contains(&self.weight_decay) {
            return Err(Error::parameter("weight decay", "from 0 to 1e6", self.weight_decay));
        }
        if self.patience == Some(0) {
            return Err(Error::parameter("patience", "at least 1 epoch", 0));
        }
        match self.effort {
            Effort::Seconds(seconds) if !(seconds > 0.0 && seconds.is_finite()) => {
                Err(Error::parameter("time budget", "a positive number of seconds", seconds))
            }
            _ => Ok(()),
        }
    }
}

/// What accompanies a training: files and listeners. The default has none.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// A checkpoint to go on from, written by a training with the same problem, start and options.
    pub resume: Option<&'a Path>,
    /// Where to write a checkpoint, and after how many steps each time; one more is written at the end.
    pub checkpoint: Option<(&'a Path, usize)>,
    /// Told after each epoch, asked before each step.
    pub monitor: &'a dyn Monitor,
}

impl Default for Session<'_> {
    fn default() -> Self {
        Session { resume: None, checkpoint: None, monitor: &Silent }
    }
}

/// A trained model and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The model: the best weights seen, the learned scale folded in, coordinates ordered by singular value on a sample of
    /// the items where the last layers are linear. Its link is [`crate::Link::Logistic`] after [`Loss::Logistic`].
    pub encoder: DualEncoder,
    /// How the run ended.
    pub outcome: Outcome,
    /// Steps run.
    pub steps: usize,
    /// Steps planned: [`Effort::Steps`] with this number reproduces a run with a time budget.
    pub planned_steps: usize,
    /// Held-out figures of the model returned.
    pub held_out: HeldOut,
    /// The epoch that the model returned is from; 0 is the start.
    pub best_epoch: usize,
    /// Every epoch, the start first.
    pub history: Vec<EpochRecord>,
    /// Candidates left out because they are known positives.
    pub masked: u64,
    /// Every choice, in order.
    pub choices: Vec<Choice>,
}
