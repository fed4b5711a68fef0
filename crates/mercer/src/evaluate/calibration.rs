//! Calibration: whether of the pairs with predicted probability `p` a share `p` has label 1.
//!
//! Bins hold neighbouring predictions and are cut by the predictions alone, into equal parts of a mass of which every pair brings
//! half by its weight and half by the variance `p (1 - p)` that it predicts: bins of equal numbers alone would leave all of a rare
//! relation's ones in the last bin, bins of equal variance alone would lump together whatever is predicted to be sure. With weights `w`, bin `b` of
//! weight `W_b` and all pairs of weight `W`, the expected calibration error is
//! `ECE = sum_b (W_b / W) |mean_b(p) - mean_b(y)|` (Naeini, Cooper and Hauskrecht, *Obtaining well calibrated probabilities using
//! Bayesian binning*, 2015). Chance alone makes it positive: beside it stands what it would be if every prediction were right,
//! by drawing labels from the predictions (Broecker and Smith, *Increasing the reliability of reliability diagrams*, 2007), and an
//! interval for the error without chance, `sum_b (W_b / W) |mean_b(p) - mean_b(P(y = 1))|`.

mod interval;

use rayon::prelude::*;
use serde::Serialize;

use crate::encoder::DualEncoder;
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::Scorer;
use crate::evaluate::calibration::interval::{Terms, binned_error};
use crate::relation::Pairs;
use crate::rows::Features;
use crate::seed::Seed;
use crate::stats::rate_interval;

/// Bins at the most, where the data choose.
const MOST_BINS: usize = 100;
/// Probabilities are taken to be at least this far from 0 and 1 in logarithms: closer to 1 none is rounded.
const NEAREST: f64 = 0.5 * f64::EPSILON;
/// Errors that rounding alone may part: they count as equal.
const ROUNDING: f64 = 1e-12;

/// Settings of [`Calibration`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationOptions {
    /// Number of bins, at most half the pairs; `None`: the cube root of the number of pairs, at most 100. Chance adds
    /// an error that grows as `sqrt(bins / pairs)`, and what bins hide falls as `1 / bins`: the cube root balances both.
    pub bins: Option<usize>,
    /// Confidence of the interval, and of the rejection of perfect calibration.
    pub confidence: f64,
    /// Sets of labels drawn from the predictions.
    pub simulations: usize,
    /// Seed of those draws.
    pub seed: Seed,
}

impl Default for CalibrationOptions {
    fn default() -> Self {
        CalibrationOptions { bins: None, confidence: 0.95, simulations: 999, seed: Seed(0) }
    }
}

impl CalibrationOptions {
    fn check(&self, pairs: usize) -> Result<()> {
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(Error::parameter("confidence", "between 0 and 1", self.confidence));
        }
        let least = (1.0 / (1.0 - self.confidence) - 1.0 - 1e-9).ceil().max(1.0);
        if (self.simulations as f64) < least || self.simulations > 1_000_000 {
            let expected = format!("from {least} (so that {} can be told) to 1000000", self.confidence);
            return Err(Error::parameter("simulations", expected, self.simulations));
        }
        match self.bins {
            Some(bins) if bins == 0 || bins > pairs / 2 => {
                Err(Error::parameter("calibration bins", format!("from 1 to half of {pairs} pairs"), bins))
            }
            _ => Ok(()),
        }
    }
}

/// Pairs with neighbouring predictions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Number of pairs.
    pub pairs: usize,
    /// Their share of the weight of all pairs.
    pub share: f64,
    /// Smallest predicted probability.
    pub lowest: f64,
    /// Largest predicted probability.
    pub highest: f64,
    /// Mean predicted probability.
    pub predicted: f64,
    /// Share of ones.
    pub observed: f64,
    /// Lower end of the interval of Clopper and Pearson for the share of ones, at the given confidence for each bin alone;
    /// with unequal weights approximate (the bin counts as its effective number of pairs).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// How well predicted probabilities agree with labels, and how well they rank them.
///
/// The interval `low..=high` holds, at the stated confidence and for any number of pairs, the calibration error without chance:
/// that of the labels' true probabilities, in these bins. It assumes that labels are independent given the predictions, as those of
/// pairs drawn independently from one population are. Its ends follow from sums of signed differences:
///
/// - for the true sign of each bin the sum is unbiased and at most `ece`, so `ece` plus the deviation of one sum bounds the error;
/// - for any other signs its expectation is at most the error: the best sum over patterns with few changes of sign between
///   neighbouring bins, less a deviation that holds for all of them at once, bounds it from below.
///
/// Deviations are Bernstein's (Boucheron, Lugosi and Massart, *Concentration inequalities*, 2013, section 2.8); the labels' variance
/// in them is at most the expected Brier score, for which a betting bound is taken (Waudby-Smith and Ramdas 2021).
///
/// ```
/// use mercer::evaluate::{Calibration, CalibrationOptions};
/// let mut stream = mercer::Seed(1).stream("example");
/// let predicted: Vec<f64> = (0..2000).map(|_| stream.uniform()).collect();
/// let labels: Vec<f32> = predicted.iter().map(|p| f32::from(u8::from(stream.uniform() < *p))).collect();
/// let calibration = Calibration::new(&predicted, &labels, None, &CalibrationOptions::default())?;
/// assert!(!calibration.rejected && calibration.low == 0.0 && calibration.high < 0.1);
/// # Ok::<(), mercer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Number of pairs.
    pub pairs: usize,
    /// Pairs with label 1.
    pub positives: usize,
    /// Weighted share of ones.
    pub base_rate: f64,
    /// Weighted mean of the predictions.
    pub mean_predicted: f64,
    /// The bins, by increasing prediction; equal predictions are never parted.
    pub bins: Vec<CalibrationBin>,
    /// Expected calibration error of these labels; chance included.
    pub ece: f64,
    /// Lower end of the interval for the calibration error without chance.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Confidence of the interval.
    pub confidence: f64,
    /// Mean of `ece` if every prediction were the true probability.
    pub ece_if_calibrated: f64,
    /// What `ece` would then exceed with probability at most `1 - confidence`.
    pub ece_if_calibrated_quantile: f64,
    /// Probability that `ece` would then be as large as it is, or larger; exact for any number of simulations.
    pub p_value: f64,
    /// Whether `p_value <= 1 - confidence`: the predictions are not the true probabilities.
    pub rejected: bool,
    /// Root of `sum_b (W_b / W) (mean_b(p) - mean_b(P(y = 1)))^2`, its square estimated without the part of chance and cut at 0
    /// (Kumar, Liang and Ma, *Verified uncertainty calibration*, 2019). It is never below the calibration error but for chance.
    pub rms: f64,
    /// Mean log loss in nats; probabilities count as at least `2^-53` from 0 and 1.
    pub log_loss: f64,
    /// The same if every prediction were the base rate.
    pub base_log_loss: f64,
    /// Mean squared difference of prediction and label (Brier score).
    pub brier: f64,
    /// The same if every prediction were the base rate.
    pub base_brier: f64,
    /// Probability that a one is predicted above a zero, ties half; `None` if one kind is missing.
    pub auc: Option<f64>,
}

impl Calibration {
    /// Of `predicted` probabilities against `labels` 0 or 1, with positive `weights` where pairs stand for more than themselves.
    ///
    /// Cost: `simulations` random numbers a pair, the same for any number of threads.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if lengths differ, [`ErrorKind::Data`] below two pairs, [`ErrorKind::Parameter`] at a prediction outside
    /// `[0, 1]`, a label that is not 0 or 1, a weight that is not positive and finite, or an option out of range.
    pub fn new(
        predicted: &[f64],
        labels: &[f32],
        weights: Option<&[f32]>,
        options: &CalibrationOptions,
    ) -> Result<Calibration> {
        let sorted = Sorted::new(predicted, labels, weights)?;
        options.check(sorted.len())?;
        let count = options.bins.unwrap_or_else(|| default_bins(sorted.len()));
        let ends = sorted.bin_ends(count);
        let error = |differences: &[f64]| differences.iter().map(|d| d.abs()).sum::<f64>().min(1.0);
        let differences = sorted.differences(&ends, |i| sorted.label[i]);
        let ece = error(&differences);
        let mut null: Vec<f64> = (0..options.simulations)
            .into_par_iter()
            .map(|r| {
                let mut stream = options.seed.stream(&format!("calibrated labels {r}"));
                error(&sorted.differences(&ends, |i| f64::from(u8::from(stream.uniform() < sorted.predicted[i]))))
            })
            .collect();
        null.sort_by(f64::total_cmp);
        let as_large = null.len() - null.partition_point(|own| *own < ece - ROUNDING);
        let p_value = (as_large + 1) as f64 / (null.len() + 1) as f64;
        let rank = (options.confidence * (null.len() + 1) as f64 - 1e-9).ceil() as usize;
        let quantile = null[rank.clamp(1, null.len()) - 1];
        let base_rate = sorted.mean(|i| sorted.label[i]);
        let terms = Terms { predicted: &sorted.predicted, label: &sorted.label, weight: &sorted.weight };
        let (low, high) = binned_error(&differences, &terms, 1.0 - options.confidence);
        let bins: Vec<CalibrationBin> = sorted.bins(&ends, options.confidence);
        Ok(Calibration {
            pairs: sorted.len(),
            positives: sorted.label.iter().filter(|y| **y == 1.0).count(),
            base_rate,
            mean_predicted: sorted.mean(|i| sorted.predicted[i]),
            ece,
            low,
            high,
            confidence: options.confidence,
            ece_if_calibrated: null.iter().sum::<f64>() / null.len() as f64,
            ece_if_calibrated_quantile: quantile,
            p_value,
            rejected: p_value <= 1.0 - options.confidence + 1e-12,
            rms: sorted.mean_square_error(&ends).max(0.0).sqrt(),
            bins,
            log_loss: sorted.mean(|i| log_loss(sorted.predicted[i], sorted.label[i])),
            base_log_loss: sorted.mean(|i| log_loss(base_rate, sorted.label[i])),
            brier: sorted.mean(|i| (sorted.predicted[i] - sorted.label[i]).powi(2)),
            base_brier: base_rate * (1.0 - base_rate),
            auc: sorted.auc(),
        })
    }

    /// Of a model's values on `pairs` with labels 0 or 1 that neither fitted nor calibrated it.
    ///
    /// # Errors
    /// As [`Calibration::new`] and [`crate::Tower::forward`]; [`ErrorKind::Parameter`] if the model's link is not logistic.
    pub fn of(
        model: &DualEncoder,
        queries: &Features,
        keys: Option<&Features>,
        pairs: &Pairs,
        options: &CalibrationOptions,
    ) -> Result<Calibration> {
        if !model.link().is_logistic() {
            let expected = "logistic, so that values are probabilities: calibrate the model first";
            return Err(Error::parameter("link of the model", expected, model.link()));
        }
        pairs.check_items(queries.len(), keys.unwrap_or(queries).len())?;
        let chunk = pairs.chunk();
        Calibration::new(&Scorer::new(model, queries, keys)?.scores(pairs), chunk.value, chunk.weight, options)
    }
}

/// The cube root of the number of pairs, from 1 to [`MOST_BINS`].
fn default_bins(pairs: usize) -> usize {
    ((pairs as f64).cbrt().round() as usize).clamp(1, MOST_BINS.min(pairs / 2))
}

fn log_loss(p: f64, label: f64) -> f64 {
    let p = p.clamp(NEAREST, 1.0 - NEAREST);
    if label == 1.0 { -p.ln() } else { -(-p).ln_1p() }
}

/// Checked pairs by increasing prediction, with weights of sum 1.
struct Sorted {
    predicted: Vec<f64>,
    label: Vec<f64>,
    weight: Vec<f64>,
}

impl Sorted {
    fn new(predicted: &[f64], labels: &[f32], weights: Option<&[f32]>) -> Result<Sorted> {
        let n = predicted.len();
        let lengths = [labels.len(), weights.map_or(n, <[f32]>::len)];
        if lengths.iter().any(|l| *l != n) {
            let got = format!("{} labels and {} weights", lengths[0], lengths[1]);
            return Err(Error::shape("calibration", format!("as many as {n} predictions"), got));
        }
        if n < 2 {
            return Err(Error::data(
                format!("{n} pairs tell nothing of calibration"),
                "bring pairs with labels 0 and 1",
            ));
        }
        let refused = |name: &str, expected: &str, at: usize, got: f64| -> Result<Sorted> {
            Err(ErrorKind::Parameter {
                name: format!("{name} of pair {at}"),
                expected: expected.into(),
                got: got.to_string(),
            }
            .into())
        };
        if let Some(i) = predicted.iter().position(|p| !(0.0..=1.0).contains(p)) {
            return refused("prediction", "a probability from 0 to 1", i, predicted[i]);
        }
        if let Some(i) = labels.iter().position(|y| *y != 0.0 && *y != 1.0) {
            return refused("label", "0 or 1", i, labels[i].into());
        }
        if let Some(i) = weights.and_then(|w| w.iter().position(|w| !(*w > 0.0 && w.is_finite()))) {
            return refused("weight", "a positive number", i, weights.map_or(0.0, |w| w[i].into()));
        }
        let given = |i: usize| weights.map_or(1.0, |w| f64::from(w[i]));
        let total: f64 = (0..n).map(given).sum();
        let mut order: Vec<usize> = (0..n).collect();
        // Ties by label and weight, so that the order in which pairs came changes no bit.
        let key = |&i: &usize| (predicted[i], f64::from(labels[i]), given(i));
        order.sort_unstable_by(|a, b| {
            let (a, b) = (key(a), key(b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
        });
        Ok(Sorted {
            // Adding 0 turns -0 into 0: they are one prediction.
            predicted: order.iter().map(|&i| predicted[i] + 0.0).collect(),
            label: order.iter().map(|&i| labels[i].into()).collect(),
            weight: order.iter().map(|&i| given(i) / total).collect(),
        })
    }

    fn len(&self) -> usize {
        self.predicted.len()
    }

    /// Weighted mean.
    fn mean(&self, of: impl Fn(usize) -> f64) -> f64 {
        (0..self.len()).map(|i| self.weight[i] * of(i)).sum()
    }

    /// Where each of at most `count` bins ends; a run of equal predictions belongs to the bin in which its middle lies.
    fn bin_ends(&self, count: usize) -> Vec<usize> {
        let variance = |i: usize| self.weight[i] * self.predicted[i] * (1.0 - self.predicted[i]);
        let total: f64 = (0..self.len()).map(variance).sum();
        let mass = |i: usize| {
            let spread = if total > 0.0 { variance(i) / total } else { self.weight[i] };
            0.5 * (self.weight[i] + spread)
        };
        let (mut ends, mut current): (Vec<usize>, usize) = (Vec::with_capacity(count), 0);
        let (mut start, mut before) = (0, 0.0);
        while start < self.len() {
            let run = self.run(start);
            let own: f64 = (start..start + run).map(mass).sum();
            let bin = (((before + 0.5 * own) * count as f64) as usize).min(count - 1);
            if bin > current && start > 0 {
                ends.push(start);
            }
            (start, before, current) = (start + run, before + own, bin);
        }
        ends.push(self.len());
        ends
    }

    /// How many predictions from `start` on equal the one there.
    fn run(&self, start: usize) -> usize {
        self.predicted[start..].iter().take_while(|p| **p == self.predicted[start]).count()
    }

    /// `sum of w (p - y)` of each bin, for any labels.
    fn differences(&self, ends: &[usize], mut label: impl FnMut(usize) -> f64) -> Vec<f64> {
        let starts = [0].into_iter().chain(ends.iter().copied());
        let mut sum = |start, end| (start..end).map(|i| self.weight[i] * (self.predicted[i] - label(i))).sum();
        starts.zip(ends).map(|(start, &end)| sum(start, end)).collect()
    }

    fn bins(&self, ends: &[usize], confidence: f64) -> Vec<CalibrationBin> {
        let starts = [0].into_iter().chain(ends.iter().copied());
        let bin = |(start, &end): (usize, &usize)| {
            let sum = |of: &dyn Fn(usize) -> f64| (start..end).map(|i| self.weight[i] * of(i)).sum::<f64>();
            let (share, square) = (sum(&|_| 1.0), sum(&|i| self.weight[i]));
            let (predicted, observed) = (sum(&|i| self.predicted[i]) / share, sum(&|i| self.label[i]) / share);
            let observed = observed.clamp(0.0, 1.0);
            // Counts of equal weights come out whole but for rounding.
            let whole = |v: f64| if (v - v.round()).abs() < 1e-6 { v.round() } else { v };
            let effective = whole(share * share / square);
            let (low, high) = rate_interval(whole(observed * effective), effective, 1.0 - confidence);
            let (lowest, highest) = (self.predicted[start], self.predicted[end - 1]);
            CalibrationBin { pairs: end - start, share, lowest, highest, predicted, observed, low, high }
        };
        starts.zip(ends).map(bin).collect()
    }

    /// `sum_b W_b ((mean p - mean y)^2 - variance of mean y)`, the variance estimated without bias for labels of one rate.
    fn mean_square_error(&self, ends: &[usize]) -> f64 {
        let starts = [0].into_iter().chain(ends.iter().copied());
        let of_bin = |(start, &end): (usize, &usize)| {
            let sum = |of: &dyn Fn(usize) -> f64| (start..end).map(|i| self.weight[i] * of(i)).sum::<f64>();
            let share = sum(&|_| 1.0);
            let observed = sum(&|i| self.label[i]) / share;
            let difference = sum(&|i| self.predicted[i]) / share - observed;
            let noise = sum(&|i| self.weight[i] * (self.label[i] - observed).powi(2)) / (share * share);
            let concentration = sum(&|i| self.weight[i]) / (share * share);
            share * (difference * difference - noise / (1.0 - concentration).max(f64::EPSILON))
        };
        starts.zip(ends).map(of_bin).sum()
    }

    /// Weighted share of pairs of a one and a zero in which the one is predicted higher, ties half.
    fn auc(&self) -> Option<f64> {
        let (mut below, mut won, mut ones) = (0.0, 0.0, 0.0);
        let mut start = 0;
        while start < self.len() {
            let run = self.run(start);
            let of = |label: f64| -> f64 {
                (start..start + run).filter(|&i| self.label[i] == label).map(|i| self.weight[i]).sum()
            };
            let (zero, one) = (of(0.0), of(1.0));
            won += one * (below + 0.5 * zero);
            below += zero;
            ones += one;
            start += run;
        }
        (below > 0.0 && ones > 0.0).then(|| (won / (below * ones)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_follow_the_cube_root_and_never_part_equal_predictions() {
        assert_eq!([2, 3, 27, 1000, 64_000, 5_000_000].map(default_bins), [1, 1, 3, 10, 40, 100]);
        // Of the mass 1 the run of .1 has (5/8 + .45/.91) / 2 = .56: it ends in the third of four parts, its middle is in the second.
        let predicted = [0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.3, 0.9];
        let sorted = Sorted::new(&predicted, &[0.0; 8], None).unwrap();
        assert_eq!(sorted.bin_ends(4), [5, 6, 8]);
        assert_eq!(sorted.bin_ends(1), [8]);
        let sure = Sorted::new(&[0.0, 0.0, 0.0, 1.0], &[0.0; 4], None).unwrap();
        assert_eq!(sure.bin_ends(2), [3, 4]);
        // A thousand sure zeros and ten pairs at large: those are not lumped together.
        let rare: Vec<f64> =
            (0..1000).map(|i| f64::from(i) * 1e-9).chain((1..=10).map(|i| f64::from(i) / 11.0)).collect();
        let ends = Sorted::new(&rare, &[0.0; 1010], None).unwrap().bin_ends(10);
        assert!(ends.len() == 10 && ends.iter().filter(|e| **e > 1000).count() >= 5, "{ends:?}");
        assert_eq!(Sorted::new(&[0.5; 6], &[0.0; 6], None).unwrap().bin_ends(3), [6]);
    }

    #[test]
    fn logarithms_stay_finite() {
        assert_eq!(log_loss(0.0, 0.0), log_loss(1.0, 1.0));
        assert!((log_loss(0.0, 1.0) - 53.0 * std::f64::consts::LN_2).abs() < 1e-9);
        assert!((log_loss(1.0, 0.0) - 53.0 * std::f64::consts::LN_2).abs() < 1e-9);
        assert!((log_loss(0.25, 0.0) + 0.75f64.ln()).abs() < 1e-15);
    }
}
