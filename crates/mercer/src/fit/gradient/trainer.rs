//! The loop: batches, steps, epochs, and when to end.

use std::path::Path;
use std::time::Instant;

use crate::encoder::{Class, DualEncoder, Link};
use crate::error::{Error, Result};
use crate::fit::gradient::balance::{balanced, scaled};
use crate::fit::gradient::checkpoint::{Arrays, Fingerprint};
use crate::fit::gradient::data::{Loaded, Problem};
use crate::fit::gradient::held_out::Held;
use crate::fit::gradient::loss::Loss;
use crate::fit::gradient::loss::candidates::Lists;
use crate::fit::gradient::mine::mine;
use crate::fit::gradient::monitor::EpochRecord;
use crate::fit::gradient::net::Precision;
use crate::fit::gradient::sampler::Sampler;
use crate::fit::gradient::schedule::Schedule;
use crate::fit::gradient::standard::Standards;
use crate::fit::gradient::start::{Start, Started};
use crate::fit::gradient::state::{Patience, Rates, State, Sums};
use crate::fit::gradient::{Options, Session, Trained};
use crate::fit::{Choice, Effort, Outcome};
use crate::rows::Features;

/// An epoch has at least this many steps, so that its end does not cost more than it.
const LEAST_STEPS: usize = 32;
/// Steps after which a training that was to converge has not.
const MOST_STEPS: usize = 1_000_000;
/// A loss beyond this multiple of the start's, and of that of a model without any opinion, is a divergence.
const EXPLOSION: f64 = 1e4;
/// Epochs without a lower held-out loss after which a training that was to converge ends.
const PATIENCE: usize = 10;
/// What a held-out loss must fall by, relatively, to count as lower.
const CLEARLY: f64 = 1e-3;
/// Factors by which the learned scale may change; beyond them training has diverged.
const SCALES: std::ops::RangeInclusive<f64> = 1e-6..=1e6;
/// Effective rank below which embeddings of more than one dimension have fallen together, and by what factor they must have
/// fallen since the best epoch: a relation of rank one never stood higher.
const COLLAPSED: f64 = 1.1;
const FALLEN: f64 = 1.5;
/// Epochs without a better model before embeddings count as collapsed.
const HOPELESS: usize = 2;
/// Learning rate of weights, of an id table's rows, and of the scale's logarithm relative to the weights'.
const RATE: f64 = 1e-3;
const TABLE_RATE: f64 = 1e-2;
const SCALE_RATE: f64 = 5.0;
/// The largest learning rate of the scale's logarithm: a factor of 1.05 a step.
const MOST_SCALE_RATE: f64 = 0.05;
/// Share of a time budget that is spent on timing steps.
const TIMING: f64 = 0.05;
/// Units of a hidden layer from which on bf16 pays.
const WIDE: usize = 256;
/// Items of each side on which coordinates are ordered.
const SAMPLE: usize = 4096;

/// Trains the towers of `start` on `problem`.
///
/// Cost of a step: about six operations a weight and dense row of the batch, and the loss's own.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] or [`crate::ErrorKind::Shape`] if options, problem, start and loss do not fit together,
/// [`crate::ErrorKind::Data`] if there is nothing to train or to hold out; [`crate::ErrorKind::Io`] and
/// [`crate::ErrorKind::Format`] for the session's files. A training that ends badly is no error, but an
/// [`Outcome`](crate::fit::Outcome).
pub fn train(problem: &Problem<'_>, start: &Start, options: &Options, session: &Session<'_>) -> Result<Trained> {
    options.check()?;
    if let Some((_, 0)) = session.checkpoint {
        return Err(Error::parameter("steps between checkpoints", "at least 1", 0));
    }
    let mut data = problem.load(&options.loss)?;
    // A given model reads the items as they are.
    let standards = match start {
        Start::Random(shape) => Standards::apply(&mut data, shape.class != Class::Asymmetric)?,
        Start::Model(_) => Standards::default(),
    };
    let started = start.begin(&data, &options.loss, options.seed)?;
    let mut trained = Trainer::new(&data, &started, matches!(start, Start::Random(_)), options)?.run(session)?;
    if standards.any() {
        trained.encoder = standards.undone(&trained.encoder, data.keys.is_none())?;
        let reason = "far from unit scale; folded into the first layers";
        trained.choices.push(Choice::new("scale of the features", "standardised", reason));
    }
    Ok(trained)
}

/// A training with everything that its data and options determine.
struct Trainer<'a> {
    data: &'a Loaded<'a>,
    options: &'a Options,
    started: &'a Started,
    sampler: Sampler<'a>,
    held: Held,
    epoch_steps: usize,
    schedule: Schedule,
    patience: Option<usize>,
    rates: Rates,
    precision: Precision,
    choices: Vec<Choice>,
}

impl<'a> Trainer<'a> {
    fn new(data: &'a Loaded<'a>, started: &'a Started, random: bool, options: &'a Options) -> Result<Self> {
        let mut choices = Vec::new();
        let batch = batch_size(data, options, &mut choices);
        let sampler = sampler(data, options, batch);
        let counted = options.effort != Effort::Converge;
        let schedule = options.schedule.resolve(counted);
        choices.push(Choice::new("schedule", name(&schedule), "as asked, or by whether the steps are counted"));
        Ok(Trainer {
            held: Held::new(data, &options.loss, options.seed),
            epoch_steps: sampler.steps_per_pass * LEAST_STEPS.div_ceil(sampler.steps_per_pass),
            patience: options.patience.or((!counted).then_some(PATIENCE)),
            rates: rates(started, data, options, &mut choices),
            precision: options.precision.unwrap_or_else(|| precision(started, random, &mut choices)),
            data,
            options,
            started,
            sampler,
            schedule,
            choices,
        })
    }

    fn run(mut self, session: &Session<'_>) -> Result<Trained> {
        let mut state = State::new(self.started, self.options.weight_decay, self.precision)?;
        let fingerprint =
            Fingerprint::new(&format!("{:?}, {:?}", self.options, self.precision), self.data, state.parameters());
        let clock = Instant::now();
        let mut outcome = None;
        match session.resume {
            Some(path) => outcome = self.resume(&mut state, path, &fingerprint)?,
            None => {
                state.planned = self.plan()?;
                session.monitor.stage("training");
                self.first_epoch(&mut state, session, &clock)?;
            }
        }
        let most = EXPLOSION * self.held.reference(&state)?.max(state.history[0].held_out.loss.abs());
        let mut epoch_clock = Instant::now();
        while outcome.is_none() && state.step < state.planned && !session.monitor.stop(state.step) {
            self.mine(&mut state)?;
            let batch = self.sampler.batch(state.step, state.hard.as_ref());
            let rates = self.rates_at(&state);
            let found = state.step(&batch, &self.options.loss, self.data, rates, most)?;
            if !found.norm.is_finite() || !found.loss.is_finite() || found.loss > most {
                outcome = Some(Outcome::Diverged { step: state.step + 1 });
                break;
            }
            if state.step.is_multiple_of(self.epoch_steps) || state.step == state.planned {
                outcome = self.end_epoch(&mut state, session, (&clock, &epoch_clock))?;
                epoch_clock = Instant::now();
            }
            if let Some((path, every)) = session.checkpoint
                && state.step.is_multiple_of(every)
            {
                save(&state, outcome, path, &fingerprint)?;
            }
        }
        if outcome.is_none() && state.step >= state.planned {
            outcome = Some(Outcome::StepLimit);
        }
        if let Some((path, _)) = session.checkpoint {
            save(&state, outcome, path, &fingerprint)?;
        }
        self.finish(state, outcome.unwrap_or(Outcome::StepLimit))
    }

    /// Takes the state from a checkpoint; what outcome it had, if any.
    fn resume(&self, state: &mut State, path: &Path, fingerprint: &Fingerprint) -> Result<Option<Outcome>> {
        let mut arrays = Arrays::load(path, fingerprint)?;
        let ended = arrays.counts("outcome");
        let whole = state.restore(&mut arrays, self.held.metric_name());
        let problem = "the checkpoint lacks a part of the state; start without it";
        let whole = whole.filter(|()| state.best.is_some() && !state.history.is_empty());
        whole.ok_or_else(|| Error::format(path, problem))?;
        Ok(ended.and_then(|code| decode(&code)))
    }

    /// Steps of the whole run; a time budget is divided by the time of steps on a copy.
    fn plan(&mut self) -> Result<usize> {
        let seconds = match self.options.effort {
            Effort::Converge => return Ok(MOST_STEPS),
            Effort::Steps(steps) => return Ok(steps),
            Effort::Seconds(seconds) => seconds,
        };
        let mut scratch = State::new(self.started, self.options.weight_decay, self.precision)?;
        let clock = Instant::now();
        self.mine(&mut scratch)?;
        self.held.measure(&scratch)?;
        let epoch_end = clock.elapsed().as_secs_f64();
        // The first step allocates.
        let (mut done, mut clock) = (0, Instant::now());
        loop {
            let batch = self.sampler.batch(scratch.step, scratch.hard.as_ref());
            let rates = self.rates_at(&scratch);
            let found = scratch.step(&batch, &self.options.loss, self.data, rates, f64::INFINITY)?;
            if !found.norm.is_finite() || !found.loss.is_finite() {
                break;
            }
            match done {
                0 => clock = Instant::now(),
                _ if clock.elapsed().as_secs_f64() > TIMING * seconds || done > 50 => break,
                _ => {}
            }
            done += 1;
        }
        let step = clock.elapsed().as_secs_f64() / done.max(1) as f64 + epoch_end / self.epoch_steps as f64;
        let steps = ((seconds / step.max(1e-9)) as usize).clamp(1, MOST_STEPS);
        self.choices.push(Choice::new("steps", steps, format!("timed before the start: {:.2} ms a step", 1e3 * step)));
        Ok(steps)
    }

    /// Learning rates of the next step.
    fn rates_at(&self, state: &State) -> Rates {
        let factor = self.schedule.factor(state.step, state.planned) * state.patience.factor;
        let Rates { query, key, scale, clip } = self.rates;
        Rates { query: factor * query, key: factor * key, scale: factor * scale, clip }
    }

    /// Mines hard negatives at the start of an epoch that asks for it.
    fn mine(&self, state: &mut State) -> Result<()> {
        let Loss::SampledSoftmax(sampling) = self.options.loss else { return Ok(()) };
        match sampling.hard {
            Some(hard) => {
                let due = state.step.is_multiple_of(self.epoch_steps * hard.every);
                if due || state.hard.is_none() {
                    let Ok(model) = state.encoder() else { return Ok(()) };
                    let mined = mine(&model, self.data, &hard)?;
                    (state.hard, state.gap) = (Some(mined.hard), mined.gap);
                }
            }
            None if state.hard.is_none() => {
                state.hard = self.data.negatives.as_ref().map(|own| {
                    let mut lists = Lists::new();
                    own.iter().for_each(|keys| lists.push(keys.iter().copied()));
                    lists
                });
            }
            None => {}
        }
        Ok(())
    }

    /// The start's own figures.
    fn first_epoch(&self, state: &mut State, session: &Session<'_>, clock: &Instant) -> Result<()> {
        let (held_out, rank) = self.held.measure(state)?;
        if !held_out.loss.is_finite() {
            let remedy = "bring the features to unit scale, or start from another model";
            return Err(Error::data("the held-out loss of the start is not finite", remedy));
        }
        state.keep(held_out, rank);
        state.patience = Patience { mark: held_out.loss, waited: 0, factor: 1.0 };
        let record = EpochRecord {
            epoch: 0,
            step: 0,
            training_loss: None,
            held_out,
            learning_rate: self.rates_at(state).query,
            gradient_norm: 0.0,
            effective_rank: rank,
            scale: state.scale(),
            masked: 0,
            hard_gap: None,
            seconds: clock.elapsed().as_secs_f64(),
            examples_per_second: 0.0,
        };
        session.monitor.epoch(&record);
        state.history.push(record);
        Ok(())
    }

    /// Figures of the epoch that has ended, the best weights, and whether the training has ended with it.
    fn end_epoch(
        &self,
        state: &mut State,
        session: &Session<'_>,
        clocks: (&Instant, &Instant),
    ) -> Result<Option<Outcome>> {
        let rates = self.rates_at(state);
        let Ok((held_out, rank)) = self.held.measure(state) else {
            return Ok(Some(Outcome::Diverged { step: state.step }));
        };
        state.epoch += 1;
        let Sums { loss, norm, steps, examples } = std::mem::take(&mut state.sums);
        let record = EpochRecord {
            epoch: state.epoch,
            step: state.step,
            training_loss: Some(loss / steps),
            held_out,
            learning_rate: rates.query,
            gradient_norm: norm / steps,
            effective_rank: rank,
            scale: state.scale(),
            masked: state.masked,
            hard_gap: state.gap,
            seconds: clocks.0.elapsed().as_secs_f64(),
            examples_per_second: examples / clocks.1.elapsed().as_secs_f64().max(1e-9),
        };
        session.monitor.epoch(&record);
        session.monitor.step(state.step, state.planned, held_out.loss);
        state.history.push(record);
        if !held_out.loss.is_finite() {
            return Ok(Some(Outcome::Diverged { step: state.step }));
        }
        // A scale that has left all proportion has no way back, and no opinion at all is no better model.
        if !SCALES.contains(&(state.scale() / self.started.scale)) {
            return Ok(Some(Outcome::Diverged { step: state.step }));
        }
        let best = state.best.as_ref().map_or(f64::INFINITY, |best| best.held_out.loss);
        if held_out.loss < best {
            state.keep(held_out, rank);
        }
        if held_out.loss < state.patience.mark - CLEARLY * state.patience.mark.abs() {
            (state.patience.mark, state.patience.waited) = (held_out.loss, 0);
        } else {
            state.patience.waited += 1;
        }
        Ok(self.ended(state, rank))
    }

    /// Whether the epoch was the last one; lowers the learning rate on a plateau.
    fn ended(&self, state: &mut State, rank: f64) -> Option<Outcome> {
        let best = state.best.as_ref()?;
        let stale = state.epoch - best.epoch;
        if self.started.encoder.dim() > 1 && rank < COLLAPSED && stale >= HOPELESS && best.rank > FALLEN * rank {
            return Some(Outcome::Collapsed { step: state.step });
        }
        let patience = self.patience?;
        if state.patience.waited >= patience {
            return Some(Outcome::Converged);
        }
        if let Schedule::Plateau { factor } = self.schedule
            && state.patience.waited == patience.div_ceil(2)
        {
            state.patience.factor *= factor;
            state.go_back();
        }
        None
    }

    /// The best model, its scale folded in and its coordinates in order.
    fn finish(mut self, mut state: State, outcome: Outcome) -> Result<Trained> {
        state.go_back();
        let (scale, masked, steps) = (state.scale(), state.masked, state.step);
        let mut encoder = scaled(&state.unscaled()?, scale)?;
        if self.rates.scale > 0.0 {
            self.choices.push(Choice::new(
                "scale of the scores",
                format!("{scale:.4}"),
                "learned, folded into the towers",
            ));
        }
        let (x, y) = (sample(&self.data.queries), sample(self.data.key_items()));
        match balanced(&encoder, &x.rows(), &y.rows())? {
            Some(ordered) => encoder = ordered,
            None => {
                let reason = "the last layer is not linear: truncations of this model are arbitrary";
                self.choices.push(Choice::new("order of the coordinates", "as trained", reason));
            }
        }
        if self.options.loss == Loss::Logistic {
            encoder = encoder.with_link(Link::LOGISTIC);
        }
        let best = state.best.ok_or_else(|| Error::data("nothing was trained", "report this: it cannot happen"))?;
        Ok(Trained {
            encoder,
            outcome,
            steps,
            planned_steps: state.planned,
            held_out: best.held_out,
            best_epoch: best.epoch,
            history: state.history,
            masked,
            choices: self.choices,
        })
    }
}

/// At most [`SAMPLE`] items, evenly spaced.
fn sample(items: &Features) -> Features {
    let step = items.len().div_ceil(SAMPLE).max(1);
    items.select(&(0..items.len()).step_by(step).collect::<Vec<_>>())
}

fn batch_size(data: &Loaded<'_>, options: &Options, choices: &mut Vec<Choice>) -> usize {
    let (rows, examples) = (data.train.query.len(), data.train.len());
    let batch = options.batch.unwrap_or_else(|| {
        let batch = usual_batch(rows);
        choices.push(Choice::new(
            "examples a step",
            batch.min(rows),
            "about a hundredth of the examples, from 256 to 4096",
        ));
        batch
    });
    // Lists count by their pairs.
    (batch * examples / rows).clamp(1, examples)
}

/// Examples a step out of so many where nobody named them.
pub(crate) fn usual_batch(examples: usize) -> usize {
    (examples / 100).next_power_of_two().clamp(256, 4096)
}

fn sampler<'a>(data: &'a Loaded<'a>, options: &Options, batch: usize) -> Sampler<'a> {
    let keys = data.key_items().len();
    Sampler::new(&data.train, &data.known, options.loss, keys, data.keys.is_none(), batch, options.seed)
}

fn rates(started: &Started, data: &Loaded<'_>, options: &Options, choices: &mut Vec<Choice>) -> Rates {
    let own = |model: &crate::tower::Tower, items: &Features| {
        let table = model.layers().len() == 1 && items.is_one_hot();
        if table { TABLE_RATE } else { RATE }
    };
    let encoder: &DualEncoder = &started.encoder;
    let query = options.learning_rate.unwrap_or_else(|| own(encoder.query(), &data.queries));
    let key = options.learning_rate.unwrap_or_else(|| own(encoder.key(), data.key_items()));
    if options.learning_rate.is_none() {
        let value = if query == key { format!("{query}") } else { format!("{query} and {key}") };
        choices.push(Choice::new("learning rate", value, "Adam's usual one; ten times that for an id table"));
    }
    let scale = if options.learn_scale {
        (SCALE_RATE * options.learning_rate.unwrap_or(RATE)).min(MOST_SCALE_RATE)
    } else {
        0.0
    };
    Rates { query, key, scale, clip: options.clip }
}

/// bf16 for wide random towers, where this processor is faster with it: a given model may be more exact than its 8 bits.
fn precision(started: &Started, random: bool, choices: &mut Vec<Choice>) -> Precision {
    let wide = |model: &crate::tower::Tower| {
        model.layers().split_last().is_some_and(|(_, hidden)| hidden.iter().any(|layer| layer.outputs() >= WIDE))
    };
    let pays = random && (wide(started.encoder.query()) || wide(started.encoder.key()));
    match if pays { Precision::fastest() } else { Precision::F32 } {
        Precision::Bf16 => {
            choices.push(Choice::new(
                "precision of the products",
                "bf16",
                "wide towers, and this processor is faster with it",
            ));
            Precision::Bf16
        }
        other => other,
    }
}

fn name(schedule: &Schedule) -> &'static str {
    match schedule {
        Schedule::Auto => "auto",
        Schedule::Constant => "constant",
        Schedule::Linear { .. } => "linear",
        Schedule::Cosine { .. } => "cosine",
        Schedule::Plateau { .. } => "plateau",
    }
}

fn save(state: &State, outcome: Option<Outcome>, path: &Path, fingerprint: &Fingerprint) -> Result<()> {
    let mut arrays = state.arrays();
    arrays.put_counts("outcome", encode(outcome));
    arrays.save(path, fingerprint)
}

fn encode(outcome: Option<Outcome>) -> Vec<u64> {
    match outcome {
        None => vec![],
        Some(Outcome::Converged) => vec![1, 0],
        Some(Outcome::StepLimit) => vec![2, 0],
        Some(Outcome::Diverged { step }) => vec![3, step as u64],
        Some(Outcome::Collapsed { step }) => vec![4, step as u64],
    }
}

fn decode(code: &[u64]) -> Option<Outcome> {
    let &[kind, step] = code else { return None };
    let step = step as usize;
    match kind {
        1 => Some(Outcome::Converged),
        2 => Some(Outcome::StepLimit),
        3 => Some(Outcome::Diverged { step }),
        4 => Some(Outcome::Collapsed { step }),
        _ => None,
    }
}
