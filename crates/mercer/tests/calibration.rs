//! Labels become probabilities: the fitted link is the optimum that it claims to be, keeps every rank, and comes back from the
//! file; the calibration error's interval covers the truth, and perfect calibration is rejected as rarely as stated.

mod common;

use mercer::evaluate::{Calibration, CalibrationOptions, Scorer};
use mercer::fit::{
    BaseRate, Calibrated, Complete, Dimension, Method, Options, Outcome, Silent, Table, calibrate, complete, observed,
};
use mercer::{
    Activation, DualEncoder, ErrorKind, Features, Form, Layer, Link, Model, Pairs, Record, Seed, Stream, Tower,
    with_threads,
};

fn sigmoid(f: f64) -> f64 {
    1.0 / (1.0 + (-f).exp())
}

fn coin(stream: &mut Stream, p: f64) -> f32 {
    if stream.uniform() < p { 1.0 } else { 0.0 }
}

/// A model on numbers whose inner product with the key 1 is the number itself.
fn numbers() -> (DualEncoder, Features) {
    let tower = || Tower::new(vec![Layer::new(vec![1.0], vec![0.0], Activation::Identity).unwrap()]).unwrap();
    let model = DualEncoder::new(tower(), Some(tower()), Form::Identity, 1).unwrap();
    (model, Features::dense(vec![1.0], 1).unwrap())
}

fn column(scores: &[f32]) -> Features {
    Features::dense(scores.to_vec(), 1).unwrap()
}

fn labelled(labels: Vec<f32>, weight: Option<Vec<f32>>) -> Pairs {
    let n = labels.len() as u32;
    Pairs::new((0..n).collect(), vec![0; n as usize], labels, weight).unwrap()
}

/// Calibrates scores as they are.
fn platt(scores: &[f32], labels: &[f32], weight: Option<&[f32]>, base_rate: BaseRate) -> mercer::Result<Calibrated> {
    let (model, one) = numbers();
    let pairs = labelled(labels.to_vec(), weight.map(<[f32]>::to_vec));
    calibrate(&model, &column(scores), Some(&one), &pairs, base_rate)
}

/// Normal scores with labels of log-odds `scale s + offset`.
fn scored(n: usize, scale: f64, offset: f64, stream: &mut Stream) -> (Vec<f32>, Vec<f32>) {
    let scores: Vec<f32> = (0..n).map(|_| stream.normal() as f32).collect();
    let labels = scores.iter().map(|s| coin(stream, sigmoid(scale * f64::from(*s) + offset))).collect();
    (scores, labels)
}

/// `(sum w (p - t), sum w (p - t) s) / sum w` with Platt's targets of effective counts: both 0 at the optimum.
fn score_equations(done: &Calibrated, scores: &[f32], labels: &[f32], weight: Option<&[f32]>) -> [f64; 2] {
    let w = |i: usize| weight.map_or(1.0, |w| f64::from(w[i]));
    let of = |kind: f32| (0..labels.len()).filter(move |&i| labels[i] == kind);
    let count = |kind: f32| of(kind).map(w).sum::<f64>().powi(2) / of(kind).map(|i| w(i) * w(i)).sum::<f64>();
    let (zeros, ones) = (count(0.0), count(1.0));
    let target = |y: f32| if y == 1.0 { (ones + 1.0) / (ones + 2.0) } else { 1.0 / (zeros + 2.0) };
    let mut sums = [0.0; 3];
    for i in 0..labels.len() {
        let s = f64::from(scores[i]);
        let f = done.scale * s + done.offset - done.base_rate_shift;
        let rest = w(i) * (sigmoid(f) - target(labels[i]));
        sums = [sums[0] + rest, sums[1] + rest * s, sums[2] + w(i)];
    }
    [sums[0] / sums[2], sums[1] / sums[2]]
}

#[test]
fn the_link_recovers_scale_and_offset_and_solves_its_equations() {
    let mut stream = Seed(1).stream("recover");
    for (scale, offset) in [(1.7, -0.4), (0.05, -3.0), (9.0, 2.0)] {
        let (scores, labels) = scored(40_000, scale, offset, &mut stream);
        let done = platt(&scores, &labels, None, BaseRate::HeldOut).unwrap();
        // Inverse information of (scale, offset) at the truth gives the standard errors.
        let (mut aa, mut ab, mut bb) = (0.0, 0.0, 0.0);
        for s in scores.iter().map(|s| f64::from(*s)) {
            let p = sigmoid(scale * s + offset);
            let h = p * (1.0 - p);
            (aa, ab, bb) = (aa + h * s * s, ab + h * s, bb + h);
        }
        let determinant = aa * bb - ab * ab;
        let errors = [(bb / determinant).sqrt(), (aa / determinant).sqrt()];
        assert!((done.scale - scale).abs() < 4.0 * errors[0], "{} {scale} {errors:?}", done.scale);
        assert!((done.offset - offset).abs() < 4.0 * errors[1], "{} {offset} {errors:?}", done.offset);
        assert!(done.separates && done.outcome == Outcome::Converged && done.steps < 15, "{:?}", done.steps);
        let equations = score_equations(&done, &scores, &labels, None);
        assert!(equations.iter().all(|e| e.abs() < 1e-9), "{equations:?}");
        assert!(done.log_loss < done.base_log_loss);
    }
}

#[test]
fn weights_count_and_their_unit_does_not() {
    let mut stream = Seed(2).stream("weights");
    let (scores, labels) = scored(3000, 1.0, -1.0, &mut stream);
    let weight: Vec<f32> = scores.iter().map(|s| if *s > 0.3 { 4.0 } else { 0.5 }).collect();
    let done = platt(&scores, &labels, Some(&weight), BaseRate::HeldOut).unwrap();
    let equations = score_equations(&done, &scores, &labels, Some(&weight));
    assert!(equations.iter().all(|e| e.abs() < 1e-9), "{equations:?}");
    let scaled: Vec<f32> = weight.iter().map(|w| w * 1024.0).collect();
    assert_eq!(platt(&scores, &labels, Some(&scaled), BaseRate::HeldOut).unwrap(), done);
    assert_ne!(platt(&scores, &labels, None, BaseRate::HeldOut).unwrap().scale, done.scale);
}

#[test]
fn any_affine_map_of_the_scores_gives_the_same_probabilities() {
    let mut stream = Seed(3).stream("affine");
    let (scores, labels) = scored(2000, 1.3, 0.7, &mut stream);
    let plain = platt(&scores, &labels, None, BaseRate::HeldOut).unwrap();
    let moved: Vec<f32> = scores.iter().map(|s| 256.0 * s + 4096.0).collect();
    let other = platt(&moved, &labels, None, BaseRate::HeldOut).unwrap();
    for (s, m) in scores.iter().zip(&moved) {
        let (p, q) = (plain.encoder.link().apply(f64::from(*s)), other.encoder.link().apply(f64::from(*m)));
        // The moved scores are rounded at 2^-12.
        assert!((p - q).abs() < 1e-4, "{p} {q}");
    }
}

#[test]
fn separated_labels_stay_finite() {
    let scores: Vec<f32> = (0..100).map(|i| i as f32 / 10.0).collect();
    let labels: Vec<f32> = (0..100).map(|i| if i < 60 { 0.0 } else { 1.0 }).collect();
    let done = platt(&scores, &labels, None, BaseRate::HeldOut).unwrap();
    assert!(done.separates && done.outcome == Outcome::Converged && done.scale.is_finite(), "{done:?}");
    let equations = score_equations(&done, &scores, &labels, None);
    assert!(equations.iter().all(|e| e.abs() < 1e-9), "{equations:?}");
    // Far from the border the targets 41/42 and 1/62 are exceeded, as in every logistic fit.
    assert!(done.encoder.link().apply(9.9) > 0.97 && done.encoder.link().apply(0.0) < 0.02);
    // Two labels are enough to go on, and say little.
    let two = platt(&[0.0, 1.0], &[0.0, 1.0], None, BaseRate::HeldOut).unwrap();
    let ends = [0.0, 1.0].map(|s| two.encoder.link().apply(s));
    assert!((ends[0] - 1.0 / 3.0).abs() < 1e-9 && (ends[1] - 2.0 / 3.0).abs() < 1e-9, "{ends:?}");
}

#[test]
fn scores_that_do_not_separate_become_the_base_rate_and_keep_their_ranks() {
    let mut stream = Seed(4).stream("against");
    let (scores, labels) = scored(1000, -2.0, -1.0, &mut stream);
    let done = platt(&scores, &labels, None, BaseRate::HeldOut).unwrap();
    assert!(!done.separates && done.scale > 0.0);
    assert!(done.choices[0].reason.contains("do not separate"), "{:?}", done.choices);
    let rate = labels.iter().filter(|y| **y == 1.0).count() as f64 / 1000.0;
    let values: Vec<f64> = scores.iter().map(|s| done.encoder.link().apply(f64::from(*s))).collect();
    assert!(values.iter().all(|v| (v - rate).abs() < 2e-3), "{rate} {values:?}");
    same_order(&scores, &values);
    // Equal scores, at and away from 0.
    for level in [0.0f32, 0.3, -1e6] {
        let flat = platt(&[level; 6], &[0.0, 1.0, 0.0, 1.0, 1.0, 1.0], None, BaseRate::HeldOut).unwrap();
        let value = flat.encoder.link().apply(f64::from(level));
        assert!(!flat.separates && (value - (4.0 * 5.0 / 6.0 + 2.0 / 4.0) / 6.0).abs() < 1e-6, "{level} {value}");
    }
}

fn same_order(scores: &[f32], values: &[f64]) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    for pair in order.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        assert!(values[a] < values[b] || (scores[a] == scores[b] && values[a] == values[b]), "{a} {b}");
    }
}

#[test]
fn sampled_negatives_are_corrected_to_the_base_rate() {
    let mut stream = Seed(5).stream("sampled");
    let kept = 0.05;
    let (scores, labels) = scored(200_000, 1.5, -4.0, &mut stream);
    let rate = labels.iter().filter(|y| **y == 1.0).count() as f64 / 200_000.0;
    let sample: Vec<usize> = (0..scores.len() / 2).filter(|&i| labels[i] == 1.0 || stream.uniform() < kept).collect();
    let pick = |from: &[f32]| sample.iter().map(|&i| from[i]).collect::<Vec<f32>>();
    let (s, y) = (pick(&scores), pick(&labels));
    let plain = platt(&s, &y, None, BaseRate::HeldOut).unwrap();
    let by_sampling = platt(&s, &y, None, BaseRate::NegativesKept(kept)).unwrap();
    let by_share = platt(&s, &y, None, BaseRate::Share(rate)).unwrap();
    assert_eq!((by_sampling.scale, by_share.scale), (plain.scale, plain.scale));
    assert!((by_sampling.offset - plain.offset - kept.ln()).abs() < 1e-12);
    let sampled = y.iter().filter(|y| **y == 1.0).count() as f64 / y.len() as f64;
    let expected = (rate / (1.0 - rate)).ln() - (sampled / (1.0 - sampled)).ln();
    assert!((by_share.base_rate_shift - expected).abs() < 1e-12);
    // The other half, as it is: calibrated only after the correction.
    let (s, y) = (&scores[100_000..], &labels[100_000..]);
    let judged = |done: &Calibrated| {
        let values: Vec<f64> = s.iter().map(|s| done.encoder.link().apply(f64::from(*s))).collect();
        Calibration::new(&values, y, None, &CalibrationOptions { simulations: 199, ..Default::default() }).unwrap()
    };
    let (good, other, bad) = (judged(&by_sampling), judged(&by_share), judged(&plain));
    println!("base rate {rate:.4}: ECE {:.5} {:.5} against {:.5}", good.ece, other.ece, bad.ece);
    assert!(good.low == 0.0 && good.high < 0.006 && other.low == 0.0, "{} {}", good.high, other.high);
    assert!((good.mean_predicted / rate - 1.0).abs() < 0.1 && good.p_value > 1e-2, "{}", good.p_value);
    assert!(bad.rejected && bad.low > 0.1 && (bad.auc, bad.positives) == (good.auc, good.positives));
}

#[test]
fn the_calibrated_model_keeps_ranks_and_comes_back_from_its_file() {
    let mut stream = Seed(6).stream("file");
    let layer = |stream: &mut Stream, a: usize, b: usize| {
        let mut draw = |n: usize| (0..n).map(|_| 0.7 * stream.normal() as f32).collect::<Vec<f32>>();
        Layer::new(draw(a * b), draw(b), Activation::Identity).unwrap()
    };
    let tower = |stream: &mut Stream| Tower::new(vec![layer(stream, 3, 4)]).unwrap();
    let model = DualEncoder::new(tower(&mut stream), Some(tower(&mut stream)), Form::Identity, 1).unwrap();
    let (x, y) = (common::cube(40, 3, "file x"), common::cube(50, 3, "file y"));
    let scores = model.block(0, &x.rows(), &y.rows()).unwrap();
    let all: Vec<(u32, u32)> = (0..40).flat_map(|i| (0..50).map(move |j| (i, j))).collect();
    let labels = scores.iter().map(|s| coin(&mut stream, sigmoid(3.0 * s - 1.0))).collect();
    let pairs = Pairs::new(all.iter().map(|p| p.0).collect(), all.iter().map(|p| p.1).collect(), labels, None).unwrap();
    let done = calibrate(&model, &x, Some(&y), &pairs, BaseRate::HeldOut).unwrap();
    let values = done.encoder.block(0, &x.rows(), &y.rows()).unwrap();
    assert!(values.iter().all(|v| *v > 0.0 && *v < 1.0));
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    assert!(order.windows(2).all(|w| values[w[0]] <= values[w[1]]), "the link turned a rank round");
    // Scorer, block and file agree to the last bit; towers are untouched.
    let scorer = Scorer::new(&done.encoder, &x, Some(&y)).unwrap();
    assert!((0..all.len()).all(|p| (scorer.score(all[p].0, all[p].1) - values[p]).abs() < 1e-12));
    assert_eq!(done.encoder.clone().with_link(Link::Identity), model);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let whole = Model { encoder: done.encoder.clone(), record: Record::default(), known: [Vec::new(), Vec::new()] };
    whole.save(&path).unwrap();
    let back = Model::load(&path).unwrap();
    assert_eq!(back, whole);
    assert_eq!(back.encoder.block(0, &x.rows(), &y.rows()).unwrap(), values);
    // Calibrating again, on the same labels, changes nothing: the old link plays no part.
    let again = calibrate(&back.encoder, &x, Some(&y), &pairs, BaseRate::HeldOut).unwrap();
    assert_eq!((again.encoder, again.log_loss_before), (done.encoder, Some(done.log_loss)));
}

#[test]
fn what_cannot_be_calibrated_is_refused() {
    let kind = |result: mercer::Result<Calibrated>, word: &str| {
        let error = result.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        matches!(error.kind(), ErrorKind::Data { .. })
    };
    assert!(kind(platt(&[0.0, 1.0], &[1.0, 1.0], None, BaseRate::HeldOut), "all 2 held-out labels are 1"));
    assert!(kind(platt(&[0.0, 1.0], &[0.0, 0.0], None, BaseRate::HeldOut), "are 0"));
    assert!(!kind(platt(&[0.0, 1.0], &[0.0, 0.5], None, BaseRate::HeldOut), "0 or 1"));
    assert!(!kind(platt(&[0.0, 1.0], &[-1.0, 1.0], None, BaseRate::HeldOut), "0 or 1"));
    for bad in [0.0, -0.1, 1.5, f64::NAN] {
        assert!(!kind(platt(&[0.0, 1.0], &[0.0, 1.0], None, BaseRate::NegativesKept(bad)), "keeping"));
        let share = if bad == 1.5 { 1.0 } else { bad };
        assert!(!kind(platt(&[0.0, 1.0], &[0.0, 1.0], None, BaseRate::Share(share)), "share"));
    }
    let (model, one) = numbers();
    let none = Pairs::new(vec![], vec![], vec![], None).unwrap();
    assert!(kind(calibrate(&model, &one, None, &none, BaseRate::HeldOut), "no held-out labels"));
    let beyond = Pairs::new(vec![0, 7], vec![0, 0], vec![0.0, 1.0], None).unwrap();
    assert!(!kind(calibrate(&model, &one, None, &beyond, BaseRate::HeldOut), "below 1"));
    let two = Tower::new(vec![Layer::new(vec![1.0, 1.0], vec![0.0; 2], Activation::Identity).unwrap()]).unwrap();
    let two = DualEncoder::new(two, None, Form::Identity, 2).unwrap();
    assert!(!kind(calibrate(&two, &one, None, &none, BaseRate::HeldOut), "components"));
    for (scale, offset) in [(0.0, 0.0), (-1.0, 0.0), (f64::NAN, 0.0), (f64::INFINITY, 0.0), (1.0, f64::NAN)] {
        assert!(Link::logistic(scale, offset).is_err());
    }
}

fn quick(seed: u64) -> CalibrationOptions {
    CalibrationOptions { simulations: 199, seed: Seed(seed), ..CalibrationOptions::default() }
}

#[test]
fn a_worked_example() {
    // Two bins: (.1 .1 .2 .2) with labels 0 0 0 1, and (.6 .8 .8 .8) with labels 0 1 1 1.
    let predicted = [0.8, 0.1, 0.2, 0.6, 0.1, 0.8, 0.2, 0.8];
    let labels = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    let options = CalibrationOptions { bins: Some(2), ..quick(0) };
    let c = Calibration::new(&predicted, &labels, None, &options).unwrap();
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    assert_eq!((c.pairs, c.positives, c.bins.len()), (8, 4, 2));
    near(c.bins[0].predicted, 0.15);
    near(c.bins[0].observed, 0.25);
    near(c.bins[1].predicted, 0.75);
    near(c.bins[1].observed, 0.75);
    near(c.ece, 0.05);
    near(c.brier, (2.0 * 0.01 + 0.04 + 0.64 + 0.36 + 3.0 * 0.04) / 8.0);
    let loss = 2.0 * 0.9f64.ln() + 0.8f64.ln() + 0.2f64.ln() + 0.4f64.ln() + 3.0 * 0.8f64.ln();
    near(c.log_loss, -loss / 8.0);
    near(c.base_log_loss, std::f64::consts::LN_2);
    near(c.base_brier, 0.25);
    // Of 16 pairs of a one and a zero: the ones at .8 beat all four zeros, the one at .2 beats two, ties one, loses one.
    near(c.auc.unwrap(), (12.0 + 2.0 + 0.5) / 16.0);
    // The unbiased square: ((.1^2 - .1875 / 3) + (0 - .1875 / 3)) / 2 is negative, so the root is 0.
    assert_eq!((c.rms, c.low), (0.0, 0.0));
    // Clopper and Pearson for 1 of 4 (their table): .0063 to .8059.
    assert!((c.bins[0].low - 0.00631).abs() < 1e-4 && (c.bins[0].high - 0.80588).abs() < 1e-4, "{:?}", c.bins[0]);
    // In another order, and as weights of one pair each: the same.
    let reversed: (Vec<f64>, Vec<f32>) = predicted.iter().zip(labels).rev().unzip();
    assert_eq!(Calibration::new(&reversed.0, &reversed.1, Some(&[3.0; 8]), &options).unwrap().ece, c.ece);
    assert_eq!(Calibration::new(&reversed.0, &reversed.1, None, &options).unwrap(), c);
    let json = serde_json::to_value(&c).unwrap();
    assert!(json["ece"].is_f64() && json["bins"][1]["observed"].is_f64() && json["ece_if_calibrated"].is_f64());
}

#[test]
fn integer_weights_count_as_repeated_pairs() {
    let mut stream = Seed(7).stream("repeated");
    let predicted: Vec<f64> = (0..90).map(|i| (f64::from(i / 30) + 1.0) / 4.0).collect();
    let labels: Vec<f32> = predicted.iter().map(|p| coin(&mut stream, *p)).collect();
    let weight: Vec<f32> = (0..90).map(|i| (i % 3 + 1) as f32).collect();
    let repeat = |i: usize| std::iter::repeat_n(i, weight[i] as usize);
    let (p, y): (Vec<f64>, Vec<f32>) = (0..90).flat_map(repeat).map(|i| (predicted[i], labels[i])).unzip();
    let options = CalibrationOptions { bins: Some(3), ..quick(0) };
    let weighted = Calibration::new(&predicted, &labels, Some(&weight), &options).unwrap();
    let repeated = Calibration::new(&p, &y, None, &options).unwrap();
    let all = |c: &Calibration| [c.ece, c.brier, c.log_loss, c.base_log_loss, c.base_rate, c.auc.unwrap()];
    for (a, b) in all(&weighted).iter().zip(all(&repeated)) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
    // But they are not as much evidence.
    assert!(weighted.high > repeated.high && weighted.bins[0].high > repeated.bins[0].high);
}

/// Predictions and the true probabilities behind them.
struct World {
    predicted: Vec<f64>,
    truth: Vec<f64>,
    weight: Option<Vec<f32>>,
}

impl World {
    /// Log-odds `shift + spread * normal`, predicted as `scale` times them plus `offset`.
    fn new(n: usize, (shift, spread): (f64, f64), (scale, offset): (f64, f64), stream: &mut Stream) -> World {
        let odds: Vec<f64> = (0..n).map(|_| shift + spread * stream.normal()).collect();
        let predicted = odds.iter().map(|f| sigmoid(scale * f + offset)).collect();
        World { predicted, truth: odds.into_iter().map(sigmoid).collect(), weight: None }
    }

    fn judge(&self, stream: &mut Stream, options: &CalibrationOptions) -> Calibration {
        let labels: Vec<f32> = self.truth.iter().map(|p| coin(stream, *p)).collect();
        Calibration::new(&self.predicted, &labels, self.weight.as_deref(), options).unwrap()
    }

    /// The binned error and mean square error of the true probabilities, in the bins of `c`.
    fn true_errors(&self, c: &Calibration) -> (f64, f64) {
        let w = |i: usize| self.weight.as_ref().map_or(1.0, |w| f64::from(w[i]));
        let total: f64 = (0..self.truth.len()).map(w).sum();
        let (mut error, mut square) = (0.0, 0.0);
        for bin in &c.bins {
            let own = |i: &usize| (bin.lowest..=bin.highest).contains(&self.predicted[*i]);
            let members: Vec<usize> = (0..self.truth.len()).filter(own).collect();
            assert_eq!(members.len(), bin.pairs);
            let weight: f64 = members.iter().map(|&i| w(i)).sum();
            let difference = members.iter().map(|&i| w(i) * (self.predicted[i] - self.truth[i])).sum::<f64>();
            error += difference.abs() / total;
            square += difference * difference / (weight * total);
        }
        (error, square)
    }
}

/// Shares of missed intervals and of rejections, means over all rounds, and the mean of the squared root mean square error less the
/// true one, in standard errors.
struct Repeated {
    missed: f64,
    rejected: f64,
    low: f64,
    high: f64,
    truth: f64,
    ece: f64,
    if_calibrated: f64,
    rms_bias: f64,
}

/// Three standard errors of a share among `rounds`.
fn slack(share: f64, rounds: u64) -> f64 {
    3.0 * (share * (1.0 - share) / rounds as f64).sqrt()
}

/// Rounds where a rate is compared with its level.
const ROUNDS: u64 = 600;

fn repeat(name: &str, rounds: u64, options: CalibrationOptions, world: impl Fn(&mut Stream) -> World) -> Repeated {
    let mut stream = Seed(20).stream(name);
    let (mut sums, mut bias) = ([0.0; 7], (0.0, 0.0));
    for round in 0..rounds {
        let world = world(&mut stream);
        let c = world.judge(&mut stream, &CalibrationOptions { seed: Seed(round), ..options });
        let (error, square) = world.true_errors(&c);
        let missed = f64::from(u8::from(error < c.low || error > c.high));
        let terms = [missed, f64::from(u8::from(c.rejected)), c.low, c.high, error, c.ece, c.ece_if_calibrated];
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term / rounds as f64);
        let difference = c.rms * c.rms - square;
        bias = (bias.0 + difference, bias.1 + difference * difference);
        assert!(c.low <= c.ece && c.ece <= c.high && c.rejected == (c.p_value <= 1.0 - c.confidence + 1e-9));
        assert_eq!(c.rejected, c.ece > c.ece_if_calibrated_quantile + 1e-12);
    }
    let n = rounds as f64;
    let rms_bias = bias.0 / n / ((bias.1 / n - (bias.0 / n).powi(2)) / n).sqrt();
    let [missed, rejected, low, high, truth, ece, if_calibrated] = sums;
    println!(
        "{name:>32}: truth {truth:.4}, ECE {ece:.4} ({if_calibrated:.4} if calibrated), mean interval {low:.4} to {high:.4}, \
         missed {:.1} %, rejected {:.1} %, rms^2 bias {rms_bias:+.1} standard errors",
        100.0 * missed,
        100.0 * rejected
    );
    Repeated { missed, rejected, low, high, truth, ece, if_calibrated, rms_bias }
}

#[test]
fn perfect_calibration_is_rejected_as_rarely_as_stated() {
    for (name, n, odds) in [
        ("calibrated", 600, (0.0, 1.5)),
        ("calibrated, rare ones", 1500, (-5.0, 1.0)),
        ("calibrated, few", 40, (0.0, 1.0)),
    ] {
        for confidence in [0.95, 0.8] {
            let options = CalibrationOptions { confidence, simulations: 99, ..quick(0) };
            let r = repeat(name, ROUNDS, options, |s| World::new(n, odds, (1.0, 0.0), s));
            let (level, slack) = (1.0 - confidence, slack(1.0 - confidence, ROUNDS));
            assert!((r.rejected - level).abs() <= slack, "{name}: {} of {level}", r.rejected);
            assert!(r.missed <= level + slack && r.truth < 1e-15);
            assert!((r.ece / r.if_calibrated - 1.0).abs() < 0.1, "{} {}", r.ece, r.if_calibrated);
        }
    }
}

#[test]
fn the_interval_covers_known_miscalibration_and_finds_it() {
    let twice = repeat("scale 2", 300, quick(0), |s| World::new(600, (0.0, 1.5), (2.0, 0.0), s));
    let shifted = repeat("offset 1", 300, quick(0), |s| World::new(600, (0.0, 1.5), (1.0, 1.0), s));
    let rare = repeat("scale 2 and offset, rare ones", 300, quick(0), |s| World::new(3000, (-4.0, 1.0), (2.0, 5.0), s));
    let slight = repeat("scale 1.1", 300, quick(0), |s| World::new(600, (0.0, 1.5), (1.1, 0.0), s));
    let large = repeat("scale 2, many", 100, CalibrationOptions { simulations: 19, ..quick(0) }, |s| {
        World::new(20_000, (0.0, 1.5), (2.0, 0.0), s)
    });
    for r in [&twice, &shifted, &rare, &slight, &large] {
        // 5 % and three standard errors; Bernstein's deviations miss far less often.
        assert!(r.missed <= 0.05 + slack(0.05, 300), "{}", r.missed);
    }
    for r in [&twice, &shifted, &rare, &large] {
        assert!(r.rejected > 0.95 && r.low > 0.0, "{} {}", r.rejected, r.low);
        assert!(r.rms_bias.abs() < 4.0, "{}", r.rms_bias);
    }
    // Narrow enough to be of use: 1.96 normal deviations either way would be .010 and .06 wide, with the true signs known.
    assert!(large.high - large.low < 0.025 && large.low > 0.8 * large.truth, "{} {}", large.low, large.high);
    assert!(twice.high - twice.low < 0.15, "{} {}", twice.low, twice.high);
    assert!(slight.rejected < 0.5);
}

#[test]
fn weighted_pairs_are_covered_too() {
    let options = CalibrationOptions { simulations: 99, ..quick(0) };
    for (name, map) in [("weights, calibrated", (1.0, 0.0)), ("weights, scale 2", (2.0, 0.0))] {
        let r = repeat(name, ROUNDS, options, |s| {
            let mut world = World::new(800, (0.0, 1.5), map, s);
            world.weight = Some((0..800).map(|_| s.normal().exp() as f32).collect());
            world
        });
        assert!(r.missed <= 0.05 + slack(0.05, ROUNDS), "{}", r.missed);
        if map.0 == 1.0 {
            assert!((r.rejected - 0.05).abs() <= slack(0.05, ROUNDS), "{}", r.rejected);
        } else {
            assert!(r.rejected > 0.95 && r.low > 0.0 && r.rms_bias.abs() < 4.0, "{} {}", r.rejected, r.rms_bias);
        }
    }
}

#[test]
fn odd_predictions_are_measured_and_wrong_ones_refused() {
    let c = |p: &[f64], y: &[f32]| Calibration::new(p, y, None, &quick(0));
    // All one prediction; all sure and right; all sure and wrong; one kind of label.
    let flat = c(&[0.5; 40], &[[0.0f32; 20], [1.0; 20]].concat()).unwrap();
    assert_eq!((flat.bins.len(), flat.p_value, flat.auc, flat.rejected), (1, 1.0, Some(0.5), false));
    assert!(flat.ece < 1e-15);
    let sure: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
    let labels: Vec<f32> = sure.iter().map(|p| *p as f32).collect();
    let right = c(&sure, &labels).unwrap();
    assert_eq!((right.ece, right.auc, right.p_value, right.rejected), (0.0, Some(1.0), 1.0, false));
    let turned: Vec<f32> = labels.iter().map(|y| 1.0 - y).collect();
    let wrong = c(&sure, &turned).unwrap();
    assert_eq!((wrong.ece, wrong.high, wrong.auc, wrong.rejected), (1.0, 1.0, Some(0.0), true));
    assert!(wrong.low > 0.5 && wrong.log_loss.is_finite() && (wrong.rms - 1.0).abs() < 1e-12);
    assert_eq!(c(&[0.25, 0.5, 0.75], &[1.0; 3]).unwrap().auc, None);
    let refused = |result: mercer::Result<Calibration>, word: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(c(&[], &[]), "0 pairs");
    refused(c(&[0.5], &[1.0]), "1 pairs");
    refused(c(&[0.5, 1.5], &[1.0, 0.0]), "pair 1");
    refused(c(&[f64::NAN, 0.5], &[1.0, 0.0]), "pair 0");
    refused(c(&[0.5, 0.5], &[1.0, 2.0]), "0 or 1");
    refused(c(&[0.5, 0.5], &[1.0]), "1 labels");
    refused(Calibration::new(&[0.5; 2], &[0.0, 1.0], Some(&[1.0, 0.0]), &quick(0)), "weight of pair 1");
    for options in [
        CalibrationOptions { bins: Some(0), ..quick(0) },
        CalibrationOptions { bins: Some(2), ..quick(0) },
        CalibrationOptions { confidence: 1.0, ..quick(0) },
        CalibrationOptions { confidence: f64::NAN, ..quick(0) },
        CalibrationOptions { simulations: 18, ..quick(0) },
        CalibrationOptions { simulations: usize::MAX, ..quick(0) },
    ] {
        assert!(Calibration::new(&[0.5; 2], &[0.0, 1.0], None, &options).is_err(), "{options:?}");
    }
    let (model, one) = numbers();
    let pairs = Pairs::new(vec![0, 0], vec![0, 0], vec![0.0, 1.0], None).unwrap();
    refused(Calibration::of(&model, &one, None, &pairs, &quick(0)), "calibrate the model first");
}

#[test]
fn threads_change_no_bit() {
    let mut stream = Seed(8).stream("threads");
    let (scores, labels) = scored(30_000, 1.0, 0.0, &mut stream);
    let world = World::new(5000, (0.0, 1.0), (1.0, 0.0), &mut stream);
    let own: Vec<f32> = world.truth.iter().map(|p| coin(&mut stream, *p)).collect();
    let run = |threads: usize| {
        with_threads(Some(threads), || {
            let done = platt(&scores, &labels, None, BaseRate::HeldOut).unwrap();
            (done, Calibration::new(&world.predicted, &own, None, &quick(3)).unwrap())
        })
        .unwrap()
    };
    let (one, three) = (run(1), run(3));
    assert_eq!(one, three);
    assert_eq!(one.0.scale.to_bits(), three.0.scale.to_bits());
}

/// Labels of pairs of items with features, their log-odds a smooth asymmetric relation: fitted on some items' pairs, calibrated on
/// others, judged on new pairs whose true probabilities are known.
#[test]
fn a_model_fitted_to_labels_gives_calibrated_probabilities() {
    let mut stream = Seed(9).stream("labels");
    let items = common::cube(3000, 3, "label items");
    let odds = |x: u32, y: u32| {
        let row = |i: u32| common::dense_row(&items.rows(), i as usize);
        let (a, b) = (row(x), row(y));
        3.0 * (a[0] * b[1] - a[1] * b[0]) + 2.0 * a[2] * b[2] + (2.0 * a[0]).sin() - 0.7
    };
    let mut draw = |n: usize| {
        let pair: Vec<(u32, u32)> = (0..n).map(|_| (stream.below(3000) as u32, stream.below(3000) as u32)).collect();
        let truth: Vec<f64> = pair.iter().map(|p| sigmoid(odds(p.0, p.1))).collect();
        let labels = truth.iter().map(|p| coin(&mut stream, *p)).collect();
        let sides = (pair.iter().map(|p| p.0).collect(), pair.iter().map(|p| p.1).collect());
        (Pairs::new(sides.0, sides.1, labels, None).unwrap(), truth)
    };
    let ((train, _), (valid, _), (held_out, _), (test, truth)) = (draw(40_000), draw(5000), draw(5000), draw(20_000));
    let table = Table { queries: &items, keys: None, train: &train, valid: &valid };
    let options = Options { dimension: Dimension::Fixed(8), units: Some(100), ..Options::default() };
    let fit = observed(table, &options, &Silent).unwrap();
    let done = calibrate(&fit.encoder, &items, None, &held_out, BaseRate::HeldOut).unwrap();
    let own = Calibration::of(&done.encoder, &items, None, &test, &CalibrationOptions::default()).unwrap();
    let values = Scorer::new(&done.encoder, &items, None).unwrap().scores(&test);
    let world = World { predicted: values.clone(), truth: truth.clone(), weight: None };
    let (error, _) = world.true_errors(&own);
    println!(
        "labels: scale {:.3}, offset {:.3}; ECE {:.4} [{:.4}, {:.4}], true {error:.4}, if calibrated {:.4}, p {:.3}; log loss {:.4} \
         (base {:.4}, true probabilities {:.4}); Brier {:.4} (base {:.4}); AUC {:.4}",
        done.scale,
        done.offset,
        own.ece,
        own.low,
        own.high,
        own.ece_if_calibrated,
        own.p_value,
        own.log_loss,
        own.base_log_loss,
        truth.iter().map(|p| -(p * p.ln() + (1.0 - p) * (1.0 - p).ln())).sum::<f64>() / truth.len() as f64,
        own.brier,
        own.base_brier,
        own.auc.unwrap()
    );
    assert!(done.separates && (own.low..=own.high).contains(&error));
    assert!(error < 0.02 && own.high < 0.04, "{error} {}", own.high);
    assert!(own.log_loss < own.base_log_loss - 0.1 && own.brier < own.base_brier);
    // Ranks are those of the fit: the same area under the curve, and the same order of every pair.
    let before = Scorer::new(&fit.encoder, &items, None).unwrap().scores(&test);
    let mut order: Vec<usize> = (0..before.len()).collect();
    order.sort_by(|&a, &b| before[a].total_cmp(&before[b]));
    assert!(order.windows(2).all(|w| values[w[0]] <= values[w[1]]));
    // Least squares gives values, cut here to probabilities: less likely ones.
    let cut: Vec<f64> = before.iter().map(|v| v.clamp(0.0, 1.0)).collect();
    let raw = Calibration::new(&cut, test.chunk().value, None, &CalibrationOptions::default()).unwrap();
    println!("labels: least squares cut to [0, 1]: ECE {:.4}, log loss {:.4}", raw.ece, raw.log_loss);
    assert!(own.log_loss < raw.log_loss);
}

/// A logistic fit of every pair's label knows its own labels too well. Labels drawn again from the same probabilities show by how
/// much, and its link then gives the probabilities that it should have.
#[test]
fn an_overfitted_model_is_calibrated_by_labels_that_it_never_saw() {
    let (n, rank) = (400usize, 3);
    let mut stream = Seed(10).stream("overfit");
    let factor = |stream: &mut Stream| (0..n * rank).map(|_| stream.normal()).collect::<Vec<f64>>();
    let (u, v) = (factor(&mut stream), factor(&mut stream));
    let truth = |x: usize, y: usize| {
        let product: f64 = (0..rank).map(|k| u[x * rank + k] * v[y * rank + k]).sum();
        sigmoid(0.8 * product - 1.0)
    };
    // Their log-odds have rank 4: three products and the constant.
    let cells: Vec<(u32, u32)> = (0..n as u32).flat_map(|x| (0..n as u32).map(move |y| (x, y))).collect();
    let ones: Vec<(u32, u32)> =
        cells.iter().copied().filter(|c| stream.uniform() < truth(c.0 as usize, c.1 as usize)).collect();
    let listed =
        Pairs::new(ones.iter().map(|c| c.0).collect(), ones.iter().map(|c| c.1).collect(), vec![1.0; ones.len()], None)
            .unwrap();
    let (ids, keys) = (Features::one_hot(n), Features::one_hot(n));
    let all: Vec<usize> = (0..n).collect();
    let table = Complete { queries: &ids, keys: Some(&keys), pairs: &listed, absent: 0.0, fitted: [&all, &all] };
    let options = Options { dimension: Dimension::Fixed(rank + 1), method: Method::Logistic, ..Options::default() };
    let fit = complete(table, &options, &Silent).unwrap();
    // New labels of pairs drawn with replacement: independent, and never seen by the fit.
    let mut draw = |count: usize| {
        let own: Vec<(u32, u32)> = (0..count).map(|_| cells[stream.below(cells.len())]).collect();
        let p: Vec<f64> = own.iter().map(|c| truth(c.0 as usize, c.1 as usize)).collect();
        let labels = p.iter().map(|p| coin(&mut stream, *p)).collect();
        (Pairs::new(own.iter().map(|c| c.0).collect(), own.iter().map(|c| c.1).collect(), labels, None).unwrap(), p)
    };
    let ((held_out, _), (test, p)) = (draw(4000), draw(20_000));
    let done = calibrate(&fit.encoder, &ids, Some(&keys), &held_out, BaseRate::HeldOut).unwrap();
    let judge =
        |model: &DualEncoder| Calibration::of(model, &ids, Some(&keys), &test, &CalibrationOptions::default()).unwrap();
    let (before, after) = (judge(&fit.encoder), judge(&done.encoder));
    let world = World {
        predicted: Scorer::new(&done.encoder, &ids, Some(&keys)).unwrap().scores(&test),
        truth: p,
        weight: None,
    };
    let (error, _) = world.true_errors(&after);
    for (name, c) in [("before", &before), ("after", &after)] {
        println!(
            "overfitted, {name}: ECE {:.4} [{:.4}, {:.4}], if calibrated {:.4}, p {:.3}; log loss {:.4} (base {:.4}); AUC {:.4}",
            c.ece,
            c.low,
            c.high,
            c.ece_if_calibrated,
            c.p_value,
            c.log_loss,
            c.base_log_loss,
            c.auc.unwrap()
        );
    }
    println!("overfitted: scale {:.3}, offset {:.3}, true error {error:.4}", done.scale, done.offset);
    assert!(before.rejected && before.low > 0.0 && after.high < 0.03, "{} {}", before.low, after.high);
    assert!((after.low..=after.high).contains(&error) && error < 0.02, "{error}");
    assert!(done.scale < 0.9 && after.log_loss < before.log_loss, "a fit that is too sure of itself");
    assert!((after.auc.unwrap() - before.auc.unwrap()).abs() < 1e-12);
    assert!(done.log_loss_before.unwrap() > done.log_loss);
}
