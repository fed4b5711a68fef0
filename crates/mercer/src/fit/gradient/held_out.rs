//! Held-out figures: one fixed batch of held-out examples, measured after each epoch.

use crate::encoder::DualEncoder;
use crate::error::Result;
use crate::fit::gradient::data::Loaded;
use crate::fit::gradient::loss::{Embeddings, Loss};
use crate::fit::gradient::monitor::{HeldOut, MetricName, effective_rank};
use crate::fit::gradient::sampler::{Batch, against, lists, plain};
use crate::fit::gradient::state::State;
use crate::rows::Features;
use crate::seed::Seed;

/// Held-out pairs, comparisons or lists that are looked at, at most.
const EXAMPLES: usize = 1 << 15;
/// Held-out positives, each against many keys.
const POSITIVES: usize = 2048;
/// Keys that they are ranked among.
const KEYS: usize = 1 << 14;
/// Embeddings whose effective rank is taken.
const RANKED: usize = 4096;

/// Fixed held-out examples with their items.
pub(crate) struct Held {
    batch: Batch,
    queries: Features,
    keys: Features,
    loss: Loss,
}

impl Held {
    pub(crate) fn new(data: &Loaded<'_>, loss: &Loss, seed: Seed) -> Self {
        let (set, mut stream) = (&data.valid, seed.stream("held-out examples"));
        let most = if loss.is_softmax() { POSITIVES } else { EXAMPLES };
        let mut chosen = if set.len() > most { stream.choose(set.len(), most) } else { (0..set.len()).collect() };
        chosen.sort_unstable();
        let batch = match loss {
            Loss::SampledSoftmax(_) | Loss::FullSoftmax => {
                let all = data.key_items().len();
                let mut keys: Vec<u32> = if all > KEYS {
                    seed.stream("held-out keys").choose(all, KEYS).into_iter().map(|k| k as u32).collect()
                } else {
                    (0..all as u32).collect()
                };
                keys.sort_unstable();
                against(set, &chosen, &data.known, &keys, all as f64 / keys.len() as f64, data.keys.is_none())
            }
            Loss::Listwise => lists(set, &chosen, &mut stream),
            _ => plain(set, &chosen),
        };
        let (queries, keys) = (data.queries.select(&batch.queries), data.key_items().select(&batch.keys));
        Held { batch, queries, keys, loss: *loss }
    }

    /// What the loss's figure is called.
    pub(crate) fn metric_name(&self) -> MetricName {
        match self.loss {
            Loss::Squared | Loss::Huber { .. } => MetricName::Rmse,
            Loss::Logistic => MetricName::LogLoss,
            Loss::SampledSoftmax(_) | Loss::FullSoftmax => MetricName::MeanReciprocalRank,
            Loss::BradleyTerry | Loss::Listwise => MetricName::Ordered,
        }
    }

    /// Figures of the present weights, and their smaller effective rank.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NonFinite`] if a weight is NaN or infinite.
    pub(crate) fn measure(&self, state: &State) -> Result<(HeldOut, f64)> {
        let model = state.unscaled()?;
        let (queries, keys) = self.embed(&model)?;
        let at = Embeddings { queries: &queries, keys: &keys, dim: model.dim(), scale: state.scale() };
        let (loss, metric) = self.batch.measure(&self.loss, at);
        let rank = [&queries, &keys]
            .into_iter()
            // Two items make a line whatever the model.
            .filter(|side| side.len() > 2 * model.dim())
            .map(|side| effective_rank(&side[..side.len().min(RANKED * model.dim())], model.dim()))
            .fold(model.dim() as f64, f64::min);
        Ok((HeldOut { loss, metric, name: self.metric_name() }, rank))
    }

    /// The held-out loss of scores that are all zero.
    ///
    /// # Errors
    /// As [`Held::measure`].
    pub(crate) fn reference(&self, state: &State) -> Result<f64> {
        let model = state.unscaled()?;
        let (queries, keys) = self.embed(&model)?;
        let at = Embeddings { queries: &queries, keys: &keys, dim: model.dim(), scale: 0.0 };
        Ok(self.batch.measure(&self.loss, at).0.abs().max(1e-12))
    }

    fn embed(&self, model: &DualEncoder) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok((model.embed_queries(&self.queries.rows())?, model.embed_keys(&self.keys.rows())?))
    }
}
