//! Everything that a training's next step depends on, and the step itself.

use crate::encoder::{DualEncoder, Form};
use crate::error::Result;
use crate::fit::gradient::adam::{Adam, Settings};
use crate::fit::gradient::balance::scaled;
use crate::fit::gradient::checkpoint::Arrays;
use crate::fit::gradient::data::Loaded;
use crate::fit::gradient::loss::candidates::Lists;
use crate::fit::gradient::loss::{Embeddings, Loss, Slopes};
use crate::fit::gradient::monitor::{EpochRecord, HeldOut, MetricName};
use crate::fit::gradient::net::{Gradient, Net, Precision, Tape, backward, forward};
use crate::fit::gradient::sampler::{Batch, HardKeys};
use crate::fit::gradient::start::Started;
use crate::parallel::both;
use crate::rows::Features;

/// One tower in training.
struct Side {
    net: Net,
    adam: Adam,
}

/// What a pass of one side's items leaves; a shared tower has two.
struct Pass {
    tape: Tape,
    capacity: usize,
    precision: Precision,
    gradient: Gradient,
}

impl Pass {
    fn new(net: &Net, precision: Precision) -> Self {
        let (tape, gradient) = (Tape::with_precision(net, 1, precision), Gradient::new(net));
        Pass { tape, capacity: 1, precision, gradient }
    }

    fn forward(&mut self, net: &Net, items: &Features) -> Result<()> {
        if items.len() > self.capacity {
            self.capacity = items.len().next_power_of_two();
            self.tape = Tape::with_precision(net, self.capacity, self.precision);
        }
        forward(net, &items.rows(), &mut self.tape)
    }

    fn backward(&mut self, net: &Net, items: &Features, slopes: &[f32]) -> Result<()> {
        backward(net, &items.rows(), &mut self.tape, slopes, &mut self.gradient)
    }
}

impl Side {
    fn new(net: Net, settings: Settings) -> Result<Self> {
        Ok(Side { adam: Adam::new(&net, settings)?, net })
    }

    fn put(&self, name: &str, arrays: &mut Arrays) {
        let (first, second, last) = self.adam.state();
        arrays.put_floats(name, self.net.parameters());
        arrays.put_floats(&format!("{name}.first"), first);
        arrays.put_floats(&format!("{name}.second"), second);
        arrays.put_counts(&format!("{name}.last"), last.to_vec());
        arrays.put_counts(&format!("{name}.steps"), vec![self.adam.steps()]);
    }

    fn take(&mut self, name: &str, arrays: &mut Arrays) -> Option<()> {
        copy(self.net.parameters_mut(), &arrays.floats(name)?)?;
        let first = arrays.floats(&format!("{name}.first"))?;
        let second = arrays.floats(&format!("{name}.second"))?;
        let last = arrays.counts(&format!("{name}.last"))?;
        let steps = *arrays.counts(&format!("{name}.steps"))?.first()?;
        self.adam.restore(steps, first, second, last).ok()
    }
}

/// Copies between slices of one length.
fn copy(out: &mut [f32], values: &[f32]) -> Option<()> {
    (out.len() == values.len()).then(|| out.copy_from_slice(values))
}

fn multiply_rows_by(rows: &mut [f32], factors: &[f32]) {
    rows.chunks_exact_mut(factors.len()).for_each(|row| row.iter_mut().zip(factors).for_each(|(v, f)| *v *= f));
}

/// The best weights so far and their held-out figures.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Best {
    query: Vec<f32>,
    key: Vec<f32>,
    log_scale: f32,
    pub(crate) held_out: HeldOut,
    pub(crate) epoch: usize,
    pub(crate) rank: f64,
}

/// Sums over the steps of the running epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) loss: f64,
    pub(crate) norm: f64,
    pub(crate) steps: f64,
    pub(crate) examples: f64,
}

/// What the epochs' ends decide by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Patience {
    /// The held-out loss that counts as the last one clearly lower.
    pub(crate) mark: f64,
    /// Epochs since then.
    pub(crate) waited: usize,
    /// Factor of the learning rate on a plateau.
    pub(crate) factor: f64,
}

/// Learning rates of one step.
#[derive(Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) query: f64,
    pub(crate) key: f64,
    /// Of the scale's logarithm; 0 keeps it.
    pub(crate) scale: f64,
    pub(crate) clip: Option<f64>,
}

/// A training's state between two steps.
pub(crate) struct State {
    query: Side,
    key: Option<Side>,
    form: Form,
    passes: [Pass; 2],
    /// The scale of the scores is `first_scale * e^log_scale`.
    first_scale: f64,
    log_scale: [f32; 1],
    scale_adam: Adam,
    slopes: Slopes,
    pub(crate) step: usize,
    pub(crate) epoch: usize,
    /// Steps planned.
    pub(crate) planned: usize,
    pub(crate) masked: u64,
    pub(crate) sums: Sums,
    pub(crate) patience: Patience,
    pub(crate) best: Option<Best>,
    pub(crate) hard: Option<HardKeys>,
    pub(crate) gap: Option<f64>,
    pub(crate) history: Vec<EpochRecord>,
}

/// What a step found: both are not finite, or too large to be acted upon, where training diverges.
pub(crate) struct Step {
    pub(crate) loss: f64,
    pub(crate) norm: f64,
}

impl State {
    pub(crate) fn new(started: &Started, weight_decay: f64, precision: Precision) -> Result<Self> {
        let settings = Settings { decay: weight_decay as f32, ..Settings::default() };
        let encoder = &started.encoder;
        let side = |tower| Side::new(Net::of(tower), settings);
        let (query, key) =
            (side(encoder.query())?, if encoder.is_shared() { None } else { Some(side(encoder.key())?) });
        Ok(State {
            passes: [&query.net, key.as_ref().map_or(&query.net, |side| &side.net)]
                .map(|net| Pass::new(net, precision)),
            query,
            key,
            form: encoder.form().clone(),
            first_scale: started.scale,
            log_scale: [0.0],
            scale_adam: Adam::of_length(1, Settings::default())?,
            slopes: Slopes::default(),
            step: 0,
            epoch: 0,
            planned: 0,
            masked: 0,
            sums: Sums::default(),
            patience: Patience { mark: f64::INFINITY, waited: 0, factor: 1.0 },
            best: None,
            hard: None,
            gap: None,
            history: Vec::new(),
        })
    }

    /// Every parameter, in order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = f32> {
        let key = self.key.iter().flat_map(|side| side.net.parameters());
        self.query.net.parameters().iter().chain(key).copied().chain([self.first_scale as f32])
    }

    /// The scale of the scores.
    pub(crate) fn scale(&self) -> f64 {
        self.first_scale * f64::from(self.log_scale[0]).exp()
    }

    /// The model with the present weights, without the scale.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NonFinite`] if a weight is NaN or infinite.
    pub(crate) fn unscaled(&self) -> Result<DualEncoder> {
        let key = self.key.as_ref().map(|side| side.net.tower()).transpose()?;
        DualEncoder::new(self.query.net.tower()?, key, self.form.clone(), 1)
    }

    /// The model with the present weights and the scale folded in.
    ///
    /// # Errors
    /// As [`State::unscaled`].
    pub(crate) fn encoder(&self) -> Result<DualEncoder> {
        scaled(&self.unscaled()?, self.scale())
    }

    /// The loss of `batch` at the present weights and its slope in the scale's logarithm; its gradient stays with the passes,
    /// that of a shared tower with the first.
    fn gradient(&mut self, batch: &Batch, loss: &Loss, data: &Loaded<'_>) -> Result<(f64, f64)> {
        let scale = self.scale();
        let (queries, keys) = (data.queries.select(&batch.queries), data.key_items().select(&batch.keys));
        let net = &self.query.net;
        let key_net = self.key.as_ref().map_or(net, |side| &side.net);
        let [pass, key_pass] = &mut self.passes;
        let done = both(|| pass.forward(net, &queries), || key_pass.forward(key_net, &keys));
        done.0.and(done.1)?;
        let mut folded = Vec::new();
        let embedded = match &self.form {
            Form::Signs(signs) => {
                folded.extend_from_slice(pass.tape.outputs());
                multiply_rows_by(&mut folded, signs);
                &folded
            }
            Form::Identity => pass.tape.outputs(),
        };
        let at = Embeddings { queries: embedded, keys: key_pass.tape.outputs(), dim: net.outputs(), scale };
        let value = batch.loss(loss, at, &mut self.slopes);
        let log_scale = self.slopes.log_scale(at);
        if let Form::Signs(signs) = &self.form {
            multiply_rows_by(&mut self.slopes.queries, signs);
        }
        let slopes = &self.slopes;
        let done =
            both(|| pass.backward(net, &queries, &slopes.queries), || key_pass.backward(key_net, &keys, &slopes.keys));
        done.0.and(done.1)?;
        if self.key.is_none() {
            pass.gradient.add(&key_pass.gradient);
        }
        Ok((value, log_scale))
    }

    /// One step: the loss of `batch`, its gradient, and, if both are finite and the loss is at most `most`, Adam's move.
    pub(crate) fn step(
        &mut self,
        batch: &Batch,
        loss: &Loss,
        data: &Loaded<'_>,
        rates: Rates,
        most: f64,
    ) -> Result<Step> {
        if !self.scale().is_normal() {
            return Ok(Step { loss: f64::NAN, norm: f64::NAN });
        }
        let (value, log_scale) = self.gradient(batch, loss, data)?;
        let slope = if rates.scale > 0.0 { log_scale } else { 0.0 };
        let [pass, key_pass] = &self.passes;
        let norms = pass.gradient.squared_norm() + self.key.as_ref().map_or(0.0, |_| key_pass.gradient.squared_norm());
        let norm = (norms + slope * slope).sqrt();
        if !norm.is_finite() || !value.is_finite() || value > most {
            return Ok(Step { loss: value, norm });
        }
        let factor = rates.clip.map_or(1.0, |most| if norm > most { most / norm } else { 1.0 }) as f32;
        self.query.adam.step(&mut self.query.net, &pass.gradient, rates.query as f32, factor);
        if let Some(key) = &mut self.key {
            key.adam.step(&mut key.net, &key_pass.gradient, rates.key as f32, factor);
        }
        if rates.scale > 0.0 {
            self.scale_adam.step_all(&mut self.log_scale, &[slope as f32], rates.scale as f32, factor);
        }
        self.step += 1;
        self.masked += batch.masked;
        self.sums.loss += value;
        self.sums.norm += norm;
        self.sums.steps += 1.0;
        self.sums.examples += batch.examples as f64;
        Ok(Step { loss: value, norm })
    }

    /// Keeps the present weights as the best ones.
    pub(crate) fn keep(&mut self, held_out: HeldOut, rank: f64) {
        self.best = Some(Best {
            query: self.query.net.parameters().to_vec(),
            key: self.key.as_ref().map_or(Vec::new(), |side| side.net.parameters().to_vec()),
            log_scale: self.log_scale[0],
            held_out,
            epoch: self.epoch,
            rank,
        });
    }

    /// Goes back to the best weights; Adam's moments stay.
    pub(crate) fn go_back(&mut self) {
        let Some(best) = &self.best else { return };
        self.query.net.parameters_mut().copy_from_slice(&best.query);
        if let Some(side) = &mut self.key {
            side.net.parameters_mut().copy_from_slice(&best.key);
        }
        self.log_scale = [best.log_scale];
    }

    /// The state as arrays.
    pub(crate) fn arrays(&self) -> Arrays {
        let mut arrays = Arrays::default();
        self.query.put("query", &mut arrays);
        if let Some(side) = &self.key {
            side.put("key", &mut arrays);
        }
        let (first, second, _) = self.scale_adam.state();
        arrays.put_floats("scale", &[self.log_scale[0], first[0], second[0]]);
        let counts = [self.step, self.epoch, self.planned, self.patience.waited];
        let counts = counts.iter().map(|&c| c as u64).chain([self.masked, self.scale_adam.steps()]);
        arrays.put_counts("counts", counts.collect());
        let Sums { loss, norm, steps, examples } = self.sums;
        let numbers = [loss, norm, steps, examples, self.patience.mark, self.patience.factor];
        let gap = self.gap.map_or(f64::NAN, |gap| gap);
        arrays.put_doubles("numbers", [&numbers[..], &[gap]].concat());
        if let Some(best) = &self.best {
            arrays.put_floats("best.query", &best.query);
            arrays.put_floats("best.key", &best.key);
            arrays.put_floats("best.scale", &[best.log_scale]);
            let figures = [best.held_out.loss, best.held_out.metric, best.epoch as f64, best.rank];
            arrays.put_doubles("best", figures.to_vec());
        }
        if let Some(hard) = &self.hard {
            let (starts, columns) = hard.parts();
            arrays.put_counts("hard.starts", starts.iter().map(|&v| v as u64).collect());
            arrays.put_counts("hard.keys", columns.iter().map(|&v| u64::from(v)).collect());
        }
        arrays.put_doubles("history", self.history.iter().flat_map(EpochRecord::numbers).collect());
        arrays
    }

    /// Takes the state from arrays that a training with the same fingerprint wrote; `None` if they are not whole.
    pub(crate) fn restore(&mut self, arrays: &mut Arrays, name: MetricName) -> Option<()> {
        self.query.take("query", arrays)?;
        if let Some(side) = &mut self.key {
            side.take("key", arrays)?;
        }
        let scale: [f32; 3] = arrays.floats("scale")?.try_into().ok()?;
        let counts: [u64; 6] = arrays.counts("counts")?.try_into().ok()?;
        let numbers: [f64; 7] = arrays.doubles("numbers")?.try_into().ok()?;
        let [step, epoch, planned, waited, masked, scale_steps] = counts;
        let [loss, norm, steps, examples, mark, factor, gap] = numbers;
        self.log_scale = [scale[0]];
        self.scale_adam.restore(scale_steps, vec![scale[1]], vec![scale[2]], Vec::new()).ok()?;
        (self.step, self.epoch, self.planned) = (step as usize, epoch as usize, planned as usize);
        self.masked = masked;
        self.sums = Sums { loss, norm, steps, examples };
        self.patience = Patience { mark, waited: waited as usize, factor };
        self.gap = (!gap.is_nan()).then_some(gap);
        self.best = self.restore_best(arrays, name)?;
        self.hard = match (arrays.counts("hard.starts"), arrays.counts("hard.keys")) {
            (Some(starts), Some(keys)) => {
                let starts = starts.into_iter().map(|v| v as usize).collect();
                Some(Lists::from_parts(starts, keys.into_iter().map(|v| v as u32).collect())?)
            }
            _ => None,
        };
        let history = arrays.doubles("history")?;
        self.history =
            history.chunks(EpochRecord::NUMBERS).map(|n| EpochRecord::from_numbers(n, name)).collect::<Option<_>>()?;
        Some(())
    }

    fn restore_best(&self, arrays: &mut Arrays, name: MetricName) -> Option<Option<Best>> {
        let Some(figures) = arrays.doubles("best") else { return Some(None) };
        let [loss, metric, epoch, rank]: [f64; 4] = figures.try_into().ok()?;
        let (query, key) = (arrays.floats("best.query")?, arrays.floats("best.key")?);
        let expected = self.key.as_ref().map_or(0, |side| side.net.parameters().len());
        if (query.len(), key.len()) != (self.query.net.parameters().len(), expected) {
            return None;
        }
        let log_scale = *arrays.floats("best.scale")?.first()?;
        let held_out = HeldOut { loss, metric, name };
        Some(Some(Best { query, key, log_scale, held_out, epoch: epoch as usize, rank }))
    }
}
