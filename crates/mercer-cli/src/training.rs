//! Settings of training by gradients and of what is held out, as flags and as keys of the settings file.

use std::path::PathBuf;

use clap::Args;
use mercer::fit::Implicit;
use mercer::fit::gradient::{Hard, Loss, NegativeLaw, Sampling};
use mercer::pipeline::{HoldOut, Path as Way, Training};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::memory;
use crate::settings::{MethodName, settings};

settings! {
    /// How labels, clicks and comparisons are trained and measured; everything left open is chosen from the data.
    TrainingSettings {
    /// What is minimised: squared, huber:DELTA, logistic, softmax, full-softmax, bradley-terry, listwise [default: by what rows say]
    #[arg(long, value_name = "LOSS", help_heading = "Training")]
    loss: String,
    /// Outputs of each hidden layer of towers that start at random [default: 128,128; none for ids]
    #[arg(long, value_name = "N,..", value_delimiter = ',', help_heading = "Training")]
    hidden: Vec<usize>,
    /// Examples a step [default: by the size of the data, 256 to 4096]
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch: usize,
    /// Largest learning rate [default: .001; .01 for ids]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    learning_rate: f64,
    /// Decoupled weight decay [default: 0]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    weight_decay: f64,
    /// Shorten gradients to this norm [default: as they come]
    #[arg(long, value_name = "NORM", help_heading = "Training")]
    clip: f64,
    /// Epochs without a lower held-out loss after which training ends [default: 10]
    #[arg(long, value_name = "N", help_heading = "Training")]
    patience: usize,
    /// Keys drawn as negatives for a batch, beside its own [default: 256]
    #[arg(long, value_name = "N", help_heading = "Training")]
    extra_negatives: usize,
    /// How they are drawn: uniform, popularity, popularity:POWER [default: uniform]
    #[arg(long, value_name = "LAW", help_heading = "Training")]
    negative_law: String,
    /// Hard negatives mined for each pair after every epoch [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    hard_negatives: usize,
    /// Confidence of a click of value 1 in alternating least squares [default: chosen by hold-out]
    #[arg(long, value_name = "ALPHA", help_heading = "Training")]
    alpha: f64,
    /// Ridge of alternating least squares on clicks [default: chosen by hold-out]
    #[arg(long, value_name = "RIDGE", help_heading = "Training")]
    ridge: f64,
    /// What is held out to choose and to report: none, or random:.05,.1, leave-one-out, temporal:0,.1, new-items:.05,.05,
    /// new-queries:0,.1, new-keys:0,.1 (shares that choose and that report) [default: the split column, else random]
    #[arg(long, value_name = "RULE", help_heading = "Hold-out and report")]
    hold_out: String,
    /// First places that ranking metrics look at [default: 1,10,100]
    #[arg(long, value_name = "K,..", value_delimiter = ',', help_heading = "Hold-out and report")]
    at: Vec<usize>,
    /// Memory that a full ranking may take, such as 1GiB [default: about 256 MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Hold-out and report")]
    max_memory: String,
    /// Write what training needs to go on to this file, every so many steps and at the end
    #[arg(long, value_name = "FILE", help_heading = "Checkpoints")]
    checkpoint: PathBuf,
    /// Steps between two checkpoints [default: 200]
    #[arg(long, value_name = "N", requires = "checkpoint", help_heading = "Checkpoints")]
    checkpoint_every: usize,
    /// Go on from the checkpoint, where there is one; the result has the same bits as an unbroken run
    #[arg(long, requires = "checkpoint", num_args = 0, default_missing_value = "true", help_heading = "Checkpoints")]
    resume: bool,
    /// Write one JSON line an epoch to this file
    #[arg(long, value_name = "FILE.jsonl", help_heading = "Checkpoints")]
    metrics: PathBuf,
}}

/// What `--loss` accepts, for messages.
const LOSSES: &str = "squared, huber:DELTA, logistic, softmax, full-softmax, bradley-terry or listwise";

impl TrainingSettings {
    /// The library's settings, without files and listeners.
    pub(crate) fn training(&self, method: Option<MethodName>) -> Result<Training<'static>, Failure> {
        let path = match method {
            Some(MethodName::Gradient) => Way::Gradient,
            Some(MethodName::ClosedForm | MethodName::Als | MethodName::Observed) => Way::ClosedForm,
            _ => Way::Auto,
        };
        let defaults = Training::default();
        Ok(Training {
            path,
            loss: self.loss()?,
            hidden: self.hidden.clone(),
            batch: self.batch,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay.unwrap_or(0.0),
            clip: self.clip,
            patience: self.patience,
            hold_out: self.hold_out()?,
            implicit: Implicit { alpha: self.alpha, ridge: self.ridge, ..Implicit::default() },
            max_memory: self.max_memory.as_deref().map(memory::parse).transpose()?,
            at: self.at.clone().unwrap_or(defaults.at.clone()),
            ..defaults
        })
    }

    /// Whether anything is said that only a training by gradients follows.
    pub(crate) fn trains(&self) -> bool {
        self.loss.is_some()
            || self.hidden.is_some()
            || self.batch.is_some()
            || self.learning_rate.is_some()
            || self.weight_decay.is_some()
            || self.clip.is_some()
            || self.patience.is_some()
            || self.checkpoint.is_some()
            || self.metrics.is_some()
    }

    fn loss(&self) -> Result<Option<Loss>, Failure> {
        let sampling = self.sampling()?;
        let Some(text) = &self.loss else {
            return Ok(sampling.map(Loss::SampledSoftmax));
        };
        let wrong = || Failure::usage(format!("--loss must be {LOSSES}, got '{text}'"));
        let loss = match text.trim().split_once(':') {
            Some(("huber", delta)) => Loss::Huber { delta: delta.trim().parse().map_err(|_| wrong())? },
            Some(_) => return Err(wrong()),
            None => match text.trim() {
                "squared" => Loss::Squared,
                "logistic" => Loss::Logistic,
                "softmax" => Loss::SampledSoftmax(sampling.unwrap_or_default()),
                "full-softmax" => Loss::FullSoftmax,
                "bradley-terry" => Loss::BradleyTerry,
                "listwise" => Loss::Listwise,
                _ => return Err(wrong()),
            },
        };
        if sampling.is_some() && !matches!(loss, Loss::SampledSoftmax(_)) {
            return Err(Failure::usage(
                "--extra-negatives, --negative-law and --hard-negatives belong to --loss softmax",
            ));
        }
        Ok(Some(loss))
    }

    /// How the sampled softmax meets its keys; `None` where nothing is said.
    fn sampling(&self) -> Result<Option<Sampling>, Failure> {
        if self.extra_negatives.is_none() && self.negative_law.is_none() && self.hard_negatives.is_none() {
            return Ok(None);
        }
        let defaults = Sampling::default();
        let law = match self.negative_law.as_deref().map(str::trim) {
            None => defaults.law,
            Some("uniform") => NegativeLaw::Uniform,
            Some("popularity") => NegativeLaw::Popularity { power: 1.0 },
            Some(text) => match text.strip_prefix("popularity:").map(|p| p.trim().parse()) {
                Some(Ok(power)) => NegativeLaw::Popularity { power },
                _ => {
                    let message =
                        format!("--negative-law must be uniform, popularity or popularity:POWER, got '{text}'");
                    return Err(Failure::usage(message));
                }
            },
        };
        let hard = self.hard_negatives.filter(|n| *n > 0).map(|count| Hard { count, ..Hard::default() });
        Ok(Some(Sampling { extra: self.extra_negatives.unwrap_or(defaults.extra), law, hard, ..defaults }))
    }

    fn hold_out(&self) -> Result<HoldOut, Failure> {
        match self.hold_out.as_deref().map(str::trim) {
            None | Some("auto") => Ok(HoldOut::Auto),
            Some("none") => Ok(HoldOut::Nothing),
            Some(rule) => Ok(HoldOut::Rule(rule.parse().map_err(|e| Failure::usage(format!("--hold-out: {e}")))?)),
        }
    }

    /// The settings that change the model: files are no part of it.
    pub(crate) fn recorded(&self) -> TrainingSettings {
        TrainingSettings {
            checkpoint: None,
            checkpoint_every: None,
            resume: None,
            metrics: None,
            max_memory: None,
            ..self.clone()
        }
    }
}
