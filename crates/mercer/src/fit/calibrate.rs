//! Probabilities from inner products: scale and offset of the logistic link, by held-out labels.
//!
//! With labels `y` in {0, 1} and inner products `s` the link `sigma(a s + b)`, `sigma(f) = 1 / (1 + exp(-f))`, minimises
//! `sum_i w_i (ln(1 + e^f_i) - t_i f_i)`, `f_i = a s_i + b`, with Platt's targets instead of labels:
//! `t = (N1 + 1) / (N1 + 2)` for the `N1` ones and `t = 1 / (N0 + 2)` for the `N0` zeros. They keep the optimum finite where the
//! scores separate the labels (Platt, *Probabilistic outputs for support vector machines*, 1999). The objective is convex; Newton's
//! method with halved steps finds it (Lin, Lin and Weng, *A note on Platt's probabilistic outputs*, 2007).

use rayon::prelude::*;

use crate::encoder::{DualEncoder, Link};
use crate::error::{Error, Result};
use crate::evaluate::Scorer;
use crate::fit::{Choice, Outcome};
use crate::relation::{PairChunk, Pairs};
use crate::rows::Features;

/// Newton steps at the most; fewer than ten are usual.
const STEPS: usize = 100;
/// The expected gain of a step, in nats of one label, below which it is the last.
const GAIN: f64 = 1e-10;
/// Log-odds per standard deviation of the scores where these do not separate the labels: ranks are kept, and every value is
/// the base rate to about six digits.
const FLAT: f64 = 1e-6;
/// Labels whose terms are summed by one thread.
const BLOCK: usize = 4096;

/// The share of ones among the pairs whose probabilities are wanted.
///
/// Held-out labels often hold all links but only some of the others. Scores that tell ones from zeros equally well in both
/// populations need another offset alone, by Bayes' rule (King and Zeng, *Logistic regression in rare events data*, 2001).
/// That trusts the link's shape. Weights `1 / probability` on sampled zeros, with [`BaseRate::HeldOut`], do not, and fit the link
/// where most pairs are; the price is that few zeros then weigh much.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum BaseRate {
    /// As among the held-out labels, weighted.
    #[default]
    HeldOut,
    /// Zeros are among the held-out labels only with this probability, ones always: `offset += ln(probability)`.
    NegativesKept(f64),
    /// This share `q`, against `q'` among the held-out labels: `offset += ln(q / (1 - q)) - ln(q' / (1 - q'))`.
    Share(f64),
}

impl BaseRate {
    /// What is added to the offset, where `held_out` is the share of ones among the labels.
    fn shift(self, held_out: f64) -> Result<f64> {
        match self {
            BaseRate::HeldOut => Ok(0.0),
            BaseRate::NegativesKept(kept) if kept > 0.0 && kept <= 1.0 => Ok(kept.ln()),
            BaseRate::NegativesKept(kept) => {
                Err(Error::parameter("probability of keeping a zero", "above 0 and at most 1", kept))
            }
            BaseRate::Share(share) if share > 0.0 && share < 1.0 => Ok(log_odds(share) - log_odds(held_out)),
            BaseRate::Share(share) => Err(Error::parameter("share of ones", "between 0 and 1", share)),
        }
    }
}

fn log_odds(p: f64) -> f64 {
    p.ln() - (-p).ln_1p()
}

/// A model whose values are probabilities, and how they came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// The model with its logistic link; towers and ranks are as before.
    pub encoder: DualEncoder,
    /// Log-odds per unit of the inner product.
    pub scale: f64,
    /// Log-odds at inner product 0, for the base rate asked for.
    pub offset: f64,
    /// The part of the offset that the base rate added.
    pub base_rate_shift: f64,
    /// Held-out labels used.
    pub pairs: usize,
    /// Ones among them.
    pub positives: usize,
    /// Whether higher scores go with ones. If not, the best increasing map is flat, and every value is the base rate.
    pub separates: bool,
    /// Mean log loss of these labels, in nats, by the fitted link before the base rate's shift.
    pub log_loss: f64,
    /// The same by the link that the model had; `None` if that gave no probabilities.
    pub log_loss_before: Option<f64>,
    /// The same if every label had the share of ones as its probability.
    pub base_log_loss: f64,
    /// How the search ended.
    pub outcome: Outcome,
    /// Newton steps.
    pub steps: usize,
    /// Scale, offset and base rate with their reasons.
    pub choices: Vec<Choice>,
}

/// Fits the logistic link of `model` to held-out labels, whatever link it had: afterwards [`DualEncoder::block`],
/// [`Scorer`] and all that builds on them give probabilities, in the order in which the inner products were.
///
/// The labels must have fitted nothing: those that fitted the towers look better separated than new ones will be, and the scale
/// would be too large. Weights count as in the fit. Cost: embedding all items, then about ten passes over the labels.
///
/// # Errors
/// [`crate::ErrorKind::Data`] unless there are labels of both kinds and finite scores, [`crate::ErrorKind::Parameter`] at a
/// label that is not 0 or 1, a base rate out of range, or a model with several components; [`crate::ErrorKind::Shape`] at a pair
/// beyond the items.
///
/// ```
/// use mercer::fit::{BaseRate, calibrate};
/// use mercer::{Activation, DualEncoder, Features, Form, Layer, Pairs, Tower};
/// // r(x, y) = x y on numbers; labels are ones mostly where it is large.
/// let tower = Tower::new(vec![Layer::new(vec![1.0], vec![0.0], Activation::Identity)?])?;
/// let model = DualEncoder::new(tower, None, Form::Identity, 1)?;
/// let items = Features::dense(vec![-2.0, -1.0, 1.0, 2.0], 1)?;
/// let held_out = Pairs::new(vec![0, 1, 2, 3, 0, 3], vec![2; 6], vec![0.0, 0.0, 1.0, 1.0, 1.0, 0.0], None)?;
/// let calibrated = calibrate(&model, &items, None, &held_out, BaseRate::HeldOut)?;
/// let values = calibrated.encoder.block(0, &items.rows(), &items.slice(2..3))?;
/// assert!(values.windows(2).all(|v| v[0] < v[1]) && values[0] > 0.0 && values[3] < 1.0);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn calibrate(
    model: &DualEncoder,
    queries: &Features,
    keys: Option<&Features>,
    held_out: &Pairs,
    base_rate: BaseRate,
) -> Result<Calibrated> {
    if model.components() != 1 {
        return Err(Error::parameter("components of a model to calibrate", "1", model.components()));
    }
    held_out.check_items(queries.len(), keys.unwrap_or(queries).len())?;
    let scores = Scorer::new(&model.clone().with_link(Link::Identity), queries, keys)?.scores(held_out);
    let labels = Labels::new(&scores, held_out.chunk())?;
    let shift = base_rate.shift(labels.share)?;
    let fitted = newton(&labels);
    let separates = fitted.slope > 0.0;
    let (slope, level) =
        if separates { (fitted.slope, fitted.level) } else { (FLAT, log_odds(labels.smoothed_share())) };
    let scale = slope / labels.spread;
    let plain = level - scale * labels.centre;
    let fitted_link = Link::logistic(scale, plain)?;
    let link = Link::logistic(scale, plain + shift)?;
    let log_loss = labels.log_loss(&scores, fitted_link);
    let before = model.link().is_logistic().then(|| labels.log_loss(&scores, model.link()));
    let base_log_loss = -(labels.share * labels.share.ln() + (1.0 - labels.share) * (-labels.share).ln_1p());
    Ok(Calibrated {
        encoder: model.clone().with_link(link),
        scale,
        offset: plain + shift,
        base_rate_shift: shift,
        pairs: scores.len(),
        positives: labels.positives,
        separates,
        log_loss,
        log_loss_before: before,
        base_log_loss,
        outcome: fitted.outcome,
        steps: fitted.steps,
        choices: choices(separates, &labels, (link, base_rate, shift), [Some(log_loss), before, Some(base_log_loss)]),
    })
}

fn choices(
    separates: bool,
    labels: &Labels,
    (link, base_rate, shift): (Link, BaseRate, f64),
    [loss, before, base]: [Option<f64>; 3],
) -> Vec<Choice> {
    let told = |what: &str, loss: Option<f64>| loss.map_or(String::new(), |loss| format!("{what}{loss:.4}"));
    let reason = if separates {
        format!(
            "{} held-out labels, {} of them ones: log loss {}{}{}",
            labels.scores.len(),
            labels.positives,
            told("", loss),
            told(", by the base rate alone ", base),
            told(", before ", before)
        )
    } else {
        format!(
            "the scores do not separate the {} held-out labels (higher ones go with zeros, or all are equal): every value is \
             the base rate",
            labels.scores.len()
        )
    };
    let mut choices = vec![Choice::new("link", link, reason)];
    if base_rate != BaseRate::HeldOut {
        let value = match base_rate {
            BaseRate::Share(share) => format!("{share}"),
            BaseRate::NegativesKept(kept) => format!("zeros kept with probability {kept}"),
            BaseRate::HeldOut => String::new(),
        };
        choices.push(Choice::new("base rate", value, format!("as told: offset changed by {shift:.4}")));
    }
    choices
}

/// Held-out labels with standardised scores.
struct Labels {
    /// Scores less `centre`, over `spread`.
    scores: Vec<f64>,
    /// Labels, and Platt's targets.
    ones: Vec<bool>,
    targets: [f64; 2],
    /// Weights of mean 1.
    weights: Vec<f64>,
    positives: usize,
    /// Weighted share of ones.
    share: f64,
    /// Weighted mean and standard deviation of the scores.
    centre: f64,
    spread: f64,
}

impl Labels {
    fn new(scores: &[f64], pairs: PairChunk<'_>) -> Result<Labels> {
        let n = scores.len();
        if let Some(bad) = pairs.value.iter().find(|v| **v != 0.0 && **v != 1.0) {
            return Err(Error::parameter("held-out label", "0 or 1", bad));
        }
        if let Some(bad) = scores.iter().position(|s| !s.is_finite()) {
            let problem = format!("the score of held-out pair {bad} is {}", scores[bad]);
            return Err(Error::data(problem, "check the model's items for extreme numbers, or fit it again"));
        }
        let ones: Vec<bool> = pairs.value.iter().map(|v| *v == 1.0).collect();
        let positives = ones.iter().filter(|one| **one).count();
        if positives == 0 || positives == n {
            let problem = match n {
                0 => "there are no held-out labels".into(),
                _ => format!("all {n} held-out labels are {}", u8::from(positives > 0)),
            };
            return Err(Error::data(problem, "hold out pairs with label 1 and pairs with label 0"));
        }
        let given = |i: usize| pairs.weight.map_or(1.0, |w| f64::from(w[i]));
        let mean_weight = (0..n).map(given).sum::<f64>() / n as f64;
        let weights: Vec<f64> = (0..n).map(|i| given(i) / mean_weight).collect();
        let mean = |of: &dyn Fn(usize) -> f64| (0..n).map(|i| weights[i] * of(i)).sum::<f64>() / n as f64;
        let share = mean(&|i| f64::from(u8::from(ones[i])));
        let centre = mean(&|i| scores[i]);
        let deviation = mean(&|i| (scores[i] - centre).powi(2)).sqrt();
        // Equal scores have no scale of their own; rounding alone may part their mean from them.
        let equal = scores.iter().all(|s| *s == scores[0]);
        let spread = if equal || deviation == 0.0 { centre.abs().max(1.0) } else { deviation };
        let standardised = scores.iter().map(|s| if equal { 0.0 } else { (s - centre) / spread }).collect();
        let counts =
            [false, true].map(|kind| effective(weights.iter().zip(&ones).filter(|w| *w.1 == kind).map(|w| *w.0)));
        let targets = [1.0 / (counts[0] + 2.0), (counts[1] + 1.0) / (counts[1] + 2.0)];
        Ok(Labels { scores: standardised, ones, targets, weights, positives, share, centre, spread })
    }

    fn target(&self, i: usize) -> f64 {
        self.targets[usize::from(self.ones[i])]
    }

    /// The weighted mean of the targets.
    fn smoothed_share(&self) -> f64 {
        self.share * self.targets[1] + (1.0 - self.share) * self.targets[0]
    }

    /// Mean log loss of the labels where `link` acts on the scores as they were given.
    fn log_loss(&self, scores: &[f64], link: Link) -> f64 {
        let Link::Logistic { scale, offset } = link else { return f64::NAN };
        let loss = |i: usize| {
            let f = scale * scores[i] + offset;
            self.weights[i] * softplus(if self.ones[i] { -f } else { f })
        };
        (0..scores.len()).map(loss).sum::<f64>() / scores.len() as f64
    }

    /// Objective, gradient `(a, b)` and second derivatives `(aa, ab, bb)` at `f = a u + b`, summed in fixed blocks.
    fn sums(&self, a: f64, b: f64) -> [f64; 6] {
        let blocks: Vec<[f64; 6]> = (0..self.scores.len().div_ceil(BLOCK))
            .into_par_iter()
            .map(|block| {
                let mut sums = [0.0; 6];
                for i in block * BLOCK..((block + 1) * BLOCK).min(self.scores.len()) {
                    let (u, w, t) = (self.scores[i], self.weights[i], self.target(i));
                    let f = a * u + b;
                    let p = 1.0 / (1.0 + (-f).exp());
                    let (g, h) = (w * (p - t), w * p * (1.0 - p));
                    let terms = [w * (softplus(f) - t * f), g * u, g, h * u * u, h * u, h];
                    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                }
                sums
            })
            .collect();
        blocks.iter().fold([0.0; 6], |total, own| std::array::from_fn(|i| total[i] + own[i]))
    }
}

/// `ln(1 + e^f)`.
fn softplus(f: f64) -> f64 {
    f.max(0.0) + (-f.abs()).exp().ln_1p()
}

/// The number of equal weights that tell as much: `(sum w)^2 / sum w^2` (Kish, *Survey sampling*, 1965).
fn effective(weights: impl Iterator<Item = f64>) -> f64 {
    let (sum, square) = weights.fold((0.0, 0.0), |(sum, square), w| (sum + w, square + w * w));
    if square > 0.0 { sum * sum / square } else { 0.0 }
}

/// The optimum on standardised scores.
struct Optimum {
    slope: f64,
    level: f64,
    steps: usize,
    outcome: Outcome,
}

fn newton(labels: &Labels) -> Optimum {
    let (mut a, mut b) = (0.0, log_odds(labels.smoothed_share()));
    let mut sums = labels.sums(a, b);
    for step in 1..=STEPS {
        let [value, ga, gb, haa, hab, hbb] = sums;
        // The ridge only matters where all scores are equal.
        let ridge = 1e-12 * (haa + hbb) + f64::MIN_POSITIVE;
        let (haa, hbb) = (haa + ridge, hbb + ridge);
        let determinant = haa * hbb - hab * hab;
        let (da, db) = ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant);
        let gain = ga * da + gb * db;
        if !gain.is_finite() {
            return Optimum { slope: a, level: b, steps: step, outcome: Outcome::Diverged { step } };
        }
        if gain <= GAIN {
            return Optimum { slope: a - da, level: b - db, steps: step, outcome: Outcome::Converged };
        }
        // The objective is convex and smooth: some part of the step lowers it.
        let mut part = 1.0;
        loop {
            let next = labels.sums(a - part * da, b - part * db);
            if next[0] <= value - 1e-4 * part * gain || part < 1e-10 {
                (a, b, sums) = (a - part * da, b - part * db, next);
                break;
            }
            part *= 0.5;
        }
    }
    Optimum { slope: a, level: b, steps: STEPS, outcome: Outcome::StepLimit }
}
